//! Real nodes as separate processes: killed, restarted, told to stop, given damaged or full disks, refused at
//! the start, kept running, frozen, and watched while they flush.

#[path = "../support/mod.rs"]
mod support;

mod by_hand;
mod damage;
mod disk_full;
mod frozen;
mod kill;
mod quorum;
mod refused;
mod stop;
mod strace;
mod supervisor;
