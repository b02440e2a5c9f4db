//! Carries out the effects of a node's turn, and checks them on their way out.

use lograft_node::{
    AppendRequest, ClientResponse, ClientToken, Effects, Envelope, Event, ForwardFailure, ForwardResponse,
    ForwardToken, Payloads, PeerMessage, PeerRequest, PeerResponse, RequestError,
};
use lograft_raft::{AppendEntries, Response};
use lograft_storage::LogError;
use lograft_types::{Entry, EntryKind, HardState, LogWrite, NodeId, Term, mark};

use super::{Append, Happening, Machine, World, place_of, role_number};
use crate::checks::{Checks, Leaving};
use crate::network::{Asker, Body, Packet};
use crate::scenario::ELECTION_US;
use crate::{Violation, ensure};

/// How many grants are kept, to arrive once more at the end.
const GRANTS_KEPT: usize = 30;

impl World<'_> {
    /// Carries out the effects of a turn that began in `term_before`.
    pub(super) fn carry_out(
        &mut self,
        at: usize,
        term_before: Term,
        effects: Effects,
    ) -> Result<(), Violation> {
        for write in effects.writes {
            self.hand_in(at, write)?;
        }
        if let Some(bytes) = effects.wanted_credit_bytes {
            self.machines[at].disk.want_credit(bytes);
            self.plan_flush(at);
        }
        self.check_turn(at)?;
        for (to, message) in effects.messages {
            self.checks.message_leaves(&message, self.leaving(at, term_before))?;
            self.send_message(at, place_of(to), message);
        }
        for answer in effects.peer_responses {
            self.send_response(at, term_before, answer)?;
        }
        for (token, result) in effects.client_responses {
            self.respond_to_client(at, token, &result)?;
        }
        for (token, result) in effects.forward_responses {
            self.respond_to_forward(at, token, result)?;
        }
        for forward in effects.forwards {
            let asker = Asker { node: at, life: self.machines[at].life, id: forward.id };
            self.awaited.insert(asker);
            if self.faults_are_on && self.timing.percent(3) {
                // The leader's queue was full.
                self.forward_done(asker, Err(ForwardFailure::NotTaken));
                continue;
            }
            let body = Body::Forward { asker, request: forward.request, timeout_ms: forward.timeout_ms };
            self.send(Packet { from: at, to: place_of(forward.to), body });
        }
        if let Some(load) = effects.load {
            let life = self.machines[at].life;
            let in_us = self.timing.below(2_000);
            self.plan(in_us, Happening::Load { at, life, load });
        }
        if effects.unfinished {
            self.plan_turn(at);
        }
        Ok(())
    }

    fn leaving(&self, at: usize, term_before: Term) -> Leaving<'_> {
        let Machine { identity, disk, .. } = &self.machines[at];
        Leaving { from: identity.node, term_before, durable: disk.durable() }
    }

    /// Hands a write to the log, which appends it later.
    fn hand_in(&mut self, at: usize, write: LogWrite) -> Result<(), Violation> {
        self.trace.note(self.now_us, || format!("n{} writes {write:?}", at + 1));
        if let Some(HardState { term, vote: Some(vote) }) = write.hard_state {
            let own = vote == self.machines[at].identity.node;
            ensure!(
                own || self.votes_asked.contains(&(at, vote, term)),
                "votes for {vote} in term {term} without a request"
            );
        }
        self.checks.writes(at, self.machines[at].disk.handed_in(), &write.entries)?;
        self.machines[at].disk.hand_in(write);
        self.plan_append(at);
        Ok(())
    }

    /// The log thread takes up what waits: soon, or after the flush that is under way, or after a long time.
    fn plan_append(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        if machine.append.is_some() {
            return;
        }
        if machine.flush_planned && self.timing.percent(50) {
            machine.append = Some(Append::AfterFlush);
            return;
        }
        machine.append = Some(Append::Planned);
        let life = machine.life;
        let is_long = self.faults_are_on && self.timing.percent(self.scenario.long_append_percent);
        let longest_us = if is_long { 2 * ELECTION_US } else { self.scenario.append_us };
        let longest_us = if self.faults_are_on { longest_us } else { longest_us.min(1_000) };
        let in_us = self.timing.below(longest_us + 1);
        self.plan(in_us, Happening::Append { at, life });
    }

    /// The log appends all that waits. Returns whether the node is still alive.
    pub(super) fn append(&mut self, at: usize) -> Result<bool, Violation> {
        self.machines[at].append = None;
        while let Some(write) = self.machines[at].disk.next_waiting() {
            if !self.append_one(at, &write)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn append_one(&mut self, at: usize, write: &LogWrite) -> Result<bool, Violation> {
        // The node hands in no more commands than the log's credit, even on a full disk.
        let has_commands = write.entries.iter().any(|entry| entry.kind == EntryKind::Normal);
        let machine = &mut self.machines[at];
        match machine.disk.append(write) {
            Ok(()) => {}
            // The reserve for votes is used up on a disk that stays full, or the flush of a full segment
            // failed. The process ends.
            Err(error)
                if (machine.disk_is_full && !has_commands && matches!(error, LogError::NoRoom { .. }))
                    || machine.disk_stops
                    || machine.flush_will_fail =>
            {
                self.note(|| format!("n{}: write {} fails: {error}", at + 1, write.seq));
                self.fall_after_log_failure(at)?;
                return Ok(false);
            }
            Err(error) => return Err(Violation::new(format!("write {write:?} failed: {error}"))),
        }
        self.note(|| format!("n{} has appended write {}", at + 1, write.seq));
        self.plan_flush(at);
        // A node that learns a new term from entries writes both at once: they must not be separated.
        let is_joint = write.hard_state.is_some() && !write.entries.is_empty();
        let has_rolled = self.machines[at].disk.has_rolled();
        for _ in 0..u64::from(is_joint) + u64::from(has_rolled) {
            if self.faults_are_on && self.mischief.percent(self.scenario.ambush_percent / 2) {
                let life = self.machines[at].life;
                let in_us = self.mischief.below(self.scenario.flush_us);
                self.plan(in_us, Happening::PowerCut { at, life });
            }
        }
        Ok(true)
    }

    pub(super) fn plan_flush(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        if !machine.flush_planned {
            machine.flush_planned = true;
            let life = machine.life;
            let slower = if machine.disk_is_slow { 30 } else { 1 };
            let stall_us = std::mem::take(&mut machine.flush_stall_us);
            // After the faults end the disks are fast: no election is won if a flush outlasts it.
            let longest_us = if self.faults_are_on { self.scenario.flush_us * slower } else { 1_000 };
            let in_us = stall_us + self.timing.between(80, longest_us);
            self.plan(in_us, Happening::Flush { at, life });
        }
    }

    fn check_turn(&mut self, at: usize) -> Result<(), Violation> {
        let disks: Vec<_> = self.machines.iter().map(|machine| &machine.disk).collect();
        let machine = &self.machines[at];
        let node = machine.node.as_ref().expect("only a living node takes a turn");
        let terms_led = self.checks.terms_led();
        self.checks.after_turn(at, machine.life, node, &disks, &mut self.clients)?;
        let won = self.checks.terms_led() > terms_led;
        let raft = node.raft();
        if node.applied() > machine.disk.written().last_index() {
            mark!(AppliedBeforeCopied);
        }
        let hash = node.store().state_hash();
        let numbers = [
            raft.term().get(),
            role_number(raft.role()),
            raft.commit().get(),
            node.applied().get(),
            u64::try_from(hash & u128::from(u64::MAX)).expect("masked"),
        ];
        self.trace.mix(&numbers);
        self.trace.note(self.now_us, || {
            format!(
                "n{} is {} of term {}, last {}, commit {}, applied {}",
                at + 1,
                raft.role().as_str(),
                raft.term(),
                raft.last(),
                raft.commit(),
                node.applied()
            )
        });
        if won {
            self.ambush(at);
        }
        Ok(())
    }

    fn send_message(&mut self, at: usize, to: usize, mut message: PeerMessage) {
        if let PeerMessage::Heartbeat(request) | PeerMessage::Append { request, .. } = &mut message
            && self.faults_are_on
            && self.mischief.percent(self.scenario.whole_commit_percent)
            && let Some(node) = &self.machines[at].node
            && node.raft().is_leader()
        {
            request.commit = node.raft().commit();
        }
        let request = match message {
            PeerMessage::Heartbeat(request) => {
                append_of(self.machines[at].identity.node, &request, Vec::new())
            }
            PeerMessage::Append { request, payloads: Payloads::Cached(entries) } => {
                append_of(self.machines[at].identity.node, &request, entries)
            }
            PeerMessage::Append { request, payloads: Payloads::InLog } => {
                let life = self.machines[at].life;
                let in_us = self.timing.below(2_000);
                self.plan(in_us, Happening::Depart { at, life, to, request });
                return;
            }
            PeerMessage::Vote(vote) => PeerRequest::Vote { candidate: self.machines[at].identity.node, vote },
        };
        self.send_request(at, to, request);
    }

    /// Reads entries for a peer from the log. If they were replaced meanwhile, or are not there yet, the message
    /// is dropped.
    pub(super) fn depart(&mut self, at: usize, to: usize, request: &AppendEntries) {
        let (Some(first), Some(last)) = (request.entries.first(), request.entries.last()) else { return };
        let disk = &self.machines[at].disk;
        if !disk.written().holds(last.id) && disk.handed_in().holds(last.id) {
            mark!(DepartedEarly);
        }
        let reader = disk.log().reader();
        let Ok(entries) = reader.read(first.id.index, last.id.index, usize::MAX) else { return };
        if entries.iter().map(|entry| entry.id).eq(request.entries.iter().map(|meta| meta.id)) {
            let request = append_of(self.machines[at].identity.node, request, entries);
            self.send_request(at, to, request);
        }
    }

    fn send_request(&mut self, at: usize, to: usize, mut request: PeerRequest) {
        if let PeerRequest::Append(append) = &mut request
            && self.faults_are_on
            && self.mischief.percent(self.scenario.repeat_percent)
            && let Some(node) = &self.machines[at].node
            && node.raft().is_leader()
            && node.raft().term() == append.term
        {
            let repeated = self.mischief.between(1, 4);
            self.begin_earlier(at, append, repeated);
        }
        let envelope = Envelope::between(self.machines[at].identity, self.machines[to].identity.node);
        self.send(Packet { from: at, to, body: Body::Request { envelope, request } });
    }

    /// Lets an append begin with some of the entries before it, as a leader would that knows less of its follower. The
    /// follower may have them, durable or not, and hear of the leader's term for the first time.
    fn begin_earlier(&self, at: usize, append: &mut AppendRequest, entries: u64) {
        let log = self.machines[at].disk.handed_in();
        for _ in 0..entries {
            let before = append.prev.index.prev();
            let (Some(entry), Some(before)) = (log.entry(append.prev.index), before) else { return };
            append.entries.insert(0, entry.clone());
            append.prev = log.entry(before).map_or(log.log_start(), |entry| entry.id);
        }
    }

    fn send(&mut self, packet: Packet) {
        let arrivals = self.network.arrivals(&packet, self.now_us, &self.scenario);
        if arrivals.is_empty() {
            self.trace.note(self.now_us, || format!("lost: {packet:?}"));
            if let Some(asker) = packet.asker() {
                self.lose_forward(asker);
            }
        }
        for at_us in arrivals {
            self.plan(at_us - self.now_us, Happening::Deliver(packet.clone()));
        }
    }

    fn send_response(
        &mut self,
        at: usize,
        term_before: Term,
        response: PeerResponse,
    ) -> Result<(), Violation> {
        let exchange = self.exchanges.remove(&response.reply_to);
        let Some(exchange) = exchange.filter(|exchange| exchange.at == at) else {
            return Err(Violation::new(format!("a second response to one request: {response:?}")));
        };
        let (to, response) = response
            .result
            .map_err(|refusal| Violation::new(format!("an honest peer was refused: {refusal}")))?;
        ensure!(place_of(to) == exchange.asker, "a response for {to}, but n{} asked", exchange.asker + 1);
        Checks::answer_leaves(to, &response, exchange.named.as_ref(), self.leaving(at, term_before))?;
        let envelope = Envelope::between(self.machines[at].identity, to);
        if let Response::RequestVote(vote) = response
            && vote.granted
        {
            self.grants.push_back((exchange.asker, envelope, vote));
            if self.grants.len() > GRANTS_KEPT {
                self.grants.pop_front();
            }
        }
        self.send(Packet { from: at, to: exchange.asker, body: Body::Response { envelope, response } });
        Ok(())
    }

    pub(super) fn respond_to_client(
        &mut self,
        at: usize,
        token: ClientToken,
        result: &Result<ClientResponse, RequestError>,
    ) -> Result<(), Violation> {
        self.trace.note(self.now_us, || format!("n{} answers client {}: {result:?}", at + 1, token.0));
        self.clients.answered(token, result, &self.checks.model)
    }

    pub(super) fn respond_to_forward(
        &mut self,
        at: usize,
        token: ForwardToken,
        result: Result<ForwardResponse, RequestError>,
    ) -> Result<(), Violation> {
        self.trace.note(self.now_us, || format!("n{} answers peer {}: {result:?}", at + 1, token.0));
        let Some((_, asker)) = self.forwarded.remove(&token).filter(|(asked, _)| *asked == at) else {
            return Err(Violation::new(format!("{token:?} is answered but not open")));
        };
        self.send(Packet { from: at, to: asker.node, body: Body::ForwardResponse { asker, result } });
        Ok(())
    }

    /// A node will soon learn of an event.
    pub(super) fn notice(&mut self, at: usize, event: Event) {
        let life = self.machines[at].life;
        let in_us = self.timing.below(2_000);
        self.plan(in_us, Happening::Notice { at, life, event });
    }
}

fn append_of(leader: NodeId, request: &AppendEntries, entries: Vec<Entry>) -> PeerRequest {
    PeerRequest::Append(AppendRequest {
        term: request.term,
        leader,
        prev: request.prev,
        entries,
        commit: request.commit,
        request_id: request.request_id,
        read_round: request.read_round,
    })
}
