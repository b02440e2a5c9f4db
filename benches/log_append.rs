//! The cost of a durable append through the mapping, compared with `pwrite` into a file that was prepared the same
//! way.
//!
//! `cargo bench --bench log_append [-- DIR]`. Both are measured in turns in the same run: compare the ratio, not the
//! microseconds. Bytes are those that the kernel counts as written by this process (`/proc/self/io`): the pages that
//! a flush has to write.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lograft_storage::{Log, LogOptions, RealOs, record_size_bytes};
use lograft_types::{
    ClusterId, Entry, EntryId, EntryKind, Identity, LogIndex, LogWrite, NodeId, Term, WriteSeq,
};

const PAYLOAD_BYTES: usize = 256;
const ROUNDS: usize = 7;
const APPENDS_PER_ROUND: u64 = 500;
const IDENTITY: Identity = Identity { cluster: ClusterId::new(1), node: NodeId::new(1) };

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo passes --bench; anything else is the directory.
    let dir = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let dir = dir.map_or_else(|| PathBuf::from("target"), PathBuf::from).join("log-append-bench");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    let outcome = run(&dir);
    fs::remove_dir_all(&dir)?;
    outcome
}

fn run(dir: &Path) -> Result<(), Box<dyn Error>> {
    let options = LogOptions { min_segment_bytes: 8 << 20, ..LogOptions::default() };
    let (mut log, _) = Log::open(RealOs, dir, IDENTITY, options)?;
    let file = filled_file(&dir.join("pwrite"), 8 << 20)?;
    let mut mapped = Vec::new();
    let mut written = Vec::new();
    let mut offset = 0;
    for _ in 0..ROUNDS {
        mapped.push(measure(|| append(&mut log))?);
        written.push(measure(|| {
            let size = record_size_bytes(PAYLOAD_BYTES);
            file.write_all_at(&vec![b'v'; usize::try_from(size)?], offset)?;
            offset += size;
            Ok(file.sync_data()?)
        })?);
    }
    drop(log);
    let (mut log, _) = Log::open(RealOs, dir, IDENTITY, options)?;
    let mut reopened = Vec::new();
    for _ in 0..ROUNDS {
        reopened.push(measure(|| append(&mut log))?);
    }
    let (mapped, written, reopened) = (median(mapped), median(written), median(reopened));
    let show = |name: &str, (time, bytes): (Duration, u64)| {
        let ratio = time.as_secs_f64() / written.0.as_secs_f64();
        println!("{name:<28} {time:>10.1?}   {ratio:.2} × pwrite   {bytes} bytes a flush");
    };
    show("pwrite, fdatasync", written);
    show("mapping, fdatasync", mapped);
    show("the same, log reopened", reopened);
    Ok(())
}

fn append(log: &mut Log<RealOs>) -> Result<(), Box<dyn Error>> {
    let id = EntryId::new(Term::new(1), LogIndex::new(log.last().index.get() + 1));
    let entry = Entry { id, kind: EntryKind::Normal, payload: Bytes::from(vec![b'v'; PAYLOAD_BYTES]) };
    let seq = WriteSeq::new(log.written().get() + 1);
    log.append_write(&LogWrite { seq, hard_state: None, entries: vec![entry] })?;
    log.flush()?;
    Ok(())
}

/// The mean time per append in this round, and the mean bytes written for it.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn measure(
    mut append: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<(Duration, u64), Box<dyn Error>> {
    let bytes = write_bytes()?;
    let start = Instant::now();
    for _ in 0..APPENDS_PER_ROUND {
        append()?;
    }
    let time = start.elapsed() / u32::try_from(APPENDS_PER_ROUND)?;
    Ok((time, (write_bytes()? - bytes) / APPENDS_PER_ROUND))
}

fn median(mut rounds: Vec<(Duration, u64)>) -> (Duration, u64) {
    rounds.sort();
    rounds[rounds.len() / 2]
}

fn write_bytes() -> Result<u64, Box<dyn Error>> {
    let io = fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.ok_or("no write_bytes in /proc/self/io")?.trim().parse()?)
}

fn filled_file(path: &Path, size: u64) -> Result<File, Box<dyn Error>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    for page in 0..size / 4096 {
        file.write_all_at(&[0; 4096], page * 4096)?;
    }
    file.sync_all()?;
    Ok(file)
}
