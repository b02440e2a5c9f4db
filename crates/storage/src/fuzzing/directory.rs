//! Histories of a data directory: writes by the log itself, power cuts at any moment, and at the end any
//! damage to the files at rest.

use lograft_os::Os;
use lograft_types::{EntryId, LogIndex, LogWrite, Term, WriteSeq};

use super::super::testing::{hard_state, write};
use super::super::{Credit, LogError};
use super::*;

/// Bounds on the steps, and on the entries in each: every state since the last flush is remembered.
const MAX_STEPS: u32 = 48;
const MAX_BATCH: u64 = 6;
/// The bound on a payload's length: a few of them fill a segment.
const MAX_PAYLOAD_BYTES: u64 = 1500;

/// Any history of a data directory. Power cuts lose nothing that was flushed and invent nothing. A directory
/// that was damaged at rest is refused, or is still a log.
pub fn directory(bytes: &[u8]) -> &'static str {
    let mut input = Unstructured::new(bytes);
    let mut life = Life::begin();
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        match input.byte() {
            choice if choice < 250 => life.step(choice, &mut input),
            _ => return life.damage(&mut input),
        }
    }
    let os = life.os.kill();
    os.set_free_bytes(u64::MAX);
    let (found, _) = open_and_go_on(&os).expect("what the log wrote opens again");
    assert!(life.log.is_none() || found == *life.now(), "a killed process loses nothing");
    "whole"
}

struct Life {
    os: MemOs,
    /// `None` after a disk failure.
    log: Option<Log<MemOs>>,
    next_write: WriteSeq,
    /// The states that a power cut may leave: the durable one and each later one, record by record.
    states: Vec<Content>,
}

impl Life {
    fn begin() -> Self {
        let os = MemOs::new();
        let (log, recovered) = try_open(&os).expect("a log is begun on an empty disk");
        let states = vec![Content::of(&log, &recovered)];
        Self { os, log: Some(log), next_write: recovered.next_write, states }
    }

    fn now(&self) -> &Content {
        self.states.last().expect("there is always a state")
    }

    fn step(&mut self, choice: u8, input: &mut Unstructured<'_>) {
        match choice % 16 {
            0..=6 => self.write(input),
            7 | 8 => self.make_durable(|log| log.flush().map(drop)),
            9 => self.make_durable(Log::write_sync_marker),
            10 => self.prepare(),
            11 => self.reset(input),
            // A power cut, perhaps another one during recovery.
            12 => self.reopen(&self.os.crash(input.u64())),
            13 => {
                let os = self.os.crash(input.u64());
                os.set_free_bytes(u64::MAX);
                os.stop_after(u64::from(input.byte() % 16));
                drop(try_open(&os));
                self.reopen(&os.crash(input.u64()));
            }
            // A flush fails: writes since the last one may be there or not, and nothing more is written.
            14 => {
                self.os.fail_next_flush();
                if let Some(mut log) = self.log.take() {
                    let written = log.flush().is_err();
                    assert!(!written || log.flush().is_err(), "a failed flush closes the log");
                }
            }
            _ => self.os.set_free_bytes(if input.byte() < 128 { u64::from(input.u16()) } else { u64::MAX }),
        }
    }

    fn write(&mut self, input: &mut Unstructured<'_>) {
        let Some(log) = &mut self.log else { return };
        let last = log.last();
        let log_start = self.states.last().map_or(EntryId::ORIGIN, |state| state.log_start);
        let shape = input.byte();
        let back = if shape < 64 { input.below(last.index.get() - log_start.index.get() + 1) } else { 0 };
        let first = last.index.get() + 1 - back;
        let term = self.states.last().map_or(0, |state| state.hard_state.term.get()).max(last.term.get());
        let term = term.max(1) + u64::from(back > 0);
        let length = input.below(MAX_PAYLOAD_BYTES);
        let payload = vec![shape; usize::try_from(length).expect("a short payload")];
        let batch =
            (first..first + input.below(MAX_BATCH)).map(|index| entry(index, term, &payload)).collect();
        let vote = (shape & 1 == 1).then(|| hard_state(term, u64::from(shape & 6)));
        let write = write(self.next_write.get(), vote, batch);
        let Credit { credit_bytes, .. } = log.credit();
        let bytes: u64 =
            write.entries.iter().map(|entry| super::super::record_size_bytes(entry.payload.len())).sum();
        match log.append_write(&write) {
            Ok(()) => {
                self.next_write = write.seq.next();
                self.remember(&write);
            }
            Err(LogError::NoRoom { .. }) => {
                assert!(
                    bytes == 0 || bytes > credit_bytes,
                    "{bytes} bytes do not fit into a credit of {credit_bytes}"
                );
            }
            Err(error @ LogError::Io { .. }) => {
                // The flush of a roll failed: any part of the write may be there.
                self.remember(&write);
                self.log = None;
                assert!(error.to_string().contains("flush"), "{error}");
            }
            Err(error) => panic!("a write that continues the log fails: {error}"),
        }
    }

