//! The synchronous node, driven by hand: n1 of three, or alone.

use bytes::Bytes;
use lograft_kv::Command;
use lograft_raft::{AppendEntriesResponse, AppendResult, RequestVoteResponse, Response};
use lograft_types::{ClusterId, HardState, Revision, Term, WriteSeq};

use super::*;

pub(super) const N1: NodeId = NodeId::new(1);
pub(super) const N2: NodeId = NodeId::new(2);
pub(super) const N3: NodeId = NodeId::new(3);
pub(super) const CLUSTER: ClusterId = ClusterId::new(77);
pub(super) const PLENTY: u64 = 1 << 20;

/// A node, and the effects that its surroundings have collected.
pub(super) struct Bench {
    pub(super) node: Node,
    pub(super) report: LogReport,
    pub(super) tokens: u64,
    pub(super) reply_tos: u64,
    pub(super) client_responses: Vec<(ClientToken, Result<ClientResponse, RequestError>)>,
    pub(super) forward_responses: Vec<(ForwardToken, Result<ForwardResponse, RequestError>)>,
    pub(super) peer_responses: Vec<PeerResponse>,
    pub(super) messages: Vec<(NodeId, PeerMessage)>,
    pub(super) forwards: Vec<Forward>,
    pub(super) writes: Vec<LogWrite>,
    pub(super) load: Option<Load>,
    pub(super) wanted_credit_bytes: Option<u64>,
    pub(super) unfinished: bool,
    pub(super) halt: Option<HaltReason>,
}

impl Bench {
    pub(super) fn of(members: &[NodeId]) -> Self {
        let recovered = recovered(0, &[]);
        Self::recovered(members, &recovered, Limits::default())
    }

    pub(super) fn recovered(members: &[NodeId], recovered: &Recovered, limits: Limits) -> Self {
        let member = |id: &NodeId| Member { id: *id, name: format!("n{}", id.get()), peer_urls: Vec::new() };
        let config = NodeConfig {
            identity: Identity { cluster: CLUSTER, node: N1 },
            name: "n1".to_owned(),
            client_urls: Vec::new(),
            members: members.iter().map(member).collect(),
            limits,
            raft: raft::Config::new(N1),
            tick_ms: 10,
            seed: 7,
        };
        let report = LogReport {
            persisted: WriteSeq::ZERO,
            credit_bytes: PLENTY,
            disk_full: false,
            denials: 0,
            log_size_bytes: 0,
            failed: None,
        };
        Self {
            node: Node::new(config, recovered, &report),
            report,
            tokens: 0,
            reply_tos: 0,
            client_responses: Vec::new(),
            forward_responses: Vec::new(),
            peer_responses: Vec::new(),
            messages: Vec::new(),
            forwards: Vec::new(),
            writes: Vec::new(),
            load: None,
            wanted_credit_bytes: None,
            unfinished: false,
            halt: None,
        }
    }

    pub(super) fn turn(&mut self, events: impl IntoIterator<Item = Event>) {
        let effects = self.node.turn(events);
        self.client_responses.extend(effects.client_responses);
        self.forward_responses.extend(effects.forward_responses);
        self.peer_responses.extend(effects.peer_responses);
        self.messages.extend(effects.messages);
        self.forwards.extend(effects.forwards);
        self.writes.extend(effects.writes);
        self.load = effects.load.or(self.load);
        self.wanted_credit_bytes = effects.wanted_credit_bytes.or(self.wanted_credit_bytes);
        self.unfinished = effects.unfinished;
        self.halt = effects.halt.or(self.halt.take());
    }

    /// The log flushes everything that it was given.
    pub(super) fn persist(&mut self) {
        if let Some(last) = self.writes.last() {
            self.report.persisted = last.seq;
        }
        self.turn([Event::Log(self.report.clone())]);
    }

