//! A bounded pool for work that takes a core for milliseconds: hashing of passwords.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

/// Requests that may wait, per core; beyond that a login is told to come again.
const WAITING_PER_CORE: usize = 64;

/// The pool.
#[derive(Debug)]
pub struct Hashing {
    running: Semaphore,
    waiting: AtomicUsize,
    waiting_max: usize,
}

impl Default for Hashing {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            running: Semaphore::new(cores),
            waiting: AtomicUsize::new(0),
            waiting_max: cores.saturating_mul(WAITING_PER_CORE),
        }
    }
}

impl Hashing {
    /// Runs the work off the tasks of sessions; None when too many wait or it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let _place = Place::take(self)?;
        let _permit = self.running.acquire().await.ok()?;
        tokio::task::spawn_blocking(work).await.ok()
    }
}

/// One of the places in the queue.
struct Place<'a>(&'a Hashing);

impl<'a> Place<'a> {
    fn take(pool: &'a Hashing) -> Option<Self> {
        let place = Self(pool);
        let before = pool.waiting.fetch_add(1, Ordering::Relaxed);
        (before < pool.waiting_max).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
