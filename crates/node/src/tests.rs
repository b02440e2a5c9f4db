//! How a node handles the events that come in.

use bytes::Bytes;
use lograft_kv::Effect;
use lograft_raft::{AppendEntriesResponse, AppendResult, RequestVoteResponse, Response};
use lograft_types::{ClusterId, Revision, Term};

use super::testing::*;
use super::*;

#[test]
fn pitfall_14_a_node_alone_acknowledges_only_what_is_durable() {
    let mut bench = alone();
    let token = bench.ask(set("a", "1"));
    assert_eq!(bench.applied(token), None, "it was handed to the log, but is not durable yet");
    bench.persist();
    assert_eq!(bench.applied(token), Some(Revision::new(2)));
}

#[test]
fn writes_of_a_turn_are_one_batch() {
    let mut bench = alone();
    let before = bench.writes.len();
    let tokens: Vec<_> = (0..5).map(|_| bench.token()).collect();
    let events =
        tokens.iter().map(|token| Event::Client { token: *token, request: set("k", "v"), timeout_ms: 100 });
    bench.turn(events.collect::<Vec<_>>());
    assert_eq!(bench.writes.len(), before + 1);
    assert_eq!(bench.writes[before].entries.len(), 5);
    bench.persist();
    let revisions: Vec<_> =
        tokens.iter().map(|token| bench.applied(*token).expect("applied").get()).collect();
    assert_eq!(revisions, [2, 3, 4, 5, 6], "in order of arrival");
}

#[test]
fn linearizable_reads_of_a_turn_share_one_round() {
    let mut bench = of_three();
    bench.elect();
    bench.messages.clear();
    let tokens: Vec<_> = (0..4).map(|_| bench.token()).collect();
    let request = || get("k", Consistency::Linearizable);
    let events =
        tokens.iter().map(|token| Event::Client { token: *token, request: request(), timeout_ms: 100 });
    bench.turn(events.collect::<Vec<_>>());
    let heartbeats =
        bench.messages.iter().filter(|(_, message)| matches!(message, PeerMessage::Heartbeat(_)));
    assert_eq!(heartbeats.count(), 2, "one to each peer");
    assert!(
        tokens.iter().all(|token| bench.response_to(*token).is_none()),
        "leadership is not confirmed yet"
    );
    bench.acknowledge(N3);
    assert!(tokens.iter().all(|token| bench.response_to(*token).is_some()));
}

#[test]
fn a_serializable_read_asks_nobody() {
    let mut bench = of_three();
    let token = bench.ask(get("k", Consistency::Serializable));
    assert!(matches!(
        bench.response_to(token),
        Some(Ok(ClientResponse { body: ResponseBody::Got(None), .. }))
    ));
    assert!(bench.messages.is_empty() && bench.forwards.is_empty());
}

#[test]
fn a_waiter_outlives_a_lost_leadership() {
    let mut bench = of_three();
    bench.elect();
    let term = bench.node.raft().term().get();
    let token = bench.ask(set("a", "1"));
    bench.persist();
    // n2 leads the next term with n1's entry in its log, and commits it.
    let next = vec![Entry { kind: EntryKind::NoOp, ..entry(term + 1, 3, Bytes::new()) }];
    assert_eq!(bench.peer(N2, append(N2, term + 1, (term, 2), next, 3)), None);
    bench.persist();
    assert_eq!(bench.applied(token), Some(Revision::new(2)), "the same entry was committed");
}

#[test]
fn pitfall_51_a_write_in_the_log_that_times_out_has_an_unknown_outcome() {
    let mut bench = of_three();
    bench.elect();
    let token = bench.token();
    bench.turn([Event::Client { token, request: set("a", "1"), timeout_ms: 200 }]);
    bench.ticks(20);
    assert!(matches!(bench.error(token), Some(RequestError::UnknownOutcome { .. })));
}

#[test]
fn without_a_leader_a_write_waits_and_then_was_not_applied() {
    let mut bench = of_three();
    let token = bench.token();
    bench.turn([Event::Client { token, request: set("a", "1"), timeout_ms: 200 }]);
    bench.ticks(19);
    assert_eq!(bench.response_to(token), None);
    bench.ticks(1);
    assert_eq!(bench.error(token), Some(&RequestError::NoLeader { waited_ms: 200 }));
    assert!(bench.node.is_idle());
}

