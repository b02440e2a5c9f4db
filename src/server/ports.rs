//! The two ports: their services, and the server that accepts connections.
//!
//! A port speaks HTTP/2 without TLS (gRPC, or curl with prior knowledge) and HTTP/1.1, distinguished by their
//! first bytes. The library's own server is not used: it ends a request at the client's deadline without
//! saying anything about a write's outcome, and it hides the accept loop, which must survive whatever a
//! connection does.
//!
//! Connections have places ([`Places`]), each kind its own, so that a flood of clients keeps no peer out. What a
//! connection may do is in [`connection`](super::connection), and what its requests may hold in [`crate::memory`].

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use futures_util::future::{BoxFuture, OptionFuture};
use lograft_node::limits::Limits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder;
use tracing::debug;

use super::connection::{self, Patience};
use super::places::{Place, Places};
use crate::actor::NodeHandle;
use crate::api::Api;
use crate::grpc::{self, ClusterService, HealthService, KvService, Reworded};
use crate::http;
use crate::memory::Memory;
use crate::proto::DESCRIPTOR_SET;
use crate::proto::v1::cluster_server::ClusterServer;
use crate::proto::v1::kv_server::KvServer;

/// How long a stream of reflection may take. Tools keep one open while they work.
const REFLECTION: Duration = Duration::from_secs(300);
/// The largest request for reflection: a name or two.
const MAX_REFLECTION_BYTES: usize = 16 << 10;
/// How long the loop pauses when the system has no file descriptor left, unless a connection ends before.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A gRPC service that a port can offer.
pub(crate) trait GrpcService:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + NamedService
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> GrpcService for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// The client port: `Kv`, `Cluster`, health and reflection, and HTTP/JSON for every other path.
pub(crate) fn client_router(api: Api) -> Router {
    let limit = api.limits().max_request_bytes;
    let kv = KvServer::new(KvService(api.clone())).max_decoding_message_size(limit);
    let cluster = ClusterServer::new(ClusterService(api.clone())).max_decoding_message_size(limit);
    let routes = Routes::new(Reworded(kv))
        .add_service(Reworded(cluster))
        .add_service(Reworded(HealthServer::new(HealthService::of_clients(api.handle().clone()))));
    let routes = with_reflection(routes, &["lograft.v1.Kv", "lograft.v1.Cluster"]);
    routes
        .into_axum_router()
        .fallback(move |request: Request<axum::body::Body>| for_http(api.clone(), request))
        .with_state(())
}

/// Handles what is not for a gRPC service of the client port.
async fn for_http(api: Api, request: Request<axum::body::Body>) -> axum::response::Response {
    if grpc::is_grpc(&request) {
        let message = format!("no service for {} on this port", request.uri().path());
        return tonic::Status::unimplemented(message).into_http();
    }
    http::dispatch(api, request).await
}

/// The peer port: `raft` (the service `lograft.v1.Raft`), health and reflection.
pub(crate) fn peer_router(handle: NodeHandle, raft: impl GrpcService<Future: Unpin>) -> Router {
    let health = HealthServer::new(HealthService::of_peers(handle));
    let routes = Routes::new(Reworded(raft)).add_service(Reworded(health));
    with_reflection(routes, &["lograft.v1.Raft"]).into_axum_router().fallback(for_clients).with_state(())
}

/// Handles what is not for a service of the peer port.
async fn for_clients(request: Request<axum::body::Body>) -> axum::response::Response {
    let message = format!("no service for {} on this port: it is for peers", request.uri().path());
    if grpc::is_grpc(&request) {
        return tonic::Status::unimplemented(message).into_http();
    }
    (StatusCode::NOT_FOUND, message + "\n").into_response()
}

/// Adds reflection for `services`, health and itself, both in v1 and in the v1alpha that older tools use.
fn with_reflection(routes: Routes, services: &[&str]) -> Routes {
    const COMMON: [&str; 3] = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ];
    let builder = || {
        let sets = [
            DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let builder = Builder::configure().include_reflection_service(false);
        let builder =
            sets.into_iter().fold(builder, |builder, set| builder.register_encoded_file_descriptor_set(set));
        services.iter().chain(&COMMON).fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let compiled = "the descriptors were compiled into the program";
    let v1 = builder().build_v1().expect(compiled).max_decoding_message_size(MAX_REFLECTION_BYTES);
    let v1alpha = builder().build_v1alpha().expect(compiled).max_decoding_message_size(MAX_REFLECTION_BYTES);
    routes.add_service(Reworded(v1)).add_service(Reworded(v1alpha))
}

/// How long a server waits for its open requests when it shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grace(pub(crate) Duration);

/// Who connects to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Whoever reads and writes keys.
    Clients,
    /// The other nodes.
    Peers,
}

