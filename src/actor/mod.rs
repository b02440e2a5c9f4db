//! The actor: the one task that owns the [`Node`]. Everything that changes state reaches it over a channel.
//!
//! It drains its lanes in a fixed order: log reports, peers, entries read back, time, clients. All but the
//! last need no permit, because they are bounded by construction, and a full mailbox must not delay the
//! acknowledgements that empty it. Everything waiting goes into one turn of the node.
//!
//! The actor never waits for a disk or a peer: the log has its own thread, and each peer has a link with an
//! [`Outbox`].

mod handle;
mod outbox;
mod peers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info};

use handle::{ForwardResponder, Permit, StatusRequest};
use lograft_node::{
    ClientResponse, ClientToken, Effects, Event, ForwardFailure, ForwardToken, HaltReason, Load, Node,
    NodeConfig, PeerResponse, PeerResult, RequestError,
};
use lograft_raft::ReplyTo;
use lograft_storage::{LogReader, LogReport, LogThread, RealOs, Recovered};
use lograft_types::{Entry, Identity, NodeId};
use peers::{PEER_LANE, VoteWaiting};

pub(crate) use handle::{ClientMessage, PendingForward, PendingRequest};
pub use handle::{ForwardResult, NodeHandle};
pub use outbox::{Outbox, Parcel};
pub(crate) use peers::PeerEvent;
pub use peers::{ActorGone, PeerHandle};

/// How long the node keeps running at most after it was asked to stop, to answer what it can.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Why an actor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActorEnd {
    /// It was asked to. Every open request was answered, and the log is flushed.
    ShutDown,
    /// The node must not go on. The process should end at once and touch nothing.
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
    peers: mpsc::Receiver<PeerEvent>,
    loaded: mpsc::Receiver<Result<Vec<Entry>, String>>,
    loads: mpsc::Sender<Result<Vec<Entry>, String>>,
    clients: mpsc::Receiver<ClientMessage>,
    outboxes: BTreeMap<NodeId, Arc<Outbox>>,
    requests: BTreeMap<ClientToken, (RespondToClient, Permit)>,
    forwards: BTreeMap<ForwardToken, (ForwardResponder, Permit)>,
    next_token: u64,
    streams: BTreeMap<ReplyTo, AppendStream>,
    votes: BTreeMap<ReplyTo, VoteWaiting>,
    status_requests: Vec<StatusRequest>,
    /// Events from the actor itself for the next turn of the node.
    own_events: Vec<Event>,
    /// The node wants another turn whatever happens.
    unfinished: bool,
}

/// Where the response to a client of this node goes.
type RespondToClient = oneshot::Sender<Result<ClientResponse, RequestError>>;

/// The input of one turn.
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
    /// Weak: when the stream's reader is gone, the responses end too, and the peer notices.
    responses: mpsc::WeakSender<PeerResult>,
    /// The sending peer, once a message named it.
    from: Option<NodeId>,
}

