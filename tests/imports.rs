//! The import rule: which room of `src/` may use which, as a test of the source text.
//!
//! The compiler would let any module of the crate use any other. What keeps the core free of the disk, the node free of
//! the wire and the simulator able to run nearly all production code is this table. `docs/ARCHITECTURE.md` says why.
//!
//! The text is read, not compiled: `crate::`, `$crate::` and chains of `super::` that leave their room are followed, in
//! code of every feature and of tests. Comments and literals are skipped, so documentation may link to where it wants.
//!
//! Caveats: a path that a macro of another crate puts together is not seen. A re-export counts as the room that it is
//! reached through.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room, or a file in it, and the rooms that it may use besides itself. The longest name that fits holds.
const ROOMS: &[(&str, &[&str])] = &[
    // The words that all share.
    ("types", &[]),
    ("limits", &[]),
    // A macro that is nothing in a production build; it names this room for whoever uses it.
    ("marks", &[]),
    // The pure core and the disk know the words, and never each other.
    ("raft", &["types"]),
    ("kv", &["types"]),
    ("storage", &["types"]),
    ("storage/fuzzing", &["fuzzing", "types"]),
    // The node ties them, and knows no wire format.
    ("node", &["raft", "kv", "storage", "types", "limits"]),
    ("node/fuzzing", &["fuzzing", "raft", "kv", "storage", "types", "limits"]),
    ("sim", &["node", "raft", "kv", "storage", "types", "limits", "marks"]),
    // What stands alone.
    ("proto", &[]),
    ("config", &["kv", "types", "limits"]),
    ("client", &["config", "proto"]),
    // The edges. HTTP speaks through the services of gRPC; the port that both share is the one file that knows HTTP.
    ("rpc", &["node", "proto", "raft", "kv", "types", "limits"]),
    ("rpc/server", &["http", "node", "proto", "limits"]),
    // Entries that are no longer in memory are read from the log on their way to a peer.
    ("rpc/link", &["storage", "node", "proto", "raft", "types", "limits"]),
    ("http", &["rpc", "node", "proto", "limits"]),
    // The tests of the edges put a small server together.
    ("client/tests", EDGE_TESTS),
    ("http/tests", EDGE_TESTS),
    ("rpc/tests", EDGE_TESTS),
    ("rpc/raft/tests", EDGE_TESTS),
    // What puts it all together.
    ("server", &["config", "rpc", "proto", "node", "raft", "storage", "types", "limits"]),
    ("cli", &[ANY]),
    ("main", &[ANY]),
    ("bin", &[ANY]),
    // The list of what fuzzing tries; what it demands stands in the rooms.
    ("fuzzing", &[ANY]),
    ("lib", &[ANY]),
];

const EDGE_TESTS: &[&str] = &["client", "http", "rpc", "proto", "node", "raft", "kv", "types", "limits"];

/// In [`ROOMS`]: every room.
const ANY: &str = "*";

/// Other crates, and the only places that may name them.
const CRATES: &[(&str, &[&str])] = &[
    ("memmap2", &["storage/mmap"]),
    ("tonic", &["proto", "rpc", "http", "client", "cli", "server", "main"]),
    ("prost", &["proto", "rpc", "http", "client", "cli"]),
    ("axum", &["rpc", "http"]),
    ("clap", &["cli", "main"]),
    // The node itself is synchronous: only what stands between it and the runtime knows the runtime.
    (
        "tokio",
        &[
            "node/actor",
            "node/handle",
            "node/outbox",
            "node/port",
            "rpc",
            "http",
            "client",
            "cli",
            "server",
            "main",
        ],
    ),
];

/// What touches the world in the standard library.
const WORLD: &[&str] = &["fs", "net", "process", "env", "thread", "time", "os"];

/// Who must not: time enters them as ticks, chance as a seed, the disk as values.
const WORLDLESS: &[&str] = &["types", "limits", "raft", "kv", "node"];

/// In those the exceptions: what stands between the node and the runtime.
const WORLDLY: &[&str] = &["node/actor", "node/handle", "node/outbox", "node/port"];

/// What asks for the time of day, and the one place that may: the program's own log says when things happened.
const WALL_CLOCK: &[&str] = &["SystemTime", "UNIX_EPOCH", "chrono"];
const TELLS_THE_TIME: &str = "src/cli/";

