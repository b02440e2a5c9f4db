//! The client against scripted nodes and servers that break.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Client, Error, Options};
use crate::proto::v1;
use crate::stub::{MutePort, Port, holds_a_request};
use lograft_node::RequestError;
use lograft_node::limits::Limits;

fn client(endpoints: &[String]) -> Client {
    Client::new(&Options { endpoints: endpoints.to_vec(), ..Options::default() }).unwrap()
}

fn set() -> v1::SetRequest {
    v1::SetRequest { key: "k".to_owned(), value: "v".to_owned(), ..Default::default() }
}

fn get() -> v1::GetRequest {
    v1::GetRequest { key: "k".to_owned(), ..Default::default() }
}

/// An address that nothing listens on.
async fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A server that accepts connections and breaks each one once a request has arrived; ends after `connections` of
/// them.
async fn breaking(connections: usize) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(EMPTY_SETTINGS).await.unwrap();
            let mut bytes = Vec::new();
            while !holds_a_request(&bytes) {
                stream.read_buf(&mut bytes).await.unwrap();
            }
        }
    });
    (address, server)
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_tried_at_the_next_endpoint() {
    let port = Port::open(Limits::default()).await;
    let client = client(&[dead().await, dead().await, port.address.to_string()]);
    client.set(set()).await.unwrap();
    assert_eq!(client.get(get()).await.unwrap().kv.unwrap().value, "v");
    assert_eq!(client.list(v1::ListRequest::default()).await.unwrap().kvs.len(), 1);
    assert_eq!(client.status().await.unwrap().name, "n1");
    let gone = v1::DeleteRequest { key: "k".to_owned(), ..Default::default() };
    assert_eq!(client.delete(gone).await.unwrap().deleted, 1);
}

#[tokio::test]
async fn without_any_connection_each_endpoint_is_named_with_its_reason() {
    let endpoints = [dead().await, dead().await];
    let Err(Error::BadConnection(words)) = client(&endpoints).set(set()).await else { panic!() };
    for endpoint in endpoints {
        assert!(words.contains(&format!("{endpoint}: Connection refused")), "{words}");
    }
}

#[tokio::test]
async fn pitfall_52_a_write_that_was_sent_is_never_sent_again() {
    let port = Port::open(Limits::default()).await;
    let (broken, server) = breaking(1).await;
    let client = client(&[broken, port.address.to_string()]);
    let Err(Error::UnknownOutcome(words)) = client.set(set()).await else { panic!() };
    assert!(words.starts_with("outcome unknown: "), "{words}");
    assert_eq!(port.script.seen(), [], "the second endpoint received nothing");
    server.await.unwrap();
    client.set(set()).await.expect("the next call goes to the endpoint that serves");
    assert_eq!(port.script.seen().len(), 1);
}

#[tokio::test]
async fn a_read_goes_on_to_an_endpoint_that_serves() {
    let port = Port::open(Limits::default()).await;
    let leaderless = Port::open(Limits::default()).await;
    leaderless.script.fail_with(RequestError::ReadTimedOut { waited_ms: 5 });
    let (broken, _server) = breaking(1).await;
    let client = client(&[broken, leaderless.address.to_string(), port.address.to_string()]);
    assert_eq!(client.get(get()).await.unwrap().kv, None);
    assert_eq!((leaderless.script.seen().len(), port.script.seen().len()), (1, 1));
}

/// Patient enough for any machine, and for no endpoint that hangs.
fn patient(endpoints: &[String], dial_timeout: Duration) -> Client {
    let command_timeout = Duration::from_secs(30);
    Client::new(&Options { endpoints: endpoints.to_vec(), dial_timeout, command_timeout }).unwrap()
}

