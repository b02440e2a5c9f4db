//! The key-value state machine.

mod command;
mod store;

pub use command::Command;
pub use store::{Effect, KeyValue, Outcome, Page, Store, Versioned};
