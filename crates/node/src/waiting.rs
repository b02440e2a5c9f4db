//! Requests that wait, and for what.
//!
//! # Invariants
//! - Every request in here is answered exactly once: by what it waits for, or when its time is over.
//! - A write that entered the log waits for its entry, not for its leader: a lost leadership does not answer it
//!   (another leader may commit it).
//! - What is known and what is unknown stay distinct: a request whose stage is [`Stage::Parked`] has had no effect.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lograft_raft::ReadId;
use lograft_types::{EntryId, LogIndex, Term};

use super::event::{ForwardId, Token};
use super::request::ListRequest;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) asked: Asked,
    pub(super) origin: Origin,
    pub(super) stage: Stage,
    pub(super) timeout_ms: u64,
    deadline_tick: u64,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// A command, encoded.
    Write(Bytes),
    /// A read of this node's map.
    Read(Read),
}

/// What is read.
#[derive(Clone, Debug)]
pub(super) enum Read {
    Get(Bytes),
    List(ListRequest),
    /// Nothing: only that it could be.
    Barrier,
    /// The index at which a peer may read its own map.
    Index,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A client of this node.
    Client,
    /// A peer that takes this node for the leader.
    Peer,
}

/// For what a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// For a leader, for room, or for the end of the turn.
    Parked,
    /// For the next tick: the leader did not take it just now.
    Delayed,
    /// For this entry to be applied, or replaced.
    Proposed(EntryId),
    /// For the leader's answer.
    Forwarded,
    /// For this node's leadership to be confirmed.
    Confirming,
    /// For this index to be applied.
    Applying,
}

/// What a forwarded message was for.
#[derive(Debug)]
pub(super) enum ForwardedFor {
    Write(Token),
    Reads(Vec<Token>),
}

/// Ticks since the node started, and how long one is.
#[derive(Debug)]
pub(super) struct Clock {
    now: u64,
    tick_ms: u64,
}

/// The table of all requests that wait.
#[derive(Debug)]
pub(super) struct Waiting {
    clock: Clock,
    requests: BTreeMap<Token, Waiter>,
    deadlines: BTreeSet<(u64, Token)>,
    parked: BTreeSet<Token>,
    delayed: Vec<Token>,
    proposed: BTreeMap<LogIndex, Vec<(Term, Token)>>,
    forwarded: BTreeMap<ForwardId, ForwardedFor>,
    confirming: BTreeMap<ReadId, Vec<Token>>,
    applying: BTreeMap<LogIndex, Vec<Token>>,
    next_forward: u64,
    next_read: u64,
}

