//! One disturbance of an otherwise healthy cluster, whose result is known exactly.
//!
//! Under random faults a leader may always have lost its majority for a moment, so no check can say who must
//! lead and in which term. Here it can. A minority that is cut off or deaf changes neither the leader nor the
//! term, neither while it lasts nor when it returns (thesis §4.2.3, §9.6). A leader without a majority steps
//! down, and if the others have one, one of them leads. Where nobody has a majority, terms do not rise.

use lograft_raft::RoleName;
use lograft_types::Term;

use super::World;
use super::settle::PATIENCE;
use crate::scenario::ELECTION_US;
use crate::{Violation, ensure};

/// How long a leader may lead without a majority, in election timeouts: one by its own clock, which may run
/// slow.
const STEP_DOWN_TIMEOUTS: u64 = 2;

/// Which links between two groups are cut.
#[derive(Clone, Copy, Debug)]
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
        match self.mischief.below(4) {
            0 => self.pause_a_follower(leader)?,
            1 => self.cut_off_a_minority(leader)?,
            2 if nodes > 2 => self.cut_off_the_leader(leader)?,
            _ => self.cut_into_minorities(leader)?,
        }
        self.network.heal();
        Ok(())
    }

    fn pause_a_follower(&mut self, leader: usize) -> Result<(), Violation> {
        let follower = self.followers_of(leader)[0];
        let ticks = self.mischief.between(1, 60);
        self.note(|| format!("n{} sleeps, and wakes with a burst of {ticks} ticks", follower + 1));
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
        self.nothing_changes(leader, lasts_us)?;
        self.note(|| "the minority returns".to_owned());
        self.network.heal();
        self.nothing_changes(leader, 2 * ELECTION_US)
    }

    fn cut_off_the_leader(&mut self, leader: usize) -> Result<(), Violation> {
        let cut = self.mischief.pick(&[Cut::Both, Cut::Deaf, Cut::Mute]);
        self.cut_off(&[leader], cut);
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
