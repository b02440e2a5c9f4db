//! Where requests go: into the log, to the leader, or straight to the map.
//!
//! Every request except a serializable read is parked first. At the end of each turn all parked requests move
//! on together. On the leader, writes become one batch and reads share one confirmation. Elsewhere they go to
//! the leader, one hop. Without a leader they stay parked until there is one, or until they time out. While the leader
//! takes nothing, one write a tick finds out when it does again.

use std::collections::BTreeSet;

use lograft_kv::{KeyValue, Outcome};
use lograft_raft::{Input, ReadOutcome};
use lograft_types::{EntryId, EntryKind, LogIndex, NodeId, mark};

use super::credit::{self, Admission};
use super::event::{
    ClientToken, Effects, Forward, ForwardFailure, ForwardId, ForwardRequest, ForwardResponse, ForwardToken,
};
use super::request::{ClientRequest, ClientResponse, Consistency, RequestError, ResponseBody};
use super::waiting::{ForwardedFor, Operation, Origin, Read, Stage, Waiter, WaiterId};
use super::{Carried, Node};

/// How many confirmations may be under way at a time. A round that nobody waits for any more still counts: before a
/// leader's first entry is committed, no round ends.
///
/// 1024: a round for each turn of several round trips.
const MAX_READ_ROUNDS: usize = 1024;

/// Whether the leader takes what is forwarded to it.
///
/// A leader that is elected but not linked yet, or has lost its leadership unnoticed, hands everything back. Sending it
/// all that waits at each tick would keep both nodes busy for nothing.
#[derive(Debug, Default)]
pub(super) struct Forwarding {
    leader: Option<NodeId>,
    is_refused: bool,
    /// Since the last tick, a write was sent to a leader that had refused one.
    has_asked: bool,
}

impl Forwarding {
    /// How many writes may be sent to this leader now.
    fn writes(&mut self, to: NodeId) -> usize {
        if self.leader.replace(to) != Some(to) {
            self.is_refused = false;
        }
        if !self.is_refused {
            return usize::MAX;
        }
        mark!(LeaderAsked);
        usize::from(!std::mem::replace(&mut self.has_asked, true))
    }

    /// A forwarded request has a result.
    fn heard(&mut self, is_taken: bool) {
        self.is_refused = !is_taken;
    }

    fn tick(&mut self) {
        self.has_asked = false;
    }
}

impl Node {
    pub(super) fn on_client(
        &mut self,
        token: ClientToken,
        request: ClientRequest,
        timeout_ms: u64,
        effects: &mut Effects,
    ) {
        let (read, consistency) = match request {
            ClientRequest::Write(command) => {
                let operation = Operation::Write { payload: command.encode(), origin: Origin::Client(token) };
                self.waiting.park(operation, timeout_ms);
                return;
            }
            ClientRequest::Get { key, consistency } => (Read::Get(key), consistency),
            ClientRequest::List(list) => {
                let consistency = list.consistency;
                (Read::List(list), consistency)
            }
            ClientRequest::Barrier => (Read::Barrier, Consistency::Linearizable),
        };
        match consistency {
            Consistency::Linearizable => self.waiting.park(Operation::Read { read, token }, timeout_ms),
            // A List may take a while: not all of them are served in one turn.
            Consistency::Serializable if matches!(read, Read::List(_)) => {
                self.waiting.read_soon(Operation::Read { read, token }, timeout_ms);
            }
            Consistency::Serializable => {
                effects.client_responses.push((token, Ok(self.read(&read))));
            }
        }
    }

    pub(super) fn on_forwarded(
        &mut self,
        token: ForwardToken,
        request: ForwardRequest,
        timeout_ms: u64,
        effects: &mut Effects,
    ) {
        // One hop: a node that does not lead says so, and the sender finds out who does.
        if !self.raft.is_leader() {
            effects.forward_responses.push((token, Err(self.not_leader())));
            return;
        }
        let operation = match request {
            ForwardRequest::Write(payload) => Operation::Write { payload, origin: Origin::Peer(token) },
            ForwardRequest::ReadIndex => Operation::ReadIndex { token },
        };
        self.peers_wait = true;
        self.waiting.park(operation, timeout_ms);
    }

