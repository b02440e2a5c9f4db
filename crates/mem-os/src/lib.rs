//! A disk in memory that loses unflushed data at a crash: for tests and seeded runs.
//!
//! Killing a process does not test durability, because the page cache survives it. This disk models a power
//! cut: every 4 KiB page keeps all the versions written since its last flush, and a [`PowerCut`] chooses for
//! each page whether the disk holds the old version, a newer one, or a mixture of their 512-byte sectors.
//! Each name change that no sync of the directory covered survives or not, independently.
//!
//! The same seed on the same history gives the same disk. Copies of a disk share whatever neither has changed
//! since.
//!
//! Caveats: a sector is never torn, and flushed data is never damaged (use [`MemOs::flip_bit`] for that).
//! Directories need not be created.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use lograft_os::threads::{Mutex, MutexGuard};
use lograft_os::{Os, ReadFile, Segment};

mod contents;
mod power_cut;
mod recording;

use contents::Contents;
pub use power_cut::{PowerCut, SECTORS_IN_PAGE, Unflushed, UnflushedPage};
use recording::Change;
pub use recording::Recorded;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemOs {
    disk: Arc<Mutex<Disk>>,
}

/// How often each operation was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpCounts {
    /// Writes into a segment.
    pub writes: u64,
    /// Flushes of a segment.
    pub flushes: u64,
    /// Segments prepared.
    pub prepared: u64,
    /// Small files written.
    pub files_written: u64,
    /// Renames.
    pub renames: u64,
    /// Files removed.
    pub removed: u64,
    /// Syncs of a directory.
    pub dir_syncs: u64,
    /// Files opened for reading.
    pub opens: u64,
    /// Reads of a file.
    pub reads: u64,
    /// The bytes that they read.
    pub bytes_read: u64,
}

impl OpCounts {
    /// The number of operations that change the disk.
    pub const fn changes(&self) -> u64 {
        self.writes
            + self.flushes
            + self.prepared
            + self.files_written
            + self.renames
            + self.removed
            + self.dir_syncs
    }
}

#[derive(Debug, Default)]
struct Disk {
    /// Files by number. Those without a name stay: nothing needs their space.
    files: Vec<Contents>,
    /// The names as processes see them.
    names: BTreeMap<PathBuf, usize>,
    /// The names that certainly survive a crash.
    durable_names: BTreeMap<PathBuf, usize>,
    /// The name changes since their directory was synced.
    pending: Vec<NameChange>,
    counts: OpCounts,
    failing_flush: Option<FailingFlush>,
    stop_at: Option<u64>,
    free_bytes: Option<u64>,
    /// What the operating system says to whoever wants a file opened, mapped or prepared.
    opening_fails: Option<i32>,
    /// The recorded changes, if changes are recorded.
    recording: Option<Vec<Recorded>>,
}

/// A flush that is going to fail.
#[derive(Clone, Copy, Debug)]
struct FailingFlush {
    /// How many flushes succeed first.
    after: u64,
    /// Bit n: the n-th unflushed page reaches the disk anyway.
    survivors: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum NameChange {
    Made { path: PathBuf, file: usize },
    Renamed { from: PathBuf, to: PathBuf, file: usize },
    Removed { path: PathBuf },
}

impl MemOs {
    /// An empty disk with unlimited space.
    pub fn new() -> Self {
        Self::default()
    }

    /// The disk after its process was killed: nothing is lost, because the page cache survives. `self` is
    /// unchanged.
    #[must_use]
    pub fn kill(&self) -> Self {
        self.lock().survivor()
    }

    /// Makes the next flush of a segment fail. As in real kernels, its pages count as clean although they
    /// were never written.
    pub fn fail_next_flush(&self) {
        self.fail_flush(0, 0);
    }

    /// Makes a flush fail after `after` more that succeed. Its n-th unflushed page reaches the disk if bit n
    /// of `survivors` is set; all its pages count as clean from then on.
    pub fn fail_flush(&self, after: u64, survivors: u64) {
        self.lock().failing_flush = Some(FailingFlush { after, survivors });
    }

