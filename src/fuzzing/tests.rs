//! The committed corpora, played again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{TARGETS, Target};

/// All corpora together, at most: they are read at every `cargo test` and cloned with the source.
const MAX_CORPORA_BYTES: usize = 400 << 10;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

/// The inputs of a target, by name.
fn corpus_of(target: &Target) -> BTreeMap<PathBuf, Vec<u8>> {
    let dir = corpora().join(target.name);
    let items = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let paths = items.map(|item| item.expect("a directory that can be listed").path());
    paths.map(|path| (path.clone(), fs::read(path).expect("a file that can be read"))).collect()
}

/// Plays a corpus. A panic is shown behind the name of its input.
fn play(target: &Target) {
    let mut missing: BTreeSet<&str> = target.reaches.iter().copied().collect();
    let corpus = corpus_of(target);
    assert!(!corpus.is_empty(), "the corpus of {} is empty", target.name);
    for (path, bytes) in &corpus {
        let played = std::panic::catch_unwind(|| (target.run)(bytes));
        let reached = played.unwrap_or_else(|_| panic!("{}: {} fails", target.name, path.display()));
        missing.remove(reached);
    }
    assert!(missing.is_empty(), "no input of the corpus of {} reaches {missing:?}", target.name);
}

macro_rules! corpora {
    ($($(#[$when:meta])? $name:ident,)+) => {
        $(
            $(#[$when])?
            #[test]
            fn $name() {
                play(TARGETS.iter().find(|target| target.name == stringify!($name)).expect("a target"));
            }
        )+

        const PLAYED: &[&str] = &[$($(#[$when])? stringify!($name)),+];
    };
}

// One test each: they run beside each other.
corpora! {
    record,
    segment,
    directory,
    meta,
    command,
    node,
    #[cfg(feature = "server")] wire,
    #[cfg(feature = "server")] http,
    #[cfg(feature = "server")] arguments,
    #[cfg(feature = "server")] config,
}

#[test]
fn every_target_has_its_corpus_played_here() {
    let targets: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(targets, PLAYED);
}

#[cfg(feature = "server")]
#[test]
fn every_corpus_and_every_fuzz_target_belongs_to_a_target_here() {
    let names = |dir: PathBuf| -> BTreeSet<String> {
        let items = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let paths = items.map(|item| item.expect("a directory that can be listed").path());
        paths.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names(corpora()), targets);
    assert_eq!(names(corpora().with_file_name("fuzz_targets")), targets);
}

#[test]
fn the_corpora_stay_small() {
    let bytes: usize = TARGETS.iter().flat_map(corpus_of).map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes <= MAX_CORPORA_BYTES, "{bytes} bytes: minimise them with scripts/fuzz --minimise");
}
