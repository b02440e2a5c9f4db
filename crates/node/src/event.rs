//! What happens to a node and what it asks of the outside: [`Event`]s go into a turn, [`Effects`] come out.

use bytes::Bytes;
use lograft_kv::Outcome;
use lograft_raft::{Halt, ReplyTo, Response};
use lograft_storage::LogReport;
use lograft_types::{Entry, EntryId, LogIndex, LogWrite, NodeId};

use super::peer::{Envelope, PeerMessage, PeerRequest, PeerResponse};
use super::request::{ClientRequest, ClientResponse, RequestError};

/// Identifies a request from a client of this node. The caller chooses it and never uses it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientToken(pub u64);

/// Identifies a request that a peer has forwarded to this node. The caller chooses it and never uses it
/// twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForwardToken(pub u64);

/// Identifies a request that this node has forwarded to a leader. A node never uses one twice in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForwardId(pub u64);

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A unit of time has passed.
    Tick,
    /// The log reports what is durable, and its credit.
    Log(LogReport),
    /// A peer asks.
    PeerRequest {
        /// The sender and the recipient.
        envelope: Envelope,
        /// Goes back with the response.
        reply_to: ReplyTo,
        /// What it asks.
        request: PeerRequest,
    },
    /// A peer responds.
    PeerResponse {
        /// The sender and the recipient.
        envelope: Envelope,
        /// Its response.
        response: Response,
    },
    /// The stream on which this peer sent its appends ended without being closed properly.
    StreamLost {
        /// The peer.
        from: NodeId,
    },
    /// The link to this peer broke: messages on their way are lost.
    LinkLost {
        /// The peer.
        to: NodeId,
    },
    /// A message was refused before it reached the node, for its envelope or its form.
    Refused,
    /// A peer said where clients reach it.
    Handshake {
        /// The peer.
        from: NodeId,
        /// Its URLs for clients.
        client_urls: Vec<String>,
    },
    /// A request from a client of this node.
    Client {
        /// Its token.
        token: ClientToken,
        /// What is asked.
        request: ClientRequest,
        /// How long it waits at most.
        timeout_ms: u64,
    },
    /// A request that a peer has forwarded: this node handles it as the leader, or refuses it.
    Forwarded {
        /// Its token.
        token: ForwardToken,
        /// What is asked.
        request: ForwardRequest,
        /// How long it waits at most.
        timeout_ms: u64,
    },
    /// The result of a request that this node forwarded.
    ForwardDone {
        /// Which request.
        id: ForwardId,
        /// Its result.
        result: Result<ForwardResponse, ForwardFailure>,
    },
    /// Entries that the node asked for.
    Loaded {
        /// In order, from the first that was asked for; or why there are none.
        entries: Result<Vec<Entry>, String>,
    },
}

/// What a node asks the leader for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardRequest {
    /// A command, as JSON.
    Write(Bytes),
    /// An index to read at.
    ReadIndex,
}

/// A leader's response to a forwarded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardResponse {
    /// The command was applied.
    Applied {
        /// As this entry.
        id: EntryId,
        /// With this outcome.
        outcome: Outcome,
    },
    /// A map that has applied this index can serve a linearizable read.
    ReadAt(LogIndex),
}

/// Why a forwarded request did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardFailure {
    /// It never left this node, or the recipient did not lead: it had no effect and may be sent again.
    NotTaken,
    /// The leader took it and responded with an error.
    Refused(RequestError),
    /// It was sent, and no response came.
    Lost {
        /// What happened.
        reason: String,
    },
}

/// What a turn asks of the outside. There is no order among the effects.
#[derive(Debug, Default)]
pub struct Effects {
    /// For the log, in order.
    pub writes: Vec<LogWrite>,
    /// An entry waits that takes this much credit, more than all that the log can have: the log is to prepare a larger
    /// segment.
    pub wanted_credit_bytes: Option<u64>,
    /// For the links to the peers; those to one peer in order.
    pub messages: Vec<(NodeId, PeerMessage)>,
    /// For peers that sent requests.
    pub peer_responses: Vec<PeerResponse>,
    /// For the clients of this node.
    pub client_responses: Vec<(ClientToken, Result<ClientResponse, RequestError>)>,
    /// For peers that forwarded requests.
    pub forward_responses: Vec<(ForwardToken, Result<ForwardResponse, RequestError>)>,
    /// For the leader.
    pub forwards: Vec<Forward>,
    /// Entries to be read from the log and handed back as [`Event::Loaded`]. At most one such request is open.
    pub load: Option<Load>,
    /// The node has more to do: it wants another turn, even if nothing happens until then. What does happen goes first.
    pub unfinished: bool,
    /// The node must stop, and touch nothing.
    pub halt: Option<HaltReason>,
}

/// A request for the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The leader.
    pub to: NodeId,
    /// Comes back with the response.
    pub id: ForwardId,
    /// What is asked.
    pub request: ForwardRequest,
    /// How long the node waits for the response.
    pub timeout_ms: u64,
}

/// Entries that the node needs and no longer has in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The first.
    pub first: LogIndex,
    /// The last.
    pub last: LogIndex,
    /// About this many bytes, but at least one entry.
    pub max_bytes: usize,
}

/// Why a node must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HaltReason {
    /// A promise of the protocol was broken.
    #[error("{halt} ({names})")]
    Protocol {
        /// What the core found.
        halt: Halt,
        /// The names of the nodes that it speaks of.
        names: String,
    },
    /// An entry holds a command that this version's state machine does not know. Skipping it would make the
    /// replicas diverge.
    #[error("entry {id} cannot be applied: {why}: was it written by a newer version? Run that version here")]
    UnknownCommand {
        /// Which entry.
        id: EntryId,
        /// What is wrong with it.
        why: String,
    },
    /// Committed entries cannot be read back.
    #[error("entry {first} is committed but cannot be read from the log: {why}: check the disk")]
    UnreadableLog {
        /// The first entry that was asked for.
        first: LogIndex,
        /// What the log said.
        why: String,
    },
    /// The log could not be written or flushed. What it holds is uncertain until recovery has read it.
    #[error("the log failed: {0}: nothing more is acknowledged; repair the disk and start the node again")]
    LogFailed(String),
}
