//! Work that takes milliseconds, on threads apart from the one that sends heartbeats.
//!
//! Where clients are served beside the actor and the links, whatever one step of a request takes delays them all, and
//! the runtime takes dozens of steps between two looks at its timers. Hundreds of clients that list megabytes would
//! hold up heartbeats until followers elect another leader.

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// A page of more bytes is made apart. A smaller one takes less time than handing it over is worth.
const LARGE_BYTES: usize = 64 << 10;

/// How much of such work is done at a time: the threads share the cores with the one that sends heartbeats.
static PLACES: Semaphore = Semaphore::const_new(2);

/// Does work on this many bytes; apart, if they are many.
pub(crate) async fn apart<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes <= LARGE_BYTES {
        return work();
    }
    let _place = PLACES.acquire().await.expect("it is never closed");
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn only_work_on_many_bytes_leaves_the_thread() {
        let here = thread::current().id();
        assert_eq!(apart(LARGE_BYTES, || thread::current().id()).await, here);
        assert_ne!(apart(LARGE_BYTES + 1, || thread::current().id()).await, here);
    }

    #[tokio::test]
    #[should_panic(expected = "the page cannot be made")]
    async fn pitfall_54_a_panic_comes_back() {
        apart(LARGE_BYTES + 1, || panic!("the page cannot be made")).await
    }
}
