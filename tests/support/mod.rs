//! A cluster of real processes on loopback, each of which can be killed, frozen and restarted.

#![allow(dead_code, reason = "each test target uses a part of it")]

mod ports;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lograft::proto::v1;
use lograft::proto::v1::cluster_client::ClusterClient;
use lograft::proto::v1::kv_client::KvClient;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

pub(crate) use ports::free_ports;

/// Nothing here takes this long on the slowest machine. After this time a test fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Three nodes, or one. Dropping it kills its processes.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    /// The nodes' directory, unless the caller owns it.
    _data: Option<tempfile::TempDir>,
}

/// A node's files and ports.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) data_dir: PathBuf,
    /// The file for its log output, in all its lives.
    pub(crate) log_path: PathBuf,
    pub(crate) client_port: u16,
    /// The port that it listens on for peers.
    pub(crate) peer_port: u16,
    /// The port that it tells its peers. If it differs, a proxy listens there.
    pub(crate) advertised_port: u16,
}

/// A node: its place, and its process if it runs.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) client_port: u16,
    pub(crate) peer_port: u16,
    /// Flags other than its name, files and addresses.
    pub(crate) flags: Vec<String>,
    /// The number of starts, including the one in progress.
    pub(crate) lives: Arc<AtomicU64>,
    log_path: PathBuf,
    members: String,
    process: Option<Child>,
}

impl Cluster {
    /// Starts this many nodes, and returns when they serve linearizable reads.
    pub(crate) async fn start(count: usize) -> Self {
        let mut cluster = Self::new(count);
        for node in &mut cluster.nodes {
            node.start();
        }
        cluster.ready().await;
        cluster
    }

    /// A cluster whose nodes are not started yet.
    pub(crate) fn new(count: usize) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let ports = free_ports(2 * count);
        let places = (0..count).map(|place| Place {
            data_dir: data.path().join(format!("n{}", place + 1)),
            log_path: data.path().join(format!("n{}.log", place + 1)),
            client_port: ports[2 * place],
            peer_port: ports[2 * place + 1],
            advertised_port: ports[2 * place + 1],
        });
        let Self { nodes, .. } = Self::placed(places.collect());
        Self { nodes, _data: Some(data) }
    }

    /// A cluster with its nodes at these places, n1 first, not started yet.
    pub(crate) fn placed(places: Vec<Place>) -> Self {
        let members = places.iter().enumerate();
        let members: Vec<_> = members
            .map(|(at, place)| format!("n{}=http://127.0.0.1:{}", at + 1, place.advertised_port))
            .collect();
        let nodes = places.into_iter().enumerate().map(|(at, place)| Node {
            name: format!("n{}", at + 1),
            data_dir: place.data_dir,
            client_port: place.client_port,
            peer_port: place.peer_port,
            flags: Vec::new(),
            lives: Arc::default(),
            log_path: place.log_path,
            members: members.join(","),
            process: None,
        });
        Self { nodes: nodes.collect(), _data: None }
    }

    /// Waits until every running node serves linearizable reads.
    pub(crate) async fn ready(&self) {
        for node in self.nodes.iter().filter(|node| node.process.is_some()) {
            node.eventually_gets("ready", |_| true).await;
        }
    }

    /// The position of the leader, once a majority of the running nodes agree on one that runs.
    pub(crate) async fn leader(&self) -> usize {
        let begun = Instant::now();
        loop {
            for (place, node) in self.nodes.iter().enumerate() {
                if node.process.is_some()
                    && let Ok(status) = node.status().await
                    && status.role == "leader"
                    && node.kv().await.is_ok()
                {
                    return place;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "no node leads");
            pause().await;
        }
    }

    /// Writes through every node until each accepts a write. Only for tests that do not count writes.
    pub(crate) async fn heal(&self, key: &str, value: &str) {
        let begun = Instant::now();
        for node in &self.nodes {
            while let Err(error) = node.set(key, value).await {
                let passing = [Code::ResourceExhausted, Code::Unavailable];
                assert!(passing.contains(&error.code()), "{error}");
                assert!(begun.elapsed() < PATIENCE, "{}: {error}", node.name);
                pause().await;
            }
        }
    }

    /// Waits until all nodes have applied the same index and show the same state hash.
    pub(crate) async fn converge(&self) {
        let begun = Instant::now();
        loop {
            let mut seen = Vec::new();
            for node in &self.nodes {
                seen.push(node.status().await.map(|status| (status.applied_index, status.state_hash)));
            }
            if seen.iter().all(|status| status.as_ref().ok() == seen[0].as_ref().ok() && status.is_ok()) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "the nodes do not converge: {seen:?}");
            pause().await;
        }
    }
}

