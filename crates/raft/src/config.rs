//! The core's settings: times in ticks, and bounds on what is in flight to a peer.

use lograft_types::NodeId;

/// The election timeout: one second at 10 ms a tick.
pub const DEFAULT_ELECTION_TIMEOUT_TICKS: u32 = 100;
/// The time between heartbeats: 100 ms at 10 ms a tick.
pub const DEFAULT_HEARTBEAT_TICKS: u32 = 10;
/// The most bytes of entries in one message.
pub const DEFAULT_MAX_APPEND_BYTES: usize = 1 << 20;
/// The most entries in one message.
pub const DEFAULT_MAX_APPEND_ENTRIES: usize = 4096;
/// The most messages with entries in flight to a peer.
pub const DEFAULT_MAX_INFLIGHT_MESSAGES: usize = 64;
/// The most bytes of entries in flight to a peer.
pub const DEFAULT_MAX_INFLIGHT_BYTES: usize = 8 << 20;
/// How far apart in time the followers of a dead leader ask for pre-votes.
pub const DEFAULT_STREAM_LOSS_DELAY_TICKS: u32 = 3;
/// How many times per term a follower asks for pre-votes before its timeout.
pub const DEFAULT_STREAM_LOSS_CAMPAIGNS: u32 = 10;

/// How one node takes part in the protocol.
///
/// # Invariants
/// Checked by [`super::Raft::new`]: nothing is 0 (except the delay and the number of early campaigns), and the
/// heartbeat interval is shorter than the election timeout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// T: election timeouts are drawn from [T, 1.5 T), and a leader steps down if no majority responds for T.
    pub election_timeout_ticks: u32,
    /// The time between a leader's heartbeats.
    pub heartbeat_ticks: u32,
    /// The most bytes of entries in one message. A single larger entry is still sent, alone.
    pub max_append_bytes: usize,
    /// The most entries in one message.
    pub max_append_entries: usize,
    /// The most messages with entries in flight to a peer.
    pub max_inflight_messages: usize,
    /// No message with entries is sent to a peer while at least this many bytes of entries are in flight to it.
    pub max_inflight_bytes: usize,
    /// When the leader's stream is lost, the followers ask for pre-votes this far apart in time, in the order of
    /// their ids.
    pub stream_loss_delay_ticks: u32,
    /// How many times per term a node asks for pre-votes because the leader's stream was lost.
    pub stream_loss_campaigns: u32,
}

impl Config {
    /// The defaults.
    pub const fn new(id: NodeId) -> Self {
        Self {
            id,
            election_timeout_ticks: DEFAULT_ELECTION_TIMEOUT_TICKS,
            heartbeat_ticks: DEFAULT_HEARTBEAT_TICKS,
            max_append_bytes: DEFAULT_MAX_APPEND_BYTES,
            max_append_entries: DEFAULT_MAX_APPEND_ENTRIES,
            max_inflight_messages: DEFAULT_MAX_INFLIGHT_MESSAGES,
            max_inflight_bytes: DEFAULT_MAX_INFLIGHT_BYTES,
            stream_loss_delay_ticks: DEFAULT_STREAM_LOSS_DELAY_TICKS,
            stream_loss_campaigns: DEFAULT_STREAM_LOSS_CAMPAIGNS,
        }
    }

    pub(super) fn check(&self) {
        assert!(self.heartbeat_ticks > 0, "heartbeat_ticks must be above 0");
        assert!(
            self.heartbeat_ticks < self.election_timeout_ticks,
            "heartbeat_ticks ({}) must be below election_timeout_ticks ({}), or heartbeats cannot prevent elections",
            self.heartbeat_ticks,
            self.election_timeout_ticks
        );
        assert!(self.max_append_bytes > 0, "max_append_bytes must be above 0");
        assert!(self.max_append_entries > 0, "max_append_entries must be above 0");
        assert!(self.max_inflight_messages > 0, "max_inflight_messages must be above 0");
        assert!(self.max_inflight_bytes > 0, "max_inflight_bytes must be above 0");
    }
}
