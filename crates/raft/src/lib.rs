//! The protocol core: Raft as in Ongaro and Ousterhout's paper (extended version) and Ongaro's thesis, and nothing
//! else.
//!
//! The core has no I/O, no clock and no threads; its only randomness is a seeded generator. [`Raft::step`] takes one
//! [`Input`] and returns [`Effects`], by value: what to write, what to send, what was committed. Time is an input,
//! and so is the news that a write is durable. Payloads never enter: the core sees entries as ids and sizes
//! ([`LogView`]), and effects refer to ranges.
//!
//! Where to read on:
//! - `election`: timers, pre-votes and votes, who leads (paper §5.2, §5.4.1; thesis §9.6)
//! - `replication`: the leader's side of the log (§5.3, §5.4.2), with one `progress` for each peer
//! - `following`: the follower's side of the log
//! - `reads`: confirming leadership for linearizable reads (thesis §6.4)
//! - `promises`: why no promise is sent before it is durable
//! - `quorum`: majorities, including joint ones (§6)
//!
//! # Invariants
//! - A term has at most one leader; a node that sees two halts.
//! - A leader never overwrites or drops entries; it commits only entries of its own term by counting.
//! - Committed entries are never dropped: a node halts if a leader asks for it.
//! - Each request is answered exactly once, at the latest when the term moves on.
//!
//! # What differs from the paper
//! - A leader steps down if no majority responds (check-quorum, thesis §6.2), and candidates ask for pre-votes first.
//! - A voter that hears from its leader refuses votes and keeps its term (thesis §4.2.3).
//! - A follower whose leader's stream broke asks for pre-votes before its timeout.
//! - Responses to heartbeats wait for a new term to be durable, but not for entries, and may overtake the responses
//!   to entries.
//!
//! # What is not here
//! Membership changes, snapshots, and starting a leadership transfer. A peer whose next entry is gone is probed for
//! ever. The core expects checked messages: entries without a gap, terms that do not go back, and numbers far from
//! 2^64. Otherwise it panics.

#![forbid(unsafe_code)]

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

use lograft_types::{EntryId, HardState, LogIndex, NodeId, Term};

mod config;
mod effects;
mod election;
mod following;
mod log_view;
mod message;
mod progress;
mod promises;
mod quorum;
mod reads;
mod replication;

pub use config::{
    Config, DEFAULT_ELECTION_TIMEOUT_TICKS, DEFAULT_HEARTBEAT_TICKS, DEFAULT_MAX_APPEND_BYTES,
    DEFAULT_MAX_APPEND_ENTRIES, DEFAULT_MAX_INFLIGHT_BYTES, DEFAULT_MAX_INFLIGHT_MESSAGES,
    DEFAULT_STREAM_LOSS_CAMPAIGNS, DEFAULT_STREAM_LOSS_DELAY_TICKS,
};
pub use effects::{Effects, Halt, Input, Loss, NewEntries, ReadId, ReadOutcome, Write};
pub use log_view::{LogView, NoTerm};
pub use message::{
    AppendEntries, AppendEntriesResponse, AppendResult, Outgoing, ReplyTo, Request, RequestVote,
    RequestVoteResponse, Response,
};
pub use quorum::{Configuration, VoteResult};

use election::{Candidate, ElectionTimer, Follower, PreCandidate};
use promises::Promises;
use replication::Leader;

/// One node's part in the protocol.
///
/// # Invariants
/// - The commit index is between the log start and the end of the log, and never goes back.
/// - After [`Effects::halt`] it must not be stepped again.
#[derive(Clone, Debug)]
pub struct Raft {
    config: Config,
    configuration: Configuration,
    role: Role,
    log: LogView,
    commit: LogIndex,
    promises: Promises,
    /// The leader that this node has seen in the current term. Kept even when the node stops following that leader.
    term_leader: Option<NodeId>,
    timer: ElectionTimer,
    /// The last round of leadership confirmation that this core began, in any term. Rounds are never reused.
    read_round: u64,
    /// The highest id of an append request that this core has sent to any peer, in any term.
    last_request_id: u64,
    rng: Xoshiro256PlusPlus,
}

/// A node's role, with the role's data.
#[derive(Clone, Debug)]
enum Role {
    Follower(Follower),
    PreCandidate(PreCandidate),
    Candidate(Candidate),
    Leader(Leader),
}

/// A node's role, without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it would be elected.
    PreCandidate,
    /// Asks to be elected.
    Candidate,
    /// Leads.
    Leader,
}

impl RoleName {
    /// The name in lower case, for display.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        }
    }
}

impl Raft {
    /// A node after its start: a follower that knows of no committed entry past the log start.
    ///
    /// `hard_state` and `log` are what was recovered from the disk, all of it durable. `seed` differs from node to
    /// node and from start to start, or timeouts collapse into lockstep.
    ///
    /// # Panics
    /// If the configuration makes no sense, or the log has an entry above the term.
    pub fn new(
        config: Config,
        configuration: Configuration,
        hard_state: HardState,
        log: LogView,
        seed: u64,
    ) -> Self {
        config.check();
        let last = log.last();
        assert!(last.term <= hard_state.term, "the log ends with {last}, above term {}", hard_state.term);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        Self {
            role: Role::Follower(Follower::without_leader()),
            commit: log.log_start().index,
            promises: Promises::new(hard_state),
            term_leader: None,
            timer: ElectionTimer::new(&config, &mut rng),
            read_round: 0,
            last_request_id: 0,
            config,
            configuration,
            log,
            rng,
        }
    }

