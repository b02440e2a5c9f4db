//! The order of events: an agenda of what happens when, and what each event does.
//!
//! An event for a node goes into its mailbox; a little later the node takes a turn with all of them, as the
//! actor does. The agenda is ordered by time and then by when the event was planned, so a seed has exactly
//! one history.

mod carry;
mod deliver;
mod disturb;
mod faults;
mod settle;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::chance::Chance;
use super::checks::{Checks, Named};
use super::clients::Clients;
use super::disk::Disk;
use super::network::{Asker, Network, Packet};
use super::scenario::{ELECTION_TICKS, ELECTION_US, Fault, Scenario, TICK_MS};
use super::trace::Trace;
use super::{Summary, Violation, ensure};
use lograft_node::Limits;
use lograft_node::{
    ClientRequest, ClientToken, Envelope, Event, ForwardFailure, ForwardToken, HaltReason, Load, Node,
    NodeConfig, RoleName,
};
use lograft_raft as raft;
use lograft_raft::{AppendEntries, ReplyTo, RequestVoteResponse};
use lograft_storage::LogReport;
use lograft_types::{ClusterId, EntryId, Identity, Member, NodeId, Term, mark};

/// The timeout of a patient client: longer than any run.
const PATIENT_MS: u64 = 3_600_000;

/// A planned event. If it belongs to one life of a node, it is void in the next.
#[derive(Clone, Debug)]
enum Happening {
    Tick {
        at: usize,
        life: u64,
    },
    Turn {
        at: usize,
        life: u64,
    },
    /// A log appends what its node has handed in.
    Append {
        at: usize,
        life: u64,
    },
    Flush {
        at: usize,
        life: u64,
    },
    /// A node learns that a flush has ended.
    Report {
        at: usize,
        life: u64,
        report: LogReport,
        /// The last entry that the flush covered.
        last: EntryId,
    },
    Load {
        at: usize,
        life: u64,
        load: Load,
    },
    /// Entries for a peer are read from the log and sent.
    Depart {
        at: usize,
        life: u64,
        to: usize,
        request: AppendEntries,
    },
    Deliver(Packet),
    /// An asker learns that its forwarded request was lost.
    ForwardLost(Asker),
    /// A stopped node is given all the ticks that it missed.
    TickBurst {
        at: usize,
        life: u64,
        ticks: u64,
    },
    /// A node learns that a link broke.
    Notice {
        at: usize,
        life: u64,
        event: Event,
    },
    PowerCut {
        at: usize,
        life: u64,
    },
    LinksHeal,
    /// Whoever leads is cut off, unless it is this node, which is to lead again.
    Overthrow {
        favourite: usize,
    },
    Ask,
    Fault,
    DiskFreed {
        at: usize,
    },
    DiskFast {
        at: usize,
    },
    Restart {
        at: usize,
    },
}

/// When a log appends what its node has handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Append {
    /// An event is planned.
    Planned,
    /// The log is busy with a flush.
    AfterFlush,
}

/// A node's machine, which outlives the node's lives.
#[derive(Debug)]
struct Machine {
    identity: Identity,
    disk: Disk,
    /// Goes up by one with each start.
    life: u64,
    /// `None` while the node is down.
    node: Option<Node>,
    mailbox: Vec<Event>,
    turn_planned: bool,
    /// When the log appends what waits.
    append: Option<Append>,
    flush_planned: bool,
    paused_until_us: u64,
    disk_is_slow: bool,
    disk_is_full: bool,
    flush_will_fail: bool,
    /// The additional duration of the next flush.
    flush_stall_us: u64,
    /// Its disk stops after some more operations, and then the power is cut.
    disk_stops: bool,
    /// The tick of its clock.
    tick_us: u64,
    /// When it learns of the last flush that ended.
    report_at_us: u64,
    /// Until then it learns late of such flushes.
    reports_late_until_us: u64,
}

