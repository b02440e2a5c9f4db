//! No Set is acknowledged before a majority has flushed it, as seen by the operating system.
//!
//! Three nodes run under strace, which records when each flush began and ended, by the same clock as this
//! test. One flush between a request and its response is enough for a node; a flush that began before the
//! request was sent proves nothing.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lograft::proto::v1;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::support::{Cluster, PATIENCE, pause};

/// Microseconds since 1970; strace prints seconds.
type Micros = u64;

/// A successful flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flush {
    began: Micros,
    ended: Micros,
}

/// The time from a request to its response.
#[derive(Clone, Copy, Debug)]
struct Window {
    sent: Micros,
    answered: Micros,
}

impl Window {
    fn holds(self, flush: Flush) -> bool {
        self.sent <= flush.began && flush.ended <= self.answered
    }
}

/// How many of these nodes flushed within the window.
fn nodes_that_flushed(window: Window, nodes: &[Vec<Flush>]) -> usize {
    nodes.iter().filter(|flushes| flushes.iter().any(|flush| window.holds(*flush))).count()
}

/// The flushes in the output of `strace -f -ttt -T`.
fn flushes(trace: &str) -> Vec<Flush> {
    let mut begun = BTreeMap::new();
    let mut flushes = Vec::new();
    for line in trace.lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(at)) = (words.next(), words.next().and_then(micros)) else { continue };
        let call = words.next().unwrap_or_default();
        if line.ends_with("<unfinished ...>") {
            begun.insert(thread, at);
            continue;
        }
        let resumed = call == "<...";
        let began = if resumed { begun.remove(thread) } else { Some(at) };
        let is_flush = line.contains("fdatasync") || line.contains("fsync");
        let succeeded = line.split(" = ").nth(1).is_some_and(|result| result.starts_with("0 "));
        let took = line.rsplit_once('<').and_then(|(_, took)| micros(took.trim_end_matches('>')));
        if let (Some(began), Some(took), true, true) = (began, took, is_flush, succeeded) {
            flushes.push(Flush { began, ended: began + took });
        }
    }
    flushes
}

/// "1700000000.000123"
fn micros(seconds: &str) -> Option<Micros> {
    let (whole, part) = seconds.split_once('.')?;
    if part.len() != 6 {
        return None;
    }
    Some(whole.parse::<u64>().ok()? * 1_000_000 + part.parse::<u64>().ok()?)
}

#[expect(clippy::disallowed_methods, reason = "strace's clock is the wall clock")]
fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since.as_micros()).expect("microseconds fit into 64 bits")
}

