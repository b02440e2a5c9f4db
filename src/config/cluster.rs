//! `--initial-cluster`: who the first members are, and whether this node's other settings agree.

use std::collections::BTreeMap;

use super::error::ConfigError;
use super::layers::Layers;
use super::url::HttpUrl;

/// The first members by name, each with its one peer URL.
pub(super) type InitialCluster = BTreeMap<String, HttpUrl>;

/// Reads `--initial-cluster`; `None`: a cluster of this node alone.
pub(super) fn initial_cluster(layers: &Layers) -> Result<Option<InitialCluster>, ConfigError> {
    const NAME: &str = "initial-cluster";
    let bad = |message: String| layers.invalid(NAME, message);
    let Some(given) = layers.given(NAME) else { return Ok(None) };
    let mut members = InitialCluster::new();
    for item in given.text.split(',').map(str::trim) {
        let Some((name, url)) = item.split_once('=') else {
            return Err(bad(format!("{item:?} is not NAME=URL: write n1=http://10.0.0.1:2380,n2=…")));
        };
        check_name(name).map_err(bad)?;
        let url = advertised(url).map_err(bad)?;
        if let Some((other, _)) = members.iter().find(|(_, known)| **known == url) {
            return Err(bad(format!(
                "{other} and {name} have the same URL {url}: each member needs its own"
            )));
        }
        if members.insert(name.to_owned(), url).is_some() {
            return Err(bad(format!("{name} is listed twice: names are unique, and each has one URL")));
        }
    }
    Ok(Some(members))
}

/// Checks a node's name.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let good = (1..=64).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with(['.', '-']);
    if good {
        return Ok(());
    }
    Err(format!(
        "{name:?} is not a name: 1 to 64 letters, digits, '-', '_' and '.', not beginning with '-' or '.'"
    ))
}

/// Reads a URL under which others are to reach a node.
pub(super) fn advertised(text: &str) -> Result<HttpUrl, String> {
    let url = HttpUrl::parse(text)?;
    if url.is_unspecified() {
        return Err(format!(
            "nobody can reach {url}: advertise an address or a name that others can connect to"
        ));
    }
    Ok(url)
}

/// How the others reach this node. Its own setting must agree with the list that all members share.
pub(super) fn peer_url(
    layers: &Layers,
    name: &str,
    listen: &[HttpUrl],
    cluster: Option<&InitialCluster>,
) -> Result<HttpUrl, ConfigError> {
    const ADVERTISE: &str = "initial-advertise-peer-urls";
    let own = match layers.given(ADVERTISE) {
        Some(given) if given.text.contains(',') => {
            return Err(layers.invalid(ADVERTISE, "a node has one peer URL: give just one"));
        }
        Some(given) => Some(advertised(&given.text).map_err(|message| layers.invalid(ADVERTISE, message))?),
        None => None,
    };
    let listed = match cluster {
        None => None,
        Some(cluster) => Some(cluster.get(name).ok_or_else(|| {
            let names = cluster.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            ConfigError::Contradiction(format!(
                "--name {name} is not in --initial-cluster (which has {names}): add it, or give this node one of these names"
            ))
        })?),
    };
    match (own, listed) {
        (Some(own), Some(listed)) if own != *listed => Err(ConfigError::Contradiction(format!(
            "--initial-advertise-peer-urls is {own}, but --initial-cluster has {name}={listed}: make them equal"
        ))),
        (Some(own), _) => Ok(own),
        (None, Some(listed)) => Ok(listed.clone()),
        (None, None) => match listen.iter().find(|url| !url.is_unspecified()) {
            Some(url) => Ok(url.clone()),
            None => Err(ConfigError::Contradiction(
                "the other nodes cannot connect to 0.0.0.0, [::] or port 0, and --listen-peer-urls has nothing else: \
                 give --initial-advertise-peer-urls http://HOST:PORT"
                    .to_owned(),
            )),
        },
    }
}
