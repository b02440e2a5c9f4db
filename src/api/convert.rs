//! Conversion between wire and domain: client requests for the node, and the node's responses for the wire.
//!
//! Only this module knows both. Limits are checked on the way in, so no unchecked request reaches the node.

use bytes::Bytes;
use lograft_kv::{Command, Effect, KeyValue, Outcome, Versioned};
use lograft_node::limits::Limits;
use lograft_node::{
    ClientRequest, ClientResponse, Consistency, Header, ListRequest, MemberStatus, ResponseBody, Status,
};
use lograft_types::{LogIndex, NodeId, Revision};

use super::check::{self, Invalid};
use super::error::ApiError;
use crate::proto::v1;

/// Converts a Get.
///
/// # Errors
/// [`Invalid`] if it breaks a limit.
pub fn get_request(get: v1::GetRequest, limits: &Limits) -> Result<ClientRequest, Invalid> {
    check::key(&get.key, limits)?;
    Ok(ClientRequest::Get { key: Bytes::from(get.key), consistency: consistency(get.serializable) })
}

/// Converts a Set.
///
/// # Errors
/// [`Invalid`] if it breaks a limit.
pub fn set_request(set: v1::SetRequest, limits: &Limits) -> Result<ClientRequest, Invalid> {
    check::key(&set.key, limits)?;
    check::value(&set.value, limits)?;
    Ok(ClientRequest::Write(Command::Set {
        key: Bytes::from(set.key),
        value: Bytes::from(set.value),
        if_mod_revision: set.if_mod_revision.map(Revision::new),
    }))
}

/// Converts a Delete.
///
/// # Errors
/// [`Invalid`] if it breaks a limit.
pub fn delete_request(delete: v1::DeleteRequest, limits: &Limits) -> Result<ClientRequest, Invalid> {
    check::key(&delete.key, limits)?;
    Ok(ClientRequest::Write(Command::Delete {
        key: Bytes::from(delete.key),
        if_mod_revision: delete.if_mod_revision.map(Revision::new),
    }))
}

/// Converts a List.
///
/// # Errors
/// [`Invalid`] if it breaks a limit.
pub fn list_request(list: v1::ListRequest, limits: &Limits) -> Result<ClientRequest, Invalid> {
    let limit = check::list(&list.prefix, &list.start_after, list.limit, limits)?;
    Ok(ClientRequest::List(ListRequest {
        prefix: Bytes::from(list.prefix),
        start_after: Bytes::from(list.start_after),
        limit,
        max_bytes: limits.max_list_bytes,
        keys_only: list.keys_only,
        consistency: consistency(list.serializable),
    }))
}

fn consistency(serializable: bool) -> Consistency {
    if serializable { Consistency::Serializable } else { Consistency::Linearizable }
}

/// The response to a Get.
///
/// # Errors
/// [`ApiError`] if the stored value is not text.
pub fn get_response(response: ClientResponse) -> Result<v1::GetResponse, ApiError> {
    let ResponseBody::Got(found) = response.body else { return Err(ApiError::misfit()) };
    Ok(v1::GetResponse {
        header: Some(header(response.header)),
        kv: found.as_ref().map(key_value).transpose()?,
    })
}

/// The response to a Set.
///
/// `prev_of`: the key, if the client wants the previous value. `asked`: the write's condition.
///
/// # Errors
/// [`ApiError`] if the condition did not hold.
pub fn set_response(
    response: ClientResponse,
    prev_of: Option<&str>,
    asked: Option<u64>,
) -> Result<v1::SetResponse, ApiError> {
    let header = header(response.header);
    match applied(response.body, asked)? {
        Effect::Set { prev } => {
            Ok(v1::SetResponse { header: Some(header), prev_kv: prev_kv(prev_of, prev.as_ref())? })
        }
        Effect::Deleted { .. } | Effect::ConditionFailed { .. } => Err(ApiError::misfit()),
    }
}

