//! Failed logins per address: after a number of them within a time, answers come later.
//!
//! The account is never locked: that would let anybody lock anybody out.

use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;

/// How many addresses are remembered; beyond that the oldest are forgotten.
const ADDRESSES_MAX: usize = 100_000;

/// Counts failed logins per address.
#[derive(Debug, Default)]
pub struct LoginGuard {
    failures: Mutex<HashMap<IpAddr, Failures, ahash::RandomState>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    /// Server uptime in seconds at the first of them.
    since_secs: u32,
}

/// When and how long to delay.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Failures that are answered at once.
    pub failures_max: u32,
    /// The time in which they count.
    pub window_secs: u32,
    /// The longest delay.
    pub delay_secs_max: u32,
}

impl LoginGuard {
    /// Notes a failure.
    pub fn failed(&self, peer: IpAddr, now_secs: u32, patience: Patience) {
        let mut failures = self.failures.lock();
        if failures.len() >= ADDRESSES_MAX {
            failures.retain(|_, known| !known.is_over(now_secs, patience));
            if failures.len() >= ADDRESSES_MAX {
                failures.clear();
            }
        }
        let known =
            failures.entry(network(peer)).or_insert(Failures { count: 0, since_secs: now_secs });
        if known.is_over(now_secs, patience) {
            *known = Failures { count: 0, since_secs: now_secs };
        }
        known.count = known.count.saturating_add(1);
    }

    /// How long the next answer to this address waits: doubling from one second.
    pub fn delay(&self, peer: IpAddr, now_secs: u32, patience: Patience) -> Option<Duration> {
        let failures = self.failures.lock();
        let known = failures.get(&network(peer)).filter(|known| !known.is_over(now_secs, patience));
        let over = known?.count.checked_sub(patience.failures_max)?;
        let secs = 1u64.checked_shl(over).unwrap_or(u64::MAX);
        Some(Duration::from_secs(secs.min(patience.delay_secs_max.into())))
    }
}

impl Failures {
    fn is_over(self, now_secs: u32, patience: Patience) -> bool {
        now_secs.saturating_sub(self.since_secs) > patience.window_secs
    }
}

/// What counts as one address: IPv4 whole, IPv6 the first 56 bits, which one customer gets.
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !(u128::MAX >> 56)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { failures_max: 2, window_secs: 600, delay_secs_max: 30 };

    #[test]
    fn delays_grow_after_the_allowed_failures_and_end_with_the_window() {
        let guard = LoginGuard::default();
        let peer: IpAddr = [127, 0, 0, 1].into();
        let secs = |now| guard.delay(peer, now, PATIENCE).map(|delay| delay.as_secs());
        guard.failed(peer, 0, PATIENCE);
        assert_eq!(secs(0), None);
        guard.failed(peer, 1, PATIENCE);
        assert_eq!(secs(1), Some(1));
        guard.failed(peer, 2, PATIENCE);
        assert_eq!(secs(2), Some(2));
        for _ in 0..200 {
            guard.failed(peer, 3, PATIENCE);
        }
        assert_eq!(secs(3), Some(30));
        assert_eq!(secs(601), None);
    }

    #[test]
    fn addresses_of_one_ipv6_customer_count_as_one() {
        let one: IpAddr = "2001:db8:0:1200::1".parse().unwrap();
        let other: IpAddr = "2001:db8:0:12ff:1::2".parse().unwrap();
        assert_eq!(network(one), network(other));
    }
}
