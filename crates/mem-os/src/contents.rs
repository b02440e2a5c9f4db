//! The bytes of one file: as processes see them, as the disk holds them, and every version in between.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use lograft_os::PAGE_BYTES;

/// The most versions of an unflushed page that are remembered; each further one replaces the newest.
const MAX_VERSIONS: usize = 16;

/// A file's bytes. Clones share them until one is changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    /// As processes see them.
    pub(super) cached: Arc<Vec<u8>>,
    /// As the disk holds them.
    pub(super) durable: Arc<Vec<u8>>,
    /// By page number: every version since the last flush.
    pub(super) dirty: BTreeMap<usize, Vec<Arc<[u8]>>>,
}

impl Contents {
    /// A file whose bytes are all on the disk.
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        let bytes = Arc::new(bytes);
        Self { cached: Arc::clone(&bytes), durable: bytes, dirty: BTreeMap::new() }
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let end = start.checked_add(bytes.len()).ok_or(io::ErrorKind::InvalidInput)?;
        if end > self.cached.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Arc::make_mut(&mut self.cached)[start..end].copy_from_slice(bytes);
        for page in start / PAGE_BYTES..end.div_ceil(PAGE_BYTES) {
            let version = Arc::from(page_of(&self.cached, page));
            let versions = self.dirty.entry(page).or_default();
            if versions.len() == MAX_VERSIONS {
                versions.pop();
            }
            versions.push(version);
        }
        Ok(())
    }

    /// Makes the disk hold what processes see. A flush that fails writes the n-th dirty page only if bit n is
    /// set, and marks all of them clean.
    pub(super) fn flush(&mut self, fails: Option<u64>) -> io::Result<()> {
        let reaches = |place: usize| fails.is_none_or(|survivors| place < 64 && survivors >> place & 1 == 1);
        for (place, page) in std::mem::take(&mut self.dirty).into_keys().enumerate() {
            if reaches(place) {
                let start = page * PAGE_BYTES;
                let source = page_of(&self.cached, page);
                Arc::make_mut(&mut self.durable)[start..start + source.len()].copy_from_slice(source);
            }
        }
        match fails {
            Some(_) => Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())),
            None => Ok(()),
        }
    }

    /// From now on processes see what the disk holds.
    pub(super) fn drop_cache(&mut self) {
        self.cached = Arc::clone(&self.durable);
    }

    /// Changes the bytes in the cache and on the disk. Returns what `change` returned.
    pub(super) fn damage(&mut self, change: impl Fn(&mut [u8]) -> bool) -> bool {
        if Arc::ptr_eq(&self.cached, &self.durable) {
            self.cached = Arc::default();
            let changed = change(Arc::make_mut(&mut self.durable).as_mut_slice());
            self.drop_cache();
            return changed;
        }
        change(Arc::make_mut(&mut self.cached).as_mut_slice())
            && change(Arc::make_mut(&mut self.durable).as_mut_slice())
    }
}

/// The bytes of a page; fewer at the end of the file.
pub(super) fn page_of(bytes: &[u8], page: usize) -> &[u8] {
    let start = page * PAGE_BYTES;
    &bytes[start..bytes.len().min(start + PAGE_BYTES)]
}
