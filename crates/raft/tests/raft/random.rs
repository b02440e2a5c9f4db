//! Seeded random faults: loss, delay, duplication, reordering, cuts, crashes, slow disks, late reports of flushes, logs
//! without credit, leaders that come back. The cluster checks safety at each step. Afterwards everything heals, and the
//! cluster must commit again and have answered every read.

use std::collections::{BTreeMap, VecDeque};

use lograft_raft::{Input, ReadId, ReadOutcome, Request};
use lograft_types::{EntryId, EntryMeta, LogIndex, WriteSeq};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::cluster::{Cluster, LONG, Message, Packet, TIMEOUT, id};

fn chance(rng: &mut Xoshiro256PlusPlus, percent: u32) -> bool {
    rng.next_u32() % 100 < percent
}

fn pick<T: Copy>(rng: &mut Xoshiro256PlusPlus, from: &[T]) -> T {
    from[rng.next_u32() as usize % from.len()]
}

/// How often each fault occurs, in percent: some seeds have none of a kind, others many.
struct Faults {
    loss: u32,
    duplicate: u32,
    reorder: u32,
    crash: u32,
    cut: u32,
    flush: u32,
    /// Messages that are held up for long.
    hold: u32,
    /// Flushes whose report comes later.
    late: u32,
    /// Appends whose entries the follower has no credit for.
    clip: u32,
    /// Appends that begin with entries which the follower has.
    repeat: u32,
    /// A leader is deposed, and elected again.
    depose: u32,
}

impl Faults {
    fn draw(rng: &mut Xoshiro256PlusPlus) -> Self {
        Self {
            loss: pick(rng, &[0, 2, 20]),
            duplicate: pick(rng, &[0, 5, 20]),
            reorder: pick(rng, &[0, 10, 50]),
            crash: pick(rng, &[0, 1, 3]),
            cut: pick(rng, &[0, 2, 5]),
            flush: pick(rng, &[5, 30, 90]),
            hold: pick(rng, &[0, 2, 15]),
            late: pick(rng, &[0, 20, 80]),
            clip: pick(rng, &[0, 5, 30]),
            repeat: pick(rng, &[0, 5, 50]),
            depose: pick(rng, &[0, 1, 10]),
        }
    }
}

/// What a run of chaos keeps beside the cluster.
#[derive(Default)]
struct Aside {
    steps: u32,
    /// Messages that are held up, and until which step.
    held: Vec<(u32, Packet)>,
    /// Flushes that were not reported yet.
    unreported: BTreeMap<u64, VecDeque<WriteSeq>>,
    /// What was committed anywhere when a read came in, and where it did.
    reads: BTreeMap<ReadId, (u64, LogIndex)>,
}

impl Aside {
    fn hold(&mut self, rng: &mut Xoshiro256PlusPlus, packet: Packet) {
        self.held.push((self.steps + rng.next_u32() % 1500, packet));
    }

    /// Puts back the messages that were held up long enough.
    fn release(&mut self, cluster: &mut Cluster) {
        self.steps += 1;
        let due = self.held.extract_if(.., |(until, _)| *until <= self.steps);
        cluster.network.extend(due.map(|(_, packet)| packet));
    }

    fn report(&mut self, cluster: &mut Cluster, node: u64) {
        if let Some(write) = self.unreported.get_mut(&node).and_then(VecDeque::pop_front) {
            cluster.step(node, Input::Persisted { write });
        }
    }

    fn read(&mut self, cluster: &mut Cluster, node: u64) {
        let floor =
            cluster.ids().into_iter().map(|node| cluster.raft(node).commit()).max().unwrap_or_default();
        let read = cluster.read(node);
        self.reads.insert(read, (node, floor));
        self.check_reads(cluster);
    }

    /// A read sees everything that was committed when it came in. Returns how many reads have no answer.
    fn check_reads(&mut self, cluster: &Cluster) -> usize {
        self.reads.retain(|id, (_, floor)| match cluster.reads.get(id) {
            Some(ReadOutcome::ReadAt { index, .. }) => {
                assert!(index >= floor, "{id:?} may read at {index}, but {floor} was committed before it");
                false
            }
            Some(ReadOutcome::Lost { .. }) => false,
            None => true,
        });
        self.reads.len()
    }
}

fn chaos(cluster: &mut Cluster, rng: &mut Xoshiro256PlusPlus, aside: &mut Aside, steps: u32) {
    let faults = Faults::draw(rng);
    let nodes = cluster.ids();
    for _ in 0..steps {
        aside.release(cluster);
        let node = pick(rng, &nodes);
        match rng.next_u32() % 8 {
            0 | 1 => cluster.tick(node, 1 + rng.next_u32() % 3),
            2 => drop(cluster.propose(node, 1 + rng.next_u32() as usize % 4)),
            3 => aside.read(cluster, node),
            4 if chance(rng, faults.flush) => flush(cluster, rng, aside, &faults, node),
            4 => aside.report(cluster, node),
            5 if chance(rng, faults.crash) => {
                cluster.crash(node);
                aside.held.retain(|(_, packet)| packet.from != id(node) || chance(rng, 50));
                aside.unreported.remove(&node);
                aside.reads.retain(|_, (at, _)| *at != node);
                for &other in &nodes {
                    if chance(rng, 80) {
                        cluster.step(other, Input::StreamLost { from: id(node) });
                    }
                    cluster.step(other, Input::LinkLost { to: id(node) });
                }
                cluster.restart(node);
            }
            5 if chance(rng, faults.depose) => depose(cluster, rng, aside, &faults),
            6 if chance(rng, faults.cut) => cluster.cut_one_way(node, pick(rng, &nodes)),
            6 if chance(rng, faults.cut) => cluster.heal(),
            7 if chance(rng, faults.cut) => {
                let to = id(pick(rng, &nodes));
                drop(cluster.step(node, Input::LinkLost { to }));
            }
            _ => deliver_badly(cluster, rng, aside, &faults),
        }
    }
    aside.check_reads(cluster);
}

