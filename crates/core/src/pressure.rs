//! Whether the process is close to the memory that it may use.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether memory is short.
#[derive(Debug, Default)]
pub struct Pressure {
    high: AtomicBool,
}

impl Pressure {
    /// Whether nobody new is to be let in.
    pub fn is_high(&self) -> bool {
        self.high.load(Ordering::Relaxed)
    }

    /// Says whether it is; gives whether it was.
    pub fn set_high(&self, high: bool) -> bool {
        self.high.swap(high, Ordering::Relaxed)
    }
}
