//! The body of a PUT: a value, read up to its limit.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::http::{HeaderMap, Request};
use futures_util::StreamExt;
use lograft_node::limits::Limits;

use crate::api::ApiError;
use crate::api::check::{self, Invalid};
use crate::memory::NotReceived;

/// A body over the limit is read and dropped up to this size, so that the client gets a response and not a
/// broken connection.
const DRAIN_BYTES: usize = 16 << 20;

/// A body that was not accepted.
pub(super) enum BodyError {
    /// Larger than the limit for values.
    TooLarge(Invalid),
    /// Anything else.
    ApiError(ApiError),
}

/// Reads the body as text, in at most the node's request timeout.
pub(super) async fn value(request: Request<Body>, limits: &Limits) -> Result<String, BodyError> {
    let declared = declared_bytes(request.headers());
    if let Some(declared) = declared {
        let waits_for_a_word = request.headers().contains_key(EXPECT) || declared > DRAIN_BYTES;
        if let (Err(invalid), true) = (check::value_bytes(declared, limits), waits_for_a_word) {
            return Err(BodyError::TooLarge(invalid));
        }
    }
    let timeout = Duration::from_millis(limits.request_timeout_ms);
    let reading = read(request.into_body().into_data_stream(), limits, declared);
    tokio::time::timeout(timeout, reading).await.unwrap_or_else(|_| {
        let message = format!("not applied: the body did not arrive within {} ms", timeout.as_millis());
        Err(BodyError::ApiError(ApiError::too_slow(message)))
    })
}

fn declared_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read(
    mut body: BodyDataStream,
    limits: &Limits,
    declared: Option<usize>,
) -> Result<String, BodyError> {
    let mut value = Vec::with_capacity(declared.unwrap_or(0).min(limits.max_value_bytes));
    let mut bytes = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| match NotReceived::find(&error) {
            Some(refused) => BodyError::ApiError(refused.error.clone()),
            None => BodyError::ApiError(ApiError::invalid(format!("the body ended early: {error}"))),
        })?;
        bytes += chunk.len();
        if bytes <= limits.max_value_bytes {
            value.extend_from_slice(&chunk);
        } else if bytes > DRAIN_BYTES {
            break;
        }
    }
    check::value_bytes(bytes, limits).map_err(BodyError::TooLarge)?;
    String::from_utf8(value).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        BodyError::ApiError(Invalid::NotUtf8 { field: "value", offset }.into())
    })
}