    /// Moves all parked requests on.
    pub(super) fn dispatch(&mut self, effects: &mut Effects) {
        if self.raft.is_leader() {
            self.propose_parked(effects);
            self.confirm_parked(effects);
        } else {
            if std::mem::take(&mut self.peers_wait) {
                self.turn_away_peers(effects);
            }
            if let Some(leader) = self.raft.leader() {
                self.forward_parked(leader, effects);
            }
        }
    }

    /// The writes of this turn become one batch, as far as the credit goes.
    fn propose_parked(&mut self, effects: &mut Effects) {
        let mut left_bytes = self.credit.available_bytes();
        let mut waiters = Vec::new();
        let mut payloads = Vec::new();
        let mut refused = Vec::new();
        for (id, waiter) in self.waiting.parked_writes() {
            let Operation::Write { payload, .. } = &waiter.operation else { continue };
            let cost = credit::cost(EntryKind::Normal, payload);
            match self.credit.admit(cost, left_bytes) {
                Admission::Now => {
                    left_bytes -= cost;
                    waiters.push(id);
                    payloads.push(payload.clone());
                }
                Admission::Soon => break,
                Admission::Later => {}
                Admission::Never => refused.push(id),
            }
        }
        for waiter in refused {
            mark!(LogFull);
            let error = RequestError::DiskFull { node: self.name.clone() };
            self.fail(waiter, error, effects);
        }
        if payloads.is_empty() {
            return;
        }
        let first = EntryId::new(self.raft.term(), self.raft.last().index.next());
        for (waiter, place) in waiters.into_iter().zip(0..) {
            self.waiting.proposed(waiter, EntryId::new(first.term, first.index.plus(place)));
        }
        let sizes_bytes = payloads.iter().map(size_of_payload).collect();
        self.step(Input::Propose { sizes_bytes }, Carried::Proposals(payloads), effects);
    }

    /// The linearizable reads of this turn share one confirmation of this node's leadership. While many are out, they
    /// stay parked and share a later one.
    fn confirm_parked(&mut self, effects: &mut Effects) {
        if self.raft.pending_reads() >= MAX_READ_ROUNDS {
            return;
        }
        let reads: BTreeSet<_> = self.waiting.parked_reads().map(|(id, _)| id).collect();
        if !reads.is_empty() {
            let id = self.waiting.confirm(reads);
            self.step(Input::Read { id }, Carried::Nothing, effects);
        }
    }

    /// This node no longer leads. Refuses what peers asked of it as the leader: it has had no effect, and never will.
    fn turn_away_peers(&mut self, effects: &mut Effects) {
        let parked = self.waiting.parked_writes().chain(self.waiting.parked_reads());
        let of_peers = parked.filter(|(_, waiter)| matches!(waiter.operation.origin(), Origin::Peer(_)));
        let of_peers: Vec<_> = of_peers.map(|(id, _)| id).collect();
        for waiter in of_peers {
            let error = self.not_leader();
            self.fail(waiter, error, effects);
        }
    }

    fn forward_parked(&mut self, to: NodeId, effects: &mut Effects) {
        let most = self.forwarding.writes(to);
        let parked = self.waiting.parked_writes().take(most);
        let writes: Vec<_> = parked
            .filter_map(|(id, waiter)| match &waiter.operation {
                Operation::Write { payload, .. } => Some((id, payload.clone(), self.waiting.left_ms(waiter))),
                Operation::Read { .. } | Operation::ReadIndex { .. } => None,
            })
            .collect();
        for (waiter, payload, timeout_ms) in writes {
            let id = self.waiting.forward(ForwardedFor::Write(waiter));
            effects.forwards.push(Forward { to, id, request: ForwardRequest::Write(payload), timeout_ms });
        }
        let left = self.waiting.parked_reads().map(|(_, waiter)| self.waiting.left_ms(waiter));
        if let Some(timeout_ms) = left.max() {
            let reads = self.waiting.parked_reads().map(|(id, _)| id).collect();
            let id = self.waiting.forward(ForwardedFor::Reads(reads));
            effects.forwards.push(Forward { to, id, request: ForwardRequest::ReadIndex, timeout_ms });
        }
    }

