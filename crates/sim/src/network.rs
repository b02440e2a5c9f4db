//! The network between simulated nodes: it loses, delays, duplicates, reorders and cuts.
//!
//! It decides when a packet arrives, and how often; the world carries it. Packets on one link stay in order
//! unless overtaking is allowed.

use std::collections::{BTreeMap, BTreeSet};

use lograft_node::{Envelope, ForwardId, ForwardRequest, ForwardResponse, PeerRequest, RequestError};
use lograft_raft::Response;

use super::chance::Chance;
use super::scenario::{ELECTION_US, Scenario};

/// How long a message is held up: until other leaders were elected.
pub(super) const HELD_US: (u64, u64) = (2 * ELECTION_US, 8 * ELECTION_US);

/// Something in flight.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) body: Body,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Request { envelope: Envelope, request: PeerRequest },
    Response { envelope: Envelope, response: Response },
    Forward { asker: Asker, request: ForwardRequest, timeout_ms: u64 },
    ForwardResponse { asker: Asker, result: Result<ForwardResponse, RequestError> },
}

/// The node that forwarded something, and in which life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asker {
    pub(super) node: usize,
    pub(super) life: u64,
    pub(super) id: ForwardId,
}

impl Packet {
    /// The asker whose forwarded request is lost if this packet is.
    pub(super) fn asker(&self) -> Option<Asker> {
        match &self.body {
            Body::Forward { asker, .. } | Body::ForwardResponse { asker, .. } => Some(*asker),
            Body::Request { .. } | Body::Response { .. } => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Network {
    chance: Chance,
    cut: BTreeSet<(usize, usize)>,
    /// Links that accept nothing new, but deliver what is in flight.
    closed: BTreeSet<(usize, usize)>,
    /// Nodes whose messages are slow, and until when.
    slow_until_us: BTreeMap<usize, u64>,
    /// Nodes whose messages are held up for several elections, and until when.
    held_until_us: BTreeMap<usize, u64>,
    /// The last arrival on each link.
    last_us: BTreeMap<(usize, usize), u64>,
    /// Faults are over.
    healed: bool,
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        let chance = Chance::new(seed, 2);
        Self {
            chance,
            cut: BTreeSet::new(),
            closed: BTreeSet::new(),
            slow_until_us: BTreeMap::new(),
            held_until_us: BTreeMap::new(),
            last_us: BTreeMap::new(),
            healed: false,
        }
    }

    pub(super) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.contains(&(from, to))
    }

    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    /// The link accepts nothing new. What is in flight still arrives, however late.
    pub(super) fn close(&mut self, from: usize, to: usize) {
        self.closed.insert((from, to));
    }

    /// Everything to and from this node is slow until then.
    pub(super) fn slow_down(&mut self, node: usize, until_us: u64) {
        self.slow_until_us.insert(node, until_us);
    }

    /// Everything sent to and from this node until then takes as long as several elections.
    pub(super) fn hold_up(&mut self, node: usize, until_us: u64) {
        self.held_until_us.insert(node, until_us);
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
        self.closed.clear();
    }

    /// Ends all faults for the rest of the run.
    pub(super) fn end_faults(&mut self) {
        self.heal();
        self.healed = true;
    }

    /// When the packet arrives: never, once, or twice.
    pub(super) fn arrivals(&mut self, packet: &Packet, now_us: u64, scenario: &Scenario) -> Vec<u64> {
        let link = (packet.from, packet.to);
        let mut way_us = self.chance.between(50, scenario.message_us.max(50));
        if self.is_cut(link.0, link.1) || self.closed.contains(&link) {
            return Vec::new();
        }
        if self.healed {
            return vec![self.in_order(link, now_us + way_us.min(1_000))];
        }
        let is_held = |node| self.held_until_us.get(&node).is_some_and(|&until_us| now_us < until_us);
        if is_held(link.0) || is_held(link.1) {
            let (low_us, high_us) = HELD_US;
            return vec![now_us + self.chance.between(low_us, high_us)];
        }
        let is_slow = |node| self.slow_until_us.get(&node).is_some_and(|&until_us| now_us < until_us);
        if is_slow(link.0) || is_slow(link.1) {
            way_us += self.chance.between(ELECTION_US / 4, ELECTION_US);
        }
        if self.chance.percent(scenario.loss_percent) {
            return Vec::new();
        }
        let first_us = if self.chance.percent(scenario.straggler_percent) {
            now_us + self.chance.between(ELECTION_US / 2, 4 * ELECTION_US)
        } else if self.chance.percent(scenario.reorder_percent) {
            now_us + way_us
        } else {
            self.in_order(link, now_us + way_us)
        };
        // A forwarded request travels on a stream, which delivers at most once. Delivering it twice would
        // make two writes.
        if packet.asker().is_none() && self.chance.percent(scenario.duplicate_percent) {
            let late_us = self.chance.pick(&[10, ELECTION_US / 2, 5 * ELECTION_US]);
            return vec![first_us, first_us + self.chance.below(late_us)];
        }
        vec![first_us]
    }

    fn in_order(&mut self, link: (usize, usize), at_us: u64) -> u64 {
        let last_us = self.last_us.entry(link).or_default();
        *last_us = at_us.max(*last_us);
        *last_us
    }
}
