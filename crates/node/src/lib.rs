//! The synchronous node: it ties together the core, the state machine and the part of the log that is in
//! memory.
//!
//! [`Node::turn`] takes everything that has happened and returns everything that is to be done: batches for
//! the log, messages for the peers, responses for clients. It has no clock, no thread and no runtime.
//! Requests carry a token ([`ClientToken`], [`ForwardToken`]), and the node's owner (the actor, or a
//! simulator) keeps what belongs to the token.
//!
//! A Set's path: parked by `on_event` → proposed with all others of its turn by `dispatch` → an entry, handed
//! to the log and to the peers → committed by the core → applied by `apply_committed`, which responds to its
//! token.
//!
//! # Invariants
//! - The writes of one turn form one batch; its linearizable reads share one confirmation.
//! - A request is answered exactly once.
//! - Entries enter the log only while its credit covers them; see `credit.rs`.
//! - A follower's or leader's promise never outruns the disk: the core withholds it ([`lograft_raft`]).
//!
//! Left out for now: snapshots, membership changes, incarnations.

#![forbid(unsafe_code)]

mod apply;
mod cache;
mod credit;
mod dispatch;
mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod limits;
mod peer;
mod request;
mod status;
mod waiting;

use std::collections::BTreeMap;

use tracing::{info, warn};

use lograft_kv::Store;
use lograft_raft as raft;
use lograft_raft::{Configuration, Input, LogView, NewEntries, Outgoing, Raft, ReplyTo};
use lograft_storage::{LogReport, Recovered};
use lograft_types::{Entry, EntryId, EntryKind, Identity, LogIndex, LogWrite, Member, NodeId, Term, mark};

use cache::EntryCache;
use credit::{Admission, LogCredit};
use dispatch::Forwarding;
use waiting::Waiting;

pub use event::{
    ClientToken, Effects, Event, Forward, ForwardFailure, ForwardId, ForwardRequest, ForwardResponse,
    ForwardToken, HaltReason, Load,
};
pub use limits::Limits;
pub use lograft_raft::RoleName;
pub use peer::{
    AppendRequest, Envelope, Payloads, PeerMessage, PeerRequest, PeerResponse, PeerResult, Refusal,
};
pub use request::{
    ClientRequest, ClientResponse, Consistency, Header, ListRequest, MemberStatus, RequestError,
    ResponseBody, Status,
};

/// What a node must know about itself.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its cluster and its id.
    pub identity: Identity,
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// The cluster's members, itself among them.
    pub members: Vec<Member>,
    /// Its limits.
    pub limits: Limits,
    /// The core's timing, in ticks.
    pub raft: raft::Config,
    /// How long a tick is, in milliseconds; at least 1.
    pub tick_ms: u64,
    /// Seeds the core's random numbers.
    pub seed: u64,
}

/// A node. See the [module](self).
#[derive(Debug)]
pub struct Node {
    identity: Identity,
    name: String,
    members: Vec<Member>,
    client_urls: BTreeMap<NodeId, Vec<String>>,
    limits: Limits,
    raft: Raft,
    store: Store,
    cache: EntryCache,
    credit: LogCredit,
    waiting: Waiting,
    commit: LogIndex,
    log_size_bytes: u64,
    /// The first of the entries that are being read back from the log for the state machine, if any.
    loading: Option<LogIndex>,
    refused_messages: u64,
    /// How often each member had lost what it had acknowledged to this node.
    losses: BTreeMap<NodeId, u64>,
    forwarding: Forwarding,
    /// Peers have asked this node as the leader since it last turned their requests away: some may be parked.
    peers_wait: bool,
    /// The role and term that were logged last.
    told_role: (RoleName, Term),
    leaderless: Leaderless,
}

/// How long no leader has been known.
#[derive(Debug)]
struct Leaderless {
    ticks: u32,
    /// After so many, an operator has to know.
    worrying_ticks: u32,
    tick_ms: u64,
}

/// An election takes one or two election timeouts. After this many without a leader, something keeps it from succeeding.
const WORRYING_ELECTION_TIMEOUTS: u32 = 5;

