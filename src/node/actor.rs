//! The actor: the one task that owns the [`Node`]. Everything that changes state reaches it over a channel.
//!
//! It drains its lanes in a fixed order: what the log made durable, peers, entries read back, time, clients. The first
//! ones need no permit, for they are bounded by construction, and a full mailbox must not hold up the very
//! acknowledgements that empty it. All that waits is one turn of the node.
//!
//! It never waits for a disk or a peer: the log has a thread of its own, each peer a link with an [`Outbox`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info};

use super::event::{
    Effects, Event, ForwardAnswer, ForwardFailure, ForwardId, HaltReason, Load, Replied, Token,
};
use super::handle::{Asked, ClientMessage, Completion, ForwardReply, NodeHandle, PendingRequest, Permit};
use super::outbox::Outbox;
use super::peer::{Envelope, PeerAnswer, PeerRequest, Refusal};
use super::request::{RequestError, Status};
use super::{Node, NodeConfig};
use crate::limits::{KIB, MIB};
use crate::raft::{ReplyTo, Response};
use crate::storage::{LogReader, LogReport, LogThread, RealOs};
use crate::types::{Entry, Identity, NodeId};

/// Messages of peers that may wait for the actor; a full lane holds up the streams that fill it, one by one.
const PEER_LANE: usize = 1024;

/// Bytes of entries that may wait in it.
const PEER_LANE_BYTES: usize = 64 * MIB;

/// After the node was asked to stop it goes on so long at the most, to answer what it can.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// An answer to a peer's request, or why it was refused.
pub type AnswerToPeer = Result<(NodeId, Response), Refusal>;

/// What reaches the actor from the peers' side.
#[derive(Debug)]
pub(crate) enum PeerInput {
    /// A stream of appends has been opened: its answers go here, which has room for all that may be asked on it.
    StreamOpened { reply_to: ReplyTo, answers: mpsc::Sender<AnswerToPeer> },
    /// A stream of appends has ended.
    StreamEnded { reply_to: ReplyTo, in_order: bool },
    /// A request on an open stream.
    Append { envelope: Envelope, reply_to: ReplyTo, request: PeerRequest, _weight: OwnedSemaphorePermit },
    /// A request for a vote, with the place for its answer.
    Vote { envelope: Envelope, request: PeerRequest, answer: oneshot::Sender<AnswerToPeer> },
    /// Something that the node is told as it is.
    Event(Event),
}

/// How the peers' side of the edges reaches the actor. Waits while the actor is behind.
#[derive(Clone, Debug)]
pub struct PeerPort {
    lane: mpsc::Sender<PeerInput>,
    kibibytes: Arc<Semaphore>,
    streams: Arc<AtomicU64>,
    identity: Identity,
}

/// The actor has ended; sends to it have nowhere to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is shutting down")]
pub struct ActorGone;

