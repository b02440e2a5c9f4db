//! A leader's replication progress with one peer: what the peer has, what to send next, what is in flight.
//!
//! A leader *probes* a peer, one request at a time, until it knows where their logs agree. Once a request matched, it
//! *replicates*: it sends entries without waiting for responses, within bounds. A rejection, a broken link, or no
//! response to what is in flight leads back to probing. (Compare etcd's `tracker.Progress`.)

use std::collections::VecDeque;

use lograft_types::{EntryId, EntryMeta, LogIndex, Term, mark};

use super::config::Config;
use super::log_view::LogView;
use super::message::AppendEntries;

/// A leader's view of one peer.
///
/// # Invariants
/// - `match_index` < `next_index`; everything up to `match_index` is durable at the peer.
/// - Nothing counts as in flight while probing, except the probe.
/// - Request ids rise and are never reused in the life of the core: a response may come terms after its request. Those
///   up to `stale_through` no longer count for the log.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    match_index: LogIndex,
    /// The last request that was sent before `match_index` rose to what it is. The peer answers later ones with that
    /// much in its log.
    matched_after: u64,
    next_index: LogIndex,
    state: State,
    /// Send no entries until the next heartbeat.
    paused: bool,
    last_request_id: u64,
    stale_through: u64,
    /// The highest commit index that was sent to the peer.
    commit_told: LogIndex,
    /// The highest round of leadership confirmation that the peer answered.
    read_round: u64,
    /// Ticks since the last response.
    silent_ticks: u32,
}

#[derive(Clone, Debug)]
enum State {
    /// The request that looks for where the logs agree, if one is in flight.
    Probe {
        outstanding: Option<u64>,
    },
    Replicate(InFlight),
}

/// Messages with entries that have not been answered yet.
#[derive(Clone, Debug, Default)]
struct InFlight {
    messages: VecDeque<InFlightMessage>,
    bytes: usize,
    /// Ticks since something was sent or answered.
    stalled_ticks: u32,
}

#[derive(Clone, Copy, Debug)]
struct InFlightMessage {
    request_id: u64,
    last: LogIndex,
    bytes: usize,
}

/// What every message from a leader carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaderSays {
    pub(super) term: Term,
    pub(super) commit: LogIndex,
    pub(super) read_round: u64,
}

impl Progress {
    /// A peer about which nothing is known yet: its log may match up to the end. Ids up to `last_request_id` are used.
    pub(super) fn new(next_index: LogIndex, last_request_id: u64) -> Self {
        Self {
            match_index: LogIndex::ZERO,
            matched_after: last_request_id,
            next_index,
            state: State::Probe { outstanding: None },
            paused: false,
            last_request_id,
            stale_through: last_request_id,
            commit_told: LogIndex::ZERO,
            read_round: 0,
            silent_ticks: 0,
        }
    }

    pub(super) fn match_index(&self) -> LogIndex {
        self.match_index
    }

    pub(super) fn read_round(&self) -> u64 {
        self.read_round
    }

    pub(super) fn silent_ticks(&self) -> u32 {
        self.silent_ticks
    }

