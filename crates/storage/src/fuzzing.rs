//! For `tests/fuzz`: any bytes as a record, as segments, as the history of a data directory, as its meta
//! file.
//!
//! Random bytes never have a valid checksum. So the targets correct the checksum where nothing else would
//! stop an input, and choose the damage themselves.

use std::path::Path;

use super::directory::{DirectoryError, parse_meta};
use super::record::{
    ALIGNMENT, Decoded, HEADER_BYTES, Record, RecordKind, SegmentStart, decode_hard_state, encode_vote,
};
use super::segment::{HeaderDefect, SegmentHeader, segment_id, segment_path};
use super::testing::{all, dir, entry, try_open};
use super::{Log, Recovered};
use lograft_fuzzing::{Choices as _, Unstructured};
use lograft_mem_os::{MemOs, OpCounts};
use lograft_types::{Entry, EntryId, EntryMeta, HardState, MAX_COUNTER};

mod directory;
mod segment;

pub use directory::directory;
pub use segment::segment;

/// A log as its user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    hard_state: HardState,
    log_start: EntryId,
    entries: Vec<Entry>,
}

impl Content {
    /// What was recovered, and the entries themselves.
    ///
    /// # Panics
    /// If the two disagree.
    fn of(log: &Log<MemOs>, recovered: &Recovered) -> Self {
        let entries = all(log, recovered.log_start);
        let metas = entries.iter().map(|entry| EntryMeta {
            id: entry.id,
            size_bytes: u32::try_from(entry.payload.len()).expect("payloads are smaller than segments"),
        });
        assert!(metas.eq(recovered.entries.iter().copied()), "the reader and the recovery agree");
        let mut before = recovered.log_start;
        for Entry { id, .. } in &entries {
            assert!(id.index == before.index.next() && id.term >= before.term, "{id} after {before}");
            before = *id;
        }
        assert_eq!(log.last(), before, "the log ends with its last entry");
        Self { hard_state: recovered.hard_state, log_start: recovered.log_start, entries }
    }
}

/// A record at some offset of some segment; also a segment's header and the name of a file.
pub fn record(bytes: &[u8]) -> &'static str {
    let mut input = Unstructured::new(bytes);
    let seed = u32::from(input.u16()) << 16 | u32::from(input.u16());
    let offset = u64::from(input.u16()) * ALIGNMENT as u64;
    let flip = usize::from(input.u16());
    let bytes = input.take_rest();
    if let Ok(name) = std::str::from_utf8(bytes)
        && let Some(id) = segment_id(name)
    {
        assert_eq!(segment_path(Path::new(""), id), Path::new(name), "a segment has one name");
    }
    if header(bytes) {
        return "segment header";
    }
    let as_it_is = judge(bytes, offset, seed, flip);
    let mut whole = bytes.to_vec();
    if as_it_is == "broken" && make_whole(&mut whole, seed) {
        return judge(&whole, offset, seed, flip);
    }
    as_it_is
}

/// Whether the bytes are a segment's header, or would be with the right checksum.
fn header(bytes: &[u8]) -> bool {
    let _ = SegmentHeader::decode(bytes);
    let Some((header, _)) = bytes.split_first_chunk::<64>() else { return false };
    let mut header = *header;
    let crc = crc32c::crc32c(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    match SegmentHeader::decode(&header) {
        Ok(decoded) => {
            let again = SegmentHeader::decode(&decoded.encode());
            assert_eq!(again, Ok(decoded), "a header survives its encoding");
            true
        }
        Err(HeaderDefect::Newer(_)) => true,
        Err(HeaderDefect::Broken) => false,
    }
}

/// Gives what could be a record a length that fits and the right checksum.
fn make_whole(bytes: &mut [u8], seed: u32) -> bool {
    let Some(room) = bytes.len().checked_sub(HEADER_BYTES) else { return false };
    let length = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
    let length = (length as usize).min(room);
    bytes[8..12].copy_from_slice(&u32::try_from(length).expect("inputs are short").to_le_bytes());
    let summed = crc32c::crc32c(&bytes[4..HEADER_BYTES + length]);
    let crc = crc32c::crc32c_append(summed, &seed.to_le_bytes());
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    true
}

/// Checks what must hold of a record. `flip` chooses the bit of it to flip.
fn judge(bytes: &[u8], offset: u64, seed: u32, flip: usize) -> &'static str {
    let (record, crc) = match Record::decode(bytes, offset, seed) {
        Decoded::Record { record, crc } => (record, crc),
        Decoded::UnknownKind { durable, .. } => {
            assert!(durable <= offset, "nothing after a record was durable when it was written");
            return "unknown kind";
        }
        Decoded::Broken => return "broken",
    };
    assert!(record.durable <= offset, "nothing after a record was durable when it was written");
    let covered = HEADER_BYTES + record.payload.len();
    let mut encoded = Vec::new();
    assert_eq!(record.encode(seed, &mut encoded), crc);
    assert_eq!(encoded[..covered], bytes[..covered], "a record has one encoding");
    assert_eq!(encoded.len() as u64, record.size_bytes());
    assert!(encoded[covered..].iter().all(|byte| *byte == 0), "records are filled up with zeros");
    let torn = Record::decode(&encoded[..covered - 1], offset, seed);
    assert_eq!(torn, Decoded::Broken, "a truncated record is not a record");
    assert_ne!(
        Record::decode(&encoded, offset, !seed),
        Decoded::Record { record, crc },
        "a record of another segment is not valid"
    );
    // Flip one bit that the checksum covers, except in the length: another length would be another sum.
    let bit = flip % (covered * 8);
    if !(8..12).contains(&(bit / 8)) {
        let mut flipped = encoded.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Record::decode(&flipped, offset, seed), Decoded::Broken, "a flipped bit is found");
    }
    if let Some(hard_state) = decode_hard_state(&record) {
        assert_eq!(encode_vote(hard_state.vote), record.payload);
    }
    match SegmentStart::decode(record.payload) {
        Some(start) => {
            assert_eq!(SegmentStart::decode(&start.encode()), Some(start), "a start survives its encoding");
            if record.kind == RecordKind::SegmentStart { "segment start" } else { "record" }
        }
        None => "record",
    }
}

