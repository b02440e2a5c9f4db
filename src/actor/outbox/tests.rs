//! The outbox of a peer is bounded whatever the peer does, and urgent messages wait for nothing.

use bytes::Bytes;
use futures_util::FutureExt;
use lograft_raft::RequestVote;
use lograft_types::{EntryId, EntryMeta, LogIndex, NodeId, Term};

use super::*;

const KIB: u32 = 1024;

fn linked(limits: &Limits) -> Outbox {
    let outbox = Outbox::new(limits);
    outbox.link_up();
    outbox
}

fn append(request_id: u64, size_bytes: u32) -> AppendEntries {
    let id = EntryId::new(Term::new(1), LogIndex::new(request_id));
    let entries = if size_bytes == 0 { Vec::new() } else { vec![EntryMeta { id, size_bytes }] };
    AppendEntries {
        term: Term::new(1),
        prev: EntryId::ORIGIN,
        entries,
        commit: LogIndex::ZERO,
        request_id,
        read_round: 0,
        clipped: false,
    }
}

fn entries(request_id: u64, size_bytes: u32) -> PeerMessage {
    PeerMessage::Append { request: append(request_id, size_bytes), payloads: Payloads::InLog }
}

fn forward(id: u64, bytes: usize, timeout_ms: u64) -> Forward {
    let request = ForwardRequest::Write(Bytes::from(vec![b'x'; bytes]));
    Forward { to: NodeId::new(2), id: ForwardId(id), request, timeout_ms }
}

#[test]
fn pitfall_78_the_queue_to_a_peer_that_takes_nothing_stays_bounded() {
    let limits = Limits::default();
    let outbox = linked(&limits);
    for request_id in 1..=10_000 {
        outbox.push(entries(request_id, 64 * KIB));
        outbox.push(PeerMessage::Heartbeat(append(request_id, 0)));
        let weight = outbox.lock().appends_weight;
        assert!(weight.count <= 2 * limits.max_inflight_messages, "{weight:?}");
        assert!(weight.bytes <= 2 * (limits.max_inflight_bytes + limits.max_append_bytes), "{weight:?}");
        assert_eq!(weight.count, outbox.lock().appends.len());
    }
    let newest = outbox.lock().appends.back().map(|(request, _)| request.request_id);
    assert_eq!(newest, Some(10_000), "the newest entries are not the ones dropped");
    let Parcel::Heartbeat(heartbeat) = outbox.next_urgent().now_or_never().unwrap() else { panic!() };
    assert_eq!(heartbeat.request_id, 10_000, "one heartbeat, the newest");
}

#[test]
fn all_that_the_core_lets_out_at_a_time_is_delivered_in_order() {
    let limits = Limits::default();
    let outbox = linked(&limits);
    let count = limits.max_inflight_messages as u64;
    (1..=count).for_each(|request_id| outbox.push(entries(request_id, KIB)));
    let delivered: Vec<_> = (1..=count)
        .map(|_| outbox.next_append().now_or_never().expect("entries wait").0.request_id)
        .collect();
    assert_eq!(delivered, (1..=count).collect::<Vec<_>>());
    assert_eq!(outbox.lock().appends_weight, Weight::default());
}

#[test]
fn pitfall_78_requests_for_a_leader_that_takes_none_are_given_back_at_the_bound() {
    let limits = Limits { max_pending_requests: 10, max_pending_bytes: 1000, ..Limits::default() };
    let outbox = linked(&limits);
    let taken = (0..100).filter(|id| outbox.push_forward(forward(*id, 10, 5000)).is_ok()).count();
    assert_eq!(taken, 10);
    let outbox = linked(&limits);
    let taken = (0..100).filter(|id| outbox.push_forward(forward(*id, 300, 5000)).is_ok()).count();
    assert_eq!(taken, 3, "900 of 1000 bytes");
    assert!(outbox.next_forward().now_or_never().unwrap().is_ok());
    assert!(outbox.push_forward(forward(200, 300, 5000)).is_ok(), "there is capacity again");
    assert_eq!(outbox.link_down().len(), 3);
    assert!(outbox.push_forward(forward(300, 1, 5000)).is_err(), "taken without a link");
}

#[test]
fn pitfall_80_heartbeats_and_votes_wait_behind_nothing() {
    let outbox = linked(&Limits::default());
    for id in 0..50 {
        outbox.push(entries(id, KIB));
        assert!(outbox.push_forward(forward(id, 10, 5000)).is_ok());
    }
    let vote =
        RequestVote { term: Term::new(2), last: EntryId::ORIGIN, pre_vote: true, leadership_transfer: false };
    outbox.push(PeerMessage::Heartbeat(append(99, 0)));
    outbox.push(PeerMessage::Vote(vote));
    assert!(matches!(outbox.next_urgent().now_or_never(), Some(Parcel::Vote(_))));
    assert!(matches!(outbox.next_urgent().now_or_never(), Some(Parcel::Heartbeat(_))));
    assert!(outbox.next_urgent().now_or_never().is_none(), "entries or requests count as urgent");
    assert!(outbox.next_append().now_or_never().is_some());
    assert!(outbox.next_forward().now_or_never().is_some());
}

#[tokio::test]
async fn a_request_whose_time_is_over_does_not_leave_and_others_bring_what_is_left() {
    let outbox = linked(&Limits::default());
    outbox.push_forward(forward(1, 1, 5)).unwrap();
    outbox.push_forward(forward(2, 1, 60_000)).unwrap();
    // Real time must pass here.
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(outbox.next_forward().await, Err(ForwardId(1)));
    let Ok(Forward { id: ForwardId(2), timeout_ms, .. }) = outbox.next_forward().await else { panic!() };
    assert!((1..=59_990).contains(&timeout_ms), "{timeout_ms}");
    assert_eq!(outbox.lock().forwards_weight, Weight::default(), "both have made place for others");
}

#[test]
fn what_waits_without_a_link_is_handed_back_and_only_the_newest_vote_request_is_kept() {
    let outbox = linked(&Limits::default());
    let vote = |term| {
        let term = Term::new(term);
        RequestVote { term, last: EntryId::ORIGIN, pre_vote: false, leadership_transfer: false }
    };
    for term in [2, 3] {
        outbox.push(PeerMessage::Vote(vote(term)));
    }
    for id in 1..=3 {
        outbox.push_forward(forward(id, 10, 5000)).unwrap();
    }
    outbox.push(entries(1, KIB));
    let Some(Parcel::Vote(newest)) = outbox.next_urgent().now_or_never() else { panic!() };
    assert_eq!(newest, vote(3));
    let ids: Vec<_> = outbox.link_down().into_iter().map(|forward| forward.id).collect();
    assert_eq!(ids, [1, 2, 3].map(ForwardId));
    assert!(outbox.next_append().now_or_never().is_none(), "the core knows that the entries are lost");
    assert_eq!(outbox.link_down(), []);
}
