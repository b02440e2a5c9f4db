//! Simulated clients: what they ask, what they are answered, and whether that can be true.
//!
//! Every response names a revision, and the committed entries determine what the store held at each. A read
//! must have seen exactly that, and a write must have had exactly that effect. A linearizable response must
//! not be older than any response that a client had before the request was made.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lograft_kv::{Command, Effect, Page};
use lograft_node::{
    ClientRequest, ClientResponse, ClientToken, Consistency, ListRequest, RequestError, ResponseBody,
};
use lograft_types::Revision;

use super::chance::Chance;
use super::history::{Deed, History};
use super::model::Model;
use super::scenario::Scenario;
use super::{Violation, ensure};

/// A request without a response so far.
#[derive(Clone, Debug)]
struct OpenRequest {
    node: usize,
    request: ClientRequest,
    /// The newest revision that any client knew when the request was made.
    floor: Revision,
    /// When it was made, on the history's clock.
    moment: u64,
}

#[derive(Debug)]
pub(super) struct Clients {
    chance: Chance,
    /// The number of keys.
    keys: u64,
    pub(super) history: History,
    /// The newest revision read at each node in its present life.
    read_at: BTreeMap<usize, Revision>,
    waiting: BTreeMap<ClientToken, OpenRequest>,
    /// The newest revision in a linearizable response.
    heard: Revision,
    /// The values of all writes reported to have had no effect.
    refused: BTreeSet<Bytes>,
    /// Values that were committed.
    committed: BTreeSet<Bytes>,
    /// Revisions claimed by effective writes.
    claimed: BTreeSet<Revision>,
    /// Responses received, errors included.
    pub(super) answers: u64,
    /// Acknowledged writes.
    pub(super) acknowledged: u64,
}

