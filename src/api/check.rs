//! The limits of a request, checked in one place for gRPC and HTTP.
//!
//! A size equal to the limit is allowed. An error states both numbers and the flag that sets the limit, if there is one.

use lograft_node::limits::Limits;

/// The limit that a request breaks, for which it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The key is empty.
    #[error("key is 0 bytes, the minimum is 1")]
    EmptyKey,
    /// A field is too long.
    #[error("{field} is {bytes} bytes, the limit is {limit} ({flag})")]
    TooLong {
        /// The field's name.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest allowed.
        limit: usize,
        /// The flag that sets the limit.
        flag: &'static str,
    },
    /// More keys requested than one response may hold.
    #[error("limit is {asked} keys, the limit is {limit}")]
    ListLimit {
        /// The number requested.
        asked: u64,
        /// The largest number allowed.
        limit: u32,
    },
    /// An HTTP body or path that is not UTF-8.
    #[error("{field} is not UTF-8: the byte at offset {offset} is invalid")]
    NotUtf8 {
        /// The field's name.
        field: &'static str,
        /// The offset of the first invalid byte.
        offset: usize,
    },
}

/// Checks a key to read or write.
///
/// # Errors
/// [`Invalid::EmptyKey`], or [`Invalid::TooLong`] over `max_key_bytes`.
pub fn key(key: &str, limits: &Limits) -> Result<(), Invalid> {
    if key.is_empty() {
        return Err(Invalid::EmptyKey);
    }
    key_like("key", key, limits)
}

/// Checks a value to store.
///
/// # Errors
/// [`Invalid::TooLong`] over `max_value_bytes`.
pub fn value(value: &str, limits: &Limits) -> Result<(), Invalid> {
    value_bytes(value.len(), limits)
}

/// Checks the size of a value before the value has arrived.
///
/// # Errors
/// [`Invalid::TooLong`] over `max_value_bytes`.
pub fn value_bytes(bytes: usize, limits: &Limits) -> Result<(), Invalid> {
    at_most("value", bytes, limits.max_value_bytes, "--max-value-bytes")
}

/// Checks a list request. Returns its limit; 0 in the request stands for the server's limit.
///
/// # Errors
/// [`Invalid::TooLong`] or [`Invalid::ListLimit`].
pub fn list(prefix: &str, start_after: &str, limit: u32, limits: &Limits) -> Result<u32, Invalid> {
    key_like("prefix", prefix, limits)?;
    key_like("start_after", start_after, limits)?;
    Ok(if limit == 0 { limits.max_list_keys } else { list_limit(limit.into(), limits)? })
}

/// Checks how many keys are requested: any number that a client can type.
///
/// # Errors
/// [`Invalid::ListLimit`].
pub fn list_limit(asked: u64, limits: &Limits) -> Result<u32, Invalid> {
    let limit = limits.max_list_keys;
    u32::try_from(asked).ok().filter(|asked| *asked <= limit).ok_or(Invalid::ListLimit { asked, limit })
}

fn key_like(field: &'static str, text: &str, limits: &Limits) -> Result<(), Invalid> {
    at_most(field, text.len(), limits.max_key_bytes, "--max-key-bytes")
}

fn at_most(field: &'static str, bytes: usize, limit: usize, flag: &'static str) -> Result<(), Invalid> {
    if bytes > limit { Err(Invalid::TooLong { field, bytes, limit, flag }) } else { Ok(()) }
}
