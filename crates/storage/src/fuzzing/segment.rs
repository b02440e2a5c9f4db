//! Segments full of records that no log would write: each is whole, and the fuzzer chooses what it says.

use lograft_os::PAGE_BYTES;
use lograft_types::{EntryKind, LogIndex, NodeId, Term};

use super::super::LogError;
use super::super::inspect::{Problem, records};
use super::super::record::record_size_bytes;
use super::super::segment::FIRST_RECORD;
use super::super::testing::IDENTITY;
use super::*;

/// The most segments: enough for each case of the tables.
const MAX_SEGMENTS: u64 = 5;
/// A segment with this many bytes of records gets no more.
const MAX_BODY_BYTES: u64 = 3 * PAGE_BYTES as u64;

/// Any segments: they are opened or refused, and whatever opens is a log.
pub fn segment(bytes: &[u8]) -> &'static str {
    let os = MemOs::new();
    let mut input = Unstructured::new(bytes);
    let mut forger = Forger::default();
    for id in 1..=1 + input.below(MAX_SEGMENTS) {
        forger.begin(id, &mut input);
        let file = forger.file(&mut input);
        os.put(&segment_path(dir(), id), file);
        if input.is_empty() {
            break;
        }
    }
    inspect(&os);
    match open_and_go_on(&os) {
        Ok((_, recovered)) => recovered.repaired.map_or("whole", |_| "cut"),
        Err(LogError::Corrupt { .. }) => "damaged",
        Err(LogError::Newer { .. }) => "newer",
        Err(LogError::Foreign { .. }) => "foreign",
        Err(error) => panic!("an error from a disk that works: {error}"),
    }
}

/// What `lograft log` shows: it ends, and it ends with a problem exactly if the log cannot be opened
/// unchanged, or was never begun.
fn inspect(os: &MemOs) {
    let problem = records(os.clone(), dir(), IDENTITY).find_map(Result::err);
    match (problem, try_open(&os.kill())) {
        (None, Ok((_, recovered))) => assert_eq!(recovered.repaired, None),
        (Some(Problem::NoLog(_)), Ok((log, recovered))) => {
            assert_eq!(recovered.repaired, None);
            let nothing = (HardState::default(), EntryId::default(), LogIndex::ZERO);
            assert_eq!((recovered.hard_state, recovered.log_start, log.last().index), nothing);
        }
        (Some(Problem::Torn(shown)), Ok((_, recovered))) => assert_eq!(recovered.repaired, Some(shown)),
        (Some(Problem::Damaged(shown)), Err(error)) => assert_eq!(shown.to_string(), error.to_string()),
        (problem, opened) => panic!("shown: {problem:?}, opened: {:?}", opened.map(|(_, found)| found)),
    }
}

/// Writes arbitrary records in the place of a log.
#[derive(Default)]
struct Forger {
    header: Option<SegmentHeader>,
    /// The records so far.
    body: Vec<u8>,
    last_crc: u32,
    last: EntryId,
    log_start: EntryId,
    hard_state: HardState,
    scratch: Vec<u8>,
}

impl Forger {
    /// A segment's header, mostly correct.
    fn begin(&mut self, id: u64, input: &mut Unstructured<'_>) {
        let mut header = SegmentHeader::new(IDENTITY, id, 0);
        match input.byte() {
            250 => header.seed = !header.seed,
            251 => header.id = input.u64(),
            252 => header.identity.node = NodeId::new(input.u64()),
            _ => {}
        }
        self.header = Some(header);
        self.body.clear();
        let (before, before_crc) = (id - 1, self.last_crc);
        self.last_crc = 0;
        match input.byte() {
            // Nothing at all, or no start: whatever comes next is the first record.
            255 | 254 => {}
            choice => {
                let mut start = SegmentStart {
                    prev_segment: before,
                    prev_segment_crc: if before == 0 { 0 } else { before_crc },
                    log_start: self.log_start,
                    hard_state: self.hard_state,
                };
                let mut index = LogIndex::new(self.last.index.get().wrapping_add(1));
                match choice {
                    253 => start.prev_segment = input.u64(),
                    252 => start.prev_segment_crc ^= u32::from(input.byte()),
                    251 => start.log_start = self.id(input),
                    250 => start.hard_state.term = self.term(input),
                    249 => index = LogIndex::new(input.u64()),
                    _ => {}
                }
                let payload = start.encode();
                (self.log_start, self.hard_state) = (start.log_start, start.hard_state);
                if before == 0 {
                    self.last = start.log_start;
                    index = LogIndex::new(start.log_start.index.get().wrapping_add(1));
                }
                let (term, durable) = (self.last.term, self.offset());
                self.put(RecordKind::SegmentStart, index, term, durable, &payload, input);
            }
        }
    }

