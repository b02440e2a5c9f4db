//! What a seed makes of a run: how large everything is, and which faults there are.
//!
//! Half of the seeds are *uniform*: three nodes, every fault now and then. Most others are a *swarm*: each run has its
//! own few faults, in its own dose, and draws its own sizes. Uniform runs miss whole classes of bugs, for every fault
//! stands in the way of every other. The rest, one seed in eight, are *ambushes*: whoever wins an election falls or is cut
//! off at once, again and again, so that entries of many terms are in few logs each (Raft figure 8), and messages of one
//! term arrive in another.

use super::chance::Chance;

mod overrides;

/// The election timeout T of simulated nodes, in ticks.
pub(super) const ELECTION_TICKS: u32 = 10;
/// A tick.
pub(super) const TICK_MS: u64 = 10;
/// The election timeout T.
pub(super) const ELECTION_US: u64 = ELECTION_TICKS as u64 * TICK_MS * 1000;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Power is cut: what was not flushed is lost, in part or as a whole.
    PowerCut,
    /// The leader's power is cut.
    LeaderPowerCut,
    /// The process is killed: the page cache survives.
    Kill,
    /// The process is asked to stop, answers all that waits, flushes, marks.
    Stop,
    /// The nodes fall into groups that do not hear each other.
    Partition,
    /// One direction of one link is cut.
    OneWayCut,
    /// All links work again.
    Heal,
    /// Links break, and both ends notice; what is on its way may be lost.
    LinkReset,
    /// A process does nothing for a while; it may find a burst of ticks when it wakes.
    Pause,
    /// All messages to and from a node take long for a while.
    SlowPeer,
    /// A disk is slow for a while.
    SlowDisk,
    /// A flush takes as long as many elections.
    DiskStall,
    /// A flush fails, and the process ends.
    FlushFailure,
    /// There is little or no room on a disk for a while: one of the next allocations fails.
    FullDisk,
    /// Power is cut between two operations of the disk.
    DiskStop,
    /// The leader does nothing for a while and hears of nothing that happens meanwhile, but clients go on asking it.
    LeaderFreeze,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 16] = [
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
    ];
}

/// A run, but for the chance in it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where all chance comes from.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How long there are faults and clients.
    pub duration_us: u64,
    /// The faults that there are; one that stands here twice comes twice as often.
    pub faults: Vec<Fault>,
    /// The longest time from one fault to the next.
    pub fault_gap_us: u64,
    /// How long a node is away after it fell.
    pub downtime_us: u64,
    /// Won elections whose winner is cut off or loses its power at once.
    pub ambush_percent: u64,
    /// Messages that are lost.
    pub loss_percent: u64,
    /// Messages that arrive twice.
    pub duplicate_percent: u64,
    /// Messages that may overtake others.
    pub reorder_percent: u64,
    /// Messages that take as long as several elections.
    pub straggler_percent: u64,
    /// Appends that tell the leader's whole commit index, as the paper's do, and not only what they cover: a follower
    /// must not commit what it has not compared (Raft §5.3).
    pub whole_commit_percent: u64,
    /// How much faster or slower than the others a node's clock may go.
    pub clock_drift_percent: u64,
    /// How far apart the ticks of two nodes may be; 0: all clocks tick at the same moments.
    pub clock_spread_us: u64,
    /// Starts before which a bit of the disk flips.
    pub bit_flip_percent: u64,
    /// The longest way of an ordinary message.
    pub message_us: u64,
    /// The longest time until a node takes its turn.
    pub turn_us: u64,
    /// The longest time of a flush.
    pub flush_us: u64,
    /// The longest time until a node hears that a flush has ended.
    pub report_us: u64,
    /// The longest time from one request of a client to the next.
    pub request_gap_us: u64,
    /// The most requests at once.
    pub request_burst: u64,
    /// The longest time that a client waits.
    pub request_timeout_ms: u64,
    /// How many keys there are.
    pub keys: u64,
    /// The longest filling of a value.
    pub value_bytes: u64,
    /// The most entries in one message.
    pub max_append_entries: usize,
    /// The most bytes of entries in one message.
    pub max_append_bytes: usize,
    /// The most messages with entries on their way.
    pub max_inflight_messages: usize,
    /// Bytes of entries on their way, above which nothing more is sent.
    pub max_inflight_bytes: usize,
    /// Entries in memory.
    pub entry_cache_bytes: usize,
    /// The first segment's size.
    pub min_segment_bytes: u64,
    /// The largest segment's size.
    pub max_segment_bytes: u64,
}

impl Scenario {
    /// The scenario of a seed: even seeds are uniform, odd ones of the swarm, every fourth of these an ambush.
    pub fn of_seed(seed: u64) -> Self {
        match seed % 8 {
            0 | 2 | 4 | 6 => Self::uniform(seed),
            7 => Self::ambush(seed),
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
            clock_drift_percent: 5,
            clock_spread_us: TICK_MS * 1000,
            bit_flip_percent: 10,
            message_us: 1_500,
            turn_us: 300,
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

    /// Winners of elections do not last.
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
            report_us: chance.pick(&[0, 500, 60_000]),
            bit_flip_percent: 0,
            ..Self::uniform(seed)
        }
    }

    /// Sizes and faults of its own.
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
            clock_drift_percent,
            clock_spread_us,
            bit_flip_percent: chance.pick(&[0, 10, 50]),
            message_us: chance.pick(&[200, 1_500, 10_000, 30_000]),
            turn_us: chance.pick(&[0, 300, 5_000]),
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
