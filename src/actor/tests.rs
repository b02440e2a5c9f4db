//! The actor: the order of its lanes, and that no request is left without a response.

use std::time::Duration;

use bytes::Bytes;
use lograft_kv::Command;
use lograft_node::limits::Limits;
use lograft_node::{AppendRequest, ClientRequest, Consistency, Envelope, Event, PeerRequest};
use lograft_raft as raft;
use lograft_raft::RequestVote;
use lograft_storage::{Log, LogOptions};
use lograft_types::{ClusterId, EntryId, Identity, LogIndex, Member, NodeId, Term, WriteSeq};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::handle::NodeHandle;
use super::{ActorGone, *};

const IDENTITY: Identity = Identity { cluster: ClusterId::new(77), node: NodeId::new(1) };
const PEER: NodeId = NodeId::new(2);
/// After this time a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    actor: Actor,
    handle: NodeHandle,
    peers: PeerHandle,
    _data: tempfile::TempDir,
}

/// Node 1 of a cluster of this size, with a log on this machine's disk.
fn bench(members: u64, limits: Limits) -> Bench {
    let (reports, log_reports) = watch::channel(empty_report());
    bench_with(members, limits, log_reports, move |report| drop(reports.send_replace(report)))
}

fn bench_with(
    members: u64,
    limits: Limits,
    reports: watch::Receiver<LogReport>,
    on_report: impl Fn(LogReport) + Send + 'static,
) -> Bench {
    let data = tempfile::tempdir().unwrap();
    let (log, recovered) = Log::open(RealOs, data.path(), IDENTITY, LogOptions::default()).unwrap();
    let reader = log.reader();
    let log = LogThread::spawn(log, on_report);
    let member = |id| Member { id: NodeId::new(id), name: format!("n{id}"), peer_urls: Vec::new() };
    let config = NodeConfig {
        identity: IDENTITY,
        name: "n1".to_owned(),
        client_urls: Vec::new(),
        members: (1..=members).map(member).collect(),
        limits,
        raft: raft::Config::new(IDENTITY.node),
        tick_ms: 1,
        seed: 7,
    };
    let (actor, handle, peers, _) = Actor::new(config, &recovered, log, reader, reports);
    Bench { actor, handle, peers, _data: data }
}

fn empty_report() -> LogReport {
    LogReport {
        persisted: WriteSeq::ZERO,
        credit_bytes: 1 << 20,
        disk_full: false,
        denials: 0,
        log_size_bytes: 0,
        failed: None,
    }
}

fn set(key: &'static str) -> ClientRequest {
    let (key, value) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(b"v"));
    ClientRequest::Write(Command::Set { key, value, if_mod_revision: None })
}

fn get(key: &'static str) -> ClientRequest {
    ClientRequest::Get { key: Bytes::from_static(key.as_bytes()), consistency: Consistency::Linearizable }
}

fn envelope() -> Envelope {
    Envelope { cluster: IDENTITY.cluster, from: PEER, to: IDENTITY.node, incarnation: 0 }
}

fn vote(term: u64) -> PeerRequest {
    let vote = RequestVote {
        term: Term::new(term),
        last: EntryId::ORIGIN,
        pre_vote: false,
        leadership_transfer: false,
    };
    PeerRequest::Vote { candidate: PEER, vote }
}

/// Lets the spawned tasks run until they wait.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_burst_of_askers_of_a_status_refuses_no_request() {
    let Bench { actor, handle, .. } = bench(1, Limits { max_pending_requests: 2, ..Limits::default() });
    let asking: Vec<_> = (0..500)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.status().await })
        })
        .collect();
    settle().await;
    let writer = handle.clone();
    let written = tokio::spawn(async move { writer.request(set("k"), None).await });
    settle().await;
    let actor = tokio::spawn(actor.run(std::future::pending()));
    timeout(PATIENCE, written).await.unwrap().unwrap().expect("a permit was free");
    for asked in asking {
        timeout(PATIENCE, asked).await.unwrap().unwrap().expect("each request is answered");
    }
    actor.abort();
}

