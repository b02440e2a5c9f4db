//! Tests that hold the core to sentences of the Raft paper (extended version), and to its figures 7 and 8. Each test
//! quotes its sentence.

use lograft_raft::{
    AppendEntries, AppendResult, Config, Input, Outgoing, Request, RequestVote, RequestVoteResponse,
    Response, RoleName,
};
use lograft_types::{EntryId, EntryMeta, HardState, LogIndex};

use crate::cluster::{Cluster, LONG, Message, TIMEOUT, id, index, log_of, term, test_config};

pub(crate) fn at(entry_term: u64, entry_index: u64) -> EntryId {
    EntryId::new(term(entry_term), index(entry_index))
}

/// A leader's request: entries with these terms, after `prev`.
pub(crate) fn append(leader_term: u64, prev: EntryId, terms: &[u64], commit: u64) -> Request {
    let ids = terms.iter().zip(prev.index.get() + 1..).map(|(&t, i)| at(t, i));
    Request::AppendEntries(AppendEntries {
        term: term(leader_term),
        prev,
        entries: ids.map(|id| EntryMeta { id, size_bytes: 10 }).collect(),
        commit: index(commit),
        request_id: 1,
        read_round: 0,
        clipped: false,
    })
}

pub(crate) fn heartbeat(leader_term: u64) -> Request {
    append(leader_term, EntryId::ORIGIN, &[], 0)
}

pub(crate) fn vote(candidate_term: u64, last: EntryId) -> Request {
    let request =
        RequestVote { term: term(candidate_term), last, pre_vote: false, leadership_transfer: false };
    Request::RequestVote(request)
}

pub(crate) fn granted(response: Response) -> bool {
    match response {
        Response::RequestVote(vote) => vote.granted,
        Response::AppendEntries(_) => panic!("expected a response to a vote request"),
    }
}

pub(crate) fn result(response: Response) -> AppendResult {
    match response {
        Response::AppendEntries(append) => append.result,
        Response::RequestVote(_) => panic!("expected a response to an append"),
    }
}

pub(crate) fn matched(match_index: u64) -> AppendResult {
    AppendResult::Matched { match_index: index(match_index) }
}

/// A cluster whose node 1 has this role, in term 1 (leader or candidate) or 0.
fn in_role(role: RoleName) -> Cluster {
    let mut cluster = Cluster::new(3);
    match role {
        RoleName::Follower => {}
        RoleName::PreCandidate => cluster.start_campaign(1),
        RoleName::Candidate => {
            cluster.start_campaign(1);
            cluster.deliver_all();
            cluster.persist(1);
        }
        RoleName::Leader => cluster.elect(1),
    }
    cluster.network.clear();
    assert_eq!(cluster.raft(1).role(), role);
    cluster
}

const ROLES: [RoleName; 4] =
    [RoleName::Follower, RoleName::PreCandidate, RoleName::Candidate, RoleName::Leader];

/// §5.1: "if one server's current term is smaller than the other's, then it updates its current term to the larger
/// value. If a candidate or leader discovers that its term is out of date, it immediately reverts to follower state."
#[test]
fn section_5_1_a_higher_term_is_adopted_in_every_role() {
    for role in ROLES {
        let mut cluster = in_role(role);
        cluster.ask(2, 1, heartbeat(7));
        assert_eq!(cluster.raft(1).term(), term(7), "{role:?}");
        assert_eq!(cluster.raft(1).role(), RoleName::Follower, "{role:?}");
        assert_eq!(cluster.raft(1).leader(), Some(id(2)), "{role:?}");
    }
}

/// §5.1: "If a server receives a request with a stale term number, it rejects the request."
#[test]
fn section_5_1_a_stale_term_is_rejected() {
    let mut cluster = Cluster::with_logs(&[(5, &[1]), (5, &[1]), (5, &[1])]);
    assert!(matches!(result(cluster.ask(2, 1, append(4, at(1, 1), &[4], 1))), AppendResult::Conflict { .. }));
    assert!(!granted(cluster.ask(2, 1, vote(4, at(4, 9)))));
    assert_eq!(cluster.raft(1).last(), at(1, 1));
    assert_eq!(cluster.raft(1).leader(), None);
}

