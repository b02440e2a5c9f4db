//! Requests that wait, and for what.
//!
//! # Invariants
//! - Every request in here is answered exactly once: when what it waits for happens, or when it times out.
//! - A write that entered the log waits for its entry, not for its leader: a lost leadership does not fail it
//!   (another leader may commit it).
//! - Known and unknown outcomes stay distinct: a request whose stage is [`Stage::Parked`] has had no effect.
//! - Each list holds exactly the requests whose stage says so: a request that was answered, for whatever reason, is
//!   in none of them. What a list waits for may never happen.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lograft_raft::ReadId;
use lograft_types::{EntryId, LogIndex, Term};

use super::event::{ClientToken, ForwardId, ForwardToken};
use super::request::ListRequest;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) operation: Operation,
    pub(super) stage: Stage,
    pub(super) timeout_ms: u64,
    deadline_tick: u64,
}

/// What is asked, and by whom.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// A command, encoded.
    Write { payload: Bytes, origin: Origin },
    /// A read of this node's map, for a client.
    Read { read: Read, token: ClientToken },
    /// The index at which a peer may read its own map.
    ReadIndex { token: ForwardToken },
}

impl Operation {
    pub(super) const fn is_read(&self) -> bool {
        match self {
            Self::Write { .. } => false,
            Self::Read { .. } | Self::ReadIndex { .. } => true,
        }
    }

    /// Who asked.
    pub(super) const fn origin(&self) -> Origin {
        match self {
            Self::Write { origin, .. } => *origin,
            Self::Read { token, .. } => Origin::Client(*token),
            Self::ReadIndex { token } => Origin::Peer(*token),
        }
    }
}

/// What is read.
#[derive(Clone, Debug)]
pub(super) enum Read {
    Get(Bytes),
    List(ListRequest),
    /// Nothing: only whether it could be.
    Barrier,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A client of this node.
    Client(ClientToken),
    /// A peer that takes this node for the leader.
    Peer(ForwardToken),
}

/// Identifies a waiting request in the table; later requests have larger ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WaiterId(u64);

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// For a leader, for credit, or for the end of the turn.
    Parked,
    /// For the next tick: the leader did not take it just now.
    Delayed,
    /// For this entry to be applied, or replaced.
    Proposed(EntryId),
    /// For the leader's response to this.
    Forwarded(ForwardId),
    /// For this node's leadership to be confirmed.
    Confirming(ReadId),
    /// For this index to be applied.
    Applying(LogIndex),
}

/// What a forwarded message was for.
#[derive(Debug)]
pub(super) enum ForwardedFor {
    Write(WaiterId),
    Reads(BTreeSet<WaiterId>),
}

/// Ticks since the node started, and how long one is.
#[derive(Debug)]
pub(super) struct Clock {
    now: u64,
    tick_ms: u64,
}

/// The table of all waiting requests.
#[derive(Debug)]
pub(super) struct Waiting {
    clock: Clock,
    requests: BTreeMap<WaiterId, Waiter>,
    deadlines: BTreeSet<(u64, WaiterId)>,
    parked_writes: BTreeSet<WaiterId>,
    parked_reads: BTreeSet<WaiterId>,
    delayed: BTreeSet<WaiterId>,
    proposed: BTreeMap<LogIndex, Vec<(Term, WaiterId)>>,
    forwarded: BTreeMap<ForwardId, ForwardedFor>,
    confirming: BTreeMap<ReadId, BTreeSet<WaiterId>>,
    applying: BTreeMap<LogIndex, BTreeSet<WaiterId>>,
    next_waiter: u64,
    next_forward: u64,
    next_read: u64,
}

