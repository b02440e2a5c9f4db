//! What arrives from other nodes, and what happens to forwarded requests.

use lograft_node::{Event, ForwardFailure, ForwardToken, PeerRequest, RequestError};
use lograft_raft::ReplyTo;

use super::{Exchange, Happening, World};
use crate::checks::Named;
use crate::network::{Asker, Body, Packet};
use crate::scenario::ELECTION_US;

impl World<'_> {
    pub(super) fn deliver(&mut self, packet: Packet) {
        let Packet { from, to, .. } = packet;
        if self.network.is_cut(from, to) || self.machines[to].node.is_none() {
            if let Some(asker) = packet.asker() {
                self.lose_forward(asker);
            }
            return;
        }
        self.delivered += 1;
        match packet.body {
            Body::Request { envelope, request } => {
                let reply_to = ReplyTo(self.number());
                if let PeerRequest::Vote { candidate, vote } = &request
                    && !vote.pre_vote
                {
                    self.votes_asked.insert((to, *candidate, vote.term));
                }
                let named = match &request {
                    PeerRequest::Append(append) => Some(Named {
                        prev: append.prev,
                        entries: append.entries.iter().map(|entry| entry.id).collect(),
                    }),
                    PeerRequest::Vote { .. } => None,
                };
                self.exchanges.insert(reply_to, Exchange { at: to, asker: from, named });
                self.post(to, Event::PeerRequest { envelope, reply_to, request });
            }
            Body::Response { envelope, response } => {
                self.post(to, Event::PeerResponse { envelope, response });
            }
            Body::Forward { asker, request, timeout_ms } => {
                let token = ForwardToken(self.number());
                self.forwarded.insert(token, (to, asker));
                self.post(to, Event::Forwarded { token, request, timeout_ms });
            }
            Body::ForwardResponse { asker, result } => {
                self.forward_done(asker, result.map_err(as_failure));
            }
        }
    }

    pub(super) fn forward_done(
        &mut self,
        asker: Asker,
        result: Result<lograft_node::ForwardResponse, ForwardFailure>,
    ) {
        if self.awaited.remove(&asker) && self.lives(asker.node, asker.life) {
            self.post(asker.node, Event::ForwardDone { id: asker.id, result });
        }
    }

    pub(super) fn lose_forward(&mut self, asker: Asker) {
        let in_us = self.timing.below(ELECTION_US / 2);
        self.plan(in_us, Happening::ForwardLost(asker));
    }
}

/// What an asker learns of a leader's error, as the links report it.
fn as_failure(error: RequestError) -> ForwardFailure {
    match error {
        RequestError::NotLeader { .. } => ForwardFailure::NotTaken,
        RequestError::DiskFull { .. } | RequestError::Replaced => ForwardFailure::Refused(error),
        RequestError::UnknownOutcome { reason } => ForwardFailure::Lost { reason },
        RequestError::Overloaded { .. }
        | RequestError::LeaderOverloaded(_)
        | RequestError::NoLeader { .. }
        | RequestError::Refused(_)
        | RequestError::ShuttingDown
        | RequestError::ReadTimedOut { .. }
        | RequestError::ReadBehind { .. } => {
            ForwardFailure::Refused(RequestError::Refused(error.to_string()))
        }
    }
}
