//! For `tests/fuzz`: any bytes as the history of a node among peers that need not be honest.
//!
//! Every message from a peer is checked where it enters; after that check, none may make a node panic. One
//! that contradicts Raft makes it halt. Whatever peers say, the node keeps its own promises: what it
//! acknowledges is durable, it votes once per term, and an entry that it took for committed stays.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use lograft_fuzzing::{Choices as _, Unstructured};
use lograft_kv::Command;
use lograft_raft::{AppendEntriesResponse, AppendResult, RequestVote, RequestVoteResponse, Response};
use lograft_types::{ClusterId, HardState, Term, WriteSeq};

use super::*;

const SELF: NodeId = NodeId::new(1);
const CLUSTER: ClusterId = ClusterId::new(77);
/// The most steps in one life.
const MAX_STEPS: u32 = 200;
/// Short, so that few bytes elect a leader.
const ELECTION_TIMEOUT_TICKS: u32 = 8;

/// Any life of a node. Returns how it ended.
pub fn node(bytes: &[u8]) -> &'static str {
    let mut choices = Unstructured::new(bytes);
    let mut life = Life::begin(&mut choices);
    for _ in 0..MAX_STEPS {
        if choices.is_empty() {
            break;
        }
        let event = life.event(&mut choices);
        if !life.turn(event) {
            return "halted";
        }
    }
    life.node.raft.role().as_str()
}

/// A node and its surroundings.
struct Life {
    node: Node,
    report: LogReport,
    /// The writes that the log was given and has not flushed.
    unflushed: VecDeque<LogWrite>,
    /// The ids of the durable entries.
    durable: BTreeMap<LogIndex, EntryId>,
    durable_state: HardState,
    /// Including what was not flushed.
    hard_state: HardState,
    log: BTreeMap<LogIndex, Entry>,
    /// The last term whose leader replaced its own entries.
    contradicted: Option<Term>,
    load: Option<Load>,
    open: BTreeSet<u64>,
    forwarded: VecDeque<ForwardId>,
    asked: u64,
    /// By `reply_to`: who asked.
    peers_asked: BTreeMap<ReplyTo, NodeId>,
    /// The last request and round that each peer was sent.
    sent: BTreeMap<NodeId, (u64, u64)>,
}

