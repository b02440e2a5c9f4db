//! The gRPC edge: package `lograft.v1` on the client port, and the server that both ports share.
//!
//! A handler is short: [`check`] looks at the limits, [`convert`] makes a domain request of the wire type, the node's
//! handle answers it, [`convert`] translates back. What went wrong becomes a [`Fault`], which gRPC and HTTP word alike.
//!
//! What a client may rely on:
//! - A refused write carries the metadata `lograft-outcome: not-applied`, one whose outcome nobody knows
//!   `lograft-outcome: unknown`. A write that was answered OK was applied.
//! - A request that breaks a limit is INVALID_ARGUMENT, with its number and the limit's.
//! - A condition that does not hold is FAILED_PRECONDITION, with `lograft-found-mod-revision` in the metadata.
//!
//! Caveat: a request with a deadline is answered a little before it ([`deadline`]), so that the client hears what became
//! of a write instead of its own timeout.

pub mod check;
mod cluster;
pub mod convert;
pub mod deadline;
mod fault;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod health;
mod kv;
mod link;
mod peer_wire;
mod raft;
mod refusal;
mod server;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod stub;
#[cfg(test)]
mod tests;

pub use cluster::ClusterService;
pub use fault::{Certainty, Fault};
pub use health::HealthService;
pub use kv::KvService;
pub use link::Link;
pub use raft::{Introduction, RaftService};
pub use server::{Grace, GrpcService, ServerInfo, client_router, peer_router, serve};
