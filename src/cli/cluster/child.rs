//! Keeping one node running.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lograft_storage::Directory;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{self, Instant};

use super::plan::{Plan, last_lines};

/// How long a node may take to stop in order.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// A node that ran this long is well: if it dies after that, it is started again as soon as at first.
const WELL_AFTER: Duration = Duration::from_secs(60);
/// The longest pause between two starts of a node that dies again and again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What happens in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A node's process runs.
    Started { node: usize, pid: u32, again: bool },
    /// A node's process ended, or could not be started.
    Died {
        node: usize,
        reason: String,
        by_itself: bool,
        last_lines: Vec<String>,
        /// How long it stays down; `None`: for good.
        again_in: Option<Duration>,
    },
    /// A node that is to run has lost its data directory.
    Missing { node: usize },
    /// Something worth a line.
    News(String),
    /// Every node serves linearizable reads.
    Ready,
}

/// How the nodes are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    /// Not at all.
    No,
    /// With a SIGTERM and time to stop in order.
    InOrder,
    /// Now.
    AtOnce,
}

/// Keeps one node running.
pub(super) struct Keeper {
    pub(super) plan: Arc<Plan>,
    pub(super) node: usize,
    pub(super) executable: PathBuf,
    /// How long a node that died stays down, and how often a directory that is gone is looked for; `None`: the node
    /// stays down.
    pub(super) restart_after: Option<Duration>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) stop: watch::Receiver<Stop>,
}

impl Keeper {
    /// Starts the node, again whenever it dies if that is wanted, until everything is to stop.
    pub(super) async fn run(mut self) {
        let mut again = false;
        let mut pause = self.restart_after;
        loop {
            if !self.has_directory().await {
                return;
            }
            let started = Instant::now();
            let died = match self.spawn() {
                Ok((mut child, log_start)) => {
                    let pid = child.id().unwrap_or_default();
                    // Waiting for a child closes its stdin, which would tell this one that its parent is gone.
                    let _alive = child.stdin.take();
                    self.tell(Event::Started { node: self.node, pid, again }).await;
                    let ended = tokio::select! {
                        ended = child.wait() => Some(ended),
                        _ = self.stop.wait_for(|stop| *stop > Stop::No) => None,
                    };
                    let Some(ended) = ended else { return self.end(child).await };
                    if started.elapsed() >= WELL_AFTER {
                        pause = self.restart_after;
                    }
                    self.died(ended, log_start, pause)
                }
                Err(error) => Event::Died {
                    node: self.node,
                    reason: format!("could not be started: {error}"),
                    by_itself: true,
                    last_lines: Vec::new(),
                    again_in: pause,
                },
            };
            self.tell(died).await;
            let Some(down) = pause else { return };
            if !self.sleep(down).await {
                return;
            }
            again = true;
            pause = Some((down * 2).min(LONGEST_PAUSE));
        }
    }

    /// Waits until the node's directory is there; false if the node is not to run any more. It was made before the first
    /// start: without it, the node would have forgotten what it promised.
    async fn has_directory(&mut self) -> bool {
        let mut told = false;
        while !Directory::is_founded(&self.plan.nodes[self.node].data_dir) {
            if !told {
                self.tell(Event::Missing { node: self.node }).await;
                told = true;
            }
            let Some(pause) = self.restart_after else { return false };
            if !self.sleep(pause).await {
                return false;
            }
        }
        true
    }

    /// Sleeps; false if everything is to stop.
    async fn sleep(&mut self, pause: Duration) -> bool {
        tokio::select! {
            () = time::sleep(pause) => true,
            _ = self.stop.wait_for(|stop| *stop > Stop::No) => false,
        }
    }

    /// Starts the process; answers how long its log was before.
    fn spawn(&self) -> io::Result<(Child, u64)> {
        let path = &self.plan.nodes[self.node].log_file;
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let log_start = log.metadata()?.len();
        let errors: File = log.try_clone()?;
        let child = Command::new(&self.executable)
            .args(self.plan.arguments(self.node))
            // The node holds on to this pipe: it ends when the pipe does, and the pipe ends with this process.
            .arg("--exit-on-stdin-eof")
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C in a terminal goes to a whole group: the nodes are to be stopped by this process, in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok((child, log_start))
    }

    fn died(&self, ended: io::Result<ExitStatus>, log_start: u64, again_in: Option<Duration>) -> Event {
        let (reason, by_itself) = match ended {
            Ok(status) => (describe(status), status.signal().is_none()),
            Err(error) => (format!("cannot be waited for: {error}"), true),
        };
        let last_lines = last_lines(&self.plan.nodes[self.node].log_file, log_start);
        Event::Died { node: self.node, reason, by_itself, last_lines, again_in }
    }

    /// Ends the process: in order within a bound, or at once.
    async fn end(&mut self, mut child: Child) {
        // Until it has been waited for, the pid is this child's and nobody else's.
        let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        if asked {
            tokio::select! {
                _ = child.wait() => return,
                () = time::sleep(STOP_WITHIN) => {}
                _ = self.stop.wait_for(|stop| *stop == Stop::AtOnce) => {}
            }
        }
        // It is gone already, or it is gone after this.
        let _ = child.kill().await;
    }

    async fn tell(&self, event: Event) {
        // When everything stops nobody listens any more.
        let _ = self.events.send(event).await;
    }
}

/// How a process ended, in words.
fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by {}", signal_name(signal)),
        (None, Some(0)) => "stopped (exit code 0)".to_owned(),
        (None, Some(code)) => format!("ended with exit code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

fn signal_name(signal: i32) -> String {
    const NAMES: [(i32, &str); 10] = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (15, "SIGTERM"),
    ];
    let name = NAMES.iter().find(|(number, _)| *number == signal);
    name.map_or_else(|| format!("signal {signal}"), |(number, name)| format!("signal {number} ({name})"))
}

#[cfg(test)]
mod tests;
