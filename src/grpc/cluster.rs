//! The service `Cluster`: the state of a node and its cluster.

use tonic::{Request, Response};

use crate::api::Api;
use crate::proto::v1;
use crate::proto::v1::cluster_server::Cluster;

/// Returns what the node knows, without asking other nodes.
#[derive(Clone, Debug)]
pub struct ClusterService(pub Api);

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, tonic::Status> {
        Ok(Response::new(self.0.status().await?))
    }
}
