//! Every row of the tables, on logs that were made for it.

use lograft_mem_os::MemOs;
use lograft_types::{EntryId, EntryKind, LogWrite, MAX_COUNTER, Term};

use super::*;
use crate::segment::segment_path;
use crate::testing::{IDENTITY, dir, entries, entry, hard_state, open, try_open, write};
use crate::{Log, Recovered};

/// A log of two segments, with its tail proved by a sync marker.
fn two_segments(letter: u8) -> MemOs {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    for seq in 1..=14 {
        let entry = entry(seq, 1, &[letter; 500]);
        log.append_write(&LogWrite {
            seq: lograft_types::WriteSeq::new(seq),
            hard_state: None,
            entries: vec![entry],
        })
        .unwrap();
        log.flush().unwrap();
    }
    log.write_sync_marker().unwrap();
    os
}

fn offsets(os: &MemOs, id: u64) -> Vec<u64> {
    let image = load(os, dir(), id, Some(IDENTITY)).unwrap();
    let mut offsets = vec![FIRST_RECORD];
    while let Decoded::Record { record, .. } = image.decode(*offsets.last().unwrap()) {
        offsets.push(offsets.last().unwrap() + record.size_bytes());
    }
    offsets
}

fn path(id: u64) -> PathBuf {
    segment_path(dir(), id)
}

fn zero_from(os: &MemOs, id: u64, offset: u64) {
    let size = os.contents(&path(id)).unwrap().len() as u64;
    os.overwrite(&path(id), offset, &vec![0; usize::try_from(size - offset).unwrap()]);
}

fn remove(os: &MemOs, id: u64) {
    os.remove(&path(id)).unwrap();
    os.sync_dir(dir()).unwrap();
}

fn refusal(os: &MemOs) -> (PathBuf, u64, String) {
    match try_open(os) {
        Err(LogError::Corrupt { file, offset, reason, .. }) => (file, offset, reason),
        Err(error) => panic!("{error}"),
        Ok((_, recovered)) => panic!("opened: {recovered:?}"),
    }
}

fn opened(os: &MemOs) -> Recovered {
    let before = os.clone();
    let (log, recovered): (Log<MemOs>, Recovered) = open(&before);
    drop(log);
    recovered
}

#[test]
fn each_segment_is_read_once() {
    let os = two_segments(b'a');
    let (mut log, _) = open(&os);
    log.prepare_next().unwrap();
    drop(log);
    let read = |os: &MemOs| {
        let before = os.counts().bytes_read;
        recover(os, dir(), IDENTITY).unwrap();
        os.counts().bytes_read - before
    };
    let sizes: u64 = (1..=3).map(|id| os.contents(&path(id)).unwrap().len() as u64).sum();
    assert!((sizes..=sizes + 3 * HEAD_BYTES).contains(&read(&os)), "{} of {sizes}", read(&os));
    // What an unfinished roll left is no reason to read it twice.
    os.overwrite(&path(3), FIRST_RECORD, b"torn");
    assert!((sizes..=sizes + 3 * HEAD_BYTES).contains(&read(&os)), "{} of {sizes}", read(&os));
}

#[test]
fn the_end_of_a_segment_and_a_continuing_next_one() {
    let recovered = opened(&two_segments(b'a'));
    assert_eq!((recovered.entries.len(), recovered.repaired), (14, None));
}

#[test]
fn the_end_of_a_segment_and_a_next_one_that_is_not_started_is_rolled_again() {
    let os = two_segments(b'a');
    zero_from(&os, 2, FIRST_RECORD);
    let count = opened(&os).entries.len();
    assert!(count < 14 && count > 0);
    // The log has rolled, and goes on.
    let (mut log, _) = open(&os);
    let next = count as u64 + 1;
    log.append_write(&write(1, None, entries(next..=next, 1))).unwrap();
    log.flush().unwrap();
    assert_eq!(opened(&os.crash(1)).entries.len(), count + 1);
}

#[test]
fn the_end_of_a_segment_and_no_next_one() {
    let os = two_segments(b'a');
    remove(&os, 2);
    assert!(refusal(&os).2.contains("the next segment is missing"));
}

#[test]
fn the_end_of_a_segment_and_a_next_one_of_another_history() {
    let os = two_segments(b'a');
    os.put(&path(2), two_segments(b'b').contents(&path(2)).unwrap());
    assert!(refusal(&os).2.contains("does not continue"));
}

