//! The gates between nodes do what rounds rely on: each governs one direction, whichever node dialled.

use std::io;

use lograft::proto::v1::HandshakeRequest;
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::links::{Gate, Links};

/// The first bytes from a node: a preface, an empty settings frame, and a data frame with its handshake.
fn handshake(name: &str, id: u64) -> Vec<u8> {
    let hello = HandshakeRequest { from: id, name: name.to_owned(), ..HandshakeRequest::default() };
    let hello = hello.encode_to_vec();
    let mut message = vec![0];
    message.extend(u32::try_from(hello.len()).expect("short").to_be_bytes());
    message.extend(hello);
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend([0, 0, u8::try_from(message.len()).expect("short"), 0, 0, 0, 0, 0, 1]);
    bytes.extend(message);
    bytes
}

/// A connection from n1 to n2, with both ends held by the test.
async fn connected() -> (Links, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let links = Links::start(&[port, port]).await;
    let mut dialler = TcpStream::connect(("127.0.0.1", links.ports[1])).await.expect("a proxy");
    let handshake = handshake("n1", 4711);
    dialler.write_all(&handshake).await.expect("taken");
    let (mut reached, _) = listener.accept().await.expect("a connection");
    let mut heard = vec![0; handshake.len()];
    reached.read_exact(&mut heard).await.expect("it arrives");
    assert_eq!(heard, handshake, "the bytes arrive unchanged");
    (links, dialler, reached)
}

async fn arrives(from: &mut TcpStream, to: &mut TcpStream, word: &[u8]) {
    from.write_all(word).await.expect("taken");
    hears(to, word).await;
}

async fn hears(end: &mut TcpStream, word: &[u8]) {
    let mut heard = vec![0; word.len()];
    end.read_exact(&mut heard).await.expect("it arrives");
    assert_eq!(heard, word);
}

fn nothing_for(end: &TcpStream) {
    let nothing = end.try_read(&mut [0]).expect_err("nothing arrives");
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_held_gate_stops_one_direction_and_loses_nothing() {
    let (links, mut dialler, mut reached) = connected().await;
    links.set(0, 1, Gate::Hold);
    dialler.write_all(b"held").await.expect("taken");
    arrives(&mut reached, &mut dialler, b"the other direction").await;
    nothing_for(&reached);
    links.heal();
    hears(&mut reached, b"held").await;

    links.set(1, 0, Gate::Hold);
    reached.write_all(b"an answer").await.expect("taken");
    arrives(&mut dialler, &mut reached, b"a request").await;
    nothing_for(&dialler);
    links.heal();
    hears(&mut dialler, b"an answer").await;
}

#[tokio::test]
async fn a_held_gate_hides_the_end_of_a_connection() {
    let (links, mut dialler, mut reached) = connected().await;
    links.set(0, 1, Gate::Hold);
    dialler.shutdown().await.expect("an end");
    arrives(&mut reached, &mut dialler, b"still there").await;
    nothing_for(&reached);
    links.heal();
    assert_eq!(reached.read(&mut [0]).await.expect("an orderly end"), 0);
}

#[tokio::test]
async fn a_cut_gate_resets_connections_and_refuses_new_ones() {
    let (links, mut dialler, mut reached) = connected().await;
    links.set(1, 0, Gate::Cut);
    for end in [&mut dialler, &mut reached] {
        let error = end.read(&mut [0]).await.expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    let mut again = TcpStream::connect(("127.0.0.1", links.ports[1])).await.expect("a proxy");
    again.write_all(&handshake("n1", 4711)).await.expect("taken");
    let error = again.read(&mut [0]).await.expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn the_gates_between_two_nodes_are_not_those_of_others() {
    let (links, mut dialler, mut reached) = connected().await;
    links.set(0, 0, Gate::Cut);
    links.set(1, 1, Gate::Hold);
    arrives(&mut dialler, &mut reached, b"there").await;
    arrives(&mut reached, &mut dialler, b"and back").await;
}
