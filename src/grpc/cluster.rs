//! The service `Cluster`: how a node and its cluster fare.

use tonic::{Request, Response};

use super::convert;
use super::fault::Fault;
use lograft_node::NodeHandle;
use crate::proto::v1;
use crate::proto::v1::cluster_server::Cluster;

/// Tells what the node knows, without asking other nodes.
#[derive(Clone, Debug)]
pub struct ClusterService {
    handle: NodeHandle,
    version: &'static str,
}

impl ClusterService {
    /// Asks the node behind `handle`; `version` is the program's.
    pub fn new(handle: NodeHandle, version: &'static str) -> Self {
        Self { handle, version }
    }

    /// How the node fares.
    ///
    /// # Errors
    /// Once the node has stopped.
    pub async fn read(&self) -> Result<v1::StatusResponse, Fault> {
        Ok(convert::status_response(self.handle.status().await?, self.version))
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, tonic::Status> {
        Ok(Response::new(self.read().await?))
    }
}
