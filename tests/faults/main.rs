//! Real processes, real faults: nodes killed, frozen, restarted and cut off from each other in one direction or both,
//! under clients whose histories are judged by a checker that is not ours.
//!
//! ```text
//! cargo test --test faults                                                   a few rounds
//! LOGRAFT_FAULT_ROUNDS=45 LOGRAFT_FAULT_NODES=both LOGRAFT_FAULT_OPERATIONS=300000 \
//!     cargo test --test faults -- --nocapture                                the long run: five minutes
//! LOGRAFT_FAULT_SEED=7 cargo test --test faults                              another plan
//! ```
//!
//! A round lets clients work, strikes, lets them work while the cluster heals, and then demands that all nodes agree,
//! show the same hash, and still hold every acknowledged write. The plan (which fault when, on whom, for how long, who
//! asks what) follows from the seed; what the processes make of it does not.

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod check;
mod checker;
mod doors;
mod faults;
mod gates;
mod history;
mod links;
mod power;
mod rounds;
mod sweep;
mod workload;

use std::str::FromStr;

/// A number from the environment.
fn setting<N: FromStr>(name: &str) -> Option<N> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}: give a number")))
}
