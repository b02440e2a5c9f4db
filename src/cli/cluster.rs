//! `lograft cluster`: some nodes on this machine, each a process of its own, so that each can be killed.
//!
//! One task for each node keeps it running ([`child`]); one asks them all how they fare and makes news of what changes
//! ([`news`]); this one prints, and waits for Ctrl-C. What the nodes themselves say goes into a file for each.
//!
//! # Caveats
//! - The nodes inherit this process's environment: `LOGRAFT_…` variables apply to all of them, except where the command
//!   line that they are started with says otherwise (names, directories, URLs and members).
//! - The ports are tried before the nodes start; somebody may still be faster. The node then says so, and ends.

mod child;
mod founding;
mod news;
mod plan;

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future;
use humantime::format_duration;
use lograft_storage::Directory;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::args::ClusterArgs;
use super::exit::{Code, Failure};
use super::output;
use child::{Event, Keeper, Stop};
use plan::Plan;

/// How long a node that died stays down. The pause doubles while it dies again and again.
const RESTART_AFTER: Duration = Duration::from_secs(2);

/// Runs a cluster until it is interrupted.
pub(super) fn run(args: &ClusterArgs) -> Result<(), Failure> {
    let plan = Plan::new(args).map_err(|message| Failure::new(Code::BadArguments, message))?;
    let failure = |message| Failure::new(Code::Error, message);
    // A directory that is made here has no other cluster; one that was there may have.
    let lock = args.data_dir.exists().then(|| lock(&args.data_dir)).transpose()?;
    plan.try_directories().map_err(failure)?;
    plan.try_ports().map_err(failure)?;
    Directory::make(&args.data_dir).map_err(|error| failure(error.to_string()))?;
    let _lock = lock.map_or_else(|| self::lock(&args.data_dir), Ok)?;
    plan.found().map_err(failure)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Code::Error, format!("cannot start: {error}")))?;
    runtime.block_on(supervise(Arc::new(plan), !args.no_restart))
}

/// Locks the cluster's directory as long as the result lives: two clusters would take turns at the same nodes.
fn lock(dir: &Path) -> Result<File, Failure> {
    let failure = |message| Failure::new(Code::Error, message);
    let shown = dir.display();
    let file = File::open(dir).map_err(|error| failure(format!("cannot open {shown}: {error}")))?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => failure(format!(
            "another `lograft cluster` uses {shown}: stop that one, or give another --data-dir; nothing was started"
        )),
        TryLockError::Error(error) => failure(format!("cannot lock {shown}: {error}")),
    })?;
    Ok(file)
}

async fn supervise(plan: Arc<Plan>, restart: bool) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::new(Code::Error, format!("cannot start: {error}"));
    let mut signals = Signals::new().map_err(cannot)?;
    let executable = std::env::current_exe().map_err(cannot)?;
    tell(&format!("nodes: {}; what they say is in {}", plan.nodes.len(), plan.logs()));
    let (events, mut happened) = mpsc::channel(64);
    let (stop, stopping) = watch::channel(Stop::No);
    let keepers: Vec<_> = (0..plan.nodes.len())
        .map(|node| {
            let keeper = Keeper {
                plan: Arc::clone(&plan),
                node,
                executable: executable.clone(),
                restart_after: restart.then_some(RESTART_AFTER),
                events: events.clone(),
                stop: stopping.clone(),
            };
            tokio::spawn(keeper.run())
        })
        .collect();
    let observer = tokio::spawn(news::observe(Arc::clone(&plan), events));
    let mut ready = false;
    let result = loop {
        tokio::select! {
            () = signals.next() => break Ok(()),
            Some(event) = happened.recv() => {
                ready |= matches!(event, Event::Ready);
                if let (false, Some(failure)) = (ready, failed_to_start(&plan, &event)) {
                    break Err(failure);
                }
                tell(&describe(&plan, &event));
            }
        }
    };
    observer.abort();
    if result.is_ok() {
        tell("stopping; interrupt again to kill");
    }
    // Nobody reads the events any more, and nobody may wait for it.
    happened.close();
    stop.send_replace(Stop::InOrder);
    let mut ended = std::pin::pin!(future::join_all(keepers));
    loop {
        tokio::select! {
            _ = &mut ended => break,
            () = signals.next() => { stop.send_replace(Stop::AtOnce); }
        }
    }
    if result.is_ok() {
        tell("all nodes have stopped");
    }
    result
}

