//! HTTP/JSON on the client port, for curl and everything that has no gRPC.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /v1/kv/{key}` | the value, verbatim; its history in headers; a JSON document with `Accept: application/json` |
//! | `PUT /v1/kv/{key}` | stores the body; a JSON document |
//! | `DELETE /v1/kv/{key}` | a JSON document |
//! | `GET /v1/kv` | keys in order; a JSON document |
//! | `GET /v1/status`, `/version` | JSON documents |
//! | `GET /livez`, `/readyz`, `/health` | 200 or 503 |
//!
//! Parameters: `serializable` of GET; `if_mod_revision` and `prev_kv` of PUT and DELETE; `prefix`, `start_after`,
//! `limit`, `keys_only` and `serializable` of the list; `verbose` of `/readyz`. They mean what the fields of the same name
//! mean in gRPC. An unknown parameter is an error.
//!
//! Numbers of 64 bits stand as plain numbers; ids and hashes, which are only compared, as hexadecimal text. An error is
//! `{"code":"INVALID_ARGUMENT","message":"…"}` with gRPC's name of the code, under the HTTP status that fits: 400 bad
//! request, 404 no such key or path, 405, 408 body too slow, 412 the condition does not hold, 413 value too large,
//! 429 too much waits, 503 no leader or outcome unknown, 507 disk full. The header `lograft-outcome` says what is certain
//! about a write, as the metadata of the same name does in gRPC.
//!
//! The key is everything behind `/v1/kv/`, percent-decoded once: slashes, dots and an empty segment are part of it, and a
//! plus is a plus. In parameters a plus is a space, as forms have it.
//!
//! Caveats: curl itself tidies `..` away unless it is written `%2e%2e` or `--path-as-is` is given. A path has at most
//! 64 KiB, so a larger `--max-key-bytes` is of use in gRPC only.

mod body;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod json;
mod keys;
mod probes;
mod query;
mod respond;
#[cfg(test)]
mod tests;

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};

use lograft_node::NodeHandle;
use crate::rpc::{ClusterService, Fault, KvService, ServerInfo};

/// Answers HTTP requests through the same services as gRPC.
#[derive(Clone, Debug)]
pub struct HttpService {
    handle: NodeHandle,
    kv: KvService,
    cluster: ClusterService,
    info: ServerInfo,
}

impl HttpService {
    /// The edge in front of a node.
    pub fn new(handle: NodeHandle, kv: KvService, cluster: ClusterService, info: ServerInfo) -> Self {
        Self { handle, kv, cluster, info }
    }
}

/// What a path names.
enum Resource {
    Key,
    Keys,
    Status,
    Version,
    Livez,
    Readyz,
    Health,
}

impl Resource {
    /// The path is taken raw: to a router `a%2Fb`, `a/b` and `a//b` may be the same, to us they are three keys.
    fn of(path: &str) -> Option<Self> {
        match path {
            "/v1/kv" => Some(Self::Keys),
            "/v1/status" => Some(Self::Status),
            "/version" => Some(Self::Version),
            "/livez" => Some(Self::Livez),
            "/readyz" => Some(Self::Readyz),
            "/health" => Some(Self::Health),
            _ if path.starts_with(keys::PREFIX) => Some(Self::Key),
            _ => None,
        }
    }

    const fn allowed(&self) -> &'static str {
        match self {
            Self::Key => "GET, HEAD, PUT, DELETE",
            Self::Keys | Self::Status | Self::Version | Self::Livez | Self::Readyz | Self::Health => {
                "GET, HEAD"
            }
        }
    }
}

/// Whether whoever asks speaks gRPC.
pub(crate) fn is_grpc(request: &Request<Body>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    content_type.is_some_and(|content_type| content_type.as_bytes().starts_with(b"application/grpc"))
}

/// Answers a request that is not for a gRPC service of this port.
pub async fn dispatch(service: HttpService, request: Request<Body>) -> Response<Body> {
    if is_grpc(&request) {
        let message = format!("no service for {} on this port", request.uri().path());
        return tonic::Status::unimplemented(message).into_http();
    }
    let Some(resource) = Resource::of(request.uri().path()) else {
        return respond::fault(&Fault::not_found(format!("there is nothing at {}", request.uri().path())));
    };
    let answered = match *request.method() {
        Method::GET => read(service, &resource, request).await,
        Method::HEAD => read(service, &resource, request).await.map(|answer| answer.map(|_| Body::empty())),
        Method::PUT if matches!(resource, Resource::Key) => keys::put(service, request).await,
        Method::DELETE if matches!(resource, Resource::Key) => keys::delete(service, request).await,
        _ => Ok(not_allowed(&resource, request.method())),
    };
    answered.unwrap_or_else(|fault| respond::fault(&fault))
}

async fn read(
    service: HttpService,
    resource: &Resource,
    request: Request<Body>,
) -> Result<Response<Body>, Fault> {
    let (parts, _) = request.into_parts();
    match resource {
        Resource::Key => keys::get(service, &parts).await,
        Resource::Keys => keys::list(service, &parts).await,
        Resource::Status => probes::status(service, &parts).await,
        Resource::Version => probes::version(service, &parts),
        Resource::Livez => probes::livez(service, &parts).await,
        Resource::Readyz => probes::readyz(service, &parts).await,
        Resource::Health => probes::health(service, &parts).await,
    }
}

fn not_allowed(resource: &Resource, method: &Method) -> Response<Body> {
    let message = format!("{method} is not possible here, only {}", resource.allowed());
    let fault = Fault { code: tonic::Code::Unimplemented, ..Fault::invalid(message) };
    let mut response = respond::fault(&fault);
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(resource.allowed()));
    response
}
