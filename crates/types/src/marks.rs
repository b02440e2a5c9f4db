//! Coverage marks: they show that a test run reached the rare branches that it claims to cover.
//!
//! A fault that never strikes and a branch that is never taken prove nothing. So the branches that matter carry a
//! mark, and a long run fails if it never reached one of them.
//!
//! In a build with debug assertions, each mark counts per thread how often it was reached. In any other build a mark
//! compiles to nothing.

use std::cell::Cell;

/// Counts that this branch was taken, in builds that count marks.
#[macro_export]
macro_rules! mark {
    ($mark:ident) => {
        $crate::marks::count($crate::marks::Mark::$mark)
    };
}

/// Defines the marks: the enum, the table of all marks, and their descriptions.
macro_rules! marks {
    ($($mark:ident: $meaning:literal,)+) => {
        /// A branch that is taken rarely.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mark {
            $(#[doc = $meaning] $mark,)+
        }

        impl Mark {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$mark),+];

            /// What it means that this mark was reached.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$mark => $meaning,)+
                }
            }
        }
    };
}

marks! {
    // Elections.
    VoteKept: "a vote that was cast before a restart is kept: another candidate is refused",
    VoteRepeated: "a candidate asks again for a vote that it already has, and gets it again",
    CandidateBehind: "a candidate whose log is behind is refused",
    StickyVote: "a vote is refused because the voter still hears its leader",
    LateVoteAnswer: "a response arrives for an election that is over",
    SplitVote: "a candidate's election timeout passes before anybody wins",
    LeaderUnheard: "a leader steps down because no majority responds",
    LeaderDeposed: "a leader learns of a higher term",
    StreamLossCampaign: "a follower campaigns early because the leader's stream broke",
    CampaignInstead: "a voter campaigns in place of a candidate whose log is behind its own",
    // Replication.
    SuffixTruncated: "uncommitted entries are replaced by another leader's",
    StaleAppendKept: "a stale append repeats entries, and the entries after them are kept",
    OldLeaderAnswered: "a leader of an earlier term is told that it was deposed",
    CommitBounded: "an append's commit index is past the entries it compared, and the follower commits no further",
    FollowerConflict: "a follower's log lacks the entry that an append follows",
    FigureEight: "an earlier term's entry is on a majority, and is not committed by counting (figure 8)",
    EarlierTermAck: "a response to a request of an earlier term is ignored",
    StaleAck: "a response to a request sent before the last probe is ignored",
    DurableAckWaits: "an acknowledgement waits for the flush of an entry that an earlier append brought",
    Unanswered: "nothing sent to a peer is answered for an election timeout: probe again",
    AcknowledgedLost: "a follower has lost entries that it had acknowledged to its leader",
    BusyFollower: "a follower has no credit for entries",
    PromiseBroken: "a promise that waited for the disk becomes a refusal, because the term has moved on",
    RequestDropped: "a request that waited for the disk is never sent, because the term has moved on",
    LateFlush: "a flush completes after its entries were overwritten",
    // Requests.
    ReadBeforeFirst: "a read waits for the commit of the leader's first own entry",
    ReadLost: "a read index is lost with its leader",
    WaiterReplaced: "a waiter's entry was replaced by another leader's",
    WriteExpired: "a write times out while it is in the log: its outcome is unknown",
    ForwardLost: "a forwarded write is lost with its link: its outcome is unknown",
    AskedAgain: "a request that the leader did not accept is sent again",
    LeaderAsked: "a leader that takes nothing is asked with one write a tick",
    LogFull: "a write is refused because the disk is full",
    ApplyingPaused: "applying entries goes on in another turn",
    EntriesLoaded: "committed entries are read back from the log to be applied",
    AppliedBeforeCopied: "an entry is applied that the log has not appended yet",
    DepartedEarly: "entries for a peer are not in the log yet when their message leaves",
    AppendClipped: "an append is cut down to the credit that the log has",
    CreditWanted: "an entry takes more than all of the credit, so a larger segment is wanted",
    CreditDenied: "an entry takes more than all of the credit, and the disk has no space for a larger segment",
    ClippedWhileReplacing: "the credit covers only a part of the entries that replace others",
    // The disk.
    TornTail: "a torn write is cut from the end of the log",
    RollEnded: "a crash came after the end of a segment and before the start of the next one",
    RollStarted: "a crash came while the first record of the next segment was written",
    UnfinishedSegment: "a crash left a partly prepared segment",
    SegmentRolled: "the log rolls over to its next segment",
    SegmentEnlarged: "a segment of more than the usual size is prepared",
    StartNotSynced: "a crash came before the log's first segment was started",
}

/// Whether this build counts marks.
pub const COUNTED: bool = cfg!(debug_assertions);

thread_local! {
    static REACHED: [Cell<u64>; Mark::ALL.len()] = const { [const { Cell::new(0) }; Mark::ALL.len()] };
}

/// Counts that a mark was reached on this thread; [`mark!`](crate::mark) calls it.
#[inline]
pub fn count(mark: Mark) {
    if COUNTED {
        REACHED.with(|reached| reached[mark as usize].set(reached[mark as usize].get() + 1));
    }
}

/// How often each mark was reached on this thread since the last call, in the order of [`Mark::ALL`].
pub fn take() -> Vec<u64> {
    REACHED.with(|reached| reached.iter().map(Cell::take).collect())
}