/// A node that ends by itself before anything worked will do so again: a wrong directory, a port in use.
fn failed_to_start(plan: &Plan, event: &Event) -> Option<Failure> {
    let Event::Died { node, reason, by_itself: true, last_lines, .. } = event else { return None };
    let name = &plan.nodes[*node].name;
    let said = last_lines.last().map(|line| line.strip_prefix("lograft: ").unwrap_or(line));
    let why = said.map_or_else(|| reason.clone(), str::to_owned);
    Some(Failure::new(Code::Error, format!("{name} could not start, so nothing runs: {why}")))
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// A line of news. A cluster whose reader is gone goes on.
fn tell(text: &str) {
    drop(output::write(format!("{text}\n").as_bytes()));
}

fn describe(plan: &Plan, event: &Event) -> String {
    match event {
        Event::Started { node, pid, again } => {
            let node = &plan.nodes[*node];
            let words = if *again { "runs again" } else { "runs" };
            format!("{} {words}: pid {pid}, clients {}, peers {}", node.name, node.client(), node.peer())
        }
        Event::Died { node, reason, last_lines, again_in, .. } => {
            let name = &plan.nodes[*node].name;
            let mut text = format!("{name} {reason}");
            for line in last_lines {
                text.push_str(&format!("\n    {line}"));
            }
            match again_in {
                Some(pause) => {
                    text.push_str(&format!("\n{name} is started again in {}", format_duration(*pause)));
                }
                None => text.push_str(&format!("\nstart it again with: {}", plan.command_line(*node))),
            }
            text
        }
        Event::Missing { node } => {
            let plan::NodePlan { name, data_dir, .. } = &plan.nodes[*node];
            format!(
                "{name} is not started: its data directory {} is gone or empty, and an empty one in its place can lose \
                 acknowledged writes\n{name} waits until that very directory is back; the others serve meanwhile if \
                 they are a majority",
                data_dir.display()
            )
        }
        Event::News(line) => line.clone(),
        Event::Ready => ready_text(plan),
    }
}

fn ready_text(plan: &Plan) -> String {
    let first = plan.nodes[0].client();
    let last = plan.nodes.last().map_or_else(|| first.clone(), plan::NodePlan::client);
    let endpoints = if first == "127.0.0.1:2379" { String::new() } else { format!(" --endpoints {first}") };
    format!(
        "the cluster is ready: every node serves linearizable reads. Try, in another terminal:\n    \
         lograft set greeting hello{endpoints}\n    \
         lograft get greeting --endpoints {last}\n    \
         lograft status --cluster -w table{endpoints}\n    \
         curl http://{first}/v1/kv/greeting\n    \
         kill -9 PID      # any one of them: the others go on\n\
         Ctrl-C stops all."
    )
}

/// For `tests/fuzz`: what must hold of any arguments that were taken.
///
/// # Panics
/// If a plan is made that cannot be carried out.
#[cfg(any(test, fuzzing))]
pub(super) fn check_plan(args: &ClusterArgs) {
    let Ok(plan) = Plan::new(args) else { return };
    let ports: std::collections::BTreeSet<u16> =
        plan.nodes.iter().flat_map(|node| [node.client_port, node.peer_port]).collect();
    assert_eq!(ports.len(), 2 * usize::from(args.nodes), "no port is used twice");
    assert!(!ports.contains(&0));
    for node in 0..plan.nodes.len() {
        assert!(plan.command_line(node).starts_with("lograft serve --name n"));
    }
}
