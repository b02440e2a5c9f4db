//! What must hold at every moment, checked against a record of the whole cluster that no node has.
//!
//! - At most one leader a term, in one of its lives.
//! - What is committed anywhere is committed everywhere (State Machine Safety, Raft §5.4.3), is durable on a majority
//!   when it is first said to be committed, and is in the log of every later leader (Leader Completeness, §5.4).
//! - Commit and applied index never go back within a life; equal applied indexes have equal state hashes.
//! - Nothing but a pre-vote leaves with a term, a vote or an acknowledgement that is not durable.

use std::collections::BTreeMap;

use super::clients::Clients;
use super::disk::{Disk, Image};
use super::model::Model;
use super::{Violation, ensure};
use crate::kv::Command;
use crate::node::{Node, PeerMessage};
use crate::raft::{AppendResult, Response};
use crate::types::{Entry, EntryId, EntryKind, HardState, LogIndex, NodeId, Term};

/// An entry that is committed.
#[derive(Debug)]
struct Committed {
    entry: Entry,
    /// The term in which it was first said to be committed.
    said_in: Term,
}

/// What a node said last, in this life.
#[derive(Clone, Copy, Debug, Default)]
struct LastSeen {
    commit: LogIndex,
    applied: LogIndex,
    led: Option<Term>,
}

/// What a peer's request named: its answer is held to it.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) prev: EntryId,
    pub(super) entries: Vec<EntryId>,
}

#[derive(Debug)]
pub(super) struct Checks {
    /// Who led a term, and in which of its lives.
    leaders: BTreeMap<Term, (usize, u64)>,
    /// From index 1 on.
    committed: Vec<Committed>,
    /// By applied index.
    hashes: BTreeMap<LogIndex, u128>,
    last_seen: Vec<LastSeen>,
    pub(super) model: Model,
}

