//! The JSON documents that HTTP responds with and `-w json` prints. Ids are decimal numbers as text, because a
//! reader in JavaScript would round them; that is also how protobuf tools print them. The hash is hexadecimal.

use serde::Serialize;

use crate::proto::v1;

#[derive(Debug, Serialize)]
pub(crate) struct HeaderDoc {
    cluster_id: String,
    node_id: String,
    term: u64,
    revision: u64,
}

impl From<Option<v1::Header>> for HeaderDoc {
    fn from(header: Option<v1::Header>) -> Self {
        let header = header.unwrap_or_default();
        Self {
            cluster_id: id_text(header.cluster_id),
            node_id: id_text(header.node_id),
            term: header.term,
            revision: header.revision,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct KeyValueDoc {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    create_revision: u64,
    mod_revision: u64,
    version: u64,
}

impl KeyValueDoc {
    fn new(kv: v1::KeyValue, with_value: bool) -> Self {
        Self {
            key: kv.key,
            value: with_value.then_some(kv.value),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
        }
    }
}

impl From<v1::KeyValue> for KeyValueDoc {
    fn from(kv: v1::KeyValue) -> Self {
        Self::new(kv, true)
    }
}

/// The response to a Get.
#[derive(Debug, Serialize)]
pub(crate) struct GetDoc {
    header: HeaderDoc,
    /// Absent if there is no such key.
    #[serde(skip_serializing_if = "Option::is_none")]
    kv: Option<KeyValueDoc>,
}

impl From<v1::GetResponse> for GetDoc {
    fn from(get: v1::GetResponse) -> Self {
        Self { header: get.header.into(), kv: get.kv.map(Into::into) }
    }
}

/// The response to a Set.
#[derive(Debug, Serialize)]
pub(crate) struct SetDoc {
    header: HeaderDoc,
    /// What was there before, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_kv: Option<KeyValueDoc>,
}

impl From<v1::SetResponse> for SetDoc {
    fn from(set: v1::SetResponse) -> Self {
        Self { header: set.header.into(), prev_kv: set.prev_kv.map(Into::into) }
    }
}

/// The response to a Delete.
#[derive(Debug, Serialize)]
pub(crate) struct DeleteDoc {
    header: HeaderDoc,
    deleted: u64,
    /// What was there before, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_kv: Option<KeyValueDoc>,
}

impl From<v1::DeleteResponse> for DeleteDoc {
    fn from(delete: v1::DeleteResponse) -> Self {
        Self {
            header: delete.header.into(),
            deleted: delete.deleted,
            prev_kv: delete.prev_kv.map(Into::into),
        }
    }
}

/// The response to a List.
#[derive(Debug, Serialize)]
pub(crate) struct ListDoc {
    header: HeaderDoc,
    kvs: Vec<KeyValueDoc>,
    more: bool,
}

impl ListDoc {
    pub(crate) fn new(list: v1::ListResponse, with_values: bool) -> Self {
        Self {
            header: list.header.into(),
            kvs: list.kvs.into_iter().map(|kv| KeyValueDoc::new(kv, with_values)).collect(),
            more: list.more,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct StatusDoc {
    header: HeaderDoc,
    name: String,
    version: String,
    role: String,
    /// Absent if no leader is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    leader_id: Option<String>,
    first_index: u64,
    last_index: u64,
    persisted_index: u64,
    commit_index: u64,
    applied_index: u64,
    state_hash: String,
    keys: u64,
    log_size_bytes: u64,
    pending_requests: u64,
    refused_messages: u64,
    disk_full: bool,
    members: Vec<MemberDoc>,
}

#[derive(Debug, Serialize)]
struct MemberDoc {
    id: String,
    name: String,
    peer_urls: Vec<String>,
    client_urls: Vec<String>,
    match_index: u64,
    progress: String,
    losses: u64,
}

impl From<v1::StatusResponse> for StatusDoc {
    fn from(status: v1::StatusResponse) -> Self {
        Self {
            header: status.header.into(),
            name: status.name,
            version: status.version,
            role: status.role,
            leader_id: (status.leader_id != 0).then(|| id_text(status.leader_id)),
            first_index: status.first_index,
            last_index: status.last_index,
            persisted_index: status.persisted_index,
            commit_index: status.commit_index,
            applied_index: status.applied_index,
            state_hash: status.state_hash,
            keys: status.keys,
            log_size_bytes: status.log_size_bytes,
            pending_requests: status.pending_requests,
            refused_messages: status.refused_messages,
            disk_full: status.disk_full,
            members: status.members.into_iter().map(MemberDoc::from).collect(),
        }
    }
}

impl From<v1::Member> for MemberDoc {
    fn from(member: v1::Member) -> Self {
        Self {
            id: id_text(member.id),
            name: member.name,
            peer_urls: member.peer_urls,
            client_urls: member.client_urls,
            match_index: member.match_index,
            progress: member.progress,
            losses: member.losses,
        }
    }
}

/// The response to `/health` in etcd's format, in which `health` is text and not a boolean.
#[derive(Debug, Serialize)]
pub(crate) struct HealthDoc {
    pub(crate) health: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct VersionDoc {
    pub(crate) lograft: &'static str,
    pub(crate) api: &'static str,
}

/// An id as text.
pub(crate) fn id_text(id: u64) -> String {
    id.to_string()
}