/// The one file with `unsafe` in it.
const UNSAFE: &str = "src/storage/mmap.rs";

#[test]
fn every_room_uses_only_what_the_rule_allows() {
    let breaches: Vec<_> =
        sources("src").iter().flat_map(|(path, text)| import_breaches(path, text)).collect();
    assert_none(&breaches);
}

#[test]
fn pitfall_77_nothing_depends_on_the_wall_clock() {
    let breaches: Vec<_> =
        sources("src").iter().flat_map(|(path, text)| wall_clock_breaches(path, text)).collect();
    assert_none(&breaches);
    assert_eq!(wall_clock_breaches("src/node/actor.rs", "\nlet now = SystemTime::now();").len(), 1);
    assert_eq!(wall_clock_breaches("src/node/actor.rs", "let now = tokio::time::Instant::now();").len(), 0);
}

#[test]
fn unsafe_stands_in_one_file() {
    let places = ["src", "tests", "benches"].into_iter().flat_map(sources).chain(source("build.rs"));
    let breaches: Vec<_> = places.flat_map(|(path, text)| unsafe_breaches(&path, &text)).collect();
    assert_none(&breaches);
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    let texts = ["src", "tests", "benches", "proto", "docs", "scripts", ".ci"].into_iter().flat_map(files);
    let breaches: Vec<_> = texts
        .chain(files_at_the_top())
        .filter_map(|path| Some((name_of(&path), fs::read_to_string(&path).ok()?)))
        .flat_map(|(name, text)| machine_path_breaches(&name, &text))
        .collect();
    assert_none(&breaches);
}

#[test]
fn a_planted_breach_is_found_with_its_line() {
    let found = |path: &str, text: &str| -> Vec<String> {
        import_breaches(path, text).iter().map(|breach| format!("{}:{}", breach.line, breach.what)).collect()
    };
    assert_eq!(found("src/raft/log_view.rs", "\nuse crate::storage::Log;"), ["2:raft must not use storage"]);
    assert_eq!(found("src/node/mod.rs", "fn f() { crate::rpc::serve() }"), ["1:node must not use rpc"]);
    assert_eq!(
        found("src/node/status.rs", "use crate::{kv::Store, proto::v1, types};"),
        ["1:node must not use proto"]
    );
    assert_eq!(found("src/rpc/kv.rs", "use crate::storage::Log;"), ["1:rpc must not use storage"]);
    assert_eq!(found("src/kv/store.rs", "use super::super::raft::Raft;"), ["1:kv must not use raft"]);
    assert_eq!(
        found("src/limits.rs", "use super::{kv, raft};"),
        ["1:limits must not use kv", "1:limits must not use raft"]
    );
    assert_eq!(
        found("src/kv/mod.rs", "mod inner { fn f() { super::super::node::f(); } }"),
        ["1:kv must not use node"]
    );
    assert_eq!(found("src/raft/mod.rs", "use crate::*;"), ["1:raft must name the room that it uses"]);
    assert_eq!(found("src/attic/mod.rs", ""), ["1:attic has no rule: give it one in tests/imports.rs"]);
    assert_eq!(
        found("src/node/mod.rs", "use tonic::Status;"),
        ["1:tonic belongs to other places: proto, rpc, http, client, cli, server, main"]
    );
    assert_eq!(
        found("src/raft/mod.rs", "use std::{fmt, time::Duration};"),
        ["1:raft must not touch std::time"]
    );
}

#[test]
fn what_is_allowed_or_no_code_is_no_breach() {
    for (path, text) in [
        (
            "src/node/mod.rs",
            "use crate::{kv, raft::{self, Raft}, storage::LogReport}; use crate::node::Token;",
        ),
        ("src/node/actor.rs", "use tokio::sync::mpsc; use std::time::Duration;"),
        ("src/config/mod.rs", "mod limits; #[cfg(test)] mod tests { use super::limits::table; }"),
        ("src/raft/quorum/tests.rs", "use super::super::quorum::Configuration;"),
        ("src/raft/mod.rs", "//! See [`crate::rpc`].\n/* crate::rpc /* crate::kv */ crate::kv */"),
        (
            "src/raft/mod.rs",
            r##"const A: &str = "crate::rpc\" crate::kv"; const B: &str = r#"crate::"kv"#;"##,
        ),
        ("src/raft/mod.rs", "fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' } pub(crate) struct S;"),
        ("src/rpc/link.rs", "use crate::storage::LogReader;"),
    ] {
        let breaches = import_breaches(path, text);
        assert!(breaches.is_empty(), "{path}: {text}: {breaches:?}");
    }
}