impl Waiting {
    pub(super) fn new(tick_ms: u64) -> Self {
        Self {
            clock: Clock { now: 0, tick_ms },
            requests: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            parked_writes: BTreeSet::new(),
            parked_reads: BTreeSet::new(),
            delayed: BTreeSet::new(),
            proposed: BTreeMap::new(),
            forwarded: BTreeMap::new(),
            confirming: BTreeMap::new(),
            applying: BTreeMap::new(),
            next_waiter: 0,
            next_forward: 0,
            next_read: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Adds a request; it is parked until the end of the turn.
    pub(super) fn park(&mut self, operation: Operation, timeout_ms: u64) {
        let is_read = operation.is_read();
        let id = self.insert(operation, Stage::Parked, timeout_ms);
        self.parked(is_read).insert(id);
    }

    /// Adds a read that any state of the map can serve; it is served at the end of the turn.
    pub(super) fn read_soon(&mut self, operation: Operation, timeout_ms: u64) {
        let id = self.insert(operation, Stage::Applying(LogIndex::ZERO), timeout_ms);
        self.applying.entry(LogIndex::ZERO).or_default().insert(id);
    }

    fn insert(&mut self, operation: Operation, stage: Stage, timeout_ms: u64) -> WaiterId {
        let id = WaiterId(self.next_waiter);
        self.next_waiter += 1;
        let deadline_tick = self.clock.now + timeout_ms.div_ceil(self.clock.tick_ms).max(1);
        self.requests.insert(id, Waiter { operation, stage, timeout_ms, deadline_tick });
        self.deadlines.insert((deadline_tick, id));
        id
    }

    fn parked(&mut self, is_read: bool) -> &mut BTreeSet<WaiterId> {
        if is_read { &mut self.parked_reads } else { &mut self.parked_writes }
    }

    /// A tick has passed: delayed requests are parked again. Returns the requests that have timed out.
    pub(super) fn tick(&mut self) -> Vec<Waiter> {
        self.clock.now += 1;
        for id in std::mem::take(&mut self.delayed) {
            let is_read = self.set_stage(id, Stage::Parked);
            self.parked(is_read).insert(id);
        }
        let mut over = Vec::new();
        while let Some((deadline, id)) = self.deadlines.first().copied() {
            if deadline > self.clock.now {
                break;
            }
            over.push(self.finish(id).expect("each deadline belongs to a request that waits"));
        }
        over
    }

    /// Ends the wait of a request. `None` if it was answered already.
    pub(super) fn finish(&mut self, id: WaiterId) -> Option<Waiter> {
        let waiter = self.requests.remove(&id)?;
        self.deadlines.remove(&(waiter.deadline_tick, id));
        match waiter.stage {
            Stage::Parked => drop(self.parked(waiter.operation.is_read()).remove(&id)),
            Stage::Delayed => drop(self.delayed.remove(&id)),
            Stage::Proposed(entry) => {
                forget(&mut self.proposed, entry.index, |waiters| {
                    waiters.retain(|(_, waiter)| *waiter != id);
                    waiters.is_empty()
                });
            }
            Stage::Forwarded(forward) => forget(&mut self.forwarded, forward, |purpose| match purpose {
                ForwardedFor::Write(_) => true,
                ForwardedFor::Reads(waiters) => remove(waiters, id),
            }),
            Stage::Confirming(read) => forget(&mut self.confirming, read, |waiters| remove(waiters, id)),
            Stage::Applying(index) => forget(&mut self.applying, index, |waiters| remove(waiters, id)),
        }
        Some(waiter)
    }

    /// Ends the wait of all requests.
    pub(super) fn finish_all(&mut self) -> Vec<Waiter> {
        let ids: Vec<_> = self.requests.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.finish(id)).collect()
    }

    /// The parked writes, in order of arrival.
    pub(super) fn parked_writes(&self) -> impl Iterator<Item = (WaiterId, &Waiter)> {
        self.parked_writes.iter().map(|id| (*id, &self.requests[id]))
    }

    /// The parked reads, in order of arrival.
    pub(super) fn parked_reads(&self) -> impl Iterator<Item = (WaiterId, &Waiter)> {
        self.parked_reads.iter().map(|id| (*id, &self.requests[id]))
    }

    /// How long a request still waits, in milliseconds: the time that a leader has to handle it.
    pub(super) fn left_ms(&self, waiter: &Waiter) -> u64 {
        (waiter.deadline_tick - self.clock.now) * self.clock.tick_ms
    }

    pub(super) fn get(&self, id: WaiterId) -> Option<&Waiter> {
        self.requests.get(&id)
    }

    /// A parked write became this entry.
    pub(super) fn proposed(&mut self, id: WaiterId, entry: EntryId) {
        self.unpark(id, Stage::Proposed(entry));
        self.proposed.entry(entry.index).or_default().push((entry.term, id));
    }

    /// The requests that wait for this index, each with the term in which it was proposed.
    pub(super) fn take_proposed(&mut self, index: LogIndex) -> Vec<(Term, WaiterId)> {
        self.proposed.remove(&index).unwrap_or_default()
    }

    /// A parked write, or parked reads, go to the leader under the returned id.
    pub(super) fn forward(&mut self, purpose: ForwardedFor) -> ForwardId {
        let id = ForwardId(self.next_forward);
        self.next_forward += 1;
        match &purpose {
            ForwardedFor::Write(waiter) => self.unpark(*waiter, Stage::Forwarded(id)),
            ForwardedFor::Reads(waiters) => {
                for waiter in waiters {
                    self.unpark(*waiter, Stage::Forwarded(id));
                }
            }
        }
        self.forwarded.insert(id, purpose);
        id
    }

    pub(super) fn take_forwarded(&mut self, id: ForwardId) -> Option<ForwardedFor> {
        self.forwarded.remove(&id)
    }

    /// Parked reads wait for this node's leadership to be confirmed.
    pub(super) fn confirm(&mut self, waiters: BTreeSet<WaiterId>) -> ReadId {
        let id = ReadId(self.next_read);
        self.next_read += 1;
        for waiter in &waiters {
            self.unpark(*waiter, Stage::Confirming(id));
        }
        self.confirming.insert(id, waiters);
        id
    }

    pub(super) fn take_confirming(&mut self, id: ReadId) -> BTreeSet<WaiterId> {
        self.confirming.remove(&id).unwrap_or_default()
    }

    /// Reads that were taken from another list wait for this index to be applied.
    pub(super) fn apply_first(&mut self, waiters: BTreeSet<WaiterId>, index: LogIndex) {
        for waiter in &waiters {
            self.set_stage(*waiter, Stage::Applying(index));
        }
        self.applying.entry(index).or_default().extend(waiters);
    }

    /// Takes a read that has waited for this index or a lower one out of its list.
    pub(super) fn take_applied(&mut self, applied: LogIndex) -> Option<WaiterId> {
        let mut first = self.applying.first_entry().filter(|entry| *entry.key() <= applied)?;
        let waiter = first.get_mut().pop_first();
        if first.get().is_empty() {
            first.remove();
        }
        waiter
    }

    /// A request that was taken from another list is sent again after the next tick: the leader did not take it, and
    /// an unreachable leader is not asked in a tight loop.
    pub(super) fn delay(&mut self, id: WaiterId) {
        self.set_stage(id, Stage::Delayed);
        self.delayed.insert(id);
    }

    /// Whether every list is empty: nothing leaks.
    pub(super) fn is_idle(&self) -> bool {
        let Self {
            clock: _,
            requests,
            deadlines,
            parked_writes,
            parked_reads,
            delayed,
            proposed,
            forwarded,
            confirming,
            applying,
            ..
        } = self;
        let requests_idle = requests.is_empty() && deadlines.is_empty() && delayed.is_empty();
        let parked_idle = parked_writes.is_empty() && parked_reads.is_empty();
        let lists_idle =
            proposed.is_empty() && forwarded.is_empty() && confirming.is_empty() && applying.is_empty();
        requests_idle && parked_idle && lists_idle
    }

    fn unpark(&mut self, id: WaiterId, stage: Stage) {
        let is_read = self.set_stage(id, stage);
        self.parked(is_read).remove(&id);
    }

    /// Returns whether the request is a read.
    fn set_stage(&mut self, id: WaiterId, stage: Stage) -> bool {
        let waiter = self.requests.get_mut(&id).expect("only requests that wait are in a list");
        waiter.stage = stage;
        waiter.operation.is_read()
    }
}

/// Takes something out of the list for `key`; a list that is empty then goes. It is gone already if what it waits for
/// has just happened.
fn forget<K: Ord, L>(lists: &mut BTreeMap<K, L>, key: K, take_out: impl FnOnce(&mut L) -> bool) {
    if let Some(list) = lists.get_mut(&key)
        && take_out(list)
    {
        lists.remove(&key);
    }
}

/// Removes a request. Returns whether none is left.
fn remove(waiters: &mut BTreeSet<WaiterId>, id: WaiterId) -> bool {
    waiters.remove(&id);
    waiters.is_empty()
}
