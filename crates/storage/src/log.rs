//! The log: one stream of records in segments that are written through a mapping.
//!
//! Durable data is never overwritten. Appending copies records after the last one. Replacing entries from an
//! index on is appending too: a new entry drops any old ones at its index and after it. A flush makes
//! everything durable that was appended before it. A full segment ends with a record that says so and is
//! flushed before the first byte of the next segment is written. The next segment was prepared long before.
//!
//! The log is synchronous and does nothing by itself: [`super::LogThread`] drives it in a node; a simulator
//! drives it step by step.
//!
//! # Credit
//! An accepted write must always fit. [`Log::credit`] says how many bytes of records may still be handed in.
//! A reserve is kept back for terms, votes and a new leader's first entry, which do not count against the
//! credit. An entry that is larger than all of the credit waits for a larger segment ([`Log::want_credit`]).
//!
//! Caveats: segments are not removed yet, so the log grows. On a disk that stays full, terms and votes
//! eventually use up the reserve (48 bytes each); then the log fails with [`LogError::NoRoom`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::error::LogError;
use super::reader::{Index, LogReader, Slot};
use super::record::{
    self, HEADER_BYTES, Record, RecordKind, START_PAYLOAD_BYTES, SegmentStart, record_size_bytes,
};
use super::recovery::Repair;
use super::segment::{
    FIRST_RECORD, MAX_SEGMENT_BYTES, Preparation, PreparedSegment, SegmentHeader, SegmentSize,
};
use super::state::{State, plausible};
use lograft_os::threads::{RwLock, RwLockWriteGuard};
use lograft_os::{Os, Segment, is_disk_full};
use lograft_types::{
    Entry, EntryId, EntryMeta, HardState, Identity, LogIndex, LogWrite, Term, WriteSeq, mark,
};

mod open;

/// The record that ends a segment.
const SEGMENT_END_BYTES: u64 = HEADER_BYTES as u64;
/// The overhead of a segment: its header's page, its start record and its end record.
const SEGMENT_FRAME_BYTES: u64 = FIRST_RECORD + record_size_bytes(START_PAYLOAD_BYTES) + SEGMENT_END_BYTES;
const MARK_BYTES: u64 = HEADER_BYTES as u64;
const HARD_STATE_BYTES: u64 = record_size_bytes(8);

/// The sizes of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The size of the first segment. Each further one is twice as large as the one before.
    pub min_segment_bytes: u64,
    /// The size at which segments stop doubling; at most 1 GiB. Only an entry that needs a larger segment gets one.
    pub max_segment_bytes: u64,
    /// Bytes kept back for terms, votes and a new leader's first entry.
    pub reserve_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { min_segment_bytes: 1 << 20, max_segment_bytes: 64 << 20, reserve_bytes: 64 << 10 }
    }
}

/// What the log held when it was opened. All of it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The term and the vote.
    pub hard_state: HardState,
    /// The entry before the first one in the log.
    pub log_start: EntryId,
    /// The entries after the log start.
    pub entries: Vec<EntryMeta>,
    /// The number that the first write must have.
    pub next_write: WriteSeq,
    /// A torn write that was cut: a power cut left it, and nothing in it was ever promised.
    pub repaired: Option<Repair>,
}

/// How much the log promises to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// How many more bytes of records (see [`record_size_bytes`]) certainly fit. Terms, votes and entries
    /// without a command come out of the reserve and do not count.
    pub credit_bytes: u64,
    /// The disk had no space for the next segment: once this credit is used up, there is no more.
    pub disk_full: bool,
    /// How often the disk had no space for a segment as large as [`Log::want_credit`] asked for.
    pub denials: u64,
}

/// The log of one node.
///
/// # Invariants
/// - `active.durable ≤ active.tail`, and everything in older segments is durable.
/// - Segment ids are consecutive: first the sealed ones, then the active one, then the prepared ones.
#[derive(Debug)]
pub struct Log<O: Os> {
    os: O,
    dir: PathBuf,
    identity: Identity,
    options: LogOptions,
    state: State,
    index: Arc<RwLock<Index<O::File>>>,
    active: Active<O>,
    prepared: Vec<PreparedSegment<O>>,
    /// The preparation that was handed out and whose outcome has not come back.
    preparing: Option<SegmentSize>,
    /// Credit that somebody waits for; 0: none.
    wanted_bytes: u64,
    denials: u64,
    disk_full: bool,
    /// Why the next segment could not be prepared, as it was logged; `None` once one is.
    unprepared: Option<String>,
    written: WriteSeq,
    sealed_bytes: u64,
    poisoned: Option<String>,
    /// Holds a record while it is encoded.
    scratch: Vec<u8>,
}