#[test]
fn planted_unsafe_and_planted_paths_are_found() {
    assert_eq!(unsafe_breaches("src/storage/log.rs", "#![expect(unsafe_code)]\nunsafe { f() }").len(), 1);
    assert_eq!(unsafe_breaches(UNSAFE, "unsafe { f() }").len(), 0);
    assert_eq!(unsafe_breaches("src/kv/mod.rs", "// unsafe\nconst A: &str = \"unsafe\";").len(), 0);
    let path = format!("see {}alice/lograft", MACHINE_PATHS[0]);
    assert_eq!(machine_path_breaches("README.md", &path).len(), 1);
    assert_eq!(machine_path_breaches("README.md", "see docs/FORMAT.md").len(), 0);
}

/// Something that should not be there.
#[derive(Debug)]
struct Breach {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

fn assert_none(breaches: &[Breach]) {
    let lines: Vec<_> = breaches.iter().map(Breach::to_string).collect();
    assert!(lines.is_empty(), "{} breaches:\n{}", lines.len(), lines.join("\n"));
}

/// Checks one file of `src/`, whose path is given from the root of the package.
fn import_breaches(path: &str, text: &str) -> Vec<Breach> {
    let place = place_of(path);
    let room = place.split('/').next().unwrap_or_default();
    let breach = |line, what| Breach { path: path.to_owned(), line, what };
    let Some(allowed) = rule_of(&place) else {
        return vec![breach(1, format!("{room} has no rule: give it one in tests/imports.rs"))];
    };
    let tokens = tokens(text);
    let mut breaches = Vec::new();
    for (line, used) in rooms_used(&tokens, place.split('/').count(), room) {
        if used == ANY {
            breaches.push(breach(line, format!("{room} must name the room that it uses")));
        } else if used != room && !allowed.contains(&used.as_str()) && !allowed.contains(&ANY) {
            breaches.push(breach(line, format!("{room} must not use {used}")));
        }
    }
    for (name, places) in CRATES {
        if places.iter().any(|allowed| is_within(&place, allowed)) {
            continue;
        }
        let message = format!("{name} belongs to other places: {}", places.join(", "));
        breaches.extend(lines_naming_crate(&tokens, name).map(|line| breach(line, message.clone())));
    }
    if is_any(&place, WORLDLESS) && !is_any(&place, WORLDLY) {
        for (line, used) in after_root(&tokens, "std") {
            if WORLD.contains(&used.as_str()) {
                breaches.push(breach(line, format!("{room} must not touch std::{used}")));
            }
        }
    }
    breaches
}

/// `src/rpc/link.rs` is `rpc/link`, `src/rpc/mod.rs` is `rpc`.
fn place_of(path: &str) -> String {
    let place = path.strip_prefix("src/").unwrap_or(path);
    let place = place.strip_suffix(".rs").unwrap_or(place);
    place.strip_suffix("/mod").unwrap_or(place).to_owned()
}

fn is_within(place: &str, outer: &str) -> bool {
    place.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_any(place: &str, outers: &[&str]) -> bool {
    outers.iter().any(|outer| is_within(place, outer))
}

fn rule_of(place: &str) -> Option<&'static [&'static str]> {
    let fitting = ROOMS.iter().filter(|(name, _)| is_within(place, name));
    fitting.max_by_key(|(name, _)| name.len()).map(|(_, allowed)| *allowed)
}

/// The rooms that a file names, with their lines. `depth` is that of the file's module below the crate's root.
fn rooms_used(tokens: &[Token], depth: usize, room: &str) -> Vec<(usize, String)> {
    let mut used = after_root(tokens, "crate");
    // Modules inside the file are deeper: `super` leads out of them first.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => braces.push(at >= 2 && tokens[at - 2].text == "mod"),
            "}" => drop(braces.pop()),
            "super" => {
                let start = at;
                while text_at(tokens, at + 1) == "::" && text_at(tokens, at + 2) == "super" {
                    at += 2;
                }
                let ups = (at - start) / 2 + 1;
                let inner = braces.iter().filter(|is_module| **is_module).count();
                if text_at(tokens, at + 1) == "::" && room != "lib" && ups >= depth + inner {
                    let names = first_names(tokens, at + 2).into_iter();
                    // What is no room is no room's business: a macro, or a glob of the root, which has modules only.
                    used.extend(names.filter(|(_, name)| ROOMS.iter().any(|(room, _)| room == name)));
                }
            }
            _ => {}
        }
        at += 1;
    }
    used
}

