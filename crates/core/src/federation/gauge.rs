//! What all routes share: how much waits in all of them, and the places in their logs.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::store::shape::Seq;

/// How much waits in all routes, and the last place in a log.
#[derive(Debug, Default)]
pub struct Gauge {
    bytes: AtomicUsize,
    last_seq: AtomicU64,
}

impl Gauge {
    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Notes that bytes wait.
    pub fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that bytes wait no longer.
    pub fn remove(&self, bytes: usize) {
        let less = |now: usize| Some(now.saturating_sub(bytes));
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// The next place: the time, made unique among all routes, so that it names one message.
    pub fn next_seq(&self, now_micros: u64) -> Seq {
        let next = |last: u64| Some(now_micros.max(last.saturating_add(1)));
        let last = self.last_seq.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        now_micros.max(last.unwrap_or_default().saturating_add(1))
    }

    /// Notes a place that was given before this start.
    pub fn seen(&self, seq: Seq) {
        self.last_seq.fetch_max(seq, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_rise_and_are_given_once() {
        let gauge = Gauge::default();
        assert_eq!([gauge.next_seq(5), gauge.next_seq(5), gauge.next_seq(9)], [5, 6, 9]);
        gauge.seen(20);
        assert_eq!(gauge.next_seq(9), 21);
    }

    #[test]
    fn bytes_never_go_below_nothing() {
        let gauge = Gauge::default();
        gauge.add(3);
        gauge.remove(5);
        assert_eq!(gauge.bytes(), 0);
    }
}
