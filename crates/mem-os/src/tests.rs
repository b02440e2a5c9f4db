//! The simulated disk loses what a real one may lose, and nothing else.

use std::collections::BTreeSet;

use super::*;

fn path(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

fn read(os: &MemOs, name: &str) -> Option<Vec<u8>> {
    os.contents(&path(name))
}

#[test]
fn what_was_flushed_survives_and_what_was_not_may_be_lost_in_any_mixture() {
    let os = MemOs::new();
    os.prepare(&path("s"), b"head", 3 * 4096).unwrap();
    os.sync_dir(Path::new("/d")).unwrap();
    let mut segment = os.map(&path("s")).unwrap();
    segment.write(100, b"flushed").unwrap();
    segment.flush().unwrap();
    segment.write(4096, &[1; 8192]).unwrap();
    segment.write(4096, &[2; 600]).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let after = os.crash(seed);
        let bytes = read(&after, "s").unwrap();
        assert_eq!(&bytes[..4], b"head");
        assert_eq!(&bytes[100..107], b"flushed");
        seen.insert((bytes[4096], bytes[4096 + 511], bytes[4096 + 512], bytes[4096 + 1024], bytes[8192]));
        assert_eq!(read(&os.crash(seed), "s").unwrap(), bytes, "the same seed, the same disk");
        assert_eq!(bytes[4096], bytes[4096 + 511], "a sector is whole");
    }
    assert!(seen.contains(&(0, 0, 0, 0, 0)) && seen.contains(&(2, 2, 2, 1, 1)));
    assert!(seen.contains(&(0, 0, 0, 0, 1)) && seen.contains(&(1, 1, 1, 1, 0)));
    assert!(seen.iter().any(|bytes| bytes.0 == 0 && bytes.3 == 1), "a page tears");
    assert_eq!(read(&os.kill(), "s"), read(&os, "s"), "a kill loses nothing");
}

#[test]
fn names_are_durable_after_a_sync_of_the_directory_only() {
    let os = MemOs::new();
    os.write_file(&path("old"), b"old").unwrap();
    os.sync_dir(Path::new("/d")).unwrap();
    os.write_file(&path("new"), b"new").unwrap();
    os.rename(&path("new"), &path("name")).unwrap();
    os.remove(&path("old")).unwrap();
    os.sync_dir(Path::new("/elsewhere")).unwrap();
    let outcomes = |os: &MemOs| -> BTreeSet<_> {
        (0..200).map(|seed| os.crash(seed)).map(|os| (read(&os, "old"), read(&os, "name"))).collect()
    };
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    let all = [(old.clone(), None), (old, new.clone()), (None, None), (None, new.clone())];
    assert_eq!(outcomes(&os), BTreeSet::from(all));
    os.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(outcomes(&os), BTreeSet::from([(None, new)]));
}

#[test]
fn a_failed_flush_forgets_that_the_pages_were_never_written() {
    let os = MemOs::new();
    os.prepare(&path("s"), b"", 4096).unwrap();
    let mut segment = os.map(&path("s")).unwrap();
    segment.write(0, b"lost").unwrap();
    os.fail_next_flush();
    segment.flush().unwrap_err();
    segment.flush().expect("the second flush returns ok");
    assert_eq!(&read(&os, "s").unwrap()[..4], b"lost", "the cache still shows it");
    os.open(&path("s")).unwrap().sync_and_drop_cache().unwrap();
    assert_eq!(&read(&os, "s").unwrap()[..4], [0; 4], "the disk never had it");
}

#[test]
fn a_failed_flush_may_have_written_some_of_its_pages() {
    let os = MemOs::new();
    os.prepare(&path("s"), b"", 3 * 4096).unwrap();
    os.sync_dir(Path::new("/d")).unwrap();
    let mut segment = os.map(&path("s")).unwrap();
    segment.write(0, b"flushed").unwrap();
    os.fail_flush(1, 0b101);
    segment.flush().expect("only the flush after this one fails");
    segment.write(0, &[1; 3 * 4096]).unwrap();
    segment.flush().unwrap_err();
    assert!(!os.heal_flushes(), "the failure has happened");
    let bytes = read(&os.crash(1), "s").unwrap();
    assert_eq!([bytes[0], bytes[4096], bytes[8192]], [1, 0, 1]);
    os.fail_next_flush();
    assert!(os.heal_flushes(), "the failure has not happened");
    segment.flush().unwrap();
}

