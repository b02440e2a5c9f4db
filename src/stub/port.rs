//! Ports of a scripted node, for real connections.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::{Router, http};
use lograft_node::limits::Limits;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;

use super::{Script, node};
use crate::api::Api;
use crate::server::ports::{Grace, client_router, peer_router, serve};

/// The client port of a scripted node.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    pub(crate) script: Script,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl Port {
    pub(crate) async fn open(limits: Limits) -> Self {
        let (handle, script) = node(limits);
        Self::serve(script, client_router(Api::new(handle, "1.2.3"))).await
    }

    /// A peer port whose peer service answers no request.
    pub(crate) async fn open_peers(limits: Limits) -> Self {
        let (handle, script) = node(limits);
        Self::serve(script, peer_router(handle, NoRaft)).await
    }

    async fn serve(script: Script, routes: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, routes, Grace(Duration::from_secs(30)), async {
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
