//! The messages between nodes, as the core sees them: entries are ids and sizes, never payloads.

use lograft_types::{EntryId, EntryMeta, LogIndex, NodeId, Term};

/// Identifies the request that a response belongs to. The caller chooses it when it hands in a request, and the core
/// returns it with the response without interpreting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplyTo(pub u64);

/// A request from one node to another. Each is answered exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Entries, or a heartbeat (Raft §5.3).
    AppendEntries(AppendEntries),
    /// A vote, or a pre-vote (Raft §5.2, thesis §9.6).
    RequestVote(RequestVote),
}

/// A response from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// The response to [`Request::AppendEntries`].
    AppendEntries(AppendEntriesResponse),
    /// The response to [`Request::RequestVote`].
    RequestVote(RequestVoteResponse),
}

/// A leader's entries; without entries, its heartbeat.
///
/// Invariants, checked where the message enters the program: `entries` follow `prev` without a gap, their terms do
/// not go back, and none of them is above `term`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendEntries {
    /// The leader's term.
    pub term: Term,
    /// The entry before the first of `entries`.
    pub prev: EntryId,
    /// The entries' ids and sizes; whoever carries the message holds the payloads.
    pub entries: Vec<EntryMeta>,
    /// The leader's commit index.
    pub commit: LogIndex,
    /// Rises with each request from a node to one peer while that node runs, whatever the term; the response repeats
    /// it.
    pub request_id: u64,
    /// The round of leadership confirmation; the response repeats it.
    pub read_round: u64,
    /// Whoever hands the request to the core has cut entries off its end, for lack of credit: the response is
    /// [`AppendResult::Busy`]. No leader sets it, and it is not sent.
    pub clipped: bool,
}

/// The response to [`AppendEntries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendEntriesResponse {
    /// The follower's term.
    pub term: Term,
    /// Copied from the request.
    pub request_id: u64,
    /// Copied from the request.
    pub read_round: u64,
    /// The outcome.
    pub result: AppendResult,
}

/// The outcome of an [`AppendEntries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendResult {
    /// The follower's log matches the leader's up to here, and is durable up to here.
    Matched {
        /// The last entry of the request, or `prev` of a heartbeat.
        match_index: LogIndex,
    },
    /// Like `Matched`, but the follower lacked credit for some or all of the entries: send them again later.
    Busy {
        /// The last entry that the follower accepted, or `prev`.
        match_index: LogIndex,
    },
    /// The follower's log lacks `prev`, or the request's term is old.
    Conflict {
        /// Where the leader should look next: an entry of the follower at or before `prev.index`, or one past its
        /// end.
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
    /// Only asks whether the voter would grant the vote: nothing changes at the voter.
    pub pre_vote: bool,
    /// The old leader asked for this election: voters grant votes even while they still hear it.
    pub leadership_transfer: bool,
}

/// The response to [`RequestVote`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestVoteResponse {
    /// The voter's term; in a granted pre-vote, the term that was asked for.
    pub term: Term,
    /// Whether the voter grants the vote.
    pub granted: bool,
    /// Copied from the request.
    pub pre_vote: bool,
}

/// A message for the caller to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A request for a peer.
    Request {
        /// The peer.
        to: NodeId,
        /// The request.
        request: Request,
    },
    /// The response to a request that came in.
    Response {
        /// The peer.
        to: NodeId,
        /// Copied from the request's input.
        reply_to: ReplyTo,
        /// The response.
        response: Response,
    },
}
