//! What gRPC and HTTP share: client requests, their checks, conversion, and outcomes.
//!
//! [`check`] checks a request against the limits, [`convert`] converts it for the node, the node's handle
//! returns the response, and [`convert`] converts that for the wire. Errors become an [`ApiError`], which
//! gRPC and HTTP report alike. `documents` holds what HTTP and the command line print as JSON.
//!
//! Clients can rely on this:
//! - A refused write carries the metadata `lograft-outcome: not-applied`, and a write with an unknown outcome
//!   `lograft-outcome: unknown`. A write that was answered OK was applied.
//! - A request that breaks a limit gets INVALID_ARGUMENT, with its size and the limit.
//! - A condition that does not hold gets FAILED_PRECONDITION, with `lograft-found-mod-revision` in the
//!   metadata.

mod apart;
pub mod check;
pub mod convert;
pub(crate) mod documents;
mod error;

use std::time::Duration;

use lograft_node::Limits;
use tokio::time::Instant;
use tracing::{Instrument, Span, debug_span};

use crate::actor::NodeHandle;
use crate::memory;
use crate::proto::v1;

pub(crate) use apart::apart;

pub use error::{ApiError, Certainty};

/// Client requests, for gRPC and HTTP.
///
/// `timeout` limits how long a request waits; the node's own request timeout applies in any case. The
/// [`ApiError`] of a failed write says whether it was certainly not applied.
#[derive(Clone, Debug)]
pub struct Api {
    handle: NodeHandle,
    version: &'static str,
}

impl Api {
    /// Requests to the node of `handle`; `version` is the program's.
    pub fn new(handle: NodeHandle, version: &'static str) -> Self {
        Self { handle, version }
    }

    /// The handle to the node.
    pub fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// The limits for requests.
    pub fn limits(&self) -> &Limits {
        self.handle.limits()
    }

    /// The program's version.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// Reads one key.
    ///
    /// # Errors
    /// A broken limit, or no leader in time.
    pub async fn get(
        &self,
        get: v1::GetRequest,
        timeout: Option<Duration>,
    ) -> Result<v1::GetResponse, ApiError> {
        let span = span("Get", get.key.len());
        let until = self.deadline(timeout);
        let request = convert::get_request(get, self.limits())?;
        let answer = self.handle.request(request, timeout).instrument(span).await?;
        memory::for_response(answer.body.size_bytes(), until).await?;
        convert::get_response(answer)
    }

    /// Stores a value.
    ///
    /// # Errors
    /// A broken limit, a condition that does not hold, or any of [`lograft_node::RequestError`].
    pub async fn set(
        &self,
        set: v1::SetRequest,
        timeout: Option<Duration>,
    ) -> Result<v1::SetResponse, ApiError> {
        let span = span("Set", set.key.len());
        let (asked, prev_of) = (set.if_mod_revision, set.prev_kv.then(|| set.key.clone()));
        let request = convert::set_request(set, self.limits())?;
        if prev_of.is_some() {
            memory::for_prev_kv(self.deadline(timeout)).await?;
        }
        let answer = self.handle.request(request, timeout).instrument(span).await?;
        convert::set_response(answer, prev_of.as_deref(), asked)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// A broken limit, a condition that does not hold, or any of [`lograft_node::RequestError`].
    pub async fn delete(
        &self,
        delete: v1::DeleteRequest,
        timeout: Option<Duration>,
    ) -> Result<v1::DeleteResponse, ApiError> {
        let span = span("Delete", delete.key.len());
        let (asked, prev_of) = (delete.if_mod_revision, delete.prev_kv.then(|| delete.key.clone()));
        let request = convert::delete_request(delete, self.limits())?;
        if prev_of.is_some() {
            memory::for_prev_kv(self.deadline(timeout)).await?;
        }
        let answer = self.handle.request(request, timeout).instrument(span).await?;
        convert::delete_response(answer, prev_of.as_deref(), asked)
    }

    /// Lists keys in order.
    ///
    /// # Errors
    /// A broken limit, or no leader in time.
    pub async fn list(
        &self,
        list: v1::ListRequest,
        timeout: Option<Duration>,
    ) -> Result<v1::ListResponse, ApiError> {
        let span = span("List", list.prefix.len());
        let until = self.deadline(timeout);
        let request = convert::list_request(list, self.limits())?;
        let _place = memory::for_list(until).await?;
        let answer = self.handle.request(request, timeout).instrument(span).await?;
        let bytes = answer.body.size_bytes();
        memory::for_response(bytes, until).await?;
        apart(bytes, || convert::list_response(answer)).await
    }

    /// Until when a request may wait for something other than the node.
    fn deadline(&self, timeout: Option<Duration>) -> Instant {
        let own = Duration::from_millis(self.limits().request_timeout_ms);
        Instant::now() + timeout.map_or(own, |timeout| timeout.min(own))
    }

    /// What the node knows about itself and its cluster, without asking other nodes.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn status(&self) -> Result<v1::StatusResponse, ApiError> {
        Ok(convert::status_response(self.handle.status().await?, self.version))
    }
}

/// The request's span in the log: never a value, and only the length of a key.
fn span(method: &'static str, key_bytes: usize) -> Span {
    debug_span!("request", method, key_bytes)
}
