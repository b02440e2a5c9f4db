//! Errors of the gRPC library in words for people: it hides the cause behind "transport error", or shows it as Rust's
//! debug text.

use std::error::Error as StdError;

use tonic::Status;

/// The server's message, or the cause of an error that arose on this side of the connection.
pub(crate) fn of_status(status: &Status) -> String {
    match status.source() {
        Some(source) => innermost(source),
        None if status.message().is_empty() => status.code().description().to_owned(),
        None => status.message().to_owned(),
    }
}

/// The innermost cause: "Connection refused" says more than "transport error".
pub(crate) fn innermost(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// The error and its causes, from the outside in.
pub(crate) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn an_error_is_told_by_its_cause_and_never_as_debug_text() {
        let broken =
            Status::from_error(Box::new(io::Error::new(io::ErrorKind::BrokenPipe, "the pipe broke")));
        assert!(broken.to_string().contains("source: "), "what the library prints: {broken}");
        assert_eq!(of_status(&broken), "the pipe broke");
        assert_eq!(of_status(&Status::unavailable("no leader")), "no leader");
        assert_eq!(of_status(&Status::unknown("")), "Unknown error");
    }
}