    /// The whole file, with records until the input ends them.
    fn file(&mut self, input: &mut Unstructured<'_>) -> Vec<u8> {
        while !input.is_empty() && (self.body.len() as u64) < MAX_BODY_BYTES {
            if !self.record(input) {
                break;
            }
        }
        // No segment is smaller than two pages, and a log keeps bytes for the record that ends it.
        let slack = HEADER_BYTES + usize::from(input.u16()) % PAGE_BYTES;
        let size = PAGE_BYTES + (self.body.len() + slack).max(PAGE_BYTES);
        let mut header = self.header.expect("a segment was begun");
        header.size_bytes = size as u64;
        let mut encoded = header.encode();
        match input.byte() {
            // Another size than when it was prepared, a newer format, or damage.
            255 => header.size_bytes += 1,
            254 => encoded[8..12].copy_from_slice(&u32::from(input.u16()).to_le_bytes()),
            _ => {}
        }
        if header.size_bytes != size as u64 {
            encoded = header.encode();
        }
        let crc = crc32c::crc32c(&encoded[..60]);
        encoded[60..].copy_from_slice(&crc.to_le_bytes());
        if input.byte() == 255 {
            encoded[usize::from(input.byte()) % 64] ^= 1;
        }
        let mut file = vec![0; size];
        file[..encoded.len()].copy_from_slice(&encoded);
        file[PAGE_BYTES..PAGE_BYTES + self.body.len()].copy_from_slice(&self.body);
        file
    }

    fn offset(&self) -> u64 {
        FIRST_RECORD + self.body.len() as u64
    }

    /// Writes one record. Returns false after the last one of the segment.
    fn record(&mut self, input: &mut Unstructured<'_>) -> bool {
        let durable = match input.byte() {
            choice if choice < 200 => self.offset(),
            choice if choice < 250 => FIRST_RECORD,
            _ => input.u64(),
        };
        match input.byte() % 16 {
            0..=5 => {
                let kind = [EntryKind::Normal, EntryKind::NoOp, EntryKind::Configuration];
                let kind = kind[usize::from(input.byte()) % 3];
                let id = self.id(input);
                let length = input.byte();
                let payload = input.take(usize::from(length)).to_vec();
                self.put(RecordKind::Entry(kind), id.index, id.term, durable, &payload, input);
                self.last = id;
            }
            6 | 7 => {
                let term = self.term(input);
                let vote = Some(NodeId::new(u64::from(input.byte()))).filter(|id| id.get() != 0);
                self.hard_state = HardState { term, vote };
                self.put(RecordKind::HardState, LogIndex::ZERO, term, durable, &encode_vote(vote), input);
            }
            8 => {
                let log_start = self.id(input);
                self.put(RecordKind::Reset, log_start.index, log_start.term, durable, &[], input);
                (self.log_start, self.last) = (log_start, log_start);
            }
            9 => self.put(RecordKind::SyncMarker, self.last.index, self.last.term, durable, &[], input),
            10 => {
                let next = self.header.map_or(0, |header| header.id.wrapping_add(1));
                self.put(RecordKind::SegmentEnd, LogIndex::new(next), Term::ZERO, durable, &[], input);
                return false;
            }
            // Not a record: zeros, arbitrary bytes, or a cut somewhere in the records so far.
            11 => {
                self.body.resize(self.body.len() + usize::from(input.byte()).next_multiple_of(ALIGNMENT), 0)
            }
            12 => {
                let length = usize::from(input.byte());
                let junk = input.take(length);
                self.body.extend_from_slice(junk);
                self.body.resize(self.body.len().next_multiple_of(ALIGNMENT), 0);
            }
            13 => {
                let cut = usize::from(input.byte()).min(self.body.len());
                self.body.truncate((self.body.len() - cut).next_multiple_of(ALIGNMENT));
            }
            14 => {
                // A record of an unknown kind, or of a known one with a payload of any length.
                let code = [input.byte(), input.byte() % 4];
                let length = usize::from(input.byte());
                let start = self.body.len();
                self.put(
                    RecordKind::SyncMarker,
                    self.last.index,
                    self.last.term,
                    durable,
                    input.take(length),
                    input,
                );
                let (seed, offset) = (self.header.map_or(0, |header| header.seed), start + 12);
                self.body[offset..offset + 2].copy_from_slice(&code);
                make_whole(&mut self.body[start..], seed);
                self.last_crc =
                    u32::from_le_bytes(self.body[start..start + 4].try_into().expect("four bytes"));
            }
            _ => return false,
        }
        true
    }

    /// Mostly the next entry's id.
    fn id(&self, input: &mut Unstructured<'_>) -> EntryId {
        let index = input.near(self.last.index.get().wrapping_add(1));
        EntryId::new(self.term(input), LogIndex::new(index))
    }

    /// Mostly the newest term so far.
    fn term(&self, input: &mut Unstructured<'_>) -> Term {
        Term::new(input.near(self.last.term.max(self.hard_state.term).get().max(1)))
    }

    fn put(
        &mut self,
        kind: RecordKind,
        index: LogIndex,
        term: Term,
        durable: u64,
        payload: &[u8],
        input: &mut Unstructured<'_>,
    ) {
        let prev_crc = if input.byte() == 255 { self.last_crc ^ 1 } else { self.last_crc };
        let record = Record { kind, prev_crc, index, term, durable, payload };
        let seed = self.header.map_or(0, |header| header.seed);
        self.last_crc = record.encode(seed, &mut self.scratch);
        assert_eq!(self.scratch.len() as u64, record_size_bytes(payload.len()));
        self.body.extend_from_slice(&self.scratch);
    }
}
