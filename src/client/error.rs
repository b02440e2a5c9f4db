//! Errors of calls, by what a caller can do about them.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use tonic::{Code, ConnectError, Status, TimeoutExpired};

use super::endpoint::in_words;
use crate::proto::{FOUND_MOD_REVISION, OUTCOME};
use crate::wording;

/// The error of a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No endpoint accepts a connection. Nothing was sent.
    #[error("cannot connect: {0}")]
    BadConnection(String),
    /// The request or an endpoint is invalid; nothing was applied.
    #[error("{0}")]
    Invalid(String),
    /// The write's condition did not hold; nothing was applied.
    #[error("{message}")]
    ConditionFailed {
        /// The key's mod_revision; 0 if there is no such key.
        found: u64,
        /// The server's message.
        message: String,
    },
    /// Certainly not done: a write was not applied and never will be; a read has no response.
    #[error("{0}")]
    Failed(String),
    /// The write may or may not have been applied, or may still be.
    #[error("{0}")]
    UnknownOutcome(String),
}

/// What one endpoint made of a call.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// Nothing was sent: there is no connection.
    NotConnected(String),
    /// The call failed.
    Status(Status),
    /// There was no response when the time was over.
    Silent(Duration),
}

impl Failure {
    /// The failure of a call that could wait this long.
    pub(super) fn of(status: Status, patience: Duration) -> Self {
        if not_sent(&status) {
            return Self::NotConnected(wording::of_status(&status));
        }
        // The library watches the deadline too.
        let is_expired = wording::causes(&status).any(|cause| cause.is::<TimeoutExpired>());
        if is_expired { Self::Silent(patience) } else { Self::Status(status) }
    }

    /// Whether another endpoint may serve a read that this one failed to serve.
    pub(super) fn another_may_serve(&self) -> bool {
        match self {
            Self::NotConnected(_) | Self::Silent(_) => true,
            Self::Status(status) => is_local(status) || status.code() == Code::Unavailable,
        }
    }

    /// Whether it arose on this side of the connection, so that the endpoint has to be named.
    fn is_local(&self) -> bool {
        match self {
            Self::NotConnected(_) | Self::Silent(_) => true,
            Self::Status(status) => is_local(status),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected(why) => f.write_str(why),
            Self::Silent(waited) => write!(f, "no response within {}", in_words(*waited)),
            Self::Status(status) => f.write_str(&wording::of_status(status)),
        }
    }
}

impl Error {
    /// The error of a read that these endpoints, in this order, failed to serve.
    pub(super) fn of_read(failures: &[(&str, Failure)]) -> Self {
        let invalid = failures.iter().find_map(|(_, failure)| match failure {
            Failure::Status(status) if status.code() == Code::InvalidArgument => Some(status),
            Failure::Status(_) | Failure::NotConnected(_) | Failure::Silent(_) => None,
        });
        if let Some(status) = invalid {
            return Self::Invalid(wording::of_status(status));
        }
        let words = words(failures);
        let none_sent = failures.iter().all(|(_, failure)| matches!(failure, Failure::NotConnected(_)));
        if none_sent { Self::BadConnection(words) } else { Self::Failed(words) }
    }

    /// The error of a write that could not be sent to any of these endpoints.
    pub(super) fn of_unsent_write(failures: &[(&str, Failure)]) -> Self {
        Self::BadConnection(words(failures))
    }

    /// The error of a write that left for this endpoint. Unless something proves that it was not applied, the outcome is
    /// unknown.
    pub(super) fn of_write(address: &str, failure: &Failure) -> Self {
        let Failure::Status(status) = failure else {
            return Self::unknown(address, failure);
        };
        let certain = status.metadata().get(OUTCOME).is_some_and(|outcome| outcome == "not-applied");
        // Any gRPC server returns these before it does anything: the method is unknown or the message
        // invalid.
        let refused =
            matches!(status.code(), Code::Unimplemented | Code::InvalidArgument) && !is_local(status);
        match status.code() {
            Code::InvalidArgument if certain || refused => Self::Invalid(status.message().to_owned()),
            Code::FailedPrecondition if certain => {
                Self::ConditionFailed { found: found(status), message: status.message().to_owned() }
            }
            _ if certain || refused => Self::Failed(wording::of_status(status)),
            _ if status.message().starts_with("outcome unknown") => {
                Self::UnknownOutcome(status.message().to_owned())
            }
            _ => Self::unknown(address, failure),
        }
    }

    fn unknown(address: &str, failure: &Failure) -> Self {
        Self::UnknownOutcome(format!(
            "outcome unknown: {address}: {failure}: the write may or may not have been applied"
        ))
    }
}

/// What happened at each endpoint. A server's own words need no address, if no other endpoint was asked.
fn words(failures: &[(&str, Failure)]) -> String {
    match failures {
        [(_, failure)] if !failure.is_local() => failure.to_string(),
        failures => {
            let each: Vec<String> =
                failures.iter().map(|(address, failure)| format!("{address}: {failure}")).collect();
            each.join("; ")
        }
    }
}

fn found(status: &Status) -> u64 {
    let found = status.metadata().get(FOUND_MOD_REVISION);
    found.and_then(|found| found.to_str().ok()?.parse().ok()).unwrap_or(0)
}

/// Whether the request never left: the connection was lost before.
fn not_sent(status: &Status) -> bool {
    wording::causes(status).any(|cause| cause.is::<ConnectError>())
}

/// Whether the error arose here and not at the server, so that the connection must not be used again.
pub(super) fn is_local(status: &Status) -> bool {
    status.source().is_some()
}
