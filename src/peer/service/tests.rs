//! The peer service over real connections, with the test in place of the actor.

use std::time::Duration;

use lograft_node::PeerRequest;
use lograft_node::limits::Limits;
use lograft_raft::{AppendEntriesResponse, AppendResult, ReplyTo};
use lograft_types::{Identity, LogIndex, NodeId, Term};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::actor::{ClientMessage, PeerEvent, PendingForward};
use crate::proto::v1::raft_client::RaftClient;
use crate::proto::v1::raft_server::RaftServer;
use crate::server::ports::{Audience, Grace, Port, peer_router, serve};
use crate::stub;

const IDENTITY: Identity = Identity { cluster: stub::CLUSTER, node: stub::NODE };
const PEER: NodeId = NodeId::new(2);
const PATIENCE: Duration = Duration::from_secs(20);

/// A client of the service, and what the actor would receive.
async fn open(limits: Limits) -> (RaftClient<Channel>, mpsc::Receiver<PeerEvent>) {
    let (handle, _script) = stub::node(limits);
    let (client, lane, _stop, _server) = open_for(handle, limits).await;
    (client, lane)
}

/// The same for a node of the test's own, with what stops the service, and the task that ends with it.
async fn open_for(
    handle: NodeHandle,
    limits: Limits,
) -> (RaftClient<Channel>, mpsc::Receiver<PeerEvent>, watch::Sender<bool>, JoinHandle<()>) {
    let (port, lane) = PeerHandle::new(IDENTITY);
    let handshake = Handshake { name: "n1".to_owned(), client_urls: Vec::new() };
    let (stop, stopping) = watch::channel(false);
    let service = RaftServer::new(RaftService::new(port, handle.clone(), handshake, stopping));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let port = Port::new(Audience::Peers, peer_router(handle, service), &limits, 8, Grace(PATIENCE));
    let server = tokio::spawn(serve(listener, port, stop_after(stop.clone())));
    let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    (RaftClient::new(channel), lane, stop, server)
}

async fn stop_after(stop: watch::Sender<bool>) {
    let _ = stop.subscribe().wait_for(|stop| *stop).await;
}

fn append(request_id: u64) -> v1::AppendEntriesRequest {
    v1::AppendEntriesRequest {
        cluster_id: IDENTITY.cluster.get(),
        from: PEER.get(),
        to: IDENTITY.node.get(),
        term: 1,
        leader_id: PEER.get(),
        request_id,
        ..Default::default()
    }
}

fn matched(request_id: u64) -> PeerResult {
    let response = AppendEntriesResponse {
        term: Term::new(1),
        request_id,
        read_round: 0,
        result: AppendResult::Matched { match_index: LogIndex::ZERO },
    };
    Ok((PEER, raft::Response::AppendEntries(response)))
}

async fn hear(lane: &mut mpsc::Receiver<PeerEvent>) -> PeerEvent {
    timeout(PATIENCE, lane.recv()).await.expect("the actor receives it").expect("the service is alive")
}

async fn hear_opened(lane: &mut mpsc::Receiver<PeerEvent>) -> (ReplyTo, mpsc::Sender<PeerResult>) {
    match hear(lane).await {
        PeerEvent::StreamOpened { reply_to, responses } => (reply_to, responses),
        other => panic!("{other:?}"),
    }
}

