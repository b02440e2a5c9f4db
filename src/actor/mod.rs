//! The actor: the one task that owns the [`Node`]. Everything that changes state reaches it over a channel.
//!
//! It drains its lanes in a fixed order: what the log made durable, peers, entries read back, time, clients. The first
//! ones need no permit, for they are bounded by construction, and a full mailbox must not hold up the very
//! acknowledgements that empty it. All that waits is one turn of the node.
//!
//! It never waits for a disk or a peer: the log has a thread of its own, each peer a link with an [`Outbox`].

mod handle;
mod outbox;
mod peers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info};

use handle::{Permit, StatusAsked};
use lograft_node::PeerAnswer;
use lograft_node::RequestError;
use lograft_node::{Effects, Event, ForwardFailure, HaltReason, Load, Replied, Token};
use lograft_node::{Node, NodeConfig};
use lograft_raft::ReplyTo;
use lograft_storage::{LogReader, LogReport, LogThread, RealOs};
use lograft_types::{Entry, Identity, NodeId};
use peers::{PEER_LANE, VoteWaiting};

pub(crate) use handle::{Asked, ClientMessage, Completion, PendingRequest};
pub use handle::{ForwardReply, NodeHandle};
pub use outbox::{Outbox, Parcel};
pub(crate) use peers::PeerInput;
pub use peers::{ActorGone, AnswerToPeer, PeerPort};

/// After the node was asked to stop it goes on so long at the most, to answer what it can.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Why an actor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActorEnd {
    /// It was asked to. Everything that waited was answered, the log is flushed.
    ShutDown,
    /// The node must not go on: the process should end at once, and touch nothing.
    Halted(HaltReason),
}

/// The actor. See the [module](self).
#[derive(Debug)]
pub struct Actor {
    identity: Identity,
    node: Node,
    tick: Duration,
    log: LogThread,
    reader: LogReader<RealOs>,
    reports: watch::Receiver<LogReport>,
    peers: mpsc::Receiver<PeerInput>,
    loaded: mpsc::Receiver<Result<Vec<Entry>, String>>,
    loads: mpsc::Sender<Result<Vec<Entry>, String>>,
    clients: mpsc::Receiver<ClientMessage>,
    outboxes: BTreeMap<NodeId, Arc<Outbox>>,
    pending: BTreeMap<Token, (Completion, Permit)>,
    next_token: u64,
    streams: BTreeMap<ReplyTo, AppendStream>,
    votes: BTreeMap<ReplyTo, VoteWaiting>,
    asking_status: Vec<StatusAsked>,
    /// What the actor itself has to tell the node in its next turn.
    own_events: Vec<Event>,
}

/// What one turn takes.
#[derive(Debug, Default)]
struct Turn {
    events: Vec<Event>,
    ticked: bool,
    /// The bytes of these events count as waiting until the node has taken them.
    weights: Vec<OwnedSemaphorePermit>,
}

/// A peer's stream of appends.
#[derive(Debug)]
struct AppendStream {
    /// Weak: when whoever reads the stream is gone the answers end too, and the peer hears of it.
    answers: mpsc::WeakSender<AnswerToPeer>,
    /// The peer that speaks on it, once it has.
    from: Option<NodeId>,
}

impl Actor {
    /// An actor around a node whose log is open, with the ways to reach it. Nothing runs yet.
    pub fn new(
        config: NodeConfig,
        recovered: &lograft_storage::Recovered,
        log: LogThread,
        reader: LogReader<RealOs>,
        reports: watch::Receiver<LogReport>,
    ) -> (Self, NodeHandle, PeerPort, BTreeMap<NodeId, Arc<Outbox>>) {
        let identity = config.identity;
        let others = config.members.iter().map(|member| member.id).filter(|id| *id != identity.node);
        let outboxes: BTreeMap<_, _> = others.map(|id| (id, Arc::new(Outbox::new(&config.limits)))).collect();
        let (handle, clients) = NodeHandle::new(identity.node, config.limits);
        let (port, peers) = PeerPort::new(identity);
        let (loads, loaded) = mpsc::channel(1);
        let tick = Duration::from_millis(config.tick_ms);
        let report = reports.borrow().clone();
        let actor = Self {
            identity,
            node: Node::new(config, recovered, &report),
            tick,
            log,
            reader,
            reports,
            peers,
            loaded,
            loads,
            clients,
            outboxes: outboxes.clone(),
            pending: BTreeMap::new(),
            next_token: 0,
            streams: BTreeMap::new(),
            votes: BTreeMap::new(),
            asking_status: Vec::new(),
            own_events: Vec::new(),
        };
        (actor, handle, port, outboxes)
    }

