//! Lograft: a Raft-replicated key-value node.
//!
//! This package is the program. Below it, in `crates/`, are the pure core (`lograft-raft`, `lograft-kv`), the
//! log (`lograft-storage`) and the synchronous node that ties them together (`lograft-node`). Here the
//! [`actor`] owns the node, and thin layers ([`grpc`], [`http`], [`peer`]) reach it. `docs/ARCHITECTURE.md`
//! is the map of the code.

#![forbid(unsafe_code)]

pub mod actor;
pub mod api;
pub mod cli;
pub mod client;
pub mod config;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod grpc;
pub mod http;
mod memory;
pub mod peer;
pub mod proto;
pub mod server;
#[cfg(any(test, fuzzing))]
mod stub;
mod wording;
