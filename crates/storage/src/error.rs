//! What can go wrong with the log.

use std::io;
use std::path::PathBuf;

use lograft_types::{Identity, LogIndex};

/// What is safe where a directory is damaged. A member that starts with less than it acknowledged can take part in an
/// election that drops acknowledged writes, so advice to wipe or to replace the directory would lose data.
const KEEP: &str = "Keep this data directory: an empty one, an older one or a copy in its place can lose \
                    acknowledged writes. Repair the disk, or restore the file from what this very disk held, or ask \
                    for help; the other members serve meanwhile if they are a majority";

/// Why the log cannot go on, or cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Durable data is damaged or gone: nothing was changed.
    #[error(
        "the log is damaged: {file} at offset {offset} (after index {index}): {reason}. Nothing was changed. {KEEP}; \
         `lograft log DIR` shows what can still be read"
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// The last entry before the damage.
        index: LogIndex,
        /// What is wrong.
        reason: String,
    },
    /// A newer version of the program wrote it.
    #[error("{file} has format {found}, this program knows formats up to {known}: use a newer lograft")]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that this program reads.
        known: u32,
    },
    /// The log is another node's.
    #[error(
        "{file} belongs to node {} of cluster {}, this is node {} of cluster {}: use the data directory of this node",
        found.node, found.cluster, expected.node, expected.cluster
    )]
    Foreign {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        found: Identity,
        /// Whose it should be.
        expected: Identity,
    },
    /// A log cannot have these sizes.
    #[error("a log cannot have segments of {min} to {max} bytes and a reserve of {reserve} bytes: {reason}")]
    Options {
        /// The smallest segment.
        min: u64,
        /// The largest segment.
        max: u64,
        /// The reserve.
        reserve: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The write does not fit: nothing of it was written. It may be tried again once a segment is prepared.
    #[error("a write of {bytes} bytes does not fit: the next segment is not ready")]
    NoRoom {
        /// The bytes that it needs.
        bytes: u64,
    },
    /// The write does not continue the log: nothing of it was written. This is a bug in the caller.
    #[error("write out of order: {0}")]
    OutOfOrder(String),
    /// The disk failed earlier. What it holds is unknown, so the log does not touch it any more.
    #[error("the log is closed after a failure: {0}")]
    Poisoned(String),
}

/// Why entries could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log no longer holds the entry.
    #[error("entry {index} is gone: the log begins after {log_start}")]
    Gone {
        /// The entry.
        index: LogIndex,
        /// Where the log begins.
        log_start: LogIndex,
    },
    /// The log does not reach that far, or no longer does.
    #[error("there is no entry {index}: the log ends at {last}")]
    PastEnd {
        /// The entry.
        index: LogIndex,
        /// Where it ends.
        last: LogIndex,
    },
    /// Another entry took its place while it was read.
    #[error("entry {index} was replaced while it was read")]
    Replaced {
        /// The entry.
        index: LogIndex,
    },
    /// What the disk holds is not what was written.
    #[error("entry {index} is damaged: {file} at offset {offset}")]
    Corrupt {
        /// The entry.
        index: LogIndex,
        /// The file.
        file: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
    },
    /// The disk failed.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl LogError {
    /// For `map_err`: a disk error, with what was tried and on which file.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
