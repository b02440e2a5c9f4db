//! How the API reaches the actor: a cheap handle that needs a permit for each request.

use std::sync::Arc;
use std::time::Duration;

use lograft_node::limits::{KIB, Limits};
use lograft_node::{ClientRequest, ClientResponse, ForwardRequest, ForwardResponse, RequestError, Status};
use lograft_types::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Status requests that may be in the mailbox at a time. They have their own places there; more of them wait
/// outside.
const STATUS_PLACES: usize = 64;

/// A cloneable handle to the node's actor.
///
/// # Invariants
/// - The mailbox has a place for every permit and separate places for status requests, so a status request
///   never causes another request to be refused.
/// - A request in the mailbox holds a permit until it is answered. Without a free permit it is refused at
///   once.
/// - Every request is answered, at the latest when it times out or the actor ends.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    clients: mpsc::Sender<ClientMessage>,
    requests: Arc<Semaphore>,
    kibibytes: Arc<Semaphore>,
    status_places: Arc<Semaphore>,
    limits: Limits,
    node: NodeId,
}

/// What the actor receives from the API and from peers' forwarded requests.
#[derive(Debug)]
pub(crate) enum ClientMessage {
    /// A request from a client of this node.
    Request(PendingRequest),
    /// A request from a peer that takes this node for the leader. It must not be forwarded again.
    Forward(PendingForward),
    /// Asks for the node's status.
    Status(StatusRequest),
}

/// An open client request, and where its response goes: to a handler in this process.
#[derive(Debug)]
pub(crate) struct PendingRequest {
    pub(crate) request: ClientRequest,
    pub(crate) timeout_ms: u64,
    pub(crate) respond: oneshot::Sender<Result<ClientResponse, RequestError>>,
    pub(crate) permit: Permit,
}

/// An open request of a peer, and where its response goes: to the stream that carried the request.
#[derive(Debug)]
pub(crate) struct PendingForward {
    pub(crate) request: ForwardRequest,
    pub(crate) timeout_ms: u64,
    pub(crate) respond: ForwardResponder,
    pub(crate) permit: Permit,
}

/// Sends the response to a forwarded request.
#[derive(Debug)]
pub(crate) struct ForwardResponder {
    /// The peer's ID for its request.
    id: u64,
    /// Has capacity for a response to every request that may be open on the stream.
    responses: mpsc::Sender<ForwardResult>,
}

/// A request for the node's status.
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

/// The response to a forwarded request.
#[derive(Debug)]
pub struct ForwardResult {
    /// The peer's ID for its request.
    pub id: u64,
    /// The response.
    pub result: Result<ForwardResponse, RequestError>,
}

impl ForwardResponder {
    /// The peer may be gone; then the response is dropped.
    pub(crate) fn send(self, result: Result<ForwardResponse, RequestError>) {
        drop(self.responses.try_send(ForwardResult { id: self.id, result }));
    }
}

impl NodeHandle {
    /// Creates a handle, and the receiving end for the actor.
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

    /// The node's limits, for the checks of the API.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The node's ID.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Sends a request to the node and waits for the response, at most `timeout` or the node's own request
    /// timeout, whichever is less.
    ///
    /// # Errors
    /// See [`RequestError`]. Without a free permit, [`RequestError::Overloaded`] is returned at once.
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

    /// Hands in a forwarded request. The response goes to `responses`, which must have capacity for it.
    ///
    /// # Errors
    /// [`RequestError`] if the request was refused at once; then nothing goes to `responses`.
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
        // A node with higher limits may forward more than all that may wait here: then it waits alone.
        let kibibytes = size_bytes.div_ceil(KIB).clamp(1, self.limits.max_pending_bytes / KIB);
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
