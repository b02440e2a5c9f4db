//! Judges histories: is there an order of all operations that explains every response and contradicts no
//! clock?
//!
//! Each key is a register of its own, checked by the crate porcupine-rs. Three more checks cover what a
//! search per key cannot see. A revision names only one write. The revisions in responses never go back: not
//! between linearizable responses anywhere, and not between serializable reads within one life of a node. And
//! an acknowledged write to a key with no other write is found by every later linearizable read; this is
//! counted apart, because it is the promise that matters most.
//!
//! Each value is written only once, so a value identifies the write that left it. That makes unknown outcomes
//! cheap. If the value of an unknown write was seen, the write happened before it was first seen; if it was
//! never seen, the write explains nothing and is left out. An unknown Delete stays open forever.
//!
//! Caveats: refused writes are not in the history, so any sight of their values is a complaint. A failed
//! condition that names a revision which no client ever saw is not searched for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use porcupine_rs::{CheckResult, Model};

use crate::history::{Ask, Found, Heard, Operation};

/// A key whose search takes longer than this fails.
const SEARCH_TIME: Duration = Duration::from_secs(60);
/// The most lines of a history that are printed.
const SHOWN: usize = 400;

/// The result of a check.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Keys whose history was searched.
    pub(crate) histories: usize,
    pub(crate) complaints: Vec<Complaint>,
}

/// Something that cannot happen in a correct cluster.
#[derive(Clone, Debug)]
pub(crate) struct Complaint {
    pub(crate) kind: Kind,
    pub(crate) key: String,
    /// For people: the reason, and the operations.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An acknowledged write is gone.
    Lost,
    /// No order explains the history of a key.
    NotLinearizable,
    /// The search did not end in time.
    Undecided,
    /// A revision is older than one received before.
    BackInTime,
    /// A revision names two writes.
    Revision,
}

impl Verdict {
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.complaints.iter().filter(|complaint| complaint.kind == kind).count()
    }
}

/// Judges a whole history of any keys.
pub(crate) fn check(operations: &[Operation]) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        keys.entry(&operation.key).or_default().push(operation);
    }
    let mut verdict = Verdict::default();
    verdict.complaints.extend(revisions_that_name_two_writes(operations));
    verdict.complaints.extend(linearizable_answers_from_the_past(operations));
    verdict.complaints.extend(reads_that_went_back(operations));
    for (key, operations) in keys {
        let register = Register::of(&operations);
        verdict.histories += 1;
        verdict
            .complaints
            .extend(register.misnamed.iter().map(|why| complaint(Kind::Revision, key, why, &operations)));
        verdict.complaints.extend(stale_for_their_revision(key, &operations, &register));
        verdict.complaints.extend(lost(key, &operations));
        verdict.complaints.extend(search(key, &operations, &register));
    }
    verdict
}

fn complaint(kind: Kind, key: &str, why: &str, operations: &[&Operation]) -> Complaint {
    let mut operations = operations.to_vec();
    operations.sort_by_key(|operation| operation.asked_at);
    let mut text = format!("{key}: {why}\n");
    let hidden = operations.len().saturating_sub(SHOWN);
    if hidden > 0 {
        text.push_str(&format!("  (the first {hidden} operations are not shown)\n"));
    }
    for operation in &operations[hidden..] {
        text.push_str(&format!("  {operation}\n"));
    }
    Complaint { kind, key: key.to_owned(), text }
}

// ---------------------------------------------------------------------------------------------------------------------
// One key: a register.

/// What a key holds, as a number that stands for its value; `None` if the key does not exist.
type State = Option<u32>;

/// An operation, as the register sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    /// The state before it; `None`: any.
    needs: Option<State>,
    /// The state after it; `None`: unchanged.
    leaves: Option<State>,
    /// It may have had no effect without any client knowing.
    may_miss: bool,
}

/// A register with conditional writes, including the condition that the key does not exist.
#[derive(Clone, Debug)]
struct RegisterModel;

