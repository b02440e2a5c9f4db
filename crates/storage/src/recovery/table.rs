//! The decision tables: what a defect in the log means. They are data, so that every row can be tested and
//! read.
//!
//! The question is always whether the bytes were once durable. If something later proves it, their loss is
//! damage, and the node refuses to start. If nothing does, a power cut in the middle of a write explains
//! them: what was never durable was never promised.
//!
//! Caveat: nothing proves the last flush before a power cut unless a sync marker follows it. A bit flip in it
//! is taken for a torn write; the node reports the cut.

/// How the reading of a started segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    /// At the record that ends the segment.
    SegmentEnd,
    /// Nothing but zeros up to the end of the file.
    Zeros,
    /// Bytes that are not a record.
    Broken,
    /// A whole record that contradicts what was read before, or is of an unknown kind.
    Contradiction,
}

/// What is known of the next segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Next {
    /// There is no such file.
    Missing,
    /// The file exists, but neither it nor any later one begins with a whole segment start.
    NotStarted,
    /// It begins with a segment start that names the last record that was read here.
    Continues,
    /// It, or a later one, begins with another segment start.
    Elsewhere,
}

/// What to do where the reading of a started segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Go on in the next segment.
    GoOn,
    /// The log ends here.
    End,
    /// The log ends here; start the next segment (again).
    EndAndRoll,
    /// A torn tail: cut it, fill with zeros, flush, report it.
    Cut,
    /// Damage: refuse to start.
    Refuse(&'static str),
}

/// What a row of [`STOPS`] requires of the proof in the same segment: a later whole record, written when
/// these bytes were known to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// There is one.
    Given,
    /// There is none.
    NotGiven,
    /// Either way.
    Any,
}

impl Proof {
    fn covers(self, given: bool) -> bool {
        match self {
            Self::Given => given,
            Self::NotGiven => !given,
            Self::Any => true,
        }
    }
}

use Decision::{Cut, End, EndAndRoll, GoOn, Refuse};
use Next::{Continues, Elsewhere, Missing, NotStarted};
use Proof::{Any, Given, NotGiven};
use Stop::{Broken, Contradiction, SegmentEnd, Zeros};

const LOST: &str = "a record that was durable is damaged: a later one proves it";
const GONE: &str = "the next segment is missing";
const APART: &str = "the next segment does not continue this one: records or a file between them are gone";
const UNSEALED: &str = "the next segment was started, but this one has no end record";
const WRONG: &str = "a whole record contradicts those before it";
const BEHIND_ZEROS: &str = "there are records after the end of the log";

/// Every combination is in exactly one row.
pub(super) const STOPS: &[(Stop, Next, Proof, Decision)] = &[
    // A segment that ended properly. Nothing after its end is ever read.
    (SegmentEnd, Continues, Any, GoOn),
    (SegmentEnd, NotStarted, Any, EndAndRoll),
    (SegmentEnd, Missing, Any, Refuse(GONE)),
    (SegmentEnd, Elsewhere, Any, Refuse(APART)),
    // The log just ends. The next segment is started only after this one's end is durable.
    (Zeros, Missing, NotGiven, End),
    (Zeros, NotStarted, NotGiven, End),
    (Zeros, Missing, Given, Refuse(BEHIND_ZEROS)),
    (Zeros, NotStarted, Given, Refuse(BEHIND_ZEROS)),
    (Zeros, Continues, Any, Refuse(UNSEALED)),
    (Zeros, Elsewhere, Any, Refuse(APART)),
    // Not a record: torn, unless something proves that it was whole.
    (Broken, Missing, NotGiven, Cut),
    (Broken, NotStarted, NotGiven, Cut),
    (Broken, Missing, Given, Refuse(LOST)),
    (Broken, NotStarted, Given, Refuse(LOST)),
    (Broken, Continues, Any, Refuse(UNSEALED)),
    (Broken, Elsewhere, Any, Refuse(LOST)),
    // No power cut leaves a whole record that does not fit.
    (Contradiction, Missing, Any, Refuse(WRONG)),
    (Contradiction, NotStarted, Any, Refuse(WRONG)),
    (Contradiction, Continues, Any, Refuse(WRONG)),
    (Contradiction, Elsewhere, Any, Refuse(WRONG)),
];

/// What a segment begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Begin {
    /// A whole segment start.
    Started,
    /// Only zeros, up to the end of the file.
    Blank,
    /// Anything else.
    Broken,
}

/// What a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A part of the log.
    Part,
    /// Prepared, and not yet used.
    Prepared,
    /// Prepared and written to, but nothing was durable yet: fill it with zeros.
    Unfinished,
    /// Damaged: refuse to start.
    Damaged(&'static str),
}

const START_LOST: &str = "the start of the segment is damaged: a later record proves that it was durable";
const START_SKIPPED: &str = "the segment has no start, but a later one has";

/// The role of a segment, by how it begins, whether a later segment is started, and the proof in the segment
/// itself.
pub(super) const BEGINS: &[(Begin, bool, Proof, Role)] = &[
    (Begin::Started, true, Any, Role::Part),
    (Begin::Started, false, Any, Role::Part),
    (Begin::Blank, false, NotGiven, Role::Prepared),
    (Begin::Blank, false, Given, Role::Damaged(START_LOST)),
    (Begin::Blank, true, Any, Role::Damaged(START_SKIPPED)),
    (Begin::Broken, false, NotGiven, Role::Unfinished),
    (Begin::Broken, false, Given, Role::Damaged(START_LOST)),
    (Begin::Broken, true, Any, Role::Damaged(START_SKIPPED)),
];

/// What to do where the reading of a started segment ended.
pub(super) fn decide(stop: Stop, next: Next, proof: bool) -> Decision {
    let row = STOPS.iter().find(|row| row.0 == stop && row.1 == next && row.2.covers(proof));
    row.expect("the table has a row for every case").3
}

/// What a segment is.
pub(super) fn role(begin: Begin, later_started: bool, proof: bool) -> Role {
    let row = BEGINS.iter().find(|row| row.0 == begin && row.1 == later_started && row.2.covers(proof));
    row.expect("the table has a row for every case").3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_stands_in_exactly_one_row() {
        for stop in [SegmentEnd, Zeros, Broken, Contradiction] {
            for next in [Missing, NotStarted, Continues, Elsewhere] {
                for proof in [false, true] {
                    let rows =
                        STOPS.iter().filter(|row| row.0 == stop && row.1 == next && row.2.covers(proof));
                    assert_eq!(rows.count(), 1, "{stop:?} {next:?} {proof}");
                }
            }
        }
        for begin in [Begin::Started, Begin::Blank, Begin::Broken] {
            for later in [false, true] {
                for proof in [false, true] {
                    let rows =
                        BEGINS.iter().filter(|row| row.0 == begin && row.1 == later && row.2.covers(proof));
                    assert_eq!(rows.count(), 1, "{begin:?} {later} {proof}");
                }
            }
        }
    }

    #[test]
    fn nothing_that_something_later_proves_is_ever_cut() {
        for stop in [SegmentEnd, Zeros, Broken, Contradiction] {
            for next in [Missing, NotStarted, Continues, Elsewhere] {
                for proof in [false, true] {
                    let proved = proof || matches!(next, Continues | Elsewhere);
                    if decide(stop, next, proof) == Cut {
                        assert!(!proved && stop == Broken);
                    }
                    if proved && stop != SegmentEnd {
                        assert!(matches!(decide(stop, next, proof), Refuse(_)));
                    }
                }
            }
        }
    }
}
