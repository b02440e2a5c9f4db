//! The link over a real connection, with the test in place of the peer and of the actor.

use bytes::Bytes;
use futures_util::FutureExt;
use lograft_node::limits::Limits;
use lograft_node::{Event, ForwardRequest, PeerMessage};
use lograft_storage::{Log, LogOptions};
use lograft_types::{ClusterId, EntryId, EntryKind, EntryMeta, LogIndex, LogWrite, Term, WriteSeq};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Response;
use tonic::transport::Server;

use super::*;
use crate::actor::PeerEvent;
use crate::proto::v1::raft_server::{Raft, RaftServer};

const IDENTITY: Identity = Identity { cluster: ClusterId::new(77), node: NodeId::new(1) };
const PEER: NodeId = NodeId::new(2);
const ANOTHER: NodeId = NodeId::new(3);
const PATIENCE: Duration = Duration::from_secs(20);

/// What came in on a stream of the peer, and where its responses go.
struct Stream<Q, A> {
    requests: Streaming<Q>,
    answers: mpsc::Sender<Result<A, Status>>,
}

type Appends = Stream<v1::AppendEntriesRequest, v1::AppendEntriesResponse>;
type Forwards = Stream<v1::ForwardRequest, v1::ForwardResponse>;

/// The peer: it hands each stream to the test.
struct Peer {
    /// Who it says it is, in the handshake and with its votes.
    says: Says,
    /// A permit for each stream of appends that may open.
    open: Arc<Semaphore>,
    appends: mpsc::Sender<Appends>,
    forwards: mpsc::Sender<Forwards>,
}

#[derive(Clone, Copy)]
struct Says {
    in_handshake: NodeId,
    with_votes: NodeId,
}

#[tonic::async_trait]
impl Raft for Peer {
    async fn handshake(
        &self,
        _: Request<v1::HandshakeRequest>,
    ) -> Result<Response<v1::HandshakeResponse>, Status> {
        Ok(Response::new(v1::HandshakeResponse {
            cluster_id: IDENTITY.cluster.get(),
            from: self.says.in_handshake.get(),
            to: IDENTITY.node.get(),
            ..Default::default()
        }))
    }

    type AppendEntriesStream = ReceiverStream<Result<v1::AppendEntriesResponse, Status>>;

    async fn append_entries(
        &self,
        request: Request<Streaming<v1::AppendEntriesRequest>>,
    ) -> Result<Response<Self::AppendEntriesStream>, Status> {
        let may_open = self.open.acquire().await.map_err(|_| Status::unavailable("the peer stops"))?;
        may_open.forget();
        let (answers, answered) = mpsc::channel(16);
        let stream = Stream { requests: request.into_inner(), answers };
        self.appends.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(answered)))
    }

    async fn request_vote(
        &self,
        _: Request<v1::RequestVoteRequest>,
    ) -> Result<Response<v1::RequestVoteResponse>, Status> {
        Ok(Response::new(v1::RequestVoteResponse {
            cluster_id: IDENTITY.cluster.get(),
            from: self.says.with_votes.get(),
            to: IDENTITY.node.get(),
            term: 1,
            vote_granted: true,
            ..Default::default()
        }))
    }

    type ForwardStream = ReceiverStream<Result<v1::ForwardResponse, Status>>;

    async fn forward(
        &self,
        request: Request<Streaming<v1::ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let (answers, answered) = mpsc::channel(16);
        let stream = Stream { requests: request.into_inner(), answers };
        self.forwards.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(answered)))
    }
}

/// A link to a peer, and what goes in and comes out at both ends.
struct Bench {
    outbox: Arc<Outbox>,
    actor: PeerHandle,
    /// What the actor would receive.
    lane: mpsc::Receiver<PeerEvent>,
    open: Arc<Semaphore>,
    appends: mpsc::Receiver<Appends>,
    forwards: mpsc::Receiver<Forwards>,
    log: Log<RealOs>,
    link: tokio::task::JoinHandle<()>,
    _data: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.link.abort();
    }
}

impl Bench {
    async fn new() -> Self {
        Self::with(Says { in_handshake: PEER, with_votes: PEER }).await
    }

    async fn with(says: Says) -> Self {
        let (open, (to_appends, appends), (to_forwards, forwards)) =
            (Arc::new(Semaphore::new(0)), mpsc::channel(4), mpsc::channel(4));
        let peer = Peer { says, open: Arc::clone(&open), appends: to_appends, forwards: to_forwards };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Server::builder().add_service(RaftServer::new(peer));
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(server.serve_with_incoming_shutdown(incoming, async { drop(stopped.await) }));

        let data = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(RealOs, data.path(), IDENTITY, LogOptions::default()).unwrap();
        let (actor, lane) = PeerHandle::new(IDENTITY);
        let outbox = Arc::new(Outbox::new(&Limits::default()));
        let link = Link {
            peer: Member { id: PEER, name: "n2".to_owned(), peer_urls: vec![url] },
            actor: actor.clone(),
            outbox: Arc::clone(&outbox),
            reader: log.reader(),
            handshake: Handshake { name: "n1".to_owned(), client_urls: Vec::new() },
            silence: PATIENCE,
        };
        let link = tokio::spawn(link.run());
        Self { outbox, actor, lane, open, appends, forwards, log, link, _data: data, _stop: stop }
    }

