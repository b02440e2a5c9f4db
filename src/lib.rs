//! Lograft: a Raft-replicated key-value node.
//!
//! Three shells: a pure core ([`raft`], [`kv`]), a synchronous node around it ([`node`], with the log of [`storage`]),
//! and thin asynchronous edges ([`rpc`], [`http`], [`cli`]). `docs/ARCHITECTURE.md` is the map of the code.

#[macro_use]
pub mod marks;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod kv;
pub mod limits;
pub mod node;
pub mod raft;
pub mod sim;
pub mod storage;
pub mod types;

#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod client;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod proto;
#[cfg(feature = "server")]
pub mod rpc;
#[cfg(feature = "server")]
pub mod server;
