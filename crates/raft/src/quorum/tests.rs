use proptest::collection::btree_set;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn nodes(nodes: &BTreeSet<u64>) -> BTreeSet<NodeId> {
    nodes.iter().copied().map(NodeId::new).collect()
}

/// Every subset of the voters that is more than half of them.
fn majorities(voters: &BTreeSet<u64>) -> Vec<BTreeSet<u64>> {
    let subsets = (0..1_u32 << voters.len()).map(|bits| {
        voters.iter().enumerate().filter(move |(i, _)| bits >> i & 1 == 1).map(|(_, &v)| v).collect()
    });
    subsets.filter(|subset: &BTreeSet<u64>| 2 * subset.len() > voters.len()).collect()
}

fn configuration(voters: &BTreeSet<u64>, outgoing: Option<&BTreeSet<u64>>) -> Configuration {
    let configuration = Configuration::new(nodes(voters));
    match outgoing {
        Some(outgoing) => configuration.with_outgoing(nodes(outgoing)),
        None => configuration,
    }
}

fn some_voters() -> impl Strategy<Value = BTreeSet<u64>> {
    btree_set(0_u64..9, 1..7)
}

proptest! {
    #[test]
    fn pitfall_15_what_is_reached_agrees_with_brute_force(
        voters in some_voters(),
        outgoing in option::of(some_voters()),
        values in prop::array::uniform9(0_u64..6),
    ) {
        let value_of = |node: u64| values[usize::try_from(node).unwrap()];
        let reached_by = |set: &BTreeSet<u64>| {
            let lowest = |majority: &BTreeSet<u64>| majority.iter().map(|&v| value_of(v)).min().unwrap();
            majorities(set).iter().map(lowest).max().unwrap()
        };
        let mut expected = reached_by(&voters);
        if let Some(outgoing) = &outgoing {
            expected = expected.min(reached_by(outgoing));
        }
        let configuration = configuration(&voters, outgoing.as_ref());
        prop_assert_eq!(configuration.reached(|node| value_of(node.get())), expected);
    }

    #[test]
    fn pitfall_15_what_a_vote_comes_to_agrees_with_brute_force(
        voters in some_voters(),
        outgoing in option::of(some_voters()),
        votes in prop::array::uniform9(option::of(any::<bool>())),
    ) {
        let vote_of = |node: u64| votes[usize::try_from(node).unwrap()];
        let sets: Vec<_> = [Some(&voters), outgoing.as_ref()].into_iter().flatten().collect();
        // Would all sets have a majority of yes if the voters that have not answered said `open`?
        let carried = |open: bool| {
            let yes = |majority: &BTreeSet<u64>| majority.iter().all(|&v| vote_of(v).unwrap_or(open));
            sets.iter().all(|set| majorities(set).iter().any(yes))
        };
        let expected = match (carried(false), carried(true)) {
            (true, _) => VoteResult::Won,
            (false, true) => VoteResult::Pending,
            (false, false) => VoteResult::Lost,
        };
        let configuration = configuration(&voters, outgoing.as_ref());
        prop_assert_eq!(configuration.vote_result(|node| vote_of(node.get())), expected);
    }
}

#[test]
fn learners_take_part_and_do_not_vote() {
    let configuration = Configuration::new([1, 2].map(NodeId::new)).with_learners([NodeId::new(3)]);
    assert!(configuration.contains(NodeId::new(3)));
    assert!(!configuration.is_voter(NodeId::new(3)));
    assert!(!configuration.contains(NodeId::new(4)), "a node that is neither is no member");
    assert_eq!(configuration.members().len(), 3);
    let only_the_learner = |node: NodeId| Some(node == NodeId::new(3));
    assert_eq!(configuration.vote_result(only_the_learner), VoteResult::Lost);
}

#[test]
fn both_sets_of_a_joint_configuration_must_agree() {
    let joint = Configuration::new([1, 2, 3].map(NodeId::new)).with_outgoing([3, 4, 5].map(NodeId::new));
    let yes = |wanted: &'static [u64]| move |node: NodeId| Some(wanted.contains(&node.get()));
    assert_eq!(joint.vote_result(yes(&[1, 2, 3])), VoteResult::Lost);
    assert_eq!(joint.vote_result(yes(&[1, 3, 4])), VoteResult::Won);
    assert_eq!(joint.voters().len(), 5);
}

#[test]
#[should_panic(expected = "a cluster has at least one voter")]
fn a_configuration_without_voters_makes_no_sense() {
    Configuration::new([]);
}
