//! `grpc.health.v1`: whether a node is serving.
//!
//! A client service is SERVING while the node knows a leader, because only then can it serve writes and
//! linearizable reads. The peer service is SERVING while the node's actor responds: peers need it most when
//! there is no leader. The empty name stands for the first service of the port, so a load balancer that
//! checks it learns about the service it fronts.
//!
//! Each check asks the node; nothing runs without a check. A watch asks every [`WATCH_INTERVAL`].

use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::actor::NodeHandle;

/// The interval between checks of a watch.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// A service, and when it serves.
#[derive(Clone, Copy, Debug)]
struct Watched {
    name: &'static str,
    needs_leader: bool,
}

/// The health of the services of one port.
#[derive(Clone, Debug)]
pub struct HealthService {
    handle: NodeHandle,
    services: &'static [Watched],
}

impl HealthService {
    /// The services of the client port.
    pub fn of_clients(handle: NodeHandle) -> Self {
        const SERVICES: &[Watched] = &[
            Watched { name: "", needs_leader: true },
            Watched { name: "lograft.v1.Kv", needs_leader: true },
            Watched { name: "lograft.v1.Cluster", needs_leader: false },
        ];
        Self { handle, services: SERVICES }
    }

    /// The services of the peer port.
    pub fn of_peers(handle: NodeHandle) -> Self {
        const SERVICES: &[Watched] = &[
            Watched { name: "", needs_leader: false },
            Watched { name: "lograft.v1.Raft", needs_leader: false },
        ];
        Self { handle, services: SERVICES }
    }

    fn find(&self, name: &str) -> Option<Watched> {
        self.services.iter().find(|watched| watched.name == name).copied()
    }
}

async fn status(handle: &NodeHandle, watched: Option<Watched>) -> ServingStatus {
    let Some(watched) = watched else { return ServingStatus::ServiceUnknown };
    match handle.status().await {
        Ok(status) if status.leader.is_some() || !watched.needs_leader => ServingStatus::Serving,
        Ok(_) | Err(_) => ServingStatus::NotServing,
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        let Some(watched) = self.find(&name) else {
            return Err(Status::not_found(format!("no service {name:?} on this port")));
        };
        let status = status(&self.handle, Some(watched)).await;
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watched = self.find(&request.into_inner().service);
        let start = (self.handle.clone(), None);
        let changes =
            stream::unfold(start, move |(handle, told): (NodeHandle, Option<ServingStatus>)| async move {
                loop {
                    let now = status(&handle, watched).await;
                    if told != Some(now) {
                        return Some((Ok(HealthCheckResponse { status: now.into() }), (handle, Some(now))));
                    }
                    tokio::time::sleep(WATCH_INTERVAL).await;
                }
            });
        Ok(Response::new(changes.boxed()))
    }
}