#[test]
fn a_follower_forwards_and_answers_with_the_leaders_outcome() {
    let mut bench = of_three();
    let token = bench.ask(set("a", "1"));
    assert!(bench.forwards.is_empty(), "there is no leader");
    bench.peer(N2, append(N2, 1, (0, 0), Vec::new(), 0));
    let forward = bench.forwards.pop().expect("parked until a leader is known");
    assert_eq!((forward.to, forward.request), (N2, ForwardRequest::Write(payload("a", "1"))));
    let id = EntryId::new(Term::new(1), LogIndex::new(1));
    let outcome = lograft_kv::Outcome { revision: Revision::new(2), effect: Effect::Set { prev: None } };
    bench.turn([Event::ForwardDone { id: forward.id, result: Ok(ForwardResponse::Applied { id, outcome }) }]);
    assert_eq!(bench.applied(token), Some(Revision::new(2)));
    assert!(bench.node.is_idle());
}

#[test]
fn the_leader_has_the_time_that_is_left() {
    let mut bench = of_three();
    let token = bench.token();
    bench.turn([Event::Client { token, request: set("a", "1"), timeout_ms: 500 }]);
    bench.ticks(30);
    bench.peer(N2, append(N2, 1, (0, 0), Vec::new(), 0));
    assert_eq!(bench.forwards.pop().expect("a forward").timeout_ms, 200);
}

#[test]
fn a_write_that_the_leader_did_not_take_is_sent_again_at_the_next_tick() {
    let mut bench = of_three();
    bench.peer(N2, append(N2, 1, (0, 0), Vec::new(), 0));
    let token = bench.ask(set("a", "1"));
    let first = bench.forwards.pop().expect("a forward");
    bench.turn([Event::ForwardDone { id: first.id, result: Err(ForwardFailure::NotTaken) }]);
    assert!(bench.forwards.is_empty(), "not before the next tick");
    bench.ticks(1);
    let second = bench.forwards.pop().expect("it is sent again");
    assert_ne!(first.id, second.id, "an id is never used twice");
    let reason = "the connection broke".to_owned();
    bench.turn([Event::ForwardDone {
        id: second.id,
        result: Err(ForwardFailure::Lost { reason: reason.clone() }),
    }]);
    assert_eq!(bench.error(token), Some(&RequestError::UnknownOutcome { reason }), "it is never sent again");
    bench.ticks(2);
    assert!(bench.forwards.is_empty());
}

#[test]
fn pitfall_50_a_follower_reads_at_the_leaders_index_only_when_it_has_applied_it() {
    let mut bench = of_three();
    bench.peer(N2, append(N2, 1, (0, 0), vec![entry(1, 1, payload("a", "1"))], 0));
    bench.persist();
    let token = bench.ask(get("a", Consistency::Linearizable));
    let forward = bench.forwards.pop().expect("the leader is asked");
    assert_eq!(forward.request, ForwardRequest::ReadIndex);
    bench
        .turn([Event::ForwardDone { id: forward.id, result: Ok(ForwardResponse::ReadAt(LogIndex::new(1))) }]);
    assert_eq!(bench.response_to(token), None, "index 1 is not applied here");
    bench.peer(N2, append(N2, 1, (1, 1), Vec::new(), 1));
    let Some(Ok(ClientResponse { body: ResponseBody::Got(Some(found)), .. })) = bench.response_to(token)
    else {
        panic!("{:?}", bench.client_responses)
    };
    assert_eq!(found.stored.value, "1");
}

#[test]
fn a_confirmed_read_that_times_out_tells_that_this_node_is_behind() {
    let mut bench = of_three();
    bench.peer(N2, append(N2, 1, (0, 0), vec![entry(1, 1, payload("a", "1"))], 0));
    bench.persist();
    let token = bench.token();
    let request = get("a", Consistency::Linearizable);
    bench.turn([Event::Client { token, request, timeout_ms: 200 }]);
    let forward = bench.forwards.pop().expect("the leader is asked");
    bench
        .turn([Event::ForwardDone { id: forward.id, result: Ok(ForwardResponse::ReadAt(LogIndex::new(1))) }]);
    bench.ticks(20);
    assert_eq!(
        bench.error(token),
        Some(&RequestError::ReadBehind { waited_ms: 200, applied: LogIndex::ZERO })
    );
}

