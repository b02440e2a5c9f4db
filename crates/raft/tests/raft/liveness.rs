//! Tests that a cluster makes progress soon: lost streams, a leader without a majority, slow disks, long logs.

use lograft_raft::{
    AppendResult, Config, Input, ReadOutcome, Request, RequestVote, RequestVoteResponse, Response, RoleName,
};
use lograft_types::EntryId;

use crate::cluster::{Cluster, LONG, Message, TIMEOUT, id, index, term, test_config};
use crate::paper::{append, at, granted, heartbeat, matched, result};

/// Node 1 leads and crashes; its streams to the others end.
fn leader_dies(cluster: &mut Cluster) {
    cluster.elect(1);
    cluster.crash(1);
    for node in cluster.ids() {
        cluster.step(node, Input::StreamLost { from: id(1) });
    }
}

#[test]
fn a_dead_leaders_lost_streams_elect_another_without_waiting_for_the_timeout() {
    for size in [3, 5, 7] {
        let mut cluster = Cluster::new(size);
        leader_dies(&mut cluster);
        cluster.settle();
        assert_eq!(cluster.leaders(), [(2, 2)], "{size} nodes: the first of the others is elected at once");
    }
}

#[test]
fn the_others_follow_one_after_another() {
    let mut cluster = Cluster::new(5);
    leader_dies(&mut cluster);
    cluster.network.clear();
    let delay = test_config(id(1)).stream_loss_delay_ticks;
    for (node, rank) in [(2, 0), (3, 1), (4, 2), (5, 3)] {
        for _ in 0..rank * delay {
            assert_eq!(cluster.raft(node).role(), RoleName::Follower, "node {node}");
            cluster.tick(node, 1);
        }
        assert_eq!(cluster.raft(node).role(), RoleName::PreCandidate, "node {node}");
    }
}

#[test]
fn a_refusal_by_a_voter_that_has_not_noticed_yet_is_asked_again_soon() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.crash(1);
    cluster.step(2, Input::StreamLost { from: id(1) });
    cluster.settle();
    assert_eq!(cluster.raft(2).role(), RoleName::PreCandidate, "node 3 still follows its leader");
    cluster.step(3, Input::StreamLost { from: id(1) });
    cluster.run(5);
    assert_eq!(cluster.leaders().len(), 1);
}

#[test]
fn the_longer_log_campaigns_when_the_shorter_one_asks() {
    let slow = |node| Config { stream_loss_delay_ticks: TIMEOUT / 2, ..test_config(node) };
    let mut cluster = Cluster::with_config(&[(0, &[]), (0, &[]), (0, &[])], slow);
    cluster.elect(1);
    cluster.isolate(2);
    cluster.propose(1, 1);
    cluster.settle();
    cluster.heal();
    cluster.crash(1);
    // Node 2 asks at once but cannot win. Node 3 would otherwise wait half a timeout.
    cluster.step(3, Input::StreamLost { from: id(1) });
    cluster.step(2, Input::StreamLost { from: id(1) });
    cluster.settle();
    assert_eq!(cluster.leaders(), [(3, 2)]);
}

#[test]
fn half_a_broken_link_elects_nobody() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.cut_one_way(1, 2);
    cluster.step(2, Input::StreamLost { from: id(1) });
    let mut asked = 0;
    for _ in 0..TIMEOUT - 1 {
        asked += cluster.network.iter().filter(|packet| packet.from == id(2)).count();
        cluster.run(1);
    }
    assert_eq!(cluster.leaders(), [(1, 1)]);
    assert!(asked <= 2 * test_config(id(2)).stream_loss_campaigns as usize, "asked {asked} times");
    // On a new stream the leader is back.
    cluster.heal();
    cluster.run(2 * test_config(id(1)).heartbeat_ticks);
    assert_eq!(cluster.raft(2).leader(), Some(id(1)));
    assert_eq!(cluster.raft(2).term(), term(1));
}

#[test]
fn a_deaf_follower_beside_one_whose_stream_broke_before_disturbs_nobody() {
    for (size, breaks) in [(3, 1), (3, 2), (3, 15), (5, 1), (5, 15)] {
        let mut cluster = Cluster::new(size);
        cluster.elect(1);
        for _ in 0..breaks {
            for node in 2..size {
                cluster.step(node, Input::StreamLost { from: id(1) });
                // Its leader is back before another stream breaks.
                cluster.run(2 * test_config(id(1)).heartbeat_ticks);
            }
        }
        cluster.cut_one_way(1, size);
        cluster.run(4 * LONG);
        assert_eq!(cluster.leaders(), [(1, 1)], "{size} nodes, {breaks} breaks");
        cluster.heal();
        cluster.run(LONG);
        for node in cluster.ids() {
            assert_eq!(cluster.raft(node).term(), term(1), "{size} nodes, {breaks} breaks");
        }
    }
}

