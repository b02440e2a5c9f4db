use proptest::prelude::*;

use super::model::Model;
use super::*;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn set(key: &str, value: &str) -> Command {
    Command::Set { key: bytes(key), value: bytes(value), if_mod_revision: None }
}

fn delete(key: &str) -> Command {
    Command::Delete { key: bytes(key), if_mod_revision: None }
}

fn only_if(command: Command, revision: u64) -> Command {
    let condition = Some(Revision::new(revision));
    match command {
        Command::Set { key, value, .. } => Command::Set { key, value, if_mod_revision: condition },
        Command::Delete { key, .. } => Command::Delete { key, if_mod_revision: condition },
    }
}

fn versioned(value: &str, create: u64, modified: u64, version: u64) -> Versioned {
    Versioned {
        value: bytes(value),
        create_revision: Revision::new(create),
        mod_revision: Revision::new(modified),
        version,
    }
}

impl Store {
    /// Applies a command at the next index, the way a node does.
    fn run(&mut self, command: &Command) -> Outcome {
        self.apply(self.applied.next(), &command.encode()).expect("an encoded command can be applied")
    }
}

fn store_of(keys: &[&str]) -> Store {
    let mut store = Store::new();
    for key in keys {
        store.run(&set(key, "0123456789"));
    }
    store
}

fn keys_of(page: &Page) -> Vec<&str> {
    page.items.iter().map(|item| std::str::from_utf8(&item.key).expect("text")).collect()
}

#[test]
fn an_empty_store_is_at_revision_1() {
    let store = Store::new();
    assert_eq!(store.revision(), Revision::new(1));
    assert_eq!(store.applied(), LogIndex::ZERO);
    assert!(store.is_empty());
    assert_eq!(store.get(b"a"), None);
    assert_eq!(store.list(b"", b"", 10, 1000, false), Page::default());
}

#[test]
fn a_set_takes_the_next_revision_and_counts_versions() {
    let mut store = Store::new();
    let first = store.run(&set("a", "1"));
    assert_eq!(first, Outcome { revision: Revision::new(2), effect: Effect::Set { prev: None } });
    store.run(&set("b", "x"));
    let again = store.run(&set("a", "1"));
    let prev = Some(versioned("1", 2, 2, 1));
    assert_eq!(again, Outcome { revision: Revision::new(4), effect: Effect::Set { prev } });
    assert_eq!(store.get(b"a"), Some(&versioned("1", 2, 4, 2)));
    assert_eq!(store.len(), 2);
}

#[test]
fn a_delete_takes_a_revision_only_if_there_was_a_key() {
    let mut store = store_of(&["a"]);
    let nothing = store.run(&delete("b"));
    assert_eq!(nothing, Outcome { revision: Revision::new(2), effect: Effect::Deleted { prev: None } });
    let gone = store.run(&delete("a"));
    let prev = Some(versioned("0123456789", 2, 2, 1));
    assert_eq!(gone, Outcome { revision: Revision::new(3), effect: Effect::Deleted { prev } });
    assert!(store.is_empty());
    // A key that is created again starts over.
    store.run(&set("a", "2"));
    assert_eq!(store.get(b"a"), Some(&versioned("2", 4, 4, 1)));
}

#[test]
fn a_condition_that_fails_changes_nothing_and_tells_the_revision_found() {
    let mut store = store_of(&["a"]);
    let before = store.state_hash();
    let failed = |found| Outcome {
        revision: Revision::new(2),
        effect: Effect::ConditionFailed { found: Revision::new(found) },
    };
    assert_eq!(store.run(&only_if(set("a", "new"), 0)), failed(2));
    assert_eq!(store.run(&only_if(set("a", "new"), 1)), failed(2));
    assert_eq!(store.run(&only_if(set("b", "new"), 2)), failed(0));
    assert_eq!(store.run(&only_if(delete("a"), 0)), failed(2));
    assert_eq!(store.run(&only_if(delete("a"), 3)), failed(2));
    assert_eq!(store.run(&only_if(delete("b"), 2)), failed(0));
    assert_eq!(store.state_hash(), before);
    assert_eq!(store.applied(), LogIndex::new(7), "the entries are applied all the same");
}

#[test]
fn a_condition_that_holds_is_compare_and_set() {
    let mut store = Store::new();
    let made = store.run(&only_if(set("a", "1"), 0));
    assert_eq!(made.effect, Effect::Set { prev: None });
    let changed = store.run(&only_if(set("a", "2"), 2));
    assert_eq!(changed.revision, Revision::new(3));
    let nothing_there = store.run(&only_if(delete("b"), 0));
    assert_eq!(nothing_there, Outcome { revision: Revision::new(3), effect: Effect::Deleted { prev: None } });
    let gone = store.run(&only_if(delete("a"), 3));
    assert_eq!(gone.effect, Effect::Deleted { prev: Some(versioned("2", 2, 3, 2)) });
}