#[test]
fn pitfall_25_whatever_a_request_waits_for_it_leaves_no_trace_when_it_times_out() {
    let mut bench = of_three();
    let ask = |bench: &mut Bench, request: ClientRequest| {
        let token = bench.token();
        bench.turn([Event::Client { token, request, timeout_ms: 50 }]);
    };
    let read = || get("a", Consistency::Linearizable);
    bench.peer(N2, append(N2, 1, (0, 0), vec![entry(1, 1, payload("a", "1"))], 0));
    bench.persist();

    // For an index that is never committed here.
    ask(&mut bench, read());
    let forward = bench.forwards.pop().expect("the leader is asked");
    bench
        .turn([Event::ForwardDone { id: forward.id, result: Ok(ForwardResponse::ReadAt(LogIndex::new(9))) }]);
    assert!(!bench.node.is_idle());
    bench.ticks(5);
    assert!(bench.node.is_idle(), "a read that waits for an index");

    // For a response that never comes.
    ask(&mut bench, read());
    ask(&mut bench, set("a", "1"));
    bench.ticks(5);
    assert!(bench.node.is_idle(), "forwarded requests");
    assert_eq!(bench.client_responses.len(), 3);

    // For the next tick, which is also the last.
    ask(&mut bench, set("a", "1"));
    bench.ticks(4);
    let id = bench.forwards.pop().expect("the leader is asked").id;
    bench.turn([Event::ForwardDone { id, result: Err(ForwardFailure::NotTaken) }]);
    bench.ticks(1);
    assert!(bench.node.is_idle(), "a delayed request");

    // For the first entry of this leader, which nobody stores. A majority answers its heartbeats.
    bench.elect_without_commit();
    for _ in 0..5 {
        ask(&mut bench, read());
    }
    for _ in 0..5 {
        bench.acknowledge_heartbeat(N2);
        bench.ticks(1);
    }
    assert!(bench.node.raft().is_leader());
    assert_eq!(bench.node.status().pending_requests, 0);
    assert!(bench.node.is_idle(), "reads whose leader is not confirmed");
}

#[test]
fn a_leader_that_commits_nothing_begins_only_so_many_rounds_of_confirmation() {
    let mut bench = of_three();
    bench.elect_without_commit();
    for _ in 0..1100 {
        bench.ask(get("a", Consistency::Linearizable));
    }
    assert_eq!(bench.node.raft().pending_reads(), 1024);
    // Its first entry is committed, and everybody is served.
    bench.acknowledge_everything(N2);
    bench.acknowledge_heartbeat(N2);
    assert_eq!(bench.client_responses.iter().filter(|(_, response)| response.is_ok()).count(), 1100);
    assert!(bench.node.is_idle());
}

#[test]
fn a_node_that_does_not_lead_turns_forwarded_requests_away() {
    let mut bench = of_three();
    bench.peer(N2, append(N2, 1, (0, 0), Vec::new(), 0));
    let token = ForwardToken(1);
    let request = ForwardRequest::Write(payload("a", "1"));
    bench.turn([Event::Forwarded { token, request, timeout_ms: 100 }]);
    let refused = RequestError::NotLeader { node: N1, leader: Some(N2) };
    assert_eq!(bench.forward_responses, [(token, Err(refused))]);
    assert!(bench.forwards.is_empty(), "one hop");
}

