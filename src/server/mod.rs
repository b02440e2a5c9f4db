//! One complete node: its directory, its log, the actor, the links to its peers and both ports.
//!
//! The order of a start is essential: lock the directory, recover the log and flush what was recovered, and
//! only then open ports. Otherwise a node could promise something on the basis of data that is only in the
//! page cache, and lose it.

pub(crate) mod connection;
pub(crate) mod places;
pub(crate) mod ports;

use std::net::SocketAddr;
use std::num::NonZero;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use places::Shares;
use ports::{Audience, Grace, Port, client_router, peer_router, serve};

use crate::actor::{Actor, ActorEnd, NodeHandle};
use crate::api::Api;
use crate::config::{ConfigError, Existing, HttpUrl, ServerConfig};
use crate::peer::{Handshake, Link, RaftService};
use crate::proto::v1::raft_server::RaftServer;
use lograft_node::NodeConfig;
use lograft_node::limits::MAX_PEER_MESSAGE_BYTES;
use lograft_os::process::descriptor_limit;
use lograft_raft as raft;
use lograft_storage::{
    Directory, DirectoryError, FORMAT_VERSION, Log, LogError, LogOptions, LogReport, LogThread, Meta, RealOs,
    Recovered,
};
use lograft_types::WriteSeq;

/// The length of the core's tick.
pub const TICK_MS: u64 = 10;

/// How long client connections may take to receive their last responses.
const CLIENT_GRACE: Grace = Grace(Duration::from_secs(1));

/// How long peers may take to receive the last responses to what they have forwarded. Their streams end with those.
const PEER_GRACE: Grace = Grace(Duration::from_secs(1));

