//! Recovery at the start: it reads the whole log, judges it by the decision tables, and makes it durable
//! before reporting anything.
//!
//! 1. The files are flushed and their cached pages dropped: after a failed flush the cache may hold data that
//!    the disk lacks, and such data must not be promised.
//! 2. The segments must be numbered 1, 2, 3, … without a gap, be whole, and belong to this node.
//! 3. The started ones are read in order, each record checked against those before it. What each begins with is
//!    known before: the end of a segment is judged by the beginnings of the later ones.
//! 4. Where the reading stops, the table decides: go on, end, cut, or refuse. Nothing is changed when it refuses.
//!
//! A crash during recovery does not change the outcome: a cut fills with zeros only what nothing proved.
//!
//! Caveat: each segment is read into memory as a whole: 64 MiB by default, at most 1 GiB.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::LogError;
use super::reader::{Index, Slot};
use super::record::{
    ALIGNMENT, Decoded, Record, RecordKind, START_PAYLOAD_BYTES, SegmentStart, record_size_bytes,
};
use super::segment::{
    FIRST_RECORD, FORMAT_VERSION, HeaderDefect, MAX_SEGMENT_BYTES, SegmentHeader, segment_id, segment_path,
};
use super::state::{Change, State};
use lograft_os::{Os, PAGE_BYTES, ReadFile};
use lograft_types::{EntryMeta, Identity, LogIndex, mark};

mod table;

use table::{Begin, Decision, Next, Role, Stop};

/// This file says that the log was begun: if it exists and there are no segments, they were lost.
pub(super) const STARTED_FILE: &str = "log.started";

/// A torn tail that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The segment.
    pub file: PathBuf,
    /// Where it was cut, in bytes.
    pub offset: u64,
    /// How many bytes from there to the last nonzero one, inclusive.
    pub bytes_cut: u64,
}

/// Everything that recovery found.
#[derive(Debug)]
pub(super) struct Found<F> {
    pub(super) state: State,
    pub(super) entries: Vec<EntryMeta>,
    pub(super) index: Index<F>,
    /// The segment with the log's end; `None` if no segment was ever started.
    pub(super) tail: Option<Tail>,
    /// Segments after the tail, with what is left of writes that were never durable.
    pub(super) prepared: Vec<(SegmentHeader, Option<Repair>)>,
    /// The bytes of the sealed segments.
    pub(super) sealed_bytes: u64,
}

/// The log's end.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    pub(super) header: SegmentHeader,
    /// The offset after the last record.
    pub(super) offset: u64,
    pub(super) last_crc: u32,
    pub(super) last_kind: RecordKind,
    pub(super) cut: Option<Repair>,
}

impl<F> Default for Found<F> {
    fn default() -> Self {
        Self {
            state: State::default(),
            entries: Vec::new(),
            index: Index::default(),
            tail: None,
            prepared: Vec::new(),
            sealed_bytes: 0,
        }
    }
}

/// A segment with its bytes.
pub(super) struct Image<F> {
    pub(super) path: PathBuf,
    /// The file, open.
    file: Arc<F>,
    pub(super) header: SegmentHeader,
    pub(super) bytes: Vec<u8>,
}

/// What is known about a segment before its records are read.
struct Probe {
    header: SegmentHeader,
    begin: Begin,
    start: Option<SegmentStart>,
    proof: bool,
    /// What a write that never became durable left, if the beginning is broken.
    rest: Option<Repair>,
}

/// A segment up to the end of its start record: enough to see whether it was started.
const HEAD_BYTES: u64 = FIRST_RECORD + record_size_bytes(START_PAYLOAD_BYTES);

/// Flushes the segments in `dir`, drops their cached pages, and reads the whole log.
pub(super) fn recover<O: Os>(os: &O, dir: &Path, identity: Identity) -> Result<Found<O::File>, LogError> {
    for id in 1..=segments_in(os, dir)? {
        let path = segment_path(dir, id);
        let file = os.open(&path).map_err(LogError::io("open", &path))?;
        file.sync_and_drop_cache().map_err(LogError::io("flush", &path))?;
    }
    examine(os, dir, identity)
}

