//! The disk: the mapped log and the data directory.
mod directory;
mod error;
pub mod inspect;
mod log;
mod mmap;
pub mod os;
mod reader;
mod record;
mod recovery;
mod segment;
mod state;
#[cfg(test)]
mod testing;
mod writer;

pub use directory::{Directory, DirectoryError, Meta};
pub use error::{LogError, ReadError};
pub use log::{Log, LogOptions, Recovered, Space};
pub use os::{MemOs, Os, RealOs};
pub use reader::LogReader;
pub use record::{RecordKind, record_size_bytes};
pub use recovery::Repair;
pub use segment::{FORMAT_VERSION, Preparation, PreparedSegment};
pub use writer::{LogReport, LogThread};
