//! The commands of the scripts.

use goldenscript::ArgumentConsumer;
use lograft_raft::{
    AppendEntries, AppendEntriesResponse, AppendResult, Config, Configuration, Input, NewEntries, Request,
    RequestVote, RequestVoteResponse, Response, VoteResult,
};
use lograft_types::{EntryId, EntryMeta, LogIndex, NodeId, Term};

use super::arguments::{Result, entry, next, next_node, node, nodes, number, rest_of_nodes, terms};
use super::{Script, render};
use crate::cluster::{Cluster, Event, Message, Packet, id, index, test_config};

type Args<'a> = ArgumentConsumer<'a>;

impl Script {
    /// Carries out a command and returns its output.
    pub(super) fn command(&mut self, name: &str, args: &mut Args<'_>) -> Result<String> {
        match name {
            "cluster" => return self.start(args),
            "voters" => return self.voters(args),
            "votes" => return self.votes(args),
            "reached" => return self.reached(args),
            "know" => return self.know(args),
            "status" => return self.status(args),
            "progress" => return self.progress(args),
            "network" => return self.network(),
            "campaign" => return self.campaign(args),
            _ => {}
        }
        match name {
            "tick" | "run" | "deliver" | "persist" | "settle" => self.pass(name, args)?,
            "elect" | "win" | "propose" | "read" | "hear" | "busy" => self.act(name, args)?,
            "drop" | "duplicate" | "hold" | "release" | "heal" => self.disturb(name, args)?,
            "crash" | "restart" | "wipe" | "isolate" | "cut" | "cut-one-way" | "mend" | "stream-lost"
            | "link-lost" => {
                let first = next_node(args)?;
                let second = args.next_pos().map(node).transpose()?;
                self.disturb_nodes(name, first, second)?;
            }
            _ => return Err(format!("unknown command '{name}'").into()),
        }
        let events = self.cluster()?.take_journal();
        Ok(render::events(&events, &self.names))
    }

    fn cluster(&mut self) -> Result<&mut Cluster> {
        self.cluster.as_mut().ok_or_else(|| "no cluster yet: begin with 'cluster SIZE'".into())
    }

    /// `cluster 3`, or `cluster n1="1 1 2" n2="1" term=2`: the terms of the entries in the logs, and the last known
    /// term.
    fn start(&mut self, args: &mut Args<'_>) -> Result<String> {
        let last_term = number(args, "term")?;
        let max_entries = number(args, "max-entries")?;
        let max_inflight = number(args, "max-inflight")?;
        let mut logs = Vec::new();
        match args.next_pos() {
            Some(size) => logs.resize(size.parse()?, Vec::new()),
            None => {
                while let Some((_, text)) = args.next_key() {
                    logs.push(terms(text)?);
                }
            }
        }
        let highest = logs.iter().flatten().max().copied().unwrap_or(0);
        let disks: Vec<_> = logs.iter().map(|log| (last_term.unwrap_or(highest), &log[..])).collect();
        let config = move |node: NodeId| {
            let mut config = Config { ..test_config(node) };
            if let Some(entries) = max_entries {
                config.max_append_entries = usize::try_from(entries).expect("small");
            }
            if let Some(messages) = max_inflight {
                config.max_inflight_messages = usize::try_from(messages).expect("small");
            }
            config
        };
        let mut cluster = Cluster::with_config(&disks, config);
        cluster.keep_journal();
        self.cluster = Some(cluster);
        Ok(String::new())
    }

    /// `know n1 n2 voters="n1 n2"`: nodes 1 and 2 restart with a configuration of their own, in which only these
    /// vote.
    fn know(&mut self, args: &mut Args<'_>) -> Result<String> {
        let voters = nodes(args.take_key("voters").ok_or("voters= is missing")?)?;
        let knowing = rest_of_nodes(args)?;
        let cluster = self.cluster()?;
        for node in knowing {
            cluster.reconfigure(node, Configuration::new(voters.iter().copied().map(id)));
        }
        cluster.take_journal();
        Ok(String::new())
    }

