//! How the program ends.

use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;

use super::output::visible;

/// The exit codes beside 0. Scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Failure.
    Error = 1,
    /// No connection could be made.
    BadConnection = 2,
    /// The input is invalid.
    InvalidInput = 3,
    /// `get --fail`: there is no such key.
    NoSuchKey = 4,
    /// The program was interrupted, or an endpoint is not healthy.
    Interrupted = 5,
    /// The command line, the environment or the configuration file is wrong.
    BadArguments = 128,
}

/// Why the program fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// One line for stderr; empty if everything has been said.
    pub message: String,
}

impl Failure {
    /// A failure with its line.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Prints one line on stderr.
    pub(super) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            say(&self.message);
        }
        ExitCode::from(self.code as u8)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => failure,
            Err(error) => Self::new(Code::Error, with_causes(&error)),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The error and its causes, without repeating any: some errors have their cause in the middle of a sentence.
fn with_causes(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said.push_str(": ");
            said.push_str(&cause);
        }
    }
    said
}

/// Prints one line on stderr. If that fails there is nobody to tell.
pub(super) fn say(message: &str) {
    // A server's message may hold what others have stored.
    let line = visible(&message.replace(['\n', '\r'], " "), "");
    drop(writeln!(std::io::stderr(), "lograft: {line}"));
}

/// Prints clap's output: help on stdout, or one line on stderr.
pub(super) fn bad_arguments(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            drop(error.print());
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            drop(error.print());
            ExitCode::from(Code::BadArguments as u8)
        }
        _ => Failure::new(Code::BadArguments, one_line(&error.render().to_string())).report(),
    }
}

/// Clap writes a paragraph, tips, usage and a pointer to the help; this keeps the first two in one line.
pub(super) fn one_line(rendered: &str) -> String {
    let mut said = Vec::new();
    for line in rendered.lines().map(str::trim) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        let line = line.strip_prefix("error: ").or_else(|| line.strip_prefix("tip: ")).unwrap_or(line);
        if !line.is_empty() {
            said.push(line);
        }
    }
    format!("{} (see --help)", said.join("; "))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn claps_paragraphs_become_one_line_that_keeps_the_tip() {
        let error = super::super::args::Cli::try_parse_from(["lograft", "serve", "--nme", "n1"]).unwrap_err();
        let line = one_line(&error.render().to_string());
        assert!(line.contains("--nme") && line.contains("--name"), "{line:?}");
        assert!(!line.contains('\n') && !line.contains("Usage"), "{line:?}");
    }

    #[test]
    fn a_failure_keeps_its_code_on_the_way_through_anyhow() {
        let failure = Failure::new(Code::InvalidInput, "no");
        assert_eq!(Failure::from(anyhow::Error::from(failure.clone())), failure);
        let error = anyhow::anyhow!("inner").context("outer");
        assert_eq!(Failure::from(error), Failure::new(Code::Error, "outer: inner"));
        let error = anyhow::anyhow!("inner").context("inner: what to do");
        assert_eq!(Failure::from(error), Failure::new(Code::Error, "inner: what to do"), "nothing twice");
    }
}
