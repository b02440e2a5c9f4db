//! The log against power cuts: the disks that they may leave at any moment, and every bit of a log flipped.
//!
//! These tests do for a few seconds what `lograft-sim crashes` and `lograft-sim flips` do for minutes. A
//! failure says how to replay it; the seeds mean the same here and there.

use lograft_sim::{bits, images};
use lograft_types::marks::{COUNTED, Mark};

const JOBS: usize = 2;
/// What `cargo test` tries. `scripts/mutants` reads both numbers to report what they find.
const EVERYDAY_RECOVERIES: u64 = 50_000;
const EVERYDAY_KIB: u64 = 4;

#[test]
fn pitfall_60_71_73_what_was_promised_survives_every_power_cut_and_those_in_recovery_too() {
    let (counts, failure) = images::run(0, EVERYDAY_RECOVERIES, JOBS);
    if let Some(failure) = failure {
        panic!("{failure}");
    }
    println!("{counts:?}");
    // A run in which little happens proves little.
    assert!(counts.images > 1_000 && counts.kills > 50 && counts.second_crashes > 2_000, "{counts:?}");
    assert!(counts.torn > 500, "power cuts tore too few writes: {counts:?}");
    // A build without debug assertions does not count coverage marks.
    if COUNTED {
        for mark in [
            Mark::TornTail,
            Mark::RollEnded,
            Mark::RollStarted,
            Mark::SegmentRolled,
            Mark::UnfinishedSegment,
            Mark::StartNotSynced,
        ] {
            assert!(counts.reached(mark) > 0, "never reached: {}", mark.meaning());
        }
    }
}

#[test]
fn crash_images_are_the_same_however_many_threads_make_them() {
    let (one, failure) = images::run(3, 2_000, 1);
    assert_eq!(failure, None);
    assert_eq!((one, None), images::run(3, 2_000, 3));
}

#[test]
fn pitfall_68_a_flip_of_any_bit_is_detected_or_costs_nothing_that_is_proved() {
    let flips = bits::run(0, EVERYDAY_KIB, JOBS).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{flips:?}");
    assert_eq!(flips.bits, flips.detected + flips.harmless + flips.cut);
    assert!(flips.files > 3, "the log has too few segments: {flips:?}");
    assert!(flips.detected > EVERYDAY_KIB * 1024 * 8, "some bits of records were not detected: {flips:?}");
    assert!(flips.cut > 100, "too few cuts for a last write that nothing proves: {flips:?}");
}
