//! The test equipment itself: a power cut that loses nothing, a full disk with space, or a frozen one that
//! takes writes would prove nothing about a node.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::disks::{Directory, FileSystem, LoopDisk};

const KINDS: [FileSystem; 2] = [FileSystem::Ext4, FileSystem::Xfs];
const PAGE: usize = 4096;

fn sync_directory(path: &Path) {
    File::open(path).expect("a directory").sync_all().expect("a sync");
}

#[test]
#[ignore = "loop devices and mounts, needs root: cargo test --test faults power -- --ignored instrument"]
fn instrument_a_cut_loses_what_was_not_flushed_and_keeps_what_was() {
    let directory = Directory::make();
    for kind in KINDS {
        let at = directory.path().join(format!("{kind:?}"));
        let disk = LoopDisk::make(kind, &at);

        let file = File::create_new(at.join("log")).expect("a file");
        file.write_all_at(&[b'a'; 4 * PAGE], 0).expect("written");
        file.sync_data().expect("flushed");
        fs::write(at.join("renamed.tmp"), "old name").expect("written");
        File::open(at.join("renamed.tmp")).expect("a file").sync_all().expect("flushed");
        sync_directory(&at);

        file.write_all_at(&[b'b'; PAGE], PAGE as u64).expect("written, not flushed");
        fs::rename(at.join("renamed.tmp"), at.join("renamed")).expect("renamed, not synced");
        fs::write(at.join("new"), "never synced").expect("written, not flushed");

        disk.cut_power();
        assert!(file.write_all_at(&[b'c'; PAGE], 0).is_err(), "{kind:?} takes writes without power");
        assert!(file.sync_data().is_err(), "{kind:?} flushes without power");
        drop(file);
        disk.remount();

        let found = fs::read(at.join("log")).expect("the file was synced");
        assert_eq!(found, [b'a'; 4 * PAGE], "{kind:?}: flushed data must stay, unflushed data must be lost");
        assert!(at.join("renamed.tmp").exists(), "{kind:?}: an unsynced rename removed the old name");
        assert!(!at.join("renamed").exists(), "{kind:?}: an unsynced rename survived");
        assert_ne!(fs::read(at.join("new")).unwrap_or_default(), b"never synced", "{kind:?}");
    }
}

#[test]
#[ignore = "loop devices and mounts, needs root: cargo test --test faults power -- --ignored instrument"]
fn instrument_a_full_disk_has_no_room_until_it_is_freed() {
    let directory = Directory::make();
    for kind in KINDS {
        let at = directory.path().join(format!("{kind:?}"));
        let disk = LoopDisk::make(kind, &at);
        let mut file = File::create_new(at.join("file")).expect("a file");
        disk.fill();
        let refused =
            file.write_all(&[b'a'; 1 << 20]).and_then(|()| file.sync_all()).expect_err("the disk is full");
        assert_eq!(refused.kind(), ErrorKind::StorageFull, "{kind:?}: {refused}");
        disk.free();
        file.write_all(&[b'a'; 1 << 20]).and_then(|()| file.sync_all()).expect("there is space again");
    }
}

#[test]
#[ignore = "loop devices and mounts, needs root: cargo test --test faults power -- --ignored instrument"]
fn instrument_a_frozen_disk_lets_writers_wait_until_it_thaws() {
    let directory = Directory::make();
    for kind in KINDS {
        let at = directory.path().join(format!("{kind:?}"));
        let disk = LoopDisk::make(kind, &at);
        let mut file = File::create_new(at.join("file")).expect("a file");
        disk.freeze();
        let (told, hear) = mpsc::channel();
        let writer = std::thread::spawn(move || {
            file.write_all(b"at last").expect("the write waits and does not fail");
            told.send(()).expect("the receiver exists");
        });
        let early = hear.recv_timeout(Duration::from_millis(300));
        disk.thaw();
        assert!(early.is_err(), "{kind:?} takes writes while it is frozen");
        hear.recv_timeout(Duration::from_secs(30)).expect("the write succeeds after the thaw");
        writer.join().expect("the writer ended well");
    }
}
