//! `lograft-sim crashes`: crash images of the log.

use std::time::Instant;

use clap::Args;
use lograft_types::marks::{self, Mark};

use super::{Jobs, Outcome, row, say};
use crate::images::{self, Counts};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Stop after this many recoveries
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    recoveries: u64,
    /// The first workload
    #[arg(long, value_name = "FIRST", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    jobs: Jobs,
}

/// After this many recoveries every coverage mark of the disk must have been reached.
const RECOVERIES_FOR_MARKS: u64 = 50_000;
/// The rare branches of a recovery.
const MARKS: [Mark; 6] = [
    Mark::TornTail,
    Mark::RollEnded,
    Mark::RollStarted,
    Mark::UnfinishedSegment,
    Mark::SegmentRolled,
    Mark::StartNotSynced,
];

#[expect(clippy::disallowed_methods, reason = "how long it takes changes nothing of what happens")]
pub(super) fn run(arguments: &Arguments) -> Outcome {
    let &Arguments { recoveries, seed, jobs } = arguments;
    let jobs = jobs.jobs.get();
    let started = Instant::now();
    let (counts, failure) = images::run(seed, recoveries, jobs);
    let mut text = String::new();
    let seconds = started.elapsed().as_secs_f64();
    row(&mut text, "workloads", counts.workloads);
    row(&mut text, "seconds", format!("{seconds:.1}"));
    row(&mut text, "threads", jobs);
    row(&mut text, "steps", counts.steps);
    row(&mut text, "restarts", counts.restarts);
    row(&mut text, "crash points", counts.crash_points);
    row(&mut text, "images of power cuts", counts.images);
    row(&mut text, "images of kills", counts.kills);
    row(&mut text, "second crashes", counts.second_crashes);
    row(&mut text, "recoveries", counts.recoveries);
    row(&mut text, "torn writes cut", counts.torn);
    for mark in MARKS {
        row(&mut text, &format!("  {mark:?}"), counts.reached(mark));
    }
    let mut failed = failure.is_some();
    if let Some(failure) = &failure {
        text += &format!("\n{failure}\n");
    } else if marks::COUNTED && counts.recoveries >= RECOVERIES_FOR_MARKS {
        for mark in MARKS.into_iter().filter(|mark| counts.reached(*mark) == 0) {
            failed = true;
            text += &format!("never reached: {mark:?}: {}\n", mark.meaning());
        }
    }
    text += &summary(&counts, u64::from(failure.is_some()));
    say(&text, if failed { Outcome::Failed } else { Outcome::Passed })
}

fn summary(counts: &Counts, lost: u64) -> String {
    let Counts { recoveries, crash_points, second_crashes, .. } = counts;
    format!(
        "proof: crash images: {recoveries} recoveries, {crash_points} crash points, {second_crashes} second crashes, \
         {lost} lost\n"
    )
}
