//! `/v1/kv`: keys in the path, values as bodies.

use axum::body::Body;
use axum::http::header::{ACCEPT, CONTENT_LENGTH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};

use super::body::BodyError;
use super::query::{Query, QueryError, decode};
use super::{body, respond};
use crate::api::documents::{DeleteDoc, GetDoc, ListDoc, SetDoc, hex};
use crate::api::{Api, ApiError};
use crate::proto::v1;

/// The part of a path before the key.
pub(super) const PREFIX: &str = "/v1/kv/";

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self::invalid(error.to_string())
    }
}

fn key_and_query(uri: &Uri, known: &[&str]) -> Result<(String, Query), ApiError> {
    let key = decode("key", uri.path().strip_prefix(PREFIX).unwrap_or_default())?;
    Ok((key, Query::parse(uri.query(), known)?))
}

/// Reads one key: its plain value, or a document.
pub(super) async fn get(api: Api, parts: &Parts) -> Result<Response<Body>, ApiError> {
    let (key, query) = key_and_query(&parts.uri, &["serializable"])?;
    let get = v1::GetRequest { key, serializable: query.flag("serializable")? };
    let response = api.get(get, None).await?;
    if wants_document(&parts.headers) && response.kv.is_some() {
        return Ok(respond::json(StatusCode::OK, &GetDoc::from(response)));
    }
    let header = response.header.unwrap_or_default();
    let Some(kv) = response.kv else {
        let mut response = respond::fault(&ApiError::not_found("there is no such key"));
        put_header(response.headers_mut(), &header);
        return Ok(response);
    };
    let history = [
        ("lograft-create-revision", kv.create_revision),
        ("lograft-mod-revision", kv.mod_revision),
        ("lograft-version", kv.version),
    ];
    let value_bytes = kv.value.len();
    let mut response = respond::text(StatusCode::OK, kv.value);
    let headers = response.headers_mut();
    put_header(headers, &header);
    for (name, number) in history {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(number));
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(value_bytes));
    Ok(response)
}

/// Stores the body.
pub(super) async fn put(api: Api, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let (key, query) = key_and_query(request.uri(), &["if_mod_revision", "prev_kv"])?;
    let (if_mod_revision, prev_kv) = (query.number("if_mod_revision")?, query.flag("prev_kv")?);
    let value = match body::value(request, api.limits()).await {
        Ok(value) => value,
        Err(BodyError::ApiError(fault)) => return Err(fault),
        Err(BodyError::TooLarge(invalid)) => {
            let mut response = respond::fault(&invalid.into());
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            return Ok(response);
        }
    };
    let set = v1::SetRequest { key, value, if_mod_revision, prev_kv };
    Ok(respond::json(StatusCode::OK, &SetDoc::from(api.set(set, None).await?)))
}

/// Removes a key. A missing key is no error: the document says that nothing was deleted.
pub(super) async fn delete(api: Api, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let (key, query) = key_and_query(request.uri(), &["if_mod_revision", "prev_kv"])?;
    let (if_mod_revision, prev_kv) = (query.number("if_mod_revision")?, query.flag("prev_kv")?);
    let delete = v1::DeleteRequest { key, if_mod_revision, prev_kv };
    Ok(respond::json(StatusCode::OK, &DeleteDoc::from(api.delete(delete, None).await?)))
}

/// Lists keys in order.
pub(super) async fn list(api: Api, parts: &Parts) -> Result<Response<Body>, ApiError> {
    let known = ["prefix", "start_after", "limit", "keys_only", "serializable"];
    let query = Query::parse(parts.uri.query(), &known)?;
    // A number past 2^32 breaks the limit as well, and the error says so.
    let limit = u32::try_from(query.number("limit")?.unwrap_or(0)).unwrap_or(u32::MAX);
    let keys_only = query.flag("keys_only")?;
    let list = v1::ListRequest {
        prefix: query.text("prefix"),
        start_after: query.text("start_after"),
        limit,
        keys_only,
        serializable: query.flag("serializable")?,
    };
    let answer = api.list(list, None).await?;
    Ok(respond::json(StatusCode::OK, &ListDoc::new(answer, !keys_only)))
}

fn put_header(headers: &mut HeaderMap, header: &v1::Header) {
    let id = |id: u64| HeaderValue::from_str(&hex(id)).expect("digits fit into a header");
    headers.insert("lograft-cluster-id", id(header.cluster_id));
    headers.insert("lograft-node-id", id(header.node_id));
    headers.insert("lograft-term", HeaderValue::from(header.term));
    headers.insert("lograft-revision", HeaderValue::from(header.revision));
}

/// The default is the plain value: `*/*` is what curl sends.
fn wants_document(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .flat_map(|accept| accept.split(','))
        .any(|range| {
            range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
        })
}
