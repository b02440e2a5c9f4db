//! Power that is cut under a cluster at work: below one node, two or all, and again while they recover.

use std::time::Duration;

use lograft_sim::chance::Chance;
use tokio::time::sleep;

use super::disks::FileSystem;
use super::machines::{Machines, SMALL_SEGMENTS, Tally};

/// Operations before the power goes: it must strike a cluster at work.
const BEFORE: u64 = 300;
/// It goes at any moment after that. Milliseconds.
const MOMENT_MS: (u64, u64) = (0, 400);
/// How long it stays away, in milliseconds: from less than an election, which begins after 1000 to 1500, to more.
const AWAY_MS: (u64, u64) = (0, 2000);
/// When it goes once more after it came back, in milliseconds: while a node reads its log, or has just joined again.
const AGAIN_MS: (u64, u64) = (0, 60);
/// When it goes below the next one.
const NEXT_MS: (u64, u64) = (0, 300);

/// Whose power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Leader,
    Follower,
    LeaderAndFollower,
    Followers,
    All,
    /// And once more while they recover.
    AllTwice,
    FollowerTwice,
    /// One shortly after the other; the first is back only when the last is gone.
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

/// How often the power went, by file system.
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

/// Cuts the power of so many file systems at least, in round after round.
pub(crate) async fn cut(wanted: usize, seed: u64) -> (Cuts, Tally) {
    use FileSystem::{Ext4, Xfs};
    let (mut cuts, mut tally) = (Cuts::default(), Tally::default());
    for number in 0.. {
        if cuts.all() >= wanted {
            break;
        }
        // New disks now and then, so that logs stay short and both kinds get the majority.
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

/// Lets time pass: how long is part of the plan.
async fn pass(chance: &mut Chance, (low, high): (u64, u64)) -> u64 {
    let length_ms = chance.between(low, high);
    sleep(Duration::from_millis(length_ms)).await;
    length_ms
}
