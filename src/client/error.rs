//! Errors of calls, by what a caller can do about them.

use std::error::Error as StdError;
use std::sync::Arc;

use tonic::{Code, ConnectError, Status};

use crate::proto::{FOUND_MOD_REVISION, OUTCOME};

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

impl Error {
    /// The error of a failed read.
    pub(super) fn of_read(status: &Status) -> Self {
        if not_sent(status) {
            return Self::BadConnection(words(status));
        }
        match status.code() {
            Code::InvalidArgument => Self::Invalid(status.message().to_owned()),
            _ => Self::Failed(words(status)),
        }
    }

    /// The error of a failed write. Unless something proves that it was not applied, the outcome is unknown.
    pub(super) fn of_write(status: &Status) -> Self {
        if not_sent(status) {
            return Self::BadConnection(words(status));
        }
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
            _ if certain || refused => Self::Failed(words(status)),
            _ if status.message().starts_with("outcome unknown") => {
                Self::UnknownOutcome(status.message().to_owned())
            }
            _ => Self::UnknownOutcome(format!(
                "outcome unknown: {}: the write may or may not have been applied",
                words(status)
            )),
        }
    }
}

fn found(status: &Status) -> u64 {
    let found = status.metadata().get(FOUND_MOD_REVISION);
    found.and_then(|found| found.to_str().ok()?.parse().ok()).unwrap_or(0)
}

/// Whether the request never left: the connection was lost and could not be restored.
pub(super) fn not_sent(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<ConnectError>())
}

/// Whether the error arose here and not at the server, so that the connection must not be used again.
pub(super) fn is_local(status: &Status) -> bool {
    status.source().is_some()
}

/// Whether another endpoint may serve a read that this one failed to serve.
pub(super) fn another_may_serve(status: &Status) -> bool {
    status.code() != Code::DeadlineExceeded && (is_local(status) || status.code() == Code::Unavailable)
}

/// An error that arises here.
pub(super) fn local(code: Code, message: &'static str) -> Status {
    let mut status = Status::new(code, message);
    status.set_source(Arc::new(std::io::Error::other(message)));
    status
}

/// The message: the server's, or for a broken connection the cause that the library hides.
fn words(status: &Status) -> String {
    if is_local(status) { innermost(status) } else { status.message().to_owned() }
}

/// The innermost cause: "Connection refused" says more than "transport error".
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}
