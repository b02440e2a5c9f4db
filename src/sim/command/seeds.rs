//! `lograft sim`: seeds of whole clusters.
//!
//! The first seed that fails is shortened, its trace is written to a file, and one command that plays it again is
//! printed. In a run that is long enough to expect it, every mark must be reached too.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::{Outcome, is_help, number, row, say, say_usage};
use crate::marks::Mark;
use crate::sim::campaign::{self, Failure, Totals};
use crate::sim::scenario::{Fault, Scenario};
use crate::sim::trace::Trace;
use crate::sim::{again, attempt};

/// After so many seeds every mark must have been reached, and every fault must have struck.
const SEEDS_FOR_MARKS: u64 = 3_000;

const USAGE: &str = "\
Plays seeds on simulated clusters: production nodes on disks that lose what was not flushed, and a network that loses,
delays, duplicates, reorders and cuts.

Usage: lograft sim [--seeds N] [--seed FIRST] [--nodes N] [--minutes N] [--jobs N] [--set FIELD=VALUE]...
                   [--trace FILE] [--plain] [--marks]

      --seeds N            how many seeds [default: 1000; with --minutes: no end]
      --seed FIRST         the first of them [default: 0]
      --nodes N            so many nodes in each run, instead of the seed's own number
      --minutes N          stop after so long
      --jobs N             so many threads [default: 2]
      --set FIELD=VALUE    another value for a field of the scenario, as a failing run prints it
      --trace FILE         where the trace of a failing run goes [default: lograft-sim-SEED.trace]
      --plain              a failing run is named, not shortened
      --marks              every mark must be reached, however few the seeds are
";

/// What is wanted.
#[derive(Clone, Debug, Default)]
struct Wanted {
    first: u64,
    seeds: Option<u64>,
    minutes: Option<u64>,
    jobs: Option<usize>,
    overrides: Vec<(String, String)>,
    trace: Option<String>,
    marks: bool,
    plain: bool,
}

impl Wanted {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wanted = Self::default();
        let mut arguments = arguments;
        while let Some(flag) = arguments.next() {
            match flag.as_str() {
                "--marks" => wanted.marks = true,
                "--plain" => wanted.plain = true,
                _ => {}
            }
            if matches!(flag.as_str(), "--marks" | "--plain") {
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--seed" => wanted.first = number(&flag, &value)?,
                "--seeds" => wanted.seeds = Some(number(&flag, &value)?),
                "--minutes" => wanted.minutes = Some(number(&flag, &value)?),
                "--jobs" => wanted.jobs = Some(number(&flag, &value)?),
                "--nodes" => wanted.overrides.push(("nodes".to_owned(), value)),
                "--trace" => wanted.trace = Some(value),
                "--set" => {
                    let (field, value) = value.split_once('=').ok_or("--set wants FIELD=VALUE")?;
                    wanted.overrides.push((field.to_owned(), value.to_owned()));
                }
                _ => return Err(format!("{flag}: there is no such flag")),
            }
        }
        wanted.scenario(0)?;
        Ok(wanted)
    }

    fn scenario(&self, seed: u64) -> Result<Scenario, String> {
        let mut scenario = Scenario::of_seed(seed);
        for (field, value) in &self.overrides {
            scenario.set(field, value)?;
        }
        if !(1..=9).contains(&scenario.nodes) {
            return Err(format!("nodes={}: from 1 to 9", scenario.nodes));
        }
        Ok(scenario)
    }

    /// Whether this is one seed, changed as a failing run has printed it.
    fn is_replay(&self) -> bool {
        self.seeds == Some(1) && !self.overrides.is_empty()
    }

    fn seeds(&self) -> u64 {
        let by_default = if self.minutes.is_some() { u64::MAX } else { 1_000 };
        self.seeds.unwrap_or(by_default)
    }
}

