//! The threads, channels and locks of the log: those of the standard library.
//!
//! With `--cfg schedules` they are shuttle's, which runs one thread at a time and draws at each of their operations who
//! goes on: `scripts/schedules` plays the log thread that way. Time does not pass there, so that whatever waits for a
//! while may at any moment have waited long enough.

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

/// Waits for a message, and for no longer than `patience`.
#[cfg(not(schedules))]
pub fn recv_timeout<T>(receiver: &mpsc::Receiver<T>, patience: Duration) -> Result<T, RecvTimeoutError> {
    receiver.recv_timeout(patience)
}

/// As it is with a clock that goes as it likes: with shuttle's channels a wait would last for ever.
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
