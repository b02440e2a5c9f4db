//! What the records of a log add up to. The same code replays them at the start and keeps track of new ones.

use lograft_types::{EntryId, EntryKind, HardState, LogIndex, MAX_COUNTER, Term};

use super::record::{self, Record, RecordKind, SegmentStart};

/// The state after the records so far, without payloads and offsets.
///
/// # Invariants
/// - Entries have consecutive indexes, from `log_start.index` + 1 to `last().index`.
/// - Terms never fall from one entry to the next; `runs` has the first entry of each term.
/// - Terms and indexes are below [`MAX_COUNTER`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) hard_state: HardState,
    /// Entries up to this one are gone.
    pub(super) log_start: EntryId,
    last_index: LogIndex,
    runs: Vec<EntryId>,
}

/// What a record does to the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// This entry is at its index now, and nothing after it.
    Entry(EntryId, EntryKind),
    /// All entries are gone.
    Reset(EntryId),
}

impl State {
    /// The last entry, or the log start.
    pub(super) fn last(&self) -> EntryId {
        EntryId::new(self.runs.last().map_or(self.log_start.term, |run| run.term), self.last_index)
    }

    /// The term of the entry before this index; `None` if no entry may be put at this index.
    fn term_before(&self, index: LogIndex) -> Option<Term> {
        if index <= self.log_start.index || index.prev()? > self.last_index {
            return None;
        }
        let runs = self.runs.partition_point(|run| run.index < index);
        Some(runs.checked_sub(1).map_or(self.log_start.term, |run| self.runs[run].term))
    }

    /// Checks that an entry with this id may be put into the log.
    pub(super) fn check_entry(&self, id: EntryId) -> Result<(), String> {
        let (log_start, last) = (self.log_start, self.last());
        let Some(before) = self.term_before(id.index) else {
            return Err(format!("entry {id} does not fit a log from {log_start} to {last}"));
        };
        if id.term < before || id.term == Term::ZERO {
            return Err(format!("entry {id} has term 0 or one below term {before} of the entry before it"));
        }
        plausible(id)
    }

    /// Checks that this may be the term and the vote from now on.
    pub(super) fn check_hard_state(&self, new: HardState) -> Result<(), String> {
        if new.term < self.hard_state.term {
            return Err(format!("term {} after term {}", new.term, self.hard_state.term));
        }
        plausible(EntryId::new(new.term, LogIndex::ZERO))
    }

    /// Puts in an entry, which [`Self::check_entry`] must allow.
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

    /// Applies a record, or says what it contradicts. The first record of a segment goes to [`Self::begin`].
    pub(super) fn take(&mut self, record: &Record<'_>) -> Result<Change, String> {
        match record.kind {
            RecordKind::SegmentStart => Err("a segment start in the middle of a segment".to_owned()),
            RecordKind::HardState => {
                let state = record::decode_hard_state(record).ok_or("a hard state of the wrong length")?;
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

    /// Applies the first record of a segment, or says what it contradicts.
    pub(super) fn begin(&mut self, start: &SegmentStart, id: EntryId) -> Result<(), String> {
        if start.prev_segment == 0 {
            self.check_hard_state(start.hard_state)?;
            plausible(start.log_start)?;
            self.hard_state = start.hard_state;
            self.reset(start.log_start);
        }
        if start.hard_state != self.hard_state {
            return Err(format!(
                "the segment begins with {}, but the log had {}",
                start.hard_state, self.hard_state
            ));
        }
        let next = self.last_index.checked_add(1);
        if start.log_start != self.log_start || Some(id.index) != next || id.term != self.last().term {
            return Err(format!("the segment begins at {id}, but the log ended at {}", self.last()));
        }
        Ok(())
    }
}

/// Rejects terms and indexes ≥ [`MAX_COUNTER`], so that increments cannot overflow.
pub(super) fn plausible(id: EntryId) -> Result<(), String> {
    let reached = id.term.get() < MAX_COUNTER && id.index.get() < MAX_COUNTER;
    reached
        .then_some(())
        .ok_or_else(|| format!("term {} or index {} is so large that no log reaches it", id.term, id.index))
}
