//! A cluster client, used by the command line and by tests.
//!
//! It knows several endpoints and stays with one as long as it responds. Its rules for repeating requests:
//! - If it cannot connect to an endpoint, it tries the next: nothing was sent yet.
//! - A read that an endpoint could not serve goes to the next one, to each endpoint once.
//! - **A write that was sent is never sent again.** If it gets no response, the error is
//!   [`Error::UnknownOutcome`]; only the caller can know whether sending it twice does harm.
//!
//! Caveats: no TLS. Endpoints are used in the order given, without load balancing.

mod endpoint;
mod error;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use endpoint::Endpoint;
pub use error::Error;

use crate::proto::v1;
use crate::proto::v1::cluster_client::ClusterClient;
use crate::proto::v1::kv_client::KvClient;

/// The largest response: a server may allow values far above the default limit of gRPC clients.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The cluster's endpoints and the timeouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `HOST:PORT` or `http://HOST:PORT`, tried in this order.
    pub endpoints: Vec<String>,
    /// The timeout for connecting to one endpoint.
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

/// A client. Calls may run concurrently; they share one connection.
#[derive(Debug)]
pub struct Client {
    endpoints: Vec<Endpoint>,
    command_timeout: Duration,
    connected: Mutex<Connected>,
}

/// The endpoint in use. The lock is held while connecting, so that only one call connects.
#[derive(Debug, Default)]
struct Connected {
    at: usize,
    channel: Option<Channel>,
}

/// A connection, and its endpoint.
struct Link {
    at: usize,
    channel: Channel,
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
        Ok(Self { endpoints, command_timeout: options.command_timeout, connected: Mutex::default() })
    }

    /// Reads one key.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, get: v1::GetRequest) -> Result<v1::GetResponse, Error> {
        self.read(get, async |channel, request| kv(channel).get(request).await).await
    }

    /// Lists keys in order.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list(&self, list: v1::ListRequest) -> Result<v1::ListResponse, Error> {
        self.read(list, async |channel, request| kv(channel).list(request).await).await
    }

    /// Stores a value.
    ///
    /// # Errors
    /// See [`Error`]: [`Error::UnknownOutcome`] if it may or may not be stored.
    pub async fn set(&self, set: v1::SetRequest) -> Result<v1::SetResponse, Error> {
        self.write(set, async |channel, request| kv(channel).set(request).await).await
    }

    /// Removes a key.
    ///
    /// # Errors
    /// See [`Error`]: [`Error::UnknownOutcome`] if it may or may not be removed.
    pub async fn delete(&self, delete: v1::DeleteRequest) -> Result<v1::DeleteResponse, Error> {
        self.write(delete, async |channel, request| kv(channel).delete(request).await).await
    }

    /// The status of the first endpoint that responds.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn status(&self) -> Result<v1::StatusResponse, Error> {
        let status = v1::StatusRequest {};
        self.read(status, async |channel, request| ClusterClient::new(channel).status(request).await).await
    }

    /// The status of each endpoint, in the order given; all are asked concurrently.
    pub async fn statuses(&self) -> Vec<(String, Result<v1::StatusResponse, Error>)> {
        let ask = async |endpoint: &Endpoint| {
            let deadline = self.deadline();
            let asked = async {
                let channel = endpoint.connect(deadline).await.map_err(Error::BadConnection)?;
                let mut cluster = ClusterClient::new(channel);
                let status = cluster.status(request(&v1::StatusRequest {}, deadline));
                let answer = timeout_at(deadline, status).await.unwrap_or_else(|_| Err(expired()));
                answer.map(Response::into_inner).map_err(|status| Error::of_read(&status))
            };
            (endpoint.address().to_owned(), asked.await)
        };
        futures_util::future::join_all(self.endpoints.iter().map(ask)).await
    }

    async fn read<Q: Clone, A>(
        &self,
        message: Q,
        call: impl AsyncFn(Channel, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Error> {
        let deadline = self.deadline();
        let mut endpoints_left = self.endpoints.len();
        loop {
            let link = self.link(deadline).await?;
            let at = link.at;
            let called = timeout_at(deadline, call(link.channel, request(&message, deadline))).await;
            endpoints_left -= 1;
            match called.unwrap_or_else(|_| Err(expired())) {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if endpoints_left > 0 && error::another_may_serve(&status) => {
                    self.leave(at).await;
                }
                Err(status) => {
                    self.leave_if_broken(at, &status).await;
                    return Err(Error::of_read(&status));
                }
            }
        }
    }

    async fn write<Q: Clone, A>(
        &self,
        message: Q,
        call: impl AsyncFn(Channel, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Error> {
        let deadline = self.deadline();
        let mut endpoints_left = self.endpoints.len();
        loop {
            let link = self.link(deadline).await?;
            let at = link.at;
            let called = timeout_at(deadline, call(link.channel, request(&message, deadline))).await;
            endpoints_left -= 1;
            match called.unwrap_or_else(|_| Err(expired())) {
                Ok(answer) => return Ok(answer.into_inner()),
                // The connection was lost earlier and could not be restored: nothing was sent.
                Err(status) if error::not_sent(&status) && endpoints_left > 0 => self.leave(at).await,
                Err(status) => {
                    self.leave_if_broken(at, &status).await;
                    return Err(Error::of_write(&status));
                }
            }
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.command_timeout
    }

    /// The connection in use, or one to the next endpoint that accepts one.
    async fn link(&self, deadline: Instant) -> Result<Link, Error> {
        let mut connected = self.connected.lock().await;
        if let Some(channel) = &connected.channel {
            return Ok(Link { at: connected.at, channel: channel.clone() });
        }
        let mut failures = Vec::new();
        for step in 0..self.endpoints.len() {
            let at = (connected.at + step) % self.endpoints.len();
            match self.endpoints[at].connect(deadline).await {
                Ok(channel) => {
                    *connected = Connected { at, channel: Some(channel.clone()) };
                    return Ok(Link { at, channel });
                }
                Err(failure) => failures.push(failure),
            }
        }
        Err(Error::BadConnection(failures.join("; ")))
    }

    /// Makes the next call use the next endpoint, unless another call has switched already.
    async fn leave(&self, at: usize) {
        let mut connected = self.connected.lock().await;
        if connected.at == at {
            *connected = Connected { at: (at + 1) % self.endpoints.len(), channel: None };
        }
    }

    async fn leave_if_broken(&self, at: usize, status: &Status) {
        if error::is_local(status) {
            self.leave(at).await;
        }
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

fn expired() -> Status {
    error::local(tonic::Code::DeadlineExceeded, "no response within the command timeout")
}
