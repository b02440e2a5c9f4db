//! Three nodes in one process, over loopback: every request through every node, races, reads, pages, lost leaders, and
//! a peer that is typed by hand.

#![cfg(feature = "server")]

mod by_hand;
mod http;
mod nodes;
mod requests;
mod stopping;
