//! The `lograft` program: everything is in the library's [`lograft::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    lograft::cli::main()
}
