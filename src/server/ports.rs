//! The two ports: their services, and the server that accepts connections.
//!
//! A port speaks HTTP/2 without TLS (gRPC, or curl with prior knowledge) and HTTP/1.1, distinguished by their
//! first bytes. The library's own server is not used: it ends a request at the client's deadline without
//! saying anything about a write's outcome, and it hides the accept loop, which must survive whatever a
//! connection does.
//!
//! Caveat: the number of connections is limited only by the process's file descriptors. When they run out,
//! the loop waits and then goes on. Open requests are limited by the node's permits.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder;
use tracing::{debug, warn};

use crate::actor::NodeHandle;
use crate::api::Api;
use crate::grpc::{self, ClusterService, HealthService, KvService, Reworded};
use crate::http;
use crate::proto::DESCRIPTOR_SET;
use crate::proto::v1::cluster_server::ClusterServer;
use crate::proto::v1::kv_server::KvServer;

/// Concurrent requests on one connection; more wait in the client.
const MAX_STREAMS: u32 = 4096;
/// What a stream may send before it is read: a whole request, so that a Set never waits for a window.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// What a connection may send before it is read.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Enough for a percent-encoded key of the default limit in a path, and the other headers.
const MAX_HEADER_BYTES: u32 = 64 << 10;
/// A silent connection is pinged after this time, and closed if it does not respond within the same time
/// again.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long the loop pauses when the system has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    routes
        .add_service(Reworded(builder().build_v1().expect(compiled)))
        .add_service(Reworded(builder().build_v1alpha().expect(compiled)))
}

/// How long a server waits for its open requests when it shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grace(pub(crate) Duration);

/// Accepts connections and serves `routes` on them until `shutdown` is ready. Then it accepts no more, lets
/// each connection finish its requests for at most `grace`, and returns.
///
/// Nothing that a connection does ends the server.
/// Nothing that a connection does ends it.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Router,
    grace: Grace,
    shutdown: impl Future<Output = ()>,
) {
    let http = builder();
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(http.clone(), stream, routes.clone(), stopping.clone()));
                }
                Err(error) => rest(&error).await,
            },
        }
    }
    drop(listener);
    drop(stop);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(grace.0, finished).await.is_err() {
        debug!(connections = connections.len(), "closing connections that still have requests");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new());
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES);
    http
}

/// An error of `accept` concerns one connection, or a lack of file descriptors. Then pause, or the loop would
/// spin.
async fn rest(error: &io::Error) {
    let of_a_connection = [
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::Interrupted,
    ];
    if of_a_connection.contains(&error.kind()) {
        debug!(%error, "a connection broke before it was accepted");
    } else {
        warn!(%error, "cannot accept connections: retrying");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn connection(
    http: auto::Builder<TokioExecutor>,
    stream: TcpStream,
    routes: Router,
    mut stopping: watch::Receiver<()>,
) {
    // A response is one small packet and must not wait for the acknowledgement of the previous one.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a connection broke");
        return;
    }
    let mut served = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)));
    let result = tokio::select! {
        result = &mut served => result,
        // The sender is never used: it is dropped when the server stops.
        _ = stopping.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        debug!(error, "a connection ended");
    }
}
