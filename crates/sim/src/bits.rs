//! Bit flips: every bit of a log at rest, one at a time, and how recovery deals with each.
//!
//! A log of several segments is written: entries, terms and votes, replaced suffixes, sync markers. The last
//! write is flushed, but no record after it proves that. Then each bit of each file is flipped alone,
//! including those of headers, unused space and the prepared segment. Production recovery must
//!
//! - refuse to start, and name the place of the damage or that of the last whole record before it; or
//! - recover everything, if nothing reads the bit; or
//! - cut the log from there on, if the bit is in the part that nothing proves.
//!
//! It must never panic, and never silently lose or change anything proved durable. `docs/FORMAT.md` defines
//! that.

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use lograft_mem_os::{MemOs, Recorded};
use lograft_os::Os as _;
use lograft_storage::{Log, LogError, LogOptions, record_size_bytes};
use lograft_types::{
    ClusterId, Entry, EntryId, EntryKind, HardState, Identity, LogIndex, LogWrite, NodeId, WriteSeq,
};

use super::chance::Chance;
use super::jobs::in_order;
use super::ledger::{Image, Ledger};
use super::{Violation, again, attempt_to, ensure};

const DIR: &str = "/bits";
const IDENTITY: Identity = Identity { cluster: ClusterId::new(3), node: NodeId::new(1) };
/// Small segments, so that every log has several. Larger logs get larger segments, or most of the bits would
/// belong to the headers' pages.
const SMALL: LogOptions =
    LogOptions { min_segment_bytes: 8 << 10, max_segment_bytes: 8 << 10, reserve_bytes: 512 };
const LARGE: LogOptions = LogOptions { max_segment_bytes: 32 << 10, ..SMALL };
/// Logs of at least this many KiB of records use [`LARGE`].
const LARGE_FROM_KIB: u64 = 16;
/// The bits in one unit of work.
const BITS_AT_ONCE: u64 = 4_096;

/// The outcomes of the flips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flips {
    /// The files.
    pub files: u64,
    /// The bits that were flipped.
    pub bits: u64,
    /// The flips after which recovery refused to start.
    pub detected: u64,
    /// The flips after which everything was recovered.
    pub harmless: u64,
    /// The flips after which a tail that nothing proves was cut.
    pub cut: u64,
}

/// A bit whose flip was not handled as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    what: String,
    seed: u64,
    kib: u64,
    bit: u64,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, seed, kib, bit } = self;
        writeln!(f, "bit {bit}: {what}")?;
        let again = again::command(&format!("flips --kib {kib} --seed {seed} --bit {bit}"));
        write!(f, "play it again: {again}")
    }
}

impl Flips {
    fn add(&mut self, other: Self) {
        self.bits += other.bits;
        self.detected += other.detected;
        self.harmless += other.harmless;
        self.cut += other.cut;
    }
}

/// Flips every bit of a log with at least `kib` KiB of records, in `jobs` threads.
///
/// # Errors
/// The first bit whose flip was not handled as it must be.
pub fn run(seed: u64, kib: u64, jobs: usize) -> Result<Flips, Failure> {
    let log = Sample::write(seed, kib);
    let bits = log.bits();
    let mut flips = Flips { files: log.files.len() as u64, ..Flips::default() };
    let mut failure = None;
    in_order(
        jobs,
        |place| log.flip_all(place * BITS_AT_ONCE..bits.min((place + 1) * BITS_AT_ONCE)),
        |_, outcome| {
            match outcome {
                Ok(more) => flips.add(more),
                Err((bit, what)) => failure = Some(Failure { what, seed, kib, bit }),
            }
            if failure.is_some() || flips.bits >= bits {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        },
    );
    failure.map_or(Ok(flips), Err)
}

/// Flips one bit, numbered across all files in order.
///
/// # Errors
/// The flip was not handled as it must be.
pub fn flip(seed: u64, kib: u64, bit: u64) -> Result<Flips, Failure> {
    let log = Sample::write(seed, kib);
    let flips = log.flip_all(bit..bit.saturating_add(1).min(log.bits()));
    flips.map_err(|(bit, what)| Failure { what, seed, kib, bit })
}

/// The outcome of one flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Detected,
    Harmless,
    Cut,
}

/// A log at rest.
#[derive(Debug)]
struct Sample {
    os: MemOs,
    options: LogOptions,
    files: Vec<File>,
    /// What a record proves is durable here; the rest is not.
    ledger: Ledger,
    /// The file that holds the unproved part, and its range.
    unproved: (PathBuf, Range<u64>),
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Its first bit, numbered across all files.
    first_bit: u64,
    bits: u64,
}

impl Sample {
    /// Writes the log.
    fn write(seed: u64, kib: u64) -> Self {
        let os = MemOs::new();
        let options = if kib < LARGE_FROM_KIB { SMALL } else { LARGE };
        let mut writer = Writer::new(seed, &os, options);
        let mut bytes = 0;
        while bytes < kib << 10 {
            bytes += writer.step();
        }
        writer.prove();
        os.record();
        let write = writer.next_write();
        writer.ledger.append(&write);
        writer.log.append_write(&write).expect("the log has credit");
        writer.log.flush().expect("the disk works");
        let written: Vec<_> = os.take_recorded().iter().filter_map(Recorded::written).collect();
        let (name, first) = written.first().expect("something was written");
        let last = written.last().map_or(0, |(_, places)| places.end);
        let unproved = (Path::new(DIR).join(name), first.start..last);
        let mut files = Vec::new();
        let mut first_bit = 0;
        for name in os.list(Path::new(DIR)).expect("the directory can be listed") {
            let path = Path::new(DIR).join(name);
            let bits = 8 * os.contents(&path).expect("the file exists").len() as u64;
            files.push(File { path, first_bit, bits });
            first_bit += bits;
        }
        Self { os: os.kill(), options, files, ledger: writer.ledger, unproved }
    }