    /// Commands for time, messages and disks.
    fn pass(&mut self, name: &str, args: &mut Args<'_>) -> Result<()> {
        match name {
            "tick" => {
                let which = next(args)?;
                let ticks = next(args)?.parse()?;
                let cluster = self.cluster()?;
                match which {
                    "all" => cluster.ids().into_iter().for_each(|node| cluster.tick(node, ticks)),
                    which => cluster.tick(node(which)?, ticks),
                }
            }
            "run" => {
                let ticks = next(args)?.parse()?;
                self.cluster()?.run(ticks);
            }
            "deliver" if args.take_key("until") == Some("silence") => self.cluster()?.deliver_all(),
            "deliver" => {
                for packet in self.take_packets(args)? {
                    self.cluster()?.deliver(packet);
                }
            }
            "persist" => {
                let which = rest_of_nodes(args)?;
                let writes = number(args, "writes")?;
                let cluster = self.cluster()?;
                for node in if which.is_empty() { cluster.ids() } else { which } {
                    let unflushed = cluster.unflushed(node);
                    let count =
                        writes.map_or(unflushed.len(), |writes| usize::try_from(writes).expect("small"));
                    if let Some(&last) = count.checked_sub(1).and_then(|last| unflushed.get(last)) {
                        cluster.persist_through(node, last);
                    }
                }
            }
            _ => self.cluster()?.settle(),
        }
        Ok(())
    }

    /// Commands for nodes and their clients.
    fn act(&mut self, name: &str, args: &mut Args<'_>) -> Result<()> {
        let at = next_node(args)?;
        match name {
            "elect" => self.cluster()?.elect(at),
            "win" => self.cluster()?.win(at),
            "propose" => self.propose(at, args)?,
            "read" => {
                self.cluster()?.read(at);
            }
            "hear" => self.hear(at, args)?,
            _ => self.answer_busy(at, args)?,
        }
        Ok(())
    }

    /// Commands that disturb messages in flight, and `heal`.
    fn disturb(&mut self, name: &str, args: &mut Args<'_>) -> Result<()> {
        match name {
            "drop" => drop(self.take_packets(args)?),
            "duplicate" => {
                let packets = self.take_packets(args)?;
                let twice = packets.iter().chain(&packets).cloned();
                self.cluster()?.network.extend(twice);
            }
            "hold" => {
                let packets = self.take_packets(args)?;
                self.held.extend(packets);
            }
            "release" => {
                let held = std::mem::take(&mut self.held);
                self.cluster()?.network.extend(held);
            }
            _ => self.cluster()?.heal(),
        }
        Ok(())
    }

    /// Commands that disturb nodes and links, and undo it.
    fn disturb_nodes(&mut self, name: &str, first: u64, second: Option<u64>) -> Result<()> {
        let cluster = self.cluster()?;
        match (name, second) {
            ("crash", None) => cluster.crash(first),
            ("restart", None) => cluster.restart(first),
            ("wipe", None) => cluster.wipe(first),
            ("isolate", None) => cluster.isolate(first),
            ("cut", Some(second)) => {
                cluster.cut_one_way(first, second);
                cluster.cut_one_way(second, first);
            }
            ("cut-one-way", Some(second)) => cluster.cut_one_way(first, second),
            ("mend", Some(second)) => {
                cluster.mend_one_way(first, second);
                cluster.mend_one_way(second, first);
            }
            ("stream-lost", Some(second)) => {
                cluster.step(first, Input::StreamLost { from: id(second) });
            }
            ("link-lost", Some(second)) => {
                cluster.step(first, Input::LinkLost { to: id(second) });
            }
            _ => return Err(format!("wrong number of nodes for '{name}'").into()),
        }
        Ok(())
    }

    /// Takes the messages in flight: all, those from one node to another, or those `from=` or `to=` a node.
    fn take_packets(&mut self, args: &mut Args<'_>) -> Result<Vec<Packet>> {
        let pair = rest_of_nodes(args)?;
        let (mut from, mut to) = (pair.first().copied(), pair.get(1).copied());
        if let Some(text) = args.take_key("from") {
            from = Some(node(text)?);
        }
        if let Some(text) = args.take_key("to") {
            to = Some(node(text)?);
        }
        let count = number(args, "count")?.unwrap_or(u64::MAX);
        let cluster = self.cluster()?;
        let mut taken = Vec::new();
        cluster.network.retain(|packet| {
            let fits =
                from.is_none_or(|from| packet.from == id(from)) && to.is_none_or(|to| packet.to == id(to));
            let take = fits && (taken.len() as u64) < count;
            if take {
                taken.push(packet.clone());
            }
            !take
        });
        Ok(taken)
    }

