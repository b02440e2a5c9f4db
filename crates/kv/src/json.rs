//! Commands as JSON: the payload of a log entry, encoded once and read on every node.
//!
//! ```text
//! {"command":"SET","key":"greeting","value":"hello","if_mod_revision":7}
//! {"command":"DELETE","key64":"/wA="}
//! ```
//!
//! - Fields are written in this order, without whitespace. They are read in any order. A field that no command has is
//!   an error, and so is a repeated field.
//! - A key or value is text under `key` or `value`. If it is not UTF-8, or if base64 (RFC 4648 §4, padded) is shorter
//!   than the text with its escapes, it is base64 under `key64` or `value64`. So whatever bytes a client chooses, an
//!   entry is at most 4/3 as long as its key and value, plus a constant; see [`Command::max_encoded_bytes`].
//! - Escapes are the short ones of RFC 8259 §7 and `\u00xx` for other control characters; all other characters are
//!   written unescaped.
//!
//! Caveats: sizes are not limited here. The bytes alone decide which form is written, but either form is accepted
//! when reading.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use lograft_types::Revision;

use super::{Command, CommandError};

const SET: &str = "SET";
const DELETE: &str = "DELETE";

/// The longest command with an empty key and value.
const LONGEST_FRAME: &str =
    r#"{"command":"DELETE","key64":"","value64":"","if_mod_revision":18446744073709551615}"#;

/// How to write each byte in JSON text: 0 means unescaped, `u` means `\u00xx`, any other letter follows a backslash.
const ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        escapes[byte] = b'u';
        byte += 1;
    }
    escapes[0x08] = b'b';
    escapes[b'\t' as usize] = b't';
    escapes[b'\n' as usize] = b'n';
    escapes[0x0c] = b'f';
    escapes[b'\r' as usize] = b'r';
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes
};

impl Command {
    /// The most bytes that [`Self::encode`] returns for a command with a key and value of these lengths in bytes.
    pub const fn max_encoded_bytes(key_len: usize, value_len: usize) -> usize {
        LONGEST_FRAME.len() + base64_len(key_len) + base64_len(value_len)
    }

    /// Encodes the command as JSON, in a buffer of exactly the right size.
    pub fn encode(&self) -> Bytes {
        let (name, value) = match self {
            Self::Set { value, .. } => (SET, Some(Field::new("value", value))),
            Self::Delete { .. } => (DELETE, None),
        };
        let key = Field::new("key", self.key());
        let condition = self
            .if_mod_revision()
            .map_or_else(String::new, |revision| format!(",\"if_mod_revision\":{}", revision.get()));

        let fields_len = key.encoded_len() + value.as_ref().map_or(0, Field::encoded_len);
        let len = r#"{"command":""}"#.len() + name.len() + fields_len + condition.len();
        let mut json = Vec::with_capacity(len);
        json.extend_from_slice(b"{\"command\":\"");
        json.extend_from_slice(name.as_bytes());
        json.push(b'"');
        key.append_to(&mut json);
        if let Some(value) = value {
            value.append_to(&mut json);
        }
        json.extend_from_slice(condition.as_bytes());
        json.push(b'}');
        assert_eq!(json.len(), len, "the JSON has the computed length");
        Bytes::from(json)
    }

    /// Decodes what [`Self::encode`] wrote, or what a person or another program wrote in the same format.
    ///
    /// # Errors
    /// If the bytes are not a known command. [`CommandError::Unknown`] takes precedence over errors in other fields:
    /// only a version that knows the command can judge them.
    pub fn decode(json: &[u8]) -> Result<Self, CommandError> {
        // Without this check, the derived parser would also accept a JSON array of the fields' values.
        if json.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(CommandError::Malformed { reason: "not a JSON object".to_owned() });
        }
        let raw: RawCommand<'_> = match serde_json::from_slice(json) {
            Ok(raw) => raw,
            Err(error) => return Err(unknown_name(json).unwrap_or_else(|| malformed(&error))),
        };
        let command = known(&raw.command.0).ok_or_else(|| unknown(&raw.command.0))?;
        let key = bytes_of(command, "key", raw.key, raw.key64)?
            .ok_or(CommandError::Missing { command, field: "key" })?;
        if key.is_empty() {
            return Err(CommandError::EmptyKey);
        }
        let value = bytes_of(command, "value", raw.value, raw.value64)?;
        let if_mod_revision = raw.if_mod_revision.map(Revision::new);
        match (command, value) {
            (SET, Some(value)) => Ok(Self::Set { key, value, if_mod_revision }),
            (SET, None) => Err(CommandError::Missing { command, field: "value" }),
            (_, None) => Ok(Self::Delete { key, if_mod_revision }),
            (_, Some(_)) => Err(CommandError::Unexpected { command, field: "value" }),
        }
    }
}

