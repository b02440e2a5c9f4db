//! Every limit of a node, with its unit and default. Operators set some; the others are constants with a reason, and
//! fields so that tests and the simulator can make them small.
//!
//! The limits of a node bind where a request enters the cluster through it. What a peer sends was admitted by another
//! node, whose limits may differ: it is held to the constants at the end, which are the same everywhere.

use lograft_kv::Command;

/// Limits of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    // What operators set: each is a flag of `lograft serve`.
    /// The longest key, in bytes of UTF-8.
    pub max_key_bytes: usize,
    /// The longest value, in bytes of UTF-8.
    pub max_value_bytes: usize,
    /// The largest client request, in bytes on the wire.
    pub max_request_bytes: usize,
    /// How many client requests may wait for a response at a time.
    pub max_pending_requests: usize,
    /// How many bytes of keys and values may wait for a response at a time.
    pub max_pending_bytes: usize,
    /// How long a request may wait, whatever deadline it brought. Milliseconds.
    pub request_timeout_ms: u64,
    /// The size at which segments of the log stop doubling. A power of two. The log needs room for three segments.
    pub max_segment_bytes: u64,

    // What nobody has to set.
    /// The size of the first segment; segments double from there. A power of two, at most `max_segment_bytes`.
    ///
    /// 1 MiB: a new node starts at once, and a small cluster uses a small disk.
    pub min_segment_bytes: u64,
    /// The most keys in one response to List; also what a limit of 0 asks for.
    ///
    /// 1000: a page takes the node well under a millisecond, and clients page through more.
    pub max_list_keys: u32,
    /// The most bytes of keys and values in one response to List; a larger one ends early and says that there is more.
    /// At least one key is always returned.
    ///
    /// 3 MiB: gRPC clients accept 4 MiB by default.
    pub max_list_bytes: usize,
    /// The most bytes of entries in one message to a peer. A single larger entry still goes, alone.
    ///
    /// 1 MiB: large enough that a message's overhead does not count, small enough that heartbeats do not wait.
    pub max_append_bytes: usize,
    /// The most entries in one message to a peer.
    ///
    /// 4096: bounds the framing of small entries, 32 bytes each at the most.
    pub max_append_entries: usize,
    /// How many messages with entries may be in flight to a peer at a time.
    ///
    /// 64: covers a round trip of tens of milliseconds with a batch leaving each millisecond.
    pub max_inflight_messages: usize,
    /// How many bytes of entries may be in flight to a peer at a time.
    ///
    /// 8 MiB: a gigabit link with a round trip of 60 ms stays busy; a peer that hangs costs no more than that.
    pub max_inflight_bytes: usize,
    /// How many requests on one stream of a peer may be unanswered; more wait in the connection.
    ///
    /// 1024: far more appends than a leader keeps in flight, and a quarter of the requests that a node may forward.
    pub max_stream_requests: usize,
    /// How many bytes of entries the node applies in one turn, or reads back from its log for that.
    ///
    /// 1 MiB: a few milliseconds, so that heartbeats do not wait for a node that catches up.
    pub max_turn_bytes: usize,
    /// How many bytes of recent entries stay in memory, for peers and for the state machine.
    ///
    /// 16 MiB: twice what may be in flight to a peer, so a peer that keeps up never makes the leader read its disk.
    pub entry_cache_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_key_bytes: 4 * KIB,
            max_value_bytes: MIB,
            max_request_bytes: MIB + MIB / 2,
            max_pending_requests: 4096,
            max_pending_bytes: 64 * MIB,
            request_timeout_ms: 5000,
            max_segment_bytes: 64 * MIB as u64,
            min_segment_bytes: MIB as u64,
            max_list_keys: 1000,
            max_list_bytes: 3 * MIB,
            max_append_bytes: MIB,
            max_append_entries: 4096,
            max_inflight_messages: 64,
            max_inflight_bytes: 8 * MIB,
            max_stream_requests: 1024,
            max_turn_bytes: MIB,
            entry_cache_bytes: 16 * MIB,
        }
    }
}

/// The most that `max_key_bytes` can be set to.
pub const LARGEST_KEY_BYTES: usize = MIB;
/// The most that `max_value_bytes` can be set to.
pub const LARGEST_VALUE_BYTES: usize = 256 * MIB;
/// The largest command that any node lets into the log.
pub const LARGEST_COMMAND_BYTES: usize = Command::max_encoded_bytes(LARGEST_KEY_BYTES, LARGEST_VALUE_BYTES);
/// The largest message between peers, in bytes on the wire: room for any one entry, and for any batch within
/// `max_append_bytes` and `max_append_entries`. A receiver would refuse a larger one each time it is sent.
pub const MAX_PEER_MESSAGE_BYTES: usize = LARGEST_COMMAND_BYTES + MIB;

/// 2^10 bytes.
pub const KIB: usize = 1 << 10;
/// 2^20 bytes.
pub const MIB: usize = 1 << 20;
