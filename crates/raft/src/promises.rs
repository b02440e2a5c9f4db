//! Promises wait for the disk.
//!
//! A vote, an acknowledgement, any message from a leader: each is sent only after the log reports that what it rests
//! on is durable (Raft §5.1, figure 2: "updated on stable storage before responding"). A message that rests on a
//! write is withheld here until [`super::Input::Persisted`] covers the write. So every message that leaves the core
//! may be sent at once.
//!
//! A message may rest on two things: the entries that it mentions, and the term in which it is sent. Every message
//! but a pre-vote rests on its term. Otherwise a node that crashes could campaign twice in one term with different
//! logs, or lead the same term twice.
//!
//! Caveat: while a disk stalls, one response is withheld for each request that came in, heartbeats included. The
//! caller must bound how many requests from a peer may be unanswered.

use lograft_types::{EntryId, HardState, Term, WriteSeq, mark};

use super::effects::{Effects, Write};
use super::message::{AppendEntriesResponse, AppendResult, Outgoing, Response};
use super::{NewEntries, RequestVoteResponse};

/// The hard state, the numbers of writes, and the messages that wait for them.
#[derive(Clone, Debug)]
pub(super) struct Promises {
    hard_state: HardState,
    /// The write that stores the current hard state.
    hard_state_write: WriteSeq,
    last_write: WriteSeq,
    durable: WriteSeq,
    withheld: Vec<Withheld>,
}

#[derive(Clone, Debug)]
struct Withheld {
    needs: WriteSeq,
    message: Outgoing,
}

impl Promises {
    /// After a restart: everything that was recovered is durable.
    pub(super) fn new(hard_state: HardState) -> Self {
        Self {
            hard_state,
            hard_state_write: WriteSeq::ZERO,
            last_write: WriteSeq::ZERO,
            durable: WriteSeq::ZERO,
            withheld: Vec::new(),
        }
    }

    pub(super) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub(super) fn term(&self) -> Term {
        self.hard_state.term
    }

    pub(super) fn hard_state_is_durable(&self) -> bool {
        self.hard_state_write <= self.durable
    }

    /// Whether the term and vote are still those that were recovered.
    pub(super) fn is_as_recovered(&self) -> bool {
        self.hard_state_write == WriteSeq::ZERO
    }

    pub(super) fn withheld(&self) -> usize {
        self.withheld.len()
    }

    pub(super) fn pending_writes(&self) -> u64 {
        self.last_write.get() - self.durable.get()
    }

    /// The write of this step. Starts one with the next number if the step has none yet.
    pub(super) fn write<'a>(&mut self, out: &'a mut Effects) -> &'a mut Write {
        out.write.get_or_insert_with(|| {
            self.last_write = self.last_write.next();
            Write { seq: self.last_write, hard_state: None, entries: NewEntries::Nothing }
        })
    }

    /// Changes the term or the vote. A new term ends the promises of the earlier one: withheld requests are dropped,
    /// and withheld responses become refusals in the new term.
    pub(super) fn set_hard_state(&mut self, hard_state: HardState, out: &mut Effects) {
        let new_term = hard_state.term != self.hard_state.term;
        assert!(hard_state.term >= self.hard_state.term, "terms do not go back");
        assert!(new_term || self.hard_state.vote.is_none(), "a vote does not change within its term");
        let write = self.write(out);
        write.hard_state = Some(hard_state);
        self.hard_state_write = write.seq;
        self.hard_state = hard_state;
        if new_term {
            let needs = self.hard_state_write;
            self.withheld.retain_mut(|withheld| withheld.refuse(hard_state.term, needs));
        }
    }

    /// Sends a message that rests on a write and on the term, once both are durable.
    pub(super) fn send(&mut self, message: Outgoing, rests_on: WriteSeq, out: &mut Effects) {
        let needs = rests_on.max(self.hard_state_write);
        if needs <= self.durable {
            out.messages.push(message);
        } else {
            self.withheld.push(Withheld { needs, message });
        }
    }

    /// The log is durable up to and including this write: sends the messages that waited for it.
    pub(super) fn persist(&mut self, write: WriteSeq, out: &mut Effects) {
        assert!(
            write <= self.last_write,
            "write {write} was reported durable, but the last write is {}",
            self.last_write
        );
        self.durable = self.durable.max(write);
        let durable = self.durable;
        let released = self.withheld.extract_if(.., |withheld| withheld.needs <= durable);
        out.messages.extend(released.map(|withheld| withheld.message));
    }
}

impl Withheld {
    /// Turns the message into a refusal in a new term. Returns whether to keep it.
    fn refuse(&mut self, term: Term, needs: WriteSeq) -> bool {
        self.needs = needs;
        match &mut self.message {
            Outgoing::Request { .. } => {
                mark!(RequestDropped);
                false
            }
            Outgoing::Response { response: Response::AppendEntries(response), .. } => {
                mark!(PromiseBroken);
                let AppendEntriesResponse { result, .. } = response;
                let conflict = match *result {
                    AppendResult::Matched { match_index } | AppendResult::Busy { match_index } => {
                        EntryId::new(Term::ZERO, match_index)
                    }
                    AppendResult::Conflict { conflict } => conflict,
                };
                *response =
                    AppendEntriesResponse { term, result: AppendResult::Conflict { conflict }, ..*response };
                true
            }
            Outgoing::Response { response: Response::RequestVote(response), .. } => {
                *response = RequestVoteResponse { term, granted: false, ..*response };
                true
            }
        }
    }
}

#[cfg(test)]
mod tests;
