use lograft_types::NodeId;

use super::*;

const SAYS: LeaderSays = LeaderSays { term: Term::new(9), commit: LogIndex::ZERO, read_round: 0 };

fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

fn log(terms: &[u64]) -> LogView {
    let entries = terms.iter().zip(1..).map(|(&t, i)| EntryMeta { id: id(t, i), size_bytes: 10 });
    LogView::new(EntryId::ORIGIN, entries)
}

fn config() -> Config {
    Config {
        max_append_entries: 2,
        max_inflight_messages: 2,
        max_inflight_bytes: 1000,
        ..Config::new(NodeId::new(1))
    }
}

fn index(index: u64) -> LogIndex {
    LogIndex::new(index)
}

/// Indexes of the entries of a message.
fn indexes(message: Option<AppendEntries>) -> Vec<u64> {
    message
        .map_or_else(Vec::new, |message| message.entries.iter().map(|entry| entry.id.index.get()).collect())
}

/// A peer whose log is known to match up to an index.
fn replicating(match_index: u64, log: &LogView) -> Progress {
    let mut progress = Progress::new(index(match_index + 1), 0);
    let probe = progress.heartbeat_due(log, &Config { max_append_entries: 1, ..config() }, SAYS);
    progress.matched(probe.request_id, index(match_index), log);
    assert_eq!(progress.state_name(), "replicate");
    progress
}

#[test]
fn a_probe_has_one_request_on_its_way() {
    let log = log(&[1, 1, 1]);
    let mut progress = Progress::new(index(2), 0);
    let probe = progress.next_append(&log, &config(), SAYS);
    assert_eq!(indexes(probe), [2, 3]);
    assert_eq!(progress.next_append(&log, &config(), SAYS), None);
    let again = progress.heartbeat_due(&log, &config(), SAYS);
    assert_eq!((again.prev, again.entries.len()), (id(1, 1), 0), "the same probe, without its entries");
}

#[test]
fn a_replicating_peer_is_sent_entries_ahead_of_its_answers_within_bounds() {
    let log = log(&[1; 9]);
    let mut progress = replicating(1, &log);
    assert_eq!(indexes(progress.next_append(&log, &config(), SAYS)), [2, 3]);
    let second = progress.next_append(&log, &config(), SAYS).expect("a second message is allowed");
    assert_eq!(progress.next_append(&log, &config(), SAYS), None, "two messages are in flight");
    assert_eq!(progress.in_flight(), (2, 40));
    // The response to the second covers the first.
    progress.matched(second.request_id, index(5), &log);
    assert_eq!(progress.in_flight(), (0, 0));

    let tight = Config { max_inflight_bytes: 20, ..config() };
    assert_eq!(indexes(progress.next_append(&log, &tight, SAYS)), [6, 7]);
    assert_eq!(progress.next_append(&log, &tight, SAYS), None, "twenty bytes are in flight");
}

#[test]
fn the_answer_to_a_heartbeat_frees_nothing_and_finds_nothing() {
    let log = log(&[1; 9]);
    let mut progress = replicating(1, &log);
    progress.next_append(&log, &config(), SAYS);
    let heartbeat = progress.heartbeat(&log, SAYS);
    progress.matched(heartbeat.request_id, index(1), &log);
    assert_eq!(progress.in_flight(), (1, 20));

    let mut probing = Progress::new(index(9), 0);
    probing.next_append(&log, &config(), SAYS);
    let heartbeat = probing.heartbeat(&log, SAYS);
    assert_eq!(heartbeat.prev, EntryId::ORIGIN);
    probing.matched(heartbeat.request_id, LogIndex::ZERO, &log);
    assert_eq!(probing.state_name(), "probe");
}

#[test]
fn a_conflict_jumps_over_whole_terms() {
    let log = log(&[1, 1, 4, 4, 6, 6]);
    // The peer's entry, and where to look next: after our last entry whose term is at most the peer's.
    let cases = [(id(6, 5), 6), (id(5, 5), 5), (id(2, 4), 3), (id(1, 1), 2), (EntryId::ORIGIN, 1)];
    for (conflict, next) in cases {
        let mut progress = Progress::new(index(7), 0);
        let probe = progress.next_append(&log, &config(), SAYS);
        assert_eq!(probe, None, "nothing to send yet");
        let probe = progress.heartbeat_due(&log, &config(), SAYS);
        progress.conflicted(probe.request_id, conflict, &log);
        assert_eq!(progress.next_index, index(next), "conflict {conflict}");
    }
}

#[test]
fn an_index_without_a_term_is_one_past_the_peers_log() {
    let log = log(&[1; 6]);
    let mut progress = Progress::new(index(7), 0);
    let probe = progress.heartbeat_due(&log, &config(), SAYS);
    progress.conflicted(probe.request_id, id(0, 3), &log);
    assert_eq!(progress.next_index, index(3));
}

