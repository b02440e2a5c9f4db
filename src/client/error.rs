//! Why a call failed, in the kinds that a caller can act on.

use std::error::Error as StdError;
use std::sync::Arc;

use tonic::{Code, ConnectError, Status};

use crate::proto::{FOUND_MOD_REVISION, OUTCOME};

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No endpoint takes a connection. Nothing was sent.
    #[error("cannot connect: {0}")]
    BadConnection(String),
    /// The request or an endpoint is wrong as it is; nothing was applied.
    #[error("{0}")]
    Invalid(String),
    /// The write's condition did not hold; nothing was applied.
    #[error("{message}")]
    ConditionFailed {
        /// The key's mod_revision; 0: there is no such key.
        found: u64,
        /// The server's words.
        message: String,
    },
    /// Not done, for certain: of a write, it was not applied and never will be; of a read, there is no answer.
    #[error("{0}")]
    Failed(String),
    /// The write may or may not have been applied, or still be.
    #[error("{0}")]
    UnknownOutcome(String),
}

impl Error {
    /// Of a read that was not answered.
    pub(super) fn of_read(status: &Status) -> Self {
        if not_sent(status) {
            return Self::BadConnection(words(status));
        }
        match status.code() {
            Code::InvalidArgument => Self::Invalid(status.message().to_owned()),
            _ => Self::Failed(words(status)),
        }
    }

    /// Of a write that was not answered OK. What nobody vouches for is unknown.
    pub(super) fn of_write(status: &Status) -> Self {
        if not_sent(status) {
            return Self::BadConnection(words(status));
        }
        let certain = status.metadata().get(OUTCOME).is_some_and(|outcome| outcome == "not-applied");
        // These are answered before anything is done, by any server of gRPC: the method or the message is not known.
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

/// Whether the request never left: the connection was gone and could not be made again.
pub(super) fn not_sent(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<ConnectError>())
}

/// Whether the error arose here, not at the server: the connection is not to be used again.
pub(super) fn is_local(status: &Status) -> bool {
    status.source().is_some()
}

/// Whether another endpoint may serve a read that this one did not.
pub(super) fn another_may_serve(status: &Status) -> bool {
    status.code() != Code::DeadlineExceeded && (is_local(status) || status.code() == Code::Unavailable)
}

/// An error that arises here.
pub(super) fn local(code: Code, message: &'static str) -> Status {
    let mut status = Status::new(code, message);
    status.set_source(Arc::new(std::io::Error::other(message)));
    status
}

/// What to tell: the server's words, or of a broken connection the cause that the library hides.
fn words(status: &Status) -> String {
    if is_local(status) { innermost(status) } else { status.message().to_owned() }
}

/// The last cause: "Connection refused" says more than "transport error".
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
