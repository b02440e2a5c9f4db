//! The checker can fail: impossible histories, each with the complaint it must cause.

use crate::check::{Kind, check};
use crate::history::{Ask, Found, Heard, Operation};

fn operation(times: (i64, i64), ask: Ask, heard: Heard) -> Operation {
    Operation {
        client: 0,
        node: 0,
        life: Some(1),
        by: "gRPC",
        key: "k".to_owned(),
        ask,
        heard,
        asked_at: times.0,
        heard_at: times.1,
    }
}

fn found(value: &str, revision: u64) -> Found {
    Some((value.to_owned(), revision))
}

fn set(times: (i64, i64), value: &str, replaced: Found, revision: u64) -> Operation {
    let ask = Ask::Set { value: value.to_owned(), only_if: None };
    operation(times, ask, Heard::Applied { replaced, revision })
}

fn get(times: (i64, i64), found: Found, revision: u64) -> Operation {
    operation(times, Ask::Get { serializable: false }, Heard::Got { found, revision })
}

fn unknown(times: (i64, i64), ask: Ask) -> Operation {
    operation(times, ask, Heard::Unknown { why: "no answer".to_owned() })
}

fn unknown_set(times: (i64, i64), value: &str) -> Operation {
    unknown(times, Ask::Set { value: value.to_owned(), only_if: None })
}

fn kinds(operations: &[Operation]) -> Vec<Kind> {
    let mut kinds: Vec<_> =
        check(operations).complaints.into_iter().map(|complaint| complaint.kind).collect();
    kinds.dedup();
    kinds
}

#[test]
fn what_happened_in_some_order_is_linearizable() {
    let history = [
        set((0, 10), "a", None, 2),
        // Concurrent: the second came first.
        set((20, 90), "b", found("c", 3), 4),
        set((30, 80), "c", found("a", 2), 3),
        get((85, 95), found("b", 4), 4),
        operation((96, 97), Ask::Delete { only_if: Some(3) }, Heard::Mismatch { found: 4 }),
        operation(
            (98, 99),
            Ask::Delete { only_if: Some(4) },
            Heard::Applied { replaced: found("b", 4), revision: 5 },
        ),
        get((100, 110), None, 5),
    ];
    assert_eq!(kinds(&history), []);
}

#[test]
fn a_stale_read_is_not_linearizable() {
    let history =
        [set((0, 10), "a", None, 2), set((20, 30), "b", found("a", 2), 3), get((40, 50), found("a", 2), 3)];
    assert!(kinds(&history).contains(&Kind::NotLinearizable));
}

#[test]
fn a_stale_read_at_a_stale_revision_is_seen_twice() {
    let history =
        [set((0, 10), "a", None, 2), set((20, 30), "b", found("a", 2), 3), get((40, 50), found("a", 2), 2)];
    let kinds = kinds(&history);
    assert!(kinds.contains(&Kind::NotLinearizable) && kinds.contains(&Kind::BackInTime), "{kinds:?}");
}

#[test]
fn a_lost_write_is_not_linearizable() {
    let history = [set((0, 10), "a", None, 2), get((20, 30), None, 7)];
    let kinds = kinds(&history);
    assert!(kinds.contains(&Kind::NotLinearizable) && kinds.contains(&Kind::Lost), "{kinds:?}");
}

#[test]
fn an_unknown_write_may_have_happened_or_not() {
    let begin = set((0, 10), "a", None, 2);
    let maybe = unknown_set((20, 30), "b");
    assert_eq!(kinds(&[begin.clone(), maybe.clone(), get((40, 50), found("a", 2), 2)]), []);
    assert_eq!(kinds(&[begin.clone(), maybe.clone(), get((40, 50), found("b", 3), 3)]), []);
    // It may happen late, but it must not be undone.
    let late =
        [begin.clone(), maybe.clone(), get((40, 50), found("a", 2), 2), get((60, 70), found("b", 3), 3)];
    assert_eq!(kinds(&late), []);
    let undone = [begin, maybe, get((40, 50), found("b", 3), 3), get((60, 70), found("a", 2), 3)];
    assert!(kinds(&undone).contains(&Kind::NotLinearizable));
}