impl Audience {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Peers => "peers",
        }
    }

    /// Concurrent requests on one connection; more wait in the client.
    pub(super) const fn max_streams(self) -> u32 {
        match self {
            // A quarter of the requests that a node lets wait by default.
            Self::Clients => 1024,
            // A link has two streams and a few single calls.
            Self::Peers => 64,
        }
    }
}

/// What a port serves, and within which bounds. Its listeners share it.
#[derive(Clone)]
pub(crate) struct Port {
    pub(super) audience: Audience,
    pub(super) routes: Router,
    pub(super) memory: Memory,
    pub(super) patience: Patience,
    places: Arc<Places>,
    /// How long the body of a request may take.
    body: Duration,
    grace: Grace,
}

impl Port {
    /// A port for at most `connections`.
    pub(crate) fn new(
        audience: Audience,
        routes: Router,
        limits: &Limits,
        connections: usize,
        grace: Grace,
    ) -> Self {
        Self {
            audience,
            routes,
            memory: Memory::new(limits),
            patience: Patience::default(),
            places: Arc::new(Places::new(audience.as_str(), connections)),
            body: Duration::from_millis(limits.request_timeout_ms),
            grace,
        }
    }

    /// The same with other time limits.
    #[cfg(test)]
    pub(crate) fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// How long the body of a request may take. `None`: it is a stream that never ends.
    pub(super) fn body_patience(&self, path: &str) -> Option<Duration> {
        match self.audience {
            Audience::Clients if path.starts_with("/grpc.reflection.") => Some(REFLECTION),
            Audience::Peers
                if ["/lograft.v1.Raft/AppendEntries", "/lograft.v1.Raft/Forward"].contains(&path) =>
            {
                None
            }
            Audience::Clients | Audience::Peers => Some(self.body),
        }
    }
}

/// Accepts connections and serves them until `shutdown` is ready. Then it accepts no more, lets each connection
/// finish its requests, for at most the port's grace, and returns.
///
/// Nothing that a connection does ends it.
pub(crate) async fn serve(listener: TcpListener, port: Port, shutdown: impl Future<Output = ()>) {
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut pause = pin!(None);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => pause.set(None),
            Some(()) = OptionFuture::from(pause.as_mut().as_pin_mut()), if pause.is_some() => pause.set(None),
            accepted = listener.accept(), if pause.is_none() => match accepted {
                Ok((stream, _)) => {
                    if let Some(served) = admit(&port, stream, stopping.clone()) {
                        connections.spawn(served);
                    }
                }
                Err(error) if is_of_a_connection(&error) => {
                    debug!(%error, "a connection broke before it was accepted");
                }
                Err(error) => {
                    port.places.no_descriptor(&error);
                    pause.set(Some(tokio::time::sleep(ACCEPT_PAUSE)));
                }
            },
        }
    }
    drop(listener);
    drop(stop);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(port.grace.0, finished).await.is_err() {
        debug!(connections = connections.len(), "closing connections that still have requests");
    }
}

/// What is to be done for a new connection; `None`: it is closed.
fn admit(port: &Port, stream: TcpStream, stopping: watch::Receiver<()>) -> Option<BoxFuture<'static, ()>> {
    match port.places.take() {
        Place::Served(place) => {
            let served = connection::serve(port.clone(), stream, stopping);
            Some(Box::pin(async move {
                served.await;
                drop(place);
            }))
        }
        Place::TurnedAway(slot, error) => Some(Box::pin(async move {
            connection::turn_away(stream, error).await;
            drop(slot);
        })),
        Place::Closed => None,
    }
}

/// Any other error of `accept` is a lack of file descriptors or of memory.
fn is_of_a_connection(error: &io::Error) -> bool {
    let of_a_connection = [
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::Interrupted,
    ];
    of_a_connection.contains(&error.kind())
}