/// A flush covers some of the writes, and is reported now or later. Reports stay in order.
fn flush(cluster: &mut Cluster, rng: &mut Xoshiro256PlusPlus, aside: &mut Aside, faults: &Faults, node: u64) {
    let unflushed = cluster.unflushed(node);
    if unflushed.is_empty() {
        return aside.report(cluster, node);
    }
    let last = if chance(rng, 50) { unflushed[unflushed.len() - 1] } else { pick(rng, &unflushed) };
    cluster.flush_through(node, last);
    aside.unreported.entry(node).or_default().push_back(last);
    if !chance(rng, faults.late) {
        while aside.unreported.get(&node).is_some_and(|reports| !reports.is_empty()) {
            aside.report(cluster, node);
        }
    }
}

/// The leader is out of touch until another one leads, and then it leads again. What it sent and was sent in its first
/// term is still under way.
fn depose(cluster: &mut Cluster, rng: &mut Xoshiro256PlusPlus, aside: &mut Aside, faults: &Faults) {
    let Some(&(leader, _)) = cluster.leaders().last() else { return };
    let nodes = cluster.ids();
    for favourite in [pick(rng, &nodes), leader] {
        let concerns = |packet: &Packet| packet.from == id(leader) || packet.to == id(leader);
        for packet in std::mem::take(&mut cluster.network) {
            if concerns(&packet) { aside.hold(rng, packet) } else { cluster.network.push_back(packet) }
        }
        for &node in &nodes {
            cluster.tick(node, TIMEOUT);
        }
        cluster.tick(favourite, LONG);
        for _ in 0..20 {
            deliver_badly(cluster, rng, aside, faults);
            let node = pick(rng, &nodes);
            flush(cluster, rng, aside, faults, node);
        }
    }
}

fn deliver_badly(cluster: &mut Cluster, rng: &mut Xoshiro256PlusPlus, aside: &mut Aside, faults: &Faults) {
    for _ in 0..1 + rng.next_u32() % 6 {
        if cluster.network.is_empty() {
            return;
        }
        let place =
            if chance(rng, faults.reorder) { rng.next_u32() as usize % cluster.network.len() } else { 0 };
        let mut packet = cluster.network.remove(place).expect("a packet");
        if chance(rng, faults.duplicate) {
            cluster.network.push_back(packet.clone());
        }
        if chance(rng, faults.hold) {
            aside.hold(rng, packet);
        } else if !chance(rng, faults.loss) {
            if chance(rng, faults.repeat) {
                begin_earlier(cluster, &mut packet);
            }
            if chance(rng, faults.clip) {
                clip(rng, &mut packet);
            }
            cluster.deliver(packet);
        }
    }
}

/// An append begins with an entry before it, as a leader would that knows less of its follower. The follower may hear of
/// the leader's term for the first time.
fn begin_earlier(cluster: &Cluster, packet: &mut Packet) {
    let leader = cluster.raft(packet.from.get());
    if let Message::Request(Request::AppendEntries(append)) = &mut packet.message
        && cluster.is_up(packet.from.get())
        && leader.is_leader()
        && leader.term() == append.term
        && let Some(before) = append.prev.index.prev()
    {
        append.entries.insert(0, EntryMeta { id: append.prev, size_bytes: 10 });
        append.prev = EntryId::new(leader.term_at(before).expect("the leader's log has no gap"), before);
    }
}

/// The follower's log has credit for the first entries only.
fn clip(rng: &mut Xoshiro256PlusPlus, packet: &mut Packet) {
    if let Message::Request(Request::AppendEntries(append)) = &mut packet.message
        && !append.entries.is_empty()
    {
        append.entries.truncate(rng.next_u32() as usize % append.entries.len());
        append.clipped = true;
    }
}

fn round(seed: u64, size: u64) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut cluster = Cluster::new(size);
    let mut aside = Aside::default();
    for _ in 0..3 {
        chaos(&mut cluster, &mut rng, &mut aside, 1000);
    }
    cluster.heal();
    for node in cluster.ids() {
        while aside.unreported.get(&node).is_some_and(|reports| !reports.is_empty()) {
            aside.report(&mut cluster, node);
        }
    }
    cluster.network.extend(aside.held.drain(..).map(|(_, packet)| packet));
    cluster.settle();
    cluster.run(6 * LONG);
    let leaders = cluster.leaders();
    assert_eq!(leaders.len(), 1, "seed {seed}: {leaders:?}");
    let (leader, _) = leaders[0];
    cluster.propose(leader, 1);
    cluster.run(TIMEOUT);
    for node in cluster.ids() {
        assert_eq!(cluster.halted(node), None, "seed {seed}");
        assert_eq!(
            cluster.raft(node).commit(),
            cluster.raft(leader).last().index,
            "seed {seed}: node {node}"
        );
    }
    assert_eq!(aside.check_reads(&cluster), 0, "seed {seed}: a read was not answered");
    cluster.assert_idle();
}

#[test]
fn three_nodes_stay_safe_and_recover_from_any_mix_of_faults() {
    for seed in 0..1000 {
        round(seed, 3);
    }
}

#[test]
fn five_nodes_stay_safe_and_recover_from_any_mix_of_faults() {
    for seed in 1000..1300 {
        round(seed, 5);
    }
}

#[test]
fn one_node_stays_safe_and_recovers() {
    for seed in 2000..2020 {
        round(seed, 1);
    }
}