/// Reads the whole log in `dir` and changes nothing.
pub(super) fn examine<O: Os>(os: &O, dir: &Path, identity: Identity) -> Result<Found<O::File>, LogError> {
    let count = segments_in(os, dir)?;
    let mut probes = Vec::new();
    for id in 1..=count {
        probes.push(probe(os, dir, id, identity)?);
    }
    let started = probes.iter().rposition(|probe| probe.begin == Begin::Started).map_or(0, |last| last + 1);
    let mut found = Found::default();
    for (position, probe) in probes.iter().enumerate() {
        match table::role(probe.begin, position < started, probe.proof) {
            Role::Part => {
                let image = load(os, dir, probe.header.id, Some(identity))?;
                replay(&mut found, &image, &probes[position + 1..])?;
            }
            Role::Prepared => found.prepared.push((probe.header, None)),
            Role::Unfinished => {
                mark!(RollStarted);
                found.prepared.push((probe.header, probe.rest.clone()));
            }
            Role::Damaged(reason) => {
                let index = found.state.last().index;
                return Err(damaged(segment_path(dir, probe.header.id), FIRST_RECORD, index, reason));
            }
        }
    }
    if found.tail.is_none() && was_started(os, dir)? {
        let reason = "the log was begun once, but no started segment is left";
        return Err(damaged(segment_path(dir, 1), 0, LogIndex::ZERO, reason));
    }
    Ok(found)
}

fn was_started<O: Os>(os: &O, dir: &Path) -> Result<bool, LogError> {
    let names = os.list(dir).map_err(LogError::io("list", dir))?;
    Ok(names.iter().any(|name| name == STARTED_FILE))
}

/// How many segments there are; they must be numbered 1, 2, 3, … without a gap.
pub(super) fn segments_in<O: Os>(os: &O, dir: &Path) -> Result<u64, LogError> {
    let names = os.list(dir).map_err(LogError::io("list", dir))?;
    let mut ids: Vec<u64> = names.iter().filter_map(|name| segment_id(name)).collect();
    ids.sort_unstable();
    let mut count = 0;
    for id in ids {
        count += 1;
        if id != count {
            let path = segment_path(dir, count);
            return Err(damaged(path, 0, LogIndex::ZERO, "the file is missing, but later ones exist"));
        }
    }
    Ok(count)
}

/// Reads a segment and checks that it is whole and, with an `identity`, that it belongs to that node.
pub(super) fn load<O: Os>(
    os: &O,
    dir: &Path,
    id: u64,
    identity: Option<Identity>,
) -> Result<Image<O::File>, LogError> {
    load_up_to(os, dir, id, identity, u64::MAX)
}

/// The same, but reads `most_bytes` of it at the most.
fn load_up_to<O: Os>(
    os: &O,
    dir: &Path,
    id: u64,
    identity: Option<Identity>,
    most_bytes: u64,
) -> Result<Image<O::File>, LogError> {
    let path = segment_path(dir, id);
    let file = os.open(&path).map_err(LogError::io("open", &path))?;
    let size = file.size_bytes().map_err(LogError::io("read the size of", &path))?;
    let refuse = |reason| damaged(path.clone(), 0, LogIndex::ZERO, reason);
    if !(FIRST_RECORD..=MAX_SEGMENT_BYTES).contains(&size) {
        return Err(refuse("the file is too small or too large for a segment"));
    }
    let wanted = usize::try_from(size.min(most_bytes));
    let mut bytes = vec![0; wanted.map_err(|_| refuse("the file does not fit into memory"))?];
    file.read_at(0, &mut bytes).map_err(LogError::io("read", &path))?;
    let header = match SegmentHeader::decode(&bytes) {
        Ok(header) => header,
        Err(HeaderDefect::Broken) => return Err(refuse("the header of the segment is damaged")),
        Err(HeaderDefect::Newer(found)) => {
            return Err(LogError::Newer { file: path, found, known: FORMAT_VERSION });
        }
    };
    if let Some(expected) = identity.filter(|identity| *identity != header.identity) {
        return Err(LogError::Foreign { file: path, found: header.identity, expected });
    }
    if header.id != id {
        return Err(refuse("the file is a copy of another segment"));
    }
    if header.size_bytes != size {
        return Err(refuse("the file is shorter or longer than when it was prepared"));
    }
    Ok(Image { path, file: Arc::new(file), header, bytes })
}