#[tokio::test]
async fn a_read_does_not_wait_for_an_endpoint_that_hangs() {
    let mute = MutePort::open().await;
    let held = Port::open(Limits::default()).await;
    held.script.hold();
    let port = Port::open(Limits::default()).await;
    let endpoints = [mute.address.clone(), held.address.to_string(), port.address.to_string()];
    let client = patient(&endpoints, Duration::from_secs(30));
    assert_eq!(client.get(get()).await.unwrap().kv, None);
    assert_eq!((held.script.seen().len(), port.script.seen().len()), (1, 1));
    client.get(get()).await.unwrap();
    assert_eq!(
        (held.script.seen().len(), port.script.seen().len()),
        (1, 2),
        "it stays with the one that answers"
    );
}

#[tokio::test]
async fn a_write_goes_past_an_endpoint_that_hangs_and_nothing_of_it_leaves_there() {
    for dial_timeout in [Duration::from_millis(100), Duration::from_secs(30)] {
        let mute = MutePort::open().await;
        let port = Port::open(Limits::default()).await;
        let client = patient(&[mute.address.clone(), port.address.to_string()], dial_timeout);
        client.set(set()).await.unwrap();
        assert_eq!(port.script.seen().len(), 1);
        drop(client);
        assert!(!mute.got_a_request().await, "the write left for the endpoint that hangs");
    }
}

#[tokio::test]
async fn pitfall_52_a_write_that_left_is_not_sent_to_another_endpoint_however_slow_the_first_is() {
    let held = Port::open(Limits::default()).await;
    held.script.hold();
    let port = Port::open(Limits::default()).await;
    let endpoints = vec![held.address.to_string(), port.address.to_string()];
    let command_timeout = Duration::from_secs(1);
    let options = Options { endpoints, command_timeout, ..Options::default() };
    let Err(Error::UnknownOutcome(words)) = Client::new(&options).unwrap().set(set()).await else { panic!() };
    let expected = format!("outcome unknown: {}: no response within 1s: ", held.address);
    assert!(words.starts_with(&expected), "{words}");
    assert_eq!((held.script.seen().len(), port.script.seen().len()), (1, 0));
}

#[tokio::test]
async fn an_error_names_each_endpoint_and_what_happened_there() {
    let (dead, mute) = (dead().await, MutePort::open().await);
    let client = patient(&[dead.clone(), mute.address.clone()], Duration::from_millis(100));
    let expected = format!(
        "{dead}: Connection refused (os error 111); {}: connected, but nothing was answered within 100ms",
        mute.address
    );
    assert_eq!(client.set(set()).await, Err(Error::BadConnection(expected.clone())));
    assert_eq!(client.get(get()).await, Err(Error::BadConnection(expected)));

    let leaderless = Port::open(Limits::default()).await;
    let why = RequestError::ReadTimedOut { waited_ms: 5 };
    leaderless.script.fail_with(why.clone());
    let client = patient(&[leaderless.address.to_string(), dead.clone()], Duration::from_secs(30));
    let expected = format!("{}: {why}; {dead}: Connection refused (os error 111)", leaderless.address);
    assert_eq!(client.get(get()).await, Err(Error::Failed(expected)));
}

#[tokio::test]
async fn a_connection_lost_between_two_writes_is_made_again() {
    let mut port = Port::open(Limits::default()).await;
    let other = Port::open(Limits::default()).await;
    let client = client(&[port.address.to_string(), other.address.to_string()]);
    client.set(set()).await.unwrap();
    port.begin_shutdown();
    port.ended().await;
    // The first call may find the connection lost, but then its outcome is unknown; the second one succeeds.
    match client.set(set()).await {
        Ok(_) => {}
        Err(Error::UnknownOutcome(_)) => drop(client.set(set()).await.unwrap()),
        Err(error) => panic!("{error:?}"),
    }
    assert_eq!(other.script.seen().len(), 1);
}

#[tokio::test]
async fn a_write_without_an_answer_in_time_is_unknown_and_a_read_just_failed() {
    let port = Port::open(Limits::default()).await;
    port.script.hold();
    let options = Options {
        endpoints: vec![port.address.to_string()],
        command_timeout: Duration::from_millis(100),
        ..Options::default()
    };
    let client = Client::new(&options).unwrap();
    assert!(matches!(client.set(set()).await, Err(Error::UnknownOutcome(_))));
    assert!(matches!(client.get(get()).await, Err(Error::Failed(_))));
}

