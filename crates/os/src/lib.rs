//! The seam to the operating system: all that the log asks of a disk.
//!
//! It stands below the log's logic and above the mapping, so that a simulated disk sees each write into a segment, each
//! flush, each rename and each sync of a directory. [`RealOs`] is the machine's own disk, [`MemOs`] one in memory that
//! loses at a crash what was not flushed.
//!
//! What the log relies on, and what a simulated disk therefore has to give:
//!
//! - A write into a segment is seen by readers at once and is durable after a flush of the same segment that returned
//!   ok. Until then any subset of the 4 KiB pages that were touched may be lost, and a page may tear at 512 bytes.
//! - A flush that fails says nothing about any page and is never repeated.
//! - A name (of a new file, or after a rename) is durable after a sync of its directory, a removal too.
//!
//! Caveat: a disk that answers a flush before the data is safe breaks every promise of the log; nothing here detects it.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the seam: the others come through here"
)]

use std::fmt::Debug;
use std::io;
use std::path::Path;

mod mmap;
mod real;
pub mod threads;

pub use real::{RealFile, RealOs, RealSegment};

/// The size of a page: the unit in which unflushed writes are lost.
pub const PAGE_BYTES: usize = 4096;

/// A disk.
pub trait Os: Clone + Debug + Send + Sync + 'static {
    /// A segment that is mapped for writing.
    type Segment: Segment;
    /// A file that is open for reading.
    type File: ReadFile;

    /// The names of the files in a directory, in no order.
    ///
    /// # Errors
    /// Those of the disk.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a file of `size_bytes` that begins with `header` and holds zeros behind it, really allocated and durable
    /// but for its name. What stood under the name is gone.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when there is no room; then nothing is left under the name.
    fn prepare(&self, path: &Path, header: &[u8], size_bytes: u64) -> io::Result<()>;

    /// Maps a prepared segment.
    ///
    /// # Errors
    /// Those of the disk.
    fn map(&self, path: &Path) -> io::Result<Self::Segment>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// Those of the disk.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Writes a small file: its contents are durable on return, its name is not.
    ///
    /// # Errors
    /// Those of the disk.
    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Gives a file another name, in the place of the file that has it.
    ///
    /// # Errors
    /// Those of the disk.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the disk.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Those of the disk.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Writes a small file so that after a crash it is there as a whole, or as it was before. Durable on return.
    ///
    /// # Errors
    /// Those of the disk; a path without a directory and a name is [`io::ErrorKind::InvalidInput`].
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

/// A segment that is mapped for writing. One thread at a time has it.
pub trait Segment: Debug + Send + 'static {
    /// Its size.
    fn size_bytes(&self) -> u64;

    /// Copies bytes into it.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] past its end; a simulated disk also fails at will.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes durable what was written.
    ///
    /// # Errors
    /// Those of the disk. Then nothing is known about any byte written since the last flush.
    fn flush(&mut self) -> io::Result<()>;
}

/// A file that is open for reading.
pub trait ReadFile {
    /// Its size.
    ///
    /// # Errors
    /// Those of the disk.
    fn size_bytes(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] past the end, and those of the disk.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Makes the file durable, then forgets what is cached of it, so that reads come from the disk.
    ///
    /// # Errors
    /// Those of the disk.
    fn sync_and_drop_cache(&self) -> io::Result<()>;
}