    /// All nodes lose contact, and this one is the first to ask for pre-votes. The output leaves out the other nodes,
    /// whose roles may change too; `status` shows them.
    fn campaign(&mut self, args: &mut Args<'_>) -> Result<String> {
        let candidate = next_node(args)?;
        self.cluster()?.start_campaign(candidate);
        let mut events = self.cluster()?.take_journal();
        events.retain(|event| is_of(event, id(candidate)));
        Ok(render::events(&events, &self.names))
    }

    /// `propose n1 x y`
    fn propose(&mut self, at: u64, args: &mut Args<'_>) -> Result<()> {
        let names: Vec<_> = std::iter::from_fn(|| args.next_pos()).collect();
        let sizes_bytes = vec![10; names.len()];
        // The entries' ids are known only after the step. Its events are rendered later, so the names come in time.
        let effects = self.cluster()?.step(at, Input::Propose { sizes_bytes });
        let Some(NewEntries::Proposals { first }) = effects.write.map(|write| write.entries) else {
            return Err(format!("n{at} does not lead").into());
        };
        for (name, i) in names.into_iter().zip(first.index.get()..) {
            self.names.insert(EntryId::new(first.term, index(i)), name.to_owned());
        }
        Ok(())
    }

    /// `hear n1 n2 RequestVote term=4 last=1@1`: n1 receives a message from n2 that n2 may never have sent.
    fn hear(&mut self, at: u64, args: &mut Args<'_>) -> Result<()> {
        let from = next_node(args)?;
        let kind = next(args)?;
        let said_term = Term::new(number(args, "term")?.ok_or("term= is missing")?);
        let message = match kind {
            "RequestVote" | "RequestPreVote" => {
                let last = args.take_key("last").map_or(Ok(EntryId::ORIGIN), entry)?;
                let leadership_transfer = args.take_key("transfer").is_some();
                let pre_vote = kind == "RequestPreVote";
                let vote = RequestVote { term: said_term, last, pre_vote, leadership_transfer };
                Message::Request(Request::RequestVote(vote))
            }
            "AppendEntries" => Message::Request(Request::AppendEntries(append_entries(said_term, args)?)),
            "Vote" | "PreVote" => {
                let granted = next(args)? == "granted";
                let pre_vote = kind == "PreVote";
                let vote = RequestVoteResponse { term: said_term, granted, pre_vote };
                Message::Response(Response::RequestVote(vote))
            }
            other => return Err(format!("unknown kind of message '{other}'").into()),
        };
        match message {
            Message::Request(request) => {
                self.cluster()?.request(from, at, request);
            }
            Message::Response(response) => {
                self.cluster()?.step(at, Input::Response { from: id(from), response });
            }
        }
        Ok(())
    }

    /// `busy n3 n1`: n3 has no credit for the oldest entries in flight from n1.
    fn answer_busy(&mut self, at: u64, args: &mut Args<'_>) -> Result<()> {
        let leader = next_node(args)?;
        let cluster = self.cluster()?;
        let carries_entries = |packet: &Packet| {
            packet.from == id(leader)
                && packet.to == id(at)
                && matches!(&packet.message, Message::Request(Request::AppendEntries(append)) if !append.entries.is_empty())
        };
        let place = cluster.network.iter().position(carries_entries).ok_or("no entries are in flight")?;
        let Some(Packet { message: Message::Request(Request::AppendEntries(append)), .. }) =
            cluster.network.remove(place)
        else {
            return Err("no entries are in flight".into());
        };
        let response = AppendEntriesResponse {
            term: append.term,
            request_id: append.request_id,
            read_round: append.read_round,
            result: AppendResult::Busy { match_index: append.prev.index },
        };
        cluster.step(leader, Input::Response { from: id(at), response: Response::AppendEntries(response) });
        Ok(())
    }

