//! For `tests/fuzz`: any bytes as what a node is told before it starts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use lograft_kv::Command;
use lograft_node::limits::{KIB, LARGEST_COMMAND_BYTES, Limits, MAX_PEER_MESSAGE_BYTES};

use super::settings::Kind;
use super::{ConfigError, Existing, HttpUrl, Layers, SETTINGS, ServerConfig, render};

const FILE: &str = "lograft.toml";

/// Any configuration: lines of `--name=value` and `NAME=value`, an empty line, a configuration file.
///
/// It is taken or refused in one line. What is taken keeps what [`ServerConfig`] promises, and is the same when it is
/// printed and read back.
pub fn config(bytes: &[u8]) -> &'static str {
    let at = bytes.windows(2).position(|window| window == b"\n\n");
    let (head, file) = at.map_or((bytes, None), |at| (&bytes[..at], Some(&bytes[at + 2..])));
    let Ok(file) = file.map(str::from_utf8).transpose() else { return "no layers" };
    let mut flags = Vec::new();
    let mut env = BTreeMap::new();
    for line in head.split(|byte| *byte == b'\n') {
        let at = line.iter().position(|byte| *byte == b'=').unwrap_or(line.len());
        let (name, value) = (&line[..at], line.get(at + 1..).unwrap_or_default());
        match (name.strip_prefix(b"--"), str::from_utf8(name), str::from_utf8(value)) {
            (Some(_), Ok(name), Ok(value)) => flags.push((name[2..].to_owned(), value.to_owned())),
            (None, Ok(name), _) => {
                let value = std::ffi::OsStr::from_bytes(value);
                env.insert(name.to_owned(), value.to_owned());
            }
            _ => {}
        }
    }
    let env = |name: &str| -> Option<OsString> { env.get(name).cloned() };
    match Layers::merge(&flags, &env, file.map(|text| (Path::new(FILE), text))) {
        Ok(layers) => judge(&layers),
        Err(error) => {
            one_line(&error);
            "no layers"
        }
    }
}

fn one_line(error: &ConfigError) {
    let said = error.to_string();
    assert!(!said.contains('\n'), "one line: {said:?}");
}

/// What must hold of settings that were merged.
fn judge(layers: &Layers) -> &'static str {
    let configured = ServerConfig::from_layers(layers);
    let again = read_back(layers, configured.as_ref().ok());
    let config = match configured {
        Ok(config) => config,
        Err(error) => {
            one_line(&error);
            return "refused";
        }
    };
    let printed = ServerConfig::from_layers(&again).expect("what is printed is taken");
    assert_eq!((printed.limits, printed.timings), (config.limits, config.timings));
    assert_eq!(printed.peer_url, config.peer_url);
    keeps_its_promises(&config);
    "configured"
}

/// Prints settings and reads them back: they are the same.
pub(super) fn read_back(layers: &Layers, config: Option<&ServerConfig>) -> Layers {
    let text = render(layers, config);
    let again = Layers::merge(&[], &|_| None, Some((Path::new(FILE), &text)));
    let again = again.unwrap_or_else(|error| panic!("what is printed can be read: {error}\n{text}"));
    for setting in SETTINGS {
        let (said, found) = (layers.given(setting.name), again.given(setting.name));
        let Some((said, found)) = said.zip(found) else {
            assert!(said.is_none(), "{} is lost", setting.name);
            continue;
        };
        let (said, found) = (tidy(setting.kind, &said.text), tidy(setting.kind, &found.text));
        assert_eq!(found, said, "{}", setting.name);
    }
    again
}

/// A value less what may be lost: spaces around the items of a list, zeros in front of a number.
fn tidy(kind: Kind, text: &str) -> Vec<String> {
    match kind {
        Kind::List => text.split(',').map(|item| item.trim().to_owned()).collect(),
        Kind::Number if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            vec![text.trim_start_matches('0').to_owned()]
        }
        // 100 is printed as 100ms. What no i64 holds is printed as it is.
        Kind::Milliseconds => {
            let bare = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i64>().ok());
            let ms = bare.flatten().and_then(|ms| u64::try_from(ms).ok());
            let spelled = ms.map(|ms| humantime::format_duration(Duration::from_millis(ms)).to_string());
            vec![spelled.unwrap_or_else(|| text.to_owned())]
        }
        Kind::Number | Kind::Text | Kind::Duration => vec![text.to_owned()],
    }
}

/// A request fits where requests wait, and entries into the messages between peers: what does not would be refused by
/// the receiver and sent again for ever.
pub(super) fn fits(limits: &Limits) {
    let set = limits.max_key_bytes + limits.max_value_bytes;
    assert!(set <= limits.max_request_bytes && set <= limits.max_pending_bytes);
    assert!(limits.min_segment_bytes <= limits.max_segment_bytes);
    let entry = Command::max_encoded_bytes(limits.max_key_bytes, limits.max_value_bytes);
    assert!(entry <= LARGEST_COMMAND_BYTES && LARGEST_COMMAND_BYTES < MAX_PEER_MESSAGE_BYTES);
    // Entries of a byte each weigh most on the wire: their ids, tags and lengths, 32 bytes at the most.
    let batch = limits.max_append_bytes + limits.max_append_entries * 32 + KIB;
    assert!(batch <= MAX_PEER_MESSAGE_BYTES);
}

/// The invariants of [`ServerConfig`], and the identity that it gives.
fn keeps_its_promises(config: &ServerConfig) {
    assert!(config.timings.election_timeout_ms >= 5 * config.timings.heartbeat_interval_ms);
    for urls in [&config.listen_client_urls, &config.listen_peer_urls, &config.advertise_client_urls] {
        assert!(!urls.is_empty());
        for url in urls {
            assert_eq!(HttpUrl::parse(&url.to_string()).as_ref(), Ok(url), "a URL is spelled in one way");
        }
    }
    assert!(
        config
            .listen_client_urls
            .iter()
            .chain(&config.listen_peer_urls)
            .all(|url| url.socket_addr().is_some())
    );
    assert!(!config.peer_url.is_unspecified());
    fits(&config.limits);
    match config.found(7) {
        Ok(founded) => {
            assert!(founded.members.iter().any(|member| member.id == founded.identity.node));
            let existing = Existing { identity: founded.identity, name: &config.name };
            config.reconcile(&existing).expect("a node is the node that it founded");
        }
        Err(error) => one_line(&error),
    }
}
