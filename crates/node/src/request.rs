//! What clients ask of a node and what it responds: domain types, free of any wire format.

use bytes::Bytes;
use lograft_kv::{Command, KeyValue, Outcome, Page};
use lograft_raft::RoleName;
use lograft_types::{ClusterId, LogIndex, NodeId, Revision, Term};

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientRequest {
    /// A change of the store.
    Write(Command),
    /// One key.
    Get {
        /// The key.
        key: Bytes,
        /// How fresh the response must be.
        consistency: Consistency,
    },
    /// Keys in order.
    List(ListRequest),
    /// Whether a linearizable read can be served: handled like one, but nothing is read.
    Barrier,
}

impl ClientRequest {
    /// What the request counts for while it waits: the bytes of its keys and values.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Write(Command::Set { key, value, .. }) => key.len() + value.len(),
            Self::Write(Command::Delete { key, .. }) | Self::Get { key, .. } => key.len(),
            Self::List(list) => list.prefix.len() + list.start_after.len(),
            Self::Barrier => 0,
        }
    }
}

/// Which keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// Only keys that begin with this.
    pub prefix: Bytes,
    /// Only keys that sort after this one; if empty, from the first key on.
    pub start_after: Bytes,
    /// The most keys; at least 1.
    pub limit: u32,
    /// The most bytes of keys and values; at least one key is listed even so.
    pub max_bytes: usize,
    /// Leave the values out.
    pub keys_only: bool,
    /// How fresh the response must be.
    pub consistency: Consistency,
}

/// How fresh the response to a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// It reflects every write that was acknowledged before the read began (thesis §6.4).
    Linearizable,
    /// It reflects some earlier state of the store, as this node has it.
    Serializable,
}

/// The response to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientResponse {
    /// Which node responds, and when.
    pub header: Header,
    /// What was asked for.
    pub body: ResponseBody,
}

/// Which node responds, and at which point of the cluster's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node that responds.
    pub node: NodeId,
    /// Its term.
    pub term: Term,
    /// For an effective write, its own revision; for a read, that of the map it was read from.
    pub revision: Revision,
}

/// The result of a [`ClientRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    /// To a write: it was applied, here or at the leader.
    Applied(Outcome),
    /// To a Get; `None`: no such key.
    Got(Option<KeyValue>),
    /// To a List.
    Listed(Page),
    /// To a Barrier.
    Reached,
}

impl ResponseBody {
    /// The bytes of its keys and values, without the one that a write replaced.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Got(Some(kv)) => kv.key.len() + kv.stored.value.len(),
            Self::Listed(page) => page.items.iter().map(|kv| kv.key.len() + kv.stored.value.len()).sum(),
            Self::Got(None) | Self::Applied(_) | Self::Reached => 0,
        }
    }
}

/// Why a request failed.
///
/// For a write, every variant except [`RequestError::UnknownOutcome`] means that it was not applied and never
/// will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Too many requests wait already.
    #[error("not applied: {what} is used up (limit {limit}): send it again later")]
    Overloaded {
        /// Which limit.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Too many requests wait already at the leader.
    #[error("not applied: the leader is overloaded: {0}")]
    LeaderOverloaded(String),
    /// The leader's disk has no space for the entry.
    #[error("not applied: the disk of {node} is full: writes are refused until there is space again")]
    DiskFull {
        /// The name of the node whose disk it is.
        node: String,
    },
    /// It waited for a leader until it timed out.
    #[error("not applied: no leader took it within {waited_ms} ms: is a majority of the cluster running?")]
    NoLeader {
        /// How long it waited.
        waited_ms: u64,
    },
    /// It was sent to a node that does not lead.
    #[error("not applied: node {node} does not lead")]
    NotLeader {
        /// The node.
        node: NodeId,
        /// The leader that this node knows of.
        leader: Option<NodeId>,
    },
    /// Another leader's entry is at its index.
    #[error("not applied: a new leader's entry took its place: it may be sent again")]
    Replaced,
    /// The leader refused it.
    #[error("not applied: the leader refused it: {0}")]
    Refused(String),
    /// The node is shutting down.
    #[error("not applied: the node is shutting down")]
    ShuttingDown,
    /// It may have been applied, or may still be.
    #[error("outcome unknown: {reason}: the write may or may not have been applied")]
    UnknownOutcome {
        /// What happened.
        reason: String,
    },
    /// A read found no leader that could confirm it in time.
    #[error(
        "no leader confirmed the read within {waited_ms} ms; a serializable read needs this node only, but may be stale"
    )]
    ReadTimedOut {
        /// How long it waited.
        waited_ms: u64,
    },
    /// A read was confirmed, but this node's map is too far behind to serve it.
    #[error(
        "this node did not catch up with the leader within {waited_ms} ms, it has applied {applied}: ask another node; \
         a serializable read needs no catching up, but may be stale"
    )]
    ReadBehind {
        /// How long it waited.
        waited_ms: u64,
        /// The last index that was applied here.
        applied: LogIndex,
    },
}

/// The status of a node and its cluster, as the node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which node responds.
    pub header: Header,
    /// The node's name.
    pub name: String,
    /// Its role.
    pub role: RoleName,
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// The first index that the log still holds.
    pub first_index: LogIndex,
    /// The last index of the log.
    pub last_index: LogIndex,
    /// The last index that is durable here.
    pub persisted_index: LogIndex,
    /// The last index that is committed, as far as this node knows.
    pub commit_index: LogIndex,
    /// The last index that was applied to the map.
    pub applied_index: LogIndex,
    /// The state's hash at `applied_index`.
    pub state_hash: u128,
    /// Keys in the map.
    pub keys: u64,
    /// Bytes of the log's files.
    pub log_size_bytes: u64,
    /// Requests that wait for a response.
    pub pending_requests: u64,
    /// Messages from peers that were refused.
    pub refused_messages: u64,
    /// Writes are refused because the disk is full.
    pub disk_full: bool,
    /// The members.
    pub members: Vec<MemberStatus>,
}

/// The status of a member, as the responding node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty while unknown.
    pub client_urls: Vec<String>,
    /// On the leader: the last index known to be durable there.
    pub match_index: Option<LogIndex>,
    /// On the leader: "probe" or "replicate".
    pub progress: Option<&'static str>,
    /// How often this node, as the leader, has found that the member had lost entries that it had acknowledged.
    pub losses: u64,
}
