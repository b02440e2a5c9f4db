//! The key-value state machine: the commands in log entries ([`Command`]), and the map that they change ([`Store`]).
//!
//! Applying is deterministic (Raft §2): the same entries in the same order give the same map, the same revisions and
//! the same [`Store::state_hash`] on every node. So nothing here depends on time, randomness, or an iteration order
//! that a seed decides. An entry that cannot be decoded is an error that must stop the node: if one node skipped it
//! and another did not, their maps would differ.
//!
//! Caveats: the sizes of keys and values are checked where requests come in, not here. Everything is held in memory.

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
