//! A script's output: one line per event, message or node.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lograft_raft::{AppendResult, ReadOutcome, Request, Response};
use lograft_types::{EntryId, HardState, NodeId};

use crate::cluster::{Cluster, Event, Message, Packet, index};

/// In longer lists, each run of entries of one term is shown only by its first and last entry.
const SHOWN_ENTRIES: usize = 12;

type Names = BTreeMap<EntryId, String>;

fn name(node: NodeId) -> String {
    format!("n{}", node.get())
}

fn known(node: Option<NodeId>) -> String {
    node.map_or_else(|| "none".to_owned(), name)
}

fn entry(entry: EntryId, names: &Names) -> String {
    names.get(&entry).map_or_else(|| entry.to_string(), |name| format!("{entry}={name}"))
}

/// Entries, with their names. In long lists, a run of entries of one term is shown by its first and last.
fn entries(ids: &[EntryId], names: &Names) -> String {
    if ids.len() <= SHOWN_ENTRIES {
        return ids.iter().map(|&id| entry(id, names)).collect::<Vec<_>>().join(" ");
    }
    let runs = ids.chunk_by(|a, b| a.term == b.term).map(|run| match run {
        [first, .., last] => format!("{first}..{last}"),
        _ => run.iter().map(|&id| entry(id, names)).collect(),
    });
    runs.collect::<Vec<_>>().join(" ")
}

pub(super) fn events(events: &[Event], names: &Names) -> String {
    events.iter().map(|happened| event(happened, names) + "\n").collect()
}

fn event(event: &Event, names: &Names) -> String {
    match event {
        Event::Changed { node, role, term, leader } => {
            let follows = match leader {
                Some(leader) if leader != node => format!(", follows {}", name(*leader)),
                Some(_) | None => String::new(),
            };
            format!("{} is {} in term {term}{follows}", name(*node), role.as_str())
        }
        Event::Wrote { node, hard_state, entries: written, dropped } => {
            let mut line = format!("{} writes", name(*node));
            if let Some(HardState { term, vote }) = hard_state {
                write!(line, " term={term} vote={}", known(*vote)).expect("a string takes all");
            }
            if !written.is_empty() {
                write!(line, " {}", entries(written, names)).expect("a string takes all");
            }
            if !dropped.is_empty() {
                write!(line, ", drops {}", entries(dropped, names)).expect("a string takes all");
            }
            line
        }
        Event::Committed { node, commit } => format!("{} commits up to {commit}", name(*node)),
        Event::Sent { packet: sent, lost } => packet(sent, names) + if *lost { " (lost)" } else { "" },
        Event::Read(ReadOutcome::ReadAt { id, index }) => {
            format!("read r{} is served once {index} is applied", id.0)
        }
        Event::Read(ReadOutcome::Lost { id }) => format!("read r{} is lost", id.0),
        Event::Halted { node, halt } => format!("{} HALTS: {halt}", name(*node)),
    }
}

pub(super) fn packet(packet: &Packet, names: &Names) -> String {
    let said = match &packet.message {
        Message::Request(request) => request_text(request, names),
        Message::Response(response) => response_text(*response),
    };
    format!("{}→{} {said}", name(packet.from), name(packet.to))
}

fn request_text(request: &Request, names: &Names) -> String {
    match request {
        Request::RequestVote(vote) => {
            let kind = if vote.pre_vote { "RequestPreVote" } else { "RequestVote" };
            let transfer = if vote.leadership_transfer { " transfer" } else { "" };
            format!("{kind} term={} last={}{transfer}", vote.term, vote.last)
        }
        Request::AppendEntries(append) => {
            let mut text =
                format!("AppendEntries term={} prev={} commit={}", append.term, append.prev, append.commit);
            if append.read_round > 0 {
                write!(text, " round={}", append.read_round).expect("a string takes all");
            }
            if !append.entries.is_empty() {
                let ids: Vec<_> = append.entries.iter().map(|entry| entry.id).collect();
                write!(text, " [{}]", entries(&ids, names)).expect("a string takes all");
            }
            text
        }
    }
}

fn response_text(response: Response) -> String {
    match response {
        Response::RequestVote(vote) => {
            let kind = if vote.pre_vote { "PreVote" } else { "Vote" };
            let answer = if vote.granted { "granted" } else { "refused" };
            format!("{kind} {answer} term={}", vote.term)
        }
        Response::AppendEntries(append) => {
            let result = match append.result {
                AppendResult::Matched { match_index } => format!("Matched {match_index}"),
                AppendResult::Busy { match_index } => format!("Busy {match_index}"),
                AppendResult::Conflict { conflict } => format!("Conflict {conflict}"),
            };
            let round = match append.read_round {
                0 => String::new(),
                round => format!(" round={round}"),
            };
            format!("{result} term={}{round}", append.term)
        }
    }
}

/// A line for a node. The entries after the bar are not durable yet.
pub(super) fn status(cluster: &Cluster, node: u64, names: &Names) -> String {
    if !cluster.is_up(node) {
        let why = if cluster.halted(node).is_some() { "halted" } else { "down" };
        return format!("n{node} {why}\n");
    }
    let raft = cluster.raft(node);
    let HardState { term, vote } = raft.hard_state();
    let (role, leader, commit) = (raft.role().as_str(), known(raft.leader()), raft.commit());
    let log = cluster.entries(node);
    let durable = log.partition_point(|entry| entry.index <= raft.persisted_index());
    let mut shown = entries(&log[..durable], names);
    if durable < log.len() {
        write!(shown, " | {}", entries(&log[durable..], names)).expect("a string takes all");
    }
    let log = format!("[{}]", shown.trim_start());
    format!("n{node} {role} term={term} vote={} leader={leader} commit={commit} log={log}\n", known(vote))
}

/// What a leader knows about a peer.
pub(super) fn progress(cluster: &Cluster, node: u64, peer: u64) -> Option<String> {
    let raft = cluster.raft(node);
    let peer_id = crate::cluster::id(peer);
    let (match_index, state) = raft.progress(peer_id)?;
    let (messages, bytes) = raft.in_flight(peer_id)?;
    let lag = raft.last().index.get() - match_index.max(index(0)).get();
    Some(format!("n{peer} {state} match={match_index} lag={lag} in-flight={messages} ({bytes} bytes)\n"))
}
