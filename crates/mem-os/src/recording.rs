//! The changes made to a disk, each with the disk as it left it: the moments at which power can be cut.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Disk, MemOs, NameChange};

/// A change to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Wrote { file: usize, offset: u64, len: usize },
    Flushed { file: usize, failed: bool },
    Prepared { path: PathBuf },
    WroteFile { path: PathBuf },
    Name(NameChange),
    SyncedDirectory,
}

/// A recorded change and its result.
#[derive(Clone, Debug)]
pub struct Recorded {
    change: Change,
    /// The disk right after the change, unflushed data included.
    pub after: MemOs,
}

impl Recorded {
    /// The file and the byte range of a write into a segment.
    pub fn written(&self) -> Option<(String, std::ops::Range<u64>)> {
        match self.change {
            Change::Wrote { file, offset, len } => {
                Some((self.after.lock().name_of(file), offset..offset + len as u64))
            }
            Change::Flushed { .. }
            | Change::Prepared { .. }
            | Change::WroteFile { .. }
            | Change::Name(_)
            | Change::SyncedDirectory => None,
        }
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |file| self.after.lock().name_of(file);
        match &self.change {
            Change::Wrote { file, offset, len } => {
                write!(f, "write of {len} bytes at {offset} of {}", name(*file))
            }
            Change::Flushed { file, failed: false } => write!(f, "flush of {}", name(*file)),
            Change::Flushed { file, failed: true } => write!(f, "failing flush of {}", name(*file)),
            Change::Prepared { path } => write!(f, "preparation of {}", file_name(path)),
            Change::WroteFile { path } => write!(f, "creation of {}", file_name(path)),
            Change::Name(change) => change.fmt(f),
            Change::SyncedDirectory => f.write_str("sync of the directory"),
        }
    }
}

impl fmt::Display for NameChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made { path, .. } => write!(f, "name {}", file_name(path)),
            Self::Renamed { from, to, .. } => write!(f, "rename of {} to {}", file_name(from), file_name(to)),
            Self::Removed { path } => write!(f, "removal of {}", file_name(path)),
        }
    }
}

impl MemOs {
    /// From now on every change of this disk is recorded.
    pub fn record(&self) {
        self.lock().recording = Some(Vec::new());
    }

    /// The changes recorded since the last call, in order. Recording goes on.
    pub fn take_recorded(&self) -> Vec<Recorded> {
        self.lock().recording.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl Disk {
    /// Called after every change.
    pub(super) fn record(&mut self, change: impl FnOnce() -> Change) {
        if self.recording.is_some() {
            let recorded = Recorded { change: change(), after: self.survivor() };
            self.recording.get_or_insert_default().push(recorded);
        }
    }

    pub(super) fn name_of(&self, file: usize) -> String {
        let name = self.names.iter().find(|(_, number)| **number == file);
        name.map_or_else(|| format!("removed file {file}"), |(path, _)| file_name(path))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
