//! The leader's side of the log: its own first entry, proposals, heartbeats, responses, commit (Raft §5.3, §5.4.2).
//!
//! The leader sends entries while its own flush runs, and counts itself once its log is durable (thesis §10.2.1).

use std::collections::BTreeMap;

use lograft_types::{EntryId, EntryMeta, LogIndex, NodeId, mark};

use super::effects::{Effects, Loss, NewEntries};
use super::message::{AppendEntries, AppendEntriesResponse, AppendResult, Outgoing, Request};
use super::progress::{LeaderSays, Progress};
use super::quorum::VoteResult;
use super::reads::Reads;
use super::{Raft, Role};

/// A leader's state: what it knows about the others, and the reads that wait.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    /// All members but the leader.
    peers: BTreeMap<NodeId, Progress>,
    /// The leader's own first entry. Once it is committed, the commit index covers everything that earlier leaders
    /// committed (§5.4.2, §8).
    first_own: LogIndex,
    since_heartbeat_ticks: u32,
    pub(super) reads: Reads,
}

impl Leader {
    pub(super) fn progress(&self, peer: NodeId) -> Option<&Progress> {
        self.peers.get(&peer)
    }

    pub(super) fn pending_reads(&self) -> usize {
        self.reads.pending()
    }

    pub(super) fn first_own(&self) -> LogIndex {
        self.first_own
    }
}

/// A request for a peer. Its id is used from now on.
fn append_to(last_request_id: &mut u64, to: NodeId, request: AppendEntries) -> Outgoing {
    *last_request_id = request.request_id.max(*last_request_id);
    Outgoing::Request { to, request: Request::AppendEntries(request) }
}

impl Raft {
    /// A majority voted for this node. It begins with an entry of its own term: it may not commit older entries
    /// before that one, and its commit shows which entries are committed.
    pub(super) fn lead(&mut self, out: &mut Effects) {
        assert!(self.term_leader.is_none(), "two leaders were elected in one term");
        assert!(self.promises.hard_state_is_durable(), "a leader's term is durable before it leads");
        let last = self.log.last();
        let first_own = last.index.next();
        let others = self.configuration.members().into_iter().filter(|&member| member != self.config.id);
        let peers = others.map(|peer| (peer, Progress::new(first_own, self.last_request_id))).collect();
        self.term_leader = Some(self.config.id);
        self.role =
            Role::Leader(Leader { peers, first_own, since_heartbeat_ticks: 0, reads: Reads::default() });
        let id = EntryId::new(self.term(), first_own);
        let write = self.promises.write(out);
        write.entries = NewEntries::NoOp { id };
        self.log.append(EntryMeta { id, size_bytes: 0 }, write.seq);
        self.send_entries(out);
    }

    /// Appends commands. If this node does not lead, nothing happens: the caller sees that there is no write.
    pub(super) fn propose(&mut self, sizes_bytes: &[u32], out: &mut Effects) {
        if !self.is_leader() || sizes_bytes.is_empty() {
            return;
        }
        let term = self.term();
        let write = self.promises.write(out);
        write.entries = NewEntries::Proposals { first: EntryId::new(term, self.log.last().index.next()) };
        for &size_bytes in sizes_bytes {
            let id = EntryId::new(term, self.log.last().index.next());
            self.log.append(EntryMeta { id, size_bytes }, write.seq);
        }
        self.send_entries(out);
    }

    /// Time passes for a leader: it steps down if no majority responds; otherwise heartbeats may become due.
    pub(super) fn tick_leader(&mut self, out: &mut Effects) {
        let says = self.says();
        let Role::Leader(leader) = &mut self.role else { return };
        for peer in leader.peers.values_mut() {
            peer.tick(&self.config);
        }
        let timeout_ticks = self.config.election_timeout_ticks;
        let answers = |voter| {
            let silent_ticks = leader.peers.get(&voter).map_or(0, Progress::silent_ticks);
            Some(silent_ticks < timeout_ticks)
        };
        if self.configuration.vote_result(answers) != VoteResult::Won {
            mark!(LeaderUnheard);
            self.step_down(out);
            return;
        }
        leader.since_heartbeat_ticks += 1;
        if leader.since_heartbeat_ticks >= self.config.heartbeat_ticks {
            leader.since_heartbeat_ticks = 0;
            for (&to, peer) in &mut leader.peers {
                out.messages.push(append_to(
                    &mut self.last_request_id,
                    to,
                    peer.heartbeat_due(&self.log, &self.config, says),
                ));
            }
            // The heartbeat ended the pause of some peers.
            self.send_entries(out);
        }
    }

