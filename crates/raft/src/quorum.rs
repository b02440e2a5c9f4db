//! The cluster's configuration, and what its majorities decide.
//!
//! While the membership changes, two sets of voters are in force and a majority of each must agree (joint consensus,
//! Raft §6). This module supports such configurations; nothing here changes the membership.

use std::collections::BTreeSet;

use lograft_types::NodeId;

/// The members.
///
/// # Invariants
/// There is at least one voter. The set of outgoing voters, if present, is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    voters: BTreeSet<NodeId>,
    outgoing: Option<BTreeSet<NodeId>>,
    learners: BTreeSet<NodeId>,
}

/// The state of a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteResult {
    /// Enough voters said yes.
    Won,
    /// So many voters said no that the rest cannot matter.
    Lost,
    /// The voters that have not answered yet decide.
    Pending,
}

impl Configuration {
    /// A configuration with voters only.
    ///
    /// # Panics
    /// Without voters.
    pub fn new(voters: impl IntoIterator<Item = NodeId>) -> Self {
        let voters: BTreeSet<_> = voters.into_iter().collect();
        assert!(!voters.is_empty(), "a cluster has at least one voter");
        Self { voters, outgoing: None, learners: BTreeSet::new() }
    }

    /// The same configuration with a second set of voters, whose majority must agree too.
    ///
    /// # Panics
    /// Without outgoing voters.
    #[must_use]
    pub fn with_outgoing(self, outgoing: impl IntoIterator<Item = NodeId>) -> Self {
        let outgoing: BTreeSet<_> = outgoing.into_iter().collect();
        assert!(!outgoing.is_empty(), "a joint configuration has at least one outgoing voter");
        Self { outgoing: Some(outgoing), ..self }
    }

    /// The same configuration with members that receive the log but do not vote.
    #[must_use]
    pub fn with_learners(self, learners: impl IntoIterator<Item = NodeId>) -> Self {
        Self { learners: learners.into_iter().collect(), ..self }
    }

    /// All nodes that receive the log, in order.
    pub fn members(&self) -> BTreeSet<NodeId> {
        self.voter_sets().flatten().chain(&self.learners).copied().collect()
    }

    /// All voters of either set, in order.
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.voter_sets().flatten().copied().collect()
    }

    /// Whether the node votes.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voter_sets().any(|set| set.contains(&node))
    }

    /// Whether the node is a member, voting or not.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// The state of a vote; `vote_of` returns `None` for a voter that has not answered.
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
    // A majority of n is n/2 + 1 nodes, and exactly that many values are at this position or after it.
    values[(values.len() - 1) / 2]
}

#[cfg(test)]
mod tests;
