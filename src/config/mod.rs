//! What a node is told before it starts: one table of settings, four places to set each, one checked result.
//!
//! # Precedence
//! A setting is taken from the first place that has it:
//!
//! 1. the flag: `--heartbeat-interval 100`
//! 2. the environment: `LOGRAFT_HEARTBEAT_INTERVAL=100` (an empty variable counts as absent)
//! 3. the configuration file, TOML with the flags' names as keys: `heartbeat-interval = 100`
//!    (named by `--config-file` or `LOGRAFT_CONFIG_FILE`; lists may be arrays)
//! 4. the default
//!
//! Each setting is decided alone: a file never silences flags or the environment. `lograft config` prints the result
//! and says of each value where it came from. A key of the file that no setting has is an error, not a shrug.
//!
//! # The way through this module
//! [`settings()`] is the table; [`Layers`] merges; [`ServerConfig::from_layers`] checks, and knows what contradicts what;
//! [`ServerConfig::found`] makes the identity of a new data directory, [`ServerConfig::reconcile`] compares with the
//! one that a directory already has.
//!
//! # Caveats
//! - URLs are plain `http://HOST:PORT`: there is no TLS yet, and `https://` is refused rather than downgraded.
//! - Each member has one peer URL in `--initial-cluster`.
//! - A node cannot join a running cluster yet: `--initial-cluster-state existing` is refused for an empty directory.

mod cluster;
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

pub use error::ConfigError;
pub use identity::{Existing, Founded};
pub use layers::{Layers, Origin};
pub use render::render;
pub use server::{LogFormat, LogLevel, ServerConfig, Timings};
pub use settings::{CONFIG_FILE_SETTING, Setting, env_name, settings};
pub use url::HttpUrl;