/// The actor answers for two seconds at most after it was asked to stop. What takes longer is the disk.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// The most threads that serve clients: beyond these, the one actor is the limit.
const MAX_CLIENT_THREADS: usize = 4;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The data directory belongs to another node, cluster or configuration.
    #[error(transparent)]
    Identity(#[from] ConfigError),
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address} for {what}: {source}: is another program using the port? Choose another with {flag}"
    )]
    Listen {
        /// The address.
        address: String,
        /// Clients or peers.
        what: &'static str,
        /// The flag that sets it.
        flag: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

/// A running node. Dropping it stops the node at once, as a crash would.
#[derive(Debug)]
pub struct Server {
    handle: NodeHandle,
    client_addresses: Vec<SocketAddr>,
    peer_addresses: Vec<SocketAddr>,
    actor: tokio::task::JoinHandle<ActorEnd>,
    stop_actor: Option<oneshot::Sender<()>>,
    stop_ports: watch::Sender<bool>,
    ports: JoinSet<()>,
    links: JoinSet<()>,
    /// The threads that serve clients, if they are not served beside everything else.
    client_runtime: Option<Runtime>,
    _directory: Directory,
}

impl Server {
    /// Starts a node: recovers its log, opens its ports, links it to its peers.
    ///
    /// # Errors
    /// [`StartError`]: what is wrong, where, and what to do. Nothing is left running.
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        let (directory, log, recovered) = open(&config)?;
        let space = log.credit();
        let (reports, log_reports) = watch::channel(LogReport {
            persisted: WriteSeq::ZERO,
            credit_bytes: space.credit_bytes,
            disk_full: space.disk_full,
            denials: space.denials,
            log_size_bytes: log.size_bytes(),
            failed: None,
        });
        let reader = log.reader();
        let log = LogThread::spawn(log, move |report| {
            reports.send_replace(report);
        });
        let client_runtime = client_runtime(config.client_threads);
        let client_handle = client_runtime.as_ref().map_or_else(Handle::current, |own| own.handle().clone());
        let clients = bind(config.listen_client_urls.clone(), "clients", "--listen-client-urls");
        // A socket belongs to the runtime in which it was made.
        let clients = client_handle.spawn(clients).await.expect("nothing there panics")?;
        let peers = bind(config.listen_peer_urls.clone(), "peers", "--listen-peer-urls").await?;
        let client_addresses = addresses(&clients);
        let peer_addresses = addresses(&peers);

        let handshake = Handshake { name: config.name.clone(), client_urls: client_urls(&config) };
        let node = node_config(&config, directory.meta());
        let members = node.members.clone();
        let (actor, handle, peer_handle, outboxes) =
            Actor::new(node, &recovered, log, reader.clone(), log_reports);

        let (stop_ports, stopping) = watch::channel(false);
        let mut ports = JoinSet::new();
        let shares = shares(&config);
        let routes = client_router(Api::new(handle.clone(), env!("CARGO_PKG_VERSION")));
        let port = Port::new(Audience::Clients, routes, &config.limits, shares.clients, CLIENT_GRACE);
        for listener in clients {
            ports.spawn_on(serve(listener, port.clone(), stopped(stopping.clone())), &client_handle);
        }
        let raft = RaftService::new(peer_handle.clone(), handle.clone(), handshake.clone(), stopping.clone());
        let raft = RaftServer::new(raft).max_decoding_message_size(MAX_PEER_MESSAGE_BYTES);
        let routes = peer_router(handle.clone(), raft);
        let port = Port::new(Audience::Peers, routes, &config.limits, shares.peers, PEER_GRACE);
        for listener in peers {
            ports.spawn(serve(listener, port.clone(), stopped(stopping.clone())));
        }
        let mut links = JoinSet::new();
        for (id, outbox) in outboxes {
            let peer = members.iter().find(|member| member.id == id).expect("a member's outbox").clone();
            let link = Link {
                peer,
                actor: peer_handle.clone(),
                outbox,
                reader: reader.clone(),
                handshake: handshake.clone(),
                silence: Duration::from_millis(config.timings.election_timeout_ms),
            };
            links.spawn(link.run());
        }
        let (stop_actor, stop) = oneshot::channel();
        let actor = tokio::spawn(actor.run(async {
            // A dropped sender means stop, too.
            let _ = stop.await;
        }));
        info!(
            node = %config.name,
            clients = %joined(&client_addresses),
            peers = %joined(&peer_addresses),
            "listening"
        );
        Ok(Self {
            handle,
            client_addresses,
            peer_addresses,
            actor,
            stop_actor: Some(stop_actor),
            stop_ports,
            ports,
            links,
            client_runtime,
            _directory: directory,
        })
    }

    /// The handle by which this process reaches the node.
    pub fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// The addresses for clients.
    pub fn client_addresses(&self) -> &[SocketAddr] {
        &self.client_addresses
    }

    /// The addresses for peers.
    pub fn peer_addresses(&self) -> &[SocketAddr] {
        &self.peer_addresses
    }

    /// Runs until `stop` completes, then answers what it can, flushes and ends. Ends earlier if the node must
    /// not go on.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> ActorEnd {
        let mut stop = std::pin::pin!(stop);
        let end = tokio::select! {
            () = &mut stop => {
                info!("shutting down");
                if let Some(stop_actor) = self.stop_actor.take() {
                    // An actor that has ended needs no signal.
                    let _ = stop_actor.send(());
                }
                match tokio::time::timeout(STOP_PATIENCE, &mut self.actor).await {
                    Ok(end) => end,
                    Err(_) => {
                        warn!(
                            "still stopping: the disk has not finished the last flush of the log; another SIGTERM or \
                             Ctrl-C ends the process at once, and no acknowledged write is lost with it"
                        );
                        (&mut self.actor).await
                    }
                }
            }
            end = &mut self.actor => end,
            // Without one of these the node would stay up but unreachable, and nothing would report it.
            () = raise_panics(&mut self.links) => unreachable!("it ends only by a panic"),
            () = raise_panics(&mut self.ports) => unreachable!("it ends only by a panic"),
        };
        let end = end.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        if end == ActorEnd::ShutDown {
            self.stop_ports.send_replace(true);
            while self.ports.join_next().await.is_some() {}
        }
        end
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.actor.abort();
        if let Some(runtime) = self.client_runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The threads for clients; `None`: there are none. `threads` is how many; by default half of the machine's cores.
///
/// With threads of their own, clients that list much do not delay heartbeats. On less than four cores, handing each
/// request to another thread costs more than it gains.
fn client_runtime(threads: Option<usize>) -> Option<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let by_default = if cores < 4 { 0 } else { (cores / 2).min(MAX_CLIENT_THREADS) };
    let threads = threads.unwrap_or(by_default);
    (threads > 0).then(|| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(threads).thread_name("lograft-clients").enable_all();
        runtime.build().expect("threads for clients")
    })
}

