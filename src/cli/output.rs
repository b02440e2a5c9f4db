//! What goes to stdout.

use std::io::{ErrorKind, IsTerminal, Write};

use super::args::Format;

use super::exit::{Code, Failure};

/// Writes to stdout. A reader that has seen enough (`lograft list | head`) is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match write(text.as_bytes()) {
        Printed::All => Ok(()),
        Printed::NobodyReads => std::process::exit(0),
        Printed::Failed(error) => Err(Failure::new(Code::Error, format!("cannot write to stdout: {error}"))),
    }
}

/// Writes keys and values to stdout: as they are, but on a terminal without what could control it.
pub(super) fn print_stored(format: Format, text: &str) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() { print(&for_terminal(format, text)) } else { print(text) }
}

/// Escapes control characters. A value with lines stays a value with lines.
fn for_terminal(format: Format, text: &str) -> String {
    match format {
        Format::Simple | Format::Table => visible(text, "\n\t"),
        // JSON escapes those below U+0020 itself.
        Format::Json => {
            let escape = |c: char| {
                if c.is_control() && c != '\n' { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }
            };
            text.chars().map(escape).collect()
        }
    }
}

/// Escapes control characters, which could break a table or control a terminal, except for some.
pub(super) fn visible(text: &str, except: &str) -> String {
    let escape = |c: char| {
        if c.is_control() && !except.contains(c) { c.escape_default().to_string() } else { c.to_string() }
    };
    text.chars().map(escape).collect()
}

/// What became of a text for stdout.
pub(super) enum Printed {
    /// It is written.
    All,
    /// The reader is gone.
    NobodyReads,
    /// It could not be written.
    Failed(std::io::Error),
}

/// Writes to stdout and says what became of it.
pub(super) fn write(bytes: &[u8]) -> Printed {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Printed::All,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Printed::NobodyReads,
        Err(error) => Printed::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_cannot_control_a_terminal() {
        let stored = "a\u{1b}[2J\u{9b}31m\r\u{7}\tb\nü\n";
        let expected = "a\\u{1b}[2J\\u{9b}31m\\r\\u{7}\tb\nü\n";
        assert_eq!(for_terminal(Format::Simple, stored), expected);
        let document = serde_json::to_string(stored).unwrap() + "\n";
        let shown = for_terminal(Format::Json, &document);
        assert!(!shown.trim_end().contains(char::is_control), "{shown:?}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), stored, "the same document");
    }
}
