//! Rules that Cargo, the compiler and clippy cannot check: no paths of anyone's machine, and the width of the
//! documentation.

use std::fs;
use std::path::PathBuf;

/// Prefixes of paths that exist on one machine only, split up so that this file contains none.
const MACHINE_PATHS: [&str; 6] = [
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/ro", "ot/"),
    concat!("C:", "\\Users"),
    concat!("/tmp/", "w/"),
    concat!("/wo", "rk/"),
];
const MAX_DOC_COLUMNS: usize = 110;

/// What people and tools leave beside the source, and the fuzzer's corpora, which are bytes.
const SKIPPED: [&str; 5] = [".git", "artifacts", "corpus", "lograft-data", "target"];

/// Every text of the source, with its path.
fn texts() -> Vec<(String, String)> {
    let mut texts = Vec::new();
    let mut open = vec![PathBuf::from(".")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let items = fs::read_dir(&path).expect("the source can be listed");
            let names = items.map(|item| item.expect("the source can be listed").file_name());
            let wanted = names.filter(|name| SKIPPED.iter().all(|skipped| name != skipped));
            open.extend(wanted.map(|name| path.join(name)));
        } else if let Ok(text) = fs::read_to_string(&path) {
            texts.push((path.display().to_string(), text));
        }
    }
    texts
}

/// The lines that break a rule.
fn breaches(texts: &[(String, String)], breaks: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let lines = texts
        .iter()
        .flat_map(|(name, text)| text.lines().enumerate().map(move |(at, line)| (name, at, line)));
    let broken = lines.filter(|(name, _, line)| breaks(name, line));
    broken.map(|(name, at, line)| format!("{name}:{}: {line}", at + 1)).collect()
}

fn names_a_machine(_: &str, line: &str) -> bool {
    MACHINE_PATHS.iter().any(|path| line.contains(path))
}

/// Tables, links and what a program prints cannot be wrapped.
fn is_too_wide(name: &str, line: &str) -> bool {
    name.ends_with(".md")
        && line.chars().count() > MAX_DOC_COLUMNS
        && !line.starts_with(['|', '[', '$', ' '])
        && !line.contains("](")
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    assert_eq!(breaches(&texts(), names_a_machine), Vec::<String>::new());
}

#[test]
fn lines_of_the_documentation_end_in_time() {
    assert_eq!(breaches(&texts(), is_too_wide), Vec::<String>::new());
}

#[test]
fn planted_breaches_are_found_with_their_line() {
    let text = format!("fine\nsee {}alice\n{}", MACHINE_PATHS[0], "x".repeat(MAX_DOC_COLUMNS + 1));
    let texts = [("a.md".to_owned(), text)];
    assert_eq!(breaches(&texts, names_a_machine), [format!("a.md:2: see {}alice", MACHINE_PATHS[0])]);
    assert_eq!(breaches(&texts, is_too_wide).len(), 1);
}