#[test]
fn a_conflict_always_leads_back_and_never_behind_the_match() {
    let log = log(&[1; 9]);
    let mut progress = replicating(3, &log);
    let sent = progress.next_append(&log, &config(), SAYS).expect("entries");
    progress.conflicted(sent.request_id, id(1, 99), &log);
    assert_eq!(progress.next_index, index(5), "a peer that points ahead");
    let sent = progress.next_append(&log, &config(), SAYS).expect("entries");
    progress.conflicted(sent.request_id, id(1, 3), &log);
    assert_eq!(progress.next_index, index(4), "a peer that has just what it acknowledged");
}

#[test]
fn pitfall_20_answers_from_before_a_reset_do_not_count() {
    let log = log(&[1; 9]);
    let mut progress = replicating(3, &log);
    let before = progress.next_append(&log, &config(), SAYS).expect("entries");
    progress.link_lost();
    assert!(!progress.matched(before.request_id, index(5), &log));
    progress.conflicted(before.request_id, EntryId::ORIGIN, &log);
    assert!(!progress.busy(before.request_id, index(5)));
    assert_eq!((progress.match_index, progress.next_index), (index(3), index(4)));
}

#[test]
fn after_a_broken_link_the_next_heartbeat_looks_again() {
    let log = log(&[1; 9]);
    let mut progress = replicating(3, &log);
    progress.link_lost();
    assert_eq!(progress.next_append(&log, &config(), SAYS), None);
    let probe = progress.heartbeat_due(&log, &config(), SAYS);
    assert_eq!(indexes(Some(probe)), [4, 5]);
}

#[test]
fn a_broken_link_does_not_forget_where_a_probe_looked() {
    let mut progress = Progress::new(index(8), 0);
    progress.link_lost();
    assert_eq!(progress.next_index, index(8));
}

#[test]
fn a_busy_peer_gets_no_entries_until_the_next_heartbeat() {
    let log = log(&[1; 9]);
    let mut progress = replicating(1, &log);
    let sent = progress.next_append(&log, &config(), SAYS).expect("entries");
    assert!(progress.busy(sent.request_id, index(2)), "it took one of two");
    assert_eq!(progress.next_append(&log, &config(), SAYS), None);
    let heartbeat = progress.heartbeat(&log, SAYS);
    progress.matched(heartbeat.request_id, index(2), &log);
    assert_eq!(progress.next_append(&log, &config(), SAYS), None);
    progress.heartbeat_due(&log, &config(), SAYS);
    assert_eq!(indexes(progress.next_append(&log, &config(), SAYS)), [3, 4]);
}

#[test]
fn a_peer_that_is_silent_about_its_entries_is_probed() {
    let log = log(&[1; 9]);
    let mut progress = replicating(1, &log);
    progress.next_append(&log, &config(), SAYS);
    for _ in 0..config().election_timeout_ticks {
        progress.heard(0);
        assert_eq!(progress.state_name(), "replicate");
        progress.tick(&config());
    }
    assert_eq!(progress.state_name(), "probe");
    assert_eq!(progress.next_index, index(2));
}

#[test]
fn a_commit_is_told_once_and_only_as_far_as_the_peer_matched() {
    let log = log(&[1; 9]);
    let mut progress = replicating(3, &log);
    let says = LeaderSays { commit: index(5), ..SAYS };
    let news = progress.commit_news(&log, says).expect("news");
    assert_eq!((news.prev, news.commit), (id(1, 3), index(3)));
    assert_eq!(progress.commit_news(&log, says), None);
    let carries = progress.next_append(&log, &config(), says).expect("entries");
    assert_eq!(carries.commit, index(5), "entries carry it themselves");
}

#[test]
fn pitfall_97_a_peer_whose_log_ends_before_what_it_acknowledged_is_found_out_and_sent_everything_again() {
    let log = log(&[1; 5]);
    let mut progress = replicating(3, &log);
    progress.link_lost();
    let probe = progress.heartbeat_due(&log, &config(), SAYS);
    assert_eq!(probe.prev, id(1, 3));
    assert_eq!(progress.conflicted(probe.request_id, id(1, 1), &log), Some(index(3)));
    assert_eq!(progress.match_index(), LogIndex::ZERO, "what it has lost no longer counts for a majority");
    let again = progress.next_append(&log, &config(), SAYS).expect("it is sent the entries at once");
    assert_eq!((again.prev, indexes(Some(again.clone()))), (id(1, 1), vec![2, 3]));
    assert!(progress.matched(again.request_id, index(3), &log));
}

#[test]
fn pitfall_97_a_conflict_that_left_before_the_acknowledgement_arrived_proves_no_loss() {
    let log = log(&[1; 5]);
    let mut progress = Progress::new(index(4), 0);
    // The peer answers two probes before the entries arrive that come on an older stream.
    let first = progress.heartbeat_due(&log, &config(), SAYS);
    let second = progress.heartbeat_due(&log, &config(), SAYS);
    assert!(progress.matched(first.request_id, index(3), &log));
    assert_eq!(progress.conflicted(second.request_id, id(1, 1), &log), None);
    assert_eq!(progress.match_index(), index(3));
    // Nor does a conflict at or past the match.
    let third = progress.heartbeat_due(&log, &config(), SAYS);
    assert_eq!(progress.conflicted(third.request_id, id(1, 3), &log), None);
    assert_eq!(progress.match_index(), index(3));
}
