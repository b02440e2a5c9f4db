//! The merged configuration as TOML, for `lograft config`.

use std::time::Duration;

use humantime::format_duration;

use super::layers::Layers;
use super::server::ServerConfig;
use super::settings::{Kind, SETTINGS, Setting};

/// The merged configuration as TOML that can be used as a configuration file. A comment after each value says where it
/// came from; a default that depends on other settings is a comment too, if `config` is given.
pub fn render(layers: &Layers, config: Option<&ServerConfig>) -> String {
    let mut out = String::new();
    let mut group = "";
    for setting in SETTINGS {
        if setting.group != group {
            group = setting.group;
            out.push_str(if out.is_empty() { "# " } else { "\n# " });
            out.push_str(group);
            out.push('\n');
        }
        out.push_str(&line(layers, config, setting));
        out.push('\n');
    }
    out
}

fn line(layers: &Layers, config: Option<&ServerConfig>, setting: &Setting) -> String {
    let name = setting.name;
    if let Some(given) = layers.given(name) {
        return format!("{name} = {}  # {}", value(setting.kind, &given.text), given.origin);
    }
    if let Some(default) = setting.default {
        return format!("{name} = {}  # default", value(setting.kind, default));
    }
    match config.and_then(|config| derived(config, name)) {
        Some(text) => {
            format!("# {name} = {}  # default, from other settings", value(setting.kind, &text))
        }
        None => format!("# {name} is not set"),
    }
}

/// The value of a setting whose default depends on other settings.
fn derived(config: &ServerConfig, name: &str) -> Option<String> {
    match name {
        "data-dir" => Some(config.data_dir.display().to_string()),
        "advertise-client-urls" => {
            let urls: Vec<String> = config.advertise_client_urls.iter().map(ToString::to_string).collect();
            Some(urls.join(","))
        }
        "initial-advertise-peer-urls" => Some(config.peer_url.to_string()),
        "initial-cluster" => Some(format!("{}={}", config.name, config.peer_url)),
        _ => None,
    }
}

fn value(kind: Kind, text: &str) -> String {
    let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
    match kind {
        Kind::Number => integer(text).map_or_else(|| quote(text), |number| number.to_string()),
        Kind::Text | Kind::Duration => quote(text),
        Kind::Milliseconds => integer(text)
            .and_then(|ms| u64::try_from(ms).ok())
            .map_or_else(|| quote(text), |ms| quote(&format_duration(Duration::from_millis(ms)).to_string())),
        Kind::List => {
            let items: Vec<String> = text.split(',').map(|item| quote(item.trim())).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// A number that TOML can express: an i64. A size like 1MiB stays a string.
fn integer(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
