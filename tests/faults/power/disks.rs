//! A separate file system on a loop device, which can lose power, be filled, and be frozen.
//!
//! A power cut is `FS_IOC_SHUTDOWN` without a flush of the journal: from then on nothing reaches the device,
//! and what was only in memory is gone once the file system is unmounted. Mounting it again replays the
//! journal, as after a real power cut. `xfs_io` issues the call, for ext4 as well.
//!
//! Caveats: the device itself loses nothing, because it is a file on a machine that keeps running. Everything
//! that the file system had handed to it stays, flushed or not, and no sector is torn. What a disk's own
//! cache can lose is left to the simulator. The tests need root, loop devices, xfsprogs and e2fsprogs;
//! without them [`LoopDisk::make`] fails with a message.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tokio::time::Instant;

/// The minimum of `mkfs.xfs`. The image is sparse: it takes only what was written.
pub(crate) const DISK_BYTES: u64 = 300 << 20;
/// How much space [`LoopDisk::fill`] asks for at first, and the size at which it stops.
const BALLAST_CHUNK_BYTES: u64 = 64 << 20;
const BALLAST_LAST_BYTES: u64 = 4 << 10;
const BALLAST: &str = "ballast";
/// Nothing here takes this long. After this time a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// The prefix of directories with disks. The ID of the process that made them follows, so that
/// [`remove_leftovers`] can tell whether it is still alive.
const DIRECTORY_PREFIX: &str = "lograft-power-";

/// The file systems that Lograft is tested on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
}

/// A mounted file system on a loop device. Dropping it unmounts it, frozen or not, and removes it unless a
/// test panics.
///
/// Processes that use it must end first: a busy file system cannot be unmounted.
#[derive(Debug)]
pub(crate) struct LoopDisk {
    pub(crate) kind: FileSystem,
    image: PathBuf,
    mount_point: PathBuf,
}

/// A directory for disks. When a test panics, it is kept with its images, which can be mounted and inspected.
#[derive(Debug)]
pub(crate) struct Directory(Option<tempfile::TempDir>);

impl Directory {
    /// Makes one, after removing what earlier processes left when they crashed.
    pub(crate) fn make() -> Self {
        remove_leftovers();
        let prefix = format!("{DIRECTORY_PREFIX}{}-", std::process::id());
        Self(Some(tempfile::Builder::new().prefix(&prefix).tempdir().expect("a directory")))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_ref().expect("the directory exists while this does").path()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(directory) = self.0.take()
        {
            eprintln!("the images of the disks are kept in {}", directory.keep().display());
        }
    }
}

impl LoopDisk {
    /// Makes a file system and mounts it at this directory, which is created too. The image is next to it.
    ///
    /// # Panics
    /// Without root, loop devices or the tools.
    pub(crate) fn make(kind: FileSystem, mount_point: &Path) -> Self {
        assert!(
            rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists(),
            "power-cut tests need root and loop devices: run as root, with /dev/loop-control"
        );
        fs::create_dir_all(mount_point).expect("a mount point");
        let disk =
            Self { kind, image: mount_point.with_extension("img"), mount_point: mount_point.to_owned() };
        let image = File::create_new(&disk.image).expect("an image of its own");
        image.set_len(DISK_BYTES).expect("a sparse file");
        // No blocks are reserved for root: the node runs as root here, and a full disk must be full for it.
        let options: &[&str] = match kind {
            FileSystem::Ext4 => &["mkfs.ext4", "-q", "-m", "0"],
            FileSystem::Xfs => &["mkfs.xfs", "-q"],
        };
        run(options, &disk.image);
        disk.mount();
        disk
    }

    /// Cuts the power: from now on nothing reaches the device, and every access fails.
    pub(crate) fn cut_power(&self) {
        // `-F`: also for file systems other than XFS. Without `-f` the journal is not flushed.
        run(&["xfs_io", "-F", "-x", "-c", "shutdown"], &self.mount_point);
    }

    /// Unmounts the disk after a power cut and mounts it again: the journal is replayed, and nothing in
    /// memory has survived.
    ///
    /// The processes that used it must be dead.
    pub(crate) fn remount(&self) {
        self.unmount();
        self.mount();
    }

    /// Blocks all writes until [`Self::thaw`].
    pub(crate) fn freeze(&self) {
        run(&["fsfreeze", "--freeze"], &self.mount_point);
    }

