//! Many seeds, played on a few threads and added up; the first that fails is shortened.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lograft_types::marks::Mark;

use super::scenario::{Fault, Scenario};
use super::trace::Trace;
use super::{Summary, attempt};

/// The totals of many runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) seeds: u64,
    pub(super) events: u64,
    pub(super) falls: u64,
    pub(super) recoveries: u64,
    pub(super) flips: u64,
    pub(super) faults: u64,
    pub(super) faults_by_kind: [u64; Fault::ALL.len()],
    pub(super) terms_led: u64,
    pub(super) committed: u64,
    pub(super) acknowledged: u64,
    pub(super) answers: u64,
    pub(super) unsearched: u64,
    pub(super) marks: Vec<u64>,
}

/// A run that failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) scenario: Scenario,
    pub(super) what: String,
}

impl Totals {
    fn add(&mut self, run: &Summary) {
        self.seeds += 1;
        self.events += run.events;
        self.falls += run.falls;
        self.recoveries += run.recoveries;
        self.flips += run.flips;
        self.faults += run.faults;
        self.terms_led += run.terms_led;
        self.committed += run.committed;
        self.acknowledged += run.acknowledged;
        self.answers += run.answers;
        self.unsearched += run.unsearched;
        for (sum, count) in self.faults_by_kind.iter_mut().zip(run.faults_by_kind) {
            *sum += count;
        }
        self.marks.resize(Mark::ALL.len(), 0);
        for (sum, count) in self.marks.iter_mut().zip(&run.marks) {
            *sum += count;
        }
    }

    /// The coverage marks that no run reached.
    pub(super) fn unreached(&self) -> Vec<Mark> {
        let count = |mark: &Mark| self.marks.get(*mark as usize).copied().unwrap_or(0);
        Mark::ALL.iter().copied().filter(|mark| count(mark) == 0).collect()
    }
}

/// Plays `seeds` seeds from `first` on, until one fails or `enough` returns true.
pub(super) fn play(
    first: u64,
    seeds: u64,
    jobs: usize,
    scenario_of: &(dyn Fn(u64) -> Scenario + Sync),
    enough: &(dyn Fn() -> bool + Sync),
) -> (Totals, Option<Failure>) {
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let outcome = Mutex::new((Totals::default(), None::<Failure>));
    let work = || {
        while !stop.load(Ordering::Relaxed) && !enough() {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= seeds {
                return;
            }
            let scenario = scenario_of(first + place);
            let result = attempt(&scenario, &mut Trace::hashed());
            let mut outcome = outcome.lock().expect("nobody panics while adding up");
            match result {
                Ok(summary) => outcome.0.add(&summary),
                // Seeds start in order and a started one is played to its end, so the first failing seed is
                // found whatever the number of threads.
                Err(what) => {
                    if outcome.1.as_ref().is_none_or(|first| scenario.seed < first.scenario.seed) {
                        outcome.1 = Some(Failure { scenario, what });
                    }
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    outcome.into_inner().expect("nobody panics while adding up")
}

/// Shortening tries everything at most this many times.
const MOST_ROUNDS: usize = 10;

/// Removes from a failing scenario what it does not need to fail: kinds of faults, network disturbances,
/// nodes, time.
///
/// The shortened scenario may fail in another way than the first. Both are failures.
pub(super) fn shorten(failure: Failure) -> Failure {
    let mut best = failure;
    // Some things can be removed only once another is gone.
    for _ in 0..MOST_ROUNDS {
        let before = best.scenario.differences(&Scenario::of_seed(best.scenario.seed));
        for smaller in smaller_than(&best.scenario) {
            try_out(&mut best, smaller);
        }
        shorten_time(&mut best);
        if best.scenario.differences(&Scenario::of_seed(best.scenario.seed)) == before {
            break;
        }
    }
    best
}

type Change = Box<dyn Fn(&mut Scenario)>;

fn smaller_than(scenario: &Scenario) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    let kinds = || Fault::ALL.into_iter().filter(|fault| scenario.faults.contains(fault));
    for fault in kinds().filter(|_| kinds().nth(1).is_some()) {
        changes.push(Box::new(move |scenario| scenario.faults = vec![fault]));
    }
    // Of the faults left by then.
    for fault in kinds() {
        changes.push(Box::new(move |scenario| scenario.faults.retain(|&there| there != fault)));
    }
    changes.push(Box::new(|scenario| scenario.ambush_percent = 0));
    changes.push(Box::new(|scenario| scenario.loss_percent = 0));
    changes.push(Box::new(|scenario| scenario.duplicate_percent = 0));
    changes.push(Box::new(|scenario| scenario.reorder_percent = 0));
    changes.push(Box::new(|scenario| scenario.straggler_percent = 0));
    changes.push(Box::new(|scenario| scenario.whole_commit_percent = 0));
    changes.push(Box::new(|scenario| scenario.repeat_percent = 0));
    changes.push(Box::new(|scenario| scenario.clock_drift_percent = 0));
    changes.push(Box::new(|scenario| scenario.bit_flip_percent = 0));
    changes.push(Box::new(|scenario| scenario.long_append_percent = 0));
    changes.push(Box::new(|scenario| scenario.append_us = 0));
    for nodes in 1..scenario.nodes {
        changes.push(Box::new(move |scenario| scenario.nodes = scenario.nodes.min(nodes)));
    }
    changes.push(Box::new(|scenario| scenario.request_burst = 1));
    changes.push(Box::new(|scenario| scenario.keys = 1));
    changes.push(Box::new(|scenario| scenario.value_bytes = 0));
    changes
}

fn try_out(best: &mut Failure, change: Change) {
    let mut scenario = best.scenario.clone();
    change(&mut scenario);
    if scenario.differences(&best.scenario).is_empty() {
        return;
    }
    if let Err(what) = attempt(&scenario, &mut Trace::hashed()) {
        *best = Failure { scenario, what };
    }
}

fn shorten_time(best: &mut Failure) {
    let mut cut_us = best.scenario.duration_us / 2;
    while cut_us >= 20_000 {
        let duration_us = best.scenario.duration_us;
        if duration_us > cut_us {
            try_out(best, Box::new(move |scenario| scenario.duration_us = duration_us - cut_us));
        }
        if best.scenario.duration_us == duration_us {
            cut_us /= 2;
        }
    }
}
