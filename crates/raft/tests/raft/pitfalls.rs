//! Bugs that systems like this one have had, as far as a core can have them. The tests' names carry the numbers of
//! the project's list of pitfalls.

use lograft_raft::{
    AppendEntries, AppendEntriesResponse, AppendResult, Config, Configuration, Halt, Input, LogView, NoTerm,
    Raft, ReadOutcome, Request, RequestVote, RequestVoteResponse, Response, RoleName,
};
use lograft_types::{EntryId, HardState, LogIndex, WriteSeq};

use crate::cluster::{Cluster, LONG, Message, Packet, TIMEOUT, id, index, log_of, term, test_config};
use crate::paper::{append, at, granted, heartbeat, matched, result, vote};

fn pre_vote(candidate_term: u64, last: EntryId) -> Request {
    let request =
        RequestVote { term: term(candidate_term), last, pre_vote: true, leadership_transfer: false };
    Request::RequestVote(request)
}

fn answer_vote(cluster: &mut Cluster, to: u64, from: u64, response: RequestVoteResponse) {
    cluster.step(to, Input::Response { from: id(from), response: Response::RequestVote(response) });
}

/// Node `from` responds to a request of the leader, node 1.
fn answer_append(cluster: &mut Cluster, from: u64, request_id: u64, answer: AppendResult) {
    let response =
        AppendEntriesResponse { term: cluster.raft(1).term(), request_id, read_round: 0, result: answer };
    cluster.step(1, Input::Response { from: id(from), response: Response::AppendEntries(response) });
}

fn appends_to(cluster: &Cluster, to: u64) -> Vec<AppendEntries> {
    let appends = cluster.network.iter().filter_map(|packet| match &packet.message {
        Message::Request(Request::AppendEntries(append)) if packet.to == id(to) => Some(append.clone()),
        _ => None,
    });
    appends.collect()
}

#[test]
fn pitfall_96_an_answer_to_a_request_of_an_earlier_leadership_does_not_count() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, 2);
    let old = appends_to(&cluster, 2).last().expect("entries").request_id;
    cluster.settle();
    cluster.elect(2);
    cluster.elect(1);
    cluster.propose(1, 1);
    let new = appends_to(&cluster, 2).last().expect("entries").request_id;
    assert!(new > old, "request {new} of the new leadership after {old} of the old one");
    // A refusal that was withheld carries the follower's term, not its request's.
    answer_append(&mut cluster, 2, old, AppendResult::Conflict { conflict: EntryId::ORIGIN });
    let (_, state) = cluster.raft(1).progress(id(2)).expect("node 1 leads");
    assert_eq!(state, "replicate", "it says nothing about the requests of this term");
    cluster.settle();
    cluster.assert_idle();
}

#[test]
fn pitfall_96_a_clipped_request_is_answered_as_busy() {
    let mut cluster = Cluster::new(3);
    let Request::AppendEntries(request) = append(1, EntryId::ORIGIN, &[1, 1], 0) else { unreachable!() };
    let clipped = Request::AppendEntries(AppendEntries { clipped: true, ..request });
    assert_eq!(result(cluster.ask(2, 1, clipped)), AppendResult::Busy { match_index: index(2) });
    let Request::AppendEntries(request) = append(1, at(1, 2), &[], 0) else { unreachable!() };
    let nothing_left = Request::AppendEntries(AppendEntries { clipped: true, ..request });
    assert_eq!(result(cluster.ask(2, 1, nothing_left)), AppendResult::Busy { match_index: index(2) });
}

#[test]
fn pitfall_01_a_vote_waits_for_its_flush_and_survives_a_crash() {
    let mut cluster = Cluster::new(3);
    assert_eq!(cluster.request(2, 1, vote(1, EntryId::ORIGIN)), []);
    cluster.crash(1);
    cluster.restart(1);
    // The grant was never sent, so the vote may go to another candidate.
    assert!(granted(cluster.ask(3, 1, vote(1, EntryId::ORIGIN))));
    cluster.crash(1);
    cluster.restart(1);
    assert!(!granted(cluster.ask(2, 1, vote(1, EntryId::ORIGIN))));
}