    /// Takes one input. See [`Effects`] for what to do with what comes back.
    pub fn step(&mut self, input: Input) -> Effects {
        let before = (self.role(), self.term(), self.leader());
        let mut out = Effects::default();
        if let Err(halt) = self.handle(input, &mut out) {
            return Effects { halt: Some(halt), ..Effects::default() };
        }
        out.changed = before != (self.role(), self.term(), self.leader());
        out
    }

    fn handle(&mut self, input: Input, out: &mut Effects) -> Result<(), Halt> {
        match input {
            // Time: elections and heartbeats become due.
            Input::Tick => self.tick(out),
            // A leader's entries, or its heartbeat.
            Input::Request { from, reply_to, request: Request::AppendEntries(request) } => {
                return self.append_requested(from, reply_to, &request, out);
            }
            // A candidate asks for a vote or a pre-vote.
            Input::Request { from, reply_to, request: Request::RequestVote(request) } => {
                self.vote_requested(from, reply_to, request, out);
            }
            // A follower's response.
            Input::Response { from, response: Response::AppendEntries(response) } => {
                self.append_answered(from, response, out);
            }
            // A voter's response.
            Input::Response { from, response: Response::RequestVote(response) } => {
                self.vote_answered(from, response, out);
            }
            // Commands for the log.
            Input::Propose { sizes_bytes } => self.propose(&sizes_bytes, out),
            // Reads that need confirmed leadership.
            Input::Read { id } => self.read(id, out),
            // A flush completed: promises that rest on it may be sent, and the node may count its own vote and
            // entries.
            Input::Persisted { write } => {
                self.promises.persist(write, out);
                self.log.persist(write);
                self.count_own_vote(out);
                self.advance_commit(out);
            }
            // The leader is probably dead.
            Input::StreamLost { from } => self.stream_lost(from, out),
            // Everything in flight to a follower is lost.
            Input::LinkLost { to } => self.link_lost(to),
        }
        Ok(())
    }

    fn tick(&mut self, out: &mut Effects) {
        match self.role {
            Role::Leader(_) => self.tick_leader(out),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => self.tick_election(out),
        }
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// The members.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The term and the vote, durable or not.
    pub fn hard_state(&self) -> HardState {
        self.promises.hard_state()
    }

    /// The current term, durable or not.
    pub fn term(&self) -> Term {
        self.promises.term()
    }

    /// The role.
    pub fn role(&self) -> RoleName {
        match self.role {
            Role::Follower(_) => RoleName::Follower,
            Role::PreCandidate(_) => RoleName::PreCandidate,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
        }
    }

    /// Whether this node leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.role() == RoleName::Leader
    }

    /// The leader of the current term, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower(follower) => follower.leader(),
            Role::PreCandidate(_) | Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.config.id),
        }
    }

    /// The commit index: entries up to it never change.
    pub fn commit(&self) -> LogIndex {
        self.commit
    }

    /// The last entry of the log, durable or not.
    pub fn last(&self) -> EntryId {
        self.log.last()
    }

    /// The first index that the log holds, or would hold.
    pub fn first_index(&self) -> LogIndex {
        self.log.log_start().index.next()
    }

    /// The last index up to which this node's log is durable.
    pub fn persisted_index(&self) -> LogIndex {
        self.log.persisted()
    }

    /// The term of an entry.
    ///
    /// # Errors
    /// If the log does not hold it.
    pub fn term_at(&self, index: LogIndex) -> Result<Term, NoTerm> {
        self.log.term_at(index)
    }

    /// On a leader: the last index known to be durable at a peer, and the name of its replication state.
    pub fn progress(&self, peer: NodeId) -> Option<(LogIndex, &'static str)> {
        let progress = self.as_leader()?.progress(peer)?;
        Some((progress.match_index(), progress.state_name()))
    }

    /// On a leader: the number of requests with entries that a peer has not answered, and the bytes of those entries.
    /// 0 when idle.
    pub fn in_flight(&self, peer: NodeId) -> Option<(usize, usize)> {
        Some(self.as_leader()?.progress(peer)?.in_flight())
    }

    /// How many messages wait for the disk. 0 when idle.
    pub fn withheld_messages(&self) -> usize {
        self.promises.withheld()
    }

    /// How many writes have not been reported durable yet. 0 when idle.
    pub fn pending_writes(&self) -> u64 {
        self.promises.pending_writes()
    }

    /// How many reads wait for leadership to be confirmed. 0 when idle.
    pub fn pending_reads(&self) -> usize {
        self.as_leader().map_or(0, Leader::pending_reads)
    }

    fn as_leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }
}
