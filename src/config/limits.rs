//! The limits that operators set, and the ones that follow from them.

use std::time::Duration;

use lograft_node::limits::{KIB, LARGEST_KEY_BYTES, LARGEST_VALUE_BYTES, Limits, MIB};

use super::error::ConfigError;
use super::layers::Layers;

const GIB: usize = MIB << 10;
/// The log keeps 64 KiB back for terms and votes: the next power of two has room for entries, too.
const SMALLEST_SEGMENT: u64 = 128 * KIB as u64;

/// Reads the limits and checks how they relate.
pub(super) fn from_layers(layers: &Layers) -> Result<Limits, ConfigError> {
    let defaults = Limits::default();
    let bytes = |name, least: usize, most: usize| layers.number(name, least as u64, most as u64);
    let max_segment_bytes: u64 = layers.number("max-segment-bytes", SMALLEST_SEGMENT, GIB as u64)?;
    if !max_segment_bytes.is_power_of_two() {
        let next = max_segment_bytes.next_power_of_two();
        let message = format!("{max_segment_bytes} is not a power of two: use {next}");
        return Err(layers.invalid("max-segment-bytes", message));
    }
    let limits = Limits {
        max_key_bytes: bytes("max-key-bytes", 1, LARGEST_KEY_BYTES)?,
        max_value_bytes: bytes("max-value-bytes", 1, LARGEST_VALUE_BYTES)?,
        max_request_bytes: bytes("max-request-bytes", 1, 512 * MIB)?,
        max_pending_requests: bytes("max-pending-requests", 1, 1 << 20)?,
        max_pending_bytes: bytes("max-pending-bytes", KIB, 64 * GIB)?,
        request_timeout_ms: layers
            .milliseconds("request-timeout", Duration::from_millis(1)..=Duration::from_secs(3600))?,
        max_segment_bytes,
        min_segment_bytes: defaults.min_segment_bytes.min(max_segment_bytes),
        ..defaults
    };
    let set = limits.max_key_bytes + limits.max_value_bytes;
    holds("max-request-bytes", limits.max_request_bytes, set)?;
    // Bytes that wait are counted in whole KiB.
    holds("max-pending-bytes", limits.max_pending_bytes / KIB * KIB, set)?;
    Ok(limits)
}

/// Reads `--max-connections`; `None`: `auto`.
pub(super) fn max_connections(layers: &Layers) -> Result<Option<usize>, ConfigError> {
    const NAME: &str = "max-connections";
    match layers.text(NAME) {
        "auto" => Ok(None),
        _ => layers.number(NAME, 1, 1 << 20).map(Some),
    }
}

/// Checks that a Set of the longest key and value fits into a limit.
fn holds(limit: &str, limit_bytes: usize, set_bytes: usize) -> Result<(), ConfigError> {
    if set_bytes <= limit_bytes {
        return Ok(());
    }
    Err(ConfigError::Contradiction(format!(
        "--max-key-bytes and --max-value-bytes allow a Set of {set_bytes} bytes, but --{limit} holds {limit_bytes} only: \
         raise --{limit}, or lower one of them"
    )))
}
