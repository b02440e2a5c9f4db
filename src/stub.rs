//! For tests of the API: a node that responds by script, and a port for it. Fuzzing uses the node without a
//! port and without a script.
#![cfg_attr(not(test), expect(dead_code, reason = "only tests let the node misbehave"))]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lograft_kv::{Command, Effect, KeyValue, Outcome, Page, Versioned};
use lograft_node::limits::Limits;
use lograft_node::{ClientRequest, ClientResponse, Header, RequestError, ResponseBody, RoleName, Status};
use lograft_types::{ClusterId, LogIndex, NodeId, Revision, Term};

use crate::actor::{ClientMessage, NodeHandle, PendingRequest};

#[cfg(test)]
mod port;
#[cfg(test)]
pub(crate) use port::{MutePort, Port, holds_a_request};

pub(crate) const NODE: NodeId = NodeId::new(0xab);
pub(crate) const CLUSTER: ClusterId = ClusterId::new(0xc1);

/// The requests to the node, and how it behaves.
#[derive(Clone, Default)]
pub(crate) struct Script {
    seen: Arc<Mutex<Vec<(ClientRequest, u64)>>>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    map: BTreeMap<Bytes, Versioned>,
    revision: u64,
    error: Option<RequestError>,
    mute: bool,
    held: Vec<PendingRequest>,
    leaderless: bool,
}

impl Script {
    /// From now on every request fails with this error.
    pub(crate) fn fail_with(&self, error: RequestError) {
        self.state.lock().unwrap().error = Some(error);
    }

    /// From now on requests wait.
    pub(crate) fn hold(&self) {
        self.state.lock().unwrap().mute = true;
    }

    /// Answers the waiting requests.
    pub(crate) fn release(&self) {
        let mut state = self.state.lock().unwrap();
        state.mute = false;
        for pending in std::mem::take(&mut state.held) {
            state.answer(pending);
        }
    }

    pub(crate) fn lose_leader(&self, lost: bool) {
        self.state.lock().unwrap().leaderless = lost;
    }

    /// The requests so far and their timeouts in milliseconds, in order.
    pub(crate) fn seen(&self) -> Vec<(ClientRequest, u64)> {
        self.seen.lock().unwrap().clone()
    }

    fn take(&self, message: ClientMessage) {
        let mut state = self.state.lock().unwrap();
        match message {
            ClientMessage::Request(pending) => {
                self.seen.lock().unwrap().push((pending.request.clone(), pending.timeout_ms));
                if state.mute { state.held.push(pending) } else { state.answer(pending) }
            }
            ClientMessage::Forward(pending) => unreachable!("clients ask, not peers: {pending:?}"),
            ClientMessage::Status(request) => drop(request.respond.send(state.status())),
        }
    }
}

impl State {
    fn answer(&mut self, pending: PendingRequest) {
        let result = match &self.error {
            Some(error) => Err(error.clone()),
            None => {
                let body = self.body(&pending.request);
                Ok(ClientResponse { header: self.header(), body })
            }
        };
        let _ = pending.respond.send(result);
    }

    fn header(&self) -> Header {
        Header {
            cluster: CLUSTER,
            node: NODE,
            term: Term::new(3),
            revision: Revision::new(self.revision + 1),
        }
    }

    fn body(&mut self, request: &ClientRequest) -> ResponseBody {
        match request {
            ClientRequest::Barrier => ResponseBody::Reached,
            ClientRequest::Get { key, .. } => ResponseBody::Got(
                self.map.get(key).map(|stored| KeyValue { key: key.clone(), stored: stored.clone() }),
            ),
            ClientRequest::List(list) => {
                let mut items: Vec<_> = self
                    .map
                    .iter()
                    .filter(|(key, _)| key.starts_with(&list.prefix) && **key > list.start_after)
                    .map(|(key, stored)| KeyValue { key: key.clone(), stored: stored.clone() })
                    .collect();
                let more = items.len() > list.limit as usize;
                items.truncate(list.limit as usize);
                if list.keys_only {
                    items.iter_mut().for_each(|item| item.stored.value = Bytes::new());
                }
                ResponseBody::Listed(Page { items, more })
            }
            ClientRequest::Write(command) => {
                let effect = self.write(command);
                ResponseBody::Applied(Outcome { revision: Revision::new(self.revision + 1), effect })
            }
        }
    }

    fn write(&mut self, command: &Command) -> Effect {
        let (Command::Set { key, if_mod_revision, .. } | Command::Delete { key, if_mod_revision }) = command;
        let prev = self.map.get(key).cloned();
        let found = prev.as_ref().map_or(Revision::new(0), |prev| prev.mod_revision);
        if if_mod_revision.is_some_and(|asked| asked != found) {
            return Effect::ConditionFailed { found };
        }
        match command {
            Command::Set { key, value, .. } => {
                self.revision += 1;
                let now = Revision::new(self.revision + 1);
                let stored = Versioned {
                    value: value.clone(),
                    create_revision: prev.as_ref().map_or(now, |prev| prev.create_revision),
                    mod_revision: now,
                    version: prev.as_ref().map_or(1, |prev| prev.version + 1),
                };
                self.map.insert(key.clone(), stored);
                Effect::Set { prev }
            }
            Command::Delete { key, .. } => {
                self.revision += u64::from(self.map.remove(key).is_some());
                Effect::Deleted { prev }
            }
        }
    }

    fn status(&self) -> Status {
        Status {
            header: self.header(),
            name: "n1".to_owned(),
            role: if self.leaderless { RoleName::Follower } else { RoleName::Leader },
            leader: (!self.leaderless).then_some(NODE),
            first_index: LogIndex::new(1),
            last_index: LogIndex::new(9),
            persisted_index: LogIndex::new(9),
            commit_index: LogIndex::new(8),
            applied_index: LogIndex::new(8),
            state_hash: 0xbeef,
            keys: self.map.len() as u64,
            log_size_bytes: 1 << 20,
            pending_requests: self.held.len() as u64,
            refused_messages: 0,
            disk_full: false,
            members: Vec::new(),
        }
    }
}

/// Creates a node that responds by script.
pub(crate) fn node(limits: Limits) -> (NodeHandle, Script) {
    let (handle, mut mailbox) = NodeHandle::new(NODE, limits);
    let script = Script::default();
    let actor = script.clone();
    tokio::spawn(async move {
        while let Some(message) = mailbox.recv().await {
            actor.take(message);
        }
    });
    (handle, script)
}