/// The response to a Delete.
///
/// `prev_of`: the key, if the client wants the previous value. `asked`: the write's condition.
///
/// # Errors
/// [`ApiError`] if the condition did not hold.
pub fn delete_response(
    response: ClientResponse,
    prev_of: Option<&str>,
    asked: Option<u64>,
) -> Result<v1::DeleteResponse, ApiError> {
    let header = header(response.header);
    match applied(response.body, asked)? {
        Effect::Deleted { prev } => Ok(v1::DeleteResponse {
            header: Some(header),
            deleted: u64::from(prev.is_some()),
            prev_kv: prev_kv(prev_of, prev.as_ref())?,
        }),
        Effect::Set { .. } | Effect::ConditionFailed { .. } => Err(ApiError::misfit()),
    }
}

/// The response to a List.
///
/// # Errors
/// [`ApiError`] if a stored key or value is not text.
pub fn list_response(response: ClientResponse) -> Result<v1::ListResponse, ApiError> {
    let ResponseBody::Listed(page) = response.body else { return Err(ApiError::misfit()) };
    let kvs = page.items.iter().map(key_value).collect::<Result<_, _>>()?;
    Ok(v1::ListResponse { header: Some(header(response.header)), kvs, more: page.more })
}

/// The response to a Status; `version` is the program's.
pub fn status_response(status: Status, version: &str) -> v1::StatusResponse {
    v1::StatusResponse {
        header: Some(header(status.header)),
        name: status.name,
        version: version.to_owned(),
        role: status.role.as_str().to_owned(),
        leader_id: status.leader.map_or(0, NodeId::get),
        first_index: status.first_index.get(),
        last_index: status.last_index.get(),
        commit_index: status.commit_index.get(),
        applied_index: status.applied_index.get(),
        state_hash: format!("{:032x}", status.state_hash),
        members: status.members.into_iter().map(member).collect(),
        persisted_index: status.persisted_index.get(),
        keys: status.keys,
        log_size_bytes: status.log_size_bytes,
        pending_requests: status.pending_requests,
        refused_messages: status.refused_messages,
        disk_full: status.disk_full,
    }
}

fn member(member: MemberStatus) -> v1::Member {
    v1::Member {
        id: member.id.get(),
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        match_index: member.match_index.map_or(0, LogIndex::get),
        progress: member.progress.unwrap_or_default().to_owned(),
        losses: member.losses,
    }
}

fn header(header: Header) -> v1::Header {
    v1::Header {
        cluster_id: header.cluster.get(),
        node_id: header.node.get(),
        term: header.term.get(),
        revision: header.revision.get(),
    }
}

/// The effect of a write whose condition held.
fn applied(body: ResponseBody, asked: Option<u64>) -> Result<Effect, ApiError> {
    match body {
        ResponseBody::Applied(Outcome { effect: Effect::ConditionFailed { found }, .. }) => {
            Err(ApiError::condition_failed(asked.map(Revision::new), found))
        }
        ResponseBody::Applied(Outcome { effect, .. }) => Ok(effect),
        ResponseBody::Got(_) | ResponseBody::Listed(_) | ResponseBody::Reached => Err(ApiError::misfit()),
    }
}

fn prev_kv(prev_of: Option<&str>, prev: Option<&Versioned>) -> Result<Option<v1::KeyValue>, ApiError> {
    match (prev_of, prev) {
        (Some(key), Some(prev)) => Ok(Some(with_key(key.to_owned(), prev)?)),
        (None, _) | (_, None) => Ok(None),
    }
}

fn key_value(kv: &KeyValue) -> Result<v1::KeyValue, ApiError> {
    with_key(text("key", &kv.key)?, &kv.stored)
}

fn with_key(key: String, stored: &Versioned) -> Result<v1::KeyValue, ApiError> {
    Ok(v1::KeyValue {
        key,
        value: text("value", &stored.value)?,
        create_revision: stored.create_revision.get(),
        mod_revision: stored.mod_revision.get(),
        version: stored.version,
    })
}

fn text(field: &'static str, bytes: &Bytes) -> Result<String, ApiError> {
    str::from_utf8(bytes).map(str::to_owned).map_err(|_| ApiError::not_text(field))
}
