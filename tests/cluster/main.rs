//! Three nodes in one process, over loopback: every request through every node, races, reads, pages, lost
//! leaders, large values, and appends written by hand.

#[path = "../support/ports.rs"]
mod ports;

mod by_hand;
mod http;
mod limits;
mod nodes;
mod requests;
mod stopping;