/// A peer's request that a node must answer.
#[derive(Debug)]
struct Exchange {
    at: usize,
    asker: usize,
    /// `None` for a vote request.
    named: Option<Named>,
}

#[derive(Debug)]
pub(super) struct World<'t> {
    scenario: Scenario,
    trace: &'t mut Trace,
    now_us: u64,
    agenda: BTreeMap<(u64, u64), Happening>,
    machines: Vec<Machine>,
    network: Network,
    clients: Clients,
    checks: Checks,
    /// Decides when things happen.
    timing: Chance,
    /// Decides what goes wrong.
    mischief: Chance,
    exchanges: BTreeMap<ReplyTo, Exchange>,
    /// Who requested a vote from whom, in which term.
    votes_asked: BTreeSet<(usize, NodeId, Term)>,
    /// The last votes and pre-votes that were granted, and to whom.
    grants: VecDeque<(usize, Envelope, RequestVoteResponse)>,
    /// Forwarded requests at the node that received them.
    forwarded: BTreeMap<ForwardToken, (usize, Asker)>,
    /// Forwarded requests at the node that sent them.
    awaited: BTreeSet<Asker>,
    next_number: u64,
    faults_are_on: bool,
    faults: u64,
    faults_by_kind: [u64; Fault::ALL.len()],
    delivered: u64,
    events: u64,
    falls: u64,
    recoveries: u64,
    flips: u64,
}

impl<'t> World<'t> {
    pub(super) fn new(scenario: Scenario, trace: &'t mut Trace) -> Result<Self, Violation> {
        let cluster = ClusterId::new(7);
        let mut clocks = Chance::new(scenario.seed, 6);
        let tick_us = TICK_MS * 1000;
        let drift_us = tick_us * scenario.clock_drift_percent.min(50) / 100;
        let machines = (0..scenario.nodes).map(|at| {
            let identity = Identity { cluster, node: id_of(at) };
            Machine {
                identity,
                disk: Disk::new(identity, &scenario),
                life: 0,
                node: None,
                mailbox: Vec::new(),
                turn_planned: false,
                append: None,
                flush_planned: false,
                paused_until_us: 0,
                disk_is_slow: false,
                disk_is_full: false,
                flush_will_fail: false,
                flush_stall_us: 0,
                disk_stops: false,
                tick_us: clocks.between(tick_us - drift_us, tick_us + drift_us),
                report_at_us: 0,
                reports_late_until_us: 0,
            }
        });
        let mut world = Self {
            machines: machines.collect(),
            trace,
            now_us: 0,
            agenda: BTreeMap::new(),
            network: Network::new(scenario.seed),
            clients: Clients::new(&scenario),
            checks: Checks::new(&scenario),
            timing: Chance::new(scenario.seed, 4),
            mischief: Chance::new(scenario.seed, 5),
            exchanges: BTreeMap::new(),
            votes_asked: BTreeSet::new(),
            grants: VecDeque::new(),
            forwarded: BTreeMap::new(),
            awaited: BTreeSet::new(),
            next_number: 0,
            faults_are_on: true,
            faults: 0,
            faults_by_kind: [0; Fault::ALL.len()],
            delivered: 0,
            events: 0,
            falls: 0,
            recoveries: 0,
            flips: 0,
            scenario,
        };
        for at in 0..world.machines.len() {
            world.start(at)?;
        }
        world.plan(ELECTION_US, Happening::Ask);
        if !world.scenario.faults.is_empty() {
            world.plan(ELECTION_US, Happening::Fault);
        }
        Ok(world)
    }

    /// Plays the whole scenario.
    pub(super) fn play(mut self) -> Result<Summary, Violation> {
        while self.now_us < self.scenario.duration_us {
            self.step()?;
        }
        self.settle()?;
        let unsearched = self.clients.history.check()?;
        Ok(Summary {
            unsearched,
            committed: self.checks.committed(),
            terms_led: self.checks.terms_led(),
            answers: self.clients.answers,
            acknowledged: self.clients.acknowledged,
            faults: self.faults,
            faults_by_kind: self.faults_by_kind,
            marks: lograft_types::marks::take(),
            delivered: self.delivered,
            events: self.events,
            falls: self.falls,
            recoveries: self.recoveries,
            flips: self.flips,
        })
    }

