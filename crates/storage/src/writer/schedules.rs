//! The log thread, its preparer, its owner and a reader, in every order that a seeded scheduler draws.
//!
//! Built only with `--cfg schedules`; `scripts/schedules` does that. A deadlock, an endless wait or a failed
//! assertion ends the test and prints the schedule, which `LOGRAFT_SCHEDULE` plays again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lograft_mem_os::MemOs;
use lograft_os::threads::Mutex;
use lograft_types::{EntryId, LogIndex};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use super::*;
use crate::testing::{dir, entry, hard_state, open, try_open, write};
use crate::{LogReader, ReadError, RecordKind, inspect, record_size_bytes};

/// Far more than one life takes.
const MAX_STEPS: usize = 200_000;
/// How often the second scheduler changes its priorities, at most.
const PCT_DEPTH: usize = 3;

/// What the owner handed in, as the disk must show it.
#[derive(Default)]
struct Model {
    /// The ids of the log's entries after each record of an entry; the first state is the empty log.
    states: Vec<Vec<EntryId>>,
    /// The place in `states` of the log after each write, by the write's number.
    ends: Vec<usize>,
}

impl Model {
    fn new() -> Self {
        Self { states: vec![Vec::new()], ends: vec![0] }
    }

    fn last(&self) -> &[EntryId] {
        self.states.last().expect("there is at least the empty log")
    }

    fn add(&mut self, write: &LogWrite) {
        for entry in &write.entries {
            let mut ids = self.last().to_vec();
            ids.retain(|id| id.index < entry.id.index);
            ids.push(entry.id);
            self.states.push(ids);
        }
        self.ends.push(self.states.len() - 1);
    }

    /// Whether a log with these entries has everything up to `durable`, and nothing that was not handed in.
    fn allows(&self, found: &[EntryId], durable: WriteSeq) -> bool {
        let from = self.ends[usize::try_from(durable.get()).expect("few writes")];
        self.states[from..].iter().any(|ids| ids == found)
    }
}

/// One life of a log, as its owner sees it.
struct Life {
    os: MemOs,
    thread: LogThread,
    reports: Receiver<LogReport>,
    reader: LogReader<MemOs>,
    model: Arc<Mutex<Model>>,
    term: u64,
    /// What each write counts against the credit, in bytes.
    sizes: Vec<u64>,
    latest: LogReport,
}