/// §5.2: "When servers start up, they begin as followers."
#[test]
fn section_5_2_a_node_starts_as_a_follower() {
    let cluster = Cluster::with_logs(&[(5, &[1, 5])]);
    assert_eq!(cluster.raft(1).role(), RoleName::Follower);
    assert_eq!(cluster.raft(1).hard_state(), HardState { term: term(5), vote: None });
    assert_eq!(cluster.raft(1).commit(), LogIndex::ZERO);
}

/// §5.2: "Leaders send periodic heartbeats (AppendEntries RPCs that carry no log entries) to all followers in order
/// to maintain their authority."
#[test]
fn section_5_2_a_leader_sends_heartbeats_to_all() {
    let mut cluster = in_role(RoleName::Leader);
    let interval = test_config(id(1)).heartbeat_ticks;
    cluster.tick(1, interval);
    let heartbeats = cluster.network.iter().filter(|packet| match &packet.message {
        Message::Request(Request::AppendEntries(append)) => append.entries.is_empty(),
        _ => false,
    });
    assert_eq!(heartbeats.map(|packet| packet.to).collect::<Vec<_>>(), [id(2), id(3)]);
    cluster.settle();
    cluster.run(10 * TIMEOUT);
    assert_eq!(cluster.leaders(), [(1, 1)]);
}

/// §5.2: "If a follower receives no communication over a period of time called the election timeout, then it assumes
/// there is no viable leader and begins an election to choose a new leader." And: "To begin an election, a follower
/// increments its current term and transitions to candidate state. It then votes for itself and issues RequestVote
/// RPCs in parallel to each of the other servers." Here a majority must grant a pre-vote first.
#[test]
fn section_5_2_a_follower_without_a_leader_begins_an_election() {
    let mut cluster = Cluster::new(3);
    cluster.start_campaign(1);
    assert_eq!(cluster.raft(1).term(), term(0));
    cluster.deliver_all();
    assert_eq!(cluster.raft(1).role(), RoleName::Candidate);
    assert_eq!(cluster.raft(1).hard_state(), HardState { term: term(1), vote: Some(id(1)) });
    assert!(cluster.network.is_empty(), "nothing is sent in a term that is not durable");
    cluster.persist(1);
    let asked: Vec<_> = cluster.network.iter().map(|packet| packet.to).collect();
    assert_eq!(asked, [id(2), id(3)]);
}

/// §5.2: "A candidate wins an election if it receives votes from a majority of the servers in the full cluster for
/// the same term."
#[test]
fn section_5_2_a_majority_of_votes_wins() {
    for (size, votes, wins) in
        [(3, 1, true), (3, 0, false), (5, 2, true), (5, 1, false), (4, 1, false), (4, 2, true)]
    {
        let mut cluster = Cluster::new(size);
        cluster.start_campaign(1);
        cluster.deliver_all();
        cluster.persist(1);
        cluster.network.clear();
        for voter in 2..2 + votes {
            let response = RequestVoteResponse { term: term(1), granted: true, pre_vote: false };
            cluster.step(1, Input::Response { from: id(voter), response: Response::RequestVote(response) });
        }
        assert_eq!(cluster.raft(1).is_leader(), wins, "{votes} votes of {size}");
    }
}

/// §5.2: "Each server will vote for at most one candidate in a given term, on a first-come-first-served basis."
#[test]
fn section_5_2_one_vote_a_term() {
    let mut cluster = Cluster::new(3);
    assert!(granted(cluster.ask(2, 1, vote(1, EntryId::ORIGIN))));
    assert!(!granted(cluster.ask(3, 1, vote(1, EntryId::ORIGIN))));
    assert!(granted(cluster.ask(2, 1, vote(1, EntryId::ORIGIN))), "the same candidate may ask again");
    assert!(granted(cluster.ask(3, 1, vote(2, EntryId::ORIGIN))), "another term");
}