    fn bits(&self) -> u64 {
        self.files.iter().map(|file| file.bits).sum()
    }

    /// The outcomes of these bits, or the first that was handled wrongly.
    fn flip_all(&self, bits: Range<u64>) -> Result<Flips, (u64, String)> {
        let mut flips = Flips::default();
        for bit in bits {
            let fate = attempt_to(|| self.flip(bit)).map_err(|what| (bit, what))?;
            flips.bits += 1;
            match fate {
                Fate::Detected => flips.detected += 1,
                Fate::Harmless => flips.harmless += 1,
                Fate::Cut => flips.cut += 1,
            }
        }
        Ok(flips)
    }

    fn flip(&self, bit: u64) -> Result<Fate, Violation> {
        let holds = |file: &&File| bit - file.first_bit < file.bits;
        let file =
            self.files.iter().rev().find(|file| file.first_bit <= bit).filter(holds).expect("a file has it");
        let bit = bit - file.first_bit;
        let place = format!("bit {} of byte {} of {}", bit % 8, bit / 8, file.path.display());
        let os = self.os.kill();
        os.flip_bit(&file.path, bit);
        let fate = self.fate(&os, file, bit / 8);
        fate.map_err(|violation| Violation::new(format!("{place}: {violation}")))
    }

    fn fate(&self, os: &MemOs, file: &File, byte: u64) -> Result<Fate, Violation> {
        let (log, recovered) = match Log::open(os.clone(), Path::new(DIR), IDENTITY, self.options) {
            Ok(opened) => opened,
            Err(LogError::Corrupt { file: named, offset, .. }) => {
                let before = self.files.iter().rfind(|other| other.path < file.path).map(|other| &other.path);
                let is_near = (named == file.path && offset <= byte) || Some(&named) == before;
                ensure!(
                    is_near,
                    "damage reported at the wrong place: offset {offset} of {}",
                    named.display()
                );
                return Ok(Fate::Detected);
            }
            Err(error) => return Err(Violation::new(format!("refused, but not as damage: {error}"))),
        };
        let found = self.ledger.judge(&log, &recovered)?;
        if found == *self.ledger.written() {
            return Ok(Fate::Harmless);
        }
        let (unproved_file, places) = &self.unproved;
        ensure!(
            file.path == *unproved_file && places.contains(&byte),
            "cut although it is proved durable: {} of {}",
            found.in_short(),
            self.ledger.written().in_short(),
        );
        ensure!(recovered.repaired.is_some(), "a tail was cut, but recovery does not report it");
        Ok(Fate::Cut)
    }
}

/// Writes the log that is damaged later.
struct Writer {
    chance: Chance,
    log: Log<MemOs>,
    ledger: Ledger,
    seq: WriteSeq,
}

impl Writer {
    fn new(seed: u64, os: &MemOs, options: LogOptions) -> Self {
        let opened = Log::open(os.clone(), Path::new(DIR), IDENTITY, options);
        let (log, _) = opened.expect("an empty directory opens");
        Self { chance: Chance::new(seed, 3), log, ledger: Ledger::default(), seq: WriteSeq::ZERO }
    }

    /// Writes something and may flush it. Returns the bytes of records written.
    fn step(&mut self) -> u64 {
        let write = self.next_write();
        self.ledger.append(&write);
        self.log.append_write(&write).expect("the log has credit");
        match self.chance.below(10) {
            0..7 => drop(self.log.flush().expect("the disk works")),
            7 => self.log.write_sync_marker().expect("the disk works"),
            _ => {}
        }
        self.log.prepare_next().expect("the disk has space");
        let entries = write.entries.iter().map(|entry| record_size_bytes(entry.payload.len())).sum::<u64>();
        entries + write.hard_state.map_or(0, |_| record_size_bytes(8))
    }

    /// Flushes everything and writes a record that proves it.
    fn prove(&mut self) {
        self.log.write_sync_marker().expect("the disk works");
        self.ledger.flushed(self.seq);
    }

    fn next_write(&mut self) -> LogWrite {
        self.seq = self.seq.next();
        let written: &Image = self.ledger.written();
        let last = written.last();
        let overwrites = last.index > LogIndex::new(3) && self.chance.percent(10);
        let is_new = overwrites || last == EntryId::ORIGIN || self.chance.percent(10);
        let term = if is_new { written.hard_state.term.next() } else { written.hard_state.term };
        let vote = Some(NodeId::new(self.chance.between(1, 3)));
        let mut index = if overwrites { LogIndex::new(last.index.get() - 3) } else { last.index };
        let mut entries = Vec::new();
        for _ in 0..self.chance.between(1, 4) {
            index = index.next();
            entries.push(self.entry(EntryId::new(term, index)));
        }
        LogWrite { seq: self.seq, hard_state: is_new.then_some(HardState { term, vote }), entries }
    }

    fn entry(&mut self, id: EntryId) -> Entry {
        if self.chance.percent(10) {
            return Entry { id, kind: EntryKind::NoOp, payload: Vec::new().into() };
        }
        let most = self.chance.pick(&[8, 100, 100, 300, 1500]);
        let length = self.chance.index(most);
        let payload = (0..length).map(|_| self.chance.seed().to_le_bytes()[0]).collect::<Vec<_>>();
        Entry { id, kind: EntryKind::Normal, payload: payload.into() }
    }
}
