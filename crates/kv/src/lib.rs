//! The key-value state machine: what a log entry says ([`Command`]), and the map that entries change ([`Store`]).
//!
//! Applying is deterministic (Raft §2): the same entries in the same order give the same map, the same revisions and
//! the same [`Store::state_hash`] on every node. So nothing here knows the time, chance, or an order that a seed
//! decides; and an entry that cannot be understood is an error that must stop the node, because skipping it on one
//! node and not on another would make their maps differ.
//!
//! Caveats: sizes of keys and values are checked where requests come in, not here. Everything is held in memory.

#![forbid(unsafe_code)]

mod command;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod json;
mod ordered_map;
mod state_hash;
mod store;

pub use command::{Command, CommandError};
pub use ordered_map::{OrderedMap, Range};
pub use store::{ApplyError, Effect, KeyValue, Outcome, Page, Store, Versioned};
