//! The log under every kind of reopen, and under power cuts.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use super::*;
use crate::storage::testing::{IDENTITY, SMALL, all, dir, entries, entry, hard_state, open, try_open, write};
use crate::storage::{MemOs, ReadError, RealOs};
use crate::types::{EntryKind, NodeId};

/// What a log must hold: a plain model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    hard_state: HardState,
    entries: Vec<Entry>,
}

impl Model {
    fn take(&mut self, write: &LogWrite) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        for entry in &write.entries {
            let position = usize::try_from(entry.id.index.get()).unwrap() - 1;
            self.entries.truncate(position);
            self.entries.push(entry.clone());
        }
    }

    fn of<O: Os>(log: &Log<O>, recovered: &Recovered) -> Self {
        let entries = all(log, recovered.base);
        let metas: Vec<EntryMeta> = entries
            .iter()
            .map(|entry| EntryMeta { id: entry.id, size_bytes: u32::try_from(entry.payload.len()).unwrap() })
            .collect();
        assert_eq!(metas, recovered.entries, "the reader and the recovery agree");
        Self { hard_state: recovered.hard_state, entries }
    }
}

fn reopened(os: &MemOs) -> Model {
    let (log, recovered) = open(os);
    Model::of(&log, &recovered)
}

#[test]
fn a_new_log_is_empty_and_stays_so() {
    let os = MemOs::new();
    for _ in 0..3 {
        let (log, recovered) = open(&os);
        assert_eq!(Model::of(&log, &recovered), Model::default());
        assert_eq!(recovered.repaired, None);
        assert_eq!(recovered.next_write, WriteSeq::new(1));
    }
}

#[test]
fn what_was_flushed_is_there_after_a_power_cut() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    let mut model = Model::default();
    for write in [
        write(1, Some(hard_state(1, 9)), entries(1..=3, 1)),
        write(2, None, entries(4..=4, 1)),
        write(3, Some(hard_state(2, 0)), vec![]),
        write(4, None, entries(5..=9, 2)),
    ] {
        log.append_write(&write).unwrap();
        model.take(&write);
        assert_eq!(log.flush().unwrap(), write.seq);
        for seed in 0..20 {
            assert_eq!(reopened(&os.crash(seed)), model);
        }
    }
}

#[test]
fn a_log_of_many_segments_is_whole_after_a_reopen() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    let mut model = Model::default();
    for seq in 1..=400 {
        let write = write(seq, None, vec![entry(seq, 1, &vec![b'x'; (seq as usize * 37) % 600])]);
        log.append_write(&write).unwrap();
        model.take(&write);
    }
    log.flush().unwrap();
    assert!(os.list(dir()).unwrap().len() > 5, "the log has rolled");
    assert_eq!(reopened(&os.crash(1)), model);
    assert_eq!(reopened(&os.kill()), model);
}

#[test]
fn entries_are_replaced_across_segments() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, Some(hard_state(1, 0)), entries(1..=300, 1))).unwrap();
    log.append_write(&write(2, Some(hard_state(2, 0)), entries(5..=7, 2))).unwrap();
    log.flush().unwrap();
    let expected: Vec<Entry> = entries(1..=4, 1).into_iter().chain(entries(5..=7, 2)).collect();
    assert_eq!(log.last(), EntryId::new(Term::new(2), LogIndex::new(7)));
    assert_eq!(reopened(&os.crash(3)).entries, expected);

    let (mut log, _) = open(&os);
    log.append(&entry(8, 2, b"appended")).unwrap();
    log.replace(LogIndex::new(1), &entries(1..=2, 3)).unwrap();
    log.flush().unwrap();
    assert_eq!(reopened(&os.crash(4)).entries, entries(1..=2, 3));
}

