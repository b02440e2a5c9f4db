//! The threads, channels and locks of the log: those of the standard library.
//!
//! With `--cfg schedules` they are shuttle's. Shuttle runs one thread at a time and draws at each operation
//! which thread goes on; `scripts/schedules` tests the log thread that way. Time does not pass there, so a
//! timed wait may expire at any moment.

use std::sync::mpsc::RecvTimeoutError;
#[cfg(not(schedules))]
pub use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
#[cfg(not(schedules))]
pub use std::thread;
use std::time::Duration;

#[cfg(schedules)]
pub use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
#[cfg(schedules)]
pub use shuttle::thread;

/// Waits for a message for at most `patience`.
#[cfg(not(schedules))]
pub fn recv_timeout<T>(receiver: &mpsc::Receiver<T>, patience: Duration) -> Result<T, RecvTimeoutError> {
    receiver.recv_timeout(patience)
}

/// The same with an arbitrary clock: a wait on shuttle's own channels would never time out.
#[cfg(schedules)]
pub fn recv_timeout<T>(receiver: &mpsc::Receiver<T>, _patience: Duration) -> Result<T, RecvTimeoutError> {
    use std::sync::mpsc::TryRecvError;

    use shuttle::rand::{Rng, thread_rng};

    loop {
        match receiver.try_recv() {
            Ok(message) => return Ok(message),
            Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) if thread_rng().gen_ratio(1, 8) => {
                return Err(RecvTimeoutError::Timeout);
            }
            Err(TryRecvError::Empty) => thread::yield_now(),
        }
    }
}
