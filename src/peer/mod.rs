//! Communication with peers: links to them, streams from them, and their wire format.
//!
//! Each link connects to one peer, delivers its outbox and brings back responses. The service `Raft` reads
//! the streams that peers open. `wire` converts the messages of both.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod link;
mod service;
mod wire;

pub use link::Link;
pub use service::{Handshake, RaftService};
