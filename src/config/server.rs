//! The checked configuration of a node.

use std::path::PathBuf;
use std::time::Duration;

use humantime::format_duration;

use lograft_node::limits::Limits;

use super::cluster::{InitialCluster, advertised, check_name, initial_cluster, peer_url};
use super::error::ConfigError;
use super::layers::Layers;
use super::limits;
use super::settings::SETTINGS;
use super::url::HttpUrl;

/// Everything a node needs to know before it starts, checked.
///
/// # Invariants
/// - No list of URLs is empty; every listening URL has an address to bind to ([`HttpUrl::socket_addr`]); no advertised
///   one is 0.0.0.0, \[::\] or without a port.
/// - The name is in the initial cluster, if there is one, with `peer_url`.
/// - The limits fit each other, and the election timeout is at least five heartbeats.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The node's name.
    pub name: String,
    /// Where the log lives.
    pub data_dir: PathBuf,
    /// Where to bind for clients.
    pub listen_client_urls: Vec<HttpUrl>,
    /// How clients reach this node.
    pub advertise_client_urls: Vec<HttpUrl>,
    /// Where to bind for peers.
    pub listen_peer_urls: Vec<HttpUrl>,
    /// How peers reach this node at the first start.
    pub peer_url: HttpUrl,
    /// Heartbeats and elections.
    pub timings: Timings,
    /// How much the program logs.
    pub log_level: LogLevel,
    /// How the log of the program looks.
    pub log_format: LogFormat,
    /// Limits.
    pub limits: Limits,
    /// How many connections clients may have. `None`: it follows from the file descriptors.
    pub max_connections: Option<usize>,
    /// How many threads serve clients; 0: clients are served beside everything else. `None`: by the machine's cores.
    pub client_threads: Option<usize>,
    /// `None`: a cluster of one node.
    pub(super) initial_cluster: Option<InitialCluster>,
    pub(super) token: String,
    pub(super) join_existing: bool,
    /// The `initial-*` settings that are set.
    pub(super) initial_given: Vec<&'static str>,
}

/// Heartbeats and elections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How often a leader sends heartbeats.
    pub heartbeat_interval_ms: u64,
    /// T: nodes draw their timeouts from [T, 1.5 T).
    pub election_timeout_ms: u64,
}

/// How much the program logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Failures.
    Error,
    /// And what may lead to one.
    Warn,
    /// And changes of role, leader and members.
    Info,
    /// And every message.
    Debug,
    /// And everything else.
    Trace,
}

/// How the log of the program looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Console,
    /// A JSON object a line.
    Json,
}

impl ServerConfig {
    /// Checks the merged settings.
    ///
    /// # Errors
    /// The first thing that is wrong, with what to do about it.
    pub fn from_layers(layers: &Layers) -> Result<Self, ConfigError> {
        let name = layers.text("name").to_owned();
        check_name(&name).map_err(|message| layers.invalid("name", message))?;
        let data_dir = match layers.given("data-dir") {
            Some(given) if given.text.is_empty() => {
                return Err(layers.invalid("data-dir", "the path is empty"));
            }
            Some(given) => PathBuf::from(&given.text),
            None => PathBuf::from(format!("./{name}.lograft")),
        };
        let listen_client_urls = listen_urls(layers, "listen-client-urls")?;
        let listen_peer_urls = listen_urls(layers, "listen-peer-urls")?;
        no_shared_address(&listen_client_urls, &listen_peer_urls)?;
        let advertise_client_urls = advertise_client_urls(layers, &listen_client_urls)?;
        let initial_cluster = initial_cluster(layers)?;
        let peer_url = peer_url(layers, &name, &listen_peer_urls, initial_cluster.as_ref())?;
        let initial_given = SETTINGS.iter().map(|setting| setting.name);
        let initial_given = initial_given
            .filter(|name| name.starts_with("initial-") && layers.given(name).is_some())
            .collect();
        Ok(Self {
            name,
            data_dir,
            listen_client_urls,
            advertise_client_urls,
            listen_peer_urls,
            peer_url,
            timings: timings(layers)?,
            log_level: one_of(layers, "log-level", &LEVELS)?,
            log_format: one_of(layers, "log-format", &FORMATS)?,
            limits: limits::from_layers(layers)?,
            max_connections: limits::max_connections(layers)?,
            client_threads: None,
            initial_cluster,
            token: layers.text("initial-cluster-token").to_owned(),
            join_existing: one_of(layers, "initial-cluster-state", &[("new", false), ("existing", true)])?,
            initial_given,
        })
    }
}