#[test]
fn a_write_that_does_not_continue_the_log_changes_nothing() {
    let os = MemOs::new();
    let (mut log, recovered) = open(&os);
    log.append_write(&write(2, Some(hard_state(3, 0)), entries(1..=3, 2))).unwrap();
    let before = os.counts();
    for bad in [
        write(2, None, vec![]),
        write(3, Some(hard_state(2, 0)), vec![]),
        write(3, None, entries(5..=5, 2)),
        write(3, None, entries(0..=1, 2)),
        write(3, None, entries(4..=4, 1)),
        write(3, None, vec![entry(4, 2, b""), entry(6, 2, b"")]),
        write(3, None, vec![entry(4, 3, b""), entry(5, 2, b"")]),
        write(3, None, vec![entry(u64::MAX, 3, b""), entry(1, 3, b"")]),
        write(3, Some(hard_state(9, 9)), entries(7..=7, 2)),
    ] {
        assert!(matches!(log.append_write(&bad), Err(LogError::OutOfOrder(_))), "{bad:?}");
    }
    assert!(matches!(log.append(&entry(3, 2, b"")), Err(LogError::OutOfOrder(_))));
    assert!(matches!(log.replace(LogIndex::new(1), &[]), Err(LogError::OutOfOrder(_))));
    assert!(matches!(log.replace(LogIndex::new(1), &entries(2..=2, 2)), Err(LogError::OutOfOrder(_))));
    assert_eq!(os.counts(), before);
    assert_eq!(all(&log, recovered.base), entries(1..=3, 2));
}

#[test]
fn a_reset_drops_all_and_begins_behind_the_base() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, Some(hard_state(4, 9)), entries(1..=50, 4))).unwrap();
    let base = EntryId::new(Term::new(4), LogIndex::new(1000));
    log.reset(base).unwrap();
    log.append_write(&write(2, None, entries(1001..=1300, 4))).unwrap();
    log.flush().unwrap();
    let (log, recovered) = open(&os.crash(5));
    assert_eq!(recovered.base, base);
    assert_eq!(recovered.hard_state, hard_state(4, 9));
    assert_eq!(all(&log, base), entries(1001..=1300, 4));
    let gone = log.reader().read(LogIndex::new(1000), LogIndex::new(1001), 10);
    assert!(matches!(gone, Err(ReadError::Gone { .. })));
}

#[test]
fn an_empty_prepared_segment_is_nothing() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, None, entries(1..=2, 1))).unwrap();
    log.prepare_next().unwrap();
    log.flush().unwrap();
    let after = os.crash(1);
    assert_eq!(reopened(&after).entries, entries(1..=2, 1));
    // It is used, not made again.
    let (mut log, _) = open(&after);
    let prepared = after.counts().prepared;
    log.prepare_next().unwrap();
    assert_eq!(after.counts().prepared, prepared);
    log.append_write(&write(1, None, entries(3..=150, 1))).unwrap();
    log.flush().unwrap();
    assert_eq!(reopened(&after.crash(2)).entries, entries(1..=150, 1));
}

#[test]
fn pitfall_85_a_power_cut_while_the_log_rolls_is_no_corruption() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    let mut seq = 0;
    let mut flushed = 0;
    for _ in 0..12 {
        // A write that crosses into the next segment, cut before its flush in many ways.
        while log.active.free_bytes() > 700 {
            seq += 1;
            log.append_write(&write(seq, None, vec![entry(seq, 1, &[b'y'; 300])])).unwrap();
        }
        log.flush().unwrap();
        flushed = flushed.max(seq);
        let batch: Vec<Entry> = (seq + 1..=seq + 12).map(|index| entry(index, 1, &[b'z'; 400])).collect();
        seq += 12;
        log.append_write(&write(seq, None, batch)).unwrap();
        log.prepare_next().unwrap();
        for seed in 0..40 {
            let found = reopened(&os.crash(seed)).entries.len() as u64;
            assert!((flushed..=seq).contains(&found), "{found} of {flushed}..={seq}");
        }
    }
}

#[test]
fn pitfall_84_the_vote_is_in_the_newest_segment() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, Some(hard_state(5, 3)), entries(1..=400, 5))).unwrap();
    log.flush().unwrap();
    let active = segment_file(log.active.header.id);
    let bytes = os.contents(&active).unwrap();
    let seed = log.active.header.seed;
    let decoded = Record::decode(&bytes[4096..], FIRST_RECORD, seed);
    let record::Decoded::Record { record, .. } = decoded else { panic!("a segment begins with a record") };
    let start = SegmentStart::decode(record.payload).unwrap();
    assert!(start.prev_segment > 0);
    assert_eq!(start.hard_state, hard_state(5, 3));
}

fn segment_file(id: u64) -> PathBuf {
    crate::storage::segment::segment_path(dir(), id)
}

