//! The one form of URL that nodes listen on and advertise, and that clients connect to: `http://HOST:PORT`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `http://HOST:PORT`: a host name or an address, and always a port.
///
/// Equal URLs are spelled equally: names are in lower case, addresses in their short form, no slash at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpUrl {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Host {
    Name(String),
    Address(IpAddr),
}

impl HttpUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("{text:?} is not a URL: write http://HOST:PORT"));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "http" => {}
            "https" => return Err(format!("{text:?}: there is no TLS yet: use http://")),
            _ => return Err(format!("{text:?}: unknown scheme {scheme:?}: write http://HOST:PORT")),
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(format!("{text:?}: only http://HOST:PORT, with nothing before or after it"));
        }
        let Some((host, port)) = split_port(rest) else {
            return Err(format!("{text:?} has no port: write http://HOST:PORT"));
        };
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number);
        let port = port.ok_or_else(|| format!("{text:?}: the port is not a number between 0 and 65535"))?;
        let host = Host::parse(host)
            .ok_or_else(|| format!("{text:?}: {host:?} is not a host name or an address"))?;
        Ok(Self { host, port })
    }

    /// Reads where a client connects to: a URL, or just HOST:PORT.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_endpoint(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let url =
            if text.contains("://") { Self::parse(text) } else { Self::parse(&format!("http://{text}")) }?;
        if url.port == 0 {
            return Err(format!("{text:?}: nobody listens on port 0"));
        }
        Ok(url)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it means "everywhere" (0.0.0.0, \[::\]) or "any port": good for listening, no way to reach anybody.
    pub fn is_unspecified(&self) -> bool {
        self.port == 0 || matches!(self.host, Host::Address(address) if address.is_unspecified())
    }

    /// Where to bind; `None` for a host name other than localhost, which may mean any machine.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Address(address) => Some(SocketAddr::new(*address, self.port)),
            Host::Name(name) if name == "localhost" => Some((Ipv4Addr::LOCALHOST, self.port).into()),
            Host::Name(_) => None,
        }
    }

    /// HOST:PORT.
    pub fn authority(&self) -> String {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            Host::Address(IpAddr::V4(address)) => format!("{address}:{}", self.port),
            Host::Name(name) => format!("{name}:{}", self.port),
        }
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(address.into()));
        }
        // All digits and dots is an address, or a mistake; never a name.
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return text.parse::<Ipv4Addr>().ok().map(|address| Self::Address(address.into()));
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let good = (1..=253).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with(['.', '-']);
        good.then(|| Self::Name(text.to_ascii_lowercase()))
    }
}

/// Splits at the last colon, unless it stands inside the brackets of an address.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    (!port.contains(']')).then_some((host, port))
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}
