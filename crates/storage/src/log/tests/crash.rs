//! Power cuts and failing flushes, each made by hand. `crates/sim/tests/crash_images.rs` tries them all.

use super::*;

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
    assert!(steps > 100, "there were too few operations to crash at: {steps}");
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
    assert!(matches!(log.write_sync_marker(), Err(LogError::Poisoned(_))));
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
    // And what a start reads after a kill is durable before it is reported.
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
