//! Connections that are too many, silent, slow, idle, or do not read, on the client port of a scripted node.

use std::convert::Infallible;
use std::time::Duration;

use axum::http;
use lograft_node::limits::{KIB, Limits, MIB};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::Patience;
use crate::proto::OUTCOME;
use crate::proto::v1;
use crate::proto::v1::kv_client::KvClient;
use crate::stub::Port;

const PATIENCE: Duration = Duration::from_secs(20);

/// Nothing runs out.
const LONG: Patience = Patience { first_bytes: PATIENCE, unread: PATIENCE, idle: PATIENCE };

const SHORT: Duration = Duration::from_millis(100);

fn set(key: &str, value: impl Into<String>) -> v1::SetRequest {
    v1::SetRequest { key: key.to_owned(), value: value.into(), ..Default::default() }
}

/// A message as gRPC frames it.
fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0][..], &length, &bytes].concat()
}

/// Calls a method of `Kv` with a body that never ends unless `whole`, and returns the head of the response.
async fn call(mut channel: Channel, method: &str, bytes: Vec<u8>, whole: bool) -> http::Response<Body> {
    let first = tokio_stream::iter([Ok::<_, Infallible>(bytes)]);
    let body = if whole {
        axum::body::Body::from_stream(first)
    } else {
        axum::body::Body::from_stream(first.chain(tokio_stream::pending()))
    };
    let request = http::Request::post(format!("http://lograft/lograft.v1.Kv/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(body))
        .unwrap();
    std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    timeout(PATIENCE, channel.call(request)).await.expect("a response").unwrap()
}

fn status(response: &http::Response<Body>) -> Status {
    Status::from_header_map(response.headers()).expect("a refusal")
}

#[tokio::test]
async fn a_connection_too_many_hears_why_and_a_place_that_is_free_is_taken() {
    let port = Port::open_with(Limits::default(), 1, LONG).await;
    let mut first = KvClient::new(port.channel().await);
    first.set(set("k", "v")).await.unwrap();

    let mut second = KvClient::new(port.channel().await);
    let refused = second.set(set("k", "w")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(
        refused.message().contains("1 connections of clients")
            && refused.message().contains("--max-connections")
    );
    assert_eq!(refused.metadata().get(OUTCOME).unwrap(), "not-applied");
    let mut plain = TcpStream::connect(port.address).await.unwrap();
    plain.write_all(b"PUT /v1/kv/k HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nw").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, plain.read_to_string(&mut answer)).await.expect("the connection ends").unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("lograft-outcome: not-applied"),
        "{answer}"
    );
    assert_eq!(port.script.seen().len(), 1, "a request that was turned away reached the node");

    // Those that only hold on are closed, and so are those that nobody has time to talk to.
    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(TcpStream::connect(port.address).await.unwrap());
    }
    for mut stream in crowd {
        let ended = timeout(PATIENCE, stream.read(&mut [0])).await.expect("it is closed");
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
    first.set(set("k", "v")).await.expect("who has a place keeps it");
    drop(first);
    let begun = Instant::now();
    while KvClient::new(port.channel().await).set(set("k", "v")).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "the place never becomes free");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_connection_that_does_not_say_what_it_speaks_is_closed() {
    let port = Port::open_with(Limits::default(), 9, Patience { first_bytes: SHORT, ..LONG }).await;
    let mut half = b"PRI * HTTP/2.0\r\n\r\nSM\r\n".to_vec();
    for words in [Vec::new(), b"PRI".to_vec(), std::mem::take(&mut half)] {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(&words).await.unwrap();
        let ended = timeout(PATIENCE, stream.read(&mut [0])).await.expect("it is closed");
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
    // Whoever has spoken may be silent: over HTTP/2 without a request, and over HTTP/1.1 with half of one.
    let mut kv = KvClient::new(port.channel().await);
    let mut slow = TcpStream::connect(port.address).await.unwrap();
    slow.write_all(b"GET /version HT").await.unwrap();
    tokio::time::sleep(3 * SHORT).await;
    kv.set(set("k", "v")).await.unwrap();
    slow.write_all(b"TP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, slow.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_connection_without_requests_ends_in_order_and_one_with_a_request_goes_on() {
    let port =
        Port::open_with(Limits::default(), 9, Patience { unread: SHORT / 4, idle: SHORT, ..LONG }).await;
    port.script.hold();
    let mut kv = KvClient::new(port.channel().await);
    let waiting = tokio::spawn(async move { kv.set(set("k", "v")).await });
    // An idle connection, written by hand: the preface and empty SETTINGS.
    let mut idle = TcpStream::connect(port.address).await.unwrap();
    idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut said = Vec::new();
    let mut chunk = [0; 1024];
    // GOAWAY is frame type 7.
    while !said.windows(4).any(|bytes| bytes == [0, 0, 8, 7]) {
        let bytes = timeout(PATIENCE, idle.read(&mut chunk)).await.expect("it is told to go away").unwrap();
        assert!(bytes > 0, "it was closed without a word");
        said.extend_from_slice(&chunk[..bytes]);
    }
    port.script.release();
    waiting.await.unwrap().expect("a connection with an open request is not idle");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_refused() {
    let limits = Limits { request_timeout_ms: 100, ..Limits::default() };
    let port = Port::open_with(limits, 9, LONG).await;
    let half = framed(&set("k", "v".repeat(KIB)))[..KIB].to_vec();
    let refused = status(&call(port.channel().await, "Set", half, false).await);
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
    assert_eq!(refused.message(), "not applied: the body did not arrive within 100 ms");
    assert_eq!(refused.metadata().get(OUTCOME).unwrap(), "not-applied");
    assert!(port.script.seen().is_empty());
}

#[tokio::test]
async fn half_sent_bodies_fill_their_budget_and_no_more_and_give_it_back() {
    let limits = Limits {
        max_pending_bytes: 2 * MIB,
        max_pending_requests: 64,
        request_timeout_ms: 1000,
        ..Limits::default()
    };
    let port = Port::open_with(limits, 9, LONG).await;
    let channel = port.channel().await;
    let half = framed(&set("k", "v".repeat(MIB)))[..MIB / 2].to_vec();
    let mut halves = JoinSet::new();
    for _ in 0..16 {
        let (channel, half) = (channel.clone(), half.clone());
        halves.spawn(async move { status(&call(channel, "Set", half, false).await) });
    }
    // Eight of them do not fit into 4 MiB, and are told at once; the others when their time is up.
    let mut refused = 0;
    while let Some(status) = halves.join_next().await {
        let status = status.unwrap();
        let first = status.code() == Code::ResourceExhausted;
        refused += usize::from(first);
        assert!(first || status.code() == Code::DeadlineExceeded, "{status:?}");
        assert!(
            !first || status.message().contains("max-pending-bytes is used up (limit 2097152)"),
            "{status:?}"
        );
        assert_eq!(status.metadata().get(OUTCOME).unwrap(), "not-applied");
    }
    assert!((8..16).contains(&refused), "{refused}");
    assert!(port.script.seen().is_empty());
    let mut kv = KvClient::new(channel);
    for _ in 0..16 {
        kv.set(set("k", "v".repeat(MIB))).await.expect("all of the budget is back");
    }
}

/// A port whose node holds 3 MiB of values.
async fn filled(limits: Limits, patience: Patience) -> Port {
    let port = Port::open_with(limits, 99, patience).await;
    let mut kv = KvClient::new(port.channel().await);
    for key in ["a", "b", "c"] {
        kv.set(set(key, "v".repeat(MIB - KIB))).await.unwrap();
    }
    port
}

#[tokio::test]
async fn lists_wait_for_the_room_that_others_have_and_all_who_read_are_served() {
    let limits = Limits { max_pending_bytes: 8 * MIB, ..Limits::default() };
    let port = filled(limits, LONG).await;
    let mut lists = JoinSet::new();
    for _ in 0..4 {
        let channel = port.channel().await;
        for _ in 0..16 {
            let mut kv = KvClient::new(channel.clone());
            lists.spawn(async move { kv.list(v1::ListRequest::default()).await });
        }
    }
    while let Some(listed) = lists.join_next().await {
        assert_eq!(listed.unwrap().expect("it waits for its turn").into_inner().kvs.len(), 3);
    }
}

#[tokio::test]
async fn who_does_not_read_holds_up_itself_and_loses_its_connection() {
    let limits = Limits { max_pending_bytes: 16 * MIB, request_timeout_ms: 300, ..Limits::default() };
    let port = filled(limits, Patience { unread: 4 * SHORT, ..LONG }).await;
    let deaf = port.channel().await;
    let list = framed(&v1::ListRequest::default());
    let mut unread = Vec::new();
    for _ in 0..2 {
        unread.push(call(deaf.clone(), "List", list.clone(), true).await);
    }
    // A quarter of the budget is the share of a connection.
    let heads: Vec<_> =
        unread.iter().map(|response| response.headers().get("grpc-status").is_some()).collect();
    assert_eq!(heads, [false, true], "one fits");
    let refused = status(&unread[1]);
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let mut others = KvClient::new(port.channel().await);
    assert_eq!(
        others.list(v1::ListRequest::default()).await.expect("a share of its own").into_inner().kvs.len(),
        3
    );

    let mut body = axum::body::Body::new(unread.swap_remove(0).into_body()).into_data_stream();
    tokio::time::sleep(10 * SHORT).await;
    let read = async {
        let mut bytes = 0;
        while let Some(chunk) = body.next().await {
            bytes += chunk.map_err(|_| bytes)?.len();
        }
        Ok::<_, usize>(bytes)
    };
    let broken = timeout(PATIENCE, read).await.expect("it ends").expect_err("the connection is closed");
    assert!(broken < 3 * MIB, "{broken}");
}

#[tokio::test]
async fn a_write_that_is_to_return_a_large_value_is_refused_before_it_is_applied() {
    let limits = Limits { max_pending_bytes: 4 * MIB, request_timeout_ms: 300, ..Limits::default() };
    let port = filled(limits, LONG).await;
    let deaf = port.channel().await;
    let mut unread = Vec::new();
    for _ in 0..16 {
        let swap = v1::SetRequest { prev_kv: true, ..set("a", "v".repeat(MIB - KIB)) };
        unread.push(call(deaf.clone(), "Set", framed(&swap), true).await);
    }
    let refused = unread.iter().filter(|response| response.headers().contains_key("grpc-status")).count();
    assert!((1..16).contains(&refused), "{refused}");
    assert_eq!(port.script.seen().len(), 3 + 16 - refused, "a write that was refused reached the node");
}
