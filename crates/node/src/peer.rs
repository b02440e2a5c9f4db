//! The requests of peers, with payloads, and the checks before any of them reaches the core.
//!
//! Every message from a peer is checked here once: who sent it, whom it is for, and whether its entries can
//! be a part of one log. A message that fails is refused and counted, and changes nothing. Only then are
//! terms looked at.

use lograft_raft as raft;
use lograft_raft::{AppendResult, ReplyTo};
use lograft_types::{
    ClusterId, Entry, EntryId, EntryKind, EntryMeta, Identity, LogIndex, MAX_COUNTER, NodeId, Term,
};

use crate::limits::LARGEST_COMMAND_BYTES;

/// The sender and the recipient of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The cluster that the sender belongs to.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// The node that the message is for.
    pub to: NodeId,
    /// The incarnation of the sender's data directory; 0 while unknown.
    pub incarnation: u64,
}

/// A request from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerRequest {
    /// Entries, or a heartbeat.
    Append(AppendRequest),
    /// A vote, or a pre-vote.
    Vote {
        /// Who would be elected.
        candidate: NodeId,
        /// What is asked.
        vote: raft::RequestVote,
    },
}

/// A leader's entries with their payloads; without entries, its heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendRequest {
    /// The leader's term.
    pub term: Term,
    /// The leader.
    pub leader: NodeId,
    /// The entry before the first of `entries`.
    pub prev: EntryId,
    /// The entries.
    pub entries: Vec<Entry>,
    /// The leader's commit index.
    pub commit: LogIndex,
    /// Rises with each request of a leader to one peer.
    pub request_id: u64,
    /// The round of leadership confirmation.
    pub read_round: u64,
}

impl AppendRequest {
    /// The request as the core sees it. `clipped`: some of its entries were cut off.
    pub(super) fn for_core(&self, clipped: bool) -> raft::AppendEntries {
        raft::AppendEntries {
            term: self.term,
            prev: self.prev,
            entries: self.entries.iter().map(meta).collect(),
            commit: self.commit,
            request_id: self.request_id,
            read_round: self.read_round,
            clipped,
        }
    }
}

/// An entry as the core sees it.
pub(super) fn meta(entry: &Entry) -> EntryMeta {
    let size_bytes = u32::try_from(entry.payload.len()).expect("payloads are checked where they enter");
    EntryMeta { id: entry.id, size_bytes }
}

/// Why a message from a peer was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It belongs to another cluster.
    #[error(
        "refused: this node belongs to cluster {ours}, the message to cluster {theirs}: check --initial-cluster and --initial-cluster-token"
    )]
    OtherCluster {
        /// This node's cluster.
        ours: ClusterId,
        /// The message's.
        theirs: ClusterId,
    },
    /// It is meant for another node.
    #[error("refused: this is node {ours}, the message is for node {theirs}: check the peer URLs")]
    OtherAddressee {
        /// This node.
        ours: NodeId,
        /// Whom the message is for.
        theirs: NodeId,
    },
    /// Its sender is this node itself, or node 0.
    #[error(
        "refused: {0} cannot be the sender of a message to this node: is a copy of its data directory running?"
    )]
    ImpossibleSender(NodeId),
    /// The leader or candidate is not the sender.
    #[error(
        "refused: the message from {from} names {named} as leader or candidate: a node speaks only for itself"
    )]
    SpeaksForAnother {
        /// The sender.
        from: NodeId,
        /// The leader or candidate that it names.
        named: NodeId,
    },
    /// A term or an index that no cluster reaches.
    #[error("refused: {what} is {number}, which no cluster reaches")]
    ImplausibleNumber {
        /// Which field.
        what: &'static str,
        /// Its value.
        number: u64,
    },
    /// Term 0 has no leader.
    #[error("refused: term 0 has no leader and no candidate")]
    TermZero,
    /// The entries cannot be a part of one log.
    #[error(
        "refused: entry {found} cannot follow {before} in a message of term {term}: indexes must rise by one, terms must not fall or exceed the message's"
    )]
    NoSequence {
        /// The entry, or `prev`, before it.
        before: EntryId,
        /// The entry that does not fit.
        found: EntryId,
        /// The message's term.
        term: Term,
    },
    /// An entry that no leader of this version sends.
    #[error(
        "refused: entry {id} is of kind {kind:?} with {size_bytes} bytes (the limit is {limit_bytes}), which this version does not accept: do all nodes run the same version?"
    )]
    UnfitEntry {
        /// Which entry.
        id: EntryId,
        /// Its kind.
        kind: EntryKind,
        /// Its payload's size.
        size_bytes: usize,
        /// The most for a payload.
        limit_bytes: usize,
    },
    /// A number that has no meaning in the protocol.
    #[error("refused: {0}")]
    Malformed(String),
}

impl Envelope {
    /// The envelope of a response, or of the next message to that node.
    pub fn between(identity: Identity, to: NodeId) -> Self {
        Self { cluster: identity.cluster, from: identity.node, to, incarnation: 0 }
    }

