//! What clients asked, what they were answered, and when.

use std::fmt;
use std::time::Instant;

/// A value and the revision of the Set that stored it; `None` if there is no such key.
pub(crate) type Found = Option<(String, u64)>;

/// A request for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Reads.
    Get { serializable: bool },
    /// Stores a value that no other request stores, if the key's mod_revision is `only_if`. 0 means: if it
    /// does not exist.
    Set { value: String, only_if: Option<u64> },
    /// Removes the key, with the same kind of condition.
    Delete { only_if: Option<u64> },
}

/// What a client received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The result of a read, and the revision of the map that it was read from.
    Got { found: Found, revision: u64 },
    /// The write was applied and replaced this. The revision is its own, or that of the map for a Delete
    /// without effect.
    Applied { replaced: Found, revision: u64 },
    /// The condition did not hold, because the key had this mod_revision; 0: there was no such key.
    Mismatch { found: u64 },
    /// Certainly not done. For a read: no response.
    Refused { why: String },
    /// A write that may have happened, or may happen later, or never.
    Unknown { why: String },
}

/// One request of one client, and its outcome.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    /// The node that was asked, counted from 0.
    pub(crate) node: usize,
    /// The life of that node that responded; `None` if it was restarted meanwhile.
    pub(crate) life: Option<u64>,
    /// The way it was sent: "gRPC", "HTTP" or "List".
    pub(crate) by: &'static str,
    pub(crate) key: String,
    pub(crate) ask: Ask,
    pub(crate) heard: Heard,
    /// Nanoseconds on the run's clock.
    pub(crate) asked_at: i64,
    /// Nanoseconds on the run's clock.
    pub(crate) heard_at: i64,
}

impl Operation {
    pub(crate) fn is_write(&self) -> bool {
        !matches!(self.ask, Ask::Get { .. })
    }

    /// Whether it may have reached the node: it was answered, or its outcome is unknown.
    pub(crate) fn counts(&self) -> bool {
        !matches!(self.heard, Heard::Refused { .. })
    }

    pub(crate) fn is_acknowledged_write(&self) -> bool {
        self.is_write() && matches!(self.heard, Heard::Applied { .. })
    }

    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self.heard, Heard::Unknown { .. })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |at: i64| format!("{:.3}", at as f64 / 1e6);
        let (asked, heard) = (ms(self.asked_at), ms(self.heard_at));
        let Self { client, node, by, key, .. } = self;
        write!(out, "{asked:>12} to {heard:>12} ms  client {client:>2} at n{} ({by}): {key}: ", node + 1)?;
        let condition = |only_if: &Option<u64>| match only_if {
            Some(revision) => format!(" if mod_revision is {revision}"),
            None => String::new(),
        };
        match &self.ask {
            Ask::Get { serializable: false } => write!(out, "Get")?,
            Ask::Get { serializable: true } => write!(out, "serializable Get")?,
            Ask::Set { value, only_if } => write!(out, "Set {}{}", short(value), condition(only_if))?,
            Ask::Delete { only_if } => write!(out, "Delete{}", condition(only_if))?,
        }
        let shown = |found: &Found| match found {
            Some((value, revision)) => format!("{} of revision {revision}", short(value)),
            None => "no such key".to_owned(),
        };
        match &self.heard {
            Heard::Got { found, revision } => write!(out, " -> {} (at revision {revision})", shown(found)),
            Heard::Applied { replaced, revision } => {
                write!(out, " -> done at revision {revision}, replaced {}", shown(replaced))
            }
            Heard::Mismatch { found } => write!(out, " -> not done, mod_revision is {found}"),
            Heard::Refused { why } => write!(out, " -> not done: {why}"),
            Heard::Unknown { why } => write!(out, " -> unknown: {why}"),
        }
    }
}

/// Values are padded to various sizes; their beginning identifies them.
fn short(value: &str) -> &str {
    value.trim_end_matches('~')
}

/// The only clock of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "histories are about real time")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the start.
    pub(crate) fn now(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_nanos()).expect("a run does not last for centuries")
    }
}
