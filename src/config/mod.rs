//! The configuration of a node: one table of settings, four places to set each, one checked result.
//!
//! # Precedence
//! A setting is taken from the first place that has it:
//!
//! 1. the flag: `--heartbeat-interval 100ms`
//! 2. the environment: `LOGRAFT_HEARTBEAT_INTERVAL=100ms` (an empty variable counts as absent)
//! 3. the configuration file, TOML with the flags' names as keys: `heartbeat-interval = "100ms"`
//!    (named by `--config-file` or `LOGRAFT_CONFIG_FILE`; lists may be arrays)
//! 4. the default
//!
//! Each setting is decided alone: a file never hides flags or the environment. `lograft config` prints the result and
//! where each value came from. An unknown key in the file is an error.
//!
//! # The way through this module
//! [`SETTINGS`] is the table; [`Layers`] merges; [`ServerConfig::from_layers`] checks each value and how they relate;
//! [`ServerConfig::found`] makes the identity of a new data directory; [`ServerConfig::reconcile`] compares with the
//! identity that a directory already has.
//!
//! # Caveats
//! - URLs are plain `http://HOST:PORT`: there is no TLS yet, and `https://` is refused rather than downgraded.
//! - Each member has one peer URL in `--initial-cluster`.
//! - A node cannot join a running cluster yet: `--initial-cluster-state existing` is refused for an empty directory.

mod cluster;
mod duration;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod identity;
mod layers;
mod limits;
mod render;
mod server;
mod settings;
mod url;

#[cfg(test)]
mod tests;

pub use duration::parse_duration;
pub use error::ConfigError;
pub use identity::{Existing, Founded};
pub use layers::{Layers, Origin};
pub use render::render;
pub use server::{LogFormat, LogLevel, ServerConfig, Timings};
pub use settings::{CONFIG_FILE_SETTING, SETTINGS, Setting, env_name};
pub use url::HttpUrl;
