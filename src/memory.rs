//! The memory that requests and responses may take between the wire and the node, and how long they may take it.
//!
//! An [`Exchange`] is one request with its response. It counts against two budgets, which follow from
//! `--max-pending-bytes` and which all connections of a port share:
//!
//! - *Receiving*: its headers, the bytes of its body that have arrived, and a fixed sum for what serves it. Without
//!   room the request is refused. Nothing waits for room, so no half of a request can keep another one waiting.
//!   [`Receiving`] is the body with its bytes; it also ends a body that does not arrive in time.
//! - *Sending*: its response, unless it is small. A response waits for room before it is made ([`for_response`]). Its
//!   room is part of its bytes from then on ([`Sending`]), wherever they are, until they have been written or their
//!   connection has ended. One connection may fill a quarter of the budget, so that a client that stops reading holds
//!   up itself first.
//!
//! What the node holds while a request waits for its response has the permits of
//! [`NodeHandle`](crate::actor::NodeHandle).
//!
//! Caveats: a response counts with the length of its keys and values. JSON can take up to six times as much, where each
//! character needs an escape. A stream of a peer has no bound here: it never ends.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::http::Request;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use lograft_node::RequestError;
use lograft_node::limits::{KIB, Limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout_at};
use tonic::Status;

use crate::api::ApiError;
use crate::wording;

/// What serving a request takes beside its headers and its body: the stream, the buffers and the futures.
const EXCHANGE_BYTES: usize = 8 * KIB;

/// The longest headers that a connection takes.
pub(crate) const MAX_HEADER_BYTES: usize = 64 * KIB;

/// The first bytes of a body, and a response up to this size, are part of that sum.
const SMALL_BYTES: usize = 4 * KIB;

/// Lists that may be on their way through the node. A page without its values takes up to 100 KiB.
const LISTS: usize = 128;

/// The part of the sending budget that one connection may fill.
const CONNECTION_SHARE: usize = 4;

tokio::task_local! {
    /// The exchange whose request is being served.
    static EXCHANGE: Arc<Exchange>;
}

/// The budgets of one port.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    receiving: Arc<Semaphore>,
    sending: Arc<Semaphore>,
    lists: Arc<Semaphore>,
    max_pending_bytes: usize,
    /// The most that one connection may have in the sending budget.
    share_bytes: usize,
    /// The largest value that a response can hold.
    max_value_bytes: usize,
}

/// The exchanges of one connection.
#[derive(Debug)]
pub(crate) struct Exchanges {
    memory: Memory,
    sending: Arc<Semaphore>,
    open: AtomicUsize,
    begun: AtomicUsize,
    /// Bytes of responses that are not written, by the period in which they were made: see [`Exchanges::next_period`].
    unread: [AtomicUsize; 2],
    period: AtomicUsize,
}

/// A request and its response, from the first header to the last byte written.
#[derive(Debug)]
pub(crate) struct Exchange {
    connection: Arc<Exchanges>,
    /// For the headers and for what serves the request.
    _cost: OwnedSemaphorePermit,
    /// For the response.
    room: Mutex<Option<Room>>,
}

/// Bytes of the sending budget.
#[derive(Debug)]
struct Room {
    of_connection: OwnedSemaphorePermit,
    of_port: OwnedSemaphorePermit,
}

impl Room {
    /// Takes up to `bytes` of it.
    fn split(&mut self, bytes: usize) -> Option<Self> {
        let bytes = bytes.min(self.of_port.num_permits());
        Some(Self { of_connection: self.of_connection.split(bytes)?, of_port: self.of_port.split(bytes)? })
    }
}

impl Memory {
    pub(crate) fn new(limits: &Limits) -> Self {
        // As much as may wait in the node, what serves it, and one request more.
        let receiving_bytes = limits.max_pending_bytes
            + limits.max_pending_requests * EXCHANGE_BYTES
            + limits.max_request_bytes
            + MAX_HEADER_BYTES;
        // Any one response fits into a connection's share.
        let response_bytes = limits.max_list_bytes.max(limits.max_key_bytes + limits.max_value_bytes);
        let sending_bytes = limits.max_pending_bytes.max(response_bytes);
        Self {
            receiving: Arc::new(Semaphore::new(receiving_bytes)),
            sending: Arc::new(Semaphore::new(sending_bytes)),
            lists: Arc::new(Semaphore::new(LISTS)),
            share_bytes: (sending_bytes / CONNECTION_SHARE).max(response_bytes),
            max_pending_bytes: limits.max_pending_bytes,
            max_value_bytes: limits.max_value_bytes,
        }
    }

