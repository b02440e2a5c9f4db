//! The log thread: it alone touches the mapping.
//!
//! A store into a page that is being written back can block for seconds, so no other thread may wait for it:
//! writes are handed over and reports come back. The thread takes everything that is waiting, copies it,
//! flushes once and reports; writes that arrive meanwhile share the next flush. After 100 ms without work it
//! writes a sync marker, which proves the tail.
//!
//! After a failure the thread touches nothing more. The same holds once its handle was dropped: a node that
//! halts leaves its log as it is.
//!
//! A second thread prepares segments, so that the log never waits for zeros. Where that fails it retries every
//! second: on a full disk, and for want of memory or a file descriptor.
//!
//! Caveat: writes wait in an unbounded channel. The callers' permits and the credit in the reports are what
//! bounds it.

use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::time::Duration;

use super::error::LogError;
use super::log::Log;
use super::segment::{Preparation, PreparedSegment};
use lograft_os::Os;
use lograft_os::threads::mpsc::{self, Receiver, Sender};
use lograft_os::threads::recv_timeout;
use lograft_os::threads::thread::{self, JoinHandle};
use lograft_types::{LogWrite, WriteSeq};

/// After this much idle time a sync marker is written.
const IDLE: Duration = Duration::from_millis(100);
/// The pause before the preparation of a segment is retried.
const RETRY: Duration = Duration::from_secs(1);

/// The state of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogReport {
    /// Everything up to this write is durable.
    pub persisted: WriteSeq,
    /// How many bytes of records may be handed in after `persisted`; writes handed in since then count
    /// against it.
    pub credit_bytes: u64,
    /// The disk has no space for the next segment. The credit does not grow before there is some.
    pub disk_full: bool,
    /// How often the disk had no space for the larger segment that [`LogThread::want_credit`] asked for.
    pub denials: u64,
    /// The bytes of all segment files.
    pub log_size_bytes: u64,
    /// The log is closed after this failure, and nothing handed in after `persisted` may be promised: the
    /// process must end.
    pub failed: Option<String>,
}

/// The log thread's handle. Dropping it ends the thread without waiting for it: once the call of the disk that
/// is under way has returned, nothing is touched, and what was handed over may be lost. [`LogThread::shutdown`]
/// is the orderly end.
#[derive(Debug)]
pub struct LogThread {
    commands: Sender<Message>,
    thread: Option<JoinHandle<()>>,
    /// Closed as soon as this handle is dropped.
    owner: Option<Sender<Infallible>>,
}

#[derive(Debug)]
enum Message {
    Write(LogWrite),
    /// An entry waits that takes this many bytes.
    WantCredit(u64),
    /// The preparer has news.
    Preparation,
    Shutdown,
    /// The handle was dropped.
    Abandoned,
}

impl LogThread {
    /// Starts the thread. It calls `on_report` after each flush, when the credit changes, and when the log
    /// fails. The first report comes at once.
    ///
    /// # Panics
    /// If the operating system cannot start a thread.
    pub fn spawn<O: Os>(log: Log<O>, on_report: impl Fn(LogReport) + Send + 'static) -> Self {
        let (commands, waiting) = mpsc::channel();
        let (alive, owner) = mpsc::channel();
        let news = commands.clone();
        let thread = thread::Builder::new()
            .name("lograft-log".to_owned())
            .spawn(move || {
                let (preparer, outcomes) = Preparer::spawn(news);
                let persisted = log.written();
                let preparer = Some(preparer);
                let driver = Driver { log, persisted, waiting, owner, outcomes, preparer, on_report };
                driver.run();
            })
            .expect("a thread for the log");
        Self { commands, thread: Some(thread), owner: Some(alive) }
    }

    /// Hands a write over. Never blocks. A report says when it is durable.
    pub fn append(&self, write: LogWrite) {
        // After a failure nobody receives this any more, and the report has said so.
        let _ = self.commands.send(Message::Write(write));
    }

    /// An entry waits that takes this many bytes, more than all of the credit. The log prepares a larger segment, and
    /// a report says that the credit has risen, or counts a denial.
    pub fn want_credit(&self, bytes: u64) {
        // After a failure nobody receives this any more, and the report has said so.
        let _ = self.commands.send(Message::WantCredit(bytes));
    }

    /// Flushes what was handed over, writes a sync marker, ends the thread and waits for its end.
    pub fn shutdown(mut self) {
        // After a failure nobody receives this any more.
        let _ = self.commands.send(Message::Shutdown);
        // If the thread panicked, that was shown when it happened.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        drop(self.owner.take());
        // The thread may be waiting. If it has ended, nobody receives this.
        let _ = self.commands.send(Message::Abandoned);
    }
}

/// The thread that prepares segments.
struct Preparer<O: Os> {
    jobs: Sender<Preparation<O>>,
    thread: JoinHandle<()>,
}

type PrepareResult<O> = io::Result<PreparedSegment<O>>;

