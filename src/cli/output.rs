//! What goes to stdout.

use std::io::{ErrorKind, Write};

use super::exit::{Code, Failure};

/// Writes to stdout. A reader that has seen enough (`lograft list | head`) is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match write(text.as_bytes()) {
        Printed::All => Ok(()),
        Printed::NobodyReads => std::process::exit(0),
        Printed::Failed(error) => Err(Failure::new(Code::Error, format!("cannot write to stdout: {error}"))),
    }
}

/// What became of a text for stdout.
pub(super) enum Printed {
    /// It is written.
    All,
    /// The reader is gone.
    NobodyReads,
    /// It could not be written.
    Failed(std::io::Error),
}

/// Writes to stdout and says what became of it.
pub(super) fn write(bytes: &[u8]) -> Printed {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Printed::All,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Printed::NobodyReads,
        Err(error) => Printed::Failed(error),
    }
}
