//! A simulated node's disk: the production log on a disk in memory, and beside it an exact record of what it was told.
//!
//! The record ([`Image`]) knows what must have survived, whatever the log believes: promises are checked against it, and
//! after each start what the log recovered must be a prefix of the stream of records that was written, and no shorter
//! than what was flushed.

use std::collections::VecDeque;
use std::path::Path;

use super::chance::Chance;
use super::scenario::Scenario;
use super::{Violation, ensure};
use crate::storage::{Log, LogError, LogOptions, LogReport, MemOs, Os as _, Recovered};
use crate::types::{Entry, EntryId, HardState, Identity, LogIndex, LogWrite, WriteSeq};

/// Where the log is on each disk.
const DIR: &str = "/sim";

/// What a log holds, entry by entry from index 1 on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) hard_state: HardState,
    entries: Vec<Entry>,
}

impl Image {
    pub(super) fn entry(&self, index: LogIndex) -> Option<&Entry> {
        let place = index.get().checked_sub(1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// Whether this entry, or the origin, is there.
    pub(super) fn holds(&self, id: EntryId) -> bool {
        id == EntryId::ORIGIN || self.entry(id.index).is_some_and(|entry| entry.id == id)
    }

    /// The last entry, or the origin.
    pub(super) fn last(&self) -> EntryId {
        self.entries.last().map_or(EntryId::ORIGIN, |entry| entry.id)
    }

    pub(super) fn last_index(&self) -> LogIndex {
        LogIndex::new(self.entries.len() as u64)
    }

    fn put(&mut self, entry: &Entry) {
        let place = usize::try_from(entry.id.index.get() - 1).expect("simulated logs are short");
        self.entries.truncate(place);
        self.entries.push(entry.clone());
    }

    fn write(&mut self, write: &LogWrite) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        for entry in &write.entries {
            self.put(entry);
        }
    }
}

#[derive(Debug)]
pub(super) struct Disk {
    os: MemOs,
    identity: Identity,
    options: LogOptions,
    /// `None` while the node is down.
    log: Option<Log<MemOs>>,
    durable: Image,
    written: Image,
    unflushed: VecDeque<LogWrite>,
    persisted: WriteSeq,
    /// The process was killed, and the page cache lives: all that was written must come back.
    cache_survived: bool,
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
            durable: Image::default(),
            written: Image::default(),
            unflushed: VecDeque::new(),
            persisted: WriteSeq::ZERO,
            cache_survived: false,
        }
    }

    /// What is durable for certain.
    pub(super) fn durable(&self) -> &Image {
        &self.durable
    }

    /// What was written, durable or not.
    pub(super) fn written(&self) -> &Image {
        &self.written
    }

    pub(super) fn log(&self) -> &Log<MemOs> {
        self.log.as_ref().expect("the node is up")
    }

    fn log_mut(&mut self) -> &mut Log<MemOs> {
        self.log.as_mut().expect("the node is up")
    }

    /// Recovers the log; what comes back is checked against what was written.
    pub(super) fn open(&mut self) -> Result<(Recovered, LogReport), Violation> {
        let opened = Log::open(self.os.clone(), Path::new(DIR), self.identity, self.options);
        let (log, recovered) =
            opened.map_err(|error| Violation::new(format!("the log does not open: {error}")))?;
        self.durable = self.recovered_image(&log, &recovered)?;
        if self.cache_survived && self.durable != self.written {
            return Err(Violation::new("a killed process finds less than it had written"));
        }
        self.cache_survived = false;
        self.written = self.durable.clone();
        self.unflushed.clear();
        self.persisted = WriteSeq::ZERO;
        self.log = Some(log);
        self.prepare();
        Ok((recovered, self.report(None)))
    }

    /// The image that was recovered, if it is one that the writes can have left.
    fn recovered_image(&self, log: &Log<MemOs>, recovered: &Recovered) -> Result<Image, Violation> {
        let last = recovered.entries.last().map_or(EntryId::ORIGIN, |entry| entry.id);
        let fits = |image: &Image| {
            image.hard_state == recovered.hard_state
                && image.entries.len() == recovered.entries.len()
                && image.holds(last)
        };
        let mut image = self.durable.clone();
        let mut found = fits(&image);
        for write in &self.unflushed {
            if let Some(hard_state) = write.hard_state.filter(|_| !found) {
                image.hard_state = hard_state;
                found = fits(&image);
            }
            for entry in &write.entries {
                if found {
                    break;
                }
                image.put(entry);
                found = fits(&image);
            }
        }
        if !found {
            return Err(Violation::new(format!(
                "recovered {:?} and {} entries up to {last}; durable were {:?} and {} entries, unflushed {:?}",
                recovered.hard_state,
                recovered.entries.len(),
                self.durable.hard_state,
                self.durable.entries.len(),
                self.unflushed,
            )));
        }
        let entries = match image.entries.last() {
            Some(last) => log.reader().read(LogIndex::new(1), last.id.index, usize::MAX),
            None => Ok(Vec::new()),
        };
        let entries =
            entries.map_err(|error| Violation::new(format!("recovered, but unreadable: {error}")))?;
        if entries != image.entries {
            return Err(Violation::new("the recovered entries are not those that were written"));
        }
        Ok(image)
    }

    pub(super) fn append(&mut self, write: &LogWrite) -> Result<(), LogError> {
        // Also a write that failed in its middle may have left a part of itself.
        self.unflushed.push_back(write.clone());
        self.log_mut().append_write(write)?;
        self.written.write(write);
        Ok(())
    }

    /// Flushes what was appended, and prepares the next segment where one is wanted.
    pub(super) fn flush(&mut self) -> LogReport {
        match self.log_mut().flush() {
            Ok(persisted) => {
                while let Some(write) = self.unflushed.pop_front_if(|write| write.seq <= persisted) {
                    self.durable.write(&write);
                }
                self.persisted = persisted;
                self.prepare();
                self.report(None)
            }
            Err(error) => self.report(Some(error.to_string())),
        }
    }

    /// The node is idle, or stops: the tail is proved.
    pub(super) fn mark(&mut self) -> LogReport {
        match self.log_mut().mark() {
            Ok(()) => self.flush(),
            Err(error) => self.report(Some(error.to_string())),
        }
    }

    fn prepare(&mut self) {
        // A full disk is no error here: the log reports it, and is asked again after the next flush.
        let _ = self.log_mut().prepare_next();
    }

    fn report(&self, failed: Option<String>) -> LogReport {
        let log = self.log();
        let space = log.budget();
        LogReport {
            persisted: self.persisted,
            budget_bytes: space.budget_bytes,
            disk_full: space.disk_full,
            log_size_bytes: log.size_bytes(),
            failed,
        }
    }

    /// Power is cut in the middle of a recovery, after so many changes of the disk.
    pub(super) fn interrupt_recovery(&mut self, changes: u64, seed: u64) {
        self.os.stop_after(changes);
        // Whether it came to its end or not: nobody has heard of it.
        drop(Log::open(self.os.clone(), Path::new(DIR), self.identity, self.options));
        self.power_cut(seed);
    }

    /// A bit flips in a copy of the disk right after a start, when a mark proves all that there is: whoever opens the copy
    /// either hears of it or finds everything.
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
        let last = self.durable.last_index();
        let entries = match last {
            LogIndex::ZERO => Ok(Vec::new()),
            last => log.reader().read(LogIndex::new(1), last, usize::MAX),
        };
        let whole = recovered.hard_state == self.durable.hard_state
            && recovered.entries.len() == self.durable.entries.len()
            && entries.is_ok_and(|entries| entries == self.durable.entries);
        ensure!(
            whole,
            "bit {bit} of {} was flipped, and it cost something in silence: {:?} and {} entries of {:?} and {last}",
            path.display(),
            recovered.hard_state,
            recovered.entries.len(),
            self.durable.hard_state,
        );
        Ok(())
    }

    /// Every operation fails after so many further ones that change the disk.
    pub(super) fn stop_after(&self, operations: u64) {
        self.os.stop_after(operations);
    }

    pub(super) fn power_cut(&mut self, seed: u64) {
        self.log = None;
        self.cache_survived = false;
        self.os = self.os.crash(seed);
    }

    /// The process is gone; the page cache is not.
    ///
    /// After a flush that failed the cache cannot be believed: recovery drops it.
    pub(super) fn kill(&mut self, flush_failed: bool) {
        self.log = None;
        self.cache_survived = !flush_failed;
        self.os = self.os.kill();
    }

    pub(super) fn fail_next_flush(&self) {
        self.os.fail_next_flush();
    }

    pub(super) fn set_full(&self, full: bool) {
        self.os.set_free_bytes(if full { 0 } else { u64::MAX });
    }
}
