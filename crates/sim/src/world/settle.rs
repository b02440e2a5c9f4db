//! The end of a run: the faults stop, and the cluster must get back to work. Then it is disturbed once more,
//! in a way whose result is known; see `disturb`.

use bytes::Bytes;
use lograft_node::{ClientToken, Node};

use super::{Happening, World};
use crate::scenario::ELECTION_US;
use crate::{Violation, ensure};

/// The longest time without any progress, in election timeouts.
pub(super) const PATIENCE: u64 = 30;
/// After this time without progress, a cluster in which no read waits gets more writes.
const WRITE_AFTER_US: u64 = 2 * ELECTION_US;
/// Enough for a follower that catches up by the smallest messages.
const LONGEST_US: u64 = 600 * ELECTION_US;

impl World<'_> {
    /// Ends the faults; waits for a leader, equal states and idleness; writes once more; waits again.
    pub(super) fn settle(&mut self) -> Result<(), Violation> {
        self.note(|| "the faults are over".to_owned());
        self.faults_are_on = false;
        self.network.end_faults();
        for at in 0..self.machines.len() {
            if self.machines[at].flush_will_fail || self.machines[at].disk_stops {
                self.fall_after_log_failure(at)?;
            }
            let machine = &mut self.machines[at];
            machine.disk_is_slow = false;
            machine.flush_stall_us = 0;
            machine.flush_planned = false;
            machine.paused_until_us = 0;
            if machine.node.is_none() {
                self.start(at)?;
            } else if !machine.mailbox.is_empty() {
                let life = machine.life;
                self.plan(0, Happening::Turn { at, life });
            }
            self.free_disk(at);
        }
        self.wait_until_settled()?;
        let at = self.timing.index(self.machines.len());
        self.write_through(at)?;
        self.wait_until_settled()?;
        self.disturb()?;
        self.wait_until_settled()
    }

    /// A write through this node succeeds.
    pub(super) fn write_through(&mut self, at: usize) -> Result<(), Violation> {
        let acknowledged = self.clients.acknowledged;
        let token = ClientToken(self.number());
        let request = self.clients.set(token, Bytes::from_static(b"k0"), None, &self.scenario);
        self.put_question(at, token, request, PATIENCE * ELECTION_US / 1000);
        let until_us = self.now_us + PATIENCE * ELECTION_US;
        while self.clients.waits(token) {
            ensure!(self.now_us < until_us, "a write through n{} is not answered", at + 1);
            self.step()?;
        }
        ensure!(self.clients.acknowledged > acknowledged, "a write through n{} was refused", at + 1);
        Ok(())
    }

    pub(super) fn wait_until_settled(&mut self) -> Result<(), Violation> {
        let end_us = self.now_us + LONGEST_US;
        // Requests that will never be answered end with their timeout.
        let patience_us = PATIENCE * ELECTION_US + self.scenario.request_timeout_ms * 1000;
        let mut patient_until_us = self.now_us + patience_us;
        let mut write_at_us = self.now_us + WRITE_AFTER_US;
        let mut before = self.progress();
        while let Some(what) = self.unsettled() {
            if self.progress() != before {
                before = self.progress();
                patient_until_us = self.now_us + patience_us;
                write_at_us = self.now_us + WRITE_AFTER_US;
            }
            if self.now_us >= write_at_us && !self.clients.a_read_waits() {
                write_at_us = self.now_us + WRITE_AFTER_US;
                self.life_goes_on();
            }
            ensure!(self.now_us < patient_until_us.min(end_us), "the cluster does not settle: {what}");
            // Looking at each step would cost more than the run. Heartbeats are in step, so the interval is a
            // number that divides none of their rhythms; otherwise each look would find the same one in
            // flight.
            for _ in 0..23 {
                self.step()?;
            }
        }
        self.check_contents()
    }

    /// Clients write through the leader. A patient write whose entry was lost with its leader learns that once another
    /// entry is committed at its index, and a leader that nobody heard may have had many.
    fn life_goes_on(&mut self) {
        let Some(at) = self.newest_leader() else { return };
        for _ in 0..30 {
            let token = ClientToken(self.number());
            let request = self.clients.set(token, Bytes::from_static(b"unread"), None, &self.scenario);
            self.put_question(at, token, request, PATIENCE * ELECTION_US / 1000);
        }
    }

    /// The sum of what all nodes have reached. A log that replaces another grows anew, so any change counts
    /// as progress.
    fn progress(&self) -> u64 {
        let nodes = self.machines.iter().filter_map(|machine| machine.node.as_ref());
        nodes.map(|node| node.applied().get() + node.raft().persisted_index().get()).sum()
    }

    /// What keeps the cluster from being settled, if anything.
    fn unsettled(&self) -> Option<String> {
        let leader = self.newest_leader().and_then(|at| self.machines[at].node.as_ref());
        let Some(leader) = leader else { return Some("nobody leads".to_owned()) };
        let last = leader.raft().last();
        for (at, machine) in self.machines.iter().enumerate() {
            let Some(node) = machine.node.as_ref() else { return Some(format!("n{} is down", at + 1)) };
            if node.raft().leader() != Some(leader.raft().id()) {
                return Some(format!("n{} does not follow", at + 1));
            }
            if node.applied() != last.index || node.raft().last() != last {
                return Some(format!("n{} has applied {} of {last}", at + 1, node.applied()));
            }
            if machine.append.is_some() || machine.flush_planned || node.status().disk_full {
                return Some(format!("n{}: its disk is busy or full", at + 1));
            }
            if let Some(what) = self.busy(node) {
                return Some(format!("n{}: {what}", at + 1));
            }
        }
        let waits = (self.clients.waiting(), self.forwarded.len(), self.awaited.len(), self.exchanges.len());
        let oldest = self.exchanges.first_key_value();
        (waits != (0, 0, 0, 0))
            .then(|| format!("clients, forwarded, awaited, exchanges: {waits:?}, the oldest {oldest:?}"))
    }

    /// What a node has not finished, if anything.
    fn busy(&self, node: &Node) -> Option<String> {
        let raft = node.raft();
        let in_flight = self.machines.iter().filter_map(|machine| raft.in_flight(machine.identity.node));
        let in_flight = in_flight.fold((0, 0), |sum, (messages, bytes)| (sum.0 + messages, sum.1 + bytes));
        if !node.is_idle() {
            return Some("it is not idle".to_owned());
        }
        let counters =
            (raft.withheld_messages(), raft.pending_writes(), raft.pending_reads(), in_flight.0, in_flight.1);
        (counters != (0, 0, 0, 0, 0))
            .then(|| format!("withheld, writes, reads, messages, bytes: {counters:?}"))
    }

    /// Checks that every node's map is what the committed entries make of it.
    fn check_contents(&self) -> Result<(), Violation> {
        let model = &self.checks.model;
        for (at, machine) in self.machines.iter().enumerate() {
            let Some(node) = machine.node.as_ref() else { continue };
            let store = node.store();
            ensure!(
                store.revision() == model.revision(),
                "n{} is at revision {} of {}",
                at + 1,
                store.revision(),
                model.revision()
            );
            let page = store.list(b"", b"", u32::MAX, usize::MAX, false);
            let differs =
                page.items.iter().find(|item| model.get(&item.key, model.revision()) != Some(&item.stored));
            ensure!(differs.is_none(), "n{} holds the wrong item {differs:?}", at + 1);
            ensure!(
                page.items.len() == model.len(),
                "n{} holds the wrong number of keys: {}",
                at + 1,
                page.items.len()
            );
            ensure!(node.status().refused_messages == 0, "n{} refused a message", at + 1);
        }
        Ok(())
    }
}
