//! What a log entry says: commands, and their JSON.

use bytes::Bytes;

use crate::types::Revision;

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
