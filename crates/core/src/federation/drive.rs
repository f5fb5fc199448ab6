//! What looks after the connection of a route for as long as there is something to send: opens a
//! stream, runs it, and tries again with growing pauses when that fails.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::stanza::{Kind, Stanza};

use crate::federation::queue::Entry;
use crate::federation::route::Route;
use crate::federation::session::{self, Worth};
use crate::federation::standing::{Failed, Lost};
use crate::limits::{ESTABLISH_SECS, STREAM_SHORT_SECS};
use crate::server::Server;
use crate::stream::server::failure::Failure;
use crate::stream::server::outgoing::{Attempt, establish};

impl Server {
    /// Looks after the connection of a route until nothing waits for it. Who has asked
    /// [`Route::begin`] calls this, so that there is one such task for each.
    pub(crate) fn look_after(self: &Arc<Self>, route: Arc<Route>) {
        let server = self.clone();
        tokio::spawn(async move {
            let driven = std::panic::AssertUnwindSafe(drive(&server, &route)).catch_unwind();
            if driven.await.is_err() {
                tracing::error!(pair = %route.pair, "the task of a route panicked");
                while !route.rest() {
                    server.return_all(&route, Condition::InternalServerError);
                }
            }
        });
    }

    /// Takes what an older stream, which its peer may resume, had sent for a route and brings it back
    /// into the queue.
    pub(crate) fn reclaim(self: &Arc<Self>, route: &Arc<Route>) {
        match route.take_lost() {
            Some(Lost::Theirs(id, _)) => {
                if let Some(managed) = self.streams.resumable.reclaim(&route.pair, &id) {
                    self.give_back_managed(managed);
                }
            }
            Some(Lost::Ours(managed, _)) => self.give_back_managed(*managed),
            None => {}
        }
    }

    /// Sends all that waits for a domain back, and forgets a stream that was lost.
    fn return_all(self: &Arc<Self>, route: &Arc<Route>, condition: Condition) {
        self.reclaim(route);
        let all = route.take_all(&self.federation.gauge);
        self.return_entries(all, &StanzaError::new(condition));
    }
}

async fn drive(server: &Arc<Server>, route: &Arc<Route>) {
    loop {
        wait(server, route).await;
        if server.federation.is_stopping() || route.rest() {
            return;
        }
        route.connecting();
        attempt(server, route).await;
    }
}

/// Waits until the next try is due. Meanwhile what waits for too long goes back.
async fn wait(server: &Arc<Server>, route: &Arc<Route>) {
    loop {
        let again = route.again.notified();
        expire(server, route);
        if let Some(until) = route.waits_for_peer() {
            let left = until.saturating_duration_since(Instant::now());
            if timeout(left, again).await.is_err() {
                server.reclaim(route);
            }
            if route.is_connected() {
                return;
            }
            continue;
        }
        let Some(pause) = route.pause().filter(|_| !server.federation.is_stopping()) else {
            return;
        };
        // Not all at once, so that the oldest message goes back when its time is over.
        let _ = timeout(pause.min(expiry(server, route)), again).await;
        if route.is_connected() {
            return;
        }
    }
}

/// How long the oldest message may still wait.
fn expiry(server: &Server, route: &Route) -> Duration {
    let most = Duration::from_secs(server.federation.terms().queue_secs);
    let now = server.clock.now_micros();
    let age = |seq| Duration::from_micros(now.saturating_sub(seq));
    let left = route.oldest().map_or(most, |seq| most.saturating_sub(age(seq)));
    // Clocks do not agree to the millisecond.
    left.saturating_add(Duration::from_millis(10))
}

/// Sends back what has waited for too long; then it is too late for a lost stream as well.
fn expire(server: &Arc<Server>, route: &Arc<Route>) {
    if let Some(Lost::Ours(managed, _)) = route.take_lost_for_good() {
        server.give_back_managed(*managed);
    }
    let terms = server.federation.terms().clone();
    let now = server.clock.now_micros();
    let is_waiting = route.pause().is_some();
    let limit = now.saturating_sub(terms.queue_secs.saturating_mul(1_000_000));
    // What is in no log came since the last try, or does not wait for the next.
    let old = route.take_where(
        |entry| entry.seq <= limit && (entry.seq > 0 || (is_waiting && asks(entry))),
        &server.federation.gauge,
    );
    if !old.is_empty() {
        let condition = route.standing().failed.map(|failed| failed.condition);
        let condition = condition.unwrap_or(Condition::RemoteServerTimeout);
        server.return_entries(old, &StanzaError::new(condition));
    }
}

