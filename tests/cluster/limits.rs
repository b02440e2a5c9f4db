//! Large values, and nodes whose limits differ.

use super::nodes::Nodes;

const MIB: usize = 1 << 20;

/// The same value through every node, also from nodes that would not accept it from a client.
async fn reads_back(cluster: &Nodes, key: &str, value: &str) {
    for node in &cluster.nodes {
        let found = node.get(key).await.expect("get").expect("the key exists");
        assert!(found.value == value, "{} bytes instead of {}", found.value.len(), value.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_92_a_value_larger_than_the_first_segments_is_stored_and_holds_up_no_other() {
    let flags = [("max-value-bytes", "8MiB"), ("max-request-bytes", "9MiB")];
    let cluster = Nodes::with(3, 3, &flags).await;
    let large = "x".repeat(8 * MIB);
    let small = async {
        for round in 0..30 {
            for node in &cluster.nodes {
                node.set("small", &round.to_string()).await.expect("a small value is stored meanwhile");
            }
        }
    };
    let (stored, ()) = tokio::join!(cluster.nodes[1].set("large", &large), small);
    stored.expect("the large value is stored");
    reads_back(&cluster, "large", &large).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_93_the_limits_of_a_node_bind_its_clients_and_not_its_peers() {
    let mut cluster = Nodes::with(2, 3, &[]).await;
    cluster.start_next_with(&[("max-value-bytes", "3MiB"), ("max-request-bytes", "4MiB")]).await;
    let large = "x".repeat(2 * MIB);
    let (lower, higher) = (&cluster.nodes[0], &cluster.nodes[2]);
    lower.set("large", &large).await.expect_err("it is too large for a client of this node");
    higher.set("before", "1").await.expect("the third node takes part");
    let term = higher.status().await.header.expect("a header").term;
    higher.set("large", &large).await.expect("stored, whoever leads");
    lower.set("after", "2").await.expect("the cluster goes on");
    reads_back(&cluster, "large", &large).await;
    for node in &cluster.nodes {
        let status = node.status().await;
        assert_eq!(status.header.expect("a header").term, term, "no stream broke");
        assert_eq!(status.refused_messages, 0);
    }
}
