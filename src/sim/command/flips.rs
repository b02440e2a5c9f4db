//! `lograft sim flips`: every bit of a log, flipped one at a time.

use std::time::Instant;

use super::{Outcome, is_help, numbers, row, say, say_usage};
use crate::sim::bits::{self, Flips};

pub(super) const WORD: &str = "flips";

const USAGE: &str = "\
Writes a log, flips every bit of its files, one at a time, recovers and judges each.

Usage: lograft sim flips [--kib N] [--seed N] [--jobs N] [--bit N]

      --kib N              so many KiB of records, at least [default: 64]
      --seed N             the log [default: 0]
      --jobs N             so many threads [default: 2]
      --bit N              this bit only, counted over all files, as a failing run prints it
";

/// The largest log: every bit costs a recovery of all of it.
const MOST_KIB: u64 = 1024;

#[expect(clippy::disallowed_methods, reason = "how long it takes changes nothing of what happens")]
pub(super) fn run(arguments: impl Iterator<Item = String>) -> Outcome {
    let mut arguments = arguments.peekable();
    if arguments.next_if(|first| is_help(first)).is_some() {
        return say_usage(None, USAGE);
    }
    let (mut kib, mut seed, mut jobs, mut bit) = (None, None, None, None);
    let flags = &mut [("--kib", &mut kib), ("--seed", &mut seed), ("--jobs", &mut jobs), ("--bit", &mut bit)];
    if let Err(error) = numbers::<u64>(arguments, flags) {
        return say_usage(Some(&error), USAGE);
    }
    let (kib, seed) = (kib.unwrap_or(64), seed.unwrap_or(0));
    if !(1..=MOST_KIB).contains(&kib) {
        return say_usage(Some(&format!("--kib {kib}: from 1 to {MOST_KIB}")), USAGE);
    }
    let jobs = usize::try_from(jobs.unwrap_or(2)).unwrap_or(usize::MAX).clamp(1, 1024);
    let started = Instant::now();
    let outcome = match bit {
        Some(bit) => bits::flip(seed, kib, bit),
        None => bits::run(seed, kib, jobs),
    };
    let flips = match outcome {
        Ok(flips) => flips,
        Err(failure) => {
            let text = format!("{failure}\nproof: bit flips: failed at one\n");
            return say(&text, Outcome::Failed);
        }
    };
    let Flips { bits, detected, harmless, cut, files } = flips;
    let mut text = String::new();
    row(&mut text, "files", files);
    row(&mut text, "seconds", format!("{:.1}", started.elapsed().as_secs_f64()));
    row(&mut text, "threads", jobs);
    row(&mut text, "bits flipped", bits);
    row(&mut text, "detected", detected);
    row(&mut text, "harmless (filling, unused space)", harmless);
    row(&mut text, "cut, as nothing proves the tail", cut);
    text += &format!(
        "proof: bit flips: {bits} bits, {detected} detected, {harmless} harmless, {cut} cut, 0 lost\n"
    );
    say(&text, Outcome::Passed)
}