#[test]
fn what_peers_asked_of_a_leader_is_turned_away_even_if_it_led_for_a_part_of_a_turn_only() {
    let mut bench = of_three();
    let term = bench.ask_for_votes();
    let elected = RequestVoteResponse { term, granted: true, pre_vote: false };
    let envelope = Envelope { cluster: CLUSTER, from: N2, to: N1, incarnation: 0 };
    let token = ForwardToken(1);
    bench.turn([
        Event::PeerResponse { envelope, response: Response::RequestVote(elected) },
        Event::Forwarded { token, request: ForwardRequest::ReadIndex, timeout_ms: 100 },
        Event::PeerRequest {
            envelope: Envelope { from: N3, ..envelope },
            reply_to: ReplyTo(1),
            request: append(N3, term.get() + 1, (0, 0), Vec::new(), 0),
        },
    ]);
    let refused = RequestError::NotLeader { node: N1, leader: Some(N3) };
    assert_eq!(bench.forward_responses, [(token, Err(refused))]);
    assert!(bench.forwards.is_empty() && bench.node.is_idle());
}

#[test]
fn a_full_disk_refuses_writes_clearly_and_nothing_else() {
    let mut bench = alone();
    bench.room(0, true);
    let write = bench.ask(set("a", "1"));
    assert_eq!(bench.error(write), Some(&RequestError::DiskFull { node: "n1".to_owned() }));
    let read = bench.ask(get("a", Consistency::Linearizable));
    assert!(bench.response_to(read).is_some(), "reads go on");
    bench.room(PLENTY, false);
    let write = bench.ask(set("a", "1"));
    bench.persist();
    assert_eq!(bench.applied(write), Some(Revision::new(2)), "writes go on when there is space again");
}

#[test]
fn a_write_waits_while_the_log_prepares_room() {
    let mut bench = alone();
    bench.room(10, false);
    let token = bench.ask(set("a", "1"));
    assert_eq!(bench.response_to(token), None);
    bench.room(PLENTY, false);
    bench.persist();
    assert_eq!(bench.applied(token), Some(Revision::new(2)));
}

/// What the credit is charged for this Set.
fn cost_of(key: &str, value: &str) -> u64 {
    credit::cost(EntryKind::Normal, &payload(key, value))
}

#[test]
fn a_write_that_needs_a_larger_segment_holds_up_no_other() {
    let mut bench = alone();
    let large = "x".repeat(1000);
    bench.room(2 * cost_of("b", "2"), false);
    let waits = bench.ask(set("a", &large));
    assert_eq!(bench.wanted_credit_bytes.take(), Some(cost_of("a", &large)));
    let small = bench.ask(set("b", "2"));
    bench.persist();
    assert_eq!(bench.applied(small), Some(Revision::new(2)));
    assert_eq!(bench.wanted_credit_bytes, None, "the log is asked once");

    bench.room(PLENTY, false);
    bench.persist();
    assert_eq!(bench.applied(waits), Some(Revision::new(3)));
}

#[test]
fn a_write_for_which_the_disk_has_no_larger_segment_is_refused_and_the_next_one_asks_again() {
    let mut bench = alone();
    let large = "x".repeat(1000);
    bench.room(2 * cost_of("b", "2"), false);
    for denials in 1..=2 {
        let refused = bench.ask(set("a", &large));
        assert_eq!(bench.response_to(refused), None);
        assert_eq!(bench.wanted_credit_bytes.take(), Some(cost_of("a", &large)));
        bench.report.denials = denials;
        bench.persist();
        assert_eq!(bench.error(refused), Some(&RequestError::DiskFull { node: "n1".to_owned() }));
    }
    let small = bench.ask(set("b", "2"));
    bench.persist();
    assert_eq!(bench.applied(small), Some(Revision::new(2)));
}

#[test]
fn a_large_write_is_not_overtaken_for_ever_by_small_ones() {
    let mut bench = alone();
    let large = "x".repeat(1000);
    bench.room(cost_of("a", &large), false);
    let first = bench.ask(set("b", "1"));
    let large = bench.ask(set("a", &large));
    let last = bench.ask(set("b", "2"));
    assert_eq!(
        bench.writes.last().map(|write| write.entries.len()),
        Some(1),
        "the others wait for the report"
    );
    bench.room(PLENTY, false);
    bench.persist();
    let revisions = [first, large, last].map(|token| bench.applied(token).map(Revision::get));
    assert_eq!(revisions, [Some(2), Some(3), Some(4)]);
}

