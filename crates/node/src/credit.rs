//! The log's credit: bytes of entries that it has promised to take, so that an accepted entry always fits.

use std::collections::VecDeque;

use lograft_storage::{LogReport, record_size_bytes};
use lograft_types::{EntryKind, LogWrite, WriteSeq};

/// The credit.
///
/// # Invariants
/// - Entries are handed to the log only while [`Self::available_bytes`] covers them. Hard states and a new leader's entry
///   come out of a reserve that the log keeps back.
/// - A write counts against the credit until a report covers it. The reported figure may include it already,
///   so the credit is never too high.
#[derive(Debug)]
pub(super) struct LogCredit {
    credit_bytes: u64,
    unreported: VecDeque<(WriteSeq, u64)>,
    unreported_bytes: u64,
    disk_full: bool,
}

impl LogCredit {
    pub(super) fn new(report: &LogReport) -> Self {
        Self {
            credit_bytes: report.credit_bytes,
            unreported: VecDeque::new(),
            unreported_bytes: 0,
            disk_full: report.disk_full,
        }
    }

    pub(super) fn reported(&mut self, report: &LogReport) {
        self.credit_bytes = report.credit_bytes;
        self.disk_full = report.disk_full;
        while let Some((_, bytes)) = self.unreported.pop_front_if(|(seq, _)| *seq <= report.persisted) {
            self.unreported_bytes -= bytes;
        }
    }

    pub(super) fn spent(&mut self, write: &LogWrite) {
        let bytes: u64 = write.entries.iter().map(|entry| cost(entry.kind, &entry.payload)).sum();
        self.unreported.push_back((write.seq, bytes));
        self.unreported_bytes += bytes;
    }

    pub(super) fn available_bytes(&self) -> u64 {
        self.credit_bytes.saturating_sub(self.unreported_bytes)
    }

    /// The disk had no space for the next segment.
    pub(super) fn disk_full(&self) -> bool {
        self.disk_full
    }
}

/// What an entry takes from the credit: nothing if the reserve covers it.
///
/// The one place that says so: if an entry cost more here than there, a full disk could turn away what fits.
pub(super) fn cost(kind: EntryKind, payload: &[u8]) -> u64 {
    match kind {
        EntryKind::NoOp => 0,
        EntryKind::Normal | EntryKind::Configuration => record_size_bytes(payload.len()),
    }
}
