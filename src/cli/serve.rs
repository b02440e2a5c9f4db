//! `lograft serve` and `lograft config`.

use crate::config::{ConfigError, Layers, LogFormat, ServerConfig, render};

use super::args::ServeArgs;
use super::exit::{Code, Failure};
use super::{logging, node, output, parent};

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let code = match &error {
            ConfigError::Unreadable { .. }
            | ConfigError::File { .. }
            | ConfigError::UnknownKey { .. }
            | ConfigError::Invalid { .. }
            | ConfigError::Contradiction(_) => Code::BadArguments,
            // Nothing is wrong with the arguments alone.
            ConfigError::OtherDirectory(_) => Code::Error,
        };
        Self::new(code, error.to_string())
    }
}

/// Runs a node until it is told to stop.
pub(super) fn run(args: &ServeArgs, colored: bool) -> Result<(), Failure> {
    let config = ServerConfig::from_layers(&layers(args)?)?;
    let log = logging::start(config.log_level, config.log_format, colored);
    if args.exit_on_stdin_eof {
        parent::end_with_it();
    }
    let format = config.log_format;
    let result = node::run_node(config);
    let result = result.map_err(|error| {
        let failure = Failure::from(error);
        match format {
            LogFormat::Console => failure,
            // A reader of a JSON log gets its last line as JSON, too.
            LogFormat::Json => {
                tracing::error!("{failure}");
                Failure::new(failure.code, "")
            }
        }
    });
    drop(log);
    result
}

/// Prints the merged configuration, and the error if it has one.
pub(super) fn print_config(args: &ServeArgs) -> Result<(), Failure> {
    let layers = layers(args)?;
    let config = ServerConfig::from_layers(&layers);
    output::print(&render(&layers, config.as_ref().ok()))?;
    config.map(drop).map_err(Failure::from)
}

/// The flags, the environment and the configuration file.
pub(super) fn layers(args: &ServeArgs) -> Result<Layers, Failure> {
    Ok(Layers::load(&args.flags, &|name| std::env::var_os(name))?)
}
