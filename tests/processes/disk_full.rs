//! A disk without space for the next segment: writes are refused clearly, all else works, and the node
//! recovers.

use std::path::{Path, PathBuf};
use std::process::Command;

use tonic::Code;

use crate::support::Cluster;

/// A small file system in memory. Dropping it unmounts it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, options: &str) -> Self {
        std::fs::create_dir_all(at).expect("a directory");
        mount(at, options);
        Self(at.to_owned())
    }

    fn grow(&self) {
        mount(&self.0, "remount,size=64m");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a node that did not end may still have open files on it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(at: &Path, options: &str) {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at);
    assert!(command.status().expect("mount runs").success(), "only root can mount");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "mounts file systems, needs root: cargo test --test processes -- --ignored full_disk"]
async fn pitfall_63_a_full_disk_refuses_writes_clearly_reads_go_on_and_it_heals() {
    let mut cluster = Cluster::new(3);
    // There is space for the first segment of 1 MiB, but not for the second of 2 MiB.
    let disks: Vec<_> = cluster
        .nodes
        .iter_mut()
        .map(|node| {
            let disk = SmallDisk::mount(&node.data_dir.with_extension("disk"), "size=2m");
            node.data_dir = disk.0.join("data");
            disk
        })
        .collect();
    cluster.nodes.iter_mut().for_each(|node| node.start());
    cluster.ready().await;
    let leader = cluster.leader().await;
    cluster.nodes[leader].set("kept", "1").await.expect("there is space");
    let value = "v".repeat(64 << 10);
    let refused = loop {
        match cluster.nodes[leader].set("filler", &value).await {
            Ok(_) => {}
            Err(status) if status.code() == Code::ResourceExhausted => break status,
            // The last value may fit here and on no other node.
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
    };
    assert!(refused.message().contains("disk") && refused.message().contains("full"), "{refused}");
    assert_eq!(refused.metadata().get("lograft-outcome").expect("an outcome"), "not-applied");

    let status = cluster.nodes[leader].status().await.expect("a status");
    assert!(status.disk_full);
    let term = status.header.expect("a header").term;
    for place in 0..30 {
        // Each read needs a round of heartbeats.
        let found = cluster.nodes[place % 3].get("kept").await.expect("reads still work");
        assert_eq!(found.as_deref(), Some("1"));
        let refused = cluster.nodes[place % 3].set("filler", &value).await.expect_err("still full");
        assert!([Code::ResourceExhausted, Code::Unavailable].contains(&refused.code()), "{refused}");
    }
    let status = cluster.nodes[leader].status().await.expect("a status");
    assert_eq!(status.header.expect("a header").term, term, "an election, although heartbeats need no disk");

    disks.iter().for_each(SmallDisk::grow);
    cluster.heal("filler", &value).await;
    cluster.converge().await;
    let log = std::fs::read_to_string(cluster.nodes[leader].log_path()).expect("a log");
    for said in ["cannot prepare the next segment of the log", "is prepared at last"] {
        assert!(log.contains(said), "the leader did not log that {said}:\n{log}");
    }
    for node in &mut cluster.nodes {
        assert_eq!(node.terminate().code(), Some(0));
    }
}
