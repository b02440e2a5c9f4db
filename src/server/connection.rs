//! One connection of a port: its requests and its time limits.
//!
//! | A connection | ends |
//! |---|---|
//! | that has not said which protocol it speaks | after [`Patience::first_bytes`] |
//! | over HTTP/1.1, without the whole head of a request | after [`HEAD`], also between two requests |
//! | over HTTP/2, that does not answer a ping | after twice [`KEEPALIVE`] |
//! | over HTTP/2, without a request | in order, after [`Patience::idle`], however it answers pings |
//! | with a response that nobody reads | after [`Patience::unread`], or twice that |
//!
//! The time limit of a request's body is in [`crate::memory`].

use std::convert::Infallible;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response, Version};
use axum::{BoxError, Router};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::io::InspectReader;
use tonic::codegen::Service;
use tracing::debug;

use super::ports::Port;
use crate::api::ApiError;
use crate::memory::{Exchanges, MAX_HEADER_BYTES, Receiving, Sending};
use crate::{grpc, http};

/// What a stream may send before it is read: a whole request, so that a Set never waits for a window.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// What a connection may send before it is read. Whatever arrives is read at once and then counts in
/// [`crate::memory`], so this is what may be between the two.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// How long the head of an HTTP/1.1 request may take, from the end of the request before it.
const HEAD: Duration = Duration::from_secs(30);
/// A silent HTTP/2 connection is pinged after this time, and closed if it does not respond within the same time
/// again.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long a connection that is turned away has to ask for something and to hear why it gets nothing.
const TURN_AWAY: Duration = Duration::from_secs(1);

/// How long a connection may keep its place without use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until it has said which protocol it speaks.
    ///
    /// 10 s: a client says so in its first packet; this is for one that is lost several times.
    pub(crate) first_bytes: Duration,
    /// Until a response has been written.
    ///
    /// 1 min: a List of 3 MiB arrives at 50 KiB/s.
    pub(crate) unread: Duration,
    /// Without a request, over HTTP/2.
    ///
    /// 5 min: clients keep a connection for the next request. They take its orderly end for what it is, and connect
    /// again when they need to.
    pub(crate) idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_bytes: Duration::from_secs(10),
            unread: Duration::from_secs(60),
            idle: Duration::from_secs(300),
        }
    }
}

type Http = auto::Builder<TokioExecutor>;

/// HTTP/1.1 and HTTP/2, distinguished by their first bytes.
fn http(max_streams: u32) -> Http {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .max_concurrent_streams(max_streams)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES as u32);
    http
}

/// Serves a connection until it ends or a time limit ends it; once the sender of `stopping` is gone, until its open
/// requests are done.
pub(super) async fn serve(port: Port, stream: TcpStream, mut stopping: watch::Receiver<()>) {
    // A response is one small packet and must not wait for the acknowledgement of the previous one.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a connection broke");
        return;
    }
    let patience = port.patience;
    let exchanges = Arc::new(Exchanges::new(port.memory.clone()));
    let http = http(port.audience.max_streams());
    let spoken = Arc::new(AtomicBool::new(false));
    let mut preface = Preface { matched: 0, spoken: Arc::clone(&spoken) };
    let stream = InspectReader::new(stream, move |bytes: &[u8]| preface.hear(bytes));
    let service = Bounded { port, exchanges: Arc::clone(&exchanges) };
    let mut served = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let mut first = pin!(sleep(patience.first_bytes));
    let mut periods = interval_at(Instant::now() + patience.unread, patience.unread);
    let (mut idle, mut begun_before, mut stopped) = (Duration::ZERO, 0, false);
    let result = loop {
        tokio::select! {
            result = &mut served => break result,
            () = &mut first, if !first.is_elapsed() => {
                if !spoken.load(Ordering::Relaxed) {
                    debug!("closing a connection that has not said what it speaks");
                    return;
                }
            }
            _ = periods.tick() => {
                if exchanges.next_period() {
                    debug!("closing a connection that does not read its responses");
                    return;
                }
                let (open, begun) = exchanges.count();
                let quiet = open == 0 && begun == begun_before;
                (idle, begun_before) = (if quiet { idle + patience.unread } else { Duration::ZERO }, begun);
                if idle >= patience.idle {
                    debug!("ending a connection without requests");
                    served.as_mut().graceful_shutdown();
                }
            }
            // The sender is never used: it is dropped when the server stops.
            _ = stopping.changed(), if !stopped => {
                stopped = true;
                served.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = result {
        debug!(error, "a connection ended");
    }
}

/// Answers each request with `error`, for a short time.
pub(super) async fn turn_away(stream: TcpStream, error: ApiError) {
    let refusing =
        Router::new().fallback(move |request: Request<axum::body::Body>| ready(refuse(&request, &error)));
    let http = http(1);
    let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(refusing));
    // Whoever has not asked by then gets no answer.
    let _ = timeout(TURN_AWAY, served).await;
}

/// The error in the form that the request asks for; then the connection ends.
fn refuse<B>(request: &Request<B>, error: &ApiError) -> Response<axum::body::Body> {
    if grpc::is_grpc(request) {
        return tonic::Status::from(error.clone()).into_http();
    }
    let mut response = http::refuse(error);
    // HTTP/2 has no such header.
    if request.version() < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The routes of a port, within its memory.
#[derive(Clone)]
struct Bounded {
    port: Port,
    exchanges: Arc<Exchanges>,
}

impl<B> Service<Request<B>> for Bounded
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Sending>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Sending>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let exchange = match self.exchanges.begin(&request) {
            Ok(exchange) => exchange,
            Err(error) => {
                let refused = refuse(&request, &error.into()).map(|body| Sending::new(body, None));
                return Box::pin(ready(Ok(refused)));
            }
        };
        let patience = self.port.body_patience(request.uri().path());
        let request = request.map(|body| Receiving::new(body, Arc::clone(&exchange), patience));
        let served = self.port.routes.call(request);
        Box::pin(async move {
            let response = Arc::clone(&exchange).scope(served).await?;
            Ok(response.map(|body| Sending::new(body, Some(exchange))))
        })
    }
}

/// Finds out when a client has said which protocol it speaks.
struct Preface {
    /// How much of HTTP/2's preface has come.
    matched: usize,
    spoken: Arc<AtomicBool>,
}

/// The first bytes over HTTP/2. Anything else is HTTP/1.1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Preface {
    fn hear(&mut self, bytes: &[u8]) {
        let expected = &PREFACE[self.matched..];
        if expected.is_empty() {
            return;
        }
        self.matched += bytes.len().min(expected.len());
        let matches = bytes.iter().zip(expected).all(|(byte, expected)| byte == expected);
        if !matches || self.matched == PREFACE.len() {
            self.matched = PREFACE.len();
            self.spoken.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
