//! The address of one node, and the connection to it.
//!
//! The kernel accepts a connection even for a process that hangs. So a connection counts as made once the node has sent
//! its first bytes, which an HTTP/2 server does without being asked. A connection that breaks is never made again in
//! secret: a request would leave on it before the node has said anything.

use std::io;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::io::InspectReader;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{self, Channel};

use super::error::Error;
use crate::config::HttpUrl;
use crate::wording::innermost;

/// An address to connect to, and the connection in use.
#[derive(Debug)]
pub(super) struct Endpoint {
    address: String,
    authority: String,
    transport: transport::Endpoint,
    dial_timeout: Duration,
    /// The lock is held while connecting, so that only one call connects.
    connection: Mutex<Option<Connection>>,
}

#[derive(Debug)]
struct Connection {
    channel: Channel,
    /// The stream holds the other half: once that is gone, so is the connection.
    open: Weak<()>,
}

impl Endpoint {
    /// Reads `HOST:PORT` or `http://HOST:PORT`.
    pub(super) fn parse(address: &str, dial_timeout: Duration) -> Result<Self, Error> {
        let invalid = |why: String| Error::Invalid(format!("endpoint {why}"));
        let url = HttpUrl::parse_endpoint(address).map_err(invalid)?;
        let transport = transport::Endpoint::from_shared(url.to_string())
            .map_err(|error| invalid(format!("{address:?}: {error}")))?
            .initial_stream_window_size(2 << 20)
            .initial_connection_window_size(8 << 20);
        let (address, authority) = (address.to_owned(), url.authority());
        Ok(Self { address, authority, transport, dial_timeout, connection: Mutex::default() })
    }

    /// The address as given.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The connection in use, or a new one. Returns the reason for a failure.
    pub(super) async fn channel(&self, deadline: Instant) -> Result<Channel, String> {
        let Ok(mut connection) = timeout_at(deadline, self.connection.lock()).await else {
            return Err("no connection in time".to_owned());
        };
        if let Some(connection) = connection.as_ref().filter(|connection| connection.open.strong_count() > 0)
        {
            return Ok(connection.channel.clone());
        }
        *connection = None;
        let fresh = self.connect(deadline).await?;
        Ok(connection.insert(fresh).channel.clone())
    }

    /// Makes the next call connect anew.
    pub(super) async fn forget(&self) {
        *self.connection.lock().await = None;
    }

    async fn connect(&self, deadline: Instant) -> Result<Connection, String> {
        let begun = Instant::now();
        let limit = deadline.min(begun + self.dial_timeout);
        let patience = in_words(limit - begun);
        let (first, first_bytes) = oneshot::channel();
        let open = Arc::new(());
        let dial = Dial { authority: self.authority.clone(), once: Some((first, Arc::clone(&open))) };
        let open = Arc::downgrade(&open);
        let channel = match timeout_at(limit, self.transport.connect_with_connector(dial)).await {
            Ok(connected) => connected.map_err(|error| innermost(&error))?,
            Err(_) => return Err(format!("no connection within {patience}")),
        };
        match timeout_at(limit, first_bytes).await {
            Ok(Ok(())) => Ok(Connection { channel, open }),
            Ok(Err(_)) => Err("the connection was closed at once".to_owned()),
            Err(_) => Err(format!("connected, but nothing was answered within {patience}")),
        }
    }
}

/// A duration for people: what is left of a timeout is seldom a round number.
pub(super) fn in_words(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let round = if ms < 1000 { ms.max(1) } else { (ms.saturating_add(50)) / 100 * 100 };
    humantime::format_duration(Duration::from_millis(round)).to_string()
}

/// A connection whose node is listened to.
type Watched = InspectReader<TcpStream, Box<dyn FnMut(&[u8]) + Send>>;

/// Reports the first bytes that arrive, and keeps `open` as long as the connection.
fn watched(tcp: TcpStream, first: oneshot::Sender<()>, open: Arc<()>) -> Watched {
    let mut watching = Some(first);
    let hear = move |bytes: &[u8]| {
        let _kept = &open;
        // At the end of the connection there are none.
        if let Some(first) = watching.take_if(|_| !bytes.is_empty()) {
            // Whoever connected may not wait any more.
            let _ = first.send(());
        }
    };
    InspectReader::new(tcp, Box::new(hear))
}

/// Connects once.
struct Dial {
    authority: String,
    once: Option<(oneshot::Sender<()>, Arc<()>)>,
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Watched>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let (authority, once) = (self.authority.clone(), self.once.take());
        Box::pin(async move {
            let Some((first, open)) = once else { return Err(io::Error::other("the connection was lost")) };
            let tcp = TcpStream::connect(authority).await?;
            // A request is one small packet and must not wait for the acknowledgement of the previous one.
            tcp.set_nodelay(true)?;
            Ok(TokioIo::new(watched(tcp, first, open)))
        })
    }
}