fn damaged(file: PathBuf, offset: u64, index: LogIndex, reason: &str) -> LogError {
    LogError::Corrupt { file, offset, index, reason: reason.to_owned() }
}

impl<F> Image<F> {
    pub(super) fn decode(&self, offset: u64) -> Decoded<'_> {
        Record::decode(self.from(offset), offset, self.header.seed)
    }

    /// The bytes from an offset on; none past the end.
    fn from(&self, offset: u64) -> &[u8] {
        usize::try_from(offset).ok().and_then(|start| self.bytes.get(start..)).unwrap_or_default()
    }

    /// The first record, if it is a segment start.
    pub(super) fn start(&self) -> Option<(SegmentStart, Record<'_>, u32)> {
        match self.decode(FIRST_RECORD) {
            Decoded::Record { record, crc } if record.kind == RecordKind::SegmentStart => {
                Some((SegmentStart::decode(record.payload)?, record, crc))
            }
            Decoded::Record { .. } | Decoded::UnknownKind { .. } | Decoded::Broken => None,
        }
    }

    pub(super) fn is_zero_from(&self, offset: u64) -> bool {
        self.from(offset).iter().all(|byte| *byte == 0)
    }

    /// A cut from the offset to the last nonzero byte.
    fn cut_at(&self, offset: u64) -> Repair {
        let last = self.from(offset).iter().rposition(|byte| *byte != 0);
        Repair { file: self.path.clone(), offset, bytes_cut: last.map_or(0, |last| last as u64 + 1) }
    }

    /// Whether a later whole record, whose `durable` exceeds `offset`, proves that the bytes at `offset` were
    /// durable.
    fn proves(&self, offset: u64) -> bool {
        let mut at = offset.saturating_add(ALIGNMENT as u64);
        while at < self.bytes.len() as u64 {
            match self.decode(at) {
                Decoded::Record { record, .. } if record.durable > offset => return true,
                Decoded::UnknownKind { durable, .. } if durable > offset => return true,
                Decoded::Record { record, .. } => at += record.size_bytes(),
                Decoded::UnknownKind { .. } | Decoded::Broken => at += ALIGNMENT as u64,
            }
        }
        false
    }
}

/// Looks at the beginning of a segment. Only if it does not begin with its start record, all of it is read: that is
/// so for the one or two that are prepared.
fn probe<O: Os>(os: &O, dir: &Path, id: u64, identity: Identity) -> Result<Probe, LogError> {
    let mut image = load_up_to(os, dir, id, Some(identity), HEAD_BYTES)?;
    if image.start().is_none() {
        image = load(os, dir, id, Some(identity))?;
    }
    let start = image.start().map(|(start, ..)| start);
    let begin = match start {
        Some(_) => Begin::Started,
        None if image.is_zero_from(FIRST_RECORD) => Begin::Blank,
        None => Begin::Broken,
    };
    let is_broken = begin == Begin::Broken;
    let proof = is_broken && image.proves(FIRST_RECORD);
    let rest = is_broken.then(|| image.cut_at(FIRST_RECORD));
    Ok(Probe { header: image.header, begin, start, proof, rest })
}