impl Checks {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            leaders: BTreeMap::new(),
            committed: Vec::new(),
            hashes: BTreeMap::new(),
            last_seen: vec![LastSeen::default(); nodes],
            model: Model::new(),
        }
    }

    /// How many entries are committed.
    pub(super) fn committed(&self) -> u64 {
        self.committed.len() as u64
    }

    /// How many terms had a leader.
    pub(super) fn terms_led(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// A node begins a new life.
    pub(super) fn born(&mut self, node: usize) {
        self.last_seen[node] = LastSeen::default();
    }

    /// After a turn of a node. `disks` are those of all nodes.
    pub(super) fn after_turn(
        &mut self,
        at: usize,
        life: u64,
        node: &Node,
        disks: &[&Disk],
        clients: &mut Clients,
    ) -> Result<(), Violation> {
        let raft = node.raft();
        let seen = self.last_seen[at];
        ensure!(raft.commit() >= seen.commit, "the commit index went back from {}", seen.commit);
        ensure!(node.applied() >= seen.applied, "the applied index went back from {}", seen.applied);
        ensure!(node.applied() <= raft.commit(), "applied what is not committed");
        if raft.is_leader() && seen.led != Some(raft.term()) {
            self.elected(at, life, node)?;
            self.last_seen[at].led = Some(raft.term());
        }
        for index in seen.commit.get() + 1..=raft.commit().get() {
            self.commit(LogIndex::new(index), raft.term(), disks[at].written(), disks, clients)?;
        }
        let hash = node.store().state_hash();
        if node.applied() != seen.applied {
            let known = *self.hashes.entry(node.applied()).or_insert(hash);
            ensure!(known == hash, "another state than elsewhere at applied index {}", node.applied());
        }
        let last_seen = &mut self.last_seen[at];
        last_seen.commit = raft.commit();
        last_seen.applied = node.applied();
        Ok(())
    }

    fn elected(&mut self, at: usize, life: u64, node: &Node) -> Result<(), Violation> {
        let raft = node.raft();
        let leader = *self.leaders.entry(raft.term()).or_insert((at, life));
        ensure!(leader == (at, life), "a second leader in term {}: the first was {leader:?}", raft.term());
        for committed in &self.committed {
            let id = committed.entry.id;
            let has = raft.term_at(id.index) == Ok(id.term);
            ensure!(
                has || committed.said_in >= raft.term(),
                "a leader of term {} without entry {id}, which was committed in term {}",
                raft.term(),
                committed.said_in
            );
        }
        Ok(())
    }

    fn commit(
        &mut self,
        index: LogIndex,
        term: Term,
        log: &Image,
        disks: &[&Disk],
        clients: &mut Clients,
    ) -> Result<(), Violation> {
        let Some(entry) = log.entry(index) else {
            return Err(Violation::new(format!("{index} is committed and was never written here")));
        };
        let place = usize::try_from(index.get() - 1).expect("simulated logs are short");
        if let Some(known) = self.committed.get(place) {
            ensure!(known.entry == *entry, "committed {entry:?} where elsewhere {:?} is", known.entry);
            return Ok(());
        }
        ensure!(place == self.committed.len(), "{index} is committed before what stands before it");
        let copies = disks.iter().filter(|disk| disk.durable().entry(index) == Some(entry)).count();
        ensure!(2 * copies > disks.len(), "{entry:?} is committed and durable on {copies} nodes only");
        if entry.kind == EntryKind::Normal {
            let command = Command::decode(&entry.payload)
                .map_err(|error| Violation::new(format!("{entry:?} is no command: {error}")))?;
            clients.committed(&command)?;
            self.model.apply(&command);
        }
        self.committed.push(Committed { entry: entry.clone(), said_in: term });
        Ok(())
    }

    /// A request leaves a node: its term must be durable there, and the vote for itself.
    pub(super) fn message_leaves(from: NodeId, message: &PeerMessage, disk: &Image) -> Result<(), Violation> {
        let durable = disk.hard_state;
        match message {
            PeerMessage::Vote(vote) if vote.pre_vote => {}
            PeerMessage::Vote(vote) => {
                let own = HardState { term: vote.term, vote: Some(from) };
                ensure!(
                    durable == own || durable.term > vote.term,
                    "{vote:?} leaves {from} while {durable:?} is durable"
                );
            }
            PeerMessage::Heartbeat(request) | PeerMessage::Append { request, .. } => {
                ensure!(
                    durable.term >= request.term,
                    "{request:?} leaves {from} while {durable:?} is durable"
                );
            }
        }
        Ok(())
    }

    /// An answer leaves a node: what it promises must be durable there.
    pub(super) fn answer_leaves(
        to: NodeId,
        response: &Response,
        named: Option<&Named>,
        disk: &Image,
    ) -> Result<(), Violation> {
        let durable = disk.hard_state;
        match response {
            Response::RequestVote(vote) if vote.pre_vote && vote.granted => {}
            Response::RequestVote(vote) => {
                let granted = HardState { term: vote.term, vote: Some(to) };
                let kept = durable.term > vote.term || !vote.granted || durable == granted;
                ensure!(
                    durable.term >= vote.term && kept,
                    "{vote:?} leaves for {to} while {durable:?} is durable"
                );
            }
            Response::AppendEntries(answer) => {
                ensure!(durable.term >= answer.term, "{answer:?} leaves while {durable:?} is durable");
                let (AppendResult::Matched { match_index } | AppendResult::Busy { match_index }) =
                    answer.result
                else {
                    return Ok(());
                };
                let Some(named) = named else {
                    return Err(Violation::new(format!("{answer:?} answers a request for a vote")));
                };
                let is_durable = match named.id_at(match_index) {
                    Some(id) => disk.holds(id),
                    None => match_index <= disk.last_index() && match_index < named.prev.index,
                };
                ensure!(is_durable, "{answer:?} leaves, and that is not durable; asked was {named:?}");
            }
        }
        Ok(())
    }
}

impl Named {
    fn id_at(&self, index: LogIndex) -> Option<EntryId> {
        let mut ids = std::iter::once(self.prev).chain(self.entries.iter().copied());
        ids.find(|id| id.index == index)
    }
}