#[tokio::test]
async fn errors_tell_what_a_caller_can_act_on() {
    let port = Port::open(Limits::default()).await;
    let client = client(&[port.address.to_string()]);
    let empty = v1::SetRequest { value: "v".to_owned(), ..Default::default() };
    let invalid = Error::Invalid("key is 0 bytes, the minimum is 1".to_owned());
    assert_eq!(client.set(empty).await, Err(invalid.clone()));
    assert_eq!(client.get(v1::GetRequest::default()).await, Err(invalid));
    let conditional = v1::SetRequest { if_mod_revision: Some(4), ..set() };
    let Err(Error::ConditionFailed { found, message }) = client.set(conditional).await else { panic!() };
    assert_eq!(found, 0);
    assert!(message.ends_with("if_mod_revision is 4, but there is no such key (0)"), "{message}");
    for error in [
        RequestError::NoLeader { waited_ms: 5000 },
        RequestError::Overloaded { what: "max-pending-requests", limit: 4096 },
        RequestError::Replaced,
        RequestError::ShuttingDown,
    ] {
        port.script.fail_with(error.clone());
        assert_eq!(client.set(set()).await, Err(Error::Failed(error.to_string())));
    }
    let unknown = RequestError::UnknownOutcome { reason: "the leader was lost".to_owned() };
    port.script.fail_with(unknown.clone());
    assert_eq!(client.set(set()).await, Err(Error::UnknownOutcome(unknown.to_string())));
}

#[tokio::test]
async fn every_endpoint_is_asked_for_its_status() {
    let (one, two) = (Port::open(Limits::default()).await, Port::open(Limits::default()).await);
    let endpoints = [one.address.to_string(), dead().await, two.address.to_string()];
    let statuses = client(&endpoints).statuses().await;
    let answered: Vec<_> =
        statuses.iter().map(|(endpoint, status)| (endpoint.as_str(), status.is_ok())).collect();
    let expected: Vec<_> = endpoints.iter().map(String::as_str).zip([true, false, true]).collect();
    assert_eq!(answered, expected);
    assert!(matches!(statuses[1].1, Err(Error::BadConnection(_))));

    let mute = MutePort::open().await;
    let held = Options {
        endpoints: vec![mute.address.clone(), one.address.to_string()],
        command_timeout: Duration::from_millis(200),
        ..Options::default()
    };
    let statuses = Client::new(&held).unwrap().statuses().await;
    let Err(Error::BadConnection(words)) = &statuses[0].1 else { panic!("{statuses:?}") };
    assert!(words.starts_with(&format!("{}: connected, but nothing was answered", mute.address)), "{words}");
}

#[tokio::test]
async fn calls_may_run_on_other_tasks() {
    let port = Port::open(Limits::default()).await;
    let client = std::sync::Arc::new(client(&[port.address.to_string()]));
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.set(set()).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[test]
fn endpoints_that_are_no_addresses_are_invalid() {
    // What a URL may look like is tested with the configuration, which reads them too.
    for (endpoint, why) in [("https://h:1", "no TLS"), ("h", "no port"), ("h:0", "port 0"), ("", "no port")] {
        let options = Options { endpoints: vec![endpoint.to_owned()], ..Options::default() };
        let Err(Error::Invalid(said)) = Client::new(&options) else { panic!("{endpoint:?}") };
        assert!(said.starts_with("endpoint ") && said.contains(why), "{said}");
    }
    let none = Options { endpoints: Vec::new(), ..Options::default() };
    assert_eq!(Client::new(&none).unwrap_err(), Error::Invalid("no endpoint was given".to_owned()));
    for endpoint in ["h:1", "http://h:1", "http://h:1/", "[::1]:2379", "127.0.0.1:2379"] {
        let options = Options { endpoints: vec![endpoint.to_owned()], ..Options::default() };
        assert!(Client::new(&options).is_ok(), "{endpoint}");
    }
}
