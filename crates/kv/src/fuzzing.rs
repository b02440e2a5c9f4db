//! For `tests/fuzz`: applies arbitrary bytes to the map as the entries of a log.

use lograft_types::LogIndex;

use super::store::model::Model;
use super::{ApplyError, Command, CommandError, Store};

/// Applies payloads, one per line. A line that does not begin with a brace is a command in shorthand: `key=value`
/// sets the key and `key` deletes it; an `@` and one byte in front add a condition on that revision.
///
/// Checks that a payload that is not a command changes nothing, that commands survive their encoding within the
/// promised size, that the store does what a plain model does, and that its hash is that of its contents.
pub fn command(bytes: &[u8]) -> &'static str {
    let mut store = Store::new();
    let mut model = Model::default();
    let mut reached = "no command";
    for line in bytes.split(|byte| *byte == b'\n') {
        let before = (store.state_hash(), store.applied(), store.len());
        let index = LogIndex::new(before.1.get() + 1);
        let payload = match shorthand(line) {
            Some(command) => command.encode(),
            None => bytes::Bytes::copy_from_slice(line),
        };
        match Command::decode(&payload) {
            Ok(command) => {
                survives(&command);
                let outcome = store.apply(index, &payload).expect("a command that can be decoded is applied");
                assert_eq!(outcome, model.run(&command));
                assert_eq!(store.get(command.key()), model.get(command.key()));
                reached = "applied";
            }
            Err(source) => {
                if reached == "no command" && matches!(source, CommandError::Unknown { .. }) {
                    reached = "unknown command";
                }
                assert_eq!(store.apply(index, &payload), Err(ApplyError { index, source }));
                assert_eq!((store.state_hash(), store.applied(), store.len()), before, "nothing changed");
            }
        }
        assert_eq!(store.state_hash(), store.hash_anew(), "the running hash matches the map");
    }
    let (prefix, after) = bytes.split_at(bytes.len().min(1));
    let after = &after[..after.len().min(2)];
    let page = store.list(prefix, after, 3, 64, false);
    assert_eq!(page, model.list(prefix, after, 3, 64));
    reached
}

fn shorthand(line: &[u8]) -> Option<Command> {
    if matches!(line.first(), None | Some(b'{')) {
        return None;
    }
    let (condition, line) = match line.strip_prefix(b"@") {
        Some(rest) => (Some(u64::from(*rest.first()?)), rest.get(1..)?),
        None => (None, line),
    };
    let if_mod_revision = condition.map(lograft_types::Revision::new);
    let bytes = bytes::Bytes::copy_from_slice;
    let equals = line.iter().position(|byte| *byte == b'=');
    let key = bytes(&line[..equals.unwrap_or(line.len())]);
    if key.is_empty() {
        return None;
    }
    Some(match equals {
        Some(at) => Command::Set { key, value: bytes(&line[at + 1..]), if_mod_revision },
        None => Command::Delete { key, if_mod_revision },
    })
}

/// Asserts that a command survives its encoding, within the promised size.
fn survives(command: &Command) {
    let encoded = command.encode();
    assert_eq!(Command::decode(&encoded).as_ref(), Ok(command), "a command survives its encoding");
    let value_len = match command {
        Command::Set { value, .. } => value.len(),
        Command::Delete { .. } => 0,
    };
    assert!(encoded.len() <= Command::max_encoded_bytes(command.key().len(), value_len));
}

#[cfg(test)]
#[test]
fn corpus() {
    lograft_fuzzing::play("command", command, &["applied", "unknown command", "no command"]);
}
