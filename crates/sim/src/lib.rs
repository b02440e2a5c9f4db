//! A simulated cluster: production nodes with their production log, recovery and state machine, on simulated
//! disks and a simulated network. One thread, one seed, no clock.
//!
//! [`run`] plays one seed. For a while clients send requests and things go wrong; after every event the
//! cluster is checked against what must always hold. Then the faults stop, and the cluster must get back to
//! work: a leader, equal logs and states, a write that succeeds, nothing in flight, every request answered
//! exactly once.
//!
//! Where to read on:
//! - `scenario`: how a seed determines a run
//! - `world`: the order of events, and how a node's effects are carried out
//! - `network`, `disk`, `clients`: the simulated surroundings
//! - `checks`, `model`, `history`: what must hold
//! - `campaign`, `command`: many seeds, and the program that plays them
//!
//! The log alone is tested harder: [`images`] makes every disk that a power cut may leave of it, and [`bits`]
//! flips every bit of one. `ledger` judges what is recovered in all of these.
//!
//! A seed replays to the same trace on every machine, with the same [`Trace::hash`]. Caveats: the outer
//! shells of a node, the actor and the API, do not run here; the disk of a running node never damages what it
//! has flushed.

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

/// Something that must never happen.
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

/// Returns a [`Violation`] if the condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::Violation::new(format!($($message)+)));
        }
    };
}
use ensure;

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Committed entries.
    pub committed: u64,
    /// Terms that had a leader.
    pub terms_led: u64,
    /// Responses that clients received.
    pub answers: u64,
    /// Acknowledged writes.
    pub acknowledged: u64,
    /// Faults that struck.
    pub faults: u64,
    /// How often each of [`Fault::ALL`] struck.
    pub faults_by_kind: [u64; Fault::ALL.len()],
    /// How often each of [`Mark::ALL`](lograft_types::marks::Mark::ALL) was reached.
    pub marks: Vec<u64>,
    /// Messages delivered.
    pub delivered: u64,
    /// Events handed to nodes.
    pub events: u64,
    /// Lives of nodes that ended.
    pub falls: u64,
    /// Logs recovered, including recoveries that a crash interrupted.
    pub recoveries: u64,
    /// Keys whose search for an order was given up.
    pub unsearched: u64,
    /// Bits flipped in disks at rest.
    pub flips: u64,
}

/// Plays a scenario. The trace says what happened, even if a node panics.
///
/// # Errors
/// The first violation.
pub fn run(scenario: &Scenario, trace: &mut Trace) -> Result<Summary, Violation> {
    // Discards what an earlier run on this thread has counted.
    lograft_types::marks::take();
    world::World::new(scenario.clone(), trace)?.play()
}

/// Plays a scenario like [`run`], and treats a node's panic as a failure.
///
/// # Errors
/// What failed, as text.
pub fn attempt(scenario: &Scenario, trace: &mut Trace) -> Result<Summary, String> {
    attempt_to(|| run(scenario, trace))
}

/// Treats a panic as a failure.
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
