//! The one command that replays a failure, printed with it.

use std::path::Path;

/// The command line of this program with `arguments`. From a test, which is another program, it is the `cargo
/// run` that builds this one.
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
