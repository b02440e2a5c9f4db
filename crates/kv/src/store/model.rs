//! A model of the store, for its tests and for fuzzing: a sorted map of the standard library, and no hash.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Command, Effect, KeyValue, Outcome, Page, Revision, Store, Versioned, pair_hash, state_hash};

impl Store {
    /// The hash, computed anew from what the store lists.
    pub(in super::super) fn hash_anew(&self) -> u128 {
        let all = self.list(b"", b"", u32::MAX, usize::MAX, false);
        let sum =
            all.items.iter().fold(0_u128, |sum, item| sum.wrapping_add(pair_hash(&item.key, &item.stored)));
        state_hash(sum, self.revision())
    }
}

/// The simplest possible store.
#[derive(Default)]
pub(in super::super) struct Model {
    map: BTreeMap<Bytes, Versioned>,
    changes: u64,
}

impl Model {
    pub(in super::super) fn run(&mut self, command: &Command) -> Outcome {
        let found = self.map.get(command.key()).map_or(0, |stored| stored.mod_revision.get());
        let holds = command.if_mod_revision().is_none_or(|wanted| wanted.get() == found);
        let prev = self.map.get(command.key()).cloned();
        let effect = match command {
            _ if !holds => Effect::ConditionFailed { found: Revision::new(found) },
            Command::Set { key, value, .. } => {
                self.changes += 1;
                let now = Revision::new(1 + self.changes);
                let stored = Versioned {
                    value: value.clone(),
                    create_revision: prev.as_ref().map_or(now, |prev| prev.create_revision),
                    mod_revision: now,
                    version: 1 + prev.as_ref().map_or(0, |prev| prev.version),
                };
                self.map.insert(key.clone(), stored);
                Effect::Set { prev }
            }
            Command::Delete { key, .. } => {
                self.changes += u64::from(self.map.remove(key).is_some());
                Effect::Deleted { prev }
            }
        };
        Outcome { revision: Revision::new(1 + self.changes), effect }
    }

    pub(in super::super) fn get(&self, key: &[u8]) -> Option<&Versioned> {
        self.map.get(key)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(in super::super) fn list(&self, prefix: &[u8], after: &[u8], limit: u32, max_bytes: usize) -> Page {
        let mut matching: Vec<KeyValue> = self
            .map
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && &key[..] > after)
            .map(|(key, stored)| KeyValue { key: key.clone(), stored: stored.clone() })
            .collect();
        let mut taken = 0;
        let mut size = 0;
        for item in &matching {
            size += item.key.len() + item.stored.value.len();
            if taken as u32 == limit || (taken > 0 && size > max_bytes) {
                break;
            }
            taken += 1;
        }
        let more = taken < matching.len();
        matching.truncate(taken);
        Page { items: matching, more }
    }
}
