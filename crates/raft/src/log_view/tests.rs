use proptest::prelude::*;

use super::*;

fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

fn entry(term: u64, index: u64) -> EntryMeta {
    EntryMeta { id: id(term, index), size_bytes: 10 }
}

/// Entries after the log start 5@2.
fn log(terms: &[u64]) -> LogView {
    LogView::new(id(2, 5), terms.iter().zip(6..).map(|(&term, index)| entry(term, index)))
}

#[test]
fn pitfall_22_what_is_not_in_the_log_has_no_term() {
    let log = log(&[2, 3, 3]);
    let terms: Vec<_> = (4..=9).map(|index| log.term_at(LogIndex::new(index)).map(Term::get)).collect();
    assert_eq!(terms, [Err(NoTerm::Compacted), Ok(2), Ok(2), Ok(3), Ok(3), Err(NoTerm::Unavailable)]);
    let empty = LogView::new(EntryId::ORIGIN, []);
    assert_eq!(empty.term_at(LogIndex::ZERO), Ok(Term::ZERO), "the origin, and nothing else, has term 0");
    assert_eq!(empty.last(), EntryId::ORIGIN);
}

#[test]
fn the_last_entry_of_a_term_at_most_is_found_by_runs() {
    let log = log(&[2, 4, 4, 6]);
    let cases = [(6, 9, id(6, 9)), (6, 99, id(6, 9)), (5, 9, id(4, 8)), (4, 7, id(4, 7)), (3, 9, id(2, 6))];
    for (term, index, expected) in cases {
        assert_eq!(log.last_at_most(Term::new(term), LogIndex::new(index)), expected);
    }
    assert_eq!(log.last_at_most(Term::new(1), LogIndex::new(9)), log.log_start());
    assert_eq!(log.last_at_most(Term::new(9), LogIndex::new(1)), log.log_start());
}

#[test]
fn messages_are_filled_within_both_bounds() {
    let log = log(&[2, 3, 3, 4]);
    let indexes = |first, entries, bytes| {
        let entries = log.entries(LogIndex::new(first), entries, bytes);
        entries.into_iter().map(|entry| (entry.id.index.get(), entry.id.term.get())).collect::<Vec<_>>()
    };
    assert_eq!(indexes(6, 9, 99), [(6, 2), (7, 3), (8, 3), (9, 4)]);
    assert_eq!(indexes(8, 9, 99), [(8, 3), (9, 4)]);
    assert_eq!(indexes(6, 2, 99), [(6, 2), (7, 3)]);
    assert_eq!(indexes(7, 9, 25), [(7, 3), (8, 3)]);
    assert_eq!(indexes(9, 9, 1), [(9, 4)], "a large entry is still sent, alone");
    assert_eq!(indexes(10, 9, 99), []);
}

#[test]
fn pitfall_21_a_flush_says_nothing_of_what_came_in_the_place_of_its_entries() {
    let mut log = log(&[]);
    for index in 6..=8 {
        log.append(entry(3, index), WriteSeq::new(1));
    }
    log.truncate(LogIndex::new(7));
    log.append(entry(4, 7), WriteSeq::new(2));
    assert_eq!(log.durable_with(LogIndex::new(6)), WriteSeq::new(1));
    assert_eq!(log.durable_with(LogIndex::new(7)), WriteSeq::new(2));
    log.persist(WriteSeq::new(1));
    assert_eq!(log.persisted(), LogIndex::new(6));
    log.persist(WriteSeq::new(2));
    assert_eq!(log.persisted(), LogIndex::new(7));
    assert_eq!(log.durable_with(LogIndex::new(7)), WriteSeq::ZERO);
}

/// A step of a log or its disk.
#[derive(Clone, Debug)]
enum Act {
    Append(u64),
    ReplaceFrom(u64, u64),
    Flush(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (1_u64..4).prop_map(Act::Append),
        (0_u64..8, 1_u64..4).prop_map(|(back, count)| Act::ReplaceFrom(back, count)),
        (0_u64..4).prop_map(Act::Flush),
    ]
}

proptest! {
    /// Compares the log with a model that remembers which write brought each entry.
    #[test]
    fn the_log_agrees_with_a_list(acts in prop::collection::vec(act(), 0..40)) {
        let mut log = LogView::new(EntryId::ORIGIN, []);
        let mut model: Vec<(u64, u64)> = Vec::new();
        let (mut write, mut flushed, mut term) = (0_u64, 0_u64, 1_u64);
        for act in acts {
            let count = match act {
                Act::Append(count) => count,
                Act::ReplaceFrom(back, count) => {
                    let keep = model.len().saturating_sub(usize::try_from(back).unwrap());
                    if keep < model.len() {
                        log.truncate(LogIndex::new(keep as u64 + 1));
                        model.truncate(keep);
                    }
                    term += 1;
                    count
                }
                Act::Flush(behind) => {
                    flushed = flushed.max(write.saturating_sub(behind));
                    log.persist(WriteSeq::new(flushed));
                    0
                }
            };
            if count > 0 {
                write += 1;
            }
            for _ in 0..count {
                model.push((term, write));
                log.append(entry(term, model.len() as u64), WriteSeq::new(write));
            }
            prop_assert_eq!(log.last().index.get(), model.len() as u64);
            let durable = model.iter().take_while(|&&(_, write)| write <= flushed).count() as u64;
            prop_assert_eq!(log.persisted().get(), durable);
            for (&(term, write), index) in model.iter().zip(1..) {
                prop_assert_eq!(log.term_at(LogIndex::new(index)), Ok(Term::new(term)));
                let expected = if write <= flushed { 0 } else { write };
                prop_assert_eq!(log.durable_with(LogIndex::new(index)).get(), expected);
            }
            let all = log.entries(LogIndex::new(1), usize::MAX, usize::MAX);
            prop_assert_eq!(all.len(), model.len());
        }
    }
}
