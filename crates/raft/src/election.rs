//! Leader election: timers, pre-votes, votes (Raft §5.2 and §5.4.1, thesis §4.2.3 and §9.6).
//!
//! A follower that no longer hears its leader asks for pre-votes, which change nothing on any node. With a majority
//! of pre-votes it takes the next term, votes for itself and asks for votes; with a majority of votes it leads. A
//! voter that still hears from a leader refuses both, so a node that was cut off does not disturb the others when it
//! returns.
//!
//! When the stream that carried the leader's appends breaks, the leader is probably dead, and its followers need not
//! wait: they ask for pre-votes one after another, a bounded number of times per term. Voters whose own stream is
//! intact refuse, so a link that breaks for one follower only elects nobody.

use std::collections::BTreeMap;

use lograft_types::{HardState, NodeId, Term, WriteSeq, mark};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::Rng;

use super::config::Config;
use super::effects::Effects;
use super::message::{Outgoing, ReplyTo, Request, RequestVote, RequestVoteResponse, Response};
use super::quorum::VoteResult;
use super::{Raft, Role};

/// After a refusal, a node whose leader's stream broke asks again after a random number of ticks in this range.
const RETRY_TICKS: std::ops::RangeInclusive<u32> = 2..=5;

/// Follows a leader, or waits for one.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    leader: Option<NodeId>,
    /// Ticks since the leader was last heard.
    silent_ticks: u32,
}

/// Asks whether it would be elected in the next term.
#[derive(Clone, Debug)]
pub(super) struct PreCandidate {
    votes: Votes,
}

/// Asks to be elected in the current term.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    votes: Votes,
}

/// The members' responses.
type Votes = BTreeMap<NodeId, bool>;

/// When a node that does not lead campaigns.
#[derive(Clone, Debug)]
pub(super) struct ElectionTimer {
    elapsed_ticks: u32,
    timeout_ticks: u32,
    stream_loss: StreamLoss,
}

/// Campaigns before the timeout, because the leader's stream was lost.
#[derive(Clone, Debug)]
struct StreamLoss {
    /// The leader's stream was lost, and the leader has not been heard since.
    lost: bool,
    campaign_in_ticks: Option<u32>,
    /// How many such campaigns are left in this term.
    campaigns_left: u32,
}

impl Follower {
    pub(super) fn without_leader() -> Self {
        Self { leader: None, silent_ticks: 0 }
    }

    pub(super) fn of(leader: NodeId) -> Self {
        Self { leader: Some(leader), silent_ticks: 0 }
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        self.leader
    }
}

impl ElectionTimer {
    pub(super) fn new(config: &Config, rng: &mut Xoshiro256PlusPlus) -> Self {
        let mut timer = Self { elapsed_ticks: 0, timeout_ticks: 0, stream_loss: StreamLoss::none(config) };
        timer.restart(config, rng);
        timer
    }

    /// Waits for a new timeout, drawn from [T, 1.5 T) (§5.2).
    pub(super) fn restart(&mut self, config: &Config, rng: &mut Xoshiro256PlusPlus) {
        let shortest = config.election_timeout_ticks;
        self.elapsed_ticks = 0;
        self.timeout_ticks = shortest + below(shortest.div_ceil(2), rng);
    }

    /// The leader was heard.
    pub(super) fn leader_heard(&mut self, config: &Config, rng: &mut Xoshiro256PlusPlus) {
        self.restart(config, rng);
        self.stream_loss.lost = false;
        self.stream_loss.campaign_in_ticks = None;
    }
}

impl StreamLoss {
    fn none(config: &Config) -> Self {
        Self { lost: false, campaign_in_ticks: None, campaigns_left: config.stream_loss_campaigns }
    }

    /// Whether an early campaign is due now.
    fn tick(&mut self) -> bool {
        self.campaign_in_ticks = self.campaign_in_ticks.map(|ticks| ticks.saturating_sub(1));
        self.campaign_in_ticks == Some(0)
    }
}

/// A random number below `bound`. Bounds here are small, so the modulo bias does not matter.
fn below(bound: u32, rng: &mut Xoshiro256PlusPlus) -> u32 {
    rng.next_u32() % bound
}

impl Raft {
    pub(super) fn tick_election(&mut self, out: &mut Effects) {
        if let Role::Follower(follower) = &mut self.role {
            follower.silent_ticks = follower.silent_ticks.saturating_add(1);
        }
        self.timer.elapsed_ticks += 1;
        if self.timer.elapsed_ticks >= self.timer.timeout_ticks {
            if matches!(self.role, Role::Candidate(_)) {
                mark!(SplitVote);
            }
            self.ask_for_pre_votes(out);
        } else if self.timer.stream_loss.tick() {
            self.campaign_early(out);
        }
    }