#[test]
fn zeros_where_the_next_segment_proves_records() {
    let os = two_segments(b'a');
    let offsets = offsets(&os, 1);
    zero_from(&os, 1, offsets[3]);
    let (file, offset, reason) = refusal(&os);
    assert_eq!((file, offset), (path(1), offsets[3]));
    assert!(reason.contains("does not continue"));
}

#[test]
fn zeros_and_no_next_segment_or_one_not_started_is_the_end() {
    for remove_next in [true, false] {
        let os = two_segments(b'a');
        zero_from(&os, 1, offsets(&os, 1)[4]);
        zero_from(&os, 2, FIRST_RECORD);
        if remove_next {
            remove(&os, 2);
        }
        let recovered = opened(&os);
        assert_eq!((recovered.entries.len(), recovered.repaired), (2, None));
    }
}

#[test]
fn a_broken_record_that_nothing_proves_is_cut() {
    for remove_next in [true, false] {
        let os = two_segments(b'a');
        let offsets = offsets(&os, 1);
        zero_from(&os, 1, offsets[4]);
        zero_from(&os, 2, FIRST_RECORD);
        if remove_next {
            remove(&os, 2);
        }
        // The last record's payload.
        os.overwrite(&path(1), offsets[4] - 100, b"X");
        let recovered = opened(&os);
        assert_eq!(recovered.entries.len(), 1);
        assert_eq!(recovered.repaired.unwrap().offset, offsets[3]);
    }
}

#[test]
fn a_broken_record_that_a_later_one_proves() {
    for remove_next in [true, false] {
        let os = two_segments(b'a');
        let offsets = offsets(&os, 1);
        zero_from(&os, 2, FIRST_RECORD);
        if remove_next {
            remove(&os, 2);
        }
        os.overwrite(&path(1), offsets[3] + 60, b"X");
        let (file, offset, reason) = refusal(&os);
        assert_eq!((file, offset), (path(1), offsets[3]));
        assert!(reason.contains("a later one proves it"), "{reason}");
    }
}

#[test]
fn a_broken_record_before_a_started_segment() {
    let os = two_segments(b'a');
    let end = *offsets(&os, 1).last().unwrap();
    // The record that ends the segment: nothing in its own segment proves it.
    os.overwrite(&path(1), end - 40, b"X");
    assert_eq!(refusal(&os).1, end - 40);
}

#[test]
fn whole_records_that_contradict_those_before() {
    let os = two_segments(b'a');
    let other = two_segments(b'b').contents(&path(1)).unwrap();
    let offsets = offsets(&os, 1);
    // A record from the same offset in another history: whole, and of the same segment.
    let (from, to) = (usize::try_from(offsets[4]).unwrap(), usize::try_from(offsets[5]).unwrap());
    for with_next in [true, false] {
        let disk = os.crash(1);
        disk.overwrite(&path(1), offsets[4], &other[from..to]);
        if !with_next {
            zero_from(&disk, 1, offsets[5]);
            zero_from(&disk, 2, FIRST_RECORD);
        }
        let (_, offset, reason) = refusal(&disk);
        assert_eq!(offset, offsets[4]);
        assert!(reason.contains("contradicts"), "{reason}");
    }
}

#[test]
fn a_record_of_an_unknown_kind_refuses_the_start() {
    let os = MemOs::new();
    let (log, _) = open(&os);
    drop(log);
    let end = *offsets(&os, 1).last().unwrap();
    let image = load(&os, dir(), 1, Some(IDENTITY)).unwrap();
    let record = Record {
        kind: RecordKind::SyncMarker,
        prev_crc: 0,
        index: LogIndex::ZERO,
        term: lograft_types::Term::ZERO,
        durable: 0,
        payload: &[],
    };
    let mut bytes = Vec::new();
    record.encode(image.header.seed, &mut bytes);
    bytes[12] = 99;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[4..]), &image.header.seed.to_le_bytes());
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    os.overwrite(&path(1), end, &bytes);
    assert!(refusal(&os).2.contains("unknown kind"));
}

#[test]
fn a_broken_start_that_its_own_segment_proves() {
    let os = two_segments(b'a');
    os.overwrite(&path(2), FIRST_RECORD + 50, b"X");
    assert!(refusal(&os).2.contains("the start of the segment is damaged"));
}

#[test]
fn a_broken_start_that_nothing_proves_is_filled_with_zeros_and_said() {
    let os = two_segments(b'a');
    let offsets = offsets(&os, 2);
    zero_from(&os, 2, offsets[1]);
    os.overwrite(&path(2), FIRST_RECORD + 50, b"X");
    let recovered = opened(&os);
    assert_eq!(recovered.repaired.unwrap().offset, FIRST_RECORD);
    let count = recovered.entries.len();
    assert_eq!(opened(&os).entries.len(), count);
}