/// Random writes, replacements and flushes, then a power cut at a random moment.
fn storm(seed: u64) -> (MemOs, Model, Vec<Model>) {
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut below = move |bound: u64| chance.next_u64() % bound;
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    let mut model = Model::default();
    let mut durable = model.clone();
    let mut since = vec![];
    for seq in 1..=10 + below(60) {
        let last = log.last();
        let back = if below(4) == 0 { below(last.index.get().min(20) + 1) } else { 0 };
        let first = last.index.get() + 1 - back;
        let term = last.term.get().max(1) + u64::from(back > 0);
        let batch: Vec<Entry> = (first..first + below(6))
            .map(|index| entry(index, term, &vec![b'a' + (seq % 26) as u8; below(900) as usize]))
            .collect();
        let hard_state = (below(3) == 0).then(|| HardState {
            term: Term::new(model.hard_state.term.get().max(term)),
            vote: Some(NodeId::new(1 + below(3))),
        });
        let write = LogWrite { seq: WriteSeq::new(seq), hard_state, entries: batch };
        log.append_write(&write).unwrap();
        model.take(&write);
        since.push(model.clone());
        match below(5) {
            0 | 1 => {
                log.flush().unwrap();
                durable = model.clone();
                since.clear();
            }
            2 => log.prepare_next().unwrap(),
            3 if below(4) == 0 => {
                log.mark().unwrap();
                durable = model.clone();
                since.clear();
            }
            _ => {}
        }
    }
    (os, durable, since)
}

/// Whether `found` has all that was durable and nothing but what was written behind it.
fn is_between(found: &Model, durable: &Model, since: &[Model]) -> bool {
    // Record by record: a write that was not flushed may be there in part. So compare with every prefix of every write.
    let mut before = durable.clone();
    let mut possible = found == durable;
    for after in since {
        let kept = before.entries.iter().zip(&after.entries).take_while(|(a, b)| a == b).count();
        let mut partial = Model { hard_state: before.hard_state, entries: before.entries.clone() };
        possible |= partial == *found;
        partial.hard_state = after.hard_state;
        possible |= partial == *found;
        for upto in kept..after.entries.len() {
            partial.entries.truncate(upto);
            partial.entries.push(after.entries[upto].clone());
            possible |= partial == *found;
        }
        before = after.clone();
        possible |= before == *found;
    }
    possible
}

#[test]
fn nothing_flushed_is_lost_and_nothing_is_made_up_in_hundreds_of_power_cuts() {
    let mut cut = 0;
    for seed in 0..400 {
        let (os, durable, since) = storm(seed);
        let after = os.crash(seed);
        let (log, recovered) = try_open(&after).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = Model::of(&log, &recovered);
        assert!(is_between(&found, &durable, &since), "seed {seed}: {found:?}\n{durable:?}");
        cut += u32::from(recovered.repaired.is_some());
        drop(log);
        // Again, without and with a power cut: the same.
        let (log, again) = open(&after.crash(seed + 1));
        assert_eq!(Model::of(&log, &again), found, "seed {seed}");
        assert_eq!(again.repaired, None, "seed {seed}: what was cut stays cut");
    }
    assert!(cut > 20, "the storms leave torn tails: {cut}");
}

#[test]
fn pitfall_73_a_crash_during_recovery_changes_nothing() {
    for seed in 0..150 {
        let (os, durable, since) = storm(seed);
        let first = os.crash(seed);
        let expected = reopened(&first.crash(0));
        assert!(is_between(&expected, &durable, &since));
        for step in 0..40 {
            let disk = first.crash(0);
            disk.stop_after(step);
            let opened = try_open(&disk);
            let finished = opened.is_ok();
            drop(opened);
            let (log, recovered) = open(&disk.crash(seed * 41 + step));
            assert_eq!(Model::of(&log, &recovered), expected, "seed {seed}, step {step}");
            if finished {
                break;
            }
        }
    }
}

