//! How links and peers' streams reach the actor.
//!
//! # Invariants
//! - Messages from peers need no client permit: acknowledgements must never wait for the requests that
//!   they complete. They have their own bounds: messages, bytes of entries, and unanswered vote requests.
//! - A full lane refuses nothing. Each stream that fills it waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lograft_node::limits::{KIB, MIB};
use lograft_node::{Envelope, Event, ForwardFailure, ForwardId, ForwardResponse, PeerRequest, PeerResult};
use lograft_raft::{ReplyTo, Response};
use lograft_types::{Identity, NodeId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Messages from peers that may wait for the actor. A full lane holds up the streams that fill it, one by
/// one. Each link keeps two places reserved.
pub(super) const PEER_LANE: usize = 1024;

/// Bytes of entries that may wait in the lane.
const PEER_LANE_BYTES: usize = 64 * MIB;

/// Vote requests that may be unanswered at a time, over all peers: a response may wait for the disk.
const PEER_VOTES: usize = 64;

/// What reaches the actor from peers and links.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// A stream of appends was opened. Its responses go here, with capacity for all that may be open on it.
    StreamOpened { reply_to: ReplyTo, responses: mpsc::Sender<PeerResult> },
    /// A stream of appends has ended.
    StreamEnded { reply_to: ReplyTo, in_order: bool },
    /// A request on an open stream.
    Append { envelope: Envelope, reply_to: ReplyTo, request: PeerRequest, weight: OwnedSemaphorePermit },
    /// A request for a vote.
    Vote { envelope: Envelope, reply_to: ReplyTo, request: PeerRequest, waiting: VoteWaiting },
    /// Something that the node is told unchanged.
    Event(Event),
}

/// Where the response to a vote request goes.
#[derive(Debug)]
pub(crate) struct VoteWaiting {
    pub(crate) respond: oneshot::Sender<PeerResult>,
    _place: OwnedSemaphorePermit,
}

/// How streams and links reach the actor. Waits while the actor is behind.
#[derive(Clone, Debug)]
pub struct PeerHandle {
    lane: mpsc::Sender<PeerEvent>,
    kibibytes: Arc<Semaphore>,
    votes: Arc<Semaphore>,
    streams: Arc<AtomicU64>,
    identity: Identity,
}

/// The actor has ended and receives nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is shutting down")]
pub struct ActorGone;

/// A place in the lane of a [`PeerHandle`].
#[derive(Debug)]
pub struct ReservedPlace<'a>(mpsc::Permit<'a, PeerEvent>);

impl ReservedPlace<'_> {
    /// A forwarded request has a result.
    pub fn forward_done(self, id: ForwardId, result: Result<ForwardResponse, ForwardFailure>) {
        self.0.send(PeerEvent::Event(Event::ForwardDone { id, result }));
    }
}

impl PeerHandle {
    /// Creates a handle, and the receiving end for the actor.
    pub(crate) fn new(identity: Identity) -> (Self, mpsc::Receiver<PeerEvent>) {
        let (lane, peers) = mpsc::channel(PEER_LANE);
        let kibibytes = Arc::new(Semaphore::new(PEER_LANE_BYTES / KIB));
        let votes = Arc::new(Semaphore::new(PEER_VOTES));
        (Self { lane, kibibytes, votes, streams: Arc::new(AtomicU64::new(1)), identity }, peers)
    }

    /// The identity of this node.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// A stream of appends was opened. `responses` must have capacity for all requests that may be open on
    /// it.
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

    /// A peer sends a request on an open stream.
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

    /// A peer requests a vote.
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

    /// A peer responds.
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

    /// A peer said where clients reach it.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn handshake(&self, from: NodeId, client_urls: Vec<String>) -> Result<(), ActorGone> {
        self.send(PeerEvent::Event(Event::Handshake { from, client_urls })).await
    }

    /// A peer's message was refused before it reached the node; the node counts it.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn refused(&self) -> Result<(), ActorGone> {
        self.send(PeerEvent::Event(Event::Refused)).await
    }

    /// A forwarded request has a result.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn forward_done(
        &self,
        id: ForwardId,
        result: Result<ForwardResponse, ForwardFailure>,
    ) -> Result<(), ActorGone> {
        self.reserve().await?.forward_done(id, result);
        Ok(())
    }

    /// Waits for a place in the lane: what is told with it is told at once.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn reserve(&self) -> Result<ReservedPlace<'_>, ActorGone> {
        self.lane.reserve().await.map(ReservedPlace).map_err(|_| ActorGone)
    }

    fn next_reply_to(&self) -> ReplyTo {
        ReplyTo(self.streams.fetch_add(1, Ordering::Relaxed))
    }

    async fn send(&self, input: PeerEvent) -> Result<(), ActorGone> {
        self.lane.send(input).await.map_err(|_| ActorGone)
    }
}