#[test]
fn pitfall_01_the_own_vote_counts_only_when_durable() {
    let mut cluster = Cluster::new(1);
    cluster.tick(1, LONG);
    assert_eq!(cluster.raft(1).role(), RoleName::Candidate);
    cluster.persist(1);
    assert!(cluster.raft(1).is_leader());
}

#[test]
fn pitfall_03_a_refusal_with_a_higher_term_changes_the_term_and_no_vote() {
    let mut cluster = Cluster::new(3);
    cluster.start_campaign(1);
    let refusal = RequestVoteResponse { term: term(9), granted: false, pre_vote: false };
    answer_vote(&mut cluster, 1, 2, refusal);
    assert_eq!(cluster.raft(1).hard_state(), HardState { term: term(9), vote: None });
    assert_eq!(cluster.raft(1).leader(), None);
}

#[test]
fn pitfall_04_the_last_term_counts_before_the_length() {
    let mut cluster = Cluster::with_logs(&[(3, &[1, 3]), (3, &[]), (3, &[])]);
    assert!(!granted(cluster.ask(2, 1, vote(4, at(2, 100)))));
    assert!(granted(cluster.ask(3, 1, vote(4, at(3, 2)))));
}

#[test]
fn pitfall_05_a_pre_vote_has_no_side_effect() {
    let mut cluster = Cluster::new(3);
    cluster.tick(1, TIMEOUT - 1);
    let before = format!("{:?}", cluster.raft(1));
    assert!(granted(cluster.ask(2, 1, pre_vote(7, EntryId::ORIGIN))));
    assert_eq!(format!("{:?}", cluster.raft(1)), before);
    assert_eq!(cluster.unflushed(1), []);
}

#[test]
fn pitfall_06_nodes_with_diverged_terms_elect() {
    for terms in [[1, 5, 9], [9, 5, 1], [5, 9, 1], [1, 1, 9]] {
        let mut cluster = Cluster::with_logs(&terms.map(|last_term| (last_term, &[1][..])));
        cluster.run(4 * LONG);
        assert_eq!(cluster.leaders().len(), 1, "{terms:?}");
    }
}

#[test]
fn pitfall_06_a_granted_pre_vote_repeats_the_term_that_was_asked() {
    let mut cluster = Cluster::with_logs(&[(2, &[]), (2, &[]), (2, &[])]);
    let Response::RequestVote(answer) = cluster.ask(2, 1, pre_vote(8, EntryId::ORIGIN)) else { panic!() };
    assert_eq!((answer.granted, answer.term), (true, term(8)));
    let Response::RequestVote(answer) = cluster.ask(2, 1, pre_vote(1, EntryId::ORIGIN)) else { panic!() };
    assert_eq!((answer.granted, answer.term), (false, term(2)));
}

#[test]
fn pitfall_07_a_node_with_a_higher_term_is_not_stuck() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    // Node 3 comes back in a later term, from a campaign that nobody else saw.
    cluster.ask(9, 3, vote(6, at(1, 9)));
    cluster.tick(3, TIMEOUT);
    cluster.ask(9, 3, vote(6, at(1, 9)));
    assert_eq!(cluster.raft(3).term(), term(6));
    cluster.run(6 * LONG);
    let leaders = cluster.leaders();
    assert_eq!(leaders.len(), 1);
    assert!(leaders[0].1 > 6);
    assert_eq!(cluster.raft(3).leader(), Some(id(leaders[0].0)));
}

#[test]
fn pitfall_08_a_node_that_was_cut_off_does_not_raise_terms() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.run(20 * TIMEOUT);
    assert_eq!(cluster.raft(3).term(), term(1));
    cluster.heal();
    cluster.run(4 * LONG);
    assert_eq!(cluster.leaders(), [(1, 1)]);
}

#[test]
fn pitfall_08_a_voter_that_hears_its_leader_refuses_and_keeps_its_term() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    for voter in [1, 2] {
        assert!(!granted(cluster.ask(3, voter, vote(9, at(1, 9)))), "voter {voter}");
        assert_eq!(cluster.raft(voter).term(), term(1));
    }
    let transfer = RequestVote { term: term(9), last: at(1, 9), pre_vote: false, leadership_transfer: true };
    assert!(granted(cluster.ask(3, 2, Request::RequestVote(transfer))), "its leader asked for the transfer");
}

