//! The map, and how commands change it.
//!
//! Revisions and versions are etcd's: an empty store is at revision 1; a command that changes something takes the next
//! one; one whose condition fails or that deletes nothing takes none.
//!
//! Caveats: a clone keeps what it shares in memory. A command that cannot be read changes nothing, not even
//! [`Store::applied`]: who applies must stop.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use lograft_types::{LogIndex, Revision};

use super::state_hash::{pair_hash, state_hash};
use super::{Command, CommandError, OrderedMap};

#[cfg(any(test, fuzzing))]
pub(super) mod model;

/// A value and its history, in etcd's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Bytes,
    /// The revision at which the key was made.
    pub create_revision: Revision,
    /// The revision of the last Set of the key.
    pub mod_revision: Revision,
    /// How many Sets there were since the key was made.
    pub version: u64,
}

/// A key with what is stored under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// What is stored.
    pub stored: Versioned,
}

/// What came of a command.
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
        /// What was there before.
        prev: Option<Versioned>,
    },
    /// The key is gone, or was not there.
    Deleted {
        /// What was there before.
        prev: Option<Versioned>,
    },
    /// The condition did not hold: nothing was changed.
    ConditionFailed {
        /// The key's mod_revision; 0: there is no such key.
        found: Revision,
    },
}

/// One page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys, in bytewise order.
    pub items: Vec<KeyValue>,
    /// There are more.
    pub more: bool,
}

/// An entry cannot be applied. The node must stop: to skip the entry here would split the replicas.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log entry {index} cannot be applied: {source}")]
pub struct ApplyError {
    /// The entry.
    pub index: LogIndex,
    /// What is wrong with it.
    pub source: CommandError,
}

/// The key-value store: the state that the log's entries make. A clone is O(1) and stays as it is.
///
/// Invariants:
/// - Entries are applied in order, each once: `applied` rises by one.
/// - `hash_sum` is the sum of the hashes of the pairs in the map.
/// - Of each key, `create_revision <= mod_revision <= revision` of the store, and `version >= 1`.
/// - What is stored has allocations of exactly its own: it holds no buffer of the network or of the log in memory.
#[derive(Clone, Debug)]
pub struct Store {
    map: OrderedMap<Arc<Stored>>,
    applied: LogIndex,
    revision: Revision,
    hash_sum: u128,
}

/// What stands in the map. The hash is kept so that replacing a value does not read the old one again.
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

    /// Applies an entry with a command, as [`Command::encode`] wrote it.
    ///
    /// # Errors
    /// If the payload is no command that is known here. Then nothing is changed, and the node must stop.
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

    /// Passes over an entry without a command: a new leader's, or a configuration.
    ///
    /// # Panics
    /// If `index` is not the one after [`Self::applied`].
    pub fn skip(&mut self, index: LogIndex) {
        self.advance(index);
    }

    /// What is stored under a key.
    pub fn get(&self, key: &[u8]) -> Option<&Versioned> {
        self.map.get(key).map(|stored| &stored.versioned)
    }

    /// Keys that begin with `prefix` and stand behind `start_after` (empty: from the first), in bytewise order.
    ///
    /// At most `limit` keys, and at most `max_bytes` of keys and values, but at least one key unless `limit` is 0.
    /// With `keys_only` the values are empty and count for nothing.
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

    /// The index of the last entry that was applied or skipped; 0: none was.
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

    /// A hash of the state: of all keys with their values, revisions and versions, and of the store's revision. Two
    /// stores with the same state have the same hash, whatever entries they came from. O(1).
    pub fn state_hash(&self) -> u128 {
        state_hash(self.hash_sum, self.revision)
    }

    fn advance(&mut self, index: LogIndex) {
        assert_eq!(index, self.applied.next(), "entries are applied in order, each once");
        self.applied = index;
    }

    /// The key's mod_revision (0: there is no such key) if it is not the one that the command demands.
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

    /// Takes what left the map out of the hash.
    fn retire(&mut self, stored: Arc<Stored>) -> Versioned {
        self.hash_sum = self.hash_sum.wrapping_sub(stored.hash);
        Arc::unwrap_or_clone(stored).versioned
    }
}

#[cfg(test)]
mod tests;
