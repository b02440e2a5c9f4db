//! Records: what a segment consists of. Pure code; `docs/FORMAT.md` has the byte table.
//!
//! Each record can be checked alone: its CRC covers the header, the payload and the seed of its segment, so a
//! torn record or one of another segment is not valid. It holds the CRC of the record before it, which makes
//! a chain. It also says how far its segment was known to be durable when it was written, which makes a
//! proof: a broken record before that offset was not a torn write.
//!
//! Caveat: the CRC does not cover the bytes that pad a record to a multiple of 8; nothing reads them.

use lograft_types::{EntryId, EntryKind, HardState, LogIndex, NodeId, Term};

/// The size of a record's header.
pub(super) const HEADER_BYTES: usize = 40;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
/// The payload of [`RecordKind::SegmentStart`].
pub(super) const START_PAYLOAD_BYTES: usize = 48;
/// The payload of [`RecordKind::HardState`].
const HARD_STATE_PAYLOAD_BYTES: usize = 8;

/// The bytes that the log needs for an entry with a payload of this length: header, payload, padding.
pub const fn record_size_bytes(payload_len: usize) -> u64 {
    ((HEADER_BYTES + payload_len).next_multiple_of(ALIGNMENT)) as u64
}

/// What kind of record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// The first record of each segment, written when the log rolls into it.
    SegmentStart,
    /// A term and a vote.
    HardState,
    /// An entry. It drops any old ones at its index and after it.
    Entry(EntryKind),
    /// Drops all entries: the log begins after a new log start.
    Reset,
    /// Everything before it is durable.
    SyncMarker,
    /// The last record of a segment: the log goes on in the next one.
    SegmentEnd,
}

impl RecordKind {
    const fn code(self) -> [u8; 2] {
        match self {
            Self::SegmentStart => [1, 0],
            Self::HardState => [2, 0],
            Self::Entry(EntryKind::Normal) => [3, 0],
            Self::Entry(EntryKind::NoOp) => [3, 1],
            Self::Entry(EntryKind::Configuration) => [3, 2],
            Self::Reset => [4, 0],
            Self::SyncMarker => [5, 0],
            Self::SegmentEnd => [6, 0],
        }
    }

    const fn from_code(code: [u8; 2]) -> Option<Self> {
        match code {
            [1, 0] => Some(Self::SegmentStart),
            [2, 0] => Some(Self::HardState),
            [3, 0] => Some(Self::Entry(EntryKind::Normal)),
            [3, 1] => Some(Self::Entry(EntryKind::NoOp)),
            [3, 2] => Some(Self::Entry(EntryKind::Configuration)),
            [4, 0] => Some(Self::Reset),
            [5, 0] => Some(Self::SyncMarker),
            [6, 0] => Some(Self::SegmentEnd),
            _ => None,
        }
    }

    /// In lower case, as `lograft log` shows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SegmentStart => "segment-start",
            Self::HardState => "hard-state",
            Self::Entry(EntryKind::Normal) => "entry",
            Self::Entry(EntryKind::NoOp) => "no-op",
            Self::Entry(EntryKind::Configuration) => "configuration",
            Self::Reset => "reset",
            Self::SyncMarker => "sync-marker",
            Self::SegmentEnd => "segment-end",
        }
    }
}

/// A record as stored in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) kind: RecordKind,
    /// The CRC of the record before it; 0 in a segment's first record.
    pub(super) prev_crc: u32,
    /// In an entry or a reset, its id; in a segment start, the next index and the last entry's term; in a
    /// segment end, the id of the next segment (as the index); in a hard state, its term.
    pub(super) index: LogIndex,
    pub(super) term: Term,
    /// The segment was known to be durable up to this offset when the record was written.
    pub(super) durable: u64,
    pub(super) payload: &'a [u8],
}

/// What is at an offset of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoded<'a> {
    /// A record, and its CRC.
    Record { record: Record<'a>, crc: u32 },
    /// A record with a valid CRC and an unknown kind: a newer version wrote it.
    UnknownKind { code: [u8; 2], durable: u64 },
    /// Not a record.
    Broken,
}

impl<'a> Record<'a> {
    pub(super) fn id(&self) -> EntryId {
        EntryId::new(self.term, self.index)
    }

    pub(super) fn size_bytes(&self) -> u64 {
        record_size_bytes(self.payload.len())
    }

