//! For `tests/fuzz`: any bytes as requests on the client port.

use std::cell::RefCell;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri};
use lograft_node::ClientRequest;
use lograft_node::limits::{KIB, Limits};
use tokio::runtime::{Builder, Runtime};

use super::dispatch;
use super::keys::PREFIX;
use super::query::decode;
use crate::api::Api;
use crate::stub::{self, Script};

/// The most requests sent from one input.
const MAX_REQUESTS: usize = 8;

/// Any requests, one after another: the request line, header lines, an empty line, the body. A line of `---`
/// separates two requests.
///
/// Every request gets a response that is not an error of our own. Nothing that breaks a limit reaches the
/// node. A value that was put can be read back.
pub fn http(bytes: &[u8]) -> &'static str {
    thread_local! {
        static RUNTIME: RefCell<Runtime> = RefCell::new(
            Builder::new_current_thread().enable_time().build().expect("a runtime for one thread")
        );
    }
    RUNTIME.with(|runtime| runtime.borrow().block_on(play(bytes)))
}

async fn play(bytes: &[u8]) -> &'static str {
    let limits = Limits { max_key_bytes: 24, max_value_bytes: 64, max_list_keys: 10, ..Limits::default() };
    let (handle, script) = stub::node(limits);
    let api = Api::new(handle, "1.2.3");
    let mut reached = "no request";
    let mut rest = Some(bytes);
    for _ in 0..MAX_REQUESTS {
        let Some(next) = rest.take() else { break };
        let (one, others) = split_once(next, b"\n---\n");
        rest = others;
        let Some(request) = parse(one) else { continue };
        reached = exchange(&api, &script, request, &limits).await;
    }
    // The scripted node ends with its last handle, so that nothing of this input is left for the next one.
    drop(api);
    tokio::task::yield_now().await;
    reached
}

/// The request, if an HTTP server would accept it as one.
fn parse(bytes: &[u8]) -> Option<Request<Vec<u8>>> {
    let (head, body) = split_once(bytes, b"\n\n");
    let mut lines = head.split(|byte| *byte == b'\n');
    let (method, target) = split_once(lines.next()?, b" ");
    let mut request = Request::builder().method(method).uri(target?);
    for line in lines {
        let (name, value) = split_once(line, b": ");
        request = request.header(name, value?);
    }
    request.body(body.unwrap_or_default().to_vec()).ok()
}

fn split_once<'a>(bytes: &'a [u8], separator: &[u8]) -> (&'a [u8], Option<&'a [u8]>) {
    let at = bytes.windows(separator.len()).position(|window| window == separator);
    at.map_or((bytes, None), |at| (&bytes[..at], Some(&bytes[at + separator.len()..])))
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

async fn send(api: &Api, request: Request<Vec<u8>>) -> Answer {
    let answer = dispatch(api.clone(), request.map(Body::from)).await;
    let (parts, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, 64 * KIB).await.expect("a short response").to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Sends one request and checks the response.
async fn exchange(api: &Api, script: &Script, request: Request<Vec<u8>>, limits: &Limits) -> &'static str {
    let (method, uri, body) = (request.method().clone(), request.uri().clone(), request.body().clone());
    let asked_before = script.seen().len();
    let answer = send(api, request).await;
    for (asked, _) in &script.seen()[asked_before..] {
        keeps_to(asked, limits);
    }
    let declares_more = answer.headers.contains_key(CONTENT_LENGTH);
    assert!(
        !declares_more
            || method == Method::HEAD
            || answer.headers[CONTENT_LENGTH] == answer.body.len().to_string()
    );
    if answer.status.is_success() {
        if method == Method::PUT {
            was_put(api, &uri, &body).await;
        }
        return "2xx";
    }
    if method != Method::HEAD
        && answer.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json")
    {
        let document: serde_json::Value = serde_json::from_slice(&answer.body).expect("an error is JSON");
        assert!(document["code"].is_string() && document["message"].is_string(), "{document}");
    }
    match answer.status.as_u16() {
        304 => "304",
        400 => "400",
        404 => "404",
        405 => "405",
        412 => "412",
        413 => "413",
        other => panic!("unexpected status {other} for {method} {uri}"),
    }
}

/// What reaches a node is within the limits.
fn keeps_to(asked: &ClientRequest, limits: &Limits) {
    match asked {
        ClientRequest::Write(command) => {
            let key = command.key().len();
            assert!((1..=limits.max_key_bytes).contains(&key), "a key of {key} bytes");
            assert!(asked.size_bytes() - key <= limits.max_value_bytes, "{} bytes", asked.size_bytes());
        }
        ClientRequest::Get { key, .. } => assert!((1..=limits.max_key_bytes).contains(&key.len())),
        ClientRequest::List(list) => {
            assert!(
                list.prefix.len() <= limits.max_key_bytes && list.start_after.len() <= limits.max_key_bytes
            );
            assert!((1..=limits.max_list_keys).contains(&list.limit));
        }
        ClientRequest::Barrier => {}
    }
}

/// GET must return the value that was put, byte for byte.
async fn was_put(api: &Api, uri: &Uri, value: &[u8]) {
    let path = uri.path();
    decode("key", path.strip_prefix(PREFIX).expect("only keys are put")).expect("a key that was taken");
    let get = Request::get(path).body(Vec::new()).expect("a path that was taken");
    let answer = send(api, get).await;
    assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, value), "{path}");
}
