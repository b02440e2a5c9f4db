//! The program's own log: to stderr, through a queue, so that a reader who stops reading never stops a node.
//!
//! The thread that logs formats the event and puts it into a bounded queue; a thread that does nothing else writes it.
//! If the queue is full the line is dropped and counted; the count is logged once there is room again. Why no library
//! does this: `docs/decisions/libraries.md`.
//!
//! # Caveats
//! - Lines in the queue are lost if the process is killed. Call [`flush`] before an abort.

use std::io::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogLevel};

/// Lines that may wait to be written.
const MAX_QUEUED_LINES: usize = 4096;
/// Bytes that may wait to be written.
const MAX_QUEUED_BYTES: usize = 4 << 20;
/// How long the end of the program waits for the last lines.
const LAST_LINES: Duration = Duration::from_millis(500);

static QUEUE: OnceLock<LogQueue> = OnceLock::new();

/// Writes what is still in the queue when it is dropped, if somebody reads it.
#[derive(Debug)]
#[must_use]
pub struct LogGuard(());

impl Drop for LogGuard {
    fn drop(&mut self) {
        flush(LAST_LINES);
    }
}

/// Sends the program's log to stderr, and panics into the log. A second call changes nothing.
pub fn start(level: LogLevel, format: LogFormat, colored: bool) -> LogGuard {
    let queue = QUEUE.get_or_init(|| LogQueue::start(std::io::stderr(), format)).clone();
    let (own, others) = match level {
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        LogLevel::Warn => (LevelFilter::WARN, LevelFilter::WARN),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::WARN),
        LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::INFO),
        LogLevel::Trace => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    let filter = Targets::new().with_default(others).with_target("lograft", own);
    let layer = tracing_subscriber::fmt::layer().with_writer(queue);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Console => registry.with(layer.with_ansi(colored)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    if started.is_ok() {
        // The default hook would write to stderr itself, and wait there if nobody reads.
        std::panic::set_hook(Box::new(|panic| {
            let backtrace = std::backtrace::Backtrace::capture();
            tracing::error!(%backtrace, "{panic}");
            flush(LAST_LINES);
        }));
    }
    LogGuard(())
}

/// Waits until what has been logged so far is written, at most `patience`.
pub fn flush(patience: Duration) {
    if let Some(queue) = QUEUE.get() {
        queue.flush(patience);
    }
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The end of the queue that lines enter.
#[derive(Clone)]
struct LogQueue {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    dropped_lines: AtomicU64,
    queued_bytes: AtomicUsize,
}

impl LogQueue {
    fn start(sink: impl Write + Send + 'static, format: LogFormat) -> Self {
        let (sender, receiver) = sync_channel(MAX_QUEUED_LINES);
        let shared = Arc::new(Shared::default());
        let writing = Arc::clone(&shared);
        let write = move || write_lines(sink, &receiver, &writing, format);
        // Without a thread the queue fills up and lines are dropped: a node without a log is better than no node.
        drop(std::thread::Builder::new().name("log-output".to_owned()).spawn(write));
        Self { sender, shared }
    }

    fn push(&self, line: &[u8]) {
        let queued = self.shared.queued_bytes.fetch_add(line.len(), Ordering::Relaxed);
        let fits = queued + line.len() <= MAX_QUEUED_BYTES;
        if !fits || self.sender.try_send(Message::Line(line.to_vec())).is_err() {
            self.shared.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.shared.dropped_lines.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits at most about twice `patience`: for room in the queue, then for the writer to come by.
    fn flush(&self, patience: Duration) {
        const PAUSE: Duration = Duration::from_millis(1);
        let (done, wait) = sync_channel(1);
        let mut message = Message::Flush(done);
        for _ in 0..patience.as_millis() {
            match self.sender.try_send(message) {
                Ok(()) => {
                    let _ = wait.recv_timeout(patience);
                    return;
                }
                Err(TrySendError::Full(back)) => message = back,
                Err(TrySendError::Disconnected(_)) => return,
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn write_lines(mut sink: impl Write, receiver: &Receiver<Message>, shared: &Shared, format: LogFormat) {
    while let Ok(message) = receiver.recv() {
        match message {
            // Nobody can be told that stderr is gone.
            Message::Line(line) => {
                drop(sink.write_all(&line));
                shared.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            }
            Message::Flush(done) => {
                drop(sink.flush());
                let _ = done.try_send(());
            }
        }
        let dropped = shared.dropped_lines.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let text = format!("{dropped} lines of the log were dropped: stderr is not read fast enough");
            let line = match format {
                LogFormat::Console => format!("WARN {text}\n"),
                LogFormat::Json => format!("{{\"level\":\"WARN\",\"message\":\"{text}\"}}\n"),
            };
            drop(sink.write_all(line.as_bytes()));
        }
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self)
    }
}

/// Takes one event, which comes in one write.
struct Line<'a>(&'a LogQueue);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A pipe that nobody reads while its gate is locked.
    #[derive(Clone, Default)]
    struct Pipe {
        gate: Arc<Mutex<()>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _open = self.gate.lock().unwrap();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pitfall_81_a_blocked_log_pipe_stops_nobody_and_what_was_dropped_is_counted() {
        let pipe = Pipe::default();
        let blocked = pipe.gate.lock().unwrap();
        let queue = LogQueue::start(pipe.clone(), LogFormat::Console);
        let lines = 3 * MAX_QUEUED_LINES;
        for _ in 0..lines {
            queue.push(b"a line\n");
        }
        // Coming here at all is the point: nothing waited for the reader.
        drop(blocked);
        queue.flush(Duration::from_secs(60));
        queue.push(b"the last line\n");
        queue.flush(Duration::from_secs(60));
        let text = String::from_utf8(pipe.written.lock().unwrap().clone()).unwrap();
        let written = text.lines().filter(|line| *line == "a line").count();
        let dropped: usize = text
            .lines()
            .filter_map(|line| line.strip_prefix("WARN ")?.split(' ').next()?.parse::<usize>().ok())
            .sum();
        assert!(dropped > 0);
        assert_eq!(written + dropped, lines);
        assert!(text.contains("the last line"));
    }

    #[test]
    fn the_queue_is_bounded_in_bytes() {
        let pipe = Pipe::default();
        let blocked = pipe.gate.lock().unwrap();
        let queue = LogQueue::start(pipe.clone(), LogFormat::Json);
        let line = vec![b'x'; MAX_QUEUED_BYTES / 4];
        for _ in 0..64 {
            queue.push(&line);
        }
        assert!(queue.shared.queued_bytes.load(Ordering::Relaxed) <= MAX_QUEUED_BYTES);
        assert!(queue.shared.dropped_lines.load(Ordering::Relaxed) >= 60);
        drop(blocked);
        queue.flush(Duration::from_secs(60));
        assert_eq!(queue.shared.queued_bytes.load(Ordering::Relaxed), 0);
    }
}