#[test]
fn pitfall_61_62_74_a_crash_at_every_operation_of_the_first_start_and_of_a_roll() {
    let mut steps = 0;
    loop {
        let os = MemOs::new();
        os.stop_after(steps);
        let mut durable = 0;
        let finished = (|| {
            let (mut log, _) = try_open(&os)?;
            for seq in 1..=60 {
                log.append_write(&write(seq, None, vec![entry(seq, 1, &[b'q'; 500])]))?;
                log.flush()?;
                durable = seq;
            }
            Ok::<(), LogError>(())
        })()
        .is_ok();
        for seed in 0..8 {
            let disk = os.crash(seed);
            let (log, recovered) = try_open(&disk).unwrap_or_else(|error| panic!("step {steps}: {error}"));
            let found = Model::of(&log, &recovered).entries.len();
            assert!(found == durable as usize || found == durable as usize + 1, "step {steps}, seed {seed}");
        }
        if finished {
            break;
        }
        steps += 1;
    }
    assert!(steps > 100, "each operation was a moment of a crash: {steps}");
}

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
            all(&log, recovered.base),
            [entries(1..=3, 1), vec![entry(4, 1, b"{\"command\":\"the last one\"}")]].concat()[..expected]
        );
        let nothing_left = bytes[start..].iter().all(|byte| *byte == 0);
        if expected == 3 && !nothing_left {
            let cut = recovered.repaired.expect("it says what it cut");
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
        assert_eq!(all(&log, recovered.base), entries(1..=20, 1));
    }
}

#[test]
fn pitfall_68_a_flip_of_any_bit_is_detected_or_harmless() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    let mut all_entries = vec![];
    for seq in 1..=12 {
        let batch = vec![entry(seq, 1, &vec![b'k'; 700])];
        all_entries.extend(batch.clone());
        log.append_write(&write(seq, Some(hard_state(seq, 2)), batch)).unwrap();
        log.flush().unwrap();
    }
    log.mark().unwrap();
    let segments = log.active.header.id;
    assert!(segments > 1, "the small log has rolled");
    let expected = reopened(&os.crash(1));
    assert_eq!(expected.entries, all_entries);
    let mut refused = 0_u64;
    for id in 1..=segments {
        let bits = os.contents(&segment_file(id)).unwrap().len() as u64 * 8;
        // Every bit of the headers and of the records' beginnings; of the long runs of payload and zeros every 61st.
        for bit in (0..bits).filter(|bit| bit / 8 < 64 || bit / 8 % 744 < 44 || bit % 61 == 0) {
            let disk = os.crash(1);
            disk.flip_bit(&segment_file(id), bit);
            match try_open(&disk) {
                Ok((log, recovered)) => {
                    assert_eq!(Model::of(&log, &recovered), expected, "bit {bit} of segment {id}");
                }
                Err(LogError::Corrupt { .. } | LogError::Newer { .. } | LogError::Foreign { .. }) => {
                    refused += 1
                }
                Err(error) => panic!("bit {bit} of segment {id}: {error}"),
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn pitfall_70_a_missing_copied_or_foreign_segment_is_detected() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, None, entries(1..=400, 1))).unwrap();
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
fn pitfall_69_a_segment_is_durable_before_anything_is_written_into_it() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.prepare_next().unwrap();
    for seed in 0..50 {
        let disk = os.crash(seed);
        assert!(disk.contents(&segment_file(2)).is_some(), "the name of a prepared segment is durable");
        assert!(reopened(&disk).entries.is_empty());
    }
}

#[test]
fn rests_of_an_unfinished_preparation_are_removed() {
    let os = MemOs::new();
    drop(open(&os));
    let rest = dir().join("0000000000000002.log.tmp");
    os.put(&rest, vec![1, 2, 3]);
    drop(open(&os));
    assert_eq!(os.contents(&rest), None);
}

#[test]
fn pitfall_58_59_a_flush_that_fails_closes_the_log_and_is_not_believed() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, None, entries(1..=2, 1))).unwrap();
    log.flush().unwrap();
    log.append_write(&write(2, None, entries(3..=4, 1))).unwrap();
    os.fail_next_flush();
    assert!(matches!(log.flush(), Err(LogError::Io { .. })));
    let before = os.counts();
    assert!(matches!(log.flush(), Err(LogError::Poisoned(_))));
    assert!(matches!(log.append(&entry(5, 1, b"")), Err(LogError::Poisoned(_))));
    assert!(matches!(log.append_write(&write(3, None, vec![])), Err(LogError::Poisoned(_))));
    assert!(matches!(log.mark(), Err(LogError::Poisoned(_))));
    assert!(matches!(log.reset(EntryId::ORIGIN), Err(LogError::Poisoned(_))));
    assert_eq!(os.counts(), before, "nothing is touched any more");
}