#[test]
fn pitfall_11_a_late_pre_vote_does_not_restart_an_election() {
    let mut cluster = Cluster::new(5);
    cluster.elect(1);
    let late = RequestVoteResponse { term: term(1), granted: true, pre_vote: true };
    answer_vote(&mut cluster, 1, 5, late);
    assert_eq!(cluster.leaders(), [(1, 1)]);

    let mut cluster = Cluster::new(5);
    cluster.start_campaign(1);
    cluster.deliver_all();
    assert_eq!(cluster.raft(1).role(), RoleName::Candidate);
    answer_vote(&mut cluster, 1, 5, late);
    answer_vote(&mut cluster, 1, 4, RequestVoteResponse { term: term(2), ..late });
    assert_eq!((cluster.raft(1).role(), cluster.raft(1).term()), (RoleName::Candidate, term(1)));
}

#[test]
fn pitfall_12_timeouts_differ_after_a_simultaneous_restart() {
    let mut in_lockstep = 0;
    for seed in 0..100 {
        let timeout = |node: u64| {
            let log = LogView::new(EntryId::ORIGIN, []);
            let voters = Configuration::new((1..=3).map(id));
            let mut raft =
                Raft::new(test_config(id(node)), voters, HardState::default(), log, 3 * seed + node);
            (1..).find(|_| raft.step(Input::Tick).changed).expect("it campaigns")
        };
        let timeouts = [1, 2, 3].map(timeout);
        in_lockstep += u32::from(timeouts.iter().all(|&ticks| ticks == timeouts[0]));
    }
    assert!(in_lockstep < 10, "{in_lockstep} of 100 restarts in lockstep");
}

#[test]
fn pitfall_13_an_old_entry_on_a_majority_is_not_committed() {
    let mut cluster = Cluster::with_logs(&[(1, &[1, 1]), (1, &[1, 1]), (1, &[1, 1])]);
    cluster.win(1);
    // A majority is known to hold entries 1..=2, all of term 1, and nothing of term 2.
    for peer in [2, 3] {
        answer_append(&mut cluster, peer, 1, matched(2));
    }
    assert_eq!(cluster.raft(1).commit(), LogIndex::ZERO);
    cluster.settle();
    assert_eq!(cluster.raft(1).commit(), index(3));
}

#[test]
fn pitfall_14_a_leader_counts_itself_only_after_its_flush() {
    let mut cluster = Cluster::new(1);
    cluster.elect(1);
    cluster.propose(1, 1);
    assert_eq!(cluster.raft(1).commit(), index(1));
    cluster.persist(1);
    assert_eq!(cluster.raft(1).commit(), index(2));

    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, 1);
    cluster.deliver_all();
    cluster.persist(2);
    cluster.deliver_all();
    assert_eq!(cluster.raft(1).commit(), index(1), "one follower and an unflushed leader are no majority");
    cluster.persist(1);
    assert_eq!(cluster.raft(1).commit(), index(2));
}

#[test]
fn pitfall_16_an_old_append_drops_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.ask(2, 1, append(1, EntryId::ORIGIN, &[1, 1, 1, 1], 0));
    assert_eq!(result(cluster.ask(2, 1, append(1, EntryId::ORIGIN, &[1, 1], 0))), matched(2));
    assert_eq!(result(cluster.ask(2, 1, append(1, at(1, 1), &[], 0))), matched(1));
    assert_eq!(cluster.terms(1), [1, 1, 1, 1]);
}

#[test]
fn pitfall_17_commit_goes_to_the_last_new_entry_at_most() {
    let mut cluster = Cluster::with_logs(&[(2, &[1, 1, 1, 1]), (2, &[]), (2, &[])]);
    cluster.ask(2, 1, append(2, at(1, 1), &[1], 4));
    assert_eq!(cluster.raft(1).commit(), index(2), "entries 3 and 4 may not be the leader's");
}

#[test]
fn pitfall_18_heartbeats_follow_and_commit_only_what_matched() {
    let mut cluster = Cluster::with_logs(&[(1, &[1, 1, 1]), (1, &[1, 1, 1]), (1, &[])]);
    cluster.isolate(3);
    cluster.elect(1);
    cluster.propose(1, 5);
    cluster.settle();
    assert_eq!(cluster.raft(1).commit(), index(9));
    cluster.heal();
    cluster.read(1);
    let to_3 = appends_to(&cluster, 3);
    assert_eq!(to_3.len(), 1);
    assert_eq!((to_3[0].prev, to_3[0].commit), (EntryId::ORIGIN, LogIndex::ZERO));
    let to_2 = appends_to(&cluster, 2);
    assert_eq!((to_2[0].prev, to_2[0].commit), (at(2, 9), index(9)));
}

