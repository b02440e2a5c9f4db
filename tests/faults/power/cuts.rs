//! Power cuts under a working cluster: of one node, two or all, and again during recovery.

use std::time::Duration;

use lograft_sim::chance::Chance;
use tokio::time::sleep;

use super::disks::FileSystem;
use super::machines::{Machines, SMALL_SEGMENTS, Tally};

/// Operations before the power cut, so that it strikes a cluster at work.
const BEFORE: u64 = 300;
/// The delay of the power cut after that, in milliseconds.
const MOMENT_MS: (u64, u64) = (0, 400);
/// How long the power stays off, in milliseconds: from less than an election, which begins after 1000 to
/// 1500, to more.
const AWAY_MS: (u64, u64) = (0, 2000);
/// The delay of a second cut after power is back, in milliseconds: a node is reading its log, or has just
/// rejoined.
const AGAIN_MS: (u64, u64) = (0, 60);
/// The delay of the cut of the next node, in milliseconds.
const NEXT_MS: (u64, u64) = (0, 300);

/// The nodes that lose power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Leader,
    Follower,
    LeaderAndFollower,
    Followers,
    All,
    /// All, and once more during recovery.
    AllTwice,
    FollowerTwice,
    /// One shortly after the other; the first is back only after the last has lost power.
    OneAfterAnother,
}

impl Cut {
    const ROUND: [Self; 8] = [
        Self::Leader,
        Self::All,
        Self::FollowerTwice,
        Self::LeaderAndFollower,
        Self::AllTwice,
        Self::Follower,
        Self::OneAfterAnother,
        Self::Followers,
    ];
}

/// The number of power cuts, by file system.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    pub(crate) ext4: usize,
    pub(crate) xfs: usize,
}

impl Cuts {
    pub(crate) fn all(&self) -> usize {
        self.ext4 + self.xfs
    }
}

/// Cuts the power of at least `wanted` file systems, in round after round.
pub(crate) async fn cut(wanted: usize, seed: u64) -> (Cuts, Tally) {
    use FileSystem::{Ext4, Xfs};
    let (mut cuts, mut tally) = (Cuts::default(), Tally::default());
    for number in 0.. {
        if cuts.all() >= wanted {
            break;
        }
        // New disks now and then, so that logs stay short and both file systems get the majority at times.
        let kinds = [[Ext4, Xfs, Ext4], [Xfs, Ext4, Xfs]][number % 2];
        let mut machines = Machines::start(&kinds, SMALL_SEGMENTS, seed.wrapping_add(number as u64)).await;
        let mut chance = Chance::new(seed, number as u64);
        for kind in Cut::ROUND {
            if cuts.all() >= wanted {
                break;
            }
            tally.add(&round(&mut machines, kind, &mut chance, &mut cuts).await);
        }
        tally.histories += machines.conclude().await;
    }
    (cuts, tally)
}

async fn round(machines: &mut Machines, kind: Cut, chance: &mut Chance, cuts: &mut Cuts) -> Tally {
    let begun = machines.bench.clock.now();
    let work = machines.work();
    work.1.reaches(BEFORE).await;
    pass(chance, MOMENT_MS).await;
    let (leader, mut others) = machines.roles().await;
    chance.shuffle(&mut others);
    let victims = match kind {
        Cut::Leader => vec![leader],
        Cut::Follower | Cut::FollowerTwice => vec![others[0]],
        Cut::LeaderAndFollower => vec![leader, others[0]],
        Cut::Followers => others,
        Cut::All | Cut::AllTwice | Cut::OneAfterAnother => vec![leader, others[0], others[1]],
    };
    match kind {
        Cut::Leader | Cut::Follower | Cut::LeaderAndFollower | Cut::Followers | Cut::All => {
            strike(machines, &victims, cuts);
        }
        Cut::FollowerTwice | Cut::AllTwice => {
            strike(machines, &victims, cuts);
            machines.restore_power(&victims);
            pass(chance, AGAIN_MS).await;
            strike(machines, &victims, cuts);
        }
        Cut::OneAfterAnother => {
            for victim in &victims {
                strike(machines, &[*victim], cuts);
                pass(chance, NEXT_MS).await;
            }
        }
    }
    let away_ms = pass(chance, AWAY_MS).await;
    machines.restore_power(&victims);
    machines.bench.heal().await;
    let tally = machines.settle(work).await;
    println!(
        "power: {kind:?} {victims:?}, away for {away_ms} ms: {} operations, {} acknowledged, {} unknown, {} ms",
        tally.operations,
        tally.acknowledged,
        tally.unknown,
        (machines.bench.clock.now() - begun) / 1_000_000
    );
    tally
}

fn strike(machines: &mut Machines, victims: &[usize], cuts: &mut Cuts) {
    machines.cut_power(victims);
    for victim in victims {
        match machines.disks[*victim].kind {
            FileSystem::Ext4 => cuts.ext4 += 1,
            FileSystem::Xfs => cuts.xfs += 1,
        }
    }
}

/// Lets time pass, for a duration that is part of the plan.
async fn pass(chance: &mut Chance, (low, high): (u64, u64)) -> u64 {
    let length_ms = chance.between(low, high);
    sleep(Duration::from_millis(length_ms)).await;
    length_ms
}