#[tokio::test]
async fn time_passes_while_peers_speak_without_a_pause() {
    let Bench { mut actor, handle, peers, _data } = bench(3, Limits::default());
    let mut ticks = tokio::time::interval(actor.tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let asked = tokio::spawn(async move { handle.request(set("k"), Some(Duration::from_millis(20))).await });
    settle().await;
    let begun = Instant::now();
    while !asked.is_finished() {
        // The lane is not empty at any turn.
        peers.refused().await.unwrap();
        assert_eq!(actor.next_turn(&mut ticks).await, None);
        tokio::task::yield_now().await;
        assert!(begun.elapsed() < PATIENCE, "the request timed out long ago");
    }
    assert!(matches!(asked.await.unwrap(), Err(RequestError::NoLeader { .. })));
}

#[tokio::test]
async fn pitfall_76_after_a_pause_there_is_one_tick_and_it_comes_behind_the_peers() {
    let Bench { mut actor, peers, .. } = bench(3, Limits::default());
    let mut ticks = tokio::time::interval(actor.tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    // The pause: fifty ticks are missed.
    tokio::time::sleep(50 * actor.tick).await;
    for _ in 0..3 {
        peers.refused().await.unwrap();
    }
    let mut turn = Turn::default();
    actor.drain(&mut turn, &mut ticks);
    let seen: Vec<_> = turn.events.iter().map(|event| matches!(event, Event::Tick)).collect();
    assert_eq!(seen.iter().filter(|tick| **tick).count(), 1, "the missed ticks are dropped: {seen:?}");
    let tick = seen.iter().position(|tick| *tick).unwrap();
    let last_of_peers = turn.events.iter().rposition(|event| matches!(event, Event::Refused)).unwrap();
    assert!(last_of_peers < tick, "{:?}", turn.events);
}

type Responses = (mpsc::Sender<PeerResult>, mpsc::Receiver<PeerResult>);

/// A stream of appends, with one heartbeat from this peer on it. The service holds both ends of the responses.
async fn stream(peers: &PeerHandle, from: NodeId) -> (ReplyTo, Responses) {
    let (responses, answered) = mpsc::channel(4);
    let reply_to = peers.stream_opened(responses.clone()).await.unwrap();
    let heartbeat = AppendRequest {
        term: Term::new(1),
        leader: from,
        prev: EntryId::ORIGIN,
        entries: Vec::new(),
        commit: LogIndex::ZERO,
        request_id: 1,
        read_round: 0,
    };
    let envelope = Envelope { from, ..envelope() };
    peers.append(envelope, reply_to, PeerRequest::Append(heartbeat)).await.unwrap();
    (reply_to, (responses, answered))
}

/// From whom a stream was lost, as the node is told in one turn with everything that waits.
fn lost(actor: &mut Actor) -> Vec<NodeId> {
    let mut turn = Turn::default();
    actor.drain(&mut turn, &mut tokio::time::interval(PATIENCE));
    let lost = turn.events.iter().filter_map(|event| match event {
        Event::StreamLost { from } => Some(*from),
        _ => None,
    });
    lost.collect()
}

#[tokio::test]
async fn of_two_streams_of_a_peer_only_the_end_of_the_newer_one_is_news() {
    let other = NodeId::new(3);
    let Bench { mut actor, peers, .. } = bench(3, Limits::default());
    let (older, _older) = stream(&peers, PEER).await;
    let (newer, _newer) = stream(&peers, PEER).await;
    let (others, _others) = stream(&peers, other).await;
    assert_eq!(lost(&mut actor), []);
    peers.stream_ended(older, false).await.unwrap();
    assert_eq!(lost(&mut actor), [], "the peer has opened another stream since");
    peers.stream_ended(newer, false).await.unwrap();
    assert_eq!(lost(&mut actor), [PEER], "another peer's stream is no replacement");
    peers.stream_ended(newer, false).await.unwrap();
    assert_eq!(lost(&mut actor), [], "it has ended already");
    peers.stream_ended(others, true).await.unwrap();
    assert_eq!(lost(&mut actor), [], "it was closed in order");

    // The newer one ends first: the peer may be dead, whatever became of the older one.
    let (older, _older) = stream(&peers, PEER).await;
    let (newer, _newer) = stream(&peers, PEER).await;
    peers.stream_ended(newer, false).await.unwrap();
    assert_eq!(lost(&mut actor), [PEER]);
    peers.stream_ended(older, false).await.unwrap();
    assert_eq!(lost(&mut actor), [PEER]);

    // Nobody knows whose stream this was.
    let (responses, _answered) = mpsc::channel(4);
    let silent = peers.stream_opened(responses).await.unwrap();
    peers.stream_ended(silent, false).await.unwrap();
    assert_eq!(lost(&mut actor), []);
}

#[tokio::test]
async fn each_answer_goes_back_on_the_stream_of_its_request() {
    let Bench { mut actor, peers, .. } = bench(3, Limits::default());
    let mut ticks = tokio::time::interval(PATIENCE);
    let (_, (_older, mut older)) = stream(&peers, PEER).await;
    let (ended, gone) = stream(&peers, PEER).await;
    drop(gone);
    peers.stream_ended(ended, false).await.unwrap();
    let (_, (_newer, mut newer)) = stream(&peers, PEER).await;
    while older.is_empty() || newer.is_empty() {
        let turn = timeout(PATIENCE, actor.next_turn(&mut ticks)).await.expect("the flush is reported");
        assert_eq!(turn, None);
    }
    for answers in [&mut older, &mut newer] {
        assert!(matches!(answers.try_recv(), Ok(Ok((PEER, _)))));
        assert!(answers.try_recv().is_err(), "one answer for one request");
    }
}

#[tokio::test]
async fn a_forwarded_request_that_no_outbox_takes_is_asked_again_and_then_told() {
    let Bench { mut actor, handle, peers, _data } = bench(3, Limits::default());
    let mut ticks = tokio::time::interval(actor.tick);
    // The peer leads, but there is no link to it.
    let (_, _answers) = stream(&peers, PEER).await;
    let asked = tokio::spawn(async move { handle.request(set("k"), Some(Duration::from_millis(50))).await });
    settle().await;
    let begun = Instant::now();
    while !asked.is_finished() {
        assert_eq!(actor.next_turn(&mut ticks).await, None);
        tokio::task::yield_now().await;
        assert!(begun.elapsed() < PATIENCE, "the request timed out long ago");
    }
    let told = asked.await.unwrap();
    assert!(matches!(told, Err(RequestError::NoLeader { .. })), "it certainly never left: {told:?}");
    assert!(actor.node.is_idle(), "nothing of it is left");
}

#[tokio::test]
async fn a_forwarded_request_has_the_time_that_its_client_still_has() {
    let Bench { mut actor, handle, .. } = bench(3, Limits::default());
    let (responses, _answered) = mpsc::channel(4);
    let longest_ms = handle.limits().request_timeout_ms;
    for (id, ms) in [(1, 20), (2, longest_ms), (3, 10 * longest_ms)] {
        let request = lograft_node::ForwardRequest::ReadIndex;
        handle.forwarded(id, request, Duration::from_millis(ms), responses.clone()).unwrap();
    }
    let mut turn = Turn::default();
    actor.drain(&mut turn, &mut tokio::time::interval(PATIENCE));
    let left = turn.events.iter().filter_map(|event| match event {
        Event::Forwarded { timeout_ms, .. } => Some(*timeout_ms),
        _ => None,
    });
    assert_eq!(left.collect::<Vec<_>>(), [20, longest_ms, longest_ms]);
}

#[tokio::test]
async fn pitfall_87_a_full_mailbox_holds_up_no_peer_and_no_flush() {
    let limits = Limits { max_pending_requests: 2, ..Limits::default() };
    let Bench { mut actor, handle, peers, _data } = bench(3, limits);
    let waiting: Vec<_> = ["a", "b"]
        .map(|key| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.request(set(key), None).await })
        })
        .into();
    settle().await;
    let refused = handle.request(set("c"), None).await;
    assert_eq!(refused, Err(RequestError::Overloaded { what: "max-pending-requests", limit: 2 }));

    timeout(PATIENCE, peers.link_lost(PEER)).await.expect("the peers' lane is separate").unwrap();
    let mut ticks = tokio::time::interval(PATIENCE);
    let mut turn = Turn::default();
    actor.drain(&mut turn, &mut ticks);
    let peers = turn.events.iter().position(|event| matches!(event, Event::LinkLost { .. })).unwrap();
    let clients = turn.events.iter().position(|event| matches!(event, Event::Client { .. })).unwrap();
    assert!(peers < clients, "{:?}", turn.events);
    assert_eq!(waiting.len(), actor.requests.len());
}

