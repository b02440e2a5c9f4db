//! A simulated cluster: production nodes, their production log, recovery and state machine, on simulated disks and a
//! simulated network, one thread, one seed, no clock.
//!
//! [`run`] plays one seed: for a while clients ask and things go wrong; at every event the cluster is checked against
//! what must always hold. Then the faults stop, and the cluster must get back to work: a leader, equal logs and states, a
//! write that succeeds, nothing left on its way, every caller answered exactly once.
//!
//! Where to read on:
//! - `scenario`: what a seed makes of a run
//! - `world`: the order of events, and how a node's effects are carried out
//! - `network`, `disk`, `clients`: the simulated surroundings
//! - `checks`, `model`, `history`: what must hold
//! - `campaign`, `command`: many seeds, and the program that plays them
//!
//! Beside whole clusters, the log alone is tried harder: [`images`] makes every disk that a power cut may leave of it,
//! [`bits`] flips every bit of one. `ledger` judges what is recovered, here and there.
//!
//! A seed replays to the same trace, on every machine: [`Trace::hash`] is the same. Of the nodes' two outer shells, the
//! actor and the edges, nothing runs here; a disk of a node that is up never damages what it has flushed.

#![forbid(unsafe_code)]

mod again;
pub mod bits;
mod campaign;
pub mod chance;
mod checks;
mod clients;
pub mod command;
mod disk;
mod history;
pub mod images;
mod jobs;
mod ledger;
mod model;
mod network;
mod scenario;
mod trace;
mod world;

use std::fmt;
use std::panic::AssertUnwindSafe;

pub use scenario::{Fault, Scenario};
pub use trace::Trace;

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(String);

impl Violation {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Leaves with a [`Violation`] if the condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::Violation::new(format!($($message)+)));
        }
    };
}
use ensure;

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Entries that were committed.
    pub committed: u64,
    /// Terms that had a leader.
    pub terms_led: u64,
    /// Answers that clients heard.
    pub answers: u64,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Faults that struck.
    pub faults: u64,
    /// How often each of [`Fault::ALL`] struck.
    pub faults_by_kind: [u64; Fault::ALL.len()],
    /// How often each of [`Mark::ALL`](lograft_types::marks::Mark::ALL) was reached.
    pub marks: Vec<u64>,
    /// Messages that were delivered.
    pub delivered: u64,
    /// Inputs that were handed to nodes.
    pub events: u64,
    /// Lives of nodes that ended.
    pub falls: u64,
    /// Logs that were recovered, whole or up to a crash in the middle of it.
    pub recoveries: u64,
    /// Keys whose history was too much to search.
    pub unsearched: u64,
    /// Bits that were flipped in disks at rest.
    pub flips: u64,
}

/// Plays a scenario. The trace says what happened, also when a node panics.
///
/// # Errors
/// The first thing that must never be.
pub fn run(scenario: &Scenario, trace: &mut Trace) -> Result<Summary, Violation> {
    // What an earlier run on this thread has left is not this run's.
    lograft_types::marks::take();
    world::World::new(scenario.clone(), trace)?.play()
}

/// Plays a scenario like [`run`], and takes a node's panic for what it is: a failure.
///
/// # Errors
/// What failed, in words.
pub fn attempt(scenario: &Scenario, trace: &mut Trace) -> Result<Summary, String> {
    attempt_to(|| run(scenario, trace))
}

/// Takes a panic for what it is: a failure.
fn attempt_to<T>(action: impl FnOnce() -> Result<T, Violation>) -> Result<T, String> {
    match std::panic::catch_unwind(AssertUnwindSafe(action)) {
        Ok(result) => result.map_err(|violation| violation.to_string()),
        Err(panic) => Err(panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
            .unwrap_or_else(|| "a panic".to_owned())),
    }
}
