//! What the records of a log add up to: the same code replays them at the start and keeps count afterwards.

use lograft_types::{EntryId, EntryKind, HardState, LogIndex, MAX_COUNTER, Term};

use super::record::{self, Record, RecordKind, SegmentStart};

/// What the records so far say, without payloads and places.
///
/// # Invariants
/// - Entries stand at consecutive indexes from `log_start.index` + 1 to `last().index`.
/// - Terms do not go back from one entry to the next; `runs` has the first entry of each term.
/// - Terms and indexes are below [`MAX_COUNTER`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) hard_state: HardState,
    /// Below and at this, entries are gone.
    pub(super) log_start: EntryId,
    last_index: LogIndex,
    runs: Vec<EntryId>,
}

/// What a record does to the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// This entry stands at its index now, and nothing behind it.
    Entry(EntryId, EntryKind),
    /// All entries are gone.
    Reset(EntryId),
}

impl State {
    /// The last entry, or the log start.
    pub(super) fn last(&self) -> EntryId {
        EntryId::new(self.runs.last().map_or(self.log_start.term, |run| run.term), self.last_index)
    }

    /// The term of the entry before this index; `None`: the index is not one where an entry may be put.
    fn term_before(&self, index: LogIndex) -> Option<Term> {
        if index <= self.log_start.index || index.prev()? > self.last_index {
            return None;
        }
        let runs = self.runs.partition_point(|run| run.index < index);
        Some(runs.checked_sub(1).map_or(self.log_start.term, |run| self.runs[run].term))
    }

    /// Whether an entry may be put there.
    pub(super) fn check_entry(&self, id: EntryId) -> Result<(), String> {
        let (log_start, last) = (self.log_start, self.last());
        let Some(before) = self.term_before(id.index) else {
            return Err(format!("entry {id} does not fit a log from {log_start} to {last}"));
        };
        if id.term < before || id.term == Term::ZERO {
            return Err(format!("the term of entry {id} goes back behind {before}"));
        }
        plausible(id)
    }

    /// Whether this may be the term and the vote from now on.
    pub(super) fn check_hard_state(&self, new: HardState) -> Result<(), String> {
        if new.term < self.hard_state.term {
            return Err(format!("term {} after term {}", new.term, self.hard_state.term));
        }
        plausible(EntryId::new(new.term, LogIndex::ZERO))
    }

    /// Puts an entry there, which [`Self::check_entry`] allows.
    pub(super) fn put(&mut self, id: EntryId) {
        let kept = self.runs.partition_point(|run| run.index < id.index);
        self.runs.truncate(kept);
        if self.runs.last().is_none_or(|run| run.term != id.term) {
            self.runs.push(id);
        }
        self.last_index = id.index;
    }

    /// Drops all entries.
    pub(super) fn reset(&mut self, log_start: EntryId) {
        self.log_start = log_start;
        self.last_index = log_start.index;
        self.runs.clear();
    }

    /// Takes a record in, or says what it contradicts. The first record of a segment goes to [`Self::begin`].
    pub(super) fn take(&mut self, record: &Record<'_>) -> Result<Change, String> {
        match record.kind {
            RecordKind::SegmentStart => Err("the start of a segment in its middle".to_owned()),
            RecordKind::HardState => {
                let state = record::decode_hard_state(record).ok_or("a hard state of a wrong length")?;
                self.check_hard_state(state)?;
                self.hard_state = state;
                Ok(Change::None)
            }
            RecordKind::Entry(kind) => {
                self.check_entry(record.id())?;
                self.put(record.id());
                Ok(Change::Entry(record.id(), kind))
            }
            RecordKind::Reset => {
                plausible(record.id())?;
                self.reset(record.id());
                Ok(Change::Reset(record.id()))
            }
            RecordKind::SyncMarker | RecordKind::SegmentEnd => Ok(Change::None),
        }
    }

    /// Takes the first record of a segment in, or says what it contradicts.
    pub(super) fn begin(&mut self, start: &SegmentStart, id: EntryId) -> Result<(), String> {
        if start.prev_segment == 0 {
            self.check_hard_state(start.hard_state)?;
            plausible(start.log_start)?;
            self.hard_state = start.hard_state;
            self.reset(start.log_start);
        }
        if start.hard_state != self.hard_state {
            return Err(format!("it begins with {:?}, the log had {:?}", start.hard_state, self.hard_state));
        }
        let next = self.last_index.checked_add(1);
        if start.log_start != self.log_start || Some(id.index) != next || id.term != self.last().term {
            return Err(format!("it begins behind {id}, the log ended at {}", self.last()));
        }
        Ok(())
    }
}

/// A number that nobody reaches by counting could not be counted on.
pub(super) fn plausible(id: EntryId) -> Result<(), String> {
    let reached = id.term.get() < MAX_COUNTER && id.index.get() < MAX_COUNTER;
    reached
        .then_some(())
        .ok_or_else(|| format!("term {} or index {} is one that no log reaches", id.term, id.index))
}