#[test]
fn a_power_cut_leaves_what_is_chosen_and_says_what() {
    let os = MemOs::new();
    os.prepare(&path("s"), b"", 2 * 4096).unwrap();
    os.sync_dir(Path::new("/d")).unwrap();
    let mut segment = os.map(&path("s")).unwrap();
    segment.write(4096, &[1; 1024]).unwrap();
    segment.write(4096, &[2; 100]).unwrap();
    os.remove(&path("s")).unwrap();
    let unflushed = os.unflushed();
    assert_eq!((unflushed.pages.len(), unflushed.names), (1, 1));
    assert_eq!(unflushed.pages[0].sectors[..3], [vec![0, 1, 2], vec![0, 1], vec![0]]);
    let mut cut = PowerCut::lose_all(&unflushed);
    cut.sectors[0][..2].copy_from_slice(&[2, 0]);
    let bytes = read(&os.cut_power(&cut), "s").unwrap();
    assert_eq!([bytes[4096], bytes[4096 + 100], bytes[4096 + 512]], [2, 1, 0]);
    assert_eq!(
        os.describe(&cut),
        "removed file 0 page 1 of versions 0 to 2: torn [2, 0, 0, 0, 0, 0, 0, 0]; lost: removal of s"
    );
    let all = PowerCut::lose_nothing(&unflushed);
    assert_eq!(read(&os.cut_power(&all), "s"), None);
    assert_eq!(
        all.canonical(&unflushed, &os).sectors[0],
        [2, 1, 0, 0, 0, 0, 0, 0],
        "the second sector has the bytes of version 1"
    );
}

#[test]
fn each_change_is_recorded_with_the_disk_behind_it() {
    let os = MemOs::new();
    os.record();
    os.prepare(&path("new"), b"", 4096).unwrap();
    os.rename(&path("new"), &path("s")).unwrap();
    os.sync_dir(Path::new("/d")).unwrap();
    let mut segment = os.map(&path("s")).unwrap();
    segment.write(8, b"x").unwrap();
    segment.flush().unwrap();
    let recorded = os.take_recorded();
    let said: Vec<_> = recorded.iter().map(ToString::to_string).collect();
    let write = "write of 1 bytes at 8 of s";
    assert_eq!(
        said,
        ["preparation of new", "rename of new to s", "sync of the directory", write, "flush of s"]
    );
    assert_eq!(recorded[3].written(), Some(("s".to_owned(), 8..9)));
    let kept = |change: &Recorded| {
        read(&change.after.cut_power(&PowerCut::lose_all(&change.after.unflushed())), "s")
    };
    assert_eq!(kept(&recorded[1]), None, "the name is not durable yet");
    assert_eq!(kept(&recorded[3]).unwrap()[8], 0);
    assert_eq!(kept(&recorded[4]).unwrap()[8], b'x');
    assert!(os.take_recorded().is_empty());
}

#[test]
fn a_full_disk_and_a_stopped_one_say_so() {
    let os = MemOs::new();
    os.set_free_bytes(5000);
    os.prepare(&path("a"), b"", 4096).unwrap();
    assert_eq!(os.prepare(&path("b"), b"", 4096).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(read(&os, "b").is_none());
    os.stop_after(1);
    os.sync_dir(Path::new("/d")).unwrap();
    os.sync_dir(Path::new("/d")).unwrap_err();
    os.map(&path("a")).unwrap().write(0, b"x").unwrap_err();
    assert!(os.map(&path("nothing")).is_err());
    assert!(os.crash(1).map(&path("a")).unwrap().write(5000, b"x").is_err(), "past the end");
}
