//! Status, version, liveness and readiness of a node.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Response, StatusCode};
use lograft_node::{ClientRequest, RequestError};
use lograft_types::NodeId;

use super::query::Query;
use super::respond;
use crate::api::documents::{HealthDoc, StatusDoc, VersionDoc};
use crate::api::{Api, ApiError};

/// How long a live node may take to return its status.
const LIVE_WITHIN: Duration = Duration::from_secs(2);

/// How long a probe waits for its response, less the way: the patience of a prober is 1 s by default, and a "no" that
/// comes later is not heard.
const READY_WITHIN: Duration = Duration::from_millis(800);

/// What the node knows about itself and its cluster.
pub(super) async fn status(api: Api, parts: &Parts) -> Result<Response<Body>, ApiError> {
    Query::parse(parts.uri.query(), &[])?;
    let status = api.status().await?;
    Ok(respond::json(StatusCode::OK, &StatusDoc::from(status)))
}

/// The versions of the program and of the API.
pub(super) fn version(api: Api, parts: &Parts) -> Result<Response<Body>, ApiError> {
    Query::parse(parts.uri.query(), &[])?;
    let document = VersionDoc { lograft: api.version(), api: "v1" };
    Ok(respond::json(StatusCode::OK, &document))
}

/// Whether this process is alive: its actor responds. A node without a leader is alive.
pub(super) async fn livez(api: Api, parts: &Parts) -> Result<Response<Body>, ApiError> {
    Query::parse(parts.uri.query(), &[])?;
    Ok(match tokio::time::timeout(LIVE_WITHIN, api.handle().status()).await {
        Ok(Ok(_)) => respond::text(StatusCode::OK, "ok\n".to_owned()),
        Ok(Err(error)) => respond::text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
        Err(_) => {
            let message = format!("the node did not answer within {} ms\n", LIVE_WITHIN.as_millis());
            respond::text(StatusCode::SERVICE_UNAVAILABLE, message)
        }
    })
}

/// Whether this node can serve a linearizable read now. With `verbose`, also what that depends on.
pub(super) async fn readyz(api: Api, parts: &Parts) -> Result<Response<Body>, ApiError> {
    let verbose = Query::parse(parts.uri.query(), &["verbose"])?.flag("verbose")?;
    let barrier = barrier(&api).await;
    let code = if barrier.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verdict = barrier.as_ref().map_or_else(RequestError::to_string, |()| "ok".to_owned());
    if !verbose {
        return Ok(respond::text(code, format!("{verdict}\n")));
    }
    let mut lines = String::new();
    let mark = |good: bool| if good { '+' } else { '-' };
    match api.handle().status().await {
        Ok(status) => {
            let known = |id: NodeId| status.members.iter().find(|member| member.id == id);
            let name = |id| known(id).map_or_else(|| id.to_string(), |member| member.name.clone());
            let leader = status.leader.map_or_else(|| "unknown".to_owned(), name);
            let _ = writeln!(lines, "[+]node {} ({})", status.name, status.role.as_str());
            let _ = writeln!(lines, "[{}]leader {leader}", mark(status.leader.is_some()));
            let _ = writeln!(
                lines,
                "[{}]applied {} of {} committed",
                mark(status.applied_index == status.commit_index),
                status.applied_index,
                status.commit_index
            );
            let disk = if status.disk_full { "full: writes are refused" } else { "has space" };
            let _ = writeln!(lines, "[{}]disk {disk}", mark(!status.disk_full));
        }
        Err(error) => {
            let _ = writeln!(lines, "[-]node {error}");
        }
    }
    let _ = writeln!(lines, "[{}]linearizable read {verdict}", mark(barrier.is_ok()));
    Ok(respond::text(code, lines))
}

/// The same in etcd's format, for tools that expect it.
pub(super) async fn health(api: Api, parts: &Parts) -> Result<Response<Body>, ApiError> {
    Query::parse(parts.uri.query(), &[])?;
    Ok(match barrier(&api).await {
        Ok(()) => respond::json(StatusCode::OK, &HealthDoc { health: "true", reason: String::new() }),
        Err(error) => {
            let document = HealthDoc { health: "false", reason: error.to_string() };
            respond::json(StatusCode::SERVICE_UNAVAILABLE, &document)
        }
    })
}

async fn barrier(api: &Api) -> Result<(), RequestError> {
    api.handle().request(ClientRequest::Barrier, Some(READY_WITHIN)).await.map(|_| ())
}