    fn plan(&mut self, in_us: u64, happening: Happening) {
        self.next_number += 1;
        self.agenda.insert((self.now_us + in_us, self.next_number), happening);
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        self.trace.note(self.now_us, line);
    }

    /// Lets the next event happen.
    fn step(&mut self) -> Result<(), Violation> {
        let ((at_us, number), happening) = self.agenda.pop_first().expect("time never ends");
        self.now_us = at_us;
        self.trace.next_step();
        self.trace.mix(&[at_us, number]);
        match happening {
            Happening::Tick { at, life } if self.lives(at, life) => self.tick(at),
            Happening::Turn { at, life } if self.lives(at, life) => self.turn(at)?,
            Happening::Append { at, life } if self.lives(at, life) => {
                self.append(at)?;
            }
            Happening::Flush { at, life } if self.lives(at, life) => self.flush(at)?,
            Happening::Report { at, life, report, last } if self.lives(at, life) => {
                if !self.machines[at].disk.handed_in().holds(last) {
                    mark!(LateFlush);
                }
                self.post(at, Event::Log(report));
            }
            Happening::Load { at, life, load } if self.lives(at, life) => {
                let read = self.machines[at].disk.log().reader().read(load.first, load.last, load.max_bytes);
                self.note(|| format!("n{} loads {}..={}", at + 1, load.first, load.last));
                self.post(at, Event::Loaded { entries: read.map_err(|error| error.to_string()) });
            }
            Happening::Depart { at, life, to, request } if self.lives(at, life) => {
                self.depart(at, to, &request);
            }
            Happening::Notice { at, life, event } if self.lives(at, life) => self.post(at, event),
            Happening::TickBurst { at, life, ticks } if self.lives(at, life) && self.faults_are_on => {
                self.tick_often(at, ticks);
            }
            Happening::PowerCut { at, life } if self.lives(at, life) => self.power_cut(at),
            // The event belonged to a life that is over.
            Happening::Tick { .. }
            | Happening::Turn { .. }
            | Happening::Append { .. }
            | Happening::Flush { .. }
            | Happening::Report { .. }
            | Happening::Load { .. }
            | Happening::Depart { .. }
            | Happening::PowerCut { .. }
            | Happening::TickBurst { .. }
            | Happening::Notice { .. } => {}
            Happening::Deliver(packet) => self.deliver(packet),
            Happening::ForwardLost(asker) => {
                let reason = "the link broke".to_owned();
                self.forward_done(asker, Err(ForwardFailure::Lost { reason }));
            }
            // Links that are cut after the faults are over belong to the final disturbance.
            Happening::LinksHeal if self.faults_are_on => self.network.heal(),
            Happening::LinksHeal => {}
            Happening::Overthrow { favourite } => self.overthrow(favourite),
            Happening::Ask => self.ask(),
            Happening::Fault => self.fault()?,
            Happening::DiskFreed { at } => self.free_disk(at),
            Happening::DiskFast { at } => self.machines[at].disk_is_slow = false,
            Happening::Restart { at } => self.start(at)?,
        }
        Ok(())
    }

    fn lives(&self, at: usize, life: u64) -> bool {
        self.machines[at].life == life && self.machines[at].node.is_some()
    }

    fn tick(&mut self, at: usize) {
        let life = self.machines[at].life;
        // No two clocks run alike and none runs evenly, unless the scenario keeps them all in step.
        let uneven_us = self.timing.below(self.scenario.clock_spread_us.min(200));
        let in_us = self.machines[at].tick_us + uneven_us;
        self.plan(in_us, Happening::Tick { at, life });
        // Ticks that the node has not seen yet count as one, as in the actor.
        if !self.machines[at].mailbox.iter().any(|event| matches!(event, Event::Tick)) {
            self.post(at, Event::Tick);
        }
    }