#[test]
fn grants_of_earlier_terms_elect_nobody_in_later_rounds() {
    let mut cluster = Cluster::new(5);
    for node in [1, 2, 3, 1] {
        cluster.elect(node);
    }
    cluster.isolate(4);
    for round in 0..5 {
        cluster.tick(4, LONG);
        assert_eq!(cluster.raft(4).role(), RoleName::PreCandidate);
        for (earlier, from) in (1..=4).flat_map(|t| [1, 2, 3, 5].map(|from| (t, from))) {
            for pre_vote in [true, false] {
                let late = RequestVoteResponse { term: term(earlier), granted: true, pre_vote };
                cluster.step(4, Input::Response { from: id(from), response: Response::RequestVote(late) });
            }
        }
        assert_eq!(cluster.raft(4).role(), RoleName::PreCandidate, "round {round}");
        assert_eq!(cluster.raft(4).term(), term(4));
    }
    // One grant of this round and old ones of others are no majority.
    for (from, t) in [(1, 5), (2, 4), (3, 3), (5, 2)] {
        let grant = RequestVoteResponse { term: term(t), granted: true, pre_vote: true };
        cluster.step(4, Input::Response { from: id(from), response: Response::RequestVote(grant) });
    }
    assert_eq!(cluster.raft(4).term(), term(4));
}

#[test]
fn campaigns_ahead_of_the_timeout_are_bounded_in_a_term() {
    let few = |node| Config { stream_loss_campaigns: 2, ..test_config(node) };
    let mut cluster = Cluster::with_config(&[(0, &[]), (0, &[]), (0, &[])], few);
    cluster.elect(1);
    let mut campaigns = 0;
    for _ in 0..10 {
        let effects = cluster.step(2, Input::StreamLost { from: id(1) });
        campaigns += u32::from(!effects.messages.is_empty());
        cluster.network.clear();
        cluster.ask(1, 2, heartbeat(1));
    }
    assert_eq!(campaigns, 2);
}

#[test]
fn the_loss_of_another_stream_is_no_news() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    for node in 1..=3 {
        assert!(cluster.step(node, Input::StreamLost { from: id(3) }).messages.is_empty());
    }
    cluster.step(1, Input::StreamLost { from: id(1) });
    cluster.run(LONG);
    assert_eq!(cluster.leaders(), [(1, 1)]);
}

#[test]
fn a_voter_whose_stream_was_lost_grants_pre_votes_and_votes() {
    let off = |node| Config { stream_loss_campaigns: 0, ..test_config(node) };
    let mut cluster = Cluster::with_config(&[(0, &[]), (0, &[]), (0, &[])], off);
    cluster.elect(1);
    let ask = |pre_vote| {
        let last = at(1, 1);
        Request::RequestVote(RequestVote { term: term(2), last, pre_vote, leadership_transfer: false })
    };
    assert!(!granted(cluster.ask(3, 2, ask(true))));
    cluster.step(2, Input::StreamLost { from: id(1) });
    assert!(granted(cluster.ask(3, 2, ask(true))));
    assert!(granted(cluster.ask(3, 2, ask(false))));
}

#[test]
fn a_leader_that_no_majority_answers_steps_down_after_an_election_timeout() {
    let mut cluster = Cluster::new(5);
    cluster.elect(1);
    let read = cluster.read(1);
    for follower in [3, 4, 5] {
        cluster.crash(follower);
    }
    for _ in 0..TIMEOUT - 1 {
        cluster.run(1);
    }
    assert!(cluster.raft(1).is_leader());
    cluster.run(1);
    assert!(!cluster.raft(1).is_leader());
    assert_eq!(cluster.reads[&read], ReadOutcome::Lost { id: read });
}

