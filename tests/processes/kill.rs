//! `kill -9` at any moment loses no acknowledged write.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use lograft::proto::v1;
use lograft::proto::v1::kv_client::KvClient;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::support::{Cluster, PATIENCE, pause};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_goes_on_without_any_one_node_and_it_catches_up_when_it_is_back() {
    let mut cluster = Cluster::start(3).await;
    for gone in 0..3 {
        cluster.nodes[gone].kill();
        for (place, node) in cluster.nodes.iter().enumerate().filter(|(place, _)| *place != gone) {
            node.eventually_sets(&format!("without-{gone}"), &format!("set through {place}")).await;
        }
        cluster.nodes[gone].start();
        cluster.nodes[gone].eventually_gets(&format!("without-{gone}"), |value| value.is_some()).await;
    }
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_all_nodes_were_killed_at_once() {
    let mut cluster = Cluster::start(3).await;
    for place in 0..30 {
        let node = &cluster.nodes[place % 3];
        node.set(&format!("key-{place}"), &format!("value-{place}")).await.expect("acknowledged");
    }
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    cluster.nodes.iter_mut().for_each(|node| node.start());
    cluster.ready().await;
    for place in 0..30 {
        let found = cluster.nodes[(place + 1) % 3].get(&format!("key-{place}")).await.expect("readable");
        assert_eq!(found, Some(format!("value-{place}")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_keeps_what_it_acknowledged() {
    let mut cluster = Cluster::start(1).await;
    let node = &mut cluster.nodes[0];
    node.set("a", "1").await.expect("acknowledged");
    node.kill();
    node.start();
    node.eventually_gets("a", |value| value == Some("1")).await;
}

/// Kills one leader after another while clients write through all nodes. `LOGRAFT_KILL_ROUNDS` sets how
/// often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_killed_under_load_lose_no_acknowledged_write() {
    let rounds = std::env::var("LOGRAFT_KILL_ROUNDS").map_or(3, |rounds| rounds.parse().expect("a number"));
    let mut cluster = Cluster::start(3).await;
    let load = Load::start(cluster.nodes.iter().map(|node| node.client_port).collect());
    for round in 0..rounds {
        let leader = cluster.leader().await;
        let survivor = (leader + 1) % 3;
        cluster.nodes[leader].kill();
        let begun = Instant::now();
        cluster.nodes[survivor].eventually_sets("after the kill", &round.to_string()).await;
        println!("round {round}: a write succeeded {:?} after the leader was killed", begun.elapsed());
        cluster.nodes[leader].start();
        cluster.nodes[leader]
            .eventually_gets("after the kill", |value| value == Some(&round.to_string()))
            .await;
    }
    let (acknowledged, unknown) = load.stop().await;
    cluster.converge().await;
    println!("{} writes acknowledged, {unknown} with an unknown outcome", acknowledged.len());
    assert!(acknowledged.len() > 10 * rounds, "too few writes: the load hardly ran");
    let mut client = cluster.nodes[0].kv().await.expect("a connection");
    for (key, value) in acknowledged {
        let request = v1::GetRequest { key: key.clone(), serializable: false };
        let found = client.get(request).await.expect("readable").into_inner().kv.map(|kv| kv.value);
        assert_eq!(found, Some(value), "{key} was acknowledged and lost");
    }
}

/// Clients that write through all nodes, each key once.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeMap<String, String>>>,
    clients: Vec<tokio::task::JoinHandle<u64>>,
}

const CLIENTS: usize = 6;

impl Load {
    fn start(ports: Vec<u16>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
        let clients = (0..CLIENTS).map(|client| {
            let url = format!("http://127.0.0.1:{}", ports[client % ports.len()]);
            let channel = Endpoint::from_shared(url).expect("a URL").connect_lazy();
            tokio::spawn(write_on(
                client,
                KvClient::new(channel),
                Arc::clone(&stop),
                Arc::clone(&acknowledged),
            ))
        });
        let clients = clients.collect();
        Self { stop, acknowledged, clients }
    }

    /// Returns the acknowledged writes, and the number of writes with an unknown outcome.
    async fn stop(self) -> (BTreeMap<String, String>, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let mut unknown = 0;
        for client in self.clients {
            let ended =
                tokio::time::timeout(PATIENCE, client).await.expect("a client hangs: it was never answered");
            unknown += ended.expect("a client does not panic");
        }
        let acknowledged = self.acknowledged.lock().expect("no client panicked").clone();
        (acknowledged, unknown)
    }
}

async fn write_on(
    client: usize,
    mut kv: KvClient<Channel>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeMap<String, String>>>,
) -> u64 {
    let mut unknown = 0;
    for place in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (key, value) = (format!("load/{client}/{place}"), format!("{client}-{place}"));
        let request = v1::SetRequest { key: key.clone(), value: value.clone(), ..Default::default() };
        match kv.set(request).await {
            Ok(_) => drop(acknowledged.lock().expect("no client panicked").insert(key, value)),
            Err(status) => {
                let interrupted = [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal];
                assert!(interrupted.contains(&status.code()), "{status}");
                unknown += 1;
                pause().await;
            }
        }
    }
    unknown
}
