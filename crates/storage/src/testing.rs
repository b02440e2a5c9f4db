//! What the tests of the log share, with fuzzing too.

use std::path::Path;

use bytes::Bytes;
use lograft_mem_os::MemOs;
use lograft_os::Os;
use lograft_types::{
    ClusterId, Entry, EntryId, EntryKind, HardState, Identity, LogIndex, LogWrite, NodeId, Term, WriteSeq,
};

use super::{Log, LogError, LogOptions, Recovered};

pub(super) const IDENTITY: Identity = Identity { cluster: ClusterId::new(7), node: NodeId::new(9) };

/// Small segments, so that a test rolls often.
pub(super) const SMALL: LogOptions =
    LogOptions { min_segment_bytes: 8192, max_segment_bytes: 16384, reserve_bytes: 512 };

pub(super) fn dir() -> &'static Path {
    Path::new("/data")
}

#[cfg(test)]
pub(super) fn open(os: &MemOs) -> (Log<MemOs>, Recovered) {
    try_open(os).expect("the log opens")
}

pub(super) fn try_open(os: &MemOs) -> Result<(Log<MemOs>, Recovered), LogError> {
    Log::open(os.clone(), dir(), IDENTITY, SMALL)
}

pub(super) fn entry(index: u64, term: u64, payload: &[u8]) -> Entry {
    Entry {
        id: EntryId::new(Term::new(term), LogIndex::new(index)),
        kind: EntryKind::Normal,
        payload: Bytes::copy_from_slice(payload),
    }
}

/// Entries with consecutive indexes and payloads that say index and term.
#[cfg(test)]
pub(super) fn entries(indexes: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    indexes.map(|index| entry(index, term, format!("{{\"entry\":\"{index}@{term}\"}}").as_bytes())).collect()
}

pub(super) fn write(seq: u64, hard_state: Option<HardState>, entries: Vec<Entry>) -> LogWrite {
    LogWrite { seq: WriteSeq::new(seq), hard_state, entries }
}

pub(super) fn hard_state(term: u64, vote: u64) -> HardState {
    HardState { term: Term::new(term), vote: (vote != 0).then_some(NodeId::new(vote)) }
}

/// All entries of a log, with their payloads.
pub(super) fn all<O: Os>(log: &Log<O>, recovered_base: EntryId) -> Vec<Entry> {
    let (first, last) = (recovered_base.index.next(), log.last().index);
    if last < first {
        return Vec::new();
    }
    log.reader().read(first, last, usize::MAX).expect("the entries can be read")
}
