//! Conversion between wire and domain for all messages between peers.

use lograft_kv::{Effect, Outcome, Versioned};
use lograft_node::{
    AppendRequest, Envelope, ForwardFailure, ForwardRequest, ForwardResponse, PeerRequest, Refusal,
    RequestError,
};
use lograft_raft::{
    AppendEntries, AppendEntriesResponse, AppendResult, RequestVote, RequestVoteResponse, Response,
};
use lograft_types::{Entry, EntryId, EntryKind, LogIndex, NodeId, Revision, Term};
use tonic::Status;
use tonic::metadata::MetadataValue;

use crate::api::Certainty;
use crate::proto::{OUTCOME, v1};

const NOT_APPLIED: &str = Certainty::NotApplied.as_str();

/// What this version supports; sent in the handshake.
pub(super) const FEATURE_LEVEL: u32 = 1;

/// The envelope of a message, which every message carries in fields of the same names.
macro_rules! envelope {
    ($message:expr) => {
        lograft_node::Envelope {
            cluster: lograft_types::ClusterId::new($message.cluster_id),
            from: lograft_types::NodeId::new($message.from),
            to: lograft_types::NodeId::new($message.to),
            incarnation: $message.incarnation,
        }
    };
}
pub(super) use envelope;

pub(super) fn append_from_wire(
    message: v1::AppendEntriesRequest,
) -> Result<(Envelope, PeerRequest), Refusal> {
    let envelope = envelope!(message);
    let entries = message.entries.into_iter().map(entry_from_wire).collect::<Result<_, _>>()?;
    let append = AppendRequest {
        term: Term::new(message.term),
        leader: NodeId::new(message.leader_id),
        prev: entry_id(message.prev_log_term, message.prev_log_index),
        entries,
        commit: LogIndex::new(message.leader_commit),
        request_id: message.request_id,
        read_round: message.read_round,
    };
    Ok((envelope, PeerRequest::Append(append)))
}

fn entry_from_wire(entry: v1::Entry) -> Result<Entry, Refusal> {
    let kind = match v1::EntryKind::try_from(entry.kind) {
        Ok(v1::EntryKind::Normal) => EntryKind::Normal,
        Ok(v1::EntryKind::NoOp) => EntryKind::NoOp,
        Ok(v1::EntryKind::Configuration) => EntryKind::Configuration,
        Err(_) => {
            return Err(Refusal::Malformed(format!(
                "entry {} has the unknown kind {}",
                entry.index, entry.kind
            )));
        }
    };
    Ok(Entry { id: entry_id(entry.term, entry.index), kind, payload: entry.command })
}

pub(super) fn append_to_wire(
    envelope: Envelope,
    request: &AppendEntries,
    entries: Vec<Entry>,
) -> v1::AppendEntriesRequest {
    v1::AppendEntriesRequest {
        cluster_id: envelope.cluster.get(),
        from: envelope.from.get(),
        to: envelope.to.get(),
        term: request.term.get(),
        leader_id: envelope.from.get(),
        prev_log_index: request.prev.index.get(),
        prev_log_term: request.prev.term.get(),
        entries: entries.into_iter().map(entry_to_wire).collect(),
        leader_commit: request.commit.get(),
        request_id: request.request_id,
        read_round: request.read_round,
        incarnation: envelope.incarnation,
    }
}

fn entry_to_wire(entry: Entry) -> v1::Entry {
    let kind = match entry.kind {
        EntryKind::Normal => v1::EntryKind::Normal,
        EntryKind::NoOp => v1::EntryKind::NoOp,
        EntryKind::Configuration => v1::EntryKind::Configuration,
    };
    v1::Entry {
        index: entry.id.index.get(),
        term: entry.id.term.get(),
        command: entry.payload,
        kind: kind.into(),
    }
}

pub(super) fn append_response_to_wire(
    envelope: Envelope,
    response: &AppendEntriesResponse,
) -> v1::AppendEntriesResponse {
    let mut wire = v1::AppendEntriesResponse {
        cluster_id: envelope.cluster.get(),
        from: envelope.from.get(),
        to: envelope.to.get(),
        term: response.term.get(),
        request_id: response.request_id,
        read_round: response.read_round,
        incarnation: envelope.incarnation,
        ..Default::default()
    };
    match response.result {
        AppendResult::Matched { match_index } => {
            wire.success = true;
            wire.match_index = match_index.get();
        }
        AppendResult::Busy { match_index } => {
            wire.success = true;
            wire.busy = true;
            wire.match_index = match_index.get();
        }
        AppendResult::Conflict { conflict } => {
            wire.conflict_index = conflict.index.get();
            wire.conflict_term = conflict.term.get();
        }
    }
    wire
}

