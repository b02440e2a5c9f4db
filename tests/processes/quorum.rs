//! A node that has lost touch with the others says so, as a warning that an operator understands.

use crate::support::{Cluster, Node, PATIENCE, pause};
use tokio::time::Instant;

/// Waits for a line of the node's log with these words. Returns it.
async fn says(node: &Node, words: &str) -> String {
    let begun = Instant::now();
    loop {
        let log = std::fs::read_to_string(node.log_path()).expect("a log");
        if let Some(line) = log.lines().rfind(|line| line.contains(words)) {
            return line.to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "{}: nothing about {words:?}:\n{log}", node.name);
        pause().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_quorum_is_a_warning_and_its_return_is_logged() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let others: Vec<usize> = (0..3).filter(|place| *place != leader).collect();
    others.iter().for_each(|place| cluster.nodes[*place].kill());
    let node = &cluster.nodes[leader];
    assert!(says(node, "this node no longer leads").await.contains("WARN"));
    assert!(says(node, "no leader: writes").await.contains("WARN"));
    cluster.nodes[others[0]].start();
    assert!(says(&cluster.nodes[leader], "there is a leader again").await.contains("INFO"));
}
