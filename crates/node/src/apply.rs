//! Applies committed entries to the map and responds to the requests that waited for them.

use lograft_kv::Outcome;
use lograft_types::{Entry, EntryId, EntryKind, LogIndex, Revision, mark};

use super::dispatch::refuse;
use super::event::{Effects, ForwardResponse, HaltReason, Load};
use super::request::{ClientResponse, Header, RequestError, ResponseBody};
use super::waiting::Origin;
use super::{Node, cache};

/// The most keys that one turn lists, but for the last List.
///
/// 100,000: some ten milliseconds, so that heartbeats do not wait for clients that list everything.
const MAX_TURN_KEYS: usize = 100_000;

impl Node {
    /// Applies the committed entries that are cached, as many as fit into a turn; asks for those that are not.
    pub(super) fn apply_committed(&mut self, effects: &mut Effects) {
        let mut left_bytes = self.limits.max_turn_bytes;
        while self.loading.is_none() && self.store.applied() < self.commit {
            let index = self.store.applied().next();
            let Some(entry) = self.cache.get(index).cloned() else {
                // The log may not have appended more yet: there, it may still hold what was replaced.
                let last = self.commit.min(self.raft.persisted_index());
                let max_bytes = self.limits.max_turn_bytes;
                effects.load = Some(Load { first: index, last, max_bytes });
                self.loading = Some(index);
                break;
            };
            if left_bytes == 0 {
                mark!(ApplyingPaused);
                effects.unfinished = true;
                break;
            }
            left_bytes = left_bytes.saturating_sub(cache::weight(&entry));
            if let Err(halt) = self.apply(&entry, effects) {
                effects.halt = Some(halt);
                return;
            }
        }
        self.answer_reads(effects);
    }

    /// Answers the reads for which the map is fresh enough, as many as fit into a turn.
    fn answer_reads(&mut self, effects: &mut Effects) {
        let mut left_keys = MAX_TURN_KEYS;
        while left_keys > 0 {
            let Some(waiter) = self.waiting.take_applied(self.store.applied()) else { return };
            let keys = self.answer_read(waiter, effects);
            left_keys = left_keys.saturating_sub(keys);
        }
        effects.unfinished = true;
    }

    /// Entries have come back from the log.
    pub(super) fn on_loaded(&mut self, entries: Result<Vec<Entry>, String>, effects: &mut Effects) {
        let Some(first) = self.loading.take() else { return };
        mark!(EntriesLoaded);
        let applied = match entries {
            Ok(entries) if !entries.is_empty() => {
                entries.iter().try_for_each(|entry| self.apply(entry, effects))
            }
            Ok(_) => Err(HaltReason::UnreadableLog { first, why: "no entry was found".to_owned() }),
            Err(why) => Err(HaltReason::UnreadableLog { first, why }),
        };
        if let Err(halt) = applied {
            effects.halt = Some(halt);
        }
    }

    fn apply(&mut self, entry: &Entry, effects: &mut Effects) -> Result<(), HaltReason> {
        let index = entry.id.index;
        assert!(index <= self.commit, "only committed entries are applied");
        if index != self.store.applied().next() || !self.holds(entry.id) {
            let why = format!("entry {} was found in its place", entry.id);
            return Err(HaltReason::UnreadableLog { first: self.store.applied().next(), why });
        }
        let outcome = match entry.kind {
            EntryKind::Normal => Some(
                self.store
                    .apply(index, &entry.payload)
                    .map_err(|error| HaltReason::UnknownCommand { id: entry.id, why: error.to_string() })?,
            ),
            EntryKind::NoOp => {
                self.store.skip(index);
                None
            }
            EntryKind::Configuration => {
                let why = "it is a cluster configuration, which this version does not support".to_owned();
                return Err(HaltReason::UnknownCommand { id: entry.id, why });
            }
        };
        self.answer_waiters(entry.id, outcome.as_ref(), effects);
        Ok(())
    }

    /// The request that proposed this entry gets its outcome; any that proposed another one at its index
    /// learns that it was replaced.
    fn answer_waiters(&mut self, id: EntryId, outcome: Option<&Outcome>, effects: &mut Effects) {
        for (term, waiter) in self.waiting.take_proposed(id.index) {
            let Some(waiter) = self.waiting.finish(waiter) else { continue };
            match outcome {
                Some(outcome) if term == id.term => {
                    self.respond_applied(waiter.operation.origin(), id, outcome.clone(), effects);
                }
                _ => {
                    mark!(WaiterReplaced);
                    refuse(&waiter, RequestError::Replaced, effects);
                }
            }
        }
    }

    /// Responds to a write: this entry was applied, with this outcome.
    pub(super) fn respond_applied(
        &self,
        origin: Origin,
        id: EntryId,
        outcome: Outcome,
        effects: &mut Effects,
    ) {
        match origin {
            Origin::Client(token) => {
                let header = self.header(outcome.revision);
                let response = ClientResponse { header, body: ResponseBody::Applied(outcome) };
                effects.client_responses.push((token, Ok(response)));
            }
            Origin::Peer(token) => {
                effects.forward_responses.push((token, Ok(ForwardResponse::Applied { id, outcome })));
            }
        }
    }

    pub(super) fn header(&self, revision: Revision) -> Header {
        Header { cluster: self.identity.cluster, node: self.identity.node, term: self.raft.term(), revision }
    }

    /// The index up to which the map has applied the log.
    pub fn applied(&self) -> LogIndex {
        self.store.applied()
    }
}

#[cfg(test)]
mod tests;
