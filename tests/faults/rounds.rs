//! Rounds of faults on clusters of three and five.

use lograft_sim::chance::Chance;

use crate::bench::Bench;
use crate::check::{Kind, Verdict};
use crate::faults::Fault;
use crate::history::Operation;
use crate::setting;
use crate::workload::{Plan, Workload};

const CLIENTS: usize = 16;
/// Operations before a fault strikes, so that it strikes a cluster at work.
const BEFORE: u64 = 300;
/// Operations that each node must take after all is healed.
const AFTER: u64 = 50;

/// What to play.
struct Settings {
    seed: u64,
    rounds: usize,
    /// The sizes of the clusters, which share the rounds and run one after another.
    sizes: Vec<usize>,
    /// The least number of operations in total.
    operations: u64,
}

impl Settings {
    fn from_env() -> Self {
        let rounds = setting("LOGRAFT_FAULT_ROUNDS").unwrap_or(6);
        let sizes = match std::env::var("LOGRAFT_FAULT_NODES").as_deref() {
            Err(_) | Ok("3") => vec![3],
            Ok("5") => vec![5],
            Ok("both") => vec![3, 5],
            Ok(other) => panic!("LOGRAFT_FAULT_NODES is {other:?}: set it to 3, 5 or both"),
        };
        Self {
            seed: setting("LOGRAFT_FAULT_SEED").unwrap_or(1),
            rounds,
            sizes,
            operations: setting("LOGRAFT_FAULT_OPERATIONS").unwrap_or(1000 * rounds as u64),
        }
    }
}

/// The totals of a run.
#[derive(Debug, Default)]
struct Tally {
    rounds: usize,
    operations: usize,
    acknowledged: usize,
    unknown: usize,
    histories: usize,
}

impl Tally {
    fn add(&mut self, operations: &[Operation]) {
        let count =
            |which: fn(&Operation) -> bool| operations.iter().filter(|operation| which(operation)).count();
        self.operations += count(Operation::counts);
        self.acknowledged += count(Operation::is_acknowledged_write);
        self.unknown += count(Operation::is_unknown);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_loses_an_acknowledged_write_or_shows_the_past() {
    let settings = Settings::from_env();
    let mut tally = Tally::default();
    for (place, &size) in settings.sizes.iter().enumerate() {
        let ends = settings.rounds * (place + 1) / settings.sizes.len();
        let mut bench = Bench::start(size).await;
        while tally.rounds < ends {
            round(&settings, &mut bench, &mut tally).await;
        }
        let verdict = bench.conclude().await;
        judge(&settings, &bench, "the whole run", &verdict);
        tally.histories += verdict.histories;
    }
    println!(
        "proof: real faults: {} rounds, {} operations ({} acknowledged writes, {} unknown), {} histories, \
         0 lost, 0 not linearizable",
        tally.rounds, tally.operations, tally.acknowledged, tally.unknown, tally.histories
    );
}

async fn round(settings: &Settings, bench: &mut Bench, tally: &mut Tally) {
    let number = tally.rounds;
    let fault = Fault::ALL[number % Fault::ALL.len()];
    let name = format!("r{number:03}");
    let seed = settings.seed.wrapping_mul(1000).wrapping_add(number as u64);
    let mut chance = Chance::new(seed, 0);
    let plan = Plan { name: name.clone(), clients: CLIENTS, seed, clock: bench.clock };
    let begun = bench.clock.now();

    let workload = Workload::start(&bench.cluster, &plan);
    workload.reaches(BEFORE).await;
    let done = fault.strike(bench, &mut chance).await;
    bench.heal().await;
    workload.is_taken_by_all(AFTER).await;
    workload.reaches(settings.operations.div_ceil(settings.rounds as u64)).await;
    let operations = workload.stop().await;

    let mut own = Tally::default();
    own.add(&operations);
    tally.add(&operations);
    tally.rounds += 1;
    let verdict = bench.settle(&name, operations).await;
    println!(
        "round {number} ({} nodes, {:.1} s): {} ({done}): {} operations, {} acknowledged writes, {} unknown",
        bench.cluster.nodes.len(),
        (bench.clock.now() - begun) as f64 / 1e9,
        fault.name(),
        own.operations,
        own.acknowledged,
        own.unknown
    );
    judge(settings, bench, &format!("round {number} ({})", fault.name()), &verdict);
}

/// Ends the run if anything is wrong, and prints all that is known about it.
fn judge(settings: &Settings, bench: &Bench, what: &str, verdict: &Verdict) {
    if verdict.complaints.is_empty() {
        return;
    }
    let history: String = bench.history.iter().map(|operation| format!("{operation}\n")).collect();
    std::fs::write(bench.directory().join("history.txt"), history).expect("there is space for the history");
    for complaint in &verdict.complaints {
        eprintln!("{:?}: {}", complaint.kind, complaint.text);
    }
    let first = &verdict.complaints[0];
    let (lost, not_linearizable) = (verdict.count(Kind::Lost), verdict.count(Kind::NotLinearizable));
    panic!(
        "seed {seed}, {what}, {nodes} nodes: {lost} lost, {not_linearizable} not linearizable, {others} other \
         complaints; the first about the key {key}. The plan again: LOGRAFT_FAULT_SEED={seed} \
         LOGRAFT_FAULT_ROUNDS={rounds} LOGRAFT_FAULT_OPERATIONS={operations} LOGRAFT_FAULT_NODES={sizes} \
         cargo test --test faults",
        seed = settings.seed,
        nodes = bench.cluster.nodes.len(),
        others = verdict.complaints.len() - lost - not_linearizable,
        key = first.key,
        rounds = settings.rounds,
        operations = settings.operations,
        sizes = if let [size] = settings.sizes[..] { size.to_string() } else { "both".to_owned() },
    );
}
