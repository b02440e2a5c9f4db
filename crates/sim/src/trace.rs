//! What happened in a run: a hash of all of it and, on demand, the last lines to read.

use std::collections::VecDeque;

/// How many lines a readable trace keeps.
const KEPT_LINES: usize = 200;
/// The most characters of a line.
const LINE_CHARS: usize = 400;

/// The trace of a run.
///
/// Lines are formatted only in a readable trace: a failed run is played again with one.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    step: u64,
    readable: bool,
    /// How many lines are kept.
    kept_lines: usize,
    lines: VecDeque<String>,
}

impl Trace {
    /// A trace that keeps only its hash.
    pub fn hashed() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            step: 0,
            readable: false,
            kept_lines: KEPT_LINES,
            lines: VecDeque::new(),
        }
    }

    /// A trace that also keeps its last lines.
    pub fn readable() -> Self {
        Self { readable: true, ..Self::hashed() }
    }

    /// A trace that keeps all its lines.
    pub fn whole() -> Self {
        Self { kept_lines: usize::MAX, ..Self::readable() }
    }

    /// The hash of everything that happened: the same seed gives the same hash.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The number of events so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The last lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    pub(super) fn next_step(&mut self) {
        self.step += 1;
    }

    pub(super) fn mix(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.hash = (self.hash.rotate_left(5) ^ number).wrapping_mul(0x0100_0000_01b3_9e37);
        }
    }

    pub(super) fn note(&mut self, now_us: u64, line: impl FnOnce() -> String) {
        if !self.readable {
            return;
        }
        if self.lines.len() == self.kept_lines {
            self.lines.pop_front();
        }
        let (ms, us) = (now_us / 1000, now_us % 1000);
        // Values may be long.
        let text: String = line().chars().take(LINE_CHARS).collect();
        self.lines.push_back(format!("{:>6} {ms:>5}.{us:03} ms  {text}", self.step));
    }
}