impl Node {
    /// Its command line, without the program.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "serve".to_owned(),
            format!("--name={}", self.name),
            format!("--data-dir={}", self.data_dir.display()),
            format!("--listen-client-urls=http://127.0.0.1:{}", self.client_port),
            format!("--listen-peer-urls=http://127.0.0.1:{}", self.peer_port),
            format!("--initial-cluster={}", self.members),
        ];
        arguments.extend(self.flags.iter().cloned());
        arguments
    }

    /// The file for its log output, in all its lives.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.log_path.clone()
    }

    /// Starts its process.
    pub(crate) fn start(&mut self) {
        let mut command = Command::new(program());
        command.args(self.arguments());
        self.start_as(command);
    }

    /// Starts it with this command.
    pub(crate) fn start_as(&mut self, mut command: Command) {
        assert!(self.process.is_none(), "the node already runs");
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log file");
        let stdout = log.try_clone().expect("a log file");
        self.lives.fetch_add(1, Ordering::SeqCst);
        let process =
            command.stdin(Stdio::null()).stdout(stdout).stderr(log).spawn().expect("the node starts");
        self.process = Some(process);
    }

    /// Kills it like `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("the node runs");
        process.kill().expect("the process can be killed");
        process.wait().expect("the process has ended");
    }

    /// Whether it was started and not ended by the test. It may have ended by itself.
    pub(crate) fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// How it ended, if the test did not end it.
    pub(crate) fn ended_by_itself(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(|process| process.try_wait().expect("a child of this process"))
    }

    /// Starts it so that it may have this many file descriptors and no more.
    pub(crate) fn start_with_descriptors(&mut self, most: u32) {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n \"$0\" && exec \"$@\""]).arg(most.to_string());
        command.arg(program()).args(self.arguments());
        self.start_as(command);
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.process.as_ref().expect("the node runs"))
    }

    /// The memory that it has allocated: what is neither a file's nor given back.
    pub(crate) fn anonymous_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid().as_raw_nonzero());
        let status = std::fs::read_to_string(path).expect("the node runs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux tells it");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib << 10
    }

    /// Sends SIGTERM and waits for its end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        wait(self.process.take().expect("the node runs"))
    }

    /// Stops it (SIGSTOP) in the middle of whatever it does.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes it. Has no effect on a node that is not frozen.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process can be signalled");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait(self.process.take().expect("the node runs"))
    }

    pub(crate) async fn channel(&self) -> Result<Channel, Status> {
        let url = format!("http://127.0.0.1:{}", self.client_port);
        let endpoint = Endpoint::from_shared(url).expect("a URL").connect_timeout(Duration::from_secs(1));
        endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))
    }

    pub(crate) async fn kv(&self) -> Result<KvClient<Channel>, Status> {
        Ok(KvClient::new(self.channel().await?))
    }

    pub(crate) async fn status(&self) -> Result<v1::StatusResponse, Status> {
        let mut client = ClusterClient::new(self.channel().await?);
        Ok(client.status(v1::StatusRequest {}).await?.into_inner())
    }

    pub(crate) async fn set(&self, key: &str, value: &str) -> Result<v1::SetResponse, Status> {
        let request = v1::SetRequest { key: key.to_owned(), value: value.to_owned(), ..Default::default() };
        Ok(self.kv().await?.set(request).await?.into_inner())
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<String>, Status> {
        self.read(v1::GetRequest { key: key.to_owned(), serializable: false }).await
    }

    /// Reads from its own map, which may be stale.
    pub(crate) async fn get_serializable(&self, key: &str) -> Result<Option<String>, Status> {
        self.read(v1::GetRequest { key: key.to_owned(), serializable: true }).await
    }

    async fn read(&self, request: v1::GetRequest) -> Result<Option<String>, Status> {
        let answer = self.kv().await?.get(request).await?.into_inner();
        Ok(answer.kv.map(|kv| kv.value))
    }

    /// Sets, and retries until acknowledged. Only for tests that do not count writes.
    pub(crate) async fn eventually_sets(&self, key: &str, value: &str) {
        let begun = Instant::now();
        while let Err(error) = self.set(key, value).await {
            assert_eq!(error.code(), Code::Unavailable, "{error}");
            assert!(begun.elapsed() < PATIENCE, "{}: {error}", self.name);
            pause().await;
        }
    }

    /// Reads until the value is as wanted.
    pub(crate) async fn eventually_gets(&self, key: &str, wanted: impl Fn(Option<&str>) -> bool) {
        let begun = Instant::now();
        loop {
            let found = self.get(key).await;
            if found.as_ref().is_ok_and(|value| wanted(value.as_deref())) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{}: {found:?}\n{}", self.name, self.log_tail());
            pause().await;
        }
    }

    /// Its status, as soon as it responds.
    pub(crate) async fn eventually_status(&self) -> v1::StatusResponse {
        let begun = Instant::now();
        loop {
            match self.status().await {
                Ok(status) => return status,
                Err(error) => {
                    assert!(begun.elapsed() < PATIENCE, "{}: {error}\n{}", self.name, self.log_tail())
                }
            }
            pause().await;
        }
    }

    /// The lines of its log with these words.
    pub(crate) fn logged(&self, words: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        log.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }

    /// Waits until its log has a line with these words.
    pub(crate) async fn eventually_logs(&self, words: &str) {
        let begun = Instant::now();
        while self.logged(words).is_empty() {
            assert!(begun.elapsed() < PATIENCE, "{}: no line with {words:?}\n{}", self.name, self.log_tail());
            pause().await;
        }
    }

    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn wait(mut process: Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = process.try_wait().expect("a child of this process") {
            return status;
        }
        if begun.elapsed() > PATIENCE {
            let _ = process.kill();
            panic!("the process does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The program.
pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_lograft")
}

/// The pause between two looks at something that is about to happen.
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Runs the program with these arguments. Returns its exit code, its output and its errors.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_lograft")).args(arguments).output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("the program exits"), text(output.stdout), text(output.stderr))
}

/// The segment files of a data directory, oldest first.
pub(crate) fn segments(data_dir: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(data_dir).expect("a data directory");
    let mut paths: Vec<_> = listed.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}
