//! Whoever answers on a link to a peer must be that peer. The test is the peer, over real connections.

use std::sync::Arc;
use std::time::Duration;

use lograft_node::limits::Limits;
use lograft_node::{Event, PeerMessage};
use lograft_raft::{AppendEntries, RequestVote};
use lograft_storage::{Log, LogOptions, RealOs};
use lograft_types::{EntryId, Identity, LogIndex, Member, NodeId, Term};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::actor::PeerEvent;
use crate::proto::v1;
use crate::proto::v1::raft_server::{Raft, RaftServer};
use crate::server::ports::{Audience, Grace, Port, peer_router, serve};
use crate::stub;

const IDENTITY: Identity = Identity { cluster: stub::CLUSTER, node: stub::NODE };
const PEER: NodeId = NodeId::new(2);
const ANOTHER: NodeId = NodeId::new(3);
const PATIENCE: Duration = Duration::from_secs(20);

/// A peer that answers each request twice: for `ANOTHER`, then for itself.
#[derive(Clone)]
struct Peer {
    /// Who it says it is in the handshake.
    says: NodeId,
    /// Whose votes it answers with.
    votes_as: NodeId,
}

#[tonic::async_trait]
impl Raft for Peer {
    type AppendEntriesStream = ReceiverStream<Result<v1::AppendEntriesResponse, Status>>;
    type ForwardStream = ReceiverStream<Result<v1::ForwardResponse, Status>>;

    async fn handshake(
        &self,
        _request: Request<v1::HandshakeRequest>,
    ) -> Result<Response<v1::HandshakeResponse>, Status> {
        Ok(Response::new(v1::HandshakeResponse {
            cluster_id: IDENTITY.cluster.get(),
            from: self.says.get(),
            to: IDENTITY.node.get(),
            ..Default::default()
        }))
    }

    async fn append_entries(
        &self,
        request: Request<Streaming<v1::AppendEntriesRequest>>,
    ) -> Result<Response<Self::AppendEntriesStream>, Status> {
        let mut requests = request.into_inner();
        let (answers, answered) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                for from in [ANOTHER, PEER] {
                    let answer = v1::AppendEntriesResponse {
                        cluster_id: IDENTITY.cluster.get(),
                        from: from.get(),
                        to: IDENTITY.node.get(),
                        term: 1,
                        request_id: request.request_id,
                        success: true,
                        ..Default::default()
                    };
                    if answers.send(Ok(answer)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answered)))
    }

    async fn request_vote(
        &self,
        _request: Request<v1::RequestVoteRequest>,
    ) -> Result<Response<v1::RequestVoteResponse>, Status> {
        Ok(Response::new(v1::RequestVoteResponse {
            cluster_id: IDENTITY.cluster.get(),
            from: self.votes_as.get(),
            to: IDENTITY.node.get(),
            term: 1,
            vote_granted: true,
            ..Default::default()
        }))
    }

    async fn forward(
        &self,
        _request: Request<Streaming<v1::ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let (answers, answered) = mpsc::channel(1);
        tokio::spawn(async move { answers.closed().await });
        Ok(Response::new(ReceiverStream::new(answered)))
    }
}

/// A link to `peer`, its outbox, and what the node hears.
async fn link_to(peer: Peer) -> (Arc<Outbox>, mpsc::Receiver<PeerEvent>) {
    let limits = Limits::default();
    let (handle, _script) = stub::node(limits);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = peer_router(handle, RaftServer::new(peer));
    let port = Port::new(Audience::Peers, routes, &limits, 8, Grace(PATIENCE));
    tokio::spawn(serve(listener, port, std::future::pending()));

    let data = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(RealOs, data.path(), IDENTITY, LogOptions::default()).unwrap();
    let (actor, lane) = PeerHandle::new(IDENTITY);
    let outbox = Arc::new(Outbox::new(&limits));
    let link = Link {
        peer: Member { id: PEER, name: "n2".to_owned(), peer_urls: vec![url] },
        actor,
        outbox: Arc::clone(&outbox),
        reader: log.reader(),
        handshake: Handshake { name: "n1".to_owned(), client_urls: Vec::new() },
        silence: PATIENCE,
    };
    tokio::spawn(link.run());
    (outbox, lane)
}

async fn hear(lane: &mut mpsc::Receiver<PeerEvent>) -> Event {
    match timeout(PATIENCE, lane.recv()).await.expect("the node hears it").expect("the link is alive") {
        PeerEvent::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

fn heartbeat() -> PeerMessage {
    PeerMessage::Heartbeat(AppendEntries {
        term: Term::new(1),
        prev: EntryId::ORIGIN,
        entries: Vec::new(),
        commit: LogIndex::ZERO,
        request_id: 7,
        read_round: 0,
        clipped: false,
    })
}

fn vote() -> PeerMessage {
    let vote = RequestVote {
        term: Term::new(1),
        last: EntryId::ORIGIN,
        pre_vote: false,
        leadership_transfer: false,
    };
    PeerMessage::Vote(vote)
}

#[tokio::test]
async fn an_acknowledgement_for_another_node_is_refused_and_counted() {
    let (outbox, mut lane) = link_to(Peer { says: PEER, votes_as: PEER }).await;
    assert!(matches!(hear(&mut lane).await, Event::Handshake { from: PEER, .. }));
    // The outbox takes it once the link is up.
    let heard = loop {
        outbox.push(heartbeat());
        match timeout(Duration::from_millis(20), lane.recv()).await {
            Ok(Some(PeerEvent::Event(event))) => break event,
            Ok(other) => panic!("{other:?}"),
            Err(_) => {}
        }
    };
    assert!(matches!(heard, Event::Refused), "{heard:?}");
    let heard = hear(&mut lane).await;
    assert!(matches!(heard, Event::PeerResponse { envelope: Envelope { from: PEER, .. }, .. }), "{heard:?}");
}

#[tokio::test]
async fn a_vote_for_another_node_is_refused_and_counted() {
    for (votes_as, counts) in [(PEER, true), (ANOTHER, false)] {
        let (outbox, mut lane) = link_to(Peer { says: PEER, votes_as }).await;
        assert!(matches!(hear(&mut lane).await, Event::Handshake { from: PEER, .. }));
        let heard = loop {
            outbox.push(vote());
            match timeout(Duration::from_millis(20), lane.recv()).await {
                Ok(Some(PeerEvent::Event(event))) => break event,
                Ok(other) => panic!("{other:?}"),
                Err(_) => {}
            }
        };
        assert_eq!(matches!(heard, Event::PeerResponse { .. }), counts, "{heard:?}");
        assert_eq!(matches!(heard, Event::Refused), !counts, "{heard:?}");
    }
}

#[tokio::test]
async fn another_node_at_the_address_of_a_peer_gets_no_link() {
    let (_outbox, mut lane) = link_to(Peer { says: ANOTHER, votes_as: PEER }).await;
    let heard = hear(&mut lane).await;
    assert!(matches!(heard, Event::Refused), "{heard:?}");
}
