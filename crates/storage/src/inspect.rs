//! Reading the records of a stopped node's log, damaged or not, one by one: what `lograft log` shows.
//!
//! Nothing is changed, nothing is cut, nothing is flushed. The directory must be locked
//! ([`super::Directory::open_for_inspection`]), or a running node's half-written records look like damage.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::error::LogError;
use super::record::{Decoded, RecordKind, SegmentStart, decode_hard_state};
use super::recovery::{self, Image, Repair};
use super::segment::FIRST_RECORD;
use lograft_os::Os;
use lograft_types::{HardState, Identity, LogIndex, Term};

/// A record and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedRecord {
    /// The id of its segment.
    pub segment: u64,
    /// Its offset in the segment, in bytes.
    pub offset: u64,
    /// What it is.
    pub kind: RecordKind,
    /// An entry's index; `docs/FORMAT.md` says what it is in other records.
    pub index: LogIndex,
    /// An entry's term.
    pub term: Term,
    /// The segment was known to be durable up to this offset when the record was written.
    pub durable: u64,
    /// The term and vote in the record, if it is a hard state or a segment start.
    pub hard_state: Option<HardState>,
    /// The payload; in an entry, its command.
    pub payload: Bytes,
}

/// Why the records end, if not because the log ends.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A torn write, which the next start cuts.
    #[error(
        "{} ends in a torn write at offset {} ({} bytes): the next start cuts it",
        _0.file.display(), _0.offset, _0.bytes_cut
    )]
    Torn(Repair),
    /// No segment was ever started, so there are no records.
    #[error(
        "{} says whose log this is, but holds no log: the node's first start did not get that far, or somebody removed \
         the files",
        _0.display()
    )]
    NoLog(PathBuf),
    /// Damage, because of which the next start is refused.
    #[error(transparent)]
    Damaged(LogError),
}

/// The records of a log, in order; a problem comes last.
pub struct Records<O: Os> {
    os: O,
    dir: PathBuf,
    segments: u64,
    image: Option<Image<O::File>>,
    next_segment: u64,
    offset: u64,
    problem: Option<Problem>,
}

/// Begins to read the records of the log in `dir`. They are all read once first, to check whether they are
/// consistent.
pub fn records<O: Os>(os: O, dir: &Path, identity: Identity) -> Records<O> {
    let problem = match recovery::examine(&os, dir, identity) {
        Ok(found) => {
            let has_log = found.tail.is_some();
            let cut = found.tail.and_then(|tail| tail.cut);
            let unfinished = found.prepared.into_iter().find_map(|(_, cut)| cut);
            let no_log = || (!has_log).then(|| Problem::NoLog(dir.to_owned()));
            cut.or(unfinished).map(Problem::Torn).or_else(no_log)
        }
        Err(error) => Some(Problem::Damaged(error)),
    };
    // Without a list there is nothing to read, and the problem says why.
    let segments = recovery::segments_in(&os, dir).unwrap_or(0);
    Records { os, dir: dir.to_owned(), segments, image: None, next_segment: 1, offset: FIRST_RECORD, problem }
}

impl<O: Os> Records<O> {
    /// The next whole record.
    fn read(&mut self) -> Option<InspectedRecord> {
        loop {
            if self.image.is_none() {
                if self.next_segment > self.segments {
                    return None;
                }
                // If a segment cannot be loaded, the problem says so.
                self.image = Some(recovery::load(&self.os, &self.dir, self.next_segment, None).ok()?);
                self.next_segment += 1;
                self.offset = FIRST_RECORD;
            }
            let image = self.image.as_ref()?;
            match image.decode(self.offset) {
                Decoded::Record { record, .. } => {
                    let hard_state = match record.kind {
                        RecordKind::HardState => decode_hard_state(&record),
                        RecordKind::SegmentStart => {
                            SegmentStart::decode(record.payload).map(|start| start.hard_state)
                        }
                        RecordKind::Entry(_)
                        | RecordKind::Reset
                        | RecordKind::SyncMarker
                        | RecordKind::SegmentEnd => None,
                    };
                    let inspected = InspectedRecord {
                        segment: image.header.id,
                        offset: self.offset,
                        kind: record.kind,
                        index: record.index,
                        term: record.term,
                        durable: record.durable,
                        hard_state,
                        payload: Bytes::copy_from_slice(record.payload),
                    };
                    self.offset += record.size_bytes();
                    if record.kind == RecordKind::SegmentEnd {
                        self.image = None;
                    }
                    return Some(inspected);
                }
                Decoded::UnknownKind { .. } | Decoded::Broken => {
                    // The log goes on in the next segment only after a segment end.
                    self.next_segment = self.segments + 1;
                    self.image = None;
                }
            }
        }
    }
}

impl<O: Os> Iterator for Records<O> {
    type Item = Result<InspectedRecord, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.read() {
            Some(record) => Some(Ok(record)),
            None => {
                // Report the end once.
                self.next_segment = self.segments + 1;
                self.image = None;
                self.problem.take().map(Err)
            }
        }
    }
}

#[cfg(test)]
mod tests;
