//! What a log entry says: commands, and why bytes may not be one.
//!
//! Their JSON is in `json.rs`.

use bytes::Bytes;
use lograft_types::Revision;

/// A change of the store.
///
/// Keys and values are bytes. In JSON they stand as text; as base64 under `key64` and `value64` where they are not
/// UTF-8, or where base64 is shorter than the escaped text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Stores a value.
    Set {
        /// The key; not empty.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// Only if the key's mod_revision is this; 0: only if the key does not exist.
        if_mod_revision: Option<Revision>,
    },
    /// Removes a key.
    Delete {
        /// The key; not empty.
        key: Bytes,
        /// Only if the key's mod_revision is this; 0 holds only where the key does not exist.
        if_mod_revision: Option<Revision>,
    },
}

impl Command {
    /// The key.
    pub const fn key(&self) -> &Bytes {
        match self {
            Self::Set { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    /// The mod_revision that the key must have; 0: the key must not exist.
    pub const fn if_mod_revision(&self) -> Option<Revision> {
        match self {
            Self::Set { if_mod_revision, .. } | Self::Delete { if_mod_revision, .. } => *if_mod_revision,
        }
    }
}

/// Why bytes are not a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// A command of a later version, most likely. The node must stop: to skip it here, where other nodes apply it,
    /// would split the replicas.
    #[error("unknown command {name:?}: written by a newer version of the program?")]
    Unknown {
        /// What stands under `command`.
        name: String,
    },
    /// Not JSON, not an object, or an object with fields that no command has.
    #[error("not a command: {reason}")]
    Malformed {
        /// What the parser says.
        reason: String,
    },
    /// A field is missing.
    #[error("{command} without a {field:?}")]
    Missing {
        /// The command.
        command: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A field is there in both forms.
    #[error("{command} with both a {field:?} and a \"{field}64\"")]
    Ambiguous {
        /// The command.
        command: &'static str,
        /// The field's name as text.
        field: &'static str,
    },
    /// A field that this command does not have.
    #[error("{command} with a {field:?}")]
    Unexpected {
        /// The command.
        command: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A field that should be base64 is not.
    #[error("\"{field}64\" is not base64: {reason}")]
    Base64 {
        /// The field's name as text.
        field: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// No key is empty.
    #[error("the key is empty")]
    EmptyKey,
}
