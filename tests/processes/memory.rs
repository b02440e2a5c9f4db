//! The memory of a node whose clients send half of their requests, or do not read its responses.

use std::convert::Infallible;
use std::time::Duration;

use axum::http;
use bytes::Bytes;
use lograft::proto::v1;
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::Channel;

use crate::support::{Cluster, Node, PATIENCE, pause};

const MIB: usize = 1 << 20;

/// Both budgets of a port, what is between the wire and them, and the node itself. Without the budgets, each test
/// would need a gibibyte and more.
const MOST_BYTES: u64 = 320 << 20;

const CONNECTIONS: usize = 8;
const REQUESTS_EACH: usize = 128;

/// The first bytes of a gRPC message of this size.
fn prefix(message_bytes: usize) -> Vec<u8> {
    let length = u32::try_from(message_bytes).expect("small").to_be_bytes();
    [&[0][..], &length].concat()
}

fn request(node: &Node, method: &str, body: Body) -> http::Request<Body> {
    http::Request::post(format!("http://127.0.0.1:{}/lograft.v1.Kv/{method}", node.client_port))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .expect("a request")
}

async fn call(
    mut channel: Channel,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, tonic::transport::Error> {
    std::future::poll_fn(|context| channel.poll_ready(context)).await?;
    channel.call(request).await
}

/// Waits until all requests have a response, and watches the node's memory meanwhile. Returns the gRPC codes that they
/// got at once.
async fn watch<T: 'static>(node: &Node, mut requests: JoinSet<T>) -> (u64, Vec<T>) {
    let (begun, mut peak, mut done) = (Instant::now(), 0, Vec::new());
    loop {
        peak = peak.max(node.anonymous_bytes());
        assert!(peak < MOST_BYTES, "{} MiB after {} of the responses", peak >> 20, done.len());
        while let Some(response) = requests.try_join_next() {
            done.push(response.expect("no panic"));
        }
        if requests.is_empty() {
            println!("{} MiB at most after {} responses", peak >> 20, done.len());
            return (peak, done);
        }
        assert!(begun.elapsed() < 2 * PATIENCE, "{} requests never get a response", requests.len());
        pause().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_requests_take_little_memory_and_end_in_time() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    let mut requests = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let channel = node.channel().await.expect("a connection");
        for _ in 0..REQUESTS_EACH {
            let half = [prefix(MIB + MIB / 4), vec![b'x'; MIB]].concat();
            let body =
                tokio_stream::iter([Ok::<_, Infallible>(Bytes::from(half))]).chain(tokio_stream::pending());
            let request = request(node, "Set", Body::new(axum::body::Body::from_stream(body)));
            let channel = channel.clone();
            requests.spawn(async move {
                let response = call(channel, request).await.expect("a response");
                response.headers().get("grpc-status").map(|code| code.as_bytes().to_vec())
            });
        }
    }
    let (_, codes) = watch(node, requests).await;
    for code in codes {
        // RESOURCE_EXHAUSTED or DEADLINE_EXCEEDED
        assert!(matches!(code.as_deref(), Some(b"8" | b"4")), "{code:?}");
    }
    node.set("k", "v").await.expect("the node serves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_that_nobody_reads_take_little_memory() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    for key in ["a", "b", "c"] {
        node.set(key, &"x".repeat(MIB - 1024)).await.expect("set");
    }
    let list = v1::ListRequest::default().encode_to_vec();
    let message = Bytes::from([prefix(list.len()), list].concat());
    let mut requests = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let channel = node.channel().await.expect("a connection");
        for _ in 0..REQUESTS_EACH {
            let request = request(node, "List", Body::new(axum::body::Body::from(message.clone())));
            let channel = channel.clone();
            requests.spawn(async move { call(channel, request).await.expect("a response") });
        }
    }
    let (_, unread) = watch(node, requests).await;
    let refused = unread.iter().filter(|response| response.headers().contains_key("grpc-status")).count();
    println!("{refused} of {} refused", unread.len());
    // Who reads is served, although the others still hold what they may.
    node.set("k", "v").await.expect("the node serves");
    let mut kv = node.kv().await.expect("a connection");
    assert_eq!(
        kv.list(v1::ListRequest { limit: 1, ..Default::default() })
            .await
            .expect("listed")
            .into_inner()
            .kvs
            .len(),
        1
    );
    drop(unread);
    let begun = Instant::now();
    while node.anonymous_bytes() > MOST_BYTES / 2 {
        assert!(begun.elapsed() < PATIENCE + Duration::from_secs(60), "the memory never comes back");
        pause().await;
    }
}
