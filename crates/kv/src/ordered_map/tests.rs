use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Panics if the tree breaks an invariant. Returns the number of pairs below the node, and its height.
fn check(node: &Node<u64>, lower: Option<&[u8]>, upper: Option<&[u8]>, is_root: bool) -> (usize, usize) {
    assert!(node.slots() <= MAX_SLOTS, "{} slots", node.slots());
    match node {
        Node::Leaf(pairs) => {
            assert!(is_root || pairs.len() >= MIN_SLOTS, "{} pairs", pairs.len());
            for pair in pairs.windows(2) {
                assert!(pair[0].0 < pair[1].0, "keys rise");
            }
            for (key, _) in pairs {
                assert!(lower.is_none_or(|lower| lower <= &**key), "below its bound");
                assert!(upper.is_none_or(|upper| &**key < upper), "above the next bound");
            }
            (pairs.len(), 1)
        }
        Node::Inner(children) => {
            assert!(children.len() >= if is_root { 2 } else { MIN_SLOTS });
            assert_eq!(&*children[0].0, lower.unwrap_or_default(), "a first slot repeats its node's bound");
            let below: Vec<(usize, usize)> = (0..children.len())
                .map(|at| {
                    let lower = if at == 0 { lower } else { Some(&*children[at].0) };
                    let upper = children.get(at + 1).map_or(upper, |(bound, _)| Some(&**bound));
                    check(&children[at].1, lower, upper, false)
                })
                .collect();
            assert!(below.iter().all(|(_, depth)| *depth == below[0].1), "leaves are at the same depth");
            (below.iter().map(|(pairs, _)| pairs).sum(), below[0].1 + 1)
        }
    }
}

fn assert_same(map: &OrderedMap<u64>, model: &BTreeMap<Vec<u8>, u64>) {
    assert_eq!(check(&map.root, None, None, true).0, map.len());
    assert_eq!(map.len(), model.len());
    assert_eq!(map.is_empty(), model.is_empty());
    let pairs = map.range_from(Bound::Unbounded);
    assert!(pairs.eq(model.iter().map(|(key, value)| (&key[..], value))));
}

/// The bytes of a number, cut short for every seventh number so that some keys are prefixes of others.
fn key(number: u16) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    if number.is_multiple_of(7) { bytes[..1].to_vec() } else { bytes.to_vec() }
}

#[test]
fn is_deep_enough_to_split_and_join_inner_nodes() {
    let mut map = OrderedMap::default();
    let mut model = BTreeMap::new();
    // Rising, falling and scattered orders reach every place where a node can be split.
    for number in (0..3000_u16).chain((9000..12000).rev()).chain((0..9000_u16).map(|n| n.wrapping_mul(40503)))
    {
        assert_eq!(map.insert(&key(number), 1), model.insert(key(number), 1));
    }
    assert_same(&map, &model);
    assert!(check(&map.root, None, None, true).1 >= 3, "deep enough for inner nodes to be joined");
    let before = map.clone();
    for (count, number) in (0..u16::MAX).map(|n: u16| n.wrapping_mul(25717)).enumerate() {
        assert_eq!(map.remove(&key(number)), model.remove(&key(number)));
        if count % 4096 == 0 {
            assert_same(&map, &model);
        }
    }
    assert_same(&map, &model);
    assert!(map.len() < 2);
    assert_eq!(check(&before.root, None, None, true).0, before.len(), "the clone is as it was");
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u16),
    Remove(u16),
    Clone,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = 0_u16..600;
    let step = prop_oneof![
        8 => number.clone().prop_map(Step::Insert),
        5 => number.prop_map(Step::Remove),
        1 => Just(Step::Clone),
    ];
    prop::collection::vec(step, 0..1500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The map does what a map of the standard library does, and no change reaches an earlier clone.
    #[test]
    fn agrees_with_a_standard_map_and_keeps_clones_apart(steps in steps()) {
        let mut map = OrderedMap::default();
        let mut model = BTreeMap::new();
        let mut clones = Vec::new();
        for (step, value) in steps.into_iter().zip(0_u64..) {
            match step {
                Step::Insert(number) => {
                    prop_assert_eq!(map.insert(&key(number), value), model.insert(key(number), value));
                }
                Step::Remove(number) => prop_assert_eq!(map.remove(&key(number)), model.remove(&key(number))),
                Step::Clone => clones.push((map.clone(), model.clone())),
            }
        }
        clones.push((map, model));
        for (map, model) in &clones {
            assert_same(map, model);
        }
    }

    /// A range from any start, whether that key exists or not, yields the pairs from there on.
    #[test]
    fn a_range_starts_where_it_should(
        numbers in prop::collection::btree_set(0_u16..2000, 0..500),
        start in 0_u16..2100,
    ) {
        let mut map = OrderedMap::default();
        let model: BTreeMap<Vec<u8>, u64> = numbers.iter().map(|n| (key(*n), u64::from(*n))).collect();
        for (key, value) in &model {
            map.insert(key, *value);
        }
        let start = key(start);
        for bound in [Bound::Included(&start[..]), Bound::Excluded(&start[..]), Bound::Unbounded] {
            let wanted: Vec<_> = model.range::<[u8], _>((bound, Bound::Unbounded)).map(|(k, v)| (&k[..], v)).collect();
            prop_assert_eq!(map.range_from(bound).collect::<Vec<_>>(), wanted);
        }
        for number in 0..2100 {
            prop_assert_eq!(map.get(&key(number)), model.get(&key(number)));
        }
    }
}
