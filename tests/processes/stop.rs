//! Nodes that are told to stop, and processes that must not start.

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