    /// What the actor is told next. Handshakes are no news here.
    async fn told(&mut self) -> Event {
        loop {
            let told = timeout(PATIENCE, self.lane.recv()).await.expect("the actor is told");
            match told.expect("the link lives") {
                PeerEvent::Event(Event::Handshake { .. }) => {}
                PeerEvent::Event(event) => return event,
                other => panic!("{other:?}"),
            }
        }
    }

    /// The actor takes nothing for now, and nothing more fits into its lane. Returns how much waits there.
    fn fill_the_lane(&self) -> usize {
        while self.actor.refused().now_or_never().is_some() {}
        self.lane.len()
    }

    /// Waits until so much waits for the actor.
    async fn waits_in_the_lane(&self, messages: usize) {
        let waits = async {
            while self.lane.len() < messages {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, waits).await.expect("there is a place for it");
    }

    /// Puts a write for the leader into the outbox, as soon as there is a link.
    async fn forward(&self, id: u64, timeout_ms: u64) {
        let request = ForwardRequest::Write(Bytes::from_static(b"a command"));
        let mut forward = Forward { to: PEER, id: ForwardId(id), request, timeout_ms };
        let linked = async {
            while let Err(refused) = self.outbox.push_forward(forward) {
                forward = refused;
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, linked).await.expect("a link");
    }

    /// The link opens its streams.
    async fn opened(&mut self) -> (Appends, Forwards) {
        self.open.add_permits(1);
        let appends = timeout(PATIENCE, self.appends.recv()).await.expect("in time").expect("appends");
        let forwards = timeout(PATIENCE, self.forwards.recv()).await.expect("in time").expect("forwards");
        (appends, forwards)
    }
}

async fn next<Q, A>(stream: &mut Stream<Q, A>) -> Q {
    timeout(PATIENCE, stream.requests.message()).await.expect("in time").expect("whole").expect("more")
}

fn read_at(id: u64, index: u64) -> Result<v1::ForwardResponse, Status> {
    let response = v1::forward_response::Response::ReadIndex(v1::ReadIndexResponse { index });
    Ok(v1::ForwardResponse { id, response: Some(response) })
}

#[tokio::test]
async fn a_request_that_expires_in_the_outbox_was_not_taken_and_others_leave_with_the_time_they_have() {
    let mut bench = Bench::new().await;
    // The peer is slow to open the streams.
    bench.forward(1, 5).await;
    bench.forward(2, 60_000).await;
    // Real time must pass here.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let (_appends, mut forwards) = bench.opened().await;
    let told = bench.told().await;
    let is_not_taken =
        matches!(&told, Event::ForwardDone { id: ForwardId(1), result: Err(ForwardFailure::NotTaken) });
    assert!(is_not_taken, "{told:?}");
    let left = next(&mut forwards).await;
    assert_eq!(left.id, 2, "the first one never left");
    assert!((1..=59_980).contains(&left.timeout_ms), "{}", left.timeout_ms);
    // Its response comes back once, however often it is sent.
    for answer in [read_at(2, 9), read_at(2, 9), read_at(1, 9)] {
        forwards.answers.send(answer).await.unwrap();
    }
    bench.forward(3, 60_000).await;
    assert_eq!(next(&mut forwards).await.id, 3);
    forwards.answers.send(read_at(3, 10)).await.unwrap();
    for (wanted, index) in [(2, 9), (3, 10)] {
        let Event::ForwardDone { id, result } = bench.told().await else { panic!() };
        assert_eq!(
            (id, result),
            (ForwardId(wanted), Ok(lograft_node::ForwardResponse::ReadAt(LogIndex::new(index))))
        );
    }
}

#[tokio::test]
async fn a_link_that_breaks_tells_what_was_lost_and_what_never_left() {
    let mut bench = Bench::new().await;
    let (appends, mut forwards) = bench.opened().await;
    bench.forward(1, 60_000).await;
    assert_eq!(next(&mut forwards).await.id, 1);
    // The peer ends the stream without a response.
    drop((appends, forwards));
    let Event::ForwardDone { id: ForwardId(1), result: Err(ForwardFailure::Lost { .. }) } =
        bench.told().await
    else {
        panic!("nobody can tell whether the write was applied")
    };
    assert!(matches!(bench.told().await, Event::LinkLost { to: PEER }), "the core sends nothing twice");

    // The next link breaks before it has opened its streams.
    bench.forward(2, 60_000).await;
    bench.open.close();
    let Event::ForwardDone { id: ForwardId(2), result: Err(ForwardFailure::NotTaken) } = bench.told().await
    else {
        panic!("it certainly never left")
    };
    assert!(matches!(bench.told().await, Event::LinkLost { to: PEER }));
}

#[tokio::test]
async fn pitfall_95_what_became_of_a_request_is_told_although_the_link_breaks_while_the_lane_is_full() {
    let mut bench = Bench::new().await;
    let (appends, mut forwards) = bench.opened().await;
    bench.forward(1, 60_000).await;
    assert_eq!(next(&mut forwards).await.id, 1);
    let full = bench.fill_the_lane();
    forwards.answers.send(read_at(1, 9)).await.unwrap();
    // This one has no time left when it could leave.
    bench.forward(2, 0).await;
    bench.waits_in_the_lane(full + 2).await;
    drop((appends, forwards));
    let mut done = Vec::new();
    loop {
        match bench.told().await {
            Event::ForwardDone { id, result } => done.push((id, result)),
            Event::LinkLost { .. } => break,
            Event::Refused => {}
            other => panic!("{other:?}"),
        }
    }
    done.sort_by_key(|(id, _)| *id);
    let answer = lograft_node::ForwardResponse::ReadAt(LogIndex::new(9));
    assert_eq!(done, [(ForwardId(1), Ok(answer)), (ForwardId(2), Err(ForwardFailure::NotTaken))]);
}

#[tokio::test]
async fn entries_that_were_replaced_or_are_not_there_yet_do_not_leave() {
    let mut bench = Bench::new().await;
    let entry = |term, index| Entry {
        id: EntryId::new(Term::new(term), LogIndex::new(index)),
        kind: EntryKind::NoOp,
        payload: Bytes::new(),
    };
    let entries = vec![entry(1, 1), entry(2, 2), entry(2, 3)];
    bench.log.append_write(&LogWrite { seq: WriteSeq::new(1), hard_state: None, entries }).unwrap();
    let (mut appends, _forwards) = bench.opened().await;
    let request = |request_id, ids: &[(u64, u64)]| PeerMessage::Append {
        request: AppendEntries {
            term: Term::new(2),
            prev: EntryId::ORIGIN,
            entries: ids
                .iter()
                .map(|&(term, index)| EntryMeta { id: entry(term, index).id, size_bytes: 0 })
                .collect(),
            commit: LogIndex::ZERO,
            request_id,
            read_round: 0,
            clipped: false,
        },
        payloads: Payloads::InLog,
    };
    bench.outbox.push(request(1, &[(1, 1), (1, 2)]));
    bench.outbox.push(request(2, &[(2, 3), (2, 4)]));
    bench.outbox.push(request(3, &[(2, 9)]));
    bench.outbox.push(request(4, &[(1, 1), (2, 2)]));
    let left = next(&mut appends).await;
    let ids: Vec<_> = left.entries.iter().map(|entry| (entry.term, entry.index)).collect();
    assert_eq!((left.request_id, ids), (4, vec![(1, 1), (2, 2)]));
}

#[tokio::test]
async fn an_acknowledgement_for_another_node_is_refused_and_counted() {
    let mut bench = Bench::new().await;
    let (mut appends, _forwards) = bench.opened().await;
    bench.outbox.push(PeerMessage::Heartbeat(AppendEntries {
        term: Term::new(1),
        prev: EntryId::ORIGIN,
        entries: Vec::new(),
        commit: LogIndex::ZERO,
        request_id: 7,
        read_round: 0,
        clipped: false,
    }));
    let request_id = next(&mut appends).await.request_id;
    for from in [ANOTHER, PEER] {
        let answer = v1::AppendEntriesResponse {
            cluster_id: IDENTITY.cluster.get(),
            from: from.get(),
            to: IDENTITY.node.get(),
            term: 1,
            request_id,
            success: true,
            ..Default::default()
        };
        appends.answers.send(Ok(answer)).await.unwrap();
    }
    let told = bench.told().await;
    assert!(matches!(told, Event::Refused), "{told:?}");
    let told = bench.told().await;
    assert!(matches!(told, Event::PeerResponse { envelope: Envelope { from: PEER, .. }, .. }), "{told:?}");
}

#[tokio::test]
async fn a_vote_for_another_node_is_refused_and_counted() {
    for (with_votes, counts) in [(PEER, true), (ANOTHER, false)] {
        let mut bench = Bench::with(Says { in_handshake: PEER, with_votes }).await;
        // A vote request waits for the link.
        let vote = RequestVote {
            term: Term::new(1),
            last: EntryId::ORIGIN,
            pre_vote: false,
            leadership_transfer: false,
        };
        bench.outbox.push(PeerMessage::Vote(vote));
        let _streams = bench.opened().await;
        let told = bench.told().await;
        assert_eq!(matches!(told, Event::PeerResponse { .. }), counts, "{told:?}");
        assert_eq!(matches!(told, Event::Refused), !counts, "{told:?}");
    }
}

#[tokio::test]
async fn another_node_at_the_address_of_a_peer_gets_no_link() {
    let mut bench = Bench::with(Says { in_handshake: ANOTHER, with_votes: PEER }).await;
    let told = bench.told().await;
    assert!(matches!(told, Event::Refused), "{told:?}");
}
