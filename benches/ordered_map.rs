//! Compares ordered maps with an O(1) clone, and the standard library's map. The store's map was chosen by this
//! benchmark; `docs/decisions/ordered-map.md` has the figures.
//!
//! `cargo bench --bench ordered_map [-- KEYS]` (1,000,000 by default) fills each candidate in its own process, so
//! that only the candidate's memory is counted, and prints a row of microseconds (of processor time) and bytes for
//! each. Keys are 16 bytes in random order, values 256 bytes. Every candidate holds what the store holds: the key,
//! and a shared value with its revisions.
//!
//! Caveats: one thread, the system's allocator. Compare rows of one run, not runs on different machines.

#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use lograft_kv::{OrderedMap, Versioned};
use lograft_types::Revision;
use rustix::time::{ClockId, clock_gettime};

type Key = Arc<[u8]>;
type Stored = Arc<Versioned>;

/// The operations that the store needs.
trait Candidate: Clone + Default {
    fn put(&mut self, key: Key, stored: Stored) -> Option<Stored>;
    fn get(&self, key: &[u8]) -> Option<&Stored>;
    fn delete(&mut self, key: &Key) -> bool;
    /// Sums the sizes of up to `count` pairs from `start` on.
    fn range(&self, start: &[u8], count: usize) -> usize;
}

fn sum<'a>(pairs: impl Iterator<Item = (&'a Key, &'a Stored)>, count: usize) -> usize {
    pairs.take(count).map(|(key, stored)| key.len() + stored.value.len()).sum()
}

fn from(start: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Included(start), Bound::Unbounded)
}

impl Candidate for BTreeMap<Key, Stored> {
    fn put(&mut self, key: Key, stored: Stored) -> Option<Stored> {
        self.insert(key, stored)
    }
    fn get(&self, key: &[u8]) -> Option<&Stored> {
        self.get(key)
    }
    fn delete(&mut self, key: &Key) -> bool {
        self.remove(key).is_some()
    }
    fn range(&self, start: &[u8], count: usize) -> usize {
        sum(self.range::<[u8], _>(from(start)), count)
    }
}

impl Candidate for OrderedMap<Stored> {
    fn put(&mut self, key: Key, stored: Stored) -> Option<Stored> {
        self.insert(&key, stored)
    }
    fn get(&self, key: &[u8]) -> Option<&Stored> {
        self.get(key)
    }
    fn delete(&mut self, key: &Key) -> bool {
        self.remove(key).is_some()
    }
    fn range(&self, start: &[u8], count: usize) -> usize {
        let pairs = self.range_from(Bound::Included(start));
        pairs.take(count).map(|(key, stored)| key.len() + stored.value.len()).sum()
    }
}

impl<const SIZE: usize> Candidate for immutable_chunkmap::map::Map<Key, Stored, SIZE> {
    fn put(&mut self, key: Key, stored: Stored) -> Option<Stored> {
        self.insert_cow(key, stored)
    }
    fn get(&self, key: &[u8]) -> Option<&Stored> {
        self.get(key)
    }
    fn delete(&mut self, key: &Key) -> bool {
        self.remove_cow(key).is_some()
    }
    fn range(&self, start: &[u8], count: usize) -> usize {
        sum(self.range::<[u8], _>(from(start)), count)
    }
}

impl Candidate for rpds::RedBlackTreeMapSync<Key, Stored> {
    fn put(&mut self, key: Key, stored: Stored) -> Option<Stored> {
        let old = self.get(&key).cloned();
        self.insert_mut(key, stored);
        old
    }
    fn get(&self, key: &[u8]) -> Option<&Stored> {
        self.get(key)
    }
    fn delete(&mut self, key: &Key) -> bool {
        self.remove_mut(key)
    }
    fn range(&self, start: &[u8], count: usize) -> usize {
        sum(self.range::<[u8], _>(from(start)), count)
    }
}

/// Fills a map with this many keys and prints its row.
type Measure = fn(u64);

