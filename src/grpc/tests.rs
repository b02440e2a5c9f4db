//! The client port over real connections, with a scripted node.

use std::time::Duration;

use axum::http;
use lograft_node::limits::{Limits, MIB};
use lograft_node::{ClientRequest, Consistency, RequestError};
use lograft_types::{LogIndex, NodeId};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic::codegen::Service;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::proto::v1;
use crate::proto::v1::cluster_client::ClusterClient;
use crate::proto::v1::kv_client::KvClient;
use crate::proto::{FOUND_MOD_REVISION, OUTCOME};
use crate::stub::{CLUSTER, NODE, Port};

async fn port() -> (Port, KvClient<Channel>) {
    let port = Port::open(Limits::default()).await;
    let client = KvClient::new(port.channel().await);
    (port, client)
}

fn set(key: impl Into<String>, value: impl Into<String>) -> v1::SetRequest {
    v1::SetRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn get(key: impl Into<String>) -> v1::GetRequest {
    v1::GetRequest { key: key.into(), ..Default::default() }
}

fn delete(key: impl Into<String>) -> v1::DeleteRequest {
    v1::DeleteRequest { key: key.into(), ..Default::default() }
}

#[track_caller]
fn assert_invalid(status: &Status, message: &str) {
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, message));
    assert_eq!(status.metadata().get(OUTCOME).unwrap(), "not-applied");
}

