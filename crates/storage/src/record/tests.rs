//! Records: whatever was written can be read, and nothing else can.

use proptest::prelude::*;

use super::*;

const KINDS: [RecordKind; 8] = [
    RecordKind::SegmentStart,
    RecordKind::HardState,
    RecordKind::Entry(EntryKind::Normal),
    RecordKind::Entry(EntryKind::NoOp),
    RecordKind::Entry(EntryKind::Configuration),
    RecordKind::Reset,
    RecordKind::SyncMarker,
    RecordKind::SegmentEnd,
];

fn encode(record: &Record<'_>, seed: u32) -> Vec<u8> {
    let mut bytes = vec![1; 3];
    record.encode(seed, &mut bytes);
    bytes
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(
        kind in 0..KINDS.len(),
        numbers in any::<(u32, u64, u64, u32)>(),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        rest in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let (prev_crc, index, term, seed) = numbers;
        let record = Record {
            kind: KINDS[kind],
            prev_crc,
            index: LogIndex::new(index),
            term: Term::new(term),
            durable: 4096,
            payload: &payload,
        };
        let mut bytes = encode(&record, seed);
        prop_assert_eq!(bytes.len() as u64, record_size_bytes(payload.len()));
        prop_assert_eq!(bytes.len() % ALIGNMENT, 0);
        bytes.extend_from_slice(&rest);
        match Record::decode(&bytes, 4096, seed) {
            Decoded::Record { record: read, .. } => prop_assert_eq!(read, record),
            other => prop_assert!(false, "{:?}", other),
        }
        // Another segment's record is not valid, nor is one whose `durable` exceeds its own offset.
        prop_assert_eq!(Record::decode(&bytes, 4096, seed ^ 1), Decoded::Broken);
        prop_assert_eq!(Record::decode(&bytes, 4088, seed), Decoded::Broken);
    }

    #[test]
    fn pitfall_66_any_bytes_are_judged_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        offset in any::<u64>(),
        seed in any::<u32>(),
    ) {
        prop_assert_eq!(Record::decode(&bytes, offset, seed), Decoded::Broken);
    }
}

#[test]
fn a_flip_of_any_bit_of_a_record_is_noticed() {
    let record = Record {
        kind: RecordKind::Entry(EntryKind::Normal),
        prev_crc: 77,
        index: LogIndex::new(5),
        term: Term::new(3),
        durable: 4096,
        payload: b"{\"command\":\"SET\"}",
    };
    let bytes = encode(&record, 11);
    for bit in 0..(HEADER_BYTES + record.payload.len()) * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Record::decode(&flipped, 8192, 11), Decoded::Broken, "bit {bit}");
    }
}

#[test]
fn a_length_beyond_the_bytes_is_no_record() {
    let mut bytes = vec![0; 64];
    bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes[12] = 3;
    assert_eq!(Record::decode(&bytes, 0, 0), Decoded::Broken);
}

#[test]
fn zeros_are_no_record_whatever_the_seed() {
    for seed in 0..1000 {
        assert_eq!(Record::decode(&[0; 40], 0, seed), Decoded::Broken);
    }
}

#[test]
fn the_sizes_are_those_of_the_byte_tables() {
    assert_eq!(record_size_bytes(0), 40);
    assert_eq!(record_size_bytes(1), 48);
    assert_eq!(record_size_bytes(8), 48);
    assert_eq!(record_size_bytes(START_PAYLOAD_BYTES), 88);
}

#[test]
fn a_segment_start_and_a_hard_state_are_read_as_they_were_written() {
    for vote in [None, Some(NodeId::new(u64::MAX))] {
        let start = SegmentStart {
            prev_segment: 3,
            prev_segment_crc: 0xdead_beef,
            log_start: EntryId::new(Term::new(2), LogIndex::new(9)),
            hard_state: HardState { term: Term::new(8), vote },
        };
        assert_eq!(SegmentStart::decode(&start.encode()), Some(start));
        assert_eq!(SegmentStart::decode(&start.encode()[1..]), None);
    }
}

#[test]
fn each_kind_is_shown_by_a_name_of_its_own() {
    let names = KINDS.map(RecordKind::as_str);
    let expected = [
        "segment-start",
        "hard-state",
        "entry",
        "no-op",
        "configuration",
        "reset",
        "sync-marker",
        "segment-end",
    ];
    assert_eq!(names, expected);
}
