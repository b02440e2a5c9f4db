//! The program `lograft-sim`.
//!
//! Without a verb it plays seeds of whole clusters; `crashes` plays crash images, `flips` flips bits. Each
//! prints what it did, and one command that replays a failure. The exit code is 0 only if nothing failed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

mod crashes;
mod flips;
mod seeds;

/// The exit code for invalid arguments.
const BAD_ARGUMENTS: u8 = 128;

/// The simulator of Lograft: production nodes on disks that lose what was not flushed, and a network that
/// loses, delays, duplicates, reorders and cuts.
#[derive(Debug, Parser)]
#[command(name = "lograft-sim", version, args_conflicts_with_subcommands = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    seeds: seeds::Arguments,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Play workloads on the log, and recover from every disk that a power cut could leave after each change
    Crashes(crashes::Arguments),
    /// Write a log, flip every bit of its files one at a time, and recover after each
    Flips(flips::Arguments),
}

/// How many threads play.
#[derive(Clone, Copy, Debug, Args)]
struct Jobs {
    /// Number of threads.
    #[arg(long, value_name = "N", default_value = "2")]
    jobs: NonZeroUsize,
}

/// How a run of the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing failed.
    Passed,
    /// Something failed, or a coverage mark or fault that must occur did not.
    Failed,
    /// The arguments are invalid.
    BadArguments,
}

/// Runs with the arguments of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // The reader may have closed the pipe.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { BAD_ARGUMENTS } else { 0 });
        }
    };
    // A panic is a finding, reported with its seed, and shortening panics many more times.
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = match cli.verb {
        None => seeds::run(&cli.seeds),
        Some(Verb::Crashes(arguments)) => crashes::run(&arguments),
        Some(Verb::Flips(arguments)) => flips::run(&arguments),
    };
    match outcome {
        Outcome::Passed => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::FAILURE,
        Outcome::BadArguments => ExitCode::from(BAD_ARGUMENTS),
    }
}

fn say(text: &str, outcome: Outcome) -> Outcome {
    // The reader may have closed the pipe.
    let _ = std::io::stdout().write_all(text.as_bytes());
    outcome
}

/// A line of a table of counts.
fn row(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name:<34} {value:>12}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        Cli::command().debug_assert();
    }
}
