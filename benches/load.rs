//! Durable Sets per second on a cluster of three local nodes, and on etcd in the same run if it is installed.
//!
//!     cargo bench --bench load -- [--clients 64] [--connections 8] [--seconds 10] [--value-bytes 256] [--lograft-only]
//!
//! Each client sends one unary Set after another. In the first row, all clients connect to the leader; in the second,
//! they are spread over all nodes. Prints a table with rates, latencies, memory and idle CPU, and the ratio to etcd.
//! Machines are noisy: compare ratios, not figures of different runs.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use lograft::proto::v1;
use lograft::proto::v1::cluster_client::ClusterClient;
use lograft::proto::v1::kv_client::KvClient;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

#[derive(Parser, Debug)]
struct Options {
    #[arg(long, default_value_t = 64)]
    clients: usize,
    #[arg(long, default_value_t = 8)]
    connections: usize,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    #[arg(long)]
    lograft_only: bool,
    /// Cargo adds this to the arguments of a benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Kills its processes when the benchmark ends, however it ends.
struct Cluster {
    nodes: Vec<Child>,
    endpoints: Vec<String>,
    _data: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // The process may have exited already.
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

const NODES: u16 = 3;

fn start(program: &Path, ports: u16, flags: impl Fn(&Path, &str, &str, &str) -> Vec<String>) -> Cluster {
    let data = tempfile::tempdir().expect("a directory for the data");
    let client = |node: u16| format!("http://127.0.0.1:{}", ports + 2 * node);
    let peer = |node: u16| format!("http://127.0.0.1:{}", ports + 2 * node + 1);
    let members: Vec<_> = (0..NODES).map(|node| format!("n{node}={}", peer(node))).collect();
    let nodes = (0..NODES).map(|node| {
        let name = format!("n{node}");
        let mut common = vec![
            format!("--name={name}"),
            format!("--data-dir={}", data.path().join(&name).display()),
            format!("--initial-cluster={}", members.join(",")),
            "--initial-cluster-state=new".to_owned(),
        ];
        common.extend(flags(data.path(), &name, &client(node), &peer(node)));
        let mut command = Command::new(program);
        if program.ends_with("lograft") {
            command.arg("serve");
        }
        command.args(common).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the node starts")
    });
    Cluster { nodes: nodes.collect(), endpoints: (0..NODES).map(client).collect(), _data: data }
}

fn url_flags(_: &Path, _: &str, client: &str, peer: &str) -> Vec<String> {
    vec![
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
    ]
}

/// A client that sends unary writes; each client has its own keys.
trait Writer: Clone + Send + 'static {
    fn on(channel: Channel) -> Self;
    fn write(&mut self, key: String, value: String)
    -> impl Future<Output = Result<(), tonic::Status>> + Send;
}

#[derive(Clone)]
struct Lograft(KvClient<Channel>);

impl Writer for Lograft {
    fn on(channel: Channel) -> Self {
        Self(KvClient::new(channel))
    }

    async fn write(&mut self, key: String, value: String) -> Result<(), tonic::Status> {
        self.0.set(v1::SetRequest { key, value, ..Default::default() }).await.map(drop)
    }
}

#[derive(Clone)]
struct Etcd(tonic::client::Grpc<Channel>);

#[derive(Clone, PartialEq, prost::Message)]
struct EtcdPut {
    #[prost(bytes, tag = "1")]
    key: Vec<u8>,
    #[prost(bytes, tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EtcdPutResponse {}

impl Writer for Etcd {
    fn on(channel: Channel) -> Self {
        Self(tonic::client::Grpc::new(channel))
    }