#[test]
fn an_unknown_delete_may_have_happened_or_not_but_only_once() {
    let begin = set((0, 10), "a", None, 2);
    let maybe = unknown((20, 30), Ask::Delete { only_if: None });
    assert_eq!(kinds(&[begin.clone(), maybe.clone(), get((40, 50), found("a", 2), 2)]), []);
    assert_eq!(kinds(&[begin.clone(), maybe.clone(), get((40, 50), None, 3)]), []);
    let twice = [begin, maybe, get((40, 50), None, 3), set((60, 70), "b", None, 4), get((80, 90), None, 5)];
    assert!(kinds(&twice).contains(&Kind::NotLinearizable));
}

#[test]
fn an_unknown_write_with_a_condition_happens_only_where_it_holds() {
    let begin = set((0, 10), "a", None, 2);
    let next = set((20, 30), "b", found("a", 2), 3);
    let maybe = unknown((40, 50), Ask::Set { value: "c".to_owned(), only_if: Some(2) });
    assert_eq!(kinds(&[begin.clone(), next.clone(), maybe.clone(), get((60, 70), found("b", 3), 3)]), []);
    assert!(kinds(&[begin, next, maybe, get((60, 70), found("c", 4), 4)]).contains(&Kind::NotLinearizable));
}

#[test]
fn an_unknown_delete_may_be_what_an_unknown_write_needed() {
    let begin = set((0, 10), "a", None, 2);
    let delete = unknown((20, 30), Ask::Delete { only_if: None });
    let only_if_absent = unknown((40, 50), Ask::Set { value: "b".to_owned(), only_if: Some(0) });
    let read = get((60, 70), found("b", 4), 4);
    assert_eq!(kinds(&[begin.clone(), delete, only_if_absent.clone(), read.clone()]), []);
    assert_eq!(kinds(&[begin, only_if_absent, read]), [Kind::NotLinearizable]);
}

#[test]
fn a_value_that_nobody_wrote_or_that_was_refused_cannot_be_read() {
    let ask = Ask::Set { value: "a".to_owned(), only_if: None };
    let refused = operation((0, 10), ask, Heard::Refused { why: "no leader".to_owned() });
    assert_eq!(kinds(&[refused, get((20, 30), found("a", 2), 2)]), [Kind::NotLinearizable]);
}

#[test]
fn a_write_that_replaced_what_was_replaced_before_is_not_linearizable() {
    let history = [
        set((0, 10), "a", None, 2),
        set((20, 30), "b", found("a", 2), 3),
        set((40, 50), "c", found("a", 2), 4),
    ];
    assert_eq!(kinds(&history), [Kind::NotLinearizable]);
}

#[test]
fn a_condition_that_held_cannot_have_failed() {
    let history = [
        set((0, 10), "a", None, 2),
        operation((20, 30), Ask::Delete { only_if: Some(2) }, Heard::Mismatch { found: 0 }),
    ];
    assert_eq!(kinds(&history), [Kind::NotLinearizable]);
}

#[test]
fn a_serializable_read_may_be_behind_but_never_goes_back_in_one_life() {
    let serializable = |times, found, revision| {
        operation(times, Ask::Get { serializable: true }, Heard::Got { found, revision })
    };
    let writes = [set((0, 10), "a", None, 2), set((20, 30), "b", found("a", 2), 3)];
    let behind = serializable((40, 50), found("a", 2), 2);
    assert_eq!(kinds(&[writes[0].clone(), writes[1].clone(), behind.clone()]), []);
    let ahead = serializable((32, 34), found("b", 3), 3);
    let back = [writes[0].clone(), writes[1].clone(), ahead.clone(), behind.clone()];
    assert_eq!(kinds(&back), [Kind::BackInTime]);
    let another_life = Operation { life: Some(2), ..behind };
    assert_eq!(kinds(&[writes[0].clone(), writes[1].clone(), ahead, another_life]), []);
}

#[test]
fn a_read_must_show_what_its_revision_holds() {
    let stale = operation(
        (40, 50),
        Ask::Get { serializable: true },
        Heard::Got { found: found("a", 2), revision: 3 },
    );
    let history = [set((0, 10), "a", None, 2), set((20, 30), "b", found("a", 2), 3), stale];
    assert_eq!(kinds(&history), [Kind::BackInTime]);
}

#[test]
fn a_revision_names_one_write() {
    let other = Operation { key: "other".to_owned(), ..set((0, 30), "b", None, 2) };
    assert_eq!(kinds(&[set((0, 10), "a", None, 2), other]), [Kind::Revision]);
}
