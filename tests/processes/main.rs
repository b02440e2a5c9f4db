//! Real nodes as separate processes: killed, restarted, told to stop, given damaged or full disks, refused at
//! the start, kept running, frozen, and watched while they flush; and clients that are many, silent, slow or do
//! not read.

#[path = "../support/mod.rs"]
mod support;

mod by_hand;
mod crowd;
mod damage;
mod disk_full;
mod frozen;
mod kill;
mod memory;
mod quorum;
mod refused;
mod silent;
mod stop;
mod strace;
mod supervisor;
