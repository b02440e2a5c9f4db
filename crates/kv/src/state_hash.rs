//! The hash of a store's state, kept up to date in O(1) per command.
//!
//! Nodes that have applied the same entries have the same hash. If two nodes differ at the same index, one is wrong.
//!
//! - A pair's hash is XXH3-128 of 56 bytes: XXH3-128 of the key, XXH3-128 of the value (each 16 bytes),
//!   create_revision, mod_revision and version (each 8 bytes), all little-endian.
//! - The sum of the pairs' hashes, modulo 2^128, represents the set of pairs: a pair is added when it appears and
//!   subtracted when it goes, in any order.
//! - The state's hash is XXH3-128 of the sum (16 bytes) and the store's revision (8 bytes). So even a key that was
//!   set and deleted again changes the hash.
//!
//! This definition must never change: nodes of different versions compare their hashes.
//!
//! Caveats: the hash detects accidents, not attacks. Someone who chooses keys and values can construct two maps with
//! the same hash; that defeats only the comparison.

use lograft_types::Revision;
use twox_hash::XxHash3_128;

use super::store::Versioned;

/// The hash of one pair.
pub(super) fn pair_hash(key: &[u8], stored: &Versioned) -> u128 {
    let mut bytes = [0; 56];
    bytes[..16].copy_from_slice(&XxHash3_128::oneshot(key).to_le_bytes());
    bytes[16..32].copy_from_slice(&XxHash3_128::oneshot(&stored.value).to_le_bytes());
    bytes[32..40].copy_from_slice(&stored.create_revision.get().to_le_bytes());
    bytes[40..48].copy_from_slice(&stored.mod_revision.get().to_le_bytes());
    bytes[48..].copy_from_slice(&stored.version.to_le_bytes());
    XxHash3_128::oneshot(&bytes)
}

/// The hash of a state, from the sum of its pairs' hashes and its revision.
pub(super) fn state_hash(sum: u128, revision: Revision) -> u128 {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&sum.to_le_bytes());
    bytes[16..].copy_from_slice(&revision.get().to_le_bytes());
    XxHash3_128::oneshot(&bytes)
}
