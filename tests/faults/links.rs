//! The links between nodes, each of which can be held or cut in one direction.
//!
//! Every node advertises the port of a proxy, so every connection between two nodes passes through this
//! process. The first message on a connection tells who dialled, because each peer request names its sender.
//! The gate from A to B then governs all bytes from A to B: requests on connections that A made, responses on
//! connections that B made.
//!
//! A held gate is an unplugged cable: nothing arrives, no node is told, and what was in flight arrives when
//! the gate opens if the connection still exists. A cut gate resets connections and refuses new ones in both
//! directions, because no connection can live with only one.
//!
//! Caveat: a held gate still accepts connections, unlike a packet filter; what is sent on them goes nowhere.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::free_ports;

/// The most bytes that one direction of a connection reads at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// What happens to bytes on their way from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Pass,
    /// Nothing arrives, and no node is told.
    Hold,
    /// Connections are reset.
    Cut,
}

/// All links of a cluster.
pub(crate) struct Links {
    gates: Arc<Gates>,
    /// The ports that the nodes advertise.
    pub(crate) ports: Vec<u16>,
    /// Dropping the set ends the proxies.
    _proxies: JoinSet<()>,
}

/// Sets a gate.
type Switch = watch::Sender<Gate>;

struct Gates {
    nodes: usize,
    /// The gate from A to B is at A times the number of nodes, plus B.
    gates: Vec<Switch>,
    /// The positions of nodes by their IDs, from their handshakes.
    places: Mutex<BTreeMap<u64, usize>>,
}

/// The common beginning of every message between peers, and what a handshake adds.
#[derive(Clone, PartialEq, prost::Message)]
struct Sender {
    #[prost(uint64, tag = "2")]
    from: u64,
}

impl Links {
    /// Starts proxies for nodes that listen on these ports.
    pub(crate) async fn start(peer_ports: &[u16]) -> Self {
        let nodes = peer_ports.len();
        let gates = (0..nodes * nodes).map(|_| watch::Sender::new(Gate::Pass)).collect();
        let gates = Arc::new(Gates { nodes, gates, places: Mutex::default() });
        let ports = free_ports(nodes);
        let mut proxies = JoinSet::new();
        for (to, (port, peer_port)) in ports.iter().zip(peer_ports).enumerate() {
            let listener = TcpListener::bind(("127.0.0.1", *port)).await.expect("a free port");
            proxies.spawn(accept(Arc::clone(&gates), listener, to, *peer_port));
        }
        Self { gates, ports, _proxies: proxies }
    }

    /// Sets the gate from one node to another.
    pub(crate) fn set(&self, from: usize, to: usize, gate: Gate) {
        self.gates.of(from, to).send_replace(gate);
    }

    /// Sets all gates between the nodes in `inside` and the others, in both directions.
    pub(crate) fn part(&self, inside: &[usize], gate: Gate) {
        for from in 0..self.gates.nodes {
            for to in 0..self.gates.nodes {
                if inside.contains(&from) != inside.contains(&to) {
                    self.set(from, to, gate);
                }
            }
        }
    }

    /// Opens all gates.
    pub(crate) fn heal(&self) {
        for gate in &self.gates.gates {
            gate.send_replace(Gate::Pass);
        }
    }
}

impl Gates {
    fn of(&self, from: usize, to: usize) -> &Switch {
        &self.gates[from * self.nodes + to]
    }

    /// The sender of these bytes; `None` if they do not name it yet.
    fn sender(&self, bytes: &[u8]) -> Option<usize> {
        let message = first_message(bytes)?;
        let from = Sender::decode(message).ok()?.from;
        let mut places = self.places.lock().expect("no proxy panicked");
        if let Some(place) = places.get(&from) {
            return Some(*place);
        }
        let hello = lograft::proto::v1::HandshakeRequest::decode(message).ok()?;
        let number: usize = hello.name.strip_prefix('n')?.parse().ok()?;
        places.insert(from, number - 1);
        Some(number - 1)
    }
}

async fn accept(gates: Arc<Gates>, listener: TcpListener, to: usize, peer_port: u16) {
    let mut connections = JoinSet::new();
    loop {
        let (dialled, _) = listener.accept().await.expect("connections can be taken");
        connections.spawn(carry(Arc::clone(&gates), dialled, to, peer_port));
        while connections.try_join_next().is_some() {}
    }
}

