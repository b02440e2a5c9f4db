//! The log's credit: bytes of entries that it has promised to take, so that an accepted entry always fits.

use std::collections::VecDeque;

use lograft_storage::{LogReport, record_size_bytes};
use lograft_types::{EntryKind, LogWrite, WriteSeq, mark};

/// The credit.
///
/// # Invariants
/// - Entries are handed to the log only while [`Self::available_bytes`] covers them. Hard states and a new leader's
///   entry come out of a reserve that the log keeps back.
/// - A write counts against the credit until a report covers it. The reported figure may include it already,
///   so the credit is never too high.
/// - An entry that takes more than all of the credit holds up no other one: it waits for a larger segment.
#[derive(Debug)]
pub(super) struct LogCredit {
    credit_bytes: u64,
    unreported: VecDeque<(WriteSeq, u64)>,
    unreported_bytes: u64,
    disk_full: bool,
    denials: u64,
    wanted: Option<Wanted>,
}

/// A larger credit that the log was asked for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    bytes: u64,
    /// The denials that were reported before the log was asked.
    denials: u64,
    /// The wish is new: the log has to be told.
    is_new: bool,
}

/// Whether the log takes an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The credit covers it.
    Now,
    /// Not before the log has reported what was handed in already. What comes after the entry waits with it, or
    /// small entries would overtake a large one for ever.
    Soon,
    /// Not before the log has a larger segment, which may take a while. Others need not wait for that.
    Later,
    /// The disk has no space for it.
    Never,
}

impl LogCredit {
    pub(super) fn new(report: &LogReport) -> Self {
        Self {
            credit_bytes: report.credit_bytes,
            unreported: VecDeque::new(),
            unreported_bytes: 0,
            disk_full: report.disk_full,
            denials: report.denials,
            wanted: None,
        }
    }

    pub(super) fn reported(&mut self, report: &LogReport) {
        self.credit_bytes = report.credit_bytes;
        self.disk_full = report.disk_full;
        self.denials = report.denials;
        while let Some((_, bytes)) = self.unreported.pop_front_if(|(seq, _)| *seq <= report.persisted) {
            self.unreported_bytes -= bytes;
        }
        if self.wanted.is_some_and(|wanted| wanted.bytes <= self.credit_bytes) {
            self.wanted = None;
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

    /// Whether the log takes an entry that costs this much. `left_bytes` is the part of [`Self::available_bytes`] that
    /// entries before it have left. If it needs a larger segment, the log will be asked for one.
    pub(super) fn admit(&mut self, cost: u64, left_bytes: u64) -> Admission {
        if cost <= left_bytes {
            return Admission::Now;
        }
        if self.disk_full {
            return Admission::Never;
        }
        if cost <= self.credit_bytes {
            return Admission::Soon;
        }
        match self.wanted {
            Some(wanted) if self.denials > wanted.denials => {
                mark!(CreditDenied);
                Admission::Never
            }
            Some(wanted) if cost <= wanted.bytes => Admission::Later,
            _ => {
                mark!(CreditWanted);
                self.wanted = Some(Wanted { bytes: cost, denials: self.denials, is_new: true });
                Admission::Later
            }
        }
    }

    /// The bytes that the log must be asked for, if any. Called at the end of a turn: everything that waited has
    /// learned of a denial, and what comes later asks anew.
    pub(super) fn take_wish(&mut self) -> Option<u64> {
        let wanted = self.wanted.as_mut()?;
        if self.denials > wanted.denials {
            self.wanted = None;
            return None;
        }
        std::mem::take(&mut wanted.is_new).then_some(wanted.bytes)
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
