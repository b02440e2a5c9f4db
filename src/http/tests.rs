//! The HTTP API with a scripted node. The client port's tests use real connections.

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{Request, Response};
use lograft_node::limits::{Limits, MIB};
use lograft_node::{ClientRequest, Consistency, RequestError};
use lograft_types::{LogIndex, NodeId};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::dispatch;
use super::query::{Query, decode};
use crate::api::Api;
use crate::stub::{self, Script};

struct Edge {
    api: Api,
    script: Script,
}

impl Edge {
    fn new() -> Self {
        let (handle, script) = stub::node(Limits::default());
        Self { api: Api::new(handle, "1.2.3"), script }
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        self.request(request).await
    }

    async fn request(&self, request: Request<Body>) -> Answer {
        let (parts, body) = dispatch(self.api.clone(), request).await.into_parts();
        let body = axum::body::to_bytes(body, 16 * MIB).await.unwrap();
        let response = Response::from_parts(parts, ());
        Answer { response, body: String::from_utf8(body.into()).unwrap() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Body::empty()).await
    }
}

struct Answer {
    response: Response<()>,
    body: String,
}

impl Answer {
    fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    fn header(&self, name: &str) -> &str {
        self.response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!(self.header(CONTENT_TYPE.as_str()), "application/json", "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }

    #[track_caller]
    fn assert_error(&self, status: u16, code: &str, message: &str) {
        assert_eq!(self.status(), status, "{}", self.body);
        assert_eq!(self.json(), json!({ "code": code, "message": message }));
    }

    #[track_caller]
    fn assert_invalid(&self, message: &str) {
        self.assert_error(400, "INVALID_ARGUMENT", message);
    }
}

#[tokio::test]
async fn a_value_is_put_got_and_deleted() {
    let edge = Edge::new();
    let header =
        |revision: u64| json!({ "cluster_id": "193", "node_id": "171", "term": 3, "revision": revision });
    let put = edge.send("PUT", "/v1/kv/greeting", "hello").await;
    assert_eq!((put.status(), put.json()), (200, json!({ "header": header(2) })));

    let got = edge.get("/v1/kv/greeting").await;
    assert_eq!((got.status(), got.body.as_str()), (200, "hello"), "the value alone, without a line break");
    assert_eq!(got.header("content-type"), "text/plain; charset=utf-8");
    for (name, value) in [
        ("lograft-cluster-id", "193"),
        ("lograft-node-id", "171"),
        ("lograft-term", "3"),
        ("lograft-revision", "2"),
        ("lograft-create-revision", "2"),
        ("lograft-mod-revision", "2"),
        ("lograft-version", "1"),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }

    let kv =
        json!({ "key": "greeting", "value": "hello", "create_revision": 2, "mod_revision": 2, "version": 1 });
    let wants_document =
        Request::get("/v1/kv/greeting").header("accept", "text/html, application/json;q=0.9");
    let document = edge.request(wants_document.body(Body::empty()).unwrap()).await;
    assert_eq!(document.json(), json!({ "header": header(2), "kv": kv }));

    let deleted = edge.send("DELETE", "/v1/kv/greeting?prev_kv=true", "").await;
    assert_eq!(deleted.json(), json!({ "header": header(3), "deleted": 1, "prev_kv": kv }));
    let again = edge.send("DELETE", "/v1/kv/greeting", "").await;
    assert_eq!(again.json(), json!({ "header": header(3), "deleted": 0 }));
    let missing = edge.get("/v1/kv/greeting").await;
    missing.assert_error(404, "NOT_FOUND", "there is no such key");
    assert_eq!(missing.header("lograft-revision"), "3");
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let edge = Edge::new();
    edge.send("PUT", "/v1/kv/k", "hello").await;
    let head = edge.send("HEAD", "/v1/kv/k", "").await;
    assert_eq!((head.status(), head.body.as_str()), (200, ""));
    assert_eq!((head.header("content-length"), head.header("lograft-version")), ("5", "1"));
}

#[tokio::test]
async fn head_tells_the_length_that_get_would_have() {
    let edge = Edge::new();
    edge.send("PUT", "/v1/kv/k", "hello").await;
    for path in ["/v1/kv/k", "/v1/kv/none", "/v1/kv", "/v1/kv?limit=x", "/v1/status", "/livez", "/none"] {
        let get = edge.get(path).await;
        let head = edge.send("HEAD", path, "").await;
        assert_eq!((head.status(), head.body.as_str()), (get.status(), ""), "{path}");
        assert_eq!(head.header("content-length"), get.body.len().to_string(), "{path}");
    }
}

impl Edge {
    async fn with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &'static str) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.request(request.body(body.into()).unwrap()).await
    }

    async fn value(&self) -> String {
        let got = self.get("/v1/kv/k").await;
        if got.status() == 404 { "none".to_owned() } else { got.body }
    }
}

fn is_write(asked: &ClientRequest) -> bool {
    matches!(asked, ClientRequest::Write(_))
}

#[tokio::test]
async fn the_etag_is_the_mod_revision_and_a_condition_of_writes() {
    let edge = Edge::new();
    let path = "/v1/kv/k";
    let fails = "not applied: the condition does not hold: ";
    // The header, the write, what becomes of it, and what is stored afterwards.
    for (method, name, value, body, status, message, after) in [
        ("PUT", "if-match", "*", "a", 412, "If-Match is * (any value), but there is no such key", "none"),
        ("DELETE", "if-match", "*", "", 412, "If-Match is * (any value), but there is no such key", "none"),
        ("PUT", "if-match", "\"2\"", "a", 412, "If-Match is \"2\", but there is no such key", "none"),
        ("PUT", "if-none-match", "*", "b", 200, "", "b"),
        (
            "PUT",
            "if-none-match",
            "*",
            "c",
            412,
            "If-None-Match is * (no such key), but the key's ETag is \"2\"",
            "b",
        ),
        (
            "DELETE",
            "if-none-match",
            "*",
            "",
            412,
            "If-None-Match is * (no such key), but the key's ETag is \"2\"",
            "b",
        ),
        ("PUT", "if-match", "\"2\"", "d", 200, "", "d"),
        ("PUT", "if-match", "\"2\"", "e", 412, "If-Match is \"2\", but the key's ETag is \"3\"", "d"),
        ("PUT", "if-match", "*", "f", 200, "", "f"),
        ("DELETE", "if-match", "\"3\"", "", 412, "If-Match is \"3\", but the key's ETag is \"4\"", "f"),
        ("DELETE", "if-match", "\"4\"", "", 200, "", "none"),
        ("PUT", "if-none-match", "*", "g", 200, "", "g"),
        ("DELETE", "if-match", "*", "", 200, "", "none"),
    ] {
        let answer = edge.with(method, path, &[(name, value)], body).await;
        assert_eq!(edge.value().await, after, "{method} {name}: {value}");
        if status == 412 {
            answer.assert_error(412, "FAILED_PRECONDITION", &format!("{fails}{message}"));
            assert_eq!(answer.header("lograft-outcome"), "not-applied");
        }
        assert_eq!(answer.status(), status, "{method} {name}: {value}: {}", answer.body);
        if (name, value, status) == ("if-match", "*", 200) && method == "PUT" {
            let (asked, _) = edge.script.seen().into_iter().rfind(|(asked, _)| is_write(asked)).unwrap();
            let ClientRequest::Write(lograft_kv::Command::Set { if_mod_revision, .. }) = asked else {
                panic!()
            };
            assert!(if_mod_revision.is_some(), "another write in between would be overwritten");
        }
        if (method, status) == ("PUT", 200) {
            let etag = edge.get(path).await.header("etag").to_owned();
            assert_eq!((answer.header("etag"), etag.is_empty()), (etag.as_str(), false));
        }
    }
}

#[tokio::test]
async fn a_condition_that_a_write_cannot_have_is_refused_and_never_ignored() {
    let edge = Edge::new();
    edge.send("PUT", "/v1/kv/k", "kept").await;
    let plain = "/v1/kv/k";
    let of_match = |tag: &str| {
        format!("If-Match is {tag}, but of a write it must be * (the key exists) or one ETag, such as \"5\"")
    };
    let only_star = "If-None-Match is \"2\", but of a write it can only be * (no such key)".to_owned();
    for (path, headers, message) in [
        (plain, &[("if-match", "\"2\", \"3\"")][..], of_match("\"2\", \"3\"")),
        (plain, &[("if-match", "W/\"2\"")], of_match("W/\"2\"")),
        (plain, &[("if-match", "2")], of_match("2")),
        (plain, &[("if-match", "\"0\"")], of_match("\"0\"")),
        (plain, &[("if-match", "\"02\"")], of_match("\"02\"")),
        (plain, &[("if-match", "")], of_match("")),
        (plain, &[("if-none-match", "\"2\"")], only_star),
        (plain, &[("if-match", "\"2\""), ("if-match", "\"2\"")], "if-match is given twice: a write has one condition".into()),
        (plain, &[("if-match", "*"), ("if-none-match", "*")], "a write has one condition, not If-Match and If-None-Match".into()),
        ("/v1/kv/k?if_mod_revision=2", &[("if-match", "\"2\"")], "a write has one condition, not if_mod_revision and If-Match".into()),
        (
            plain,
            &[("if-unmodified-since", "Sat, 29 Oct 1994 19:43:31 GMT")],
            "If-Unmodified-Since cannot be a condition, because keys have no time of modification: use If-Match".into(),
        ),
    ] {
        for method in ["PUT", "DELETE"] {
            edge.with(method, path, headers, "overwritten").await.assert_invalid(&message);
            assert_eq!(edge.value().await, "kept");
        }
    }
}

#[tokio::test]
async fn a_read_of_what_the_client_has_gets_304() {
    let edge = Edge::new();
    edge.send("PUT", "/v1/kv/k", "hello").await;
    for (name, tags, status) in [
        ("if-none-match", "\"2\"", 304),
        ("if-none-match", "W/\"2\"", 304),
        ("if-none-match", "\"1\", \"2\"", 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"3\"", 200),
        ("if-none-match", "nonsense", 200),
        ("if-match", "\"2\"", 200),
        ("if-match", "*", 200),
        ("if-match", "W/\"2\"", 412),
        ("if-match", "\"3\"", 412),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = edge.with(method, "/v1/kv/k", &[(name, tags)], "").await;
            assert_eq!(answer.status(), status, "{method} {name}: {tags}");
            assert_eq!((answer.header("etag"), answer.header("lograft-mod-revision")), ("\"2\"", "2"));
            if status == 304 {
                assert_eq!((answer.body.as_str(), answer.header("content-length")), ("", ""));
            }
        }
        assert_eq!(edge.with("GET", "/v1/kv/none", &[(name, tags)], "").await.status(), 404);
    }
}

