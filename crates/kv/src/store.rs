//! The store, and how commands change it.
//!
//! Revisions and versions work as in etcd. An empty store is at revision 1. A command that changes something takes
//! the next revision; a command whose condition fails or that deletes nothing takes none.
//!
//! Caveats: a clone keeps everything that it shares in memory. A command that cannot be decoded changes nothing, not
//! even [`Store::applied`]: the caller must stop.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use lograft_types::{LogIndex, Revision};

use super::state_hash::{pair_hash, state_hash};
use super::{Command, CommandError, OrderedMap};

#[cfg(any(test, fuzzing))]
pub(super) mod model;

/// A value and its history, in etcd's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Bytes,
    /// The revision at which the key was created.
    pub create_revision: Revision,
    /// The revision of the last Set of the key.
    pub mod_revision: Revision,
    /// The number of Sets since the key was created, including the first.
    pub version: u64,
}

/// A key with its value and history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value and its history.
    pub stored: Versioned,
}

/// The outcome of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The store's revision after the command.
    pub revision: Revision,
    /// What it did.
    pub effect: Effect,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A value was stored.
    Set {
        /// The key's previous value.
        prev: Option<Versioned>,
    },
    /// The key was deleted, or did not exist.
    Deleted {
        /// The key's previous value.
        prev: Option<Versioned>,
    },
    /// The condition did not hold: nothing changed.
    ConditionFailed {
        /// The key's mod_revision; 0 if there is no such key.
        found: Revision,
    },
}

/// One page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys, in bytewise order.
    pub items: Vec<KeyValue>,
    /// Whether there are more keys after these.
    pub more: bool,
}

/// An entry cannot be applied. The node must stop: if it skipped the entry, the replicas would diverge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log entry {index} cannot be applied: {source}")]
pub struct ApplyError {
    /// The entry.
    pub index: LogIndex,
    /// What is wrong with it.
    pub source: CommandError,
}

/// The key-value store: the state that the log's entries produce. Cloning is O(1), and a clone never changes with the
/// original.
///
/// Invariants:
/// - Entries are applied in order, each once: `applied` rises by one.
/// - `hash_sum` is the sum of the hashes of the pairs in the map.
/// - For each key, `create_revision <= mod_revision <= revision` of the store, and `version >= 1`.
/// - Stored keys and values have their own allocations of exactly their size: they keep no network or log buffer in
///   memory.
#[derive(Clone, Debug)]
pub struct Store {
    map: OrderedMap<Arc<Stored>>,
    applied: LogIndex,
    revision: Revision,
    hash_sum: u128,
}

/// A value of the map. The hash is kept so that replacing a value need not read the old one again.
#[derive(Clone, Debug)]
struct Stored {
    versioned: Versioned,
    hash: u128,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// The store before the first entry.
    pub fn new() -> Self {
        Self {
            map: OrderedMap::default(),
            applied: LogIndex::ZERO,
            revision: Revision::EMPTY_STORE,
            hash_sum: 0,
        }
    }

    /// Applies an entry that holds a command, as [`Command::encode`] wrote it.
    ///
    /// # Errors
    /// If the payload is not a known command. Nothing changes then, and the node must stop.
    ///
    /// # Panics
    /// If `index` is not the one after [`Self::applied`].
    pub fn apply(&mut self, index: LogIndex, payload: &[u8]) -> Result<Outcome, ApplyError> {
        let command = Command::decode(payload).map_err(|source| ApplyError { index, source })?;
        Ok(self.apply_command(index, &command))
    }

    /// Applies a command.
    ///
    /// # Panics
    /// If `index` is not the one after [`Self::applied`].
    pub fn apply_command(&mut self, index: LogIndex, command: &Command) -> Outcome {
        self.advance(index);
        let effect = match self.failed_condition(command) {
            Some(found) => Effect::ConditionFailed { found },
            None => match command {
                Command::Set { key, value, .. } => Effect::Set { prev: self.set(key, value) },
                Command::Delete { key, .. } => Effect::Deleted { prev: self.delete(key) },
            },
        };
        Outcome { revision: self.revision, effect }
    }

