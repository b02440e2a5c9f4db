//! The command line: `lograft serve`, `lograft cluster`, the client's verbs and `lograft log`.
//!
//! What scripts may rely on: the exit codes ([`Code`]), one line on stderr for what went wrong, and the output of
//! `-w simple` and `-w json`.
//!
//! A write is sent once. When the answer is lost, the outcome is unknown, the program says so and leaves it to the user:
//! nothing here repeats a write.
//!
//! # Caveats
//! - A List of many keys is read page by page: each page is a linearizable read of its own, the whole is no snapshot.
//! - The flags of `serve` come from the table in [`crate::config`], not from a derived struct, so that flags,
//!   environment and file cannot drift apart.

mod args;
mod cluster;
mod duration;
mod exit;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod log;
pub mod logging;
mod node;
mod output;
mod parent;
mod render;
mod serve;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Verb};
pub use exit::{Code, Failure};

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::bad_arguments(&error),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.verb {
        Verb::Serve(args) => serve::run(&args),
        Verb::Config(args) => serve::print_config(&args),
        Verb::Cluster(args) => cluster::run(&args),
        Verb::Get(args) => verbs::get(&args),
        Verb::Set(args) => verbs::set(&args),
        Verb::Del(args) => verbs::del(&args),
        Verb::List(args) => verbs::list(&args),
        Verb::Status(args) => verbs::status(&args),
        Verb::Log(args) => log::run(&args),
        #[cfg(feature = "sim")]
        Verb::Sim(args) => simulate(args.arguments),
        Verb::Version => output::print(&format!("lograft {}\n", env!("CARGO_PKG_VERSION"))),
    }
}

#[cfg(feature = "sim")]
fn simulate(arguments: Vec<String>) -> Result<(), Failure> {
    use crate::sim::command::{Outcome, run};
    // Everything has been said on stdout.
    match run(arguments.into_iter()) {
        Outcome::Passed => Ok(()),
        Outcome::Failed => Err(Failure::new(Code::Error, "")),
        Outcome::BadArguments => Err(Failure::new(Code::BadArguments, "")),
    }
}