#[tokio::test]
async fn every_key_has_its_place_in_the_path() {
    let edge = Edge::new();
    for (path, key) in [
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("a%2fb/", "a/b/"),
        ("/", "/"),
        ("//a", "//a"),
        ("..", ".."),
        ("%2e%2e/x", "../x"),
        ("./.", "./."),
        ("%25", "%"),
        ("%2525", "%25"),
        ("%3F", "?"),
        ("a%23b", "a#b"),
        ("a+b", "a+b"),
        ("a%20b", "a b"),
        ("%00", "\0"),
        ("%F0%9D%84%9E", "𝄞"),
        ("k?", "k"),
    ] {
        edge.send("PUT", &format!("/v1/kv/{path}"), path.to_owned()).await;
        let seen = edge.script.seen();
        let ClientRequest::Write(lograft_kv::Command::Set { key: told, .. }) = &seen.last().unwrap().0 else {
            panic!("{seen:?}")
        };
        assert_eq!(told, key.as_bytes(), "{path}");
        assert_eq!(edge.get(&format!("/v1/kv/{path}")).await.body, path);
    }
}

proptest! {
    #[test]
    fn any_text_survives_the_way_through_a_path_and_a_query(text in "\\PC*|(?s).*") {
        let encoded = utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
        let uri: axum::http::Uri = format!("/v1/kv/{encoded}?prefix={encoded}").parse().unwrap();
        let key = decode("key", uri.path().strip_prefix("/v1/kv/").unwrap()).unwrap();
        prop_assert_eq!(&key, &text);
        let query = Query::parse(uri.query(), &["prefix"]).unwrap();
        prop_assert_eq!(query.text("prefix"), text);
    }

    #[test]
    fn no_path_or_query_makes_the_parsers_panic(raw in "[%&=+a-f0-9\\PC]*") {
        let _ = decode("key", &raw);
        if let Ok(query) = Query::parse(Some(&raw), &["a", "b"]) {
            let _ = (query.number("a"), query.flag("b"));
        }
    }
}

