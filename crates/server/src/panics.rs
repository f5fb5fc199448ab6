//! Errors of the program that nobody foresaw: each ends one stanza or one task, is told in one line of
//! the log, and counted.

use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Counts and tells every panic from now on, wherever it is caught.
pub fn watch() {
    std::panic::set_hook(Box::new(tell));
}

/// How many there were.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

fn tell(panic: &PanicHookInfo<'_>) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    // Quoted: it may repeat what a peer has sent.
    let payload = panic.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let why = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
    tracing::error!(place, ?why, "the program panicked");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_is_caught_counts() {
        let before = count();
        watch();
        let caught = std::panic::catch_unwind(|| panic!("of this test"));
        drop(std::panic::take_hook());
        assert!(caught.is_err());
        assert!(count() > before);
    }
}