impl Model for RegisterModel {
    type State = State;
    type Op = Step;
    type Metadata = ();

    fn init() -> State {
        None
    }

    fn step(state: &State, step: &Step) -> (bool, State) {
        match step.needs {
            Some(needed) if needed != *state => (step.may_miss, *state),
            _ => (true, step.leaves.unwrap_or(*state)),
        }
    }
}

/// A key's history, in the checker's terms.
struct Register {
    history: Vec<porcupine_rs::Operation<RegisterModel>>,
    /// The value that each revision stored, as far as clients learned it.
    values: BTreeMap<u64, String>,
    /// Revisions that stored two values, and values stored twice.
    misnamed: Vec<String>,
    numbers: BTreeMap<String, u32>,
}

impl Register {
    fn of(operations: &[&Operation]) -> Self {
        let mut register = Self {
            history: Vec::new(),
            values: BTreeMap::new(),
            misnamed: Vec::new(),
            numbers: BTreeMap::new(),
        };
        for operation in operations {
            register.learn(operation);
        }
        let known: Vec<_> = operations
            .iter()
            .filter_map(|operation| Some((*operation, register.known(operation)?)))
            .collect();
        let mut seen: BTreeMap<State, Vec<(i64, i64)>> = BTreeMap::new();
        for (operation, step) in &known {
            if let Some(state) = step.needs {
                seen.entry(state).or_default().push((operation.asked_at, operation.heard_at));
            }
        }
        // An unknown Set that requires absence and has happened needs something that removed the key: perhaps
        // an unknown Delete.
        for operation in operations.iter().filter(|operation| operation.is_unknown()) {
            let Ask::Set { value, only_if: Some(0) } = &operation.ask else { continue };
            if seen.contains_key(&register.number(value)) {
                seen.entry(None).or_default().push((operation.asked_at, i64::MAX));
            }
        }
        register.history =
            known.into_iter().map(|(operation, step)| entry(operation, operation.heard_at, step)).collect();
        for operation in operations.iter().filter(|operation| operation.is_unknown()) {
            let step = register.unknown(operation, &seen);
            register.history.extend(step);
        }
        register
    }

    /// Records which revision stored which value.
    fn learn(&mut self, operation: &Operation) {
        if let Heard::Got { found: Some((value, revision)), .. }
        | Heard::Applied { replaced: Some((value, revision)), .. } = &operation.heard
        {
            self.name(*revision, value);
        }
        if let (Ask::Set { value, .. }, Heard::Applied { revision, .. }) = (&operation.ask, &operation.heard)
        {
            self.name(*revision, value);
        }
    }

    fn name(&mut self, revision: u64, value: &str) {
        let known = self.values.entry(revision).or_insert_with(|| value.to_owned());
        if known != value {
            self.misnamed.push(format!("revision {revision} stored {known} and {value}"));
        }
    }

    fn number(&mut self, value: &str) -> State {
        let next = u32::try_from(self.numbers.len()).expect("few values");
        Some(*self.numbers.entry(value.to_owned()).or_insert(next))
    }

    fn state(&mut self, found: &Found) -> State {
        found.as_ref().and_then(|(value, _)| self.number(value))
    }

    /// What a revision stored; `None` if no client learned it.
    fn state_at(&mut self, revision: u64) -> Option<State> {
        if revision == 0 {
            return Some(None);
        }
        let value = self.values.get(&revision)?.clone();
        Some(self.number(&value))
    }

