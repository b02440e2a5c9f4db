//! Reading entries while the log thread writes them.
//!
//! Readers have file handles of their own and never touch the mapping; the page cache shows them at once what
//! was copied there. They share one table with the log, index → position, under a lock that is held only
//! briefly. The table also holds the open file of each segment: a read must not fail because the process has
//! no file descriptor left.
//!
//! No position is written twice, so a reader that was overtaken reads a whole old entry. Before it returns
//! the entry, it checks that the log still has it.
//!
//! Caveats: entries that are appended but not yet durable are readable. A caller that must not promise them
//! knows which write is durable. Each segment takes a file descriptor for as long as the log is open.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::error::ReadError;
use super::record::{Decoded, Record, RecordKind, record_size_bytes};
use super::segment::segment_path;
use lograft_os::threads::{RwLock, RwLockReadGuard};
use lograft_os::{Os, ReadFile};
use lograft_types::{Entry, LogIndex};

/// Where an entry is stored. Small, because a log may have millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    segment: u32,
    offset: u32,
    payload_len: u32,
}

/// Where the entries from `log_start` + 1 on are stored.
#[derive(Debug)]
pub(super) struct Index<F> {
    log_start: LogIndex,
    slots: Vec<Slot>,
    /// The segments, by id − 1.
    segments: Vec<OpenSegment<F>>,
}

/// What reading a segment takes.
#[derive(Debug)]
struct OpenSegment<F> {
    seed: u32,
    file: Arc<F>,
}

impl<F> Default for Index<F> {
    fn default() -> Self {
        Self { log_start: LogIndex::ZERO, slots: Vec::new(), segments: Vec::new() }
    }
}

impl Slot {
    /// `None` if the numbers are larger than any segment.
    pub(super) fn new(segment: u32, offset: u64, payload_len: usize) -> Option<Self> {
        Some(Self {
            segment,
            offset: u32::try_from(offset).ok()?,
            payload_len: u32::try_from(payload_len).ok()?,
        })
    }

    fn size_bytes(&self) -> u64 {
        record_size_bytes(self.payload_len as usize)
    }

    fn end(&self) -> u64 {
        u64::from(self.offset) + self.size_bytes()
    }
}

impl<F> Index<F> {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn reset(&mut self, log_start: LogIndex) {
        self.log_start = log_start;
        self.slots.clear();
    }

    /// Puts an entry at an index after the log start and at most one past the end. Drops the entries after
    /// it.
    pub(super) fn put(&mut self, index: LogIndex, slot: Slot) {
        let position = self.position(index).expect("entries are checked before they are placed");
        assert!(position <= self.slots.len(), "entries are consecutive");
        self.slots.truncate(position);
        self.slots.push(slot);
    }

    /// Segments are added in the order of their ids, from 1 on.
    pub(super) fn add_segment(&mut self, id: u32, seed: u32, file: Arc<F>) {
        self.segments.push(OpenSegment { seed, file });
        assert_eq!(self.segments.len() as u64, u64::from(id), "segments are consecutive");
    }

    /// The part of a read that begins with this entry.
    fn span(&self, first: LogIndex, slot: Slot) -> Span<F> {
        let OpenSegment { seed, file } = &self.segments[slot.segment as usize - 1];
        Span { first, slots: vec![slot], seed: *seed, file: Arc::clone(file) }
    }

    fn position(&self, index: LogIndex) -> Option<usize> {
        usize::try_from(index.distance_from(self.log_start)?.checked_sub(1)?).ok()
    }

    fn slot(&self, index: LogIndex) -> Result<Slot, ReadError> {
        let position = self.position(index).ok_or(ReadError::Gone { index, log_start: self.log_start })?;
        let last = self.log_start.plus(self.slots.len() as u64);
        self.slots.get(position).copied().ok_or(ReadError::PastEnd { index, last })
    }
}

/// Entries at consecutive indexes and positions of one segment.
struct Span<F> {
    first: LogIndex,
    slots: Vec<Slot>,
    seed: u32,
    file: Arc<F>,
}

/// Reads entries. Clones share the log.
#[derive(Debug)]
pub struct LogReader<O: Os> {
    dir: PathBuf,
    index: Arc<RwLock<Index<O::File>>>,
}

impl<O: Os> Clone for LogReader<O> {
    fn clone(&self) -> Self {
        Self { dir: self.dir.clone(), index: Arc::clone(&self.index) }
    }
}

impl<O: Os> LogReader<O> {
    pub(super) fn new(dir: PathBuf, index: Arc<RwLock<Index<O::File>>>) -> Self {
        Self { dir, index }
    }

