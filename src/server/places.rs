//! How many connections a port may have, and what happens to one too many.
//!
//! A connection over the limit is accepted, hears why it gets nothing, and is closed. In the backlog it would wait for
//! a place without knowing, although another node may have one. When too many wait to hear it, the others are closed
//! without a word.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::api::ApiError;

/// Connections over the limit that may hear why, at a time.
const TURNED_AWAY: usize = 16;

/// A shortage that has not shown for this time is over. One that comes and goes is told once.
const CALM: Duration = Duration::from_secs(5);

/// The most connections that clients have by default. Each takes about 30 KiB.
const MOST_CLIENTS: usize = 10_000;

/// The most connections on the peer port: far more than a cluster has members, for their probes and for links that
/// have been made anew.
const MOST_PEERS: usize = 64;

/// Descriptors for the log, its directory, the links to peers, the listeners and the runtime, where an operator says
/// how many clients there may be.
const OTHER_DESCRIPTORS: usize = 64;

/// How many connections clients and peers may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) clients: usize,
    pub(crate) peers: usize,
}

impl Shares {
    /// Divides the file descriptors of a process. `asked` is `--max-connections`.
    ///
    /// By default clients get half of them: the log holds one for each of its segments, and grows.
    pub(crate) fn of(descriptors: u64, asked: Option<usize>) -> Self {
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let peers = (descriptors / 8).clamp(1, MOST_PEERS);
        let clients = match asked {
            None => (descriptors / 2).min(MOST_CLIENTS),
            Some(asked) => asked.min(descriptors.saturating_sub(peers + TURNED_AWAY + OTHER_DESCRIPTORS)),
        };
        Self { clients: clients.max(1), peers }
    }
}

/// The places for connections that all listeners of one kind share.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
    limit: usize,
    /// Clients or peers.
    of: &'static str,
    full: Shortage,
    descriptors: Shortage,
}

/// What a new connection gets.
pub(super) enum Place {
    /// A place, as long as it holds this.
    Served(OwnedSemaphorePermit),
    /// The reason why it gets none.
    TurnedAway(OwnedSemaphorePermit, ApiError),
    /// Nothing.
    Closed,
}

impl Places {
    pub(crate) fn new(of: &'static str, limit: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limit)),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY)),
            limit,
            of,
            full: Shortage::default(),
            descriptors: Shortage::default(),
        }
    }

    pub(super) fn take(&self) -> Place {
        let (of, limit) = (self.of, self.limit);
        if self.descriptors.is_over() {
            info!("connections of {of} can be accepted again");
        }
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            if self.full.is_over() {
                info!("there are places for connections of {of} again");
            }
            return Place::Served(place);
        }
        if self.full.shows() {
            warn!(limit, "as many {of} are connected as may be: more are turned away");
        }
        match Arc::clone(&self.turned_away).try_acquire_owned() {
            Ok(slot) => Place::TurnedAway(slot, ApiError::too_many_connections(of, limit)),
            Err(_) => Place::Closed,
        }
    }

    /// The system has no descriptor for a connection.
    pub(super) fn no_descriptor(&self, error: &std::io::Error) {
        if self.descriptors.shows() {
            warn!(%error, "no connection of {} can be accepted: waiting until one ends", self.of);
        }
    }
}

/// Something that is used up, and is told when that begins and when it is over.
#[derive(Debug, Default)]
struct Shortage(Mutex<Option<Instant>>);

impl Shortage {
    /// It shows. Whether it begins.
    fn shows(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(Instant::now()).is_none()
    }

    /// It does not show. Whether it is over with that.
    fn is_over(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = last.is_some_and(|last| last.elapsed() >= CALM);
        if over {
            *last = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_room_for_the_log_and_for_peers() {
        for (descriptors, asked, clients, peers) in [
            (256, None, 128, 32),
            (1024, None, 512, 64),
            (1 << 20, None, 10_000, 64),
            (1024, Some(300), 300, 64),
            // What there is no descriptor for cannot be had.
            (1024, Some(5000), 880, 64),
            (1 << 20, Some(50_000), 50_000, 64),
            (u64::MAX, None, 10_000, 64),
            (10, None, 5, 1),
            (10, Some(8), 1, 1),
        ] {
            assert_eq!(Shares::of(descriptors, asked), Shares { clients, peers }, "{descriptors}, {asked:?}");
        }
    }

    #[test]
    fn a_shortage_is_told_when_it_begins() {
        let shortage = Shortage::default();
        assert!(!shortage.is_over(), "there is none");
        assert!(shortage.shows());
        assert!(!shortage.shows(), "it goes on");
        assert!(!shortage.is_over(), "it has shown a moment ago");
        assert!(!shortage.shows(), "it comes and goes");
    }
}
