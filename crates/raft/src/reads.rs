//! Linearizable reads without a log entry: ReadIndex (thesis §6.4).
//!
//! A read may be served at the commit index of the moment it came in, once two things are known. First, no other
//! leader had taken over by then: a majority confirms that by answering a heartbeat sent afterwards. Second, the
//! commit index is up to date with the leader's own term: the commit of its first own entry shows that.
//!
//! Rounds of confirmation are numbered, numbers are never reused in the life of a core, and responses count only in
//! their term. So a response to an old round confirms nothing. No clock is trusted: there are no lease reads.

use std::collections::VecDeque;

use lograft_types::{LogIndex, mark};

use super::effects::{Effects, ReadId, ReadOutcome};
use super::progress::Progress;
use super::{Raft, Role};

/// Reads that wait for confirmation, in the order of their rounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    waiting: VecDeque<WaitingRead>,
}

#[derive(Clone, Copy, Debug)]
struct WaitingRead {
    id: ReadId,
    /// The round that must be confirmed. Its heartbeats were sent after the read came in.
    round: u64,
    index: LogIndex,
}

impl Reads {
    pub(super) fn pending(&self) -> usize {
        self.waiting.len()
    }
}

impl Raft {
    /// Reads came in: starts a round of confirmation. If this node does not lead, the reads are lost at once.
    pub(super) fn read(&mut self, id: ReadId, out: &mut Effects) {
        let Role::Leader(leader) = &mut self.role else {
            out.reads.push(ReadOutcome::Lost { id });
            return;
        };
        self.read_round += 1;
        // Everything that earlier leaders committed is before this leader's first own entry.
        let index = self.commit.max(leader.first_own());
        if self.commit < index {
            mark!(ReadBeforeFirst);
        }
        leader.reads.waiting.push_back(WaitingRead { id, round: self.read_round, index });
        self.send_heartbeats(out);
        self.advance_reads(out);
    }

    /// Releases the confirmed reads.
    pub(super) fn advance_reads(&mut self, out: &mut Effects) {
        let Role::Leader(leader) = &mut self.role else { return };
        if self.commit < leader.first_own() || leader.reads.waiting.is_empty() {
            return;
        }
        let me = self.config.id;
        let confirmed = self.configuration.reached(|voter| match leader.progress(voter) {
            Some(peer) => Progress::read_round(peer),
            None if voter == me => self.read_round,
            None => 0,
        });
        while let Some(&WaitingRead { id, round, index }) = leader.reads.waiting.front()
            && round <= confirmed
        {
            leader.reads.waiting.pop_front();
            out.reads.push(ReadOutcome::ReadAt { id, index });
        }
    }

    /// Leadership is lost, and with it every waiting read.
    pub(super) fn lose_reads(&mut self, out: &mut Effects) {
        if let Role::Leader(leader) = &mut self.role {
            if !leader.reads.waiting.is_empty() {
                mark!(ReadLost);
            }
            let lost = leader.reads.waiting.drain(..);
            out.reads.extend(lost.map(|read| ReadOutcome::Lost { id: read.id }));
        }
    }
}
