//! A cluster client, used by the command line and by tests.
//!
//! It knows several endpoints and stays with one as long as it responds. Its rules for asking more than one:
//! - If it cannot connect to an endpoint, it tries the next: nothing was sent yet. A connection counts once the
//!   node has sent something on it, because a process that hangs still has its connections accepted.
//! - A read that an endpoint could not serve goes to the next one, to each endpoint once. If an endpoint is slow,
//!   the next one is asked as well, and the first response counts.
//! - **A write that may have left is never sent again.** If it gets no response, the error is
//!   [`Error::UnknownOutcome`]; only the caller can know whether sending it twice does harm.
//! - An error names every endpoint that was tried, and what happened there.
//!
//! Caveats: no TLS. Endpoints are used in the order given, without load balancing.

mod endpoint;
mod error;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, TryFutureExt};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use endpoint::Endpoint;
pub use error::Error;
use error::Failure;

use crate::proto::v1;
use crate::proto::v1::cluster_client::ClusterClient;
use crate::proto::v1::kv_client::KvClient;

/// The largest response: a server may allow values far above the default limit of gRPC clients.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// An endpoint that takes longer than this is slow: a healthy one responds in a tenth of it, and an election takes
/// several times as long.
const SLOW_AFTER: Duration = Duration::from_millis(300);

/// The cluster's endpoints and the timeouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `HOST:PORT` or `http://HOST:PORT`, tried in this order.
    pub endpoints: Vec<String>,
    /// The timeout for connecting to one endpoint, up to the first bytes from the node.
    pub dial_timeout: Duration,
    /// The timeout for a call, including connecting.
    pub command_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoints: vec!["127.0.0.1:2379".to_owned()],
            dial_timeout: Duration::from_secs(2),
            command_timeout: Duration::from_secs(5),
        }
    }
}

/// What each endpoint responded, by its address as given.
pub type Answers<A> = Vec<(String, Result<A, Error>)>;

/// One call on a connection.
type Call<Q, A> = fn(Channel, Request<Q>) -> BoxFuture<'static, Result<Response<A>, Status>>;

/// A client. Calls may run concurrently; they share one connection to each endpoint.
#[derive(Debug)]
pub struct Client {
    endpoints: Vec<Endpoint>,
    command_timeout: Duration,
    /// The place of the endpoint that a call begins with.
    in_use: AtomicUsize,
}

impl Client {
    /// Creates a client, which connects when first used.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no endpoint or one is not a valid address.
    pub fn new(options: &Options) -> Result<Self, Error> {
        if options.endpoints.is_empty() {
            return Err(Error::Invalid("no endpoint was given".to_owned()));
        }
        let endpoints = options
            .endpoints
            .iter()
            .map(|address| Endpoint::parse(address, options.dial_timeout))
            .collect::<Result<_, _>>()?;
        Ok(Self { endpoints, command_timeout: options.command_timeout, in_use: AtomicUsize::new(0) })
    }

