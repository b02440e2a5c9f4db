//! The simulator as a program of its own, for builds without the feature `server`: everything is in
//! [`lograft::sim::command`].

use std::process::ExitCode;

fn main() -> ExitCode {
    lograft::sim::command::main(std::env::args().skip(1))
}
