//! `lograft log`: the log of a stopped node, as JSON, one line each.
//!
//! An entry that was replaced by a later leader's still lies in the files. What is shown is the log as the node knows
//! it: the files are read twice, first to find out which entries count. `--records` shows all of them instead.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use lograft_storage::inspect::{InspectedRecord, Problem, records};
use lograft_storage::{Directory, DirectoryError, RealOs, RecordKind};
use lograft_types::EntryKind;

use super::args::LogArgs;
use super::exit::{Code, Failure, say};
use super::output;

#[cfg(test)]
mod tests;

/// Lines are printed in pieces of about this size.
const PIECE_BYTES: usize = 64 << 10;

/// Prints the log of the node whose data directory this is.
pub(super) fn run(args: &LogArgs) -> Result<(), Failure> {
    // Held until the end: a node that starts meanwhile would write under our eyes.
    let directory = Directory::open_for_inspection(&args.dir).map_err(refused)?;
    let Some(meta) = directory.meta() else {
        let message = format!("{} is not a data directory of lograft", args.dir.display());
        return Err(Failure::new(Code::InvalidInput, message));
    };
    let read = || records(RealOs, &args.dir, meta.identity());
    let mut out = Printer::default();
    let problem = if args.records {
        print_records(read(), args, &mut |line| out.line(&line))?
    } else {
        let live = live_entries(read());
        print_entries(read(), &live, args, &mut |line| out.line(&line))?
    };
    out.finish()?;
    match problem {
        None => Ok(()),
        Some(torn @ Problem::Torn(_)) => {
            say(&torn.to_string());
            Ok(())
        }
        Some(problem @ (Problem::NoLog(_) | Problem::Damaged(_))) => {
            Err(Failure::new(Code::Error, problem.to_string()))
        }
    }
}

fn refused(error: DirectoryError) -> Failure {
    match error {
        DirectoryError::InUse { path } => Failure::new(
            Code::Error,
            format!(
                "{} is in use: a running node's log changes while it is read; stop the node first (its `lograft \
                 status` works while it runs)",
                path.display()
            ),
        ),
        error @ DirectoryError::NoMeta { .. } => Failure::new(Code::InvalidInput, error.to_string()),
        error => Failure::new(Code::Error, error.to_string()),
    }
}

/// Index of each entry that counts, and the number of its record.
type Live = BTreeMap<u64, usize>;

fn live_entries(records: impl Iterator<Item = Result<InspectedRecord, Problem>>) -> Live {
    let mut live = Live::new();
    for (number, record) in records.map_while(Result::ok).enumerate() {
        match record.kind {
            RecordKind::Entry(_) => {
                // An entry drops what stood at its index and after it.
                drop(live.split_off(&record.index.get()));
                live.insert(record.index.get(), number);
            }
            RecordKind::Reset => live.clear(),
            RecordKind::SegmentStart
            | RecordKind::HardState
            | RecordKind::SyncMarker
            | RecordKind::SegmentEnd => {}
        }
    }
    live
}

type Print<'a> = &'a mut dyn FnMut(String) -> Result<(), Failure>;

fn print_entries(
    records: impl Iterator<Item = Result<InspectedRecord, Problem>>,
    live: &Live,
    args: &LogArgs,
    print: Print<'_>,
) -> Result<Option<Problem>, Failure> {
    let mut printed = 0;
    for (number, record) in records.enumerate() {
        let record = match record {
            Ok(record) => record,
            Err(problem) => return Ok(Some(problem)),
        };
        let RecordKind::Entry(kind) = record.kind else { continue };
        let counts = live.get(&record.index.get()) == Some(&number);
        if !counts || record.index.get() < args.from {
            continue;
        }
        print(entry_line(kind, &record))?;
        printed += 1;
        if printed == args.limit {
            break;
        }
    }
    Ok(None)
}

fn print_records(
    records: impl Iterator<Item = Result<InspectedRecord, Problem>>,
    args: &LogArgs,
    print: Print<'_>,
) -> Result<Option<Problem>, Failure> {
    let mut printed = 0;
    let mut begun = args.from == 0;
    for record in records {
        let record = match record {
            Ok(record) => record,
            Err(problem) => return Ok(Some(problem)),
        };
        // From the first entry on that has the index: what is no entry has no place in the order of indexes.
        begun |= matches!(record.kind, RecordKind::Entry(_)) && record.index.get() >= args.from;
        if !begun {
            continue;
        }
        print(record_line(&record))?;
        printed += 1;
        if printed == args.limit {
            break;
        }
    }
    Ok(None)
}

/// An entry with its command, whose JSON stands in the line as the log holds it.
fn entry_line(kind: EntryKind, record: &InspectedRecord) -> String {
    let (index, term) = (record.index, record.term);
    match kind {
        EntryKind::NoOp => format!(r#"{{"index":{index},"term":{term},"command":null,"kind":"no-op"}}"#),
        EntryKind::Normal => match object_text(&record.payload) {
            Some("") => format!(r#"{{"index":{index},"term":{term}}}"#),
            Some(inner) => format!(r#"{{"index":{index},"term":{term},{inner}}}"#),
            None => format!(r#"{{"index":{index},"term":{term},{}}}"#, payload64(&record.payload)),
        },
        EntryKind::Configuration => {
            let configuration = match object_text(&record.payload) {
                Some(inner) => format!(r#""configuration":{{{inner}}}"#),
                None => payload64(&record.payload),
            };
            format!(r#"{{"index":{index},"term":{term},"kind":"configuration",{configuration}}}"#)
        }
    }
}

/// A record with its place; of an entry with its command.
fn record_line(record: &InspectedRecord) -> String {
    let place = format!(
        r#""segment":{},"offset":{},"record":"{}","durable":{}"#,
        record.segment,
        record.offset,
        record.kind.as_str(),
        record.durable
    );
    let mut fields = vec![place];
    match record.kind {
        RecordKind::Entry(kind) => {
            let line = entry_line(kind, record);
            fields.extend(line.strip_prefix('{').and_then(|line| line.strip_suffix('}')).map(str::to_owned));
        }
        RecordKind::Reset | RecordKind::SegmentStart => {
            fields.push(format!(r#""index":{},"term":{}"#, record.index, record.term));
        }
        RecordKind::SegmentEnd => fields.push(format!(r#""next_segment":{}"#, record.index)),
        RecordKind::HardState | RecordKind::SyncMarker => {}
    }
    if let Some(state) = record.hard_state {
        let vote = json!(state.vote.map(|vote| vote.to_string()));
        fields.push(format!(r#""hard_state":{{"term":{},"vote":{vote}}}"#, state.term));
    }
    format!("{{{}}}", fields.join(","))
}

/// What stands between the braces of a JSON object.
fn object_text(payload: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(payload).ok()?.trim();
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).ok()?;
    // A line break between the fields would make two lines of one.
    let inner = text.strip_prefix('{')?.strip_suffix('}')?.trim();
    (!inner.contains(['\n', '\r'])).then_some(inner)
}

fn payload64(payload: &[u8]) -> String {
    format!(r#""payload64":"{}""#, BASE64.encode(payload))
}

/// Collects lines and prints them in pieces.
#[derive(Default)]
struct Printer {
    waiting: String,
}

impl Printer {
    fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.waiting.push_str(line);
        self.waiting.push('\n');
        if self.waiting.len() < PIECE_BYTES {
            return Ok(());
        }
        output::print(&std::mem::take(&mut self.waiting))
    }

    fn finish(self) -> Result<(), Failure> {
        output::print(&self.waiting)
    }
}
