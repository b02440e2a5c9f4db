//! The service `Kv`: what gRPC and HTTP do with keys.

use std::time::Duration;

use tonic::{Request, Response};
use tracing::{Instrument, Span, debug_span};

use super::fault::Fault;
use super::{convert, deadline};
use lograft_node::limits::Limits;
use lograft_node::NodeHandle;
use crate::proto::v1;
use crate::proto::v1::kv_server::Kv;

/// Reads and writes keys through the node.
///
/// The methods of this type are the requests themselves, for every edge; its [`Kv`] is gRPC's. `timeout` bounds how long
/// a request waits; the node's own request timeout holds in any case. A write that fails says in its [`Fault`] whether
/// it is certain that it was not applied.
#[derive(Clone, Debug)]
pub struct KvService {
    handle: NodeHandle,
}

impl KvService {
    /// Asks the node behind `handle`.
    pub fn new(handle: NodeHandle) -> Self {
        Self { handle }
    }

    /// The limits that requests are held to.
    pub fn limits(&self) -> &Limits {
        self.handle.limits()
    }

    /// One key.
    ///
    /// # Errors
    /// A broken limit, or no leader in time.
    pub async fn read(
        &self,
        get: v1::GetRequest,
        timeout: Option<Duration>,
    ) -> Result<v1::GetResponse, Fault> {
        let span = span("Get", get.key.len());
        let request = convert::get_request(get, self.limits())?;
        let answer = self.handle.request(request, timeout).instrument(span).await?;
        convert::get_response(answer)
    }

    /// Stores a value.
    ///
    /// # Errors
    /// A broken limit, a condition that does not hold, or any of [`lograft_node::RequestError`].
    pub async fn write(
        &self,
        set: v1::SetRequest,
        timeout: Option<Duration>,
    ) -> Result<v1::SetResponse, Fault> {
        let span = span("Set", set.key.len());
        let (asked, prev_of) = (set.if_mod_revision, set.prev_kv.then(|| set.key.clone()));
        let request = convert::set_request(set, self.limits())?;
        let answer = self.handle.request(request, timeout).instrument(span).await?;
        convert::set_response(answer, prev_of.as_deref(), asked)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// A broken limit, a condition that does not hold, or any of [`lograft_node::RequestError`].
    pub async fn remove(
        &self,
        delete: v1::DeleteRequest,
        timeout: Option<Duration>,
    ) -> Result<v1::DeleteResponse, Fault> {
        let span = span("Delete", delete.key.len());
        let (asked, prev_of) = (delete.if_mod_revision, delete.prev_kv.then(|| delete.key.clone()));
        let request = convert::delete_request(delete, self.limits())?;
        let answer = self.handle.request(request, timeout).instrument(span).await?;
        convert::delete_response(answer, prev_of.as_deref(), asked)
    }

    /// Keys in order.
    ///
    /// # Errors
    /// A broken limit, or no leader in time.
    pub async fn page(
        &self,
        list: v1::ListRequest,
        timeout: Option<Duration>,
    ) -> Result<v1::ListResponse, Fault> {
        let span = span("List", list.prefix.len());
        let request = convert::list_request(list, self.limits())?;
        let answer = self.handle.request(request, timeout).instrument(span).await?;
        convert::list_response(answer)
    }
}

/// Names the request in the log: never a value, and of a key only how long it is.
fn span(method: &'static str, key_bytes: usize) -> Span {
    debug_span!("request", method, key_bytes)
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, tonic::Status> {
        let timeout = deadline::of(request.metadata());
        Ok(Response::new(self.read(request.into_inner(), timeout).await?))
    }

    async fn set(
        &self,
        request: Request<v1::SetRequest>,
    ) -> Result<Response<v1::SetResponse>, tonic::Status> {
        let timeout = deadline::of(request.metadata());
        Ok(Response::new(self.write(request.into_inner(), timeout).await?))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, tonic::Status> {
        let timeout = deadline::of(request.metadata());
        Ok(Response::new(self.remove(request.into_inner(), timeout).await?))
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, tonic::Status> {
        let timeout = deadline::of(request.metadata());
        Ok(Response::new(self.page(request.into_inner(), timeout).await?))
    }
}
