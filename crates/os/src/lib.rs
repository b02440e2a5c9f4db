//! The seam to the operating system: everything the log asks of a disk.
//!
//! It sits between the log's logic and the mapping, so that a simulated disk sees each write into a segment,
//! each flush, each rename and each sync of a directory. [`RealOs`] is the machine's own disk; `MemOs` (the
//! crate `lograft-mem-os`) is a disk in memory that loses unflushed data at a crash.
//!
//! The log relies on the following, so a simulated disk must provide it:
//!
//! - Readers see a write into a segment at once. It is durable once a later flush of the same segment has
//!   returned ok. Until then any subset of the touched 4 KiB pages may be lost, and a page may tear at
//!   512-byte boundaries.
//! - A failed flush says nothing about any page and is never retried.
//! - A name (of a new file, or after a rename) is durable after a sync of its directory; so is a removal.
//!
//! Caveat: a disk that acknowledges a flush before the data is safe breaks every promise of the log; nothing
//! here detects that.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the seam: the others come through here"
)]

use std::fmt::Debug;
use std::io;
use std::path::Path;

mod mmap;
pub mod process;
mod real;
pub mod threads;

pub use real::{RealFile, RealOs, RealSegment};

/// The size of a page: the unit in which unflushed writes are lost.
pub const PAGE_BYTES: usize = 4096;

/// Whether the disk, or this user's share of it, has no space left. Every other failure has another cure.
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A disk.
pub trait Os: Clone + Debug + Send + Sync + 'static {
    /// A segment that is mapped for writing.
    type Segment: Segment;
    /// A file that is open for reading.
    type File: ReadFile;

    /// The names of the files in a directory, in no particular order.
    ///
    /// # Errors
    /// Any I/O error.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Creates a file of `size_bytes` that begins with `header` and is zero after it. The file is really
    /// allocated, and durable except for its name. It replaces any file of that name.
    ///
    /// # Errors
    /// Any I/O error ([`is_disk_full`] tells whether the disk is full); then no file is left under that name.
    fn prepare(&self, path: &Path, header: &[u8], size_bytes: u64) -> io::Result<()>;

    /// Maps a prepared segment.
    ///
    /// # Errors
    /// Any I/O error.
    fn map(&self, path: &Path) -> io::Result<Self::Segment>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// Any I/O error.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Writes a small file: its contents are durable on return, its name is not.
    ///
    /// # Errors
    /// Any I/O error.
    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Renames a file. It replaces any file that has the new name.
    ///
    /// # Errors
    /// Any I/O error.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Any I/O error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Any I/O error.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Writes a small file atomically: after a crash it has its old contents or its new ones, whole. Durable
    /// on return.
    ///
    /// # Errors
    /// Any I/O error; [`io::ErrorKind::InvalidInput`] for a path without a directory and a name.
    fn write_file_atomically(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let temporary = dir.join(format!("{name}.tmp"));
        self.write_file(&temporary, bytes)?;
        self.rename(&temporary, path)?;
        self.sync_dir(dir)
    }
}

/// A segment that is mapped for writing, owned by one thread at a time.
pub trait Segment: Debug + Send + 'static {
    /// Its size.
    fn size_bytes(&self) -> u64;

    /// Copies bytes into it.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] past its end; a simulated disk may inject other errors.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all earlier writes durable.
    ///
    /// # Errors
    /// Any I/O error. After one, nothing is known about any byte written since the last flush.
    fn flush(&mut self) -> io::Result<()>;
}

/// A file that is open for reading, by any number of threads.
pub trait ReadFile: Debug + Send + Sync + 'static {
    /// Its size.
    ///
    /// # Errors
    /// Any I/O error.
    fn size_bytes(&self) -> io::Result<u64>;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] past the end, and any I/O error.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Makes the file durable, then drops its cached pages, so that reads come from the disk.
    ///
    /// # Errors
    /// Any I/O error.
    fn sync_and_drop_cache(&self) -> io::Result<()>;
}
