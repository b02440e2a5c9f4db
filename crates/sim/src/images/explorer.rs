//! Takes the disk of one moment, recovers what crashes may leave of it, and judges the results.

use std::path::Path;

use lograft_mem_os::{MemOs, PowerCut, Recorded};
use lograft_storage::{Log, LogOptions, Recovered};
use lograft_types::{
    ClusterId, Entry, EntryId, EntryKind, HardState, Identity, LogWrite, NodeId, Term, WriteSeq,
};

use super::Counts;
use super::cuts::power_cuts;
use crate::chance::Chance;
use crate::ledger::{Image, Ledger};
use crate::{Violation, ensure};

/// The owner of the logs.
pub(super) const IDENTITY: Identity = Identity { cluster: ClusterId::new(11), node: NodeId::new(2) };
/// No recovery flushes more often than this: it flushes two or three times per file, and the logs are short.
const MOST_FLUSHES: u64 = 40;

/// The directory of the log.
pub(super) fn dir() -> &'static Path {
    Path::new("/images")
}

#[derive(Debug)]
pub(super) struct Explorer {
    pub(super) options: LogOptions,
    pub(super) counts: Counts,
    chance: Chance,
    /// The most disks tried at one moment.
    images_at_a_point: usize,
    /// The share of recoveries that are interrupted, in percent.
    second_crash_percent: u64,
}

/// How a disk came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Power was cut: no data is left unflushed.
    PowerCut,
    /// The process was killed, but the page cache survived.
    Kill,
}

impl Explorer {
    pub(super) fn new(seed: u64, options: LogOptions) -> Self {
        let mut chance = Chance::new(seed, 2);
        let images_at_a_point = chance.pick(&[2, 4, 8, 16, 64]);
        let second_crash_percent = chance.pick(&[5, 15, 40]);
        Self { options, counts: Counts::default(), chance, images_at_a_point, second_crash_percent }
    }

    /// Tries what crashes may leave right after this change.
    pub(super) fn explore_behind(&mut self, change: &Recorded, ledger: &Ledger) -> Result<(), Violation> {
        self.explore(&change.after, ledger).map_err(|violation| at(&format!("after the {change}"), violation))
    }

    /// Tries what crashes may leave of this disk.
    pub(super) fn explore(&mut self, os: &MemOs, ledger: &Ledger) -> Result<(), Violation> {
        self.counts.crash_points += 1;
        for cut in power_cuts(os, self.images_at_a_point, &mut self.chance) {
            self.counts.images += 1;
            self.check(os.cut_power(&cut), ledger, Origin::PowerCut)
                .map_err(|violation| at(&format!("power is cut: {}", os.describe(&cut)), violation))?;
        }
        if self.chance.percent(20) {
            self.counts.kills += 1;
            self.check(os.kill(), ledger, Origin::Kill)
                .map_err(|violation| at("the process is killed", violation))?;
        }
        Ok(())
    }

    /// Recovers a disk, and also what crashes during that recovery leave of it.
    fn check(&mut self, image: MemOs, ledger: &Ledger, origin: Origin) -> Result<(), Violation> {
        let is_cut_short = self.chance.percent(self.second_crash_percent);
        let before = image.kill();
        if is_cut_short {
            image.record();
        }
        let (log, recovered) = self.open(&image)?;
        let found = ledger.judge(&log, &recovered)?;
        let changes = image.take_recorded();
        // Mistakes about a cut tail, or about data that was only in the cache, show later: these cases are
        // followed up more often.
        let is_delicate = recovered.repaired.is_some() || origin == Origin::Kill;
        match self.chance.below(if is_delicate { 2 } else { 4 }) {
            0 => self.finds_it_again(&image, &found)?,
            1 => self.goes_on(log, &recovered, &image, &found)?,
            _ => {}
        }
        // After a kill, some unflushed data is lost only in the second crash.
        let expected = (origin == Origin::PowerCut).then_some(&found);
        for change in &changes {
            self.second_crash(change, ledger, expected)
                .map_err(|violation| at(&format!("recovery is interrupted after its {change}"), violation))?;
        }
        if is_cut_short {
            self.failing_recovery(&before, ledger, expected)?;
        }
        Ok(())
    }

    /// Recovers a disk that an honest device can have left.
    pub(super) fn open(&mut self, os: &MemOs) -> Result<(Log<MemOs>, Recovered), Violation> {
        self.counts.recoveries += 1;
        let (log, recovered) = Log::open(os.clone(), dir(), IDENTITY, self.options)
            .map_err(|error| Violation::new(format!("the log does not open: {error}")))?;
        self.counts.torn += u64::from(recovered.repaired.is_some());
        Ok((log, recovered))
    }