fn asks(entry: &Entry) -> bool {
    Stanza::parse(&entry.text).is_ok_and(|stanza| matches!(stanza.kind(), Kind::Iq(_)))
}

/// Opens a stream and runs it to its end.
async fn attempt(server: &Arc<Server>, route: &Arc<Route>) {
    let (former, until) = match route.take_lost_of_ours() {
        Some(Lost::Ours(managed, until)) => (Some(managed), Some(until)),
        _ => (None, None),
    };
    let begun = Instant::now();
    // What takes too long is dropped, with all that it holds.
    let copy = former.clone();
    let establishing: BoxFuture<'_, Attempt> = Box::pin(establish(server, &route.pair, former));
    match patiently(server, route, establishing).await {
        Ok(Ok(established)) => {
            let worth = Box::pin(session::run(server.clone(), established)).await;
            let is_short = begun.elapsed() <= Duration::from_secs(STREAM_SHORT_SECS);
            let cause = match worth {
                Worth::Unanswered => "it negotiates and then does not answer",
                Worth::None if is_short => "the stream ended as soon as it stood",
                _ => return route.served(),
            };
            let condition = Condition::RemoteServerTimeout;
            let steps = vec![cause.to_owned()];
            failed(server, route, &Failure::new(condition, true, steps));
        }
        Ok(Err((failure, former))) => {
            if let (Some(managed), Some(until)) = (former, until) {
                route.park(Lost::Ours(managed, until));
            }
            failed(server, route, &failure);
        }
        Err(_) => {
            if let (Some(managed), Some(until)) = (copy, until) {
                route.park(Lost::Ours(managed, until));
            }
            let condition = Condition::RemoteServerTimeout;
            let steps = vec!["the server takes too long to negotiate".to_owned()];
            failed(server, route, &Failure::new(condition, true, steps));
        }
    }
}

/// Waits for a stream, if it comes in time. Meanwhile what waits for too long goes back.
async fn patiently(
    server: &Arc<Server>,
    route: &Arc<Route>,
    establishing: BoxFuture<'_, Attempt>,
) -> Result<Attempt, Elapsed> {
    let mut limited = Box::pin(timeout(Duration::from_secs(ESTABLISH_SECS), establishing));
    loop {
        match timeout(expiry(server, route), &mut limited).await {
            Ok(outcome) => return outcome,
            Err(_) => expire(server, route),
        }
    }
}

/// A try has failed: what does not wait goes back at once.
fn failed(server: &Arc<Server>, route: &Arc<Route>, failure: &Failure) {
    let cause = failure.steps.join("; ");
    let most = server.federation.terms().retry_secs_max;
    route.failed(|tries| Failed {
        condition: failure.condition,
        retry: failure.retry,
        cause: cause.clone(),
        at: SystemTime::now(),
        until: Instant::now() + backoff(tries, most),
    });
    let standing = route.standing();
    tracing::warn!(
        pair = %route.pair, cause, waiting = standing.stanzas,
        "no stream to another server"
    );
    if failure.retry {
        let gone = route.take_where(|entry| entry.seq == 0, &server.federation.gauge);
        server.return_entries(gone, &StanzaError::new(failure.condition));
    } else {
        server.return_all(route, failure.condition);
    }
    if route.is_given_up() {
        server.tell_gone(&route.pair);
    }
}

/// Twice as long after each try, up to a bound, and never the same for all.
fn backoff(tries: u32, most_secs: u64) -> Duration {
    let secs = 1_u64.checked_shl(tries.saturating_sub(2)).unwrap_or(u64::MAX);
    let millis = match tries {
        // A connection that breaks now and then is soon there again.
        0 | 1 => 100,
        _ => secs.min(most_secs).saturating_mul(1_000).max(100),
    };
    let mut byte = [0_u8; 1];
    // Without randomness they are the same for all, which is no fault.
    let _ = getrandom::fill(&mut byte);
    let jitter = millis.saturating_mul(u64::from(byte[0])) / 512;
    Duration::from_millis(millis.saturating_sub(jitter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_their_bound() {
        for (tries, most) in [(1, 100), (2, 1_000), (4, 4_000), (20, 300_000), (200, 300_000)] {
            let pause = backoff(tries, 300);
            let most = Duration::from_millis(most);
            assert!(pause <= most && pause >= most / 2, "{tries}: {pause:?}");
        }
    }
}