#[tokio::test]
async fn a_key_is_set_read_listed_and_deleted() {
    let (port, mut kv) = port().await;
    let answer = kv.set(set("greeting", "hello")).await.unwrap().into_inner();
    let header = answer.header.unwrap();
    assert_eq!(
        (header.cluster_id, header.node_id, header.term, header.revision),
        (CLUSTER.get(), NODE.get(), 3, 2)
    );
    assert_eq!(answer.prev_kv, None, "prev_kv without a request for it");

    let again = v1::SetRequest { prev_kv: true, ..set("greeting", "hi") };
    let before = kv.set(again).await.unwrap().into_inner().prev_kv.unwrap();
    assert_eq!((before.key.as_str(), before.value.as_str(), before.mod_revision), ("greeting", "hello", 2));

    let kv_now = kv.get(get("greeting")).await.unwrap().into_inner().kv.unwrap();
    assert_eq!((kv_now.create_revision, kv_now.mod_revision, kv_now.version), (2, 3, 2));
    assert_eq!(kv.get(get("nothing")).await.unwrap().into_inner().kv, None);

    let page = kv.list(v1::ListRequest::default()).await.unwrap().into_inner();
    assert_eq!((page.kvs, page.more), (vec![kv_now.clone()], false));

    let gone = v1::DeleteRequest { prev_kv: true, ..delete("greeting") };
    let gone = kv.delete(gone).await.unwrap().into_inner();
    assert_eq!((gone.deleted, gone.prev_kv), (1, Some(kv_now)));
    assert_eq!(kv.delete(delete("greeting")).await.unwrap().into_inner().deleted, 0);

    let status =
        ClusterClient::new(port.channel().await).status(v1::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(
        (status.name.as_str(), status.version.as_str(), status.role.as_str()),
        ("n1", "1.2.3", "leader")
    );
    assert_eq!(status.state_hash, "0000000000000000000000000000beef");
}

#[tokio::test]
async fn keys_outside_the_limits_are_invalid_and_exactly_the_limit_works() {
    let (_port, mut kv) = port().await;
    let (empty, longest, too_long) = (String::new(), "k".repeat(4096), "k".repeat(4097));
    for (key, message) in [
        (&empty, "key is 0 bytes, the minimum is 1"),
        (&too_long, "key is 4097 bytes, the limit is 4096 (--max-key-bytes)"),
    ] {
        assert_invalid(&kv.get(get(key)).await.unwrap_err(), message);
        assert_invalid(&kv.set(set(key, "v")).await.unwrap_err(), message);
        assert_invalid(&kv.delete(delete(key)).await.unwrap_err(), message);
    }
    kv.set(set(&longest, "v")).await.unwrap();
    kv.get(get(&longest)).await.unwrap();
    kv.delete(delete(&longest)).await.unwrap();
}

#[tokio::test]
async fn values_over_the_limit_are_invalid_and_exactly_the_limit_works() {
    let (_port, mut kv) = port().await;
    kv.set(set("k", "v".repeat(MIB))).await.unwrap();
    let stored = kv.get(get("k")).await.unwrap().into_inner().kv.unwrap();
    assert_eq!(stored.value.len(), MIB);
    let message = "value is 1048577 bytes, the limit is 1048576 (--max-value-bytes)";
    assert_invalid(&kv.set(set("k", "v".repeat(MIB + 1))).await.unwrap_err(), message);
    // Bytes count, not characters.
    let message = "value is 1048578 bytes, the limit is 1048576 (--max-value-bytes)";
    assert_invalid(&kv.set(set("k", "ä".repeat(MIB / 2 + 1))).await.unwrap_err(), message);
}

/// A Set with exactly this size on the wire.
fn set_of_wire_size(bytes: usize) -> v1::SetRequest {
    let mut request = set("k", "v".repeat(bytes));
    while request.encoded_len() > bytes {
        request.value.pop();
    }
    assert_eq!(request.encoded_len(), bytes);
    request
}

#[tokio::test]
async fn requests_over_the_limit_are_invalid_and_exactly_the_limit_is_read() {
    let limits = Limits { max_value_bytes: 2 * MIB, ..Limits::default() };
    let port = Port::open(limits).await;
    let mut kv = KvClient::new(port.channel().await);
    kv.set(set_of_wire_size(limits.max_request_bytes)).await.unwrap();
    for bytes in [limits.max_request_bytes + 1, 2 * MIB, 5 * MIB, 24 * MIB] {
        let refused = kv.set(set_of_wire_size(bytes)).await.unwrap_err();
        let message = format!("request is {bytes} bytes, the limit is 1572864 (--max-request-bytes)");
        assert_invalid(&refused, &message);
    }
    assert_eq!(port.script.seen().len(), 1, "a refused request reached the node");
    kv.set(set("k", "v")).await.expect("the connection still works");
}

#[tokio::test]
async fn list_limits_are_checked_and_zero_is_the_servers_own_bound() {
    let (port, mut kv) = port().await;
    let list = |limit| v1::ListRequest { limit, ..Default::default() };
    let message = "limit is 1001 keys, the limit is 1000";
    assert_invalid(&kv.list(list(1001)).await.unwrap_err(), message);
    kv.list(list(1000)).await.unwrap();
    kv.list(list(0)).await.unwrap();
    for (request, _) in port.script.seen() {
        let ClientRequest::List(list) = request else { panic!("{request:?}") };
        assert_eq!((list.limit, list.max_bytes), (1000, Limits::default().max_list_bytes));
    }
    let long = "p".repeat(4097);
    let prefix = v1::ListRequest { prefix: long.clone(), ..Default::default() };
    let message = "prefix is 4097 bytes, the limit is 4096 (--max-key-bytes)";
    assert_invalid(&kv.list(prefix).await.unwrap_err(), message);
    let start_after = v1::ListRequest { start_after: long, ..Default::default() };
    let message = "start_after is 4097 bytes, the limit is 4096 (--max-key-bytes)";
    assert_invalid(&kv.list(start_after).await.unwrap_err(), message);
}

/// A SetRequest with bytes for strings, as a client in another language may send it.
#[derive(Clone, PartialEq, prost::Message)]
struct RawSet {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

async fn raw_set(channel: Channel, raw: RawSet) -> Result<v1::SetResponse, Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/lograft.v1.Kv/Set");
    let codec = tonic_prost::ProstCodec::<RawSet, v1::SetResponse>::default();
    grpc.unary(Request::new(raw), path, codec).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn bytes_that_are_not_utf8_are_invalid() {
    let (port, _) = port().await;
    let good = RawSet { key: b"k".to_vec(), value: "ä€𝄞\0".as_bytes().to_vec() };
    raw_set(port.channel().await, good.clone()).await.unwrap();
    for (field, raw) in [
        ("key", RawSet { key: vec![0xff], ..good.clone() }),
        ("value", RawSet { value: vec![b'a', 0xc3], ..good }),
    ] {
        let refused = raw_set(port.channel().await, raw).await.unwrap_err();
        let message = format!(
            "the request cannot be read: failed to decode Protobuf message: SetRequest.{field}: \
             invalid string value: data is not UTF-8 encoded"
        );
        assert_invalid(&refused, &message);
    }
}

#[tokio::test]
async fn each_error_of_the_node_has_its_code_and_says_what_is_certain() {
    let (port, mut kv) = port().await;
    let node = NodeId::new(7);
    let (refused, exhausted) = (Code::Unavailable, Code::ResourceExhausted);
    for (error, code, outcome) in [
        (RequestError::Overloaded { what: "max-pending-requests", limit: 9 }, exhausted, Some("not-applied")),
        (RequestError::DiskFull { node: "n2".to_owned() }, exhausted, Some("not-applied")),
        (RequestError::NoLeader { waited_ms: 5000 }, refused, Some("not-applied")),
        (RequestError::NotLeader { node, leader: None }, refused, Some("not-applied")),
        (RequestError::Replaced, refused, Some("not-applied")),
        (RequestError::Refused("why".to_owned()), refused, Some("not-applied")),
        (RequestError::ShuttingDown, refused, Some("not-applied")),
        (RequestError::ReadTimedOut { waited_ms: 5000 }, refused, None),
        (RequestError::ReadBehind { waited_ms: 5000, applied: LogIndex::new(9) }, refused, None),
        (RequestError::UnknownOutcome { reason: "it is over".to_owned() }, refused, Some("unknown")),
    ] {
        port.script.fail_with(error.clone());
        let status = kv.set(set("k", "v")).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, error.to_string().as_str()));
        let told = status.metadata().get(OUTCOME).map(|told| told.to_str().unwrap());
        assert_eq!(told, outcome, "{error}");
    }
}

