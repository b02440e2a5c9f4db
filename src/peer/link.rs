//! The link to one peer: a task that connects, delivers the contents of its [`Outbox`], and brings back
//! responses.
//!
//! It has one connection, with one bidirectional stream of appends and one of forwarded requests; vote
//! requests are single calls. Each kind leaves the outbox on its own, so that entries that must be read from
//! disk hold up only entries, and requests that the leader accepts slowly hold up only requests.
//!
//! When anything on the link breaks, all of it is torn down. The core is told that messages in flight are
//! lost. Forwarded requests that had left have an unknown outcome; the others are handed back. Then the link
//! reconnects, after a pause that doubles up to a bound.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lograft_node::limits::MAX_PEER_MESSAGE_BYTES;
use lograft_node::{Envelope, Forward, ForwardFailure, ForwardId, Payloads};
use lograft_raft::{AppendEntries, RequestVote, Response};
use lograft_storage::{LogReader, RealOs};
use lograft_types::{Entry, Identity, Member, NodeId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tracing::{debug, info, warn};

use super::service::Handshake;
use super::wire;
use crate::actor::{ActorGone, Outbox, Parcel, PeerHandle};
use crate::proto::v1;
use crate::proto::v1::raft_client::RaftClient;
use crate::wording;

/// The first and the longest pause before another attempt to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(640));

/// How long an attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Messages that may wait between this task and the connection: few, so that a heartbeat finds a short queue.
const WIRE_QUEUE: usize = 8;

/// Flow control windows: large enough for everything the core allows in flight.
const WINDOW_BYTES: u32 = 16 << 20;

/// A link to one peer.
#[derive(Debug)]
pub struct Link {
    /// The peer.
    pub peer: Member,
    /// Where responses go.
    pub actor: PeerHandle,
    /// What is to be delivered.
    pub outbox: Arc<Outbox>,
    /// Reads entries that are no longer in memory.
    pub reader: LogReader<RealOs>,
    /// What this node says about itself.
    pub handshake: Handshake,
    /// How long a peer may be silent before it is considered dead.
    pub silence: Duration,
}

/// Why a link broke.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{}", wording::of_status(.0))]
    Status(#[from] Status),
    #[error("no connection: {}", wording::innermost(.0))]
    Connect(#[from] tonic::transport::Error),
    #[error("the peer ended the stream")]
    Ended,
    #[error("node {node} is at its address: check the addresses of --initial-cluster")]
    OtherNode { node: NodeId },
    #[error(transparent)]
    ActorGone(#[from] ActorGone),
}

/// Forwarded requests that have left and have no response yet.
type Outstanding = Mutex<BTreeSet<ForwardId>>;

impl Link {
    /// Connects and delivers until the actor has ended or the task is aborted.
    pub async fn run(self) {
        let mut pause = BACKOFF.0;
        let mut told = false;
        for attempt in 0_usize.. {
            let broken = match self.connect(attempt).await {
                Ok(client) => {
                    info!(peer = %self.peer.name, "linked");
                    (pause, told) = (BACKOFF.0, false);
                    self.deliver(client).await
                }
                Err(broken) => broken,
            };
            if matches!(broken, Broken::ActorGone(_)) {
                return;
            }
            // The first failure is news; repeated ones are noise.
            if told {
                debug!(peer = %self.peer.name, %broken, "no link to the peer");
            } else {
                warn!(peer = %self.peer.name, %broken, "no link to the peer; retrying");
                told = true;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    async fn connect(&self, attempt: usize) -> Result<RaftClient<Channel>, Broken> {
        let url = &self.peer.peer_urls[attempt % self.peer.peer_urls.len()];
        let channel = Endpoint::from_shared(url.clone())?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keep_alive_interval(self.silence)
            .keep_alive_timeout(self.silence)
            .keep_alive_while_idle(true)
            .connect()
            .await?;
        let mut client = RaftClient::new(channel)
            .max_decoding_message_size(MAX_PEER_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_PEER_MESSAGE_BYTES);
        let mut hello = Request::new(self.handshake());
        hello.set_timeout(self.silence.max(CONNECT_TIMEOUT));
        let answer = client.handshake(hello).await?.into_inner();
        let envelope: Envelope = wire::envelope!(answer);
        if let Err(refusal) = envelope.check(self.identity()) {
            return Err(Status::failed_precondition(refusal.to_string()).into());
        }
        if envelope.from != self.peer.id {
            self.actor.refused().await?;
            return Err(Broken::OtherNode { node: envelope.from });
        }
        self.actor.handshake(self.peer.id, answer.client_urls).await?;
        Ok(client)
    }

    fn handshake(&self) -> v1::HandshakeRequest {
        let envelope = self.envelope();
        v1::HandshakeRequest {
            cluster_id: envelope.cluster.get(),
            from: envelope.from.get(),
            to: envelope.to.get(),
            incarnation: envelope.incarnation,
            feature_level: wire::FEATURE_LEVEL,
            name: self.handshake.name.clone(),
            client_urls: self.handshake.client_urls.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Opens the streams and serves them until one breaks; then tears everything down.
    async fn deliver(&self, client: RaftClient<Channel>) -> Broken {
        let outstanding = Outstanding::default();
        self.outbox.link_up();
        let broken = match self.serve(client, &outstanding).await {
            Ok(never) => match never {},
            Err(broken) => broken,
        };
        match self.tear_down(outstanding, &broken).await {
            Ok(()) => broken,
            Err(gone) => gone.into(),
        }
    }

    async fn serve(
        &self,
        mut client: RaftClient<Channel>,
        outstanding: &Outstanding,
    ) -> Result<Never, Broken> {
        let (appends, append_queue) = mpsc::channel(WIRE_QUEUE);
        let (forwards, forward_queue) = mpsc::channel(WIRE_QUEUE);
        let append_answers = client.append_entries(ReceiverStream::new(append_queue)).await?.into_inner();
        let forward_answers = client.forward(ReceiverStream::new(forward_queue)).await?.into_inner();
        tokio::try_join!(
            self.deliver_urgent(client, &appends),
            self.deliver_forwards(&forwards, outstanding),
            self.deliver_entries(&appends),
            self.bring_back_appends(append_answers),
            self.bring_back_forwards(forward_answers, outstanding),
        )
        .map(|(never, ..)| never)
    }

    async fn deliver_urgent(
        &self,
        client: RaftClient<Channel>,
        appends: &mpsc::Sender<v1::AppendEntriesRequest>,
    ) -> Result<Never, Broken> {
        loop {
            match self.outbox.next_urgent().await {
                Parcel::Vote(vote) => self.ask_for_vote(client.clone(), vote),
                Parcel::Heartbeat(heartbeat) => {
                    let message = wire::append_to_wire(self.envelope(), &heartbeat, Vec::new());
                    appends.send(message).await.map_err(|_| Broken::Ended)?;
                }
            }
        }
    }

    async fn deliver_forwards(
        &self,
        forwards: &mpsc::Sender<v1::ForwardRequest>,
        outstanding: &Outstanding,
    ) -> Result<Never, Broken> {
        // The link may break at any await, which ends this loop. So both ways on are reserved first: a request taken
        // from the outbox leaves, or is reported, at once.
        let mut report = self.actor.reserve().await?;
        loop {
            let place = forwards.reserve().await.map_err(|_| Broken::Ended)?;
            match self.outbox.next_forward().await {
                Ok(Forward { id, request, timeout_ms, to: _ }) => {
                    outstanding.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
                    place.send(wire::forward_to_wire(self.envelope(), id.0, timeout_ms, request));
                }
                Err(id) => {
                    report.forward_done(id, Err(ForwardFailure::NotTaken));
                    report = self.actor.reserve().await?;
                }
            }
        }
    }

    /// A separate call with a timeout. There is one per election, and elections are an election timeout
    /// apart.
    fn ask_for_vote(&self, mut client: RaftClient<Channel>, vote: RequestVote) {
        let port = self.actor.clone();
        let peer = self.peer.id;
        let mut request = Request::new(wire::vote_to_wire(self.envelope(), &vote));
        request.set_timeout(self.silence);
        tokio::spawn(async move {
            match client.request_vote(request).await {
                Ok(answer) => {
                    let (envelope, response) = wire::vote_response_from_wire(answer.get_ref());
                    // An actor that has ended counts no votes.
                    let _ = respond(&port, peer, envelope, response).await;
                }
                Err(status) => debug!(status = wording::of_status(&status), "a vote request got no response"),
            }
        });
    }

    async fn deliver_entries(
        &self,
        appends: &mpsc::Sender<v1::AppendEntriesRequest>,
    ) -> Result<Never, Broken> {
        loop {
            let (request, payloads) = self.outbox.next_append().await;
            let entries = match payloads {
                Payloads::Cached(entries) => Some(entries),
                Payloads::InLog => self.read(&request).await,
            };
            if let Some(entries) = entries {
                let message = wire::append_to_wire(self.envelope(), &request, entries);
                appends.send(message).await.map_err(|_| Broken::Ended)?;
            }
        }
    }

    /// Returns exactly the entries that the request names, or none. If they were replaced, this node no
    /// longer leads, and the message must not leave.
    async fn read(&self, request: &AppendEntries) -> Option<Vec<Entry>> {
        let (first, last) = (request.entries.first()?.id.index, request.entries.last()?.id.index);
        let reader = self.reader.clone();
        let read = tokio::task::spawn_blocking(move || reader.read(first, last, usize::MAX)).await;
        let entries = match read {
            Ok(Ok(entries)) => entries,
            Ok(Err(error)) => {
                warn!(peer = %self.peer.name, %error, "entries for a peer cannot be read from the log");
                return None;
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let as_named = entries.iter().map(|entry| entry.id).eq(request.entries.iter().map(|meta| meta.id));
        as_named.then_some(entries)
    }

    async fn bring_back_appends(
        &self,
        mut answers: Streaming<v1::AppendEntriesResponse>,
    ) -> Result<Never, Broken> {
        while let Some(answer) = answers.message().await? {
            let (envelope, response) = wire::append_response_from_wire(&answer);
            respond(&self.actor, self.peer.id, envelope, response).await?;
        }
        Err(Broken::Ended)
    }

    async fn bring_back_forwards(
        &self,
        mut answers: Streaming<v1::ForwardResponse>,
        outstanding: &Outstanding,
    ) -> Result<Never, Broken> {
        // As above: a response that was read is reported at once, or it would be lost with the link.
        let mut report = self.actor.reserve().await?;
        while let Some(answer) = answers.message().await? {
            let id = ForwardId(answer.id);
            // Ignore a response to a request that was never sent or already has one.
            if outstanding.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) {
                report.forward_done(id, wire::forward_response_from_wire(answer, &self.peer.name));
                report = self.actor.reserve().await?;
            }
        }
        Err(Broken::Ended)
    }

    async fn tear_down(&self, outstanding: Outstanding, broken: &Broken) -> Result<(), ActorGone> {
        for forward in self.outbox.link_down() {
            self.actor.forward_done(forward.id, Err(ForwardFailure::NotTaken)).await?;
        }
        for id in outstanding.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let failure = match broken {
                Broken::Status(status) if wire::is_took_no_more(status) => ForwardFailure::NotTaken,
                broken => {
                    let reason = format!("the link to the leader {} broke: {broken}", self.peer.name);
                    ForwardFailure::Lost { reason }
                }
            };
            self.actor.forward_done(id, Err(failure)).await?;
        }
        self.actor.link_lost(self.peer.id).await
    }

    fn identity(&self) -> Identity {
        self.actor.identity()
    }

    fn envelope(&self) -> Envelope {
        Envelope::between(self.identity(), self.peer_id())
    }

    fn peer_id(&self) -> NodeId {
        self.peer.id
    }
}

/// Hands a response from the link to `peer` to the node. What another node says there is refused and counted: one
/// member must not be able to vote or acknowledge for another.
async fn respond(
    actor: &PeerHandle,
    peer: NodeId,
    envelope: Envelope,
    response: Response,
) -> Result<(), ActorGone> {
    if envelope.from == peer {
        return actor.response(envelope, response).await;
    }
    warn!(%peer, from = %envelope.from, "a response of another node on the link to a peer is refused");
    actor.refused().await
}

/// The result of a loop that ends only with an error.
enum Never {}

#[cfg(test)]
mod tests;