/// The first names behind a root like `crate::`, of a group `crate::{…}` each first one. A glob is [`ANY`].
fn after_root(tokens: &[Token], root: &str) -> Vec<(usize, String)> {
    let roots = (0..tokens.len()).filter(|&at| {
        tokens[at].text == root && text_at(tokens, at + 1) == "::" && (at == 0 || !is_path_so_far(tokens, at))
    });
    roots.flat_map(|at| first_names(tokens, at + 2)).collect()
}

/// Whether what stands before is `name::`, so that this is not the root of the path. A `::` in front of all is none.
fn is_path_so_far(tokens: &[Token], at: usize) -> bool {
    tokens[at - 1].text == "::" && at >= 2 && tokens[at - 2].is_name()
}

fn first_names(tokens: &[Token], at: usize) -> Vec<(usize, String)> {
    match tokens.get(at) {
        Some(token) if token.text == "{" => {
            let mut names = Vec::new();
            let mut open = 0;
            for (here, token) in tokens.iter().enumerate().skip(at) {
                match token.text.as_str() {
                    "{" => open += 1,
                    "}" => open -= 1,
                    _ if open == 1 && matches!(tokens[here - 1].text.as_str(), "{" | ",") => {
                        names.push((token.line, token.text.clone()));
                    }
                    _ => {}
                }
                if open == 0 {
                    break;
                }
            }
            names
        }
        Some(token) => vec![(token.line, token.text.clone())],
        None => Vec::new(),
    }
}

fn lines_naming_crate<'a>(tokens: &'a [Token], name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let named = (0..tokens.len()).filter(move |&at| {
        tokens[at].text == name && text_at(tokens, at + 1) == "::" && (at == 0 || !is_path_so_far(tokens, at))
    });
    named.map(|at| tokens[at].line)
}

fn unsafe_breaches(path: &str, text: &str) -> Vec<Breach> {
    if path == UNSAFE {
        return Vec::new();
    }
    let found = tokens(text).into_iter().filter(|token| token.text == "unsafe");
    let what = format!("unsafe belongs into {UNSAFE}");
    found.map(|token| Breach { path: path.to_owned(), line: token.line, what: what.clone() }).collect()
}

fn wall_clock_breaches(path: &str, text: &str) -> Vec<Breach> {
    if path.starts_with(TELLS_THE_TIME) {
        return Vec::new();
    }
    let found = tokens(text).into_iter().filter(|token| WALL_CLOCK.contains(&token.text.as_ref()));
    let what = "the time of day is asked for: it jumps".to_owned();
    found.map(|token| Breach { path: path.to_owned(), line: token.line, what: what.clone() }).collect()
}

/// Put together, so that this file does not name them.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/ro", "ot/"),
    concat!("C:", "\\Users"),
    concat!("/tmp/", "wt/"),
    concat!("/wo", "rk/"),
];

fn machine_path_breaches(path: &str, text: &str) -> Vec<Breach> {
    let lines = text.lines().enumerate().filter_map(|(number, line)| {
        let found = MACHINE_PATHS.iter().find(|machine| line.contains(*machine))?;
        let what = format!("{found}… is a path of somebody's machine");
        Some(Breach { path: path.to_owned(), line: number + 1, what })
    });
    lines.collect()
}

/// A word, `::`, or one other character.
#[derive(Debug)]
struct Token {
    line: usize,
    text: String,
}

