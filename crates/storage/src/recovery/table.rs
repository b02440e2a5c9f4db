//! The decision tables: what a defect in the log means. Data, so that every row can be tested and read.
//!
//! The question is always whether the bytes in question were durable once. If something later proves it, their loss is
//! damage, and the start is refused. If nothing does, a power cut in the middle of a write explains them: what was
//! never durable was never promised to anybody.
//!
//! Caveat: the last flush before a power cut is proved by nothing until a sync marker follows. A bit that flips in it is taken
//! for a torn write; the node says that it cut.

/// How the reading of a started segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    /// Behind the record that says that the next segment goes on.
    SegmentEnd,
    /// Nothing but zeros up to the end of the file.
    Zeros,
    /// Bytes that are no record.
    Broken,
    /// A record that is whole and contradicts what was read before, or of an unknown kind.
    Contradiction,
}

/// What is known of the segment behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Next {
    /// There is no such file.
    Missing,
    /// The file is there, and neither it nor any later one begins with a whole segment start.
    NotStarted,
    /// It begins with a segment start that names the last record that was read here.
    Continues,
    /// It, or a later one, begins with a segment start that does not.
    Elsewhere,
}

/// What to do where the reading of a started segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Go on in the next segment.
    GoOn,
    /// The log ends here.
    End,
    /// The log ends here; the next segment is to be started (anew).
    EndAndRoll,
    /// A torn tail: cut it, fill with zeros, flush, say so.
    Cut,
    /// Damage: refuse to start.
    Refuse(&'static str),
}

/// What a row of [`STOPS`] asks of the proof in the same segment: a later whole record that was written when the place
/// in question was known to be durable.
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
const UNSEALED: &str = "the next segment was started and this one has no end";
const WRONG: &str = "a whole record contradicts those before it";
const BEHIND_ZEROS: &str = "records stand behind the end of the log";

/// Every combination stands in exactly one row.
pub(super) const STOPS: &[(Stop, Next, Proof, Decision)] = &[
    // A segment that ended in order. What stands behind its end is never read.
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
    // No record: torn, unless something proves that it was whole.
    (Broken, Missing, NotGiven, Cut),
    (Broken, NotStarted, NotGiven, Cut),
    (Broken, Missing, Given, Refuse(LOST)),
    (Broken, NotStarted, Given, Refuse(LOST)),
    (Broken, Continues, Any, Refuse(UNSEALED)),
    (Broken, Elsewhere, Any, Refuse(LOST)),
    // No power cut makes a whole record that does not fit.
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
    /// Zeros, all through the file.
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
    /// Prepared, and begun with writes of which nothing was durable: to be filled with zeros.
    Unfinished,
    /// Damaged: refuse to start.
    Damaged(&'static str),
}

const START_LOST: &str = "the start of the segment is damaged: a later record proves that it was durable";
const START_SKIPPED: &str = "the segment has no start, and a later one has";

/// By what the segment begins with, whether a later segment is started, and the proof in the segment itself.
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