#[test]
fn a_follower_asks_its_log_for_a_segment_that_the_leaders_entry_needs() {
    let mut bench = of_three();
    let large = entry(1, 1, payload("a", &"x".repeat(1000)));
    bench.room(100, false);
    let request = append(N2, 1, (0, 0), vec![large.clone()], 0);
    bench.peer(N2, request.clone());
    bench.persist();
    let busy = bench.peer_responses.pop().expect("a response").result.expect("not refused");
    assert!(
        matches!(busy.1, Response::AppendEntries(response)
            if response.result == AppendResult::Busy { match_index: LogIndex::ZERO }),
        "{busy:?}"
    );
    assert_eq!(bench.wanted_credit_bytes.take(), Some(credit::cost(large.kind, &large.payload)));
    bench.room(PLENTY, false);
    bench.peer(N2, request);
    assert_eq!(bench.node.raft().last(), large.id);
}

#[test]
fn pitfall_93_a_leaders_entry_may_be_larger_than_what_clients_of_this_node_may_send() {
    let limits = Limits { max_key_bytes: 4, max_value_bytes: 4, ..Limits::default() };
    let mut bench = Bench::recovered(&[N1, N2, N3], &recovered(0, &[]), limits);
    bench.room(16 << 20, false);
    let entry = entry(1, 1, payload("longer", &"x".repeat(3 << 20)));
    assert_eq!(bench.peer(N2, append(N2, 1, (0, 0), vec![entry.clone()], 0)), None);
    assert_eq!(bench.node.raft().last(), entry.id);
}

#[test]
fn pitfall_97_a_member_that_lost_what_it_had_acknowledged_is_counted_in_the_status() {
    let mut bench = of_three();
    bench.elect();
    let losses =
        |bench: &Bench| bench.node.status().members.iter().map(|member| member.losses).collect::<Vec<_>>();
    assert_eq!(losses(&bench), [0, 0, 0]);
    // n2 comes back with an empty log.
    bench.turn([Event::LinkLost { to: N2 }]);
    bench.ticks(20);
    bench.conflict(N2, EntryId::ORIGIN);
    assert_eq!(losses(&bench), [0, 1, 0]);
    bench.acknowledge_everything(N2);
    let write = bench.ask(set("a", "1"));
    bench.persist();
    bench.acknowledge_everything(N2);
    assert_eq!(bench.applied(write), Some(Revision::new(2)), "it takes part again");
}

#[test]
fn a_leader_that_takes_nothing_is_asked_with_one_write_a_tick() {
    let mut bench = of_three();
    bench.peer(N2, append(N2, 1, (0, 0), Vec::new(), 0));
    let tokens: Vec<_> = (0..20).map(|number| bench.ask(set("a", &number.to_string()))).collect();
    assert_eq!(bench.forwards.len(), 20, "a leader is asked at once");
    let hand_back = |bench: &mut Bench| {
        let handed_back = bench.forwards.drain(..).map(|forward| forward.id);
        let done = handed_back.map(|id| Event::ForwardDone { id, result: Err(ForwardFailure::NotTaken) });
        let done: Vec<_> = done.collect();
        bench.turn(done);
    };
    hand_back(&mut bench);
    for _ in 0..3 {
        assert!(bench.forwards.is_empty(), "not before the next tick");
        bench.ticks(1);
        assert_eq!(bench.forwards.len(), 1);
        hand_back(&mut bench);
    }
    // It takes one: the others follow at once.
    bench.ticks(1);
    let id = bench.forwards.pop().expect("one write is sent").id;
    let applied = EntryId::new(Term::new(1), LogIndex::new(1));
    let outcome = lograft_kv::Outcome { revision: Revision::new(2), effect: Effect::Set { prev: None } };
    bench.turn([Event::ForwardDone { id, result: Ok(ForwardResponse::Applied { id: applied, outcome }) }]);
    assert_eq!(bench.forwards.len(), 19);
    hand_back(&mut bench);
    bench.ticks(1);
    assert_eq!(bench.forwards.len(), 1);
    // A new leader is asked at once, too.
    bench.peer(N3, append(N3, 2, (0, 0), Vec::new(), 0));
    assert_eq!(bench.forwards.len(), 1 + 18);
    assert_eq!(tokens.iter().filter(|token| bench.response_to(**token).is_some()).count(), 1);
}

