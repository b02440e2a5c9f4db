use proptest::prelude::*;

use super::*;

fn set(key: &[u8], value: &[u8], if_mod_revision: Option<u64>) -> Command {
    Command::Set {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        if_mod_revision: if_mod_revision.map(Revision::new),
    }
}

fn delete(key: &[u8], if_mod_revision: Option<u64>) -> Command {
    Command::Delete { key: Bytes::copy_from_slice(key), if_mod_revision: if_mod_revision.map(Revision::new) }
}

fn malformed_reason(json: &str) -> String {
    match Command::decode(json.as_bytes()) {
        Err(CommandError::Malformed { reason }) => reason,
        other => panic!("{json}: {other:?}"),
    }
}

#[test]
fn commands_stand_as_one_object_in_a_fixed_order() {
    let cases: [(Command, &str); 10] = [
        (set(b"greeting", b"hello", None), r#"{"command":"SET","key":"greeting","value":"hello"}"#),
        (set(b"a", b"", Some(0)), r#"{"command":"SET","key":"a","value":"","if_mod_revision":0}"#),
        (delete(b"a/b", None), r#"{"command":"DELETE","key":"a/b"}"#),
        (
            delete(b"a", Some(u64::MAX)),
            r#"{"command":"DELETE","key":"a","if_mod_revision":18446744073709551615}"#,
        ),
        (
            set(b"k", "é ☃ \u{1f600} \u{7f}".as_bytes(), None),
            "{\"command\":\"SET\",\"key\":\"k\",\"value\":\"é ☃ 😀 \u{7f}\"}",
        ),
        (set(b"k", b"a \"b\"\n of text", None), r#"{"command":"SET","key":"k","value":"a \"b\"\n of text"}"#),
        // A control character without a short escape takes six bytes; in a long text that is still shorter than
        // base64.
        (
            set(b"k", b"a long text with one \x1f", None),
            r#"{"command":"SET","key":"k","value":"a long text with one \u001f"}"#,
        ),
        // The escapes of these would be longer than base64.
        (set(b"k", b"\0\0\0", None), r#"{"command":"SET","key":"k","value64":"AAAA"}"#),
        (set(b"\\\\\\", b"v", None), r#"{"command":"SET","key64":"XFxc","value":"v"}"#),
        // Not UTF-8.
        (set(b"\xff\x00", b"\xc0\x80", None), r#"{"command":"SET","key64":"/wA=","value64":"wIA="}"#),
    ];
    for (command, json) in cases {
        assert_eq!(std::str::from_utf8(&command.encode()), Ok(json));
        assert_eq!(Command::decode(json.as_bytes()), Ok(command), "{json}");
    }
}

#[test]
fn every_byte_of_text_survives() {
    // Long enough that the escaped text is shorter than base64.
    for byte in 0..128_u8 {
        let text = [b"thirty bytes of ordinary text: ", &[byte][..]].concat();
        let json = set(&text, &text, None).encode();
        assert!(
            std::str::from_utf8(&json).is_ok_and(|json| !json.contains("64")),
            "{byte} is written as text"
        );
        assert_eq!(Command::decode(&json), Ok(set(&text, &text, None)), "{byte}");
    }
}

#[test]
fn other_hands_may_write_other_orders_blanks_and_escapes() {
    let cases: [(&str, Command); 6] = [
        (" {\n\"value\" : \"v\", \"key\":\"k\",\t\"command\":\"SET\" }\n", set(b"k", b"v", None)),
        (
            r#"{"command":"S\u0045T","key":"\u0000\/","value":"\ud83d\ude00"}"#,
            set(b"\0/", "😀".as_bytes(), None),
        ),
        // Text may also be given as base64.
        (r#"{"command":"DELETE","key64":"aw=="}"#, delete(b"k", None)),
        (r#"{"command":"SET","key":"k","value64":""}"#, set(b"k", b"", None)),
        (r#"{"command":"SET","key":"k","value":"v","if_mod_revision":null}"#, set(b"k", b"v", None)),
        (r#"{"command":"DELETE","key":"k","value":null}"#, delete(b"k", None)),
    ];
    for (json, command) in cases {
        assert_eq!(Command::decode(json.as_bytes()), Ok(command), "{json}");
    }
}

#[test]
fn an_unknown_command_is_told_apart_whatever_its_fields() {
    for json in [
        r#"{"command":"CAS","key":"k","value":"v"}"#,
        r#"{"command":"CAS","key":"k","lease":7}"#,
        r#"{"lease":{"id":[1,2]},"command":"CAS"}"#,
        r#"{"command":"CAS","key":7}"#,
    ] {
        let error = Command::decode(json.as_bytes());
        assert_eq!(error, Err(CommandError::Unknown { name: "CAS".to_owned() }), "{json}");
    }
    for name in ["", "set", "SET ", "S\0ET", "ＳＥＴ"] {
        let json = serde_json::json!({"command": name, "key": "k", "value": "v"}).to_string();
        let error = Command::decode(json.as_bytes());
        assert_eq!(error, Err(CommandError::Unknown { name: name.to_owned() }), "{name:?}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let cases: [(&str, CommandError); 9] = [
        (r#"{"command":"SET","value":"v"}"#, CommandError::Missing { command: SET, field: "key" }),
        (r#"{"command":"SET","key":"k"}"#, CommandError::Missing { command: SET, field: "value" }),
        (r#"{"command":"DELETE"}"#, CommandError::Missing { command: DELETE, field: "key" }),
        (
            r#"{"command":"DELETE","key":"k","value64":""}"#,
            CommandError::Unexpected { command: DELETE, field: "value" },
        ),
        (
            r#"{"command":"SET","key":"k","key64":"aw==","value":"v"}"#,
            CommandError::Ambiguous { command: SET, field: "key" },
        ),
        (
            r#"{"command":"SET","key":"k","value":"v","value64":"dg=="}"#,
            CommandError::Ambiguous { command: SET, field: "value" },
        ),
        (r#"{"command":"SET","key":"","value":"v"}"#, CommandError::EmptyKey),
        (r#"{"command":"DELETE","key64":""}"#, CommandError::EmptyKey),
        (
            r#"{"command":"DELETE","key":null,"key64":null}"#,
            CommandError::Missing { command: DELETE, field: "key" },
        ),
    ];
    for (json, error) in cases {
        assert_eq!(Command::decode(json.as_bytes()), Err(error), "{json}");
    }
}

#[test]
fn broken_base64_is_refused() {
    // A blank, no padding, too much padding, the URL-safe alphabet, lost trailing bits, padding in the middle, and so
    // on.
    for base64 in ["a w=", "aw", "aw===", "_wA=", "ax==", "aw==aw==", "a", "=", "\u{e9}"] {
        let json = serde_json::json!({"command": "DELETE", "key64": base64}).to_string();
        let error = Command::decode(json.as_bytes());
        assert!(matches!(error, Err(CommandError::Base64 { field: "key", .. })), "{base64:?}: {error:?}");
    }
}

#[test]
fn odd_json_is_refused_in_words() {
    let nested = format!(r#"{{"command":{}"SET"{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let nested_elsewhere = format!(r#"{{"command":"SET","x":{}"#, "{\"a\":".repeat(100_000));
    for (json, part) in [
        ("", "JSON object"),
        ("{", "EOF"),
        ("null", "JSON object"),
        ("[]", "JSON object"),
        (r#"["SET","k",null,"v",null,null]"#, "JSON object"),
        (r#"["CAS"]"#, "JSON object"),
        (r#""SET""#, "JSON object"),
        ("{}", "missing field `command`"),
        (r#"{"command":null}"#, "null"),
        (r#"{"command":"SET","key":"k","value":"v""#, "EOF"),
        (r#"{"command":"SET","key":"k","value":"v"} x"#, "trailing"),
        (r#"{"command":"SET","key":"k","value":"v"}{}"#, "trailing"),
        (r#"{"command":"SET","key":"k","value":"v",}"#, "trailing comma"),
        (r#"{"command":"SET","key":"k","value":"v","ttl":1}"#, "unknown field `ttl`"),
        (r#"{"command":"SET","key":"k","value":"v","Key":"k"}"#, "unknown field `Key`"),
        (r#"{"command":"SET","key":"k","value":"v","value":"v"}"#, "duplicate field `value`"),
        (r#"{"command":"SET","command":"SET","key":"k","value":"v"}"#, "duplicate field `command`"),
        (r#"{"command":"SET","key":7,"value":"v"}"#, "integer `7`"),
        (r#"{"command":"SET","key":["k"],"value":"v"}"#, "sequence"),
        (r#"{"command":"SET","key":"\ud83d","value":"v"}"#, ""),
        (r#"{"command":"SET","key":"\ude00\ud83d","value":"v"}"#, ""),
        (r#"{"command":"SET","key":"\x00","value":"v"}"#, "escape"),
        ("{\"command\":\"SET\",\"key\":\"a\nb\",\"value\":\"v\"}", "control character"),
        (r#"{"command":"SET","key":"k","value":"v","if_mod_revision":-1}"#, "-1"),
        (r#"{"command":"SET","key":"k","value":"v","if_mod_revision":1.0}"#, "floating point"),
        (
            r#"{"command":"SET","key":"k","value":"v","if_mod_revision":18446744073709551616}"#,
            "floating point",
        ),
        (r#"{"command":"SET","key":"k","value":"v","if_mod_revision":1e999999999}"#, "out of range"),
        (r#"{"command":"SET","key":"k","value":"v","if_mod_revision":"7"}"#, "string"),
        (&nested, "expected a string"),
        (&nested_elsewhere, "unknown field `x`"),
    ] {
        let reason = malformed_reason(json);
        assert!(reason.contains(part), "{:.80}: {reason}", json);
    }
    let not_utf8 = b"{\"command\":\"SET\",\"key\":\"\xff\",\"value\":\"v\"}";
    assert!(matches!(Command::decode(not_utf8), Err(CommandError::Malformed { .. })));
    // A torn entry is malformed, not an unknown command.
    assert!(malformed_reason(r#"{"command":"CAS","key":"k""#).contains("EOF"));
}

/// Bytes of every sort: arbitrary bytes, arbitrary text, ordinary text, and text that is mostly escapes.
fn bytes(length: std::ops::Range<usize>) -> impl Strategy<Value = Bytes> {
    let escapes = prop::sample::select(b"\0\x01\x08\t\n\x1f\"\\/au".to_vec());
    prop_oneof![
        prop::collection::vec(any::<u8>(), length.clone()),
        prop::collection::vec(escapes, length.clone()),
        prop::collection::vec(any::<char>(), length.clone())
            .prop_map(|text| text.into_iter().collect::<String>().into_bytes()),
        prop::collection::vec(b' '..b'~', length),
    ]
    .prop_map(Bytes::from)
}

fn commands() -> impl Strategy<Value = Command> {
    let condition = || prop::option::of(prop_oneof![0..20_u64, any::<u64>()].prop_map(Revision::new));
    prop_oneof![
        (bytes(1..40), bytes(0..400), condition()).prop_map(|(key, value, if_mod_revision)| Command::Set {
            key,
            value,
            if_mod_revision
        }),
        (bytes(1..40), condition())
            .prop_map(|(key, if_mod_revision)| Command::Delete { key, if_mod_revision }),
    ]
}

proptest! {
    /// A command survives its encoding, and the encoding is never longer than promised.
    #[test]
    fn round_trip(command in commands()) {
        let json = command.encode();
        prop_assert_eq!(Command::decode(&json), Ok(command.clone()));
        let value_len = match &command {
            Command::Set { value, .. } => value.len(),
            Command::Delete { .. } => 0,
        };
        prop_assert!(json.len() <= Command::max_encoded_bytes(command.key().len(), value_len));
        let parsed: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_slice(&json);
        prop_assert!(parsed.is_ok(), "other parsers read it as JSON too");
    }

    /// Whatever bytes come from a disk or a peer, decoding at worst returns an error.
    #[test]
    fn anything_may_be_decoded(
        json in prop::collection::vec(any::<u8>(), 0..200),
        command in commands(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let _ = Command::decode(&json);
        let mut broken = command.encode().to_vec();
        let at = at.index(broken.len());
        broken[at] = byte;
        if let Ok(other) = Command::decode(&broken) {
            prop_assert_eq!(Command::decode(&other.encode()), Ok(other));
        }
    }
}

#[test]
fn the_longest_frame_is_the_longest() {
    // Bytes that are not text and the largest revision reach the bound, except for the three letters that DELETE is
    // longer than SET.
    let json = set(b"\xff\xff", b"\xff\xff", Some(u64::MAX)).encode();
    assert_eq!(json.len() + "DELETE".len() - "SET".len(), Command::max_encoded_bytes(2, 2));
}