    /// Checks that what recovery reported is durable and in order.
    fn finds_it_again(&mut self, os: &MemOs, found: &Image) -> Result<(), Violation> {
        let after = lose_all(os);
        let (log, recovered) = self.open(&after).map_err(|violation| at("the second time", violation))?;
        let again = Image::of(&log, &recovered)?;
        ensure!(again == *found, "recovered {}, the second time {}", found.in_short(), again.in_short());
        ensure!(
            recovered.repaired.is_none(),
            "the tail that was cut is there again: {:?}",
            recovered.repaired
        );
        Ok(())
    }

    /// Checks that the log accepts writes after what was recovered, and keeps them.
    fn goes_on(
        &mut self,
        mut log: Log<MemOs>,
        recovered: &Recovered,
        os: &MemOs,
        found: &Image,
    ) -> Result<(), Violation> {
        os.set_free_bytes(u64::MAX);
        let mut ledger = Ledger::default();
        ledger.recovered(found.clone());
        let write = self.write_behind(found, recovered.next_write);
        ledger.append(&write);
        let flushed = log.append_write(&write).and_then(|()| log.flush());
        let persisted = flushed.map_err(|error| Violation::new(format!("it refuses new writes: {error}")))?;
        ledger.flushed(persisted);
        let after = lose_all(os);
        let (log, recovered) = self.open(&after).map_err(|violation| at("after more writes", violation))?;
        ledger.judge(&log, &recovered).map_err(|violation| at("after more writes", violation))?;
        ensure!(
            recovered.repaired.is_none(),
            "the tail that was cut is there again: {:?}",
            recovered.repaired
        );
        Ok(())
    }

    /// What a candidate that becomes leader writes.
    fn write_behind(&mut self, found: &Image, seq: WriteSeq) -> LogWrite {
        let term = next_term(found);
        let mut index = found.last_index();
        let mut entries = Vec::new();
        // Often this is enough to roll the log.
        for _ in 0..self.chance.below(6) {
            index = index.next();
            let payload = vec![b'g'; self.chance.index(2000)];
            entries.push(Entry {
                id: EntryId::new(term, index),
                kind: EntryKind::Normal,
                payload: payload.into(),
            });
        }
        LogWrite { seq, hard_state: Some(HardState { term, vote: Some(IDENTITY.node) }), entries }
    }

    /// Cuts the power in the middle of a recovery.
    fn second_crash(
        &mut self,
        change: &Recorded,
        ledger: &Ledger,
        expected: Option<&Image>,
    ) -> Result<(), Violation> {
        for cut in power_cuts(&change.after, 3, &mut self.chance) {
            self.counts.second_crashes += 1;
            let os = change.after.cut_power(&cut);
            self.comes_to(&os, ledger, expected).map_err(|violation| {
                at(&format!("power is cut: {}", change.after.describe(&cut)), violation)
            })?;
        }
        Ok(())
    }

    /// Makes a flush of a recovery fail: that recovery must give up, and the next one must reach the same
    /// result.
    fn failing_recovery(
        &mut self,
        before: &MemOs,
        ledger: &Ledger,
        expected: Option<&Image>,
    ) -> Result<(), Violation> {
        let os = before.kill();
        let fails_after = self.chance.below(MOST_FLUSHES).min(self.chance.below(MOST_FLUSHES));
        os.fail_flush(fails_after, self.chance.seed());
        self.counts.second_crashes += 1;
        self.counts.recoveries += 1;
        let opened = Log::open(os.clone(), dir(), IDENTITY, self.options);
        let failed = !os.heal_flushes();
        ensure!(
            opened.is_err() == failed,
            "flush {fails_after} of a recovery {}, but the recovery ended in {:?}",
            if failed { "failed" } else { "was not reached" },
            opened.err(),
        );
        let after = if self.chance.percent(50) { os.kill() } else { os.crash(self.chance.seed()) };
        self.comes_to(&after, ledger, expected)
            .map_err(|violation| at(&format!("flush {fails_after} of a recovery fails"), violation))
    }

    fn comes_to(&mut self, os: &MemOs, ledger: &Ledger, expected: Option<&Image>) -> Result<(), Violation> {
        let (log, recovered) = self.open(os)?;
        let found = ledger.judge(&log, &recovered)?;
        if let Some(expected) = expected {
            ensure!(
                found == *expected,
                "recovered {}, without the second crash {}",
                found.in_short(),
                expected.in_short()
            );
        }
        Ok(())
    }
}

/// The disk after a power cut that loses everything unflushed.
fn lose_all(os: &MemOs) -> MemOs {
    os.cut_power(&PowerCut::lose_all(&os.unflushed()))
}

/// Adds to a violation where it was found.
fn at(place: &str, violation: Violation) -> Violation {
    Violation::new(format!("{place}: {violation}"))
}

/// A term that nobody has used yet.
pub(super) fn next_term(image: &Image) -> Term {
    image.hard_state.term.max(image.last().term).next()
}