#[test]
fn a_follower_takes_what_it_has_room_for_and_says_so() {
    let mut bench = of_three();
    let entries: Vec<_> = (1..=3).map(|index| entry(1, index, payload("k", "v"))).collect();
    let cost = credit::cost(EntryKind::Normal, &entries[0].payload);
    bench.room(2 * cost, true);
    bench.peer(N2, append(N2, 1, (0, 0), entries, 0));
    bench.persist();
    let answer = bench.peer_responses.pop().expect("a response").result.expect("not refused");
    let Response::AppendEntries(response) = answer.1 else { panic!("{answer:?}") };
    assert_eq!(response.result, AppendResult::Busy { match_index: LogIndex::new(2) });
    assert!(bench.node.is_idle());
}

#[test]
fn pitfall_94_a_new_leaders_first_entry_needs_no_credit() {
    let mut bench = of_three();
    let known = entry(1, 1, payload("k", "v"));
    bench.room(credit::cost(EntryKind::Normal, &known.payload), true);
    bench.peer(N2, append(N2, 1, (0, 0), vec![known], 0));
    bench.persist();
    bench.room(0, true);
    let own = Entry { kind: EntryKind::NoOp, ..entry(2, 2, Bytes::new()) };
    let more = entry(2, 3, payload("k", "v"));
    bench.peer(N3, append(N3, 2, (1, 1), vec![own, more], 0));
    bench.persist();
    assert_eq!(bench.node.raft().last(), EntryId::new(Term::new(2), LogIndex::new(2)));
    let answer = bench.peer_responses.pop().expect("a response").result.expect("not refused");
    let Response::AppendEntries(response) = answer.1 else { panic!("{answer:?}") };
    let taken = AppendResult::Busy { match_index: LogIndex::new(2) };
    assert_eq!(response.result, taken, "the leader's own entry, and no command");
}

#[test]
fn pitfall_96_each_clipped_append_is_answered_as_busy_whatever_its_id() {
    let mut bench = of_three();
    let any = |term, index| entry(term, index, payload("k", "v"));
    bench.room(credit::cost(EntryKind::Normal, &any(1, 1).payload), true);
    // One leader on one stream, in two terms: a leader of another version may begin its ids anew.
    let reply_to = ReplyTo(1);
    let envelope = Envelope { cluster: CLUSTER, from: N2, to: N1, incarnation: 0 };
    let ask = |request| Event::PeerRequest { envelope, reply_to, request };
    bench.turn([ask(append(N2, 1, (0, 0), vec![any(1, 1), any(1, 2)], 0))]);
    bench.turn([ask(append(N2, 2, (1, 1), vec![any(1, 2), any(2, 3)], 0))]);
    bench.persist();
    let results: Vec<_> = bench
        .peer_responses
        .drain(..)
        .map(|response| match response.result {
            Ok((_, Response::AppendEntries(response))) => response.result,
            other => panic!("{other:?}"),
        })
        .collect();
    let refused = AppendResult::Conflict { conflict: EntryId::new(Term::ZERO, LogIndex::new(1)) };
    assert!(results.contains(&refused), "the first one, whose term is over: {results:?}");
    let busy = |index| AppendResult::Busy { match_index: LogIndex::new(index) };
    assert!(results.contains(&busy(0)) || results.contains(&busy(1)), "the second one: {results:?}");
}

#[test]
fn pitfall_35_messages_that_are_not_for_this_node_change_nothing_and_are_counted() {
    let mut bench = of_three();
    let ours = Envelope { cluster: CLUSTER, from: N2, to: N1, incarnation: 0 };
    let request = append(N2, 9, (0, 0), Vec::new(), 0);
    let elsewhere = Envelope { cluster: ClusterId::new(1), ..ours };
    let refusal = bench.peer_in(elsewhere, request.clone());
    assert_eq!(refusal, Some(Refusal::OtherCluster { ours: CLUSTER, theirs: ClusterId::new(1) }));
    let refusal = bench.peer_in(Envelope { to: N3, ..ours }, request.clone());
    assert_eq!(refusal, Some(Refusal::OtherAddressee { ours: N1, theirs: N3 }));
    let refusal = bench.peer_in(Envelope { from: N1, ..ours }, request);
    assert_eq!(refusal, Some(Refusal::ImpossibleSender(N1)));
    assert_eq!(bench.node.raft().term(), Term::ZERO, "no term was looked at");
    assert_eq!(bench.node.status().refused_messages, 3);
    assert!(bench.writes.is_empty());
}

