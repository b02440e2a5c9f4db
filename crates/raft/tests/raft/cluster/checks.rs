//! What must hold in the cluster, whatever happens.

use std::collections::BTreeMap;

use lograft_raft::{AppendResult, Effects, Outgoing, Request, Response};
use lograft_types::{EntryId, HardState};

use super::{Cluster, Committed, Node, id, index};

impl Cluster {
    /// What a step may not break.
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
                let ours = raft.term_at(index(i)).expect("what is committed is in the log");
                let news = Committed { entry_term: ours, seen_in: raft.term() };
                let theirs = self.committed.entry(index(i)).or_insert(news);
                assert_eq!(theirs.entry_term, ours, "another entry was committed at {i}");
            }
            assert!(state.checked < commit.get(), "commit does not go back");
            state.checked = commit.get();
        }
        for message in &effects.messages {
            state.check_durable(message);
        }
    }

    /// If two logs have an entry with the same index and term, they are the same up to it (§5.3).
    pub(crate) fn assert_logs_match(&self) {
        let mut before: BTreeMap<EntryId, EntryId> = BTreeMap::new();
        for (node, state) in &self.nodes {
            let mut previous = EntryId::ORIGIN;
            for entry in state.entries() {
                let known = *before.entry(entry).or_insert(previous);
                assert_eq!(known, previous, "what stands before {entry} at {node} is not what others have");
                previous = entry;
            }
        }
    }
}

impl Node {
    /// No message but a pre-vote leaves in a term that is not durable, no vote and no acknowledgement before its flush.
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
                if let AppendResult::Matched { match_index } = append.result {
                    let entry_term = self.raft.term_at(match_index).expect("what matched is in the log");
                    let entry = EntryId::new(entry_term, match_index);
                    assert!(self.disk.has(entry), "{entry} was acknowledged before it was durable");
                }
            }
        }
    }
}
