//! The disk: the mapped log and the data directory.
//!
//! - [`Directory`] says whose the data is, and locks it for one process.
//! - [`Log`] is the stream of records: entries, terms and votes. It is synchronous and driven from outside; opening it
//!   is recovery. What its files hold is told in `docs/FORMAT.md`.
//! - [`LogThread`] drives a log in a node: it alone touches the mapping, and everything that waits shares a flush.
//! - [`LogReader`] reads entries beside it, from any thread.
//! - [`os`] is the seam to the operating system: everything above runs on [`MemOs`] too, a disk that loses at a power cut what
//!   was not flushed.
//! - [`inspect`] reads the records of a stopped node, damaged or not.
//!
//! The order of calls: [`Directory::open`], [`Directory::initialize`] at the first start, [`Log::open`] with its path and
//! identity, [`LogThread::spawn`]. Nothing of Raft and nothing of the store is known here.
//!
//! Caveat: segments are never removed; the log grows until the database file exists that makes old ones needless.

#![forbid(unsafe_code)]

mod directory;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod inspect;
mod log;
mod reader;
mod record;
mod recovery;
mod segment;
mod state;
#[cfg(any(test, fuzzing))]
mod testing;
mod writer;

pub use directory::{Directory, DirectoryError, Meta};
pub use error::{LogError, ReadError};
pub use log::{Credit, Log, LogOptions, Recovered};
pub use lograft_os::{Os, RealOs};
pub use reader::LogReader;
pub use record::{RecordKind, record_size_bytes};
pub use recovery::Repair;
pub use segment::{FORMAT_VERSION, Preparation, PreparedSegment};
pub use writer::{LogReport, LogThread};
