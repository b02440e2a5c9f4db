//! One node, put together: its directory, its log, the actor, the links to its peers and both ports.
//!
//! The order of a start binds: lock the directory, recover the log and flush what was recovered, and only then open
//! ports. Whatever was read may otherwise have been in the page cache only, and what was promised on it would be lost.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::config::ServerConfig;
use crate::node::{Actor, ActorEnd, NodeConfig, NodeHandle};
use crate::raft;
use crate::rpc::{Introduction, Link, RaftService, ServerInfo, client_routes, peer_routes, serve};
use crate::storage::{Directory, DirectoryError, Log, LogError, LogOptions, LogReport, LogThread, Meta, RealOs};
use crate::types::Member;

/// A tick of the core.
pub const TICK_MS: u64 = 10;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The data directory belongs to another node, cluster or configuration.
    #[error(transparent)]
    Identity(#[from] crate::config::ConfigError),
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {what}: {source}: is another program using the port? Choose another with {flag}")]
    Listen {
        /// The address.
        address: String,
        /// Clients or peers.
        what: &'static str,
        /// The flag that sets it.
        flag: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// A node that runs. Dropping it stops the node hard, as a crash would.
#[derive(Debug)]
pub struct Server {
    handle: NodeHandle,
    client_addresses: Vec<SocketAddr>,
    peer_addresses: Vec<SocketAddr>,
    actor: tokio::task::JoinHandle<ActorEnd>,
    stop_actor: Option<oneshot::Sender<()>>,
    stop_ports: watch::Sender<bool>,
    ports: JoinSet<()>,
    _links: JoinSet<()>,
    _directory: Directory,
}
