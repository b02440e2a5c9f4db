//! The command line: `lograft serve`, `lograft cluster`, the client verbs and `lograft log`.
//!
//! What scripts may rely on: the exit codes ([`Code`]), one line on stderr for each failure, and the output of
//! `-w simple` and `-w json`.
//!
//! A write is sent once. If the response is lost, the outcome is unknown: the program says so and leaves the decision to
//! the user. Nothing here repeats a write.
//!
//! # Caveats
//! - A List of many keys is read page by page: each page is a linearizable read of its own; the whole is not a snapshot.
//! - The flags of `serve` come from the table in [`crate::config`], not from a derived struct, so that flags,
//!   environment and file cannot drift apart.

mod args;
mod cluster;
mod color;
mod docs;
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
mod signals;
mod verbs;

use std::process::ExitCode;

use args::{Cli, Verb};
pub use exit::{Code, Failure};

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let color = color::wanted(&arguments);
    let cli = match args::parse(arguments, color) {
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
        Verb::Serve(args) => serve::run(&args, color::on_stderr(cli.color)),
        Verb::Config(args) => serve::print_config(&args),
        Verb::Cluster(args) => cluster::run(&args),
        Verb::Get(args) => verbs::get(&args),
        Verb::Set(args) => verbs::set(&args),
        Verb::Del(args) => verbs::del(&args),
        Verb::List(args) => verbs::list(&args),
        Verb::Status(args) => verbs::status(&args),
        Verb::Health(args) => verbs::health(&args),
        Verb::Log(args) => log::run(&args),
        Verb::Completions(args) => docs::completions(args.shell),
        Verb::Man(args) => docs::man(args.verb.as_deref()),
        Verb::Version => output::print(&format!("lograft {}\n", env!("CARGO_PKG_VERSION"))),
    }
}