pub(super) fn append_response_from_wire(wire: &v1::AppendEntriesResponse) -> (Envelope, Response) {
    let match_index = LogIndex::new(wire.match_index);
    let result = match (wire.success, wire.busy) {
        (true, false) => AppendResult::Matched { match_index },
        (true, true) => AppendResult::Busy { match_index },
        (false, _) => AppendResult::Conflict { conflict: entry_id(wire.conflict_term, wire.conflict_index) },
    };
    let response = AppendEntriesResponse {
        term: Term::new(wire.term),
        request_id: wire.request_id,
        read_round: wire.read_round,
        result,
    };
    (envelope!(wire), Response::AppendEntries(response))
}

pub(super) fn vote_to_wire(envelope: Envelope, vote: &RequestVote) -> v1::RequestVoteRequest {
    v1::RequestVoteRequest {
        cluster_id: envelope.cluster.get(),
        from: envelope.from.get(),
        to: envelope.to.get(),
        term: vote.term.get(),
        candidate_id: envelope.from.get(),
        last_log_index: vote.last.index.get(),
        last_log_term: vote.last.term.get(),
        pre_vote: vote.pre_vote,
        leadership_transfer: vote.leadership_transfer,
        incarnation: envelope.incarnation,
    }
}

pub(super) fn vote_from_wire(wire: &v1::RequestVoteRequest) -> (Envelope, PeerRequest) {
    let vote = RequestVote {
        term: Term::new(wire.term),
        last: entry_id(wire.last_log_term, wire.last_log_index),
        pre_vote: wire.pre_vote,
        leadership_transfer: wire.leadership_transfer,
    };
    (envelope!(wire), PeerRequest::Vote { candidate: NodeId::new(wire.candidate_id), vote })
}

pub(super) fn vote_response_to_wire(
    envelope: Envelope,
    response: &RequestVoteResponse,
) -> v1::RequestVoteResponse {
    v1::RequestVoteResponse {
        cluster_id: envelope.cluster.get(),
        from: envelope.from.get(),
        to: envelope.to.get(),
        term: response.term.get(),
        vote_granted: response.granted,
        pre_vote: response.pre_vote,
        incarnation: envelope.incarnation,
    }
}

pub(super) fn vote_response_from_wire(wire: &v1::RequestVoteResponse) -> (Envelope, Response) {
    let response = RequestVoteResponse {
        term: Term::new(wire.term),
        granted: wire.vote_granted,
        pre_vote: wire.pre_vote,
    };
    (envelope!(wire), Response::RequestVote(response))
}

pub(super) fn forward_to_wire(
    envelope: Envelope,
    id: u64,
    timeout_ms: u64,
    request: ForwardRequest,
) -> v1::ForwardRequest {
    use v1::forward_request::Request;
    let request = match request {
        ForwardRequest::Write(command) => Request::Command(command),
        ForwardRequest::ReadIndex => Request::ReadIndex(v1::ReadIndexRequest {}),
    };
    v1::ForwardRequest {
        cluster_id: envelope.cluster.get(),
        from: envelope.from.get(),
        to: envelope.to.get(),
        incarnation: envelope.incarnation,
        id,
        timeout_ms,
        request: Some(request),
    }
}

pub(super) fn forward_response_to_wire(
    id: u64,
    result: Result<ForwardResponse, RequestError>,
) -> v1::ForwardResponse {
    use v1::forward_response::Response;
    let response = match result {
        Ok(ForwardResponse::Applied { id, outcome }) => Response::Applied(applied_to_wire(id, outcome)),
        Ok(ForwardResponse::ReadAt(index)) => {
            Response::ReadIndex(v1::ReadIndexResponse { index: index.get() })
        }
        Err(error) => Response::Error(forward_error_to_wire(&error)),
    };
    v1::ForwardResponse { id, response: Some(response) }
}

fn applied_to_wire(id: EntryId, outcome: Outcome) -> v1::Applied {
    let mut wire = v1::Applied {
        term: id.term.get(),
        index: id.index.get(),
        revision: outcome.revision.get(),
        ..Default::default()
    };
    match outcome.effect {
        Effect::Set { prev } => {
            wire.effect = v1::applied::Effect::Set.into();
            wire.prev = prev.map(versioned_to_wire);
        }
        Effect::Deleted { prev } => {
            wire.effect = v1::applied::Effect::Deleted.into();
            wire.deleted = u64::from(prev.is_some());
            wire.prev = prev.map(versioned_to_wire);
        }
        Effect::ConditionFailed { found } => {
            wire.effect = v1::applied::Effect::ConditionFailed.into();
            wire.found_mod_revision = found.get();
        }
    }
    wire
}

