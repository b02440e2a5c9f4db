//! Where the command line ends and the node begins.

use std::time::Duration;

use lograft_os::process::raise_descriptor_limit;
use tracing::{error, warn};

use crate::actor::ActorEnd;
use crate::config::ServerConfig;
use crate::server::Server;
use lograft_node::HaltReason;

use super::exit::say;
use super::{logging, signals};

/// The last words may take so long to leave before the process ends hard.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// Runs a node in the foreground until a signal stops it ([`signals`]); comes back when it has stopped in order.
///
/// One thread runs everything but the log: for a node of this size that is faster than several, which would only hand
/// its few tasks back and forth.
///
/// # Errors
/// Why the node could not start, or had to stop.
pub(super) fn run_node(config: ServerConfig) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = signals::wait()?;
    if let Err(error) = raise_descriptor_limit() {
        warn!(%error, "the limit of file descriptors cannot be raised");
    }
    let end = runtime.block_on(async {
        let server = Server::start(config).await?;
        anyhow::Ok(server.run(stop).await)
    })?;
    match end {
        ActorEnd::ShutDown => Ok(()),
        // What the disk holds is not certain any more: nothing may run on the way out that touches it.
        ActorEnd::Halted(reason @ HaltReason::LogFailed(_)) => {
            error!("{reason}");
            logging::flush(LOG_PATIENCE);
            say(&reason.to_string());
            std::process::abort();
        }
        ActorEnd::Halted(reason) => Err(reason.into()),
    }
}
