//! Hand-written appends: grpcurl sends a stream, ends it at once, and then waits for the responses.

use lograft::proto::v1;
use lograft::proto::v1::raft_client::RaftClient;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use super::support::{Cluster, Node};

/// Sends these requests, ends the stream, and returns all responses.
async fn send(
    node: &Node,
    requests: Vec<v1::AppendEntriesRequest>,
) -> Result<Vec<v1::AppendEntriesResponse>, Status> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", node.peer_port)).expect("a URL");
    let mut client = RaftClient::new(endpoint.connect().await.expect("a connection"));
    let mut answers = client.append_entries(tokio_stream::iter(requests)).await?.into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.push(answer);
    }
    Ok(all)
}

#[tokio::test]
async fn appends_are_answered_although_their_stream_ended_at_once() {
    let mut cluster = Cluster::new(3);
    cluster.nodes[0].start();
    let node = &cluster.nodes[0];
    let status = node.eventually_status().await;
    let cluster_id = status.header.expect("a header").cluster_id;
    let (to, leader) = (status.members[0].id, status.members[1].id);
    let heartbeat = v1::AppendEntriesRequest {
        cluster_id,
        from: leader,
        to,
        term: 1,
        leader_id: leader,
        request_id: 1,
        ..Default::default()
    };

    let answers = send(node, vec![heartbeat.clone()]).await.expect("a heartbeat is answered");
    let seen: Vec<_> =
        answers.iter().map(|answer| (answer.request_id, answer.success, answer.term)).collect();
    assert_eq!(seen, [(1, true, 1)]);

    // The response waits for the disk, until after the end of the requests.
    let no_op =
        v1::Entry { index: 1, term: 1, kind: v1::EntryKind::NoOp.into(), command: Default::default() };
    let append = v1::AppendEntriesRequest { entries: vec![no_op], request_id: 2, ..heartbeat.clone() };
    let gap =
        v1::AppendEntriesRequest { prev_log_index: 9, prev_log_term: 1, request_id: 3, ..heartbeat.clone() };
    let mut answers = send(node, vec![append, gap]).await.expect("entries are answered");
    answers.sort_by_key(|answer| answer.request_id);
    let seen: Vec<_> =
        answers.iter().map(|answer| (answer.request_id, answer.success, answer.match_index)).collect();
    assert_eq!(seen, [(2, true, 1), (3, false, 0)]);
    assert_eq!(
        (answers[1].conflict_index, answers[1].conflict_term),
        (1, 1),
        "the log's last entry before the gap"
    );

    for (request, code, words) in [
        (v1::AppendEntriesRequest::default(), Code::FailedPrecondition, "to cluster"),
        (v1::AppendEntriesRequest { to: leader, ..heartbeat.clone() }, Code::FailedPrecondition, "node"),
        (v1::AppendEntriesRequest { term: 0, ..heartbeat }, Code::InvalidArgument, "term"),
    ] {
        let status = send(node, vec![request]).await.expect_err("refused");
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
}
