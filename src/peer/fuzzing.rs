//! For `tests/fuzz`: any bytes as a message from a client or a peer.

use lograft_kv::Command;
use lograft_node::limits::Limits;
use lograft_node::{AppendRequest, ClientRequest, Envelope, ForwardRequest, PeerRequest};
use lograft_raft as raft;
use lograft_types::{ClusterId, EntryMeta, Identity, NodeId};
use prost::Message;

use super::service::forwarded_request;
use super::wire;
use crate::api::{check, convert};
use crate::proto::v1;

/// Small, so that short inputs can break them.
const LIMITS: Limits = Limits {
    max_key_bytes: 12,
    max_value_bytes: 20,
    max_request_bytes: 64,
    max_list_keys: 10,
    max_list_bytes: 100,
    max_pending_requests: 8,
    max_pending_bytes: 1024,
    request_timeout_ms: 1000,
    max_append_bytes: 200,
    max_append_entries: 8,
    max_inflight_messages: 4,
    max_inflight_bytes: 800,
    max_stream_requests: 8,
    max_turn_bytes: 1024,
    entry_cache_bytes: 1024,
    min_segment_bytes: 1 << 16,
    max_segment_bytes: 1 << 20,
};

/// This node's identity: small numbers, so that short inputs can address it.
const IDENTITY: Identity = Identity { cluster: ClusterId::new(1), node: NodeId::new(2) };

/// Any message: the first byte selects its type, and the rest is what a peer or a client sent.
///
/// No message that breaks a limit is accepted, and an accepted one survives conversion to the wire and back.
pub fn wire(bytes: &[u8]) -> &'static str {
    let Some((which, message)) = bytes.split_first() else { return "no message" };
    let tried = match which % 11 {
        0 => read(message).map(get),
        1 => read(message).map(set),
        2 => read(message).map(delete),
        3 => read(message).map(list),
        4 => read(message).map(append),
        5 => read(message).map(|response| append_response(&response)),
        6 => read(message).map(|vote| request_vote(&vote)),
        7 => read(message).map(|response| vote_response(&response)),
        8 => read(message).map(forward),
        9 => read(message).map(forward_response),
        _ => read(message).map(|hello| handshake(&hello)),
    };
    tried.unwrap_or("no message")
}

fn read<M: Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    let encoded = message.encode_to_vec();
    assert_eq!(M::decode(encoded.as_slice()).as_ref(), Ok(&message), "a message survives its encoding");
    Some(message)
}

/// A client's request is accepted exactly if it is within the limits.
fn taken(request: Result<ClientRequest, check::Invalid>, keeps_to_limits: bool) -> Option<ClientRequest> {
    assert_eq!(request.is_ok(), keeps_to_limits, "{request:?}");
    if let Err(invalid) = &request {
        assert!(!invalid.to_string().contains('\n'));
    }
    request.ok()
}

fn key_fits(key: &str) -> bool {
    (1..=LIMITS.max_key_bytes).contains(&key.len())
}

fn get(get: v1::GetRequest) -> &'static str {
    let Some(request) = taken(convert::get_request(get.clone(), &LIMITS), key_fits(&get.key)) else {
        return "refused";
    };
    assert_eq!(request.size_bytes(), get.key.len());
    "get"
}

fn set(set: v1::SetRequest) -> &'static str {
    let fits = key_fits(&set.key) && set.value.len() <= LIMITS.max_value_bytes;
    let Some(ClientRequest::Write(command)) = taken(convert::set_request(set.clone(), &LIMITS), fits) else {
        return "refused";
    };
    assert_eq!(command.key(), set.key.as_bytes());
    assert_eq!(command.if_mod_revision().map(lograft_types::Revision::get), set.if_mod_revision);
    assert!(command.encode().len() <= Command::max_encoded_bytes(set.key.len(), set.value.len()));
    "set"
}

fn delete(delete: v1::DeleteRequest) -> &'static str {
    let fits = key_fits(&delete.key);
    let Some(ClientRequest::Write(command)) = taken(convert::delete_request(delete.clone(), &LIMITS), fits)
    else {
        return "refused";
    };
    assert_eq!(Command::decode(&command.encode()), Ok(command));
    "delete"
}