    /// An operation with a known outcome; `None` if it says nothing about the register.
    fn known(&mut self, operation: &Operation) -> Option<Step> {
        let certain = |needs, leaves| Some(Step { needs: Some(needs), leaves, may_miss: false });
        match (&operation.ask, &operation.heard) {
            (Ask::Get { serializable: true }, _) => None,
            (_, Heard::Got { found, .. }) => certain(self.state(found), None),
            (Ask::Set { value, .. }, Heard::Applied { replaced, .. }) => {
                let (needs, leaves) = (self.state(replaced), self.number(value));
                certain(needs, Some(leaves))
            }
            (_, Heard::Applied { replaced, .. }) => certain(self.state(replaced), Some(None)),
            (_, Heard::Mismatch { found }) => certain(self.state_at(*found)?, None),
            (_, Heard::Refused { .. } | Heard::Unknown { .. }) => None,
        }
    }

    /// A write with an unknown outcome, if it explains anything.
    fn unknown(
        &mut self,
        operation: &Operation,
        seen: &BTreeMap<State, Vec<(i64, i64)>>,
    ) -> Option<porcupine_rs::Operation<RegisterModel>> {
        let (leaves, only_if) = match &operation.ask {
            Ask::Get { .. } => return None,
            Ask::Set { value, only_if } => (self.number(value), only_if),
            Ask::Delete { only_if } => (None, only_if),
        };
        let seen = seen.get(&leaves)?;
        let needs = match only_if {
            Some(revision) => Some(self.state_at(*revision)?),
            None => None,
        };
        if leaves.is_some() {
            let first_heard = seen.iter().map(|(_, heard_at)| *heard_at).min()?;
            let step = Step { needs, leaves: Some(leaves), may_miss: false };
            // If its value was seen before it was sent, nothing can explain that: the operation comes too
            // late in any case.
            return Some(entry(operation, first_heard.max(operation.asked_at), step));
        }
        let explains = seen.iter().any(|(_, heard_at)| *heard_at >= operation.asked_at);
        explains.then(|| entry(operation, i64::MAX, Step { needs, leaves: Some(None), may_miss: true }))
    }
}

fn entry(operation: &Operation, return_time: i64, op: Step) -> porcupine_rs::Operation<RegisterModel> {
    let client_id = u32::try_from(operation.client).ok();
    porcupine_rs::Operation { client_id, call_time: operation.asked_at, return_time, op, metadata: None }
}

fn search(key: &str, operations: &[&Operation], register: &Register) -> Option<Complaint> {
    match porcupine_rs::check_operations_timeout(&register.history, SEARCH_TIME) {
        CheckResult::Ok => None,
        CheckResult::Illegal => {
            Some(complaint(Kind::NotLinearizable, key, "no order explains this history", operations))
        }
        CheckResult::Unknown => {
            Some(complaint(Kind::Undecided, key, "the search for an order took too long", operations))
        }
    }
}

/// An acknowledged Set that is the only write of its key must be found by every later linearizable read.
fn lost(key: &str, operations: &[&Operation]) -> Option<Complaint> {
    let mut writes = operations.iter().filter(|operation| operation.is_write() && operation.counts());
    let (write, None) = (writes.next()?, writes.next()) else { return None };
    let (Ask::Set { value, .. }, Heard::Applied { .. }) = (&write.ask, &write.heard) else { return None };
    let missed = operations.iter().any(|read| match (&read.ask, &read.heard) {
        (Ask::Get { serializable: false }, Heard::Got { found, .. }) => {
            read.asked_at > write.heard_at && found.as_ref().map(|(found, _)| found) != Some(value)
        }
        _ => false,
    });
    missed.then(|| complaint(Kind::Lost, key, "an acknowledged write was lost", operations))
}

