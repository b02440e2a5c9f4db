//! Real nodes as processes of their own: killed, started again, told to stop, given damaged disks.

#![cfg(feature = "server")]

mod by_hand;
mod damage;
mod kill;
mod stop;
mod support;