impl Token {
    fn is_name(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

fn text_at(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| &token.text)
}

/// The code of a file, without comments and literals.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(&first) = chars.get(at) {
        let next = chars.get(at + 1).copied().unwrap_or('\n');
        let end = match (first, next) {
            ('/', '/') => until(&chars, at, |rest| rest[0] == '\n'),
            ('/', '*') => end_of_block_comment(&chars, at),
            ('"', _) => end_of_string(&chars, at),
            ('r', '"' | '#') => end_of_raw_string(&chars, at).unwrap_or(at + 1),
            ('\'', _) => end_of_char(&chars, at).unwrap_or(at + 1),
            _ if is_word(first) => {
                let end = until(&chars, at, |rest| !is_word(rest[0]));
                // The r of br"…" is the last letter of a word.
                let raw = chars[at..end] == ['b', 'r'] || chars[at..end] == ['c', 'r'];
                match end_of_raw_string(&chars, end - 1).filter(|_| raw) {
                    Some(end) => end,
                    None => {
                        tokens.push(Token { line, text: chars[at..end].iter().collect() });
                        end
                    }
                }
            }
            (':', ':') => {
                tokens.push(Token { line, text: "::".to_owned() });
                at + 2
            }
            _ if first.is_whitespace() => at + 1,
            _ => {
                tokens.push(Token { line, text: first.to_string() });
                at + 1
            }
        };
        line += chars[at..end].iter().filter(|&&passed| passed == '\n').count();
        at = end;
    }
    tokens
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The first place from `at` on where `found` holds, or the end.
fn until(chars: &[char], at: usize, found: impl Fn(&[char]) -> bool) -> usize {
    (at..chars.len()).find(|&here| found(&chars[here..])).unwrap_or(chars.len())
}

fn end_of_block_comment(chars: &[char], at: usize) -> usize {
    let mut open = 1;
    let mut here = at + 2;
    while open > 0 && here < chars.len() {
        match chars[here..] {
            ['/', '*', ..] => (open, here) = (open + 1, here + 2),
            ['*', '/', ..] => (open, here) = (open - 1, here + 2),
            _ => here += 1,
        }
    }
    here
}

fn end_of_string(chars: &[char], at: usize) -> usize {
    let mut here = at + 1;
    while here < chars.len() && chars[here] != '"' {
        here += if chars[here] == '\\' { 2 } else { 1 };
    }
    (here + 1).min(chars.len())
}

/// `at` is the place of the r. `None`: it is no raw string but a raw name, or a word.
fn end_of_raw_string(chars: &[char], at: usize) -> Option<usize> {
    let quote = until(chars, at + 1, |rest| rest[0] != '#');
    if chars.get(quote) != Some(&'"') {
        return None;
    }
    let hashes = quote - at - 1;
    let closes = |rest: &[char]| {
        rest[0] == '"' && rest.len() > hashes && rest[1..=hashes].iter().all(|hash| *hash == '#')
    };
    Some((until(chars, quote + 1, closes) + 1 + hashes).min(chars.len()))
}

/// `None`: it is a lifetime.
fn end_of_char(chars: &[char], at: usize) -> Option<usize> {
    match chars[at + 1..] {
        ['\\', _, ..] => Some((until(chars, at + 3, |rest| rest[0] == '\'') + 1).min(chars.len())),
        [_, '\'', ..] => Some(at + 3),
        _ => None,
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn name_of(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The Rust files below a directory of the package, with their texts.
fn sources(dir: &str) -> Vec<(String, String)> {
    let paths = files(dir).into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs"));
    paths.map(|path| (name_of(&path), fs::read_to_string(&path).expect("Rust files are text"))).collect()
}

fn source(name: &str) -> Option<(String, String)> {
    Some((name.to_owned(), fs::read_to_string(root().join(name)).ok()?))
}

fn files(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(dir) = open.pop() {
        // Not every package has every directory: what is packed for publishing has no scripts.
        let Ok(items) = fs::read_dir(&dir) else { continue };
        for item in items {
            let path = item.expect("a directory that can be listed").path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// What people read and build with; not what their editors leave beside it.
fn files_at_the_top() -> Vec<PathBuf> {
    let items = fs::read_dir(root()).expect("the package's root can be listed");
    let paths = items.map(|item| item.expect("a directory that can be listed").path());
    let kinds = ["md", "toml", "yml", "rs"];
    let fits = |path: &PathBuf| {
        let kind = path.extension().and_then(|ext| ext.to_str());
        path.is_file() && (kind.is_some_and(|kind| kinds.contains(&kind)) || path.ends_with("Dockerfile"))
    };
    paths.filter(fits).collect()
}
