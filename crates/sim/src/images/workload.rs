//! What a node does to its log for a while: drawn from a seed, played on the production log, explored after
//! each change.

use lograft_mem_os::MemOs;
use lograft_os::Os as _;
use lograft_storage::{Log, LogError, LogOptions, record_size_bytes};
use lograft_types::{Entry, EntryId, EntryKind, HardState, LogIndex, LogWrite, NodeId, Term, WriteSeq};

use super::Counts;
use super::explorer::{Explorer, dir, next_term};
use crate::chance::Chance;
use crate::ledger::{Image, Ledger};
use crate::{Violation, ensure};

/// The number of replaced suffixes that are remembered, so that they can come back.
const MOST_BRANCHES: usize = 4;
/// The largest payload: an entry must fit into the smallest segment beside the reserve.
const MOST_PAYLOAD_BYTES: u64 = 3_000;

#[derive(Debug)]
pub(super) struct Workload {
    chance: Chance,
    explorer: Explorer,
    os: MemOs,
    /// `None` before the first start, and between an end and the next start.
    log: Option<Log<MemOs>>,
    ledger: Ledger,
    /// The last write.
    seq: WriteSeq,
    /// Where the last write into a segment ended.
    tail: u64,
    /// A flush was made to fail since the last start.
    flush_fails: bool,
    branches: Vec<Branch>,
    steps: Vec<String>,
}

/// Entries that another leader's entries replaced, and the entry that preceded them.
#[derive(Clone, Debug)]
struct Branch {
    behind: EntryId,
    entries: Vec<Entry>,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stop,
    Kill,
    PowerCut,
}

