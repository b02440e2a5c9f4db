//! Storage: the mapped log and the data directory.
//!
//! - [`Directory`] says which node owns the data, and locks it for one process.
//! - [`Log`] is the stream of records: entries, terms and votes. It is synchronous and driven from outside;
//!   opening it runs recovery. `docs/FORMAT.md` describes its files.
//! - [`LogThread`] drives a log in a node: it alone touches the mapping, and all waiting writes share a
//!   flush.
//! - [`LogReader`] reads entries at the same time, from any thread.
//! - [`Os`] is the seam to the operating system: everything above also runs on `MemOs`, a disk in memory that
//!   loses unflushed data at a power cut.
//! - [`inspect`] reads the records of a stopped node, damaged or not.
//!
//! The order of calls: [`Directory::open`], [`Directory::initialize`] at the first start, [`Log::open`] with
//! its path and identity, [`LogThread::spawn`]. This crate knows nothing of Raft or the store.
//!
//! Caveat: segments are never removed, so the log grows: there is no database file yet that would make old
//! ones unnecessary.

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