#[test]
fn a_segment_without_a_start_before_one_that_has_it() {
    for garbage in [false, true] {
        let os = two_segments(b'a');
        zero_from(&os, 1, FIRST_RECORD);
        if garbage {
            os.overwrite(&path(1), FIRST_RECORD, b"X");
        }
        let (file, _, reason) = refusal(&os);
        assert_eq!(file, path(1));
        assert!(reason.contains("a later one has"), "{reason}");
    }
}

#[test]
fn a_refusal_changes_nothing() {
    let os = two_segments(b'a');
    os.overwrite(&path(1), offsets(&os, 1)[2] + 50, b"X");
    let before: Vec<_> = [1, 2].map(|id| os.contents(&path(id))).into();
    let counts = os.counts();
    refusal(&os);
    assert_eq!([1, 2].map(|id| os.contents(&path(id))).to_vec(), before);
    let after = os.counts();
    assert_eq!((after.writes, after.renames, after.removed), (counts.writes, counts.renames, counts.removed));
}

#[test]
fn pitfall_67_what_a_value_says_is_never_taken_for_a_record() {
    // A value that holds the bytes of a record of another log, in a torn tail.
    let os = two_segments(b'a');
    let image = load(&os, dir(), 1, Some(IDENTITY)).unwrap();
    let second = usize::try_from(offsets(&os, 1)[2]).unwrap();
    let forged = image.bytes[second..second + 540].to_vec();
    let other = lograft_types::Identity { node: lograft_types::NodeId::new(1), ..IDENTITY };
    let disk = MemOs::new();
    let (mut log, _) = Log::open(disk.clone(), dir(), other, crate::testing::SMALL).unwrap();
    log.append(&entry(1, 1, b"first")).unwrap();
    log.flush().unwrap();
    log.append(&entry(2, 1, &forged)).unwrap();
    // The header of the second entry is torn, its payload is there.
    let at = load(&disk, dir(), 1, None).unwrap();
    let position = at.bytes.windows(540).position(|bytes| bytes == forged).unwrap() as u64;
    disk.overwrite(&path(1), position - 40, &[0; 8]);
    drop(log);
    let (_, recovered) = Log::open(disk, dir(), other, crate::testing::SMALL).unwrap();
    assert_eq!(recovered.entries.len(), 1);
    assert!(recovered.repaired.is_some());
}

#[test]
fn pitfall_66_a_whole_record_with_a_number_that_no_log_reaches_is_damage() {
    let far = |term, index| (Term::new(term), LogIndex::new(index));
    for (kind, (term, index)) in [
        (RecordKind::Reset, far(1, u64::MAX)),
        (RecordKind::Reset, far(MAX_COUNTER, 15)),
        (RecordKind::Entry(EntryKind::Normal), far(MAX_COUNTER, 15)),
        (RecordKind::HardState, far(u64::MAX, 0)),
    ] {
        let os = two_segments(b'a');
        let last = offsets(&os, 2).into_iter().rev().nth(1).unwrap();
        let image = load(&os, dir(), 2, Some(IDENTITY)).unwrap();
        let Decoded::Record { record, crc } = image.decode(last) else { panic!("a record") };
        let payload: &[u8] = if kind == RecordKind::HardState { &[0; 8] } else { b"" };
        let behind = last + record.size_bytes();
        let forged = Record { kind, prev_crc: crc, index, term, durable: last, payload };
        let mut bytes = Vec::new();
        forged.encode(image.header.seed, &mut bytes);
        os.overwrite(&path(2), behind, &bytes);
        let (file, offset, reason) = refusal(&os);
        assert_eq!((file, offset), (path(2), behind));
        assert!(reason.contains("no log reaches"), "{reason}");
    }
}

#[test]
fn a_number_that_no_log_reaches_is_not_written() {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    let far = EntryId::new(Term::new(1), LogIndex::new(MAX_COUNTER));
    assert!(matches!(log.reset(far), Err(LogError::OutOfOrder(_))));
    let vote = Some(hard_state(MAX_COUNTER, 9));
    assert!(matches!(log.append_write(&write(1, vote, vec![])), Err(LogError::OutOfOrder(_))));
    let late = vec![entry(1, 1, b""), entry(2, MAX_COUNTER, b"")];
    assert!(matches!(log.append_write(&write(1, None, late)), Err(LogError::OutOfOrder(_))));
    log.flush().unwrap();
    assert_eq!(opened(&os.crash(1)).log_start, EntryId::ORIGIN);
}
