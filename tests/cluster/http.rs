//! Every HTTP method through every node.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::nodes::{Node, Nodes};

/// Returns the status and the body.
async fn ask(node: &Node, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", node.client_port)).await.expect("a connection");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

async fn json(node: &Node, path: &str) -> Value {
    let (status, body) = ask(node, "GET", path, "").await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_through_every_node() {
    let cluster = Nodes::three().await;
    for (place, node) in cluster.nodes.iter().enumerate() {
        let other = &cluster.nodes[(place + 1) % 3];
        let path = format!("/v1/kv/a%2F{place}%20%25");
        assert_eq!(ask(node, "PUT", &path, "hällo").await.0, 200);
        assert_eq!(ask(other, "GET", &path, "").await, (200, "hällo".to_owned()));
        let key = format!("a/{place} %");
        assert_eq!(other.get(&key).await.expect("get").expect("the same key").value, "hällo");

        let (status, body) = ask(other, "PUT", &format!("{path}?if_mod_revision=0"), "again").await;
        assert_eq!(status, 412, "{body}");
        let listed = json(node, "/v1/kv?prefix=a%2F&limit=10").await;
        assert_eq!(listed["kvs"][0]["key"], key.as_str(), "{listed}");
        assert_eq!(ask(node, "DELETE", &path, "").await.0, 200);
        let (status, body) = ask(other, "GET", &format!("{path}?serializable=false"), "").await;
        let error: Value = serde_json::from_str(&body).expect("JSON");
        assert!(status == 404 && error["code"].is_string() && error["message"].is_string(), "{body}");

        let status = json(node, "/v1/status").await;
        assert_eq!(status["name"], format!("n{}", place + 1), "{status}");
        for probe in ["/livez", "/readyz", "/health", "/version"] {
            assert_eq!(ask(node, "GET", probe, "").await.0, 200, "{probe}");
        }
        let (status, body) = ask(node, "GET", "/v1/kv?limit=1001", "").await;
        assert!(status == 400 && body.contains("1001") && body.contains("1000"), "{body}");
    }
}
