//! A file system of its own on a loop device, whose power can be cut, which can be full, and which can be frozen.
//!
//! A cut is what `FS_IOC_SHUTDOWN` does without a flush of the journal: from that moment nothing more reaches the
//! device, and what was only in memory is gone once the file system is unmounted. Mounting it again replays the
//! journal, as after a real cut. `xfs_io` asks for it; it knows ext4 too.
//!
//! Caveats: the device itself loses nothing, for it is a file of the machine that goes on running: what the file system
//! had handed to it, flushed or not, stays, and nothing is torn inside a sector. What a disk's own cache can lose is
//! the simulator's part. Root, loop devices, xfsprogs and e2fsprogs are needed: without them [`LoopDisk::make`] fails
//! and says so.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tokio::time::Instant;

/// The least that `mkfs.xfs` takes. The image is sparse: it costs what was written.
pub(crate) const DISK_BYTES: u64 = 300 << 20;
/// How much space the ballast of [`LoopDisk::fill`] asks for at first, and with what it gives up.
const BALLAST_CHUNK_BYTES: u64 = 64 << 20;
const BALLAST_LAST_BYTES: u64 = 4 << 10;
const BALLAST: &str = "ballast";
/// Nothing here takes so long; past it a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the names of the directories with disks begin with. The number of the process that made them comes next, by
/// which [`remove_leftovers`] sees that it is no more.
const DIRECTORY_PREFIX: &str = "lograft-power-";

/// The kinds of file systems that Lograft is proved on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
}

/// A file system on a loop device, mounted. Unmounted with it, frozen or not, and removed unless a test panics.
///
/// Processes that use it have to end before: what is busy cannot be unmounted.
#[derive(Debug)]
pub(crate) struct LoopDisk {
    pub(crate) kind: FileSystem,
    image: PathBuf,
    mount_point: PathBuf,
}

/// A directory for disks. When a test panics, it is kept with the images in it, which can be mounted and looked at.
#[derive(Debug)]
pub(crate) struct Directory(Option<tempfile::TempDir>);

impl Directory {
    /// Makes one, after what processes left behind that ended badly was removed.
    pub(crate) fn make() -> Self {
        remove_leftovers();
        let prefix = format!("{DIRECTORY_PREFIX}{}-", std::process::id());
        Self(Some(tempfile::Builder::new().prefix(&prefix).tempdir().expect("a directory")))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_ref().expect("it goes with this").path()
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
    /// Makes a file system and mounts it at this directory, which is made too. Its image lies beside it.
    ///
    /// # Panics
    /// Without root, loop devices or the tools.
    pub(crate) fn make(kind: FileSystem, mount_point: &Path) -> Self {
        assert!(
            rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists(),
            "the proof by power cuts needs root and loop devices; it cannot run on this machine as this user"
        );
        fs::create_dir_all(mount_point).expect("a mount point");
        let disk =
            Self { kind, image: mount_point.with_extension("img"), mount_point: mount_point.to_owned() };
        let image = File::create_new(&disk.image).expect("an image of its own");
        image.set_len(DISK_BYTES).expect("a sparse file");
        // No blocks kept back for root: the node runs as root here, and full shall mean full.
        let options: &[&str] = match kind {
            FileSystem::Ext4 => &["mkfs.ext4", "-q", "-m", "0"],
            FileSystem::Xfs => &["mkfs.xfs", "-q"],
        };
        run(options, &disk.image);
        disk.mount();
        disk
    }

    /// Cuts the power: from now on nothing reaches the device, and whoever asks gets an error.
    pub(crate) fn cut_power(&self) {
        // `-F`: also on a file system that is not XFS. Without `-f` the journal is not flushed.
        run(&["xfs_io", "-F", "-x", "-c", "shutdown"], &self.mount_point);
    }

    /// Unmounts what lost its power, and mounts it again: the journal is replayed, nothing in memory has survived.
    ///
    /// The processes that used it must be dead.
    pub(crate) fn remount(&self) {
        self.unmount();
        self.mount();
    }

    /// Nothing is written until [`Self::thaw`]: whoever tries waits.
    pub(crate) fn freeze(&self) {
        run(&["fsfreeze", "--freeze"], &self.mount_point);
    }

    /// Ends [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        run(&["fsfreeze", "--unfreeze"], &self.mount_point);
    }

    /// Takes all space that is free, for good: a cut does not give it back.
    pub(crate) fn fill(&self) {
        let path = self.mount_point.join(BALLAST);
        let ballast = File::options().create(true).append(true).open(&path).expect("a ballast file");
        let mut chunk_bytes = BALLAST_CHUNK_BYTES;
        let mut end = ballast.metadata().expect("its length").len();
        while chunk_bytes >= BALLAST_LAST_BYTES {
            match rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), end, chunk_bytes) {
                Ok(()) => end += chunk_bytes,
                Err(rustix::io::Errno::NOSPC) => chunk_bytes /= 2,
                Err(error) => panic!("{}: no ballast: {error}", path.display()),
            }
        }
        // Both the space and the name, or a cut would free the disk.
        ballast.sync_all().expect("the ballast is there");
        File::open(&self.mount_point).and_then(|directory| directory.sync_all()).expect("and its name");
    }

    /// Thaws it if it is frozen, so that those who wait for it can end.
    pub(crate) fn let_go(&self) {
        // It fails where nothing is frozen.
        let _ = command(&["fsfreeze", "--unfreeze"], &self.mount_point).output();
    }

    /// Gives back what [`Self::fill`] took.
    pub(crate) fn free(&self) {
        fs::remove_file(self.mount_point.join(BALLAST)).expect("the ballast of an earlier fill");
    }

    fn mount(&self) {
        // The loop device goes with the mount.
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
            // The kernel lets go of a dead process's files a moment after its end.
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

/// Thaws what may be frozen and unmounts it, busy or not, without a word when there is nothing to do.
fn detach(mount_point: &Path) {
    let _ = command(&["fsfreeze", "--unfreeze"], mount_point).output();
    let _ = command(&["umount", "--lazy"], mount_point).output();
}

/// Ends what processes of this test left behind that were killed: their nodes, mounts and images. What a test kept when
/// it failed is not mounted any more, and stays.
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
        // Frozen processes cannot be killed, and what is busy cannot be unmounted.
        let _ = command(&["fsfreeze", "--unfreeze"], mount_point).output();
        end_processes_in(directory);
        detach(mount_point);
        let _ = fs::remove_file(mount_point.with_extension("img"));
        let _ = fs::remove_dir(mount_point);
        // The last one empties it.
        let _ = fs::remove_dir(directory);
    }
}

/// Kills the processes whose command line names this directory: nodes whose test is no more.
fn end_processes_in(directory: &Path) {
    let directory = directory.to_str().expect("a path of our own");
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
    // The tools lie in /usr/sbin, which is not on everybody's path.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let shown = format!("{command:?}");
    command.output().unwrap_or_else(|error| {
        panic!("{shown} cannot be run ({error}): `scripts/install-tools packages` installs it")
    })
}
