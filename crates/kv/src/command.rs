//! Commands, and the errors of payloads that are not one.
//!
//! The JSON encoding is in `json.rs`.

use bytes::Bytes;
use lograft_types::Revision;

/// A change of the store.
///
/// Keys and values are bytes. In JSON they are text, or base64 under `key64` and `value64` if they are not UTF-8 or
/// if base64 is shorter than the escaped text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Stores a value.
    Set {
        /// The key; not empty.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// Set only if the key's mod_revision is this; 0: only if the key does not exist.
        if_mod_revision: Option<Revision>,
    },
    /// Removes a key.
    Delete {
        /// The key; not empty.
        key: Bytes,
        /// Delete only if the key's mod_revision is this; 0: only if the key does not exist.
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

/// Why a payload is not a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Most likely a newer version's command. The node must stop: if it skipped a command that other nodes apply, the
    /// replicas would diverge.
    #[error("unknown command {name:?}: written by a newer version of the program?")]
    Unknown {
        /// The value of `command`.
        name: String,
    },
    /// Not JSON, not an object, or an object with fields that no command has.
    #[error("not a command: {reason}")]
    Malformed {
        /// The parser's message.
        reason: String,
    },
    /// A field is missing.
    #[error("{command} lacks the field {field:?}")]
    Missing {
        /// The command.
        command: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A field is present in both forms.
    #[error("{command} has both {field:?} and \"{field}64\"; only one of them may be present")]
    Ambiguous {
        /// The command.
        command: &'static str,
        /// The field's name in its text form.
        field: &'static str,
    },
    /// A field that this command does not have.
    #[error("{command} has the field {field:?}, which it must not have")]
    Unexpected {
        /// The command.
        command: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A field that should be base64 is not.
    #[error("\"{field}64\" is not base64: {reason}")]
    Base64 {
        /// The field's name in its text form.
        field: &'static str,
        /// The decoder's message.
        reason: String,
    },
    /// The key is empty.
    #[error("the key is empty")]
    EmptyKey,
}