#[test]
fn heartbeats_are_answered_while_the_disk_is_busy_and_acknowledgements_wait() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, 1);
    // For ten election timeouts, only the leader's disk works.
    cluster.persist(1);
    for _ in 0..10 * TIMEOUT {
        for node in 1..=3 {
            cluster.tick(node, 1);
        }
        cluster.deliver_all();
    }
    assert_eq!(cluster.leaders(), [(1, 1)]);
    assert_eq!(cluster.raft(1).commit(), index(1));
    let read = cluster.read(1);
    cluster.deliver_all();
    assert!(matches!(cluster.reads[&read], ReadOutcome::ReadAt { .. }), "reads do not wait for the disk");
    cluster.settle();
    assert_eq!(cluster.raft(1).commit(), index(2));
    cluster.assert_idle();
}

#[test]
fn an_append_that_brings_nothing_new_waits_for_the_flush_of_what_it_matched() {
    let mut cluster = Cluster::new(3);
    let request = append(1, EntryId::ORIGIN, &[1, 1], 0);
    assert_eq!(cluster.request(2, 1, request.clone()), []);
    assert_eq!(cluster.request(2, 1, append(1, at(1, 2), &[1], 0)), []);
    assert_eq!(cluster.request(2, 1, request), []);
    let first = cluster.unflushed(1)[0];
    cluster.persist_through(1, first);
    let answers = cluster.network.drain(..).map(|packet| match packet.message {
        Message::Response(response) => result(response),
        Message::Request(_) => panic!("{packet:?}"),
    });
    assert_eq!(answers.collect::<Vec<_>>(), [matched(2), matched(2)], "the third waits for another flush");
    // A heartbeat that follows an entry that is not durable yet claims only what is durable.
    assert_eq!(result(cluster.request(2, 1, append(1, at(1, 3), &[], 0))[0]), matched(2));
}

#[test]
fn one_node_leads_and_commits_alone() {
    let mut cluster = Cluster::new(1);
    cluster.tick(1, LONG);
    assert!(cluster.network.is_empty());
    cluster.settle();
    assert_eq!(cluster.leaders(), [(1, 1)]);
    let read = cluster.read(1);
    assert_eq!(cluster.reads[&read], ReadOutcome::ReadAt { id: read, index: index(1) });
    cluster.tick(1, 10 * LONG);
    assert_eq!(cluster.leaders(), [(1, 1)]);
}

#[test]
fn a_read_before_the_own_first_commit_of_one_node_waits_for_the_disk() {
    let mut cluster = Cluster::new(1);
    cluster.tick(1, LONG);
    cluster.persist(1);
    let read = cluster.read(1);
    assert!(!cluster.reads.contains_key(&read));
    cluster.persist(1);
    assert!(cluster.reads.contains_key(&read));
}

#[test]
fn a_read_at_a_node_that_does_not_lead_is_lost_at_once() {
    let mut cluster = Cluster::new(3);
    let read = cluster.read(2);
    assert_eq!(cluster.reads[&read], ReadOutcome::Lost { id: read });
}

#[test]
fn a_follower_far_behind_is_brought_up_in_bounded_messages() {
    let mut cluster = Cluster::new(3);
    cluster.isolate(3);
    cluster.elect(1);
    for _ in 0..200 {
        cluster.propose(1, 500);
        cluster.settle();
    }
    cluster.heal();
    cluster.run(LONG);
    assert_eq!(cluster.raft(3).commit(), cluster.raft(1).last().index);
    assert_eq!(cluster.raft(3).last().index, index(100_001));
    cluster.assert_idle();
}

#[test]
fn a_busy_answer_is_no_loss() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, 4);
    // Node 3 has no credit for entries, and its response says so.
    let refused = |packet: &crate::cluster::Packet| {
        matches!(&packet.message, Message::Request(_)) && packet.to == id(3)
    };
    let place = cluster.network.iter().position(refused).expect("entries for node 3");
    let packet = cluster.network.remove(place).expect("a packet");
    let Message::Request(Request::AppendEntries(request)) = packet.message else { panic!() };
    let busy = lograft_raft::AppendEntriesResponse {
        term: term(1),
        request_id: request.request_id,
        read_round: 0,
        result: AppendResult::Busy { match_index: request.prev.index },
    };
    cluster.step(1, Input::Response { from: id(3), response: Response::AppendEntries(busy) });
    cluster.settle();
    assert_eq!(cluster.raft(1).commit(), index(5));
    assert_eq!(cluster.raft(3).last().index, index(1));
    cluster.run(2 * test_config(id(1)).heartbeat_ticks);
    assert_eq!(cluster.raft(3).commit(), index(5));
}
