//! The one command that plays again what failed, for whoever runs the proof.

use std::path::Path;

/// The program with these arguments, as it was called; from a test, which is no such program, the command that builds it.
pub(super) fn command(arguments: &str) -> String {
    let called = std::env::args().next().unwrap_or_default();
    match Path::new(&called).file_name().and_then(|name| name.to_str()) {
        Some("lograft-sim") => format!("{called} {arguments}"),
        _ => format!("cargo run --profile sim -p lograft-sim -- {arguments}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_says_how_to_build_the_program_that_plays_it_again() {
        let command = command("--seed 7 --seeds 1");
        assert!(
            command.starts_with("cargo run ") && command.ends_with(" -- --seed 7 --seeds 1"),
            "{command}"
        );
    }
}
