//! `/v1/kv`: keys in the path, values as bodies.

use axum::body::Body;
use axum::http::header::{ACCEPT, ETAG, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};

use super::body::BodyError;
use super::condition::{self, ReadCondition, Verdict, WriteCondition};
use super::query::{Query, QueryError, decode};
use super::{body, respond};
use crate::api::check;
use crate::api::documents::{DeleteDoc, GetDoc, ListDoc, SetDoc, id_text};
use crate::api::{Api, ApiError, apart};
use crate::proto::v1;

/// The part of a path before the key.
pub(super) const PREFIX: &str = "/v1/kv/";

/// How often a PUT with `If-Match: *` tries, while others write the same key.
const MAX_ROUNDS: usize = 16;

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
    let condition = ReadCondition::of(&parts.headers);
    let get = v1::GetRequest { key, serializable: query.flag("serializable")? };
    let found = api.get(get, None).await?;
    let header = found.header.unwrap_or_default();
    let Some(kv) = &found.kv else {
        let mut response = respond::fault(&ApiError::not_found("there is no such key"));
        put_header(response.headers_mut(), &header);
        return Ok(response);
    };
    let mut response = match condition.verdict(kv.mod_revision) {
        Verdict::Respond if wants_document(&parts.headers) => {
            respond::json(StatusCode::OK, &GetDoc::from(found.clone()))
        }
        Verdict::Respond => respond::text(StatusCode::OK, kv.value.clone()),
        Verdict::NotModified => respond::empty(StatusCode::NOT_MODIFIED),
        Verdict::Failed(fault) => respond::fault(&fault),
    };
    let headers = response.headers_mut();
    put_header(headers, &header);
    for (name, number) in [
        ("lograft-create-revision", kv.create_revision),
        ("lograft-mod-revision", kv.mod_revision),
        ("lograft-version", kv.version),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(number));
    }
    headers.insert(ETAG, condition::etag(kv.mod_revision));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Stores the body.
pub(super) async fn put(api: Api, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let (key, query) = key_and_query(request.uri(), &["if_mod_revision", "prev_kv"])?;
    let condition = WriteCondition::of(request.headers(), query.number("if_mod_revision")?)?;
    let prev_kv = query.flag("prev_kv")?;
    let value = match body::value(request, api.limits()).await {
        Ok(value) => value,
        Err(BodyError::ApiError(fault)) => return Err(fault),
        Err(BodyError::TooLarge(invalid)) => {
            let mut response = respond::fault(&invalid.into());
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            return Ok(response);
        }
    };
    let set = v1::SetRequest { key, value, if_mod_revision: condition.if_mod_revision(), prev_kv };
    let stored = match condition {
        WriteCondition::Exists => set_existing(&api, set).await,
        WriteCondition::None
        | WriteCondition::Parameter(_)
        | WriteCondition::Absent
        | WriteCondition::Is(_) => api.set(set, None).await,
    };
    let stored = match stored {
        Ok(stored) => stored,
        Err(fault) => return Ok(condition.refusal(fault)),
    };
    let revision = stored.header.unwrap_or_default().revision;
    let mut response = respond::json(StatusCode::OK, &SetDoc::from(stored));
    response.headers_mut().insert(ETAG, condition::etag(revision));
    Ok(response)
}

/// Stores a value if the key exists. The store has no such condition: the key is read, and what was read is the
/// condition. If another write comes in between, nothing was stored and it begins anew.
async fn set_existing(api: &Api, set: v1::SetRequest) -> Result<v1::SetResponse, ApiError> {
    for _ in 0..MAX_ROUNDS {
        let get = v1::GetRequest { key: set.key.clone(), serializable: false };
        let found = api.get(get, None).await.map_err(ApiError::not_applied)?.kv;
        let Some(found) = found else { return Err(condition::missing()) };
        let conditional = v1::SetRequest { if_mod_revision: Some(found.mod_revision), ..set.clone() };
        match api.set(conditional, None).await {
            // The key has changed since.
            Err(fault) if fault.found.is_some() => {}
            stored => return stored,
        }
    }
    Err(ApiError::contended("the key changed each time that it was read: send the request again"))
}

/// Removes a key. A missing key is no error: the document says that nothing was deleted.
pub(super) async fn delete(api: Api, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let (key, query) = key_and_query(request.uri(), &["if_mod_revision", "prev_kv"])?;
    let condition = WriteCondition::of(request.headers(), query.number("if_mod_revision")?)?;
    let prev_kv = query.flag("prev_kv")?;
    let delete = v1::DeleteRequest { key, if_mod_revision: condition.if_mod_revision(), prev_kv };
    let deleted = match api.delete(delete, None).await {
        // Deleting a key that does not exist changes nothing, so the condition can be judged afterwards.
        Ok(deleted) if deleted.deleted == 0 && matches!(condition, WriteCondition::Exists) => {
            Err(condition::missing())
        }
        deleted => deleted,
    };
    match deleted {
        Ok(deleted) => Ok(respond::json(StatusCode::OK, &DeleteDoc::from(deleted))),
        Err(fault) => Ok(condition.refusal(fault)),
    }
}

/// Lists keys in order.
pub(super) async fn list(api: Api, parts: &Parts) -> Result<Response<Body>, ApiError> {
    let known = ["prefix", "start_after", "limit", "keys_only", "serializable"];
    let query = Query::parse(parts.uri.query(), &known)?;
    let limit = check::list_limit(query.number("limit")?.unwrap_or(0), api.limits())?;
    let keys_only = query.flag("keys_only")?;
    let list = v1::ListRequest {
        prefix: query.text("prefix"),
        start_after: query.text("start_after"),
        limit,
        keys_only,
        serializable: query.flag("serializable")?,
    };
    let answer = api.list(list, None).await?;
    let bytes = answer.kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
    Ok(apart(bytes, move || respond::json(StatusCode::OK, &ListDoc::new(answer, !keys_only))).await)
}

fn put_header(headers: &mut HeaderMap, header: &v1::Header) {
    let id = |id: u64| HeaderValue::from_str(&id_text(id)).expect("digits fit into a header");
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