    /// The entries from `first` to `last`, at most `max_bytes` of payload, but at least one.
    ///
    /// # Errors
    /// [`ReadError`]: the entry is gone, not there, replaced meanwhile, or damaged; or the disk failed. `last` may be
    /// past the end.
    pub fn read(&self, first: LogIndex, last: LogIndex, max_bytes: usize) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::new();
        for span in self.spans(first, last, max_bytes)? {
            self.read_span(&span, &mut entries)?;
            self.check_unchanged(&span)?;
        }
        Ok(entries)
    }

    fn locked(&self) -> RwLockReadGuard<'_, Index<O::File>> {
        // A thread that panicked with the lock held changed one field at a time: the index is whole.
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn spans(
        &self,
        first: LogIndex,
        last: LogIndex,
        max_bytes: usize,
    ) -> Result<Vec<Span<O::File>>, ReadError> {
        let index = self.locked();
        let mut spans: Vec<Span<O::File>> = Vec::new();
        let mut bytes = 0_usize;
        let mut next = first;
        while next == first || next <= last {
            let slot = match index.slot(next) {
                Ok(slot) => slot,
                Err(error) if next == first => return Err(error),
                Err(_) => break,
            };
            bytes = bytes.saturating_add(slot.payload_len as usize);
            if bytes > max_bytes && next != first {
                break;
            }
            match spans.last_mut().filter(|span| span.is_followed_by(slot)) {
                Some(span) => span.slots.push(slot),
                None => spans.push(index.span(next, slot)),
            }
            next = next.next();
        }
        Ok(spans)
    }

    fn read_span(&self, span: &Span<O::File>, entries: &mut Vec<Entry>) -> Result<(), ReadError> {
        let start = u64::from(span.slots[0].offset);
        let path = segment_path(&self.dir, u64::from(span.slots[0].segment));
        let io = |source| ReadError::Io { path: path.clone(), source };
        // The index has only appended entries, so this is bounded by the segment and by the request.
        let mut buffer = vec![0; usize::try_from(span.end() - start).expect("a segment fits into memory")];
        span.file.read_at(start, &mut buffer).map_err(io)?;
        let bytes = Bytes::from(buffer);
        let mut at = 0;
        let mut index = span.first;
        for slot in &span.slots {
            let offset = u64::from(slot.offset);
            let corrupt = || ReadError::Corrupt { index, file: path.clone(), offset };
            let Decoded::Record { record, .. } = Record::decode(&bytes[at..], offset, span.seed) else {
                return Err(corrupt());
            };
            let RecordKind::Entry(kind) = record.kind else { return Err(corrupt()) };
            if record.index != index || record.payload.len() != slot.payload_len as usize {
                return Err(corrupt());
            }
            entries.push(Entry { id: record.id(), kind, payload: bytes.slice_ref(record.payload) });
            at += usize::try_from(slot.size_bytes()).expect("a segment fits into memory");
            index = index.next();
        }
        Ok(())
    }

    fn check_unchanged(&self, span: &Span<O::File>) -> Result<(), ReadError> {
        let index = self.locked();
        let mut at = span.first;
        for slot in &span.slots {
            if index.slot(at)? != *slot {
                return Err(ReadError::Replaced { index: at });
            }
            at = at.next();
        }
        Ok(())
    }
}

impl<F> Span<F> {
    fn end(&self) -> u64 {
        self.slots.last().map_or(0, Slot::end)
    }

    fn is_followed_by(&self, slot: Slot) -> bool {
        self.slots[0].segment == slot.segment && self.end() == u64::from(slot.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{entries, open, write};
    use lograft_mem_os::MemOs;

    #[test]
    fn what_is_replaced_while_it_is_read_is_not_handed_out() {
        let os = MemOs::new();
        let (mut log, _) = open(&os);
        log.append_write(&write(1, None, entries(1..=9, 1))).unwrap();
        let reader = log.reader();
        let spans = reader.spans(LogIndex::new(4), LogIndex::new(6), usize::MAX).unwrap();
        assert_eq!(spans.len(), 1);
        let mut read = Vec::new();
        let check = |reader: &LogReader<MemOs>| reader.check_unchanged(&spans[0]);
        // Entries after the span may go.
        log.append_write(&write(2, None, entries(7..=7, 2))).unwrap();
        check(&reader).unwrap();
        // The old entries are still there, whole, but they are no longer the log's.
        log.append_write(&write(3, None, entries(5..=8, 3))).unwrap();
        reader.read_span(&spans[0], &mut read).unwrap();
        assert_eq!(read, entries(4..=6, 1));
        assert!(matches!(check(&reader), Err(ReadError::Replaced { index }) if index == LogIndex::new(5)));
        log.append_write(&write(4, None, entries(2..=2, 4))).unwrap();
        assert!(matches!(check(&reader), Err(ReadError::PastEnd { .. })));
    }
}
