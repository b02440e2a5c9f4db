//! What was written to a log, and what of it is certainly durable: the judge of everything that recovery
//! returns.
//!
//! A recovered log must hold all that was durable, and after that a prefix of the records written since, and
//! nothing else. A term without its vote, an entry that nobody wrote, or a replaced entry is a violation.

use std::collections::VecDeque;

use lograft_storage::{Log, Os, Recovered};
use lograft_types::{Entry, EntryId, EntryMeta, HardState, LogIndex, LogWrite, WriteSeq};

use super::Violation;

/// The contents of a log: the term, the vote, and the entries after the log start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) hard_state: HardState,
    log_start: EntryId,
    entries: Vec<Entry>,
}

impl Image {
    /// The contents of an opened log.
    pub(super) fn of<O: Os>(log: &Log<O>, recovered: &Recovered) -> Result<Self, Violation> {
        let &Recovered { hard_state, log_start, .. } = recovered;
        let entries = match recovered.entries.last() {
            Some(last) => log.reader().read(log_start.index.next(), last.id.index, usize::MAX),
            None => Ok(Vec::new()),
        };
        let entries =
            entries.map_err(|error| Violation::new(format!("recovered, but unreadable: {error}")))?;
        let agrees = |(entry, meta): (&Entry, &EntryMeta)| {
            entry.id == meta.id && entry.payload.len() == meta.size_bytes as usize
        };
        if entries.len() != recovered.entries.len() || !entries.iter().zip(&recovered.entries).all(agrees) {
            return Err(Violation::new("the entries read are not those that recovery reported"));
        }
        Ok(Self { hard_state, log_start, entries })
    }

    pub(super) fn entry(&self, index: LogIndex) -> Option<&Entry> {
        let place = index.distance_from(self.log_start.index)?.checked_sub(1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// The same term and vote, and no entries.
    pub(super) fn without_entries(&self) -> Self {
        Self { hard_state: self.hard_state, ..Self::default() }
    }

    /// Whether the log holds this entry, or starts right after it.
    pub(super) fn holds(&self, id: EntryId) -> bool {
        id == self.log_start || self.entry(id.index).is_some_and(|entry| entry.id == id)
    }

    /// The last entry, or the log start.
    pub(super) fn last(&self) -> EntryId {
        self.entries.last().map_or(self.log_start, |entry| entry.id)
    }

    pub(super) fn last_index(&self) -> LogIndex {
        self.last().index
    }

    pub(super) fn log_start(&self) -> EntryId {
        self.log_start
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn put(&mut self, entry: &Entry) {
        let place = entry.id.index.distance_from(self.log_start.index).and_then(|place| place.checked_sub(1));
        let place = place.and_then(|place| usize::try_from(place).ok());
        self.entries.truncate(place.expect("entries come after the log start"));
        self.entries.push(entry.clone());
    }

    /// Applies what was written, record by record, until `enough` returns true. Returns whether it did.
    fn take(&mut self, written: &Written, mut enough: impl FnMut(&Self) -> bool) -> bool {
        match written {
            Written::Write(write) => {
                if let Some(hard_state) = write.hard_state {
                    self.hard_state = hard_state;
                    if enough(self) {
                        return true;
                    }
                }
                for entry in &write.entries {
                    self.put(entry);
                    if enough(self) {
                        return true;
                    }
                }
                false
            }
            Written::Reset(_, log_start) => {
                self.log_start = *log_start;
                self.entries.clear();
                enough(self)
            }
        }
    }

    /// Applies a write.
    pub(super) fn take_write(&mut self, write: &LogWrite) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        write.entries.iter().for_each(|entry| self.put(entry));
    }

    fn take_all(&mut self, written: &Written) {
        self.take(written, |_| false);
    }
}

/// Something that was written to a log.
#[derive(Clone, Debug)]
enum Written {
    Write(LogWrite),
    /// All entries were dropped after this write.
    Reset(WriteSeq, EntryId),
}

impl Written {
    fn seq(&self) -> WriteSeq {
        match self {
            Self::Write(write) => write.seq,
            Self::Reset(seq, _) => *seq,
        }
    }
}

/// What was written to one log.
///
/// # Invariants
/// - `written` is `durable` and all of `unflushed`.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    durable: Image,
    written: Image,
    unflushed: VecDeque<Written>,
}

impl Ledger {
    /// What is certainly durable.
    pub(super) fn durable(&self) -> &Image {
        &self.durable
    }

    /// What was written, durable or not.
    pub(super) fn written(&self) -> &Image {
        &self.written
    }

    /// Whether everything written is durable.
    pub(super) fn is_durable(&self) -> bool {
        self.unflushed.is_empty()
    }

    /// The log is told to append this. From now on a crash may leave part of it.
    pub(super) fn append(&mut self, write: &LogWrite) {
        self.put(Written::Write(write.clone()));
    }

    /// The log is told to drop all entries after the write `behind`.
    pub(super) fn reset(&mut self, behind: WriteSeq, log_start: EntryId) {
        self.put(Written::Reset(behind, log_start));
    }

    fn put(&mut self, written: Written) {
        self.written.take_all(&written);
        self.unflushed.push_back(written);
    }

    /// The log refused the last write and has written none of it.
    pub(super) fn withdraw(&mut self) {
        self.unflushed.pop_back();
        self.written = self.durable.clone();
        for written in &self.unflushed {
            self.written.take_all(written);
        }
    }

    /// The log reports everything up to this write as durable.
    pub(super) fn flushed(&mut self, persisted: WriteSeq) {
        while let Some(written) = self.unflushed.pop_front_if(|written| written.seq() <= persisted) {
            self.durable.take_all(&written);
        }
    }

    /// A recovery has returned this: it is now all there is.
    pub(super) fn recovered(&mut self, image: Image) {
        self.written = image.clone();
        self.durable = image;
        self.unflushed.clear();
    }

    /// What a recovery has returned, if the writes can have left it.
    pub(super) fn judge<O: Os>(&self, log: &Log<O>, recovered: &Recovered) -> Result<Image, Violation> {
        let found = Image::of(log, recovered)?;
        if found == self.durable {
            return Ok(found);
        }
        let mut image = self.durable.clone();
        let is_it = |image: &Image| *image == found;
        if self.unflushed.iter().any(|written| image.take(written, is_it)) {
            return Ok(found);
        }
        Err(Violation::new(format!(
            "recovered {}; durable: {}; unflushed: {:?}",
            found.in_short(),
            self.durable.in_short(),
            self.unflushed,
        )))
    }
}

impl Image {
    /// The term, the vote and the range of entries, without payloads.
    pub(super) fn in_short(&self) -> String {
        let Self { hard_state, log_start, entries } = self;
        format!("{hard_state:?} and {} entries after {log_start} up to {}", entries.len(), self.last())
    }
}