#[test]
fn pitfall_24_entries_that_are_no_piece_of_one_log_are_refused() {
    let mut bench = of_three();
    let any = |term, index| entry(term, index, payload("k", "v"));
    let gap = vec![any(1, 1), any(1, 3)];
    let back = vec![any(2, 1), any(1, 2)];
    let above = vec![any(4, 1)];
    for entries in [gap, back, above] {
        let refusal = bench.peer(N2, append(N2, 3, (0, 0), entries, 0));
        assert!(matches!(refusal, Some(Refusal::NoSequence { .. })), "{refusal:?}");
    }
    let half_an_origin = bench.peer(N2, append(N2, 3, (1, 0), Vec::new(), 0));
    assert!(matches!(half_an_origin, Some(Refusal::NoSequence { .. })));
    assert_eq!(bench.node.raft().last(), EntryId::ORIGIN);
    assert_eq!(bench.node.raft().term(), Term::ZERO);
}

#[test]
fn pitfall_66_numbers_that_no_cluster_reaches_are_refused() {
    let mut bench = of_three();
    let refusal = bench.peer(N2, append(N2, u64::MAX, (0, 0), Vec::new(), 0));
    assert!(matches!(refusal, Some(Refusal::ImplausibleNumber { what: "term", .. })));
    let refusal = bench.peer(N2, append(N2, 3, (1, u64::MAX), Vec::new(), 0));
    assert!(matches!(refusal, Some(Refusal::ImplausibleNumber { what: "prev_log_index", .. })));
    let vote = raft::RequestVote {
        term: Term::new(u64::MAX),
        last: EntryId::ORIGIN,
        pre_vote: false,
        leadership_transfer: false,
    };
    let refusal = bench.peer(N2, PeerRequest::Vote { candidate: N2, vote });
    assert!(matches!(refusal, Some(Refusal::ImplausibleNumber { what: "term", .. })));
}

#[test]
fn pitfall_66_an_answer_with_a_term_that_no_cluster_reaches_is_refused() {
    let mut bench = of_three();
    bench.elect();
    let term = Term::new(u64::MAX);
    let vote = RequestVoteResponse { term, granted: false, pre_vote: false };
    let result = AppendResult::Matched { match_index: LogIndex::ZERO };
    let append = AppendEntriesResponse { term, request_id: 1, read_round: 0, result };
    bench.respond(N2, Response::RequestVote(vote));
    bench.respond(N2, Response::AppendEntries(append));
    assert!(bench.node.raft().is_leader(), "no term was looked at");
    assert_eq!(bench.node.status().refused_messages, 2);
}

#[test]
fn pitfall_54_a_shutdown_answers_every_waiter_by_what_is_known_of_it() {
    let mut bench = of_three();
    bench.elect();
    let proposed = bench.ask(set("a", "1"));
    let read = bench.ask(get("a", Consistency::Linearizable));
    bench.room(10, false);
    let parked = bench.ask(set("b", "2"));
    bench.client_responses = bench.node.shut_down().client_responses;
    assert!(matches!(bench.error(proposed), Some(RequestError::UnknownOutcome { .. })));
    assert_eq!(bench.error(parked), Some(&RequestError::ShuttingDown));
    assert_eq!(bench.error(read), Some(&RequestError::ShuttingDown));
}

#[test]
fn a_failed_log_stops_the_node_before_it_says_anything() {
    let mut bench = alone();
    let token = bench.ask(set("a", "1"));
    bench.report.failed = Some("fdatasync: input/output error".to_owned());
    bench.persist();
    assert!(matches!(bench.halt, Some(HaltReason::LogFailed(_))));
    assert_eq!(bench.response_to(token), None);
}