const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

const FORMATS: [(&str, LogFormat); 2] = [("console", LogFormat::Console), ("json", LogFormat::Json)];

fn one_of<T: Copy>(layers: &Layers, name: &'static str, choices: &[(&str, T)]) -> Result<T, ConfigError> {
    let text = layers.text(name);
    let found = choices.iter().find(|(word, _)| *word == text);
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let words = choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        layers.invalid(name, format!("{text:?} is not one of {words}"))
    })
}

fn listen_urls(layers: &Layers, name: &'static str) -> Result<Vec<HttpUrl>, ConfigError> {
    let mut urls = Vec::new();
    for text in layers.text(name).split(',') {
        let url = HttpUrl::parse(text).map_err(|message| layers.invalid(name, message))?;
        if url.socket_addr().is_none() {
            let message = format!("cannot listen on a name: write this machine's address instead of {url}");
            return Err(layers.invalid(name, message));
        }
        if urls.contains(&url) {
            return Err(layers.invalid(name, format!("{url} is listed twice")));
        }
        urls.push(url);
    }
    Ok(urls)
}

fn no_shared_address(clients: &[HttpUrl], peers: &[HttpUrl]) -> Result<(), ConfigError> {
    let shared = clients.iter().find(|client| {
        let clashes = |peer: &HttpUrl| {
            // Port 0 is a free one each time. 0.0.0.0 includes every address.
            let same_port = client.port() == peer.port() && client.port() != 0;
            same_port && (client == &peer || client.is_unspecified() || peer.is_unspecified())
        };
        peers.iter().any(clashes)
    });
    match shared {
        None => Ok(()),
        Some(url) => Err(ConfigError::Contradiction(format!(
            "--listen-client-urls and --listen-peer-urls both use port {}: give clients and peers a port each",
            url.port()
        ))),
    }
}

fn advertise_client_urls(layers: &Layers, listen: &[HttpUrl]) -> Result<Vec<HttpUrl>, ConfigError> {
    const NAME: &str = "advertise-client-urls";
    if let Some(given) = layers.given(NAME) {
        let urls = given.text.split(',').map(advertised);
        return urls.collect::<Result<_, _>>().map_err(|message| layers.invalid(NAME, message));
    }
    if let Some(url) = listen.iter().find(|url| url.is_unspecified()) {
        return Err(ConfigError::Contradiction(format!(
            "clients cannot connect to {url} of --listen-client-urls: \
             give --advertise-client-urls http://HOST:PORT"
        )));
    }
    Ok(listen.to_vec())
}

fn timings(layers: &Layers) -> Result<Timings, ConfigError> {
    let ms = Duration::from_millis;
    let heartbeat_interval_ms = layers.milliseconds("heartbeat-interval", ms(10)..=ms(10_000))?;
    let election_timeout_ms = layers.milliseconds("election-timeout", ms(50)..=ms(50_000))?;
    if election_timeout_ms < 5 * heartbeat_interval_ms {
        return Err(ConfigError::Contradiction(format!(
            "--election-timeout {} is less than five times --heartbeat-interval {}: one late heartbeat could cost the \
             leader its place; use at least {}",
            format_duration(ms(election_timeout_ms)),
            format_duration(ms(heartbeat_interval_ms)),
            format_duration(ms(5 * heartbeat_interval_ms))
        )));
    }
    Ok(Timings { heartbeat_interval_ms, election_timeout_ms })
}
