//! A hand-written stream of AppendEntries works like any peer's, and is checked like any peer's.

use lograft::proto::v1;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::{Code, Status};

use super::nodes::{Node, Nodes, PATIENCE};

/// What a leader of term 7 would send to this node. It takes the place of the peer that is not running.
struct Hand<'a> {
    node: &'a Node,
    heartbeat: v1::AppendEntriesRequest,
}

impl<'a> Hand<'a> {
    async fn new(node: &'a Node) -> Self {
        let status = node.status().await;
        let header = status.header.expect("a header");
        let peer = status.members.iter().find(|member| member.id != header.node_id).expect("a peer").id;
        let heartbeat = v1::AppendEntriesRequest {
            cluster_id: header.cluster_id,
            from: peer,
            to: header.node_id,
            term: 7,
            leader_id: peer,
            ..Default::default()
        };
        Self { node, heartbeat }
    }

    fn append(
        &self,
        prev: (u64, u64),
        entries: &[(u64, u64, &str)],
        commit: u64,
    ) -> v1::AppendEntriesRequest {
        let entry = |(index, term, key): &(u64, u64, &str)| v1::Entry {
            index: *index,
            term: *term,
            command: format!(r#"{{"command":"SET","key":"{key}","value":"by hand"}}"#).into_bytes().into(),
            kind: v1::EntryKind::Normal.into(),
        };
        v1::AppendEntriesRequest {
            prev_log_index: prev.0,
            prev_log_term: prev.1,
            entries: entries.iter().map(entry).collect(),
            leader_commit: commit,
            ..self.heartbeat.clone()
        }
    }

    /// Sends one message and closes the sending side, as `grpcurl -d` does.
    async fn send(&self, message: v1::AppendEntriesRequest) -> Result<v1::AppendEntriesResponse, Status> {
        let mut raft = self.node.raft.clone();
        let mut answers = raft.append_entries(tokio_stream::iter([message])).await?.into_inner();
        let answer = timeout(PATIENCE, answers.next()).await.expect("an answer in time");
        answer.expect("each request gets a response")
    }

    async fn value(&self, key: &str) -> Option<String> {
        let request = v1::GetRequest { key: key.to_owned(), serializable: true };
        let answer = self.node.kv.clone().get(request).await.expect("a local read").into_inner();
        answer.kv.map(|kv| kv.value)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_typed_by_hand_works_like_any_peers() {
    let cluster = Nodes::with(1, 3, &[]).await;
    let hand = Hand::new(&cluster.nodes[0]).await;
    let answer = hand.send(hand.append((0, 0), &[(1, 7, "a"), (2, 7, "b")], 1)).await.expect("taken");
    assert_eq!((answer.success, answer.term, answer.match_index), (true, 7, 2));
    assert_eq!(hand.value("a").await.as_deref(), Some("by hand"));
    assert_eq!(hand.value("b").await, None, "not committed yet");

    // The previous entry is missing: the response is a hint.
    let answer = hand.send(hand.append((9, 7), &[(10, 7, "z")], 1)).await.expect("answered");
    assert_eq!((answer.success, answer.conflict_index), (false, 2));
    // A heartbeat commits.
    let answer = hand.send(hand.append((2, 7), &[], 2)).await.expect("taken");
    assert!(answer.success);
    assert_eq!(hand.value("b").await.as_deref(), Some("by hand"));
    // A leader of an older term only learns the current term.
    let old = v1::AppendEntriesRequest { term: 6, ..hand.append((2, 6), &[(3, 6, "old")], 3) };
    let answer = hand.send(old).await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| !answer.success && answer.term >= 7));
    assert_eq!(hand.node.status().await.last_index, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_24_35_what_no_peer_may_say_is_refused_counted_and_changes_nothing() {
    let cluster = Nodes::with(1, 3, &[]).await;
    let hand = Hand::new(&cluster.nodes[0]).await;
    hand.send(hand.append((0, 0), &[(1, 7, "a")], 1)).await.expect("taken");
    let before = cluster.nodes[0].status().await;
    let good = hand.append((1, 7), &[(2, 7, "b"), (3, 7, "c")], 3);
    let unfit = [
        (Code::FailedPrecondition, v1::AppendEntriesRequest { cluster_id: 1, ..good.clone() }),
        (Code::FailedPrecondition, v1::AppendEntriesRequest { to: 1, ..good.clone() }),
        (
            Code::FailedPrecondition,
            v1::AppendEntriesRequest { from: good.to, leader_id: good.to, ..good.clone() },
        ),
        (Code::InvalidArgument, v1::AppendEntriesRequest { leader_id: 1, ..good.clone() }),
        (Code::InvalidArgument, v1::AppendEntriesRequest { term: 0, ..good.clone() }),
        (Code::InvalidArgument, v1::AppendEntriesRequest { term: u64::MAX, ..good.clone() }),
        (Code::InvalidArgument, hand.append((1, 7), &[(3, 7, "gap")], 3)),
        (Code::InvalidArgument, hand.append((1, 7), &[(2, 7, "b"), (4, 7, "gap")], 3)),
        (Code::InvalidArgument, hand.append((1, 7), &[(2, 7, "b"), (2, 7, "twice")], 3)),
        (Code::InvalidArgument, hand.append((1, 7), &[(2, 6, "the term goes back")], 3)),
        (Code::InvalidArgument, hand.append((1, 7), &[(2, 7, "b"), (3, 5, "the term goes back")], 3)),
        (Code::InvalidArgument, hand.append((1, 7), &[(2, 8, "of a later term than its leader")], 3)),
    ];
    for (place, (code, message)) in unfit.into_iter().enumerate() {
        let refused = hand.send(message.clone()).await.expect_err("refused");
        assert_eq!(refused.code(), code, "{message:?}: {refused}");
        assert!(refused.message().starts_with("refused"), "{refused}");
        let now = cluster.nodes[0].status().await;
        assert_eq!(now.refused_messages, before.refused_messages + place as u64 + 1, "{message:?}");
        assert_eq!((now.last_index, now.commit_index), (1, 1), "{message:?}");
        assert_eq!(now.header.expect("a header").term, 7, "{message:?}");
        assert_eq!(now.state_hash, before.state_hash);
    }
    let answer = hand.send(good).await.expect("valid appends are still accepted");
    assert_eq!((answer.success, answer.match_index), (true, 3));
}
