//! Responses: JSON documents, plain text, and errors with the matching HTTP status.

use axum::body::{Body, HttpBody};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;
use tonic::Code;

use crate::api::ApiError;
use crate::proto::{FOUND_MOD_REVISION, OUTCOME};

/// A document with a line break at the end, for terminals.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    let mut bytes = serde_json::to_vec(document)
        .expect("our documents have text keys and nothing that fails to serialize");
    bytes.push(b'\n');
    with_type(status, "application/json", bytes.into())
}

/// Plain text.
pub(super) fn text(status: StatusCode, text: String) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", text.into())
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// The response to HEAD: that to GET without its body, but with its length.
pub(super) fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    // The response to a GET of what has not changed has no body either.
    if let (Some(bytes), true) = (body.size_hint().exact(), parts.status != StatusCode::NOT_MODIFIED) {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    Response::from_parts(parts, Body::empty())
}

fn with_type(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[derive(Serialize)]
struct ErrorDoc<'a> {
    code: &'a str,
    message: &'a str,
}

/// An error, with the outcome of a write in the headers.
pub(super) fn fault(fault: &ApiError) -> Response<Body> {
    let document = ErrorDoc { code: code_name(fault.code), message: &fault.message };
    let mut response = json(http_status(fault), &document);
    let headers = response.headers_mut();
    if let Some(certainty) = fault.certainty {
        headers.insert(HeaderName::from_static(OUTCOME), HeaderValue::from_static(certainty.as_str()));
    }
    if let Some(found) = fault.found {
        headers.insert(HeaderName::from_static(FOUND_MOD_REVISION), HeaderValue::from(found.get()));
    }
    response
}

fn http_status(fault: &ApiError) -> StatusCode {
    match fault.code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => StatusCode::PRECONDITION_FAILED,
        Code::ResourceExhausted if fault.disk_full => StatusCode::INSUFFICIENT_STORAGE,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::REQUEST_TIMEOUT,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// The code's name, as the gRPC documentation spells it.
const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
