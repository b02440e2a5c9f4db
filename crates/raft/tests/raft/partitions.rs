//! Links that work in one direction only. In November 2020 such a fault made Cloudflare's etcd elect leader after
//! leader.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::cluster::{Cluster, TIMEOUT};

/// Every link from one node to another, in a cluster of this size.
fn links(size: u64) -> Vec<(u64, u64)> {
    (1..=size).flat_map(|from| (1..=size).filter(move |&to| to != from).map(move |to| (from, to))).collect()
}

/// Cuts the links whose bit is set, while `first_leader` leads. If some node has links in both directions to a
/// majority, a leader must emerge and be able to commit. In any case, terms must stop rising.
fn survives(size: u64, pattern: u64, first_leader: u64) {
    let name = format!("{size} nodes, pattern {pattern:b}, leader {first_leader}");
    let mut cluster = Cluster::new(size);
    cluster.elect(first_leader);
    let links = links(size);
    let works = |from, to| {
        from == to || links.iter().zip(0..).any(|(&link, bit)| link == (from, to) && pattern >> bit & 1 == 0)
    };
    for &(from, to) in &links {
        if !works(from, to) {
            cluster.cut_one_way(from, to);
        }
    }
    let reach = |node| (1..=size).filter(|&other| works(node, other) && works(other, node)).count() as u64;
    let can_lead = (1..=size).any(|node| reach(node) > size / 2);

    cluster.run(15 * TIMEOUT);
    let terms = |cluster: &Cluster| (1..=size).map(|node| cluster.raft(node).term()).collect::<Vec<_>>();
    let after = terms(&cluster);
    assert!(after.iter().all(|term| term.get() <= 8), "{name}: runaway terms {after:?}");
    cluster.run(10 * TIMEOUT);
    assert_eq!(terms(&cluster), after, "{name}: terms still rise");

    let leaders = cluster.leaders();
    assert!(leaders.len() <= 1, "{name}: leaders {leaders:?}");
    assert_eq!(leaders.len() == 1, can_lead, "{name}: leaders {leaders:?}");
    if let Some(&(leader, _)) = leaders.first() {
        let before = cluster.raft(leader).commit();
        cluster.propose(leader, 1);
        cluster.settle();
        assert_eq!(cluster.raft(leader).commit(), before.next(), "{name}: nothing commits");
    }
}

#[test]
fn pitfall_09_every_pattern_of_one_way_links_among_three_nodes() {
    for pattern in 0..1 << 6 {
        for leader in 1..=3 {
            survives(3, pattern, leader);
        }
    }
}

#[test]
fn pitfall_09_a_sample_of_one_way_links_among_five_nodes() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(9);
    for _ in 0..150 {
        // Half of the links on average, then a quarter.
        let pattern = rng.next_u64() & ((1 << 20) - 1);
        let sparse = pattern & rng.next_u64();
        survives(5, pattern, 1 + rng.next_u64() % 5);
        survives(5, sparse, 1 + rng.next_u64() % 5);
    }
}
