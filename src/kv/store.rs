//! The map, and how commands change it.

use bytes::Bytes;

use crate::types::{LogIndex, Revision};

/// A value and its history, in etcd's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Bytes,
    /// The revision at which the key was made.
    pub create_revision: Revision,
    /// The revision of the last Set of the key.
    pub mod_revision: Revision,
    /// How many Sets there were since the key was made.
    pub version: u64,
}

/// A key with what is stored under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// What is stored.
    pub stored: Versioned,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The store's revision after the command.
    pub revision: Revision,
    /// What it did.
    pub effect: Effect,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A value was stored.
    Set {
        /// What was there before.
        prev: Option<Versioned>,
    },
    /// The key is gone, or was not there.
    Deleted {
        /// What was there before.
        prev: Option<Versioned>,
    },
    /// The condition did not hold: nothing was changed.
    ConditionFailed {
        /// The key's mod_revision; 0: there is no such key.
        found: Revision,
    },
}

/// One page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys, in bytewise order.
    pub items: Vec<KeyValue>,
    /// There are more.
    pub more: bool,
}
#[derive(Clone, Debug, Default)]
pub struct Store;
#[allow(missing_docs, unused_variables)]
impl Store {
    pub fn new() -> Self {
        todo!()
    }
    pub fn applied(&self) -> LogIndex {
        todo!()
    }
    pub fn revision(&self) -> Revision {
        todo!()
    }
    pub fn len(&self) -> usize {
        todo!()
    }
    pub fn state_hash(&self) -> u128 {
        todo!()
    }
    pub fn skip(&mut self, i: LogIndex) {}
    pub fn apply(&mut self, i: LogIndex, p: &[u8]) -> Result<Outcome, std::io::Error> {
        todo!()
    }
    pub fn get(&self, k: &[u8]) -> Option<&Versioned> {
        todo!()
    }
    pub fn list(&self, p: &[u8], s: &[u8], l: u32, m: usize, k: bool) -> Page {
        todo!()
    }
}
impl crate::kv::Command {
    #[allow(missing_docs)]
    pub fn encode(&self) -> Bytes {
        todo!()
    }
    #[allow(missing_docs, unused_variables)]
    pub fn max_encoded_bytes(a: usize, b: usize) -> usize {
        todo!()
    }
    #[allow(missing_docs, unused_variables)]
    pub fn decode(a: &[u8]) -> Result<Self, std::io::Error> {
        todo!()
    }
}