/// The file that says which node owns a data directory.
pub fn meta(bytes: &[u8]) -> &'static str {
    match parse_meta(dir(), bytes) {
        Ok(meta) => {
            let json = serde_json::to_vec_pretty(&meta).expect("a meta file is JSON");
            assert_eq!(parse_meta(dir(), &json).expect("what was written is read"), meta);
            "meta"
        }
        Err(DirectoryError::NewerFormat { .. }) => "newer format",
        Err(error @ DirectoryError::BrokenMeta { .. }) => {
            assert!(!error.to_string().contains('\n'), "one line: {error}");
            "broken"
        }
        Err(error) => panic!("parsing the bytes gives no other error: {error}"),
    }
}

/// Opens a log several times: what the first opening finds, each later one finds too, also after an append.
///
/// # Panics
/// If one does not, or if recovery changes a log that it refuses.
fn open_and_go_on(os: &MemOs) -> Result<(Content, Recovered), super::LogError> {
    let before = os.counts();
    let (mut log, recovered) = match try_open(os) {
        Ok(opened) => opened,
        Err(error) => {
            // Flushes make durable what was there, and reads change nothing.
            let changed = |counts: OpCounts| counts.changes() - counts.flushes;
            assert_eq!(changed(os.counts()), changed(before), "a refused log is left as it was: {error}");
            return Err(error);
        }
    };
    let content = Content::of(&log, &recovered);
    for seed in [1, 2] {
        let (again, found) = try_open(&os.crash(seed)).expect("what was opened opens again");
        assert_eq!(Content::of(&again, &found), content, "recovery is repeated");
        assert_eq!(found.repaired, None, "what was cut stays cut");
    }
    let mut expected = content.clone();
    let last = log.last();
    let next = entry(last.index.get() + 1, last.term.get().max(1), b"behind what was found");
    match log.append(&next) {
        Ok(()) => expected.entries.push(next),
        // The last possible index: the log stays as it is.
        Err(error) => {
            assert!(matches!(error, super::LogError::OutOfOrder(_)), "{error}");
            assert_eq!(next.id.index.get(), MAX_COUNTER, "an opened log takes entries: {error}");
        }
    }
    log.flush().expect("an opened log is flushed");
    drop(log);
    let (log, found) = try_open(&os.crash(3)).expect("what was appended opens again");
    assert_eq!(Content::of(&log, &found), expected, "what was appended and flushed is there");
    Ok((content, recovered))
}

#[cfg(test)]
mod corpora {
    use super::*;

    #[test]
    fn of_record() {
        let reaches = ["broken", "unknown kind", "record", "segment start", "segment header"];
        lograft_fuzzing::play("record", record, &reaches);
    }

    #[test]
    fn of_segment() {
        lograft_fuzzing::play("segment", segment, &["whole", "cut", "damaged", "newer", "foreign"]);
    }

    #[test]
    fn of_directory() {
        lograft_fuzzing::play("directory", directory, &["whole", "damage found", "damage survived"]);
    }

    #[test]
    fn of_meta() {
        lograft_fuzzing::play("meta", meta, &["meta", "newer format", "broken"]);
    }
}
