//! The settings of [`Limits`]: a flag for every field, with the range that the rest of the program can live with.

use lograft_node::limits::{KIB, Limits, MIB};

use super::error::ConfigError;
use super::layers::Layers;

/// One limit as a setting.
pub(super) struct LimitSetting {
    pub(super) name: &'static str,
    pub(super) value_name: &'static str,
    pub(super) help: &'static str,
    pub(super) default: u64,
}

const GIB: usize = MIB << 10;
/// The log keeps 64 KiB back for terms and votes: the next power of two has room for entries, too.
const SMALLEST_SEGMENT: u64 = 128 * KIB as u64;
const LARGEST_SET: &str = "the largest Set (--max-key-bytes and --max-value-bytes)";
const LARGEST_ENTRY: &str =
    "the log's entry of the largest Set (--max-key-bytes and --max-value-bytes as JSON)";

macro_rules! limit_settings {
    ($($name:literal $field:ident: $unit:literal, $min:expr => $max:expr, $help:literal;)+) => {
        /// All limits, in the order of their struct.
        pub(super) fn table() -> Vec<LimitSetting> {
            let defaults = Limits::default();
            vec![$(LimitSetting {
                name: $name,
                value_name: $unit,
                help: $help,
                default: widen(defaults.$field),
            }),+]
        }

        /// Reads every field; a field of [`Limits`] that has no line in the table does not compile.
        fn read(layers: &Layers) -> Result<Limits, ConfigError> {
            Ok(Limits { $($field: layers.number($name, widen($min), widen($max))?),+ })
        }
    };
}

limit_settings! {
    "max-key-bytes" max_key_bytes: "BYTES", 1 => MIB, "The longest key";
    "max-value-bytes" max_value_bytes: "BYTES", 1 => 256 * MIB, "The longest value";
    "max-request-bytes" max_request_bytes: "BYTES", 1 => 512 * MIB, "The largest request of a client on the wire";
    "max-list-keys" max_list_keys: "KEYS", 1u32 => 1_000_000u32, "The most keys in one answer of List";
    "max-list-bytes" max_list_bytes: "BYTES", 1 => GIB,
        "The most bytes in one answer of List; gRPC clients take 4 MiB unless told otherwise";
    "max-pending-requests" max_pending_requests: "REQUESTS", 1 => 1 << 20,
        "Clients' requests that may wait at a time; the next one is refused at once";
    "max-pending-bytes" max_pending_bytes: "BYTES", KIB => 64 * GIB,
        "Bytes of clients' requests that may wait at a time";
    "request-timeout-ms" request_timeout_ms: "MS", 1u64 => 3_600_000u64,
        "How long a request waits at the most, in milliseconds";
    "max-append-bytes" max_append_bytes: "BYTES", 1 => 512 * MIB,
        "The most bytes of entries in one message to a peer; a single larger entry goes alone";
    "max-append-entries" max_append_entries: "ENTRIES", 1 => 1 << 20, "The most entries in one message to a peer";
    "max-inflight-messages" max_inflight_messages: "MESSAGES", 1 => 1 << 16,
        "Messages with entries on their way to a peer at a time";
    "max-inflight-bytes" max_inflight_bytes: "BYTES", 1 => 16 * GIB,
        "Bytes of entries on their way to a peer at a time";
    "max-stream-requests" max_stream_requests: "REQUESTS", 1 => 1 << 20,
        "Unanswered requests on one stream of a peer";
    "max-peer-message-bytes" max_peer_message_bytes: "BYTES", 1 => 2 * GIB - 1,
        "The largest message between peers on the wire";
    "entry-cache-bytes" entry_cache_bytes: "BYTES", 1 => 64 * GIB, "Recent entries kept in memory";
    "min-segment-bytes" min_segment_bytes: "BYTES", SMALLEST_SEGMENT => GIB as u64,
        "The first segment of the log, a power of two; segments double from there";
    "max-segment-bytes" max_segment_bytes: "BYTES", SMALLEST_SEGMENT => GIB as u64,
        "Where segments stop doubling, a power of two";
}

/// Reads the limits and checks how they relate.
pub(super) fn from_layers(layers: &Layers) -> Result<Limits, ConfigError> {
    let limits = read(layers)?;
    for (name, size) in
        [("min-segment-bytes", limits.min_segment_bytes), ("max-segment-bytes", limits.max_segment_bytes)]
    {
        if !size.is_power_of_two() {
            return Err(layers
                .invalid(name, format!("{size} is not a power of two: use {}", size.next_power_of_two())));
        }
    }
    let set = limits.max_key_bytes + limits.max_value_bytes;
    let entry = largest_entry_bytes(&limits);
    at_most("min-segment-bytes", limits.min_segment_bytes, "max-segment-bytes", limits.max_segment_bytes)?;
    at_most(LARGEST_SET, set, "max-request-bytes", limits.max_request_bytes)?;
    at_most(LARGEST_SET, set, "max-pending-bytes", limits.max_pending_bytes / KIB * KIB)?;
    at_most(LARGEST_ENTRY, entry as u64, "max-segment-bytes", limits.max_segment_bytes / 2)?;
    at_most(LARGEST_ENTRY, entry, "max-peer-message-bytes", limits.max_peer_message_bytes)?;
    // A batch that is above the receiver's limit would be refused and sent again for ever. Entries of a byte each
    // weigh most on the wire: their ids, tags and lengths, 32 bytes at the most.
    let framing = limits.max_append_entries * 32 + KIB;
    let batch = limits.max_append_bytes + framing;
    at_most(
        "max-append-bytes with its framing",
        batch,
        "max-peer-message-bytes",
        limits.max_peer_message_bytes,
    )?;
    Ok(limits)
}

/// An entry is JSON: text that grows when it is escaped stands as base64 instead, so it never exceeds 4/3 of the bytes
/// by more than the words around it.
fn largest_entry_bytes(limits: &Limits) -> usize {
    (limits.max_key_bytes + limits.max_value_bytes).div_ceil(3) * 4 + KIB
}

fn at_most<N: PartialOrd + std::fmt::Display>(
    what: &str,
    size: N,
    limit_name: &str,
    limit: N,
) -> Result<(), ConfigError> {
    if size <= limit {
        return Ok(());
    }
    Err(ConfigError::Contradiction(format!(
        "{what} may be {size} bytes, which does not fit into {limit_name} (room for {limit}): raise --{limit_name}"
    )))
}

/// Numbers of a limit, whatever their type, as the one that settings are read in.
fn widen<N: TryInto<u64>>(number: N) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}
