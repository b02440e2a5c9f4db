//! Connections that keep a place without use.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Cluster, PATIENCE};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_does_not_say_what_it_speaks_is_closed_on_both_ports() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    let mut silent = Vec::new();
    for port in [node.client_port, node.peer_port] {
        for words in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
            stream.write_all(words).await.expect("it is open");
            silent.push((port, words, stream));
        }
    }
    for (port, words, mut stream) in silent {
        let ended = timeout(PATIENCE, stream.read(&mut [0])).await;
        let ended = ended.unwrap_or_else(|_| panic!("port {port} is still open after {words:?}"));
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
}