fn versioned_to_wire(stored: Versioned) -> v1::Versioned {
    v1::Versioned {
        value: stored.value,
        create_revision: stored.create_revision.get(),
        mod_revision: stored.mod_revision.get(),
        version: stored.version,
    }
}

fn forward_error_to_wire(error: &RequestError) -> v1::ForwardError {
    use v1::forward_error::Reason;
    let mut leader_id = 0;
    let reason = match error {
        RequestError::NotLeader { leader, .. } => {
            leader_id = leader.map_or(0, NodeId::get);
            Reason::NotLeader
        }
        RequestError::Overloaded { .. } | RequestError::LeaderOverloaded(_) => Reason::Overloaded,
        RequestError::DiskFull { .. } => Reason::DiskFull,
        RequestError::Replaced => Reason::Replaced,
        RequestError::Refused(_) => Reason::Invalid,
        RequestError::NoLeader { .. }
        | RequestError::ReadTimedOut { .. }
        | RequestError::ReadBehind { .. } => Reason::Expired,
        RequestError::UnknownOutcome { .. } => Reason::UnknownOutcome,
        RequestError::ShuttingDown => Reason::ShuttingDown,
    };
    v1::ForwardError { reason: reason.into(), message: error.to_string(), leader_id }
}

/// The end of a stream of forwarded requests whose node has stopped in order: it has answered every request that it
/// took, and this comes after the last of those responses.
pub(super) fn took_no_more() -> Status {
    let message = "the node is shutting down: it did not take what it has not answered";
    let mut status = Status::unavailable(message);
    status.metadata_mut().insert(OUTCOME, MetadataValue::from_static(NOT_APPLIED));
    status
}

/// Whether a stream of forwarded requests ended like that.
pub(super) fn is_took_no_more(status: &Status) -> bool {
    status.metadata().get(OUTCOME).is_some_and(|outcome| outcome == NOT_APPLIED)
}

/// The result of a request forwarded to the node with the name `leader`.
pub(super) fn forward_response_from_wire(
    wire: v1::ForwardResponse,
    leader: &str,
) -> Result<ForwardResponse, ForwardFailure> {
    use v1::forward_response::Response;
    match wire.response {
        Some(Response::Applied(applied)) => applied_from_wire(applied),
        Some(Response::ReadIndex(read)) => Ok(ForwardResponse::ReadAt(LogIndex::new(read.index))),
        Some(Response::Error(error)) => Err(forward_failure(&error, leader)),
        None => Err(lost("the leader's response is unknown to this version: upgrade this node")),
    }
}

fn applied_from_wire(applied: v1::Applied) -> Result<ForwardResponse, ForwardFailure> {
    let prev = applied.prev.map(|stored| Versioned {
        value: stored.value,
        create_revision: Revision::new(stored.create_revision),
        mod_revision: Revision::new(stored.mod_revision),
        version: stored.version,
    });
    let effect = match v1::applied::Effect::try_from(applied.effect) {
        Ok(v1::applied::Effect::Set) => Effect::Set { prev },
        Ok(v1::applied::Effect::Deleted) => Effect::Deleted { prev },
        Ok(v1::applied::Effect::ConditionFailed) => {
            Effect::ConditionFailed { found: Revision::new(applied.found_mod_revision) }
        }
        Ok(v1::applied::Effect::Unspecified) | Err(_) => {
            return Err(lost("the leader's response has an effect unknown to this version: upgrade"));
        }
    };
    let outcome = Outcome { revision: Revision::new(applied.revision), effect };
    Ok(ForwardResponse::Applied { id: entry_id(applied.term, applied.index), outcome })
}

fn forward_failure(error: &v1::ForwardError, leader: &str) -> ForwardFailure {
    use v1::forward_error::Reason;
    match Reason::try_from(error.reason) {
        // It was not taken, and another node may lead soon.
        Ok(Reason::NotLeader | Reason::ShuttingDown) => ForwardFailure::NotTaken,
        Ok(Reason::DiskFull) => ForwardFailure::Refused(RequestError::DiskFull { node: leader.to_owned() }),
        Ok(Reason::Replaced) => ForwardFailure::Refused(RequestError::Replaced),
        Ok(Reason::Overloaded) => {
            ForwardFailure::Refused(RequestError::LeaderOverloaded(error.message.clone()))
        }
        Ok(Reason::Invalid | Reason::Expired) => {
            ForwardFailure::Refused(RequestError::Refused(error.message.clone()))
        }
        Ok(Reason::UnknownOutcome | Reason::Unspecified) | Err(_) => lost(&error.message),
    }
}

fn lost(reason: &str) -> ForwardFailure {
    ForwardFailure::Lost { reason: reason.to_owned() }
}

fn entry_id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}
