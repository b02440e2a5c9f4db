//! `lograft-sim flips`: every bit of a log, flipped one at a time.

use std::time::Instant;

use clap::Args;

use super::{Jobs, Outcome, row, say};
use crate::bits::{self, Flips};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// At least this many KiB of records; every bit costs a recovery of all of them
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
    kib: u64,
    /// The seed of the log
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Flip only this bit, numbered across all files, as a failing run prints it
    #[arg(long, value_name = "N")]
    bit: Option<u64>,
    #[command(flatten)]
    jobs: Jobs,
}

#[expect(clippy::disallowed_methods, reason = "how long it takes changes nothing of what happens")]
pub(super) fn run(arguments: &Arguments) -> Outcome {
    let &Arguments { kib, seed, bit, jobs } = arguments;
    let jobs = jobs.jobs.get();
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