impl PeerPort {
    /// Who this node is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// A stream of appends has been opened; `answers` must have room for all that may be asked on it at a time.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn stream_opened(&self, answers: mpsc::Sender<AnswerToPeer>) -> Result<ReplyTo, ActorGone> {
        let reply_to = ReplyTo(self.streams.fetch_add(1, Ordering::Relaxed));
        self.send(PeerInput::StreamOpened { reply_to, answers }).await?;
        Ok(reply_to)
    }

    /// A stream of appends has ended, in order or not.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn stream_ended(&self, reply_to: ReplyTo, in_order: bool) -> Result<(), ActorGone> {
        self.send(PeerInput::StreamEnded { reply_to, in_order }).await
    }

    /// A peer asks on an open stream.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn append(
        &self,
        envelope: Envelope,
        reply_to: ReplyTo,
        request: PeerRequest,
    ) -> Result<(), ActorGone> {
        let kibibytes = request.size_bytes().div_ceil(KIB).clamp(1, PEER_LANE_BYTES / KIB);
        let kibibytes = u32::try_from(kibibytes).expect("the lane's bytes are few");
        let weight =
            Arc::clone(&self.kibibytes).acquire_many_owned(kibibytes).await.map_err(|_| ActorGone)?;
        self.send(PeerInput::Append { envelope, reply_to, request, _weight: weight }).await
    }

    /// A peer asks for a vote.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn vote(&self, envelope: Envelope, request: PeerRequest) -> Result<AnswerToPeer, ActorGone> {
        let (answer, answered) = oneshot::channel();
        self.send(PeerInput::Vote { envelope, request, answer }).await?;
        answered.await.map_err(|_| ActorGone)
    }

    /// A peer answers.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn response(&self, envelope: Envelope, response: Response) -> Result<(), ActorGone> {
        self.send(PeerInput::Event(Event::PeerResponse { envelope, response })).await
    }

    /// The link to a peer broke.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn link_lost(&self, to: NodeId) -> Result<(), ActorGone> {
        self.send(PeerInput::Event(Event::LinkLost { to })).await
    }

    /// A peer told where clients reach it.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn hello(&self, from: NodeId, client_urls: Vec<String>) -> Result<(), ActorGone> {
        self.send(PeerInput::Event(Event::Hello { from, client_urls })).await
    }

    /// An edge refused a message of a peer: it is counted.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn refused(&self) -> Result<(), ActorGone> {
        self.send(PeerInput::Event(Event::Refused)).await
    }

    /// What came of something forwarded.
    ///
    /// # Errors
    /// [`ActorGone`]
    pub async fn forward_done(
        &self,
        id: ForwardId,
        result: Result<ForwardAnswer, ForwardFailure>,
    ) -> Result<(), ActorGone> {
        self.send(PeerInput::Event(Event::ForwardDone { id, result })).await
    }

    async fn send(&self, input: PeerInput) -> Result<(), ActorGone> {
        self.lane.send(input).await.map_err(|_| ActorGone)
    }
}

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
    votes: BTreeMap<ReplyTo, oneshot::Sender<AnswerToPeer>>,
    stream_numbers: Arc<AtomicU64>,
    asking_status: Vec<oneshot::Sender<Status>>,
    /// What the actor itself has to tell the node in its next turn.
    own_events: Vec<Event>,
}

/// A peer's stream of appends.
#[derive(Debug)]
struct AppendStream {
    answers: mpsc::Sender<AnswerToPeer>,
    /// The peer that speaks on it, once it has.
    from: Option<NodeId>,
}

impl Actor {
    /// An actor around a node whose log is open, with the ways to reach it. Nothing runs yet.
    pub fn new(
        config: NodeConfig,
        recovered: &crate::storage::Recovered,
        log: LogThread,
        reader: LogReader<RealOs>,
        reports: watch::Receiver<LogReport>,
    ) -> (Self, NodeHandle, PeerPort, BTreeMap<NodeId, Arc<Outbox>>) {
        let identity = config.identity;
        let others = config.members.iter().map(|member| member.id).filter(|id| *id != identity.node);
        let outboxes: BTreeMap<_, _> = others.map(|id| (id, Arc::new(Outbox::new()))).collect();
        let (handle, clients) = NodeHandle::new(identity.node, config.limits);
        let (lane, peers) = mpsc::channel(PEER_LANE);
        let (loads, loaded) = mpsc::channel(1);
        let stream_numbers = Arc::new(AtomicU64::new(1));
        let kibibytes = Arc::new(Semaphore::new(PEER_LANE_BYTES / KIB));
        let port = PeerPort { lane, kibibytes, streams: Arc::clone(&stream_numbers), identity };
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
            stream_numbers,
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
        let Self { log, .. } = self;
        match tokio::task::spawn_blocking(move || log.shutdown()).await {
            Ok(Ok(())) => ActorEnd::ShutDown,
            Ok(Err(error)) => ActorEnd::Halted(HaltReason::LogFailed(error.to_string())),
            Err(panic) => ActorEnd::Halted(HaltReason::LogFailed(panic.to_string())),
        }
    }

