//! The two clocks: wall time for stamps, uptime for everything that waits.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The server's clocks. Tests turn the wall clock; timers follow the runtime's own.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    offset_micros: AtomicI64,
    last_micros: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            offset_micros: AtomicI64::new(0),
            last_micros: AtomicU64::new(0),
        }
    }
}

impl Clock {
    /// Microseconds since 1970-01-01 UTC. Never runs backwards: a step back of the system's clock
    /// shows as a standstill.
    pub fn now_micros(&self) -> u64 {
        let system = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
        let now = system.saturating_add_signed(self.offset_micros.load(Ordering::Relaxed));
        self.last_micros.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Seconds since the server started.
    pub fn uptime_secs(&self) -> u32 {
        u32::try_from(self.start.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    /// Moves the wall clock forward, for tests.
    pub fn turn(&self, micros: i64) {
        self.offset_micros.fetch_add(micros, Ordering::Relaxed);
    }
}
