//! Torn records, garbage, files that are gone. `crates/sim/tests/crash_images.rs` flips every bit.

use super::*;

#[test]
fn a_torn_tail_is_cut_at_every_byte_of_the_last_record() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, Some(hard_state(1, 9)), entries(1..=3, 1))).unwrap();
    log.flush().unwrap();
    let start = usize::try_from(log.active.tail).unwrap();
    log.append(&entry(4, 1, b"{\"command\":\"the last one\"}")).unwrap();
    let end = usize::try_from(log.active.tail).unwrap();
    let whole = os.contents(&segment_file(1)).unwrap();
    let payload_end = start + HEADER_BYTES + 26;
    for torn in start..end {
        let mut bytes = whole.clone();
        bytes[torn..].fill(0);
        let disk = os.crash(1);
        disk.put(&segment_file(1), bytes.clone());
        let (log, recovered) = open(&disk);
        let expected = if torn < payload_end { 3 } else { 4 };
        assert_eq!(recovered.entries.len(), expected, "torn at {torn}");
        assert_eq!(
            all(&log, recovered.log_start),
            [entries(1..=3, 1), vec![entry(4, 1, b"{\"command\":\"the last one\"}")]].concat()[..expected]
        );
        let nothing_left = bytes[start..].iter().all(|byte| *byte == 0);
        if expected == 3 && !nothing_left {
            let cut = recovered.repaired.expect("it reports what it cut");
            assert_eq!((cut.file, cut.offset), (segment_file(1), start as u64));
            assert!(cut.bytes_cut > 0 && cut.bytes_cut <= (torn - start) as u64);
        } else {
            assert_eq!(recovered.repaired, None);
        }
    }
}

#[test]
fn pitfall_65_garbage_behind_the_end_is_cut_and_does_not_come_back() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, None, entries(1..=3, 1))).unwrap();
    log.flush().unwrap();
    let end = log.active.tail;
    drop(log);
    for (distance, garbage) in
        [(0, vec![0xff; 100]), (8, vec![1; 3]), (1000, vec![7; 1]), (40, vec![0xa5; 2000])]
    {
        let disk = os.crash(1);
        assert!(disk.overwrite(&segment_file(1), end + distance, &garbage));
        let (mut log, recovered) = open(&disk);
        let cut = recovered.repaired.expect("garbage is cut");
        assert_eq!((cut.offset, cut.bytes_cut), (end, distance + garbage.len() as u64));
        log.append_write(&write(1, None, entries(4..=20, 1))).unwrap();
        log.flush().unwrap();
        let (log, recovered) = open(&disk.crash(2));
        assert_eq!(recovered.repaired, None);
        assert_eq!(all(&log, recovered.log_start), entries(1..=20, 1));
    }
}

#[test]
fn pitfall_70_a_missing_copied_or_foreign_segment_is_detected() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, None, entries(1..=800, 1))).unwrap();
    log.flush().unwrap();
    let active = log.active.header.id;
    assert!(active > 3);
    drop(log);
    for id in 1..=active {
        let disk = os.crash(1);
        disk.remove(&segment_file(id)).unwrap();
        disk.sync_dir(dir()).unwrap();
        assert!(matches!(try_open(&disk), Err(LogError::Corrupt { .. })), "segment {id} is gone");
        for other in (1..=active + 1).filter(|other| *other != id) {
            let disk = os.crash(1);
            disk.put(&segment_file(other), disk.contents(&segment_file(id)).unwrap());
            assert!(matches!(try_open(&disk), Err(LogError::Corrupt { .. })), "{id} copied over {other}");
        }
        let disk = os.crash(1);
        let mut short = disk.contents(&segment_file(id)).unwrap();
        short.truncate(short.len() - 1);
        disk.put(&segment_file(id), short);
        assert!(matches!(try_open(&disk), Err(LogError::Corrupt { .. })), "segment {id} is short");
    }
    let stranger = Identity { node: NodeId::new(1), ..IDENTITY };
    assert!(matches!(Log::open(os.crash(1), dir(), stranger, SMALL), Err(LogError::Foreign { .. })));
}

#[test]
fn a_log_whose_files_are_all_gone_is_not_begun_again() {
    let os = MemOs::new();
    let (log, _) = open(&os);
    drop(log);
    os.remove(&segment_file(1)).unwrap();
    assert!(matches!(try_open(&os), Err(LogError::Corrupt { .. })));
}

#[test]
fn pitfall_02_term_and_vote_are_old_or_new_and_nothing_else() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, Some(hard_state(4, 3)), vec![])).unwrap();
    log.flush().unwrap();
    let start = usize::try_from(log.active.tail).unwrap();
    let before = os.contents(&segment_file(1)).unwrap();
    log.append_write(&write(2, Some(hard_state(5, 8)), vec![])).unwrap();
    let end = usize::try_from(log.active.tail).unwrap();
    let after = os.contents(&segment_file(1)).unwrap();
    for torn in start..=end {
        for (head, tail) in [(&after, &before), (&before, &after)] {
            let bytes = [&head[..torn], &tail[torn..]].concat();
            let disk = os.crash(1);
            disk.put(&segment_file(1), bytes);
            let found = reopened(&disk).hard_state;
            assert!(found == hard_state(4, 3) || found == hard_state(5, 8), "torn at {torn}: {found:?}");
        }
    }
}

#[test]
fn pitfall_64_66_any_bytes_are_refused_or_read_and_never_a_panic() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, Some(hard_state(1, 1)), entries(1..=100, 1))).unwrap();
    log.flush().unwrap();
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(42);
    let mut refused = 0;
    for _ in 0..300 {
        let disk = os.crash(1);
        for _ in 0..=chance.next_u64() % 4 {
            let id = 1 + chance.next_u64() % log.active.header.id;
            let size = disk.contents(&segment_file(id)).unwrap().len() as u64;
            let mut garbage = vec![0; 1 + usize::try_from(chance.next_u64() % 64).unwrap()];
            chance.fill_bytes(&mut garbage);
            if chance.next_u64() % 3 == 0 {
                garbage.fill(0xff);
            }
            disk.overwrite(&segment_file(id), chance.next_u64() % size, &garbage);
        }
        refused += u32::from(try_open(&disk).is_err());
    }
    assert!(refused > 50);
}
