//! How fast a session may send. It is paused, nothing is dropped.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::limits::{Limits, SERVER_PACE_FACTOR};
use crate::server::Server;

/// A burst of stanzas may be what is granted in so many seconds.
const STANZA_BURST_SECS: u64 = 10;

/// Two buckets that fill with time, for bytes and for stanzas.
pub struct Pace {
    /// How much more is granted than to a client.
    factor: u64,
    /// Bytes over what has been granted, when positive.
    bytes: u64,
    stanzas: u64,
    last: Option<Instant>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { factor: 1, bytes: 0, stanzas: 0, last: None, pause: None }
    }
}

impl Pace {
    /// The pace of another server.
    pub fn between_servers() -> Self {
        Self { factor: SERVER_PACE_FACTOR, ..Self::default() }
    }

    /// Notes bytes that were read.
    pub fn spend(&mut self, bytes: usize, server: &Server) {
        self.spend_of(bytes, &server.policy().limits);
    }

    /// The same with bounds of its own.
    pub fn spend_of(&mut self, bytes: usize, limits: &Limits) {
        if limits.unlimited {
            return;
        }
        let now = Instant::now();
        let millis = self.last.map_or(0, |last| now.duration_since(last).as_millis());
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        // Less than a millisecond grants nothing and is counted the next time.
        if self.last.is_none() || millis > 0 {
            self.last = Some(now);
        }
        let more = |rate: u64| rate.saturating_mul(self.factor);
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
        let wait = byte_millis.max(stanza_millis);
        if wait > 0 {
            let pause = tokio::time::sleep(Duration::from_millis(wait));
            self.pause = Some(Box::pin(pause));
        }
    }

    /// Notes a stanza that was handled.
    pub fn count(&mut self, server: &Server) {
        if !server.policy().limits.unlimited {
            self.stanzas = self.stanzas.saturating_add(1);
        }
    }

    /// Waits until the session may be read again.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        Poll::Ready(())
    }
}