    /// Gives a node the ticks that it missed, one by one.
    fn tick_often(&mut self, at: usize, ticks: u64) {
        for _ in 0..ticks {
            self.post(at, Event::Tick);
        }
    }

    /// Puts an event into a node's mailbox; the node will take a turn.
    fn post(&mut self, at: usize, event: Event) {
        let machine = &mut self.machines[at];
        machine.mailbox.push(event);
        self.plan_turn(at);
    }

    /// The node takes a turn soon.
    fn plan_turn(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        if !machine.turn_planned {
            machine.turn_planned = true;
            let (life, paused_us) = (machine.life, machine.paused_until_us.saturating_sub(self.now_us));
            let delay_us = self.timing.between(0, self.scenario.turn_us);
            self.plan(delay_us.max(paused_us), Happening::Turn { at, life });
        }
    }

    fn turn(&mut self, at: usize) -> Result<(), Violation> {
        let machine = &mut self.machines[at];
        let paused_us = machine.paused_until_us.saturating_sub(self.now_us);
        if paused_us > 0 {
            let life = machine.life;
            self.plan(paused_us, Happening::Turn { at, life });
            return Ok(());
        }
        machine.turn_planned = false;
        let events = std::mem::take(&mut machine.mailbox);
        self.events += events.len() as u64;
        self.trace.note(self.now_us, || format!("n{} takes {}", at + 1, show_events(&events)));
        let node = machine.node.as_mut().expect("only a living node takes a turn");
        let term_before = node.raft().term();
        let mut effects = node.turn(events);
        match effects.halt.take() {
            // A turn that halts carries out no effects, as in the actor.
            Some(HaltReason::LogFailed(why)) => {
                self.note(|| format!("n{} halts: {why}", at + 1));
                return self.fall_after_log_failure(at);
            }
            // A disk that has stopped cannot be read either.
            Some(HaltReason::UnreadableLog { .. }) if self.machines[at].disk_stops => {
                return self.fall_after_log_failure(at);
            }
            Some(halt) => return Err(Violation::new(format!("n{} halts: {halt}", at + 1))),
            None => {}
        }
        let carried = self.carry_out(at, term_before, effects);
        carried.map_err(|violation| Violation::new(format!("n{}: {violation}", at + 1)))
    }

    /// A flush ends: everything appended so far is durable.
    fn flush(&mut self, at: usize) -> Result<(), Violation> {
        let proves_tail = self.timing.percent(15);
        let machine = &mut self.machines[at];
        machine.flush_planned = false;
        if machine.flush_will_fail {
            machine.disk.fail_next_flush();
        }
        let report = if proves_tail { machine.disk.write_sync_marker() } else { machine.disk.flush() };
        let failed = report.failed.is_some();
        ensure!(
            !failed || machine.flush_will_fail || machine.disk_is_full || machine.disk_stops,
            "n{}: the log failed: {report:?}",
            at + 1
        );
        self.note(|| {
            let LogReport { persisted, credit_bytes, disk_full, .. } = &report;
            format!(
                "n{} flushed write {persisted}, credit {credit_bytes}, full {disk_full}, failed {failed}",
                at + 1
            )
        });
        // Nothing is appended to a failed log: the node learns of the failure now.
        if failed {
            self.post(at, Event::Log(report));
            self.machines[at].paused_until_us = 0;
            return self.turn(at);
        }
        self.report_later(at, report);
        if self.machines[at].append == Some(Append::AfterFlush) {
            self.append(at)?;
        }
        Ok(())
    }

