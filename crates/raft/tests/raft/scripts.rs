//! The golden scripts, one test each, in the order of the course in `scripts/README.md`.

use std::path::{Path, PathBuf};

use crate::script::Script;

macro_rules! scripts {
    ($($name:ident),+ $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),+];

        $(#[test]
        fn $name() {
            run(stringify!($name));
        })+
    };
}

scripts! {
    one_node_leads_and_commits_alone,
    three_nodes_elect_a_leader,
    a_command_is_replicated_and_committed,
    section_5_1_a_higher_term_makes_everyone_a_follower,
    section_5_1_a_stale_term_is_rejected,
    section_5_2_a_node_starts_as_a_follower,
    section_5_2_a_leader_keeps_its_authority_by_heartbeats,
    section_5_2_a_follower_that_hears_nobody_begins_an_election,
    section_5_2_a_candidate_with_a_majority_leads,
    section_5_2_a_voter_votes_once_a_term,
    section_5_2_a_candidate_follows_an_elected_leader,
    section_5_2_a_split_vote_ends_with_another_election,
    section_5_2_timeouts_are_random,
    section_5_2_two_leaders_in_a_term_make_a_node_halt,
    a_pre_vote_changes_nothing,
    nodes_of_different_terms_elect_a_leader,
    a_node_that_was_cut_off_disturbs_nobody,
    a_pause_and_a_burst_of_ticks_disturb_nobody,
    a_leader_without_a_majority_steps_down,
    a_leader_that_is_heard_but_hears_nobody_steps_down,
    a_lost_stream_is_news,
    the_longer_log_campaigns_when_a_shorter_one_asks,
    half_a_broken_link_elects_nobody,
    section_5_3_a_leader_sends_its_entries_to_all_at_once,
    section_5_3_a_majority_commits,
    section_5_3_a_majority_commits_without_the_leaders_disk,
    section_5_3_a_commit_covers_all_that_precedes,
    section_5_3_followers_learn_what_is_committed,
    section_5_3_a_follower_checks_the_previous_entry,
    section_5_3_a_follower_drops_what_conflicts,
    section_5_3_an_old_append_drops_nothing,
    section_5_3_commit_goes_to_the_last_new_entry_at_most,
    a_probe_finds_where_the_logs_agree,
    a_long_divergence_takes_a_round_a_term,
    figure_7_a_leader_repairs_every_follower,
    entries_that_were_not_committed_may_be_lost,
    lost_messages_are_sent_again,
    a_lost_link_leads_back_to_probing,
    an_acknowledgement_from_before_a_lost_link_does_not_count,
    a_slow_follower_holds_nobody_up,
    a_busy_follower_is_asked_again_later,
    section_5_5_a_repeated_request_does_no_harm,
    section_5_5_messages_that_come_twice_do_no_harm,
    section_5_5_a_crashed_follower_catches_up,
    a_vote_waits_for_the_disk,
    a_vote_is_remembered_after_a_crash,
    a_term_is_used_only_when_durable,
    an_acknowledgement_waits_for_the_disk,
    a_leader_counts_itself_when_its_disk_is_done,
    an_older_flush_does_not_count_for_a_replaced_entry,
    all_nodes_restart_and_keep_what_was_committed,
    a_node_that_forgot_its_vote_breaks_raft,
    a_node_that_forgot_its_log_breaks_raft,
    section_5_4_1_a_vote_request_carries_the_last_entry,
    section_5_4_1_a_voter_denies_a_log_that_is_behind,
    section_5_4_1_a_candidate_that_lacks_a_committed_entry_cannot_win,
    section_5_4_2_an_old_entry_is_not_committed_by_counting,
    figure_8_an_entry_on_a_majority_is_overwritten,
    figure_8_an_entry_of_the_own_term_commits_the_old_one,
    section_5_4_3_a_conflict_with_what_is_committed_halts,
    section_8_a_leader_begins_with_an_entry_of_its_own,
    section_8_a_read_is_confirmed_by_a_majority,
    reads_that_wait_share_a_round,
    an_answer_to_an_older_round_confirms_nothing,
    a_read_waits_for_the_leaders_first_entry,
    a_read_is_lost_with_its_leader,
    a_paused_leader_serves_no_read,
    section_6_a_voter_votes_for_a_candidate_that_it_does_not_know,
    section_6_a_follower_obeys_a_leader_that_it_does_not_know,
    section_6_a_node_that_few_know_yet_can_be_needed_to_lead,
    a_quorum_is_more_than_half,
    what_a_majority_has_is_committed,
    section_6_a_joint_configuration_needs_both_majorities,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/raft/scripts")
}

/// A script is named like its test, with the section number as in the paper: `section_5_4_1_a_voter` is
/// `5.4.1-a-voter`.
fn file_name(test: &str) -> String {
    let Some(rest) = test.strip_prefix("section_") else { return test.replace('_', "-") };
    let words: Vec<_> = rest.split('_').collect();
    let is_number = |word: &&&str| word.bytes().all(|byte| byte.is_ascii_digit());
    let (section, name) = words.split_at(words.iter().take_while(is_number).count());
    format!("{}-{}", section.join("."), name.join("-"))
}

fn run(test: &str) {
    let path = directory().join(file_name(test));
    goldenscript::run(&mut Script::default(), &path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the scripts are files of this test")]
fn every_script_has_its_test_and_its_place_in_the_course() {
    let mut found: Vec<_> = std::fs::read_dir(directory())
        .expect("the scripts are here")
        .map(|file| file.expect("a file").file_name().into_string().expect("a name in UTF-8"))
        .filter(|name| name != "README.md")
        .collect();
    found.sort();
    let mut tested: Vec<_> = NAMES.iter().map(|name| file_name(name)).collect();
    let course = std::fs::read_to_string(directory().join("README.md")).expect("the course is here");
    let places: Vec<_> = tested.iter().map(|name| (course.find(&format!("({name})")), name)).collect();
    for (place, name) in &places {
        assert!(place.is_some(), "README.md does not list {name}");
    }
    assert!(places.is_sorted(), "README.md and scripts.rs list the scripts in different orders");
    tested.sort();
    assert_eq!(found, tested);
}
