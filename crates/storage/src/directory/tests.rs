//! The data directory: who may open it, and what the errors say.

#![expect(clippy::disallowed_methods, reason = "these tests make the files that others leave")]

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::{Log, LogOptions};

fn meta() -> Meta {
    let member = |id: u64, name: &str| Member {
        id: NodeId::new(id),
        name: name.to_owned(),
        peer_urls: vec![format!("http://{name}:2380")],
    };
    Meta {
        format_version: FORMAT_VERSION,
        cluster_id: ClusterId::new(u64::MAX),
        node_id: NodeId::new(1 << 63),
        name: "n1".to_owned(),
        members: vec![member(1 << 63, "n1"), member(2, "n2")],
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_directory_is_made_and_remembers_whose_it_is() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("a/b/n1.lograft");
    let mut directory = Directory::open(&path).unwrap();
    assert_eq!(directory.meta(), None);
    directory.initialize(meta()).unwrap();
    assert_eq!(directory.meta(), Some(&meta()));
    assert!(matches!(directory.initialize(meta()), Err(DirectoryError::Initialized { .. })));
    drop(directory);
    let directory = Directory::open(&path).unwrap();
    assert_eq!(directory.meta(), Some(&meta()));
    assert_eq!(directory.meta().unwrap().identity().node, NodeId::new(1 << 63));
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("meta.json")), 0o600);
    assert_eq!(mode(&path.join("LOCK")), 0o600);
}

#[test]
fn pitfall_61_each_new_level_of_the_path_is_durable_before_the_next_one() {
    let temporary = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(temporary.path()).unwrap();
    let path = root.join("a/../b/c/n1.lograft");
    let synced = || {
        let synced = std::cell::RefCell::new(Vec::new());
        let sync = |dir: &Path| {
            let made = ["b", "b/c", "b/c/n1.lograft"].iter().filter(|level| root.join(level).is_dir());
            synced.borrow_mut().push((dir.to_owned(), made.count()));
            Ok(())
        };
        make(&path, sync).unwrap();
        synced.into_inner()
    };
    let above = root.parent().unwrap().to_owned();
    // Each with how many of the last three levels there were at that time.
    let expected =
        [(above, 0), (root.clone(), 0), (root.clone(), 1), (root.join("b"), 2), (root.join("b/c"), 3)];
    assert_eq!(synced(), expected);
    // The start may have been cut short before the last sync.
    assert_eq!(synced(), [(root.join("b/c"), 3)]);
    Directory::open(&path).unwrap().initialize(meta()).unwrap();
    assert!(synced().is_empty(), "each start would wait for the disk");
}

#[test]
fn a_level_that_cannot_be_made_durable_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let fail = |_: &Path| Err(io::Error::other("the disk failed"));
    make(temporary.path(), fail).unwrap();
    let made = make(&temporary.path().join("a"), fail);
    assert!(matches!(made, Err(DirectoryError::NotWritable { .. })), "{made:?}");
}

#[test]
fn a_second_process_is_refused_and_so_is_an_inspection() {
    let temporary = tempfile::tempdir().unwrap();
    let mut directory = Directory::open(temporary.path()).unwrap();
    directory.initialize(meta()).unwrap();
    let second = Directory::open(temporary.path()).unwrap_err();
    assert!(matches!(second, DirectoryError::InUse { .. }));
    assert!(second.to_string().contains("in use by another process"));
    let inspection = Directory::open_for_inspection(temporary.path());
    assert!(matches!(inspection, Err(DirectoryError::InUse { .. })));
    drop(directory);
    let inspection = Directory::open_for_inspection(temporary.path()).unwrap();
    assert_eq!(inspection.meta(), Some(&meta()));
    assert!(matches!(Directory::open(temporary.path()), Err(DirectoryError::InUse { .. })));
}

