//! Real nodes as processes of their own: killed, started again, told to stop, given damaged or full disks, refused a
//! start, and watched while they flush.

#[path = "../support/mod.rs"]
mod support;

mod by_hand;
mod damage;
mod disk_full;
mod kill;
mod refused;
mod stop;
mod strace;
