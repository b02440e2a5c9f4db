//! The follower's side of the log (Raft §5.3).
//!
//! An acknowledgement of entries waits for the flush of the last one, whether the entries came with this request or
//! with an earlier one. The response to a heartbeat does not wait for entries: it claims only what is already
//! durable.

use lograft_types::{EntryId, EntryMeta, LogIndex, NodeId, WriteSeq, mark};

use super::effects::{Effects, Halt, NewEntries};
use super::election::Follower;
use super::log_view::NoTerm;
use super::message::{AppendEntries, AppendEntriesResponse, AppendResult, Outgoing, ReplyTo, Response};
use super::{Raft, Role};

impl Raft {
    /// A leader's entries, or its heartbeat.
    pub(super) fn append_requested(
        &mut self,
        from: NodeId,
        reply_to: ReplyTo,
        request: &AppendEntries,
        out: &mut Effects,
    ) -> Result<(), Halt> {
        if request.term < self.term() {
            // The response tells an old leader that it was deposed, and tells a cluster with lower terms this node's
            // term. A node that refused silently would be stuck.
            mark!(OldLeaderAnswered);
            let conflict = self.log.last_at_most(request.prev.term, request.prev.index);
            self.answer(from, reply_to, request, AppendResult::Conflict { conflict }, WriteSeq::ZERO, out);
            return Ok(());
        }
        if request.term > self.term() {
            self.adopt_term(request.term, out);
        }
        self.follow(from)?;
        if !self.has(from, request.prev)? {
            mark!(FollowerConflict);
            let conflict = self.log.last_at_most(request.prev.term, request.prev.index);
            self.answer(from, reply_to, request, AppendResult::Conflict { conflict }, WriteSeq::ZERO, out);
            return Ok(());
        }
        self.take_entries(from, &request.entries, out)?;
        let last = request.prev.index.plus(request.entries.len() as u64);
        // Entries after `last` were not compared: they may be another leader's.
        if request.commit > last && last < self.log.last().index {
            mark!(CommitBounded);
        }
        self.raise_commit(request.commit.min(last), out);
        let (match_index, rests_on) = if request.entries.is_empty() {
            (last.min(self.log.persisted()), WriteSeq::ZERO)
        } else {
            (last, self.log.durable_with(last))
        };
        let result = if request.clipped {
            AppendResult::Busy { match_index }
        } else {
            AppendResult::Matched { match_index }
        };
        self.answer(from, reply_to, request, result, rests_on, out);
        Ok(())
    }

    /// Follows the leader of the current term.
    fn follow(&mut self, leader: NodeId) -> Result<(), Halt> {
        if let Some(first) = self.term_leader
            && first != leader
        {
            return Err(Halt::TwoLeaders { term: self.term(), first, second: leader });
        }
        self.term_leader = Some(leader);
        self.role = Role::Follower(Follower::of(leader));
        self.timer.leader_heard(&self.config, &mut self.rng);
        Ok(())
    }

    /// Whether this log has an entry of the leader's. Entries before the log start were committed, so both logs have
    /// them.
    fn has(&self, leader: NodeId, theirs: EntryId) -> Result<bool, Halt> {
        match self.log.term_at(theirs.index) {
            Ok(term) if term == theirs.term => Ok(true),
            Ok(term) if theirs.index <= self.commit => {
                let ours = EntryId::new(term, theirs.index);
                Err(Halt::CommittedConflict { from: leader, theirs, ours })
            }
            Ok(_) | Err(NoTerm::Unavailable) => Ok(false),
            Err(NoTerm::Compacted) => Ok(true),
        }
    }

    /// Appends the new entries. A conflicting entry is dropped with all entries after it. Without a conflict nothing
    /// is dropped, not even entries past the request's last: the request may be old.
    fn take_entries(&mut self, leader: NodeId, entries: &[EntryMeta], out: &mut Effects) -> Result<(), Halt> {
        let mut known = 0;
        for entry in entries {
            if !self.has(leader, entry.id)? {
                break;
            }
            known += 1;
        }
        let Some(first) = entries.get(known).map(|entry| entry.id.index) else {
            let last = entries.last().map(|entry| entry.id.index);
            if last.is_some_and(|last| last < self.log.last().index) {
                mark!(StaleAppendKept);
            }
            if last.is_some_and(|last| last > self.log.persisted()) {
                mark!(DurableAckWaits);
            }
            return Ok(());
        };
        if first <= self.log.last().index {
            mark!(SuffixTruncated);
            self.log.truncate(first);
        }
        let write = self.promises.write(out);
        write.entries = NewEntries::FromRequest { first };
        for &entry in &entries[known..] {
            self.log.append(entry, write.seq);
        }
        Ok(())
    }

    pub(super) fn raise_commit(&mut self, commit: LogIndex, out: &mut Effects) {
        if commit > self.commit {
            assert!(commit <= self.log.last().index, "commit {commit} is past the log's end");
            self.commit = commit;
            out.committed = Some(commit);
        }
    }

    fn answer(
        &mut self,
        to: NodeId,
        reply_to: ReplyTo,
        request: &AppendEntries,
        result: AppendResult,
        rests_on: WriteSeq,
        out: &mut Effects,
    ) {
        let response = AppendEntriesResponse {
            term: self.term(),
            request_id: request.request_id,
            read_round: request.read_round,
            result,
        };
        let message = Outgoing::Response { to, reply_to, response: Response::AppendEntries(response) };
        self.promises.send(message, rests_on, out);
    }
}
