//! A journal of what happened in the cluster, for the scripts' output.

use lograft_raft::{Halt, NewEntries, ReadOutcome, RoleName, Write};
use lograft_types::{EntryId, EntryMeta, HardState, LogIndex, NodeId, Term};

use super::{Cluster, Packet};

/// Something that a step did.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A node's role, its term, or the leader that it knows changed.
    Changed { node: NodeId, role: RoleName, term: Term, leader: Option<NodeId> },
    /// A node hands a write to its disk.
    Wrote {
        node: NodeId,
        hard_state: Option<HardState>,
        entries: Vec<EntryId>,
        /// The log's earlier entries from the first of these indexes on, which the write replaces.
        dropped: Vec<EntryId>,
    },
    /// A node's commit index rose.
    Committed { node: NodeId, commit: LogIndex },
    /// A message left a node. It is lost if the link is cut.
    Sent { packet: Packet, lost: bool },
    /// The outcome of a read.
    Read(ReadOutcome),
    /// A node stopped.
    Halted { node: NodeId, halt: Halt },
}

/// The events since the journal was last taken.
#[derive(Default)]
pub(super) struct Journal(Vec<Event>);

impl Cluster {
    /// Records events from here on.
    pub(crate) fn keep_journal(&mut self) {
        self.journal = Some(Journal::default());
    }

    /// The events since the last call.
    pub(crate) fn take_journal(&mut self) -> Vec<Event> {
        self.journal.as_mut().map(|journal| std::mem::take(&mut journal.0)).unwrap_or_default()
    }

    pub(super) fn note(&mut self, event: Event) {
        if let Some(journal) = &mut self.journal {
            journal.0.push(event);
        }
    }

    pub(super) fn note_write(
        &mut self,
        node: NodeId,
        write: &Write,
        entries: &[EntryMeta],
        log_before: Vec<EntryId>,
    ) {
        let entries: Vec<_> = entries.iter().map(|entry| entry.id).collect();
        let first = match write.entries {
            NewEntries::Nothing => None,
            NewEntries::FromRequest { .. } | NewEntries::Proposals { .. } | NewEntries::NoOp { .. } => {
                entries.first()
            }
        };
        let dropped = first.map_or_else(Vec::new, |first| {
            log_before.into_iter().filter(|entry| entry.index >= first.index).collect()
        });
        self.note(Event::Wrote { node, hard_state: write.hard_state, entries, dropped });
    }
}