    /// Checks that this message is for this node of this cluster.
    ///
    /// # Errors
    /// [`Refusal`], which names both sides.
    pub fn check(&self, identity: Identity) -> Result<(), Refusal> {
        if self.cluster != identity.cluster {
            return Err(Refusal::OtherCluster { ours: identity.cluster, theirs: self.cluster });
        }
        if self.to != identity.node {
            return Err(Refusal::OtherAddressee { ours: identity.node, theirs: self.to });
        }
        if self.from == identity.node || self.from == NodeId::new(0) {
            return Err(Refusal::ImpossibleSender(self.from));
        }
        Ok(())
    }
}

impl PeerRequest {
    /// The bytes of its entries.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Append(append) => append.entries.iter().map(|entry| entry.payload.len()).sum(),
            Self::Vote { .. } => 0,
        }
    }

    /// Checks that an honest node of this version can say this.
    ///
    /// # Errors
    /// [`Refusal`], which names what does not fit.
    pub fn check(&self, from: NodeId) -> Result<(), Refusal> {
        match self {
            Self::Append(append) => {
                speaks_for_itself(from, append.leader)?;
                plausible_term(append.term)?;
                append.check_sequence()?;
                append.entries.iter().try_for_each(check_payload)
            }
            Self::Vote { candidate, vote } => {
                speaks_for_itself(from, *candidate)?;
                plausible_term(vote.term)?;
                plausible("last_log_index", vote.last.index.get())?;
                plausible("last_log_term", vote.last.term.get())
            }
        }
    }
}

/// Checks that an honest node can respond this. A higher term is adopted, so it must be low enough for later
/// increments.
///
/// # Errors
/// [`Refusal`], which names what does not fit.
pub(super) fn check_response(response: &raft::Response) -> Result<(), Refusal> {
    match response {
        raft::Response::AppendEntries(answer) => {
            plausible("term", answer.term.get())?;
            match answer.result {
                AppendResult::Matched { match_index } | AppendResult::Busy { match_index } => {
                    plausible("match_index", match_index.get())
                }
                AppendResult::Conflict { conflict } => {
                    plausible("conflict_index", conflict.index.get())?;
                    plausible("conflict_term", conflict.term.get())
                }
            }
        }
        raft::Response::RequestVote(answer) => plausible("term", answer.term.get()),
    }
}

impl AppendRequest {
    fn check_sequence(&self) -> Result<(), Refusal> {
        plausible("prev_log_index", self.prev.index.get())?;
        plausible("leader_commit", self.commit.get())?;
        let no_sequence = |before, found| Refusal::NoSequence { before, found, term: self.term };
        let origin = self.prev.index == LogIndex::ZERO;
        if self.prev.term > self.term || origin != (self.prev.term == Term::ZERO) {
            return Err(no_sequence(EntryId::ORIGIN, self.prev));
        }
        let mut before = self.prev;
        for entry in &self.entries {
            let found = entry.id;
            let rises = found.index == before.index.next();
            let in_term = before.term <= found.term && found.term <= self.term && found.term != Term::ZERO;
            if !(rises && in_term) {
                return Err(no_sequence(before, found));
            }
            before = found;
        }
        Ok(())
    }
}

fn speaks_for_itself(from: NodeId, named: NodeId) -> Result<(), Refusal> {
    if from == named { Ok(()) } else { Err(Refusal::SpeaksForAnother { from, named }) }
}

fn plausible_term(term: Term) -> Result<(), Refusal> {
    if term == Term::ZERO {
        return Err(Refusal::TermZero);
    }
    plausible("term", term.get())
}

fn plausible(what: &'static str, number: u64) -> Result<(), Refusal> {
    if number < MAX_COUNTER { Ok(()) } else { Err(Refusal::ImplausibleNumber { what, number }) }
}

/// Not by this node's limits for clients: the leader's may differ, and what it has committed must be taken.
fn check_payload(entry: &Entry) -> Result<(), Refusal> {
    let size_bytes = entry.payload.len();
    let limit_bytes = match entry.kind {
        EntryKind::Normal => LARGEST_COMMAND_BYTES,
        EntryKind::NoOp => 0,
        EntryKind::Configuration => {
            return Err(Refusal::UnfitEntry { id: entry.id, kind: entry.kind, size_bytes, limit_bytes: 0 });
        }
    };
    if size_bytes <= limit_bytes {
        return Ok(());
    }
    Err(Refusal::UnfitEntry { id: entry.id, kind: entry.kind, size_bytes, limit_bytes })
}

/// A message for a peer, as the node hands it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// A heartbeat: the newest one makes older ones redundant.
    Heartbeat(raft::AppendEntries),
    /// Entries, in order.
    Append {
        /// The request.
        request: raft::AppendEntries,
        /// Its payloads.
        payloads: Payloads,
    },
    /// A vote, or a pre-vote.
    Vote(raft::RequestVote),
}

/// Where the payloads of a message are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payloads {
    /// Here, in order.
    Cached(Vec<Entry>),
    /// In the log. They are read when the message is delivered. If they are not the entries that the request
    /// names, the message is dropped: they were replaced, so this node no longer leads.
    InLog,
}

/// A response to a peer's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerResponse {
    /// What came in with the request.
    pub reply_to: ReplyTo,
    /// The response, or why there is none.
    pub result: PeerResult,
}

/// The responding node and its response, or why the request was refused.
pub type PeerResult = Result<(NodeId, raft::Response), Refusal>;