impl<O: Os> Preparer<O> {
    fn spawn(news: Sender<Message>) -> (Self, Receiver<PrepareResult<O>>) {
        let (jobs, orders) = mpsc::channel::<Preparation<O>>();
        let (results, outcomes) = mpsc::channel();
        let work = move || {
            while let Ok(job) = orders.recv() {
                loop {
                    let outcome = job.run();
                    let done = outcome.as_ref().err().is_none_or(|error| job.is_hopeless(error));
                    if results.send(outcome).is_err() || news.send(Message::Preparation).is_err() || done {
                        break;
                    }
                    // No further job comes before this one is done: only the end of the log interrupts the
                    // pause.
                    if matches!(recv_timeout(&orders, RETRY), Err(RecvTimeoutError::Disconnected)) {
                        return;
                    }
                }
            }
        };
        let thread = thread::Builder::new()
            .name("lograft-prepare".to_owned())
            .spawn(work)
            .expect("a thread that prepares segments");
        (Self { jobs, thread }, outcomes)
    }
}

/// What runs on the log thread.
struct Driver<O: Os, F: Fn(LogReport)> {
    log: Log<O>,
    persisted: WriteSeq,
    waiting: Receiver<Message>,
    /// Nothing ever comes: it is closed when the handle is dropped.
    owner: Receiver<Infallible>,
    outcomes: Receiver<PrepareResult<O>>,
    /// `None` once the thread is ending.
    preparer: Option<Preparer<O>>,
    on_report: F,
}

impl<O: Os, F: Fn(LogReport)> Drop for Driver<O, F> {
    fn drop(&mut self) {
        // Without this report the owner would wait forever for a write to become durable.
        if thread::panicking() {
            self.report(Some("the log thread panicked".to_owned()));
        }
    }
}

impl<O: Os, F: Fn(LogReport)> Driver<O, F> {
    fn run(mut self) {
        self.report(None);
        if let Err(error) = self.work() {
            self.report(Some(error.to_string()));
            // Nothing is touched any more: the owner ends the process.
        }
        if let Some(Preparer { jobs, thread }) = self.preparer.take() {
            drop(jobs);
            // It may be in the middle of a segment; nobody may open the directory before it is done.
            let _ = thread.join();
        }
    }

    fn is_abandoned(&self) -> bool {
        self.owner.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Works until the shutdown, or until the handle is dropped.
    fn work(&mut self) -> Result<(), LogError> {
        let mut proved = false;
        loop {
            self.order_next();
            let first = if proved {
                self.waiting.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                recv_timeout(&self.waiting, IDLE)
            };
            let command = match first {
                _ if self.is_abandoned() => return Ok(()),
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => {
                    self.log.write_sync_marker()?;
                    proved = true;
                    self.report(None);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => Message::Shutdown,
            };
            let (wrote, ends) = self.turn(command)?;
            if self.is_abandoned() {
                return Ok(());
            }
            proved = proved && !wrote;
            self.persisted = self.log.flush()?;
            self.report(None);
            if ends {
                return if self.is_abandoned() { Ok(()) } else { self.log.write_sync_marker() };
            }
        }
    }

    /// Handles everything that is waiting. Returns whether anything was written, and whether this is the end.
    fn turn(&mut self, first: Message) -> Result<(bool, bool), LogError> {
        let mut wrote = false;
        let mut next = Some(first);
        while let Some(command) = next.filter(|_| !self.is_abandoned()) {
            match command {
                Message::Write(write) => {
                    self.append(&write)?;
                    wrote = true;
                }
                Message::WantCredit(bytes) => self.log.want_credit(bytes),
                Message::Preparation => self.take_outcomes(),
                Message::Shutdown | Message::Abandoned => return Ok((wrote, true)),
            }
            next = self.waiting.try_recv().ok();
        }
        Ok((wrote, false))
    }

    fn append(&mut self, write: &LogWrite) -> Result<(), LogError> {
        loop {
            match self.log.append_write(write) {
                // The preparer is late. Wait for its segment: the log must not fail just because it did not
                // wait.
                Err(LogError::NoRoom { bytes }) if self.log.is_preparing() => {
                    let outcome = self.outcomes.recv().map_err(|_| LogError::NoRoom { bytes })?;
                    let failed = outcome.is_err();
                    self.take_outcome(outcome);
                    if failed {
                        return Err(LogError::NoRoom { bytes });
                    }
                }
                appended => return appended,
            }
            self.order_next();
        }
    }

    fn take_outcomes(&mut self) {
        while let Ok(outcome) = self.outcomes.try_recv() {
            self.take_outcome(outcome);
        }
        self.order_next();
    }

    fn take_outcome(&mut self, outcome: PrepareResult<O>) {
        match outcome {
            Ok(segment) => self.log.prepared(segment),
            Err(error) => self.log.preparation_failed(&error, true),
        }
    }

    /// Gives the preparer its next job as soon as a segment is wanted.
    fn order_next(&mut self) {
        let Some(preparer) = &self.preparer else { return };
        if let Some(job) = self.log.take_preparation() {
            // The preparer lives as long as its channel is open.
            let _ = preparer.jobs.send(job);
        }
    }

    fn report(&self, failed: Option<String>) {
        let space = self.log.credit();
        (self.on_report)(LogReport {
            persisted: self.persisted,
            credit_bytes: space.credit_bytes,
            disk_full: space.disk_full,
            denials: space.denials,
            log_size_bytes: self.log.size_bytes(),
            failed,
        });
    }
}

#[cfg(all(test, schedules))]
mod schedules;
#[cfg(all(test, not(schedules)))]
mod tests;
