//! How the peers' side of the edges reaches the actor.
//!
//! # Invariants
//! - What comes from peers needs no permit of the clients': acknowledgements must never wait behind the requests that
//!   they answer. It has bounds of its own, in messages, in bytes of entries, and in votes that are not answered yet.
//! - A full lane refuses nothing. Whoever fills it waits, one stream at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lograft_node::limits::{KIB, MIB};
use lograft_node::{Envelope, Event, ForwardFailure, ForwardId, ForwardResponse, PeerRequest, PeerResult};
use lograft_raft::{ReplyTo, Response};
use lograft_types::{Identity, NodeId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Messages of peers that may wait for the actor; a full lane holds up the streams that fill it, one by one.
pub(super) const PEER_LANE: usize = 1024;

/// Bytes of entries that may wait in it.
const PEER_LANE_BYTES: usize = 64 * MIB;

/// Votes that may be unanswered at a time, whoever asks: an answer may wait for the disk.
const PEER_VOTES: usize = 64;

/// What reaches the actor from the peers' side.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// A stream of appends has been opened: its responses go here, which has room for all that may be asked on it.
    StreamOpened { reply_to: ReplyTo, responses: mpsc::Sender<PeerResult> },
    /// A stream of appends has ended.
    StreamEnded { reply_to: ReplyTo, in_order: bool },
    /// A request on an open stream.
    Append { envelope: Envelope, reply_to: ReplyTo, request: PeerRequest, weight: OwnedSemaphorePermit },
    /// A request for a vote.
    Vote { envelope: Envelope, reply_to: ReplyTo, request: PeerRequest, waiting: VoteWaiting },
    /// Something that the node is told as it is.
    Event(Event),
}

/// Where the answer to a request for a vote goes.
#[derive(Debug)]
pub(crate) struct VoteWaiting {
    pub(crate) respond: oneshot::Sender<PeerResult>,
    _place: OwnedSemaphorePermit,
}

/// How the peers' side of the edges reaches the actor. Waits while the actor is behind.
#[derive(Clone, Debug)]
pub struct PeerHandle {
    lane: mpsc::Sender<PeerEvent>,
    kibibytes: Arc<Semaphore>,
    votes: Arc<Semaphore>,
    streams: Arc<AtomicU64>,
    identity: Identity,
}

/// The actor has ended; sends to it have nowhere to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is shutting down")]
pub struct ActorGone;

impl PeerHandle {
    /// A port, and the receiving end for the actor.
    pub(crate) fn new(identity: Identity) -> (Self, mpsc::Receiver<PeerEvent>) {
        let (lane, peers) = mpsc::channel(PEER_LANE);
        let kibibytes = Arc::new(Semaphore::new(PEER_LANE_BYTES / KIB));
        let votes = Arc::new(Semaphore::new(PEER_VOTES));
        (Self { lane, kibibytes, votes, streams: Arc::new(AtomicU64::new(1)), identity }, peers)
    }

    /// Who this node is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// A stream of appends has been opened; `responses` must have room for all that may be asked on it at a time.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn stream_opened(&self, responses: mpsc::Sender<PeerResult>) -> Result<ReplyTo, ActorGone> {
        let reply_to = self.next_reply_to();
        self.send(PeerEvent::StreamOpened { reply_to, responses }).await?;
        Ok(reply_to)
    }

    /// A stream of appends has ended, in order or not.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn stream_ended(&self, reply_to: ReplyTo, in_order: bool) -> Result<(), ActorGone> {
        self.send(PeerEvent::StreamEnded { reply_to, in_order }).await
    }

    /// A peer asks on an open stream.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn append(
        &self,
        envelope: Envelope,
        reply_to: ReplyTo,
        request: PeerRequest,
    ) -> Result<(), ActorGone> {
        let kibibytes = request.size_bytes().div_ceil(KIB).clamp(1, PEER_LANE_BYTES / KIB);
        let kibibytes = u32::try_from(kibibytes).expect("the lane's bytes are few");
        let weight =
            Arc::clone(&self.kibibytes).acquire_many_owned(kibibytes).await.map_err(|_| ActorGone)?;
        self.send(PeerEvent::Append { envelope, reply_to, request, weight }).await
    }

    /// A peer asks for a vote.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn vote(&self, envelope: Envelope, request: PeerRequest) -> Result<PeerResult, ActorGone> {
        let place = Arc::clone(&self.votes).acquire_owned().await.map_err(|_| ActorGone)?;
        let (respond, response) = oneshot::channel();
        let waiting = VoteWaiting { respond, _place: place };
        let reply_to = self.next_reply_to();
        self.send(PeerEvent::Vote { envelope, reply_to, request, waiting }).await?;
        response.await.map_err(|_| ActorGone)
    }

    /// A peer answers.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn response(&self, envelope: Envelope, response: Response) -> Result<(), ActorGone> {
        self.send(PeerEvent::Event(Event::PeerResponse { envelope, response })).await
    }

    /// The link to a peer broke.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn link_lost(&self, to: NodeId) -> Result<(), ActorGone> {
        self.send(PeerEvent::Event(Event::LinkLost { to })).await
    }

    /// A peer told where clients reach it.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn handshake(&self, from: NodeId, client_urls: Vec<String>) -> Result<(), ActorGone> {
        self.send(PeerEvent::Event(Event::Handshake { from, client_urls })).await
    }

    /// An edge refused a message of a peer: it is counted.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn refused(&self) -> Result<(), ActorGone> {
        self.send(PeerEvent::Event(Event::Refused)).await
    }

    /// What came of something forwarded.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn forward_done(
        &self,
        id: ForwardId,
        result: Result<ForwardResponse, ForwardFailure>,
    ) -> Result<(), ActorGone> {
        self.send(PeerEvent::Event(Event::ForwardDone { id, result })).await
    }

    fn next_reply_to(&self) -> ReplyTo {
        ReplyTo(self.streams.fetch_add(1, Ordering::Relaxed))
    }

    async fn send(&self, input: PeerEvent) -> Result<(), ActorGone> {
        self.lane.send(input).await.map_err(|_| ActorGone)
    }
}
