//! The core's inputs and outputs: [`Input`] and [`Effects`], by value.

use lograft_types::{EntryId, HardState, LogIndex, NodeId, WriteSeq};

use super::message::{Outgoing, ReplyTo, Request, Response};

/// Everything that the core can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A unit of time has passed.
    Tick,
    /// A peer sent a request.
    Request {
        /// The peer. It need not be in this node's configuration, which may be behind (thesis §4.1).
        from: NodeId,
        /// Returned with the response.
        reply_to: ReplyTo,
        /// The request.
        request: Request,
    },
    /// A peer responded.
    Response {
        /// The peer.
        from: NodeId,
        /// Its response.
        response: Response,
    },
    /// Commands for the log. Only valid while this node leads; [`Effects::write`] holds their indexes.
    Propose {
        /// The payloads' sizes, in order; not empty.
        sizes_bytes: Vec<u32>,
    },
    /// Linearizable reads need a read index. Only valid while this node leads.
    Read {
        /// Identifies these reads; never reused in the life of this core.
        id: ReadId,
    },
    /// The log is durable up to and including this write.
    Persisted {
        /// The last write that the flush covered.
        write: WriteSeq,
    },
    /// The stream on which this peer sent its appends ended without an orderly close: the peer is probably dead.
    StreamLost {
        /// The peer.
        from: NodeId,
    },
    /// The link to this peer broke: everything in flight is lost and will not be answered.
    LinkLost {
        /// The peer.
        to: NodeId,
    },
}

/// Identifies the linearizable reads of one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(pub u64);

/// What the caller must do after a step. Effects have no order among each other and each may be carried out at once:
/// the core itself withholds whatever has to wait for the disk until it receives [`Input::Persisted`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// A write for the log. Writes are handed over in the order of the steps.
    pub write: Option<Write>,
    /// Messages to deliver.
    pub messages: Vec<Outgoing>,
    /// The commit index has risen to this: entries up to it may be applied.
    pub committed: Option<LogIndex>,
    /// The outcomes of linearizable reads.
    pub reads: Vec<ReadOutcome>,
    /// A follower of this leader has lost entries that it had acknowledged.
    pub loss: Option<Loss>,
    /// The role, the term or the known leader changed.
    pub changed: bool,
    /// Another node or this node's disk broke a promise of the protocol: stop, and touch nothing.
    pub halt: Option<Halt>,
}

/// A follower's log is shorter than what the follower had acknowledged as durable to this leader. Its disk went back, or
/// somebody put another data directory in its place. It is sent the entries again, but nothing can tell what else it has
/// forgotten: a vote, or entries that only it and a minority held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The follower.
    pub peer: NodeId,
    /// The last entry that it had acknowledged.
    pub acknowledged: LogIndex,
    /// The last entry that it may still have.
    pub kept: LogIndex,
}

/// A batch for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its number: one more than the previous write's.
    pub seq: WriteSeq,
    /// The term and vote to store, if they changed.
    pub hard_state: Option<HardState>,
    /// The entries to append.
    pub entries: NewEntries,
}

/// Which entries a write appends. The step's caller holds the payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewEntries {
    /// None: only the hard state.
    Nothing,
    /// The entries of this step's request, from this index to the request's last. They replace the log from `first`
    /// on.
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
        /// Its id.
        id: EntryId,
    },
}

/// The outcome of the linearizable reads of one [`ReadId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Leadership is confirmed: the reads may be served from a map that has applied this index.
    ReadAt {
        /// Which reads.
        id: ReadId,
        /// The read index.
        index: LogIndex,
    },
    /// Leadership was lost before it was confirmed: ask the next leader.
    Lost {
        /// Which reads.
        id: ReadId,
    },
}

/// Why the node must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// A leader's entry contradicts one that is committed here, which Raft §5.4.3 rules out.
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
    /// Two leaders in one term, which Raft §5.2 rules out.
    #[error("both {first} and {second} lead term {term}: one of them has forgotten a vote")]
    TwoLeaders {
        /// The term.
        term: lograft_types::Term,
        /// The leader that this node knew.
        first: NodeId,
        /// The other leader.
        second: NodeId,
    },
}
