//! How a seed determines a run: the sizes, and which faults occur.
//!
//! Half of the seeds are *uniform*: three nodes, and every fault now and then. Most others are a *swarm*:
//! each run has a few kinds of faults, with its own frequency, and draws its own sizes. Uniform runs miss
//! whole classes of bugs, because each fault gets in the way of every other. One seed in eight is an *ambush*:
//! every node that wins an election crashes or is cut off at once, again and again. So entries of many terms
//! are in few logs each (Raft figure 8), and messages of one term arrive in another. One seed in sixteen is a
//! *return*: leaders are deposed and elected again while messages of their earlier terms are under way.

use super::chance::Chance;

mod overrides;

/// The election timeout T of simulated nodes, in ticks.
pub(super) const ELECTION_TICKS: u32 = 10;
/// The length of a tick.
pub(super) const TICK_MS: u64 = 10;
/// The election timeout T.
pub(super) const ELECTION_US: u64 = ELECTION_TICKS as u64 * TICK_MS * 1000;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Power is cut: unflushed data is lost in part or completely.
    PowerCut,
    /// The leader's power is cut.
    LeaderPowerCut,
    /// The process is killed: the page cache survives.
    Kill,
    /// The process is asked to stop: it answers all open requests, flushes, and writes a sync marker.
    Stop,
    /// The nodes are split into groups that do not hear each other.
    Partition,
    /// One direction of one link is cut.
    OneWayCut,
    /// All links work again.
    Heal,
    /// Links break and both ends notice; what is in flight may be lost.
    LinkReset,
    /// A process does nothing for a while and may get a burst of ticks when it wakes.
    Pause,
    /// All messages to and from a node are slow for a while.
    SlowPeer,
    /// A disk is slow for a while.
    SlowDisk,
    /// A flush takes as long as many elections.
    DiskStall,
    /// A flush fails, and the process ends.
    FlushFailure,
    /// A disk has little or no space for a while: one of the next allocations fails.
    FullDisk,
    /// Power is cut between two disk operations.
    DiskStop,
    /// The leader does nothing for a while and receives nothing but clients' requests.
    LeaderFreeze,
    /// A leader is deposed and elected again, while what it sent and was sent in its first term is still under way.
    LeaderReturns,
    /// The leader is cut off, and its disk fills up with entries that its successor replaces.
    FullLeader,
    /// For a while, a node learns late of the flushes that have ended.
    LateReports,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::PowerCut,
        Self::LeaderPowerCut,
        Self::Kill,
        Self::Stop,
        Self::Partition,
        Self::OneWayCut,
        Self::Heal,
        Self::LinkReset,
        Self::Pause,
        Self::SlowPeer,
        Self::SlowDisk,
        Self::DiskStall,
        Self::FlushFailure,
        Self::FullDisk,
        Self::DiskStop,
        Self::LeaderFreeze,
        Self::LeaderReturns,
        Self::FullLeader,
        Self::LateReports,
    ];
}

