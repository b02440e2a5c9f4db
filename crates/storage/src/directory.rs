//! The data directory: it says which node owns it, and only one process can use it.
//!
//! ```text
//! LOCK                   locked as long as a process uses the directory
//! meta.json              format version, cluster, node, members as configured at the first start
//! log.started            the log was begun
//! 0000000000000001.log   the segments of the log
//! ```
//!
//! Directories are created with mode 0700, files with 0600. `docs/FORMAT.md` has the details.
//!
//! Caveats: the lock holds on this machine only; a directory on a network file system can be opened twice. A
//! complete copy of a directory cannot be told from the original.

#![expect(clippy::disallowed_types, reason = "the lock is an open file of this process")]

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::recovery::STARTED_FILE;
use super::segment::{FORMAT_VERSION, segment_id};
use lograft_os::{Os, RealOs};
use lograft_types::{ClusterId, Identity, Member, NodeId};

const LOCK_FILE: &str = "LOCK";
const META_FILE: &str = "meta.json";
/// What is safe where the meta file is gone or damaged. An empty directory instead would lose acknowledged writes.
const RESTORE_META: &str = "restore this one file, which never changes, from any copy of the directory, and leave all \
                            other files as they are: older ones can lose acknowledged writes";
/// The largest meta file: it is read into memory.
const MAX_META_BYTES: u64 = 1 << 20;

/// What the directory says about its node. Written once, at the first start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The version of the directory's format: [`FORMAT_VERSION`] in new ones.
    pub format_version: u32,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The node.
    pub node_id: NodeId,
    /// The node's name.
    pub name: String,
    /// The members as configured at the first start.
    pub members: Vec<Member>,
}

impl Meta {
    /// The node's identity.
    pub fn identity(&self) -> Identity {
        Identity { cluster: self.cluster_id, node: self.node_id }
    }
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process uses it.
    #[error("data directory {path} is in use by another process: stop that one, or use another directory")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be created or written.
    #[error("data directory {path} cannot be written ({source}): check its owner and its mode")]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The path is something else.
    #[error("{path} is not a directory: use another path for the data")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// It holds something that is not Lograft's.
    #[error(
        "{path} holds {found:?} but no {META_FILE}, so it is not a data directory of lograft: use an empty directory"
    )]
    ForeignContent {
        /// The directory.
        path: PathBuf,
        /// A file that is not Lograft's.
        found: String,
    },
    /// It is not a data directory (only when opened for inspection).
    #[error("{path} is not a data directory of lograft: it holds no {META_FILE}")]
    NoMeta {
        /// The directory.
        path: PathBuf,
    },
    /// It holds a log, but nothing says whose.
    #[error("{path} holds a log but no {META_FILE}: {RESTORE_META}")]
    MetaLost {
        /// The directory.
        path: PathBuf,
    },
    /// A newer version of the program created it.
    #[error(
        "data directory {path} has format {found}, this program knows formats up to {known}: use a newer lograft"
    )]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest that this program knows.
        known: u32,
    },
    /// Its meta file cannot be read.
    #[error("{path} is damaged ({reason}): {RESTORE_META}")]
    BrokenMeta {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It already has an identity.
    #[error(
        "data directory {path} already belongs to node {} of cluster {}: use another directory",
        found.node, found.cluster
    )]
    Initialized {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: Identity,
    },
    /// The disk failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A data directory that is locked for this process, as long as this value lives.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    meta: Option<Meta>,
    /// Closing the file releases the lock.
    _lock: File,
}

impl Directory {
    /// Opens a data directory for a node. Creates it if it is missing.
    ///
    /// # Errors
    /// See [`DirectoryError`]. A refused directory is left as it was.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        Self::make(path)?;
        check_content(path)?;
        let not_writable = |source| DirectoryError::NotWritable { path: path.to_owned(), source };
        // The lock file may be writable in a directory that is not.
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::access(path, access).map_err(|error| not_writable(error.into()))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(path.join(LOCK_FILE)).map_err(not_writable)?;
        Self::lock(path, lock)
    }

    /// Opens the data directory of a stopped node to look into it. It is locked, but nothing in it is changed.
    ///
    /// # Errors
    /// See [`DirectoryError`]: [`DirectoryError::InUse`] while the node runs, [`DirectoryError::NoMeta`] if
    /// it is not a data directory.
    pub fn open_for_inspection(path: &Path) -> Result<Self, DirectoryError> {
        let no_meta = || DirectoryError::NoMeta { path: path.to_owned() };
        let lock = match File::open(path.join(LOCK_FILE)) {
            Ok(lock) => lock,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(no_meta());
            }
            Err(source) => {
                return Err(DirectoryError::Io { action: "open", path: path.join(LOCK_FILE), source });
            }
        };
        let directory = Self::lock(path, lock)?;
        directory.meta.is_some().then_some(directory).ok_or_else(no_meta)
    }

    fn lock(path: &Path, lock: File) -> Result<Self, DirectoryError> {
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => DirectoryError::InUse { path: path.to_owned() },
            TryLockError::Error(source) => {
                DirectoryError::Io { action: "lock", path: path.join(LOCK_FILE), source }
            }
        })?;
        let meta = read_meta(path)?;
        Ok(Self { path: path.to_owned(), meta, _lock: lock })
    }

    /// Makes a directory, and what is missing of the path to it: each new level is durable when this returns.
    ///
    /// # Errors
    /// [`DirectoryError::NotADirectory`] and [`DirectoryError::NotWritable`].
    pub fn make(path: &Path) -> Result<(), DirectoryError> {
        make(path, |dir| RealOs.sync_dir(dir))
    }

    /// Whether the log of this data directory was begun, so that its node may have promised something.
    pub fn is_begun(path: &Path) -> bool {
        path.join(STARTED_FILE).exists()
    }

    /// Whether there is a data directory that a node has begun to use, whichever node that was.
    pub fn is_founded(path: &Path) -> bool {
        path.join(META_FILE).exists()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says about its node; `None` before the first start.
    pub fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }

    /// Records which node owns the directory: once, before anything else is put there. After a crash the
    /// record is whole or missing.
    ///
    /// # Errors
    /// [`DirectoryError::Initialized`] the second time, and any I/O error.
    pub fn initialize(&mut self, meta: Meta) -> Result<(), DirectoryError> {
        if let Some(meta) = &self.meta {
            return Err(DirectoryError::Initialized { path: self.path.clone(), found: meta.identity() });
        }
        let path = self.path.join(META_FILE);
        let write = serde_json::to_vec_pretty(&meta)
            .map_err(io::Error::from)
            .and_then(|json| RealOs.write_file_atomically(&path, &json));
        write.map_err(|source| DirectoryError::Io { action: "write", path, source })?;
        self.meta = Some(meta);
        Ok(())
    }
}