    /// Reads one key.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, get: v1::GetRequest) -> Result<v1::GetResponse, Error> {
        self.read(get, |channel, request| Box::pin(async move { kv(channel).get(request).await })).await
    }

    /// Lists keys in order.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list(&self, list: v1::ListRequest) -> Result<v1::ListResponse, Error> {
        self.read(list, |channel, request| Box::pin(async move { kv(channel).list(request).await })).await
    }

    /// Stores a value.
    ///
    /// # Errors
    /// See [`Error`]: [`Error::UnknownOutcome`] if it may or may not be stored.
    pub async fn set(&self, set: v1::SetRequest) -> Result<v1::SetResponse, Error> {
        self.write(set, |channel, request| Box::pin(async move { kv(channel).set(request).await })).await
    }

    /// Removes a key.
    ///
    /// # Errors
    /// See [`Error`]: [`Error::UnknownOutcome`] if it may or may not be removed.
    pub async fn delete(&self, delete: v1::DeleteRequest) -> Result<v1::DeleteResponse, Error> {
        self.write(delete, |channel, request| Box::pin(async move { kv(channel).delete(request).await }))
            .await
    }

    /// The status of the first endpoint that responds.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn status(&self) -> Result<v1::StatusResponse, Error> {
        let status = v1::StatusRequest {};
        self.read(status, |channel, request| {
            Box::pin(async move { ClusterClient::new(channel).status(request).await })
        })
        .await
    }

    /// The status of each endpoint, in the order given; all are asked concurrently.
    pub async fn statuses(&self) -> Answers<v1::StatusResponse> {
        let status = v1::StatusRequest {};
        self.each(&status, |channel, request| {
            Box::pin(async move { ClusterClient::new(channel).status(request).await })
        })
        .await
    }

    /// Whether each endpoint serves a linearizable read; all are asked concurrently.
    pub async fn healths(&self) -> Answers<v1::GetResponse> {
        // Any key will do: whether there is such a key does not matter.
        let read = v1::GetRequest { key: "health".to_owned(), serializable: false };
        self.each(&read, |channel, request| Box::pin(async move { kv(channel).get(request).await })).await
    }

    /// Asks each endpoint, all concurrently.
    async fn each<Q: Clone + Send + Sync, A>(&self, message: &Q, call: Call<Q, A>) -> Answers<A> {
        let deadline = self.deadline();
        let ask = async |at: usize| {
            let address = self.endpoints[at].address();
            let asked = async {
                let channel = self.endpoints[at].channel(deadline).await.map_err(Failure::NotConnected)?;
                self.call(at, channel, message, deadline, call).await
            };
            let answer = asked.await.map_err(|failure| Error::of_read(&[(address, failure)]));
            (address.to_owned(), answer)
        };
        futures_util::future::join_all((0..self.endpoints.len()).map(ask)).await
    }

    async fn read<Q: Clone + Send + Sync, A: Send>(&self, message: Q, call: Call<Q, A>) -> Result<A, Error> {
        let deadline = self.deadline();
        let ask = |at: usize| {
            let message = message.clone();
            let asked = async move {
                let channel = self.endpoints[at].channel(deadline).await.map_err(Failure::NotConnected)?;
                self.call(at, channel, &message, deadline, call).await
            };
            asked.boxed()
        };
        let (_, answer) = self.race(deadline, ask).await.map_err(|failures| Error::of_read(&failures))?;
        Ok(answer)
    }

    async fn write<Q: Clone + Send + Sync, A>(&self, message: Q, call: Call<Q, A>) -> Result<A, Error> {
        let deadline = self.deadline();
        let connect = |at: usize| {
            let connected = async move { self.endpoints[at].channel(deadline).await };
            connected.map_err(Failure::NotConnected).boxed()
        };
        let mut unsent = Vec::new();
        // A connection that was lost before the write left is made again, and may be lost again.
        for _ in 0..2 * self.endpoints.len() {
            let (at, channel) =
                self.race(deadline, connect).await.map_err(|failures| Error::of_unsent_write(&failures))?;
            match self.call(at, channel, &message, deadline, call).await {
                Ok(answer) => return Ok(answer),
                Err(failure @ Failure::NotConnected(_)) => {
                    unsent.push((self.endpoints[at].address(), failure));
                }
                Err(failure) => return Err(Error::of_write(self.endpoints[at].address(), &failure)),
            }
        }
        Err(Error::of_unsent_write(&unsent))
    }

    /// One call on a connection. Whether it left is certain only if it was answered or could not be sent.
    async fn call<Q: Clone + Send + Sync, A>(
        &self,
        at: usize,
        channel: Channel,
        message: &Q,
        deadline: Instant,
        call: Call<Q, A>,
    ) -> Result<A, Failure> {
        let called = timeout_at(deadline, call(channel, request(message, deadline))).await;
        let failure = match called {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) if !error::is_local(&status) => return Err(Failure::Status(status)),
            Ok(Err(status)) => Failure::of(status, self.command_timeout),
            Err(_) => Failure::Silent(self.command_timeout),
        };
        // The next call must not wait for this connection again.
        self.endpoints[at].forget().await;
        self.leave(at);
        Err(failure)
    }

    /// Tries endpoints, beginning with the one in use, until one succeeds. The next one is tried when one fails, and
    /// also while one is slow: an endpoint may hang. Returns the place of the first that succeeds, which is in use from
    /// then on.
    ///
    /// `attempt` may run for several endpoints at a time, and is dropped where it is too late.
    async fn race<'a, T: 'a>(
        &'a self,
        deadline: Instant,
        attempt: impl Fn(usize) -> BoxFuture<'a, Result<T, Failure>>,
    ) -> Result<(usize, T), Vec<(&'a str, Failure)>> {
        let count = self.endpoints.len();
        let first = self.in_use.load(Ordering::Relaxed);
        let mut untried = (0..count).map(|step| (first + step) % count);
        let mut running: FuturesUnordered<BoxFuture<'a, (usize, Result<T, Failure>)>> =
            FuturesUnordered::new();
        let mut tried: Vec<(usize, Option<Failure>)> = Vec::new();
        let mut try_next = Instant::now();
        let waited_in_vain = loop {
            let left = untried.len() as u32;
            tokio::select! {
                biased;
                Some((at, outcome)) = running.next() => match outcome {
                    Ok(done) => {
                        self.in_use.store(at, Ordering::Relaxed);
                        return Ok((at, done));
                    }
                    Err(failure) => {
                        let goes_on = failure.another_may_serve();
                        if let Some((_, outcome)) = tried.iter_mut().find(|(tried, _)| *tried == at) {
                            *outcome = Some(failure);
                        }
                        if !goes_on || (left == 0 && running.is_empty()) {
                            break None;
                        }
                        try_next = Instant::now();
                    }
                },
                () = sleep_until(deadline) => break Some(Failure::Silent(self.command_timeout)),
                () = sleep_until(try_next), if left > 0 => {
                    let at = untried.next().expect("some are left");
                    tried.push((at, None));
                    running.push(attempt(at).map(move |outcome| (at, outcome)).boxed());
                    let share = deadline.saturating_duration_since(Instant::now()) / (left + 1);
                    try_next = Instant::now() + SLOW_AFTER.min(share);
                }
            }
        };
        // Where another endpoint's answer settled it, nothing is to be said of those that were still asked.
        let named = |(at, failure): (usize, Option<Failure>)| {
            Some((self.endpoints[at].address(), failure.or_else(|| waited_in_vain.clone())?))
        };
        Err(tried.into_iter().filter_map(named).collect())
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.command_timeout
    }

    /// Makes the next call begin with the next endpoint, unless another call has switched already.
    fn leave(&self, at: usize) {
        let next = (at + 1) % self.endpoints.len();
        // If it fails another call has switched.
        let _ = self.in_use.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}

/// The message with its remaining time, which the server respects.
fn request<Q: Clone>(message: &Q, deadline: Instant) -> Request<Q> {
    let mut request = Request::new(message.clone());
    request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    request
}
