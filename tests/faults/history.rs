//! What clients asked, what they heard, and when.

use std::fmt;
use std::time::Instant;

/// A value and the revision of the Set that stored it; `None`: there is no such key.
pub(crate) type Found = Option<(String, u64)>;

/// What a client asks of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Reads.
    Get { serializable: bool },
    /// Stores a value that no other request stores. Only if the key's mod_revision is `only_if`; 0: if it is not there.
    Set { value: String, only_if: Option<u64> },
    /// Removes, under the same kind of condition.
    Delete { only_if: Option<u64> },
}

/// What a client heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A read's answer, and the revision of the map that it was read from.
    Got { found: Found, revision: u64 },
    /// The write was applied and replaced this. The revision is its own; of a Delete without effect, that of the map.
    Applied { replaced: Found, revision: u64 },
    /// The condition did not hold, for the key had this mod_revision; 0: there was no such key.
    Mismatch { found: u64 },
    /// For certain not done. Of a read: no answer.
    Refused { why: String },
    /// A write that may or may not have happened, or still happen.
    Unknown { why: String },
}

/// One request of one client, and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    /// The node that was asked, counted from 0.
    pub(crate) node: usize,
    /// Which start of that node answered; `None`: it was started again meanwhile.
    pub(crate) life: Option<u64>,
    /// How it was asked: "gRPC", "HTTP" or "List".
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

    /// Whether a node took it: it was answered, or nobody knows.
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

/// Values are filled up to various sizes; what tells them apart stands in front.
fn short(value: &str) -> &str {
    value.trim_end_matches('~')
}

/// The one clock of a run.
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