    fn receive(&self, bytes: usize) -> Result<OwnedSemaphorePermit, RequestError> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.receiving).try_acquire_many_owned(permits).map_err(|_| self.used_up())
    }

    fn used_up(&self) -> RequestError {
        RequestError::Overloaded { what: "max-pending-bytes", limit: self.max_pending_bytes }
    }
}

impl Exchanges {
    pub(crate) fn new(memory: Memory) -> Self {
        let sending = Arc::new(Semaphore::new(memory.share_bytes));
        let zero = AtomicUsize::default;
        Self { memory, sending, open: zero(), begun: zero(), unread: [zero(), zero()], period: zero() }
    }

    /// Begins an exchange.
    ///
    /// # Errors
    /// No room is left for another request.
    pub(crate) fn begin<B>(self: &Arc<Self>, request: &Request<B>) -> Result<Arc<Exchange>, RequestError> {
        let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
        let head = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        let cost = self.memory.receive(EXCHANGE_BYTES + head + headers.sum::<usize>())?;
        self.open.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Exchange { connection: Arc::clone(self), _cost: cost, room: Mutex::default() }))
    }

    /// Exchanges that are open now, and all that were ever begun.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.open.load(Ordering::Relaxed), self.begun.load(Ordering::Relaxed))
    }

    /// Ends a period. Whether bytes that were made before it are still not written.
    pub(crate) fn next_period(&self) -> bool {
        let next = self.period.load(Ordering::Relaxed) + 1;
        // Before the next period begins, which counts at the same place.
        let stale = self.unread[next % 2].load(Ordering::Relaxed) > 0;
        self.period.store(next, Ordering::Relaxed);
        stale
    }
}

impl Exchange {
    /// Serves the exchange's request within it.
    pub(crate) async fn scope<F: Future>(self: Arc<Self>, serve: F) -> F::Output {
        EXCHANGE.scope(self, serve).await
    }

    async fn take_room(&self, bytes: usize, until: Instant) -> Result<(), RequestError> {
        let connection = &self.connection;
        let bytes = u32::try_from(bytes.min(connection.memory.share_bytes)).unwrap_or(u32::MAX);
        let room = async {
            let of_connection = Arc::clone(&connection.sending).acquire_many_owned(bytes).await;
            let of_port = Arc::clone(&connection.memory.sending).acquire_many_owned(bytes).await;
            let open = "the budgets are never closed";
            Room { of_connection: of_connection.expect(open), of_port: of_port.expect(open) }
        };
        let room = timeout_at(until, room).await.map_err(|_| connection.memory.used_up())?;
        *self.room.lock().unwrap_or_else(PoisonError::into_inner) = Some(room);
        Ok(())
    }

