//! Real processes, real faults: nodes are killed, frozen, restarted and cut off from each other in one
//! direction or both, while clients work. A checker that is not ours judges the clients' histories.
//!
//! ```text
//! cargo test --test faults                                                   a few rounds
//! LOGRAFT_FAULT_ROUNDS=45 LOGRAFT_FAULT_NODES=both LOGRAFT_FAULT_OPERATIONS=300000 \
//!     cargo test --test faults -- --nocapture                                the long run: five minutes
//! LOGRAFT_FAULT_SEED=7 cargo test --test faults                              another plan
//! ```
//!
//! In a round, clients work, a fault strikes, and they keep working while the cluster heals. Then all nodes
//! must agree, show the same hash, and still hold every acknowledged write. The plan (which fault, when, on
//! which node, for how long, and the requests) follows from the seed; how the processes react does not.

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
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}: set it to a number")))
}
