//! Who takes part, and what a majority of them says.
//!
//! While the membership changes, two sets of voters are in force and each must agree for itself (joint consensus, Raft
//! §6). Everything here knows that; nothing here changes the membership.

use std::collections::BTreeSet;

use lograft_types::NodeId;

/// The members.
///
/// # Invariants
/// There is a voter; outgoing voters, if any, are not an empty set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    voters: BTreeSet<NodeId>,
    outgoing: Option<BTreeSet<NodeId>>,
    learners: BTreeSet<NodeId>,
}

/// What a vote has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteResult {
    /// Enough voters said yes.
    Won,
    /// Enough voters said no for the rest not to matter.
    Lost,
    /// The voters that have not answered decide.
    Pending,
}

impl Configuration {
    /// Only voters.
    ///
    /// # Panics
    /// Without voters.
    pub fn new(voters: impl IntoIterator<Item = NodeId>) -> Self {
        let voters: BTreeSet<_> = voters.into_iter().collect();
        assert!(!voters.is_empty(), "a cluster has a voter");
        Self { voters, outgoing: None, learners: BTreeSet::new() }
    }

    /// The same with a second set of voters, whose majority is needed too.
    ///
    /// # Panics
    /// Without outgoing voters.
    #[must_use]
    pub fn with_outgoing(self, outgoing: impl IntoIterator<Item = NodeId>) -> Self {
        let outgoing: BTreeSet<_> = outgoing.into_iter().collect();
        assert!(!outgoing.is_empty(), "a joint configuration has outgoing voters");
        Self { outgoing: Some(outgoing), ..self }
    }

    /// The same with members that receive the log and do not vote.
    #[must_use]
    pub fn with_learners(self, learners: impl IntoIterator<Item = NodeId>) -> Self {
        Self { learners: learners.into_iter().collect(), ..self }
    }

    /// All who receive the log, in order.
    pub fn members(&self) -> BTreeSet<NodeId> {
        self.voter_sets().flatten().chain(&self.learners).copied().collect()
    }

    /// All who vote, in either set, in order.
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.voter_sets().flatten().copied().collect()
    }

    /// Whether the node votes.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voter_sets().any(|set| set.contains(&node))
    }

    /// Whether the node takes part at all.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// What the votes come to; `None` is a voter that has not answered.
    pub fn vote_result(&self, vote_of: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
        let results = self.voter_sets().map(|set| majority_vote(set, &vote_of));
        results.fold(VoteResult::Won, |joint, result| match (joint, result) {
            (VoteResult::Lost, _) | (_, VoteResult::Lost) => VoteResult::Lost,
            (VoteResult::Pending, _) | (_, VoteResult::Pending) => VoteResult::Pending,
            (VoteResult::Won, VoteResult::Won) => VoteResult::Won,
        })
    }

    /// The highest value that a majority of each set has reached.
    pub fn reached<T: Ord + Copy>(&self, value_of: impl Fn(NodeId) -> T) -> T {
        let reached = self.voter_sets().map(|set| majority_reached(set, &value_of));
        reached.min().expect("there is always a set of voters")
    }

    fn voter_sets(&self) -> impl Iterator<Item = &BTreeSet<NodeId>> {
        [Some(&self.voters), self.outgoing.as_ref()].into_iter().flatten()
    }
}

fn majority_vote(voters: &BTreeSet<NodeId>, vote_of: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
    let count = |wanted| voters.iter().filter(|&&voter| vote_of(voter) == wanted).count();
    let majority = voters.len() / 2 + 1;
    let yes = count(Some(true));
    if yes >= majority {
        VoteResult::Won
    } else if yes + count(None) >= majority {
        VoteResult::Pending
    } else {
        VoteResult::Lost
    }
}

fn majority_reached<T: Ord + Copy>(voters: &BTreeSet<NodeId>, value_of: impl Fn(NodeId) -> T) -> T {
    let mut values: Vec<T> = voters.iter().map(|&voter| value_of(voter)).collect();
    values.sort_unstable();
    // A majority of n is n/2 + 1 nodes: the values from this place on are theirs.
    values[(values.len() - 1) / 2]
}

#[cfg(test)]
mod tests;
