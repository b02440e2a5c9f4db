//! What must hold at every moment, checked against a record of the whole cluster that no node has.
//!
//! - At most one leader a term, in one of its lives.
//! - Entries with the same index and term are the same, and so is what stands before them (Log Matching, §5.3).
//! - What is committed anywhere is committed everywhere (State Machine Safety, Raft §5.4.3), is durable on a majority
//!   when it is first said to be committed, and is in the log of every later leader (Leader Completeness, §5.4).
//! - A leader commits by counting what is of its own term, and with it what stands before (§5.4.2).
//! - Nothing at or below a node's commit index is written again.
//! - Commit and applied index never go back within a life; equal applied indexes have equal state hashes.
//! - What a node believes to be durable on its own disk is, and what a leader believes of a peer's, unless the peer has
//!   moved on to a later term.
//! - No more is on its way to a peer than the limits allow.
//! - Of what leaves a node: see [`leaving`].
//!
//! Each check looks at what is new only: a run must not become slower as its log grows.

mod leaving;

use std::collections::BTreeMap;

use super::clients::Clients;
use super::disk::Disk;
use super::ledger::Image;
use super::model::Model;
use super::scenario::Scenario;
use super::{Violation, ensure};
use lograft_kv::Command;
use lograft_node::Node;
use lograft_types::{Entry, EntryId, EntryKind, LogIndex, NodeId, Term};

pub(super) use leaving::{Leaving, Named};

/// An entry that is committed.
#[derive(Debug)]
struct Committed {
    entry: Entry,
    /// The term in which it was first said to be committed.
    said_in: Term,
}

/// What a node said last, in this life.
#[derive(Clone, Debug, Default)]
struct LastSeen {
    commit: LogIndex,
    applied: LogIndex,
    led: Option<Term>,
    /// As a leader: how far each node's log matches its own.
    matched: Vec<LogIndex>,
}

/// An entry that was written somewhere.
#[derive(Debug)]
struct Written {
    entry: Entry,
    /// The term of the entry before it.
    before: Term,
}

/// What a node may have on its way to a peer.
#[derive(Debug)]
struct Bounds {
    messages: usize,
    /// Of entries; one message goes as long as fewer are on their way.
    bytes: usize,
    message_entries: usize,
    /// Of entries in one message, unless it is a single one.
    message_bytes: usize,
    /// The largest entry so far.
    entry_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Checks {
    /// Who led a term, and in which of its lives.
    leaders: BTreeMap<Term, (usize, u64)>,
    written: BTreeMap<EntryId, Written>,
    /// From index 1 on.
    committed: Vec<Committed>,
    /// By applied index.
    hashes: BTreeMap<LogIndex, u128>,
    last_seen: Vec<LastSeen>,
    bounds: Bounds,
    pub(super) model: Model,
}

impl Checks {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let bounds = Bounds {
            messages: scenario.max_inflight_messages,
            bytes: scenario.max_inflight_bytes,
            message_entries: scenario.max_append_entries,
            message_bytes: scenario.max_append_bytes,
            entry_bytes: 0,
        };
        Self {
            leaders: BTreeMap::new(),
            written: BTreeMap::new(),
            committed: Vec::new(),
            hashes: BTreeMap::new(),
            last_seen: vec![LastSeen::default(); scenario.nodes],
            bounds,
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

    /// Entries are about to be written behind what `log` holds up to the first of them.
    pub(super) fn writes(&mut self, at: usize, log: &Image, entries: &[Entry]) -> Result<(), Violation> {
        let Some(first) = entries.first() else { return Ok(()) };
        let commit = self.last_seen[at].commit;
        ensure!(first.id.index > commit, "writes {} again, and {commit} is committed", first.id);
        let mut before =
            first.id.index.prev().and_then(|prev| log.entry(prev)).map_or(Term::ZERO, |e| e.id.term);
        for entry in entries {
            let written = Written { entry: entry.clone(), before };
            let known = self.written.entry(entry.id).or_insert(written);
            ensure!(
                known.entry == *entry && known.before == before,
                "writes {entry:?} behind term {before}, and elsewhere {known:?} was written"
            );
            self.bounds.entry_bytes = self.bounds.entry_bytes.max(entry.payload.len());
            before = entry.id.term;
        }
        Ok(())
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
        let seen = &self.last_seen[at];
        ensure!(raft.commit() >= seen.commit, "the commit index went back from {}", seen.commit);
        ensure!(node.applied() >= seen.applied, "the applied index went back from {}", seen.applied);
        ensure!(node.applied() <= raft.commit(), "applied what is not committed");
        if raft.is_leader() && seen.led == Some(raft.term()) && raft.commit() > seen.commit {
            let term = raft.term_at(raft.commit()).unwrap_or_default();
            ensure!(
                term == raft.term(),
                "the leader of term {} commits {} of term {term} by counting",
                raft.term(),
                raft.commit()
            );
        }
        let (first_new, was_applied) = (seen.commit.get() + 1, seen.applied);
        if raft.is_leader() && seen.led != Some(raft.term()) {
            self.elected(at, life, node)?;
            self.last_seen[at].led = Some(raft.term());
            self.last_seen[at].matched = vec![LogIndex::ZERO; disks.len()];
        }
        self.believes(at, node, disks)?;
        for index in first_new..=raft.commit().get() {
            self.commit(LogIndex::new(index), raft.term(), disks[at].written(), disks, clients)?;
        }
        let hash = node.store().state_hash();
        if node.applied() != was_applied {
            let known = *self.hashes.entry(node.applied()).or_insert(hash);
            ensure!(known == hash, "another state than elsewhere at applied index {}", node.applied());
        }
        let last_seen = &mut self.last_seen[at];
        last_seen.commit = raft.commit();
        last_seen.applied = node.applied();
        Ok(())
    }

    /// What a node takes for durable, on its own disk and as a leader on those of the others, and what it has sent them.
    fn believes(&mut self, at: usize, node: &Node, disks: &[&Disk]) -> Result<(), Violation> {
        let raft = node.raft();
        let id_at = |index| EntryId::new(raft.term_at(index).unwrap_or_default(), index);
        let persisted = id_at(raft.persisted_index());
        ensure!(disks[at].durable().holds(persisted), "{persisted} is taken for durable, and is not");
        if !raft.is_leader() {
            return Ok(());
        }
        for (peer, disk) in disks.iter().enumerate() {
            let id = NodeId::new(peer as u64 + 1);
            let Some((matched, _)) = raft.progress(id) else { continue };
            let seen = &mut self.last_seen[at].matched[peer];
            // A peer that has another leader by now may have lost what it had acknowledged to this one.
            if *seen != matched && disk.durable().hard_state.term <= raft.term() {
                let matched = id_at(matched);
                ensure!(disk.durable().holds(matched), "{matched} is taken for durable on {id}, and is not");
            }
            *seen = matched;
            let Some((messages, bytes)) = raft.in_flight(id) else { continue };
            let Bounds { message_bytes, entry_bytes, .. } = self.bounds;
            ensure!(messages <= self.bounds.messages, "{messages} messages are on their way to {id}");
            ensure!(
                bytes < self.bounds.bytes + message_bytes.max(entry_bytes),
                "{bytes} bytes are on their way to {id}"
            );
        }
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
}