fn list(list: v1::ListRequest) -> &'static str {
    let most = LIMITS.max_key_bytes;
    let fits =
        list.prefix.len() <= most && list.start_after.len() <= most && list.limit <= LIMITS.max_list_keys;
    let Some(ClientRequest::List(request)) = taken(convert::list_request(list, &LIMITS), fits) else {
        return "refused";
    };
    assert!((1..=LIMITS.max_list_keys).contains(&request.limit), "a page has a limit: {}", request.limit);
    "list"
}

fn append(message: v1::AppendEntriesRequest) -> &'static str {
    let Ok((envelope, request)) = wire::append_from_wire(message.clone()) else { return "refused" };
    let PeerRequest::Append(append) = &request else { panic!("an append is an append") };
    if envelope.check(IDENTITY).is_err() || request.check(envelope.from).is_err() {
        return "refused";
    }
    assert_eq!(wire::append_to_wire(envelope, &core(append), append.entries.clone()), message);
    "append"
}

/// The request as the core sees it.
fn core(append: &AppendRequest) -> raft::AppendEntries {
    let meta =
        |entry: &lograft_types::Entry| EntryMeta { id: entry.id, size_bytes: entry.payload.len() as u32 };
    raft::AppendEntries {
        term: append.term,
        prev: append.prev,
        entries: append.entries.iter().map(meta).collect(),
        commit: append.commit,
        request_id: append.request_id,
        read_round: append.read_round,
        clipped: false,
    }
}

fn append_response(message: &v1::AppendEntriesResponse) -> &'static str {
    let (envelope, response) = wire::append_response_from_wire(message);
    if envelope.check(IDENTITY).is_err() {
        return "refused";
    }
    let raft::Response::AppendEntries(response) = response else { panic!("a response to an append") };
    let again = wire::append_response_to_wire(envelope, &response);
    assert_eq!(wire::append_response_from_wire(&again), (envelope, raft::Response::AppendEntries(response)));
    "append response"
}

fn request_vote(message: &v1::RequestVoteRequest) -> &'static str {
    let (envelope, request) = wire::vote_from_wire(message);
    if envelope.check(IDENTITY).is_err() || request.check(envelope.from).is_err() {
        return "refused";
    }
    let PeerRequest::Vote { candidate, vote } = request else { panic!("a vote is a vote") };
    assert_eq!(candidate, envelope.from, "a node requests votes only for itself");
    assert_eq!(&wire::vote_to_wire(envelope, &vote), message);
    "vote"
}

fn vote_response(message: &v1::RequestVoteResponse) -> &'static str {
    let (envelope, response) = wire::vote_response_from_wire(message);
    if envelope.check(IDENTITY).is_err() {
        return "refused";
    }
    let raft::Response::RequestVote(response) = response else { panic!("a response to a vote request") };
    assert_eq!(&wire::vote_response_to_wire(envelope, &response), message);
    "vote response"
}

fn forward(message: v1::ForwardRequest) -> &'static str {
    let envelope: Envelope = wire::envelope!(message);
    let (id, timeout_ms) = (message.id, message.timeout_ms);
    let Ok(request) = forwarded_request(message.clone()) else { return "refused" };
    if envelope.check(IDENTITY).is_err() {
        return "refused";
    }
    if let ForwardRequest::Write(payload) = &request {
        Command::decode(payload).expect("what enters the log can be applied");
    }
    assert_eq!(wire::forward_to_wire(envelope, id, timeout_ms, request), message);
    "forward"
}

fn forward_response(message: v1::ForwardResponse) -> &'static str {
    let (id, leader) = (message.id, "n3");
    let answer = match wire::forward_response_from_wire(message, leader) {
        Ok(answer) => answer,
        Err(failure) => {
            drop(format!("{failure:?}"));
            return "refused";
        }
    };
    let again = wire::forward_response_to_wire(id, Ok(answer.clone()));
    assert_eq!((again.id, wire::forward_response_from_wire(again, leader)), (id, Ok(answer)));
    "forward response"
}

fn handshake(hello: &v1::HandshakeRequest) -> &'static str {
    let envelope: Envelope = wire::envelope!(hello);
    match envelope.check(IDENTITY) {
        Ok(()) => "handshake",
        Err(refusal) => {
            assert!(!refusal.to_string().contains('\n'));
            "refused"
        }
    }
}
