//! The peer service: requests from other nodes to this one.

use std::sync::Arc;
use std::time::Duration;

use lograft_kv::Command;
use lograft_node::limits::{LARGEST_COMMAND_BYTES, Limits};
use lograft_node::{Envelope, ForwardRequest, PeerResult, Refusal, RequestError};
use lograft_raft as raft;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use super::wire;
use crate::actor::{ActorGone, ForwardResult, NodeHandle, PeerHandle};
use crate::proto::v1;
use crate::proto::v1::raft_server::Raft;
use crate::wording;

/// What a node says about itself in a handshake.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The node's name.
    pub name: String,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}

/// The service of package `lograft.v1` on the peer port.
#[derive(Clone, Debug)]
pub struct RaftService {
    actor: PeerHandle,
    handle: NodeHandle,
    handshake: Handshake,
    /// True once the node has answered everything and takes no more.
    stopping: watch::Receiver<bool>,
}

type BoxStream<T> = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

impl RaftService {
    /// The service of one node.
    ///
    /// When `stopping` becomes true, each stream of forwarded requests ends after the responses that it still has to
    /// deliver. The peer then closes the link. The stream of appends stays open until then: if it ended first, the peer
    /// would tear the link down with those responses.
    pub fn new(
        actor: PeerHandle,
        handle: NodeHandle,
        handshake: Handshake,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self { actor, handle, handshake, stopping }
    }

    fn limits(&self) -> &Limits {
        self.handle.limits()
    }

    /// Refuses and counts a message that is not for this node.
    async fn admit(&self, envelope: Envelope) -> Result<(), Status> {
        let Err(refusal) = envelope.check(self.actor.identity()) else { return Ok(()) };
        warn!(peer = %envelope.from, %refusal, "a peer's message is refused");
        // The caller must not wait for the count, and the actor may have ended.
        let _ = self.actor.refused().await;
        Err(refused(&refusal))
    }
}