#[test]
fn the_checker_finds_an_answer_without_its_flushes() {
    let window = Window { sent: 1_000_000, answered: 1_900_000 };
    let count = |traces: [&str; 3]| nodes_that_flushed(window, &traces.map(flushes));
    let within = "7 1.500000 fdatasync(9) = 0 <0.100000>";
    let resumed = "7 1.500000 fdatasync(9 <unfinished ...>\n8 1.550000 fsync(4) = -1 EIO (Input) <0.1>\n\
                   7 1.600000 <... fdatasync resumed>) = 0 <0.100000>";
    assert_eq!(count([within, resumed, ""]), 2);
    for (nothing, why) in [
        ("", "no flush at all"),
        ("7 0.999999 fdatasync(9) = 0 <0.100000>", "it began before the request"),
        ("7 1.850000 fdatasync(9) = 0 <0.100000>", "it ended after the response"),
        ("7 1.500000 fdatasync(9 <unfinished ...>", "it never ended"),
        ("7 1.500000 fdatasync(9) = -1 EIO (Input/output error) <0.100000>", "it failed"),
        ("7 1.500000 write(9, \"\", 0) = 0 <0.100000>", "it is not a flush"),
        (
            "7 0.500000 fdatasync(9 <unfinished ...>\n7 1.600000 <... fdatasync resumed>) = 0 <1.100000>",
            "early",
        ),
    ] {
        assert_eq!(count([within, nothing, nothing]), 1, "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace: cargo test --test processes -- --ignored strace"]
async fn pitfall_14_no_set_is_answered_before_a_majority_has_flushed_it() {
    let mut cluster = Cluster::new(3);
    for node in &mut cluster.nodes {
        let mut command = Command::new("strace");
        // -D: the node is this process's child, and strace ends with it.
        command.args(["-D", "-f", "-ttt", "-T", "-e", "trace=fdatasync,fsync", "-o"]);
        command.arg(node.data_dir.with_extension("strace")).arg(env!("CARGO_BIN_EXE_lograft"));
        command.args(node.arguments());
        node.start_as(command);
    }
    cluster.ready().await;
    let leader = &cluster.nodes[cluster.leader().await];
    let mut client = leader.kv().await.expect("a connection");
    let mut windows = Vec::new();
    for place in 0..20 {
        let request =
            v1::SetRequest { key: format!("k{place}"), value: "v".to_owned(), ..Default::default() };
        let sent = now();
        client.set(request).await.expect("acknowledged");
        windows.push(Window { sent, answered: now() });
    }
    let mut nodes = Vec::new();
    for node in &mut cluster.nodes {
        node.terminate();
        nodes.push(flushes(&finished_trace(&node.data_dir.with_extension("strace")).await));
    }
    for (place, window) in windows.iter().enumerate() {
        let flushed = nodes_that_flushed(*window, &nodes);
        assert!(
            flushed >= 2,
            "Set {place} was acknowledged when only {flushed} nodes had flushed: {window:?}\n{nodes:?}"
        );
    }
    let longest = windows.iter().map(|window| window.answered - window.sent).max();
    println!("20 Sets, the longest took {:?}", longest.map(Duration::from_micros));
}

/// Returns the trace once strace has recorded the end of its process.
async fn finished_trace(path: &std::path::Path) -> String {
    let begun = Instant::now();
    loop {
        let trace = std::fs::read_to_string(path).unwrap_or_default();
        if trace.lines().last().is_some_and(|line| line.contains("+++ exited with 0 +++")) {
            return trace;
        }
        assert!(begun.elapsed() < PATIENCE, "strace does not end: {trace}");
        pause().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace: cargo test --test processes -- --ignored strace"]
async fn a_node_that_waits_for_its_disk_says_so_and_ends_at_a_second_signal() {
    let mut cluster = Cluster::start(1).await;
    let node = &mut cluster.nodes[0];
    // From now on each flush takes ten minutes, as on a file system that is frozen.
    let mut slow = Command::new("strace");
    slow.args(["-f", "-q", "-o", "/dev/null", "-e", "trace=fdatasync", "-e"]);
    slow.args(["inject=fdatasync:delay_enter=600000000", "-p", &node.pid().as_raw_nonzero().to_string()]);
    let mut slow = slow.spawn().expect("strace starts");
    let traced = format!("/proc/{}/status", node.pid().as_raw_nonzero());
    let begun = Instant::now();
    while !std::fs::read_to_string(&traced).expect("it runs").contains(&format!("TracerPid:\t{}", slow.id()))
    {
        assert!(begun.elapsed() < PATIENCE, "strace does not attach");
        pause().await;
    }
    let mut client = node.kv().await.expect("a connection");
    let never = tokio::spawn(async move {
        client.set(v1::SetRequest { key: "k".to_owned(), ..Default::default() }).await
    });
    while node.status().await.expect("a status").pending_requests == 0 {
        pause().await;
    }
    node.signal(Signal::TERM);
    node.eventually_logs("the disk has not finished the last flush").await;
    assert_eq!(node.ended_by_itself(), None, "it waits");
    node.signal(Signal::TERM);
    node.eventually_logs("told to stop again").await;
    // It holds on to the thread that it delays, and so to the process.
    slow.kill().expect("strace can be killed");
    slow.wait().expect("strace has ended");
    assert_eq!(node.wait().code(), Some(143), "{}", node.log_tail());
    never.await.expect("no panic").expect_err("the write was never flushed");
}
