//! Real file systems that fail: they lose power, fill up or freeze under nodes that run as processes.
//!
//! ```text
//! cargo test --test faults power -- --ignored --nocapture                    a few rounds; needs root, loop devices
//! LOGRAFT_POWER_CUTS=60 LOGRAFT_FULL_DISKS=10 LOGRAFT_FREEZES=10 \
//!     cargo test --test faults power -- --ignored --nocapture                the long run
//! LOGRAFT_POWER_SEED=7 cargo test --test faults power -- --ignored           another plan
//! ```
//!
//! Each of three nodes has its own ext4 or XFS file system on a loop device. Clients work through all of it,
//! and their histories are judged as in all rounds. The plan follows from the seed; how processes and disks
//! react does not.

mod cuts;
mod disks;
mod frozen;
mod full;
mod instrument;
mod machines;

use crate::setting;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "loop devices and mounts, needs root: cargo test --test faults power -- --ignored --nocapture"]
async fn disks_that_fail_lose_no_acknowledged_write() {
    let seed = setting("LOGRAFT_POWER_SEED").unwrap_or(1);
    let (wanted, full_disks) =
        (setting("LOGRAFT_POWER_CUTS").unwrap_or(12), setting("LOGRAFT_FULL_DISKS").unwrap_or(5));
    let freezes = setting("LOGRAFT_FREEZES").unwrap_or(5);
    let (cuts, mut tally) = cuts::cut(wanted, seed).await;
    tally.add(&full::fill(full_disks, seed).await);
    tally.add(&frozen::freeze(freezes, seed).await);
    println!(
        "proof: power cuts: {} cuts ({} ext4, {} xfs), {full_disks} full disks, {freezes} freezes, {} operations \
         ({} acknowledged writes, {} unknown), {} histories, 0 lost",
        cuts.all(),
        cuts.ext4,
        cuts.xfs,
        tally.operations,
        tally.acknowledged,
        tally.unknown,
        tally.histories
    );
}
