//! The faults of a running cluster. A fault leaves the repair to [`Bench::heal`].

use std::collections::BTreeSet;
use std::time::Duration;

use lograft_sim::chance::Chance;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use crate::bench::Bench;
use crate::links::Gate;
use crate::support::{PATIENCE, pause};

/// How long links stay cut and nodes frozen, in milliseconds. Nodes wait 1000 to 1500 ms for a leader before
/// they elect another.
const LENGTH_MS: (u64, u64) = (1800, 3200);
/// How long a fault lasts after another leader was elected, in milliseconds: the old one must not serve
/// meanwhile.
const DEPOSED_MS: (u64, u64) = (300, 1500);
/// How long a killed node stays down, in milliseconds: from less than an election to more than one.
const AWAY_MS: (u64, u64) = (50, 2500);
/// How long a flapping link, or one step of a mixture, keeps its state, in milliseconds.
const STEP_MS: (u64, u64) = (100, 900);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    KillLeader,
    DeafenLeader,
    FreezeLeader,
    SplitMajority,
    KillAll,
    MuteLeader,
    Mixture,
    FlapLinks,
    IsolateLeader,
    FreezeFollowers,
    RestartAll,
    KillFollower,
}

impl Fault {
    /// All of them, ordered so that the first few differ most.
    pub(crate) const ALL: [Self; 12] = [
        Self::KillLeader,
        Self::DeafenLeader,
        Self::FreezeLeader,
        Self::SplitMajority,
        Self::KillAll,
        Self::MuteLeader,
        Self::Mixture,
        Self::FlapLinks,
        Self::IsolateLeader,
        Self::FreezeFollowers,
        Self::RestartAll,
        Self::KillFollower,
    ];

    /// The name to print.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "leader killed",
            Self::DeafenLeader => "one-way cut to the leader",
            Self::FreezeLeader => "leader frozen",
            Self::SplitMajority => "leader in the minority",
            Self::KillAll => "all killed",
            Self::MuteLeader => "one-way cut from the leader",
            Self::Mixture => "mixture",
            Self::FlapLinks => "links that flap",
            Self::IsolateLeader => "leader isolated",
            Self::FreezeFollowers => "followers frozen",
            Self::RestartAll => "all restarted, one after another",
            Self::KillFollower => "follower killed",
        }
    }

    /// Strikes, and returns when the fault has lasted long enough. Returns what was done.
    pub(crate) async fn strike(self, bench: &mut Bench, chance: &mut Chance) -> String {
        let leader = bench.cluster.leader().await;
        let nodes = bench.cluster.nodes.len();
        let others: Vec<usize> = (0..nodes).filter(|node| *node != leader).collect();
        let gate = chance.pick(&[Gate::Hold, Gate::Hold, Gate::Cut]);
        match self {
            Self::KillLeader => {
                bench.cluster.nodes[leader].kill();
                match chance.percent(50) {
                    true => deposed(bench, leader, chance).await,
                    false => lasts(chance, AWAY_MS).await,
                }
            }
            Self::KillFollower => {
                let gone = chance.pick(&others);
                bench.cluster.nodes[gone].kill();
                format!("n{}, {}", gone + 1, lasts(chance, AWAY_MS).await)
            }
            Self::KillAll => {
                bench.cluster.nodes.iter_mut().for_each(|node| node.kill());
                lasts(chance, AWAY_MS).await
            }
            Self::RestartAll => restart_all(bench, chance).await,
            Self::FreezeLeader => {
                bench.cluster.nodes[leader].freeze();
                deposed(bench, leader, chance).await
            }
            Self::FreezeFollowers => {
                let count = chance.between(1, others.len() as u64);
                let mut frozen = others;
                chance.shuffle(&mut frozen);
                frozen.truncate(usize::try_from(count).expect("few"));
                frozen.iter().for_each(|node| bench.cluster.nodes[*node].freeze());
                format!("{count} of them, {}", lasts(chance, LENGTH_MS).await)
            }
            Self::MuteLeader => {
                others.iter().for_each(|other| bench.links.set(leader, *other, gate));
                format!("{gate:?}, {}", deposed(bench, leader, chance).await)
            }
            Self::DeafenLeader => {
                others.iter().for_each(|other| bench.links.set(*other, leader, gate));
                format!("{gate:?}, {}", deposed(bench, leader, chance).await)
            }
            Self::IsolateLeader => {
                bench.links.part(&[leader], gate);
                format!("{gate:?}, {}", deposed(bench, leader, chance).await)
            }
            Self::SplitMajority => {
                // With three nodes the leader is alone; with five it keeps one follower.
                let minority: Vec<usize> =
                    std::iter::once(leader).chain(others).take(nodes.div_ceil(2) - 1).collect();
                bench.links.part(&minority, gate);
                format!("{gate:?}, {}", deposed(bench, leader, chance).await)
            }
            Self::FlapLinks => {
                let steps = chance.between(4, 8);
                for _ in 0..steps {
                    draw_gates(bench, chance);
                    lasts(chance, STEP_MS).await;
                }
                format!("{steps} times")
            }
            Self::Mixture => mix(bench, chance).await,
        }
    }
}