#[tonic::async_trait]
impl Raft for RaftService {
    async fn handshake(
        &self,
        request: Request<v1::HandshakeRequest>,
    ) -> Result<Response<v1::HandshakeResponse>, Status> {
        let hello = request.into_inner();
        self.admit(wire::envelope!(hello)).await?;
        let peer = lograft_types::NodeId::new(hello.from);
        debug!(%peer, name = hello.name, version = hello.version, level = hello.feature_level, "handshake");
        self.actor.handshake(peer, hello.client_urls).await.map_err(gone)?;
        let identity = self.actor.identity();
        Ok(Response::new(v1::HandshakeResponse {
            cluster_id: identity.cluster.get(),
            from: identity.node.get(),
            to: peer.get(),
            incarnation: 0,
            feature_level: wire::FEATURE_LEVEL,
            name: self.handshake.name.clone(),
            client_urls: self.handshake.client_urls.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    type AppendEntriesStream = BoxStream<v1::AppendEntriesResponse>;

    async fn append_entries(
        &self,
        request: Request<Streaming<v1::AppendEntriesRequest>>,
    ) -> Result<Response<Self::AppendEntriesStream>, Status> {
        let most = self.limits().max_stream_requests;
        // One more than there can be requests: for the refusal of an invalid message.
        let (answers, answered) = mpsc::channel(most + 1);
        let reply_to = self.actor.stream_opened(answers.clone()).await.map_err(gone)?;
        let slots = Arc::new(Semaphore::new(most));
        let receiver =
            AppendReceiver { actor: self.actor.clone(), reply_to, answers, slots: Arc::clone(&slots), most };
        tokio::spawn(receiver.run(request.into_inner()));

        let identity = self.actor.identity();
        let responses = ReceiverStream::new(answered).map(move |answer: PeerResult| {
            slots.add_permits(1);
            match answer {
                Ok((to, raft::Response::AppendEntries(response))) => {
                    Ok(wire::append_response_to_wire(Envelope::between(identity, to), &response))
                }
                Ok((_, raft::Response::RequestVote(_))) => Err(Status::internal("an append got a vote")),
                Err(refusal) => Err(refused(&refusal)),
            }
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn request_vote(
        &self,
        request: Request<v1::RequestVoteRequest>,
    ) -> Result<Response<v1::RequestVoteResponse>, Status> {
        let (envelope, request) = wire::vote_from_wire(request.get_ref());
        match self.actor.vote(envelope, request).await.map_err(gone)? {
            Ok((to, raft::Response::RequestVote(response))) => {
                let envelope = Envelope::between(self.actor.identity(), to);
                Ok(Response::new(wire::vote_response_to_wire(envelope, &response)))
            }
            Ok((_, raft::Response::AppendEntries(_))) => Err(Status::internal("a vote got an append")),
            Err(refusal) => Err(refused(&refusal)),
        }
    }

    type ForwardStream = BoxStream<v1::ForwardResponse>;

    async fn forward(
        &self,
        request: Request<Streaming<v1::ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let most = self.limits().max_stream_requests;
        let (answers, answered) = mpsc::channel::<ForwardResult>(most);
        let slots = Arc::new(Semaphore::new(most));
        tokio::spawn(receive_forwards(self.clone(), request.into_inner(), answers, Arc::clone(&slots)));
        let responses = ReceiverStream::new(answered).map(move |reply| {
            slots.add_permits(1);
            Ok(wire::forward_response_to_wire(reply.id, reply.result))
        });
        let stopping = self.stopping.clone();
        // Asked for when all responses have been delivered.
        let end = std::iter::once_with(move || stopping.borrow().then(|| Err(wire::took_no_more())));
        Ok(Response::new(Box::pin(responses.chain(tokio_stream::iter(end.flatten())))))
    }
}

/// Reads one stream of appends and hands the requests to the actor.
struct AppendReceiver {
    actor: PeerHandle,
    reply_to: raft::ReplyTo,
    answers: mpsc::Sender<PeerResult>,
    /// One for each request that may be unanswered at a time.
    slots: Arc<Semaphore>,
    /// The number of slots.
    most: usize,
}

impl AppendReceiver {
    async fn run(self, mut stream: Streaming<v1::AppendEntriesRequest>) {
        let in_order = self.receive(&mut stream).await;
        // An actor that has ended has no streams.
        let _ = self.actor.stream_ended(self.reply_to, in_order).await;
    }

    /// Reads until the stream ends. Returns whether its sender closed it in order.
    async fn receive(&self, stream: &mut Streaming<v1::AppendEntriesRequest>) -> bool {
        loop {
            let message = tokio::select! {
                message = self.next_message(stream) => message,
                // The receiver of the responses is gone; no more of them are wanted.
                () = self.answers.closed() => return false,
            };
            match message {
                Ok(Some(message)) => match wire::append_from_wire(message) {
                    Ok((envelope, request)) => {
                        if self.actor.append(envelope, self.reply_to, request).await.is_err() {
                            return true;
                        }
                    }
                    Err(refusal) => {
                        let _ = self.actor.refused().await;
                        // The channel has a place reserved for this.
                        let _ = self.answers.try_send(Err(refusal));
                    }
                },
                Ok(None) => return self.answered().await,
                Err(status) => {
                    debug!(status = wording::of_status(&status), "a stream of appends broke");
                    return false;
                }
            }
        }
    }

    /// Waits for a slot, uses it up, and returns the next message.
    async fn next_message(
        &self,
        stream: &mut Streaming<v1::AppendEntriesRequest>,
    ) -> Result<Option<v1::AppendEntriesRequest>, Status> {
        use_slot(&self.slots).await;
        stream.message().await
    }

    /// The sender has closed its side but still expects its responses. Returns whether all were delivered.
    async fn answered(&self) -> bool {
        // The end of the stream has used up one slot.
        let others = u32::try_from(self.most - 1).unwrap_or(u32::MAX);
        tokio::select! {
            _ = self.slots.acquire_many(others) => true,
            () = self.answers.closed() => false,
        }
    }
}

/// Cancel safe.
async fn use_slot(slots: &Semaphore) {
    slots.acquire().await.expect("the slots are never closed").forget();
}

async fn receive_forwards(
    service: RaftService,
    mut stream: Streaming<v1::ForwardRequest>,
    answers: mpsc::Sender<ForwardResult>,
    slots: Arc<Semaphore>,
) {
    let mut stopping = service.stopping.clone();
    loop {
        let next = async {
            use_slot(&slots).await;
            stream.message().await
        };
        let message = tokio::select! {
            message = next => message,
            // Needed even while all slots are in use, because then none will be released.
            () = answers.closed() => return,
            // The node has answered all that was taken. Nothing that comes now is.
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        let Ok(Some(message)) = message else { return };
        let id = message.id;
        let timeout = Duration::from_millis(message.timeout_ms);
        let taken = match service.admit(wire::envelope!(message)).await {
            Ok(()) => forwarded_request(message)
                .and_then(|request| service.handle.forwarded(id, request, timeout, answers.clone())),
            Err(status) => Err(RequestError::Refused(status.message().to_owned())),
        };
        if let Err(error) = taken {
            // The channel has a place for each request that may be unanswered.
            let _ = answers.try_send(ForwardResult { id, result: Err(error) });
        }
    }
}

/// A command that this node cannot apply must not enter the log: it would stop every node.
///
/// Its size was judged by the node that admitted it.
pub(super) fn forwarded_request(message: v1::ForwardRequest) -> Result<ForwardRequest, RequestError> {
    use v1::forward_request::Request;
    match message.request {
        Some(Request::Command(payload)) => {
            let (size, limit) = (payload.len(), LARGEST_COMMAND_BYTES);
            if size > limit {
                return Err(RequestError::Refused(format!(
                    "the command has {size} bytes, the limit is {limit}"
                )));
            }
            Command::decode(&payload).map_err(|error| RequestError::Refused(error.to_string()))?;
            Ok(ForwardRequest::Write(payload))
        }
        Some(Request::ReadIndex(_)) => Ok(ForwardRequest::ReadIndex),
        None => Err(RequestError::Refused("request unknown to this version: upgrade this node".to_owned())),
    }
}

fn refused(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::OtherCluster { .. } | Refusal::OtherAddressee { .. } | Refusal::ImpossibleSender(_) => {
            Status::failed_precondition(refusal.to_string())
        }
        Refusal::SpeaksForAnother { .. }
        | Refusal::ImplausibleNumber { .. }
        | Refusal::TermZero
        | Refusal::NoSequence { .. }
        | Refusal::UnfitEntry { .. }
        | Refusal::Malformed(_) => Status::invalid_argument(refusal.to_string()),
    }
}

fn gone(_: ActorGone) -> Status {
    Status::unavailable("the node is shutting down")
}

#[cfg(test)]
mod tests;
