//! gRPC on the client port: package `lograft.v1`, through [`crate::api`], and health.
//!
//! Caveat: a request with a deadline is answered shortly before it (see `deadline`), so that the client
//! learns the outcome of a write instead of timing out by itself.

mod cluster;
mod deadline;
mod health;
mod kv;
mod refusal;
#[cfg(test)]
mod tests;

use axum::http::Request;
use axum::http::header::CONTENT_TYPE;

pub use cluster::ClusterService;
pub use health::HealthService;
pub use kv::KvService;
pub(crate) use refusal::Reworded;

/// Whether the request is a gRPC request.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    content_type.is_some_and(|content_type| content_type.as_bytes().starts_with(b"application/grpc"))
}