/// The segment being written.
#[derive(Debug)]
struct Active<O: Os> {
    header: SegmentHeader,
    segment: O::Segment,
    /// Where the next record goes.
    tail: u64,
    /// It is durable up to here.
    durable: u64,
    last_crc: u32,
    last_kind: RecordKind,
}

impl<O: Os> Active<O> {
    /// A prepared segment, about to get its first record.
    fn fresh(header: SegmentHeader, segment: O::Segment) -> Self {
        Self {
            header,
            segment,
            tail: FIRST_RECORD,
            durable: FIRST_RECORD,
            last_crc: 0,
            last_kind: RecordKind::SegmentStart,
        }
    }

    /// The bytes left for records, not counting the record that ends the segment.
    fn free_bytes(&self) -> u64 {
        self.header.size_bytes.saturating_sub(self.tail).saturating_sub(SEGMENT_END_BYTES)
    }
}

/// The bytes for records in an unused segment.
fn capacity(segment_bytes: u64) -> u64 {
    segment_bytes.saturating_sub(SEGMENT_FRAME_BYTES)
}

impl<O: Os> Log<O> {
    /// Copies a write into the log: its term and vote, then its entries. It is durable after the next
    /// [`Self::flush`].
    ///
    /// # Errors
    /// [`LogError::OutOfOrder`] and [`LogError::NoRoom`]: nothing was written. Any other error closes the log.
    pub fn append_write(&mut self, write: &LogWrite) -> Result<(), LogError> {
        self.check_open()?;
        if write.seq <= self.written {
            let reason = format!("write {} after write {}", write.seq, self.written);
            return Err(LogError::OutOfOrder(reason));
        }
        if let Some(hard_state) = write.hard_state {
            self.state.check_hard_state(hard_state).map_err(LogError::OutOfOrder)?;
        }
        self.check_entries(&write.entries)?;
        let hard_state_bytes = write.hard_state.map(|_| HARD_STATE_BYTES);
        self.make_room(hard_state_bytes.into_iter().chain(write.entries.iter().map(entry_bytes)))?;
        if let Some(hard_state) = write.hard_state {
            self.put_hard_state(hard_state)?;
        }
        self.put_entries(&write.entries)?;
        self.written = write.seq;
        Ok(())
    }

    /// Appends an entry after the last one.
    ///
    /// # Errors
    /// As [`Self::append_write`].
    pub fn append(&mut self, entry: &Entry) -> Result<(), LogError> {
        if Some(entry.id.index) != self.state.last().index.checked_add(1) {
            let reason = format!("entry {} appended after {}", entry.id, self.state.last());
            return Err(LogError::OutOfOrder(reason));
        }
        self.replace(entry.id.index, std::slice::from_ref(entry))
    }

    /// Replaces the entries from an index on. The log then ends with the last of `entries`.
    ///
    /// # Errors
    /// As [`Self::append_write`].
    pub fn replace(&mut self, from: LogIndex, entries: &[Entry]) -> Result<(), LogError> {
        self.check_open()?;
        if entries.first().is_none_or(|entry| entry.id.index != from) {
            return Err(LogError::OutOfOrder(format!("the entries do not begin at {from}")));
        }
        self.check_entries(entries)?;
        self.make_room(entries.iter().map(entry_bytes))?;
        self.put_entries(entries)
    }

    /// Drops all entries: the log begins after `log_start`, as when a snapshot was installed.
    ///
    /// # Errors
    /// As [`Self::append_write`].
    pub fn reset(&mut self, log_start: EntryId) -> Result<(), LogError> {
        self.check_open()?;
        plausible(log_start).map_err(LogError::OutOfOrder)?;
        self.make_room([record_size_bytes(0)].into_iter())?;
        self.put(RecordKind::Reset, log_start.index, log_start.term, &[])?;
        self.state.reset(log_start);
        self.locked().reset(log_start.index);
        Ok(())
    }

    /// Makes everything durable that was appended. Returns the number of the last write.
    ///
    /// # Errors
    /// The disk failed: the log is closed, because what the disk holds is unknown.
    pub fn flush(&mut self) -> Result<WriteSeq, LogError> {
        self.check_open()?;
        if self.active.durable < self.active.tail {
            let flushed = self.active.segment.flush();
            self.poison_on("flush", flushed)?;
            self.active.durable = self.active.tail;
        }
        Ok(self.written)
    }

