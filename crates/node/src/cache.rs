//! Recent entries in memory, for the peers and for the state machine, bounded in bytes.
//!
//! # Invariants
//! - The entries have consecutive indexes.
//! - Entries that are not durable yet are never evicted: the log's readers may not see them. The limits on
//!   what may be on its way bound that part.

use std::collections::VecDeque;

use lograft_types::{Entry, EntryMeta, LogIndex};

/// What an entry counts for besides its payload.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// The cache.
#[derive(Debug)]
pub(super) struct EntryCache {
    entries: VecDeque<Entry>,
    size_bytes: usize,
    capacity_bytes: usize,
}

impl EntryCache {
    pub(super) fn new(capacity_bytes: usize) -> Self {
        Self { entries: VecDeque::new(), size_bytes: 0, capacity_bytes }
    }

    /// Replaces the entries from the first one's index on, and evicts the oldest durable ones.
    pub(super) fn replace(&mut self, entries: &[Entry], persisted: LogIndex) {
        let Some(first) = entries.first() else { return };
        while self.entries.back().is_some_and(|last| last.id.index >= first.id.index) {
            let dropped = self.entries.pop_back();
            self.size_bytes -= dropped.as_ref().map_or(0, weight);
        }
        if self.entries.back().is_some_and(|last| last.id.index.next() != first.id.index) {
            self.entries.clear();
            self.size_bytes = 0;
        }
        self.size_bytes += entries.iter().map(weight).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
        self.evict(persisted);
    }

    /// Evicts the oldest entries until the cache is within its bound, but none after `persisted`.
    pub(super) fn evict(&mut self, persisted: LogIndex) {
        while self.size_bytes > self.capacity_bytes {
            match self.entries.front() {
                Some(oldest) if oldest.id.index <= persisted => {
                    self.size_bytes -= weight(oldest);
                    self.entries.pop_front();
                }
                _ => return,
            }
        }
    }

    /// The entry at this index.
    pub(super) fn get(&self, index: LogIndex) -> Option<&Entry> {
        let first = self.entries.front()?.id.index;
        let place = usize::try_from(index.distance_from(first)?).ok()?;
        self.entries.get(place)
    }

    /// Exactly these entries, if all of them are cached.
    pub(super) fn payloads(&self, wanted: &[EntryMeta]) -> Option<Vec<Entry>> {
        wanted
            .iter()
            .map(|meta| self.get(meta.id.index).filter(|entry| entry.id == meta.id).cloned())
            .collect()
    }
}

pub(super) fn weight(entry: &Entry) -> usize {
    entry.payload.len() + ENTRY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use lograft_types::{EntryId, EntryKind, Term};

    use super::*;

    fn entry(term: u64, index: u64) -> Entry {
        let id = EntryId::new(Term::new(term), LogIndex::new(index));
        Entry { id, kind: EntryKind::Normal, payload: bytes::Bytes::from(vec![b'x'; 36]) }
    }

    fn ids(cache: &EntryCache) -> Vec<(u64, u64)> {
        cache.entries.iter().map(|entry| (entry.id.term.get(), entry.id.index.get())).collect()
    }

    #[test]
    fn what_is_not_durable_is_never_evicted() {
        let mut cache = EntryCache::new(250);
        let entries: Vec<_> = (1..=10).map(|index| entry(1, index)).collect();
        cache.replace(&entries, LogIndex::ZERO);
        assert_eq!(ids(&cache).len(), 10, "nothing is durable: nothing may be evicted");

        cache.evict(LogIndex::new(5));
        assert_eq!(ids(&cache).first(), Some(&(1, 6)), "the durable ones are evicted");

        cache.evict(LogIndex::new(10));
        assert_eq!(ids(&cache), [(1, 9), (1, 10)], "two entries of 100 bytes fit into 250");
    }

    #[test]
    fn a_new_term_replaces_the_suffix() {
        let mut cache = EntryCache::new(10_000);
        cache.replace(&[entry(1, 1), entry(1, 2), entry(1, 3)], LogIndex::ZERO);
        cache.replace(&[entry(2, 2)], LogIndex::ZERO);
        assert_eq!(ids(&cache), [(1, 1), (2, 2)]);
        let old = EntryMeta { id: EntryId::new(Term::new(1), LogIndex::new(2)), size_bytes: 36 };
        assert_eq!(cache.payloads(&[old]), None, "an entry that was replaced is not handed out");
    }

    #[test]
    fn a_gap_empties_the_cache() {
        let mut cache = EntryCache::new(10_000);
        cache.replace(&[entry(1, 1)], LogIndex::ZERO);
        cache.replace(&[entry(1, 5)], LogIndex::ZERO);
        assert_eq!(ids(&cache), [(1, 5)]);
        assert_eq!(cache.size_bytes, 100);
    }
}