#[test]
fn pitfall_19_a_conflict_with_what_is_committed_halts() {
    let mut cluster = Cluster::new(3);
    cluster.ask(2, 1, append(1, EntryId::ORIGIN, &[1, 1, 1], 2));
    assert_eq!(cluster.request(3, 1, append(5, at(1, 1), &[5], 0)), []);
    let halt = Halt::CommittedConflict { from: id(3), theirs: at(5, 2), ours: at(1, 2) };
    assert_eq!(cluster.halted(1), Some(&halt));
    assert_eq!(cluster.terms(1), [1, 1, 1], "the log is untouched");
}

#[test]
fn pitfall_19_two_leaders_in_a_term_halt() {
    let mut cluster = Cluster::new(3);
    cluster.ask(2, 1, heartbeat(1));
    cluster.request(3, 1, heartbeat(1));
    let halt = Halt::TwoLeaders { term: term(1), first: id(2), second: id(3) };
    assert_eq!(cluster.halted(1), Some(&halt));

    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.request(3, 1, heartbeat(1));
    let halt = Halt::TwoLeaders { term: term(1), first: id(1), second: id(3) };
    assert_eq!(cluster.halted(1), Some(&halt));
}

#[test]
fn pitfall_20_an_acknowledgement_of_another_time_does_not_count() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, 2);
    let sent = appends_to(&cluster, 2)[0].request_id;
    cluster.network.clear();
    // A response of an earlier term.
    let old = AppendEntriesResponse { term: term(0), request_id: sent, read_round: 0, result: matched(3) };
    cluster.step(1, Input::Response { from: id(2), response: Response::AppendEntries(old) });
    assert_eq!(cluster.raft(1).progress(id(2)), Some((index(1), "replicate")));
    // A response to a request from before the link broke.
    cluster.step(1, Input::LinkLost { to: id(2) });
    answer_append(&mut cluster, 2, sent, matched(3));
    assert_eq!(cluster.raft(1).progress(id(2)), Some((index(1), "probe")));
    // A response that acknowledges entries that do not exist.
    answer_append(&mut cluster, 2, sent + 100, matched(99));
    assert_eq!(cluster.raft(1).progress(id(2)), Some((index(1), "probe")));
}

#[test]
fn pitfall_20_a_withheld_acknowledgement_turns_into_a_refusal_when_the_term_moves_on() {
    let mut cluster = Cluster::new(3);
    assert_eq!(cluster.request(2, 1, append(1, EntryId::ORIGIN, &[1, 1], 0)), []);
    assert_eq!(cluster.request(3, 1, append(2, EntryId::ORIGIN, &[2], 0)), []);
    assert_eq!(cluster.raft(1).withheld_messages(), 2);
    cluster.persist(1);
    let answers = cluster.network.iter().map(|packet| match packet.message {
        Message::Response(Response::AppendEntries(answer)) => (packet.to, answer.term, answer.result),
        _ => panic!("{packet:?}"),
    });
    let refusal = AppendResult::Conflict { conflict: EntryId::new(term(0), index(2)) };
    let expected = [(id(2), term(2), refusal), (id(3), term(2), matched(1))];
    assert_eq!(answers.collect::<Vec<_>>(), expected);
    cluster.assert_idle();
}

#[test]
fn pitfall_21_an_older_flush_does_not_make_a_replaced_entry_durable() {
    let mut cluster = Cluster::new(3);
    cluster.request(2, 1, append(1, EntryId::ORIGIN, &[1, 1, 1], 0));
    cluster.request(3, 1, append(2, at(1, 1), &[2], 0));
    let writes = cluster.unflushed(1);
    assert_eq!(writes, [WriteSeq::new(1), WriteSeq::new(2)]);
    // The flush that began before the replacement completes. It covered index 2, but not the entry that is there now.
    cluster.persist_through(1, writes[0]);
    assert_eq!(cluster.raft(1).persisted_index(), index(1));
    assert!(cluster.network.is_empty());
    cluster.persist_through(1, writes[1]);
    assert_eq!(cluster.raft(1).persisted_index(), index(2));
    // The older flush is reported once more, late.
    cluster.step(1, Input::Persisted { write: writes[0] });
    assert_eq!(cluster.raft(1).persisted_index(), index(2));
    assert_eq!(cluster.network.len(), 2);
}

