//! Work on a few threads with a result that does not depend on how many they are.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Works on 0, 1, 2, … in `jobs` threads and passes the results to `take` in that order, until `take` has
/// enough. Results past that are dropped.
pub(super) fn in_order<T: Send>(
    jobs: usize,
    work: impl Fn(u64) -> T + Sync,
    take: impl FnMut(u64, T) -> ControlFlow<()> + Send,
) {
    let next = AtomicU64::new(0);
    let enough = AtomicBool::new(false);
    let taking = Mutex::new((take, BTreeMap::new(), 0_u64));
    let worker = || {
        while !enough.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let outcome = work(place);
            let mut taking = taking.lock().expect("nobody panics while taking");
            let (take, early, wanted) = &mut *taking;
            early.insert(place, outcome);
            while let Some(outcome) = early.remove(wanted) {
                if enough.load(Ordering::Relaxed) {
                    return;
                }
                if take(*wanted, outcome).is_break() {
                    enough.store(true, Ordering::Relaxed);
                }
                *wanted += 1;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(worker);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcomes_are_taken_in_order_and_no_more_than_wanted() {
        for jobs in [1, 2, 5] {
            let mut taken = Vec::new();
            in_order(
                jobs,
                |place| place * place,
                |place, outcome| {
                    taken.push((place, outcome));
                    if place == 6 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                },
            );
            assert_eq!(taken, (0..=6).map(|place| (place, place * place)).collect::<Vec<_>>());
        }
    }
}
