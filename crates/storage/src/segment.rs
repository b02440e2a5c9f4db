//! Segment files: their names, their header, and how they are made. `docs/FORMAT.md` has the byte table.
//!
//! A segment's header fills a page of its own, which is written once, when the file is prepared: no later
//! write can tear it. So an invalid header is damage, whatever follows it.

use std::io;
use std::path::{Path, PathBuf};

use lograft_os::{Os, PAGE_BYTES, is_disk_full};
use lograft_types::{ClusterId, Identity, NodeId};

use super::record::{u32_at, u64_at};

/// The offset of a segment's first record.
pub(super) const FIRST_RECORD: u64 = PAGE_BYTES as u64;
/// The version of the format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;
/// The largest segment: offsets have 32 bits in memory, and a reader may have to hold a whole segment.
pub(super) const MAX_SEGMENT_BYTES: u64 = 1 << 30;

const MAGIC: &[u8; 8] = b"LOGRAFT\x01";
const HEADER_BYTES: usize = 64;
const SUFFIX: &str = ".log";
const TEMPORARY_SUFFIX: &str = ".log.tmp";

/// What a segment file says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) identity: Identity,
    /// Counts up from 1; never reused.
    pub(super) id: u64,
    pub(super) size_bytes: u64,
    /// Goes into the CRC of every record.
    pub(super) seed: u32,
}

/// Why a header is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderDefect {
    /// It is not a header, or it is damaged.
    Broken,
    /// A newer version of the program wrote it.
    Newer(u32),
}

impl SegmentHeader {
    /// The header of a new segment. The seed depends only on the node's identity and `id`, so that a run can
    /// be repeated.
    pub(super) fn new(identity: Identity, id: u64, size_bytes: u64) -> Self {
        let mut bytes = [0; 24];
        bytes[0..8].copy_from_slice(&identity.cluster.get().to_le_bytes());
        bytes[8..16].copy_from_slice(&identity.node.get().to_le_bytes());
        bytes[16..24].copy_from_slice(&id.to_le_bytes());
        Self { identity, id, size_bytes, seed: crc32c::crc32c(&bytes) }
    }

    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.seed.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.identity.cluster.get().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.identity.node.get().to_le_bytes());
        bytes[32..40].copy_from_slice(&self.id.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.size_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderDefect> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(HeaderDefect::Broken)?;
        let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        if &bytes[..8] != MAGIC || u32_at(bytes, HEADER_BYTES - 4) != crc {
            return Err(HeaderDefect::Broken);
        }
        match u32_at(bytes, 8) {
            FORMAT_VERSION => {}
            newer => return Err(HeaderDefect::Newer(newer)),
        }
        Ok(Self {
            identity: Identity {
                cluster: ClusterId::new(u64_at(bytes, 16)),
                node: NodeId::new(u64_at(bytes, 24)),
            },
            id: u64_at(bytes, 32),
            size_bytes: u64_at(bytes, 40),
            seed: u32_at(bytes, 12),
        })
    }
}

/// The path of the segment with this id.
pub(super) fn segment_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:016x}{SUFFIX}"))
}

/// The id in the name of a segment file; `None` for any other name.
pub(super) fn segment_id(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let id = u64::from_str_radix(digits, 16).ok()?;
    // Only one spelling: any other is a copy that somebody made.
    (format!("{id:016x}") == digits).then_some(id)
}

/// Whether the name is that of a segment whose preparation was not finished.
pub(super) fn is_temporary(name: &str) -> bool {
    name.ends_with(TEMPORARY_SUFFIX)
}

/// The job of preparing a segment: it can run on any thread, and again until it succeeds.
#[derive(Clone, Debug)]
pub struct Preparation<O: Os> {
    pub(super) os: O,
    pub(super) dir: PathBuf,
    pub(super) header: SegmentHeader,
    pub(super) size: SegmentSize,
}

/// How large a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentSize {
    /// As large as any segment at its place.
    Usual,
    /// Larger, because an entry needs it.
    Enlarged,
}

/// A segment that is ready to be rolled into: allocated, zero-filled, durable under its name, mapped, and open
/// for readers. So rolling needs no file descriptor.
#[derive(Debug)]
pub struct PreparedSegment<O: Os> {
    pub(super) header: SegmentHeader,
    pub(super) segment: O::Segment,
    pub(super) file: O::File,
}

impl<O: Os> Preparation<O> {
    /// Whether running the job again is pointless after this error: the disk has no space for a segment of an unusual
    /// size, but may have for a usual one.
    pub fn is_hopeless(&self, error: &io::Error) -> bool {
        self.size == SegmentSize::Enlarged && is_disk_full(error)
    }

    /// Prepares the segment under a temporary name, flushes it, renames it, syncs the directory.
    ///
    /// # Errors
    /// Any I/O error. The job may be run again.
    pub fn run(&self) -> io::Result<PreparedSegment<O>> {
        let path = segment_path(&self.dir, self.header.id);
        let temporary = path.with_extension("log.tmp");
        self.os.prepare(&temporary, &self.header.encode(), self.header.size_bytes)?;
        self.os.rename(&temporary, &path)?;
        self.os.sync_dir(&self.dir)?;
        let segment = self.os.map(&path)?;
        let file = self.os.open(&path)?;
        Ok(PreparedSegment { header: self.header, segment, file })
    }
}
