//! The gRPC edges.
mod link;
mod peer_wire;
mod raft;
pub use link::Link;
pub use raft::{Introduction, RaftService};
