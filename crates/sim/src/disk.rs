//! A simulated node's disk: the production log on a disk in memory, with an exact record of what it was told.
//!
//! The record ([`Ledger`]) knows what must have survived, whatever the log believes. Promises are checked
//! against it. After each start, the recovered log must be a prefix of the stream of records written, and no
//! shorter than what was flushed.
//!
//! A node hands its writes in, and the log appends them later, as the log thread does. Until then they are in
//! no file, and no reader sees them.

use std::collections::VecDeque;
use std::path::Path;

use lograft_mem_os::MemOs;
use lograft_os::Os as _;
use lograft_storage::{Log, LogError, LogOptions, LogReport, Recovered};
use lograft_types::{EntryId, Identity, LogWrite, WriteSeq};

use super::chance::Chance;
use super::ledger::{Image, Ledger};
use super::scenario::Scenario;
use super::{Violation, ensure};

/// The directory of the log on each disk.
const DIR: &str = "/sim";

#[derive(Debug)]
pub(super) struct Disk {
    os: MemOs,
    identity: Identity,
    options: LogOptions,
    /// `None` while the node is down.
    log: Option<Log<MemOs>>,
    ledger: Ledger,
    /// What the node has handed in and the log has not appended yet.
    waiting: VecDeque<LogWrite>,
    /// What the log will hold once it has appended that.
    handed_in: Image,
    persisted: WriteSeq,
    /// The process was killed, but the page cache survived: everything written must come back.
    cache_survived: bool,
    /// The last write went into a new segment.
    has_rolled: bool,
}

impl Disk {
    pub(super) fn new(identity: Identity, scenario: &Scenario) -> Self {
        let options = LogOptions {
            min_segment_bytes: scenario.min_segment_bytes,
            max_segment_bytes: scenario.max_segment_bytes.max(scenario.min_segment_bytes),
            reserve_bytes: 4 << 10,
        };
        Self {
            os: MemOs::new(),
            identity,
            options,
            log: None,
            ledger: Ledger::default(),
            waiting: VecDeque::new(),
            handed_in: Image::default(),
            persisted: WriteSeq::ZERO,
            cache_survived: false,
            has_rolled: false,
        }
    }

    /// What is certainly durable.
    pub(super) fn durable(&self) -> &Image {
        self.ledger.durable()
    }

    /// What the log has appended, durable or not: what its readers see.
    pub(super) fn written(&self) -> &Image {
        self.ledger.written()
    }

    /// What the node has handed in, appended or not.
    pub(super) fn handed_in(&self) -> &Image {
        &self.handed_in
    }

    /// The node hands a write in.
    pub(super) fn hand_in(&mut self, write: LogWrite) {
        self.handed_in.take_write(&write);
        self.waiting.push_back(write);
    }

    /// The log is about to append this.
    pub(super) fn next_waiting(&mut self) -> Option<LogWrite> {
        self.waiting.pop_front()
    }

    pub(super) fn log(&self) -> &Log<MemOs> {
        self.log.as_ref().expect("the node is up")
    }

    fn log_mut(&mut self) -> &mut Log<MemOs> {
        self.log.as_mut().expect("the node is up")
    }

    /// Recovers the log and checks the result against what was written.
    pub(super) fn open(&mut self) -> Result<(Recovered, LogReport), Violation> {
        let opened = Log::open(self.os.clone(), Path::new(DIR), self.identity, self.options);
        let (log, recovered) =
            opened.map_err(|error| Violation::new(format!("the log does not open: {error}")))?;
        let found = self.ledger.judge(&log, &recovered)?;
        if self.cache_survived && found != *self.ledger.written() {
            return Err(Violation::new("the log of a killed process has lost part of what was written"));
        }
        self.cache_survived = false;
        self.handed_in = found.clone();
        self.ledger.recovered(found);
        self.persisted = WriteSeq::ZERO;
        self.log = Some(log);
        self.prepare();
        Ok((recovered, self.report(None)))
    }

    pub(super) fn append(&mut self, write: &LogWrite) -> Result<(), LogError> {
        // A write that fails halfway may leave a part of itself, too.
        self.ledger.append(write);
        let flushes = self.os.counts().flushes;
        let appended = self.log_mut().append_write(write);
        // An append flushes only a segment that has ended.
        self.has_rolled = self.os.counts().flushes > flushes;
        if matches!(appended, Err(LogError::NoRoom { .. } | LogError::OutOfOrder(_))) {
            self.ledger.withdraw();
        }
        appended
    }

    /// Whether the last write went into a new segment.
    pub(super) fn has_rolled(&self) -> bool {
        self.has_rolled
    }

