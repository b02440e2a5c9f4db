//! The log under every kind of reopen, and under power cuts.

use lograft_mem_os::MemOs;
use lograft_types::{EntryKind, NodeId};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rustix::io::Errno;

use super::*;
use crate::testing::{IDENTITY, SMALL, all, dir, entries, entry, hard_state, open, try_open, write};
use crate::{ReadError, RealOs};

mod crash;
mod damage;

/// A plain model of what a log must hold.
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
        let entries = all(log, recovered.log_start);
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
    assert_eq!(all(&log, recovered.log_start), entries(1..=3, 2));
}

#[test]
fn a_reset_drops_all_and_begins_behind_the_base() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, Some(hard_state(4, 9)), entries(1..=50, 4))).unwrap();
    let log_start = EntryId::new(Term::new(4), LogIndex::new(1000));
    log.reset(log_start).unwrap();
    log.append_write(&write(2, None, entries(1001..=1300, 4))).unwrap();
    log.flush().unwrap();
    let (log, recovered) = open(&os.crash(5));
    assert_eq!(recovered.log_start, log_start);
    assert_eq!(recovered.hard_state, hard_state(4, 9));
    assert_eq!(all(&log, log_start), entries(1001..=1300, 4));
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
    crate::segment::segment_path(dir(), id)
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
fn the_credit_is_kept_whatever_is_written_beside_it() {
    for seed in 0..60 {
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
        let os = MemOs::new();
        let (mut log, _) = open(&os);
        let (mut index, mut seq) = (0, 0);
        for _ in 0..30 {
            if chance.next_u64() % 2 == 0 {
                log.prepare_next().unwrap();
            }
            // No further segment from here on: what the credit promised must fit.
            os.set_free_bytes(0);
            let mut credit = log.credit().credit_bytes;
            loop {
                let length = usize::try_from(chance.next_u64() % 3000).unwrap();
                let Some(rest) = credit.checked_sub(record_size_bytes(length)) else { break };
                credit = rest;
                index += 1;
                seq += 1;
                let hard_state = (seq % 9 == 0).then(|| hard_state(1, 0));
                log.append_write(&write(seq, hard_state, vec![entry(index, 1, &vec![b'b'; length])]))
                    .unwrap();
                if chance.next_u64() % 3 == 0 {
                    log.write_sync_marker().unwrap();
                }
            }
            os.set_free_bytes(u64::MAX);
        }
    }
}

#[test]
fn an_entry_larger_than_the_credit_gets_a_segment_with_room_for_two() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.prepare_next().unwrap();
    let large = record_size_bytes(100_000);
    assert!(log.credit().credit_bytes < large);
    // The usual segment is ready, and stays the next one.
    log.want_credit(large);
    log.prepare_next().unwrap();
    assert!(log.credit().credit_bytes >= 2 * large, "{:?}", log.credit());
    assert!(log.take_preparation().is_none(), "nothing more is wanted");
    for index in 1..=2 {
        log.append(&entry(index, 1, &[b'l'; 100_000])).unwrap();
    }
    log.flush().unwrap();
    // Later segments have the usual size again.
    log.prepare_next().unwrap();
    assert_eq!(log.last_segment().size_bytes, log.options.max_segment_bytes);
    drop(log);
    assert_eq!(reopened(&os.crash(1)).entries.len(), 2);
}

#[test]
fn a_larger_segment_for_which_there_is_no_space_is_denied_and_no_other() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    let large = record_size_bytes(100_000);
    // First no usual segment is ready, then one is.
    for denials in 1..=2 {
        os.set_free_bytes(100_000);
        log.want_credit(large);
        log.prepare_next().unwrap_err();
        let credit = log.credit();
        assert_eq!((credit.denials, credit.disk_full), (denials, denials == 1));
        log.prepare_next().unwrap();
        assert!(!log.credit().disk_full, "a usual segment fits");
        assert!(log.take_preparation().is_none());
    }
    os.set_free_bytes(u64::MAX);
    log.want_credit(large);
    log.prepare_next().unwrap();
    assert!(log.credit().credit_bytes >= large);
}

#[test]
fn pitfall_63_a_full_disk_is_an_error_when_a_segment_is_prepared_and_heals() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    assert!(!log.credit().disk_full);
    os.set_free_bytes(100);
    assert_eq!(log.prepare_next().unwrap_err().kind(), io::ErrorKind::StorageFull);
    let space = log.credit();
    assert!(space.disk_full && space.credit_bytes > 0);
    let mut index = 0;
    while log.credit().credit_bytes >= record_size_bytes(200) {
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
    assert!(!log.credit().disk_full);
    log.append(&entry(index + 2, 2, &[b'f'; 600])).unwrap();
    log.flush().unwrap();
    assert_eq!(reopened(&os.crash(1)).entries.len() as u64, index + 2);
}