    pub(super) fn room(&mut self, credit_bytes: u64, disk_full: bool) {
        self.report.credit_bytes = credit_bytes;
        self.report.disk_full = disk_full;
        self.turn([Event::Log(self.report.clone())]);
    }

    pub(super) fn ticks(&mut self, count: u32) {
        (0..count).for_each(|_| self.turn([Event::Tick]));
    }

    pub(super) fn ask(&mut self, request: ClientRequest) -> ClientToken {
        let token = self.token();
        self.turn([Event::Client { token, request, timeout_ms: 5000 }]);
        token
    }

    pub(super) fn token(&mut self) -> ClientToken {
        self.tokens += 1;
        ClientToken(self.tokens)
    }

    pub(super) fn response_to(&self, token: ClientToken) -> Option<&Result<ClientResponse, RequestError>> {
        let mut responses = self.client_responses.iter().filter(|(answered, _)| *answered == token);
        let response = responses.next().map(|(_, response)| response);
        assert!(responses.next().is_none(), "a request is answered once");
        response
    }

    pub(super) fn applied(&self, token: ClientToken) -> Option<Revision> {
        match self.response_to(token)? {
            Ok(ClientResponse { header, body: ResponseBody::Applied(_) }) => Some(header.revision),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn error(&self, token: ClientToken) -> Option<&RequestError> {
        Some(self.response_to(token)?.as_ref().expect_err("it failed"))
    }

    /// A peer sends a request. Returns the refusal, if it was refused.
    pub(super) fn peer(&mut self, from: NodeId, request: PeerRequest) -> Option<Refusal> {
        self.peer_in(Envelope { cluster: CLUSTER, from, to: N1, incarnation: 0 }, request)
    }

    pub(super) fn peer_in(&mut self, envelope: Envelope, request: PeerRequest) -> Option<Refusal> {
        self.reply_tos += 1;
        let reply_to = ReplyTo(self.reply_tos);
        self.turn([Event::PeerRequest { envelope, reply_to, request }]);
        let response = self.peer_responses.iter().find(|response| response.reply_to == reply_to);
        response.and_then(|response| response.result.clone().err())
    }

    pub(super) fn respond(&mut self, from: NodeId, response: Response) {
        let envelope = Envelope { cluster: CLUSTER, from, to: N1, incarnation: 0 };
        self.turn([Event::PeerResponse { envelope, response }]);
    }

    /// n1 is elected with the vote of n2, and its first entry is committed.
    pub(super) fn elect(&mut self) {
        self.elect_without_commit();
        self.acknowledge(N2);
        self.ticks(1);
    }

    /// n1 is elected with the vote of n2.
    pub(super) fn elect_without_commit(&mut self) {
        let term = self.ask_for_votes();
        let elected = RequestVoteResponse { term, granted: true, pre_vote: false };
        self.respond(N2, Response::RequestVote(elected));
        assert!(self.node.raft().is_leader());
        self.persist();
    }

    /// n1 has the pre-vote of n2, and asks for votes in the term returned.
    pub(super) fn ask_for_votes(&mut self) -> Term {
        self.ticks(160);
        self.persist();
        let term = self.asked_for_a_vote(true);
        let pre_vote = RequestVoteResponse { term, granted: true, pre_vote: true };
        self.respond(N2, Response::RequestVote(pre_vote));
        self.persist();
        self.asked_for_a_vote(false)
    }

    fn asked_for_a_vote(&mut self, pre_vote: bool) -> Term {
        let asked = self.messages.drain(..).rev().find_map(|(_, message)| match message {
            PeerMessage::Vote(vote) if vote.pre_vote == pre_vote => Some(vote),
            _ => None,
        });
        asked.expect("n1 asked for a vote").term
    }

    /// A peer acknowledges all the entries in the last request from n1.
    pub(super) fn acknowledge(&mut self, from: NodeId) {
        let request = self.last_request(from, |_| true);
        let match_index = request.entries.last().map_or(request.prev.index, |meta| meta.id.index);
        self.respond_matched(from, &request, match_index);
    }

    /// A peer has everything that n1 has, and says so in response to the last request.
    pub(super) fn acknowledge_everything(&mut self, from: NodeId) {
        let request = self.last_request(from, |_| true);
        self.respond_matched(from, &request, self.node.raft().last().index);
    }

    /// A peer answers the last heartbeat, and acknowledges nothing more than it did before.
    pub(super) fn acknowledge_heartbeat(&mut self, from: NodeId) {
        let request = self.last_request(from, |message| matches!(message, PeerMessage::Heartbeat(_)));
        self.respond_matched(from, &request, request.prev.index);
    }

    /// A peer's log lacks what the last request follows; `conflict` is its own entry.
    pub(super) fn conflict(&mut self, from: NodeId, conflict: EntryId) {
        let request = self.last_request(from, |_| true);
        self.respond_to(from, &request, AppendResult::Conflict { conflict });
    }

    fn last_request(&self, to: NodeId, wanted: impl Fn(&PeerMessage) -> bool) -> raft::AppendEntries {
        let last_request = self.messages.iter().rev().find_map(|(sent_to, message)| match message {
            PeerMessage::Append { request, .. } | PeerMessage::Heartbeat(request)
                if *sent_to == to && wanted(message) =>
            {
                Some(request)
            }
            _ => None,
        });
        last_request.expect("the leader has sent a request").clone()
    }

    fn respond_matched(&mut self, from: NodeId, request: &raft::AppendEntries, match_index: LogIndex) {
        self.respond_to(from, request, AppendResult::Matched { match_index });
    }

    fn respond_to(&mut self, from: NodeId, request: &raft::AppendEntries, result: AppendResult) {
        let response = Response::AppendEntries(AppendEntriesResponse {
            term: request.term,
            request_id: request.request_id,
            read_round: request.read_round,
            result,
        });
        self.respond(from, response);
    }
}

/// What recovery returns for a log with these entries.
pub(super) fn recovered(term: u64, entries: &[Entry]) -> Recovered {
    Recovered {
        hard_state: HardState { term: Term::new(term), vote: None },
        log_start: EntryId::ORIGIN,
        entries: entries.iter().map(peer::meta).collect(),
        next_write: WriteSeq::ZERO.next(),
        repaired: None,
    }
}

pub(super) fn alone() -> Bench {
    let mut bench = Bench::of(&[N1]);
    bench.ticks(160);
    bench.persist();
    bench.persist();
    assert!(bench.node.raft().is_leader());
    bench
}

pub(super) fn of_three() -> Bench {
    Bench::of(&[N1, N2, N3])
}

pub(super) fn set(key: &str, value: &str) -> ClientRequest {
    ClientRequest::Write(Command::Set {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        if_mod_revision: None,
    })
}

pub(super) fn get(key: &'static str, consistency: Consistency) -> ClientRequest {
    ClientRequest::Get { key: Bytes::from_static(key.as_bytes()), consistency }
}

pub(super) fn payload(key: &str, value: &str) -> Bytes {
    let ClientRequest::Write(command) = set(key, value) else { unreachable!() };
    command.encode()
}

pub(super) fn entry(term: u64, index: u64, payload: Bytes) -> Entry {
    Entry { id: EntryId::new(Term::new(term), LogIndex::new(index)), kind: EntryKind::Normal, payload }
}

pub(super) fn append(
    leader: NodeId,
    term: u64,
    prev: (u64, u64),
    entries: Vec<Entry>,
    commit: u64,
) -> PeerRequest {
    PeerRequest::Append(AppendRequest {
        term: Term::new(term),
        leader,
        prev: EntryId::new(Term::new(prev.0), LogIndex::new(prev.1)),
        entries,
        commit: LogIndex::new(commit),
        request_id: 1,
        read_round: 0,
    })
}
