//! Crash images: workloads on the production log, and every disk that a power cut may leave of them.
//!
//! A workload drives the log as a node does: writes of all sizes, suffixes replaced, terms and votes, flushes
//! that succeed and fail, sync markers, rolls, full disks, restarts. After every single change of its disk,
//! all disks that a power cut at that moment may leave are made: any subset of the unflushed pages, torn at
//! sectors, names lost or kept. Production code recovers each one, and the result is judged:
//!
//! - It opens: an honest disk is never mistaken for a damaged one.
//! - Everything reported durable is there, unchanged. Anything after it is a prefix of the records written
//!   (see `ledger`).
//! - What recovery reports is durable: after another power cut it is all there, and nothing is left to
//!   repair. The log accepts new writes after it.
//! - If power is cut after any change that recovery makes, or a flush of it fails, the outcome is the same.
//!
//! Where to read on: `workload` drives the log, `cuts` chooses the power cuts, `explorer` recovers and
//! judges.
//!
//! A workload depends only on its seed, on every machine. Caveats: where very many disks are possible, only a
//! sample is tried; devices that lie, and file systems that reorder in other ways than the model, are not
//! covered.

mod cuts;
mod explorer;
mod workload;

use std::fmt;
use std::ops::ControlFlow;

use super::jobs::in_order;
use super::{again, attempt_to};
use lograft_types::marks::Mark;
use workload::Workload;

/// What was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Workloads that were played.
    pub workloads: u64,
    /// What the workloads did: writes, flushes, restarts and so on.
    pub steps: u64,
    /// Moments at which power was cut.
    pub crash_points: u64,
    /// Different disks that power cuts left at them.
    pub images: u64,
    /// Disks as a killed process leaves them.
    pub kills: u64,
    /// Power cuts, and failing flushes, in the middle of a recovery.
    pub second_crashes: u64,
    /// Logs that were recovered, in total.
    pub recoveries: u64,
    /// Recoveries that found a torn write and cut it.
    pub torn: u64,
    /// Restarts in the middle of workloads.
    pub restarts: u64,
    /// How often each of [`Mark::ALL`] was reached.
    pub marks: Vec<u64>,
}

/// A workload that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What failed, on which disk.
    pub what: String,
    /// What the workload had done until then, one line each.
    pub steps: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "workload {} failed: {}", self.seed, self.what)?;
        writeln!(f, "it had done:")?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))?;
        let again = again::command(&format!("crashes --seed {} --recoveries 1", self.seed));
        write!(f, "play it again: {again}")
    }
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.workloads += other.workloads;
        self.steps += other.steps;
        self.crash_points += other.crash_points;
        self.images += other.images;
        self.kills += other.kills;
        self.second_crashes += other.second_crashes;
        self.recoveries += other.recoveries;
        self.torn += other.torn;
        self.restarts += other.restarts;
        self.marks.resize(Mark::ALL.len(), 0);
        for (sum, count) in self.marks.iter_mut().zip(&other.marks) {
            *sum += count;
        }
    }

    /// How often a coverage mark was reached.
    pub fn reached(&self, mark: Mark) -> u64 {
        self.marks.get(mark as usize).copied().unwrap_or(0)
    }
}

/// Plays workloads from the seed `first` on, at least one, until `recoveries` recoveries are made or one
/// fails. Returns what was tried.
pub fn run(first: u64, recoveries: u64, jobs: usize) -> (Counts, Option<Failure>) {
    let mut counts = Counts::default();
    let mut failure = None;
    in_order(
        jobs,
        |place| play(first + place),
        |_, (more, failed)| {
            counts.add(&more);
            failure = failed;
            if failure.is_some() || counts.recoveries >= recoveries {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        },
    );
    (counts, failure)
}

/// Plays the workload of a seed. Returns what was tried, up to the first disk whose recovery is wrong.
pub fn play(seed: u64) -> (Counts, Option<Failure>) {
    // Discards what earlier work on this thread has counted.
    lograft_types::marks::take();
    let mut workload = Workload::new(seed);
    let failed = attempt_to(|| workload.play()).err();
    let (mut counts, steps) = workload.into_account();
    counts.marks = lograft_types::marks::take();
    (counts, failed.map(|what| Failure { seed, what, steps }))
}
