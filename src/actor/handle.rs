//! How the edges reach the actor: a cheap handle that needs a permit for each request.

use std::sync::Arc;
use std::time::Duration;

use lograft_node::limits::{KIB, Limits};
use lograft_node::{ClientRequest, ClientResponse, ForwardRequest, ForwardResponse, RequestError, Status};
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
    /// A request of a client of this node.
    Request(PendingRequest),
    /// A request of a peer that takes this node for the leader: it must not be forwarded again.
    Forward(PendingForward),
    /// Asks for the node's status.
    Status(StatusRequest),
}

/// A client's request that waits, and where its response goes: to a handler of this process.
#[derive(Debug)]
pub(crate) struct PendingRequest {
    pub(crate) request: ClientRequest,
    pub(crate) timeout_ms: u64,
    pub(crate) respond: oneshot::Sender<Result<ClientResponse, RequestError>>,
    pub(crate) permit: Permit,
}

/// A peer's request that waits, and where its response goes: to the stream on which the peer asked.
#[derive(Debug)]
pub(crate) struct PendingForward {
    pub(crate) request: ForwardRequest,
    pub(crate) timeout_ms: u64,
    pub(crate) respond: ForwardResponder,
    pub(crate) permit: Permit,
}

/// Sends the response to what a peer forwarded.
#[derive(Debug)]
pub(crate) struct ForwardResponder {
    /// The peer's name for its request.
    id: u64,
    /// Has room for as many responses as may be asked for on the stream.
    responses: mpsc::Sender<ForwardResult>,
}

/// Somebody asks for the node's status.
#[derive(Debug)]
pub(crate) struct StatusRequest {
    pub(crate) respond: oneshot::Sender<Status>,
    _place: OwnedSemaphorePermit,
}

/// Held while a request waits.
#[derive(Debug)]
pub(crate) struct Permit {
    _request: OwnedSemaphorePermit,
    _kibibytes: OwnedSemaphorePermit,
}

/// The response to what a peer forwarded.
#[derive(Debug)]
pub struct ForwardResult {
    /// The peer's name for its request.
    pub id: u64,
    /// The response.
    pub result: Result<ForwardResponse, RequestError>,
}

impl ForwardResponder {
    /// The peer may have gone: then nobody waits for it.
    pub(crate) fn send(self, result: Result<ForwardResponse, RequestError>) {
        drop(self.responses.try_send(ForwardResult { id: self.id, result }));
    }
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
    pub async fn request(
        &self,
        request: ClientRequest,
        timeout: Option<Duration>,
    ) -> Result<ClientResponse, RequestError> {
        let permit = self.permit(request.size_bytes())?;
        let is_write = matches!(request, ClientRequest::Write(_));
        let (respond, response) = oneshot::channel();
        let timeout_ms = self.timeout_ms(timeout);
        self.send(ClientMessage::Request(PendingRequest { request, timeout_ms, respond, permit }))?;
        match response.await {
            Ok(result) => result,
            // The actor answers everything before it ends; only its panic can drop a request.
            Err(_) if is_write => Err(RequestError::UnknownOutcome { reason: "the node stopped".to_owned() }),
            Err(_) => Err(RequestError::ShuttingDown),
        }
    }

    /// Hands in what a peer forwarded; the response goes to `responses`, which must have room for it.
    ///
    /// # Errors
    /// [`RequestError`] if it was refused at once: then nothing goes to `responses`.
    pub fn forwarded(
        &self,
        id: u64,
        request: ForwardRequest,
        timeout: Duration,
        responses: mpsc::Sender<ForwardResult>,
    ) -> Result<(), RequestError> {
        let size_bytes = match &request {
            ForwardRequest::Write(payload) => payload.len(),
            ForwardRequest::ReadIndex => 0,
        };
        let permit = self.permit(size_bytes)?;
        let respond = ForwardResponder { id, responses };
        let timeout_ms = self.timeout_ms(Some(timeout));
        self.send(ClientMessage::Forward(PendingForward { request, timeout_ms, respond, permit }))
    }

    /// The node's status.
    ///
    /// # Errors
    /// [`RequestError::ShuttingDown`] once the actor has ended.
    pub async fn status(&self) -> Result<Status, RequestError> {
        let place = Arc::clone(&self.status_places).acquire_owned().await;
        let place = place.map_err(|_| RequestError::ShuttingDown)?;
        let (respond, status) = oneshot::channel();
        let message = ClientMessage::Status(StatusRequest { respond, _place: place });
        self.clients.send(message).await.map_err(|_| RequestError::ShuttingDown)?;
        status.await.map_err(|_| RequestError::ShuttingDown)
    }

    fn send(&self, message: ClientMessage) -> Result<(), RequestError> {
        self.clients.try_send(message).map_err(|error| match error {
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
