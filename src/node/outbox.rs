//! What waits to be delivered to one peer: filled by the actor, emptied by the peer's link.
//!
//! # Invariants
//! - Filling never blocks. It is bounded: one heartbeat and one vote (the newest says all), and of entries and forwarded
//!   requests what the core's and the permits' limits let out.
//! - Heartbeats and votes never wait for entries, which may have to be read from the disk first: they leave by a door
//!   of their own.
//! - While there is no link nothing piles up: entries are dropped (the core probes again), forwarded requests are given
//!   back as not taken.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::event::Forward;
use super::peer::{Payloads, PeerMessage};
use crate::raft::{AppendEntries, RequestVote};

/// The box of one peer.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
    urgent: Notify,
    bulk: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    linked: bool,
    heartbeat: Option<AppendEntries>,
    vote: Option<RequestVote>,
    appends: VecDeque<(AppendEntries, Payloads)>,
    forwards: VecDeque<Forward>,
}

/// Something to deliver that must not wait behind entries.
#[derive(Debug)]
pub enum Parcel {
    /// A heartbeat.
    Heartbeat(AppendEntries),
    /// A vote, or a pre-vote.
    Vote(RequestVote),
    /// A request for the leader.
    Forward(Forward),
}

impl Outbox {
    /// An empty box.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a message in. Without a link entries and heartbeats are dropped.
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
                queue.appends.push_back((request, payloads));
                &self.bulk
            }
        };
        door.notify_one();
    }

    /// Puts a request for the leader in.
    ///
    /// # Errors
    /// Gives it back if there is no link: it was not taken.
    pub(crate) fn push_forward(&self, forward: Forward) -> Result<(), Forward> {
        let mut queue = self.lock();
        if !queue.linked {
            return Err(forward);
        }
        queue.forwards.push_back(forward);
        self.urgent.notify_one();
        Ok(())
    }

    /// The link is up: deliveries begin with an empty box, but for a vote that is still asked for.
    pub fn link_up(&self) {
        self.lock().linked = true;
    }

    /// The link is down: empties the box and gives back what was not taken.
    pub fn link_down(&self) -> Vec<Forward> {
        let mut queue = self.lock();
        let forwards = queue.forwards.drain(..).collect();
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
            if let Some(append) = self.lock().appends.pop_front() {
                return append;
            }
            self.bulk.notified().await;
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
        if let Some(heartbeat) = self.heartbeat.take() {
            return Some(Parcel::Heartbeat(heartbeat));
        }
        self.forwards.pop_front().map(Parcel::Forward)
    }
}
