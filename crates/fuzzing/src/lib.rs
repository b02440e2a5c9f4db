//! What the fuzz targets share: choices drawn from the fuzzer's bytes, and the corpora that `cargo test` plays again.
//!
//! A target is a function that takes bytes and panics if something is wrong: a parser panics, an allocation
//! is out of proportion to the input, encoding changes a value, a request slips past a check. Targets are in
//! modules named `fuzzing`, beside the private code that they drive. They are compiled for tests and under
//! `cfg(fuzzing)`, which `cargo fuzz` sets (`scripts/fuzz`). Each returns how far the input got, so that no
//! corpus turns into noise unnoticed when a format changes.

#![expect(clippy::disallowed_methods, reason = "corpora are files of the tests")]
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use arbitrary::Result;
pub use arbitrary::Unstructured;

/// Choices from the rest of an input. Past its end every choice is 0.
pub trait Choices<'a> {
    /// At most `count` bytes.
    fn take(&mut self, count: usize) -> &'a [u8];

    /// A byte.
    fn byte(&mut self) -> u8;

    /// A number of 16 bits.
    fn u16(&mut self) -> u16;

    /// A number of 64 bits.
    fn u64(&mut self) -> u64;

    /// A number below `bound`, which must not be 0.
    fn below(&mut self, bound: u64) -> u64 {
        let wide = bound > 1 << 16;
        (if wide { self.u64() } else { u64::from(self.u16()) }) % bound
    }

    /// A number that is mostly near `expected`: equal, a little less, a little more, or arbitrary.
    fn near(&mut self, expected: u64) -> u64 {
        match self.byte() {
            choice if choice < 160 => expected,
            choice if choice < 200 => expected.saturating_sub(u64::from(choice - 159)),
            choice if choice < 240 => expected.saturating_add(u64::from(choice - 199)),
            _ => self.u64(),
        }
    }
}

impl<'a> Choices<'a> for Unstructured<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        self.bytes(count.min(self.len())).expect("no more than is left")
    }

    fn byte(&mut self) -> u8 {
        number(self.arbitrary())
    }

    fn u16(&mut self) -> u16 {
        number(self.arbitrary())
    }

    fn u64(&mut self) -> u64 {
        number(self.arbitrary())
    }
}

fn number<N>(drawn: Result<N>) -> N {
    drawn.expect("a number can be drawn from any bytes, even from none")
}

/// Plays the corpus `tests/fuzz/corpus/NAME` on a target, and checks that each of `reaches` is returned for
/// some input.
///
/// # Panics
/// If an input fails (the message names its file), or if no input reaches one of them.
pub fn play(name: &str, target: fn(&[u8]) -> &'static str, reaches: &[&str]) {
    let mut missing: BTreeSet<&str> = reaches.iter().copied().collect();
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "the corpus of {name} is empty");
    for (path, bytes) in &corpus {
        let played = std::panic::catch_unwind(|| target(bytes));
        let reached = played.unwrap_or_else(|_| panic!("{name}: {} fails", path.display()));
        missing.remove(reached);
    }
    assert!(missing.is_empty(), "no input of the corpus of {name} reaches {missing:?}");
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus")
}

/// The inputs of a target, by name.
fn corpus(name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    files(&corpora().join(name))
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).expect("a file that can be read")))
        .collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    items.map(|item| item.expect("a directory that can be listed").path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bound on all corpora together: every `cargo test` reads them, and every clone of the source holds
    /// them.
    const MAX_CORPORA_BYTES: usize = 400 << 10;

    fn names(dir: &Path) -> BTreeSet<String> {
        let stem = |path: PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
        files(dir).into_iter().map(stem).collect()
    }

    #[test]
    fn every_fuzz_target_has_a_corpus() {
        assert_eq!(names(&corpora()), names(&corpora().with_file_name("fuzz_targets")));
    }

    #[test]
    fn the_corpora_stay_small() {
        let bytes: usize =
            names(&corpora()).iter().flat_map(|name| corpus(name)).map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes <= MAX_CORPORA_BYTES, "{bytes} bytes: minimise them with scripts/fuzz --minimise");
    }

    #[test]
    fn past_the_end_of_an_input_every_choice_is_zero() {
        let mut input = Unstructured::new(&[1, 2, 3]);
        assert_eq!((input.u16(), input.take(9)), (0x0201, [3].as_slice()));
        assert_eq!((input.byte(), input.u64(), input.below(7)), (0, 0, 0));
    }
}
