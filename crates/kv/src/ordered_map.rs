//! An ordered map of keys to values whose clone is O(1): a B+ tree of shared nodes.
//!
//! A clone shares every node. A change copies the shared nodes on its path and works in place on the others, so
//! without a live clone it costs as much as in a map of the standard library. All pairs are in leaves, all leaves are
//! at the same depth, and a node holds up to [`MAX_SLOTS`] slots. `docs/decisions/ordered-map.md` has the
//! measurements that this map was chosen by.
//!
//! Invariants:
//! - The keys of a node rise. The key of a slot of an inner node is at most the smallest key below the slot, and
//!   above every key below the previous slot. The first slot repeats the bound of the node's own slot (empty on the
//!   left edge of the tree) and is never compared with.
//! - Every node but the root has at least [`MIN_SLOTS`] slots; an inner root has at least two.
//!
//! Caveats: there is no reverse iteration and no bulk load. A long-lived clone keeps old nodes and values in memory
//! while the map changes.

use std::cmp::Ordering;
use std::ops::Bound;
use std::slice;
use std::sync::Arc;

/// A key, shared between copies of a node.
type Key = Arc<[u8]>;

/// The most slots of a node. Larger nodes make the tree shallower, and the first change after a clone more expensive.
const MAX_SLOTS: usize = 16;

/// The fewest slots of a node that is not the root. Well below half of [`MAX_SLOTS`], so that a node that was just
/// split is not soon joined again.
const MIN_SLOTS: usize = MAX_SLOTS / 4;

/// An ordered map from bytes to values, with an O(1) clone. `V` is cloned when a shared leaf is copied, so it should
/// be cheap to clone.
#[derive(Clone, Debug)]
pub struct OrderedMap<V> {
    root: Arc<Node<V>>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<V> {
    Leaf(Vec<(Key, V)>),
    Inner(Vec<Child<V>>),
}

/// A slot of an inner node: a lower bound of the keys in the child, and the child.
type Child<V> = (Key, Arc<Node<V>>);

impl<V> Default for OrderedMap<V> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }
}

impl<V> OrderedMap<V> {
    /// How many keys there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no keys.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&V> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(children) => node = &children[child_index(children, key)].1,
                Node::Leaf(pairs) => return find(pairs, key).ok().map(|at| &pairs[at].1),
            }
        }
    }

    /// The pairs from a key on, in bytewise order of the keys. Finds the first pair in O(log n).
    pub fn range_from<'a>(&'a self, start: Bound<&[u8]>) -> Range<'a, V> {
        let mut inner = Vec::new();
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(children) => {
                    let at = match start {
                        Bound::Unbounded => 0,
                        Bound::Included(key) | Bound::Excluded(key) => child_index(children, key),
                    };
                    inner.push(children[at + 1..].iter());
                    node = &children[at].1;
                }
                Node::Leaf(pairs) => {
                    let at = match start {
                        Bound::Unbounded => 0,
                        Bound::Included(key) => find(pairs, key).unwrap_or_else(|at| at),
                        Bound::Excluded(key) => find(pairs, key).map_or_else(|at| at, |at| at + 1),
                    };
                    return Range { inner, leaf: pairs[at..].iter() };
                }
            }
        }
    }
}

impl<V: Clone> OrderedMap<V> {
    /// Stores a value and returns the key's previous value. Copies the key's bytes only if the key is new.
    pub fn insert(&mut self, key: &[u8], value: V) -> Option<V> {
        let (old, sibling) = insert(&mut self.root, key, value);
        if let Some(sibling) = sibling {
            let left = std::mem::replace(&mut self.root, Arc::new(Node::Inner(Vec::new())));
            // The empty key is a lower bound of every key.
            self.root = Arc::new(Node::Inner(vec![(Key::from(&[][..]), left), sibling]));
        }
        if old.is_none() {
            self.len += 1;
        }
        old
    }

    /// Removes a key and returns its value. Copies nothing if there is no such key.
    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        self.get(key)?;
        let removed = remove(&mut self.root, key);
        self.len -= 1;
        if let Node::Inner(children) = &*self.root
            && let [(_, only)] = &children[..]
        {
            self.root = Arc::clone(only);
        }
        Some(removed)
    }
}

impl<V> Node<V> {
    fn slots(&self) -> usize {
        match self {
            Self::Leaf(pairs) => pairs.len(),
            Self::Inner(children) => children.len(),
        }
    }
}

