//! When to use colors.

use std::ffi::OsString;
use std::io::IsTerminal;

use clap::{ColorChoice, ValueEnum};

/// What `--color` asks for. Help and errors are printed while the arguments are being parsed, so it is looked up before;
/// a value that is none is left for the parser to refuse.
pub(super) fn wanted(arguments: &[OsString]) -> ColorChoice {
    let words: Vec<_> =
        arguments.iter().map(|argument| argument.to_string_lossy()).take_while(|word| word != "--").collect();
    let joined = words.iter().filter_map(|word| word.strip_prefix("--color="));
    let apart = words.windows(2).filter(|pair| pair[0] == "--color").map(|pair| pair[1].as_ref());
    let value = joined.chain(apart).next().unwrap_or_default();
    ColorChoice::from_str(value, false).unwrap_or(ColorChoice::Auto)
}

/// Whether the log on stderr is colored.
pub(super) fn on_stderr(choice: ColorChoice) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        // See no-color.org: set to anything but nothing.
        ColorChoice::Auto => {
            let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            std::io::stderr().is_terminal() && !no_color
        }
    }
}
