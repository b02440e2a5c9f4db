//! Whole clusters under a few hundred seeds: production nodes on disks that lose unflushed data and a network
//! that loses, delays, duplicates, reorders and cuts.
//!
//! A failing seed prints how to replay it: `LOGRAFT_SIM_SEED=7 cargo test -p lograft-sim --test simulation
//! one_seed`. The program `lograft-sim` plays more of them, and shortens failures.

use lograft_sim::{Scenario, Summary, Trace, attempt, run};
use lograft_types::marks::{COUNTED, Mark};

/// What `cargo test` plays. `scripts/mutants` reads this to report what it finds.
const EVERYDAY_SEEDS: u64 = 800;

/// Plays a seed. If it fails, plays it again with a readable trace.
fn play(seed: u64) -> Summary {
    let scenario = Scenario::of_seed(seed);
    match attempt(&scenario, &mut Trace::hashed()) {
        Ok(summary) => summary,
        Err(_) => {
            let mut trace = Trace::readable();
            let outcome = attempt(&scenario, &mut trace);
            for line in trace.lines() {
                println!("{line}");
            }
            println!("{scenario:?}");
            panic!(
                "seed {seed}, step {}: {}\nplay it again: LOGRAFT_SIM_SEED={seed} cargo test -p lograft-sim --test simulation one_seed",
                trace.step(),
                outcome.err().unwrap_or_else(|| "it succeeded when replayed".to_owned()),
            );
        }
    }
}

fn play_all(seeds: impl Iterator<Item = u64>) -> Vec<Summary> {
    seeds.map(play).collect()
}

/// A run in which little happens proves little.
fn assert_lively(summaries: &[Summary]) {
    let sum = |of: fn(&Summary) -> u64| summaries.iter().map(of).sum::<u64>() / summaries.len() as u64;
    println!(
        "a run on average: {} committed, {} terms with a leader, {} answers, {} writes acknowledged, {} faults, {} messages",
        sum(|run| run.committed),
        sum(|run| run.terms_led),
        sum(|run| run.answers),
        sum(|run| run.acknowledged),
        sum(|run| run.faults),
        sum(|run| run.delivered),
    );
    assert!(sum(|run| run.acknowledged) >= 50, "too few writes are acknowledged under faults");
    assert!(sum(|run| run.terms_led) >= 3, "leaders change too rarely");
    assert!(sum(|run| run.faults) >= 5, "too few faults strike");
}

/// If the rare branches are not taken, the faults miss their purpose.
fn assert_marks(summaries: &[Summary], may_miss: usize) {
    let count = |mark: &Mark| summaries.iter().map(|run| run.marks[*mark as usize]).sum::<u64>();
    let missed: Vec<_> = Mark::ALL.iter().filter(|mark| count(mark) == 0).collect();
    assert!(!COUNTED || missed.len() <= may_miss, "never reached: {missed:?}");
}

#[test]
fn a_cluster_stays_safe_and_recovers_from_all_faults_together() {
    let runs = play_all((0..EVERYDAY_SEEDS).step_by(2));
    assert_lively(&runs);
    // The few marks that need bad luck or small sizes are left to long runs.
    assert_marks(&runs, 4);
}

#[test]
fn clusters_of_all_sizes_stay_safe_and_recover_each_from_its_own_faults() {
    let runs = play_all((1..EVERYDAY_SEEDS).step_by(2));
    assert_lively(&runs);
    assert_marks(&runs, 2);
}

#[test]
fn a_seed_replays_to_the_same_trace() {
    for seed in 0..6 {
        let (mut first, mut second) = (Trace::hashed(), Trace::readable());
        let scenario = Scenario::of_seed(seed);
        assert_eq!(run(&scenario, &mut first), run(&scenario, &mut second), "seed {seed}");
        assert_eq!((first.hash(), first.step()), (second.hash(), second.step()), "seed {seed}");
    }
    let mut other = Trace::hashed();
    let mut first = Trace::hashed();
    run(&Scenario::uniform(0), &mut first).expect("the seed passes");
    run(&Scenario::uniform(2), &mut other).expect("the seed passes");
    assert_ne!(first.hash(), other.hash(), "different runs have different hashes");
}

/// Plays the seed, or the range of seeds, in `LOGRAFT_SIM_SEED` ("7", "1000..2000"); by default one seed.
#[test]
#[expect(clippy::disallowed_methods, reason = "the environment chooses the seed")]
fn one_seed() {
    let wanted = std::env::var("LOGRAFT_SIM_SEED").unwrap_or_else(|_| "1".to_owned());
    let parse =
        |number: &str| number.trim().parse::<u64>().expect("LOGRAFT_SIM_SEED: not a number or FROM..TO");
    match wanted.split_once("..") {
        Some((from, to)) => drop(play_all(parse(from)..parse(to))),
        None => drop(play(parse(&wanted))),
    }
}