/// The position of a key in a leaf, or where to insert it.
///
/// Here and in [`child_index`] the search is linear: each comparison reads memory that is cold in a large map. A
/// binary search must wait for one comparison before it knows the next, but in a linear scan the processor reads
/// ahead.
fn find<V>(pairs: &[(Key, V)], key: &[u8]) -> Result<usize, usize> {
    for (at, (other, _)) in pairs.iter().enumerate() {
        match (**other).cmp(key) {
            Ordering::Less => {}
            Ordering::Equal => return Ok(at),
            Ordering::Greater => return Err(at),
        }
    }
    Err(pairs.len())
}

/// The position of the child whose range of keys includes `key`.
fn child_index<V>(children: &[Child<V>], key: &[u8]) -> usize {
    children[1..].iter().take_while(|(bound, _)| **bound <= *key).count()
}

/// Inserts below a node. Returns the key's previous value, and the node's new right sibling if it had to be split.
fn insert<V: Clone>(node: &mut Arc<Node<V>>, key: &[u8], value: V) -> (Option<V>, Option<Child<V>>) {
    match Arc::make_mut(node) {
        Node::Leaf(pairs) => match find(pairs, key) {
            Ok(at) => (Some(std::mem::replace(&mut pairs[at].1, value)), None),
            Err(at) => {
                pairs.insert(at, (Key::from(key), value));
                (None, split(pairs, Node::Leaf))
            }
        },
        Node::Inner(children) => {
            let at = child_index(children, key);
            let (old, sibling) = insert(&mut children[at].1, key, value);
            let Some(sibling) = sibling else { return (old, None) };
            children.insert(at + 1, sibling);
            (old, split(children, Node::Inner))
        }
    }
}

/// Removes a key that is below the node.
fn remove<V: Clone>(node: &mut Arc<Node<V>>, key: &[u8]) -> V {
    match Arc::make_mut(node) {
        Node::Leaf(pairs) => {
            let at = find(pairs, key).expect("the key was found before");
            pairs.remove(at).1
        }
        Node::Inner(children) => {
            let at = child_index(children, key);
            let removed = remove(&mut children[at].1, key);
            if children[at].1.slots() < MIN_SLOTS && children.len() > 1 {
                join(children, at.saturating_sub(1));
            }
            removed
        }
    }
}

/// Splits off the upper half if there are too many slots.
fn split<V, T>(slots: &mut Vec<(Key, T)>, node: fn(Vec<(Key, T)>) -> Node<V>) -> Option<Child<V>> {
    if slots.len() <= MAX_SLOTS {
        return None;
    }
    let upper = slots.split_off(slots.len() / 2);
    // Keys that arrive in order never touch the lower half again, so it should not keep spare capacity.
    slots.shrink_to_fit();
    let bound = Arc::clone(&upper[0].0);
    Some((bound, Arc::new(node(upper))))
}

/// Joins the child at `left` with the next one; splits them evenly if they do not fit into one node.
fn join<V: Clone>(children: &mut Vec<Child<V>>, left: usize) {
    let (_, right) = children.remove(left + 1);
    let sibling = match (Arc::make_mut(&mut children[left].1), Arc::unwrap_or_clone(right)) {
        (Node::Leaf(pairs), Node::Leaf(more)) => {
            pairs.extend(more);
            split(pairs, Node::Leaf)
        }
        (Node::Inner(slots), Node::Inner(more)) => {
            // Its first slot repeats the bound that was just removed, so it is correct to compare with from now on.
            slots.extend(more);
            split(slots, Node::Inner)
        }
        (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => {
            unreachable!("all leaves are at the same depth")
        }
    };
    if let Some(sibling) = sibling {
        children.insert(left + 1, sibling);
    }
}

/// Pairs in order; see [`OrderedMap::range_from`].
#[derive(Debug)]
pub struct Range<'a, V> {
    /// The remaining children of each inner node on the path, starting at the root.
    inner: Vec<slice::Iter<'a, Child<V>>>,
    leaf: slice::Iter<'a, (Key, V)>,
}

impl<'a, V> Iterator for Range<'a, V> {
    type Item = (&'a [u8], &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                return Some((key, value));
            }
            let mut node = loop {
                match self.inner.last_mut()?.next() {
                    Some((_, node)) => break &**node,
                    None => self.inner.pop(),
                };
            };
            loop {
                match node {
                    Node::Inner(children) => {
                        self.inner.push(children[1..].iter());
                        node = &children[0].1;
                    }
                    Node::Leaf(pairs) => {
                        self.leaf = pairs.iter();
                        break;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