    /// Flushes what was appended, and prepares the next segment if one is wanted.
    pub(super) fn flush(&mut self) -> LogReport {
        match self.log_mut().flush() {
            Ok(persisted) => {
                self.ledger.flushed(persisted);
                self.persisted = persisted;
                self.prepare();
                self.report(None)
            }
            Err(error) => self.report(Some(error.to_string())),
        }
    }

    /// An entry waits that takes this many bytes. The next flush prepares a segment for it.
    pub(super) fn want_credit(&mut self, bytes: u64) {
        self.log_mut().want_credit(bytes);
    }

    /// The node is idle or stops: writes a sync marker that proves the tail.
    pub(super) fn write_sync_marker(&mut self) -> LogReport {
        match self.log_mut().write_sync_marker() {
            Ok(()) => self.flush(),
            Err(error) => self.report(Some(error.to_string())),
        }
    }

    fn prepare(&mut self) {
        // A full disk is no error here: the log reports it, and prepares again after the next flush.
        let _ = self.log_mut().prepare_next();
    }

    fn report(&self, failed: Option<String>) -> LogReport {
        let log = self.log();
        let space = log.credit();
        LogReport {
            persisted: self.persisted,
            credit_bytes: space.credit_bytes,
            disk_full: space.disk_full,
            denials: space.denials,
            log_size_bytes: log.size_bytes(),
            failed,
        }
    }

    /// Cuts the power in the middle of a recovery, after `changes` changes of the disk.
    pub(super) fn interrupt_recovery(&mut self, changes: u64, seed: u64) {
        self.os.stop_after(changes);
        // Whether it completed or not, nobody has seen the result.
        drop(Log::open(self.os.clone(), Path::new(DIR), self.identity, self.options));
        self.power_cut(seed);
    }

    /// Flips a bit in a copy of the disk right after a start, when a sync marker proves everything. Opening
    /// the copy must either report the damage or recover everything.
    pub(super) fn check_bit_flip(&self, seed: u64) -> Result<(), Violation> {
        let mut chance = Chance::new(seed, 7);
        let dir = Path::new(DIR);
        let names = self.os.list(dir).unwrap_or_default();
        let segments: Vec<_> = names.iter().filter(|name| name.ends_with(".log")).collect();
        let path = dir.join(segments[chance.index(segments.len())]);
        let bytes = self.os.contents(&path).unwrap_or_default();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
        let within = if chance.percent(90) { used } else { bytes.len() };
        let bit = chance.below(8 * within as u64);
        let copy = self.os.kill();
        copy.flip_bit(&path, bit);
        let Ok((log, recovered)) = Log::open(copy, dir, self.identity, self.options) else { return Ok(()) };
        let durable = self.ledger.durable();
        let whole = Image::of(&log, &recovered).is_ok_and(|found| found == *durable);
        ensure!(
            whole,
            "bit {bit} of {} was flipped, which silently lost data: {:?} and {} entries of {}",
            path.display(),
            recovered.hard_state,
            recovered.entries.len(),
            durable.in_short(),
        );
        Ok(())
    }

    /// Every operation that changes the disk fails after `operations` more.
    pub(super) fn stop_after(&self, operations: u64) {
        self.os.stop_after(operations);
    }

    pub(super) fn power_cut(&mut self, seed: u64) {
        self.log = None;
        self.waiting.clear();
        self.cache_survived = false;
        self.os = self.os.crash(seed);
    }

    /// The process is gone, but the page cache is not.
    ///
    /// After a failed flush the cache cannot be trusted, so recovery drops it.
    pub(super) fn kill(&mut self, flush_failed: bool) {
        self.log = None;
        self.waiting.clear();
        self.cache_survived = !flush_failed;
        self.os = self.os.kill();
    }

    pub(super) fn fail_next_flush(&self) {
        self.os.fail_next_flush();
    }

    /// The node is down. The disk goes back to a log without entries, and keeps the term and the vote.
    pub(super) fn forget_entries(&mut self) -> Result<(), Violation> {
        self.open()?;
        let log = self.log_mut();
        let forgotten = log.reset(EntryId::ORIGIN).and_then(|()| log.write_sync_marker());
        forgotten.map_err(|error| Violation::new(format!("the entries cannot be dropped: {error}")))?;
        self.ledger.recovered(self.ledger.durable().without_entries());
        self.log = None;
        Ok(())
    }

    /// Sets the free space of the disk.
    pub(super) fn set_free_bytes(&self, bytes: u64) {
        self.os.set_free_bytes(bytes);
    }
}
