//! Which members have a data directory, so that none of them is ever started with an empty one.
//!
//! A member that starts empty has forgotten its votes and the entries that it acknowledged: with it, a majority can drop
//! acknowledged writes. So the directories of a new cluster are made before any node runs, then `cluster.json` records
//! them, and from then on nodes are started with `--initial-cluster-state existing`, which refuses an empty directory.
//!
//! | `cluster.json` | directories | |
//! |---|---|---|
//! | missing | none was used by a running node | what is missing is made, then recorded |
//! | missing | all are there | recorded: they are older than this file, or it was lost |
//! | missing | one was used, another is missing | refused |
//! | there | at least one is there | those run; for the others the cluster waits |
//! | there | none is there | refused |
//!
//! # Caveats
//! - An older copy of a directory cannot be told from the directory itself.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::{NodePlan, Plan};
use crate::server;
use lograft_storage::{Directory, Os, RealOs};

const RECORD_FILE: &str = "cluster.json";
/// A record of nine members is far smaller.
const MAX_RECORD_BYTES: u64 = 1 << 20;

/// The members whose data directories have been made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    members: Vec<Recorded>,
}

/// A member as `--initial-cluster` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recorded {
    name: String,
    peer_url: String,
}

impl Plan {
    /// Makes the data directories of a new cluster and records them; checks those of an old one.
    ///
    /// # Errors
    /// Why nothing may be started, and what to do.
    pub(super) fn found(&self) -> Result<(), String> {
        let path = self.dir.join(RECORD_FILE);
        let is_there = |node: &&NodePlan| Directory::is_founded(&node.data_dir);
        let Some(record) = read(&path)? else {
            self.make_directories()?;
            return write(&path, &Record::of(self));
        };
        if record != Record::of(self) {
            let members: Vec<String> =
                record.members.iter().map(|member| format!("{}={}", member.name, member.peer_url)).collect();
            return Err(other_cluster(&self.dir, &members));
        }
        if self.nodes.iter().any(|node| is_there(&node)) {
            return Ok(());
        }
        Err(format!(
            "{} says that the members of a cluster have data directories here, and none is left: put them back, or give \
             another --data-dir for a new cluster; nothing was started",
            path.display()
        ))
    }

    fn make_directories(&self) -> Result<(), String> {
        let missing = self.nodes.iter().position(|node| !Directory::is_founded(&node.data_dir));
        let used = self.nodes.iter().find(|node| Directory::is_begun(&node.data_dir));
        if let (Some(missing), Some(used)) = (missing, used) {
            return Err(format!(
                "{} was used by a cluster, and {} holds no node: put that very directory back, because an empty one in \
                 its place can lose acknowledged writes; nothing was started",
                used.data_dir.display(),
                self.nodes[missing].data_dir.display()
            ));
        }
        for node in 0..self.nodes.len() {
            let config = self.config(node)?;
            server::open_directory(&config).map_err(|error| format!("{error}; nothing was started"))?;
        }
        Ok(())
    }
}

impl Record {
    fn of(plan: &Plan) -> Self {
        let recorded = |node: &NodePlan| Recorded {
            name: node.name.clone(),
            peer_url: format!("http://{}", node.peer()),
        };
        Self { members: plan.nodes.iter().map(recorded).collect() }
    }
}

/// The refusal of a directory that was made with other `--nodes` or ports.
pub(super) fn other_cluster(dir: &Path, members: &[String]) -> String {
    format!(
        "{} belongs to a cluster of {} ({}), and members and ports cannot be changed yet: give the --nodes and \
         --base-client-port that it was made with, or another --data-dir; nothing was started",
        dir.display(),
        members.len(),
        members.join(" ")
    )
}

/// The record; `None` before the first start.
fn read(path: &PathBuf) -> Result<Option<Record>, String> {
    use std::io::Read;
    let mut text = String::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(MAX_RECORD_BYTES).read_to_string(&mut text));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}; nothing was started", path.display())),
    }
    serde_json::from_str(&text).map(Some).map_err(|error| {
        format!(
            "{} is damaged ({error}): if the data directories of all members are there, remove this file, and it is \
             written again; nothing was started",
            path.display()
        )
    })
}

fn write(path: &Path, record: &Record) -> Result<(), String> {
    let json = serde_json::to_vec_pretty(record).expect("names and URLs can be written as JSON");
    // It must be durable before a node runs: what a node promises is lost with its directory.
    RealOs
        .write_file_atomically(path, &json)
        .map_err(|error| format!("cannot write {}: {error}; nothing was started", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::ClusterArgs;

    fn plan(dir: &Path) -> Plan {
        Plan::new(&ClusterArgs {
            nodes: 3,
            data_dir: dir.into(),
            no_restart: false,
            base_client_port: Some(41_000),
            serve_flags: Vec::new(),
        })
        .unwrap()
    }

    fn founded(plan: &Plan) -> Vec<bool> {
        plan.nodes.iter().map(|node| Directory::is_founded(&node.data_dir)).collect()
    }

    /// What the first start of a node leaves.
    fn begin(node: &NodePlan) {
        std::fs::write(node.data_dir.join("log.started"), "").unwrap();
    }

    #[track_caller]
    fn assert_refused(plan: &Plan, says: &[&str]) {
        let line = plan.found().unwrap_err();
        for part in says.iter().chain(&["nothing was started"]) {
            assert!(line.contains(part), "{line:?} does not say {part:?}");
        }
    }

    #[test]
    fn the_directories_of_a_new_cluster_are_made_before_a_node_runs() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path());
        plan.found().unwrap();
        assert_eq!(founded(&plan), [true; 3]);
        plan.found().expect("the second start");
    }

    #[test]
    fn a_founding_that_was_cut_short_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path());
        server::open_directory(&plan.config(1).unwrap()).unwrap();
        plan.found().unwrap();
        assert_eq!(founded(&plan), [true; 3]);
    }

    #[test]
    fn pitfall_34_a_member_whose_directory_is_gone_gets_no_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path());
        plan.found().unwrap();
        std::fs::rename(&plan.nodes[1].data_dir, dir.path().join("moved")).unwrap();
        plan.found().expect("the others run");
        assert_eq!(founded(&plan), [true, false, true]);
        // The same without the record, for example because an earlier version made the cluster.
        std::fs::remove_file(dir.path().join(RECORD_FILE)).unwrap();
        begin(&plan.nodes[0]);
        assert_refused(
            &plan,
            &["n2.lograft holds no node", "n1.lograft was used", "lose acknowledged writes"],
        );
        assert_eq!(founded(&plan), [true, false, true]);
        std::fs::rename(dir.path().join("moved"), &plan.nodes[1].data_dir).unwrap();
        plan.found().unwrap();
        assert!(dir.path().join(RECORD_FILE).exists());
    }

    #[test]
    fn without_any_directory_left_nothing_runs() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path());
        plan.found().unwrap();
        for node in &plan.nodes {
            std::fs::remove_dir_all(&node.data_dir).unwrap();
        }
        assert_refused(&plan, &["cluster.json", "none is left"]);
        assert_eq!(founded(&plan), [false; 3]);
    }

    #[test]
    fn a_record_of_other_members_or_of_nothing_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RECORD_FILE);
        let plan = plan(dir.path());
        plan.found().unwrap();
        let two = Record { members: Record::of(&plan).members[..2].to_vec() };
        write(&path, &two).unwrap();
        assert_refused(&plan, &["belongs to a cluster of 2", "n2=http://127.0.0.1:41003"]);
        std::fs::write(&path, "{").unwrap();
        assert_refused(&plan, &["cluster.json is damaged", "remove this file"]);
    }
}