#[test]
fn pitfall_22_a_compacted_index_has_no_term() {
    let log_start = at(3, 10);
    let entries = log_of(&[3; 12]).split_off(10);
    let mut raft = Raft::new(
        test_config(id(1)),
        Configuration::new((1..=3).map(id)),
        HardState { term: term(3), vote: None },
        LogView::new(log_start, entries),
        1,
    );
    assert_eq!(raft.term_at(index(9)), Err(NoTerm::Compacted));
    assert_eq!(raft.term_at(index(10)), Ok(term(3)));
    assert_eq!(raft.term_at(index(13)), Err(NoTerm::Unavailable));
    assert_eq!(raft.commit(), index(10));
    // A leader whose term differs at an index that this log holds does not match, whatever came before the log start.
    let request = append(4, at(4, 12), &[4], 0);
    let effects = raft.step(Input::Request { from: id(2), reply_to: lograft_raft::ReplyTo(1), request });
    assert_eq!(effects.committed, None);
    assert_eq!(raft.last(), at(3, 12));
}

#[test]
fn pitfall_23_a_probe_finds_a_peer_when_everything_is_compacted() {
    let voters = || Configuration::new((1..=2).map(id));
    let start = |node, seed| {
        let hard_state = HardState { term: term(3), vote: None };
        Raft::new(test_config(id(node)), voters(), hard_state, LogView::new(at(3, 10), []), seed)
    };
    let mut leader = start(1, 1);
    while !leader.step(Input::Tick).changed {}
    let yes = |pre_vote| RequestVoteResponse { term: term(4), granted: true, pre_vote };
    leader.step(Input::Response { from: id(2), response: Response::RequestVote(yes(true)) });
    leader.step(Input::Persisted { write: WriteSeq::new(1) });
    leader.step(Input::Response { from: id(2), response: Response::RequestVote(yes(false)) });
    assert!(leader.is_leader());
    leader.step(Input::LinkLost { to: id(2) });
    leader.step(Input::Persisted { write: WriteSeq::new(2) });
    let mut follower = start(2, 2);
    for _ in 0..TIMEOUT {
        let mut inputs: Vec<Packet> = Vec::new();
        let effects = leader.step(Input::Tick);
        collect(&mut inputs, id(1), effects.messages);
        while let Some(packet) = inputs.pop() {
            let Message::Request(request) = packet.message else {
                let Message::Response(response) = packet.message else { unreachable!() };
                let more = leader.step(Input::Response { from: packet.from, response });
                collect(&mut inputs, id(1), more.messages);
                continue;
            };
            let reply_to = lograft_raft::ReplyTo(0);
            let effects = follower.step(Input::Request { from: id(1), reply_to, request });
            collect(&mut inputs, id(2), effects.messages);
            if let Some(write) = effects.write {
                let flushed = follower.step(Input::Persisted { write: write.seq });
                collect(&mut inputs, id(2), flushed.messages);
            }
        }
    }
    assert_eq!(leader.progress(id(2)), Some((index(11), "replicate")));
    assert_eq!(follower.commit(), index(11));
}

fn collect(into: &mut Vec<Packet>, from: lograft_types::NodeId, messages: Vec<lograft_raft::Outgoing>) {
    into.extend(messages.into_iter().map(|outgoing| match outgoing {
        lograft_raft::Outgoing::Request { to, request } => {
            Packet { from, to, message: Message::Request(request) }
        }
        lograft_raft::Outgoing::Response { to, response, .. } => {
            Packet { from, to, message: Message::Response(response) }
        }
    }));
}

#[test]
#[should_panic(expected = "entries have no gap")]
fn pitfall_24_entries_with_a_gap_do_not_enter_the_log() {
    let mut entries = log_of(&[1, 1, 1]);
    entries.remove(1);
    LogView::new(EntryId::ORIGIN, entries);
}