impl Workload {
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 1);
        let min_segment_bytes = chance.pick(&[8, 8, 16]) << 10;
        let max_segment_bytes = min_segment_bytes.max(chance.pick(&[8, 16, 32]) << 10);
        let options = LogOptions { min_segment_bytes, max_segment_bytes, reserve_bytes: 512 };
        Self {
            chance,
            explorer: Explorer::new(seed, options),
            os: MemOs::new(),
            log: None,
            ledger: Ledger::default(),
            seq: WriteSeq::ZERO,
            tail: 0,
            flush_fails: false,
            branches: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// What was tried, and what was done to the log.
    pub(super) fn into_account(self) -> (Counts, Vec<String>) {
        let steps = self.steps.len() as u64;
        (Counts { workloads: 1, steps, ..self.explorer.counts }, self.steps)
    }

    pub(super) fn play(&mut self) -> Result<(), Violation> {
        self.os.record();
        self.start(false)?;
        for _ in 0..self.chance.between(5, 45) {
            self.step()?;
        }
        self.end(End::PowerCut)
    }

    fn step(&mut self) -> Result<(), Violation> {
        match self.chance.below(100) {
            0..44 => {
                let write = self.next_write();
                self.write(&write)?;
            }
            44..46 => {
                let write = self.all_that_fits();
                self.write(&write)?;
            }
            46..70 => self.flush("flush", Log::flush)?,
            70..76 => self.flush("mark", |log| log.write_sync_marker().and_then(|()| log.flush()))?,
            76..84 => self.prepare()?,
            84..86 => self.reset()?,
            86..89 => self.change_room(),
            89..91 => self.arrange_failure(),
            91..93 => self.end(End::Stop)?,
            93..96 => self.end(End::Kill)?,
            _ => self.end(End::PowerCut)?,
        }
        Ok(())
    }

    fn log(&mut self) -> &mut Log<MemOs> {
        self.log.as_mut().expect("a log is open between steps")
    }

    fn note(&mut self, step: impl Into<String>) {
        self.steps.push(step.into());
    }

    /// Explores every change since the last look. All but the last must keep the promises of `before`; the
    /// last must keep the present ones.
    fn explore(&mut self, before: &Ledger, promised_more: bool) -> Result<(), Violation> {
        let mut changes = self.os.take_recorded();
        let last = changes.pop();
        for change in &changes {
            self.follow_tail(change.written().map(|(_, places)| places.end));
            self.explorer.explore_behind(change, before)?;
        }
        match &last {
            Some(change) => {
                self.follow_tail(change.written().map(|(_, places)| places.end));
                self.explorer.explore_behind(change, &self.ledger)
            }
            // The disk did not change, so it must already keep the new promise.
            None if promised_more => self.explorer.explore(&self.os, &self.ledger),
            None => Ok(()),
        }
    }

    fn follow_tail(&mut self, written_up_to: Option<u64>) {
        self.tail = written_up_to.unwrap_or(self.tail);
    }

    /// Opens the log.
    fn start(&mut self, is_killed: bool) -> Result<(), Violation> {
        self.note("open");
        self.explorer.counts.restarts += 1;
        let (mut log, recovered) = self.explorer.open(&self.os)?;
        let found = self.ledger.judge(&log, &recovered)?;
        if is_killed && !self.flush_fails {
            let written = self.ledger.written();
            ensure!(found == *written, "after a kill {} of {}", found.in_short(), written.in_short());
        }
        let before = self.ledger.clone();
        self.ledger.recovered(found);
        self.flush_fails = false;
        self.seq = log.written();
        // Production prepares the next segment at once; the workload only sometimes does.
        if self.chance.percent(50) {
            let _ = log.prepare_next();
        }
        self.log = Some(log);
        self.explore(&before, true)
    }

    /// Ends the process in one way or another, and starts it again.
    fn end(&mut self, end: End) -> Result<(), Violation> {
        if end == End::Stop && !self.flush_fails {
            self.flush("mark", |log| log.write_sync_marker().and_then(|()| log.flush()))?;
        }
        self.log = None;
        self.os = match end {
            End::Stop | End::Kill => self.os.kill(),
            End::PowerCut => self.os.crash(self.chance.seed()),
        };
        self.os.record();
        self.note(format!("{end:?}"));
        self.start(end != End::PowerCut)
    }

    fn write(&mut self, write: &LogWrite) -> Result<(), Violation> {
        self.note(describe(write));
        self.remember_branch(write);
        self.ledger.append(write);
        let credit = self.log().credit().credit_bytes;
        let is_command = |entry: &&Entry| entry.kind == EntryKind::Normal;
        let commands = write.entries.iter().filter(is_command);
        let bytes: u64 = commands.map(|entry| record_size_bytes(entry.payload.len())).sum();
        // While there is any credit, the reserve is whole: writes other than commands fit too.
        let is_promised = credit > 0 && bytes <= credit;
        let appended = self.log().append_write(write);
        let ledger = self.ledger.clone();
        match appended {
            Ok(()) => {
                self.seq = write.seq;
                self.explore(&ledger, false)?;
                self.check_readable()
            }
            Err(LogError::NoRoom { .. }) => {
                self.note("no credit");
                ensure!(!is_promised, "{bytes} bytes of commands were refused, but {credit} were promised");
                let written_before = self.os.take_recorded();
                let touched = written_before.iter().find(|change| change.written().is_some());
                ensure!(
                    touched.is_none(),
                    "a refused write has written something: {}",
                    touched.expect("some")
                );
                self.ledger.withdraw();
                Ok(())
            }
            Err(error) => self.closed(&error),
        }
    }

    fn reset(&mut self) -> Result<(), Violation> {
        let last = self.ledger.written().last();
        let log_start = EntryId::new(last.term.max(Term::new(1)), last.index.plus(self.chance.below(20)));
        if log_start.index == LogIndex::ZERO {
            return Ok(());
        }
        self.note(format!("reset to {log_start}"));
        self.branches.clear();
        self.ledger.reset(self.seq, log_start);
        let ledger = self.ledger.clone();
        match self.log().reset(log_start) {
            Ok(()) => self.explore(&ledger, false),
            Err(LogError::NoRoom { .. }) => {
                self.ledger.withdraw();
                Ok(())
            }
            Err(error) => self.closed(&error),
        }
    }

    fn flush(
        &mut self,
        what: &str,
        flush: impl FnOnce(&mut Log<MemOs>) -> Result<WriteSeq, LogError>,
    ) -> Result<(), Violation> {
        self.note(what);
        let before = self.ledger.clone();
        let flushed = flush(self.log());
        match flushed {
            Ok(persisted) => {
                self.ledger.flushed(persisted);
                ensure!(
                    self.ledger.is_durable(),
                    "flushed up to {persisted}, but written up to {}",
                    self.seq
                );
                self.explore(&before, true)
            }
            Err(error) => self.closed(&error),
        }
    }

    /// The log has failed, which is allowed only after a failed flush. The process ends.
    fn closed(&mut self, error: &LogError) -> Result<(), Violation> {
        ensure!(self.flush_fails, "the log fails: {error}");
        self.note(format!("closed: {error}"));
        let ledger = self.ledger.clone();
        self.explore(&ledger, false)?;
        let poisoned = self.log().flush();
        ensure!(matches!(poisoned, Err(LogError::Poisoned(_))), "the closed log reports {poisoned:?}");
        let end = self.chance.pick(&[End::Kill, End::PowerCut]);
        self.end(end)
    }

    fn prepare(&mut self) -> Result<(), Violation> {
        self.note("prepare");
        // A full disk is no failure here.
        let _ = self.log().prepare_next();
        let ledger = self.ledger.clone();
        self.explore(&ledger, false)
    }

    fn change_room(&mut self) {
        let free = self.chance.pick(&[0, 0, 20 << 10, u64::MAX]);
        self.note(format!("{free} bytes of space"));
        self.os.set_free_bytes(free);
    }

    fn arrange_failure(&mut self) {
        let (after, survivors) = (self.chance.below(3), self.chance.seed() & self.chance.seed());
        self.note(format!("flush {after} from now fails"));
        self.flush_fails = true;
        self.os.fail_flush(after, survivors);
    }

    /// The reader returns what was written, durable or not.
    fn check_readable(&mut self) -> Result<(), Violation> {
        let written = self.ledger.written().clone();
        let Some(first) = written.entries().first() else { return Ok(()) };
        let read = self.log().reader().read(first.id.index, written.last_index(), usize::MAX);
        let read = read.map_err(|error| Violation::new(format!("not readable: {error}")))?;
        ensure!(read == written.entries(), "the entries read are not those written");
        Ok(())
    }

    /// One command that takes all the credit the log reports, and a vote with it.
    fn all_that_fits(&mut self) -> LogWrite {
        let image = self.ledger.written().clone();
        let hard_state = self.another_term(&image);
        let id = EntryId::new(hard_state.term, image.last_index().next());
        let length = self.log().credit().credit_bytes.saturating_sub(record_size_bytes(0));
        let payload = vec![b'f'; usize::try_from(length).expect("segments are small")];
        let entry = Entry { id, kind: EntryKind::Normal, payload: payload.into() };
        LogWrite { seq: self.seq.next(), hard_state: Some(hard_state), entries: vec![entry] }
    }

    fn next_write(&mut self) -> LogWrite {
        let image = self.ledger.written().clone();
        let (hard_state, entries) = match self.chance.below(100) {
            0..60 => self.more_entries(&image),
            60..75 => self.another_leader(&image),
            75..85 => self.old_branch(&image),
            _ => (Some(self.another_term(&image)), Vec::new()),
        };
        LogWrite { seq: self.seq.next(), hard_state, entries }
    }

    /// The current leader appends more entries.
    fn more_entries(&mut self, image: &Image) -> (Option<HardState>, Vec<Entry>) {
        let term = image.hard_state.term.max(image.last().term).max(Term::new(1));
        let vote = Some(NodeId::new(self.chance.between(1, 3)));
        let hard_state = (term > image.hard_state.term || self.chance.percent(10))
            .then_some(HardState { term, vote: image.hard_state.vote.or(vote) });
        let entries = self.entries_behind(image.last().index, term);
        (hard_state, entries)
    }

    /// Another leader replaces a suffix.
    fn another_leader(&mut self, image: &Image) -> (Option<HardState>, Vec<Entry>) {
        let hard_state = self.another_term(image);
        let length = image.entries().len() as u64;
        let back = if self.chance.percent(20) {
            self.chance.below(length + 1)
        } else {
            self.chance.below(length.min(6) + 1)
        };
        let behind = LogIndex::new(image.last_index().get() - back);
        let entries = self.entries_behind(behind, hard_state.term);
        (Some(hard_state), entries)
    }

    /// A leader brings back entries that another one had replaced.
    fn old_branch(&mut self, image: &Image) -> (Option<HardState>, Vec<Entry>) {
        let fitting = self.branches.iter().position(|branch| image.holds(branch.behind));
        let Some(branch) = fitting.map(|place| self.branches.swap_remove(place)) else {
            return self.more_entries(image);
        };
        let hard_state = self.another_term(image);
        let mut entries = branch.entries;
        entries.truncate(1 + self.chance.index(entries.len()));
        let last = entries.last().expect("a branch has entries").id.index;
        entries.extend(self.entries_behind(last, hard_state.term));
        (Some(hard_state), entries)
    }

    fn another_term(&mut self, image: &Image) -> HardState {
        let vote = self.chance.between(0, 3);
        let term = if self.chance.percent(80) { next_term(image) } else { next_term(image).next() };
        HardState { term, vote: (vote > 0).then_some(NodeId::new(vote)) }
    }

    fn remember_branch(&mut self, write: &LogWrite) {
        let Some(first) = write.entries.first() else { return };
        let written = self.ledger.written();
        let replaced: Vec<Entry> =
            written.entries().iter().filter(|entry| entry.id.index >= first.id.index).cloned().collect();
        let behind = first.id.index.prev().filter(|before| *before > written.log_start().index);
        let behind =
            behind.and_then(|before| written.entry(before)).map_or(written.log_start(), |entry| entry.id);
        if !replaced.is_empty() {
            self.branches.push(Branch { behind, entries: replaced });
        }
        if self.branches.len() > MOST_BRANCHES {
            self.branches.remove(0);
        }
    }

    fn entries_behind(&mut self, last: LogIndex, term: Term) -> Vec<Entry> {
        let count = self.chance.pick(&[1, 1, 1, 2, 3, 6]);
        let mut tail = self.tail;
        (1..=count)
            .map(|place| {
                let kind = self.chance.pick(&[
                    EntryKind::NoOp,
                    EntryKind::Normal,
                    EntryKind::Normal,
                    EntryKind::Normal,
                ]);
                let payload = if kind == EntryKind::NoOp { Vec::new() } else { self.payload(tail) };
                tail += record_size_bytes(payload.len());
                Entry { id: EntryId::new(term, last.plus(place)), kind, payload: payload.into() }
            })
            .collect()
    }

    /// A payload for a record that is expected to start at `tail`.
    fn payload(&mut self, tail: u64) -> Vec<u8> {
        let most = self.chance.pick(&[16, 100, 100, 400, 900, MOST_PAYLOAD_BYTES]);
        let mut length = self.chance.below(most + 1);
        if self.chance.percent(25) {
            // The record ends with a sector, so that the next one can survive without it.
            let end = (tail + record_size_bytes(0) + length).next_multiple_of(512);
            length = end - tail - record_size_bytes(0);
        }
        let mut payload = vec![0; usize::try_from(length).expect("payloads are short")];
        match self.chance.below(4) {
            // Zeros look like a lost payload.
            0 => {}
            // Inside a payload, the bytes of real records must not count as records.
            1 => self.copy_records(&mut payload),
            _ => payload.fill(u8::try_from(self.chance.between(1, 255)).expect("it is a byte")),
        }
        payload
    }

    fn copy_records(&mut self, payload: &mut [u8]) {
        let names = self.os.list(dir()).unwrap_or_default();
        let segments: Vec<_> = names.iter().filter(|name| name.ends_with(".log")).collect();
        let name = segments[self.chance.index(segments.len())];
        let bytes = self.os.contents(&dir().join(name)).unwrap_or_default();
        let from = 4096 + 8 * self.chance.index(64);
        for (target, source) in payload.iter_mut().zip(bytes.iter().skip(from)) {
            *target = *source;
        }
    }
}

fn describe(write: &LogWrite) -> String {
    let mut text = format!("write {}", write.seq);
    if let Some(HardState { term, vote }) = write.hard_state {
        text += &format!(", term {term}, vote {}", vote.map_or(0, NodeId::get));
    }
    for entry in &write.entries {
        text += &format!(", {} ({} bytes)", entry.id, entry.payload.len());
    }
    text
}