    /// The states that a write goes through, record by record.
    fn remember(&mut self, write: &LogWrite) {
        let mut state = self.now().clone();
        if let Some(hard_state) = write.hard_state {
            state.hard_state = hard_state;
            self.states.push(state.clone());
        }
        for entry in &write.entries {
            let kept = entry.id.index.distance_from(state.log_start.index).expect("after the log start") - 1;
            state.entries.truncate(usize::try_from(kept).expect("a short log"));
            state.entries.push(entry.clone());
            self.states.push(state.clone());
        }
    }

    fn make_durable(&mut self, flush: impl FnOnce(&mut Log<MemOs>) -> Result<(), LogError>) {
        let Some(log) = &mut self.log else { return };
        match flush(log) {
            Ok(()) => drop(self.states.drain(..self.states.len() - 1)),
            Err(error) => {
                assert!(matches!(error, LogError::Io { .. }), "only a disk makes a flush fail: {error}");
                self.log = None;
            }
        }
    }

    fn prepare(&mut self) {
        // If the disk is full, it is tried again another time.
        drop(self.log.as_mut().map(Log::prepare_next));
    }

    fn reset(&mut self, input: &mut Unstructured<'_>) {
        let Some(log) = &mut self.log else { return };
        let last = log.last();
        let log_start = EntryId::new(
            Term::new(last.term.get().max(1)),
            LogIndex::new(last.index.get() + u64::from(input.byte())),
        );
        match log.reset(log_start) {
            Ok(()) => {
                let hard_state = self.now().hard_state;
                self.states.push(Content { hard_state, log_start, entries: Vec::new() });
            }
            Err(LogError::NoRoom { .. }) => {}
            Err(_) => self.log = None,
        }
    }

    /// Another process opens what a crash has left.
    fn reopen(&mut self, after: &MemOs) {
        after.set_free_bytes(u64::MAX);
        self.log = None;
        let (log, recovered) = try_open(after).expect("a power cut is no damage");
        let found = Content::of(&log, &recovered);
        assert!(self.states.contains(&found), "nothing durable is lost, nothing is invented: {recovered:?}");
        self.os = after.clone();
        self.log = Some(log);
        self.next_write = recovered.next_write;
        self.states = vec![found];
    }

    /// The node is stopped, and its files are damaged.
    fn damage(self, input: &mut Unstructured<'_>) -> &'static str {
        let os = self.os.kill();
        drop(self.log);
        while !input.is_empty() {
            let names = os.list(dir()).expect("a disk that works");
            let Some(name) = names.get(usize::from(input.byte()) % names.len().max(1)) else { break };
            let path = dir().join(name);
            let mut contents = os.contents(&path).expect("a file that was listed");
            let place = input.below(contents.len().max(1) as u64);
            match input.byte() % 8 {
                0 | 1 => drop(os.flip_bit(&path, place * 8 + u64::from(input.byte() % 8))),
                2 => {
                    let length = usize::from(input.byte());
                    os.overwrite(&path, place, input.take(length));
                }
                3 => {
                    let end = contents.len().min(place as usize + usize::from(input.u16()));
                    contents[place as usize..end].fill(0);
                    os.put(&path, contents);
                }
                4 => {
                    contents.truncate(place as usize);
                    os.put(&path, contents);
                }
                5 => {
                    os.remove(&path).expect("a file that was listed");
                    os.sync_dir(dir()).expect("a disk that works");
                }
                // A copy under another segment's name, or under an unused one.
                6 => os.put(&segment_path(dir(), input.below(6)), contents),
                _ => os.put(&dir().join(format!("{name}.tmp")), contents),
            }
        }
        os.set_free_bytes(u64::MAX);
        match open_and_go_on(&os) {
            Ok(_) => "damage survived",
            Err(_) => "damage found",
        }
    }
}