/// Everything about a run except its random choices.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where all randomness comes from.
    pub seed: u64,
    /// The number of nodes.
    pub nodes: usize,
    /// How long faults and clients last.
    pub duration_us: u64,
    /// The faults that occur; one listed twice occurs twice as often.
    pub faults: Vec<Fault>,
    /// The longest time from one fault to the next.
    pub fault_gap_us: u64,
    /// How long a node is down after a crash.
    pub downtime_us: u64,
    /// The share of elections after which the winner is cut off or loses power at once.
    pub ambush_percent: u64,
    /// The share of messages that are lost.
    pub loss_percent: u64,
    /// The share of messages that arrive twice.
    pub duplicate_percent: u64,
    /// The share of messages that may overtake others.
    pub reorder_percent: u64,
    /// The share of messages that take as long as several elections.
    pub straggler_percent: u64,
    /// The share of appends that carry the leader's whole commit index, as the paper's do, instead of one
    /// limited to what they cover. A follower must not commit what it has not compared (Raft §5.3).
    pub whole_commit_percent: u64,
    /// The share of appends that begin with entries that the leader has no reason to send, as other implementations
    /// do. A follower must not promise more than it has, even if it learns nothing but the term.
    pub repeat_percent: u64,
    /// How much faster or slower than the others a node's clock may run.
    pub clock_drift_percent: u64,
    /// The largest offset between the ticks of two nodes; 0: all clocks tick at the same moments.
    pub clock_spread_us: u64,
    /// The share of starts before which a bit of the disk flips.
    pub bit_flip_percent: u64,
    /// The longest delay of an ordinary message.
    pub message_us: u64,
    /// The longest delay until a node takes its turn.
    pub turn_us: u64,
    /// The longest ordinary delay until the log appends what its node has handed in.
    pub append_us: u64,
    /// The share of appends that the log begins much later: as late as two elections.
    pub long_append_percent: u64,
    /// The longest duration of a flush.
    pub flush_us: u64,
    /// The longest delay until a node learns that a flush has ended.
    pub report_us: u64,
    /// The longest time between requests of clients.
    pub request_gap_us: u64,
    /// The most requests at once.
    pub request_burst: u64,
    /// How long a client waits at most.
    pub request_timeout_ms: u64,
    /// The number of keys.
    pub keys: u64,
    /// The longest padding of a value.
    pub value_bytes: u64,
    /// The most entries in one message.
    pub max_append_entries: usize,
    /// The most bytes of entries in one message.
    pub max_append_bytes: usize,
    /// The most messages with entries in flight.
    pub max_inflight_messages: usize,
    /// Bytes of entries in flight, above which nothing more is sent.
    pub max_inflight_bytes: usize,
    /// Bytes of entries kept in memory.
    pub entry_cache_bytes: usize,
    /// The size of the first segment.
    pub min_segment_bytes: u64,
    /// The size of the largest segment.
    pub max_segment_bytes: u64,
}

impl Scenario {
    /// The scenario of a seed: even seeds are uniform. Of the odd ones, one in four is an ambush, one in eight a
    /// return, and the others are a swarm.
    pub fn of_seed(seed: u64) -> Self {
        match seed % 16 {
            even if even % 2 == 0 => Self::uniform(seed),
            7 | 15 => Self::ambush(seed),
            5 => Self::returns(seed),
            _ => Self::swarm(seed),
        }
    }

    /// Three nodes, and all faults.
    pub fn uniform(seed: u64) -> Self {
        Self {
            seed,
            nodes: 3,
            duration_us: 2_000_000,
            faults: Fault::ALL.to_vec(),
            fault_gap_us: 150_000,
            downtime_us: 150_000,
            ambush_percent: 10,
            loss_percent: 2,
            duplicate_percent: 2,
            reorder_percent: 5,
            straggler_percent: 1,
            whole_commit_percent: 5,
            repeat_percent: 5,
            clock_drift_percent: 5,
            clock_spread_us: TICK_MS * 1000,
            bit_flip_percent: 10,
            message_us: 1_500,
            turn_us: 300,
            append_us: 200,
            long_append_percent: 1,
            flush_us: 3_000,
            report_us: 500,
            request_gap_us: 8_000,
            request_burst: 3,
            request_timeout_ms: 400,
            keys: 5,
            value_bytes: 100,
            max_append_entries: 64,
            max_append_bytes: 1 << 16,
            max_inflight_messages: 8,
            max_inflight_bytes: 1 << 20,
            entry_cache_bytes: 1 << 16,
            min_segment_bytes: 1 << 14,
            max_segment_bytes: 1 << 17,
        }
    }