#[test]
fn foreign_content_is_left_alone() {
    let temporary = tempfile::tempdir().unwrap();
    fs::write(temporary.path().join("thesis.tex"), "years of work").unwrap();
    let error = Directory::open(temporary.path()).unwrap_err();
    assert!(matches!(error, DirectoryError::ForeignContent { .. }));
    assert!(error.to_string().contains("thesis.tex"));
    assert!(!temporary.path().join("LOCK").exists());
    let inspection = Directory::open_for_inspection(temporary.path());
    assert!(matches!(inspection, Err(DirectoryError::NoMeta { .. })));
}

#[test]
fn what_a_first_start_leaves_when_it_is_cut_short_is_no_obstacle() {
    let temporary = tempfile::tempdir().unwrap();
    fs::write(temporary.path().join("meta.json.tmp"), "{\"format_ver").unwrap();
    fs::write(temporary.path().join("LOCK"), "").unwrap();
    let mut directory = Directory::open(temporary.path()).unwrap();
    directory.initialize(meta()).unwrap();
}

#[test]
fn a_newer_format_a_broken_meta_and_a_lost_one_are_told_apart() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("meta.json");
    fs::write(&path, "{\"format_version\": 99, \"shape\": \"unknown\"}").unwrap();
    assert!(matches!(Directory::open(temporary.path()), Err(DirectoryError::NewerFormat { found: 99, .. })));
    let huge = vec![b' '; 2 << 20];
    for broken in [&b"{"[..], b"", b"[]", b"{\"format_version\": 1}", b"\xff\xfe", &huge] {
        fs::write(&path, broken).unwrap();
        assert!(matches!(Directory::open(temporary.path()), Err(DirectoryError::BrokenMeta { .. })));
    }
    fs::remove_file(&path).unwrap();
    fs::write(temporary.path().join("0000000000000001.log"), "").unwrap();
    let lost = Directory::open(temporary.path()).unwrap_err();
    assert!(matches!(lost, DirectoryError::MetaLost { .. }));
    assert!(
        lost.to_string().contains("restore this one file") && !lost.to_string().contains("away"),
        "{lost}"
    );
}

#[test]
fn a_directory_is_founded_once_it_says_whose_it_is() {
    let temporary = tempfile::tempdir().unwrap();
    assert!(!Directory::is_founded(&temporary.path().join("none")));
    let mut directory = Directory::open(temporary.path()).unwrap();
    assert!(!Directory::is_founded(temporary.path()));
    directory.initialize(meta()).unwrap();
    assert!(Directory::is_founded(temporary.path()));
}

#[test]
fn a_path_that_cannot_be_a_directory_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(Directory::open(&file), Err(DirectoryError::NotADirectory { .. })));
    assert!(matches!(Directory::open(&file.join("below")), Err(DirectoryError::NotWritable { .. })));
    assert!(matches!(Directory::open_for_inspection(&file), Err(DirectoryError::NoMeta { .. })));
    // Not even root can create a directory here.
    let error = Directory::open(Path::new("/proc/lograft")).unwrap_err();
    assert!(matches!(error, DirectoryError::NotWritable { .. }), "{error}");
    symlink(temporary.path().join("nowhere"), temporary.path().join("link")).unwrap();
    assert!(Directory::open(&temporary.path().join("link")).is_err());
}

#[test]
fn a_log_lives_in_its_directory() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("data");
    let mut directory = Directory::open(&path).unwrap();
    directory.initialize(meta()).unwrap();
    let options =
        LogOptions { min_segment_bytes: 1 << 16, max_segment_bytes: 1 << 16, ..LogOptions::default() };
    let too_small = Log::open(RealOs, directory.path(), meta().identity(), options);
    assert!(too_small.is_err());
    let options = LogOptions { reserve_bytes: 4096, ..options };
    drop(Log::open(RealOs, directory.path(), meta().identity(), options).unwrap());
    drop(directory);
    let directory = Directory::open(&path).unwrap();
    drop(Log::open(RealOs, directory.path(), meta().identity(), options).unwrap());
    for name in ["0000000000000001.log", "log.started", "meta.json", "LOCK"] {
        assert_eq!(mode(&path.join(name)), 0o600, "{name}");
    }
}
