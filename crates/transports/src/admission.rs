//! Who may come in: how many connections one address may have that are not logged in, and how many
//! new ones a second.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use std::collections::HashMap;

use verona_core::limits::Limits;
use verona_core::login::guard::network;

/// Addresses that are remembered at most; beyond that those without a connection are forgotten.
const ADDRESSES_MAX: usize = 100_000;

/// Seconds of new connections that an address may bring at once.
const BURST_SECS: f64 = 4.0;

/// The counters.
#[derive(Debug, Default)]
pub struct Admission {
    addresses: Mutex<HashMap<IpAddr, Address>>,
}

#[derive(Debug)]
struct Address {
    /// Connections that are not logged in.
    unknown: u32,
    /// What is left of the allowance for new connections.
    allowance: f64,
    last: Instant,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub struct Guest {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Admission {
    /// Counts a new connection; None when its address has too many.
    pub fn admit(self: &Arc<Self>, peer: IpAddr, limits: &Limits) -> Option<Guest> {
        let address = network(peer);
        let now = Instant::now();
        let rate = f64::from(limits.connections_per_sec_per_address);
        let mut addresses = self.addresses.lock();
        if addresses.len() >= ADDRESSES_MAX {
            addresses.retain(|_, known| known.unknown > 0);
        }
        let known = addresses.entry(address).or_insert(Address {
            unknown: 0,
            allowance: rate * BURST_SECS,
            last: now,
        });
        let passed = now.duration_since(known.last).as_secs_f64();
        known.allowance = (known.allowance + passed * rate).min(rate * BURST_SECS);
        known.last = now;
        if !limits.unlimited
            && (known.unknown >= limits.unauthenticated_per_address || known.allowance < 1.0)
        {
            return None;
        }
        known.allowance -= 1.0;
        known.unknown = known.unknown.saturating_add(1);
        drop(addresses);
        Some(Guest { admission: self.clone(), address })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut addresses = self.admission.addresses.lock();
        if let Some(known) = addresses.get_mut(&self.address) {
            known.unknown = known.unknown.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_too_many_unknown_connections_waits_until_one_ends() {
        let admission = Arc::new(Admission::default());
        let limits = Limits { unauthenticated_per_address: 2, ..Limits::default() };
        let peer: IpAddr = [192, 0, 2, 1].into();
        let first = admission.admit(peer, &limits);
        let second = admission.admit(peer, &limits);
        assert!(first.is_some() && second.is_some());
        assert!(admission.admit(peer, &limits).is_none());
        assert!(admission.admit([192, 0, 2, 2].into(), &limits).is_some());
        drop(first);
        assert!(admission.admit(peer, &limits).is_some());
    }

    #[test]
    fn a_burst_of_new_connections_is_cut() {
        let admission = Arc::new(Admission::default());
        let limits = Limits { connections_per_sec_per_address: 1, ..Limits::default() };
        let peer: IpAddr = [192, 0, 2, 1].into();
        let taken = (0..20).filter(|_| admission.admit(peer, &limits).is_some()).count();
        assert_eq!(taken, 4);
    }
}