    pub(super) fn on_forward_done(
        &mut self,
        id: ForwardId,
        result: Result<ForwardResponse, ForwardFailure>,
        effects: &mut Effects,
    ) {
        self.forwarding.heard(result != Err(ForwardFailure::NotTaken));
        match self.waiting.take_forwarded(id) {
            Some(ForwardedFor::Write(waiter)) => self.on_write_forwarded(waiter, result, effects),
            Some(ForwardedFor::Reads(waiters)) => match result {
                Ok(ForwardResponse::ReadAt(index)) => self.waiting.apply_first(waiters, index),
                // A read has no effect: whatever happened, it may be sent again.
                Ok(ForwardResponse::Applied { .. }) | Err(_) => {
                    waiters.into_iter().for_each(|waiter| self.waiting.delay(waiter));
                }
            },
            None => {}
        }
    }

    fn on_write_forwarded(
        &mut self,
        waiter: WaiterId,
        result: Result<ForwardResponse, ForwardFailure>,
        effects: &mut Effects,
    ) {
        let applied: Result<(EntryId, Outcome), RequestError> = match result {
            Ok(ForwardResponse::Applied { id, outcome }) => Ok((id, outcome)),
            Err(ForwardFailure::NotTaken) => {
                mark!(AskedAgain);
                self.waiting.delay(waiter);
                return;
            }
            Err(ForwardFailure::Refused(error)) => Err(error),
            Err(ForwardFailure::Lost { reason }) => {
                mark!(ForwardLost);
                Err(RequestError::UnknownOutcome { reason })
            }
            Ok(ForwardResponse::ReadAt(_)) => {
                let reason = "the leader's response does not fit the request".to_owned();
                Err(RequestError::UnknownOutcome { reason })
            }
        };
        let Some(waiter) = self.waiting.finish(waiter) else { return };
        match applied {
            Ok((id, outcome)) => self.respond_applied(waiter.operation.origin(), id, outcome, effects),
            Err(error) => refuse(&waiter, error, effects),
        }
    }

    pub(super) fn on_read_outcome(&mut self, outcome: ReadOutcome, effects: &mut Effects) {
        match outcome {
            ReadOutcome::ReadAt { id, index } => {
                let mut local = BTreeSet::new();
                for waiter in self.waiting.take_confirming(id) {
                    match self.forward_token(waiter) {
                        Some(token) => {
                            self.waiting.finish(waiter);
                            effects.forward_responses.push((token, Ok(ForwardResponse::ReadAt(index))));
                        }
                        None => {
                            local.insert(waiter);
                        }
                    }
                }
                if !local.is_empty() {
                    self.waiting.apply_first(local, index);
                }
            }
            ReadOutcome::Lost { id } => {
                for waiter in self.waiting.take_confirming(id) {
                    if self.forward_token(waiter).is_some() {
                        let error = self.not_leader();
                        self.fail(waiter, error, effects);
                    } else {
                        self.waiting.delay(waiter);
                    }
                }
            }
        }
    }

    /// The peer's token, if this request waits for a read index on behalf of a peer.
    fn forward_token(&self, waiter: WaiterId) -> Option<ForwardToken> {
        match self.waiting.get(waiter)?.operation {
            Operation::ReadIndex { token } => Some(token),
            Operation::Read { .. } | Operation::Write { .. } => None,
        }
    }

    /// The map is fresh enough for this read. Returns how many keys it has listed.
    pub(super) fn answer_read(&mut self, waiter: WaiterId, effects: &mut Effects) -> usize {
        let Some(waiter) = self.waiting.finish(waiter) else { return 0 };
        let Operation::Read { read, token } = &waiter.operation else {
            unreachable!("only reads of this node's map wait for an index to be applied")
        };
        let response = self.read(read);
        let keys = match &response.body {
            ResponseBody::Listed(page) => page.items.len(),
            ResponseBody::Got(_) | ResponseBody::Applied(_) | ResponseBody::Reached => 0,
        };
        effects.client_responses.push((*token, Ok(response)));
        keys
    }