    /// The stream that carried a peer's appends broke. If the peer was the leader, the first of the other voters asks
    /// for pre-votes at once and the others follow one after another, so that they do not split the vote.
    pub(super) fn stream_lost(&mut self, from: NodeId, out: &mut Effects) {
        let Role::Follower(Follower { leader: Some(leader), .. }) = self.role else { return };
        if leader != from || !self.configuration.is_voter(self.config.id) {
            return;
        }
        let voters = self.configuration.voters();
        let before = voters.iter().filter(|&&voter| voter != leader && voter < self.config.id).count();
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        let delay_ticks = self.config.stream_loss_delay_ticks.saturating_mul(before);
        self.timer.stream_loss.lost = true;
        self.timer.stream_loss.campaign_in_ticks = Some(delay_ticks);
        if delay_ticks == 0 {
            self.campaign_early(out);
        }
    }

    fn campaign_early(&mut self, out: &mut Effects) {
        let stream_loss = &mut self.timer.stream_loss;
        stream_loss.campaign_in_ticks = None;
        if let Some(left) = stream_loss.campaigns_left.checked_sub(1) {
            mark!(StreamLossCampaign);
            stream_loss.campaigns_left = left;
            self.ask_for_pre_votes(out);
        }
    }

    /// Asks the voters whether they would vote for this node in the next term. No term and no vote changes, on any
    /// node.
    fn ask_for_pre_votes(&mut self, out: &mut Effects) {
        self.timer.restart(&self.config, &mut self.rng);
        if !self.configuration.is_voter(self.config.id) {
            return;
        }
        let votes = Votes::from([(self.config.id, true)]);
        self.role = Role::PreCandidate(PreCandidate { votes });
        for request in self.vote_requests(self.term().next(), true) {
            // A pre-vote promises nothing, so it is the only message that need not wait for the disk.
            out.messages.push(request);
        }
        self.count_votes(out);
    }

    /// Takes the next term, votes for itself and asks for votes (§5.2).
    fn campaign(&mut self, out: &mut Effects) {
        let term = self.term().next();
        self.enter_term(HardState { term, vote: Some(self.config.id) }, out);
        self.timer.restart(&self.config, &mut self.rng);
        self.role = Role::Candidate(Candidate { votes: Votes::new() });
        for request in self.vote_requests(term, false) {
            self.promises.send(request, WriteSeq::ZERO, out);
        }
    }

    fn vote_requests(&self, term: Term, pre_vote: bool) -> Vec<Outgoing> {
        let request = RequestVote { term, last: self.log.last(), pre_vote, leadership_transfer: false };
        let voters = self.configuration.voters();
        let others = voters.into_iter().filter(|&voter| voter != self.config.id);
        others.map(|to| Outgoing::Request { to, request: Request::RequestVote(request) }).collect()
    }

    /// The node's own vote counts like any other: once it is durable.
    pub(super) fn count_own_vote(&mut self, out: &mut Effects) {
        let durable = self.promises.hard_state_is_durable();
        if let Role::Candidate(candidate) = &mut self.role
            && durable
        {
            candidate.votes.insert(self.config.id, true);
            self.count_votes(out);
        }
    }

    fn count_votes(&mut self, out: &mut Effects) {
        let (Role::PreCandidate(PreCandidate { votes }) | Role::Candidate(Candidate { votes })) = &self.role
        else {
            return;
        };
        if self.configuration.vote_result(|voter| votes.get(&voter).copied()) != VoteResult::Won {
            return;
        }
        match self.role {
            Role::PreCandidate(_) => self.campaign(out),
            Role::Candidate(_) => self.lead(out),
            Role::Follower(_) | Role::Leader(_) => {}
        }
    }

    /// A candidate asks for a vote or a pre-vote.
    pub(super) fn vote_requested(
        &mut self,
        from: NodeId,
        reply_to: ReplyTo,
        request: RequestVote,
        out: &mut Effects,
    ) {
        let sticky = self.hears_a_leader() && !request.leadership_transfer;
        if !sticky && !request.pre_vote && request.term > self.term() {
            self.adopt_term(request.term, out);
        }
        let HardState { term, vote } = self.hard_state();
        let vote_is_free = request.term > term
            || (request.term == term && vote.is_none_or(|vote| vote == from) && self.leader().is_none());
        // The voter's log must not be ahead of the candidate's. Last terms are compared first, then lengths (§5.4.1).
        let candidate_is_behind = request.last < self.log.last();
        let granted = !sticky && vote_is_free && !candidate_is_behind;
        self.mark_vote(from, request, sticky, granted);
        if granted && !request.pre_vote {
            self.timer.restart(&self.config, &mut self.rng);
            if vote.is_none() {
                self.promises.set_hard_state(HardState { term, vote: Some(from) }, out);
            }
        }
        let response_term = if granted { request.term } else { term };
        let response = RequestVoteResponse { term: response_term, granted, pre_vote: request.pre_vote };
        let message = Outgoing::Response { to: from, reply_to, response: Response::RequestVote(response) };
        if granted && request.pre_vote {
            out.messages.push(message);
        } else {
            self.promises.send(message, WriteSeq::ZERO, out);
        }
        if request.pre_vote && !sticky && candidate_is_behind {
            self.campaign_instead(out);
        }
    }