    /// Flushes, then writes a sync marker, which proves that everything before it was durable, and flushes
    /// that. Only flushes if the last record is a sync marker already, or if only the reserve is left.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn write_sync_marker(&mut self) -> Result<(), LogError> {
        self.flush()?;
        let spare = self.options.reserve_bytes / 2 + MARK_BYTES;
        let is_scarce = self.prepared.is_empty() && self.active.free_bytes() < spare;
        if self.active.last_kind == RecordKind::SyncMarker || is_scarce {
            return Ok(());
        }
        self.make_room([MARK_BYTES].into_iter())?;
        let last = self.state.last();
        self.put(RecordKind::SyncMarker, last.index, last.term, &[])?;
        self.flush()?;
        Ok(())
    }

    /// How much may be handed in beyond what was appended.
    pub fn credit(&self) -> Credit {
        // However the segments before the largest one are used, all of this fits into that one.
        let prepared = self.prepared.iter().map(|next| capacity(next.header.size_bytes)).max();
        let record_bytes = prepared.unwrap_or_else(|| self.active.free_bytes());
        Credit {
            credit_bytes: record_bytes.saturating_sub(self.options.reserve_bytes),
            disk_full: self.disk_full,
            denials: self.denials,
        }
    }

    /// An entry waits that takes this many bytes, more than all of the credit: the next segment that is prepared has
    /// room for two of its size. If the disk has no space for that, [`Credit::denials`] rises and the wish is
    /// forgotten.
    pub fn want_credit(&mut self, bytes: u64) {
        if bytes > self.credit().credit_bytes {
            self.wanted_bytes = self.wanted_bytes.max(bytes);
        }
    }

    /// The bytes of all segment files.
    pub fn size_bytes(&self) -> u64 {
        let prepared: u64 = self.prepared.iter().map(|next| next.header.size_bytes).sum();
        self.sealed_bytes + self.active.header.size_bytes + prepared
    }

    /// The last write that was appended.
    pub fn written(&self) -> WriteSeq {
        self.written
    }

    /// The last entry, or the log start.
    pub fn last(&self) -> EntryId {
        self.state.last()
    }

    /// A reader of the entries, for other threads.
    pub fn reader(&self) -> LogReader<O> {
        LogReader::new(self.dir.clone(), Arc::clone(&self.index))
    }

    /// The job of preparing the next segment, if one is wanted and the job is not taken already. The caller
    /// reports the outcome to [`Self::prepared`] or [`Self::preparation_failed`].
    pub fn take_preparation(&mut self) -> Option<Preparation<O>> {
        let is_wanted = self.prepared.is_empty() || self.wanted_bytes > 0;
        if self.preparing.is_some() || !is_wanted || self.poisoned.is_some() {
            return None;
        }
        let preparation = self.preparation(self.wanted_bytes);
        self.preparing = Some(preparation.size);
        Some(preparation)
    }

    /// The job of preparing the segment after the last one: twice as large as that one, or larger if the credit needs
    /// it.
    fn preparation(&self, wanted_bytes: u64) -> Preparation<O> {
        let last = self.last_segment();
        let usual_bytes = last.size_bytes.saturating_mul(2).min(self.options.max_segment_bytes);
        let needed_bytes = match wanted_bytes {
            0 => 0,
            _ => wanted_bytes
                .saturating_mul(2)
                .saturating_add(SEGMENT_FRAME_BYTES + self.options.reserve_bytes),
        };
        let size_bytes = needed_bytes.min(MAX_SEGMENT_BYTES).next_power_of_two().max(usual_bytes);
        let size = if size_bytes > usual_bytes {
            mark!(SegmentEnlarged);
            SegmentSize::Enlarged
        } else {
            SegmentSize::Usual
        };
        let header = SegmentHeader::new(self.identity, last.id + 1, size_bytes);
        Preparation { os: self.os.clone(), dir: self.dir.clone(), header, size }
    }

    /// The newest segment, prepared or active.
    fn last_segment(&self) -> &SegmentHeader {
        self.prepared.last().map_or(&self.active.header, |prepared| &prepared.header)
    }

    /// Whether the job of preparing a segment is taken.
    pub(super) fn is_preparing(&self) -> bool {
        self.preparing.is_some()
    }

    /// The next segment is ready.
    pub fn prepared(&mut self, segment: PreparedSegment<O>) {
        assert_eq!(segment.header.id, self.last_segment().id + 1, "one segment is prepared at a time");
        self.preparing = None;
        self.disk_full = false;
        if let Some(reason) = self.unprepared.take() {
            tracing::info!(dir = %self.dir.display(), reason, "the next segment of the log is prepared at last");
        }
        self.prepared.push(segment);
        if self.credit().credit_bytes >= self.wanted_bytes {
            self.wanted_bytes = 0;
        }
    }

    /// The next segment could not be prepared. With `will_retry` the caller keeps the job and tries again, unless
    /// [`Preparation::is_hopeless`]; otherwise [`Self::take_preparation`] hands it out again.
    pub fn preparation_failed(&mut self, error: &io::Error, will_retry: bool) {
        let was_enlarged = self.preparing == Some(SegmentSize::Enlarged);
        if was_enlarged && is_disk_full(error) {
            self.preparing = None;
            self.wanted_bytes = 0;
            self.denials += 1;
        } else if !will_retry {
            self.preparing = None;
        }
        // A segment that is ready already is space enough for usual entries.
        self.disk_full = is_disk_full(error) && self.prepared.is_empty();
        // It fails again at each attempt: a reason is logged once.
        let reason = error.to_string();
        if self.unprepared.as_ref() != Some(&reason) {
            tracing::warn!(
                dir = %self.dir.display(),
                reason,
                "cannot prepare the next segment of the log; trying again"
            );
            self.unprepared = Some(reason);
        }
    }

    /// Prepares the next segment now, if one is wanted: for callers without a thread for it.
    ///
    /// # Errors
    /// Any I/O error; the call may be repeated.
    pub fn prepare_next(&mut self) -> io::Result<()> {
        let Some(preparation) = self.take_preparation() else { return Ok(()) };
        match preparation.run() {
            Ok(segment) => self.prepared(segment),
            Err(error) => {
                self.preparation_failed(&error, false);
                return Err(error);
            }
        }
        Ok(())
    }

    fn check_open(&self) -> Result<(), LogError> {
        self.poisoned.clone().map_or(Ok(()), |reason| Err(LogError::Poisoned(reason)))
    }

    fn check_entries(&self, entries: &[Entry]) -> Result<(), LogError> {
        let Some(first) = entries.first() else { return Ok(()) };
        self.state.check_entry(first.id).map_err(LogError::OutOfOrder)?;
        for pair in entries.windows(2) {
            let (before, after) = (pair[0].id, pair[1].id);
            if Some(after.index) != before.index.checked_add(1) || after.term < before.term {
                return Err(LogError::OutOfOrder(format!("entry {after} follows {before}")));
            }
            plausible(after).map_err(LogError::OutOfOrder)?;
        }
        Ok(())
    }

    /// Checks that records of these sizes fit. Prepares segments now if that helps and no preparation is out.
    fn make_room(&mut self, sizes: impl Iterator<Item = u64> + Clone) -> Result<(), LogError> {
        let no_room = LogError::NoRoom { bytes: sizes.clone().fold(0, u64::saturating_add) };
        let largest = sizes.clone().max().unwrap_or(0);
        while !self.fits(sizes.clone()) {
            if self.preparing.is_some() || largest > capacity(MAX_SEGMENT_BYTES) {
                return Err(no_room);
            }
            let usual_bytes = capacity(self.options.max_segment_bytes);
            match self.preparation(if largest > usual_bytes { largest } else { 0 }).run() {
                Ok(segment) => self.prepared(segment),
                Err(error) => {
                    self.preparation_failed(&error, false);
                    return Err(no_room);
                }
            }
        }
        Ok(())
    }

    fn fits(&self, sizes: impl Iterator<Item = u64>) -> bool {
        let mut free = self.active.free_bytes();
        let mut prepared = self.prepared.iter();
        for size in sizes {
            while size > free {
                let Some(next) = prepared.next() else { return false };
                free = capacity(next.header.size_bytes);
            }
            free -= size;
        }
        true
    }

    fn put_hard_state(&mut self, hard_state: HardState) -> Result<(), LogError> {
        let vote = record::encode_vote(hard_state.vote);
        self.put(RecordKind::HardState, LogIndex::ZERO, hard_state.term, &vote)?;
        self.state.hard_state = hard_state;
        Ok(())
    }

    fn put_entries(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        for entry in entries {
            let kind = RecordKind::Entry(entry.kind);
            let (segment, offset) = self.put(kind, entry.id.index, entry.id.term, &entry.payload)?;
            let slot = Slot::new(segment, offset, entry.payload.len()).expect("segments have at most 1 GiB");
            self.state.put(entry.id);
            self.locked().put(entry.id.index, slot);
        }
        Ok(())
    }

    /// Writes a record after the last one, in the next segment if necessary. Returns its segment and offset.
    fn put(
        &mut self,
        kind: RecordKind,
        index: LogIndex,
        term: Term,
        payload: &[u8],
    ) -> Result<(u32, u64), LogError> {
        while record_size_bytes(payload.len()) > self.active.free_bytes() {
            self.roll()?;
        }
        self.put_here(kind, index, term, payload)
    }

    /// Writes a record into the active segment, where it must fit.
    fn put_here(
        &mut self,
        kind: RecordKind,
        index: LogIndex,
        term: Term,
        payload: &[u8],
    ) -> Result<(u32, u64), LogError> {
        let active = &mut self.active;
        let (prev_crc, durable) = (active.last_crc, active.durable);
        let record = Record { kind, prev_crc, index, term, durable, payload };
        let crc = record.encode(active.header.seed, &mut self.scratch);
        let offset = active.tail;
        let copied = active.segment.write(offset, &self.scratch);
        self.poison_on("write", copied)?;
        let active = &mut self.active;
        active.tail += self.scratch.len() as u64;
        active.last_crc = crc;
        active.last_kind = kind;
        // Do not keep the memory of a large record forever.
        self.scratch.shrink_to(1 << 20);
        let segment = u32::try_from(active.header.id).expect("a log has fewer than 2^32 segments");
        Ok((segment, offset))
    }

    /// Ends the active segment, flushes it, and starts the next one.
    fn roll(&mut self) -> Result<(), LogError> {
        if self.prepared.is_empty() {
            return Err(LogError::NoRoom { bytes: 0 });
        }
        if self.active.last_kind != RecordKind::SegmentEnd {
            let next = LogIndex::new(self.active.header.id + 1);
            self.put_here(RecordKind::SegmentEnd, next, Term::ZERO, &[])?;
        }
        self.flush()?;
        mark!(SegmentRolled);
        let PreparedSegment { header, segment, file } = self.prepared.remove(0);
        let before = std::mem::replace(&mut self.active, Active::fresh(header, segment));
        self.sealed_bytes += before.header.size_bytes;
        self.start_segment(file, before.header.id, before.last_crc)
    }

    /// Writes the first record of the active segment, whose `file` readers use from now on.
    fn start_segment(
        &mut self,
        file: O::File,
        prev_segment: u64,
        prev_segment_crc: u32,
    ) -> Result<(), LogError> {
        let SegmentHeader { id, seed, .. } = self.active.header;
        let id = u32::try_from(id).expect("a log has fewer than 2^32 segments");
        self.locked().add_segment(id, seed, Arc::new(file));
        let (log_start, hard_state) = (self.state.log_start, self.state.hard_state);
        let start = SegmentStart { prev_segment, prev_segment_crc, log_start, hard_state };
        let last = self.state.last();
        self.put_here(RecordKind::SegmentStart, last.index.next(), last.term, &start.encode())?;
        Ok(())
    }

    fn locked(&self) -> RwLockWriteGuard<'_, Index<O::File>> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A disk error closes the log.
    fn poison_on(&mut self, action: &'static str, outcome: io::Result<()>) -> Result<(), LogError> {
        outcome.map_err(|source| {
            let path = super::segment::segment_path(&self.dir, self.active.header.id);
            let error = LogError::Io { action, path, source };
            self.poisoned = Some(error.to_string());
            error
        })
    }
}

fn entry_bytes(entry: &Entry) -> u64 {
    record_size_bytes(entry.payload.len())
}

impl LogOptions {
    /// Checks that a log can have these sizes.
    fn check(&self) -> Result<(), LogError> {
        let Self { min_segment_bytes: min, max_segment_bytes: max, reserve_bytes: reserve } = *self;
        let page = FIRST_RECORD;
        let reason = if min > max || max > MAX_SEGMENT_BYTES {
            "the smallest segment must not exceed the largest, nor the largest 1 GiB"
        } else if !min.is_multiple_of(page) || !max.is_multiple_of(page) {
            "segment sizes must be multiples of 4096 bytes"
        } else if capacity(min) <= reserve {
            "the reserve leaves nothing for entries in the smallest segment"
        } else {
            return Ok(());
        };
        Err(LogError::Options { min, max, reserve, reason })
    }
}

/// The path of the file that says that the log was begun.
fn started_file(dir: &Path) -> PathBuf {
    dir.join(super::recovery::STARTED_FILE)
}

#[cfg(test)]
mod tests;