    /// Runs until `stop` completes, or until the node must not go on.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> ActorEnd {
        let mut stop = std::pin::pin!(stop);
        let mut ticks = tokio::time::interval(self.tick);
        // After a pause the missed ticks are gone: one tick, not a burst that elects before the inbox is read.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                ended = self.next_turn(&mut ticks) => if let Some(halt) = ended { return self.halt(halt) },
            }
        }
        self.clients.close();
        let grace = tokio::time::sleep(SHUTDOWN_GRACE);
        let mut grace = std::pin::pin!(grace);
        while !self.pending.is_empty() || !self.clients.is_empty() {
            tokio::select! {
                biased;
                () = &mut grace => break,
                ended = self.next_turn(&mut ticks) => if let Some(halt) = ended { return self.halt(halt) },
            }
        }
        for (token, replied) in self.node.shut_down() {
            self.reply(token, replied);
        }
        let Self { log, reports, .. } = self;
        if let Err(panic) = tokio::task::spawn_blocking(move || log.shutdown()).await {
            std::panic::resume_unwind(panic.into_panic());
        }
        match reports.borrow().failed.clone() {
            None => ActorEnd::ShutDown,
            Some(why) => ActorEnd::Halted(HaltReason::LogFailed(why)),
        }
    }

    /// Waits until something has happened, and takes one turn with all of it.
    ///
    /// Cancel safe: nothing is taken from a lane before the last await.
    async fn next_turn(&mut self, ticks: &mut tokio::time::Interval) -> Option<HaltReason> {
        let mut turn = Turn { events: std::mem::take(&mut self.own_events), ..Turn::default() };
        if turn.events.is_empty() {
            tokio::select! {
                biased;
                changed = self.reports.changed() => match changed {
                    Ok(()) => self.take_report(&mut turn),
                    Err(_) => return Some(HaltReason::LogFailed("its thread has ended".to_owned())),
                },
                Some(input) = self.peers.recv() => self.on_peer(input, &mut turn),
                Some(entries) = self.loaded.recv() => turn.events.push(Event::Loaded { entries }),
                _ = ticks.tick() => turn.ticked = true,
                Some(message) = self.clients.recv() => self.on_client(message, &mut turn),
            }
        }
        self.drain(&mut turn, ticks);
        let Turn { events, weights, .. } = turn;
        let effects = self.node.turn(events);
        drop(weights);
        if effects.halt.is_some() {
            return effects.halt;
        }
        self.carry_out(effects);
        for asked in self.asking_status.drain(..) {
            // Whoever asked may have gone.
            let _ = asked.answer.send(self.node.status());
        }
        None
    }

    /// Takes all that waits, in the order of the lanes. A lane that is filled as fast as it is emptied holds up none of
    /// those behind it, and time least of all.
    fn drain(&mut self, turn: &mut Turn, ticks: &mut tokio::time::Interval) {
        if self.reports.has_changed().unwrap_or(false) {
            self.take_report(turn);
        }
        for _ in 0..PEER_LANE {
            let Ok(input) = self.peers.try_recv() else { break };
            self.on_peer(input, turn);
        }
        if let Ok(entries) = self.loaded.try_recv() {
            turn.events.push(Event::Loaded { entries });
        }
        // Behind the peers' messages: after a pause the leader's heartbeats count before the time without them.
        if turn.ticked || ticks.tick().now_or_never().is_some() {
            turn.events.push(Event::Tick);
        }
        // Bounded by the permits, which come back with the answers: after this turn at the earliest.
        while let Ok(message) = self.clients.try_recv() {
            self.on_client(message, turn);
        }
    }

    fn take_report(&mut self, turn: &mut Turn) {
        turn.events.push(Event::Log(self.reports.borrow_and_update().clone()));
    }

    fn on_client(&mut self, message: ClientMessage, turn: &mut Turn) {
        match message {
            ClientMessage::Request(PendingRequest { asked, timeout_ms, completion, permit }) => {
                let token = Token(self.next_token);
                self.next_token += 1;
                self.pending.insert(token, (completion, permit));
                turn.events.push(match asked {
                    Asked::Client(request) => Event::Client { token, request, timeout_ms },
                    Asked::Peer(request) => Event::Forwarded { token, request, timeout_ms },
                });
            }
            ClientMessage::Status(asked) => self.asking_status.push(asked),
        }
    }

    fn on_peer(&mut self, input: PeerInput, turn: &mut Turn) {
        match input {
            PeerInput::StreamOpened { reply_to, answers } => {
                self.streams.insert(reply_to, AppendStream { answers: answers.downgrade(), from: None });
            }
            PeerInput::StreamEnded { reply_to, in_order } => {
                let ended = self.streams.remove(&reply_to).and_then(|stream| stream.from);
                if let Some(from) = ended.filter(|from| !in_order && !self.has_other_stream(*from, reply_to))
                {
                    debug!(peer = %from, "its stream broke");
                    turn.events.push(Event::StreamLost { from });
                }
            }
            PeerInput::Append { envelope, reply_to, request, weight } => {
                turn.weights.push(weight);
                if let Some(stream) = self.streams.get_mut(&reply_to)
                    && envelope.check(self.identity).is_ok()
                {
                    stream.from = Some(envelope.from);
                }
                turn.events.push(Event::PeerRequest { envelope, reply_to, request });
            }
            PeerInput::Vote { envelope, reply_to, request, waiting } => {
                self.votes.insert(reply_to, waiting);
                turn.events.push(Event::PeerRequest { envelope, reply_to, request });
            }
            PeerInput::Event(event) => turn.events.push(event),
        }
    }

    /// Whether the peer speaks on a stream that it opened later: the old one's end is no news then.
    fn has_other_stream(&self, from: NodeId, ended: ReplyTo) -> bool {
        self.streams.range(ended..).any(|(_, stream)| stream.from == Some(from))
    }

    fn carry_out(&mut self, effects: Effects) {
        for write in effects.writes {
            self.log.append(write);
        }
        for (to, message) in effects.messages {
            if let Some(outbox) = self.outboxes.get(&to) {
                outbox.push(message);
            }
        }
        for PeerAnswer { reply_to, answer } in effects.answers {
            self.answer_peer(reply_to, answer);
        }
        for (token, replied) in effects.replies {
            self.reply(token, replied);
        }
        for forward in effects.forwards {
            let id = forward.id;
            let taken = match self.outboxes.get(&forward.to) {
                Some(outbox) => outbox.push_forward(forward).is_ok(),
                None => false,
            };
            if !taken {
                self.own_events.push(Event::ForwardDone { id, result: Err(ForwardFailure::NotTaken) });
            }
        }
        if let Some(load) = effects.load {
            self.load(load);
        }
    }

    fn answer_peer(&mut self, reply_to: ReplyTo, answer: AnswerToPeer) {
        if let Some(vote) = self.votes.remove(&reply_to) {
            // The candidate may have gone.
            let _ = vote.answer.send(answer);
        } else if let Some(answers) = self.streams.get(&reply_to).and_then(|stream| stream.answers.upgrade())
            && answers.try_send(answer).is_err()
        {
            // The stream is ending: its end is on its way to this actor.
            debug!(?reply_to, "an answer found its stream gone");
        }
    }

    fn reply(&mut self, token: Token, replied: Replied) {
        let Some((completion, _permit)) = self.pending.remove(&token) else {
            unreachable!("the node answers each token once")
        };
        match (completion, replied) {
            // Whoever asked may have gone; what was asked is done all the same.
            (Completion::Oneshot(answer), Replied::Client(result)) => drop(answer.send(result)),
            (Completion::Stream { id, answers }, Replied::Forwarded(result)) => {
                drop(answers.try_send(ForwardReply { id, result }));
            }
            (Completion::Oneshot(_), Replied::Forwarded(_))
            | (Completion::Stream { .. }, Replied::Client(_)) => {
                unreachable!("the node answers in kind")
            }
        }
    }

    /// Reads entries back on a thread where it may take its time.
    fn load(&self, load: Load) {
        let reader = self.reader.clone();
        let loads = self.loads.clone();
        let reading = tokio::task::spawn_blocking(move || {
            reader.read(load.first, load.last, load.max_bytes).map_err(|error| error.to_string())
        });
        tokio::spawn(async move {
            // An answer comes in any case: without one nothing would ever be applied again.
            let entries = reading.await.unwrap_or_else(|panic| Err(panic.to_string()));
            // One load is open at a time, so there is room; the actor may have gone.
            drop(loads.try_send(entries));
        });
    }

    /// The node must not go on: whoever waits is told, by what is known; the log is left as it is.
    fn halt(mut self, halt: HaltReason) -> ActorEnd {
        let waiting = std::mem::take(&mut self.pending);
        info!(waiting = waiting.len(), "the node halts");
        for (completion, _permit) in waiting.into_values() {
            let reason = format!("the node had to stop: {halt}");
            completion.refuse(RequestError::UnknownOutcome { reason });
        }
        self.clients.close();
        while let Ok(message) = self.clients.try_recv() {
            if let ClientMessage::Request(request) = message {
                request.completion.refuse(RequestError::ShuttingDown);
            }
        }
        ActorEnd::Halted(halt)
    }
}

impl Completion {
    /// Answers that it was not done, or not for certain.
    fn refuse(self, error: RequestError) {
        match self {
            // Whoever asked may have gone.
            Self::Oneshot(answer) => drop(answer.send(Err(error))),
            Self::Stream { id, answers } => drop(answers.try_send(ForwardReply { id, result: Err(error) })),
        }
    }
}