/// The payloads that a step of the core may turn into entries.
enum Carried {
    Nothing,
    /// A leader's entries.
    Request(Vec<Entry>),
    /// Commands of this turn.
    Proposals(Vec<bytes::Bytes>),
}

impl Node {
    /// A node with the recovered log. Its map fills as the node learns from the cluster what is committed.
    pub fn new(config: NodeConfig, recovered: &Recovered, report: &LogReport) -> Self {
        let voters = config.members.iter().map(|member| member.id);
        let log = LogView::new(recovered.log_start, recovered.entries.iter().copied());
        let worrying_ticks = WORRYING_ELECTION_TIMEOUTS * config.raft.election_timeout_ticks;
        let raft = Raft::new(config.raft, Configuration::new(voters), recovered.hard_state, log, config.seed);
        let client_urls = BTreeMap::from([(config.identity.node, config.client_urls)]);
        let told_role = (raft.role(), raft.term());
        Self {
            identity: config.identity,
            name: config.name,
            members: config.members,
            client_urls,
            cache: EntryCache::new(config.limits.entry_cache_bytes),
            limits: config.limits,
            raft,
            store: Store::new(),
            credit: LogCredit::new(report),
            waiting: Waiting::new(config.tick_ms),
            commit: recovered.log_start.index,
            log_size_bytes: report.log_size_bytes,
            loading: None,
            refused_messages: 0,
            losses: BTreeMap::new(),
            forwarding: Forwarding::default(),
            peers_wait: false,
            told_role,
            leaderless: Leaderless { ticks: 0, worrying_ticks, tick_ms: config.tick_ms },
        }
    }

    /// Everything that has happened since the last turn goes in; everything that is to be done comes out.
    ///
    /// After a turn with [`Effects::halt`] the node must not be used again.
    pub fn turn(&mut self, events: impl IntoIterator<Item = Event>) -> Effects {
        let mut effects = Effects::default();
        for event in events {
            self.on_event(event, &mut effects);
            if effects.halt.is_some() {
                return effects;
            }
        }
        self.dispatch(&mut effects);
        self.apply_committed(&mut effects);
        effects.wanted_credit_bytes = self.credit.take_wish();
        effects
    }

