//! What waits to be delivered to one peer: filled by the actor, emptied by the peer's link.
//!
//! # Invariants
//! - Filling never blocks, and it is bounded, however slow the peer is: one heartbeat and one vote request
//!   (the newest is enough), twice the entries that the core allows in flight, and as many forwarded requests
//!   as there are permits.
//! - Heartbeats and vote requests never wait for entries, which may have to be read from disk, nor for
//!   forwarded requests, which the peer may accept slowly. Each of the three kinds has its own way out.
//! - Without a link nothing piles up: entries are dropped (the core probes again), and forwarded requests are
//!   handed back as not taken.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lograft_node::limits::Limits;
use lograft_node::{Forward, ForwardId, ForwardRequest, Payloads, PeerMessage};
use lograft_raft::{AppendEntries, RequestVote};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The outbox of one peer.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    urgent: Notify,
    forwards: Notify,
    bulk: Notify,
    /// The bounds of messages with entries.
    append_bounds: Weight,
    /// The bounds of forwarded requests.
    forward_bounds: Weight,
}

/// A number of messages and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weight {
    count: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    linked: bool,
    heartbeat: Option<AppendEntries>,
    vote: Option<RequestVote>,
    appends: VecDeque<(AppendEntries, Payloads)>,
    appends_weight: Weight,
    /// With the time of arrival of each.
    forwards: VecDeque<(Instant, Forward)>,
    forwards_weight: Weight,
}

/// A message that must not wait for entries.
#[derive(Debug)]
pub enum Parcel {
    /// A heartbeat.
    Heartbeat(AppendEntries),
    /// A vote request, or a pre-vote request.
    Vote(RequestVote),
}

impl Outbox {
    /// An empty outbox.
    pub fn new(limits: &Limits) -> Self {
        Self {
            queue: Mutex::default(),
            urgent: Notify::new(),
            forwards: Notify::new(),
            bulk: Notify::new(),
            append_bounds: Weight {
                count: 2 * limits.max_inflight_messages,
                bytes: 2 * (limits.max_inflight_bytes + limits.max_append_bytes),
            },
            forward_bounds: Weight { count: limits.max_pending_requests, bytes: limits.max_pending_bytes },
        }
    }

    /// Adds a message. Without a link, entries and heartbeats are dropped.
    ///
    /// If the outbox holds more entries than the core allows in flight, the core has given up the older ones
    /// as lost, so they are dropped.
    pub(crate) fn push(&self, message: PeerMessage) {
        let mut queue = self.lock();
        let door = match message {
            PeerMessage::Vote(vote) => {
                queue.vote = Some(vote);
                &self.urgent
            }
            PeerMessage::Heartbeat(_) | PeerMessage::Append { .. } if !queue.linked => return,
            PeerMessage::Heartbeat(heartbeat) => {
                queue.heartbeat = Some(heartbeat);
                &self.urgent
            }
            PeerMessage::Append { request, payloads } => {
                let weight = Weight::of_append(&request);
                if !queue.appends_weight.fits(weight, self.append_bounds) {
                    queue.appends.clear();
                    queue.appends_weight = Weight::default();
                }
                queue.appends_weight.add(weight);
                queue.appends.push_back((request, payloads));
                &self.bulk
            }
        };
        door.notify_one();
    }

    /// Adds a request for the leader.
    ///
    /// # Errors
    /// Hands it back if there is no link or no capacity: it was not taken.
    pub(crate) fn push_forward(&self, forward: Forward) -> Result<(), Forward> {
        let mut queue = self.lock();
        let weight = Weight::of_forward(&forward);
        if !queue.linked || !queue.forwards_weight.fits(weight, self.forward_bounds) {
            return Err(forward);
        }
        queue.forwards_weight.add(weight);
        queue.forwards.push_back((Instant::now(), forward));
        self.forwards.notify_one();
        Ok(())
    }

    /// The link is up. Deliveries begin with an empty outbox, except for a vote request that is still wanted.
    pub fn link_up(&self) {
        self.lock().linked = true;
    }

    /// The link is down. Empties the outbox and returns the forwarded requests, which were not taken.
    pub fn link_down(&self) -> Vec<Forward> {
        let mut queue = self.lock();
        let forwards = queue.forwards.drain(..).map(|(_, forward)| forward).collect();
        *queue = Queue::default();
        forwards
    }

    /// Waits for the next urgent message. Cancel safe; one caller at a time.
    pub async fn next_urgent(&self) -> Parcel {
        loop {
            if let Some(parcel) = self.lock().pop_urgent() {
                return parcel;
            }
            // A permit is stored if something was added since the check.
            self.urgent.notified().await;
        }
    }

    /// Waits for the next entries. Cancel safe; one caller at a time.
    pub async fn next_append(&self) -> (AppendEntries, Payloads) {
        loop {
            if let Some(append) = self.lock().pop_append() {
                return append;
            }
            self.bulk.notified().await;
        }
    }

    /// Waits for the next request for the leader, and sets the time it has left. Cancel safe; one caller at a
    /// time.
    ///
    /// # Errors
    /// The ID of a request that timed out before it could leave: it was not taken.
    pub async fn next_forward(&self) -> Result<Forward, ForwardId> {
        loop {
            if let Some(forward) = self.lock().pop_forward() {
                return forward;
            }
            self.forwards.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is consistent between any two statements, so a panic elsewhere has not damaged it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn pop_urgent(&mut self) -> Option<Parcel> {
        if let Some(vote) = self.vote.take() {
            return Some(Parcel::Vote(vote));
        }
        self.heartbeat.take().map(Parcel::Heartbeat)
    }

    fn pop_append(&mut self) -> Option<(AppendEntries, Payloads)> {
        let append = self.appends.pop_front()?;
        self.appends_weight.remove(Weight::of_append(&append.0));
        Some(append)
    }

    fn pop_forward(&mut self) -> Option<Result<Forward, ForwardId>> {
        let (came, mut forward) = self.forwards.pop_front()?;
        self.forwards_weight.remove(Weight::of_forward(&forward));
        match Duration::from_millis(forward.timeout_ms).checked_sub(came.elapsed()) {
            Some(left) => {
                // At least 1: on the wire 0 means nothing, and the response would be "too late" in any case.
                forward.timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
                Some(Ok(forward))
            }
            None => Some(Err(forward.id)),
        }
    }
}

impl Weight {
    fn of_append(request: &AppendEntries) -> Self {
        Self { count: 1, bytes: request.entries.iter().map(|entry| entry.size_bytes as usize).sum() }
    }

    fn of_forward(forward: &Forward) -> Self {
        let bytes = match &forward.request {
            ForwardRequest::Write(payload) => payload.len(),
            ForwardRequest::ReadIndex => 0,
        };
        Self { count: 1, bytes }
    }

    /// A message larger than the bounds fits into an empty outbox.
    fn fits(self, more: Self, bounds: Self) -> bool {
        let fits = self.count + more.count <= bounds.count && self.bytes + more.bytes <= bounds.bytes;
        fits || self.count == 0
    }

    fn add(&mut self, more: Self) {
        self.count += more.count;
        self.bytes += more.bytes;
    }

    fn remove(&mut self, less: Self) {
        self.count -= less.count;
        self.bytes -= less.bytes;
    }
}

#[cfg(test)]
mod tests;
