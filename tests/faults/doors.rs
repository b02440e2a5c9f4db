//! How clients reach a node: over gRPC with the client of the command line, and over HTTP as curl would.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use lograft::client::{Client, Error, Options};
use lograft::proto::v1;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::history::{Ask, Found, Heard};

/// A way into one node. A connection is kept until it fails.
pub(crate) enum Door {
    Grpc(Client),
    Http(Http),
}

impl Door {
    /// Over gRPC; nothing waits longer than `deadline`.
    pub(crate) fn grpc(client_port: u16, deadline: Duration) -> Self {
        let options = Options {
            endpoints: vec![format!("127.0.0.1:{client_port}")],
            dial_timeout: deadline,
            command_timeout: deadline,
        };
        Self::Grpc(Client::new(&options).expect("an address"))
    }

    /// Over HTTP; nothing waits longer than `deadline`.
    pub(crate) fn http(client_port: u16, deadline: Duration) -> Self {
        Self::Http(Http { client_port, deadline, connection: None })
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Grpc(_) => "gRPC",
            Self::Http(_) => "HTTP",
        }
    }

    /// Sends one request and returns what is certain about it.
    pub(crate) async fn ask(&mut self, key: &str, ask: &Ask) -> Heard {
        match self {
            Self::Grpc(client) => ask_grpc(client, key, ask).await,
            Self::Http(http) => http.ask(key, ask).await,
        }
    }
}

async fn ask_grpc(client: &Client, key: &str, ask: &Ask) -> Heard {
    let key = key.to_owned();
    let answered = match ask.clone() {
        Ask::Get { serializable } => {
            let answer = client.get(v1::GetRequest { key, serializable }).await;
            answer.map(|answer| Heard::Got { found: found(answer.kv), revision: revision(answer.header) })
        }
        Ask::Set { value, only_if } => {
            let set = v1::SetRequest { key, value, if_mod_revision: only_if, prev_kv: true };
            let answer = client.set(set).await;
            answer
                .map(|done| Heard::Applied { replaced: found(done.prev_kv), revision: revision(done.header) })
        }
        Ask::Delete { only_if } => {
            let answer =
                client.delete(v1::DeleteRequest { key, if_mod_revision: only_if, prev_kv: true }).await;
            answer.map(|done| {
                assert_eq!(done.deleted, u64::from(done.prev_kv.is_some()), "a response contradicts itself");
                Heard::Applied { replaced: found(done.prev_kv), revision: revision(done.header) }
            })
        }
    };
    answered.unwrap_or_else(|error| match error {
        Error::ConditionFailed { found, .. } => Heard::Mismatch { found },
        Error::BadConnection(why) | Error::Failed(why) => Heard::Refused { why },
        Error::UnknownOutcome(why) => Heard::Unknown { why },
        Error::Invalid(why) => panic!("the test sent an invalid request: {why}"),
    })
}

fn found(kv: Option<v1::KeyValue>) -> Found {
    kv.map(|kv| (kv.value, kv.mod_revision))
}

fn revision(header: Option<v1::Header>) -> u64 {
    header.expect("each response has a header").revision
}

/// A hand-written HTTP/1.1 client with one connection.
pub(crate) struct Http {
    client_port: u16,
    deadline: Duration,
    connection: Option<TcpStream>,
}

/// An HTTP response.
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Http {
    async fn ask(&mut self, key: &str, ask: &Ask) -> Heard {
        let (method, query, body) = match ask {
            Ask::Get { serializable } => ("GET", format!("?serializable={serializable}"), ""),
            Ask::Set { value, only_if } => ("PUT", condition(*only_if), value.as_str()),
            Ask::Delete { only_if } => ("DELETE", condition(*only_if), ""),
        };
        let request = format!(
            "{method} /v1/kv/{key}{query} HTTP/1.1\r\nhost: node\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if self.connection.is_none() {
            let connecting =
                timeout(self.deadline, TcpStream::connect(("127.0.0.1", self.client_port))).await;
            match connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => return Heard::Refused { why: error.to_string() },
            }
        }
        let mut connection = self.connection.take().expect("the connection was made");
        let exchanged = timeout(self.deadline, exchange(&mut connection, &request)).await;
        match exchanged.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(answer) => {
                self.connection = Some(connection);
                answer.heard(ask)
            }
            Err(error) if matches!(ask, Ask::Get { .. }) => Heard::Refused { why: error.to_string() },
            Err(error) => Heard::Unknown { why: error.to_string() },
        }
    }
}

fn condition(only_if: Option<u64>) -> String {
    let only_if = only_if.map(|revision| format!("&if_mod_revision={revision}"));
    format!("?prev_kv=true{}", only_if.unwrap_or_default())
}

async fn exchange(connection: &mut TcpStream, request: &str) -> io::Result<Answer> {
    connection.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let head_bytes = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        more(connection, &mut bytes).await?;
    };
    let head = String::from_utf8(bytes[..head_bytes].to_vec()).expect("our server speaks HTTP");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status line");
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<_, _> =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let body_bytes: usize = headers["content-length"].parse().expect("a length");
    while bytes.len() < head_bytes + body_bytes {
        more(connection, &mut bytes).await?;
    }
    assert_eq!(bytes.len(), head_bytes + body_bytes, "more than one response came");
    let body = String::from_utf8(bytes.split_off(head_bytes)).expect("values are text");
    Ok(Answer { status, headers, body })
}

async fn more(connection: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    match connection.read_buf(bytes).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

impl Answer {
    fn heard(self, ask: &Ask) -> Heard {
        match (ask, self.status) {
            (Ask::Get { .. }, 200) => {
                let mod_revision = self.number("lograft-mod-revision");
                Heard::Got {
                    revision: self.number("lograft-revision"),
                    found: Some((self.body, mod_revision)),
                }
            }
            (Ask::Get { .. }, 404) => Heard::Got { revision: self.number("lograft-revision"), found: None },
            (Ask::Set { .. } | Ask::Delete { .. }, 200) => {
                let document: Value = serde_json::from_str(&self.body).expect("JSON");
                let number = |value: &Value| value.as_u64().expect("a number");
                let replaced = document
                    .get("prev_kv")
                    .map(|kv| (kv["value"].as_str().expect("text").to_owned(), number(&kv["mod_revision"])));
                Heard::Applied { replaced, revision: number(&document["header"]["revision"]) }
            }
            (Ask::Set { .. } | Ask::Delete { .. }, 412) => {
                Heard::Mismatch { found: self.number("lograft-found-mod-revision") }
            }
            (_, 400) => panic!("the test sent an invalid request: {}", self.body),
            (Ask::Get { .. }, _) => Heard::Refused { why: self.body },
            _ if self.headers.get("lograft-outcome").is_some_and(|outcome| outcome == "not-applied") => {
                Heard::Refused { why: self.body }
            }
            _ => Heard::Unknown { why: format!("HTTP {}: {}", self.status, self.body.trim_end()) },
        }
    }

    fn number(&self, header: &str) -> u64 {
        let number = self.headers.get(header).and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("HTTP {} without {header}: {}", self.status, self.body))
    }
}