/// The ids of the log's entries after a power cut now.
fn after_a_power_cut(os: &MemOs) -> Vec<EntryId> {
    let (_, recovered) = try_open(&os.crash(thread_rng().r#gen())).expect("the log opens again");
    recovered.entries.iter().map(|meta| meta.id).collect()
}

impl Life {
    fn begin() -> Self {
        let os = MemOs::new();
        let (log, _) = open(&os);
        let reader = log.reader();
        let model = Arc::new(Mutex::new(Model::new()));
        let (sender, reports) = mpsc::channel();
        let (known, disk, persisted) = (Arc::clone(&model), os.clone(), AtomicU64::new(0));
        let failed = AtomicU64::new(0);
        let thread = LogThread::spawn(log, move |report| {
            // The failure was reported; another panic would only hide it.
            if thread::panicking() {
                return;
            }
            assert_eq!(failed.load(Ordering::Relaxed), 0, "after a failure nothing is reported: {report:?}");
            failed.store(u64::from(report.failed.is_some()), Ordering::Relaxed);
            let before = persisted.swap(report.persisted.get(), Ordering::Relaxed);
            assert!(before <= report.persisted.get(), "durable writes stay durable");
            let found = after_a_power_cut(&disk);
            let known = known.lock().expect("no thread panics with the lock held");
            assert!(known.allows(&found, report.persisted), "{found:?} after {report:?}");
            drop(known);
            // The owner may be gone.
            let _ = sender.send(report);
        });
        let latest = reports.recv().expect("the first report comes by itself");
        Self { os, thread, reports, reader, model, term: 1, sizes: vec![0], latest }
    }

    /// Waits for one report.
    fn wait(&mut self) {
        self.latest = self.reports.recv().expect("the log thread lives");
    }

    /// Takes the reports that have come meanwhile.
    fn look(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            self.latest = report;
        }
    }

    fn handed_in(&self) -> u64 {
        self.sizes.len() as u64 - 1
    }

    /// Hands in a write if the credit covers it: entries after the last one, or from an earlier one on in a
    /// later term. The later term is then written with them.
    fn hand_in(&mut self) {
        let mut random = thread_rng();
        let last = self.model.lock().expect("no thread panics with the lock held").last().len() as u64;
        let replaces = last > 1 && self.term < 4 && random.gen_ratio(1, 5);
        let first = if replaces { random.gen_range(2..=last) } else { last + 1 };
        self.term += u64::from(replaces);
        let payload = vec![b'p'; random.gen_range(0..1500)];
        let entries: Vec<_> =
            (first..=first + random.gen_range(0..3)).map(|index| entry(index, self.term, &payload)).collect();
        let size = record_size_bytes(payload.len()) * entries.len() as u64;
        let used: u64 =
            self.sizes.iter().skip(1 + usize::try_from(self.latest.persisted.get()).expect("few")).sum();
        if used + size > self.latest.credit_bytes {
            self.term -= u64::from(replaces);
            return;
        }
        let write = write(self.handed_in() + 1, replaces.then(|| hard_state(self.term, 1)), entries);
        self.model.lock().expect("no thread panics with the lock held").add(&write);
        self.sizes.push(size);
        self.thread.append(write);
    }

    /// Waits until everything is durable, or the log has failed.
    fn settle(&mut self) {
        while self.latest.persisted.get() < self.handed_in() && self.latest.failed.is_none() {
            self.wait();
        }
    }

    /// Waits until the log is idle: a sync marker proves everything. One that never comes is an endless wait.
    fn idle(&mut self) {
        self.settle();
        while !self.ends_in_a_marker() {
            self.wait();
        }
    }

    /// Whether a power cut would leave a sync marker as the last record.
    fn ends_in_a_marker(&self) -> bool {
        let records = inspect::records(self.os.crash(1), dir(), crate::testing::IDENTITY);
        // The marker may be half written, and so may be the next segment.
        records.filter_map(Result::ok).last().is_some_and(|record| record.kind == RecordKind::SyncMarker)
    }

    /// Ends the thread, one way or the other, and drains the reports. The last one becomes the latest.
    fn end(mut self) -> Ended {
        let handed_in = self.handed_in();
        let before = self.os.clone();
        let is_orderly = thread_rng().r#gen();
        if is_orderly {
            self.thread.shutdown();
            let counts = before.counts();
            thread::yield_now();
            assert_eq!(before.counts(), counts, "after the shutdown nothing touches the disk");
        } else {
            drop(self.thread);
        }
        while let Ok(report) = self.reports.recv() {
            self.latest = report;
        }
        Ended { os: self.os, model: self.model, handed_in, latest: self.latest, is_orderly }
    }
}

/// What a life leaves.
struct Ended {
    os: MemOs,
    model: Arc<Mutex<Model>>,
    handed_in: u64,
    latest: LogReport,
    /// The log was shut down; otherwise its handle was dropped.
    is_orderly: bool,
}

/// Checks that everything handed in is durable after a shutdown, and that a sync marker proves it. Without one,
/// what was reported is durable.
fn all_is_there(Ended { os, model, handed_in, latest, is_orderly }: Ended) {
    assert_eq!(latest.failed, None, "a caller that keeps to its credit sees no failure");
    let after = os.crash(1);
    let found = after_a_power_cut(&after);
    let model = model.lock().expect("no thread panics with the lock held");
    if !is_orderly {
        assert!(model.allows(&found, latest.persisted), "{found:?} after {latest:?}");
        return;
    }
    assert_eq!(latest.persisted.get(), handed_in);
    assert_eq!(found, model.last());
    let records = inspect::records(after, dir(), crate::testing::IDENTITY);
    let last = records.map(|record| record.expect("whole").kind).last();
    assert!(handed_in == 0 || last == Some(RecordKind::SyncMarker), "{last:?}");
}

/// A read at any time returns whole entries of the log as it once was, or none.
fn read_somewhere(reader: &LogReader<MemOs>) {
    let mut random = thread_rng();
    let first = LogIndex::new(random.gen_range(1..6));
    match reader.read(first, first.plus(random.gen_range(0..6)), 4000) {
        Ok(entries) => {
            let mut before = EntryId::new(entries[0].id.term, first.prev().expect("not the first"));
            for found in entries {
                assert_eq!(found.id.index, before.index.next());
                assert!(found.id.term >= before.term, "{} after {before}", found.id);
                assert!(found.payload.iter().all(|byte| *byte == b'p'));
                before = found.id;
            }
        }
        Err(ReadError::PastEnd { .. } | ReadError::Replaced { .. }) => {}
        Err(error) => panic!("a disk that works: {error}"),
    }
}

/// A setting from the environment: the number of schedules, or the first seed.
fn wish(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Plays a life under many schedules: half of them drawn step by step, half by priorities that change a few
/// times, which finds bugs that need a few unlikely moments.
fn explore(name: &str, life: fn()) {
    let count = usize::try_from(wish("LOGRAFT_SCHEDULES", 4000)).expect("a number of schedules");
    let seed = wish("LOGRAFT_SCHEDULES_SEED", 1);
    if let Ok(schedule) = std::env::var("LOGRAFT_SCHEDULE") {
        return shuttle::replay(life, &schedule);
    }
    let played = run(RandomScheduler::new_from_seed(seed, count.div_ceil(2)), life)
        + run(PctScheduler::new_from_seed(seed, PCT_DEPTH, count / 2), life);
    assert_eq!(played, count);
    println!("schedules of {name}: {played}");
}

fn run(scheduler: impl Scheduler + 'static, life: fn()) -> usize {
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    config.failure_persistence = FailurePersistence::Print;
    Runner::new(scheduler, config).run(life)
}

#[test]
fn what_is_reported_is_durable_and_nothing_is_lost_at_the_end() {
    explore("a log at work", || {
        let mut life = Life::begin();
        for _ in 0..thread_rng().gen_range(1..12) {
            match thread_rng().gen_range(0..4) {
                0 => life.settle(),
                1 => life.look(),
                _ => life.hand_in(),
            }
        }
        all_is_there(life.end());
    });
}

#[test]
fn a_log_that_is_idle_again_and_again_ends_in_a_marker_each_time() {
    explore("an idle log", || {
        let mut life = Life::begin();
        for _ in 0..thread_rng().gen_range(1..5) {
            for _ in 0..thread_rng().gen_range(1..3) {
                life.look();
                life.hand_in();
            }
            life.idle();
        }
        all_is_there(life.end());
    });
}

#[test]
fn a_reader_beside_the_log_sees_whole_entries_that_follow_each_other() {
    explore("a reader beside it", || {
        let mut life = Life::begin();
        let reader = life.reader.clone();
        let reading = thread::spawn(move || (0..6).for_each(|_| read_somewhere(&reader)));
        for _ in 0..8 {
            life.look();
            life.hand_in();
        }
        life.settle();
        reading.join().expect("the reader finds nothing wrong");
        all_is_there(life.end());
    });
}

#[test]
fn a_full_disk_heals_without_a_failure() {
    explore("a full disk", || {
        let mut life = Life::begin();
        life.os.set_free_bytes(thread_rng().gen_range(0..20_000));
        for _ in 0..10 {
            life.look();
            life.hand_in();
        }
        life.settle();
        life.os.set_free_bytes(1 << 20);
        while life.latest.disk_full {
            life.wait();
        }
        life.hand_in();
        all_is_there(life.end());
    });
}

#[test]
fn a_failed_flush_is_the_last_that_is_heard_of_a_log() {
    explore("a failed flush", || {
        let mut life = Life::begin();
        life.os.fail_flush(thread_rng().gen_range(0..8), thread_rng().r#gen());
        for _ in 0..8 {
            life.hand_in();
            life.look();
        }
        life.settle();
        // The failing flush may be that of a segment in preparation, which is retried, or it never came.
        let healed = life.os.heal_flushes();
        let failed = life.latest.failed.is_some();
        let Ended { os, model, handed_in, latest, is_orderly: _ } = life.end();
        assert!(!(healed && failed), "only one flush was to fail");
        let found = after_a_power_cut(&os);
        let model = model.lock().expect("no thread panics with the lock held");
        assert!(model.allows(&found, latest.persisted), "{found:?} after {latest:?}");
        assert!(latest.failed.is_some() || latest.persisted.get() == handed_in, "{latest:?}");
    });
}