/// Lets a fault last, and returns how long.
async fn lasts(chance: &mut Chance, (low, high): (u64, u64)) -> String {
    let length_ms = chance.between(low, high);
    sleep(Duration::from_millis(length_ms)).await;
    format!("{length_ms} ms")
}

/// Waits until the others have elected a leader: only then is the old one's cut, freeze or end known to be
/// real.
async fn deposed(bench: &Bench, old: usize, chance: &mut Chance) -> String {
    let begun = Instant::now();
    loop {
        for (place, node) in bench.cluster.nodes.iter().enumerate().filter(|(place, _)| *place != old) {
            if node.status().await.is_ok_and(|status| status.role == "leader") {
                let elected_ms = begun.elapsed().as_millis();
                return format!(
                    "n{} leads after {elected_ms} ms, {} more",
                    place + 1,
                    lasts(chance, DEPOSED_MS).await
                );
            }
        }
        assert!(begun.elapsed() < PATIENCE, "no node takes over from n{}", old + 1);
        pause().await;
    }
}

async fn restart_all(bench: &mut Bench, chance: &mut Chance) -> String {
    let mut order: Vec<usize> = (0..bench.cluster.nodes.len()).collect();
    chance.shuffle(&mut order);
    for place in &order {
        let node = &mut bench.cluster.nodes[*place];
        let status = block_in_place(|| node.terminate());
        assert!(status.success(), "{} ends with {status}\n{}", node.name, node.log_tail());
        node.start();
        node.eventually_gets("back", |_| true).await;
    }
    let names: Vec<_> = order.iter().map(|place| format!("n{}", place + 1)).collect();
    names.join(", ")
}

/// Sets a third of the gates to random states.
fn draw_gates(bench: &Bench, chance: &mut Chance) {
    let nodes = bench.cluster.nodes.len();
    for from in 0..nodes {
        for to in (0..nodes).filter(|to| *to != from) {
            if chance.percent(33) {
                bench.links.set(from, to, chance.pick(&[Gate::Pass, Gate::Hold, Gate::Cut]));
            }
        }
    }
}

/// Several faults, one on top of another.
async fn mix(bench: &mut Bench, chance: &mut Chance) -> String {
    let (mut done, mut frozen) = (Vec::new(), BTreeSet::new());
    for _ in 0..chance.between(4, 8) {
        let place = chance.index(bench.cluster.nodes.len());
        let node = &mut bench.cluster.nodes[place];
        let name = node.name.clone();
        done.push(match chance.below(5) {
            0 if node.is_started() => {
                frozen.remove(&place);
                node.kill();
                format!("{name} killed")
            }
            0 => {
                node.start();
                format!("{name} started")
            }
            1 if node.is_started() && frozen.insert(place) => {
                node.freeze();
                format!("{name} frozen")
            }
            1 if node.is_started() => {
                frozen.remove(&place);
                node.thaw();
                format!("{name} thawed")
            }
            2 => {
                bench.links.part(&[place], chance.pick(&[Gate::Pass, Gate::Hold, Gate::Cut]));
                format!("gates of {name} set")
            }
            _ => {
                draw_gates(bench, chance);
                "gates drawn".to_owned()
            }
        });
        lasts(chance, STEP_MS).await;
    }
    done.join(", ")
}
