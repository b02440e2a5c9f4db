//! Opening a log: recovery, then everything that appending after the recovered records needs.

use std::path::Path;
use std::sync::Arc;

use lograft_os::threads::RwLock;
use lograft_os::{Os, ReadFile, Segment};
use lograft_types::{Identity, WriteSeq, mark};

use super::{Active, Log, LogOptions, Recovered, SegmentHeader, started_file};
use crate::error::LogError;
use crate::reader::Index;
use crate::record::RecordKind;
use crate::recovery::{self, Found, Repair, Tail, ZEROS};
use crate::segment::{Preparation, PreparedSegment, SegmentSize, is_temporary, segment_path};
use crate::state::State;

impl<O: Os> Log<O> {
    /// Opens the log in `dir`, or begins it there. Everything found is durable on return; a torn write at the
    /// end is cut.
    ///
    /// The directory must be locked for this process ([`super::super::Directory`]).
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when durable data is damaged or missing, [`LogError::Newer`],
    /// [`LogError::Foreign`], [`LogError::Options`]: these change nothing. Any I/O error.
    pub fn open(
        os: O,
        dir: &Path,
        identity: Identity,
        options: LogOptions,
    ) -> Result<(Self, Recovered), LogError> {
        options.check()?;
        let found = recovery::recover(&os, dir, identity)?;
        let names = os.list(dir).map_err(LogError::io("list", dir))?;
        let was_started = names.iter().any(|name| name == recovery::STARTED_FILE);
        for name in names.iter().filter(|name| is_temporary(name)) {
            mark!(UnfinishedSegment);
            os.remove(&dir.join(name)).map_err(LogError::io("remove", dir.join(name)))?;
        }
        os.sync_dir(dir).map_err(LogError::io("sync", dir))?;
        let (mut log, recovered) = match found.tail.clone() {
            Some(tail) => Self::resume(os, dir, identity, options, found, tail)?,
            None => Self::begin(os, dir, identity, options, found)?,
        };
        if !was_started {
            let path = started_file(dir);
            log.os.write_file_atomically(&path, b"").map_err(LogError::io("write", path))?;
        }
        log.write_sync_marker()?;
        Ok((log, recovered))
    }

    /// Goes on after what was found.
    fn resume(
        os: O,
        dir: &Path,
        identity: Identity,
        options: LogOptions,
        found: Found<O::File>,
        tail: Tail,
    ) -> Result<(Self, Recovered), LogError> {
        let (prepared, unfinished) = take_prepared(&os, dir, &found)?;
        let path = segment_path(dir, tail.header.id);
        let (mut segment, _) = map_cold(&os, &path)?;
        if let Some(cut) = &tail.cut {
            fill_with_zeros::<O>(&mut segment, cut).map_err(LogError::io("write", &path))?;
        }
        // Everything read came from the disk. What was cut must be zeros there before new records are
        // written.
        segment.flush().map_err(LogError::io("flush", &path))?;
        let active = Active {
            header: tail.header,
            segment,
            tail: tail.offset,
            durable: tail.offset,
            last_crc: tail.last_crc,
            last_kind: tail.last_kind,
        };
        let recovered = Recovered {
            hard_state: found.state.hard_state,
            log_start: found.state.log_start,
            entries: found.entries,
            next_write: WriteSeq::ZERO.next(),
            repaired: tail.cut.or(unfinished),
        };
        let mut log =
            Self::assemble(os, dir, identity, options, (found.state, found.index), active, prepared);
        log.sealed_bytes = found.sealed_bytes;
        if tail.last_kind == RecordKind::SegmentEnd {
            log.roll()?;
            log.flush()?;
        }
        Ok((log, recovered))
    }

    /// Begins a log.
    fn begin(
        os: O,
        dir: &Path,
        identity: Identity,
        options: LogOptions,
        found: Found<O::File>,
    ) -> Result<(Self, Recovered), LogError> {
        let (mut prepared, unfinished) = take_prepared(&os, dir, &found)?;
        if !prepared.is_empty() {
            mark!(StartNotSynced);
        } else {
            let header = SegmentHeader::new(identity, 1, options.min_segment_bytes);
            let preparation =
                Preparation { os: os.clone(), dir: dir.to_owned(), header, size: SegmentSize::Usual };
            prepared.push(preparation.run().map_err(LogError::io("prepare", segment_path(dir, 1)))?);
        }
        let PreparedSegment { header, segment, file } = prepared.remove(0);
        let active = Active::fresh(header, segment);
        let empty = (State::default(), Index::default());
        let mut log = Self::assemble(os, dir, identity, options, empty, active, prepared);
        log.start_segment(file, 0, 0)?;
        log.flush()?;
        let recovered = Recovered {
            hard_state: log.state.hard_state,
            log_start: log.state.log_start,
            entries: Vec::new(),
            next_write: WriteSeq::ZERO.next(),
            repaired: unfinished,
        };
        Ok((log, recovered))
    }

    fn assemble(
        os: O,
        dir: &Path,
        identity: Identity,
        options: LogOptions,
        (state, index): (State, Index<O::File>),
        active: Active<O>,
        prepared: Vec<PreparedSegment<O>>,
    ) -> Self {
        Self {
            os,
            dir: dir.to_owned(),
            identity,
            options,
            state,
            index: Arc::new(RwLock::new(index)),
            active,
            prepared,
            preparing: None,
            wanted_bytes: 0,
            denials: 0,
            disk_full: false,
            unprepared: None,
            written: WriteSeq::ZERO,
            sealed_bytes: 0,
            poisoned: None,
            scratch: Vec::new(),
        }
    }
}

/// The segments after the tail, filled with zeros where a write that never became durable left bytes. Also
/// returns what was cut in the first such segment.
fn take_prepared<O: Os>(
    os: &O,
    dir: &Path,
    found: &Found<O::File>,
) -> Result<(Vec<PreparedSegment<O>>, Option<Repair>), LogError> {
    let mut segments = Vec::new();
    let mut first_cut = None;
    for (header, cut) in &found.prepared {
        let path = segment_path(dir, header.id);
        let (mut segment, file) = map_cold(os, &path)?;
        if let Some(cut) = cut {
            fill_with_zeros::<O>(&mut segment, cut).map_err(LogError::io("write", &path))?;
            segment.flush().map_err(LogError::io("flush", &path))?;
            first_cut = first_cut.or(Some(cut.clone()));
        }
        segments.push(PreparedSegment { header: *header, segment, file });
    }
    Ok((segments, first_cut))
}

/// Opens a segment and maps it after dropping its cached pages: reading it left large folios in the page cache,
/// and the flush of a small record would write a whole folio.
fn map_cold<O: Os>(os: &O, path: &Path) -> Result<(O::Segment, O::File), LogError> {
    let file = os.open(path).map_err(LogError::io("open", path))?;
    file.sync_and_drop_cache().map_err(LogError::io("flush", path))?;
    let segment = os.map(path).map_err(LogError::io("map", path))?;
    Ok((segment, file))
}

fn fill_with_zeros<O: Os>(segment: &mut O::Segment, cut: &Repair) -> std::io::Result<()> {
    let mut offset = cut.offset;
    let end = cut.offset.saturating_add(cut.bytes_cut).min(segment.size_bytes());
    while offset < end {
        let count = usize::try_from(end - offset).map_or(ZEROS.len(), |rest| rest.min(ZEROS.len()));
        segment.write(offset, &ZEROS[..count])?;
        offset += count as u64;
    }
    Ok(())
}
