//! What goes into the core and what comes out of it: [`Input`] and [`Effects`], by value.

use lograft_types::{EntryId, HardState, LogIndex, NodeId, WriteSeq};

use super::message::{Outgoing, ReplyTo, Request, Response};

/// Everything that can happen to a node, as the core sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A unit of time has passed.
    Tick,
    /// A peer asks.
    Request {
        /// The peer. It need not be in the configuration: this node's may be behind (thesis §4.1).
        from: NodeId,
        /// Goes back with the answer.
        reply_to: ReplyTo,
        /// What it asks.
        request: Request,
    },
    /// A peer answers.
    Response {
        /// The peer.
        from: NodeId,
        /// Its answer.
        response: Response,
    },
    /// Commands for the log. Handed in only while this node leads; see [`Effects::write`] for their indexes.
    Propose {
        /// The payloads' sizes, in order; not empty.
        sizes_bytes: Vec<u32>,
    },
    /// Linearizable reads wait for an index to be read at. Handed in only while this node leads.
    Read {
        /// Their name; never used twice in the life of this core.
        id: ReadId,
    },
    /// The log up to and with this write is durable.
    Persisted {
        /// The last write that the flush covered.
        write: WriteSeq,
    },
    /// The stream on which this peer sent its appends ended without having been closed in order: it is probably dead.
    StreamLost {
        /// The peer.
        from: NodeId,
    },
    /// The link to this peer broke: what was on its way is lost, and answers to it will not come.
    LinkLost {
        /// The peer.
        to: NodeId,
    },
}

/// Names the linearizable reads of one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(pub u64);

/// What a step asks of the outside. There is no order among the effects: each may be carried out at once, because what
/// has to wait for the disk is withheld until the core is told [`Input::Persisted`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// To be handed to the log, in the order of the steps.
    pub write: Option<Write>,
    /// To be delivered.
    pub messages: Vec<Outgoing>,
    /// The commit index has risen to this: what stands up to it may be applied.
    pub committed: Option<LogIndex>,
    /// What came of linearizable reads.
    pub reads: Vec<ReadOutcome>,
    /// The role, the term or the known leader changed.
    pub changed: bool,
    /// A promise of the protocol was broken by another node, or by this node's disk: stop, touch nothing.
    pub halt: Option<Halt>,
}

/// A batch for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its number: one more than the last one's.
    pub seq: WriteSeq,
    /// The term and vote to be remembered, if they changed.
    pub hard_state: Option<HardState>,
    /// The entries to be appended.
    pub entries: NewEntries,
}

/// Which entries a write appends. The payloads are with whoever called the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewEntries {
    /// None: only the hard state.
    Nothing,
    /// Those of the request of this step, from this index to its last. They drop what stood there and behind.
    FromRequest {
        /// The first one.
        first: LogIndex,
    },
    /// The proposals of this step, all in the same term, at consecutive indexes.
    Proposals {
        /// The first one.
        first: EntryId,
    },
    /// A new leader's entry without a command.
    NoOp {
        /// Where it stands.
        id: EntryId,
    },
}

/// What came of the linearizable reads of one [`ReadId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Leadership is confirmed: a map in which this index is applied answers them.
    ReadAt {
        /// Which reads.
        id: ReadId,
        /// The index.
        index: LogIndex,
    },
    /// Leadership was lost first: ask the next leader.
    Lost {
        /// Which reads.
        id: ReadId,
    },
}

/// Why the node must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// A leader's entry contradicts one that is committed here (Raft §5.4.3 says that this cannot be).
    #[error(
        "the leader {from} of this term sent entry {theirs} where {ours} is committed here: \
         one of the two has lost durable data; this node keeps its log untouched"
    )]
    CommittedConflict {
        /// The leader.
        from: NodeId,
        /// Its entry.
        theirs: EntryId,
        /// Ours, at the same index.
        ours: EntryId,
    },
    /// Two leaders in one term (Raft §5.2 says that this cannot be).
    #[error("both {first} and {second} lead term {term}: one of them has forgotten a vote")]
    TwoLeaders {
        /// The term.
        term: lograft_types::Term,
        /// The leader that was known.
        first: NodeId,
        /// The other.
        second: NodeId,
    },
}
