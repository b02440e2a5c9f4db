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
    segment.flush().expect("the second says ok");
    assert_eq!(&read(&os, "s").unwrap()[..4], b"lost", "the cache shows it still");
    os.open(&path("s")).unwrap().sync_and_drop_cache().unwrap();
    assert_eq!(&read(&os, "s").unwrap()[..4], [0; 4], "the disk never had it");
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