    /// The core, for inspection.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// The map, for inspection.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether nothing waits: no request, no message on its way, no leftover of either.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_idle() && self.loading.is_none()
    }

    fn on_event(&mut self, event: Event, effects: &mut Effects) {
        match event {
            // Time passes for the core and for the requests that wait.
            Event::Tick => {
                self.step(Input::Tick, Carried::Nothing, effects);
                self.expire(effects);
                self.watch_for_a_leader();
            }
            // The log has flushed, or its credit has changed.
            Event::Log(report) => self.on_log(&report, effects),
            // A peer's request is checked first; only the core looks at its term.
            Event::PeerRequest { envelope, reply_to, request } => {
                self.on_peer_request(envelope, reply_to, request, effects);
            }
            // A peer responds.
            Event::PeerResponse { envelope, response } => {
                match envelope.check(self.identity).and_then(|()| peer::check_response(&response)) {
                    Ok(()) => {
                        self.step(
                            Input::Response { from: envelope.from, response },
                            Carried::Nothing,
                            effects,
                        );
                    }
                    Err(_) => self.refused_messages += 1,
                }
            }
            // A peer is probably dead.
            Event::StreamLost { from } => self.step(Input::StreamLost { from }, Carried::Nothing, effects),
            // The messages on their way to a peer are lost.
            Event::LinkLost { to } => self.step(Input::LinkLost { to }, Carried::Nothing, effects),
            // An edge refused a message; it is counted here with all others.
            Event::Refused => self.refused_messages += 1,
            // A peer publishes where clients reach it.
            Event::Handshake { from, client_urls } => {
                if self.members.iter().any(|member| member.id == from) {
                    self.client_urls.insert(from, client_urls);
                }
            }
            // A client asks.
            Event::Client { token, request, timeout_ms } => {
                self.on_client(token, request, timeout_ms, effects)
            }
            // A peer asks this node as the leader.
            Event::Forwarded { token, request, timeout_ms } => {
                self.on_forwarded(token, request, timeout_ms, effects);
            }
            // The leader has responded, or will not.
            Event::ForwardDone { id, result } => self.on_forward_done(id, result, effects),
            // Entries have come back from the log.
            Event::Loaded { entries } => self.on_loaded(entries, effects),
        }
    }

    fn on_log(&mut self, report: &LogReport, effects: &mut Effects) {
        if let Some(why) = &report.failed {
            effects.halt = Some(HaltReason::LogFailed(why.clone()));
            return;
        }
        self.credit.reported(report);
        self.log_size_bytes = report.log_size_bytes;
        self.step(Input::Persisted { write: report.persisted }, Carried::Nothing, effects);
        self.cache.evict(self.raft.persisted_index());
    }

    fn on_peer_request(
        &mut self,
        envelope: Envelope,
        reply_to: ReplyTo,
        request: PeerRequest,
        effects: &mut Effects,
    ) {
        let fits = envelope.check(self.identity).and_then(|()| request.check(envelope.from));
        if let Err(refusal) = fits {
            self.refused_messages += 1;
            effects.peer_responses.push(PeerResponse { reply_to, result: Err(refusal) });
            return;
        }
        let from = envelope.from;
        match request {
            PeerRequest::Append(mut append) => {
                let clipped = self.clip(&mut append);
                if clipped {
                    mark!(AppendClipped);
                    if append.prev.index.plus(append.entries.len() as u64) < self.raft.last().index {
                        mark!(ClippedWhileReplacing);
                    }
                }
                let request = raft::Request::AppendEntries(append.for_core(clipped));
                let input = Input::Request { from, reply_to, request };
                self.step(input, Carried::Request(append.entries), effects);
            }
            PeerRequest::Vote { vote, .. } => {
                let request = raft::Request::RequestVote(vote);
                self.step(Input::Request { from, reply_to, request }, Carried::Nothing, effects);
            }
        }
    }

    /// Cuts an append down to the entries that the credit covers. Entries that are in the log already need
    /// none. Returns whether any was cut off.
    fn clip(&mut self, append: &mut AppendRequest) -> bool {
        let mut left_bytes = self.credit.available_bytes();
        let mut fitting = 0;
        for entry in &append.entries {
            if !self.holds(entry.id) {
                let cost = credit::cost(entry.kind, &entry.payload);
                if self.credit.admit(cost, left_bytes) != Admission::Now {
                    break;
                }
                left_bytes -= cost;
            }
            fitting += 1;
        }
        let clipped = fitting < append.entries.len();
        append.entries.truncate(fitting);
        clipped
    }

    fn holds(&self, id: EntryId) -> bool {
        self.raft.term_at(id.index) == Ok(id.term)
    }

    /// Steps the core and carries out what concerns the node itself.
    fn step(&mut self, input: Input, carried: Carried, effects: &mut Effects) {
        let stepped = self.raft.step(input);
        // The write first: messages of the same step carry its entries.
        if let Some(write) = stepped.write {
            self.write(write, carried, effects);
        }
        for message in stepped.messages {
            self.send(message, effects);
        }
        if let Some(commit) = stepped.committed {
            assert!(commit >= self.commit, "the commit index never goes back");
            self.commit = commit;
        }
        for outcome in stepped.reads {
            self.on_read_outcome(outcome, effects);
        }
        if let Some(loss) = stepped.loss {
            self.on_loss(loss);
        }
        if stepped.changed {
            self.tell_role();
        }
        if let Some(halt) = stepped.halt {
            effects.halt = Some(HaltReason::Protocol { names: self.names_in(&halt), halt });
        }
    }

    fn write(&mut self, write: raft::Write, carried: Carried, effects: &mut Effects) {
        let entries = match (write.entries, carried) {
            (NewEntries::Nothing, _) => Vec::new(),
            (NewEntries::NoOp { id }, _) => {
                vec![Entry { id, kind: EntryKind::NoOp, payload: bytes::Bytes::new() }]
            }
            (NewEntries::FromRequest { first }, Carried::Request(mut entries)) => {
                entries.retain(|entry| entry.id.index >= first);
                entries
            }
            (NewEntries::Proposals { first }, Carried::Proposals(payloads)) => {
                let ids = (0..).map(|place| EntryId::new(first.term, first.index.plus(place)));
                let made = ids.zip(payloads);
                made.map(|(id, payload)| Entry { id, kind: EntryKind::Normal, payload }).collect()
            }
            (append, _) => unreachable!("the core appends only what the step carried, not {append:?}"),
        };
        let write = LogWrite { seq: write.seq, hard_state: write.hard_state, entries };
        self.cache.replace(&write.entries, self.raft.persisted_index());
        self.credit.spent(&write);
        effects.writes.push(write);
    }

    fn send(&mut self, message: Outgoing, effects: &mut Effects) {
        match message {
            Outgoing::Request { to, request: raft::Request::RequestVote(vote) } => {
                effects.messages.push((to, PeerMessage::Vote(vote)));
            }
            Outgoing::Request { to, request: raft::Request::AppendEntries(request) } => {
                let message = if request.entries.is_empty() {
                    PeerMessage::Heartbeat(request)
                } else {
                    let cached = self.cache.payloads(&request.entries);
                    PeerMessage::Append {
                        payloads: cached.map_or(Payloads::InLog, Payloads::Cached),
                        request,
                    }
                };
                effects.messages.push((to, message));
            }
            Outgoing::Response { to, reply_to, response } => {
                effects.peer_responses.push(PeerResponse { reply_to, result: Ok((to, response)) });
            }
        }
    }

    fn on_loss(&mut self, loss: raft::Loss) {
        *self.losses.entry(loss.peer).or_default() += 1;
        warn!(
            node = %self.name,
            member = self.name_of(loss.peer),
            acknowledged = %loss.acknowledged,
            kept = %loss.kept,
            "this member has lost entries that it had acknowledged as durable: is its disk broken, or was its data \
             directory restored or emptied? It is sent the entries again"
        );
    }

    fn tell_role(&mut self) {
        let now = (self.raft.role(), self.raft.term());
        let before = std::mem::replace(&mut self.told_role, now);
        // A leader that is deposed by another is so in a later term.
        if before == (RoleName::Leader, now.1) && now.0 != RoleName::Leader {
            warn!(
                node = %self.name,
                term = now.1.get(),
                "this node no longer leads: it has lost touch with a majority of the members"
            );
        }
        let leader = self.raft.leader().map(|id| self.name_of(id));
        info!(
            node = %self.name,
            term = self.raft.term().get(),
            role = self.raft.role().as_str(),
            leader = leader.unwrap_or("none"),
            "role"
        );
    }

    /// The names of the nodes that the core speaks of: it knows them by their ids only.
    fn names_in(&self, halt: &raft::Halt) -> String {
        let ids = match halt {
            raft::Halt::CommittedConflict { from, .. } => vec![*from],
            raft::Halt::TwoLeaders { first, second, .. } => vec![*first, *second],
        };
        let named: Vec<String> = ids.iter().map(|id| format!("{id} is {}", self.name_of(*id))).collect();
        named.join(", ")
    }

    /// Says so when no leader is known for long, and when one is known again.
    fn watch_for_a_leader(&mut self) {
        let Leaderless { ticks, worrying_ticks, tick_ms } = self.leaderless;
        let waited_ms = u64::from(ticks) * tick_ms;
        if let Some(leader) = self.raft.leader() {
            self.leaderless.ticks = 0;
            if ticks >= worrying_ticks {
                info!(node = %self.name, leader = self.name_of(leader), waited_ms, "there is a leader again");
            }
            return;
        }
        self.leaderless.ticks = ticks.saturating_add(1);
        if ticks == worrying_ticks {
            warn!(
                node = %self.name,
                waited_ms,
                "no leader: writes and linearizable reads cannot be served; does a majority of the members run, and can \
                 they reach each other?"
            );
        }
    }

    fn name_of(&self, id: NodeId) -> &str {
        self.members.iter().find(|member| member.id == id).map_or("?", |member| &member.name)
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