/// §5.2: "If the leader's term (included in its RPC) is at least as large as the candidate's current term, then the
/// candidate recognizes the leader as legitimate and returns to follower state."
#[test]
fn section_5_2_a_candidate_recognizes_a_leader() {
    for role in [RoleName::PreCandidate, RoleName::Candidate] {
        let mut cluster = in_role(role);
        let same_term = cluster.raft(1).term().get();
        cluster.ask(2, 1, heartbeat(same_term));
        assert_eq!(cluster.raft(1).role(), RoleName::Follower);
        assert_eq!(cluster.raft(1).leader(), Some(id(2)));
    }
}

/// §5.2: "each candidate will time out and start a new election".
#[test]
fn section_5_2_a_candidate_times_out_and_starts_again() {
    let mut cluster = in_role(RoleName::Candidate);
    cluster.tick(1, LONG);
    assert_eq!(cluster.raft(1).role(), RoleName::PreCandidate);
    cluster.deliver_all();
    assert_eq!(cluster.raft(1).term(), term(2));
}

/// §5.2: "election timeouts are chosen randomly from a fixed interval", here [T, 1.5 T), anew each time.
#[test]
fn section_5_2_timeouts_are_random_in_their_interval() {
    let mut cluster = Cluster::new(3);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        cluster.ask(2, 1, heartbeat(1));
        let mut ticks = 0;
        while cluster.raft(1).role() == RoleName::Follower {
            cluster.tick(1, 1);
            ticks += 1;
        }
        cluster.network.clear();
        seen.insert(ticks);
    }
    assert_eq!(seen.first(), Some(&TIMEOUT));
    assert_eq!(seen.last(), Some(&(TIMEOUT + TIMEOUT / 2 - 1)));
    assert_eq!(seen.len() as u32, TIMEOUT / 2, "all of them occur");
}

/// §5.3: "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in parallel to
/// each of the other servers to replicate the entry." The RPCs do not wait for the leader's own flush (thesis
/// §10.2.1).
#[test]
fn section_5_3_a_leader_replicates_at_once() {
    let mut cluster = in_role(RoleName::Leader);
    let effects = cluster.propose(1, 2);
    let sent = |packet: &crate::cluster::Packet| match &packet.message {
        Message::Request(Request::AppendEntries(append)) => {
            (packet.to, append.prev, append.entries.iter().map(|entry| entry.id).collect::<Vec<_>>())
        }
        other => panic!("{other:?}"),
    };
    let entries = vec![at(1, 2), at(1, 3)];
    let sent: Vec<_> = cluster.network.iter().map(sent).collect();
    assert_eq!(sent, [(id(2), at(1, 1), entries.clone()), (id(3), at(1, 1), entries)]);
    assert!(effects.write.is_some());
    assert_eq!(effects.committed, None);
}

/// §5.3: "A log entry is committed once the leader that created the entry has replicated it on a majority of the
/// servers."
#[test]
fn section_5_3_a_majority_commits() {
    for (size, durable_at, commits) in [
        (3, &[1, 2][..], true),
        (3, &[2, 3], true),
        (3, &[1], false),
        (5, &[1, 2, 3], true),
        (5, &[2, 3], false),
    ] {
        let mut cluster = Cluster::new(size);
        cluster.elect(1);
        cluster.propose(1, 1);
        cluster.deliver_all();
        for &node in durable_at {
            cluster.persist(node);
        }
        cluster.deliver_all();
        assert_eq!(cluster.raft(1).commit() == index(2), commits, "{durable_at:?} of {size}");
    }
}