impl Actor {
    /// Creates an actor for a node whose log is open, and the handles to reach it. Nothing runs yet.
    pub fn new(
        config: NodeConfig,
        recovered: &Recovered,
        log: LogThread,
        reader: LogReader<RealOs>,
        reports: watch::Receiver<LogReport>,
    ) -> (Self, NodeHandle, PeerHandle, BTreeMap<NodeId, Arc<Outbox>>) {
        let identity = config.identity;
        let others = config.members.iter().map(|member| member.id).filter(|id| *id != identity.node);
        let outboxes: BTreeMap<_, _> = others.map(|id| (id, Arc::new(Outbox::new(&config.limits)))).collect();
        let (handle, clients) = NodeHandle::new(identity.node, config.limits);
        let (peer_handle, peers) = PeerHandle::new(identity);
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
            requests: BTreeMap::new(),
            forwards: BTreeMap::new(),
            next_token: 0,
            streams: BTreeMap::new(),
            votes: BTreeMap::new(),
            status_requests: Vec::new(),
            own_events: Vec::new(),
            unfinished: false,
        };
        (actor, handle, peer_handle, outboxes)
    }

    /// Runs until `stop` completes, or until the node must not go on.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> ActorEnd {
        let mut stop = std::pin::pin!(stop);
        let mut ticks = tokio::time::interval(self.tick);
        // After a pause the missed ticks are dropped: a burst of ticks could start an election before the
        // inbox is read.
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
        while !self.requests.is_empty() || !self.forwards.is_empty() || !self.clients.is_empty() {
            tokio::select! {
                biased;
                () = &mut grace => break,
                ended = self.next_turn(&mut ticks) => if let Some(halt) = ended { return self.halt(halt) },
            }
        }
        let last = self.node.shut_down();
        self.carry_out(last);
        let Self { log, reports, .. } = self;
        if let Err(panic) = tokio::task::spawn_blocking(move || log.shutdown()).await {
            std::panic::resume_unwind(panic.into_panic());
        }
        match reports.borrow().failed.clone() {
            None => ActorEnd::ShutDown,
            Some(why) => ActorEnd::Halted(HaltReason::LogFailed(why)),
        }
    }

    /// Waits until something has happened, and takes one turn with everything that is waiting.
    ///
    /// Cancel safe: nothing is taken from anywhere before the last await.
    async fn next_turn(&mut self, ticks: &mut tokio::time::Interval) -> Option<HaltReason> {
        if self.unfinished {
            // The links and the ports have their turn in between.
            tokio::task::yield_now().await;
        }
        let mut turn = Turn { events: std::mem::take(&mut self.own_events), ..Turn::default() };
        if turn.events.is_empty() && !self.unfinished {
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
        self.unfinished = effects.unfinished;
        self.carry_out(effects);
        for request in self.status_requests.drain(..) {
            // The caller may be gone.
            let _ = request.respond.send(self.node.status());
        }
        None
    }

    /// Takes everything that waits, in the order of the lanes. A lane that fills as fast as it is drained
    /// must not hold up those after it, time least of all.
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
        // After the peers' messages: after a pause, the leader's heartbeats must count before the time
        // without them.
        if turn.ticked || ticks.tick().now_or_never().is_some() {
            turn.events.push(Event::Tick);
        }
        // Bounded by the permits, which are released with the responses, after this turn at the earliest.
        while let Ok(message) = self.clients.try_recv() {
            self.on_client(message, turn);
        }
    }

    fn take_report(&mut self, turn: &mut Turn) {
        turn.events.push(Event::Log(self.reports.borrow_and_update().clone()));
    }

    fn on_client(&mut self, message: ClientMessage, turn: &mut Turn) {
        match message {
            ClientMessage::Request(PendingRequest { request, timeout_ms, respond, permit }) => {
                let token = ClientToken(self.next_token());
                self.requests.insert(token, (respond, permit));
                turn.events.push(Event::Client { token, request, timeout_ms });
            }
            ClientMessage::Forward(PendingForward { request, timeout_ms, respond, permit }) => {
                let token = ForwardToken(self.next_token());
                self.forwards.insert(token, (respond, permit));
                turn.events.push(Event::Forwarded { token, request, timeout_ms });
            }
            ClientMessage::Status(request) => self.status_requests.push(request),
        }
    }

    fn next_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    fn on_peer(&mut self, input: PeerEvent, turn: &mut Turn) {
        match input {
            PeerEvent::StreamOpened { reply_to, responses } => {
                self.streams.insert(reply_to, AppendStream { responses: responses.downgrade(), from: None });
            }
            PeerEvent::StreamEnded { reply_to, in_order } => {
                let ended = self.streams.remove(&reply_to).and_then(|stream| stream.from);
                if let Some(from) = ended.filter(|from| !in_order && !self.has_other_stream(*from, reply_to))
                {
                    debug!(peer = %from, "the peer's stream of appends broke");
                    turn.events.push(Event::StreamLost { from });
                }
            }
            PeerEvent::Append { envelope, reply_to, request, weight } => {
                turn.weights.push(weight);
                if let Some(stream) = self.streams.get_mut(&reply_to)
                    && envelope.check(self.identity).is_ok()
                {
                    stream.from = Some(envelope.from);
                }
                turn.events.push(Event::PeerRequest { envelope, reply_to, request });
            }
            PeerEvent::Vote { envelope, reply_to, request, waiting } => {
                self.votes.insert(reply_to, waiting);
                turn.events.push(Event::PeerRequest { envelope, reply_to, request });
            }
            PeerEvent::Event(event) => turn.events.push(event),
        }
    }

    /// Whether the peer has opened another stream since. If so, the end of the old one does not matter.
    fn has_other_stream(&self, from: NodeId, ended: ReplyTo) -> bool {
        self.streams.range(ended..).any(|(_, stream)| stream.from == Some(from))
    }

    fn carry_out(&mut self, effects: Effects) {
        for write in effects.writes {
            self.log.append(write);
        }
        if let Some(bytes) = effects.wanted_credit_bytes {
            self.log.want_credit(bytes);
        }
        for (to, message) in effects.messages {
            if let Some(outbox) = self.outboxes.get(&to) {
                outbox.push(message);
            }
        }
        for PeerResponse { reply_to, result } in effects.peer_responses {
            self.respond_to_peer(reply_to, result);
        }
        for (token, result) in effects.client_responses {
            let (respond, _permit) = self.requests.remove(&token).expect("the node answers each token once");
            // The caller may be gone; its request is executed all the same.
            drop(respond.send(result));
        }
        for (token, result) in effects.forward_responses {
            let (respond, _permit) = self.forwards.remove(&token).expect("the node answers each token once");
            respond.send(result);
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

    fn respond_to_peer(&mut self, reply_to: ReplyTo, result: PeerResult) {
        if let Some(vote) = self.votes.remove(&reply_to) {
            // The candidate may be gone.
            let _ = vote.respond.send(result);
        } else if let Some(responses) =
            self.streams.get(&reply_to).and_then(|stream| stream.responses.upgrade())
            && responses.try_send(result).is_err()
        {
            // The stream is ending; the event for that is on its way to this actor.
            debug!(?reply_to, "dropped a response: its stream has ended");
        }
    }

    /// Reads entries back on a thread that may block.
    fn load(&self, load: Load) {
        let reader = self.reader.clone();
        let loads = self.loads.clone();
        let reading = tokio::task::spawn_blocking(move || {
            reader.read(load.first, load.last, load.max_bytes).map_err(|error| error.to_string())
        });
        tokio::spawn(async move {
            // A result must always come: without it no entry would ever be applied again.
            let entries = reading.await.unwrap_or_else(|panic| Err(panic.to_string()));
            // Only one load is open at a time, so the channel has capacity. The actor may be gone.
            drop(loads.try_send(entries));
        });
    }

    /// The node must not go on. Each open request gets what is certain about it; the log is left as it is.
    fn halt(mut self, halt: HaltReason) -> ActorEnd {
        info!(waiting = self.requests.len() + self.forwards.len(), "the node halts");
        let unknown = RequestError::UnknownOutcome { reason: format!("the node had to stop: {halt}") };
        for (respond, _permit) in self.requests.into_values() {
            drop(respond.send(Err(unknown.clone())));
        }
        for (respond, _permit) in self.forwards.into_values() {
            respond.send(Err(unknown.clone()));
        }
        self.clients.close();
        while let Ok(message) = self.clients.try_recv() {
            match message {
                ClientMessage::Request(pending) => {
                    drop(pending.respond.send(Err(RequestError::ShuttingDown)));
                }
                ClientMessage::Forward(pending) => pending.respond.send(Err(RequestError::ShuttingDown)),
                // Dropping it ends the caller's wait with an error.
                ClientMessage::Status(_) => {}
            }
        }
        ActorEnd::Halted(halt)
    }
}
