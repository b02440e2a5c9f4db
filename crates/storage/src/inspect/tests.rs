//! What `lograft log` shows of whole and of damaged logs.

use lograft_mem_os::MemOs;
use lograft_types::EntryKind;

use super::*;
use crate::testing::{IDENTITY, dir, entries, hard_state, open, write};

fn look(os: &MemOs) -> (Vec<InspectedRecord>, Option<Problem>) {
    let mut seen = Vec::new();
    let mut problem = None;
    for item in records(os.clone(), dir(), IDENTITY) {
        match item {
            Ok(record) => seen.push(record),
            Err(found) => assert!(problem.replace(found).is_none(), "at most one problem"),
        }
    }
    (seen, problem)
}

fn some_log() -> MemOs {
    let os = MemOs::new();
    let (mut log, _) = open(&os);
    log.append_write(&write(1, Some(hard_state(1, 9)), entries(1..=200, 1))).unwrap();
    log.write_sync_marker().unwrap();
    os
}

#[test]
fn all_records_of_a_whole_log_are_seen_in_order() {
    let os = some_log();
    let before = os.counts();
    let (seen, problem) = look(&os);
    assert!(problem.is_none());
    let payloads: Vec<_> = seen
        .iter()
        .filter(|record| record.kind == RecordKind::Entry(EntryKind::Normal))
        .map(|record| record.payload.clone())
        .collect();
    let expected: Vec<_> = entries(1..=200, 1).into_iter().map(|entry| entry.payload).collect();
    assert_eq!(payloads, expected);
    assert_eq!(seen[0].kind, RecordKind::SegmentStart);
    assert!(seen.iter().any(|record| record.hard_state == Some(hard_state(1, 9))));
    assert!(seen.iter().any(|record| record.segment == 2));
    assert_eq!(seen.last().unwrap().kind, RecordKind::SyncMarker);
    assert_eq!(os.counts().changes(), before.changes(), "nothing is changed");
}

#[test]
fn a_damaged_log_shows_what_is_readable_and_then_the_damage() {
    let os = some_log();
    let (whole, _) = look(&os);
    let bad = &whole[50];
    os.flip_bit(&crate::segment::segment_path(dir(), bad.segment), (bad.offset + 45) * 8);
    let (seen, problem) = look(&os);
    assert_eq!(seen, whole[..50]);
    match problem {
        Some(Problem::Damaged(LogError::Corrupt { offset, .. })) => assert_eq!(offset, bad.offset),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_torn_tail_is_shown_and_not_cut() {
    let os = some_log();
    let (whole, _) = look(&os);
    let last = whole.last().unwrap();
    let file = crate::segment::segment_path(dir(), last.segment);
    os.overwrite(&file, last.offset + 40, b"torn");
    for _ in 0..2 {
        let (seen, problem) = look(&os);
        assert_eq!(seen, whole);
        assert!(matches!(problem, Some(Problem::Torn(cut)) if cut.bytes_cut == 4));
    }
}

#[test]
fn a_directory_without_a_log_says_so() {
    let (seen, problem) = look(&MemOs::new());
    assert!(seen.is_empty() && matches!(problem, Some(Problem::NoLog(_))), "{problem:?}");
}

#[test]
fn a_log_whose_segments_are_gone_says_so() {
    let os = some_log();
    for id in 1..=os.list(dir()).unwrap().len() as u64 {
        let _ = os.remove(&crate::segment::segment_path(dir(), id));
    }
    let (seen, problem) = look(&os);
    let Some(Problem::Damaged(damage)) = problem else { panic!("{problem:?}") };
    assert!(seen.is_empty() && damage.to_string().contains("begun once"), "{damage}");
}
