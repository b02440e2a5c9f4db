//! Errors of requests, worded the same for gRPC and HTTP.

use std::borrow::Cow;

use lograft_node::RequestError;
use lograft_types::Revision;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::check::Invalid;
use crate::proto::{FOUND_MOD_REVISION, OUTCOME};

/// What is certain about a failed write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It was not applied, and it never will be.
    NotApplied,
    /// It may or may not have been applied, or may still be.
    Unknown,
}

impl Certainty {
    /// The text in the metadata.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotApplied => "not-applied",
            Self::Unknown => "unknown",
        }
    }
}

/// The error of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The kind of error, as a gRPC code.
    pub code: Code,
    /// The message for people.
    pub message: Cow<'static, str>,
    /// For a write, what is certain about it.
    pub certainty: Option<Certainty>,
    /// For a failed condition, the key's mod_revision.
    pub found: Option<Revision>,
    /// A disk is full, so retrying soon is useless.
    pub disk_full: bool,
}

impl ApiError {
    fn new(code: Code, message: impl Into<Cow<'static, str>>, certainty: Option<Certainty>) -> Self {
        Self { code, message: message.into(), certainty, found: None, disk_full: false }
    }

    /// The request is invalid, now and later.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidArgument, message, Some(Certainty::NotApplied))
    }

    /// The key or path does not exist.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::NotFound, message, None)
    }

    /// A read failed that a write needed: the write was not sent.
    pub fn not_applied(self) -> Self {
        let message = format!("not applied: {}", self.message);
        Self { message: message.into(), certainty: Some(Certainty::NotApplied), ..self }
    }

    /// Other writes came first each time. It may be sent again.
    pub fn contended(why: &str) -> Self {
        Self::new(Code::Unavailable, format!("not applied: {why}"), Some(Certainty::NotApplied))
    }

    /// The request did not arrive in time.
    pub fn too_slow(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::DeadlineExceeded, message, Some(Certainty::NotApplied))
    }

    /// The node has as many connections as it may have.
    pub(crate) fn too_many_connections(of: &str, limit: usize) -> Self {
        let message = format!(
            "not applied: this node has {limit} connections of {of} and takes no more (--max-connections): \
             ask another node, or try again later"
        );
        Self::new(Code::Unavailable, message, Some(Certainty::NotApplied))
    }

    /// The stored data cannot be returned by this API, which is text only.
    pub(super) fn not_text(field: &'static str) -> Self {
        Self::new(Code::DataLoss, format!("the stored {field} is not UTF-8"), None)
    }

    /// The node's response does not match the request: a bug of ours. The write may have been applied.
    pub(super) fn misfit() -> Self {
        Self::new(
            Code::Unknown,
            "outcome unknown: the node's response does not match the request",
            Some(Certainty::Unknown),
        )
    }

    /// The write's condition does not hold.
    pub fn condition_failed(asked: Option<Revision>, found: Revision) -> Self {
        let asked = match asked.map_or(0, Revision::get) {
            0 => "if_mod_revision is 0 (no such key)".to_owned(),
            asked => format!("if_mod_revision is {asked}"),
        };
        let is = match found.get() {
            0 => "there is no such key (0)".to_owned(),
            found => format!("the key's mod_revision is {found}"),
        };
        Self::condition_does_not_hold(&asked, &is, found)
    }

    /// A write's condition does not hold, in the words in which the client gave it: what it asked for, and what
    /// is the case.
    pub fn condition_does_not_hold(asked: &str, is: &str, found: Revision) -> Self {
        let message = format!("not applied: the condition does not hold: {asked}, but {is}");
        let fault = Self::new(Code::FailedPrecondition, message, Some(Certainty::NotApplied));
        Self { found: Some(found), ..fault }
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        Self::invalid(invalid.to_string())
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let (code, certainty) = match &error {
            RequestError::Overloaded { .. }
            | RequestError::LeaderOverloaded(_)
            | RequestError::DiskFull { .. } => (Code::ResourceExhausted, Some(Certainty::NotApplied)),
            RequestError::NoLeader { .. }
            | RequestError::NotLeader { .. }
            | RequestError::Replaced
            | RequestError::Refused(_)
            | RequestError::ShuttingDown => (Code::Unavailable, Some(Certainty::NotApplied)),
            RequestError::UnknownOutcome { .. } => (Code::Unavailable, Some(Certainty::Unknown)),
            // Only reads end like this, so there was nothing to apply.
            RequestError::ReadTimedOut { .. } | RequestError::ReadBehind { .. } => (Code::Unavailable, None),
        };
        let disk_full = matches!(error, RequestError::DiskFull { .. });
        Self { disk_full, ..Self::new(code, error.to_string(), certainty) }
    }
}

impl From<ApiError> for Status {
    fn from(fault: ApiError) -> Self {
        let mut status = Self::new(fault.code, fault.message);
        if let Some(certainty) = fault.certainty {
            status.metadata_mut().insert(OUTCOME, MetadataValue::from_static(certainty.as_str()));
        }
        if let Some(found) = fault.found {
            status.metadata_mut().insert(FOUND_MOD_REVISION, MetadataValue::from(found.get()));
        }
        status
    }
}