impl Waiting {
    pub(super) fn new(tick_ms: u64) -> Self {
        Self {
            clock: Clock { now: 0, tick_ms },
            requests: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            parked: BTreeSet::new(),
            delayed: Vec::new(),
            proposed: BTreeMap::new(),
            forwarded: BTreeMap::new(),
            confirming: BTreeMap::new(),
            applying: BTreeMap::new(),
            next_forward: 0,
            next_read: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Takes a request in; it is parked until the end of the turn.
    pub(super) fn park(&mut self, token: Token, asked: Asked, origin: Origin, timeout_ms: u64) {
        let deadline_tick = self.clock.now + timeout_ms.div_ceil(self.clock.tick_ms).max(1);
        let waiter = Waiter { asked, origin, stage: Stage::Parked, timeout_ms, deadline_tick };
        let known = self.requests.insert(token, waiter);
        assert!(known.is_none(), "a token names one request");
        self.deadlines.insert((deadline_tick, token));
        self.parked.insert(token);
    }

    /// A tick has passed: what was delayed is parked again; answers what has waited long enough.
    pub(super) fn tick(&mut self) -> Vec<(Token, Waiter)> {
        self.clock.now += 1;
        for token in std::mem::take(&mut self.delayed) {
            self.set_stage(token, Stage::Parked);
        }
        let mut over = Vec::new();
        while let Some((deadline, token)) = self.deadlines.first().copied() {
            if deadline > self.clock.now {
                break;
            }
            over.push((token, self.finish(token).expect("each deadline belongs to a request that waits")));
        }
        over
    }

    /// Ends the wait of a request. `None`: it has been answered already.
    pub(super) fn finish(&mut self, token: Token) -> Option<Waiter> {
        let waiter = self.requests.remove(&token)?;
        self.deadlines.remove(&(waiter.deadline_tick, token));
        match waiter.stage {
            Stage::Parked => {
                self.parked.remove(&token);
            }
            Stage::Proposed(id) => self.forget_proposed(id.index, token),
            // These lists end with the answer that is due, whether or not their requests still wait.
            Stage::Delayed | Stage::Forwarded | Stage::Confirming | Stage::Applying => {}
        }
        Some(waiter)
    }

    /// Ends the wait of all requests.
    pub(super) fn finish_all(&mut self) -> Vec<(Token, Waiter)> {
        let tokens: Vec<_> = self.requests.keys().copied().collect();
        tokens.into_iter().filter_map(|token| Some((token, self.finish(token)?))).collect()
    }

    /// What is parked, in the order in which it came.
    pub(super) fn parked(&self) -> Vec<(Token, &Waiter)> {
        self.parked.iter().map(|token| (*token, &self.requests[token])).collect()
    }

    /// How long a request still waits, in milliseconds: what a leader that is asked for it has.
    pub(super) fn left_ms(&self, waiter: &Waiter) -> u64 {
        (waiter.deadline_tick - self.clock.now) * self.clock.tick_ms
    }

    pub(super) fn get(&self, token: Token) -> Option<&Waiter> {
        self.requests.get(&token)
    }

    /// A parked write became this entry.
    pub(super) fn proposed(&mut self, token: Token, id: EntryId) {
        self.set_stage(token, Stage::Proposed(id));
        self.proposed.entry(id.index).or_default().push((id.term, token));
    }

    /// Whoever waits for this index, with the term in which it was proposed.
    pub(super) fn take_proposed(&mut self, index: LogIndex) -> Vec<(Term, Token)> {
        self.proposed.remove(&index).unwrap_or_default()
    }

    /// Parked requests go to the leader under this name.
    pub(super) fn forward(&mut self, purpose: ForwardedFor) -> ForwardId {
        let id = ForwardId(self.next_forward);
        self.next_forward += 1;
        match &purpose {
            ForwardedFor::Write(token) => self.set_stage(*token, Stage::Forwarded),
            ForwardedFor::Reads(tokens) => {
                tokens.iter().for_each(|token| self.set_stage(*token, Stage::Forwarded))
            }
        }
        self.forwarded.insert(id, purpose);
        id
    }

    pub(super) fn take_forwarded(&mut self, id: ForwardId) -> Option<ForwardedFor> {
        self.forwarded.remove(&id)
    }

    /// Parked reads wait for this node's leadership to be confirmed.
    pub(super) fn confirm(&mut self, tokens: Vec<Token>) -> ReadId {
        let id = ReadId(self.next_read);
        self.next_read += 1;
        tokens.iter().for_each(|token| self.set_stage(*token, Stage::Confirming));
        self.confirming.insert(id, tokens);
        id
    }

    pub(super) fn take_confirming(&mut self, id: ReadId) -> Vec<Token> {
        self.confirming.remove(&id).unwrap_or_default()
    }

    /// Reads wait for this index to be applied.
    pub(super) fn apply_first(&mut self, tokens: Vec<Token>, index: LogIndex) {
        tokens.iter().for_each(|token| self.set_stage(*token, Stage::Applying));
        self.applying.entry(index).or_default().extend(tokens);
    }

    /// The reads that waited for no more than this.
    pub(super) fn take_applied(&mut self, applied: LogIndex) -> Vec<Token> {
        let mut ready = Vec::new();
        while let Some(entry) = self.applying.first_entry().filter(|entry| *entry.key() <= applied) {
            ready.extend(entry.remove());
        }
        ready
    }

    /// The leader did not take it: again after the next tick, so that a leader that cannot be reached is not asked in
    /// a circle.
    pub(super) fn delay(&mut self, token: Token) {
        if self.requests.contains_key(&token) {
            self.set_stage(token, Stage::Delayed);
            self.delayed.push(token);
        }
    }

    /// Whether every list is empty: nothing leaks.
    pub(super) fn is_idle(&self) -> bool {
        let Self {
            clock: _,
            requests,
            deadlines,
            parked,
            delayed,
            proposed,
            forwarded,
            confirming,
            applying,
            ..
        } = self;
        let requests_idle =
            requests.is_empty() && deadlines.is_empty() && parked.is_empty() && delayed.is_empty();
        let lists_idle =
            proposed.is_empty() && forwarded.is_empty() && confirming.is_empty() && applying.is_empty();
        requests_idle && lists_idle
    }

    fn set_stage(&mut self, token: Token, stage: Stage) {
        let Some(waiter) = self.requests.get_mut(&token) else { return };
        waiter.stage = stage;
        if stage == Stage::Parked {
            self.parked.insert(token);
        } else {
            self.parked.remove(&token);
        }
    }

    fn forget_proposed(&mut self, index: LogIndex, token: Token) {
        if let Some(waiters) = self.proposed.get_mut(&index) {
            waiters.retain(|(_, waiter)| *waiter != token);
            if waiters.is_empty() {
                self.proposed.remove(&index);
            }
        }
    }
}
