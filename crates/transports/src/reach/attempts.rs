//! Many addresses, one connection: each attempt begins a little after the one before, and the first
//! that succeeds is taken (RFC 8305 §5).

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

/// RFC 8305 §8: an attempt begins this long after the one before.
const STAGGER: Duration = Duration::from_millis(250);

/// How long all addresses of one place are waited for before the next place is tried too: who gave
/// it less priority wanted it to be used seldom.
const PATIENCE: Duration = Duration::from_secs(3);

/// Attempts that run, and what became of the others.
pub(crate) struct Attempts<F> {
    running: FuturesUnordered<F>,
    failures: Vec<String>,
}

impl<T, F: Future<Output = Result<T, String>>> Attempts<F> {
    pub(crate) fn new() -> Self {
        Self { running: FuturesUnordered::new(), failures: Vec::new() }
    }

    /// Begins attempts one by one, and waits for them as long as it makes sense before others begin.
    pub(crate) async fn race(&mut self, attempts: impl IntoIterator<Item = F>) -> Option<T> {
        for attempt in attempts {
            self.running.push(attempt);
            if let Some(done) = self.wait(Instant::now() + STAGGER, Until::OneFails).await {
                return Some(done);
            }
        }
        self.wait(Instant::now() + PATIENCE, Until::AllFail).await
    }

    /// Waits for those that still run.
    pub(crate) async fn finish(&mut self) -> Option<T> {
        while let Some(outcome) = self.running.next().await {
            match outcome {
                Ok(done) => return Some(done),
                Err(failure) => self.failures.push(failure),
            }
        }
        None
    }

    /// What became of those that failed since this was asked last.
    pub(crate) fn failures(&mut self) -> Vec<String> {
        std::mem::take(&mut self.failures)
    }

    async fn wait(&mut self, deadline: Instant, until: Until) -> Option<T> {
        // None: nothing runs, or the time is up.
        while let Ok(Some(outcome)) = timeout_at(deadline, self.running.next()).await {
            match outcome {
                Ok(done) => return Some(done),
                Err(failure) => self.failures.push(failure),
            }
            if until == Until::OneFails {
                break;
            }
        }
        None
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Until {
    OneFails,
    AllFail,
}

/// RFC 8305 §4: families in turn, IPv6 first, each address once.
pub(crate) fn interleave(v6: Vec<IpAddr>, v4: Vec<IpAddr>, max: usize) -> Vec<IpAddr> {
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut all: Vec<IpAddr> = Vec::new();
    loop {
        let pair = [v6.next(), v4.next()];
        if pair == [None, None] || all.len() >= max {
            all.truncate(max);
            return all;
        }
        for address in pair.into_iter().flatten() {
            if !all.contains(&address) {
                all.push(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    async fn attempt(millis: u64, outcome: Result<u32, String>) -> Result<u32, String> {
        sleep(Duration::from_millis(millis)).await;
        outcome
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_costs_a_quarter_of_a_second() {
        let begun = Instant::now();
        let mut attempts = Attempts::new();
        let done = attempts.race([attempt(60_000, Ok(1)), attempt(20, Ok(2))]).await;
        assert_eq!(done, Some(2));
        assert_eq!(begun.elapsed(), Duration::from_millis(270));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_costs_nothing() {
        let begun = Instant::now();
        let mut attempts = Attempts::new();
        let done = attempts.race([attempt(1, Err("refused".to_owned())), attempt(1, Ok(2))]).await;
        assert_eq!(done, Some(2));
        assert_eq!(begun.elapsed(), Duration::from_millis(2));
        assert_eq!(attempts.failures(), ["refused"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_may_still_win_when_others_have_begun() {
        let mut attempts = Attempts::new();
        assert_eq!(attempts.race([attempt(5_000, Ok(1))]).await, None);
        let refused = attempt(1, Err("refused".to_owned()));
        let done = match attempts.race([refused]).await {
            Some(done) => Some(done),
            None => attempts.finish().await,
        };
        assert_eq!(done, Some(1));
    }

    #[test]
    fn families_take_turns() {
        let parse = |all: &[&str]| -> Vec<IpAddr> {
            all.iter().map(|address| address.parse().expect("an address")).collect()
        };
        let v6 = parse(&["2001:db8::1", "2001:db8::2", "2001:db8::3"]);
        let v4 = parse(&["192.0.2.1", "192.0.2.1"]);
        let mixed = interleave(v6, v4, 4);
        assert_eq!(mixed, parse(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"]));
    }
}
