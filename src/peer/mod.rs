//! The peers' side: the links to them, the streams from them, and their wire.
//!
//! Each link connects to one peer, delivers its outbox and brings back responses. The service `Raft` reads the streams
//! that peers open. What both speak is translated in `wire`.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod link;
mod service;
mod wire;

pub use link::Link;
pub use service::{Handshake, RaftService};
