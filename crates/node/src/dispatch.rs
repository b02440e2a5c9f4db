//! Requests find their way: into the log, to the leader, or straight to the map.
//!
//! Every request is parked first. At the end of each turn all that is parked moves on together: on the leader writes
//! become one batch and reads share one confirmation; elsewhere they go to the leader, one hop; without a leader they
//! stay parked until there is one, or their time is over.

use lograft_kv::{KeyValue, Outcome};
use lograft_raft::{Input, ReadOutcome};
use lograft_types::{EntryId, LogIndex, NodeId, mark};

use super::event::{
    Effects, Forward, ForwardAnswer, ForwardFailure, ForwardId, ForwardedRequest, Replied, Token,
};
use super::request::{Answer, Consistency, Reply, Request, RequestError};
use super::waiting::{Asked, ForwardedFor, Origin, Read, Stage, Waiter};
use super::{Carried, Node, space};

impl Node {
    pub(super) fn on_client(
        &mut self,
        token: Token,
        request: Request,
        timeout_ms: u64,
        effects: &mut Effects,
    ) {
        let (read, consistency) = match request {
            Request::Write(command) => {
                self.waiting.park(token, Asked::Write(command.encode()), Origin::Client, timeout_ms);
                return;
            }
            Request::Get { key, consistency } => (Read::Get(key), consistency),
            Request::List(list) => {
                let consistency = list.consistency;
                (Read::List(list), consistency)
            }
            Request::Barrier => (Read::Barrier, Consistency::Linearizable),
        };
        match consistency {
            Consistency::Linearizable => {
                self.waiting.park(token, Asked::Read(read), Origin::Client, timeout_ms);
            }
            Consistency::Serializable => {
                let reply = self.read(&read);
                effects.replies.push((token, Replied::Client(Ok(self.read_answer(reply)))));
            }
        }
    }

    pub(super) fn on_forwarded(
        &mut self,
        token: Token,
        request: ForwardedRequest,
        timeout_ms: u64,
        effects: &mut Effects,
    ) {
        // One hop: whoever does not lead says so, and the sender finds out who does.
        if !self.raft.is_leader() {
            effects.replies.push((token, Replied::Forwarded(Err(self.not_leader()))));
            return;
        }
        let asked = match request {
            ForwardedRequest::Write(payload) => Asked::Write(payload),
            ForwardedRequest::ReadIndex => Asked::Read(Read::Index),
        };
        self.waiting.park(token, asked, Origin::Peer, timeout_ms);
    }

    /// Moves on all that is parked.
    pub(super) fn dispatch(&mut self, effects: &mut Effects) {
        if self.raft.is_leader() {
            self.propose_parked(effects);
            self.confirm_parked(effects);
        } else {
            self.turn_away_peers(effects);
            if let Some(leader) = self.raft.leader() {
                self.forward_parked(leader, effects);
            }
        }
    }

    /// Writes of this turn become one batch, as far as the log has room.
    fn propose_parked(&mut self, effects: &mut Effects) {
        let mut free_bytes = self.space.free_bytes();
        let mut tokens = Vec::new();
        let mut payloads = Vec::new();
        let mut refused = Vec::new();
        for (token, waiter) in self.waiting.parked() {
            let Asked::Write(payload) = &waiter.asked else { continue };
            let cost = space::payload_cost(payload);
            if cost <= free_bytes {
                free_bytes -= cost;
                tokens.push(token);
                payloads.push(payload.clone());
            } else if self.space.disk_full() {
                refused.push(token);
            } else {
                // The log is about to have room: nobody overtakes.
                break;
            }
        }
        for token in refused {
            mark!(LogFull);
            let error = RequestError::DiskFull { node: self.identity.node };
            self.fail(token, error, effects);
        }
        if payloads.is_empty() {
            return;
        }
        let first = EntryId::new(self.raft.term(), self.raft.last().index.next());
        for (token, place) in tokens.into_iter().zip(0..) {
            self.waiting.proposed(token, EntryId::new(first.term, first.index.plus(place)));
        }
        let sizes_bytes = payloads.iter().map(size_of_payload).collect();
        self.step(Input::Propose { sizes_bytes }, Carried::Proposals(payloads), effects);
    }

    /// Linearizable reads of this turn share one confirmation of this node's leadership.
    fn confirm_parked(&mut self, effects: &mut Effects) {
        let reads = self.parked_reads();
        if !reads.is_empty() {
            let id = self.waiting.confirm(reads);
            self.step(Input::Read { id }, Carried::Nothing, effects);
        }
    }

