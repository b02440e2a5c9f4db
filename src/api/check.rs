//! The limits of a request, checked in one place for gRPC and HTTP alike.
//!
//! Exactly the limit is allowed. An error states both numbers and the flag that sets the limit, if there is one.

use lograft_node::limits::Limits;

/// Why a request was not taken: it breaks a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A key is needed.
    #[error("key is 0 bytes, the least is 1")]
    EmptyKey,
    /// A field is too long.
    #[error("{field} is {bytes} bytes, the limit is {limit} ({flag})")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
        /// The flag that sets the limit.
        flag: &'static str,
    },
    /// More keys asked for than one answer may hold.
    #[error("limit is {asked} keys, the limit is {limit}")]
    ListLimit {
        /// How many were asked for.
        asked: u32,
        /// How many there may be.
        limit: u32,
    },
    /// An HTTP body or path that is not text.
    #[error("{field} is not UTF-8: the byte at offset {offset} does not fit")]
    NotUtf8 {
        /// Which field.
        field: &'static str,
        /// Where it stops being UTF-8.
        offset: usize,
    },
}

/// A key to read or write.
///
/// # Errors
/// [`Invalid::EmptyKey`], or [`Invalid::TooLong`] over `max_key_bytes`.
pub fn key(key: &str, limits: &Limits) -> Result<(), Invalid> {
    if key.is_empty() {
        return Err(Invalid::EmptyKey);
    }
    key_like("key", key, limits)
}

/// A value to store.
///
/// # Errors
/// [`Invalid::TooLong`] over `max_value_bytes`.
pub fn value(value: &str, limits: &Limits) -> Result<(), Invalid> {
    value_bytes(value.len(), limits)
}

/// The size of a value, where it is known before the value is.
///
/// # Errors
/// [`Invalid::TooLong`] over `max_value_bytes`.
pub fn value_bytes(bytes: usize, limits: &Limits) -> Result<(), Invalid> {
    at_most("value", bytes, limits.max_value_bytes, "--max-value-bytes")
}

/// What a list asks for; the limit that holds for it, where 0 stands for the server's own bound.
///
/// # Errors
/// [`Invalid::TooLong`] or [`Invalid::ListLimit`].
pub fn list(prefix: &str, start_after: &str, limit: u32, limits: &Limits) -> Result<u32, Invalid> {
    key_like("prefix", prefix, limits)?;
    key_like("start_after", start_after, limits)?;
    if limit > limits.max_list_keys {
        return Err(Invalid::ListLimit { asked: limit, limit: limits.max_list_keys });
    }
    Ok(if limit == 0 { limits.max_list_keys } else { limit })
}

fn key_like(field: &'static str, text: &str, limits: &Limits) -> Result<(), Invalid> {
    at_most(field, text.len(), limits.max_key_bytes, "--max-key-bytes")
}

fn at_most(field: &'static str, bytes: usize, limit: usize, flag: &'static str) -> Result<(), Invalid> {
    if bytes > limit { Err(Invalid::TooLong { field, bytes, limit, flag }) } else { Ok(()) }
}
