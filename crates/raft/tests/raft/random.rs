//! Seeded random faults: loss, delay, duplication, reordering, cuts, crashes, slow disks. The cluster checks safety
//! at each step. Afterwards everything heals, and the cluster must commit again.

use lograft_raft::Input;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::cluster::{Cluster, LONG, TIMEOUT, id};

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
        }
    }
}

fn chaos(cluster: &mut Cluster, rng: &mut Xoshiro256PlusPlus, steps: u32) {
    let faults = Faults::draw(rng);
    let nodes = cluster.ids();
    for _ in 0..steps {
        let node = pick(rng, &nodes);
        match rng.next_u32() % 8 {
            0 | 1 => cluster.tick(node, 1 + rng.next_u32() % 3),
            2 => drop(cluster.propose(node, 1 + rng.next_u32() as usize % 4)),
            3 => drop(cluster.read(node)),
            4 if chance(rng, faults.flush) => {
                cluster.persist(node);
            }
            5 if chance(rng, faults.crash) => {
                cluster.crash(node);
                for &other in &nodes {
                    if chance(rng, 80) {
                        cluster.step(other, Input::StreamLost { from: id(node) });
                    }
                    cluster.step(other, Input::LinkLost { to: id(node) });
                }
                cluster.restart(node);
            }
            6 if chance(rng, faults.cut) => cluster.cut_one_way(node, pick(rng, &nodes)),
            6 if chance(rng, faults.cut) => cluster.heal(),
            7 if chance(rng, faults.cut) => {
                let to = id(pick(rng, &nodes));
                drop(cluster.step(node, Input::LinkLost { to }));
            }
            _ => deliver_badly(cluster, rng, &faults),
        }
    }
}

fn deliver_badly(cluster: &mut Cluster, rng: &mut Xoshiro256PlusPlus, faults: &Faults) {
    for _ in 0..1 + rng.next_u32() % 6 {
        if cluster.network.is_empty() {
            return;
        }
        let place =
            if chance(rng, faults.reorder) { rng.next_u32() as usize % cluster.network.len() } else { 0 };
        let packet = cluster.network.remove(place).expect("a packet");
        if chance(rng, faults.duplicate) {
            cluster.network.push_back(packet.clone());
        }
        if !chance(rng, faults.loss) {
            cluster.deliver(packet);
        }
    }
}

fn round(seed: u64, size: u64) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut cluster = Cluster::new(size);
    for _ in 0..3 {
        chaos(&mut cluster, &mut rng, 1000);
    }
    cluster.heal();
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
    cluster.assert_idle();
}

#[test]
fn three_nodes_stay_safe_and_recover_from_any_mix_of_faults() {
    for seed in 0..200 {
        round(seed, 3);
    }
}

#[test]
fn five_nodes_stay_safe_and_recover_from_any_mix_of_faults() {
    for seed in 1000..1060 {
        round(seed, 5);
    }
}

#[test]
fn one_node_stays_safe_and_recovers() {
    for seed in 2000..2020 {
        round(seed, 1);
    }
}
