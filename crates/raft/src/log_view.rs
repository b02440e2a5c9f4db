//! The core's view of the log: the term of each index, the sizes of the entries, what is durable.
//!
//! It holds no payloads. Terms are kept as runs, because there are few; sizes are kept per entry, to fill messages.
//!
//! Not here: dropping the entries that a snapshot covers. The log start moves only at a restart.

use std::collections::VecDeque;

use lograft_types::{EntryId, EntryMeta, LogIndex, Term, WriteSeq};

/// The core's view of the log.
///
/// # Invariants
/// - Indexes have no gap: the entries are log_start + 1 ..= last.
/// - Runs are ordered by strictly rising index and term; the first run begins with the first entry.
/// - Entries up to `persisted` are durable. `pending` covers the entries after it: its writes and indexes rise, and
///   its last index is the last entry's.
#[derive(Clone, Debug)]
pub struct LogView {
    log_start: EntryId,
    runs: VecDeque<Run>,
    sizes_bytes: VecDeque<u32>,
    persisted: LogIndex,
    pending: VecDeque<PendingWrite>,
}

/// Entries of one term, up to the next run.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: LogIndex,
    term: Term,
}

/// A write that is not yet known to be durable, and the last of its entries that was not dropped since.
#[derive(Clone, Copy, Debug)]
struct PendingWrite {
    write: WriteSeq,
    last: LogIndex,
}

/// Why an index has no term here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTerm {
    /// It is before the log start: its entry was committed, and the log no longer holds it.
    #[error("the log starts after this index")]
    Compacted,
    /// It is past the last entry.
    #[error("the log ends before this index")]
    Unavailable,
}

impl LogView {
    /// A recovered log: all of it is durable.
    ///
    /// # Panics
    /// If the entries do not follow `log_start` without a gap, or their terms go back.
    pub fn new(log_start: EntryId, entries: impl IntoIterator<Item = EntryMeta>) -> Self {
        let mut log = Self {
            log_start,
            runs: VecDeque::new(),
            sizes_bytes: VecDeque::new(),
            persisted: log_start.index,
            pending: VecDeque::new(),
        };
        for entry in entries {
            log.push(entry);
        }
        log.persisted = log.last().index;
        log
    }

    /// The entry before the first one that the log holds.
    pub fn log_start(&self) -> EntryId {
        self.log_start
    }

    /// The last entry; the log start if there is none.
    pub fn last(&self) -> EntryId {
        let term = self.runs.back().map_or(self.log_start.term, |run| run.term);
        EntryId::new(term, self.log_start.index.plus(self.sizes_bytes.len() as u64))
    }

    /// The last index up to which all entries are known to be durable.
    pub fn persisted(&self) -> LogIndex {
        self.persisted
    }

    /// The term of the entry at an index, or of the log start.
    ///
    /// # Errors
    /// If the log does not hold the index. A missing entry has no term, not term 0: only the origin has term 0.
    pub fn term_at(&self, index: LogIndex) -> Result<Term, NoTerm> {
        if index < self.log_start.index {
            return Err(NoTerm::Compacted);
        }
        if index > self.last().index {
            return Err(NoTerm::Unavailable);
        }
        let runs_before = self.runs.partition_point(|run| run.first <= index);
        Ok(runs_before.checked_sub(1).map_or(self.log_start.term, |run| self.runs[run].term))
    }

    /// The last entry at or before `index` whose term is at most `term`; the log start if there is none.
    ///
    /// Terms never fall along a log, so a log with `term` at `index` cannot match ours between the returned entry and
    /// `index`. This lets a leader skip a whole term in one step.
    pub fn last_at_most(&self, term: Term, index: LogIndex) -> EntryId {
        let mut index = index.min(self.last().index);
        for run in self.runs.iter().rev() {
            if run.first > index {
                continue;
            }
            if run.term <= term {
                return EntryId::new(run.term, index);
            }
            index = run.first.prev().expect("an entry has an index above 0");
        }
        self.log_start
    }

    /// The entries from `first` on, within both bounds. Returns at least one entry if there is one.
    pub fn entries(&self, first: LogIndex, max_entries: usize, max_bytes: usize) -> Vec<EntryMeta> {
        assert!(
            first > self.log_start.index,
            "entry {first} is gone: the log starts after {}",
            self.log_start.index
        );
        let skip = first.distance_from(self.log_start.index.next()).expect("first is past the log start");
        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(self.sizes_bytes.len());
        let mut run = self.runs.partition_point(|run| run.first <= first).saturating_sub(1);
        let mut bytes = 0_usize;
        let mut entries = Vec::new();
        for (index, &size_bytes) in (first.get()..).map(LogIndex::new).zip(self.sizes_bytes.range(skip..)) {
            bytes = bytes.saturating_add(size_bytes as usize);
            if entries.len() == max_entries || (bytes > max_bytes && !entries.is_empty()) {
                break;
            }
            if self.runs.get(run + 1).is_some_and(|next| next.first == index) {
                run += 1;
            }
            entries.push(EntryMeta { id: EntryId::new(self.runs[run].term, index), size_bytes });
        }
        entries
    }

    /// Appends an entry that becomes durable with a write.
    pub(super) fn append(&mut self, entry: EntryMeta, write: WriteSeq) {
        self.push(entry);
        match self.pending.back_mut() {
            Some(pending) if pending.write == write => pending.last = entry.id.index,
            _ => self.pending.push_back(PendingWrite { write, last: entry.id.index }),
        }
    }

    /// Drops the entry at `first` and all entries after it. When an earlier write of the dropped entries completes,
    /// that says nothing about the durability of the entries that replace them.
    pub(super) fn truncate(&mut self, first: LogIndex) {
        assert!(first > self.log_start.index, "the log start cannot be dropped");
        let kept = first.distance_from(self.log_start.index.next()).expect("first is past the log start");
        self.sizes_bytes.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        while self.runs.back().is_some_and(|run| run.first >= first) {
            self.runs.pop_back();
        }
        let last = first.prev().expect("an entry has an index above 0");
        self.persisted = self.persisted.min(last);
        while let Some(newest) = self.pending.pop_back() {
            let before = self.pending.back().map_or(self.persisted, |pending| pending.last);
            if before < last {
                self.pending.push_back(PendingWrite { last: newest.last.min(last), ..newest });
                break;
            }
        }
    }

    /// The log is durable up to and including this write.
    pub(super) fn persist(&mut self, write: WriteSeq) {
        while let Some(&pending) = self.pending.front()
            && pending.write <= write
        {
            self.persisted = pending.last;
            self.pending.pop_front();
        }
    }

    /// The write that makes the log durable up to an index; zero if it already is.
    pub(super) fn durable_with(&self, index: LogIndex) -> WriteSeq {
        if index <= self.persisted {
            return WriteSeq::ZERO;
        }
        let pending = self.pending.partition_point(|pending| pending.last < index);
        self.pending.get(pending).expect("what is not durable is pending").write
    }

    fn push(&mut self, entry: EntryMeta) {
        let last = self.last();
        assert_eq!(entry.id.index, last.index.next(), "entries have no gap");
        assert!(entry.id.term >= last.term, "terms do not go back: {} after {last}", entry.id);
        if self.runs.is_empty() || entry.id.term > last.term {
            self.runs.push_back(Run { first: entry.id.index, term: entry.id.term });
        }
        self.sizes_bytes.push_back(entry.size_bytes);
    }
}

#[cfg(test)]
mod tests;
