//! One disturbance of an otherwise healthy cluster, whose result is known exactly.
//!
//! Under random faults a leader may always have lost its majority for a moment, so no check can say who must
//! lead and in which term. Here it can. A minority that is cut off or deaf changes neither the leader nor the
//! term, neither while it lasts nor when it returns (thesis §4.2.3, §9.6). A leader without a majority steps
//! down, and if the others have one, one of them leads. Where nobody has a majority, terms do not rise.

use std::collections::BTreeMap;

use bytes::Bytes;
use lograft_node::{ClientRequest, ClientToken, Consistency, Event, ListRequest, Node};
use lograft_raft::{Raft, Response, RoleName};
use lograft_types::{LogIndex, Term};

use super::faults::{Fall, MUCH};
use super::settle::PATIENCE;
use super::{Machine, PATIENT_MS, World, id_of};
use crate::scenario::ELECTION_US;
use crate::{Violation, ensure};

/// How long a leader may lead without a majority, in election timeouts: one by its own clock, which may run
/// slow.
const STEP_DOWN_TIMEOUTS: u64 = 2;

/// Which links between two groups are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Both,
    /// The first group hears nothing of the second.
    Deaf,
    /// The second group hears nothing of the first.
    Mute,
}

impl World<'_> {
    /// Disturbs a settled cluster.
    pub(super) fn disturb(&mut self) -> Result<(), Violation> {
        let nodes = self.machines.len();
        let Some(leader) = self.newest_leader().filter(|_| nodes > 1) else { return Ok(()) };
        if self.mischief.percent(50) {
            self.break_streams(leader)?;
        }
        match self.mischief.below(6) {
            0 => self.pause_a_follower(leader)?,
            1 => self.cut_off_a_minority(leader)?,
            2 if nodes > 2 => self.cut_off_the_leader(leader)?,
            3 if nodes > 2 => self.fill_a_follower(leader)?,
            4 if nodes > 2 => self.let_a_follower_forget(leader)?,
            _ => self.cut_into_minorities(leader)?,
        }
        self.network.heal();
        Ok(())
    }

    /// The stream from the leader breaks at one follower after another, and comes back each time.
    fn break_streams(&mut self, leader: usize) -> Result<(), Violation> {
        for _ in 0..self.mischief.between(1, 8) {
            let follower = self.followers_of(leader)[0];
            self.note(|| format!("the stream from n{} to n{} breaks", leader + 1, follower + 1));
            self.post(follower, Event::StreamLost { from: id_of(leader) });
            // Long enough for the follower to hear its leader again.
            self.nothing_changes(leader, ELECTION_US / 2)?;
        }
        Ok(())
    }

    /// Patient clients ask every node for everything that there is.
    fn ask_patiently(&mut self) {
        let (key, consistency) = (Bytes::from_static(b"k0"), Consistency::Linearizable);
        let list = ListRequest {
            prefix: Bytes::from_static(b"k"),
            start_after: Bytes::new(),
            limit: 3,
            max_bytes: usize::MAX,
            keys_only: false,
            consistency,
        };
        for at in 0..self.machines.len() {
            if self.machines[at].node.is_none() {
                continue;
            }
            let set = self.clients.set(ClientToken(self.next_number + 1), key.clone(), None, &self.scenario);
            let get = ClientRequest::Get { key: key.clone(), consistency };
            for request in [set, get, ClientRequest::List(list.clone()), ClientRequest::Barrier] {
                let token = ClientToken(self.number());
                self.put_question(at, token, request, PATIENT_MS);
            }
        }
    }

    /// One follower is gone from a bare majority, and the disk of another fills up in the middle of what it is sent.
    /// What a majority has durably, the leader commits.
    fn fill_a_follower(&mut self, leader: usize) -> Result<(), Violation> {
        let followers = self.followers_of(leader);
        let gone = (self.machines.len() - 1) / 2;
        let full = followers[gone];
        self.cut_off(&followers[..gone], Cut::Both);
        self.note(|| format!("the disk of n{} is full", full + 1));
        self.set_full(full, Some(0));
        for _ in 0..3 {
            self.ask_for_much(leader, MUCH / 3);
            self.run_for(ELECTION_US)?;
        }
        let due = self.durable_on_a_majority();
        self.run_for(2 * ELECTION_US)?;
        let leads = self.machines[leader].node.as_ref().map(Node::raft).filter(|raft| raft.is_leader());
        let Some(commit) = leads.map(Raft::commit) else {
            return Err(Violation::new(format!(
                "n{} had a majority all the time, but no longer leads",
                leader + 1
            )));
        };
        ensure!(
            commit >= due,
            "{due} is durable on a majority, but the leader's commit index stays at {commit}"
        );
        self.free_disk(full);
        Ok(())
    }

    /// A follower comes back with its term and vote, and without its entries. All others have them, so nothing is lost;
    /// the leader notices and sends them again.
    fn let_a_follower_forget(&mut self, leader: usize) -> Result<(), Violation> {
        let follower = self.followers_of(leader)[0];
        self.fall(follower, Fall::Kill);
        self.machines[follower].disk.forget_entries()?;
        self.start(follower)?;
        self.nothing_changes(leader, 2 * ELECTION_US)?;
        let status = self.machines[leader].node.as_ref().map(Node::status);
        let members = status.map(|status| status.members).unwrap_or_default();
        let losses =
            members.iter().find(|member| member.id == id_of(follower)).map_or(0, |member| member.losses);
        ensure!(losses > 0, "n{} has lost what it had acknowledged, and nobody noticed", follower + 1);
        Ok(())
    }

    fn pause_a_follower(&mut self, leader: usize) -> Result<(), Violation> {
        let follower = self.followers_of(leader)[0];
        let ticks = self.mischief.between(1, 60);
        self.note(|| format!("n{} sleeps, and wakes with a burst of {ticks} ticks", follower + 1));
        self.ask_patiently();
        let paused_us = ticks * self.machines[follower].tick_us;
        self.machines[follower].paused_until_us = self.now_us + paused_us;
        // With two nodes, the leader loses its majority.
        if self.machines.len() == 2 {
            return self.run_for(paused_us);
        }
        self.nothing_changes(leader, paused_us)?;
        self.tick_often(follower, ticks);
        self.nothing_changes(leader, 2 * ELECTION_US)
    }

    fn cut_off_a_minority(&mut self, leader: usize) -> Result<(), Violation> {
        let largest = (self.machines.len() - 1) / 2;
        let size = self.mischief.between(1, largest.max(1) as u64);
        let minority: Vec<_> =
            self.followers_of(leader).into_iter().take(usize::try_from(size).unwrap_or(1)).collect();
        let cut = self.mischief.pick(&[Cut::Both, Cut::Deaf, Cut::Mute]);
        self.cut_off(&minority, cut);
        let lasts_us = self.mischief.between(2 * ELECTION_US, 6 * ELECTION_US);
        if largest == 0 {
            return self.run_for(lasts_us);
        }
        self.ask_patiently();
        let until_us = self.now_us + lasts_us;
        while self.now_us < until_us {
            self.repeat_grants(&minority);
            self.nothing_changes(leader, ELECTION_US / 3)?;
        }
        self.note(|| "the minority returns".to_owned());
        self.network.heal();
        self.nothing_changes(leader, 2 * ELECTION_US)
    }

    /// The last index up to which the same entries are durable on a majority.
    fn durable_on_a_majority(&self) -> LogIndex {
        let last_of = |machine: &Machine| machine.disk.durable().last_index();
        let last = self.machines.iter().map(last_of).max().unwrap_or_default();
        let is_on_a_majority = |index: &LogIndex| {
            let entries = self.machines.iter().filter_map(|machine| machine.disk.durable().entry(*index));
            let mut copies = BTreeMap::new();
            entries.for_each(|entry| *copies.entry(entry.id).or_insert(0) += 1);
            copies.values().any(|copies| 2 * copies > self.machines.len())
        };
        (1..=last.get()).map(LogIndex::new).rfind(is_on_a_majority).unwrap_or_default()
    }

    /// What these nodes were granted in earlier elections reaches them once more.
    fn repeat_grants(&mut self, nodes: &[usize]) {
        for (to, envelope, response) in self.grants.clone() {
            let term = self.machines[to].node.as_ref().map_or(Term::ZERO, |node| node.raft().term());
            if nodes.contains(&to) && response.term <= term {
                let response = Response::RequestVote(response);
                self.post(to, Event::PeerResponse { envelope, response });
            }
        }
    }

    fn cut_off_the_leader(&mut self, leader: usize) -> Result<(), Violation> {
        let cut = self.mischief.pick(&[Cut::Both, Cut::Deaf, Cut::Mute]);
        self.cut_off(&[leader], cut);
        self.ask_patiently();
        let until_us = self.now_us + PATIENCE * ELECTION_US;
        while self.newest_leader().is_none_or(|newest| newest == leader) {
            ensure!(
                self.now_us < until_us,
                "n{} is cut off ({cut:?}), and nobody leads in its place",
                leader + 1
            );
            self.step()?;
        }
        // Others may still follow the old leader and lose what they forward to it.
        let through = self.newest_leader().expect("a leader was found above");
        self.write_through(through)?;
        self.steps_down(leader)
    }

    /// No group has a majority.
    fn cut_into_minorities(&mut self, leader: usize) -> Result<(), Violation> {
        let nodes = self.machines.len();
        let size = nodes / 2;
        let mut rest = self.followers_of(leader);
        rest.insert(0, leader);
        self.cut_off(&rest[..size], Cut::Both);
        if nodes % 2 == 1 {
            self.cut_off(&rest[nodes - 1..], Cut::Both);
        }
        self.ask_patiently();
        let terms = self.terms();
        self.steps_down(leader)?;
        self.run_for(4 * ELECTION_US)?;
        ensure!(self.terms() == terms, "terms rise although nobody can win: {terms:?} to {:?}", self.terms());
        Ok(())
    }

    fn steps_down(&mut self, leader: usize) -> Result<(), Violation> {
        self.run_for(STEP_DOWN_TIMEOUTS * ELECTION_US)?;
        let role = self.machines[leader].node.as_ref().map(|node| node.raft().role());
        ensure!(role != Some(RoleName::Leader), "n{} still leads without a majority", leader + 1);
        Ok(())
    }

    /// For this long one node leads, and no other node is in another term.
    fn nothing_changes(&mut self, leader: usize, lasts_us: u64) -> Result<(), Violation> {
        let terms = self.terms();
        let until_us = self.now_us + lasts_us;
        while self.now_us < until_us {
            self.step()?;
            let leads = self.machines[leader].node.as_ref().is_some_and(|node| node.raft().is_leader());
            ensure!(leads, "n{} had a majority all the time, but no longer leads", leader + 1);
        }
        ensure!(self.terms() == terms, "a disturbance raised terms: {terms:?} to {:?}", self.terms());
        Ok(())
    }

    fn run_for(&mut self, lasts_us: u64) -> Result<(), Violation> {
        let until_us = self.now_us + lasts_us;
        while self.now_us < until_us {
            self.step()?;
        }
        Ok(())
    }

    /// All nodes but one, in random order.
    fn followers_of(&mut self, leader: usize) -> Vec<usize> {
        let nodes = self.machines.len();
        let first = self.mischief.index(nodes);
        (first..first + nodes).map(|at| at % nodes).filter(|&at| at != leader).collect()
    }

    fn cut_off(&mut self, group: &[usize], cut: Cut) {
        self.note(|| {
            let names: Vec<_> = group.iter().map(|at| format!("n{}", at + 1)).collect();
            format!("{} and the others are cut apart: {cut:?}", names.join(", "))
        });
        for &one in group {
            for other in (0..self.machines.len()).filter(|other| !group.contains(other)) {
                if matches!(cut, Cut::Both | Cut::Mute) {
                    self.network.cut(one, other);
                }
                if matches!(cut, Cut::Both | Cut::Deaf) {
                    self.network.cut(other, one);
                }
            }
        }
    }

    fn terms(&self) -> Vec<Option<Term>> {
        let nodes = self.machines.iter().map(|machine| machine.node.as_ref());
        nodes.map(|node| node.map(|node| node.raft().term())).collect()
    }
}