#[tokio::test]
async fn keys_and_values_outside_the_limits_are_invalid_with_both_numbers() {
    let edge = Edge::new();
    for method in ["GET", "PUT", "DELETE"] {
        edge.send(method, "/v1/kv/", "").await.assert_invalid("key is 0 bytes, the minimum is 1");
        let too_long = format!("/v1/kv/{}", "k".repeat(4097));
        let message = "key is 4097 bytes, the limit is 4096 (--max-key-bytes)";
        edge.send(method, &too_long, "").await.assert_invalid(message);
    }
    // With every byte percent-encoded, a key of exactly the limit still fits.
    let longest = format!("/v1/kv/{}", "%6b".repeat(4096));
    assert_eq!(edge.send("PUT", &longest, "v".repeat(MIB)).await.status(), 200);
    assert_eq!(edge.get(&longest).await.body.len(), MIB);
    let message = "value is 1048577 bytes, the limit is 1048576 (--max-value-bytes)";
    let too_large = edge.send("PUT", "/v1/kv/k", "v".repeat(MIB + 1)).await;
    too_large.assert_error(413, "INVALID_ARGUMENT", message);
    let declared =
        Request::put("/v1/kv/k").header("content-length", MIB + 1).header("expect", "100-continue");
    let untouched =
        Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let at_once = edge.request(declared.body(untouched).unwrap()).await;
    at_once.assert_error(413, "INVALID_ARGUMENT", message);
    assert_eq!(at_once.header("lograft-outcome"), "not-applied");
}