/// Carries one connection from the first byte to the last. Its two ends see how it ends.
async fn carry(gates: Arc<Gates>, mut dialled: TcpStream, to: usize, peer_port: u16) {
    let mut bytes = Vec::new();
    let from = loop {
        if let Some(from) = gates.sender(&bytes) {
            break from;
        }
        if !matches!(dialled.read_buf(&mut bytes).await, Ok(1..)) {
            return;
        }
    };
    let (there, back) = (gates.of(from, to), gates.of(to, from));
    let connected = tokio::select! {
        connected = dial(peer_port, there, back) => connected,
        // A dialler that gives up before the other end is reached leaves nothing there.
        () = gives_up(&mut dialled, &mut bytes) => return,
        () = is_cut(there, back) => return reset(&dialled),
    };
    let Ok(mut reached) = connected else { return reset(&dialled) };
    // Heartbeats must not wait for more data to send.
    let _ = (dialled.set_nodelay(true), reached.set_nodelay(true));
    let carried = async {
        let (from_dialler, to_dialler) = dialled.split();
        let (from_reached, mut to_reached) = reached.split();
        to_reached.write_all(&bytes).await?;
        tokio::try_join!(
            pump(from_dialler, to_reached, there, back),
            pump(from_reached, to_dialler, back, there),
        )
    };
    let ended = tokio::select! {
        ended = carried => ended.is_ok(),
        () = is_cut(there, back) => false,
    };
    if !ended {
        reset(&dialled);
        reset(&reached);
    }
}

/// Connects once both gates are open, because the response to the first packet must come back.
async fn dial(peer_port: u16, there: &Switch, back: &Switch) -> io::Result<TcpStream> {
    open(there).await;
    open(back).await;
    TcpStream::connect(("127.0.0.1", peer_port)).await
}

/// Carries bytes in one direction while its gate is open. The end of a connection and its errors pass the
/// gate, too.
async fn pump(
    mut source: ReadHalf<'_>,
    mut sink: WriteHalf<'_>,
    gate: &Switch,
    back: &Switch,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = source.read(&mut buffer).await;
        open(gate).await;
        let bytes = match read? {
            0 => return sink.shutdown().await,
            count => &buffer[..count],
        };
        if let Err(error) = sink.write_all(bytes).await {
            open(back).await;
            return Err(error);
        }
    }
}

async fn gives_up(dialled: &mut TcpStream, bytes: &mut Vec<u8>) {
    while matches!(dialled.read_buf(bytes).await, Ok(1..)) {}
}

async fn open(gate: &Switch) {
    gate.subscribe().wait_for(|gate| *gate == Gate::Pass).await.expect("the gates outlive the proxies");
}

async fn is_cut(there: &Switch, back: &Switch) {
    let cut = |gate: &Gate| *gate == Gate::Cut;
    let (mut there, mut back) = (there.subscribe(), back.subscribe());
    tokio::select! {
        _ = there.wait_for(cut) => {}
        _ = back.wait_for(cut) => {}
    }
}

/// Makes the end of this connection a reset.
fn reset(connection: &TcpStream) {
    // It may be closed already.
    let _ = connection.set_zero_linger();
}

/// The first gRPC message on an HTTP/2 connection, as far as the client has sent it: the content of data
/// frames, after one byte for compression and four for the length.
fn first_message(bytes: &[u8]) -> Option<&[u8]> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const HEADER_BYTES: usize = 9;
    const DATA: u8 = 0;
    let mut rest = bytes.strip_prefix(PREFACE)?;
    loop {
        let (header, behind) = rest.split_at_checked(HEADER_BYTES)?;
        let length = usize::try_from(u32::from_be_bytes([0, header[0], header[1], header[2]])).ok()?;
        let (payload, behind) = behind.split_at_checked(length)?;
        if header[3] == DATA && length > 0 {
            let (prefix, message) = payload.split_at_checked(5)?;
            let wanted = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
            return message.get(..usize::try_from(wanted).ok()?);
        }
        rest = behind;
    }
}
