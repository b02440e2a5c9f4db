//! Disks that freeze for seconds: their nodes stay responsive, and the cluster keeps its leader.

use std::time::Duration;

use lograft::proto::v1;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};

use super::disks::FileSystem;
use super::machines::{FILLER, KEPT, LARGEST_VALUE_BYTES, Machines, PULSE, ROOMY_SEGMENTS, Tally};
use crate::support::{Node, PATIENCE};

/// Several election timeouts, which begin at one second; less than the five seconds that a request waits at
/// most.
const FREEZE: Duration = Duration::from_secs(4);
/// The longest a response may take that needs no disk: far less than a freeze.
const PROMPT: Duration = Duration::from_secs(1);

/// The nodes whose disks freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frozen {
    Follower,
    Leader,
    Followers,
    All,
    /// The leader, until the segments prepared before have no credit left.
    LeaderUntilItWaits,
}

impl Frozen {
    const ROUND: [Self; 5] =
        [Self::Follower, Self::Leader, Self::All, Self::LeaderUntilItWaits, Self::Followers];
}

/// Freezes disks this many times.
pub(crate) async fn freeze(freezes: usize, seed: u64) -> Tally {
    use FileSystem::{Ext4, Xfs};
    let mut tally = Tally::default();
    let mut number = 0;
    while number < freezes {
        // Whichever node leads, each file system is frozen at some point.
        let kinds = [[Xfs, Xfs, Ext4], [Ext4, Ext4, Xfs]][number / Frozen::ROUND.len() % 2];
        let mut machines = Machines::start(&kinds, ROOMY_SEGMENTS, seed.wrapping_add(number as u64)).await;
        fill_first_segments(&machines).await;
        for kind in Frozen::ROUND.into_iter().take(freezes - number) {
            tally.add(&round(&mut machines, kind).await);
            number += 1;
        }
        tally.histories += machines.conclude().await;
    }
    tally
}

/// Fills the first segments, of 1 and 2 MiB: those in use are then as large as they get.
async fn fill_first_segments(machines: &Machines) {
    let (leader, _) = machines.roles().await;
    let value = "v".repeat(LARGEST_VALUE_BYTES);
    for _ in 0..(4 << 20) / LARGEST_VALUE_BYTES {
        machines.bench.cluster.nodes[leader].set(FILLER, &value).await.expect("all is well");
    }
}

async fn round(machines: &mut Machines, kind: Frozen) -> Tally {
    let (leader, others) = machines.roles().await;
    machines.bench.cluster.nodes[leader].set(KEPT, "1").await.expect("a healthy cluster acknowledges");
    machines.bench.cluster.converge().await;
    let work = machines.work();
    let terms = machines.terms().await;
    let victims = match kind {
        Frozen::Follower => vec![others[0]],
        Frozen::Leader | Frozen::LeaderUntilItWaits => vec![leader],
        Frozen::Followers => others,
        Frozen::All => vec![leader, others[0], others[1]],
    };
    victims.iter().for_each(|victim| machines.disks[*victim].freeze());
    let waiting = match kind {
        Frozen::Follower | Frozen::Leader => {
            watch(machines, &victims, Some(leader)).await;
            None
        }
        Frozen::Followers | Frozen::All => {
            let waiting = write(&machines.bench.cluster.nodes[leader], PULSE, "1").await;
            watch(machines, &victims, None).await;
            assert!(!waiting.is_finished(), "answered although the disks are frozen");
            Some(waiting)
        }
        Frozen::LeaderUntilItWaits => {
            let waiting = write_until_one_waits(machines, leader).await;
            watch(machines, &victims, None).await;
            Some(waiting)
        }
    };
    assert_eq!(machines.terms().await, terms, "an election, although heartbeats need no disk");
    victims.iter().for_each(|victim| machines.disks[*victim].thaw());

    if let Some(waiting) = waiting {
        // It may have timed out; then it must say so.
        if let Err(status) = timeout(PATIENCE, waiting).await.expect("an answer").expect("no panic") {
            assert_eq!(status.code(), Code::Unavailable, "{status}");
        }
    }
    let tally = machines.settle(work).await;
    assert_eq!(machines.terms().await, terms, "an election after the disks were thawed");
    println!(
        "frozen: {kind:?} {victims:?}: {} operations, {} acknowledged, {} unknown",
        tally.operations, tally.acknowledged, tally.unknown
    );
    tally
}

/// While the disks are frozen, every node responds at once to what needs no disk, and knows its leader.
/// Writes through `writer` succeed.
async fn watch(machines: &Machines, frozen: &[usize], writer: Option<usize>) {
    let leader = machines.bench.cluster.leader().await;
    let begun = Instant::now();
    let mut written = 0;
    while begun.elapsed() < FREEZE {
        for (place, node) in machines.bench.cluster.nodes.iter().enumerate() {
            let at_once = |what: &str| format!("{}: {what} must not wait for a disk", node.name);
            let read = timeout(PROMPT, node.get_serializable(KEPT)).await;
            let found = read.unwrap_or_else(|_| panic!("{}", at_once("a read from the map")));
            assert_eq!(found.expect("a read"), Some("1".to_owned()));
            let status = timeout(PROMPT, node.status()).await;
            let status = status.unwrap_or_else(|_| panic!("{}", at_once("a status")));
            assert_ne!(status.expect("a status").leader_id, 0, "{} has lost its leader", node.name);
            // A follower that has no credit for what the others commit cannot serve a linearizable read from
            // its map now.
            if place == leader || !frozen.contains(&place) {
                let read = timeout(PROMPT, node.get(KEPT)).await;
                let found = read.unwrap_or_else(|_| panic!("{}", at_once("a read index")));
                assert_eq!(found.expect("a read"), Some("1".to_owned()));
            }
        }
        if let Some(writer) = writer {
            let write = machines.bench.cluster.nodes[writer].set(PULSE, "1");
            timeout(PROMPT, write).await.expect("a majority flushes").expect("acknowledged");
            written += 1;
        }
    }
    assert!(writer.is_none() || written > 0);
}

/// A write in progress.
type Write = JoinHandle<Result<(), Status>>;

async fn write(node: &Node, key: &str, value: &str) -> Write {
    let request = v1::SetRequest { key: key.to_owned(), value: value.to_owned(), ..Default::default() };
    let mut client = node.kv().await.expect("a connection");
    tokio::spawn(async move { client.set(request).await.map(drop) })
}

/// Writes large values through the node, which the others acknowledge, until one waits for the frozen disk.
async fn write_until_one_waits(machines: &Machines, frozen: usize) -> Write {
    let value = "v".repeat(LARGEST_VALUE_BYTES);
    for _ in 0..1000 {
        let mut write = write(&machines.bench.cluster.nodes[frozen], FILLER, &value).await;
        match timeout(PROMPT, &mut write).await {
            Ok(answer) => answer.expect("no panic").expect("acknowledged by the other two"),
            Err(_) => return write,
        }
    }
    panic!("the frozen disk still takes writes past its prepared segments");
}