    /// Cancels an arranged flush failure. Returns whether one was still outstanding.
    pub fn heal_flushes(&self) -> bool {
        self.lock().failing_flush.take().is_some()
    }

    /// Limits how many more bytes can be prepared or written as files.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.lock().free_bytes = Some(free_bytes);
    }

    /// From now on no file can be opened, mapped or prepared: the operating system answers with this error
    /// number. `None` lets it work again. Files that are open stay so.
    pub fn fail_opening(&self, error: Option<i32>) {
        self.lock().opening_fails = error;
    }

    /// Makes every operation fail after this many further changes: the moment of a crash.
    pub fn stop_after(&self, changes: u64) {
        let mut disk = self.lock();
        disk.stop_at = Some(disk.counts.changes() + changes);
    }

    /// How often each operation was called.
    pub fn counts(&self) -> OpCounts {
        self.lock().counts
    }

    /// Flips one bit of a file, in the cache and on the disk. Returns false past the file's end.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> bool {
        self.damage(path, |bytes| {
            let byte = usize::try_from(bit / 8).ok().and_then(|index| bytes.get_mut(index));
            byte.map(|byte| *byte ^= 1 << (bit % 8)).is_some()
        })
    }

    /// Overwrites bytes of a file, in the cache and on the disk. Returns false past the file's end.
    pub fn overwrite(&self, path: &Path, offset: u64, new: &[u8]) -> bool {
        self.damage(path, |bytes| {
            let target = usize::try_from(offset)
                .ok()
                .and_then(|start| bytes.get_mut(start..start.checked_add(new.len())?));
            target.map(|target| target.copy_from_slice(new)).is_some()
        })
    }

    /// A file's bytes as processes see them.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.lock();
        let file = *disk.names.get(path)?;
        Some(disk.files[file].cached.to_vec())
    }

    /// Puts a file there, durable and with a durable name. It replaces any file of that name.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut disk = self.lock();
        let file = disk.files.len();
        disk.files.push(Contents::durable(bytes));
        disk.names.insert(path.to_owned(), file);
        disk.durable_names.insert(path.to_owned(), file);
    }

    fn damage(&self, path: &Path, change: impl Fn(&mut [u8]) -> bool) -> bool {
        let mut disk = self.lock();
        let Some(&file) = disk.names.get(path) else { return false };
        disk.files[file].damage(change)
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Counts an operation, and fails it once the disk has stopped.
    fn count(&mut self, counter: impl FnOnce(&mut OpCounts) -> &mut u64) -> io::Result<()> {
        if self.stop_at.is_some_and(|stop| self.counts.changes() >= stop) {
            return Err(io::Error::other("the simulated disk has stopped"));
        }
        *counter(&mut self.counts) += 1;
        Ok(())
    }

    fn check_opening(&self) -> io::Result<()> {
        self.opening_fails.map_or(Ok(()), |error| Err(io::Error::from_raw_os_error(error)))
    }

    /// This disk for another process: its contents stay, arranged failures do not.
    fn survivor(&self) -> MemOs {
        let disk = Self {
            files: self.files.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            pending: self.pending.clone(),
            free_bytes: self.free_bytes,
            ..Self::default()
        };
        MemOs { disk: Arc::new(Mutex::new(disk)) }
    }

    fn flush(&mut self, file: usize) -> io::Result<()> {
        let fails = match &mut self.failing_flush {
            Some(FailingFlush { after: 0, survivors }) => Some(*survivors),
            Some(failing) => {
                failing.after -= 1;
                None
            }
            None => None,
        };
        if fails.is_some() {
            self.failing_flush = None;
        }
        let flushed = self.files[file].flush(fails);
        self.record(|| Change::Flushed { file, failed: fails.is_some() });
        flushed
    }

    fn take_room(&mut self, bytes: u64) -> io::Result<()> {
        if let Some(free) = &mut self.free_bytes {
            *free = free.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
        }
        Ok(())
    }

    fn make(&mut self, path: &Path, bytes: Vec<u8>) {
        let file = self.files.len();
        self.files.push(Contents::durable(bytes));
        self.names.insert(path.to_owned(), file);
        self.pending.push(NameChange::Made { path: path.to_owned(), file });
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending.push(change.clone());
        self.record(|| Change::Name(change));
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Made { path, file } => {
                names.insert(path.clone(), *file);
            }
            Self::Renamed { from, to, file } => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
            Self::Removed { path } => {
                names.remove(path);
            }
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        let (Self::Made { path, .. } | Self::Renamed { to: path, .. } | Self::Removed { path }) = self;
        path.parent() == Some(dir)
    }
}