#[test]
fn pitfall_25_nothing_stays_in_flight() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    for round in 0..50 {
        cluster.propose(1, 3);
        match round % 5 {
            0 => drop(cluster.network.pop_back()),
            1 => drop(cluster.step(1, Input::LinkLost { to: id(2) })),
            2 => cluster.deliver_all(),
            3 => cluster.network.clear(),
            _ => {}
        }
        let (messages, bytes) = cluster.raft(1).in_flight(id(2)).expect("a peer");
        let limits = test_config(id(1));
        assert!(messages <= limits.max_inflight_messages);
        assert!(bytes <= limits.max_inflight_bytes + limits.max_append_bytes);
    }
    cluster.run(2 * LONG);
    cluster.assert_idle();
    assert_eq!(cluster.terms(2), cluster.terms(1));
    assert_eq!(cluster.terms(3), cluster.terms(1));
}

#[test]
fn pitfall_26_the_smallest_batches_commit_in_order() {
    let smallest = |node| Config {
        max_append_bytes: 1,
        max_append_entries: 1,
        max_inflight_messages: 1,
        max_inflight_bytes: 1,
        ..test_config(node)
    };
    let mut cluster = Cluster::with_config(&[(2, &[1, 1, 2]), (2, &[1]), (2, &[])], smallest);
    cluster.elect(1);
    let mut commit = [0; 3];
    for _ in 0..20 {
        cluster.propose(1, 4);
        for _ in 0..50 {
            cluster.deliver_one();
            cluster.persist(3);
            for node in 1..=3_u64 {
                let now = cluster.raft(node).commit().get();
                let before = &mut commit[node as usize - 1];
                assert!(now >= *before, "the commit index goes back");
                *before = now;
            }
        }
    }
    cluster.settle();
    assert_eq!(cluster.raft(3).commit(), index(84));
    cluster.assert_idle();
}

#[test]
fn pitfall_27_a_read_sees_nothing_uncommitted() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, 5);
    let read = cluster.read(1);
    cluster.network.retain(|packet| match &packet.message {
        Message::Request(Request::AppendEntries(append)) => append.entries.is_empty(),
        _ => true,
    });
    cluster.deliver_all();
    assert_eq!(cluster.reads[&read], ReadOutcome::ReadAt { id: read, index: index(1) });
}

#[test]
fn pitfall_32_a_learner_votes() {
    let mut cluster = Cluster::new(3);
    // Node 3 does not know yet that it was promoted.
    cluster.reconfigure(3, Configuration::new([id(1), id(2)]).with_learners([id(3)]));
    assert!(granted(cluster.ask(1, 3, vote(1, EntryId::ORIGIN))));
    cluster.tick(3, 3 * LONG);
    assert_eq!(cluster.raft(3).role(), RoleName::Follower, "but it does not campaign");
}

#[test]
fn pitfall_47_a_read_waits_for_the_first_commit_of_the_own_term() {
    let mut cluster = Cluster::with_logs(&[(1, &[1, 1]), (1, &[1, 1]), (1, &[1, 1])]);
    cluster.win(1);
    let read = cluster.read(1);
    cluster.deliver_all();
    assert!(
        !cluster.reads.contains_key(&read),
        "leadership is confirmed, but entries 1 and 2 may or may not be committed"
    );
    cluster.settle();
    assert_eq!(cluster.reads[&read], ReadOutcome::ReadAt { id: read, index: index(3) });
}

#[test]
fn pitfall_48_an_answer_to_an_older_round_confirms_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let first = cluster.read(1);
    let answers_to_first: Vec<Packet> = {
        while let Some(place) =
            cluster.network.iter().position(|packet| matches!(packet.message, Message::Request(_)))
        {
            let packet = cluster.network.remove(place).expect("a packet");
            cluster.deliver(packet);
        }
        cluster.network.drain(..).collect()
    };
    let second = cluster.read(1);
    cluster.network.clear();
    for packet in answers_to_first {
        cluster.deliver(packet);
    }
    assert!(cluster.reads.contains_key(&first));
    assert!(!cluster.reads.contains_key(&second));
    cluster.run(LONG);
    assert!(matches!(cluster.reads[&second], ReadOutcome::ReadAt { .. }));
    cluster.assert_idle();
}