#[tokio::test]
async fn pitfall_51_failed_is_never_said_of_a_write_whose_outcome_is_unknown() {
    let (port, mut kv) = port().await;
    port.script.fail_with(RequestError::UnknownOutcome { reason: "the leader was lost".to_owned() });
    let status = kv.set(set("k", "v")).await.unwrap_err();
    assert!(status.message().starts_with("outcome unknown: the leader was lost"), "{status:?}");
    assert!(!status.message().contains("not applied"), "{status:?}");
    assert_eq!(status.metadata().get(OUTCOME).unwrap(), "unknown");
}

#[tokio::test]
async fn a_condition_that_does_not_hold_tells_the_revision_found() {
    let (_port, mut kv) = port().await;
    kv.set(set("k", "v")).await.unwrap();
    let prefix = "not applied: the condition does not hold: if_mod_revision is";
    for (key, asked, found, words) in [
        ("k", 0, "2", "0 (no such key), but the key's mod_revision is 2"),
        ("k", 7, "2", "7, but the key's mod_revision is 2"),
        ("none", 7, "0", "7, but there is no such key (0)"),
    ] {
        let conditional = v1::SetRequest { if_mod_revision: Some(asked), ..set(key, "w") };
        let on_set = kv.set(conditional).await.unwrap_err();
        let conditional = v1::DeleteRequest { if_mod_revision: Some(asked), ..delete(key) };
        let on_delete = kv.delete(conditional).await.unwrap_err();
        for status in [on_set, on_delete] {
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert_eq!(status.message(), format!("{prefix} {words}"));
            assert_eq!(status.metadata().get(FOUND_MOD_REVISION).unwrap(), found);
            assert_eq!(status.metadata().get(OUTCOME).unwrap(), "not-applied");
        }
    }
    let fits = v1::SetRequest { if_mod_revision: Some(2), ..set("k", "w") };
    kv.set(fits).await.expect("the condition holds");
    let absent = v1::DeleteRequest { if_mod_revision: Some(0), ..delete("none") };
    assert_eq!(kv.delete(absent).await.unwrap().into_inner().deleted, 0);
}