/// Reads the records of a started segment.
fn replay<F>(found: &mut Found<F>, image: &Image<F>, later: &[Probe]) -> Result<(), LogError> {
    let id = image.header.id;
    let fail = |found: &Found<F>, offset, reason: &str| {
        damaged(image.path.clone(), offset, found.state.last().index, reason)
    };
    let segment = u32::try_from(id).map_err(|_| fail(found, 0, "its number is too large for a segment"))?;
    found.index.add_segment(segment, image.header.seed, Arc::clone(&image.file));
    let mut reading = Reading { offset: FIRST_RECORD, last_crc: 0, last_kind: RecordKind::SegmentStart };
    let (stop, reason) = match reading.start(found, image) {
        Ok(()) => reading.run(found, image, segment),
        Err(reason) => (Stop::Contradiction, Some(reason)),
    };
    let proof = stop == Stop::Broken && image.proves(reading.offset);
    let cut = match table::decide(stop, next_of(id, reading.last_crc, later), proof) {
        Decision::GoOn => {
            found.sealed_bytes += image.header.size_bytes;
            return Ok(());
        }
        Decision::End => None,
        Decision::EndAndRoll => {
            mark!(RollEnded);
            None
        }
        Decision::Cut => {
            mark!(TornTail);
            Some(image.cut_at(reading.offset))
        }
        Decision::Refuse(why) => {
            let reason = reason.map_or_else(|| why.to_owned(), |reason| format!("{why}: {reason}"));
            return Err(fail(found, reading.offset, &reason));
        }
    };
    let Reading { offset, last_crc, last_kind } = reading;
    found.tail = Some(Tail { header: image.header, offset, last_crc, last_kind, cut });
    Ok(())
}

fn next_of(id: u64, last_crc: u32, later: &[Probe]) -> Next {
    let continues = |start: &SegmentStart| start.prev_segment == id && start.prev_segment_crc == last_crc;
    match later.first() {
        None => Next::Missing,
        Some(Probe { start: Some(start), .. }) if continues(start) => Next::Continues,
        Some(_) if later.iter().any(|probe| probe.begin == Begin::Started) => Next::Elsewhere,
        Some(_) => Next::NotStarted,
    }
}

/// How far a segment has been read.
struct Reading {
    offset: u64,
    last_crc: u32,
    last_kind: RecordKind,
}

impl Reading {
    fn start<F>(&mut self, found: &mut Found<F>, image: &Image<F>) -> Result<(), String> {
        let (start, record, crc) = image.start().ok_or("the segment has no start")?;
        if start.prev_segment != image.header.id - 1 {
            return Err(format!("it says that it follows segment {}", start.prev_segment));
        }
        found.state.begin(&start, record.id())?;
        if start.prev_segment == 0 {
            found.index.reset(start.log_start.index);
        }
        self.advance(&record, crc);
        Ok(())
    }

    /// Reads records up to the first one that is missing, broken or contradictory, and says what a
    /// contradictory one contradicts.
    fn run<F>(&mut self, found: &mut Found<F>, image: &Image<F>, segment: u32) -> (Stop, Option<String>) {
        while self.last_kind != RecordKind::SegmentEnd {
            let (record, crc) = match image.decode(self.offset) {
                Decoded::Record { record, crc } => (record, crc),
                Decoded::UnknownKind { code, .. } => {
                    let reason = format!("a newer lograft wrote a record of the unknown kind {code:?}");
                    return (Stop::Contradiction, Some(reason));
                }
                Decoded::Broken if image.is_zero_from(self.offset) => return (Stop::Zeros, None),
                Decoded::Broken => return (Stop::Broken, None),
            };
            if let Err(reason) = self.take(found, &record, segment) {
                return (Stop::Contradiction, Some(reason));
            }
            self.advance(&record, crc);
        }
        (Stop::SegmentEnd, None)
    }

    fn take<F>(&self, found: &mut Found<F>, record: &Record<'_>, segment: u32) -> Result<(), String> {
        if record.prev_crc != self.last_crc {
            return Err("the record does not follow the one before it".to_owned());
        }
        match found.state.take(record)? {
            Change::None => {}
            Change::Entry(id, _) => {
                let slot = Slot::new(segment, self.offset, record.payload.len());
                found.index.put(id.index, slot.ok_or("the segment is too large")?);
                let size_bytes = u32::try_from(record.payload.len()).map_err(|_| "the entry is too large")?;
                found.entries.truncate(found.index.len() - 1);
                found.entries.push(EntryMeta { id, size_bytes });
            }
            Change::Reset(log_start) => {
                found.index.reset(log_start.index);
                found.entries.clear();
            }
        }
        Ok(())
    }

    fn advance(&mut self, record: &Record<'_>, crc: u32) {
        self.offset += record.size_bytes();
        self.last_crc = crc;
        self.last_kind = record.kind;
    }
}

/// A page of zeros, to overwrite what is cut.
pub(super) const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

#[cfg(test)]
mod tests;
