//! `lograft cluster`: it never gives a member an empty directory in place of the one that it had, and shares its
//! directory with no other.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::support::{PATIENCE, free_ports, pause, run};

/// A running `lograft cluster`. Dropping it kills it, and its nodes end with it.
struct Supervisor {
    process: Child,
    base: u16,
    news: PathBuf,
    dir: PathBuf,
}

impl Supervisor {
    fn start(dir: &Path, base: u16) -> Self {
        let news = dir.with_extension("news");
        let out = fs::File::create(&news).expect("a file");
        let errors = out.try_clone().expect("a file");
        let process = Command::new(env!("CARGO_BIN_EXE_lograft"))
            .args(arguments(dir, base))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors)
            .spawn()
            .expect("the cluster starts");
        Self { process, base, news, dir: dir.to_owned() }
    }

    /// Waits for a line of news that contains this text, after the lines in `seen`.
    async fn says(&self, text: &str, seen: usize) -> String {
        let begun = Instant::now();
        loop {
            let news = self.news();
            if let Some(line) = news.lines().skip(seen).find(|line| line.contains(text)) {
                return line.to_owned();
            }
            assert!(begun.elapsed() < PATIENCE, "no news of {text:?}:\n{news}");
            pause().await;
        }
    }

    fn news(&self) -> String {
        fs::read_to_string(&self.news).expect("text")
    }

    fn data_dir(&self, node: usize) -> PathBuf {
        self.dir.join(format!("n{node}.lograft"))
    }

    fn set(&self, node: u16, key: &str) -> (i32, String, String) {
        run(&["set", key, "v", "--endpoints", &format!("127.0.0.1:{}", self.base + 2 * (node - 1))])
    }

    /// Kills the node that this line says runs.
    fn kill(line: &str) {
        let pid = line.split("pid ").nth(1).and_then(|rest| rest.split(',').next()).expect("a pid");
        let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a pid");
        kill_process(pid, Signal::KILL).expect("the node runs");
    }

    async fn stop(&mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("it runs");
        let begun = Instant::now();
        while self.process.try_wait().expect("a child of this process").is_none() {
            assert!(begun.elapsed() < PATIENCE, "it does not stop:\n{}", self.news());
            pause().await;
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn arguments(dir: &Path, base: u16) -> Vec<String> {
    let words =
        ["cluster", "--base-client-port", &base.to_string(), "--data-dir", dir.to_str().expect("text")];
    words.map(str::to_owned).to_vec()
}

/// The first of six free ports in a row.
fn six_ports() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut candidates = std::iter::repeat_with(|| free_ports(6)[0]);
    candidates.find(|base| (0..6).all(|offset| is_free(base + offset))).expect("endless")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_34_a_member_never_starts_with_an_empty_directory_in_place_of_its_own() {
    let data = tempfile::tempdir().expect("a directory");
    let mut cluster = Supervisor::start(&data.path().join("data"), six_ports());
    cluster.says("the cluster is ready", 0).await;
    assert_eq!(cluster.set(1, "a").0, 0);

    let moved = data.path().join("moved");
    fs::rename(cluster.data_dir(2), &moved).expect("a data directory");
    let seen = cluster.news().lines().count();
    Supervisor::kill(&cluster.says("n2 runs", 0).await);
    let line = cluster.says("n2 is not started", seen).await;
    assert!(line.contains("n2.lograft is gone") && line.contains("lose acknowledged writes"), "{line}");
    assert!(!cluster.data_dir(2).exists(), "something took its place");
    let (code, _, errors) = cluster.set(3, "b");
    assert_eq!(code, 0, "the others serve: {errors}");

    fs::rename(&moved, cluster.data_dir(2)).expect("its place is free");
    cluster.says("n2 runs again", seen).await;
    cluster.stop().await;

    // The same at the start of the whole cluster.
    fs::rename(cluster.data_dir(2), &moved).expect("a data directory");
    let mut cluster = Supervisor::start(&cluster.dir.clone(), cluster.base);
    cluster.says("n2 is not started", 0).await;
    cluster.says("leads", 0).await;
    assert_eq!(cluster.set(1, "c").0, 0);
    assert!(!cluster.data_dir(2).exists(), "something took its place");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_cluster_on_the_same_directory_is_refused() {
    let data = tempfile::tempdir().expect("a directory");
    let mut cluster = Supervisor::start(&data.path().join("data"), six_ports());
    cluster.says("the cluster is ready", 0).await;
    let second = arguments(&cluster.dir, six_ports());
    let (code, output, errors) = run(&second.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((code, output.as_str()), (1, ""), "{errors}");
    for part in ["another `lograft cluster` uses", "--data-dir", "nothing was started"] {
        assert!(errors.contains(part), "{errors}");
    }
    assert_eq!(cluster.set(1, "a").0, 0);
    cluster.stop().await;
}
