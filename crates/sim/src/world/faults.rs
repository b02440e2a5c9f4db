//! What goes wrong, and how nodes come back.

use bytes::Bytes;
use lograft_node::{ClientToken, Event, Node};

use super::{Happening, World, id_of};
use crate::Violation;
use crate::network::{HELD_US, Packet};
use crate::scenario::{ELECTION_TICKS, ELECTION_US, Fault, Scenario, TICK_MS};

/// How many large writes fill the log of a full disk: more than its segments have space for.
pub(super) const MUCH: u64 = 100;

/// How a node goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fall {
    PowerCut,
    Kill,
}

impl World<'_> {
    /// The next fault strikes.
    pub(super) fn fault(&mut self) -> Result<(), Violation> {
        if !self.faults_are_on {
            return Ok(());
        }
        let gap_us = self.mischief.between(1, self.scenario.fault_gap_us);
        self.plan(gap_us, Happening::Fault);
        let fault = self.scenario.faults[self.mischief.index(self.scenario.faults.len())];
        let at = self.mischief.index(self.machines.len());
        self.faults += 1;
        self.faults_by_kind[fault as usize] += 1;
        self.note(|| format!("fault: {fault:?} (n{})", at + 1));
        let up = self.machines[at].node.is_some();
        match fault {
            Fault::PowerCut if up => self.fall(at, Fall::PowerCut),
            Fault::Kill if up => self.fall(at, Fall::Kill),
            Fault::Stop if up => self.stop(at)?,
            Fault::FlushFailure if up => {
                self.machines[at].flush_will_fail = true;
                self.plan_flush(at);
            }
            Fault::PowerCut | Fault::Kill | Fault::Stop | Fault::FlushFailure => {}
            Fault::LeaderPowerCut => {
                if let Some(leader) = self.newest_leader() {
                    self.fall(leader, Fall::PowerCut);
                }
            }
            Fault::Partition => self.partition(),
            Fault::OneWayCut => {
                let to = self.mischief.index(self.machines.len());
                self.network.cut(at, to);
            }
            Fault::Heal => self.network.heal(),
            Fault::LinkReset => self.reset_links(at, 100),
            Fault::Pause => {
                let paused_us = self.mischief.below(4 * ELECTION_US);
                self.machines[at].paused_until_us = self.now_us + paused_us;
                if self.mischief.percent(30) {
                    let (life, ticks) = (self.machines[at].life, paused_us / self.machines[at].tick_us);
                    self.plan(paused_us, Happening::TickBurst { at, life, ticks });
                }
            }
            Fault::SlowPeer => {
                let until_us = self.now_us + self.mischief.below(6 * ELECTION_US);
                self.network.slow_down(at, until_us);
            }
            Fault::DiskStall => {
                self.machines[at].flush_stall_us = self.mischief.between(ELECTION_US, 20 * ELECTION_US);
            }
            Fault::LeaderFreeze => self.freeze_leader(),
            Fault::SlowDisk => {
                self.machines[at].disk_is_slow = true;
                let in_us = self.mischief.below(6 * ELECTION_US);
                self.plan(in_us, Happening::DiskFast { at });
            }
            Fault::FullDisk if up => {
                let free_bytes = self.mischief.below(4 * self.scenario.min_segment_bytes);
                let free_bytes = self.mischief.pick(&[0, free_bytes]);
                self.set_full(at, Some(free_bytes));
                let in_us = self.mischief.below(6 * ELECTION_US);
                self.plan(in_us, Happening::DiskFreed { at });
            }
            Fault::DiskStop if up => {
                let operations = self.mischief.below(12);
                self.machines[at].disk_stops = true;
                self.machines[at].disk.stop_after(operations);
                // An idle node would never use its disk.
                self.plan_flush(at);
                let life = self.machines[at].life;
                let in_us = self.mischief.below(2 * ELECTION_US);
                self.plan(in_us, Happening::PowerCut { at, life });
            }
            Fault::FullDisk | Fault::DiskStop => {}
            Fault::LeaderReturns => self.depose_for_a_while(),
            Fault::FullLeader => self.fill_the_leader(),
            Fault::LateReports => {
                self.machines[at].reports_late_until_us = self.now_us + 4 * ELECTION_US;
            }
        }
        Ok(())
    }

    /// The leader wakes with clients' requests in its mailbox, unaware of its successor.
    fn freeze_leader(&mut self) {
        let Some(leader) = self.newest_leader() else { return };
        let frozen_us = self.mischief.between(ELECTION_US, 4 * ELECTION_US);
        self.machines[leader].paused_until_us = self.now_us + frozen_us;
        // What the others sent before may still reach it: late responses to what it sent before it froze.
        let is_cut = self.mischief.percent(50);
        for other in (0..self.machines.len()).filter(|&other| other != leader) {
            if is_cut {
                self.network.cut(other, leader);
            } else {
                self.network.close(other, leader);
            }
        }
        // Some of them come when it is awake again and has turned to the requests.
        if self.mischief.percent(50) {
            let awake_us = (frozen_us, frozen_us + ELECTION_US / 4);
            self.delay_in_flight(|packet| packet.to == leader, awake_us);
        }
        let heal_us = frozen_us + self.mischief.below(ELECTION_US / 2);
        self.plan(heal_us, Happening::LinksHeal);
    }

    /// Most of these packets, which are in flight, take longer: from now on as long as this.
    fn delay_in_flight(&mut self, concerned: impl Fn(&Packet) -> bool, (low_us, high_us): (u64, u64)) {
        let concerns =
            |happening: &Happening| matches!(happening, Happening::Deliver(packet) if concerned(packet));
        let in_flight: Vec<_> = self.agenda.extract_if(.., |_, happening| concerns(happening)).collect();
        for ((at_us, _), happening) in in_flight {
            let is_late = self.mischief.percent(70);
            let late_us = self.mischief.between(low_us, high_us);
            self.plan(if is_late { late_us } else { at_us - self.now_us }, happening);
        }
    }

    /// The leader is out of touch until another one is elected, and what it sent and was sent meanwhile arrives later.
    /// Then the other one is overthrown.
    fn depose_for_a_while(&mut self) {
        let Some(leader) = self.newest_leader() else { return };
        let held_us = self.mischief.between(ELECTION_US, 3 * ELECTION_US);
        self.network.hold_up(leader, self.now_us + held_us);
        self.delay_in_flight(|packet| packet.from == leader || packet.to == leader, HELD_US);
        let in_us = held_us + self.mischief.between(ELECTION_US / 2, 2 * ELECTION_US);
        self.plan(in_us, Happening::Overthrow { favourite: leader });
    }

    /// Cuts off the leader, and lets the favourite be the first to campaign.
    pub(super) fn overthrow(&mut self, favourite: usize) {
        let Some(leader) = self.newest_leader().filter(|&leader| leader != favourite && self.faults_are_on)
        else {
            return;
        };
        self.note(|| format!("n{} is overthrown in favour of n{}", leader + 1, favourite + 1));
        self.cut_off_for(leader, 3 * ELECTION_US);
        let life = self.machines[favourite].life;
        // By then the others have not heard the leader for an election timeout.
        let in_us = ELECTION_US + self.mischief.below(ELECTION_US / 4);
        self.plan(in_us, Happening::TickBurst { at: favourite, life, ticks: 2 * u64::from(ELECTION_TICKS) });
    }

    fn cut_off_for(&mut self, at: usize, lasts_us: u64) {
        for other in (0..self.machines.len()).filter(|&other| other != at) {
            self.network.cut(at, other);
            self.network.cut(other, at);
        }
        self.plan(lasts_us, Happening::LinksHeal);
    }

    /// The leader's log takes what clients ask of it until it has no credit left. Nobody else hears of that, and the
    /// next leader replaces it while the disk is still full.
    fn fill_the_leader(&mut self) {
        let Some(leader) = self.newest_leader().filter(|&leader| !self.machines[leader].disk_is_full) else {
            return;
        };
        self.set_full(leader, Some(0));
        let cut_off_us = self.mischief.between(ELECTION_US, 3 * ELECTION_US);
        self.cut_off_for(leader, cut_off_us);
        self.ask_for_much(leader, MUCH);
        let freed_us = cut_off_us + self.mischief.between(ELECTION_US, 4 * ELECTION_US);
        self.plan(freed_us, Happening::DiskFreed { at: leader });
    }

    /// Clients ask a node for many large writes at once, of a key that nobody reads.
    pub(super) fn ask_for_much(&mut self, at: usize, writes: u64) {
        let large = Scenario { value_bytes: 3_000, ..self.scenario.clone() };
        for _ in 0..writes {
            let token = ClientToken(self.number());
            let request = self.clients.set(token, Bytes::from_static(b"unread"), None, &large);
            let timeout_ms = self.scenario.request_timeout_ms;
            self.put_question(at, token, request, timeout_ms);
        }
    }

    /// Strikes a node that has just won an election: it is cut off, loses its power soon, or both. Entries of
    /// its term are then in few logs, which is the case that the commitment rules exist for (Raft §5.4.2,
    /// figure 8).
    pub(super) fn ambush(&mut self, at: usize) {
        if !self.faults_are_on || !self.mischief.percent(self.scenario.ambush_percent) {
            return;
        }
        self.faults += 1;
        let (cut_off, power_cut) = (self.mischief.percent(60), self.mischief.percent(80));
        self.note(|| format!("n{} won and is ambushed: cut off {cut_off}, power cut {power_cut}", at + 1));
        // Those that did not vote for it may still wait for the flush of what an earlier leader sent.
        let term = self.machines[at].node.as_ref().map(|node| node.raft().term());
        for machine in &mut self.machines {
            if machine.node.as_ref().map(|node| node.raft().term()) < term && self.mischief.percent(50) {
                machine.reports_late_until_us = self.now_us + 3 * ELECTION_US;
            }
        }
        if cut_off {
            for other in (0..self.machines.len()).filter(|&other| other != at) {
                if self.mischief.percent(70) {
                    self.network.cut(at, other);
                }
            }
            let in_us = self.mischief.below(2 * ELECTION_US);
            self.plan(in_us, Happening::LinksHeal);
        }
        if power_cut {
            let life = self.machines[at].life;
            let in_us = self.mischief.below(3 * (self.scenario.message_us + self.scenario.flush_us));
            self.plan(in_us, Happening::PowerCut { at, life });
        }
    }

    /// The leader of the highest term.
    pub(super) fn newest_leader(&self) -> Option<usize> {
        let leaders = self.machines.iter().enumerate().filter_map(|(at, machine)| {
            let raft = machine.node.as_ref()?.raft();
            raft.is_leader().then(|| (raft.term(), at))
        });
        leaders.max().map(|(_, at)| at)
    }

    /// Two groups do not hear each other; sometimes only one way.
    fn partition(&mut self) {
        self.network.heal();
        let nodes = self.machines.len();
        let side: Vec<bool> = (0..nodes).map(|_| self.mischief.percent(50)).collect();
        let one_way = self.mischief.percent(25);
        for from in 0..nodes {
            for to in 0..nodes {
                if side[from] != side[to] && (side[from] || !one_way) {
                    self.network.cut(from, to);
                }
            }
        }
    }

    /// Breaks the links between a node and others; both ends notice. What is in flight is lost or arrives
    /// late.
    fn reset_links(&mut self, at: usize, percent: u64) {
        for other in 0..self.machines.len() {
            if other == at || !self.mischief.percent(percent) {
                continue;
            }
            if self.mischief.percent(50) {
                self.lose_in_flight(at, other);
            }
            for (near, far) in [(at, other), (other, at)] {
                self.notice(near, Event::LinkLost { to: id_of(far) });
                self.notice(near, Event::StreamLost { from: id_of(far) });
            }
        }
    }

    fn lose_in_flight(&mut self, one: usize, other: usize) {
        let is_lost = |happening: &Happening| {
            matches!(happening, Happening::Deliver(packet)
                if (packet.from, packet.to) == (one, other) || (packet.from, packet.to) == (other, one))
        };
        let lost: Vec<_> = self.agenda.extract_if(.., |_, happening| is_lost(happening)).collect();
        for (_, happening) in lost {
            if let Happening::Deliver(packet) = happening
                && let Some(asker) = packet.asker()
            {
                self.lose_forward(asker);
            }
        }
    }

    /// Asks the process to stop: every request is answered, and the log is flushed and ends in a sync marker.
    fn stop(&mut self, at: usize) -> Result<(), Violation> {
        let machine = &mut self.machines[at];
        let last = machine.node.as_mut().map(Node::shut_down).unwrap_or_default();
        for (token, result) in last.client_responses {
            self.respond_to_client(at, token, &result)?;
        }
        for (token, result) in last.forward_responses {
            self.respond_to_forward(at, token, result)?;
        }
        if !self.append(at)? {
            return Ok(());
        }
        let failed = self.machines[at].disk.write_sync_marker().failed;
        let machine = &self.machines[at];
        let may_fail = machine.disk_is_full || machine.flush_will_fail || machine.disk_stops;
        if let Some(why) = failed.filter(|_| !may_fail) {
            return Err(Violation::new(format!("n{} cannot write a sync marker: {why}", at + 1)));
        }
        self.fall(at, Fall::Kill);
        Ok(())
    }

    /// The log failed, and the process ends, with or without a power cut.
    pub(super) fn fall_after_log_failure(&mut self, at: usize) -> Result<(), Violation> {
        let fall = if self.machines[at].disk_stops {
            Fall::PowerCut
        } else {
            self.mischief.pick(&[Fall::PowerCut, Fall::Kill])
        };
        self.fall(at, fall);
        Ok(())
    }

    pub(super) fn power_cut(&mut self, at: usize) {
        if self.faults_are_on {
            self.fall(at, Fall::PowerCut);
        }
    }

    pub(super) fn fall(&mut self, at: usize, fall: Fall) {
        self.note(|| format!("n{} falls: {fall:?}", at + 1));
        let seed = self.mischief.seed();
        self.falls += 1;
        self.set_full(at, None);
        let machine = &mut self.machines[at];
        machine.node = None;
        machine.life += 1;
        machine.mailbox.clear();
        machine.turn_planned = false;
        machine.append = None;
        machine.flush_planned = false;
        machine.paused_until_us = 0;
        machine.report_at_us = 0;
        machine.reports_late_until_us = 0;
        machine.flush_stall_us = 0;
        let flush_failed = std::mem::take(&mut machine.flush_will_fail);
        let disk_stopped = std::mem::take(&mut machine.disk_stops);
        match fall {
            _ if disk_stopped => machine.disk.power_cut(seed),
            Fall::PowerCut => machine.disk.power_cut(seed),
            Fall::Kill => machine.disk.kill(flush_failed),
        }
        self.exchanges.retain(|_, exchange| exchange.at != at);
        self.awaited.retain(|asker| asker.node != at);
        self.clients.forget(at);
        let stranded: Vec<_> = self.forwarded.extract_if(.., |_, (asked, _)| *asked == at).collect();
        for (_, (_, asker)) in stranded {
            self.lose_forward(asker);
        }
        for other in (0..self.machines.len()).filter(|&other| other != at) {
            if self.mischief.percent(70) {
                self.notice(other, Event::LinkLost { to: id_of(at) });
                self.notice(other, Event::StreamLost { from: id_of(at) });
            }
        }
        let in_us = self.mischief.between(0, self.scenario.downtime_us);
        self.plan(in_us, Happening::Restart { at });
    }

    /// Starts a node with what its disk recovers.
    pub(super) fn start(&mut self, at: usize) -> Result<(), Violation> {
        if self.machines[at].node.is_some() {
            return Ok(());
        }
        if self.faults_are_on && self.mischief.percent(15) {
            let (changes, seed) = (self.mischief.below(12), self.mischief.seed());
            self.note(|| {
                format!("n{} starts, and loses its power after {changes} changes of the disk", at + 1)
            });
            self.machines[at].disk.interrupt_recovery(changes, seed);
            self.recoveries += 1;
        }
        self.recoveries += 1;
        let opened = self.machines[at].disk.open();
        let (recovered, report) =
            opened.map_err(|violation| Violation::new(format!("n{}: {violation}", at + 1)))?;
        if self.mischief.percent(self.scenario.bit_flip_percent) && !report.disk_full {
            let seed = self.mischief.seed();
            self.flips += 1;
            self.machines[at].disk.check_bit_flip(seed)?;
        }
        let last = recovered.entries.last().map(|entry| entry.id);
        self.note(|| format!("n{} starts with {:?}, last {last:?}", at + 1, recovered.hard_state));
        let config = self.config(at);
        let machine = &mut self.machines[at];
        machine.node = Some(Node::new(config, &recovered, &report));
        let life = machine.life;
        self.checks.born(at);
        let tick_us = TICK_MS * 1000;
        let to_next_us = tick_us - self.now_us % tick_us;
        let in_us = match self.scenario.clock_spread_us {
            0 => to_next_us,
            spread_us => self.timing.below(spread_us),
        };
        self.plan(in_us, Happening::Tick { at, life });
        Ok(())
    }

    /// Limits the space on a disk; `None`: unlimited.
    pub(super) fn set_full(&mut self, at: usize, free_bytes: Option<u64>) {
        self.machines[at].disk_is_full = free_bytes.is_some();
        self.machines[at].disk.set_free_bytes(free_bytes.unwrap_or(u64::MAX));
    }

    /// The disk has space again; the log learns of it with its next flush.
    pub(super) fn free_disk(&mut self, at: usize) {
        self.set_full(at, None);
        if self.machines[at].node.is_some() {
            self.plan_flush(at);
        }
    }
}
