//! Full disks: writes are refused clearly, everything else keeps working, and the cluster recovers.

use std::time::Duration;

use futures_util::future::join_all;
use lograft::proto::v1;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};

use super::disks::FileSystem;
use super::machines::{FILLER, LARGEST_VALUE_BYTES, Machines, PULSE, SMALL_SEGMENTS, Tally};
use crate::support::{Node, PATIENCE, pause};

/// The metadata key for the outcome of a refused write.
const OUTCOME: &str = "lograft-outcome";
/// How often each node is checked while disks are full. Each time, writes must succeed where they can.
const LOOKS: usize = 20;

/// The longest a response may take that needs no other node.
const PROMPT: Duration = Duration::from_secs(1);

/// Large values set at once. Half as many fill a segment.
const AT_ONCE: usize = 8;

/// The nodes whose disks are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    Leader,
    Follower,
    Followers,
    All,
    /// All, and then all of them lose power, so that they start on full disks.
    AllCut,
}

impl Full {
    const ROUND: [Self; 5] = [Self::Leader, Self::Follower, Self::All, Self::Followers, Self::AllCut];
}

/// Large values under one key, numbered to tell them apart.
#[derive(Debug, Default)]
struct Filler {
    asked: usize,
    /// An older value must not be found: a later one was acknowledged.
    oldest: usize,
    acknowledged: usize,
}

impl Filler {
    /// Sets several at once, in any order. If the followers have no credit, each waits until its timeout.
    async fn set(&mut self, node: &Node, count: usize) -> Vec<Result<v1::SetResponse, Status>> {
        let first = self.asked + 1;
        self.asked += count;
        let values = (first..=self.asked)
            .map(|number| format!("{number:08}{}", "v".repeat(LARGEST_VALUE_BYTES - 8)))
            .collect::<Vec<_>>();
        let answers = join_all(values.iter().map(|value| node.set(FILLER, value))).await;
        let acknowledged = answers.iter().filter(|answer| answer.is_ok()).count();
        if acknowledged > 0 {
            self.oldest = first;
        }
        self.acknowledged += acknowledged;
        answers
    }

    /// A read through this node returns a value at least as new as the last ones acknowledged.
    async fn expect_in(&self, node: &Node) {
        let value = node.get(FILLER).await.unwrap_or_else(|error| panic!("{}: {error}", node.name));
        self.expect(node, self.oldest, value);
    }

    /// The node's own map is read at once. It may be stale.
    async fn expect_behind_in(&self, node: &Node) {
        let read = timeout(PROMPT, node.get_serializable(FILLER))
            .await
            .expect("a serializable read waits for no other node");
        self.expect(node, 0, read.expect("a read from the map"));
    }

    fn expect(&self, node: &Node, least: usize, value: Option<String>) {
        let number = value.map_or(0, |value| value[..8].parse().expect("the value begins with a number"));
        assert!(
            (least..=self.asked).contains(&number),
            "{} reads value {number}, not one from {least} to {}",
            node.name,
            self.asked
        );
    }
}

/// Fills disks in this many rounds.
pub(crate) async fn fill(rounds: usize, seed: u64) -> Tally {
    use FileSystem::{Ext4, Xfs};
    let mut tally = Tally::default();
    let mut number = 0;
    while number < rounds {
        let kinds = [[Xfs, Ext4, Xfs], [Ext4, Xfs, Ext4]][number / Full::ROUND.len() % 2];
        let mut machines = Machines::start(&kinds, SMALL_SEGMENTS, seed.wrapping_add(number as u64)).await;
        for kind in Full::ROUND.into_iter().take(rounds - number) {
            tally.add(&round(&mut machines, kind).await);
            number += 1;
        }
        tally.histories += machines.conclude().await;
    }
    tally
}

async fn round(machines: &mut Machines, kind: Full) -> Tally {
    let begun = machines.bench.clock.now();
    let work = machines.work();
    let (leader, others) = machines.roles().await;
    let victims = match kind {
        Full::Leader => vec![leader],
        Full::Follower => vec![others[0]],
        Full::Followers => others.clone(),
        Full::All | Full::AllCut => vec![leader, others[0], others[1]],
    };
    let terms = machines.terms().await;
    victims.iter().for_each(|victim| machines.disks[*victim].fill());

    let mut filler = Filler::default();
    let refused = fill_up(machines, &mut filler, leader, &victims).await;
    if victims.contains(&leader) {
        let refused = refused.expect("the leader knows that its disk is full");
        assert!(refused.message().contains("disk") && refused.message().contains("full"), "{refused}");
        assert_eq!(refused.metadata().get(OUTCOME).expect("the outcome is in the metadata"), "not-applied");
    }
    for place in 0..LOOKS {
        let node = &machines.bench.cluster.nodes[place % 3];
        if place % 3 != leader && victims.contains(&(place % 3)) {
            // It has no credit for what the others have committed since, so it cannot serve a linearizable
            // read from its own map now.
            filler.expect_behind_in(node).await;
        } else {
            filler.expect_in(node).await;
        }
        if kind == Full::Follower {
            for answer in filler.set(&machines.bench.cluster.nodes[leader], 1).await {
                answer.expect("two of three have space");
            }
        }
    }
    assert_eq!(machines.terms().await, terms, "an election, although heartbeats need no disk");
    if kind == Full::AllCut {
        machines.cut_power(&victims);
        machines.restore_power(&victims);
        machines.bench.cluster.ready().await;
        for node in &machines.bench.cluster.nodes {
            filler.expect_in(node).await;
        }
    }

    victims.iter().for_each(|victim| machines.disks[*victim].free());
    machines.bench.cluster.heal(PULSE, "1").await;
    let tally = machines.settle(work).await;
    room_again(machines).await;
    for node in &machines.bench.cluster.nodes {
        filler.expect_in(node).await;
    }
    println!(
        "full: {kind:?} {victims:?}: {} of {} large values taken, {} operations, {} acknowledged, {} unknown, {} ms",
        filler.acknowledged,
        filler.asked,
        tally.operations,
        tally.acknowledged,
        tally.unknown,
        (machines.bench.clock.now() - begun) / 1_000_000
    );
    tally
}

/// Writes through the leader until each victim reports a full disk. Returns how the leader refuses, if it
/// does.
async fn fill_up(
    machines: &Machines,
    filler: &mut Filler,
    leader: usize,
    victims: &[usize],
) -> Option<Status> {
    let begun = Instant::now();
    let mut refused = None;
    loop {
        assert!(begun.elapsed() < PATIENCE, "the disks of {victims:?} are full, but no status reports it");
        for answer in filler.set(&machines.bench.cluster.nodes[leader], AT_ONCE).await {
            match answer {
                Ok(_) => {}
                Err(status) if status.code() == Code::ResourceExhausted => refused = Some(status),
                // The leader may have had space for it, but no follower.
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
            }
        }
        let statuses = machines.statuses().await;
        let told = victims.iter().all(|victim| statuses[*victim].disk_full);
        if told && (refused.is_some() || !victims.contains(&leader)) {
            return refused;
        }
    }
}

/// Waits until no node reports a full disk: each checks for space now and then.
async fn room_again(machines: &Machines) {
    let begun = Instant::now();
    while machines.statuses().await.iter().any(|status| status.disk_full) {
        assert!(begun.elapsed() < PATIENCE, "there is space, but a node does not notice");
        pause().await;
    }
}
