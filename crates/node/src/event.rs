//! What happens to a node and what it asks of the outside: [`Event`]s go into a turn, [`Effects`] come out.

use bytes::Bytes;
use lograft_kv::Outcome;
use lograft_raft::{Halt, ReplyTo, Response};
use lograft_storage::LogReport;
use lograft_types::{Entry, EntryId, LogIndex, LogWrite, NodeId};

use super::peer::{Envelope, PeerMessage, PeerRequest, PeerResponse};
use super::request::{ClientRequest, ClientResponse, RequestError};

/// Names a request of a client of this node, chosen by whoever hands it in, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientToken(pub u64);

/// Names a request that a peer has forwarded to this node, chosen by whoever hands it in, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForwardToken(pub u64);

/// Names what this node has forwarded to a leader, never used twice in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForwardId(pub u64);

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A unit of time has passed.
    Tick,
    /// The log says what is durable, and how much room it has.
    Log(LogReport),
    /// A peer asks.
    PeerRequest {
        /// Who speaks to whom.
        envelope: Envelope,
        /// Goes back with the answer.
        reply_to: ReplyTo,
        /// What it asks.
        request: PeerRequest,
    },
    /// A peer answers.
    PeerResponse {
        /// Who speaks to whom.
        envelope: Envelope,
        /// Its answer.
        response: Response,
    },
    /// The stream on which this peer sent its appends ended without having been closed in order.
    StreamLost {
        /// The peer.
        from: NodeId,
    },
    /// The link to this peer broke: what was on its way is lost.
    LinkLost {
        /// The peer.
        to: NodeId,
    },
    /// A message was refused before it reached the node, for its envelope or its form.
    Refused,
    /// A peer told where clients reach it.
    Handshake {
        /// The peer.
        from: NodeId,
        /// Its URLs for clients.
        client_urls: Vec<String>,
    },
    /// A request of a client of this node.
    Client {
        /// Its name.
        token: ClientToken,
        /// What is asked.
        request: ClientRequest,
        /// How long it waits at the most.
        timeout_ms: u64,
    },
    /// A request that a peer has forwarded: it is answered by this node as leader, or not at all.
    Forwarded {
        /// Its name.
        token: ForwardToken,
        /// What is asked.
        request: ForwardRequest,
        /// How long it waits at the most.
        timeout_ms: u64,
    },
    /// What came of something that this node forwarded.
    ForwardDone {
        /// Which.
        id: ForwardId,
        /// What came of it.
        result: Result<ForwardResponse, ForwardFailure>,
    },
    /// Entries that the node asked for.
    Loaded {
        /// In order from the first that was asked for; or why not.
        entries: Result<Vec<Entry>, String>,
    },
}

/// What a node asks of the leader for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardRequest {
    /// A command, as JSON.
    Write(Bytes),
    /// An index to read at.
    ReadIndex,
}

/// A leader's answer to a forwarded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardResponse {
    /// The command was applied.
    Applied {
        /// As this entry.
        id: EntryId,
        /// With this outcome.
        outcome: Outcome,
    },
    /// A map with this index applied answers linearizably.
    ReadAt(LogIndex),
}

/// Why a forwarded request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardFailure {
    /// It never left this node, or the addressee did not lead: nothing happened, it may be sent again.
    NotTaken,
    /// The leader took it and says what became of it.
    Refused(RequestError),
    /// It left, and no answer came.
    Lost {
        /// What came in between.
        reason: String,
    },
}

/// What a turn asks of the outside. There is no order among the effects.
#[derive(Debug, Default)]
pub struct Effects {
    /// For the log, in order.
    pub writes: Vec<LogWrite>,
    /// For the links to the peers; those to one peer in order.
    pub messages: Vec<(NodeId, PeerMessage)>,
    /// For peers that asked.
    pub peer_responses: Vec<PeerResponse>,
    /// For the clients of this node.
    pub client_responses: Vec<(ClientToken, Result<ClientResponse, RequestError>)>,
    /// For peers that forwarded.
    pub forward_responses: Vec<(ForwardToken, Result<ForwardResponse, RequestError>)>,
    /// For the leader.
    pub forwards: Vec<Forward>,
    /// Entries to be read from the log and handed back as [`Event::Loaded`]. At most one such request is open.
    pub load: Option<Load>,
    /// The node must stop, and touch nothing.
    pub halt: Option<HaltReason>,
}

/// Something for the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The leader.
    pub to: NodeId,
    /// The name under which the answer comes back.
    pub id: ForwardId,
    /// What is asked.
    pub request: ForwardRequest,
    /// How long the answer is waited for.
    pub timeout_ms: u64,
}

/// Entries that the node needs and no longer has in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The first.
    pub first: LogIndex,
    /// The last.
    pub last: LogIndex,
    /// About so many bytes, at least one entry.
    pub max_bytes: usize,
}

/// Why a node must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HaltReason {
    /// A promise of the protocol was broken.
    #[error(transparent)]
    Protocol(#[from] Halt),
    /// An entry says what this version's state machine does not know. Skipping it would split the replicas.
    #[error("entry {id} cannot be applied: {why}: was it written by a newer version? Run that version here")]
    UnknownCommand {
        /// Which entry.
        id: EntryId,
        /// What is wrong with it.
        why: String,
    },
    /// Committed entries cannot be read back.
    #[error("entry {first} is committed but cannot be read from the log: {why}")]
    UnreadableLog {
        /// The first entry that was asked for.
        first: LogIndex,
        /// What the log said.
        why: String,
    },
    /// The log could not be written or flushed. What it holds is not certain: recovery will tell.
    #[error("the log failed: {0}: nothing more is acknowledged; mend the disk and start the node again")]
    LogFailed(String),
}