#[tokio::test]
async fn pitfall_25_permits_come_back_with_the_answers() {
    let limits = Limits { max_pending_requests: 4, ..Limits::default() };
    let Bench { actor, handle, .. } = bench(1, limits);
    let actor = tokio::spawn(actor.run(std::future::pending()));
    for _ in 0..20 {
        let four = ["a", "b", "c", "d"].map(|key| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.request(set(key), None).await })
        });
        for written in four {
            timeout(PATIENCE, written).await.unwrap().unwrap().expect("there are four permits");
        }
        // A caller that does not wait for its response.
        let mut forgotten = Box::pin(handle.request(get("a"), None));
        assert!(forgotten.as_mut().now_or_never().is_none());
        drop(forgotten);
        let idle = async {
            while handle.status().await.unwrap().pending_requests > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, idle).await.expect("no permit stays in use");
    }
    actor.abort();
}

#[tokio::test]
async fn pitfall_54_the_actor_is_killed_and_every_caller_is_answered() {
    let Bench { actor, handle, peers, _data } = bench(3, Limits::default());
    let actor = tokio::spawn(actor.run(std::future::pending()));
    let (writer, reader, candidate) = (handle.clone(), handle.clone(), peers.clone());
    let written = tokio::spawn(async move { writer.request(set("k"), None).await });
    let read = tokio::spawn(async move { reader.request(get("k"), None).await });
    while handle.status().await.unwrap().pending_requests < 2 {
        tokio::task::yield_now().await;
    }
    actor.abort();
    let written = timeout(PATIENCE, written).await.unwrap().unwrap();
    assert!(matches!(written, Err(RequestError::UnknownOutcome { .. })), "{written:?}");
    let read = timeout(PATIENCE, read).await.unwrap().unwrap();
    assert_eq!(read, Err(RequestError::ShuttingDown));

    assert_eq!(handle.request(set("k"), None).await, Err(RequestError::ShuttingDown));
    assert_eq!(handle.status().await, Err(RequestError::ShuttingDown));
    let voted = timeout(PATIENCE, candidate.vote(envelope(), vote(1))).await.unwrap();
    assert_eq!(voted, Err(ActorGone));
}

