//! The program `lograft-sim`: everything is in [`lograft_sim::command`].

use std::process::ExitCode;

fn main() -> ExitCode {
    lograft_sim::command::main()
}
