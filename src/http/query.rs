//! The key in the path and the parameters after the `?`.
//!
//! Decoding is strict: a percent sign without two hexadecimal digits is an error and not a character, so that
//! no key is addressed by mistake.

use percent_encoding::percent_decode_str;

use crate::api::check::Invalid;

/// Why a path or a query is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    #[error("{field}: \"%\" must be followed by two hexadecimal digits; the character itself is written %25")]
    Percent { field: &'static str },
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("unknown parameter {name:?}; known here: {known}")]
    Unknown { name: String, known: String },
    #[error("parameter {name:?} is given twice")]
    Twice { name: String },
    #[error("parameter {name} is {value:?}, but must be {wanted}")]
    Value { name: &'static str, value: String, wanted: &'static str },
}

/// The key in the path, as text.
pub(super) fn decode(field: &'static str, raw: &str) -> Result<String, QueryError> {
    let bytes = raw.as_bytes();
    let is_escape =
        |at: usize| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if !(0..bytes.len()).filter(|&at| bytes[at] == b'%').all(is_escape) {
        return Err(QueryError::Percent { field });
    }
    let decoded: Vec<u8> = percent_decode_str(raw).collect();
    String::from_utf8(decoded)
        .map_err(|error| Invalid::NotUtf8 { field, offset: error.utf8_error().valid_up_to() }.into())
}

/// The parameters of a request: only known ones, none twice.
#[derive(Debug, Default)]
pub(super) struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Parses `raw`, which may hold only the parameters in `known`.
    pub(super) fn parse(raw: Option<&str>, known: &[&str]) -> Result<Self, QueryError> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for parameter in raw.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let name = decode("query", &name.replace('+', " "))?;
            let value = decode("query", &value.replace('+', " "))?;
            if !known.contains(&name.as_str()) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(QueryError::Unknown { name, known });
            }
            if parameters.iter().any(|(earlier, _)| *earlier == name) {
                return Err(QueryError::Twice { name });
            }
            parameters.push((name, value));
        }
        Ok(Self { parameters })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Text; empty if not given.
    pub(super) fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    /// A number, if given.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<u64>, QueryError> {
        let wanted = "a number from 0 to 18446744073709551615";
        self.get(name)
            .map(|value| {
                // A sign is not allowed, though Rust would accept a plus.
                let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                value.parse().ok().filter(|_| digits).ok_or_else(|| QueryError::Value {
                    name,
                    value: value.to_owned(),
                    wanted,
                })
            })
            .transpose()
    }

    /// Yes or no; the bare name means yes.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, QueryError> {
        match self.get(name) {
            Some("" | "true" | "1") => Ok(true),
            None | Some("false" | "0") => Ok(false),
            Some(value) => Err(QueryError::Value { name, value: value.to_owned(), wanted: "true or false" }),
        }
    }
}
