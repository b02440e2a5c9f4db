//! The words that every layer shares: ids, terms, indexes, entries.
//!
//! Every number that could be confused with another has its own type, with checked arithmetic and no implicit
//! conversion between kinds. The coverage [`marks`] are here too, because every layer has some.
//!
//! Terms and indexes start at 1; no entry has term 0 or index 0. [`EntryId::ORIGIN`] is the position before the first
//! entry of every log.

#![forbid(unsafe_code)]

pub mod marks;

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A node of the cluster. Never 0 in a running node, and never reused for another data directory.
///
/// Displayed in decimal, as protobuf tools and `meta.json` show it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(u64);

/// A cluster. Nodes of different clusters refuse each other.
///
/// Displayed in decimal, as protobuf tools and `meta.json` show it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(u64);

/// A term of Raft (§5.1): each has at most one leader. 0 is the term before the first election.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(u64);

/// A position in the log. The first entry has index 1; 0 is the position before it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(u64);

/// The sequence number of a write to the log: each batch handed to the log gets the next one.
///
/// Promises refer to a write, never only to an index: a flush that covered an index before its entry was overwritten
/// says nothing about the durability of the replacement.
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
            #[inline]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number.
            #[inline]
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
shown_as!("{}": NodeId, ClusterId, Term, LogIndex, WriteSeq, Revision);

macro_rules! counts_up {
    ($($name:ident),+) => {$(
        impl $name {
            /// The next number.
            ///
            /// # Panics
            /// At 2^64 − 1, which takes longer to reach than the program can run.
            #[inline]
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("a 64-bit counter does not overflow"))
            }
        }
    )+};
}

counts_up!(Term, LogIndex, WriteSeq, Revision);

/// Terms and indexes that come from outside (a peer, a file) must be below this, so that increments cannot overflow.
/// No node reaches it by counting up.
pub const MAX_COUNTER: u64 = 1 << 62;

impl Term {
    /// Before the first election.
    pub const ZERO: Self = Self(0);
}

impl LogIndex {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The previous index, or `None` at 0.
    #[inline]
    pub const fn prev(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(index) => Some(Self(index)),
            None => None,
        }
    }

    /// The index `count` places after this one, or `None` on overflow.
    #[inline]
    pub const fn checked_add(self, count: u64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(index) => Some(Self(index)),
            None => None,
        }
    }

    /// The index `count` places after this one.
    ///
    /// # Panics
    /// On overflow: use [`Self::checked_add`] for numbers from outside.
    #[inline]
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        self.checked_add(count).expect("a log index does not overflow")
    }

    /// How many places this index is past `earlier`, or `None` if it is before it.
    #[inline]
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

/// Identifies an entry. Two entries with the same id are the same entry, and all entries before them are the same too
/// (Log Matching, Raft §5.3).
///
/// Ordered as Raft compares logs: by term, then by index (§5.4.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The term in which the entry was created.
    pub term: Term,
    /// The entry's position in the log.
    pub index: LogIndex,
}

impl EntryId {
    /// The position before the first entry of every log.
    pub const ORIGIN: Self = Self { term: Term::ZERO, index: LogIndex::ZERO };

    /// An entry's id.
    #[inline]
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

/// What an entry's payload contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A command of the state machine, as JSON.
    Normal,
    /// A new leader's first entry. Its payload is empty and it changes nothing.
    NoOp,
    /// A configuration of the cluster. This version reads such entries but never writes them.
    Configuration,
}

/// An entry of the log. The payload is shared, not copied: the same bytes go to the log, to the peers and to the
/// state machine.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The entry's id.
    pub id: EntryId,
    /// What the payload contains.
    pub kind: EntryKind,
    /// The command as JSON, exactly as stored in the log; empty in a no-op.
    pub payload: Bytes,
}

impl fmt::Debug for Entry {
    // A payload contains users' values, which must never be logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?}, {} bytes)", self.id, self.kind, self.payload.len())
    }
}

/// What a node must never forget (Raft §5.1): its term, and its vote in that term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term that this node has seen.
    pub term: Term,
    /// The candidate that this node voted for in that term.
    pub vote: Option<NodeId>,
}

impl fmt::Display for HardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vote {
            Some(vote) => write!(f, "term {} and a vote for node {vote}", self.term),
            None => write!(f, "term {} and no vote", self.term),
        }
    }
}

/// A node's identity: every message between peers is checked against it.
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
    /// The URLs at which its peers reach it.
    pub peer_urls: Vec<String>,
}

/// A batch for the log. It becomes durable as a whole; its number identifies it when the log reports durability.
///
/// Writing an entry at index i drops the old entry at i and everything after it: this is how a conflicting tail of
/// the log is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogWrite {
    /// The number of this write.
    pub seq: WriteSeq,
    /// A new term or vote, written before the entries.
    pub hard_state: Option<HardState>,
    /// Entries at consecutive indexes, starting at most one past the end of the log.
    pub entries: Vec<Entry>,
}

/// What the core knows about an entry. Payloads never enter the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryMeta {
    /// The entry's id.
    pub id: EntryId,
    /// The payload's size.
    pub size_bytes: u32,
}
