//! What the store must return: a plain model of it that keeps every version of every key.
//!
//! The committed entries are the one true order of writes. Each effective one takes the next revision, so a
//! revision identifies a state, and a response that names a revision can be checked against it.

use std::collections::BTreeMap;

use bytes::Bytes;
use lograft_kv::{Command, Effect, KeyValue, Outcome, Page, Versioned};
use lograft_node::ListRequest;
use lograft_types::Revision;

/// The store at every revision.
#[derive(Debug)]
pub(super) struct Model {
    revision: Revision,
    /// For each key, what each of its changes left; `None` if it was deleted.
    versions: BTreeMap<Bytes, Vec<(Revision, Option<Versioned>)>>,
    /// What each revision did.
    changes: BTreeMap<Revision, Change>,
}

/// What a revision did.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    command: Command,
    outcome: Outcome,
}

impl Model {
    pub(super) fn new() -> Self {
        Self { revision: Revision::EMPTY_STORE, versions: BTreeMap::new(), changes: BTreeMap::new() }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// The number of keys.
    pub(super) fn len(&self) -> usize {
        self.versions
            .values()
            .filter(|versions| versions.last().is_some_and(|(_, left)| left.is_some()))
            .count()
    }

    /// What is stored under a key at a revision.
    pub(super) fn get(&self, key: &Bytes, at: Revision) -> Option<&Versioned> {
        let versions = self.versions.get(key)?;
        let known = versions.partition_point(|(revision, _)| *revision <= at);
        versions[..known].last()?.1.as_ref()
    }

    /// The page of a list at a revision, without a limit on bytes.
    pub(super) fn list(&self, list: &ListRequest, at: Revision) -> Page {
        let mut page = Page::default();
        for key in self.versions.keys() {
            let Some(stored) = self.get(key, at) else { continue };
            if !key.starts_with(&list.prefix) || (!list.start_after.is_empty() && *key <= list.start_after) {
                continue;
            }
            if page.items.len() as u64 == u64::from(list.limit) {
                page.more = true;
                break;
            }
            let mut stored = stored.clone();
            if list.keys_only {
                stored.value = Bytes::new();
            }
            page.items.push(KeyValue { key: key.clone(), stored });
        }
        page
    }

    /// Applies the next committed command.
    pub(super) fn apply(&mut self, command: &Command) {
        let (key, condition) = match command {
            Command::Set { key, if_mod_revision, .. } | Command::Delete { key, if_mod_revision } => {
                (key, if_mod_revision)
            }
        };
        let prev = self.get(key, self.revision).cloned();
        let found = prev.as_ref().map_or(Revision::new(0), |prev| prev.mod_revision);
        if condition.is_some_and(|wanted| wanted != found) {
            return;
        }
        let next = self.revision.next();
        let (left, effect) = match command {
            Command::Set { value, .. } => {
                let create_revision = prev.as_ref().map_or(next, |prev| prev.create_revision);
                let version = prev.as_ref().map_or(1, |prev| prev.version + 1);
                let versioned =
                    Versioned { value: value.clone(), create_revision, mod_revision: next, version };
                (Some(versioned), Effect::Set { prev })
            }
            Command::Delete { .. } if prev.is_none() => return,
            Command::Delete { .. } => (None, Effect::Deleted { prev }),
        };
        self.revision = next;
        self.versions.entry(key.clone()).or_default().push((next, left));
        let outcome = Outcome { revision: next, effect };
        self.changes.insert(next, Change { command: command.clone(), outcome });
    }

    /// Whether a command can have had the outcome in its response.
    pub(super) fn explains(&self, command: &Command, outcome: &Outcome) -> bool {
        let key = command.key();
        match &outcome.effect {
            Effect::ConditionFailed { found } => {
                let stored = self.get(key, outcome.revision);
                let there = stored.map_or(Revision::new(0), |stored| stored.mod_revision);
                there == *found && command.if_mod_revision().is_some_and(|wanted| wanted != *found)
            }
            Effect::Deleted { prev: None } => self.get(key, outcome.revision).is_none(),
            Effect::Deleted { prev: Some(_) } | Effect::Set { .. } => {
                let change = self.changes.get(&outcome.revision);
                change.is_some_and(|change| change.command == *command && change.outcome == *outcome)
            }
        }
    }
}