/// §5.3: "This also commits all preceding entries in the leader's log, including entries created by previous
/// leaders."
#[test]
fn section_5_3_a_commit_covers_all_that_precedes() {
    for terms in [&[][..], &[2], &[1, 2], &[1]] {
        let mut cluster = Cluster::with_logs(&[(2, terms), (2, &[]), (2, &[])]);
        cluster.elect(1);
        cluster.propose(1, 1);
        cluster.settle();
        let mut expected = terms.to_vec();
        expected.extend([3, 3]);
        for node in 1..=3 {
            assert_eq!(cluster.terms(node), expected);
            assert_eq!(cluster.raft(node).commit(), index(expected.len() as u64));
        }
    }
}

/// §5.3: "Once a follower learns that a log entry is committed, it applies the entry". It learns so without waiting
/// for the next heartbeat.
#[test]
fn section_5_3_followers_learn_of_a_commit_without_waiting_for_a_heartbeat() {
    let mut cluster = in_role(RoleName::Leader);
    cluster.propose(1, 3);
    cluster.settle();
    for node in 1..=3 {
        assert_eq!(cluster.raft(node).commit(), index(4));
    }
}

/// §5.3: "If the follower does not find an entry in its log with the same index and term, then it refuses the new
/// entries."
#[test]
fn section_5_3_a_follower_checks_the_previous_entry() {
    let cases = [
        (EntryId::ORIGIN, matched(0)),
        (at(1, 1), matched(1)),
        (at(2, 2), matched(2)),
        (at(1, 2), AppendResult::Conflict { conflict: at(1, 1) }),
        (at(3, 2), AppendResult::Conflict { conflict: at(2, 2) }),
        (at(3, 3), AppendResult::Conflict { conflict: at(2, 2) }),
    ];
    for (prev, expected) in cases {
        let mut cluster = Cluster::with_logs(&[(3, &[1, 2]), (3, &[]), (3, &[])]);
        assert_eq!(result(cluster.ask(2, 1, append(3, prev, &[], 0))), expected, "prev {prev}");
    }
}

/// §5.3: "If an existing entry conflicts with a new one (same index but different terms), delete the existing entry
/// and all that follow it", and "append any new entries not already in the log" (figure 2).
#[test]
fn section_5_3_a_follower_takes_what_is_new_and_drops_what_conflicts() {
    let cases: [(EntryId, &[u64], &[u64]); 5] = [
        (at(2, 2), &[3], &[1, 2, 3]),
        (at(1, 1), &[3, 4], &[1, 3, 4]),
        (EntryId::ORIGIN, &[1], &[1, 2]),
        (EntryId::ORIGIN, &[3], &[3]),
        (at(1, 1), &[2, 4], &[1, 2, 4]),
    ];
    for (prev, entries, expected) in cases {
        let mut cluster = Cluster::with_logs(&[(2, &[1, 2]), (2, &[]), (2, &[])]);
        let answer = cluster.ask(2, 1, append(4, prev, entries, 0));
        assert_eq!(result(answer), matched(prev.index.get() + entries.len() as u64));
        assert_eq!(cluster.terms(1), expected);
        cluster.crash(1);
        cluster.restart(1);
        assert_eq!(cluster.terms(1), expected, "what was acknowledged survives a crash");
    }
}

/// §5.3, figure 7: "The leader brings a follower's log into consistency with its own" in each of the cases (a)–(f).
#[test]
fn figure_7_a_leader_repairs_every_follower() {
    let leader: &[u64] = &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: [(&str, &[u64]); 6] = [
        ("a", &[1, 1, 1, 4, 4, 5, 5, 6, 6]),
        ("b", &[1, 1, 1, 4]),
        ("c", &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]),
        ("d", &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]),
        ("e", &[1, 1, 1, 4, 4, 4, 4]),
        ("f", &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]),
    ];
    for (name, follower) in followers {
        // The third node's vote elects the leader even where the follower's log is ahead.
        let mut cluster = Cluster::with_logs(&[(7, leader), (7, follower), (7, &[])]);
        cluster.elect(1);
        let expected = [leader, &[8]].concat();
        for node in 1..=3 {
            assert_eq!(cluster.terms(node), expected, "case ({name}), node {node}");
            assert_eq!(cluster.raft(node).commit(), index(11));
        }
        cluster.assert_idle();
    }
}

