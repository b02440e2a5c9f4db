//! Ports of a scripted node, for real connections.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http;
use lograft_node::limits::Limits;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;

use super::{Script, node};
use crate::api::Api;
use crate::server::connection::Patience;
use crate::server::ports::{self, Audience, Grace, client_router, peer_router};

/// Longer than any request of a test takes.
const GRACE: Grace = Grace(Duration::from_secs(30));

/// The client port of a scripted node.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    pub(crate) script: Script,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl Port {
    pub(crate) async fn open(limits: Limits) -> Self {
        Self::open_with(limits, 1000, Patience::default()).await
    }

    /// With a place for this many connections, and with these time limits.
    pub(crate) async fn open_with(limits: Limits, connections: usize, patience: Patience) -> Self {
        let (handle, script) = node(limits);
        let routes = client_router(Api::new(handle, "1.2.3"));
        let port = ports::Port::new(Audience::Clients, routes, &limits, connections, GRACE);
        Self::serve(script, port.with_patience(patience)).await
    }

    /// A peer port whose peer service answers no request.
    pub(crate) async fn open_peers(limits: Limits) -> Self {
        let (handle, script) = node(limits);
        let routes = peer_router(handle, NoRaft);
        Self::serve(script, ports::Port::new(Audience::Peers, routes, &limits, 1000, GRACE)).await
    }

    async fn serve(script: Script, port: ports::Port) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(ports::serve(listener, port, async {
            let _ = stopped.await;
        }));
        Self { address, script, stop: Some(stop), server }
    }

    pub(crate) fn begin_shutdown(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) async fn ended(self) {
        self.server.await.unwrap();
    }

    pub(crate) async fn channel(&self) -> tonic::transport::Channel {
        tonic::transport::Endpoint::from_shared(format!("http://{}", self.address))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }
}

/// A port whose connections are accepted, by the kernel, and never answered: as of a process that hangs.
pub(crate) struct MutePort {
    pub(crate) address: String,
    listener: TcpListener,
}

impl MutePort {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap().to_string(), listener }
    }

    /// Whether a request arrived on the next connection, which must have been closed.
    pub(crate) async fn got_a_request(&self) -> bool {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        holds_a_request(&bytes)
    }
}

/// Whether these bytes, which a client of HTTP/2 sent on a new connection, hold the headers of a request.
pub(crate) fn holds_a_request(bytes: &[u8]) -> bool {
    const PREFACE_BYTES: usize = 24;
    const HEADERS_FRAME: u8 = 1;
    let mut frames = bytes.get(PREFACE_BYTES..).unwrap_or_default();
    while let [high, middle, low, kind, _, _, _, _, _, rest @ ..] = frames {
        let payload_bytes = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        if *kind == HEADERS_FRAME && rest.len() >= payload_bytes {
            return true;
        }
        frames = rest.get(payload_bytes..).unwrap_or_default();
    }
    false
}

/// Takes the place of the service `Raft`.
#[derive(Clone)]
struct NoRaft;

impl NamedService for NoRaft {
    const NAME: &'static str = "lograft.v1.Raft";
}

impl Service<http::Request<Body>> for NoRaft {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: http::Request<Body>) -> Self::Future {
        ready(Ok(tonic::Status::unimplemented("").into_http()))
    }
}
