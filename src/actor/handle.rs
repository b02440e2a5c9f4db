//! How the edges reach the actor: a cheap handle that needs a permit for each request.

use std::sync::Arc;
use std::time::Duration;

use lograft_node::limits::{KIB, Limits};
use lograft_node::{Answer, ForwardAnswer, ForwardedRequest, Request, RequestError, Status};
use lograft_types::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Askers of a status that may be in the mailbox at a time. They have places of their own there; more of them wait.
const STATUS_PLACES: usize = 64;

/// A clone of this talks to the node's actor.
///
/// # Invariants
/// - The mailbox has a place for every permit, and places of their own for askers of a status: these never make a
///   request be refused.
/// - A request that is in the mailbox holds a permit until it is answered; none free: it is refused at once.
/// - Every request is answered, at the latest when its time is over or the actor ends.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    clients: mpsc::Sender<ClientMessage>,
    requests: Arc<Semaphore>,
    kibibytes: Arc<Semaphore>,
    status_places: Arc<Semaphore>,
    limits: Limits,
    node: NodeId,
}

/// What the actor receives from the edges.
#[derive(Debug)]
pub(crate) enum ClientMessage {
    /// A request, and where its answer goes.
    Request(PendingRequest),
    /// Asks how the node fares.
    Status(StatusAsked),
}

/// Somebody asks how the node fares.
#[derive(Debug)]
pub(crate) struct StatusAsked {
    pub(crate) answer: oneshot::Sender<Status>,
    _place: OwnedSemaphorePermit,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct PendingRequest {
    pub(crate) asked: Asked,
    pub(crate) timeout_ms: u64,
    pub(crate) completion: Completion,
    pub(crate) permit: Permit,
}

/// What is asked, and by whom.
#[derive(Debug)]
pub(crate) enum Asked {
    /// By a client of this node.
    Client(Request),
    /// By a peer that takes this node for the leader: it must not be forwarded again.
    Peer(ForwardedRequest),
}

/// Held while a request waits.
#[derive(Debug)]
pub(crate) struct Permit {
    _request: OwnedSemaphorePermit,
    _kibibytes: OwnedSemaphorePermit,
}

/// Where an answer goes.
#[derive(Debug)]
pub(crate) enum Completion {
    /// To a handler of this process.
    Oneshot(oneshot::Sender<Result<Answer, RequestError>>),
    /// To a peer, on the stream on which it asked.
    Stream {
        /// The peer's name for its request.
        id: u64,
        /// Holds as many answers as may be asked for on the stream.
        answers: mpsc::Sender<ForwardReply>,
    },
}

/// The answer to what a peer forwarded.
#[derive(Debug)]
pub struct ForwardReply {
    /// The peer's name for its request.
    pub id: u64,
    /// The answer.
    pub result: Result<ForwardAnswer, RequestError>,
}

impl NodeHandle {
    /// A handle, and the receiving end for the actor.
    pub(crate) fn new(node: NodeId, limits: Limits) -> (Self, mpsc::Receiver<ClientMessage>) {
        let (clients, mailbox) = mpsc::channel(limits.max_pending_requests + STATUS_PLACES);
        let handle = Self {
            clients,
            requests: Arc::new(Semaphore::new(limits.max_pending_requests)),
            kibibytes: Arc::new(Semaphore::new(limits.max_pending_bytes / KIB)),
            status_places: Arc::new(Semaphore::new(STATUS_PLACES)),
            limits,
            node,
        };
        (handle, mailbox)
    }

    /// The node's limits, for the checks at the edges.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The node's id.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Asks the node and waits for its answer, at most `timeout` or the node's own request timeout, whichever is less.
    ///
    /// # Errors
    /// See [`RequestError`]. Without a free permit the answer is [`RequestError::Overloaded`], at once.
    pub async fn request(&self, request: Request, timeout: Option<Duration>) -> Result<Answer, RequestError> {
        let permit = self.permit(request.size_bytes())?;
        let is_write = matches!(request, Request::Write(_));
        let (answer, answered) = oneshot::channel();
        let pending = PendingRequest {
            asked: Asked::Client(request),
            timeout_ms: self.timeout_ms(timeout),
            completion: Completion::Oneshot(answer),
            permit,
        };
        self.send(pending)?;
        match answered.await {
            Ok(answer) => answer,
            // The actor answers everything before it ends; only its panic can drop a request.
            Err(_) if is_write => Err(RequestError::UnknownOutcome { reason: "the node stopped".to_owned() }),
            Err(_) => Err(RequestError::ShuttingDown),
        }
    }

    /// Hands in what a peer forwarded; the answer goes to `answers`, which must have room for it.
    ///
    /// # Errors
    /// [`RequestError`] if it was refused at once: then nothing goes to `answers`.
    pub fn forwarded(
        &self,
        id: u64,
        request: ForwardedRequest,
        timeout: Duration,
        answers: mpsc::Sender<ForwardReply>,
    ) -> Result<(), RequestError> {
        let size_bytes = match &request {
            ForwardedRequest::Write(payload) => payload.len(),
            ForwardedRequest::ReadIndex => 0,
        };
        let permit = self.permit(size_bytes)?;
        let completion = Completion::Stream { id, answers };
        let timeout_ms = self.timeout_ms(Some(timeout));
        self.send(PendingRequest { asked: Asked::Peer(request), timeout_ms, completion, permit })
    }

    /// How the node fares.
    ///
    /// # Errors
    /// [`RequestError::ShuttingDown`] once the actor has ended.
    pub async fn status(&self) -> Result<Status, RequestError> {
        let place = Arc::clone(&self.status_places).acquire_owned().await;
        let place = place.map_err(|_| RequestError::ShuttingDown)?;
        let (answer, answered) = oneshot::channel();
        let message = ClientMessage::Status(StatusAsked { answer, _place: place });
        self.clients.send(message).await.map_err(|_| RequestError::ShuttingDown)?;
        answered.await.map_err(|_| RequestError::ShuttingDown)
    }

    fn send(&self, pending: PendingRequest) -> Result<(), RequestError> {
        self.clients.try_send(ClientMessage::Request(pending)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => self.overloaded_requests(),
            mpsc::error::TrySendError::Closed(_) => RequestError::ShuttingDown,
        })
    }

    fn permit(&self, size_bytes: usize) -> Result<Permit, RequestError> {
        let kibibytes = size_bytes.div_ceil(KIB).max(1);
        let kibibytes = u32::try_from(kibibytes).unwrap_or(u32::MAX);
        let one = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| self.overloaded_requests())?;
        let kibibytes = Arc::clone(&self.kibibytes).try_acquire_many_owned(kibibytes).map_err(|_| {
            RequestError::Overloaded { what: "max-pending-bytes", limit: self.limits.max_pending_bytes }
        })?;
        Ok(Permit { _request: one, _kibibytes: kibibytes })
    }

    fn overloaded_requests(&self) -> RequestError {
        RequestError::Overloaded { what: "max-pending-requests", limit: self.limits.max_pending_requests }
    }

    fn timeout_ms(&self, asked: Option<Duration>) -> u64 {
        let bound = self.limits.request_timeout_ms;
        asked.map_or(bound, |asked| u64::try_from(asked.as_millis()).unwrap_or(u64::MAX).min(bound))
    }
}