    fn status(&mut self, args: &mut Args<'_>) -> Result<String> {
        let which = rest_of_nodes(args)?;
        let names = std::mem::take(&mut self.names);
        let cluster = self.cluster()?;
        let shown = if which.is_empty() { cluster.ids() } else { which };
        let lines = shown.into_iter().map(|node| render::status(cluster, node, &names)).collect();
        self.names = names;
        Ok(lines)
    }

    fn progress(&mut self, args: &mut Args<'_>) -> Result<String> {
        let leader = next_node(args)?;
        let cluster = self.cluster()?;
        Ok(cluster.ids().into_iter().filter_map(|peer| render::progress(cluster, leader, peer)).collect())
    }

    fn network(&mut self) -> Result<String> {
        let packets: Vec<_> = self.cluster()?.network.iter().cloned().collect();
        Ok(packets.iter().map(|packet| render::packet(packet, &self.names) + "\n").collect())
    }

    /// `voters n1 n2 n3 outgoing="n3 n4 n5"`: sets the configuration of the quorum tables.
    fn voters(&mut self, args: &mut Args<'_>) -> Result<String> {
        let outgoing = args.take_key("outgoing").map(nodes).transpose()?;
        let mut configuration = Configuration::new(rest_of_nodes(args)?.into_iter().map(id));
        if let Some(outgoing) = outgoing {
            configuration = configuration.with_outgoing(outgoing.into_iter().map(id));
        }
        self.configuration = Some(configuration);
        Ok(String::new())
    }

    /// `votes n1=yes n2=no`: the result of a vote; voters that are not named have not answered.
    fn votes(&mut self, args: &mut Args<'_>) -> Result<String> {
        let mut votes = Vec::new();
        while let Some((voter, vote)) = args.next_key() {
            votes.push((id(node(voter)?), vote == "yes"));
        }
        let configuration = self.configuration.as_ref().ok_or("begin with: voters n1 …")?;
        let vote_of = |voter| votes.iter().find(|(known, _)| *known == voter).map(|&(_, vote)| vote);
        let result = match configuration.vote_result(vote_of) {
            VoteResult::Won => "won",
            VoteResult::Lost => "lost",
            VoteResult::Pending => "pending",
        };
        let said: Vec<_> = votes
            .iter()
            .map(|&(voter, yes)| format!("n{}={}", voter.get(), if yes { "yes" } else { "no" }))
            .collect();
        Ok(format!("{} → {result}\n", said.join(" ")))
    }

    /// `reached n1=5 n2=3`: what a majority has reached; voters that are not named have reached nothing.
    fn reached(&mut self, args: &mut Args<'_>) -> Result<String> {
        let mut values = Vec::new();
        while let Some((voter, value)) = args.next_key() {
            values.push((id(node(voter)?), value.parse::<u64>()?));
        }
        let configuration = self.configuration.as_ref().ok_or("begin with: voters n1 …")?;
        let value_of = |voter| {
            values
                .iter()
                .find(|(known, _)| *known == voter)
                .map_or(LogIndex::ZERO, |&(_, value)| index(value))
        };
        let said: Vec<_> = values.iter().map(|&(voter, value)| format!("n{}={value}", voter.get())).collect();
        Ok(format!("{} → {}\n", said.join(" "), configuration.reached(value_of)))
    }
}

/// Parses `prev=2@2 commit=2 3@3 4@3`.
fn append_entries(leader_term: Term, args: &mut Args<'_>) -> Result<AppendEntries> {
    let prev = args.take_key("prev").map_or(Ok(EntryId::ORIGIN), entry)?;
    let commit = index(number(args, "commit")?.unwrap_or(0));
    let ids: Vec<_> = std::iter::from_fn(|| args.next_pos()).map(entry).collect::<Result<_>>()?;
    let entries = ids.into_iter().map(|id| EntryMeta { id, size_bytes: 10 }).collect();
    Ok(AppendEntries {
        term: leader_term,
        prev,
        entries,
        commit,
        request_id: 1,
        read_round: 0,
        clipped: false,
    })
}

/// Whether an event is about this node.
fn is_of(event: &Event, wanted: NodeId) -> bool {
    match event {
        Event::Changed { node, .. }
        | Event::Wrote { node, .. }
        | Event::Committed { node, .. }
        | Event::Halted { node, .. } => *node == wanted,
        Event::Sent { packet, .. } => packet.from == wanted,
        Event::Read(_) => true,
    }
}