    /// Ends [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        run(&["fsfreeze", "--unfreeze"], &self.mount_point);
    }

    /// Takes all free space permanently: a power cut does not free it.
    pub(crate) fn fill(&self) {
        let path = self.mount_point.join(BALLAST);
        let ballast = File::options().create(true).append(true).open(&path).expect("a ballast file");
        let mut chunk_bytes = BALLAST_CHUNK_BYTES;
        let mut end = ballast.metadata().expect("its length").len();
        while chunk_bytes >= BALLAST_LAST_BYTES {
            match rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), end, chunk_bytes) {
                Ok(()) => end += chunk_bytes,
                Err(rustix::io::Errno::NOSPC) => chunk_bytes /= 2,
                Err(error) => panic!("{}: cannot write the ballast: {error}", path.display()),
            }
        }
        // Sync both the space and the name, or a power cut would free the disk.
        ballast.sync_all().expect("the ballast is synced");
        File::open(&self.mount_point).and_then(|directory| directory.sync_all()).expect("its name is synced");
    }

    /// Thaws the disk if it is frozen, so that processes waiting for it can end.
    pub(crate) fn let_go(&self) {
        // This fails if nothing is frozen.
        let _ = command(&["fsfreeze", "--unfreeze"], &self.mount_point).output();
    }

    /// Frees what [`Self::fill`] took.
    pub(crate) fn free(&self) {
        fs::remove_file(self.mount_point.join(BALLAST)).expect("the ballast of an earlier fill");
    }

    fn mount(&self) {
        // The loop device is released with the mount.
        let mut command = Command::new("mount");
        command.args(["-o", "loop"]).args([&self.image, &self.mount_point]);
        succeed(command);
    }

    fn unmount(&self) {
        let begun = Instant::now();
        loop {
            let answer = output(command(&["umount"], &self.mount_point));
            if answer.status.success() {
                return;
            }
            // The kernel releases a dead process's files a moment after its end.
            let reason = String::from_utf8_lossy(&answer.stderr).into_owned();
            assert!(reason.contains("busy") && begun.elapsed() < PATIENCE, "{reason}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        detach(&self.mount_point);
        if !std::thread::panicking() {
            let _ = fs::remove_file(&self.image);
        }
    }
}

/// Thaws what may be frozen and unmounts it, even if busy. Does nothing if nothing is mounted.
fn detach(mount_point: &Path) {
    let _ = command(&["fsfreeze", "--unfreeze"], mount_point).output();
    let _ = command(&["umount", "--lazy"], mount_point).output();
}

/// Removes what killed processes of this test left: their nodes, mounts and images. What a failed test kept
/// is no longer mounted, and stays.
fn remove_leftovers() {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the mount table");
    let mount_points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    let temporary = std::env::temp_dir();
    for mount_point in mount_points {
        let Some(directory) = mount_point.parent().filter(|parent| parent.parent() == Some(&temporary))
        else {
            continue;
        };
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let Some(rest) = name.strip_prefix(DIRECTORY_PREFIX) else { continue };
        let owner = rest.split('-').next().unwrap_or_default();
        if Path::new("/proc").join(owner).exists() {
            continue;
        }
        // Frozen processes cannot be killed, and a busy file system cannot be unmounted.
        let _ = command(&["fsfreeze", "--unfreeze"], mount_point).output();
        end_processes_in(directory);
        detach(mount_point);
        let _ = fs::remove_file(mount_point.with_extension("img"));
        let _ = fs::remove_dir(mount_point);
        // Removing succeeds once the last disk is gone.
        let _ = fs::remove_dir(directory);
    }
}

/// Kills the processes whose command line names this directory: nodes of a test that is gone.
fn end_processes_in(directory: &Path) {
    let directory = directory.to_str().expect("a path that is text");
    for entry in fs::read_dir("/proc").expect("the process table").flatten() {
        let id = entry.file_name().to_string_lossy().parse().ok().and_then(rustix::process::Pid::from_raw);
        let Some(id) = id else { continue };
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&arguments).contains(directory) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
    }
}

fn command(words: &[&str], path: &Path) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(path);
    command
}

fn run(words: &[&str], path: &Path) {
    succeed(command(words, path));
}

fn succeed(command: Command) {
    let shown = format!("{command:?}");
    let answer = output(command);
    assert!(answer.status.success(), "{shown}: {}", String::from_utf8_lossy(&answer.stderr));
}

fn output(mut command: Command) -> Output {
    // The tools are in /usr/sbin, which is not on every user's path.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let shown = format!("{command:?}");
    command.output().unwrap_or_else(|error| {
        panic!("{shown} cannot be run ({error}): `scripts/install-tools packages` installs it")
    })
}
