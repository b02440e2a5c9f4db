//! A deterministic cluster of cores: messages, flushes and ticks happen when a test says so.
//!
//! Each node has a disk that keeps exactly what was flushed. After every step the cluster checks its invariants: a
//! term has at most one leader (Raft §5.2), committed entries never change (§5.4), each request is answered at most
//! once, and no promise is made before the disk has what it rests on. Checks that need the logs of all nodes run on
//! demand.

mod checks;
mod journal;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) use journal::Event;
use journal::Journal;
use lograft_raft::{
    Config, Configuration, Effects, Halt, Input, LogView, NewEntries, Outgoing, Raft, ReadId, ReadOutcome,
    ReplyTo, Request, Response, RoleName, Write,
};
use lograft_types::{EntryId, EntryMeta, HardState, LogIndex, NodeId, Term, WriteSeq};

/// The election timeout of these tests.
pub(crate) const TIMEOUT: u32 = 20;
/// Enough ticks for any timeout to pass.
pub(crate) const LONG: u32 = 2 * TIMEOUT;

pub(crate) struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    /// The messages in flight, oldest first.
    pub(crate) network: VecDeque<Packet>,
    cut: BTreeSet<(NodeId, NodeId)>,
    config: Box<dyn Fn(NodeId) -> Config>,
    leaders: BTreeMap<Term, NodeId>,
    committed: BTreeMap<LogIndex, Committed>,
    journal: Option<Journal>,
    pub(crate) reads: BTreeMap<ReadId, ReadOutcome>,
    last_read: u64,
    last_reply: u64,
    /// Unanswered requests, and the nodes that received them.
    unanswered: BTreeMap<ReplyTo, NodeId>,
    restarts: u64,
}

/// A core and its disk.
pub(crate) struct Node {
    pub(crate) raft: Raft,
    pub(crate) halted: Option<Halt>,
    crashed: bool,
    /// Committed entries up to this index were compared with what other nodes committed.
    checked: u64,
    configuration: Configuration,
    disk: Disk,
    unflushed: VecDeque<(Write, Vec<EntryMeta>)>,
}

/// A committed entry.
#[derive(Clone, Copy)]
struct Committed {
    entry_term: Term,
    /// It was committed in this term or before.
    seen_in: Term,
}

/// What survives a crash.
#[derive(Clone, Default)]
struct Disk {
    hard_state: HardState,
    log: Vec<EntryMeta>,
}

#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
}

#[derive(Clone, Debug)]
pub(crate) enum Message {
    Request(Request),
    Response(Response),
}

pub(crate) fn id(node: u64) -> NodeId {
    NodeId::new(node)
}

pub(crate) fn index(index: u64) -> LogIndex {
    LogIndex::new(index)
}

pub(crate) fn term(term: u64) -> Term {
    Term::new(term)
}

/// Entries from index 1 on with these terms.
pub(crate) fn log_of(terms: &[u64]) -> Vec<EntryMeta> {
    let ids = terms.iter().zip(1..).map(|(&t, i)| EntryId::new(term(t), index(i)));
    ids.map(|id| EntryMeta { id, size_bytes: 10 }).collect()
}

pub(crate) fn test_config(node: NodeId) -> Config {
    Config { election_timeout_ticks: TIMEOUT, heartbeat_ticks: 2, ..Config::new(node) }
}

impl Disk {
    fn flush(&mut self, write: &Write, entries: &[EntryMeta]) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(first) = entries.first() {
            self.log.truncate(usize::try_from(first.id.index.get()).expect("small") - 1);
            self.log.extend(entries);
        }
    }

    fn has(&self, entry: EntryId) -> bool {
        entry == EntryId::ORIGIN || self.log.iter().any(|meta| meta.id == entry)
    }
}

impl Cluster {
    /// Nodes 1..=count with empty logs.
    pub(crate) fn new(count: u64) -> Self {
        Self::with_logs(&(1..=count).map(|_| (0, &[][..])).collect::<Vec<_>>())
    }

