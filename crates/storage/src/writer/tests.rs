//! The log thread: what shares a flush, what is reported, how it ends.

use std::sync::mpsc::{Receiver, SyncSender};

use lograft_mem_os::MemOs;

use super::*;
use crate::testing::{SMALL, dir, entries, entry, hard_state, open, write};
use crate::{RecordKind, inspect, record_size_bytes};

/// Long enough for any machine; a test that passes never waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

fn spawn(os: &MemOs) -> (LogThread, Receiver<LogReport>) {
    let (reports, received) = mpsc::channel();
    let (log, _) = open(os);
    let thread = LogThread::spawn(log, move |report| {
        let _ = reports.send(report);
    });
    (thread, received)
}

fn wait_for(reports: &Receiver<LogReport>, mut wanted: impl FnMut(&LogReport) -> bool) -> LogReport {
    loop {
        let report = reports.recv_timeout(PATIENCE).expect("a report");
        if wanted(&report) {
            return report;
        }
    }
}

/// A thread that waits in each report until the gate lets it go on.
fn spawn_gated(os: &MemOs) -> (LogThread, Receiver<LogReport>, SyncSender<()>) {
    let (reports, received) = mpsc::channel();
    let (gate, open_gate) = mpsc::sync_channel::<()>(0);
    let (log, _) = open(os);
    let thread = LogThread::spawn(log, move |report| {
        let _ = reports.send(report);
        let _ = open_gate.recv();
    });
    (thread, received, gate)
}

#[test]
fn what_arrives_during_a_flush_shares_the_next_one() {
    let os = MemOs::new();
    let (thread, reports, gate) = spawn_gated(&os);
    wait_for(&reports, |report| report.persisted == WriteSeq::ZERO);
    // The thread is held in its first report: all of these wait.
    for seq in 1..=20 {
        thread.append(write(seq, None, entries(seq..=seq, 1)));
    }
    let before = os.counts().flushes;
    gate.send(()).unwrap();
    let report = wait_for(&reports, |_| true);
    // A finished preparation may have woken it: the writes are then handled with it.
    assert_eq!(report.persisted, WriteSeq::new(20));
    assert_eq!(os.counts().flushes, before + 1);
    drop(gate);
    thread.shutdown();
}

#[test]
fn reported_writes_survive_a_power_cut() {
    let os = MemOs::new();
    let (thread, reports) = spawn(&os);
    for seq in 1..=200 {
        thread.append(write(seq, Some(hard_state(seq, 1)), vec![entry(seq, 1, &[b'w'; 150])]));
        let report = wait_for(&reports, |report| report.persisted == WriteSeq::new(seq));
        assert_eq!(report.failed, None);
        if seq % 10 == 0 {
            let (_, recovered) = open(&os.crash(seq));
            assert!(recovered.entries.len() as u64 >= seq);
            assert!(recovered.hard_state.term.get() >= seq);
        }
    }
    thread.shutdown();
}

#[test]
fn a_failed_flush_is_reported_and_nothing_is_touched_any_more() {
    let os = MemOs::new();
    let (thread, reports) = spawn(&os);
    // Wait for the next segment, so that its preparation does not count below.
    let credit = SMALL.min_segment_bytes;
    wait_for(&reports, |report| report.credit_bytes > credit);
    thread.append(write(1, None, entries(1..=1, 1)));
    wait_for(&reports, |report| report.persisted == WriteSeq::new(1));
    os.fail_next_flush();
    thread.append(write(2, None, entries(2..=2, 1)));
    // An idle sync marker may have met the failure first; either way the write is not promised.
    let report = wait_for(&reports, |report| report.failed.is_some());
    assert_eq!(report.persisted, WriteSeq::new(1));
    let before = os.counts();
    thread.append(write(3, None, entries(3..=3, 1)));
    thread.shutdown();
    assert_eq!(os.counts(), before);
    assert!(reports.try_iter().next().is_none(), "nothing more is reported");
}

#[test]
fn what_a_halted_node_has_handed_over_is_not_touched_any_more() {
    for at_work in [false, true] {
        let os = MemOs::new();
        let (thread, reports, gate) = spawn_gated(&os);
        wait_for(&reports, |_| true);
        if at_work {
            thread.append(write(1, None, entries(1..=1, 1)));
            gate.send(()).unwrap();
            wait_for(&reports, |report| report.persisted == WriteSeq::new(1));
        }
        let before = os.counts();
        // The thread is held in a report: all of this waits.
        for seq in 2..=20 {
            thread.append(write(seq, None, entries(seq..=seq, 1)));
        }
        drop(thread);
        drop(gate);
        let rest: Vec<_> = std::iter::from_fn(|| reports.recv_timeout(PATIENCE).ok()).collect();
        assert!(rest.is_empty(), "nothing more is reported: {rest:?}");
        let after = os.counts();
        assert_eq!((after.writes, after.flushes), (before.writes, before.flushes));
    }
}