#[tokio::test]
async fn deadlines_and_consistency_reach_the_node() {
    let (port, mut kv) = port().await;
    kv.get(get("k")).await.unwrap();
    let mut timed = Request::new(v1::GetRequest { serializable: true, ..get("k") });
    timed.set_timeout(Duration::from_millis(1000));
    kv.get(timed).await.unwrap();
    let mut patient = Request::new(get("k"));
    patient.set_timeout(Duration::from_secs(3600));
    kv.get(patient).await.unwrap();
    let seen: Vec<_> = port
        .script
        .seen()
        .into_iter()
        .map(|(request, timeout_ms)| match request {
            ClientRequest::Get { consistency, .. } => (consistency, timeout_ms),
            other => panic!("{other:?}"),
        })
        .collect();
    let own = Limits::default().request_timeout_ms;
    let expected = [
        (Consistency::Linearizable, own),
        (Consistency::Serializable, 950),
        (Consistency::Linearizable, own),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn without_a_permit_the_answer_comes_at_once() {
    let port = Port::open(Limits { max_pending_requests: 1, ..Limits::default() }).await;
    port.script.hold();
    let mut kv = KvClient::new(port.channel().await);
    let mut waiting = kv.clone();
    let waiting = tokio::spawn(async move { waiting.set(set("k", "v")).await });
    let mut health = HealthClient::new(port.channel().await);
    while port.script.seen().is_empty() {
        // Each round trip gives the first request time to arrive.
        health.check(HealthCheckRequest::default()).await.unwrap();
    }
    let refused = kv.set(set("k", "v")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("max-pending-requests is used up (limit 1)"), "{refused:?}");
    port.script.release();
    waiting.await.unwrap().unwrap();
    kv.set(set("k", "v")).await.expect("the permit is free again");
}

async fn health_of(client: &mut HealthClient<Channel>, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest { service: service.to_owned() };
    client.check(request).await.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

#[tokio::test]
async fn health_follows_the_leader() {
    let (port, _) = port().await;
    let mut health = HealthClient::new(port.channel().await);
    let request = HealthCheckRequest { service: "lograft.v1.Kv".to_owned() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    for (leaderless, expected) in
        [(false, ServingStatus::Serving), (true, ServingStatus::NotServing), (false, ServingStatus::Serving)]
    {
        port.script.lose_leader(leaderless);
        assert_eq!(watch.next().await.unwrap().unwrap().status(), expected);
        assert_eq!(health_of(&mut health, "").await, Ok(expected));
        assert_eq!(health_of(&mut health, "lograft.v1.Kv").await, Ok(expected));
        assert_eq!(health_of(&mut health, "lograft.v1.Cluster").await, Ok(ServingStatus::Serving));
    }
    assert_eq!(
        health_of(&mut health, "lograft.v1.Raft").await,
        Err(Code::NotFound),
        "the service of the peer port"
    );
    let request = HealthCheckRequest { service: "nobody".to_owned() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
}

const LISTED: [&str; 5] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "lograft.v1.Cluster",
    "lograft.v1.Kv",
];

const LISTED_TO_PEERS: [&str; 4] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "lograft.v1.Raft",
];

macro_rules! reflection_test {
    ($name:ident, $version:ident, $port:ident, $listed:ident) => {
        #[tokio::test]
        async fn $name() {
            use tonic_reflection::pb::$version::ServerReflectionRequest;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

            let port = Port::$port(Limits::default()).await;
            let mut client = ServerReflectionClient::new(port.channel().await);
            let mut ask = vec![MessageRequest::ListServices(String::new())];
            ask.extend($listed.map(|service| MessageRequest::FileContainingSymbol(service.to_owned())));
            let requests = ask.into_iter().map(|message| ServerReflectionRequest {
                host: String::new(),
                message_request: Some(message),
            });
            let requests = tokio_stream::iter(requests.collect::<Vec<_>>());
            let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
            let first = answers.next().await.unwrap().unwrap().message_response;
            let Some(MessageResponse::ListServicesResponse(list)) = first else { panic!("{first:?}") };
            let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
            names.sort();
            assert_eq!(names, $listed);
            for service in $listed {
                let answer = answers.next().await.unwrap().unwrap().message_response;
                let described = matches!(answer, Some(MessageResponse::FileDescriptorResponse(_)));
                assert!(described, "{service}: {answer:?}");
            }
        }
    };
}

reflection_test!(reflection_v1_lists_and_describes_all_services_for_clients, v1, open, LISTED);
reflection_test!(reflection_v1alpha_lists_and_describes_all_services_for_clients, v1alpha, open, LISTED);
reflection_test!(reflection_v1_lists_and_describes_all_services_for_peers, v1, open_peers, LISTED_TO_PEERS);
reflection_test!(
    reflection_v1alpha_lists_and_describes_all_services_for_peers,
    v1alpha,
    open_peers,
    LISTED_TO_PEERS
);

#[tokio::test]
async fn the_peer_port_is_healthy_without_a_leader() {
    let port = Port::open_peers(Limits::default()).await;
    port.script.lose_leader(true);
    let mut health = HealthClient::new(port.channel().await);
    for service in ["", "lograft.v1.Raft"] {
        assert_eq!(health_of(&mut health, service).await, Ok(ServingStatus::Serving));
    }
    assert_eq!(
        health_of(&mut health, "lograft.v1.Kv").await,
        Err(Code::NotFound),
        "the service of the client port"
    );
}

/// Sends `request` unchanged over a new connection and returns the whole response.
async fn http1(port: &Port, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn one_port_speaks_grpc_and_http_over_http2_and_http1() {
    let (port, mut kv) = port().await;
    kv.set(set("a/b", "über grpc")).await.unwrap();

    let over_http1 = http1(&port, b"GET /v1/kv/a%2Fb HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(over_http1.starts_with("HTTP/1.1 200 OK\r\n"), "{over_http1}");
    assert!(over_http1.ends_with("\r\n\r\nüber grpc"), "{over_http1}");

    let mut channel = port.channel().await;
    let uri = format!("http://{}/v1/kv/a%2Fb", port.address);
    let request = http::Request::get(uri).body(tonic::body::Body::empty()).unwrap();
    std::future::poll_fn(|context| Service::poll_ready(&mut channel, context)).await.unwrap();
    let over_http2 = channel.call(request).await.unwrap();
    assert_eq!((over_http2.version(), over_http2.status()), (http::Version::HTTP_2, http::StatusCode::OK));
    let body = axum::body::to_bytes(axum::body::Body::new(over_http2.into_body()), 1000).await.unwrap();
    assert_eq!(body, "über grpc");
}

#[tokio::test]
async fn http1_bodies_of_unknown_length_are_read_to_their_end() {
    let (port, _) = port().await;
    let request =
        b"PUT /v1/kv/k HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
        3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let answer = http1(&port, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let answer = http1(&port, b"GET /v1/kv/k HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with("\r\n\r\nabcde"), "{answer}");
}

#[tokio::test]
async fn an_unknown_service_or_method_is_unimplemented() {
    let (clients, _) = port().await;
    let peers = Port::open_peers(Limits::default()).await;
    let cases = [
        (&clients, "/lograft.v1.Kv/Nothing"),
        (&clients, "/lograft.v1.Cluster/Nothing"),
        (&clients, "/grpc.health.v1.Health/Nothing"),
        (&clients, "/grpc.reflection.v1.ServerReflection/Nothing"),
        (&clients, "/lograft.v2.Kv/Set"),
        (&peers, "/lograft.v1.Kv/Set"),
        (&peers, "/grpc.health.v1.Health/Nothing"),
    ];
    for (port, path_text) in cases {
        let mut grpc = tonic::client::Grpc::new(port.channel().await);
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<v1::SetRequest, v1::SetResponse>::default();
        let path = http::uri::PathAndQuery::from_static(path_text);
        let refused = grpc.unary(Request::new(set("k", "v")), path, codec).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        assert!(refused.message().contains(path_text), "{refused:?}");
    }
}

#[tokio::test]
async fn the_peer_port_says_that_it_is_not_for_clients() {
    let port = Port::open_peers(Limits::default()).await;
    let mut kv = KvClient::new(port.channel().await);
    let refused = kv.set(set("k", "v")).await.unwrap_err();
    let message = "no service for /lograft.v1.Kv/Set on this port: it is for peers";
    assert_eq!((refused.code(), refused.message()), (Code::Unimplemented, message));
    let answer = http1(&port, b"GET /v1/kv/k HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("it is for peers"), "{answer}");
}

#[tokio::test]
async fn pitfall_82_broken_connections_do_not_end_the_accept_loop() {
    let (port, mut kv) = port().await;
    for garbage in
        [&b""[..], b"\0\0\0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame", b"\xff garbage\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        // Closed with a reset, as by a process that is killed.
        stream.set_zero_linger().unwrap();
        drop(stream);
    }
    kv.set(set("k", "v")).await.expect("the earlier connection works");
    let mut fresh = KvClient::new(port.channel().await);
    fresh.get(get("k")).await.expect("a new connection works");
}

#[tokio::test]
async fn a_shutdown_answers_what_it_has_taken_and_takes_no_more() {
    let (mut port, mut kv) = port().await;
    port.script.hold();
    let waiting = tokio::spawn(async move { kv.set(set("k", "v")).await });
    let mut health = HealthClient::new(port.channel().await);
    while port.script.seen().is_empty() {
        health.check(HealthCheckRequest::default()).await.unwrap();
    }
    port.begin_shutdown();
    while TcpStream::connect(port.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    port.script.release();
    waiting.await.unwrap().expect("a request taken before the shutdown succeeds");
    port.ended().await;
}
