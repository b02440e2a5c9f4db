//! The machine's own disk.
//!
//! Caveat: preparing a segment writes every byte of the log once more, as zeros. Without that, a flush would
//! also have to write the file's extent map, and a full disk would raise SIGBUS in the middle of an append.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;
use std::{io, thread};

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::Errno;

use crate::mmap::MappedFile;
use crate::{Os, PAGE_BYTES, ReadFile, Segment};

/// Zeros are written in bursts of this size. Each is flushed and followed by a pause that leaves the disk to
/// the log.
const FILL_BURST_BYTES: u64 = 512 * 1024;
/// The pause after each burst.
const FILL_PAUSE: Duration = Duration::from_millis(2);

/// The machine's own disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealOs;

/// A mapped segment.
#[derive(Debug)]
pub struct RealSegment(MappedFile);

/// A file open for reading.
#[derive(Debug)]
pub struct RealFile(File);

impl Os for RealOs {
    type Segment = RealSegment;
    type File = RealFile;

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in fs::read_dir(dir)? {
            // A name that is not UTF-8 is not one of ours.
            names.extend(item?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn prepare(&self, path: &Path, header: &[u8], size_bytes: u64) -> io::Result<()> {
        let prepared = fill(path, header, size_bytes);
        if prepared.is_err() {
            // Give the allocated space back: on a full disk others need it. The first error is the one to
            // report.
            let _ = fs::remove_file(path);
        }
        prepared
    }

    fn map(&self, path: &Path) -> io::Result<RealSegment> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(RealSegment(MappedFile::new(file)?))
    }

    fn open(&self, path: &Path) -> io::Result<RealFile> {
        Ok(RealFile(File::open(path)?))
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// Allocates the file and fills it. Pages are written one by one: with large folios in the page cache, each
/// small record flushed later would write up to 1 MiB.
fn fill(path: &Path, header: &[u8], size_bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, size_bytes) {
        // A file system without `fallocate` allocates while zeros are written.
        Ok(()) | Err(Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = [0; PAGE_BYTES];
    let mut offset = 0;
    while offset < size_bytes {
        let count = zeros.len().min(usize::try_from(size_bytes - offset).unwrap_or(usize::MAX));
        file.write_all_at(&zeros[..count], offset)?;
        offset += count as u64;
        if offset % FILL_BURST_BYTES == 0 && offset < size_bytes {
            file.sync_data()?;
            thread::sleep(FILL_PAUSE);
        }
    }
    file.write_all_at(header, 0)?;
    file.sync_all()
}

impl Segment for RealSegment {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write(offset, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl ReadFile for RealFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn sync_and_drop_cache(&self) -> io::Result<()> {
        self.0.sync_all()?;
        fadvise(&self.0, 0, None, Advice::DontNeed).map_err(io::Error::from)
    }
}