#[tokio::test]
async fn bytes_that_are_not_utf8_are_invalid() {
    let edge = Edge::new();
    let value = edge.send("PUT", "/v1/kv/k", vec![b'a', b'b', 0xff]).await;
    value.assert_invalid("value is not UTF-8: the byte at offset 2 is invalid");
    edge.get("/v1/kv/a%C3").await.assert_invalid("key is not UTF-8: the byte at offset 1 is invalid");
    let message =
        r#"key: "%" must be followed by two hexadecimal digits; the character itself is written %25"#;
    for path in ["/v1/kv/100%", "/v1/kv/%4", "/v1/kv/%zz"] {
        edge.get(path).await.assert_invalid(message);
    }
    assert_eq!(edge.script.seen(), [], "a refused request reached the node");
}

#[tokio::test]
async fn parameters_are_known_unambiguous_and_of_their_kind() {
    let edge = Edge::new();
    for (method, path, message) in [
        ("GET", "/v1/kv/k?linearizable=1", r#"unknown parameter "linearizable"; known here: serializable"#),
        ("PUT", "/v1/kv/k?ttl=5", r#"unknown parameter "ttl"; known here: if_mod_revision, prev_kv"#),
        ("GET", "/v1/status?x", r#"unknown parameter "x"; known here: none"#),
        ("GET", "/v1/kv?limit=1&limit=2", r#"parameter "limit" is given twice"#),
        (
            "GET",
            "/v1/kv/k?serializable=maybe",
            r#"parameter serializable is "maybe", but must be true or false"#,
        ),
        (
            "PUT",
            "/v1/kv/k?if_mod_revision=-1",
            r#"parameter if_mod_revision is "-1", but must be a number from 0 to 18446744073709551615"#,
        ),
        (
            "DELETE",
            "/v1/kv/k?if_mod_revision=%2B1",
            r#"parameter if_mod_revision is "+1", but must be a number from 0 to 18446744073709551615"#,
        ),
        ("GET", "/v1/kv?limit=1001", "limit is 1001 keys, the limit is 1000"),
        ("GET", "/v1/kv?limit=99999999999", "limit is 99999999999 keys, the limit is 1000"),
    ] {
        edge.send(method, path, "").await.assert_invalid(message);
    }
    assert_eq!(edge.script.seen(), [], "a refused request reached the node");
    edge.get("/v1/kv/k?serializable").await;
    let ClientRequest::Get { consistency, .. } = edge.script.seen().remove(0).0 else { panic!() };
    assert_eq!(consistency, Consistency::Serializable);
}

#[tokio::test]
async fn a_condition_that_does_not_hold_is_412_with_the_revision_found() {
    let edge = Edge::new();
    assert_eq!(edge.send("PUT", "/v1/kv/k?if_mod_revision=0", "v").await.status(), 200);
    let message = "not applied: the condition does not hold: if_mod_revision is 0 (no such key), \
                   but the key's mod_revision is 2";
    for method in ["PUT", "DELETE"] {
        let failed = edge.send(method, "/v1/kv/k?if_mod_revision=0", "w").await;
        failed.assert_error(412, "FAILED_PRECONDITION", message);
        assert_eq!(failed.header("lograft-found-mod-revision"), "2");
        assert_eq!(failed.header("lograft-outcome"), "not-applied");
    }
}

#[tokio::test]
async fn keys_are_listed_in_pages() {
    let edge = Edge::new();
    for key in ["a b", "a+", "a/1", "a/2", "b"] {
        let path = format!("/v1/kv/{}", utf8_percent_encode(key, NON_ALPHANUMERIC));
        edge.send("PUT", &path, key.to_owned()).await;
    }
    let keys = |answer: &Answer| -> Vec<String> {
        let kvs = answer.json()["kvs"].as_array().unwrap().clone();
        kvs.into_iter().map(|kv| kv["key"].as_str().unwrap().to_owned()).collect()
    };
    let page = edge.get("/v1/kv?prefix=a/&limit=1").await;
    assert_eq!((keys(&page), &page.json()["more"]), (vec!["a/1".to_owned()], &json!(true)));
    let page = edge.get("/v1/kv?prefix=a/&limit=1&start_after=a/1").await;
    assert_eq!((keys(&page), &page.json()["more"]), (vec!["a/2".to_owned()], &json!(false)));
    assert_eq!(keys(&edge.get("/v1/kv?prefix=a+b").await), ["a b"], "in a query a plus is a space");
    assert_eq!(keys(&edge.get("/v1/kv?prefix=a%2B").await), ["a+"]);
    let whole = edge.get("/v1/kv").await;
    assert_eq!(whole.json()["kvs"][4]["value"], "b");
    let bare = edge.get("/v1/kv?keys_only=true").await;
    assert_eq!(
        bare.json()["kvs"][4],
        json!({ "key": "b", "create_revision": 6, "mod_revision": 6, "version": 1 })
    );
}

#[tokio::test]
async fn each_error_of_the_node_has_its_status_and_says_what_is_certain() {
    let edge = Edge::new();
    let node = NodeId::new(7);
    let unknown = RequestError::UnknownOutcome { reason: "the leader was lost".to_owned() };
    let full_mailbox = RequestError::Overloaded { what: "max-pending-requests", limit: 9 };
    for (error, status, code, outcome) in [
        (full_mailbox, 429, "RESOURCE_EXHAUSTED", "not-applied"),
        (RequestError::DiskFull { node: "n2".to_owned() }, 507, "RESOURCE_EXHAUSTED", "not-applied"),
        (RequestError::NoLeader { waited_ms: 5 }, 503, "UNAVAILABLE", "not-applied"),
        (RequestError::NotLeader { node, leader: None }, 503, "UNAVAILABLE", "not-applied"),
        (RequestError::Replaced, 503, "UNAVAILABLE", "not-applied"),
        (RequestError::Refused("why".to_owned()), 503, "UNAVAILABLE", "not-applied"),
        (RequestError::ShuttingDown, 503, "UNAVAILABLE", "not-applied"),
        (RequestError::ReadTimedOut { waited_ms: 5 }, 503, "UNAVAILABLE", ""),
        (RequestError::ReadBehind { waited_ms: 5, applied: LogIndex::new(9) }, 503, "UNAVAILABLE", ""),
        (unknown, 503, "UNAVAILABLE", "unknown"),
    ] {
        edge.script.fail_with(error.clone());
        let answer = edge.send("PUT", "/v1/kv/k", "v").await;
        answer.assert_error(status, code, &error.to_string());
        assert_eq!(answer.header("lograft-outcome"), outcome);
    }
}

#[tokio::test]
async fn other_methods_and_paths_say_what_is_there() {
    let edge = Edge::new();
    for (path, allowed) in [
        ("/v1/kv/k", "GET, HEAD, PUT, DELETE"),
        ("/v1/kv", "GET, HEAD"),
        ("/v1/status", "GET, HEAD"),
        ("/livez", "GET, HEAD"),
    ] {
        let answer = edge.send("POST", path, "").await;
        answer.assert_error(405, "UNIMPLEMENTED", &format!("POST is not allowed here, only {allowed}"));
        assert_eq!(answer.header(ALLOW.as_str()), allowed);
    }
    assert_eq!(edge.send("PUT", "/v1/kv", "v").await.status(), 405);
    for path in ["/", "/v1", "/v1/kvs", "/v2/kv/k", "/readyz/"] {
        edge.get(path).await.assert_error(404, "NOT_FOUND", &format!("no such path: {path}"));
    }
}

#[tokio::test]
async fn probes_tell_a_living_node_from_one_that_serves() {
    let edge = Edge::new();
    for (path, body) in [("/livez", "ok\n"), ("/readyz", "ok\n"), ("/health", "{\"health\":\"true\"}\n")] {
        let answer = edge.get(path).await;
        assert_eq!((answer.status(), answer.body.as_str()), (200, body), "{path}");
    }
    assert_eq!(edge.get("/version").await.json(), json!({ "lograft": "1.2.3", "api": "v1" }));

    // A prober waits one second by default.
    for path in ["/readyz", "/health"] {
        edge.get(path).await;
        let (asked, timeout_ms) = edge.script.seen().pop().unwrap();
        assert!(asked == ClientRequest::Barrier && timeout_ms < 1000, "{path}: {timeout_ms} ms");
    }

    let why = RequestError::ReadTimedOut { waited_ms: 5000 };
    edge.script.fail_with(why.clone());
    edge.script.lose_leader(true);
    assert_eq!(edge.get("/livez").await.status(), 200, "a node without a leader is alive");
    let ready = edge.get("/readyz").await;
    assert_eq!((ready.status(), ready.body), (503, format!("{why}\n")));
    let health = edge.get("/health").await;
    assert_eq!(health.status(), 503);
    assert_eq!(health.json(), json!({ "health": "false", "reason": why.to_string() }));
    let verbose = edge.get("/readyz?verbose").await;
    let expected = format!(
        "[+]node n1 (follower)\n[-]leader unknown\n[+]applied 8 of 8 committed\n[+]disk has space\n\
         [-]linearizable read {why}\n"
    );
    assert_eq!((verbose.status(), verbose.body), (503, expected));
}

#[tokio::test]
async fn the_status_shows_ids_as_text_and_numbers_as_numbers() {
    let edge = Edge::new();
    let status = edge.get("/v1/status").await.json();
    assert_eq!(status["leader_id"], "171");
    assert_eq!(status["state_hash"], "0000000000000000000000000000beef");
    assert_eq!((&status["role"], &status["last_index"]), (&json!("leader"), &json!(9)));
    edge.script.lose_leader(true);
    assert_eq!(edge.get("/v1/status").await.json().get("leader_id"), None);
}
