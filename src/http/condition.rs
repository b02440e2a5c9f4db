//! `If-Match` and `If-None-Match` (RFC 9110, §13.1). A key's `ETag` is its mod_revision in quotes.
//!
//! A read can be compared with any list of tags. A write has the conditions that the store has, and one more:
//!
//! | Header of PUT or DELETE | Condition |
//! |---|---|
//! | `If-None-Match: *` | the key must not exist (`if_mod_revision=0`) |
//! | `If-Match: "5"` | the key's mod_revision must be 5 (`if_mod_revision=5`) |
//! | `If-Match: *` | the key must exist |
//!
//! Any other condition of a write is refused: a client that gives one must not find that it was ignored.

use axum::body::Body;
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use lograft_types::Revision;
use tonic::Code;

use super::respond;
use crate::api::ApiError;

const PARAMETER: &str = "if_mod_revision";

/// The tag of a key with this mod_revision.
pub(super) fn etag(mod_revision: u64) -> HeaderValue {
    HeaderValue::from_str(&quoted(mod_revision)).expect("digits fit into a header")
}

fn quoted(mod_revision: u64) -> String {
    format!("\"{mod_revision}\"")
}

/// What must hold for a write to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteCondition {
    None,
    /// The parameter `if_mod_revision`.
    Parameter(u64),
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: *`
    Exists,
    /// `If-Match: "5"`
    Is(u64),
}

impl WriteCondition {
    /// Reads the headers of a write. `parameter`: its `if_mod_revision`.
    ///
    /// # Errors
    /// The condition cannot be expressed, or there are several.
    pub(super) fn of(headers: &HeaderMap, parameter: Option<u64>) -> Result<Self, ApiError> {
        if headers.contains_key(IF_UNMODIFIED_SINCE) {
            return Err(ApiError::invalid(
                "If-Unmodified-Since cannot be a condition, because keys have no time of modification: use If-Match",
            ));
        }
        let if_match = single(headers, &IF_MATCH)?;
        let if_none_match = single(headers, &IF_NONE_MATCH)?;
        match (parameter, if_match, if_none_match) {
            (None, None, None) => Ok(Self::None),
            (Some(revision), None, None) => Ok(Self::Parameter(revision)),
            (None, Some("*"), None) => Ok(Self::Exists),
            (None, Some(tag), None) => match revision(tag) {
                Some(revision) => Ok(Self::Is(revision)),
                None => Err(ApiError::invalid(format!(
                    "If-Match is {tag}, but of a write it must be * (the key exists) or one ETag, such as \"5\""
                ))),
            },
            (None, None, Some("*")) => Ok(Self::Absent),
            (None, None, Some(tag)) => Err(ApiError::invalid(format!(
                "If-None-Match is {tag}, but of a write it can only be * (no such key)"
            ))),
            (parameter, if_match, if_none_match) => {
                let given = [
                    (parameter.is_some(), PARAMETER),
                    (if_match.is_some(), "If-Match"),
                    (if_none_match.is_some(), "If-None-Match"),
                ];
                let given: Vec<&str> =
                    given.into_iter().filter_map(|(given, name)| given.then_some(name)).collect();
                Err(ApiError::invalid(format!("a write has one condition, not {}", given.join(" and "))))
            }
        }
    }

    /// The condition as the store knows it.
    pub(super) fn if_mod_revision(self) -> Option<u64> {
        match self {
            Self::None | Self::Exists => None,
            Self::Absent => Some(0),
            Self::Parameter(revision) | Self::Is(revision) => Some(revision),
        }
    }

    /// The response to a write that failed: if it was for this condition, in the words in which it was given.
    pub(super) fn refusal(self, fault: ApiError) -> Response<Body> {
        let Some(found) = fault.found else { return respond::fault(&fault) };
        let is = match found.get() {
            0 => "there is no such key".to_owned(),
            found => format!("the key's ETag is {}", quoted(found)),
        };
        let fault = match self {
            Self::None | Self::Parameter(_) | Self::Exists => fault,
            Self::Absent => ApiError::condition_does_not_hold("If-None-Match is * (no such key)", &is, found),
            Self::Is(revision) => {
                ApiError::condition_does_not_hold(&format!("If-Match is {}", quoted(revision)), &is, found)
            }
        };
        let mut response = respond::fault(&fault);
        if found.get() > 0 {
            response.headers_mut().insert(ETAG, etag(found.get()));
        }
        response
    }
}

/// `If-Match: *` does not hold.
pub(super) fn missing() -> ApiError {
    let asked = "If-Match is * (any value)";
    ApiError::condition_does_not_hold(asked, "there is no such key", Revision::new(0))
}

/// The header's value, if it is given: once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::invalid(format!("{name} is given twice: a write has one condition")));
    }
    let value = value.to_str().map_err(|_| ApiError::invalid(format!("{name} is not ASCII")))?;
    Ok(Some(value.trim()))
}

/// The mod_revision of a tag as [`etag`] writes it. No key has the revision 0.
fn revision(tag: &str) -> Option<u64> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    digits.parse().ok().filter(|revision| *revision > 0 && quoted(*revision) == tag)
}

/// What a read depends on.
pub(super) struct ReadCondition {
    if_match: Option<String>,
    if_none_match: Option<String>,
}

/// How a read of a key that exists is answered.
pub(super) enum Verdict {
    /// As without a condition.
    Respond,
    /// The client has this value already.
    NotModified,
    /// The key has another value than the client wants.
    Failed(ApiError),
}

impl ReadCondition {
    /// Reads the headers of a read.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let all = |name: &HeaderName| -> Option<String> {
            let values: Vec<_> = headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
            (!values.is_empty()).then(|| String::from_utf8_lossy(&values.join(&b","[..])).into_owned())
        };
        Self { if_match: all(&IF_MATCH), if_none_match: all(&IF_NONE_MATCH) }
    }

    /// The verdict for a key with this mod_revision.
    pub(super) fn verdict(&self, mod_revision: u64) -> Verdict {
        // A weak tag says that values are equal enough, which is enough only to go on with the value one has.
        let matches = |tags: &String, weak: bool| {
            tags.split(',').map(str::trim).any(|tag| {
                let strong = if weak { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
                strong == "*" || revision(strong) == Some(mod_revision)
            })
        };
        if let Some(wanted) = self.if_match.as_ref().filter(|wanted| !matches(wanted, false)) {
            let message = format!(
                "the condition does not hold: If-Match is {wanted}, but the key's ETag is {}",
                quoted(mod_revision)
            );
            let fault = ApiError { code: Code::FailedPrecondition, ..ApiError::not_found(message) };
            return Verdict::Failed(ApiError { found: Some(Revision::new(mod_revision)), ..fault });
        }
        match &self.if_none_match {
            Some(known) if matches(known, true) => Verdict::NotModified,
            Some(_) | None => Verdict::Respond,
        }
    }
}