/// A read at some revision must show at least the writes that are known up to that revision. This holds for
/// serializable reads, too.
fn stale_for_their_revision(key: &str, operations: &[&Operation], register: &Register) -> Option<Complaint> {
    let deleted = operations.iter().filter_map(|operation| match (&operation.ask, &operation.heard) {
        (Ask::Delete { .. }, Heard::Applied { replaced: Some(_), revision }) => Some(*revision),
        _ => None,
    });
    let writes: BTreeSet<u64> = register.values.keys().copied().chain(deleted).collect();
    // If no client received the response of a Delete, its revision is not known.
    let may_be_deleted = operations.iter().any(|operation| {
        matches!((&operation.ask, &operation.heard), (Ask::Delete { .. }, Heard::Unknown { .. }))
    });
    operations.iter().find_map(|operation| {
        let Heard::Got { found, revision } = &operation.heard else { return None };
        let newest = writes.range(..=*revision).next_back().copied().unwrap_or(0);
        let fits = match found {
            Some((_, mod_revision)) => *mod_revision == newest,
            None => may_be_deleted || !register.values.contains_key(&newest),
        };
        let why = format!("a response at revision {revision} does not match the write at {newest}");
        (!fits).then(|| complaint(Kind::BackInTime, key, &why, &[*operation]))
    })
}

// ---------------------------------------------------------------------------------------------------------------------
// All keys: revisions.

/// The revision of an effective write, which no other write may have.
fn own_revision(operation: &Operation) -> Option<u64> {
    match (&operation.ask, &operation.heard) {
        (Ask::Set { .. }, Heard::Applied { revision, .. })
        | (Ask::Delete { .. }, Heard::Applied { revision, replaced: Some(_) }) => Some(*revision),
        _ => None,
    }
}

fn revisions_that_name_two_writes(operations: &[Operation]) -> Vec<Complaint> {
    let mut writes: BTreeMap<u64, &Operation> = BTreeMap::new();
    let mut complaints = Vec::new();
    for operation in operations {
        let Some(revision) = own_revision(operation) else { continue };
        if let Some(other) = writes.insert(revision, operation) {
            let why = format!("two writes have the revision {revision}");
            complaints.push(complaint(Kind::Revision, &operation.key, &why, &[other, operation]));
        }
    }
    complaints
}

/// A linearizable response has a revision no older than any received before its request was sent.
fn linearizable_answers_from_the_past(operations: &[Operation]) -> Option<Complaint> {
    let linearizable = operations.iter().filter_map(|operation| match (&operation.ask, &operation.heard) {
        (Ask::Get { serializable: true }, _) => None,
        (_, Heard::Got { revision, .. } | Heard::Applied { revision, .. }) => Some((operation, *revision)),
        _ => None,
    });
    went_back(linearizable.collect(), "anywhere")
}

/// Within one life of a node its map only advances. The response to a write is not read from the map of the
/// node asked.
fn reads_that_went_back(operations: &[Operation]) -> Vec<Complaint> {
    let mut lives: BTreeMap<(usize, u64), Vec<(&Operation, u64)>> = BTreeMap::new();
    for operation in operations {
        if let (Some(life), Heard::Got { revision, .. }) = (operation.life, &operation.heard) {
            lives.entry((operation.node, life)).or_default().push((operation, *revision));
        }
    }
    lives.into_values().filter_map(|reads| went_back(reads, "in this life of the node")).collect()
}

fn went_back(answers: Vec<(&Operation, u64)>, scope: &str) -> Option<Complaint> {
    let mut by_asked = answers.clone();
    by_asked.sort_by_key(|(operation, _)| operation.asked_at);
    let mut by_heard = answers.into_iter().collect::<Vec<_>>();
    by_heard.sort_by_key(|(operation, _)| operation.heard_at);
    let mut heard = by_heard.into_iter().peekable();
    let mut newest: Option<(&Operation, u64)> = None;
    for (operation, revision) in by_asked {
        while let Some(earlier) = heard.next_if(|(earlier, _)| earlier.heard_at < operation.asked_at) {
            if newest.is_none_or(|(_, newest)| earlier.1 > newest) {
                newest = Some(earlier);
            }
        }
        if let Some((earlier, newest)) = newest.filter(|(_, newest)| *newest > revision) {
            let why = format!("a response at revision {revision}, although {newest} had been seen {scope}");
            return Some(complaint(Kind::BackInTime, &operation.key, &why, &[earlier, operation]));
        }
    }
    None
}
