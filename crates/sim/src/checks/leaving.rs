//! What must hold for everything that leaves a node.
//!
//! - Only a pre-vote may leave with a term, a vote or an acknowledgement that is not durable.
//! - Nothing leaves in a term that was over before the turn began: what was waiting for the disk is dropped
//!   or becomes a refusal.
//! - A request carries no commit index past the entries it covers, and is no larger than the limits allow.

use lograft_node::PeerMessage;
use lograft_raft::{AppendEntries, AppendResult, Response};
use lograft_types::{EntryId, HardState, LogIndex, NodeId, Term};

use super::{Bounds, Checks};
use crate::ledger::Image;
use crate::{Violation, ensure};

/// A sender, and what its messages must rest on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving<'a> {
    pub(crate) from: NodeId,
    /// The node's term before the turn in which it sent this.
    pub(crate) term_before: Term,
    /// What is durable on the node's disk.
    pub(crate) durable: &'a Image,
}

/// What a peer's request named; the response is checked against it.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) prev: EntryId,
    pub(crate) entries: Vec<EntryId>,
}

impl Checks {
    /// A request leaves a node: its term must be durable there, and so must the vote for itself.
    pub(crate) fn message_leaves(
        &self,
        message: &PeerMessage,
        leaving: Leaving<'_>,
    ) -> Result<(), Violation> {
        let Leaving { from, term_before, durable } = leaving;
        let durable = durable.hard_state;
        match message {
            PeerMessage::Vote(vote) if vote.pre_vote => {}
            PeerMessage::Vote(vote) => {
                let own = HardState { term: vote.term, vote: Some(from) };
                ensure!(
                    durable == own || durable.term > vote.term,
                    "{vote:?} leaves {from} but only {durable:?} is durable"
                );
                ensure!(vote.term >= term_before, "{vote:?} leaves {from}, but its term is over");
            }
            PeerMessage::Heartbeat(request) | PeerMessage::Append { request, .. } => {
                ensure!(
                    durable.term >= request.term,
                    "{request:?} leaves {from} but only {durable:?} is durable"
                );
                ensure!(request.term >= term_before, "{request:?} leaves {from}, but its term is over");
                self.bounds.hold(request)?;
            }
        }
        Ok(())
    }

    /// A response leaves a node: what it promises must be durable there.
    pub(crate) fn answer_leaves(
        to: NodeId,
        response: &Response,
        named: Option<&Named>,
        leaving: Leaving<'_>,
    ) -> Result<(), Violation> {
        let Leaving { term_before, durable: disk, .. } = leaving;
        let durable = disk.hard_state;
        match response {
            Response::RequestVote(vote) if vote.pre_vote && vote.granted => {}
            Response::RequestVote(vote) => {
                let granted = HardState { term: vote.term, vote: Some(to) };
                let kept = durable.term > vote.term || !vote.granted || durable == granted;
                ensure!(
                    durable.term >= vote.term && kept,
                    "{vote:?} leaves for {to} but only {durable:?} is durable"
                );
                ensure!(vote.term >= term_before, "{vote:?} leaves for {to}, but its term is over");
            }
            Response::AppendEntries(answer) => {
                ensure!(durable.term >= answer.term, "{answer:?} leaves, but only {durable:?} is durable");
                ensure!(answer.term >= term_before, "{answer:?} leaves for {to}, but its term is over");
                let (AppendResult::Matched { match_index } | AppendResult::Busy { match_index }) =
                    answer.result
                else {
                    return Ok(());
                };
                let Some(named) = named else {
                    return Err(Violation::new(format!("{answer:?} answers a request for a vote")));
                };
                let is_durable = match named.id_at(match_index) {
                    Some(id) => disk.holds(id),
                    None => match_index <= disk.last_index() && match_index < named.prev.index,
                };
                ensure!(is_durable, "{answer:?} leaves, but is not durable; the request was {named:?}");
            }
        }
        Ok(())
    }
}

impl Bounds {
    fn hold(&self, request: &AppendEntries) -> Result<(), Violation> {
        let entries = &request.entries;
        let covered = request.prev.index.plus(entries.len() as u64);
        ensure!(request.commit <= covered, "{request:?} carries a commit index past what it covers");
        ensure!(entries.len() <= self.message_entries, "{request:?} has too many entries");
        let bytes: usize = entries.iter().map(|entry| entry.size_bytes as usize).sum();
        ensure!(bytes <= self.message_bytes || entries.len() == 1, "{request:?} is too large");
        Ok(())
    }
}

impl Named {
    fn id_at(&self, index: LogIndex) -> Option<EntryId> {
        let mut ids = std::iter::once(self.prev).chain(self.entries.iter().copied());
        ids.find(|id| id.index == index)
    }
}