    /// Winners of elections do not stay leader for long.
    pub fn ambush(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 8);
        let faults: &[&[Fault]] = &[
            &[Fault::LeaderPowerCut, Fault::LeaderPowerCut, Fault::Partition, Fault::Heal],
            &[Fault::LeaderPowerCut, Fault::Heal],
            &[Fault::Partition, Fault::OneWayCut, Fault::Heal],
            &[Fault::LeaderFreeze],
            &[Fault::LeaderFreeze, Fault::Heal],
        ];
        Self {
            nodes: chance.pick(&[3, 3, 5]),
            faults: chance.pick(faults).to_vec(),
            ambush_percent: chance.pick(&[60, 90]),
            straggler_percent: chance.pick(&[0, 5, 20]),
            duplicate_percent: chance.pick(&[0, 20, 40]),
            fault_gap_us: chance.pick(&[150_000, 500_000]),
            downtime_us: chance.pick(&[1_000, 150_000]),
            max_append_entries: chance.pick(&[1, 64]),
            message_us: chance.pick(&[1_500, 10_000]),
            append_us: chance.pick(&[0, 200, 10_000]),
            report_us: chance.pick(&[0, 500, 60_000]),
            bit_flip_percent: 0,
            ..Self::uniform(seed)
        }
    }

    /// Leaders come back, and entries of earlier leaders are sent again by later ones.
    pub fn returns(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 9);
        let faults: &[&[Fault]] = &[
            &[Fault::LeaderReturns],
            &[Fault::LeaderReturns, Fault::LateReports],
            &[Fault::LeaderReturns, Fault::LateReports, Fault::LinkReset, Fault::SlowPeer],
            &[Fault::FullLeader, Fault::LeaderReturns],
            &[Fault::FullLeader, Fault::LateReports, Fault::LeaderPowerCut],
        ];
        Self {
            nodes: chance.pick(&[3, 3, 5]),
            faults: chance.pick(faults).to_vec(),
            fault_gap_us: chance.pick(&[200_000, 500_000, 1_000_000]),
            ambush_percent: chance.pick(&[0, 0, 50]),
            loss_percent: chance.pick(&[0, 10, 25]),
            reorder_percent: chance.pick(&[0, 20, 60]),
            repeat_percent: chance.pick(&[0, 20, 80]),
            max_append_entries: chance.pick(&[1, 2, 64]),
            max_inflight_messages: chance.pick(&[1, 8]),
            message_us: chance.pick(&[200, 1_500, 10_000]),
            report_us: chance.pick(&[0, 500, 20_000]),
            request_gap_us: chance.pick(&[4_000, 8_000]),
            bit_flip_percent: 0,
            ..Self::uniform(seed)
        }
    }

    /// Its own sizes and faults.
    pub fn swarm(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 1);
        let uniform = Self::uniform(seed);
        let mut faults = Vec::new();
        for fault in Fault::ALL {
            let times = chance.pick(&[0, 0, 1, 4]);
            faults.extend(std::iter::repeat_n(fault, times));
        }
        let clocks = [(0, 0), (0, TICK_MS * 1000), (5, TICK_MS * 1000), (30, TICK_MS * 1000)];
        let (clock_drift_percent, clock_spread_us) = chance.pick(&clocks);
        Self {
            nodes: chance.pick(&[1, 2, 3, 3, 3, 4, 5, 5, 6, 7]),
            fault_gap_us: chance.pick(&[40_000, 150_000, 500_000]),
            downtime_us: chance.pick(&[1_000, 50_000, 400_000]),
            faults,
            ambush_percent: chance.pick(&[0, 0, 60, 90]),
            loss_percent: chance.pick(&[0, 0, 2, 10, 25]),
            duplicate_percent: chance.pick(&[0, 0, 5, 20]),
            reorder_percent: chance.pick(&[0, 0, 10, 60]),
            straggler_percent: chance.pick(&[0, 0, 1, 5]),
            whole_commit_percent: chance.pick(&[0, 5, 50]),
            repeat_percent: chance.pick(&[0, 5, 50]),
            clock_drift_percent,
            clock_spread_us,
            bit_flip_percent: chance.pick(&[0, 10, 50]),
            message_us: chance.pick(&[200, 1_500, 10_000, 30_000]),
            turn_us: chance.pick(&[0, 300, 5_000]),
            append_us: chance.pick(&[0, 200, 3_000, 30_000]),
            long_append_percent: chance.pick(&[0, 0, 2, 10]),
            flush_us: chance.pick(&[200, 3_000, 30_000]),
            report_us: chance.pick(&[0, 500, 20_000, 60_000]),
            request_gap_us: chance.pick(&[5_000, 10_000, 40_000]),
            request_burst: chance.pick(&[1, 3, 16]),
            request_timeout_ms: chance.pick(&[50, 400, 1_000]),
            keys: chance.pick(&[1, 3, 20]),
            value_bytes: chance.pick(&[0, 100, 2_000]),
            max_append_entries: chance.pick(&[1, 2, 16, 64]),
            max_append_bytes: chance.pick(&[1, 500, 1 << 16]),
            max_inflight_messages: chance.pick(&[1, 2, 8]),
            max_inflight_bytes: chance.pick(&[1, 500, 1 << 20]),
            entry_cache_bytes: chance.pick(&[0, 500, 1 << 16]),
            min_segment_bytes: chance.pick(&[1 << 14, 1 << 15]),
            max_segment_bytes: chance.pick(&[1 << 15, 1 << 17]),
            ..uniform
        }
    }
}
