//! What nodes say to each other, as the core sees it: entries are ids and sizes, never payloads.

use lograft_types::{EntryId, EntryMeta, LogIndex, NodeId, Term};

/// Where an answer goes: chosen by whoever hands a request in, returned with the core's answer to it. It means nothing
/// to the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplyTo(pub u64);

/// A request of one node to another. Each is answered exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Entries, or a heartbeat (Raft §5.3).
    AppendEntries(AppendEntries),
    /// A vote, or a pre-vote (Raft §5.2, thesis §9.6).
    RequestVote(RequestVote),
}

/// An answer of one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// To [`Request::AppendEntries`].
    AppendEntries(AppendEntriesResponse),
    /// To [`Request::RequestVote`].
    RequestVote(RequestVoteResponse),
}

/// A leader's entries; without entries, its heartbeat.
///
/// Invariants, checked where it enters the program: `entries` follow `prev` without a gap, terms do not go back, and
/// none is above `term`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendEntries {
    /// The leader's term.
    pub term: Term,
    /// The entry before the first of `entries`.
    pub prev: EntryId,
    /// The entries' ids and sizes; the payloads are with whoever carries the message.
    pub entries: Vec<EntryMeta>,
    /// The leader's commit index.
    pub commit: LogIndex,
    /// Rises with each request of a leader to one peer; the answer repeats it.
    pub request_id: u64,
    /// The round of leadership confirmation; the answer repeats it.
    pub read_round: u64,
}

/// An answer to [`AppendEntries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendEntriesResponse {
    /// The follower's term.
    pub term: Term,
    /// Repeats the request's.
    pub request_id: u64,
    /// Repeats the request's.
    pub read_round: u64,
    /// What came of it.
    pub result: AppendResult,
}

/// What came of an [`AppendEntries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendResult {
    /// The follower's log matches the leader's up to here, and is durable up to here.
    Matched {
        /// The last entry of the request, or `prev` of a heartbeat.
        match_index: LogIndex,
    },
    /// Like `Matched`, but the follower had no room for (the rest of) the entries: they are to be sent again later.
    Busy {
        /// The last entry that was taken, or `prev`.
        match_index: LogIndex,
    },
    /// The follower's log has no `prev`, or the request's term is old.
    Conflict {
        /// Where the leader should look next: an entry of the follower at or before `prev.index`, or one past its end.
        conflict: EntryId,
    },
}

/// A candidate's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestVote {
    /// The term that the candidate campaigns in, or would campaign in.
    pub term: Term,
    /// The candidate's last entry.
    pub last: EntryId,
    /// Only asks whether the vote would be given: nothing changes at the voter.
    pub pre_vote: bool,
    /// The old leader asked for this election: voters need not have lost it.
    pub leadership_transfer: bool,
}

/// An answer to [`RequestVote`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestVoteResponse {
    /// The voter's term; of a granted pre-vote, the term that was asked for.
    pub term: Term,
    /// Whether the vote is given.
    pub granted: bool,
    /// Repeats the request's.
    pub pre_vote: bool,
}

/// A message that the core hands in to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A request for a peer.
    Request {
        /// The peer.
        to: NodeId,
        /// What is asked.
        request: Request,
    },
    /// The answer to a request that came in.
    Response {
        /// The peer.
        to: NodeId,
        /// What came in with the request.
        reply_to: ReplyTo,
        /// The answer.
        response: Response,
    },
}