    /// Replaces the contents of `buffer` with the record, padding included. Returns its CRC.
    ///
    /// # Panics
    /// If the payload has 4 GiB or more; segments are smaller.
    pub(super) fn encode(&self, seed: u32, buffer: &mut Vec<u8>) -> u32 {
        let length = u32::try_from(self.payload.len()).expect("a payload is shorter than its segment");
        buffer.clear();
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(&self.prev_crc.to_le_bytes());
        buffer.extend_from_slice(&length.to_le_bytes());
        buffer.extend_from_slice(&self.kind.code());
        buffer.extend_from_slice(&[0; 2]);
        buffer.extend_from_slice(&self.index.get().to_le_bytes());
        buffer.extend_from_slice(&self.term.get().to_le_bytes());
        buffer.extend_from_slice(&self.durable.to_le_bytes());
        buffer.extend_from_slice(self.payload);
        let crc = checksum(&buffer[4..], seed);
        buffer[..4].copy_from_slice(&crc.to_le_bytes());
        buffer.resize(buffer.len().next_multiple_of(ALIGNMENT), 0);
        crc
    }

    /// Decodes what `bytes` begin with. `offset` is their position in the segment; they must reach to the end
    /// of the segment, or at least of the record. Nothing is allocated.
    pub(super) fn decode(bytes: &'a [u8], offset: u64, seed: u32) -> Decoded<'a> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Decoded::Broken };
        let length = u32_at(header, 8) as usize;
        let code = [header[12], header[13]];
        let durable = u64_at(header, 32);
        // Cheap checks first: the search for later records tries every aligned offset.
        if code[0] == 0 || header[14..16] != [0, 0] || durable > offset {
            return Decoded::Broken;
        }
        let Some(payload) = rest.get(..length) else { return Decoded::Broken };
        let crc = u32_at(header, 0);
        if checksum(&bytes[4..HEADER_BYTES + length], seed) != crc {
            return Decoded::Broken;
        }
        let Some(kind) = RecordKind::from_code(code) else { return Decoded::UnknownKind { code, durable } };
        let record = Record {
            kind,
            prev_crc: u32_at(header, 4),
            index: LogIndex::new(u64_at(header, 16)),
            term: Term::new(u64_at(header, 24)),
            durable,
            payload,
        };
        Decoded::Record { record, crc }
    }
}

/// CRC-32C of the bytes and the seed. The seed comes last, so that the bytes are hashed in one go.
fn checksum(bytes: &[u8], seed: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(bytes), &seed.to_le_bytes())
}

/// The payload of a segment's first record: the state of the log where the segment begins, so that a vote is
/// not lost when older segments are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentStart {
    /// The segment before; 0 if there was none.
    pub(super) prev_segment: u64,
    /// The CRC of the last record of the segment before.
    pub(super) prev_segment_crc: u32,
    /// Entries up to this one are gone.
    pub(super) log_start: EntryId,
    pub(super) hard_state: HardState,
}

impl SegmentStart {
    pub(super) fn encode(&self) -> [u8; START_PAYLOAD_BYTES] {
        let mut bytes = [0; START_PAYLOAD_BYTES];
        bytes[0..8].copy_from_slice(&self.prev_segment.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.prev_segment_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.log_start.index.get().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.log_start.term.get().to_le_bytes());
        bytes[32..40].copy_from_slice(&self.hard_state.term.get().to_le_bytes());
        bytes[40..48].copy_from_slice(&vote_number(self.hard_state.vote).to_le_bytes());
        bytes
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; START_PAYLOAD_BYTES] = payload.try_into().ok()?;
        Some(Self {
            prev_segment: u64_at(bytes, 0),
            prev_segment_crc: u32_at(bytes, 8),
            log_start: EntryId::new(Term::new(u64_at(bytes, 24)), LogIndex::new(u64_at(bytes, 16))),
            hard_state: HardState { term: Term::new(u64_at(bytes, 32)), vote: vote_of(u64_at(bytes, 40)) },
        })
    }
}

/// The payload of a hard state: the vote. The term is in the header.
pub(super) fn encode_vote(vote: Option<NodeId>) -> [u8; HARD_STATE_PAYLOAD_BYTES] {
    vote_number(vote).to_le_bytes()
}

/// The hard state in a record of that kind.
pub(super) fn decode_hard_state(record: &Record<'_>) -> Option<HardState> {
    let bytes: [u8; HARD_STATE_PAYLOAD_BYTES] = record.payload.try_into().ok()?;
    Some(HardState { term: record.term, vote: vote_of(u64::from_le_bytes(bytes)) })
}

fn vote_number(vote: Option<NodeId>) -> u64 {
    vote.map_or(0, NodeId::get)
}

fn vote_of(number: u64) -> Option<NodeId> {
    (number != 0).then_some(NodeId::new(number))
}

/// The little-endian number at an offset of a fixed-size array.
pub(super) fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The little-endian number at an offset of a fixed-size array.
pub(super) fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests;
