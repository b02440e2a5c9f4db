//! Ports for the nodes of a test.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ports for outgoing connections. None of those can take a port between this check and a node's
/// bind, or while the node is down.
const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

/// Free ports, each handed out only once in this process. Other processes begin at another port.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(397);
    let candidates = std::iter::repeat_with(|| {
        let place = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        u16::try_from(FIRST + place % COUNT).expect("a port")
    });
    let free = candidates.take(COUNT as usize).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let ports: Vec<_> = free.take(count).collect();
    assert_eq!(ports.len(), count, "no port is free");
    ports
}