#[test]
fn pitfall_71_72_recovery_believes_the_disk_and_not_the_cache() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, None, entries(1..=2, 1))).unwrap();
    log.flush().unwrap();
    log.append_write(&write(2, None, entries(3..=4, 1))).unwrap();
    os.fail_next_flush();
    log.flush().unwrap_err();
    drop(log);
    // The process ends and starts again; the cache still shows what the disk lacks.
    assert_eq!(reopened(&os).entries, entries(1..=2, 1));
    // And what a start reads after a kill is durable when it is told.
    let (mut log, _) = open(&os);
    log.append_write(&write(1, None, entries(3..=5, 1))).unwrap();
    drop(log);
    let killed = os.kill();
    let (_, recovered) = open(&killed);
    assert_eq!(recovered.entries.len(), 5);
    for seed in 0..30 {
        assert_eq!(reopened(&killed.crash(seed)).entries, entries(1..=5, 1));
    }
}

#[test]
fn pitfall_60_a_flush_covers_every_page_that_was_written_before() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.prepare_next().unwrap();
    // Several pages, in several writes, across a roll; one flush.
    for seq in 1..=20 {
        log.append_write(&write(seq, None, vec![entry(seq, 1, &[b'p'; 900])])).unwrap();
    }
    log.flush().unwrap();
    for seed in 0..50 {
        assert_eq!(reopened(&os.crash(seed)).entries.len(), 20);
    }
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

#[test]
fn the_reader_bounds_what_it_reads_but_reads_one_entry() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    let payload = vec![b'r'; 100];
    log.append_write(&write(1, None, (1..=200).map(|i| entry(i, 1, &payload)).collect())).unwrap();
    let reader = log.reader();
    let count =
        |first, last, bytes| reader.read(LogIndex::new(first), LogIndex::new(last), bytes).unwrap().len();
    assert_eq!(count(1, 200, 0), 1);
    assert_eq!(count(1, 200, 100), 1);
    assert_eq!(count(1, 200, 250), 2);
    assert_eq!(count(10, 12, usize::MAX), 3);
    assert_eq!(count(1, 10_000, usize::MAX), 200);
    let past = reader.read(LogIndex::new(201), LogIndex::new(201), 1);
    assert!(matches!(past, Err(ReadError::PastEnd { .. })));
    assert!(matches!(reader.read(LogIndex::ZERO, LogIndex::new(1), 1), Err(ReadError::Gone { .. })));
    // Replaced entries are gone; the new ones are there before any flush.
    log.append_write(&write(2, None, entries(150..=150, 2))).unwrap();
    assert!(matches!(reader.read(LogIndex::new(151), LogIndex::new(160), 9), Err(ReadError::PastEnd { .. })));
    let read = reader.read(LogIndex::new(149), LogIndex::new(150), 1000).unwrap();
    assert_eq!(read[1..], entries(150..=150, 2));
}

#[test]
fn the_reader_does_not_hand_out_what_is_damaged() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, None, vec![entry(1, 1, b"abcdefgh")])).unwrap();
    let at = log.active.tail - 8;
    os.overwrite(&segment_file(1), at, b"X");
    let read = log.reader().read(LogIndex::new(1), LogIndex::new(1), 9);
    assert!(matches!(read, Err(ReadError::Corrupt { .. })));
}

#[test]
fn the_budget_is_kept_whatever_is_written_beside_it() {
    for seed in 0..60 {
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
        let os = MemOs::new();
        let (mut log, _) = open(&os);
        let (mut index, mut seq) = (0, 0);
        for _ in 0..30 {
            if chance.next_u64() % 2 == 0 {
                log.prepare_next().unwrap();
            }
            // No further segment from here on: what the budget promised must fit.
            os.set_free_bytes(0);
            let mut budget = log.budget().budget_bytes;
            loop {
                let length = usize::try_from(chance.next_u64() % 3000).unwrap();
                let Some(rest) = budget.checked_sub(record_size_bytes(length)) else { break };
                budget = rest;
                index += 1;
                seq += 1;
                let hard_state = (seq % 9 == 0).then(|| hard_state(1, 0));
                log.append_write(&write(seq, hard_state, vec![entry(index, 1, &vec![b'b'; length])]))
                    .unwrap();
                if chance.next_u64() % 3 == 0 {
                    log.mark().unwrap();
                }
            }
            os.set_free_bytes(u64::MAX);
        }
    }
}