impl Life {
    fn begin(choices: &mut Unstructured<'_>) -> Self {
        let count = 1 + u64::from(choices.byte() % 5);
        let member = |id| Member { id: NodeId::new(id), name: format!("n{id}"), peer_urls: Vec::new() };
        let config = NodeConfig {
            identity: Identity { cluster: CLUSTER, node: SELF },
            name: "n1".to_owned(),
            client_urls: Vec::new(),
            members: (1..=count).map(member).collect(),
            limits: Limits { entry_cache_bytes: 256, ..Limits::default() },
            raft: raft::Config {
                election_timeout_ticks: ELECTION_TIMEOUT_TICKS,
                heartbeat_ticks: 2,
                max_append_entries: 3,
                max_inflight_messages: 2,
                ..raft::Config::new(SELF)
            },
            tick_ms: 10,
            seed: u64::from(choices.byte()),
        };
        let recovered = Recovered {
            hard_state: HardState::default(),
            log_start: EntryId::ORIGIN,
            entries: Vec::new(),
            next_write: WriteSeq::new(1),
            repaired: None,
        };
        let report = LogReport {
            persisted: WriteSeq::ZERO,
            credit_bytes: 1 << 16,
            disk_full: false,
            denials: 0,
            log_size_bytes: 0,
            failed: None,
        };
        Self {
            node: Node::new(config, &recovered, &report),
            report,
            unflushed: VecDeque::new(),
            durable: BTreeMap::new(),
            durable_state: HardState::default(),
            hard_state: HardState::default(),
            log: BTreeMap::new(),
            contradicted: None,
            load: None,
            open: BTreeSet::new(),
            forwarded: VecDeque::new(),
            asked: 0,
            peers_asked: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }

    fn event(&mut self, choices: &mut Unstructured<'_>) -> Event {
        match choices.byte() % 16 {
            0 | 1 => Event::Tick,
            2 | 3 => self.flush(choices),
            4 => {
                self.report.disk_full = choices.byte() & 1 == 1;
                self.report.credit_bytes = u64::from(choices.u16());
                Event::Log(self.report.clone())
            }
            5 | 6 => self.append(choices),
            7 => self.vote(choices),
            8 | 9 => self.append_response(choices),
            10 => self.vote_response(choices),
            11 => {
                let (token, timeout_ms) = (ClientToken(self.token()), u64::from(choices.byte()));
                Event::Client { token, request: request(choices), timeout_ms }
            }
            12 => {
                let (token, timeout_ms) = (ForwardToken(self.token()), u64::from(choices.byte()));
                let is_read = choices.byte() & 1 == 1;
                let request =
                    if is_read { ForwardRequest::ReadIndex } else { ForwardRequest::Write(payload(choices)) };
                Event::Forwarded { token, request, timeout_ms }
            }
            13 => self.forward_done(choices),
            14 => self.loaded(choices),
            _ => match choices.byte() % 4 {
                0 => Event::StreamLost { from: peer(choices) },
                1 => Event::LinkLost { to: peer(choices) },
                2 => Event::Refused,
                _ => Event::Handshake {
                    from: peer(choices),
                    client_urls: vec!["http://127.0.0.1:1".to_owned()],
                },
            },
        }
    }

    fn token(&mut self) -> u64 {
        self.asked += 1;
        self.open.insert(self.asked);
        self.asked
    }

    /// Some of the unflushed writes become durable; with a choice of 0, all of them.
    fn flush(&mut self, choices: &mut Unstructured<'_>) -> Event {
        let all = self.unflushed.len();
        let count =
            Some(usize::from(choices.byte())).filter(|count| *count != 0).map_or(all, |count| count.min(all));
        for write in self.unflushed.drain(..count) {
            self.report.persisted = write.seq;
            self.durable_state = write.hard_state.unwrap_or(self.durable_state);
            for entry in &write.entries {
                drop(self.durable.split_off(&entry.id.index));
                self.durable.insert(entry.id.index, entry.id);
            }
        }
        Event::Log(self.report.clone())
    }

    fn append(&mut self, choices: &mut Unstructured<'_>) -> Event {
        let (from, last) = (peer(choices), self.node.raft.last());
        let term = choices.near(self.node.raft.term().get().max(1));
        let prev_index = LogIndex::new(choices.near(last.index.get()));
        let prev_term = self.node.raft.term_at(prev_index).unwrap_or(last.term);
        let prev = EntryId::new(Term::new(choices.near(prev_term.get())), prev_index);
        let mut entries = Vec::new();
        for place in 1..=u64::from(choices.byte() % 4) {
            let kind = [EntryKind::Normal, EntryKind::Normal, EntryKind::NoOp, EntryKind::Configuration];
            let kind = kind[usize::from(choices.byte()) % 4];
            let id = EntryId::new(
                Term::new(choices.near(term)),
                LogIndex::new(prev_index.get().wrapping_add(place)),
            );
            let payload = if kind == EntryKind::NoOp { Bytes::new() } else { payload(choices) };
            entries.push(Entry { id, kind, payload });
        }
        let commit = LogIndex::new(choices.near(self.node.commit.get()));
        let (request_id, read_round) = (u64::from(choices.byte()), u64::from(choices.byte()));
        let append = AppendRequest {
            term: Term::new(term),
            leader: from,
            prev,
            entries,
            commit,
            request_id,
            read_round,
        };
        self.peer_request(from, PeerRequest::Append(append))
    }

    fn vote(&mut self, choices: &mut Unstructured<'_>) -> Event {
        let from = peer(choices);
        let flags = choices.byte();
        let vote = RequestVote {
            term: Term::new(choices.near(self.node.raft.term().get() + 1)),
            last: EntryId::new(
                Term::new(choices.near(self.node.raft.last().term.get())),
                LogIndex::new(choices.near(self.node.raft.last().index.get())),
            ),
            pre_vote: flags & 1 == 1,
            leadership_transfer: flags & 2 == 2,
        };
        self.peer_request(from, PeerRequest::Vote { candidate: from, vote })
    }

    fn peer_request(&mut self, from: NodeId, request: PeerRequest) -> Event {
        self.asked += 1;
        let reply_to = ReplyTo(self.asked);
        self.peers_asked.insert(reply_to, from);
        Event::PeerRequest { envelope: envelope(from), reply_to, request }
    }

    fn append_response(&mut self, choices: &mut Unstructured<'_>) -> Event {
        let from = peer(choices);
        let (request_id, read_round) = self.sent.get(&from).copied().unwrap_or_default();
        let last = self.node.raft.last();
        let result = match choices.byte() % 4 {
            0 | 1 => AppendResult::Matched { match_index: LogIndex::new(choices.near(last.index.get())) },
            2 => AppendResult::Busy { match_index: LogIndex::new(choices.near(last.index.get())) },
            _ => AppendResult::Conflict {
                conflict: EntryId::new(
                    Term::new(choices.near(last.term.get())),
                    LogIndex::new(choices.near(last.index.get())),
                ),
            },
        };
        let response = AppendEntriesResponse {
            term: Term::new(choices.near(self.node.raft.term().get())),
            request_id: choices.near(request_id),
            read_round: choices.near(read_round),
            result,
        };
        Event::PeerResponse { envelope: envelope(from), response: Response::AppendEntries(response) }
    }

    fn vote_response(&mut self, choices: &mut Unstructured<'_>) -> Event {
        let from = peer(choices);
        let flags = choices.byte();
        let pre_vote = flags & 1 == 1;
        let response = RequestVoteResponse {
            term: Term::new(choices.near(self.node.raft.term().get() + u64::from(pre_vote))),
            granted: flags & 2 == 0,
            pre_vote,
        };
        Event::PeerResponse { envelope: envelope(from), response: Response::RequestVote(response) }
    }

    fn forward_done(&mut self, choices: &mut Unstructured<'_>) -> Event {
        let id = self.forwarded.pop_front().unwrap_or(ForwardId(u64::from(choices.byte())));
        let result = match choices.byte() % 5 {
            0 => Err(ForwardFailure::NotTaken),
            1 => Err(ForwardFailure::Lost { reason: "the link broke".to_owned() }),
            2 => Err(ForwardFailure::Refused(RequestError::Replaced)),
            3 => Ok(ForwardResponse::ReadAt(LogIndex::new(choices.near(self.node.commit.get())))),
            _ => {
                let prev = None;
                let revision = lograft_types::Revision::new(choices.near(1));
                let outcome = lograft_kv::Outcome { revision, effect: lograft_kv::Effect::Set { prev } };
                Ok(ForwardResponse::Applied { id: EntryId::ORIGIN, outcome })
            }
        };
        Event::ForwardDone { id, result }
    }

    /// The entries that the node has asked for, from the log.
    fn loaded(&mut self, choices: &mut Unstructured<'_>) -> Event {
        let Some(load) = self.load.take() else { return Event::Tick };
        if choices.byte() == 255 {
            return Event::Loaded { entries: Err("the disk is broken".to_owned()) };
        }
        let count = 1 + usize::from(choices.byte());
        let entries = self.log.range(load.first..=load.last).take(count).map(|(_, entry)| entry.clone());
        Event::Loaded { entries: Ok(entries.collect()) }
    }

    /// Runs one turn and checks its effects. Returns false if the node has halted.
    fn turn(&mut self, event: Event) -> bool {
        let (commit, applied, term) = (self.node.commit, self.node.applied(), self.node.raft.term());
        let effects = self.node.turn([event]);
        for write in effects.writes {
            self.take_write(write, commit);
        }
        for answer in effects.peer_responses {
            self.check_answer(answer);
        }
        let of_clients = effects.client_responses.iter().map(|(token, _)| token.0);
        for token in of_clients.chain(effects.forward_responses.iter().map(|(token, _)| token.0)) {
            assert!(self.open.remove(&token), "a request is answered once");
        }
        for (to, message) in effects.messages {
            if let PeerMessage::Heartbeat(request) | PeerMessage::Append { request, .. } = message {
                self.sent.insert(to, (request.request_id, request.read_round));
            }
        }
        self.forwarded.extend(effects.forwards.iter().map(|forward| forward.id));
        self.load = effects.load.or(self.load.take());
        if effects.halt.is_some() {
            return false;
        }
        assert!(
            self.node.commit >= commit && self.node.applied() >= applied && self.node.raft.term() >= term
        );
        assert!(self.node.applied() <= self.node.commit && self.node.commit <= self.node.raft.last().index);
        true
    }

    fn take_write(&mut self, write: LogWrite, commit: LogIndex) {
        if let Some(new) = write.hard_state {
            let old = self.hard_state;
            assert!(new.term >= old.term, "terms never go back");
            assert!(new.term > old.term || old.vote.is_none() || new.vote == old.vote, "one vote per term");
            self.hard_state = new;
        }
        for entry in &write.entries {
            assert!(entry.id.index > commit, "{} is committed", entry.id.index);
            let replaced = self.log.split_off(&entry.id.index);
            let term = self.hard_state.term;
            if replaced.values().any(|entry| entry.id.term == term) {
                self.contradicted = Some(term);
            }
            self.log.insert(entry.id.index, entry.clone());
        }
        self.unflushed.push_back(write);
    }

    /// A node acknowledges only what is durable.
    fn check_answer(&mut self, PeerResponse { reply_to, result }: PeerResponse) {
        let from = self.peers_asked.remove(&reply_to).expect("a peer is answered once");
        let Ok((to, response)) = result else { return };
        assert_eq!(to, from, "the response goes to the peer that asked");
        match response {
            Response::RequestVote(vote) if vote.granted && !vote.pre_vote => {
                let given = HardState { term: vote.term, vote: Some(from) };
                assert_eq!(self.durable_state, given, "a vote is durable before it is given");
            }
            Response::RequestVote(_) => {}
            Response::AppendEntries(append) => {
                assert!(append.term <= self.durable_state.term, "a term is used when it is durable");
                match append.result {
                    AppendResult::Matched { match_index } | AppendResult::Busy { match_index } => {
                        let is_durable =
                            match_index == LogIndex::ZERO || self.durable.contains_key(&match_index);
                        // Leaders only append (Raft §5.3): one that does not may get an acknowledgement of an
                        // entry that it has dropped.
                        let is_dropped = self.contradicted == Some(append.term);
                        assert!(
                            is_durable || is_dropped,
                            "entry {match_index} is acknowledged before it is durable"
                        );
                    }
                    AppendResult::Conflict { .. } => {}
                }
            }
        }
    }
}

/// A peer: a member, or a node that this one does not know.
fn peer(choices: &mut Unstructured<'_>) -> NodeId {
    NodeId::new(2 + u64::from(choices.byte() % 5))
}

fn envelope(from: NodeId) -> Envelope {
    Envelope { cluster: CLUSTER, from, to: SELF, incarnation: 0 }
}

/// Mostly a command.
fn payload(choices: &mut Unstructured<'_>) -> Bytes {
    match choices.byte() {
        255 => Bytes::copy_from_slice(choices.take(8)),
        shape => command(shape).encode(),
    }
}

fn command(shape: u8) -> Command {
    let key = Bytes::copy_from_slice(&[b'a' + shape % 4]);
    let if_mod_revision = (shape & 64 == 64).then(|| lograft_types::Revision::new(u64::from(shape & 7)));
    if shape & 32 == 32 {
        return Command::Delete { key, if_mod_revision };
    }
    Command::Set { key, value: Bytes::from(vec![shape; usize::from(shape)]), if_mod_revision }
}

fn request(choices: &mut Unstructured<'_>) -> ClientRequest {
    let shape = choices.byte();
    let consistency = if shape & 128 == 128 { Consistency::Serializable } else { Consistency::Linearizable };
    match shape % 4 {
        0 => ClientRequest::Write(command(choices.byte())),
        1 => ClientRequest::Get { key: Bytes::from_static(b"a"), consistency },
        2 => ClientRequest::List(ListRequest {
            prefix: Bytes::new(),
            start_after: Bytes::new(),
            limit: 3,
            max_bytes: 100,
            keys_only: false,
            consistency,
        }),
        _ => ClientRequest::Barrier,
    }
}

#[cfg(test)]
#[test]
fn corpus() {
    lograft_fuzzing::play("node", node, &["leader", "follower", "candidate", "pre-candidate", "halted"]);
}
