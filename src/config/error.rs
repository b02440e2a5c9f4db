//! Why a configuration was refused.

use std::path::PathBuf;

use super::layers::Origin;

/// Why a configuration was refused: one line that says what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration file is not TOML, or holds a value of a kind that no setting has.
    #[error("{}:{line}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The configuration file has an unknown key.
    #[error(
        "{}:{line}: unknown key {key:?}: the keys are the flags of `lograft serve`, see its --help, without the leading dashes",
        path.display()
    )]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// One setting's value cannot be used.
    #[error("--{setting} ({origin}): {message}")]
    Invalid {
        /// The setting.
        setting: &'static str,
        /// Where the value came from.
        origin: Origin,
        /// What is wrong, and what to do.
        message: String,
    },
    /// Settings contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// The data directory belongs to another node or cluster.
    #[error("{0}")]
    OtherDirectory(String),
}