#[test]
fn pitfall_63_a_full_disk_is_an_error_when_a_segment_is_prepared_and_heals() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    assert!(!log.budget().disk_full);
    os.set_free_bytes(100);
    assert_eq!(log.prepare_next().unwrap_err().kind(), io::ErrorKind::StorageFull);
    let space = log.budget();
    assert!(space.disk_full && space.budget_bytes > 0);
    let mut index = 0;
    while log.budget().budget_bytes >= record_size_bytes(200) {
        index += 1;
        log.append(&entry(index, 1, &[b'f'; 200])).unwrap();
    }
    // The reserve still takes votes and a leader's first entry.
    let noop = Entry { kind: EntryKind::NoOp, ..entry(index + 1, 2, b"") };
    log.append_write(&write(1, Some(hard_state(2, 9)), vec![noop])).unwrap();
    let too_large = log.append(&entry(index + 2, 2, &[b'f'; 600]));
    assert!(matches!(too_large, Err(LogError::NoRoom { .. })));
    log.flush().unwrap();
    os.set_free_bytes(1 << 20);
    log.prepare_next().unwrap();
    assert!(!log.budget().disk_full);
    log.append(&entry(index + 2, 2, &[b'f'; 600])).unwrap();
    log.flush().unwrap();
    assert_eq!(reopened(&os.crash(1)).entries.len() as u64, index + 2);
}

#[test]
fn with_the_default_sizes_the_largest_command_fits_into_the_budget() {
    let os = MemOs::new();
    let (mut log, _) = Log::open(os, dir(), IDENTITY, LogOptions::default()).unwrap();
    log.prepare_next().unwrap();
    let payload = 3 << 19;
    assert!(log.budget().budget_bytes >= record_size_bytes(payload));
    for index in 1..=4 {
        log.prepare_next().unwrap();
        log.append(&entry(index, 1, &vec![b'L'; payload])).unwrap();
    }
    assert_eq!(log.active.header.size_bytes, 8 << 20);
}

#[test]
fn sizes_that_make_no_log_are_refused() {
    for (min, max, reserve) in [
        (8192, 4096, 0),
        (8192, 1 << 31, 0),
        (8000, 16384, 0),
        (8192, 10_000, 0),
        (8192, 8192, 8192),
        (4096, 8192, 0),
    ] {
        let options = LogOptions { min_segment_bytes: min, max_segment_bytes: max, reserve_bytes: reserve };
        let opened = Log::open(MemOs::new(), dir(), IDENTITY, options);
        assert!(matches!(opened, Err(LogError::Options { .. })), "{min} {max} {reserve}");
    }
}

#[test]
fn the_log_works_on_the_machine_s_own_file_system() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path();
    let mut model = Model::default();
    let mut seq = 0;
    for round in 1..=3 {
        let (mut log, recovered) = Log::open(RealOs, path, IDENTITY, SMALL).unwrap();
        assert_eq!(Model::of(&log, &recovered), model);
        assert_eq!(recovered.repaired, None);
        for own in 1..=100 {
            seq += 1;
            let write = LogWrite {
                seq: WriteSeq::new(own),
                hard_state: Some(hard_state(round, 1)),
                entries: vec![entry(seq, round, &[b'd'; 200])],
            };
            log.append_write(&write).unwrap();
            model.take(&write);
            if own % 10 == 0 {
                log.flush().unwrap();
            }
        }
        assert_eq!(all(&log, EntryId::ORIGIN), model.entries, "unflushed entries are readable");
    }
    // A torn tail on a real file.
    let (log, _) = Log::open(RealOs, path, IDENTITY, SMALL).unwrap();
    let file = crate::storage::segment::segment_path(path, log.active.header.id);
    let tail = log.active.tail;
    drop(log);
    let handle = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&handle, b"torn", tail).unwrap();
    let (log, recovered) = Log::open(RealOs, path, IDENTITY, SMALL).unwrap();
    assert_eq!(recovered.repaired, Some(Repair { file, offset: tail, bytes_cut: 4 }));
    assert_eq!(Model::of(&log, &recovered), model);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(crate::storage::segment::segment_path(path, 1)).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}
