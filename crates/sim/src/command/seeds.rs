//! Seeds of whole clusters.
//!
//! The first seed that fails is shortened, its trace is written to a file, and one command that replays it is
//! printed. A long enough run must also reach every coverage mark.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use clap::Args;
use lograft_types::marks::{self, Mark};

use super::{Jobs, Outcome, row, say};
use crate::campaign::{self, Failure, Totals};
use crate::scenario::{Fault, Scenario};
use crate::trace::Trace;
use crate::{again, attempt};

/// After this many seeds every coverage mark must have been reached, and every fault must have struck.
const SEEDS_FOR_MARKS: u64 = 3_000;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The number of seeds [default: 1000; with --minutes: unlimited]
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "FIRST", default_value_t = 0)]
    seed: u64,
    /// The number of nodes in each run, instead of the seed's own
    #[arg(long, value_name = "N")]
    nodes: Option<u64>,
    /// Stop after this many minutes
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// Override a field of the scenario, as a failing run prints it
    #[arg(long, value_name = "FIELD=VALUE", value_parser = field_and_value)]
    set: Vec<(String, String)>,
    /// The file for the trace of a failing run [default: lograft-sim-SEED.trace]
    #[arg(long, value_name = "FILE")]
    trace: Option<String>,
    /// Report a failing run without shortening it
    #[arg(long)]
    plain: bool,
    /// Require that every coverage mark is reached, even with few seeds
    #[arg(long)]
    marks: bool,
    #[command(flatten)]
    jobs: Jobs,
}

fn field_and_value(text: &str) -> Result<(String, String), String> {
    let (field, value) = text.split_once('=').ok_or("expected FIELD=VALUE")?;
    Ok((field.to_owned(), value.to_owned()))
}

impl Arguments {
    fn scenario(&self, seed: u64) -> Result<Scenario, String> {
        let mut scenario = Scenario::of_seed(seed);
        if let Some(nodes) = self.nodes {
            scenario.set("nodes", &nodes.to_string())?;
        }
        for (field, value) in &self.set {
            scenario.set(field, value)?;
        }
        if !(1..=9).contains(&scenario.nodes) {
            return Err(format!("nodes={}: must be from 1 to 9", scenario.nodes));
        }
        Ok(scenario)
    }

    /// Whether this is a single seed with the overrides that a failing run printed.
    fn is_replay(&self) -> bool {
        self.seeds == Some(1) && (self.nodes.is_some() || !self.set.is_empty())
    }

    fn seeds(&self) -> u64 {
        let by_default = if self.minutes.is_some() { u64::MAX } else { 1_000 };
        self.seeds.unwrap_or(by_default)
    }
}

#[expect(clippy::disallowed_methods, reason = "how long it takes changes nothing of what happens")]
pub(super) fn run(arguments: &Arguments) -> Outcome {
    if let Err(error) = arguments.scenario(0) {
        return say(&format!("{error}\n"), Outcome::BadArguments);
    }
    if arguments.marks && !marks::COUNTED {
        let error = "--marks: this build does not count coverage marks: build it with --profile sim\n";
        return say(error, Outcome::BadArguments);
    }
    let started = Instant::now();
    let deadline = arguments.minutes.map(|minutes| started + Duration::from_secs(60 * minutes));
    let enough = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let scenario_of = |seed| arguments.scenario(seed).expect("the fields were checked at the start");
    let jobs = arguments.jobs.jobs.get();
    let (totals, failure) = campaign::play(arguments.seed, arguments.seeds(), jobs, &scenario_of, &enough);
    let mut text = table(&totals, started.elapsed(), jobs);
    let mut code = Outcome::Passed;
    let failed = u64::from(failure.is_some());
    if let Some(failure) = failure {
        code = Outcome::Failed;
        text.push_str(&report(failure, arguments));
    } else if arguments.marks || marks::COUNTED && totals.seeds >= SEEDS_FOR_MARKS {
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
    row("events per second", per_second.to_string());
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

/// Shortens a failure, writes its trace and says how to replay it.
#[expect(clippy::disallowed_methods, reason = "a trace is a file for people")]
fn report(failure: Failure, arguments: &Arguments) -> String {
    let seed = failure.scenario.seed;
    let mut text = format!("\nseed {seed} failed: {}\n", failure.what);
    if arguments.plain {
        return text;
    }
    // A replay is not shortened any further.
    let short = if arguments.is_replay() { failure } else { campaign::shorten(failure) };
    let mut trace = Trace::whole();
    let again = attempt(&short.scenario, &mut trace);
    if again.as_ref().err() != Some(&short.what) {
        let _ = writeln!(text, "replayed, it failed differently: {again:?}");
    }
    let fields = short.scenario.differences(&Scenario::of_seed(seed));
    let fields: String = fields.iter().map(|field| format!(" --set {field}")).collect();
    let path = arguments.trace.clone().unwrap_or_else(|| format!("lograft-sim-{seed}.trace"));
    let shortened = if arguments.is_replay() { "" } else { "shortened, " };
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
            let _ = writeln!(text, "its trace could not be written to {path}: {error}");
        }
    }
    text
}
