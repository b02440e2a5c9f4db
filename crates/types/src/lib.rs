//! The words that every layer shares: ids, terms, indexes, entries.
//!
//! Every number that could be swapped for another is a type of its own, with checked arithmetic and no implicit
//! conversion between kinds. The [`marks`] of rare branches stand here too, as every layer has some.
//!
//! Term 0 and index 0 stand before the first: no entry has them. [`EntryId::ORIGIN`] is the position before the first
//! entry of every log.

#![forbid(unsafe_code)]

pub mod marks;

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A node of the cluster. Never 0 in a running node, and never used again for another data directory.
///
/// Shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(u64);

/// A cluster. Nodes of different clusters refuse each other.
///
/// Shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(u64);

/// A term of Raft (§5.1): at most one leader each. 0 stands before the first election.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(u64);

/// A position in the log. The first entry has index 1; 0 stands before it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(u64);

/// The number of a write to the log: each batch handed to the log has the next one.
///
/// Promises refer to it, never only to an index: the index of an entry that was overwritten says nothing about the
/// durability of what replaced it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteSeq(u64);

/// Counts the changes of the key-value store. An empty store is at revision 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(u64);

macro_rules! plain_number {
    ($name:ident) => {
        impl $name {
            /// Wraps a number.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

macro_rules! shown_as {
    ($format:literal: $($name:ident),+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    )+};
}

plain_number!(NodeId);
plain_number!(ClusterId);
plain_number!(Term);
plain_number!(LogIndex);
plain_number!(WriteSeq);
plain_number!(Revision);
shown_as!("{:016x}": NodeId, ClusterId);
shown_as!("{}": Term, LogIndex, WriteSeq, Revision);

macro_rules! counts_up {
    ($($name:ident),+) => {$(
        impl $name {
            /// The one after this.
            ///
            /// # Panics
            /// At 2^64 − 1, which takes longer to reach than the program can run.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("a 64-bit counter does not overflow"))
            }
        }
    )+};
}

counts_up!(Term, LogIndex, WriteSeq, Revision);

/// Terms and indexes that come from outside (a peer, a file) stay below this, so that counting on never overflows.
/// Nobody gets there by counting.
pub const MAX_COUNTER: u64 = 1 << 62;

impl Term {
    /// Before the first election.
    pub const ZERO: Self = Self(0);
}

impl LogIndex {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The one before this, or `None` at 0.
    pub const fn prev(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(index) => Some(Self(index)),
            None => None,
        }
    }

    /// The index `count` places behind this, or `None` past the end of the numbers.
    pub const fn checked_add(self, count: u64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(index) => Some(Self(index)),
            None => None,
        }
    }

    /// The index `count` places behind this.
    ///
    /// # Panics
    /// Past the end of the numbers: check numbers from outside with [`Self::checked_add`].
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        self.checked_add(count).expect("a log index does not overflow")
    }

    /// How many places this stands behind `earlier`, or `None` if it stands before it.
    pub const fn distance_from(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }
}

impl WriteSeq {
    /// Before the first write.
    pub const ZERO: Self = Self(0);
}

impl Revision {
    /// The revision of an empty store.
    pub const EMPTY_STORE: Self = Self(1);
}

/// Which entry: two entries with the same id are the same entry, and so is all that stands before them (Log Matching,
/// Raft §5.3).
///
/// Ordered as Raft compares logs: by term, then by index (§5.4.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The term in which the entry was made.
    pub term: Term,
    /// Where it stands.
    pub index: LogIndex,
}

impl EntryId {
    /// Before the first entry of every log.
    pub const ORIGIN: Self = Self { term: Term::ZERO, index: LogIndex::ZERO };

    /// An entry's id.
    pub const fn new(term: Term, index: LogIndex) -> Self {
        Self { term, index }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an entry's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A command of the state machine, as JSON.
    Normal,
    /// A new leader's first entry: empty, it changes nothing.
    NoOp,
    /// A configuration of the cluster. This version knows it and makes none.
    Configuration,
}

/// An entry of the log. The payload is shared, not copied: the same bytes go to the log, to the peers and to the state
/// machine.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which entry.
    pub id: EntryId,
    /// What the payload is.
    pub kind: EntryKind,
    /// The command as JSON, exactly as the log holds it; empty in a no-op.
    pub payload: Bytes,
}

impl fmt::Debug for Entry {
    // A payload holds values, which belong in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?}, {} bytes)", self.id, self.kind, self.payload.len())
    }
}

/// What Raft must never forget (§5.1): the term, and the vote given in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term that this node has seen.
    pub term: Term,
    /// Whom this node voted for in that term.
    pub vote: Option<NodeId>,
}

/// Who a node is: every message between peers is checked against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
}

/// A member of the cluster, as configured at the first start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The member's id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
}

/// A batch for the log: it becomes durable as a whole, and its number tells when.
///
/// An entry at index i drops what stood at i and everything behind it: this is how a log is replaced from an index on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogWrite {
    /// The number of this write.
    pub seq: WriteSeq,
    /// A new term or vote, written before the entries.
    pub hard_state: Option<HardState>,
    /// Entries at consecutive indexes, none of them past the end of the log by more than one.
    pub entries: Vec<Entry>,
}

/// What the core knows of an entry: no payload ever enters it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryMeta {
    /// Which entry.
    pub id: EntryId,
    /// The payload's size.
    pub size_bytes: u32,
}