    /// Nodes 1.. with these terms and the terms of their logs' entries.
    pub(crate) fn with_logs(nodes: &[(u64, &[u64])]) -> Self {
        Self::with_config(nodes, test_config)
    }

    pub(crate) fn with_config(nodes: &[(u64, &[u64])], config: impl Fn(NodeId) -> Config + 'static) -> Self {
        let ids: Vec<_> = nodes.iter().zip(1..).map(|(_, node)| id(node)).collect();
        let configuration = Configuration::new(ids.iter().copied());
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            network: VecDeque::new(),
            cut: BTreeSet::new(),
            config: Box::new(config),
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
            journal: None,
            reads: BTreeMap::new(),
            last_read: 0,
            last_reply: 0,
            unanswered: BTreeMap::new(),
            restarts: 0,
        };
        for (&node, &(last_term, terms)) in ids.iter().zip(nodes) {
            let disk =
                Disk { hard_state: HardState { term: term(last_term), vote: None }, log: log_of(terms) };
            cluster.start(node, configuration.clone(), disk);
        }
        cluster
    }

    fn start(&mut self, node: NodeId, configuration: Configuration, disk: Disk) {
        self.restarts += 1;
        let log = LogView::new(EntryId::ORIGIN, disk.log.iter().copied());
        let seed = node.get() * 1000 + self.restarts;
        let raft = Raft::new((self.config)(node), configuration.clone(), disk.hard_state, log, seed);
        let unflushed = VecDeque::new();
        self.nodes.insert(
            node,
            Node { raft, halted: None, crashed: false, checked: 0, configuration, disk, unflushed },
        );
    }

    /// Restarts a node with a different configuration than the others have.
    pub(crate) fn reconfigure(&mut self, node: u64, configuration: Configuration) {
        let disk = self.nodes[&id(node)].disk.clone();
        self.start(id(node), configuration, disk);
    }

    pub(crate) fn raft(&self, node: u64) -> &Raft {
        &self.nodes[&id(node)].raft
    }

    pub(crate) fn halted(&self, node: u64) -> Option<&Halt> {
        self.nodes[&id(node)].halted.as_ref()
    }

    /// Whether a node runs: it has neither crashed nor halted.
    pub(crate) fn is_up(&self, node: u64) -> bool {
        self.nodes[&id(node)].is_up()
    }

    /// The log of a node, durable or not.
    pub(crate) fn entries(&self, node: u64) -> Vec<EntryId> {
        self.nodes[&id(node)].entries()
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.nodes.keys().map(|node| node.get()).collect()
    }

    /// The terms of a node's log, from index 1 on.
    pub(crate) fn terms(&self, node: u64) -> Vec<u64> {
        let raft = self.raft(node);
        (1..=raft.last().index.get()).map(|i| raft.term_at(index(i)).expect("in the log").get()).collect()
    }

    /// The nodes that lead, with their terms.
    pub(crate) fn leaders(&self) -> Vec<(u64, u64)> {
        let alive = self.nodes.iter().filter(|(_, node)| node.is_up() && node.raft.is_leader());
        alive.map(|(node_id, node)| (node_id.get(), node.raft.term().get())).collect()
    }

    /// Takes a step and carries out its effects. Only [`Self::persist`] flushes what was written.
    pub(crate) fn step(&mut self, node: u64, input: Input) -> Effects {
        let request_entries = match &input {
            Input::Request { request: Request::AppendEntries(append), .. } => append.entries.clone(),
            _ => Vec::new(),
        };
        let sizes = match &input {
            Input::Propose { sizes_bytes } => sizes_bytes.clone(),
            _ => Vec::new(),
        };
        let state = self.nodes.get_mut(&id(node)).expect("a node");
        if !state.is_up() {
            return Effects::default();
        }
        let term_before = state.raft.term();
        let log_before = if self.journal.is_some() { state.entries() } else { Vec::new() };
        let effects = state.raft.step(input);
        assert!(state.raft.term() >= term_before, "terms do not go back");
        if let Some(halt) = &effects.halt {
            state.halted = Some(halt.clone());
            self.note(Event::Halted { node: id(node), halt: halt.clone() });
            return effects;
        }
        if effects.changed {
            let changed = state.changed();
            self.note(changed);
        }
        if let Some(write) = effects.write {
            let entries = written_entries(&write, request_entries, &sizes);
            self.note_write(id(node), &write, &entries, log_before);
            self.nodes.get_mut(&id(node)).expect("a node").unflushed.push_back((write, entries));
        }
        if let Some(commit) = effects.committed {
            self.note(Event::Committed { node: id(node), commit });
        }
        self.check(node, &effects);
        for outgoing in effects.messages.clone() {
            self.send(id(node), outgoing);
        }
        for &read in &effects.reads {
            let (ReadOutcome::ReadAt { id, .. } | ReadOutcome::Lost { id }) = read;
            assert_eq!(self.reads.insert(id, read), None, "each read is answered once");
            self.note(Event::Read(read));
        }
        effects
    }

    fn send(&mut self, from: NodeId, outgoing: Outgoing) {
        let (to, message) = match outgoing {
            Outgoing::Request { to, request } => (to, Message::Request(request)),
            Outgoing::Response { to, reply_to, response } => {
                assert_eq!(self.unanswered.remove(&reply_to), Some(from), "each request is answered once");
                (to, Message::Response(response))
            }
        };
        let lost = self.cut.contains(&(from, to));
        let packet = Packet { from, to, message };
        if self.journal.is_some() {
            self.note(Event::Sent { packet: packet.clone(), lost });
        }
        if !lost {
            self.network.push_back(packet);
        }
    }

    /// Time passes for one node.
    pub(crate) fn tick(&mut self, node: u64, ticks: u32) {
        for _ in 0..ticks {
            self.step(node, Input::Tick);
        }
    }

    /// Flushes everything that a node has written.
    pub(crate) fn persist(&mut self, node: u64) -> bool {
        let Some(state) = self.nodes.get_mut(&id(node)) else { return false };
        let Some(last) = state.unflushed.back().map(|(write, _)| write.seq) else { return false };
        self.persist_through(node, last)
    }

    /// Flushes what a node has written, up to and including this write.
    pub(crate) fn persist_through(&mut self, node: u64, last: WriteSeq) -> bool {
        let flushed = self.flush_through(node, last);
        self.step(node, Input::Persisted { write: last });
        flushed
    }

    /// Flushes what a node has written, up to and including this write, without telling the node.
    pub(crate) fn flush_through(&mut self, node: u64, last: WriteSeq) -> bool {
        let state = self.nodes.get_mut(&id(node)).expect("a node");
        let mut flushed = false;
        while let Some((write, entries)) = state.unflushed.pop_front_if(|(write, _)| write.seq <= last) {
            state.disk.flush(&write, &entries);
            flushed = true;
        }
        flushed
    }

    /// The numbers of the writes that a node has not flushed yet.
    pub(crate) fn unflushed(&self, node: u64) -> Vec<WriteSeq> {
        self.nodes[&id(node)].unflushed.iter().map(|(write, _)| write.seq).collect()
    }

    /// Delivers the oldest message.
    pub(crate) fn deliver_one(&mut self) -> bool {
        let Some(packet) = self.network.pop_front() else { return false };
        self.deliver(packet);
        true
    }

    pub(crate) fn deliver(&mut self, packet: Packet) -> Effects {
        let Packet { from, to, message } = packet;
        if self.cut.contains(&(from, to)) {
            return Effects::default();
        }
        let input = match message {
            Message::Request(request) => Input::Request { from, reply_to: self.next_reply(to), request },
            Message::Response(response) => Input::Response { from, response },
        };
        self.step(to.get(), input)
    }

    fn next_reply(&mut self, at: NodeId) -> ReplyTo {
        self.last_reply += 1;
        let reply_to = ReplyTo(self.last_reply);
        if self.nodes[&at].is_up() {
            self.unanswered.insert(reply_to, at);
        }
        reply_to
    }

    /// A request comes in from a node, real or made up. Returns its immediate responses.
    pub(crate) fn request(&mut self, from: u64, to: u64, request: Request) -> Vec<Response> {
        let reply_to = self.next_reply(id(to));
        let effects = self.step(to, Input::Request { from: id(from), reply_to, request });
        let answers = effects.messages.iter().filter_map(|message| match message {
            Outgoing::Response { response, reply_to: answered, .. } if *answered == reply_to => {
                Some(*response)
            }
            Outgoing::Response { .. } | Outgoing::Request { .. } => None,
        });
        answers.collect()
    }

    /// Delivers and flushes everything until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut busy = self.deliver_one();
            if !busy {
                for node in self.ids() {
                    busy |= self.persist(node);
                }
            }
            if !busy {
                return;
            }
        }
        panic!("the cluster does not settle");
    }

    /// Delivers everything without flushing anything.
    pub(crate) fn deliver_all(&mut self) {
        for _ in 0..10_000 {
            if !self.deliver_one() {
                return;
            }
        }
        panic!("the messages do not end");
    }

    /// Time passes for all nodes; everything settles after each tick.
    pub(crate) fn run(&mut self, ticks: u32) {
        self.run_only(&self.ids(), ticks);
    }

    /// Time passes for these nodes only; everything settles after each tick.
    pub(crate) fn run_only(&mut self, nodes: &[u64], ticks: u32) {
        for _ in 0..ticks {
            for &node in nodes {
                self.tick(node, 1);
            }
            self.settle();
        }
    }

    /// No node hears from another for an election timeout, and everything in flight is lost.
    pub(crate) fn lose_contact(&mut self) {
        for node in self.ids() {
            self.tick(node, TIMEOUT);
        }
        self.network.clear();
    }

    /// All nodes lose contact, then this one is the first to campaign and is elected. Everything settles.
    pub(crate) fn elect(&mut self, node: u64) {
        self.win(node);
        self.settle();
    }

    /// All nodes lose contact, then this one is the first to ask for pre-votes.
    pub(crate) fn start_campaign(&mut self, node: u64) {
        self.lose_contact();
        for _ in 0..LONG {
            self.step(node, Input::Tick);
            if self.raft(node).role() == RoleName::PreCandidate && !self.network.is_empty() {
                return;
            }
        }
        assert_eq!(self.ids().len(), 1, "node {node} did not campaign");
    }

    /// Proposes this many commands.
    pub(crate) fn propose(&mut self, node: u64, count: usize) -> Effects {
        self.step(node, Input::Propose { sizes_bytes: vec![10; count] })
    }

    /// A read comes in.
    pub(crate) fn read(&mut self, node: u64) -> ReadId {
        self.last_read += 1;
        let read = ReadId(self.last_read);
        self.step(node, Input::Read { id: read });
        read
    }

    /// Messages from one node to another are lost from here on.
    pub(crate) fn cut_one_way(&mut self, from: u64, to: u64) {
        self.cut.insert((id(from), id(to)));
    }

    /// Nothing goes to or from a node.
    pub(crate) fn isolate(&mut self, node: u64) {
        for other in self.ids() {
            self.cut_one_way(node, other);
            self.cut_one_way(other, node);
        }
    }

    /// Messages from one node to another arrive again.
    pub(crate) fn mend_one_way(&mut self, from: u64, to: u64) {
        self.cut.remove(&(id(from), id(to)));
    }

    /// All links work.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// A node crashes and loses everything that it did not flush.
    pub(crate) fn crash(&mut self, node: u64) {
        let state = self.nodes.get_mut(&id(node)).expect("a node");
        state.crashed = true;
        state.unflushed.clear();
        self.network.retain(|packet| packet.from != id(node) && packet.to != id(node));
        self.unanswered.retain(|_, at| *at != id(node));
    }

    /// A node loses its disk and starts as if it were new. Raft does not tolerate this.
    pub(crate) fn wipe(&mut self, node: u64) {
        self.crash(node);
        let configuration = self.nodes[&id(node)].configuration.clone();
        self.start(id(node), configuration, Disk::default());
    }

    /// A node restarts with what it had flushed.
    pub(crate) fn restart(&mut self, node: u64) {
        let Node { configuration, disk, .. } = self.nodes.remove(&id(node)).expect("a node");
        self.start(id(node), configuration, disk);
    }

    /// A node campaigns and wins. What it sends and writes as a leader is still in flight and not flushed.
    pub(crate) fn win(&mut self, node: u64) {
        self.start_campaign(node);
        for _ in 0..1000 {
            if self.raft(node).is_leader() {
                return;
            }
            if self.deliver_one() {
                continue;
            }
            let mut busy = false;
            for node in self.ids() {
                busy |= self.persist(node);
            }
            if !busy {
                // The node had to learn the others' term first.
                self.tick(node, 1);
            }
        }
        panic!("node {node} was not elected");
    }

    /// A request comes in, and the node flushes if it must. Returns the response.
    pub(crate) fn ask(&mut self, from: u64, to: u64, request: Request) -> Response {
        let at_once = self.request(from, to, request);
        if let [answer] = at_once[..] {
            self.network.pop_back();
            return answer;
        }
        self.persist(to);
        match self.network.pop_back() {
            Some(Packet { message: Message::Response(response), .. }) => response,
            other => panic!("{other:?} is not a response"),
        }
    }

    /// Asserts that nothing waits: no unanswered request, no withheld message, nothing in flight.
    pub(crate) fn assert_idle(&self) {
        assert_eq!(self.unanswered, BTreeMap::new());
        for (node, state) in &self.nodes {
            assert_eq!(state.raft.withheld_messages(), 0, "at {node}");
            assert_eq!(state.raft.pending_writes(), 0, "at {node}");
            assert_eq!(state.raft.pending_reads(), 0, "at {node}");
            for peer in self.nodes.keys() {
                assert_eq!(state.raft.in_flight(*peer).unwrap_or_default(), (0, 0), "{node} to {peer}");
            }
        }
    }
}

impl Node {
    fn is_up(&self) -> bool {
        !self.crashed && self.halted.is_none()
    }

    /// The log, durable or not.
    fn entries(&self) -> Vec<EntryId> {
        let ids = (1..=self.raft.last().index.get()).map(index);
        ids.map(|i| EntryId::new(self.raft.term_at(i).expect("in the log"), i)).collect()
    }

    fn changed(&self) -> Event {
        let raft = &self.raft;
        Event::Changed { node: raft.id(), role: raft.role(), term: raft.term(), leader: raft.leader() }
    }
}

fn written_entries(write: &Write, request_entries: Vec<EntryMeta>, sizes: &[u32]) -> Vec<EntryMeta> {
    match write.entries {
        NewEntries::Nothing => Vec::new(),
        NewEntries::FromRequest { first } => {
            request_entries.into_iter().skip_while(|entry| entry.id.index < first).collect()
        }
        NewEntries::Proposals { first } => {
            let ids = (first.index.get()..).map(|i| EntryId::new(first.term, index(i)));
            ids.zip(sizes).map(|(id, &size_bytes)| EntryMeta { id, size_bytes }).collect()
        }
        NewEntries::NoOp { id } => vec![EntryMeta { id, size_bytes: 0 }],
    }
}
