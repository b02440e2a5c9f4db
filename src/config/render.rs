//! The merged configuration as TOML, for `lograft config`.

use super::layers::Layers;
use super::server::ServerConfig;
use super::settings::{Kind, Setting};

/// The merged configuration as TOML that can be used as a configuration file. Behind each value stands where it came
/// from; what depends on other settings is shown as a comment if `config` is at hand.
pub fn render(layers: &Layers, config: Option<&ServerConfig>) -> String {
    let mut out = String::new();
    let mut group = "";
    for setting in layers.table() {
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
    if let Some(default) = &setting.default {
        return format!("{name} = {}  # default", value(setting.kind, default));
    }
    match config.and_then(|config| derived(config, name)) {
        Some(text) => {
            format!("# {name} = {}  # default, from other settings", value(setting.kind, &text))
        }
        None => format!("# {name} is not set"),
    }
}

/// What a setting without a default of its own comes to.
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
        Kind::Text => quote(text),
        Kind::List => {
            let items: Vec<String> = text.split(',').map(|item| quote(item.trim())).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// A number that TOML has: it ends where an i64 does. A size like 1MiB stays a string.
fn integer(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