/// Makes a directory and what is missing of the path to it. No name on the path may be lost, because the votes
/// stored under it are promises: each new level is durable before the next one is made.
fn make(path: &Path, sync: impl Fn(&Path) -> io::Result<()>) -> Result<(), DirectoryError> {
    if path.exists() && !path.is_dir() {
        return Err(DirectoryError::NotADirectory { path: path.to_owned() });
    }
    if path.join(META_FILE).exists() {
        // The start that put it there got past this point.
        return Ok(());
    }
    let not_writable = |source| DirectoryError::NotWritable { path: path.to_owned(), source };
    let sync_name_of = |level: &Path| match fs::canonicalize(level)?.parent() {
        Some(parent) => sync(parent),
        None => Ok(()),
    };
    let absolute = std::path::absolute(path).map_err(not_writable)?;
    let mut levels: Vec<&Path> = absolute.ancestors().collect();
    levels.reverse();
    let missing = levels.iter().position(|level| !level.is_dir()).unwrap_or(levels.len());
    // A start that was cut short may have made the last level that exists. If anybody else did, syncing it is no
    // business of ours, and may be impossible.
    let _ = levels[..missing].last().map(|level| sync_name_of(level));
    for level in &levels[missing..] {
        // `a/..` exists as soon as `a` does.
        if !level.is_dir() {
            DirBuilder::new().mode(0o700).create(level).map_err(not_writable)?;
            sync_name_of(level).map_err(not_writable)?;
        }
    }
    Ok(())
}

/// Without a meta file, the directory may hold only what an interrupted first start leaves.
fn check_content(path: &Path) -> Result<(), DirectoryError> {
    let not_readable = |source| DirectoryError::Io { action: "list", path: path.to_owned(), source };
    let names = RealOs.list(path).map_err(not_readable)?;
    if names.iter().any(|name| name == META_FILE) {
        return Ok(());
    }
    if names.iter().any(|name| segment_id(name).is_some() || name == STARTED_FILE) {
        return Err(DirectoryError::MetaLost { path: path.to_owned() });
    }
    let temporary = format!("{META_FILE}.tmp");
    // A fresh file system has a lost+found directory.
    let ours = |name: &str| name == LOCK_FILE || name == temporary || name == "lost+found";
    match names.into_iter().find(|name| !ours(name)) {
        Some(found) => Err(DirectoryError::ForeignContent { path: path.to_owned(), found }),
        None => Ok(()),
    }
}

fn read_meta(dir: &Path) -> Result<Option<Meta>, DirectoryError> {
    let path = dir.join(META_FILE);
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_META_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > MAX_META_BYTES => {
            Err(DirectoryError::BrokenMeta { path, reason: "it is too large".to_owned() })
        }
        Ok(_) => parse_meta(dir, &bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DirectoryError::Io { action: "read", path, source }),
    }
}

/// Parses the bytes of the meta file in `dir`.
pub(super) fn parse_meta(dir: &Path, bytes: &[u8]) -> Result<Meta, DirectoryError> {
    let broken = |reason: String| DirectoryError::BrokenMeta { path: dir.join(META_FILE), reason };
    // Check the version first: a newer format may have another shape.
    let json: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| broken(error.to_string()))?;
    let version = json.get("format_version").and_then(serde_json::Value::as_u64);
    match version {
        None => return Err(broken("it has no format_version".to_owned())),
        Some(found) if found > u64::from(FORMAT_VERSION) => {
            let path = dir.to_owned();
            return Err(DirectoryError::NewerFormat { path, found, known: FORMAT_VERSION });
        }
        Some(_) => {}
    }
    serde_json::from_value(json).map_err(|error| broken(error.to_string()))
}

#[cfg(test)]
mod tests;
