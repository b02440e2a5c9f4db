//! What tells a node to stop: SIGTERM, Ctrl-C, SIGHUP, or the end of whoever started it.
//!
//! The first of them stops the node in order. After that, another SIGTERM or Ctrl-C ends the process at once. A thread
//! of its own waits for them, because the node's thread may be waiting for a disk that does not respond.
//!
//! Caveat: a process whose thread waits for a frozen disk inside the kernel is gone only when the kernel lets that
//! thread go.

use std::future::Future;
use std::io;
use std::time::Duration;

use lograft_os::process::ignores_hangup;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};

use super::logging;

/// Notified when whoever started this process is gone.
pub(super) static PARENT_GONE: Notify = Notify::const_new();

/// How long the last line may take to leave.
const LOG_PATIENCE: Duration = Duration::from_millis(100);

/// The exit code of a process that a signal ended is this much more than the number of the signal, as in a shell.
const BY_SIGNAL: i32 = 128;

/// The signals that stop a node.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if the process was told to ignore it.
    hangup: Option<Signal>,
}

/// Begins to wait. The future completes with the first signal.
///
/// # Errors
/// The handlers cannot be installed.
pub(super) fn wait() -> io::Result<impl Future<Output = ()>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _entered = runtime.enter();
        Signals::install()?
    };
    let (stop, stopped) = oneshot::channel();
    let waiting = move || run(&runtime, signals, stop);
    std::thread::Builder::new().name("lograft-signals".to_owned()).spawn(waiting)?;
    Ok(async {
        // The thread ends with the process.
        let _ = stopped.await;
    })
}

fn run(runtime: &Runtime, mut signals: Signals, stop: oneshot::Sender<()>) {
    let second = runtime.block_on(async {
        let by_hand = tokio::select! {
            kind = signals.any() => {
                info!(signal = name(kind), "told to stop");
                kind != SignalKind::hangup()
            }
            () = PARENT_GONE.notified() => {
                info!("stdin has ended: whoever started this node is gone, so it stops");
                false
            }
        };
        // A node that did not start needs no signal.
        let _ = stop.send(());
        if !by_hand {
            // Service managers send SIGHUP and SIGTERM together: nobody has lost patience yet.
            signals.by_hand().await;
        }
        signals.by_hand().await
    });
    warn!(signal = name(second), "told to stop again: ending at once");
    logging::flush(LOG_PATIENCE);
    std::process::exit(BY_SIGNAL + second.as_raw_value());
}

impl Signals {
    fn install() -> io::Result<Self> {
        let hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
        })
    }

    async fn any(&mut self) -> SignalKind {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = hangup => SignalKind::hangup(),
        }
    }

    async fn by_hand(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }
}

fn name(kind: SignalKind) -> &'static str {
    match kind {
        kind if kind == SignalKind::terminate() => "SIGTERM",
        kind if kind == SignalKind::interrupt() => "SIGINT",
        _ => "SIGHUP",
    }
}
