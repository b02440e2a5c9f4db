//! HTTP/JSON on the client port, for curl and everything else without gRPC.
//!
//! | Request | Response |
//! |---|---|
//! | `GET /v1/kv/{key}` | the plain value; its history in headers; a JSON document with `Accept: application/json` |
//! | `PUT /v1/kv/{key}` | stores the body; a JSON document |
//! | `DELETE /v1/kv/{key}` | a JSON document |
//! | `GET /v1/kv` | keys in order; a JSON document |
//! | `GET /v1/status`, `/version` | JSON documents |
//! | `GET /livez`, `/readyz`, `/health` | 200 or 503 |
//!
//! Parameters: `serializable` of GET; `if_mod_revision` and `prev_kv` of PUT and DELETE; `prefix`,
//! `start_after`, `limit`, `keys_only` and `serializable` of the list; `verbose` of `/readyz`. They mean the
//! same as the gRPC fields of the same name. An unknown parameter is an error.
//!
//! The `ETag` of a key is its mod_revision in quotes. `If-Match` and `If-None-Match` work as conditions (see
//! `condition`); a condition that a write cannot have is an error. A GET of what the client has already gets 304.
//! HEAD responds with the headers of GET.
//!
//! 64-bit numbers are plain numbers. Ids, which are only compared and which JavaScript would round, are decimal
//! numbers as text; the state's hash is hexadecimal text. An error is `{"code":"INVALID_ARGUMENT","message":"…"}` with gRPC's name of the code, under the matching HTTP
//! status: 400 bad request, 404 no such key or path, 405, 408 body too slow, 412 the condition does not hold,
//! 413 value too large, 429 too many requests waiting, 503 no leader or outcome unknown, 507 disk full. The
//! header `lograft-outcome` gives the outcome of a write, like the gRPC metadata of the same name.
//!
//! The key is everything after `/v1/kv/`, percent-decoded once: slashes, dots and empty segments are part of
//! it, and a plus is a plus. In parameters a plus is a space, as in forms.
//!
//! Caveats: curl itself removes `..` unless it is written `%2e%2e` or `--path-as-is` is given. A path has at
//! most 64 KiB, so a larger `--max-key-bytes` helps only gRPC.

mod body;
mod condition;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keys;
mod probes;
mod query;
mod respond;
#[cfg(test)]
mod tests;

use axum::body::Body;
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};

use crate::api::{Api, ApiError};

/// What a path refers to.
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
    /// The path is used raw: to a router `a%2Fb`, `a/b` and `a//b` may be the same, but here they are three
    /// keys.
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

/// Responds to a request.
pub async fn dispatch(api: Api, request: Request<Body>) -> Response<Body> {
    let is_head = request.method() == Method::HEAD;
    let response = respond_to(api, request).await;
    if is_head { respond::without_body(response) } else { response }
}

async fn respond_to(api: Api, request: Request<Body>) -> Response<Body> {
    let Some(resource) = Resource::of(request.uri().path()) else {
        return respond::fault(&ApiError::not_found(format!("no such path: {}", request.uri().path())));
    };
    let answered = match *request.method() {
        Method::GET | Method::HEAD => read(api, &resource, request).await,
        Method::PUT if matches!(resource, Resource::Key) => keys::put(api, request).await,
        Method::DELETE if matches!(resource, Resource::Key) => keys::delete(api, request).await,
        _ => Ok(not_allowed(&resource, request.method())),
    };
    answered.unwrap_or_else(|fault| respond::fault(&fault))
}

/// The error of a request that nobody handles.
pub(crate) fn refuse(error: &ApiError) -> Response<Body> {
    respond::fault(error)
}

async fn read(api: Api, resource: &Resource, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let (parts, _) = request.into_parts();
    match resource {
        Resource::Key => keys::get(api, &parts).await,
        Resource::Keys => keys::list(api, &parts).await,
        Resource::Status => probes::status(api, &parts).await,
        Resource::Version => probes::version(api, &parts),
        Resource::Livez => probes::livez(api, &parts).await,
        Resource::Readyz => probes::readyz(api, &parts).await,
        Resource::Health => probes::health(api, &parts).await,
    }
}

fn not_allowed(resource: &Resource, method: &Method) -> Response<Body> {
    let message = format!("{method} is not allowed here, only {}", resource.allowed());
    let fault = ApiError { code: tonic::Code::Unimplemented, ..ApiError::invalid(message) };
    let mut response = respond::fault(&fault);
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(resource.allowed()));
    response
}