#[tokio::test]
async fn pitfall_54_the_log_fails_and_every_caller_is_answered() {
    let (reports, log_reports) = watch::channel(empty_report());
    // A log that never reports anything durable.
    let Bench { actor, handle, .. } = bench_with(1, Limits::default(), log_reports, |_| {});
    let actor = tokio::spawn(actor.run(std::future::pending()));
    let writer = handle.clone();
    let written = tokio::spawn(async move { writer.request(set("k"), None).await });
    while handle.status().await.unwrap().pending_requests == 0 {
        tokio::task::yield_now().await;
    }
    reports.send_replace(LogReport { failed: Some("the disk is gone".to_owned()), ..empty_report() });
    let written = timeout(PATIENCE, written).await.unwrap().unwrap();
    let Err(RequestError::UnknownOutcome { reason }) = written else { panic!("{written:?}") };
    assert!(reason.contains("the disk is gone"), "{reason}");
    let ended = timeout(PATIENCE, actor).await.unwrap().unwrap();
    assert_eq!(ended, ActorEnd::Halted(HaltReason::LogFailed("the disk is gone".to_owned())));
}

#[tokio::test]
async fn pitfall_54_the_logs_thread_dies_without_a_word_and_the_node_halts() {
    let (reports, log_reports) = watch::channel(empty_report());
    let Bench { actor, handle, .. } = bench_with(1, Limits::default(), log_reports, |_| {});
    let written = tokio::spawn(async move { handle.request(set("k"), None).await });
    settle().await;
    drop(reports);
    let ended = timeout(PATIENCE, actor.run(std::future::pending())).await.unwrap();
    assert!(matches!(ended, ActorEnd::Halted(HaltReason::LogFailed(_))), "{ended:?}");
    let written = timeout(PATIENCE, written).await.unwrap().unwrap();
    assert_eq!(written, Err(RequestError::ShuttingDown), "the request never left the mailbox");
}

#[tokio::test]
async fn votes_that_wait_for_the_disk_are_bounded_and_leave_nothing_behind() {
    let (reports, log_reports) = watch::channel(empty_report());
    let Bench { mut actor, peers, .. } = bench_with(3, Limits::default(), log_reports, |_| {});
    let mut ticks = tokio::time::interval(PATIENCE);
    let asking: Vec<_> = (1..=200)
        .map(|term| {
            let peers = peers.clone();
            tokio::spawn(async move { peers.vote(envelope(), vote(term)).await })
        })
        .collect();
    settle().await;
    let mut last_term = 0;
    while last_term < 200 && actor.votes.len() < 64 {
        actor.next_turn(&mut ticks).await;
        settle().await;
        last_term += 1;
    }
    assert_eq!(actor.votes.len(), 64, "more votes than their bound are open");
    // Their callers give up, and the disk works again.
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    settle().await;
    reports.send_replace(LogReport { persisted: WriteSeq::new(64), ..empty_report() });
    actor.next_turn(&mut ticks).await;
    assert_eq!(actor.votes.len(), 0);
}

#[tokio::test]
async fn shutdown_answers_what_waits_and_flushes() {
    let Bench { actor, handle, .. } = bench(3, Limits::default());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let actor = tokio::spawn(actor.run(async { drop(stopped.await) }));
    let writer = handle.clone();
    let written = tokio::spawn(async move { writer.request(set("k"), None).await });
    while handle.status().await.unwrap().pending_requests == 0 {
        tokio::task::yield_now().await;
    }
    drop(stop);
    let written = timeout(PATIENCE, written).await.unwrap().unwrap();
    assert_eq!(written, Err(RequestError::ShuttingDown), "certainly not applied: no leader took it");
    assert_eq!(timeout(PATIENCE, actor).await.unwrap().unwrap(), ActorEnd::ShutDown);
}