impl Os for MemOs {
    type Segment = MemSegment;
    type File = MemFile;

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut disk = self.lock();
        disk.count(|counts| &mut counts.reads)?;
        let here = disk.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn prepare(&self, path: &Path, header: &[u8], size_bytes: u64) -> io::Result<()> {
        let mut disk = self.lock();
        disk.count(|counts| &mut counts.prepared)?;
        disk.check_opening()?;
        disk.take_room(size_bytes)?;
        let mut bytes = vec![0; usize::try_from(size_bytes).map_err(|_| io::ErrorKind::StorageFull)?];
        bytes.get_mut(..header.len()).ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(header);
        disk.make(path, bytes);
        disk.record(|| Change::Prepared { path: path.to_owned() });
        Ok(())
    }

    fn map(&self, path: &Path) -> io::Result<MemSegment> {
        let disk = self.lock();
        disk.check_opening()?;
        let file = disk.find(path)?;
        let size_bytes = disk.files[file].cached.len() as u64;
        drop(disk);
        Ok(MemSegment { os: self.clone(), file, size_bytes })
    }

    fn open(&self, path: &Path) -> io::Result<MemFile> {
        let mut disk = self.lock();
        disk.count(|counts| &mut counts.opens)?;
        disk.check_opening()?;
        let file = disk.find(path)?;
        drop(disk);
        Ok(MemFile { os: self.clone(), file })
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.lock();
        disk.count(|counts| &mut counts.files_written)?;
        disk.take_room(bytes.len() as u64)?;
        disk.make(path, bytes.to_vec());
        disk.record(|| Change::WroteFile { path: path.to_owned() });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.count(|counts| &mut counts.renames)?;
        let file = disk.find(from)?;
        disk.change_name(NameChange::Renamed { from: from.to_owned(), to: to.to_owned(), file });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.count(|counts| &mut counts.removed)?;
        disk.find(path)?;
        disk.change_name(NameChange::Removed { path: path.to_owned() });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.count(|counts| &mut counts.dir_syncs)?;
        let (synced, pending) =
            std::mem::take(&mut disk.pending).into_iter().partition(|change| change.is_in(dir));
        disk.pending = pending;
        let synced: Vec<NameChange> = synced;
        for change in synced {
            change.apply(&mut disk.durable_names);
        }
        disk.record(|| Change::SyncedDirectory);
        Ok(())
    }
}

/// A segment of a [`MemOs`].
#[derive(Debug)]
pub struct MemSegment {
    os: MemOs,
    file: usize,
    size_bytes: u64,
}

impl Segment for MemSegment {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.os.lock();
        disk.count(|counts| &mut counts.writes)?;
        disk.files[self.file].write(offset, bytes)?;
        disk.record(|| Change::Wrote { file: self.file, offset, len: bytes.len() });
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut disk = self.os.lock();
        disk.count(|counts| &mut counts.flushes)?;
        disk.flush(self.file)
    }
}

/// A file of a [`MemOs`].
#[derive(Debug)]
pub struct MemFile {
    os: MemOs,
    file: usize,
}

impl ReadFile for MemFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.os.lock().files[self.file].cached.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut disk = self.os.lock();
        disk.count(|counts| &mut counts.reads)?;
        let bytes = &disk.files[self.file].cached;
        let source = usize::try_from(offset)
            .ok()
            .and_then(|start| bytes.get(start..start.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(source);
        disk.counts.bytes_read += buffer.len() as u64;
        Ok(())
    }

    fn sync_and_drop_cache(&self) -> io::Result<()> {
        let mut disk = self.os.lock();
        disk.count(|counts| &mut counts.flushes)?;
        disk.flush(self.file)?;
        disk.files[self.file].drop_cache();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