#[test]
fn pitfall_49_a_leader_that_was_paused_serves_no_read() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    // The leader's clock stops: as far as it can tell, it has just been elected.
    cluster.isolate(1);
    for node in [2, 3] {
        cluster.tick(node, TIMEOUT);
    }
    cluster.run_only(&[2, 3], LONG);
    assert!(cluster.leaders().iter().any(|&(node, _)| node != 1));
    let read = cluster.read(1);
    cluster.settle();
    assert!(!cluster.reads.contains_key(&read));
    cluster.heal();
    cluster.run(LONG);
    assert_eq!(cluster.reads[&read], ReadOutcome::Lost { id: read });
}

#[test]
fn pitfall_53_a_deposed_leader_commits_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.propose(1, 2);
    cluster.persist(1);
    cluster.run(2 * LONG);
    assert_eq!(cluster.raft(1).role(), RoleName::PreCandidate, "it stepped down without a majority");
    assert_eq!(cluster.raft(1).commit(), index(1));
    let effects = cluster.propose(1, 1);
    assert_eq!(effects.write, None, "it takes no commands");
    cluster.heal();
    cluster.run(LONG);
    assert_eq!(cluster.terms(1), cluster.terms(2), "entries that only it had are gone");
}

#[test]
fn pitfall_76_a_burst_of_ticks_disturbs_nobody() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.tick(3, 10 * TIMEOUT);
    assert_eq!(cluster.raft(3).term(), term(1), "it asks for pre-votes, which change nothing");
    cluster.settle();
    cluster.run(LONG);
    assert_eq!(cluster.leaders(), [(1, 1)]);
    assert_eq!(cluster.raft(3).leader(), Some(id(1)));
}

#[test]
fn pitfall_83_nothing_but_a_pre_vote_leaves_in_a_term_that_is_not_durable() {
    let mut cluster = Cluster::with_logs(&[(1, &[1, 1]), (1, &[1]), (1, &[1])]);
    cluster.start_campaign(1);
    cluster.deliver_all();
    assert_eq!(cluster.raft(1).term(), term(2));
    // Another candidate asks. Even a refusal carries the term, so it is withheld too.
    assert_eq!(cluster.request(2, 1, vote(2, at(1, 9))), []);
    assert_eq!(cluster.raft(1).withheld_messages(), 3);
    cluster.crash(1);
    cluster.restart(1);
    assert_eq!(
        cluster.raft(1).hard_state(),
        HardState { term: term(1), vote: None },
        "the crash left no trace of term 2"
    );
    assert!(granted(cluster.ask(2, 1, vote(2, at(1, 9)))));
}

#[test]
fn pitfall_83_votes_that_nobody_has_asked_for_yet_do_not_count() {
    let mut cluster = Cluster::new(5);
    cluster.start_campaign(1);
    cluster.deliver_all();
    assert_eq!((cluster.raft(1).role(), cluster.raft(1).term()), (RoleName::Candidate, term(1)));
    // Its vote requests still wait for the disk, so these responses cannot belong to them.
    for voter in [2, 3, 4] {
        let granted = RequestVoteResponse { term: term(1), granted: true, pre_vote: false };
        answer_vote(&mut cluster, 1, voter, granted);
    }
    assert_eq!(cluster.raft(1).role(), RoleName::Candidate);
    cluster.settle();
    assert_eq!(cluster.leaders(), [(1, 1)]);
}

#[test]
fn pitfall_88_a_node_outside_the_configuration_is_obeyed_and_voted_for() {
    let mut cluster = Cluster::new(4);
    for node in [1, 2, 3] {
        cluster.reconfigure(node, Configuration::new((1..=3).map(id)));
    }
    assert!(granted(cluster.ask(4, 1, pre_vote(1, EntryId::ORIGIN))));
    assert!(granted(cluster.ask(4, 1, vote(1, EntryId::ORIGIN))));
    assert_eq!(result(cluster.ask(4, 1, append(1, EntryId::ORIGIN, &[1], 1))), matched(1));
    assert_eq!(cluster.raft(1).leader(), Some(id(4)));
    // Node 1 is gone for good. The new node and two nodes with the older configuration are a majority of four.
    cluster.crash(1);
    cluster.elect(4);
    assert_eq!(cluster.raft(2).leader(), Some(id(4)));
}