const CANDIDATES: &[(&str, Measure)] = &[
    ("BTreeMap", measure::<BTreeMap<_, _>>),
    ("ours", measure::<OrderedMap<_>>),
    ("chunkmap 32", measure::<immutable_chunkmap::map::Map<_, _, 32>>),
    ("rpds", measure::<rpds::RedBlackTreeMapSync<_, _>>),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mark, name, keys] = &arguments[..]
        && mark == "measure"
    {
        let (_, run) = CANDIDATES.iter().find(|(other, _)| other == name).expect("a candidate's name");
        return run(keys.parse().expect("a number of keys"));
    }
    // `cargo test --all-targets` runs this too, without `--bench`. Then a small run only shows that it works.
    let measured = arguments.iter().any(|argument| argument == "--bench");
    let default = if measured { 1_000_000 } else { 1_000 };
    let keys: u64 = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(default);
    println!("{keys} keys; microseconds of processor time for one operation; bytes of RssAnon for a key\n");
    println!(
        "| {:12} | {:>8} | {:>9} | {:>6} | {:>9} | {:>7} | {:>8} | {:>12} | {:>9} | {:>11} |",
        "map",
        "put new",
        "overwrite",
        "get",
        "range 100",
        "delete",
        "clone",
        "put, cloned",
        "bytes/key",
        "+10% cloned"
    );
    println!("|{}|", ["---"; 10].join("|"));
    let this = std::env::current_exe().expect("a path of its own");
    for (name, _) in CANDIDATES {
        let status = Command::new(&this).args(["measure", name, &keys.to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "{name} failed");
    }
}

fn measure<M: Candidate>(keys: u64) {
    let name = std::env::args().nth(2).expect("called by main");
    let empty = rss_anon_bytes();
    let mut map = M::default();
    let put_new = per_operation(keys, |n| {
        map.put(key(n), stored(n));
    });
    let full = rss_anon_bytes().saturating_sub(empty) as f64 / keys as f64;
    let some = (keys / 5).max(1);
    let overwrite = per_operation(some, |n| {
        black_box(map.put(key(random(n) % keys), stored(n)));
    });
    let wanted: Vec<Key> = (0..some).map(|n| key(random(n + 1) % keys)).collect();
    let get = per_operation(some, |n| {
        black_box(map.get(&wanted[n as usize])).expect("it was put");
    });
    let range = per_operation(some / 20 + 1, |n| {
        black_box(map.range(&wanted[n as usize], 100));
    });
    let delete = per_operation(some / 2, |n| {
        map.delete(&key(n));
    });
    for n in 0..some / 2 {
        map.put(key(n), stored(n));
    }
    let clones = 5;
    let clone = per_operation(clones, |_| {
        black_box(map.clone());
    });
    // As if a snapshot were being written while the map changes: the first write near a key copies what is shared.
    let snapshot = map.clone();
    let before = rss_anon_bytes();
    let put_cloned = per_operation(keys / 10, |n| {
        black_box(map.put(key(random(n + 2) % keys), stored(n)));
    });
    let grown = rss_anon_bytes().saturating_sub(before) as f64 / (keys / 10) as f64;
    assert_eq!(snapshot.get(&key(0)).map(|stored| stored.version), Some(0));
    println!(
        "| {name:12} | {put_new:8.2} | {overwrite:9.2} | {get:6.2} | {range:9.2} | {delete:7.2} | {clone:8.2} | {put_cloned:12.2} | {full:9.0} | {grown:11.0} |",
    );
}

/// The mean microseconds of processor time per call. Processor time hardly depends on the machine's other load.
fn per_operation(count: u64, mut operation: impl FnMut(u64)) -> f64 {
    let start = cpu_seconds();
    (0..count).for_each(&mut operation);
    (cpu_seconds() - start) * 1e6 / count as f64
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// 16 bytes, in an order that looks random.
fn key(number: u64) -> Key {
    Key::from(format!("{:016x}", random(number)).as_bytes())
}

fn stored(number: u64) -> Stored {
    let revision = Revision::new(number);
    let value = Bytes::from(vec![number as u8; 256]);
    Arc::new(Versioned { value, create_revision: revision, mod_revision: revision, version: 0 })
}

/// SplitMix64: a permutation of the 64-bit numbers.
fn random(number: u64) -> u64 {
    let mut x = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn rss_anon_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