    /// Skips an entry without a command: a new leader's no-op, or a configuration.
    ///
    /// # Panics
    /// If `index` is not the one after [`Self::applied`].
    pub fn skip(&mut self, index: LogIndex) {
        self.advance(index);
    }

    /// The value of a key, with its history.
    pub fn get(&self, key: &[u8]) -> Option<&Versioned> {
        self.map.get(key).map(|stored| &stored.versioned)
    }

    /// Keys that begin with `prefix` and sort after `start_after` (if empty: from the first), in bytewise order.
    ///
    /// Returns at most `limit` keys, and at most `max_bytes` of keys and values, but at least one key unless `limit`
    /// is 0 or no key matches. With `keys_only`, values are empty and do not count.
    pub fn list(
        &self,
        prefix: &[u8],
        start_after: &[u8],
        limit: u32,
        max_bytes: usize,
        keys_only: bool,
    ) -> Page {
        let start = if start_after < prefix { Bound::Included(prefix) } else { Bound::Excluded(start_after) };
        let mut page = Page::default();
        let mut page_bytes = 0_usize;
        for (key, stored) in self.map.range_from(start).take_while(|(key, _)| key.starts_with(prefix)) {
            let mut stored = stored.versioned.clone();
            if keys_only {
                stored.value = Bytes::new();
            }
            page_bytes = page_bytes.saturating_add(key.len() + stored.value.len());
            let is_full = page.items.len() as u64 >= u64::from(limit);
            if is_full || (page_bytes > max_bytes && !page.items.is_empty()) {
                page.more = true;
                break;
            }
            page.items.push(KeyValue { key: Bytes::copy_from_slice(key), stored });
        }
        page
    }

    /// The index of the last entry that was applied or skipped; 0 if there was none.
    pub const fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The revision of the last change.
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// How many keys there are.
    pub const fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are no keys.
    pub const fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// A hash of the state: all keys with their values, revisions and versions, and the store's revision. Two stores
    /// with the same state have the same hash, whatever entries produced it. O(1).
    pub fn state_hash(&self) -> u128 {
        state_hash(self.hash_sum, self.revision)
    }

    fn advance(&mut self, index: LogIndex) {
        assert_eq!(index, self.applied.next(), "entries are applied in order, each once");
        self.applied = index;
    }

    /// The key's mod_revision (0 if there is no such key), if it is not the one that the command requires.
    fn failed_condition(&self, command: &Command) -> Option<Revision> {
        let wanted = command.if_mod_revision()?;
        let found = self.get(command.key()).map_or(Revision::new(0), |stored| stored.mod_revision);
        (found != wanted).then_some(found)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<Versioned> {
        self.revision = self.revision.next();
        let (create_revision, version) = match self.get(key) {
            Some(prev) => (prev.create_revision, prev.version + 1),
            None => (self.revision, 1),
        };
        let versioned = Versioned {
            // The command's value may be a slice of a much larger buffer.
            value: Bytes::copy_from_slice(value),
            create_revision,
            mod_revision: self.revision,
            version,
        };
        let hash = pair_hash(key, &versioned);
        self.hash_sum = self.hash_sum.wrapping_add(hash);
        let prev = self.map.insert(key, Arc::new(Stored { versioned, hash }));
        prev.map(|prev| self.retire(prev))
    }

    fn delete(&mut self, key: &[u8]) -> Option<Versioned> {
        let prev = self.map.remove(key)?;
        self.revision = self.revision.next();
        Some(self.retire(prev))
    }

    /// Subtracts a pair that left the map from the hash.
    fn retire(&mut self, stored: Arc<Stored>) -> Versioned {
        self.hash_sum = self.hash_sum.wrapping_sub(stored.hash);
        Arc::unwrap_or_clone(stored).versioned
    }
}

#[cfg(test)]
mod tests;
