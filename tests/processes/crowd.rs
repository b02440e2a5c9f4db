//! More clients than a node has file descriptors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lograft_os::process::raise_descriptor_limit;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{Cluster, PATIENCE, pause};

const CLIENTS: usize = 1000;

/// How long a client keeps its connection, and how long it stays away.
const STAY: Duration = Duration::from_millis(200);

/// Clients that connect, ask for something, stay, and come back. Dropping them ends them.
fn crowd(port: u16, answered: &Arc<AtomicU64>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let answered = Arc::clone(answered);
        clients.spawn(async move {
            loop {
                // Whatever goes wrong, it tries again.
                if visit(port).await.is_ok() {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(STAY).await;
            }
        });
    }
    clients
}

async fn visit(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    tokio::time::sleep(STAY).await;
    if &answer == b"HTTP/1.1 200" { Ok(()) } else { Err(std::io::ErrorKind::ConnectionRefused.into()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_91_a_node_with_few_descriptors_stays_up_among_many_clients_and_hears_its_peers() {
    raise_descriptor_limit().expect("this process may have more connections");
    let mut cluster = Cluster::new(3);
    cluster.nodes[0].start_with_descriptors(256);
    cluster.nodes[1].start();
    cluster.nodes[2].start();
    cluster.ready().await;
    let answered = Arc::default();
    let _crowd = crowd(cluster.nodes[0].client_port, &answered);
    cluster.nodes[0].eventually_logs("more are turned away").await;

    cluster.nodes[0].kill();
    cluster.nodes[1].eventually_sets("while", "it is away").await;
    let before = answered.load(Ordering::Relaxed);
    cluster.nodes[0].start_with_descriptors(256);
    let begun = Instant::now();
    while answered.load(Ordering::Relaxed) < before + CLIENTS as u64 {
        assert_eq!(cluster.nodes[0].ended_by_itself(), None, "{}", cluster.nodes[0].log_tail());
        assert!(begun.elapsed() < PATIENCE, "clients are not served:\n{}", cluster.nodes[0].log_tail());
        pause().await;
    }
    // Among the crowd, it is a member like any other: without it there is no majority.
    cluster.nodes[2].kill();
    cluster.nodes[1].eventually_sets("with", "its vote").await;
    cluster.nodes[0].eventually_gets("with", |value| value == Some("its vote")).await;
    assert_eq!(cluster.nodes[0].ended_by_itself(), None, "{}", cluster.nodes[0].log_tail());
    let warned = cluster.nodes[0].logged("WARN");
    let connections = warned.iter().filter(|line| line.contains("connect") && !line.contains("peer="));
    assert!(connections.clone().count() <= 4, "{:#?}", connections.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_91_a_lack_of_descriptors_is_waited_out_and_told_twice() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    let open =
        || std::fs::read_dir(format!("/proc/{}/fd", node.pid().as_raw_nonzero())).expect("it runs").count();
    let allow = |current| {
        let maximum = getrlimit(Resource::Nofile).maximum;
        prlimit(Some(node.pid()), Resource::Nofile, Rlimit { current, maximum })
            .expect("a child of this process")
    };
    let most = allow(Some(open() as u64 + 8));
    let mut held = Vec::new();
    for _ in 0..30 {
        // The kernel takes them, the node cannot.
        held.push(TcpStream::connect(("127.0.0.1", node.client_port)).await.expect("a place in the backlog"));
    }
    node.eventually_logs("can be accepted: waiting").await;
    // As long as it could tell it twenty times over.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        pause().await;
    }
    assert_eq!(node.logged("can be accepted: waiting").len(), 1, "{}", node.log_tail());
    held.clear();
    node.eventually_sets("k", "v").await;
    allow(most.current);
    let begun = Instant::now();
    while node.logged("can be accepted again").is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{}", node.log_tail());
        node.set("k", "v").await.expect("it accepts connections");
        pause().await;
    }
    assert_eq!(node.logged("can be accepted").len(), 2, "{}", node.log_tail());
}