    /// Heartbeats outside their interval: a new round of leadership confirmation.
    pub(super) fn send_heartbeats(&mut self, out: &mut Effects) {
        let says = self.says();
        let Role::Leader(leader) = &mut self.role else { return };
        for (&to, peer) in &mut leader.peers {
            out.messages.push(append_to(&mut self.last_request_id, to, peer.heartbeat(&self.log, says)));
        }
    }

    /// A follower's response.
    pub(super) fn append_answered(
        &mut self,
        from: NodeId,
        response: AppendEntriesResponse,
        out: &mut Effects,
    ) {
        if response.term > self.term() {
            self.adopt_term(response.term, out);
            return;
        }
        let (term, last) = (self.term(), self.log.last().index);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        // A response to a request of an earlier term says nothing about this one.
        if response.term < term || response.read_round > self.read_round {
            mark!(EarlierTermAck);
            return;
        }
        peer.heard(response.read_round);
        let id = response.request_id;
        let news = match response.result {
            // The peer claims entries that were never sent: ignore it.
            AppendResult::Matched { match_index } | AppendResult::Busy { match_index }
                if match_index > last =>
            {
                return;
            }
            // The entries are durable at the peer.
            AppendResult::Matched { match_index } => peer.matched(id, match_index, &self.log),
            // Some of them are; the peer has no credit for more.
            AppendResult::Busy { match_index } => peer.busy(id, match_index),
            // The peer's log diverges before the request's entries: look further back.
            AppendResult::Conflict { conflict } => {
                let lost = peer.conflicted(id, conflict, &self.log);
                out.loss = lost.map(|acknowledged| Loss { peer: from, acknowledged, kept: conflict.index });
                false
            }
        };
        self.send_entries_to(from, out);
        if news {
            self.advance_commit(out);
            self.tell_commit_to(from, out);
        }
        self.advance_reads(out);
    }

    /// Everything in flight to a peer is lost.
    pub(super) fn link_lost(&mut self, to: NodeId) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(peer) = leader.peers.get_mut(&to)
        {
            peer.link_lost();
        }
    }

    /// Commits what a majority holds durably, but only if the last of those entries is of this term: a majority may
    /// hold an entry of an earlier term and another leader still replace it (§5.4.2, figure 8).
    pub(super) fn advance_commit(&mut self, out: &mut Effects) {
        let Role::Leader(leader) = &self.role else { return };
        let persisted = self.log.persisted();
        let me = self.config.id;
        let match_of = |voter| match leader.peers.get(&voter) {
            Some(peer) => peer.match_index(),
            None if voter == me => persisted,
            None => LogIndex::ZERO,
        };
        let reached = self.configuration.reached(match_of);
        if reached <= self.commit || reached < leader.first_own {
            // A majority holds the entry durably, and yet another leader may replace it.
            if reached > self.commit {
                mark!(FigureEight);
            }
            return;
        }
        self.raise_commit(reached, out);
        for peer in leader_peers(&self.role) {
            self.tell_commit_to(peer, out);
        }
        self.advance_reads(out);
    }

    /// Tells a follower of a new commit index at once, so that it can apply, unless a message in flight will tell it.
    fn tell_commit_to(&mut self, to: NodeId, out: &mut Effects) {
        let says = self.says();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&to) else { return };
        if let Some(request) = peer.commit_news(&self.log, says) {
            out.messages.push(append_to(&mut self.last_request_id, to, request));
        }
    }

    fn send_entries(&mut self, out: &mut Effects) {
        for peer in leader_peers(&self.role) {
            self.send_entries_to(peer, out);
        }
    }

    fn send_entries_to(&mut self, to: NodeId, out: &mut Effects) {
        let says = self.says();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&to) else { return };
        while let Some(request) = peer.next_append(&self.log, &self.config, says) {
            out.messages.push(append_to(&mut self.last_request_id, to, request));
        }
    }

    fn says(&self) -> LeaderSays {
        LeaderSays { term: self.term(), commit: self.commit, read_round: self.read_round }
    }
}

fn leader_peers(role: &Role) -> Vec<NodeId> {
    match role {
        Role::Leader(leader) => leader.peers.keys().copied().collect(),
        Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => Vec::new(),
    }
}