    fn read(&self, read: &Read) -> ClientResponse {
        let body = match read {
            Read::Get(key) => {
                let stored = self.store.get(key);
                ResponseBody::Got(stored.map(|stored| KeyValue { key: key.clone(), stored: stored.clone() }))
            }
            Read::List(list) => ResponseBody::Listed(self.store.list(
                &list.prefix,
                &list.start_after,
                list.limit,
                list.max_bytes,
                list.keys_only,
            )),
            Read::Barrier => ResponseBody::Reached,
        };
        ClientResponse { header: self.header(self.store.revision()), body }
    }

    /// Fails the requests that have timed out, each with what is known of its outcome.
    pub(super) fn expire(&mut self, effects: &mut Effects) {
        self.forwarding.tick();
        for waiter in self.waiting.tick() {
            let error = timed_out(&waiter, self.applied());
            refuse(&waiter, error, effects);
        }
    }

    /// The node stops: fails all waiting requests, each with what is known of its outcome.
    pub fn shut_down(&mut self) -> Effects {
        let mut effects = Effects::default();
        for waiter in self.waiting.finish_all() {
            refuse(&waiter, shut_down(&waiter), &mut effects);
        }
        effects
    }

    fn fail(&mut self, waiter: WaiterId, error: RequestError, effects: &mut Effects) {
        if let Some(waiter) = self.waiting.finish(waiter) {
            refuse(&waiter, error, effects);
        }
    }

    fn not_leader(&self) -> RequestError {
        RequestError::NotLeader { node: self.identity.node, leader: self.raft.leader() }
    }
}

/// Responds to a waiting request with an error.
pub(super) fn refuse(waiter: &Waiter, error: RequestError, effects: &mut Effects) {
    match waiter.operation.origin() {
        Origin::Client(token) => effects.client_responses.push((token, Err(error))),
        Origin::Peer(token) => effects.forward_responses.push((token, Err(error))),
    }
}

fn timed_out(waiter: &Waiter, applied: LogIndex) -> RequestError {
    let waited_ms = waiter.timeout_ms;
    if waiter.operation.is_read() {
        return match waiter.stage {
            Stage::Applying(_) => RequestError::ReadBehind { waited_ms, applied },
            Stage::Parked
            | Stage::Delayed
            | Stage::Proposed(_)
            | Stage::Forwarded(_)
            | Stage::Confirming(_) => RequestError::ReadTimedOut { waited_ms },
        };
    }
    match waiter.stage {
        Stage::Proposed(_) => {
            mark!(WriteExpired);
            let reason =
                format!("it is in the leader's log, but no majority confirmed it within {waited_ms} ms");
            RequestError::UnknownOutcome { reason }
        }
        Stage::Forwarded(_) => RequestError::UnknownOutcome {
            reason: format!("the leader did not respond within {waited_ms} ms"),
        },
        Stage::Parked | Stage::Delayed | Stage::Confirming(_) | Stage::Applying(_) => {
            RequestError::NoLeader { waited_ms }
        }
    }
}

fn shut_down(waiter: &Waiter) -> RequestError {
    match waiter.stage {
        Stage::Proposed(_) | Stage::Forwarded(_) if !waiter.operation.is_read() => {
            RequestError::UnknownOutcome { reason: "the node is shutting down".to_owned() }
        }
        Stage::Parked
        | Stage::Delayed
        | Stage::Proposed(_)
        | Stage::Forwarded(_)
        | Stage::Confirming(_)
        | Stage::Applying(_) => RequestError::ShuttingDown,
    }
}

fn size_of_payload(payload: &bytes::Bytes) -> u32 {
    u32::try_from(payload.len()).expect("payloads are checked where they enter")
}
