//! Nodes that are told to stop, and processes that must not start.

use std::process::Command;

use lograft::proto::v1;
use rustix::process::Signal;

use crate::support::{Cluster, free_ports, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_a_node_in_order() {
    let mut cluster = Cluster::start(3).await;
    cluster.nodes[0].set("a", "1").await.expect("acknowledged");
    for node in &mut cluster.nodes {
        let status = node.terminate();
        assert_eq!(
            status.code(),
            Some(0),
            "{}",
            std::fs::read_to_string(node.log_path()).unwrap_or_default()
        );
    }
    cluster.nodes.iter_mut().for_each(|node| node.start());
    cluster.nodes[2].eventually_gets("a", |value| value == Some("1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_ends_a_node_in_order_unless_it_was_told_to_ignore_it() {
    let mut cluster = Cluster::start(1).await;
    let node = &mut cluster.nodes[0];
    node.signal(Signal::HUP);
    assert_eq!(node.wait().code(), Some(0), "{}", node.log_tail());
    let mut nohup = Command::new("nohup");
    nohup.arg(crate::support::program()).args(node.arguments());
    node.start_as(nohup);
    node.eventually_sets("k", "v").await;
    node.signal(Signal::HUP);
    node.set("k", "w").await.expect("it goes on");
    assert_eq!(node.terminate().code(), Some(0), "{}", node.log_tail());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_node_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut cluster = Cluster::new(3);
        let node = &mut cluster.nodes[0];
        node.start();
        node.eventually_status().await;
        // It waits for a leader, and the node for it.
        let mut kv = node.kv().await.expect("a connection");
        let waiting = tokio::spawn(async move {
            kv.set(v1::SetRequest { key: "k".to_owned(), ..Default::default() }).await
        });
        while node.status().await.expect("a status").pending_requests == 0 {
            crate::support::pause().await;
        }
        node.signal(signal);
        node.eventually_logs("shutting down").await;
        node.signal(signal);
        assert_eq!(node.wait().code(), Some(code), "{}", node.log_tail());
        assert_eq!(node.logged("told to stop again").len(), 1, "{}", node.log_tail());
        waiting.await.expect("no panic").expect_err("the node is gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_35_a_second_process_on_a_data_directory_does_not_start() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    let arguments = node.arguments();
    let (code, _, errors) = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, 1);
    assert!(errors.contains("in use by another process"), "{errors}");
    node.set("still", "here").await.expect("the first process is not disturbed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_said_in_a_line() {
    let cluster = Cluster::start(1).await;
    let data_dir = tempfile::tempdir().expect("a directory");
    let client = format!("--listen-client-urls=http://127.0.0.1:{}", cluster.nodes[0].client_port);
    let peer = format!("--listen-peer-urls=http://127.0.0.1:{}", free_ports(1)[0]);
    let data = format!("--data-dir={}", data_dir.path().join("n").display());
    let (code, _, errors) = run(&["serve", &client, &peer, &data]);
    assert_eq!(code, 1, "{errors}");
    let said = errors.lines().last().expect("a line");
    assert!(said.contains("cannot listen on") && said.contains("--listen-client-urls"), "{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_clusters_flags_do_not_start_a_node_on_this_directory() {
    let mut cluster = Cluster::start(1).await;
    let node = &mut cluster.nodes[0];
    node.terminate();
    let mut arguments = node.arguments();
    arguments.push("--initial-cluster-token=another".to_owned());
    let (code, _, errors) = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("belongs to cluster"), "{errors}");
}
