//! Clients' histories, checked for linearizability as a black box: by requests, responses and their times
//! only.
//!
//! Elsewhere responses are checked against the revisions that they name. Here the revisions are ignored. Each
//! key is a register: a read returns its value, a write returns the value it replaced, and some order must
//! explain every response without contradicting the clients' clocks (Herlihy and Wing; the search is Wing and
//! Gong's, with Lowe's memoization). Keys are independent, so each is searched alone. A write without a
//! response may have happened at any time after it was sent, or never.
//!
//! A List counts as one read of every key in its range.
//!
//! Caveats: a write whose condition failed is not searched (it is checked against its revision), nor is it
//! checked that a List read all its keys at one moment. A search that would take too long is given up and
//! counted.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Violation, ensure};
use lograft_kv::Effect;

/// The most steps of one key's search.
const MAX_STEPS: usize = 20_000;

/// The value of a key.
type Value = Option<Bytes>;

/// What a client did to a key, as far as it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// A read returned this value.
    Read(Value),
    /// A write replaced one value with another.
    Swap { from: Value, to: Value },
    /// A write of this value was never answered.
    Maybe { to: Value },
}

impl Deed {
    /// What a write did, by its response; `None` if it had no effect.
    pub(super) fn of_effect(wrote: Value, effect: &Effect) -> Option<Self> {
        let value = |prev: &Option<lograft_kv::Versioned>| prev.as_ref().map(|prev| prev.value.clone());
        match effect {
            Effect::Set { prev } | Effect::Deleted { prev } => {
                Some(Self::Swap { from: value(prev), to: wrote })
            }
            Effect::ConditionFailed { .. } => None,
        }
    }
}

impl Deed {
    fn values(&self) -> Vec<&Value> {
        match self {
            Self::Read(value) | Self::Maybe { to: value } => vec![value],
            Self::Swap { from, to } => vec![from, to],
        }
    }
}

/// A deed and its time, from `asked` to `heard`, on one clock for all clients.
#[derive(Clone, Debug)]
struct Operation {
    asked: u64,
    /// `u64::MAX` if there was no response.
    heard: u64,
    deed: Deed,
}

/// The histories of all keys.
#[derive(Debug, Default)]
pub(super) struct History {
    clock: u64,
    keys: BTreeMap<Bytes, Vec<Operation>>,
}

impl History {
    /// Returns a new moment, later than every earlier one.
    pub(super) fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// A client received a response now.
    pub(super) fn heard(&mut self, key: &Bytes, asked: u64, deed: Deed) {
        let heard = self.now();
        self.heard_at(heard, key, asked, deed);
    }

    /// A client's response is recorded at the moment `heard`, which several keys may share.
    pub(super) fn heard_at(&mut self, heard: u64, key: &Bytes, asked: u64, deed: Deed) {
        self.keys.entry(key.clone()).or_default().push(Operation { asked, heard, deed });
    }

    /// A client never learns the outcome of its write.
    pub(super) fn never_heard(&mut self, key: &Bytes, asked: u64, to: Value) {
        let operation = Operation { asked, heard: u64::MAX, deed: Deed::Maybe { to } };
        self.keys.entry(key.clone()).or_default().push(operation);
    }

    /// Checks all histories. Returns the number of keys whose search was given up.
    pub(super) fn check(&self) -> Result<u64, Violation> {
        let mut given_up = 0;
        for (key, operations) in &self.keys {
            match Search::of(operations).run() {
                Some(explained) => ensure!(
                    explained,
                    "the history of {key:?} is not linearizable: {:?}",
                    operations.iter().take(60).collect::<Vec<_>>()
                ),
                None => given_up += 1,
            }
        }
        Ok(given_up)
    }
}

/// A search for an order.
///
/// Two rules keep it short. A read that matches the key's value can be taken at once, because it changes
/// nothing. A write without a response can be placed right before an operation that saw its value; if none
/// did, it need not have happened.
struct Search {
    /// Operations with a response, in the order of their requests.
    known: Vec<Known>,
    /// Writes without a response, by the value that each leaves: request times in order, and positions among
    /// all of them.
    unknown: Vec<Vec<(u64, usize)>>,
    unknowns: usize,
}

/// An operation with a response. Values are numbers here; 0 is no value.
#[derive(Clone, Copy)]
struct Known {
    asked: u64,
    heard: u64,
    from: usize,
    to: usize,
    is_read: bool,
}

/// A state of the search: which operations are done.
struct Step {
    /// One bit for each known operation, then one for each unknown write.
    done: Vec<u64>,
    left: usize,
    /// All known operations before this one are done.
    open: usize,
    /// A known operation, and the unknown write that must precede it.
    candidates: Vec<(usize, Option<usize>)>,
}

impl Search {
    fn of(operations: &[Operation]) -> Self {
        let mut numbers = BTreeMap::from([(&None, 0)]);
        for operation in operations {
            for value in operation.deed.values() {
                let next = numbers.len();
                numbers.entry(value).or_insert(next);
            }
        }
        let mut search = Self { known: Vec::new(), unknown: vec![Vec::new(); numbers.len()], unknowns: 0 };
        for &Operation { asked, heard, ref deed } in operations {
            let (from, to, is_read) = match deed {
                Deed::Read(value) => (numbers[value], numbers[value], true),
                Deed::Swap { from, to } => (numbers[from], numbers[to], false),
                Deed::Maybe { to } => {
                    search.unknown[numbers[to]].push((asked, search.unknowns));
                    search.unknowns += 1;
                    continue;
                }
            };
            search.known.push(Known { asked, heard, from, to, is_read });
        }
        search.known.sort_by_key(|known| known.asked);
        search.unknown.iter_mut().for_each(|writes| writes.sort_unstable());
        search
    }

