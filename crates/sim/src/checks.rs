//! What must hold at every moment, checked against a record of the whole cluster that no node has.
//!
//! - At most one leader per term, and in one life only.
//! - Entries with the same index and term are equal, and so are all entries before them (Log Matching, §5.3).
//! - What is committed anywhere is committed everywhere (State Machine Safety, Raft §5.4.3), is durable on a
//!   majority when it is first reported committed, and is in the log of every later leader (Leader
//!   Completeness, §5.4).
//! - A leader commits only entries of its own term by counting, and with them all that precede (§5.4.2).
//! - Nothing at or below a node's commit index is written again.
//! - Commit and applied index never go back within a life; equal applied indexes have equal state hashes.
//! - What a node believes to be durable on its own disk is durable. So is what a leader believes of a peer's
//!   disk, unless the peer has moved on to a later term.
//! - No more is in flight to a peer than the limits allow.
//! - For what leaves a node, see [`leaving`].
//!
//! Each check looks only at what is new, so a run does not become slower as its log grows.

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

/// A committed entry.
#[derive(Debug)]
struct Committed {
    entry: Entry,
    /// The term in which it was first reported committed.
    said_in: Term,
}

/// What a node last reported in this life.
#[derive(Clone, Debug, Default)]
struct LastSeen {
    commit: LogIndex,
    applied: LogIndex,
    led: Option<Term>,
    /// For a leader: how far each node's log matches its own.
    matched: Vec<LogIndex>,
}

/// An entry that was written somewhere.
#[derive(Debug)]
struct Written {
    entry: Entry,
    /// The term of the preceding entry.
    before: Term,
}

/// What a node may have in flight to a peer.
#[derive(Debug)]
struct Bounds {
    messages: usize,
    /// Bytes of entries; another message may be sent as long as fewer are in flight.
    bytes: usize,
    message_entries: usize,
    /// Bytes of entries in one message, unless it holds a single entry.
    message_bytes: usize,
    /// The largest entry so far.
    entry_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Checks {
    /// Who led each term, and in which life.
    leaders: BTreeMap<Term, (usize, u64)>,
    written: BTreeMap<EntryId, Written>,
    /// From index 1.
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

    /// The number of committed entries.
    pub(super) fn committed(&self) -> u64 {
        self.committed.len() as u64
    }

    /// The number of terms that had a leader.
    pub(super) fn terms_led(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// A node begins a new life.
    pub(super) fn born(&mut self, node: usize) {
        self.last_seen[node] = LastSeen::default();
    }

    /// Entries are about to be appended to what `log` holds before the first of them.
    pub(super) fn writes(&mut self, at: usize, log: &Image, entries: &[Entry]) -> Result<(), Violation> {
        let Some(first) = entries.first() else { return Ok(()) };
        let commit = self.last_seen[at].commit;
        ensure!(first.id.index > commit, "writes {} again, but commit is already {commit}", first.id);
        let mut before =
            first.id.index.prev().and_then(|prev| log.entry(prev)).map_or(Term::ZERO, |e| e.id.term);
        for entry in entries {
            let written = Written { entry: entry.clone(), before };
            let known = self.written.entry(entry.id).or_insert(written);
            ensure!(
                known.entry == *entry && known.before == before,
                "writes {entry:?} after an entry of term {before}, but elsewhere {known:?} was written"
            );
            self.bounds.entry_bytes = self.bounds.entry_bytes.max(entry.payload.len());
            before = entry.id.term;
        }
        Ok(())
    }

    /// Checks a node after its turn. `disks` are those of all nodes.
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
        ensure!(node.applied() <= raft.commit(), "applied an entry that is not committed");
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
            self.commit(LogIndex::new(index), raft.term(), disks[at].handed_in(), disks, clients)?;
        }
        let hash = node.store().state_hash();
        if node.applied() != was_applied {
            let known = *self.hashes.entry(node.applied()).or_insert(hash);
            ensure!(known == hash, "the state differs between nodes at applied index {}", node.applied());
        }
        let last_seen = &mut self.last_seen[at];
        last_seen.commit = raft.commit();
        last_seen.applied = node.applied();
        Ok(())
    }

    /// Checks what a node believes to be durable, on its own disk and as a leader on the others', and what it
    /// has in flight.
    fn believes(&mut self, at: usize, node: &Node, disks: &[&Disk]) -> Result<(), Violation> {
        let raft = node.raft();
        let id_at = |index| EntryId::new(raft.term_at(index).unwrap_or_default(), index);
        let persisted = id_at(raft.persisted_index());
        ensure!(disks[at].durable().holds(persisted), "{persisted} is believed durable, but is not");
        if !raft.is_leader() {
            return Ok(());
        }
        for (peer, disk) in disks.iter().enumerate() {
            let id = NodeId::new(peer as u64 + 1);
            let Some((matched, _)) = raft.progress(id) else { continue };
            let seen = &mut self.last_seen[at].matched[peer];
            // A peer with another leader by now may have lost what it had acknowledged to this one.
            if *seen != matched && disk.durable().hard_state.term <= raft.term() {
                let matched = id_at(matched);
                ensure!(disk.durable().holds(matched), "{matched} is believed durable on {id}, but is not");
            }
            *seen = matched;
            let Some((messages, bytes)) = raft.in_flight(id) else { continue };
            let Bounds { message_bytes, entry_bytes, .. } = self.bounds;
            ensure!(messages <= self.bounds.messages, "{messages} messages are in flight to {id}");
            ensure!(
                bytes < self.bounds.bytes + message_bytes.max(entry_bytes),
                "{bytes} bytes are in flight to {id}"
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
                "the leader of term {} lacks entry {id}, which was committed in term {}",
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
            return Err(Violation::new(format!("{index} is committed, but was never written here")));
        };
        let place = usize::try_from(index.get() - 1).expect("simulated logs are short");
        if let Some(known) = self.committed.get(place) {
            ensure!(known.entry == *entry, "committed {entry:?}, but elsewhere {:?}", known.entry);
            return Ok(());
        }
        ensure!(place == self.committed.len(), "{index} is committed before an entry that precedes it");
        let copies = disks.iter().filter(|disk| disk.durable().entry(index) == Some(entry)).count();
        ensure!(2 * copies > disks.len(), "{entry:?} is committed, but durable on only {copies} nodes");
        if entry.kind == EntryKind::Normal {
            let command = Command::decode(&entry.payload)
                .map_err(|error| Violation::new(format!("{entry:?} is not a command: {error}")))?;
            clients.committed(&command)?;
            self.model.apply(&command);
        }
        self.committed.push(Committed { entry: entry.clone(), said_in: term });
        Ok(())
    }
}
