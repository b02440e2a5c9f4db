//! Three nodes at work, each on its own file system, and clients whose histories are judged.

use lograft::proto::v1;

use super::disks::{Directory, FileSystem, LoopDisk};
use crate::bench::Bench;
use crate::check::{Kind, Verdict};
use crate::history::Operation;
use crate::workload::{Plan, Workload};

/// Small segments, the smallest that hold the largest value: the log rolls often, and a full disk has an effect soon.
pub(crate) const SMALL_SEGMENTS: &str = "--max-segment-bytes=256KiB";
/// Segments that hold what clients write in several seconds. The first two are smaller: fill them first.
pub(crate) const ROOMY_SEGMENTS: &str = "--max-segment-bytes=4MiB";
/// For all nodes: the largest value fits the segments.
const LARGEST_VALUE: &str = "--max-value-bytes=64KiB";
/// The largest value these nodes accept.
pub(crate) const LARGEST_VALUE_BYTES: usize = 64 << 10;

/// A key with large values, which use up the logs' credit.
pub(crate) const FILLER: &str = "own/filler";
/// A key that is set once.
pub(crate) const KEPT: &str = "own/kept";
/// A key that is set again and again.
pub(crate) const PULSE: &str = "own/pulse";
/// The keys that the rounds themselves write.
const OWN_KEYS: [&str; 3] = [FILLER, KEPT, PULSE];

const CLIENTS: usize = 16;
/// Operations that each node must take before a round ends, to show that it serves again.
const AFTER: u64 = 50;

/// Nodes and their disks, at the same positions.
pub(crate) struct Machines {
    // In this order: the processes end, their disks are unmounted, the directory is removed.
    pub(crate) bench: Bench,
    pub(crate) disks: Vec<LoopDisk>,
    _directory: Directory,
    seed: u64,
    workloads: u64,
}

/// The totals of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Operations that were answered, or whose outcome is unknown.
    pub(crate) operations: usize,
    pub(crate) acknowledged: usize,
    pub(crate) unknown: usize,
    pub(crate) histories: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.histories += other.histories;
    }
}

impl Machines {
    /// Makes a disk for each node and starts them; returns when they serve.
    pub(crate) async fn start(kinds: &[FileSystem], segments: &str, seed: u64) -> Self {
        let directory = Directory::make();
        // A data directory is a file system's root.
        let data_dirs: Vec<_> =
            (1..=kinds.len()).map(|node| directory.path().join(format!("n{node}"))).collect();
        let disks = kinds.iter().zip(&data_dirs).map(|(kind, data_dir)| LoopDisk::make(*kind, data_dir));
        let disks = disks.collect();
        // The nodes' own logs are on the machine's disk, where they survive.
        let logs = tempfile::Builder::new().prefix("lograft-power-logs-").tempdir().expect("a directory");
        let bench = Bench::start_in(logs, data_dirs, &[segments, LARGEST_VALUE]).await;
        Self { bench, disks, _directory: directory, seed, workloads: 0 }
    }

    /// Starts clients. Each workload has its own keys.
    pub(crate) fn work(&mut self) -> (String, Workload) {
        let name = format!("w{:03}", self.workloads);
        let seed = self.seed.wrapping_mul(1000).wrapping_add(self.workloads);
        self.workloads += 1;
        let plan = Plan { name: name.clone(), clients: CLIENTS, seed, clock: self.bench.clock };
        let workload = Workload::start(&self.bench.cluster, &plan);
        (name, workload)
    }

    /// Waits until every node serves the workload, ends it, waits until all agree, and judges what the
    /// clients received.
    pub(crate) async fn settle(&mut self, (name, workload): (String, Workload)) -> Tally {
        workload.is_taken_by_all(AFTER).await;
        let operations = workload.stop().await;
        let count =
            |which: fn(&Operation) -> bool| operations.iter().filter(|operation| which(operation)).count();
        let mut tally = Tally {
            operations: count(Operation::counts),
            acknowledged: count(Operation::is_acknowledged_write),
            unknown: count(Operation::is_unknown),
            histories: 0,
        };
        let verdict = self.bench.settle(&name, operations).await;
        tally.histories = verdict.histories;
        self.judge(&name, &verdict);
        tally
    }

    /// Judges everything clients received since these machines were made, and reads it back again.
    pub(crate) async fn conclude(mut self) -> usize {
        // These writes are in no history, so the checker would see values that no client wrote.
        for key in OWN_KEYS {
            let mut client = self.bench.cluster.nodes[0].kv().await.expect("a connection");
            let request = v1::DeleteRequest { key: key.to_owned(), ..Default::default() };
            client.delete(request).await.expect("the delete succeeds");
        }
        let verdict = self.bench.conclude().await;
        self.judge("all of it", &verdict);
        verdict.histories
    }

    fn judge(&self, what: &str, verdict: &Verdict) {
        if verdict.complaints.is_empty() {
            return;
        }
        let history: String = self.bench.history.iter().map(|operation| format!("{operation}\n")).collect();
        std::fs::write(self.bench.directory().join("history.txt"), history).expect("space for the history");
        for complaint in &verdict.complaints {
            eprintln!("{:?}: {}", complaint.kind, complaint.text);
        }
        panic!(
            "LOGRAFT_POWER_SEED={}, {what}: {} lost, {} not linearizable, {} complaints in all; the first about the key {}",
            self.seed,
            verdict.count(Kind::Lost),
            verdict.count(Kind::NotLinearizable),
            verdict.complaints.len(),
            verdict.complaints[0].key,
        );
    }

    /// Cuts the power of these machines at one moment: the disks stop and the processes end.
    pub(crate) fn cut_power(&mut self, victims: &[usize]) {
        std::thread::scope(|scope| {
            for victim in victims {
                let disk = &self.disks[*victim];
                scope.spawn(|| disk.cut_power());
            }
        });
        // What a node does between the two is part of the test: its disk does not keep it, so it must not
        // acknowledge it.
        victims.iter().for_each(|victim| self.bench.cluster.nodes[*victim].kill());
    }

    /// Restores the power: the journals are replayed and the nodes start.
    pub(crate) fn restore_power(&mut self, victims: &[usize]) {
        for victim in victims {
            self.disks[*victim].remount();
            self.bench.cluster.nodes[*victim].start();
        }
    }

    /// The leader, and the others.
    pub(crate) async fn roles(&self) -> (usize, Vec<usize>) {
        let leader = self.bench.cluster.leader().await;
        (leader, (0..self.disks.len()).filter(|place| *place != leader).collect())
    }

    /// The status of each node.
    pub(crate) async fn statuses(&self) -> Vec<v1::StatusResponse> {
        let mut statuses = Vec::new();
        for node in &self.bench.cluster.nodes {
            let status = node.status().await;
            statuses.push(status.unwrap_or_else(|error| panic!("{}: no status: {error}", node.name)));
        }
        statuses
    }

    /// The terms of all nodes.
    pub(crate) async fn terms(&self) -> Vec<u64> {
        self.statuses().await.iter().map(|status| status.header.expect("a header").term).collect()
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.bench.cluster.nodes {
                eprintln!("--- last lines of {}:\n{}", node.name, node.log_tail());
            }
        }
        // A process that waits for a frozen disk cannot be killed.
        self.disks.iter().for_each(LoopDisk::let_go);
    }
}
