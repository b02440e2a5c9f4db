//! Every limit of a node: its name, its default, its unit. Configuration sets them, the rest of the program reads them.

/// Limits of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest key, in bytes of UTF-8.
    pub max_key_bytes: usize,
    /// The longest value, in bytes of UTF-8.
    pub max_value_bytes: usize,
    /// The largest request of a client, in bytes on the wire.
    pub max_request_bytes: usize,
    /// The most keys in one List response; also the default, which a limit of 0 asks for.
    pub max_list_keys: u32,
    /// The most bytes of keys and values in one List response. A larger one ends early and says that there is
    /// more. It always has at least one key if any key matches. Below the 4 MiB that gRPC clients accept by
    /// default.
    pub max_list_bytes: usize,
    /// Client requests that may wait for a response at a time.
    pub max_pending_requests: usize,
    /// Bytes of keys and values in requests that may wait for a response at a time.
    pub max_pending_bytes: usize,
    /// How long a request waits at most, whatever its own deadline. Milliseconds.
    pub request_timeout_ms: u64,
    /// The most bytes of entries in one message to a peer. A single larger entry still goes, alone.
    pub max_append_bytes: usize,
    /// The most entries in one message to a peer.
    pub max_append_entries: usize,
    /// Messages with entries that may be on their way to a peer at a time.
    pub max_inflight_messages: usize,
    /// Bytes of entries that may be on their way to a peer at a time.
    pub max_inflight_bytes: usize,
    /// Unanswered requests on one stream of a peer; more wait in the connection.
    pub max_stream_requests: usize,
    /// The largest message between peers, in bytes on the wire.
    pub max_peer_message_bytes: usize,
    /// Payloads of recent entries kept in memory, for peers and for the state machine.
    pub entry_cache_bytes: usize,
    /// The size of the first segment of the log. Segments double from there. A power of two.
    pub min_segment_bytes: u64,
    /// The size at which segments stop doubling. A power of two.
    pub max_segment_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_key_bytes: 4 * KIB,
            max_value_bytes: MIB,
            max_request_bytes: MIB + MIB / 2,
            max_list_keys: 1000,
            max_list_bytes: 3 * MIB,
            max_pending_requests: 4096,
            max_pending_bytes: 64 * MIB,
            request_timeout_ms: 5000,
            max_append_bytes: MIB,
            max_append_entries: 4096,
            max_inflight_messages: 64,
            max_inflight_bytes: 8 * MIB,
            max_stream_requests: 1024,
            max_peer_message_bytes: 16 * MIB,
            entry_cache_bytes: 16 * MIB,
            min_segment_bytes: MIB as u64,
            max_segment_bytes: 64 * MIB as u64,
        }
    }
}

/// 2^10 bytes.
pub const KIB: usize = 1 << 10;
/// 2^20 bytes.
pub const MIB: usize = 1 << 20;
