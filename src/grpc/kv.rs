//! The service `Kv`.

use tonic::{Request, Response};

use super::deadline;
use crate::api::Api;
use crate::proto::v1;
use crate::proto::v1::kv_server::Kv;

/// Reads and writes keys through the node.
#[derive(Clone, Debug)]
pub struct KvService(pub Api);

#[tonic::async_trait]
impl Kv for KvService {
    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, tonic::Status> {
        let timeout = deadline::of(request.metadata());
        Ok(Response::new(self.0.get(request.into_inner(), timeout).await?))
    }

    async fn set(
        &self,
        request: Request<v1::SetRequest>,
    ) -> Result<Response<v1::SetResponse>, tonic::Status> {
        let timeout = deadline::of(request.metadata());
        Ok(Response::new(self.0.set(request.into_inner(), timeout).await?))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, tonic::Status> {
        let timeout = deadline::of(request.metadata());
        Ok(Response::new(self.0.delete(request.into_inner(), timeout).await?))
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, tonic::Status> {
        let timeout = deadline::of(request.metadata());
        Ok(Response::new(self.0.list(request.into_inner(), timeout).await?))
    }
}