/// Locks the data directory and checks that it belongs to this node. An empty one becomes this node's, if the
/// configuration allows that.
///
/// # Errors
/// [`StartError`]: the directory cannot be used, or belongs to another node or cluster.
pub(crate) fn open_directory(config: &ServerConfig) -> Result<Directory, StartError> {
    if !config.data_dir.exists() {
        // Before anything is made: a directory that was moved away must not find its place taken.
        config.may_found()?;
    }
    let mut directory = Directory::open(&config.data_dir)?;
    match directory.meta() {
        Some(meta) => {
            let existing = Existing { identity: meta.identity(), name: &meta.name };
            for ignored in config.reconcile(&existing)? {
                warn!("{ignored}");
            }
        }
        None => {
            let founded = config.found(rand::random())?;
            directory.initialize(Meta {
                format_version: FORMAT_VERSION,
                cluster_id: founded.identity.cluster,
                node_id: founded.identity.node,
                name: config.name.clone(),
                members: founded.members,
            })?;
        }
    }
    Ok(directory)
}

/// Opens the directory, and recovers and flushes the log.
fn open(config: &ServerConfig) -> Result<(Directory, Log<RealOs>, Recovered), StartError> {
    let directory = open_directory(config)?;
    let identity = directory.meta().expect("the directory has an identity").identity();
    let options = LogOptions {
        min_segment_bytes: config.limits.min_segment_bytes,
        max_segment_bytes: config.limits.max_segment_bytes,
        ..LogOptions::default()
    };
    let (log, recovered) = Log::open(RealOs, directory.path(), identity, options)?;
    if let Some(repair) = &recovered.repaired {
        warn!(
            file = %repair.file.display(),
            offset = repair.offset,
            bytes = repair.bytes_cut,
            "cut a torn write at the end of the log; it was never acknowledged"
        );
    }
    info!(entries = recovered.entries.len(), term = recovered.hard_state.term.get(), "recovered the log");
    Ok((directory, log, recovered))
}

fn node_config(config: &ServerConfig, meta: Option<&Meta>) -> NodeConfig {
    let meta = meta.expect("the directory has an identity");
    let ticks = |ms: u64| u32::try_from(ms.div_ceil(TICK_MS)).expect("checked with the configuration");
    let limits = config.limits;
    NodeConfig {
        identity: meta.identity(),
        name: meta.name.clone(),
        client_urls: client_urls(config),
        members: meta.members.clone(),
        limits,
        raft: raft::Config {
            election_timeout_ticks: ticks(config.timings.election_timeout_ms),
            heartbeat_ticks: ticks(config.timings.heartbeat_interval_ms),
            max_append_bytes: limits.max_append_bytes,
            max_append_entries: limits.max_append_entries,
            max_inflight_messages: limits.max_inflight_messages,
            max_inflight_bytes: limits.max_inflight_bytes,
            ..raft::Config::new(meta.node_id)
        },
        tick_ms: TICK_MS,
        seed: rand::random(),
    }
}

/// How many connections each port may have.
fn shares(config: &ServerConfig) -> Shares {
    let descriptors = descriptor_limit();
    let shares = Shares::of(descriptors, config.max_connections);
    if let Some(asked) = config.max_connections.filter(|asked| shares.clients < *asked) {
        warn!(
            asked,
            connections = shares.clients,
            descriptors,
            "there are not enough file descriptors for --max-connections: raise the limit of the process (ulimit -n)"
        );
    }
    shares
}

fn client_urls(config: &ServerConfig) -> Vec<String> {
    config.advertise_client_urls.iter().map(HttpUrl::to_string).collect()
}

async fn bind(
    urls: Vec<HttpUrl>,
    what: &'static str,
    flag: &'static str,
) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::new();
    for url in &urls {
        let address = url.socket_addr().expect("checked with the configuration");
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| StartError::Listen {
            address: address.to_string(),
            what,
            flag,
            source,
        })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

fn joined(addresses: &[SocketAddr]) -> String {
    let each: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    each.join(",")
}

/// Waits for a task to panic, and panics with it.
async fn raise_panics(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    std::future::pending().await
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A dropped server has stopped.
    let _ = stopping.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "the link is broken")]
    async fn pitfall_54_a_task_that_panics_takes_the_node_down() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        tasks.spawn(async { panic!("the link is broken") });
        let bound = Duration::from_secs(20);
        let _ = tokio::time::timeout(bound, raise_panics(&mut tasks)).await;
    }
}