#[test]
fn an_entry_that_is_no_known_command_changes_nothing() {
    let mut store = store_of(&["a"]);
    let before = store.state_hash();
    let index = LogIndex::new(2);
    let unknown = store.apply(index, br#"{"command":"CAS","key":"a"}"#);
    let source = CommandError::Unknown { name: "CAS".to_owned() };
    assert_eq!(unknown, Err(ApplyError { index, source }));
    assert_eq!(
        unknown.map_err(|error| error.to_string()),
        Err("log entry 2 cannot be applied: unknown command \"CAS\": written by a newer version of the program?"
            .to_owned())
    );
    assert!(store.apply(index, b"").is_err(), "an empty payload is not a command");
    assert_eq!(store.applied(), LogIndex::new(1));
    assert_eq!(store.state_hash(), before);
}

#[test]
#[should_panic(expected = "entries are applied in order, each once")]
fn an_entry_is_not_applied_twice() {
    store_of(&["a"]).apply_command(LogIndex::new(1), &set("a", "again"));
}

#[test]
#[should_panic(expected = "entries are applied in order, each once")]
fn no_entry_is_left_out() {
    store_of(&["a"]).skip(LogIndex::new(3));
}

#[test]
fn a_skipped_entry_only_moves_the_index() {
    let mut store = store_of(&["a"]);
    let before = store.state_hash();
    store.skip(LogIndex::new(2));
    assert_eq!(store.applied(), LogIndex::new(2));
    assert_eq!((store.revision(), store.state_hash()), (Revision::new(2), before));
}

#[test]
fn a_list_is_bytewise_and_keeps_to_its_prefix() {
    let store = store_of(&["b", "a/2", "a", "a/10", "é", "B", "a0", "a/"]);
    let list =
        |prefix: &str, after: &str| store.list(prefix.as_bytes(), after.as_bytes(), 100, 10_000, false);
    assert_eq!(keys_of(&list("", "")), ["B", "a", "a/", "a/10", "a/2", "a0", "b", "é"]);
    assert_eq!(keys_of(&list("a/", "")), ["a/", "a/10", "a/2"]);
    assert_eq!(keys_of(&list("a/", "a/10")), ["a/2"]);
    assert_eq!(keys_of(&list("a/", "a/1")), ["a/10", "a/2"], "a start that is not a key");
    assert_eq!(keys_of(&list("a/", "a/")), ["a/10", "a/2"], "the prefix is a key itself");
    assert_eq!(keys_of(&list("a/", "B")), ["a/", "a/10", "a/2"], "a start before the prefix");
    assert_eq!(list("a/", "b"), Page::default(), "a start after the prefix");
    assert_eq!(list("c", ""), Page::default());
}

#[test]
fn a_page_ends_at_its_limits_and_says_exactly_whether_there_is_more() {
    // Four pairs of 12 bytes each, and one that sorts after the prefix.
    let store = store_of(&["k1", "k2", "k3", "k4", "x1"]);
    let page = |limit, max_bytes| {
        let page = store.list(b"k", b"", limit, max_bytes, false);
        (page.items.len(), page.more)
    };
    assert_eq!(page(3, 1000), (3, true));
    assert_eq!(page(4, 1000), (4, false));
    assert_eq!(page(5, 1000), (4, false));
    assert_eq!(page(100, 36), (3, true));
    assert_eq!(page(100, 35), (2, true));
    assert_eq!(page(100, 48), (4, false));
    assert_eq!(page(100, 47), (3, true));
    assert_eq!(page(100, 0), (1, true), "one pair is always returned");
    assert_eq!(page(0, 1000), (0, true));
    let rest = store.list(b"k", b"k3", 100, 0, false);
    assert_eq!((keys_of(&rest), rest.more), (vec!["k4"], false));
    let keys = store.list(b"k", b"", 100, 8, true);
    assert_eq!((keys_of(&keys), keys.more), (vec!["k1", "k2", "k3", "k4"], false), "values do not count");
    assert_eq!(keys.items[1].stored, versioned("", 3, 3, 1));
}

#[test]
fn a_clone_stays_as_it_is() {
    let mut store = store_of(&["a", "b"]);
    let clone = store.clone();
    let hash = clone.state_hash();
    store.run(&set("a", "new"));
    store.run(&delete("b"));
    assert_eq!(clone.get(b"a"), Some(&versioned("0123456789", 2, 2, 1)));
    assert_eq!(keys_of(&clone.list(b"", b"", 10, 1000, false)), ["a", "b"]);
    assert_eq!((clone.state_hash(), clone.applied()), (hash, LogIndex::new(2)));
    assert_eq!(clone.hash_anew(), hash);
}

#[test]
fn what_is_stored_keeps_no_larger_buffer_alive() {
    let buffer = Bytes::from(vec![b'x'; 1 << 20]);
    let mut store = Store::new();
    let command = Command::Set { key: buffer.slice(..3), value: buffer.slice(3..10), if_mod_revision: None };
    store.apply_command(LogIndex::new(1), &command);
    drop(command);
    assert!(buffer.try_into_mut().is_ok(), "nothing else holds the buffer");
}

#[test]
fn the_hash_tells_states_apart() {
    let base = store_of(&["a", "b"]).state_hash();
    assert_ne!(store_of(&["b", "a"]).state_hash(), base, "other revisions");
    assert_ne!(store_of(&["a", "b", "b"]).state_hash(), base, "another version");
    assert_ne!(store_of(&["a", "c"]).state_hash(), base, "another key");
    let mut store = store_of(&["a"]);
    store.run(&set("b", "other"));
    assert_ne!(store.state_hash(), base, "another value");
    let mut store = store_of(&["a", "b", "c"]);
    store.run(&delete("c"));
    assert_ne!(store.state_hash(), base, "the revision is part of the state");
}

#[test]
fn the_hash_depends_on_the_state_not_on_the_entries_that_made_it() {
    let direct = store_of(&["a", "b"]);
    let mut detour = Store::new();
    detour.skip(LogIndex::new(1));
    detour.run(&only_if(set("a", "never"), 9));
    detour.run(&set("a", "0123456789"));
    detour.run(&delete("z"));
    detour.run(&only_if(set("b", "0123456789"), 0));
    assert_eq!(detour.state_hash(), direct.state_hash());
}

/// Nodes of different versions compare their hashes: this value must never change.
#[test]
fn the_hash_is_the_same_for_ever() {
    assert_eq!(format!("{:032x}", store_of(&["a", "b"]).state_hash()), "1f5469a413a08d4dab82cbfcf044b79b");
}

/// Commands on a few keys, so that they touch the same ones.
fn history() -> impl Strategy<Value = Vec<Command>> {
    let key =
        || prop::sample::select(vec!["a", "a/", "a/b", "ab", "b", "\0", "\u{10ffff}", "zz"]).prop_map(bytes);
    let condition = || prop::option::weighted(0.4, prop_oneof![0..4_u64, 0..60_u64].prop_map(Revision::new));
    let value = prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let command = prop_oneof![
        3 => (key(), value, condition())
            .prop_map(|(key, value, if_mod_revision)| Command::Set { key, value, if_mod_revision }),
        2 => (key(), condition()).prop_map(|(key, if_mod_revision)| Command::Delete { key, if_mod_revision }),
    ];
    prop::collection::vec(command, 0..60)
}

proptest! {
    #[test]
    fn agrees_with_the_model(
        history in history(),
        prefix in prop::sample::select(vec!["", "a", "a/", "\0", "q"]),
        after in prop::sample::select(vec!["", "a", "a/a", "ab", "zzz"]),
        limit in 1..5_u32,
        max_bytes in 0..100_usize,
    ) {
        let mut store = Store::new();
        let mut model = Model::default();
        for command in &history {
            prop_assert_eq!(store.run(command), model.run(command));
            prop_assert_eq!(store.get(command.key()), model.get(command.key()));
            prop_assert_eq!(store.state_hash(), store.hash_anew(), "the running hash matches the map");
        }
        prop_assert_eq!(store.len(), model.len());
        let (prefix, after) = (prefix.as_bytes(), after.as_bytes());
        prop_assert_eq!(
            store.list(prefix, after, limit, max_bytes, false),
            model.list(prefix, after, limit, max_bytes)
        );
    }

    /// The same log gives the same state on every node, including one whose store was cloned on the way (which makes
    /// the map copy nodes at other moments) and one that applies commands as they were before they were encoded.
    #[test]
    fn pitfall_55_the_same_log_gives_the_same_hash_at_every_index(history in history(), clone_at in 0..60_usize) {
        let mut plain = Store::new();
        let mut cloned = Store::new();
        let mut decoded = Store::new();
        let mut kept = None;
        for (at, command) in history.iter().enumerate() {
            if at == clone_at {
                kept = Some(cloned.clone());
            }
            let index = plain.applied().next();
            let outcome = plain.run(command);
            prop_assert_eq!(cloned.run(command), outcome.clone());
            prop_assert_eq!(decoded.apply_command(index, command), outcome);
            prop_assert_eq!(plain.state_hash(), cloned.state_hash());
            prop_assert_eq!(plain.state_hash(), decoded.state_hash());
        }
        // A node that was behind and applies the rest later ends in the same state.
        if let Some(mut late) = kept {
            for command in &history[clone_at..] {
                late.run(command);
            }
            prop_assert_eq!(late.state_hash(), plain.state_hash());
        }
    }
}