    /// Whether an order exists; `None` if the search would take too long.
    fn run(&self) -> Option<bool> {
        let words = (self.known.len() + self.unknowns).div_ceil(64);
        let mut tried = BTreeSet::new();
        let mut path = vec![self.step(vec![0; words], self.known.len(), 0, 0)];
        let mut steps = 0;
        while let Some(here) = path.last_mut() {
            if here.left == 0 {
                return Some(true);
            }
            let Some((next, before)) = here.candidates.pop() else {
                path.pop();
                continue;
            };
            let state = self.known[next].to;
            let mut done = here.done.clone();
            set(&mut done, next);
            if let Some(before) = before {
                set(&mut done, self.known.len() + before);
            }
            let (left, open) = (here.left - 1, here.open);
            if !tried.insert((state, done.clone())) {
                continue;
            }
            steps += 1;
            if steps > MAX_STEPS {
                return None;
            }
            path.push(self.step(done, left, open, state));
        }
        Some(false)
    }

    /// Lists what may come next: every operation requested before the earliest response still to come.
    fn step(&self, done: Vec<u64>, left: usize, open: usize, state: usize) -> Step {
        let open = (open..self.known.len()).find(|&place| !is_set(&done, place)).unwrap_or(self.known.len());
        let mut first_heard = u64::MAX;
        let mut places = Vec::new();
        for place in (open..self.known.len()).filter(|&place| !is_set(&done, place)) {
            if self.known[place].asked > first_heard {
                break;
            }
            first_heard = first_heard.min(self.known[place].heard);
            places.push(place);
        }
        let mut candidates = Vec::new();
        for place in places.into_iter().filter(|&place| self.known[place].asked < first_heard) {
            let Known { from, is_read, .. } = self.known[place];
            if from != state {
                let before = self.unknown_that_leaves(from, first_heard, &done);
                candidates.extend(before.map(|before| (place, Some(before))));
            } else if is_read {
                candidates = vec![(place, None)];
                break;
            } else {
                candidates.push((place, None));
            }
        }
        // The last candidate is tried first: one that needs no unknown write, then the one answered first.
        candidates
            .sort_by_key(|&(place, before)| (before.is_none(), std::cmp::Reverse(self.known[place].heard)));
        Step { done, left, open, candidates }
    }

    /// The first unused unknown write of this value requested before `by`. It is as good as any later one.
    fn unknown_that_leaves(&self, value: usize, by: u64, done: &[u64]) -> Option<usize> {
        let mut asked = self.unknown[value].iter().take_while(|(asked, _)| *asked < by);
        asked.find(|(_, place)| !is_set(done, self.known.len() + place)).map(|(_, place)| *place)
    }
}

fn set(bits: &mut [u64], place: usize) {
    bits[place / 64] |= 1 << (place % 64);
}

fn is_set(bits: &[u64], place: usize) -> bool {
    bits[place / 64] >> (place % 64) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &'static str) -> Value {
        Some(Bytes::from_static(text.as_bytes()))
    }

    fn is_linearizable(operations: &[(u64, u64, Deed)]) -> bool {
        let operations = operations.iter().cloned();
        let operations: Vec<_> =
            operations.map(|(asked, heard, deed)| Operation { asked, heard, deed }).collect();
        Search::of(&operations).run().expect("the search is short")
    }

    #[test]
    fn a_read_that_overlaps_a_write_may_hear_either_value() {
        let write = (1, 4, Deed::Swap { from: None, to: value("a") });
        assert!(is_linearizable(&[write.clone(), (2, 3, Deed::Read(None))]));
        assert!(is_linearizable(&[write, (2, 3, Deed::Read(value("a")))]));
    }

    #[test]
    fn a_read_after_a_write_must_not_hear_the_past() {
        let write = (1, 2, Deed::Swap { from: None, to: value("a") });
        assert!(!is_linearizable(&[write, (3, 4, Deed::Read(None))]));
    }

    #[test]
    fn a_lost_write_is_found_by_what_the_next_one_replaced() {
        let (a, b) = (value("a"), value("b"));
        let first = (1, 2, Deed::Swap { from: None, to: a.clone() });
        assert!(!is_linearizable(&[first.clone(), (3, 4, Deed::Swap { from: None, to: b.clone() })]));
        assert!(is_linearizable(&[first, (3, 4, Deed::Swap { from: a, to: b })]));
    }

    #[test]
    fn an_unknown_write_may_happen_late_or_never_but_not_before_it_was_asked_nor_twice() {
        let never = (3, u64::MAX, Deed::Maybe { to: value("a") });
        assert!(is_linearizable(&[never.clone(), (4, 5, Deed::Read(None)), (6, 7, Deed::Read(None))]));
        assert!(is_linearizable(&[never.clone(), (4, 5, Deed::Read(None)), (6, 7, Deed::Read(value("a")))]));
        assert!(!is_linearizable(&[never.clone(), (1, 2, Deed::Read(value("a")))]));
        let back = [never, (4, 5, Deed::Read(value("a"))), (6, 7, Deed::Read(None))];
        assert!(!is_linearizable(&back), "no client deleted it");
    }
}