/// §5.3: "When rejecting an AppendEntries request, the follower can include the term of the conflicting entry and the
/// first index it stores for that term": one request per conflicting term, not one per entry.
#[test]
fn section_5_3_a_long_divergence_takes_a_round_a_term() {
    let ours: Vec<u64> = [vec![1; 10], vec![4; 300], vec![6; 300]].concat();
    let theirs: Vec<u64> = [vec![1; 10], vec![2; 300], vec![3; 300], vec![5; 300]].concat();
    let mut cluster = Cluster::with_logs(&[(7, &ours), (7, &theirs), (7, &[])]);
    cluster.win(1);
    let mut conflicts = 0;
    while let Some(packet) = cluster.network.pop_front() {
        if let Message::Response(Response::AppendEntries(append)) = &packet.message
            && packet.from == id(2)
        {
            conflicts += u32::from(matches!(append.result, AppendResult::Conflict { .. }));
        }
        cluster.deliver(packet);
    }
    assert!(conflicts <= 6, "{conflicts} rounds for five different terms");
    cluster.settle();
    assert_eq!(cluster.terms(2), cluster.terms(1));
}

/// §5.4.1: "the voter denies its vote if its own log is more up-to-date than that of the candidate": the last terms
/// are compared first, then the lengths.
#[test]
fn section_5_4_1_a_voter_wants_a_log_that_is_up_to_date() {
    let cases = [
        (&[1_u64][..], at(1, 1), true),
        (&[1], at(1, 2), true),
        (&[1, 1], at(1, 1), false),
        (&[1], at(2, 1), true),
        (&[1, 1], at(2, 1), true),
        (&[2], at(1, 9), false),
    ];
    for (terms, last, expected) in cases {
        let mut cluster = Cluster::with_logs(&[(2, terms), (2, &[]), (2, &[])]);
        assert_eq!(granted(cluster.ask(2, 1, vote(3, last))), expected, "{last} asks {terms:?}");
    }
}

/// §5.4.1: "The RPC includes information about the candidate's log".
#[test]
fn section_5_4_1_a_vote_request_carries_the_last_entry() {
    let mut cluster = Cluster::with_logs(&[(2, &[1, 2, 2]), (2, &[]), (2, &[])]);
    cluster.start_campaign(1);
    for packet in &cluster.network {
        let Message::Request(Request::RequestVote(vote)) = &packet.message else { panic!("{packet:?}") };
        assert_eq!((vote.term, vote.last, vote.pre_vote), (term(3), at(2, 3), true));
    }
}

/// §5.4.2: "Raft never commits log entries from previous terms by counting replicas. Only log entries from the
/// leader's current term are committed by counting replicas".
#[test]
fn section_5_4_2_an_old_entry_is_not_committed_by_counting() {
    let mut cluster = figure_8();
    figure_8_until_c(&mut cluster);
    for node in [1, 2, 3] {
        assert_eq!(cluster.raft(node).term_at(index(2)), Ok(term(2)), "a majority holds 2@2");
    }
    assert_eq!(cluster.raft(1).commit(), LogIndex::ZERO);
}

/// Figure 8 (d): S5 is elected with votes from S2, S3 and S4 and overwrites what S1 had on a majority.
#[test]
fn figure_8_d_an_entry_on_a_majority_is_overwritten() {
    let mut cluster = figure_8();
    figure_8_until_c(&mut cluster);
    cluster.crash(1);
    cluster.restart(5);
    cluster.elect(5);
    for node in [2, 3, 4, 5] {
        assert_eq!(cluster.terms(node), [1, 3, 5], "node {node}");
    }
    cluster.restart(1);
    cluster.run(LONG);
    assert_eq!(cluster.terms(1)[..3], [1, 3, 5]);
}