#[expect(clippy::disallowed_methods, reason = "how long it takes changes nothing of what happens")]
pub(super) fn run(arguments: impl Iterator<Item = String>) -> Outcome {
    let mut arguments = arguments.peekable();
    if arguments.next_if(|first| is_help(first)).is_some() {
        return say_usage(None, USAGE);
    }
    let wanted = match Wanted::parse(arguments) {
        Ok(wanted) => wanted,
        Err(error) => return say_usage(Some(&error), USAGE),
    };
    let started = Instant::now();
    let deadline = wanted.minutes.map(|minutes| started + Duration::from_secs(60 * minutes));
    let enough = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let scenario_of = |seed| wanted.scenario(seed).expect("the fields were tried at the start");
    let jobs = wanted.jobs.unwrap_or(2).max(1);
    let (totals, failure) = campaign::play(wanted.first, wanted.seeds(), jobs, &scenario_of, &enough);
    let mut text = table(&totals, started.elapsed(), jobs);
    let mut code = Outcome::Passed;
    let failed = u64::from(failure.is_some());
    if let Some(failure) = failure {
        code = Outcome::Failed;
        text.push_str(&report(failure, &wanted));
    } else if wanted.marks || totals.seeds >= SEEDS_FOR_MARKS {
        for mark in totals.unreached() {
            code = Outcome::Failed;
            let _ = writeln!(text, "never reached: {mark:?}: {}", mark.meaning());
        }
        for (fault, _) in Fault::ALL.iter().zip(totals.faults_by_kind).filter(|(_, count)| *count == 0) {
            code = Outcome::Failed;
            let _ = writeln!(text, "never struck: {fault:?}");
        }
    }
    text.push_str(&summary(&totals, failed));
    say(&text, code)
}

fn summary(totals: &Totals, failed: u64) -> String {
    let Totals { seeds, events, recoveries, answers, .. } = totals;
    let marks = Mark::ALL.len() - totals.unreached().len();
    format!(
        "proof: simulation: {seeds} seeds, {events} events, {recoveries} recoveries, {answers} answers, \
         {marks} of {} marks, {failed} failed\n",
        Mark::ALL.len(),
    )
}

fn table(totals: &Totals, took: Duration, jobs: usize) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let per_second = u128::from(totals.events) * 1000 / took.as_millis().max(1);
    let mut text = String::new();
    let mut row = |name: &str, value: String| row(&mut text, name, value);
    row("seeds", totals.seeds.to_string());
    row("seconds", format!("{seconds:.1}"));
    row("events", totals.events.to_string());
    row("events a second", per_second.to_string());
    row("threads", jobs.to_string());
    row("terms with a leader", totals.terms_led.to_string());
    row("entries committed", totals.committed.to_string());
    row("answers", totals.answers.to_string());
    row("writes acknowledged", totals.acknowledged.to_string());
    row("histories too long to search", totals.unsearched.to_string());
    row("crashes and stops", totals.falls.to_string());
    row("recoveries", totals.recoveries.to_string());
    row("bits flipped at rest", totals.flips.to_string());
    row("faults", totals.faults.to_string());
    for (fault, count) in Fault::ALL.iter().zip(totals.faults_by_kind) {
        row(&format!("  {fault:?}"), count.to_string());
    }
    let reached = Mark::ALL.len() - totals.unreached().len();
    row("marks reached", format!("{reached} of {}", Mark::ALL.len()));
    for (mark, count) in Mark::ALL.iter().zip(&totals.marks) {
        row(&format!("  {mark:?}"), count.to_string());
    }
    text
}

/// Shortens a failure, writes its trace and says how to play it again.
fn report(failure: Failure, wanted: &Wanted) -> String {
    let seed = failure.scenario.seed;
    let mut text = format!("\nseed {seed} failed: {}\n", failure.what);
    if wanted.plain {
        return text;
    }
    // What is played again is played as it is.
    let short = if wanted.is_replay() { failure } else { campaign::shorten(failure) };
    let mut trace = Trace::whole();
    let again = attempt(&short.scenario, &mut trace);
    if again.as_ref().err() != Some(&short.what) {
        let _ = writeln!(text, "it failed otherwise when it was played again: {again:?}");
    }
    let fields = short.scenario.differences(&Scenario::of_seed(seed));
    let fields: String = fields.iter().map(|field| format!(" --set {field}")).collect();
    let path = wanted.trace.clone().unwrap_or_else(|| format!("lograft-sim-{seed}.trace"));
    let shortened = if wanted.is_replay() { "" } else { "shortened, " };
    let _ = writeln!(text, "{shortened}it fails at step {}: {}", trace.step(), short.what);
    let command = again::command(&format!("--seed {seed} --seeds 1{fields}"));
    let _ = writeln!(text, "play it again: {command}");
    let head = format!("seed {seed}{fields}\n{:#?}\n{}\n\n", short.scenario, short.what);
    let lines = trace.lines().fold(head, |text, line| text + line + "\n");
    match std::fs::write(&path, lines) {
        Ok(()) => {
            let _ = writeln!(text, "its trace is in {path}");
        }
        Err(error) => {
            let _ = writeln!(text, "its trace cannot be written to {path}: {error}");
        }
    }
    text
}