    /// The log thread reports to the node, which may have handed in more meanwhile. Reports stay in order.
    fn report_later(&mut self, at: usize, report: LogReport) {
        let longest_us = if self.faults_are_on { self.scenario.report_us } else { 0 };
        let is_late = self.faults_are_on && self.now_us < self.machines[at].reports_late_until_us;
        let late_us = if is_late { 2 * ELECTION_US } else { 0 };
        let in_us = self.timing.below(longest_us + late_us + 1);
        let machine = &mut self.machines[at];
        machine.report_at_us = machine.report_at_us.max(self.now_us + in_us);
        let (in_us, life) = (machine.report_at_us - self.now_us, machine.life);
        let last = machine.disk.durable().last();
        self.plan(in_us, Happening::Report { at, life, report, last });
    }

    /// Clients send requests.
    fn ask(&mut self) {
        if !self.faults_are_on {
            return;
        }
        let burst = self.clients.chance().between(1, self.scenario.request_burst);
        for _ in 0..burst {
            let at = self.clients.chance().index(self.machines.len());
            let token = ClientToken(self.number());
            // Some clients are patient: nothing but an answer ends their wait.
            let is_patient = self.clients.chance().percent(20);
            let timeout_ms = self.clients.chance().between(10, self.scenario.request_timeout_ms);
            let timeout_ms = if is_patient { PATIENT_MS } else { timeout_ms };
            let request = self.clients.draw(token, &self.checks.model, &self.scenario);
            if self.machines[at].node.is_some() {
                self.put_question(at, token, request, timeout_ms);
            }
        }
        let gap_us = self.clients.chance().between(1, self.scenario.request_gap_us);
        self.plan(gap_us, Happening::Ask);
    }

    /// A client asks a node.
    fn put_question(&mut self, at: usize, token: ClientToken, request: ClientRequest, timeout_ms: u64) {
        self.note(|| format!("client {} asks n{}: {request:?}", token.0, at + 1));
        self.clients.ask(token, at, request.clone());
        self.post(at, Event::Client { token, request, timeout_ms });
    }

    fn config(&mut self, at: usize) -> NodeConfig {
        let scenario = &self.scenario;
        let members = (0..scenario.nodes).map(|at| Member {
            id: id_of(at),
            name: format!("n{}", at + 1),
            peer_urls: Vec::new(),
        });
        let raft = raft::Config {
            election_timeout_ticks: ELECTION_TICKS,
            heartbeat_ticks: 2,
            max_append_bytes: scenario.max_append_bytes,
            max_append_entries: scenario.max_append_entries,
            max_inflight_messages: scenario.max_inflight_messages,
            max_inflight_bytes: scenario.max_inflight_bytes,
            ..raft::Config::new(id_of(at))
        };
        NodeConfig {
            identity: self.machines[at].identity,
            name: format!("n{}", at + 1),
            client_urls: Vec::new(),
            members: members.collect(),
            limits: Limits {
                entry_cache_bytes: scenario.entry_cache_bytes,
                max_turn_bytes: scenario.max_append_bytes,
                ..Limits::default()
            },
            raft,
            tick_ms: TICK_MS,
            seed: self.timing.seed(),
        }
    }
}

fn id_of(at: usize) -> NodeId {
    NodeId::new(at as u64 + 1)
}

fn place_of(id: NodeId) -> usize {
    usize::try_from(id.get() - 1).expect("simulated clusters are small")
}

fn show_events(events: &[Event]) -> String {
    let shown = events.iter().map(|event| match event {
        Event::Tick => "tick".to_owned(),
        Event::Log(report) => format!("persisted {}", report.persisted),
        Event::PeerRequest { envelope, request, .. } => format!("n{} asks {request:?}", envelope.from.get()),
        Event::PeerResponse { envelope, response } => format!("n{} says {response:?}", envelope.from.get()),
        Event::Client { token, .. } => format!("client {}", token.0),
        other => format!("{other:?}"),
    });
    shown.collect::<Vec<_>>().join("; ")
}

/// A role as a number, for the trace.
fn role_number(role: RoleName) -> u64 {
    match role {
        RoleName::Follower => 0,
        RoleName::PreCandidate => 1,
        RoleName::Candidate => 2,
        RoleName::Leader => 3,
    }
}