    /// Waits until something has happened, and takes one turn with all of it.
    ///
    /// Cancel safe: nothing is taken from a lane before the last await.
    async fn next_turn(&mut self, ticks: &mut tokio::time::Interval) -> Option<HaltReason> {
        let mut events = std::mem::take(&mut self.own_events);
        if events.is_empty() {
            tokio::select! {
                biased;
                Ok(()) = self.reports.changed() => events.push(Event::Log(self.reports.borrow_and_update().clone())),
                Some(input) = self.peers.recv() => self.on_peer(input, &mut events),
                Some(entries) = self.loaded.recv() => events.push(Event::Loaded { entries }),
                _ = ticks.tick() => events.push(Event::Tick),
                Some(message) = self.clients.recv() => self.on_client(message, &mut events),
            }
        }
        self.drain(&mut events);
        let effects = self.node.turn(events);
        if effects.halt.is_some() {
            return effects.halt;
        }
        self.carry_out(effects);
        for asking in self.asking_status.drain(..) {
            // Whoever asked may have gone.
            let _ = asking.send(self.node.status());
        }
        None
    }

    /// Takes all that waits, in the order of the lanes.
    fn drain(&mut self, events: &mut Vec<Event>) {
        if self.reports.has_changed().unwrap_or(false) {
            events.push(Event::Log(self.reports.borrow_and_update().clone()));
        }
        while let Ok(input) = self.peers.try_recv() {
            self.on_peer(input, events);
        }
        while let Ok(message) = self.clients.try_recv() {
            self.on_client(message, events);
        }
    }

    fn on_client(&mut self, message: ClientMessage, events: &mut Vec<Event>) {
        match message {
            ClientMessage::Request(PendingRequest { asked, timeout_ms, completion, permit }) => {
                let token = Token(self.next_token);
                self.next_token += 1;
                self.pending.insert(token, (completion, permit));
                events.push(match asked {
                    Asked::Client(request) => Event::Client { token, request, timeout_ms },
                    Asked::Peer(request) => Event::Forwarded { token, request, timeout_ms },
                });
            }
            ClientMessage::Status(asking) => self.asking_status.push(asking),
        }
    }

    fn on_peer(&mut self, input: PeerInput, events: &mut Vec<Event>) {
        match input {
            PeerInput::StreamOpened { reply_to, answers } => {
                self.streams.insert(reply_to, AppendStream { answers, from: None });
            }
            PeerInput::StreamEnded { reply_to, in_order } => {
                let ended = self.streams.remove(&reply_to).and_then(|stream| stream.from);
                if let Some(from) = ended.filter(|from| !in_order && !self.has_other_stream(*from, reply_to))
                {
                    debug!(peer = %from, "its stream broke");
                    events.push(Event::StreamLost { from });
                }
            }
            PeerInput::Append { envelope, reply_to, request, _weight } => {
                if let Some(stream) = self.streams.get_mut(&reply_to)
                    && envelope.check(self.identity).is_ok()
                {
                    stream.from = Some(envelope.from);
                }
                events.push(Event::PeerRequest { envelope, reply_to, request });
            }
            PeerInput::Vote { envelope, request, answer } => {
                let reply_to = ReplyTo(self.stream_numbers.fetch_add(1, Ordering::Relaxed));
                self.votes.insert(reply_to, answer);
                events.push(Event::PeerRequest { envelope, reply_to, request });
            }
            PeerInput::Event(event) => events.push(event),
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
            let _ = vote.send(answer);
        } else if let Some(stream) = self.streams.get(&reply_to)
            && stream.answers.try_send(answer).is_err()
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
        tokio::task::spawn_blocking(move || {
            let entries =
                reader.read(load.first, load.last, load.max_bytes).map_err(|error| error.to_string());
            // One load is open at a time, so there is room; the actor may have gone.
            drop(loads.try_send(entries));
        });
    }

    /// The node must not go on: whoever waits is told, by what is known; the log is left as it is.
    fn halt(mut self, halt: HaltReason) -> ActorEnd {
        let waiting = std::mem::take(&mut self.pending);
        info!(waiting = waiting.len(), "the node halts");
        for (completion, _permit) in waiting.into_values() {
            let error = RequestError::UnknownOutcome { reason: format!("the node had to stop: {halt}") };
            match completion {
                Completion::Oneshot(answer) => drop(answer.send(Err(error))),
                Completion::Stream { id, answers } => {
                    drop(answers.try_send(ForwardReply { id, result: Err(error) }));
                }
            }
        }
        ActorEnd::Halted(halt)
    }
}