    fn parked_reads(&self) -> Vec<Token> {
        self.parked_where(|waiter| matches!(waiter.asked, Asked::Read(_)))
    }

    fn parked_where(&self, wanted: impl Fn(&Waiter) -> bool) -> Vec<Token> {
        let parked = self.waiting.parked().into_iter();
        parked.filter(|(_, waiter)| wanted(waiter)).map(|(token, _)| token).collect()
    }

    /// What peers asked of this node as the leader has had no effect yet, and never will.
    fn turn_away_peers(&mut self, effects: &mut Effects) {
        for token in self.parked_where(|waiter| waiter.origin == Origin::Peer) {
            let error = self.not_leader();
            self.fail(token, error, effects);
        }
    }

    fn forward_parked(&mut self, to: NodeId, effects: &mut Effects) {
        let parked = self.waiting.parked().into_iter();
        let writes: Vec<_> = parked
            .filter_map(|(token, waiter)| match &waiter.asked {
                Asked::Write(payload) => Some((token, payload.clone(), self.waiting.left_ms(waiter))),
                Asked::Read(_) => None,
            })
            .collect();
        for (token, payload, timeout_ms) in writes {
            let id = self.waiting.forward(ForwardedFor::Write(token));
            effects.forwards.push(Forward { to, id, request: ForwardedRequest::Write(payload), timeout_ms });
        }
        let reads = self.parked_reads();
        let waiters = reads.iter().filter_map(|token| self.waiting.get(*token));
        let left = waiters.map(|waiter| self.waiting.left_ms(waiter));
        if let Some(timeout_ms) = left.max() {
            let id = self.waiting.forward(ForwardedFor::Reads(reads));
            effects.forwards.push(Forward { to, id, request: ForwardedRequest::ReadIndex, timeout_ms });
        }
    }

    pub(super) fn on_forward_done(
        &mut self,
        id: ForwardId,
        result: Result<ForwardAnswer, ForwardFailure>,
        effects: &mut Effects,
    ) {
        match self.waiting.take_forwarded(id) {
            Some(ForwardedFor::Write(token)) => self.on_write_forwarded(token, result, effects),
            Some(ForwardedFor::Reads(tokens)) => match result {
                Ok(ForwardAnswer::ReadAt(index)) => self.waiting.apply_first(tokens, index),
                // A read has no effect: whatever happened, it may be asked again.
                Ok(ForwardAnswer::Applied { .. }) | Err(_) => {
                    tokens.into_iter().for_each(|token| self.waiting.delay(token));
                }
            },
            None => {}
        }
    }

    fn on_write_forwarded(
        &mut self,
        token: Token,
        result: Result<ForwardAnswer, ForwardFailure>,
        effects: &mut Effects,
    ) {
        let answer: Result<(EntryId, Outcome), RequestError> = match result {
            Ok(ForwardAnswer::Applied { id, outcome }) => Ok((id, outcome)),
            Err(ForwardFailure::NotTaken) => {
                mark!(AskedAgain);
                self.waiting.delay(token);
                return;
            }
            Err(ForwardFailure::Refused(error)) => Err(error),
            Err(ForwardFailure::Lost { reason }) => {
                mark!(ForwardLost);
                Err(RequestError::UnknownOutcome { reason })
            }
            Ok(ForwardAnswer::ReadAt(_)) => {
                let reason = "the leader answered something else than was asked".to_owned();
                Err(RequestError::UnknownOutcome { reason })
            }
        };
        let Some(waiter) = self.waiting.finish(token) else { return };
        let id = answer.as_ref().map_or(EntryId::ORIGIN, |(id, _)| *id);
        self.reply_write(token, &waiter, id, answer.map(|(_, outcome)| outcome), effects);
    }

    pub(super) fn on_read_outcome(&mut self, outcome: ReadOutcome, effects: &mut Effects) {
        match outcome {
            ReadOutcome::ReadAt { id, index } => {
                let (indexes, local): (Vec<_>, Vec<_>) = self
                    .waiting
                    .take_confirming(id)
                    .into_iter()
                    .partition(|token| self.asks_for_index(*token));
                for token in indexes {
                    self.waiting.finish(token);
                    effects.replies.push((token, Replied::Forwarded(Ok(ForwardAnswer::ReadAt(index)))));
                }
                if !local.is_empty() {
                    self.waiting.apply_first(local, index);
                }
            }
            ReadOutcome::Lost { id } => {
                for token in self.waiting.take_confirming(id) {
                    if self.asks_for_index(token) {
                        let error = self.not_leader();
                        self.fail(token, error, effects);
                    } else {
                        self.waiting.delay(token);
                    }
                }
            }
        }
    }

