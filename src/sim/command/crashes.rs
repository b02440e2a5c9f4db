//! `lograft sim crashes`: crash images of the log.

use std::time::Instant;

use super::{Outcome, is_help, numbers, row, say, say_usage};
use crate::marks::Mark;
use crate::sim::images::{self, Counts};

pub(super) const WORD: &str = "crashes";

const USAGE: &str = "\
Plays workloads on the log, makes the disks that a power cut may leave behind each change, recovers and judges each.

Usage: lograft sim crashes [--recoveries N] [--seed FIRST] [--jobs N]

      --recoveries N       stop after so many [default: 100000]
      --seed FIRST         the first workload [default: 0]
      --jobs N             so many threads [default: 2]
";

/// After so many recoveries every mark of the disk must have been reached.
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
pub(super) fn run(arguments: impl Iterator<Item = String>) -> Outcome {
    let mut arguments = arguments.peekable();
    if arguments.next_if(|first| is_help(first)).is_some() {
        return say_usage(None, USAGE);
    }
    let (mut recoveries, mut first, mut jobs) = (None, None, None);
    let flags = &mut [("--recoveries", &mut recoveries), ("--seed", &mut first), ("--jobs", &mut jobs)];
    if let Err(error) = numbers::<u64>(arguments, flags) {
        return say_usage(Some(&error), USAGE);
    }
    let wanted = recoveries.unwrap_or(100_000);
    let jobs = usize::try_from(jobs.unwrap_or(2)).unwrap_or(usize::MAX).clamp(1, 1024);
    let started = Instant::now();
    let (counts, failure) = images::run(first.unwrap_or(0), wanted, jobs);
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
    } else if counts.recoveries >= RECOVERIES_FOR_MARKS {
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