fn last_kind(os: &MemOs) -> RecordKind {
    let records = inspect::records(os.clone(), dir(), crate::testing::IDENTITY);
    records.map(|record| record.unwrap().kind).last().unwrap()
}

#[test]
fn the_shutdown_flushes_and_writes_a_sync_marker() {
    let os = MemOs::new();
    let (thread, _reports) = spawn(&os);
    for seq in 1..=30 {
        thread.append(write(seq, None, entries(seq..=seq, 1)));
    }
    thread.shutdown();
    let after = os.crash(1);
    assert_eq!(last_kind(&after), RecordKind::SyncMarker);
    assert_eq!(open(&after).1.entries.len(), 30);
}

#[test]
fn an_idle_log_ends_in_a_sync_marker() {
    let os = MemOs::new();
    let (thread, reports) = spawn(&os);
    // Each time anew.
    for seq in 1..=3 {
        thread.append(write(seq, None, entries(seq..=seq, 1)));
        wait_for(&reports, |report| report.persisted == WriteSeq::new(seq));
        while last_kind(&os) != RecordKind::SyncMarker {
            wait_for(&reports, |_| true);
        }
    }
    // Dropping the handle ends the thread too: the reports end.
    drop(thread);
    while reports.recv_timeout(PATIENCE).is_ok() {}
}

#[test]
fn a_full_disk_is_reported_and_heals_by_itself() {
    let os = MemOs::new();
    let (log, _) = open(&os);
    os.set_free_bytes(0);
    let (sender, reports) = mpsc::channel();
    let thread = LogThread::spawn(log, move |report| {
        let _ = sender.send(report);
    });
    let full = wait_for(&reports, |report| report.disk_full);
    // What the credit promised still fits.
    let length = usize::try_from(full.credit_bytes).unwrap() - 48;
    assert!(record_size_bytes(length) <= full.credit_bytes);
    thread.append(write(1, None, vec![entry(1, 1, &vec![b'f'; length])]));
    let report = wait_for(&reports, |report| report.persisted == WriteSeq::new(1));
    assert!(report.credit_bytes < 48 && report.failed.is_none());
    os.set_free_bytes(1 << 20);
    let healed = wait_for(&reports, |report| !report.disk_full);
    assert!(healed.credit_bytes > full.credit_bytes && healed.log_size_bytes > full.log_size_bytes);
    thread.shutdown();
}

#[test]
fn pitfall_91_a_lack_of_descriptors_is_waited_out_and_is_no_full_disk() {
    let os = MemOs::new();
    let (log, _) = open(&os);
    os.fail_opening(Some(rustix::io::Errno::MFILE.raw_os_error()));
    let (sender, reports) = mpsc::channel();
    let thread = LogThread::spawn(log, move |report| {
        let _ = sender.send(report);
    });
    let first = wait_for(&reports, |report| report.persisted == WriteSeq::ZERO);
    thread.append(write(1, None, entries(1..=5, 1)));
    // The second report after an attempt comes with a retry.
    let tried = os.counts().prepared;
    let report = wait_for(&reports, |report| {
        assert!(!report.disk_full);
        report.persisted == WriteSeq::new(1) && os.counts().prepared > tried
    });
    assert!(report.failed.is_none() && report.credit_bytes < first.credit_bytes);
    os.fail_opening(None);
    let healed = wait_for(&reports, |report| report.credit_bytes > first.credit_bytes);
    assert!(!healed.disk_full && healed.failed.is_none());
    thread.shutdown();
}

#[test]
fn a_write_beyond_the_credit_waits_for_the_segment_or_fails_the_log() {
    let os = MemOs::new();
    let (thread, reports) = spawn(&os);
    // Far more than one segment: the log prepares as many as it needs.
    thread.append(write(1, None, (1..=100).map(|index| entry(index, 1, &[b'm'; 900])).collect()));
    let report = wait_for(&reports, |report| report.persisted == WriteSeq::new(1) || report.failed.is_some());
    assert_eq!(report.failed, None);
    // No segment can hold this.
    thread.append(write(2, None, vec![entry(101, 1, &[b'm'; 20_000])]));
    let report = wait_for(&reports, |report| report.failed.is_some());
    assert_eq!(report.persisted, WriteSeq::new(1));
    thread.shutdown();
}

#[test]
fn pitfall_86_handing_in_never_waits_for_the_disk() {
    let os = MemOs::new();
    let (thread, reports, gate) = spawn_gated(&os);
    wait_for(&reports, |_| true);
    // The thread is held; the caller does not notice.
    for seq in 1..=5000 {
        thread.append(write(seq, None, entries(seq..=seq, 1)));
    }
    drop(gate);
    wait_for(&reports, |report| report.persisted == WriteSeq::new(5000));
    thread.shutdown();
}
