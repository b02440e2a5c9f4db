//! A cluster of [`Server`]s in this process.

use std::time::Duration;

use lograft::actor::ActorEnd;
use lograft::config::{Layers, ServerConfig};
use lograft::proto::v1;
use lograft::proto::v1::cluster_client::ClusterClient;
use lograft::proto::v1::kv_client::KvClient;
use lograft::proto::v1::raft_client::RaftClient;
use lograft::server::Server;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tonic::transport::{Channel, Endpoint};

use crate::ports::free_ports;

/// Nothing here takes this long on the slowest machine. After this time a test fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Nodes of a cluster. Members that were not started are missing.
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<Node>,
    members: usize,
    /// The client port and the peer port of each member.
    ports: Vec<u16>,
    flags: Vec<(String, String)>,
    data: tempfile::TempDir,
}

/// A node, as its clients and peers reach it.
pub(crate) struct Node {
    pub(crate) client_port: u16,
    pub(crate) kv: KvClient<Channel>,
    pub(crate) cluster: ClusterClient<Channel>,
    pub(crate) raft: RaftClient<Channel>,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<ActorEnd>>,
}

impl Nodes {
    /// Three nodes that serve.
    pub(crate) async fn three() -> Self {
        Self::with(3, 3, &[]).await
    }

    /// Starts `running` of `members` nodes with these flags, and returns when they serve if they are a
    /// majority.
    pub(crate) async fn with(running: usize, members: usize, flags: &[(&str, &str)]) -> Self {
        let flags = flags.iter().map(|(flag, value)| ((*flag).to_owned(), (*value).to_owned())).collect();
        let data = tempfile::tempdir().expect("a directory");
        let mut nodes = Self { nodes: Vec::new(), members, ports: free_ports(2 * members), flags, data };
        for _ in 0..running {
            nodes.start_next().await;
        }
        if 2 * running > members {
            nodes.serve().await;
        }
        nodes
    }

    /// Starts the next member that was not started.
    pub(crate) async fn start_next(&mut self) {
        self.start_next_with(&[]).await;
    }

    /// The same, with further flags for this one.
    pub(crate) async fn start_next_with(&mut self, flags: &[(&str, &str)]) {
        let place = self.nodes.len();
        let name = format!("n{}", place + 1);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let members: Vec<_> = (0..self.members)
            .map(|place| format!("n{}={}", place + 1, url(self.ports[2 * place + 1])))
            .collect();
        let (client_port, peer_port) = (self.ports[2 * place], self.ports[2 * place + 1]);
        let mut settings = vec![
            ("name".to_owned(), name.clone()),
            ("data-dir".to_owned(), self.data.path().join(&name).display().to_string()),
            ("listen-client-urls".to_owned(), url(client_port)),
            ("listen-peer-urls".to_owned(), url(peer_port)),
            ("initial-cluster".to_owned(), members.join(",")),
        ];
        settings.extend(self.flags.iter().cloned());
        settings.extend(flags.iter().map(|(flag, value)| ((*flag).to_owned(), (*value).to_owned())));
        let layers = Layers::merge(&settings, &|_| None, None).expect("these settings are valid");
        let mut config = ServerConfig::from_layers(&layers).expect("these settings are valid");
        // Both ways to serve clients.
        config.client_threads = Some(2 * (place % 2));
        self.nodes.push(Node::start(config, client_port, peer_port).await);
    }

    async fn serve(&self) {
        for node in &self.nodes {
            let begun = Instant::now();
            while let Err(error) = node.get("ready").await {
                assert!(begun.elapsed() < PATIENCE, "{error}");
                pause().await;
            }
        }
    }

    /// The position of the leader.
    pub(crate) async fn leader(&self) -> usize {
        let begun = Instant::now();
        loop {
            for (place, node) in self.nodes.iter().enumerate() {
                if node.status().await.role == "leader" {
                    return place;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "no node leads");
            pause().await;
        }
    }
}

impl Node {
    async fn start(config: ServerConfig, client_port: u16, peer_port: u16) -> Self {
        let server = Server::start(config).await.expect("the server starts");
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(server.run(async {
            // A dropped sender means stop, too.
            let _: Result<(), _> = stopped.await;
        }));
        let channel = |port: u16| {
            let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("a URL");
            endpoint.connect_lazy()
        };
        Self {
            client_port,
            kv: KvClient::new(channel(client_port)).max_decoding_message_size(16 << 20),
            cluster: ClusterClient::new(channel(client_port)),
            raft: RaftClient::new(channel(peer_port)),
            stop: Some(stop),
            server: Some(server),
        }
    }

    /// Tells the node to stop.
    pub(crate) fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until the node has ended.
    pub(crate) async fn ended(&mut self) -> ActorEnd {
        let server = self.server.take().expect("the node runs");
        timeout(PATIENCE, server).await.expect("the node ends").expect("the node does not panic")
    }

    pub(crate) async fn status(&self) -> v1::StatusResponse {
        self.cluster.clone().status(v1::StatusRequest {}).await.expect("a status").into_inner()
    }

    pub(crate) async fn set(&self, key: &str, value: &str) -> Result<v1::SetResponse, tonic::Status> {
        self.set_if(key, value, None).await
    }

    pub(crate) async fn set_if(
        &self,
        key: &str,
        value: &str,
        if_mod_revision: Option<u64>,
    ) -> Result<v1::SetResponse, tonic::Status> {
        let request =
            v1::SetRequest { key: key.to_owned(), value: value.to_owned(), if_mod_revision, prev_kv: false };
        Ok(self.kv.clone().set(request).await?.into_inner())
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<v1::KeyValue>, tonic::Status> {
        let request = v1::GetRequest { key: key.to_owned(), serializable: false };
        Ok(self.kv.clone().get(request).await?.into_inner().kv)
    }

    /// Waits until no request is open on this node.
    pub(crate) async fn idle(&self) {
        let begun = Instant::now();
        while self.status().await.pending_requests > 0 {
            assert!(begun.elapsed() < PATIENCE, "a request is never answered");
            pause().await;
        }
    }
}

/// The pause between two looks at something that is about to happen.
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}
