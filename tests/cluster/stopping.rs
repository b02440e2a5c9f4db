//! A lost leader, and a node that is told to stop: each response says what is certain about the outcome.

use std::time::Duration;

use lograft::actor::ActorEnd;
use lograft::proto::v1;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::nodes::{Nodes, PATIENCE, pause};

/// A write that is not acknowledged is UNAVAILABLE, and its message and metadata report the same outcome.
fn assert_says_what_is_known(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let outcome = status.metadata().get("lograft-outcome").map(|outcome| outcome.to_str().expect("text"));
    match outcome {
        Some("not-applied") => assert!(status.message().starts_with("not applied"), "{status}"),
        Some("unknown") => assert!(status.message().starts_with("outcome unknown"), "{status}"),
        other => panic!("{other:?}: {status}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_forwarded_is_answered_when_the_leader_stops() {
    let mut cluster = Nodes::three().await;
    let leader = cluster.leader().await;
    let followers = [(leader + 1) % 3, (leader + 2) % 3];
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let mut kv = cluster.nodes[followers[writer % 2]].kv.clone();
            tokio::spawn(async move {
                let (mut acknowledged, mut unknown) = (Vec::new(), Vec::new());
                for place in 0..150 {
                    let key = format!("{writer}/{place}");
                    let request = v1::SetRequest { key: key.clone(), ..Default::default() };
                    match timeout(PATIENCE, kv.set(request)).await.expect("each write is answered") {
                        Ok(_) => acknowledged.push(key),
                        Err(status) => {
                            assert_says_what_is_known(&status);
                            if status.message().starts_with("outcome unknown") {
                                unknown.push(status.message().to_owned());
                            }
                        }
                    }
                }
                (acknowledged, unknown)
            })
        })
        .collect();
    while cluster.nodes[followers[0]].status().await.applied_index < 50 {
        pause().await;
    }
    cluster.nodes[leader].begin_stop();
    assert_eq!(cluster.nodes[leader].ended().await, ActorEnd::ShutDown);
    for writer in writers {
        let (acknowledged, unknown) = writer.await.expect("no panic");
        assert!(unknown.is_empty(), "the leader decided all that it took: {unknown:?}");
        assert!(acknowledged.len() > 50, "too few writes after the leader was lost: {}", acknowledged.len());
        for key in acknowledged {
            assert!(cluster.nodes[followers[0]].get(&key).await.expect("get").is_some(), "{key} is lost");
        }
    }
    for follower in followers {
        cluster.nodes[follower].idle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_told_to_stop_answers_what_waits() {
    let mut cluster = Nodes::with(1, 3, &[]).await;
    let node = &mut cluster.nodes[0];
    let (mut writer, mut reader) = (node.kv.clone(), node.kv.clone());
    let written = tokio::spawn(async move {
        writer.set(v1::SetRequest { key: "k".to_owned(), ..Default::default() }).await
    });
    let read =
        tokio::spawn(
            async move { reader.get(v1::GetRequest { key: "k".to_owned(), serializable: false }).await },
        );
    while node.status().await.pending_requests < 2 {
        pause().await;
    }
    node.begin_stop();
    let status =
        timeout(PATIENCE, written).await.expect("answered").expect("no panic").expect_err("no leader");
    assert_says_what_is_known(&status);
    assert!(status.message().contains("shutting down"), "{status}");
    let status = timeout(PATIENCE, read).await.expect("answered").expect("no panic").expect_err("no leader");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(node.ended().await, ActorEnd::ShutDown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_leader_a_request_waits_as_long_as_it_wants_to() {
    let cluster = Nodes::with(1, 3, &[]).await;
    let mut kv = cluster.nodes[0].kv.clone();
    let mut request = tonic::Request::new(v1::SetRequest { key: "k".to_owned(), ..Default::default() });
    request.set_timeout(Duration::from_millis(500));
    let status = timeout(PATIENCE, kv.set(request)).await.expect("answered").expect_err("no leader");
    assert_says_what_is_known(&status);
    assert!(status.message().contains("no leader"), "{status}");
    let local = v1::GetRequest { key: "k".to_owned(), serializable: true };
    kv.get(local).await.expect("a serializable read needs no leader");
    cluster.nodes[0].idle().await;
}
