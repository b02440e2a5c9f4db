//! What is applied to the map, and what stops a node instead.

use bytes::Bytes;

use crate::testing::*;
use crate::*;

#[test]
fn a_waiter_whose_entry_was_replaced_hears_that_it_was_not_applied() {
    let mut bench = of_three();
    bench.elect();
    let term = bench.node.raft().term().get();
    let token = bench.ask(set("a", "1"));
    bench.persist();
    let other = vec![entry(term + 1, 2, payload("b", "2"))];
    assert_eq!(bench.peer(N2, append(N2, term + 1, (term, 1), other, 2)), None);
    bench.persist();
    assert_eq!(bench.error(token), Some(&RequestError::Replaced));
    assert_eq!(bench.node.store().get(b"a"), None);
}

#[test]
fn a_command_that_the_state_machine_does_not_know_stops_the_node() {
    let mut bench = of_three();
    let unknown = Bytes::from_static(br#"{"command":"SWAP","key":"a","value":"b"}"#);
    bench.peer(N2, append(N2, 1, (0, 0), vec![entry(1, 1, unknown)], 0));
    bench.persist();
    assert_eq!(bench.halt, None, "it is not committed yet");
    bench.peer(N2, append(N2, 1, (1, 1), Vec::new(), 1));
    assert!(matches!(bench.halt, Some(HaltReason::UnknownCommand { .. })), "{:?}", bench.halt);
}

#[test]
fn what_is_no_longer_in_memory_is_read_back_from_the_log() {
    let stored: Vec<_> = (1..=3).map(|index| entry(1, index, payload("k", &index.to_string()))).collect();
    let recovered = recovered(1, &stored);
    let mut bench = Bench::recovered(&[N1, N2, N3], &recovered, Limits::default());
    bench.peer(N2, append(N2, 2, (1, 3), Vec::new(), 3));
    let load = bench.load.expect("the entries are asked for");
    assert_eq!((load.first, load.last), (LogIndex::new(1), LogIndex::new(3)));
    bench.turn([Event::Loaded { entries: Ok(stored) }]);
    assert_eq!(bench.node.store().get(b"k").expect("applied").value, "3");
    assert!(bench.node.is_idle());
}

#[test]
fn a_turn_applies_only_so_much_and_asks_for_another() {
    let limits = Limits { max_turn_bytes: 300, ..Limits::default() };
    let mut bench = Bench::recovered(&[N1, N2, N3], &recovered(0, &[]), limits);
    let entries: Vec<_> = (1..=9).map(|index| entry(1, index, payload("k", &index.to_string()))).collect();
    bench.peer(N2, append(N2, 1, (0, 0), entries, 9));
    let mut turns = 1;
    let mut applied = bench.node.applied();
    assert!(applied > LogIndex::ZERO);
    while bench.unfinished {
        bench.turn([]);
        assert!(bench.node.applied() > applied, "each turn applies something");
        applied = bench.node.applied();
        turns += 1;
    }
    assert_eq!(applied, LogIndex::new(9));
    assert!((3..9).contains(&turns), "{turns} turns");
}

#[test]
fn the_log_is_asked_for_nothing_that_it_may_not_have_appended_yet() {
    let stored: Vec<_> = (1..=3).map(|index| entry(1, index, payload("k", &index.to_string()))).collect();
    let recovered = recovered(1, &stored);
    let mut bench = Bench::recovered(&[N1, N2, N3], &recovered, Limits::default());
    // Entry 3 is replaced and committed by the others, but the log still holds the old one.
    let others = entry(2, 3, payload("k", "another"));
    bench.peer(N2, append(N2, 2, (1, 2), vec![others], 3));
    let load = bench.load.expect("the first entries are asked for");
    assert_eq!((load.first, load.last), (LogIndex::new(1), LogIndex::new(2)));
    bench.turn([Event::Loaded { entries: Ok(stored[..2].to_vec()) }]);
    assert_eq!(bench.halt, None);
    assert_eq!(bench.node.store().get(b"k").expect("applied").value, "another");
}

#[test]
fn a_turn_lists_only_so_many_keys_and_asks_for_another() {
    let mut bench = alone();
    for number in 0..1000 {
        bench.ask(set(&format!("k{number:03}"), "v"));
    }
    bench.persist();
    bench.client_responses.clear();
    for consistency in [Consistency::Serializable, Consistency::Linearizable] {
        let request = ClientRequest::List(ListRequest {
            prefix: Bytes::new(),
            start_after: Bytes::new(),
            limit: 1000,
            max_bytes: usize::MAX,
            keys_only: true,
            consistency,
        });
        let events: Vec<_> = (0..250)
            .map(|_| Event::Client { token: bench.token(), request: request.clone(), timeout_ms: 5000 })
            .collect();
        bench.turn(events);
        let mut served = vec![bench.client_responses.len()];
        while bench.unfinished {
            bench.turn([]);
            served.push(bench.client_responses.len());
        }
        assert_eq!(served, [100, 200, 250], "{consistency:?}");
        assert!(bench.client_responses.drain(..).all(|(_, response)| response.is_ok()));
        assert!(bench.node.is_idle());
    }
}

#[test]
fn committed_entries_that_cannot_be_read_back_stop_the_node() {
    let recovered = recovered(1, &[entry(1, 1, payload("k", "v"))]);
    let mut bench = Bench::recovered(&[N1, N2, N3], &recovered, Limits::default());
    bench.peer(N2, append(N2, 2, (1, 1), Vec::new(), 1));
    bench.turn([Event::Loaded { entries: Err("a bad sector".to_owned()) }]);
    assert!(matches!(bench.halt, Some(HaltReason::UnreadableLog { .. })));
}

#[test]
fn what_comes_back_from_the_log_instead_of_what_is_committed_stops_the_node() {
    let stored: Vec<_> = (1..=2).map(|index| entry(1, index, payload("k", "v"))).collect();
    let instead = [
        ("nothing", vec![]),
        ("an entry of another term", vec![entry(2, 1, payload("k", "v"))]),
        ("a later entry", vec![stored[1].clone()]),
    ];
    for (what, entries) in instead {
        let mut bench = Bench::recovered(&[N1, N2, N3], &recovered(1, &stored), Limits::default());
        bench.peer(N2, append(N2, 2, (1, 2), Vec::new(), 2));
        bench.turn([Event::Loaded { entries: Ok(entries) }]);
        let first = LogIndex::new(1);
        assert!(
            matches!(&bench.halt, Some(HaltReason::UnreadableLog { first: at, .. }) if *at == first),
            "{what}: {:?}",
            bench.halt
        );
        assert_eq!(bench.node.applied(), LogIndex::ZERO, "{what}");
    }
}
