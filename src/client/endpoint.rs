//! The address of one node.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::transport::{self, Channel};

use super::error::{self, Error};
use crate::config::HttpUrl;

/// An address to connect to.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    address: String,
    transport: transport::Endpoint,
}

impl Endpoint {
    /// Reads `HOST:PORT` or `http://HOST:PORT`.
    pub(super) fn parse(address: &str, dial_timeout: Duration) -> Result<Self, Error> {
        let invalid = |why: String| Error::Invalid(format!("endpoint {why}"));
        let url = HttpUrl::parse_endpoint(address).map_err(invalid)?;
        let transport = transport::Endpoint::from_shared(url.to_string())
            .map_err(|error| invalid(format!("{address:?}: {error}")))?
            .connect_timeout(dial_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(2 << 20)
            .initial_connection_window_size(8 << 20);
        Ok(Self { address: address.to_owned(), transport })
    }

    /// The address as given.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Connects, or returns the reason for the failure.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<Channel, String> {
        match timeout_at(deadline, self.transport.connect()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(format!("{}: {}", self.address, error::innermost(&error))),
            Err(_) => Err(format!("{}: no connection within the command timeout", self.address)),
        }
    }
}