impl Clients {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            chance: Chance::new(scenario.seed, 3),
            keys: scenario.keys,
            history: History::default(),
            read_at: BTreeMap::new(),
            waiting: BTreeMap::new(),
            heard: Revision::EMPTY_STORE,
            refused: BTreeSet::new(),
            committed: BTreeSet::new(),
            claimed: BTreeSet::new(),
            answers: 0,
            acknowledged: 0,
        }
    }

    pub(super) fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// The number of requests that wait for a response.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a read waits for a response.
    pub(super) fn a_read_waits(&self) -> bool {
        self.waiting.values().any(|asked| !matches!(asked.request, ClientRequest::Write(_)))
    }

    /// Whether this request waits for a response.
    pub(super) fn waits(&self, token: ClientToken) -> bool {
        self.waiting.contains_key(&token)
    }

    /// A client asks a node.
    pub(super) fn ask(&mut self, token: ClientToken, node: usize, request: ClientRequest) {
        let moment = self.history.now();
        self.waiting.insert(token, OpenRequest { node, request, floor: self.heard, moment });
    }

    /// The node is gone: its open requests will never be answered.
    pub(super) fn forget(&mut self, node: usize) {
        self.read_at.remove(&node);
        for (_, asked) in self.waiting.extract_if(.., |_, asked| asked.node == node) {
            if let ClientRequest::Write(command) = &asked.request {
                self.history.never_heard(command.key(), asked.moment, written(command));
            }
        }
    }

    /// Draws a request. The token makes the values of all Sets different.
    pub(super) fn draw(&mut self, token: ClientToken, model: &Model, scenario: &Scenario) -> ClientRequest {
        let key = key_of(self.chance.below(scenario.keys));
        let consistency =
            if self.chance.percent(70) { Consistency::Linearizable } else { Consistency::Serializable };
        match self.chance.below(100) {
            0..35 => self.set(token, key, None, scenario),
            35..50 => {
                let condition = self.draw_condition(&key, model);
                self.set(token, key, Some(condition), scenario)
            }
            50..57 => ClientRequest::Write(Command::Delete { key, if_mod_revision: None }),
            57..62 => {
                let condition = self.draw_condition(&key, model);
                ClientRequest::Write(Command::Delete { key, if_mod_revision: Some(condition) })
            }
            62..88 => ClientRequest::Get { key, consistency },
            88..96 => ClientRequest::List(ListRequest {
                prefix: Bytes::from_static(b"k"),
                start_after: if self.chance.percent(50) { key } else { Bytes::new() },
                limit: u32::try_from(self.chance.between(1, 8)).expect("it is small"),
                max_bytes: usize::MAX,
                keys_only: self.chance.percent(30),
                consistency,
            }),
            _ => ClientRequest::Barrier,
        }
    }

    /// A Set whose value no other request writes.
    pub(super) fn set(
        &mut self,
        token: ClientToken,
        key: Bytes,
        if_mod_revision: Option<Revision>,
        scenario: &Scenario,
    ) -> ClientRequest {
        // Now and then an entry that needs a larger segment.
        let longest =
            if self.chance.percent(1) { 3 * scenario.min_segment_bytes } else { scenario.value_bytes };
        let filling = "x".repeat(self.chance.index(usize::try_from(longest).unwrap_or(0) + 1));
        let value = Bytes::from(format!("v{}{filling}", token.0));
        ClientRequest::Write(Command::Set { key, value, if_mod_revision })
    }

    fn draw_condition(&mut self, key: &Bytes, model: &Model) -> Revision {
        let now = model.get(key, model.revision()).map_or(0, |stored| stored.mod_revision.get());
        let wrong = self.chance.below(model.revision().get() + 2);
        Revision::new(self.chance.pick(&[0, now, now, now, wrong]))
    }

    /// An entry was committed.
    pub(super) fn committed(&mut self, command: &Command) -> Result<(), Violation> {
        if let Command::Set { value, .. } = command {
            ensure!(!self.refused.contains(value), "{command:?} was committed after it had been refused");
            ensure!(self.committed.insert(value.clone()), "{command:?} was committed twice");
        }
        Ok(())
    }

    /// A client receives a response.
    pub(super) fn answered(
        &mut self,
        token: ClientToken,
        result: &Result<ClientResponse, RequestError>,
        model: &Model,
    ) -> Result<(), Violation> {
        let asked = self.waiting.remove(&token);
        let Some(asked) = asked else {
            return Err(Violation::new(format!("{token:?} is answered but not open: {result:?}")));
        };
        self.answers += 1;
        match result {
            Ok(answer) => self.check(&asked, answer, model),
            Err(error) => self.check_error(&asked, error),
        }
    }

    fn check(
        &mut self,
        asked: &OpenRequest,
        answer: &ClientResponse,
        model: &Model,
    ) -> Result<(), Violation> {
        let at = answer.header.revision;
        ensure!(at <= model.revision(), "{asked:?} was answered with a future revision: {answer:?}");
        let true_here = match (&asked.request, &answer.body) {
            (ClientRequest::Write(command), ResponseBody::Applied(outcome)) => {
                self.acknowledged += 1;
                self.check_claim(asked, &outcome.effect, at)?;
                at == outcome.revision && model.explains(command, outcome)
            }
            (ClientRequest::Get { key, .. }, ResponseBody::Got(got)) => {
                let there = model.get(key, at);
                let keys_fit = got.as_ref().is_none_or(|got| got.key == *key);
                keys_fit && got.as_ref().map(|got| &got.stored) == there
            }
            (ClientRequest::List(list), ResponseBody::Listed(page)) => *page == model.list(list, at),
            (ClientRequest::Barrier, ResponseBody::Reached) => true,
            _ => false,
        };
        ensure!(true_here, "{asked:?} was answered with a state that never existed: {answer:?}");
        self.remember(asked, &answer.body);
        if !matches!(asked.request, ClientRequest::Write(_)) {
            let read_at = self.read_at.entry(asked.node).or_insert(Revision::EMPTY_STORE);
            ensure!(at >= *read_at, "{asked:?} read an older state than before at its node: {answer:?}");
            *read_at = at;
        }
        if is_linearizable(&asked.request) {
            ensure!(at >= asked.floor, "{asked:?} was answered with a stale revision: {answer:?}");
            self.heard = self.heard.max(at);
        }
        Ok(())
    }

    fn remember(&mut self, asked: &OpenRequest, reply: &ResponseBody) {
        match (&asked.request, reply) {
            (ClientRequest::Write(command), ResponseBody::Applied(outcome)) => {
                if let Some(deed) = Deed::of_effect(written(command), &outcome.effect) {
                    self.history.heard(command.key(), asked.moment, deed);
                }
            }
            (ClientRequest::Get { key, consistency: Consistency::Linearizable }, ResponseBody::Got(got)) => {
                let value = got.as_ref().map(|got| got.stored.value.clone());
                self.history.heard(key, asked.moment, Deed::Read(value));
            }
            (ClientRequest::List(list), ResponseBody::Listed(page)) if is_linearizable(&asked.request) => {
                self.remember_list(asked.moment, list, page);
            }
            _ => {}
        }
    }

    /// Records that a List has read every key in its range, both those it returned and those it did not.
    fn remember_list(&mut self, moment: u64, list: &ListRequest, page: &Page) {
        let last = page.items.last().map(|item| &item.key);
        let heard = self.history.now();
        for place in 0..self.keys {
            let key = key_of(place);
            let is_listed =
                key.starts_with(&list.prefix) && (list.start_after.is_empty() || key > list.start_after);
            if !is_listed || (page.more && Some(&key) > last) {
                continue;
            }
            match page.items.iter().find(|item| item.key == key) {
                Some(_) if list.keys_only => {}
                Some(item) => {
                    self.history.heard_at(heard, &key, moment, Deed::Read(Some(item.stored.value.clone())));
                }
                None => self.history.heard_at(heard, &key, moment, Deed::Read(None)),
            }
        }
    }

    /// Each effective write has a revision of its own.
    fn check_claim(&mut self, asked: &OpenRequest, effect: &Effect, at: Revision) -> Result<(), Violation> {
        let effective = match effect {
            Effect::Set { .. } => true,
            Effect::Deleted { prev } => prev.is_some(),
            Effect::ConditionFailed { .. } => false,
        };
        if effective {
            ensure!(at > asked.floor, "{asked:?} claims revision {at}, known before it was asked");
            ensure!(self.claimed.insert(at), "{asked:?} claims revision {at}, which is another write's");
        }
        Ok(())
    }

    fn check_error(&mut self, asked: &OpenRequest, error: &RequestError) -> Result<(), Violation> {
        let ClientRequest::Write(command) = &asked.request else {
            let unknown = matches!(error, RequestError::UnknownOutcome { .. });
            ensure!(!unknown, "{asked:?} is a read, but its outcome is called unknown");
            return Ok(());
        };
        let unknown = matches!(error, RequestError::UnknownOutcome { .. });
        if unknown {
            self.history.never_heard(command.key(), asked.moment, written(command));
        } else if let Command::Set { value, .. } = command {
            ensure!(!self.committed.contains(value), "{asked:?} was refused, but is committed: {error}");
            self.refused.insert(value.clone());
        }
        Ok(())
    }
}

fn key_of(place: u64) -> Bytes {
    Bytes::from(format!("k{place}"))
}

/// What an effective command leaves under its key.
fn written(command: &Command) -> Option<Bytes> {
    match command {
        Command::Set { value, .. } => Some(value.clone()),
        Command::Delete { .. } => None,
    }
}

fn is_linearizable(request: &ClientRequest) -> bool {
    match request {
        ClientRequest::Write(_) | ClientRequest::Barrier => true,
        ClientRequest::Get { consistency, .. } | ClientRequest::List(ListRequest { consistency, .. }) => {
            *consistency == Consistency::Linearizable
        }
    }
}
