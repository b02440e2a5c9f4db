//! Tests of the output formats: scripts read them.

use super::*;

fn kv(key: &str, value: &str) -> v1::KeyValue {
    v1::KeyValue {
        key: key.to_owned(),
        value: value.to_owned(),
        create_revision: 2,
        mod_revision: 3,
        version: 2,
    }
}

fn header_3() -> Option<v1::Header> {
    Some(v1::Header { cluster_id: 0xc, node_id: 0xa, term: 4, revision: 3 })
}

fn parse(text: &str) -> Value {
    assert_eq!(text.lines().count(), 1, "one document is one line: {text:?}");
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_get_prints_the_key_line_then_the_value_line() {
    let answer = v1::GetResponse { header: header_3(), kv: Some(kv("greeting", "hello")) };
    assert_eq!(get(Format::Simple, answer.clone(), false), "greeting\nhello\n");
    assert_eq!(get(Format::Simple, answer.clone(), true), "hello\n");
    let document = parse(&get(Format::Json, answer, false));
    assert_eq!(
        document,
        json!({
            "header": {"cluster_id": "12", "node_id": "10", "term": 4, "revision": 3},
            "kv": {"key": "greeting", "value": "hello", "create_revision": 2, "mod_revision": 3, "version": 2},
        })
    );
}

#[test]
fn a_missing_key_prints_nothing() {
    let answer = v1::GetResponse { header: header_3(), kv: None };
    assert_eq!(get(Format::Simple, answer.clone(), false), "");
    assert_eq!(get(Format::Simple, answer.clone(), true), "");
    assert_eq!(get(Format::Table, answer.clone(), false), "");
    assert!(parse(&get(Format::Json, answer, false)).get("kv").is_none());
}

#[test]
fn a_set_prints_ok_and_what_was_before_if_asked() {
    let answer = v1::SetResponse { header: header_3(), prev_kv: None };
    assert_eq!(set(Format::Simple, answer), "OK\n");
    let answer = v1::SetResponse { header: header_3(), prev_kv: Some(kv("k", "old")) };
    assert_eq!(set(Format::Simple, answer.clone()), "OK\nk\nold\n");
    assert_eq!(parse(&set(Format::Json, answer))["prev_kv"]["value"], "old");
}

#[test]
fn a_delete_prints_a_count() {
    let answer = v1::DeleteResponse { header: header_3(), deleted: 1, prev_kv: None };
    assert_eq!(del(Format::Simple, answer.clone()), "1\n");
    assert_eq!(parse(&del(Format::Json, answer))["deleted"], 1);
}

#[test]
fn a_list_prints_key_and_value_lines_or_only_keys() {
    let kvs = vec![kv("a", "1"), kv("b", "2")];
    let answer = v1::ListResponse { header: header_3(), kvs, more: true };
    assert_eq!(list(Format::Simple, answer.clone(), false), "a\n1\nb\n2\n");
    assert_eq!(list(Format::Simple, answer.clone(), true), "a\nb\n");
    let document = parse(&list(Format::Json, answer, true));
    assert_eq!(document["kvs"][1]["key"], "b");
    assert!(document["kvs"][1].get("value").is_none());
    assert_eq!(document["more"], true);
}

#[test]
fn a_table_survives_control_characters() {
    let answer = v1::ListResponse { header: header_3(), kvs: vec![kv("a", "1\n\u{1b}[2J")], more: false };
    let text = list(Format::Table, answer, false);
    assert!(text.contains(r"1\n\u{1b}[2J"), "{text}");
    assert!(text.lines().all(|line| line.starts_with(['|', '+'])), "{text}");
}

#[test]
fn a_status_names_the_leader_and_tells_who_did_not_answer() {
    let answer = v1::StatusResponse {
        header: header_3(),
        name: "n1".to_owned(),
        role: "follower".to_owned(),
        leader_id: 0xb,
        members: vec![v1::Member { id: 0xb, name: "n2".to_owned(), ..Default::default() }],
        ..Default::default()
    };
    let down = Error::BadConnection("b:2: Connection refused".to_owned());
    let answers = [("a:1".to_owned(), Ok(answer)), ("b:2".to_owned(), Err(down))];
    let simple = status(Format::Simple, &answers);
    assert!(simple.starts_with("a:1, n1, follower, leader n2, term 4, "), "{simple}");
    assert_eq!(simple.lines().count(), 1);
    let document = parse(&status(Format::Json, &answers));
    assert_eq!(document[0]["status"]["leader_id"], "11");
    assert!(document[1]["error"].as_str().unwrap().contains("Connection refused"));
    assert!(status(Format::Table, &answers).contains("| n2"));
}

#[test]
fn a_table_of_status_keeps_a_node_that_is_down_and_tells_of_a_full_disk() {
    let member = v1::Member {
        name: "n2".to_owned(),
        client_urls: vec!["http://b:2".to_owned()],
        ..Default::default()
    };
    let answer = v1::StatusResponse { disk_full: true, members: vec![member], ..Default::default() };
    let down = || Err(Error::BadConnection("b:2: Connection refused".to_owned()));
    let answers = [("a:1".to_owned(), Ok(answer)), ("b:2".to_owned(), down()), ("c:3".to_owned(), down())];
    let table = status(Format::Table, &answers);
    let row = |endpoint: &str| table.lines().find(|row| row.contains(endpoint)).unwrap_or_default();
    assert!(row("a:1").contains("| FULL |"), "{table}");
    assert!(row("b:2").contains("| n2 ") && row("b:2").contains("| unreachable |"), "{table}");
    assert!(row("c:3").contains("| unreachable |"), "{table}");
}

#[test]
fn a_status_tells_of_a_member_that_has_lost_data() {
    let member = |id, losses| v1::Member { id, name: format!("n{id}"), losses, ..Default::default() };
    let header = |node_id| Some(v1::Header { node_id, ..Default::default() });
    let leader = v1::StatusResponse {
        header: header(1),
        members: vec![member(1, 0), member(2, 3)],
        ..Default::default()
    };
    let forgetful = v1::StatusResponse { header: header(2), ..Default::default() };
    let answers = [("a:1".to_owned(), Ok(leader)), ("b:2".to_owned(), Ok(forgetful))];
    let lines = status(Format::Simple, &answers);
    assert_eq!(lines.matches("HAS LOST DATA").count(), 1);
    assert!(lines.lines().next().is_some_and(|line| line.ends_with(", n2 HAS LOST DATA")), "{lines}");
    let table = status(Format::Table, &answers);
    let row = table.lines().find(|row| row.contains("b:2")).expect("a row for each node");
    assert!(row.contains("HAS LOST DATA"), "{table}");
    assert_eq!(table.matches("HAS LOST DATA").count(), 1);
}

#[test]
fn a_health_names_each_endpoint_and_what_is_wrong() {
    let down = Err(Error::BadConnection("b:2: Connection refused".to_owned()));
    let answers = [("a:1".to_owned(), Ok(v1::GetResponse::default())), ("b:2".to_owned(), down)];
    let expected = "a:1, healthy\nb:2, unhealthy: cannot connect: b:2: Connection refused\n";
    assert_eq!(health(Format::Simple, &answers), expected);
    let document = parse(&health(Format::Json, &answers));
    assert_eq!((&document[0]["health"], &document[1]["health"]), (&json!(true), &json!(false)));
    assert!(document[1]["error"].as_str().unwrap().contains("Connection refused"));
    assert!(health(Format::Table, &answers).contains("| unhealthy |"));
}
