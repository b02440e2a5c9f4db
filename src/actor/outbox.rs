//! What waits to be delivered to one peer: filled by the actor, emptied by the peer's link.
//!
//! # Invariants
//! - Filling never blocks. It is bounded, however slow the peer is: one heartbeat and one vote (the newest says all);
//!   of entries twice what the core lets out at a time; of forwarded requests as many as there are permits.
//! - Heartbeats and votes never wait for entries, which may have to be read from the disk first, nor for forwarded
//!   requests, which the peer may be slow to take: each of the three leaves by a door of its own.
//! - While there is no link nothing piles up: entries are dropped (the core probes again), forwarded requests are given
//!   back as not taken.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lograft_node::limits::Limits;
use lograft_node::{Forward, ForwardId, ForwardRequest, Payloads, PeerMessage};
use lograft_raft::{AppendEntries, RequestVote};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The box of one peer.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    urgent: Notify,
    forwards: Notify,
    bulk: Notify,
    /// The most messages with entries, and of their bytes.
    append_bounds: Weight,
    /// The most forwarded requests, and of their bytes.
    forward_bounds: Weight,
}

/// How much there is of something.
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
    /// With the moment at which each came.
    forwards: VecDeque<(Instant, Forward)>,
    forwards_weight: Weight,
}

/// Something to deliver that must not wait behind entries.
#[derive(Debug)]
pub enum Parcel {
    /// A heartbeat.
    Heartbeat(AppendEntries),
    /// A vote, or a pre-vote.
    Vote(RequestVote),
}

impl Outbox {
    /// An empty box.
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

    /// Puts a message in. Without a link entries and heartbeats are dropped.
    ///
    /// Where the box holds more entries than the core lets out at a time, the core has given the older ones up for lost,
    /// and so they are.
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

    /// Puts a request for the leader in.
    ///
    /// # Errors
    /// Gives it back if there is no link, or no room: it was not taken.
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

    /// The link is up: deliveries begin with an empty box, but for a vote that is still asked for.
    pub fn link_up(&self) {
        self.lock().linked = true;
    }

    /// The link is down: empties the box and gives back what was not taken.
    pub fn link_down(&self) -> Vec<Forward> {
        let mut queue = self.lock();
        let forwards = queue.forwards.drain(..).map(|(_, forward)| forward).collect();
        *queue = Queue::default();
        forwards
    }

    /// The next thing that must not wait behind entries, as soon as there is one. Cancel safe; one caller at a time.
    pub async fn next_urgent(&self) -> Parcel {
        loop {
            if let Some(parcel) = self.lock().pop_urgent() {
                return parcel;
            }
            // A permit is stored if something was put in since the look.
            self.urgent.notified().await;
        }
    }

    /// The next entries, as soon as there are any. Cancel safe; one caller at a time.
    pub async fn next_append(&self) -> (AppendEntries, Payloads) {
        loop {
            if let Some(append) = self.lock().pop_append() {
                return append;
            }
            self.bulk.notified().await;
        }
    }

    /// The next request for the leader, as soon as there is one, with the time that is left to it. Cancel safe; one caller
    /// at a time.
    ///
    /// # Errors
    /// Its name, if its time was over before it could leave: it was not taken.
    pub async fn next_forward(&self) -> Result<Forward, ForwardId> {
        loop {
            if let Some(forward) = self.lock().pop_forward() {
                return forward;
            }
            self.forwards.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole between any two statements: a panic elsewhere has not torn it.
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
                // At least 1: less is nothing on the wire, and the answer to it would be "too late" in any case.
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

    /// Something larger than all the room there is goes alone.
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
