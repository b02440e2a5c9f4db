//! The proof as a program: `lograft sim`, and `lograft-sim` where there is no server.
//!
//! The first word says what is played: seeds of whole clusters (no word), crash images (`crashes`) or bit flips
//! (`flips`). Each prints what it came to, and one command that plays again what failed. The exit code is 0 only if
//! nothing failed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

mod crashes;
mod flips;
mod seeds;

/// How a run of the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing failed.
    Passed,
    /// Something failed, or what had to be reached was not.
    Failed,
    /// The arguments make no sense.
    BadArguments,
}

/// The program: runs with these arguments, without its name and its verb.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    match run(arguments) {
        Outcome::Passed => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::FAILURE,
        Outcome::BadArguments => ExitCode::from(128),
    }
}

/// Runs with these arguments, and says on stdout what came of it.
pub fn run(arguments: impl Iterator<Item = String>) -> Outcome {
    let mut arguments = arguments.peekable();
    // A panic is a finding, and said with its seed; the shortening makes many more of it.
    std::panic::set_hook(Box::new(|_| {}));
    if arguments.next_if(|first| first == crashes::WORD).is_some() {
        return crashes::run(arguments);
    }
    if arguments.next_if(|first| first == flips::WORD).is_some() {
        return flips::run(arguments);
    }
    seeds::run(arguments)
}

fn say(text: &str, outcome: Outcome) -> Outcome {
    // Whoever closed the pipe has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    outcome
}

/// The arguments make no sense, or help was asked for.
fn say_usage(error: Option<&str>, usage: &str) -> Outcome {
    match error {
        Some(error) => say(&format!("{error}\n\n{usage}"), Outcome::BadArguments),
        None => say(usage, Outcome::Passed),
    }
}

fn is_help(argument: &str) -> bool {
    matches!(argument, "--help" | "-h")
}

fn number<N: std::str::FromStr>(flag: &str, value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("{flag} {value}: a number is wanted"))
}

/// Flags that each take a number.
fn numbers<N: Copy + std::str::FromStr>(
    arguments: impl Iterator<Item = String>,
    flags: &mut [(&str, &mut Option<N>)],
) -> Result<(), String> {
    let mut arguments = arguments;
    while let Some(flag) = arguments.next() {
        let Some((_, place)) = flags.iter_mut().find(|(name, _)| *name == flag) else {
            return Err(format!("{flag}: there is no such flag"));
        };
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        **place = Some(number(&flag, &value)?);
    }
    Ok(())
}

/// A line of a table of counts.
fn row(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name:<34} {value:>12}");
}
