//! The invariants of the cluster.

use std::collections::BTreeMap;

use lograft_raft::{AppendResult, Effects, Outgoing, Request, Response};
use lograft_types::{EntryId, HardState};

use super::{Cluster, Committed, Node, id, index};

impl Cluster {
    /// Checks the invariants that a single step can break.
    pub(super) fn check(&mut self, node: u64, effects: &Effects) {
        let state = self.nodes.get_mut(&id(node)).expect("a node");
        let raft = &state.raft;
        if raft.is_leader() {
            let term = raft.term();
            let leader = *self.leaders.entry(term).or_insert(id(node));
            assert!(leader == id(node), "two leaders in term {term}: nodes {} and {node}", leader.get());
            if effects.changed {
                for (&i, committed) in self.committed.iter().filter(|(_, committed)| committed.seen_in < term)
                {
                    let has = raft.term_at(i) == Ok(committed.entry_term);
                    assert!(has, "the leader of term {term} lacks entry {i}, which is committed");
                }
            }
        }
        if let Some(commit) = effects.committed {
            for i in state.checked + 1..=commit.get() {
                let ours = raft.term_at(index(i)).expect("a committed entry is in the log");
                let news = Committed { entry_term: ours, seen_in: raft.term() };
                let theirs = self.committed.entry(index(i)).or_insert(news);
                assert_eq!(theirs.entry_term, ours, "another entry was committed at {i}");
            }
            assert!(state.checked < commit.get(), "the commit index does not go back");
            state.checked = commit.get();
        }
        for message in &effects.messages {
            state.check_durable(message);
        }
    }

    /// If two logs have an entry with the same index and term, the logs are identical up to that entry (§5.3).
    pub(crate) fn assert_logs_match(&self) {
        let mut before: BTreeMap<EntryId, EntryId> = BTreeMap::new();
        for (node, state) in &self.nodes {
            let mut previous = EntryId::ORIGIN;
            for entry in state.entries() {
                let known = *before.entry(entry).or_insert(previous);
                assert_eq!(known, previous, "node {node} has another entry before {entry} than other nodes");
                previous = entry;
            }
        }
    }
}

impl Node {
    /// No message but a pre-vote may leave before its term is durable, and no vote or acknowledgement before its
    /// flush.
    pub(super) fn check_durable(&self, message: &Outgoing) {
        let durable = self.disk.hard_state;
        match message {
            Outgoing::Request { request: Request::RequestVote(vote), .. } if vote.pre_vote => {}
            Outgoing::Request { request: Request::RequestVote(vote), .. } => {
                assert_eq!(durable, HardState { term: vote.term, vote: Some(self.raft.id()) });
            }
            Outgoing::Request { request: Request::AppendEntries(append), .. } => {
                assert_eq!(durable.term, append.term);
            }
            Outgoing::Response { response: Response::RequestVote(vote), .. }
                if vote.pre_vote && vote.granted => {}
            Outgoing::Response { response: Response::RequestVote(vote), to, .. } => {
                assert_eq!(durable.term, vote.term);
                assert!(!vote.granted || durable.vote == Some(*to));
            }
            Outgoing::Response { response: Response::AppendEntries(append), .. } => {
                assert_eq!(durable.term, append.term);
                if let AppendResult::Matched { match_index } | AppendResult::Busy { match_index } =
                    append.result
                {
                    let entry_term = self.raft.term_at(match_index).expect("a matched entry is in the log");
                    let entry = EntryId::new(entry_term, match_index);
                    assert!(self.disk.has(entry), "{entry} was acknowledged before it was durable");
                }
            }
        }
    }
}
