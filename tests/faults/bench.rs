//! A cluster of processes whose links pass gates, and what must hold after a round.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::check::{Verdict, check};
use crate::history::{Clock, Operation};
use crate::links::Links;
use crate::support::{Cluster, Place, free_ports};
use crate::sweep::sweep;

/// The most lines shown of a node's panic.
const SHOWN_OF_A_PANIC: usize = 40;

/// A cluster, its links, and its directory.
pub(crate) struct Bench {
    // In this order: processes end before their directory is removed.
    pub(crate) cluster: Cluster,
    pub(crate) links: Links,
    pub(crate) clock: Clock,
    /// All operations of clients since the start.
    pub(crate) history: Vec<Operation>,
    kept: Kept,
}

/// Directories and logs: removed on success, kept on a panic.
struct Kept(Option<tempfile::TempDir>);

impl Kept {
    fn path(&self) -> &Path {
        self.0.as_ref().expect("the directory exists until the end").path()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(directory) = self.0.take()
        {
            eprintln!(
                "data directories, logs of the nodes and the history are kept in {}",
                directory.keep().display()
            );
        }
    }
}

impl Bench {
    /// Starts this many nodes in directories of their own, and returns when they serve.
    pub(crate) async fn start(nodes: usize) -> Self {
        let directory = tempfile::Builder::new().prefix("lograft-faults-").tempdir().expect("a directory");
        let data_dirs = (0..nodes).map(|node| directory.path().join(format!("n{}", node + 1))).collect();
        // The smallest segments allowed, so that logs roll while faults strike.
        let flags = ["--max-segment-bytes=128KiB", "--max-value-bytes=16KiB"];
        Self::start_in(directory, data_dirs, &flags).await
    }

    /// Starts a node in each of these directories, which need not exist yet, with these flags, and returns
    /// when they serve. Logs go to `directory`, which is removed unless the test panics.
    pub(crate) async fn start_in(
        directory: tempfile::TempDir,
        data_dirs: Vec<PathBuf>,
        flags: &[&str],
    ) -> Self {
        let kept = Kept(Some(directory));
        let logs = kept.path().to_owned();
        let ports = free_ports(2 * data_dirs.len());
        let (client_ports, peer_ports) = ports.split_at(data_dirs.len());
        let links = Links::start(peer_ports).await;
        let places = data_dirs.into_iter().enumerate().map(|(at, data_dir)| Place {
            data_dir,
            log_path: logs.join(format!("n{}.log", at + 1)),
            client_port: client_ports[at],
            peer_port: peer_ports[at],
            advertised_port: links.ports[at],
        });
        let mut cluster = Cluster::placed(places.collect());
        for node in &mut cluster.nodes {
            node.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
            node.start();
        }
        cluster.ready().await;
        Self { cluster, links, clock: Clock::start(), history: Vec::new(), kept }
    }

    /// The directory of the logs and, after a failure, of the history.
    pub(crate) fn directory(&self) -> &Path {
        self.kept.path()
    }

    /// Opens all links, thaws frozen nodes and starts those that were killed; returns when all of them serve.
    /// Clients may keep working meanwhile.
    pub(crate) async fn heal(&mut self) {
        self.links.heal();
        for node in &mut self.cluster.nodes {
            let ended = node.ended_by_itself();
            assert!(ended.is_none(), "{} ended by itself: {ended:?}\n{}", node.name, node.log_tail());
            if node.is_started() { node.thaw() } else { node.start() }
        }
        self.cluster.ready().await;
    }

    /// Reads back through every node what a workload wrote, once all nodes agree, and judges its history. No
    /// client may be writing.
    pub(crate) async fn settle(&mut self, name: &str, mut operations: Vec<Operation>) -> Verdict {
        self.cluster.converge().await;
        self.nobody_panicked();
        let prefix = format!("{name}/");
        let read = self.read_back(&prefix, &operations).await;
        operations.extend(read);
        let (own, lasting): (Vec<_>, Vec<_>) =
            operations.into_iter().partition(|operation| operation.key.starts_with(&prefix));
        let verdict = check(&own);
        self.history.extend(own);
        self.history.extend(lasting);
        verdict
    }

    /// Reads everything back again, and judges the history of the whole run.
    pub(crate) async fn conclude(&mut self) -> Verdict {
        self.cluster.converge().await;
        let read = self.read_back("", &self.history).await;
        self.history.extend(read);
        check(&self.history)
    }

    /// A node that panicked may have been killed before it was noticed.
    fn nobody_panicked(&self) {
        for node in &self.cluster.nodes {
            let log = std::fs::read_to_string(node.log_path()).expect("a log");
            let panic = log.lines().skip_while(|line| !line.contains("panicked at")).take(SHOWN_OF_A_PANIC);
            let panic: Vec<_> = panic.collect();
            assert!(panic.is_empty(), "{} panicked:\n{}", node.name, panic.join("\n"));
        }
    }

    async fn read_back(&self, prefix: &str, operations: &[Operation]) -> Vec<Operation> {
        let asked_for: BTreeSet<&str> = operations.iter().map(|operation| operation.key.as_str()).collect();
        let mut read = Vec::new();
        for node in 0..self.cluster.nodes.len() {
            read.extend(sweep(&self.cluster, node, prefix, &asked_for, self.clock).await);
        }
        read
    }
}