#[test]
fn pitfall_91_reading_and_rolling_take_no_file_descriptor() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, None, entries(1..=300, 1))).unwrap();
    log.flush().unwrap();
    let os = os.crash(1);
    let (mut log, recovered) = open(&os);
    log.prepare_next().unwrap();
    let (before, opens) = (log.active.header.id, os.counts().opens);
    assert!(before > 2, "the log has rolled");
    os.fail_opening(Some(Errno::MFILE.raw_os_error()));
    let mut last = 300;
    while log.active.header.id == before {
        last += 1;
        log.append(&entries(last..=last, 1)[0]).unwrap();
    }
    assert_eq!(all(&log, recovered.log_start), entries(1..=last, 1));
    for index in [1, 150, last] {
        let read = log.reader().read(LogIndex::new(index), LogIndex::new(index), 1).unwrap();
        assert_eq!(read, entries(index..=index, 1));
    }
    assert_eq!(os.counts().opens, opens);
}

#[test]
fn pitfall_91_only_a_full_disk_is_called_one() {
    for (errno, is_full) in [
        (Errno::NOSPC, true),
        (Errno::DQUOT, true),
        (Errno::MFILE, false),
        (Errno::NFILE, false),
        (Errno::NOMEM, false),
        (Errno::IO, false),
    ] {
        let os = MemOs::new();
        let (mut log, _) = open(&os);
        os.fail_opening(Some(errno.raw_os_error()));
        let error = log.prepare_next().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()));
        assert_eq!(log.credit().disk_full, is_full, "{error}");
        assert!(log.unprepared.as_ref().is_some_and(|reason| *reason == error.to_string()));
        // What was promised is taken, and the preparation is tried again.
        log.append(&entry(1, 1, &[b'e'; 200])).unwrap();
        os.fail_opening(None);
        log.prepare_next().unwrap();
        assert!(!log.credit().disk_full && log.unprepared.is_none());
    }
}

#[test]
fn with_the_default_sizes_the_largest_command_fits_into_the_credit() {
    let os = MemOs::new();
    let (mut log, _) = Log::open(os, dir(), IDENTITY, LogOptions::default()).unwrap();
    log.prepare_next().unwrap();
    let payload = 3 << 19;
    assert!(log.credit().credit_bytes >= record_size_bytes(payload));
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
#[expect(clippy::disallowed_types, reason = "the test tears a file on the real disk")]
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
    let file = crate::segment::segment_path(path, log.active.header.id);
    let tail = log.active.tail;
    drop(log);
    let handle = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&handle, b"torn", tail).unwrap();
    let (log, recovered) = Log::open(RealOs, path, IDENTITY, SMALL).unwrap();
    assert_eq!(recovered.repaired, Some(Repair { file, offset: tail, bytes_cut: 4 }));
    assert_eq!(Model::of(&log, &recovered), model);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(crate::segment::segment_path(path, 1)).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_credit_is_exact_when_nothing_is_kept_back() {
    let options = LogOptions { reserve_bytes: 0, ..SMALL };
    for before in 0..12 {
        let os = MemOs::new();
        let (mut log, _) = Log::open(os.clone(), dir(), IDENTITY, options).unwrap();
        let few = entries(1..=before, 1);
        if before > 0 {
            log.append_write(&write(1, None, few.clone())).unwrap();
        }
        log.prepare_next().unwrap();
        os.set_free_bytes(0);
        let length = usize::try_from(log.credit().credit_bytes).unwrap() - HEADER_BYTES;
        let last = entry(before + 1, 1, &vec![b'e'; length]);
        log.append(&last).unwrap();
        log.flush().unwrap();
        assert_eq!(log.active.free_bytes(), 0, "not a byte is left");
        // Completely full, the segment still ends properly and the log goes on.
        os.set_free_bytes(1 << 20);
        log.prepare_next().unwrap();
        let next = entry(before + 2, 1, b"next");
        log.append(&next).unwrap();
        log.flush().unwrap();
        let (log, recovered) = Log::open(os.crash(before), dir(), IDENTITY, options).unwrap();
        assert_eq!(all(&log, recovered.log_start), [few, vec![last, next]].concat());
    }
}

#[test]
fn readers_beside_the_writer_see_whole_entries_or_are_told_why_not() {
    let temporary = tempfile::tempdir().unwrap();
    let (mut log, _) = Log::open(RealOs, temporary.path(), IDENTITY, SMALL).unwrap();
    let reader = log.reader();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let (mut read, mut chance) = (0_u64, Xoshiro256PlusPlus::seed_from_u64(1));
            while !done.load(std::sync::atomic::Ordering::Acquire) || read == 0 {
                let first = 1 + chance.next_u64() % 400;
                match reader.read(LogIndex::new(first), LogIndex::new(first + 30), 4000) {
                    Ok(found) => {
                        for (entry, index) in found.iter().zip(first..) {
                            assert_eq!(entries(index..=index, entry.id.term.get())[0], *entry);
                        }
                        read += found.len() as u64;
                    }
                    Err(ReadError::PastEnd { .. } | ReadError::Replaced { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            read
        });
        for round in 1..=40 {
            let first = 1 + (round * 7) % 50;
            let first = first.min(log.last().index.get() + 1);
            for index in first..first + 60 {
                log.replace(LogIndex::new(index), &entries(index..=index, round)).unwrap();
            }
            log.flush().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Release);
        assert!(reading.join().unwrap() > 0);
    });
}