async fn hear_append(lane: &mut mpsc::Receiver<PeerEvent>) -> u64 {
    match hear(lane).await {
        PeerEvent::Append { request: PeerRequest::Append(append), .. } => append.request_id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_was_asked_is_answered_after_the_sender_has_closed_its_side() {
    let (mut client, mut lane) = open(Limits::default()).await;
    let both = tokio_stream::iter([append(1), append(2)]);
    let answers = tokio::spawn(async move { client.append_entries(both).await.unwrap().into_inner() });
    let (reply_to, to_peer) = hear_opened(&mut lane).await;
    assert_eq!((hear_append(&mut lane).await, hear_append(&mut lane).await), (1, 2));
    let mut answers = answers.await.unwrap();
    // The responses come late, as they do when they wait for the disk.
    for request_id in [1, 2] {
        assert!(lane.try_recv().is_err(), "the stream ended although responses are pending");
        to_peer.try_send(matched(request_id)).unwrap();
        let answer = timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap();
        assert_eq!((answer.request_id, answer.success), (request_id, true));
    }
    let PeerEvent::StreamEnded { reply_to: ended, in_order } = hear(&mut lane).await else { panic!() };
    assert_eq!((ended, in_order), (reply_to, true));
}

#[tokio::test]
async fn a_peer_that_is_gone_is_news_also_while_no_slot_is_free() {
    let (mut client, mut lane) = open(Limits { max_stream_requests: 1, ..Limits::default() }).await;
    let (requests, queue) = mpsc::channel(4);
    requests.send(append(1)).await.unwrap();
    let opening = tokio::spawn(async move {
        let answers = client.append_entries(ReceiverStream::new(queue)).await.unwrap().into_inner();
        (client, answers)
    });
    let (reply_to, _to_peer) = hear_opened(&mut lane).await;
    assert_eq!(hear_append(&mut lane).await, 1);
    // No response comes, so the only slot stays in use; then the peer goes away.
    drop(opening.await.unwrap());
    drop(requests);
    let PeerEvent::StreamEnded { reply_to: ended, in_order } = hear(&mut lane).await else { panic!() };
    assert_eq!((ended, in_order), (reply_to, false));
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_refused_and_counted() {
    let (mut client, mut lane) = open(Limits::default()).await;
    let entry = v1::Entry { index: 1, term: 1, kind: 99, ..Default::default() };
    let bad = v1::AppendEntriesRequest { entries: vec![entry], ..append(1) };
    let answers = tokio::spawn(async move {
        let mut answers = client.append_entries(tokio_stream::iter([bad])).await.unwrap().into_inner();
        answers.next().await
    });
    let (_, _to_peer) = hear_opened(&mut lane).await;
    assert!(matches!(hear(&mut lane).await, PeerEvent::Event(lograft_node::Event::Refused)));
    let refused = timeout(PATIENCE, answers).await.unwrap().unwrap().unwrap().unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    assert!(refused.message().contains("unknown kind 99"), "{refused}");
}

fn forward(id: u64) -> v1::ForwardRequest {
    v1::ForwardRequest {
        cluster_id: IDENTITY.cluster.get(),
        from: PEER.get(),
        to: IDENTITY.node.get(),
        id,
        timeout_ms: 5000,
        request: Some(v1::forward_request::Request::ReadIndex(v1::ReadIndexRequest {})),
        ..Default::default()
    }
}

async fn hear_forward(mailbox: &mut mpsc::Receiver<ClientMessage>) -> PendingForward {
    match timeout(PATIENCE, mailbox.recv()).await.expect("it is handed over").expect("the service is alive") {
        ClientMessage::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn pitfall_54_at_a_stop_the_last_answers_leave_and_then_it_is_said_that_there_are_no_more() {
    let limits = Limits::default();
    let (handle, mut mailbox) = NodeHandle::new(stub::NODE, limits);
    let (mut client, _lane, stop, server) = open_for(handle, limits).await;
    let (requests, queue) = mpsc::channel(4);
    requests.send(forward(1)).await.unwrap();
    requests.send(forward(2)).await.unwrap();
    let opening = async { client.forward(ReceiverStream::new(queue)).await.unwrap().into_inner() };
    let mut answers = timeout(PATIENCE, opening).await.unwrap();
    let (first, second) = (hear_forward(&mut mailbox).await, hear_forward(&mut mailbox).await);
    first.respond.send(Err(RequestError::Replaced));
    let answer = timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.id, 1);

    // The node has decided all it took: the last response is on its way when the port begins to close.
    second.respond.send(Err(RequestError::Replaced));
    stop.send_replace(true);
    let answer = timeout(PATIENCE, answers.next()).await.unwrap().unwrap().expect("the last answer arrives");
    assert_eq!(answer.id, 2);
    let end = timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap_err();
    assert!(wire::is_took_no_more(&end), "{end:?}");
    // The port need not wait for its grace.
    timeout(PATIENCE / 2, server).await.expect("the port closes by itself").unwrap();
    drop(requests);
}

#[tokio::test]
async fn a_stream_whose_node_is_gone_does_not_say_that_it_took_no_more() {
    let limits = Limits::default();
    let (handle, mut mailbox) = NodeHandle::new(stub::NODE, limits);
    let (mut client, _lane, _stop, _server) = open_for(handle, limits).await;
    let (requests, queue) = mpsc::channel(4);
    requests.send(forward(1)).await.unwrap();
    let mut answers = client.forward(ReceiverStream::new(queue)).await.unwrap().into_inner();
    // It took the request and never answers: a panic.
    drop(hear_forward(&mut mailbox).await);
    drop(requests);
    let end = timeout(PATIENCE, answers.next()).await.unwrap();
    assert!(end.is_none(), "{end:?}");
}
