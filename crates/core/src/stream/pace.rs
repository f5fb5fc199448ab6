//! How fast a session may send. It is paused, nothing is dropped.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::time::Sleep;

use crate::limits::{Limits, SERVER_PACE_FACTOR};
use crate::server::Server;
use crate::stream::spent::Spent;

/// What a session has sent and may send.
pub struct Pace {
    /// How much more is granted than to a client.
    factor: u64,
    spent: Spent,
    /// What all sessions of one source have spent together; then `spent` is not used.
    shared: Option<Arc<Mutex<Spent>>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { factor: 1, spent: Spent::default(), shared: None, pause: None }
    }
}

impl Pace {
    /// The pace of another server, which shares it with its other streams.
    pub fn between_servers(shared: Option<Arc<Mutex<Spent>>>) -> Self {
        Self { factor: SERVER_PACE_FACTOR, shared, ..Self::default() }
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
        let wait = match &self.shared {
            Some(shared) => shared.lock().add(bytes, self.factor, limits),
            None => self.spent.add(bytes, self.factor, limits),
        };
        if !wait.is_zero() {
            self.pause = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }

    /// Notes a stanza that was handled.
    pub fn count(&mut self, server: &Server) {
        if server.policy().limits.unlimited {
            return;
        }
        match &self.shared {
            Some(shared) => shared.lock().count(),
            None => self.spent.count(),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn streams_of_one_domain_share_what_it_may_send() {
        let limits = Limits::default();
        let burst = usize::try_from(limits.rate_burst_bytes).unwrap();
        let shared = Arc::default();
        let mut streams = [0; 2].map(|_| Pace::between_servers(Some(Arc::clone(&shared))));
        streams[0].spend_of(burst, &limits);
        assert!(streams[0].pause.is_none(), "so much may come at once");
        // 1 MiB a second for all of them: the other stream waits as the first would.
        let waits = |wait: Duration| (400..=500).contains(&wait.as_millis());
        let begun = Instant::now();
        streams[1].spend_of(512 * 1024, &limits);
        let wait = streams[1].pause.as_ref().map(|pause| pause.deadline() - begun);
        assert!(wait.is_some_and(waits), "{wait:?}");
        let mut other = Pace::between_servers(Some(Arc::default()));
        other.spend_of(burst, &limits);
        assert!(other.pause.is_none(), "another domain does not feel it");
    }
}
