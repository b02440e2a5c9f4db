//! The address of one node.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::transport::{self, Channel};

use super::error::{self, Error};

/// An address to connect to.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    address: String,
    transport: transport::Endpoint,
}

impl Endpoint {
    /// Reads `HOST:PORT` or `http://HOST:PORT`.
    pub(super) fn parse(address: &str, dial_timeout: Duration) -> Result<Self, Error> {
        let invalid = |why: &str| Error::Invalid(format!("endpoint {address:?}: {why}"));
        let authority = match address.split_once("://") {
            Some(("http", authority)) => authority.strip_suffix('/').unwrap_or(authority),
            Some(("https", _)) => return Err(invalid("TLS is not supported, use http://HOST:PORT")),
            Some(_) => return Err(invalid("it must be HOST:PORT or http://HOST:PORT")),
            None => address,
        };
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0));
        if !has_port || authority.contains('/') {
            return Err(invalid("it must be HOST:PORT or http://HOST:PORT"));
        }
        let transport = transport::Endpoint::from_shared(format!("http://{authority}"))
            .map_err(|_| invalid("it must be HOST:PORT or http://HOST:PORT"))?
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