/// Figure 8 (e): once an entry of S1's own term is on a majority, the old entry is committed too, and S5 cannot win.
#[test]
fn figure_8_e_an_entry_of_the_own_term_commits_the_old_one() {
    let mut cluster = figure_8();
    figure_8_until_c(&mut cluster);
    cluster.run(2 * test_config(id(1)).heartbeat_ticks);
    assert_eq!(cluster.terms(3), [1, 2, 4]);
    assert_eq!(cluster.raft(1).commit(), index(3));
    cluster.crash(1);
    cluster.restart(5);
    cluster.start_campaign(5);
    cluster.settle();
    assert!(!cluster.raft(5).is_leader());
    cluster.run(4 * LONG);
    for node in [2, 3, 4, 5] {
        assert_eq!(cluster.terms(node)[..3], [1, 2, 4], "node {node}");
    }
}

fn figure_8() -> Cluster {
    let one_entry_a_message = |node| Config { max_append_entries: 1, ..test_config(node) };
    Cluster::with_config(&[(1, &[1]), (1, &[1]), (1, &[1]), (1, &[1]), (1, &[1])], one_entry_a_message)
}

/// Figure 8 (a) to (c). S4 and S5 take no part in (c).
fn figure_8_until_c(cluster: &mut Cluster) {
    // (a) S1 leads and partially replicates the entry at index 2.
    cluster.win(1);
    cluster.network.retain(|packet| packet.to == id(2));
    cluster.settle();
    assert_eq!(cluster.terms(2), [1, 2]);
    // (b) S1 crashes; S5 is elected for term 3 with votes from S3, S4 and itself, and takes another entry at index 2.
    cluster.crash(1);
    cluster.win(5);
    cluster.persist(5);
    assert_eq!(cluster.terms(5), [1, 3]);
    assert_eq!(cluster.terms(3), [1]);
    // (c) S5 crashes; S1 restarts, is elected, and continues to replicate to S3, but not its own first entry.
    cluster.crash(5);
    cluster.restart(1);
    cluster.win(1);
    assert_eq!(cluster.raft(1).term(), term(4));
    cluster.persist(1);
    cluster.isolate(4);
    cluster.cut_one_way(1, 2);
    cluster.network.retain(|packet| packet.to == id(3));
    while cluster.raft(1).progress(id(3)).map(|(match_index, _)| match_index) != Some(index(2)) {
        if !cluster.deliver_one() {
            cluster.persist(3);
        }
    }
    for peer in 2..=4 {
        cluster.step(1, Input::LinkLost { to: id(peer) });
    }
    cluster.network.clear();
    cluster.heal();
    assert_eq!(cluster.terms(3), [1, 2]);
}

/// §5.5: "Raft RPCs are idempotent": a repeated request changes nothing and gets the same response.
#[test]
fn section_5_5_a_repeated_request_does_no_harm() {
    let mut cluster = Cluster::with_logs(&[(1, &[1]), (1, &[]), (1, &[])]);
    let request = append(2, at(1, 1), &[2, 2], 2);
    let first = cluster.ask(2, 1, request.clone());
    let again = cluster.ask(2, 1, request);
    assert_eq!(first, again);
    assert_eq!(cluster.terms(1), [1, 2, 2]);
    assert_eq!(log_of(&[1, 2, 2]).len() as u64, cluster.raft(1).last().index.get());
    let effects = cluster.step(1, Input::Tick);
    assert_eq!(effects.messages, Vec::<Outgoing>::new());
}

/// §8: "it should commit a blank no-op entry at the start of its term", before anything else.
#[test]
fn section_8_a_leader_begins_with_an_entry_of_its_own() {
    let mut cluster = Cluster::with_logs(&[(2, &[1, 2]), (2, &[1]), (2, &[])]);
    cluster.elect(1);
    assert_eq!(cluster.terms(1), [1, 2, 3]);
    assert_eq!(cluster.raft(1).commit(), index(3));
}