    fn asks_for_index(&self, token: Token) -> bool {
        self.waiting.get(token).is_some_and(|waiter| matches!(waiter.asked, Asked::Read(Read::Index)))
    }

    /// The map is fresh enough for this read.
    pub(super) fn answer_read(&mut self, token: Token, effects: &mut Effects) {
        let Some(waiter) = self.waiting.finish(token) else { return };
        let Asked::Read(read) = &waiter.asked else { unreachable!("only reads wait for an index") };
        let reply = self.read(read);
        effects.replies.push((token, Replied::Client(Ok(self.read_answer(reply)))));
    }

    fn read(&self, read: &Read) -> Reply {
        match read {
            Read::Get(key) => {
                let stored = self.store.get(key);
                Reply::Got(stored.map(|stored| KeyValue { key: key.clone(), stored: stored.clone() }))
            }
            Read::List(list) => Reply::Listed(self.store.list(
                &list.prefix,
                &list.start_after,
                list.limit,
                list.max_bytes,
                list.keys_only,
            )),
            Read::Barrier | Read::Index => Reply::Reached,
        }
    }

    fn read_answer(&self, reply: Reply) -> Answer {
        Answer { header: self.header(self.store.revision()), reply }
    }

    /// Answers what has waited for too long, each by what is known of it.
    pub(super) fn expire(&mut self, effects: &mut Effects) {
        for (token, waiter) in self.waiting.tick() {
            let error = timed_out(&waiter, self.applied());
            effects.replies.push((token, refusal(&waiter, error)));
        }
    }

    /// The node stops: answers all that waits, each by what is known of it.
    pub fn shut_down(&mut self) -> Vec<(Token, Replied)> {
        let waiting = self.waiting.finish_all().into_iter();
        waiting.map(|(token, waiter)| (token, refusal(&waiter, shut_down(&waiter)))).collect()
    }

    fn fail(&mut self, token: Token, error: RequestError, effects: &mut Effects) {
        if let Some(waiter) = self.waiting.finish(token) {
            effects.replies.push((token, refusal(&waiter, error)));
        }
    }

    fn not_leader(&self) -> RequestError {
        RequestError::NotLeader { node: self.identity.node, leader: self.raft.leader() }
    }
}

fn refusal(waiter: &Waiter, error: RequestError) -> Replied {
    match waiter.origin {
        Origin::Client => Replied::Client(Err(error)),
        Origin::Peer => Replied::Forwarded(Err(error)),
    }
}

fn timed_out(waiter: &Waiter, applied: LogIndex) -> RequestError {
    let waited_ms = waiter.timeout_ms;
    match (&waiter.asked, waiter.stage) {
        (Asked::Read(_), Stage::Applying) => RequestError::ReadBehind { waited_ms, applied },
        (Asked::Read(_), _) => RequestError::ReadTimedOut { waited_ms },
        (Asked::Write(_), Stage::Proposed(_)) => {
            mark!(WriteExpired);
            let reason =
                format!("it is in the leader's log, and no majority confirmed it within {waited_ms} ms");
            RequestError::UnknownOutcome { reason }
        }
        (Asked::Write(_), Stage::Forwarded) => RequestError::UnknownOutcome {
            reason: format!("the leader did not answer within {waited_ms} ms"),
        },
        (Asked::Write(_), Stage::Parked | Stage::Delayed | Stage::Confirming | Stage::Applying) => {
            RequestError::NoLeader { waited_ms }
        }
    }
}

fn shut_down(waiter: &Waiter) -> RequestError {
    match (&waiter.asked, waiter.stage) {
        (Asked::Write(_), Stage::Proposed(_) | Stage::Forwarded) => {
            RequestError::UnknownOutcome { reason: "the node is shutting down".to_owned() }
        }
        (Asked::Write(_) | Asked::Read(_), _) => RequestError::ShuttingDown,
    }
}

fn size_of_payload(payload: &bytes::Bytes) -> u32 {
    u32::try_from(payload.len()).expect("payloads are checked where they enter")
}
