//! Keeping processes running, with shell scripts in the place of nodes.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::cli::args::ClusterArgs;

struct Kept {
    happened: mpsc::Receiver<Event>,
    stop: watch::Sender<Stop>,
    keeper: tokio::task::JoinHandle<()>,
    _dir: TempDir,
}

/// Keeps a script running as if it were a node.
fn keep(script: &str, restart_after: Option<Duration>) -> Kept {
    let dir = tempfile::tempdir().unwrap();
    let executable = dir.path().join("node.sh");
    // Written and closed by another process: as long as this one has it open for writing, even in a child of another
    // test between fork and exec, it could not be run.
    let copied = std::process::Command::new("/bin/sh")
        .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\"", "sh", script])
        .arg(&executable)
        .status();
    assert!(copied.unwrap().success());
    std::fs::set_permissions(&executable, std::fs::Permissions::from_mode(0o700)).unwrap();
    let data_dir = dir.path().join("n1.lograft");
    std::fs::create_dir(&data_dir).unwrap();
    std::fs::write(data_dir.join("meta.json"), "").unwrap();
    let plan = Plan::new(&ClusterArgs {
        nodes: 1,
        data_dir: dir.path().to_owned(),
        no_restart: false,
        base_client_port: None,
        serve_flags: Vec::new(),
    });
    let (events, happened) = mpsc::channel(64);
    let (stop, stopping) = watch::channel(Stop::No);
    let keeper =
        Keeper { plan: Arc::new(plan.unwrap()), node: 0, executable, restart_after, events, stop: stopping };
    Kept { happened, stop, keeper: tokio::spawn(keeper.run()), _dir: dir }
}

impl Kept {
    async fn started(&mut self) -> (u32, bool) {
        match self.happened.recv().await {
            Some(Event::Started { pid, again, .. }) => (pid, again),
            other => panic!("not started: {other:?}"),
        }
    }

    async fn died(&mut self) -> (String, bool, Vec<String>) {
        match self.happened.recv().await {
            Some(Event::Died { reason, by_itself, last_lines, .. }) => (reason, by_itself, last_lines),
            other => panic!("not died: {other:?}"),
        }
    }

    fn data_dir(&self) -> PathBuf {
        self._dir.path().join("n1.lograft")
    }
}

#[tokio::test]
async fn the_pipe_that_tells_a_node_of_its_parent_stays_open() {
    let mut kept = keep("echo ready; exec cat", None);
    let (pid, _) = kept.started().await;
    let log = kept._dir.path().join("n1.log");
    while last_lines(&log, 0) != ["ready"] {
        tokio::task::yield_now().await;
    }
    let pipe = std::fs::read_link(format!("/proc/{pid}/fd/0")).unwrap();
    assert!(pipe.to_string_lossy().starts_with("pipe:"), "{pipe:?}");
    let mine = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let held = mine.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|link| link == pipe);
    assert!(held, "this process holds the other end");
    kept.stop.send_replace(Stop::InOrder);
    kept.keeper.await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_killed_is_reported_and_started_again() {
    let mut kept = keep("exec cat", Some(Duration::from_millis(1)));
    let (first, again) = kept.started().await;
    assert!(!again);
    kill_process(Pid::from_raw(first.cast_signed()).unwrap(), Signal::KILL).unwrap();
    let (reason, by_itself, _) = kept.died().await;
    assert_eq!(reason, "was killed by signal 9 (SIGKILL)");
    assert!(!by_itself);
    let (second, again) = kept.started().await;
    assert!(again && second != first);
    kept.stop.send_replace(Stop::InOrder);
    kept.keeper.await.unwrap();
}

#[tokio::test]
async fn a_node_that_ends_is_reported_with_its_last_lines_and_stays_down_if_that_is_wanted() {
    let mut kept = keep("echo one; echo two >&2; exit 3", None);
    kept.started().await;
    let (reason, by_itself, last_lines) = kept.died().await;
    assert_eq!(reason, "ended with exit code 3");
    assert!(by_itself);
    assert_eq!(last_lines, ["one", "two"]);
    kept.keeper.await.unwrap();
    assert!(kept.happened.recv().await.is_none());
}

#[tokio::test]
async fn a_node_that_cannot_be_started_is_reported() {
    let mut kept = keep("exit 0", None);
    // Before the keeper's first turn.
    std::fs::remove_file(kept._dir.path().join("node.sh")).unwrap();
    let (reason, _, _) = kept.died().await;
    assert!(reason.contains("could not be started"), "{reason}");
}

#[tokio::test]
async fn a_node_that_dies_again_and_again_is_started_less_and_less_often() {
    let mut kept = keep("exit 3", Some(Duration::from_millis(1)));
    let mut pauses = Vec::new();
    for _ in 0..6 {
        kept.started().await;
        match kept.happened.recv().await {
            Some(Event::Died { again_in: Some(pause), .. }) => pauses.push(pause.as_millis()),
            other => panic!("not died: {other:?}"),
        }
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32]);
    kept.stop.send_replace(Stop::InOrder);
    kept.keeper.await.unwrap();
}

#[tokio::test]
async fn pitfall_34_a_node_whose_directory_is_gone_waits_for_it_and_never_starts_empty() {
    let mut kept = keep("exec cat", Some(Duration::from_millis(1)));
    let (pid, _) = kept.started().await;
    let (data_dir, moved) = (kept.data_dir(), kept._dir.path().join("moved"));
    std::fs::rename(&data_dir, &moved).unwrap();
    std::fs::create_dir(&data_dir).unwrap();
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
    kept.died().await;
    assert_eq!(kept.happened.recv().await, Some(Event::Missing { node: 0 }));
    std::fs::remove_dir(&data_dir).unwrap();
    std::fs::rename(&moved, &data_dir).unwrap();
    let (_, again) = kept.started().await;
    assert!(again);
    kept.stop.send_replace(Stop::InOrder);
    kept.keeper.await.unwrap();
}

#[tokio::test]
async fn a_node_that_does_not_stop_in_order_is_killed_at_the_second_request() {
    // The line comes after the trap is set, so from then on a SIGTERM does nothing.
    let mut kept = keep("trap '' TERM; echo ready; while :; do sleep 1; done", None);
    let (pid, _) = kept.started().await;
    let log = kept._dir.path().join("n1.log");
    while last_lines(&log, 0) != ["ready"] {
        tokio::task::yield_now().await;
    }
    kept.stop.send_replace(Stop::InOrder);
    tokio::task::yield_now().await;
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    assert!(rustix::process::test_kill_process(pid).is_ok());
    kept.stop.send_replace(Stop::AtOnce);
    kept.keeper.await.unwrap();
    assert!(rustix::process::test_kill_process(pid).is_err(), "it is gone and was waited for");
}

#[test]
fn the_reason_of_a_death_is_told_in_words() {
    // The wait status of the operating system: a signal in the low bits, an exit code above them.
    assert_eq!(describe(ExitStatus::from_raw(9)), "was killed by signal 9 (SIGKILL)");
    assert_eq!(describe(ExitStatus::from_raw(34)), "was killed by signal 34");
    assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "ended with exit code 3");
    assert_eq!(describe(ExitStatus::from_raw(0)), "stopped (exit code 0)");
}
