//! Marks of rare branches: a test run tells by them that it came where it claims to come.
//!
//! A fault that never strikes and a branch that is never taken prove nothing. So the branches that matter are marked
//! where they are taken, and a long run fails if one of them never was.
//!
//! In a build with debug assertions a mark counts, for the thread that runs it. In any other build it is nothing at all.

use std::cell::Cell;

/// Counts that this branch was taken, where somebody may want to know.
#[macro_export]
macro_rules! mark {
    ($mark:ident) => {
        $crate::marks::count($crate::marks::Mark::$mark)
    };
}

/// The list of marks, as an enum, as a table and as words.
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

            /// What it says when it was reached.
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
    VoteRepeated: "a vote is asked for again and given again to the same candidate",
    CandidateBehind: "a candidate with a log that is behind is refused",
    StickyVote: "a vote is refused because a leader is heard",
    LateVoteAnswer: "a voter answers an election that is over",
    SplitVote: "a candidate's time is over before anybody won",
    LeaderUnheard: "a leader steps down because no majority answers",
    LeaderDeposed: "a leader learns of a higher term",
    StreamLossCampaign: "a follower campaigns early because the leader's stream broke",
    CampaignInstead: "a voter campaigns in the place of a candidate that is behind it",
    // Replication.
    SuffixTruncated: "uncommitted entries are dropped for another leader's",
    StaleAppendKept: "a stale append repeats entries, and what stands behind them stays",
    OldLeaderAnswered: "a leader of an earlier term is told that its time is over",
    CommitBounded: "a follower is told of a commit index beyond what it compared, and commits no further",
    FollowerConflict: "a follower's log does not have what an append follows",
    FigureEight: "an earlier term's entry is on a majority, and is not committed by counting (figure 8)",
    EarlierTermAck: "an answer to a request of an earlier term is ignored",
    StaleAck: "an answer from before the last probe is ignored",
    DurableAckWaits: "an acknowledgement waits for the flush of an entry that an earlier append brought",
    Unanswered: "what was sent is not answered for an election timeout: probe again",
    BusyFollower: "a follower has no room for entries",
    PromiseBroken: "a promise that waited for the disk becomes a refusal, as the term has moved on",
    RequestDropped: "a request that waited for the disk is never sent, as the term has moved on",
    LateFlush: "a flush ends whose entries were overwritten meanwhile",
    // Requests.
    ReadBeforeFirst: "a read waits for the leader's first own entry to be committed",
    ReadLost: "a read index is lost with its leader",
    WaiterReplaced: "a waiter's entry was replaced by another leader's",
    WriteExpired: "a write's time is over while it is in the log: its outcome is unknown",
    ForwardLost: "a forwarded write is lost with its link: its outcome is unknown",
    AskedAgain: "a request that the leader did not take is asked again",
    LogFull: "a write is refused because the disk is full",
    EntriesLoaded: "committed entries are read back from the log to be applied",
    AppendClipped: "an append is cut down to the room that the log has",
    // The disk.
    TornTail: "a torn write is cut from the end of the log",
    RollEnded: "a crash came after a segment's end and before the next one's start",
    RollStarted: "a crash came while the first record of the next segment was written",
    UnfinishedSegment: "a crash left a segment whose preparation was not finished",
    SegmentRolled: "the log rolls into its next segment",
    StartNotSynced: "a crash came before the log's first segment was begun",
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