    async fn write(&mut self, key: String, value: String) -> Result<(), tonic::Status> {
        self.0.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let put = EtcdPut { key: key.into(), value: value.into() };
        let codec = tonic_prost::ProstCodec::<EtcdPut, EtcdPutResponse>::default();
        let path = "/etcdserverpb.KV/Put".parse().expect("a path");
        self.0.unary(tonic::Request::new(put), path, codec).await.map(drop)
    }
}

struct Measured {
    writes_per_second: f64,
    p50: Duration,
    p99: Duration,
    slowest: Duration,
    failed: u64,
}

async fn load<W: Writer>(endpoints: &[String], options: &Options) -> Measured {
    let mut writers = Vec::new();
    for connection in 0..options.connections {
        let endpoint = endpoints[connection % endpoints.len()].clone();
        let channel = Endpoint::from_shared(endpoint).expect("a URL").tcp_nodelay(true).connect().await;
        writers.push(W::on(channel.expect("the node listens")));
    }
    let failed = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..options.clients)
        .map(|client| {
            let mut writer = writers[client % writers.len()].clone();
            let (stop, failed) = (Arc::clone(&stop), Arc::clone(&failed));
            let value = "v".repeat(options.value_bytes);
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                for place in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let begun = Instant::now();
                    match writer.write(format!("load/{client:04}/{:04}", place % 1000), value.clone()).await {
                        Ok(()) => latencies.push(begun.elapsed()),
                        Err(_) => drop(failed.fetch_add(1, Ordering::Relaxed)),
                    }
                }
                latencies
            })
        })
        .collect();
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await.expect("a client does not panic"));
    }
    let seconds = begun.elapsed().as_secs_f64();
    latencies.sort_unstable();
    assert!(!latencies.is_empty(), "no write was answered");
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    Measured {
        writes_per_second: latencies.len() as f64 / seconds,
        p50: at(0.5),
        p99: at(0.99),
        slowest: at(1.0),
        failed: failed.load(Ordering::Relaxed),
    }
}

fn row(name: &str, measured: &Measured) {
    println!(
        "{name:<28} {:>9.0}/s   p50 {:>8.2?}   p99 {:>8.2?}   slowest {:>8.2?}   failed {}",
        measured.writes_per_second, measured.p50, measured.p99, measured.slowest, measured.failed
    );
}

/// Waits until every endpoint's node has answered a write: the cluster is ready.
async fn ready<W: Writer>(endpoints: &[String]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    for endpoint in endpoints {
        loop {
            let channel = Endpoint::from_shared(endpoint.clone()).expect("a URL").connect().await;
            if let Ok(channel) = channel
                && W::on(channel).write("ready".to_owned(), "yes".to_owned()).await.is_ok()
            {
                break;
            }
            assert!(Instant::now() < deadline, "{endpoint} is not ready within 30 s");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn leader(endpoints: &[String]) -> String {
    for endpoint in endpoints {
        let mut client = ClusterClient::connect(endpoint.clone()).await.expect("the node listens");
        let status = client.status(v1::StatusRequest {}).await.expect("a status").into_inner();
        if status.role == "leader" {
            return endpoint.clone();
        }
    }
    panic!("no node leads");
}

fn rss_anon_mib(node: &Child) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.id())).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap_or_default();
    let kib: f64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(f64::NAN);
    kib / 1024.0
}

/// Clock ticks (10 ms) of CPU that a process has used.
fn cpu_ticks(node: &Child) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.id())).unwrap_or_default();
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    behind_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

async fn memory_and_idle(name: &str, cluster: &Cluster) {
    let memory: Vec<_> = cluster.nodes.iter().map(|node| format!("{:.1}", rss_anon_mib(node))).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = Duration::from_secs(5);
    let before: Vec<_> = cluster.nodes.iter().map(cpu_ticks).collect();
    tokio::time::sleep(idle).await;
    let used = cluster.nodes.iter().zip(before).map(|(node, before)| cpu_ticks(node) - before);
    let shares: Vec<_> = used.map(|ticks| format!("{:.1} %", ticks as f64 / idle.as_secs_f64())).collect();
    println!("{name:<28} RssAnon {} MiB   idle CPU of a core {}", memory.join(" / "), shares.join(" / "));
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let lograft = {
        let cluster = start(Path::new(env!("CARGO_BIN_EXE_lograft")), 24790, url_flags);
        ready::<Lograft>(&cluster.endpoints).await;
        let leader = leader(&cluster.endpoints).await;
        let direct = load::<Lograft>(&[leader], &options).await;
        row("lograft, at the leader", &direct);
        let spread = load::<Lograft>(&cluster.endpoints, &options).await;
        row("lograft, through all nodes", &spread);
        memory_and_idle("lograft", &cluster).await;
        direct
    };
    let etcd = Path::new("/usr/bin/etcd");
    if options.lograft_only || !etcd.exists() {
        println!("etcd is not measured: install it (Debian: etcd-server) for the ratio");
        return;
    }
    let cluster = start(etcd, 24890, url_flags);
    ready::<Etcd>(&cluster.endpoints).await;
    let peer = load::<Etcd>(&cluster.endpoints[..1], &options).await;
    row("etcd, at one node", &peer);
    memory_and_idle("etcd", &cluster).await;
    println!(
        "lograft / etcd: {:.2} times the writes a second",
        lograft.writes_per_second / peer.writes_per_second
    );
}