/// A key or value to be written as JSON.
struct Field<'a> {
    name: &'static str,
    bytes: &'a [u8],
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    /// Text without escapes.
    Plain,
    /// Text that is this long with its escapes.
    Escaped {
        len: usize,
    },
    Base64,
}

impl<'a> Field<'a> {
    fn new(name: &'static str, bytes: &'a [u8]) -> Self {
        let form = if std::str::from_utf8(bytes).is_err() {
            Form::Base64
        } else if !bytes.iter().fold(false, |found, byte| found | needs_escape(*byte)) {
            // The common case. The branchless fold is vectorized; the table lookup below is not.
            Form::Plain
        } else {
            let len = escaped_len(bytes);
            if len > base64_len(bytes.len()) { Form::Base64 } else { Form::Escaped { len } }
        };
        Self { name, bytes, form }
    }

    fn encoded_len(&self) -> usize {
        r#","":"""#.len()
            + self.name.len()
            + match self.form {
                Form::Plain => self.bytes.len(),
                Form::Escaped { len } => len,
                Form::Base64 => "64".len() + base64_len(self.bytes.len()),
            }
    }

    fn append_to(&self, json: &mut Vec<u8>) {
        json.extend_from_slice(b",\"");
        json.extend_from_slice(self.name.as_bytes());
        if matches!(self.form, Form::Base64) {
            json.extend_from_slice(b"64");
        }
        json.extend_from_slice(b"\":\"");
        match self.form {
            Form::Plain => json.extend_from_slice(self.bytes),
            Form::Escaped { .. } => append_escaped(json, self.bytes),
            Form::Base64 => {
                let start = json.len();
                json.resize(start + base64_len(self.bytes.len()), 0);
                let written = STANDARD.encode_slice(self.bytes, &mut json[start..]);
                assert_eq!(written.ok(), Some(json.len() - start), "base64 has the computed length");
            }
        }
        json.push(b'"');
    }
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

const fn base64_len(len: usize) -> usize {
    len.div_ceil(3) * 4
}

fn escaped_len(text: &[u8]) -> usize {
    text.iter()
        .map(|byte| match ESCAPES[usize::from(*byte)] {
            0 => 1,
            b'u' => 6,
            _ => 2,
        })
        .sum()
}

fn append_escaped(json: &mut Vec<u8>, text: &[u8]) {
    let mut copied = 0;
    for (at, byte) in text.iter().enumerate() {
        let escape = ESCAPES[usize::from(*byte)];
        if escape == 0 {
            continue;
        }
        json.extend_from_slice(&text[copied..at]);
        copied = at + 1;
        json.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            let digits = b"0123456789abcdef";
            json.extend_from_slice(&[
                b'0',
                b'0',
                digits[usize::from(byte >> 4)],
                digits[usize::from(byte & 15)],
            ]);
        }
    }
    json.extend_from_slice(&text[copied..]);
}

/// The union of all commands' fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCommand<'a> {
    #[serde(borrow)]
    command: Text<'a>,
    #[serde(borrow)]
    key: Option<Text<'a>>,
    #[serde(borrow)]
    key64: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    #[serde(borrow)]
    value64: Option<Text<'a>>,
    if_mod_revision: Option<u64>,
}

/// Text that is borrowed if it has no escapes. (A bare `Option<Cow<str>>` would always be copied.)
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Only the name of a command whose other fields are unknown here.
#[derive(Deserialize)]
struct CommandName<'a> {
    #[serde(borrow)]
    command: Text<'a>,
}

fn known(name: &str) -> Option<&'static str> {
    [SET, DELETE].into_iter().find(|known| *known == name)
}

fn unknown(name: &str) -> CommandError {
    CommandError::Unknown { name: name.to_owned() }
}

fn malformed(error: &serde_json::Error) -> CommandError {
    CommandError::Malformed { reason: error.to_string() }
}

/// The error for an unknown command, if that is why the fields cannot be read.
fn unknown_name(json: &[u8]) -> Option<CommandError> {
    let named: CommandName<'_> = serde_json::from_slice(json).ok()?;
    known(&named.command.0).is_none().then(|| unknown(&named.command.0))
}

/// A field's bytes, from whichever form is present.
fn bytes_of(
    command: &'static str,
    field: &'static str,
    text: Option<Text<'_>>,
    base64: Option<Text<'_>>,
) -> Result<Option<Bytes>, CommandError> {
    match (text, base64) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(CommandError::Ambiguous { command, field }),
        (Some(Text(text)), None) => Ok(Some(Bytes::from(text.into_owned()))),
        (None, Some(Text(base64))) => match STANDARD.decode(base64.as_bytes()) {
            Ok(bytes) => Ok(Some(Bytes::from(bytes))),
            Err(error) => Err(CommandError::Base64 { field, reason: error.to_string() }),
        },
    }
}

#[cfg(test)]
mod tests;
