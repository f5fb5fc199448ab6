//! What somebody has sent of late, against what is granted with time.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::Limits;

/// A burst of stanzas may be what is granted in so many seconds.
const STANZA_BURST_SECS: u64 = 10;

/// Two buckets that empty with time, for bytes and for stanzas.
#[derive(Debug, Default)]
pub struct Spent {
    /// Bytes over what has been granted, when positive.
    bytes: u64,
    stanzas: u64,
    last: Option<Instant>,
}

impl Spent {
    /// Adds bytes, and says how long it takes until they are granted.
    pub fn add(&mut self, bytes: usize, factor: u64, limits: &Limits) -> Duration {
        let now = Instant::now();
        let millis = self.last.map_or(0, |last| now.duration_since(last).as_millis());
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        // Less than a millisecond grants nothing and is counted the next time.
        if self.last.is_none() || millis > 0 {
            self.last = Some(now);
        }
        let more = |rate: u64| rate.saturating_mul(factor);
        let (byte_rate, stanza_rate) =
            (more(limits.rate_bytes_per_sec), more(limits.rate_stanzas_per_sec));
        let granted = |rate: u64| rate.saturating_mul(millis) / 1_000;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_sub(granted(byte_rate));
        self.bytes = self.bytes.saturating_add(bytes);
        self.stanzas = self.stanzas.saturating_sub(granted(stanza_rate));
        let over = self.bytes.saturating_sub(limits.rate_burst_bytes);
        let byte_millis = over.saturating_mul(1_000) / byte_rate.max(1);
        let burst = stanza_rate.saturating_mul(STANZA_BURST_SECS);
        let over = self.stanzas.saturating_sub(burst);
        let stanza_millis = over.saturating_mul(1_000) / stanza_rate.max(1);
        Duration::from_millis(byte_millis.max(stanza_millis))
    }

    /// Adds a stanza.
    pub fn count(&mut self) {
        self.stanzas = self.stanzas.saturating_add(1);
    }
}