    pub(super) fn state_name(&self) -> &'static str {
        match self.state {
            State::Probe { .. } => "probe",
            State::Replicate(_) => "replicate",
        }
    }

    /// How many messages with entries have not been answered yet, and the bytes of their entries.
    pub(super) fn in_flight(&self) -> (usize, usize) {
        match &self.state {
            State::Probe { outstanding } => (usize::from(outstanding.is_some()), 0),
            State::Replicate(in_flight) => (in_flight.messages.len(), in_flight.bytes),
        }
    }

    /// Time passes. If a peer answers nothing in flight for an election timeout, the messages or their responses were
    /// lost: probe it.
    pub(super) fn tick(&mut self, config: &Config) {
        self.silent_ticks = self.silent_ticks.saturating_add(1);
        if let State::Replicate(in_flight) = &mut self.state
            && !in_flight.messages.is_empty()
        {
            in_flight.stalled_ticks += 1;
            if in_flight.stalled_ticks >= config.election_timeout_ticks {
                mark!(Unanswered);
                self.probe(self.match_index.next());
            }
        }
    }

    /// The peer responded in the leader's term.
    pub(super) fn heard(&mut self, read_round: u64) {
        self.silent_ticks = 0;
        self.read_round = self.read_round.max(read_round);
    }

    /// A request matched up to `match_index`. Returns whether that is more than was known.
    pub(super) fn matched(&mut self, request_id: u64, match_index: LogIndex, log: &LogView) -> bool {
        if request_id <= self.stale_through {
            mark!(StaleAck);
            return false;
        }
        let news = self.raise_match(match_index);
        match &mut self.state {
            // The probe matched, or something at or past where it looked: from here on, entries do not wait for
            // responses. Entries that match but are not durable there are sent once more, so that their flush is
            // acknowledged.
            State::Probe { outstanding }
                if *outstanding == Some(request_id) || match_index.next() >= self.next_index =>
            {
                self.next_index = self.match_index.max(log.log_start().index).next();
                self.state = State::Replicate(InFlight::default());
            }
            // A response to a heartbeat: it says nothing about where the probe looks.
            State::Probe { .. } => {}
            State::Replicate(in_flight) => {
                in_flight.answered(request_id, self.match_index);
                self.next_index = self.next_index.max(self.match_index.next());
            }
        }
        news
    }

    /// The peer has no credit for entries now.
    pub(super) fn busy(&mut self, request_id: u64, match_index: LogIndex) -> bool {
        if request_id <= self.stale_through {
            mark!(StaleAck);
            return false;
        }
        mark!(BusyFollower);
        let news = self.raise_match(match_index);
        self.probe(self.match_index.next());
        self.paused = true;
        news
    }

    fn raise_match(&mut self, match_index: LogIndex) -> bool {
        let news = match_index > self.match_index;
        if news {
            self.match_index = match_index;
            self.matched_after = self.last_request_id;
        }
        news
    }

    /// The peer's log lacks the entry that the request follows. `conflict` is an entry of its log, at or before that
    /// one.
    ///
    /// Returns what the peer had acknowledged if it has lost some of that: every request follows an entry at or past
    /// the match, so a peer that still had all of it would name an entry there. Such a peer is sent everything again.
    pub(super) fn conflicted(
        &mut self,
        request_id: u64,
        conflict: EntryId,
        log: &LogView,
    ) -> Option<LogIndex> {
        if request_id <= self.stale_through {
            mark!(StaleAck);
            return None;
        }
        if request_id > self.matched_after && conflict.index < self.match_index {
            mark!(AcknowledgedLost);
            let acknowledged = std::mem::replace(&mut self.match_index, LogIndex::ZERO);
            self.commit_told = LogIndex::ZERO;
            self.probe(conflict.index.max(log.log_start().index).next());
            return Some(acknowledged);
        }
        // Between `last_at_most` and the conflict, all our entries have later terms than any of the peer's, so none
        // can match. Term 0 means that the peer's log ends before the index.
        let candidate = if conflict.term == Term::ZERO {
            conflict.index
        } else {
            log.last_at_most(conflict.term, conflict.index).index.next()
        };
        let lowest = self.match_index.max(log.log_start().index).next();
        let highest = self.next_index.prev().expect("the next index is above the match");
        if highest >= lowest {
            self.probe(candidate.clamp(lowest, highest));
        }
        None
    }

    /// Everything in flight is lost; the next heartbeat probes again.
    pub(super) fn link_lost(&mut self) {
        let next = match self.state {
            State::Probe { .. } => self.next_index,
            State::Replicate(_) => self.match_index.next(),
        };
        self.probe(next);
        self.commit_told = LogIndex::ZERO;
        self.paused = true;
    }

    /// The next message with entries, if the peer may be sent one now.
    pub(super) fn next_append(
        &mut self,
        log: &LogView,
        config: &Config,
        says: LeaderSays,
    ) -> Option<AppendEntries> {
        let room = match &self.state {
            State::Probe { outstanding } => outstanding.is_none(),
            State::Replicate(in_flight) => {
                in_flight.messages.len() < config.max_inflight_messages
                    && in_flight.bytes < config.max_inflight_bytes
            }
        };
        if self.paused || !room || self.next_index > log.last().index {
            return None;
        }
        let entries = log.entries(self.next_index, config.max_append_entries, config.max_append_bytes);
        let message = self.message_at_next(log, entries, says);
        let last = message.prev.index.plus(message.entries.len() as u64);
        match &mut self.state {
            State::Probe { outstanding } => *outstanding = Some(message.request_id),
            State::Replicate(in_flight) => {
                let bytes = message.entries.iter().map(|entry| entry.size_bytes as usize).sum();
                in_flight.sent(InFlightMessage { request_id: message.request_id, last, bytes });
                self.next_index = last.next();
            }
        }
        Some(message)
    }

    /// The message that is due at each heartbeat interval. It also lifts a pause and repeats an unanswered probe.
    pub(super) fn heartbeat_due(
        &mut self,
        log: &LogView,
        config: &Config,
        says: LeaderSays,
    ) -> AppendEntries {
        self.paused = false;
        if let State::Replicate(_) = self.state {
            return self.heartbeat(log, says);
        }
        // An unanswered probe may be waiting for the peer's disk. Probe again without entries: the response to that
        // does not wait for the disk.
        self.next_append(log, config, says).unwrap_or_else(|| {
            let message = self.message_at_next(log, Vec::new(), says);
            self.state = State::Probe { outstanding: Some(message.request_id) };
            message
        })
    }

    /// A heartbeat. It follows the last entry that the peer is known to have, so it requires and commits nothing
    /// else.
    pub(super) fn heartbeat(&mut self, log: &LogView, says: LeaderSays) -> AppendEntries {
        // An entry that this log no longer holds may be gone at the peer too: then follow the origin, as every log
        // does.
        let term = log.term_at(self.match_index);
        let prev = term.map_or(EntryId::ORIGIN, |term| EntryId::new(term, self.match_index));
        self.message(prev, Vec::new(), says)
    }

    /// A heartbeat, if the commit index that the peer may learn has risen and no message in flight will carry it.
    pub(super) fn commit_news(&mut self, log: &LogView, says: LeaderSays) -> Option<AppendEntries> {
        let idle = self.in_flight().0 == 0;
        (idle && says.commit.min(self.match_index) > self.commit_told).then(|| self.heartbeat(log, says))
    }

    fn message_at_next(&mut self, log: &LogView, entries: Vec<EntryMeta>, says: LeaderSays) -> AppendEntries {
        let prev = self.next_index.prev().expect("the next index is above the match");
        let term =
            log.term_at(prev).expect("the next index is past the log start and at most one past the end");
        self.message(EntryId::new(term, prev), entries, says)
    }

    fn message(&mut self, prev: EntryId, entries: Vec<EntryMeta>, says: LeaderSays) -> AppendEntries {
        self.last_request_id += 1;
        let commit = says.commit.min(prev.index.plus(entries.len() as u64));
        self.commit_told = self.commit_told.max(commit);
        AppendEntries {
            term: says.term,
            prev,
            entries,
            commit,
            request_id: self.last_request_id,
            read_round: says.read_round,
            clipped: false,
        }
    }

    fn probe(&mut self, next_index: LogIndex) {
        self.state = State::Probe { outstanding: None };
        self.next_index = next_index;
        self.stale_through = self.last_request_id;
    }
}

impl InFlight {
    fn sent(&mut self, message: InFlightMessage) {
        self.bytes += message.bytes;
        self.messages.push_back(message);
        self.stalled_ticks = 0;
    }

    /// Responses may arrive out of order: each one frees its own request and all requests whose entries it covers.
    fn answered(&mut self, request_id: u64, match_index: LogIndex) {
        let before = self.messages.len();
        self.messages.retain(|message| message.request_id != request_id && message.last > match_index);
        self.bytes = self.messages.iter().map(|message| message.bytes).sum();
        if self.messages.len() < before {
            self.stalled_ticks = 0;
        }
    }
}

#[cfg(test)]
mod tests;
