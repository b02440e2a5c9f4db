//! Tests of `lograft log`.

use bytes::Bytes;

use super::*;
use lograft_types::{HardState, LogIndex, NodeId, Term};

fn record(kind: RecordKind, index: u64, term: u64, payload: &str) -> InspectedRecord {
    InspectedRecord {
        segment: 1,
        offset: 64,
        kind,
        index: LogIndex::new(index),
        term: Term::new(term),
        durable: 0,
        hard_state: None,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }
}

fn set(index: u64, term: u64) -> InspectedRecord {
    let payload = format!(r#"{{"command":"SET","key":"k{index}","value":"of term {term}"}}"#);
    record(RecordKind::Entry(EntryKind::Normal), index, term, &payload)
}

fn args(from: u64, limit: u64) -> LogArgs {
    LogArgs { dir: ".".into(), from, limit, records: false }
}

fn entries(records: &[InspectedRecord], args: &LogArgs) -> Vec<String> {
    let read = || records.iter().cloned().map(Ok);
    let mut lines = Vec::new();
    let live = live_entries(read());
    let mut print = |line| {
        lines.push(line);
        Ok(())
    };
    let problem = print_entries(read(), &live, args, &mut print).unwrap();
    assert!(problem.is_none());
    lines
}

#[test]
fn an_entry_is_a_line_with_its_command_as_the_log_holds_it() {
    let records = [record(RecordKind::Entry(EntryKind::NoOp), 1, 1, ""), set(2, 1)];
    assert_eq!(
        entries(&records, &args(0, 0)),
        [
            r#"{"index":1,"term":1,"command":null,"kind":"no-op"}"#,
            r#"{"index":2,"term":1,"command":"SET","key":"k2","value":"of term 1"}"#,
        ]
    );
}

#[test]
fn what_was_replaced_is_not_shown_nor_what_stood_after_it() {
    let records = [set(1, 1), set(2, 1), set(3, 1), set(2, 2)];
    let lines = entries(&records, &args(0, 0));
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains(r#""index":1,"term":1"#));
    assert!(lines[1].contains(r#""index":2,"term":2"#));
}

#[test]
fn what_stood_before_a_reset_is_not_shown() {
    let records = [set(1, 1), record(RecordKind::Reset, 10, 1, ""), set(11, 2)];
    let lines = entries(&records, &args(0, 0));
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains(r#""index":11"#));
}

#[test]
fn from_and_limit_count_entries() {
    let records = [set(1, 1), set(2, 1), set(3, 1), set(4, 1)];
    let lines = entries(&records, &args(2, 2));
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains(r#""index":2"#) && lines[1].contains(r#""index":3"#));
}

#[test]
fn every_line_is_json_whatever_the_payload_is() {
    for payload in ["", "{", "not json", "{}", "[1]", "{\"a\":\n1}", "\u{0}", r#"{"value":"a\nb"}"#] {
        for kind in [EntryKind::Normal, EntryKind::NoOp, EntryKind::Configuration] {
            let record = record(RecordKind::Entry(kind), 7, 3, payload);
            for line in [entry_line(kind, &record), record_line(&record)] {
                let parsed: serde_json::Value = serde_json::from_str(&line).expect(&line);
                assert_eq!(parsed["index"], 7, "{line}");
                assert!(!line.contains('\n'), "{line:?}");
            }
        }
    }
}

#[test]
fn records_show_terms_votes_and_places() {
    let mut state = record(RecordKind::HardState, 0, 4, "");
    state.hard_state = Some(HardState { term: Term::new(4), vote: Some(NodeId::new(0xa)) });
    let records = [state, record(RecordKind::SyncMarker, 0, 0, ""), set(1, 4)];
    let mut lines = Vec::new();
    let mut print = |line: String| {
        lines.push(serde_json::from_str::<serde_json::Value>(&line).unwrap());
        Ok(())
    };
    print_records(records.into_iter().map(Ok), &args(0, 0), &mut print).unwrap();
    assert_eq!(lines[0]["hard_state"], json!({"term": 4, "vote": "10"}));
    assert_eq!(lines[0]["record"], "hard-state");
    assert_eq!(lines[1]["record"], "sync-marker");
    assert_eq!(lines[2]["offset"], 64);
    assert_eq!(lines[2]["command"], "SET");
}
