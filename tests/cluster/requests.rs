//! Any node accepts any request, and all of them show one store.

use lograft::proto::v1;
use tokio::time::Instant;
use tonic::Code;

use super::nodes::{Nodes, PATIENCE, pause};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_through_every_node() {
    let cluster = Nodes::three().await;
    let mut node_ids = Vec::new();
    for (place, node) in cluster.nodes.iter().enumerate() {
        let key = format!("via/{place}");
        let mut kv = node.kv.clone();
        let set = |value: &str, prev_kv| v1::SetRequest {
            key: key.clone(),
            value: value.to_owned(),
            if_mod_revision: None,
            prev_kv,
        };
        let first = kv.set(set("one", true)).await.expect("set").into_inner();
        assert_eq!(first.prev_kv, None);
        let created = first.header.expect("a header").revision;
        let second = kv.set(set("two", true)).await.expect("set").into_inner();
        assert_eq!(second.prev_kv.expect("prev_kv").value, "one", "also if forwarded");
        let header = second.header.expect("a header");
        assert_eq!(header.revision, created + 1);
        node_ids.push(header.node_id);

        let found = node.get(&key).await.expect("get").expect("the key exists");
        assert_eq!((found.value.as_str(), found.version), ("two", 2));
        assert_eq!((found.create_revision, found.mod_revision), (created, created + 1));

        let list = v1::ListRequest { prefix: key.clone(), keys_only: true, ..Default::default() };
        let listed = kv.list(list).await.expect("list").into_inner();
        assert_eq!((listed.kvs.len(), listed.kvs[0].value.as_str(), listed.more), (1, "", false));

        let wrong = v1::DeleteRequest { key: key.clone(), if_mod_revision: Some(created), prev_kv: false };
        let refused = kv.delete(wrong).await.expect_err("the condition does not hold");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let found = refused.metadata().get("lograft-found-mod-revision").expect("the revision found");
        assert_eq!(found.to_str().expect("text"), (created + 1).to_string());
        let delete = v1::DeleteRequest { key: key.clone(), if_mod_revision: None, prev_kv: true };
        let deleted = kv.delete(delete.clone()).await.expect("delete").into_inner();
        assert_eq!((deleted.deleted, deleted.prev_kv.expect("prev_kv").value), (1, "two".to_owned()));
        assert_eq!(kv.delete(delete).await.expect("delete").into_inner().deleted, 0);

        let status = node.status().await;
        assert_eq!((status.name, status.members.len()), (format!("n{}", place + 1), 3));
        assert_eq!(status.header.expect("a header").node_id, header.node_id);
    }
    node_ids.sort_unstable();
    node_ids.dedup();
    assert_eq!(node_ids.len(), 3, "each node responds with its own ID");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_with_one_condition_exactly_one_wins() {
    let cluster = Nodes::three().await;
    let mut expected = 0;
    for round in 0..10 {
        let racing: Vec<_> = (0..12)
            .map(|writer| {
                let mut kv = cluster.nodes[writer % 3].kv.clone();
                let request = v1::SetRequest {
                    key: "contested".to_owned(),
                    value: format!("{round}/{writer}"),
                    if_mod_revision: Some(expected),
                    prev_kv: false,
                };
                tokio::spawn(async move { (writer, kv.set(request).await) })
            })
            .collect();
        let mut winners = Vec::new();
        for writer in racing {
            match writer.await.expect("no panic") {
                (writer, Ok(answer)) => {
                    winners.push((writer, answer.into_inner().header.expect("a header").revision));
                }
                (_, Err(status)) => assert_eq!(status.code(), Code::FailedPrecondition, "{status}"),
            }
        }
        let [(winner, revision)] = winners[..] else { panic!("round {round}: {winners:?}") };
        let found = cluster.nodes[round % 3].get("contested").await.expect("get").expect("the key exists");
        assert_eq!((found.value, found.mod_revision), (format!("{round}/{winner}"), revision));
        expected = revision;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_through_any_node_sees_a_write_through_any_other() {
    let cluster = Nodes::three().await;
    for round in 0..60 {
        let value = round.to_string();
        let written = cluster.nodes[round % 3].set("k", &value).await.expect("set");
        for reader in 1..3 {
            let found =
                cluster.nodes[(round + reader) % 3].get("k").await.expect("get").expect("the key exists");
            assert_eq!(found.value, value);
            assert_eq!(found.mod_revision, written.header.as_ref().expect("a header").revision);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_through_different_nodes_make_one_list() {
    let cluster = Nodes::three().await;
    let keys: Vec<_> = (0..25).map(|place| format!("page/{place:02}")).collect();
    for (place, key) in keys.iter().enumerate() {
        cluster.nodes[place % 3].set(key, "v").await.expect("set");
    }
    cluster.nodes[0].set("pagf", "after the prefix").await.expect("set");
    let (mut listed, mut start_after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let mut kv = cluster.nodes[pages % 3].kv.clone();
        let request =
            v1::ListRequest { prefix: "page/".to_owned(), start_after, limit: 10, ..Default::default() };
        let page = kv.list(request).await.expect("list").into_inner();
        pages += 1;
        assert_eq!(page.more, pages < 3);
        listed.extend(page.kvs.into_iter().map(|kv| kv.key));
        if !page.more {
            break;
        }
        start_after = listed.last().expect("a full page").clone();
    }
    assert_eq!((listed, pages), (keys, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_25_no_permit_is_refused_at_once_and_all_come_back() {
    let cluster = Nodes::with(3, 3, &[("max-pending-requests", "8")]).await;
    let mut refused = 0;
    for round in 0..5 {
        let burst: Vec<_> = (0..96)
            .map(|place| {
                let mut kv = cluster.nodes[place % 3].kv.clone();
                let key = format!("{round}/{place}");
                tokio::spawn(async move {
                    match place % 2 {
                        0 => kv.get(v1::GetRequest { key, serializable: false }).await.map(drop),
                        _ => kv.set(v1::SetRequest { key, ..Default::default() }).await.map(drop),
                    }
                })
            })
            .collect();
        for request in burst {
            if let Err(status) = request.await.expect("no panic") {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                assert!(status.message().contains("limit 8"), "{status}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "the burst was too small to reach the limit");
    for node in &cluster.nodes {
        node.idle().await;
    }
    for node in &cluster.nodes {
        let all_permits: Vec<_> = (0..8)
            .map(|place| {
                let mut kv = node.kv.clone();
                let request = v1::SetRequest { key: format!("last/{place}"), ..Default::default() };
                tokio::spawn(async move { kv.set(request).await })
            })
            .collect();
        for request in all_permits {
            request.await.expect("no panic").expect("as many requests as permits");
        }
        assert_eq!(node.status().await.pending_requests, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_79_values_of_the_largest_size_reach_a_node_that_was_behind() {
    let mut cluster = Nodes::with(2, 3, &[]).await;
    // Control characters take six bytes each in the log, so one such entry exceeds the size of a batch.
    let value = "\u{1}".repeat(1 << 20);
    for place in 0..6 {
        cluster.nodes[place % 2].set(&format!("large/{place}"), &value).await.expect("set");
    }
    cluster.start_next().await;
    let begun = Instant::now();
    let applied = cluster.nodes[0].status().await.applied_index;
    while cluster.nodes[2].status().await.applied_index < applied {
        assert!(begun.elapsed() < PATIENCE, "the node never catches up");
        pause().await;
    }
    let request = v1::GetRequest { key: "large/5".to_owned(), serializable: true };
    let found = cluster.nodes[2].kv.clone().get(request).await.expect("get").into_inner();
    assert_eq!(found.kv.expect("the key exists").value, value);
}
