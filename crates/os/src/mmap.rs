//! Mapping a file. This is the only file of the program that contains `unsafe`.
//!
//! Caveat: the kernel raises SIGBUS at a store into a page that it cannot provide: past the end of a file
//! that was shrunk, or in a hole when the disk is full. So segments are really allocated before they are
//! mapped, and never shrunk.
#![expect(unsafe_code, reason = "mapping a file is unsafe: another process could change or shrink it")]

use std::fs::File;
use std::io;

use memmap2::{Advice, MmapMut};

/// A file that is written through its mapping and flushed by its descriptor.
#[derive(Debug)]
pub(crate) struct MappedFile {
    map: MmapMut,
    file: File,
}

impl MappedFile {
    /// Maps the whole file for reading and writing.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        // SAFETY: nobody changes or shrinks the file while it is mapped. The data directory is locked for this process
        // (`Directory` holds its `LOCK` file as long as it lives), segments are made under another name and are never
        // shrunk, and within the process only this value writes: readers use `pread`.
        let map = unsafe { MmapMut::map_mut(&file)? };
        // Large folios in the page cache turn the flush of one small record into up to 1 MiB of writes: with this
        // advice pages are read one by one.
        map.advise(Advice::Random)?;
        Ok(Self { map, file })
    }

    /// The mapping's size.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Copies bytes into the mapping. Past its end it copies nothing and returns an error.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let end = start.checked_add(bytes.len()).ok_or(io::ErrorKind::InvalidInput)?;
        let target = self.map.get_mut(start..end).ok_or(io::ErrorKind::InvalidInput)?;
        target.copy_from_slice(bytes);
        Ok(())
    }

    /// Makes the copied bytes durable: `fdatasync` of a mapped file covers the pages of its mapping.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