    fn split_room(&self, bytes: usize) -> Option<Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.split(bytes)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until there is room for the response to the exchange that is being served. A write with a previous value took
/// its room before: see [`for_prev_kv`].
///
/// # Errors
/// There was none until then: [`RequestError::Overloaded`].
pub(crate) async fn for_response(bytes: usize, until: Instant) -> Result<(), RequestError> {
    match EXCHANGE.try_with(Arc::clone) {
        Ok(exchange) if bytes > SMALL_BYTES => exchange.take_room(bytes, until).await,
        _ => Ok(()),
    }
}

/// The same for a write that is to return the value that it replaces. It takes its room before it is handed to the
/// node, because afterwards it cannot be refused.
///
/// # Errors
/// As of [`for_response`].
pub(crate) async fn for_prev_kv(until: Instant) -> Result<(), RequestError> {
    let Ok(exchange) = EXCHANGE.try_with(Arc::clone) else { return Ok(()) };
    exchange.take_room(exchange.connection.memory.max_value_bytes, until).await
}

/// Waits for a place among the Lists that are on their way through the node. It is kept until the page has its room.
///
/// # Errors
/// As of [`for_response`].
pub(crate) async fn for_list(until: Instant) -> Result<Option<OwnedSemaphorePermit>, RequestError> {
    let Ok(exchange) = EXCHANGE.try_with(Arc::clone) else { return Ok(None) };
    let memory = &exchange.connection.memory;
    let place =
        timeout_at(until, Arc::clone(&memory.lists).acquire_owned()).await.map_err(|_| memory.used_up())?;
    Ok(Some(place.expect("the places are never closed")))
}

/// Why a body is not received any further.
#[derive(Debug, thiserror::Error)]
#[error("{}", error.message)]
pub(crate) struct NotReceived {
    pub(crate) error: ApiError,
    /// The same, as the gRPC library looks for it.
    #[source]
    status: Status,
}

impl NotReceived {
    fn new(error: ApiError) -> Box<Self> {
        Box::new(Self { status: error.clone().into(), error })
    }

    /// The one that this error comes from, if it comes from one.
    pub(crate) fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        wording::causes(error).find_map(|cause| cause.downcast_ref())
    }
}

/// The body of a request: its bytes count while anything holds it, and it has to arrive in time.
#[derive(Debug)]
pub(crate) struct Receiving<B> {
    body: B,
    exchange: Arc<Exchange>,
    received_bytes: usize,
    held: Option<OwnedSemaphorePermit>,
    /// How long it may take; `None`: it is a stream, which may take as long and as much as it likes.
    patience: Option<Duration>,
    /// Begins when the body is waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<B> Receiving<B> {
    pub(crate) fn new(body: B, exchange: Arc<Exchange>, patience: Option<Duration>) -> Self {
        Self { body, exchange, received_bytes: 0, held: None, patience, deadline: None }
    }

    fn hold(&mut self, bytes: usize) -> Result<(), BoxError> {
        self.received_bytes += bytes;
        if self.received_bytes <= SMALL_BYTES {
            return Ok(());
        }
        let more =
            self.exchange.connection.memory.receive(bytes).map_err(|error| NotReceived::new(error.into()))?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

impl<B> Body for Receiving<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(data), Some(_)) = (frame.data_ref(), self.patience) {
                    self.hold(data.len())?;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let Some(patience) = self.patience else { return Poll::Pending };
                let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(patience)));
                if deadline.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                let message =
                    format!("not applied: the body did not arrive within {} ms", patience.as_millis());
                Poll::Ready(Some(Err(NotReceived::new(ApiError::too_slow(message)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response: its bytes count until they have been written.
#[derive(Debug)]
pub(crate) struct Sending {
    body: axum::body::Body,
    /// `None`: the request was refused, and this says so.
    exchange: Option<Arc<Exchange>>,
}

/// Bytes of a response, with what they count against.
struct Unread {
    bytes: Bytes,
    _room: Option<Room>,
    exchange: Arc<Exchange>,
    period: usize,
}

impl Sending {
    pub(crate) fn new(body: axum::body::Body, exchange: Option<Arc<Exchange>>) -> Self {
        Self { body, exchange }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        polled.map_ok(|frame| {
            frame.map_data(|bytes| match &self.exchange {
                Some(exchange) if !bytes.is_empty() => Unread::bytes(bytes, exchange),
                _ => bytes,
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        // What the response did not need after all. The rest is with its bytes.
        if let Some(exchange) = &self.exchange {
            exchange.room.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}

impl Unread {
    fn bytes(bytes: Bytes, exchange: &Arc<Exchange>) -> Bytes {
        let exchanges = &exchange.connection;
        let period = exchanges.period.load(Ordering::Relaxed);
        exchanges.unread[period % 2].fetch_add(bytes.len(), Ordering::Relaxed);
        let room = exchange.split_room(bytes.len());
        Bytes::from_owner(Self { bytes, _room: room, exchange: Arc::clone(exchange), period })
    }
}

impl AsRef<[u8]> for Unread {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.exchange.connection.unread[self.period % 2].fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}