    fn mark_vote(&self, from: NodeId, request: RequestVote, sticky: bool, granted: bool) {
        let HardState { term, vote } = self.hard_state();
        if sticky {
            mark!(StickyVote);
        } else if request.last < self.log.last() {
            mark!(CandidateBehind);
        }
        let asked_in_term = request.term == term && !request.pre_vote;
        if asked_in_term && granted && vote == Some(from) {
            mark!(VoteRepeated);
        }
        if asked_in_term && self.promises.is_as_recovered() && vote.is_some_and(|vote| vote != from) {
            mark!(VoteKept);
        }
    }

    /// Another node that lost the leader asks for pre-votes, but its log is behind this node's. It cannot get this
    /// node's vote, but this node can get its vote.
    fn campaign_instead(&mut self, out: &mut Effects) {
        let waits = match self.role {
            Role::Follower(_) => true,
            Role::PreCandidate(_) => self.timer.stream_loss.campaign_in_ticks.is_some(),
            Role::Candidate(_) | Role::Leader(_) => false,
        };
        if waits && self.timer.stream_loss.lost {
            mark!(CampaignInstead);
            self.campaign_early(out);
        }
    }

    /// Whether this node has no reason to give up on the current leader: it leads itself, or it heard the leader
    /// within the shortest election timeout and the leader's stream is intact.
    fn hears_a_leader(&self) -> bool {
        match &self.role {
            Role::Leader(_) => true,
            Role::Follower(follower) => {
                follower.leader.is_some()
                    && follower.silent_ticks < self.config.election_timeout_ticks
                    && !self.timer.stream_loss.lost
            }
            Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }

    /// A voter's response.
    pub(super) fn vote_answered(&mut self, from: NodeId, response: RequestVoteResponse, out: &mut Effects) {
        let promised_only = response.pre_vote && response.granted;
        // A granted pre-vote carries the term that was asked for, which nobody has taken yet.
        if !promised_only && response.term > self.term() {
            self.adopt_term(response.term, out);
            return;
        }
        if !self.configuration.contains(from) {
            return;
        }
        let asked = self.term().next();
        // Until the hard state is durable, the vote requests are withheld: no response can belong to them yet.
        let has_asked = self.promises.hard_state_is_durable();
        let votes = match &mut self.role {
            Role::PreCandidate(pre) if response.pre_vote && (!response.granted || response.term == asked) => {
                &mut pre.votes
            }
            Role::Candidate(candidate)
                if has_asked && !response.pre_vote && response.term == self.promises.term() =>
            {
                &mut candidate.votes
            }
            // A late response: its election is over, one way or another.
            Role::PreCandidate(_) | Role::Candidate(_) | Role::Follower(_) | Role::Leader(_) => {
                mark!(LateVoteAnswer);
                return;
            }
        };
        // A voter may refuse one round of pre-votes and grant the next.
        *votes.entry(from).or_insert(false) |= response.granted;
        self.count_votes(out);
        self.plan_retry();
    }

    /// A voter refused a pre-vote after a lost stream. It may not have noticed the loss yet, so plan to ask again.
    fn plan_retry(&mut self) {
        let Role::PreCandidate(PreCandidate { votes }) = &self.role else { return };
        let stream_loss = &mut self.timer.stream_loss;
        if stream_loss.lost
            && stream_loss.campaign_in_ticks.is_none()
            && votes.values().any(|&granted| !granted)
        {
            let spread = RETRY_TICKS.end() - RETRY_TICKS.start() + 1;
            stream_loss.campaign_in_ticks = Some(RETRY_TICKS.start() + below(spread, &mut self.rng));
        }
    }

    /// A higher term was seen (§5.1). In it, this node has no leader and has not voted; a response never sets its
    /// vote.
    pub(super) fn adopt_term(&mut self, term: Term, out: &mut Effects) {
        if matches!(self.role, Role::Leader(_)) {
            mark!(LeaderDeposed);
        }
        let was_follower = matches!(self.role, Role::Follower(_));
        self.enter_term(HardState { term, vote: None }, out);
        // A follower keeps its timer: a candidate that cannot win must not stop a follower that could from
        // campaigning.
        if !was_follower {
            self.timer.restart(&self.config, &mut self.rng);
        }
    }

    fn enter_term(&mut self, hard_state: HardState, out: &mut Effects) {
        self.lose_reads(out);
        self.promises.set_hard_state(hard_state, out);
        self.term_leader = None;
        self.timer.stream_loss = StreamLoss::none(&self.config);
        self.role = Role::Follower(Follower::without_leader());
    }

    /// No majority responds: another node may already lead.
    pub(super) fn step_down(&mut self, out: &mut Effects) {
        self.lose_reads(out);
        self.role = Role::Follower(Follower::without_leader());
        self.timer.restart(&self.config, &mut self.rng);
    }
}
