//! Who may come in: how many connections one address may have, how many that are not logged in, and
//! how many new ones a second (XEP-0205 §4.1, §4.2).

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
    addresses: Mutex<Addresses>,
}

#[derive(Debug)]
struct Addresses {
    known: HashMap<IpAddr, Address>,
    /// Where those without a connection are forgotten again: were it the same number always, each new
    /// connection would look through all when so many are connected.
    forget_at: usize,
}

impl Default for Addresses {
    fn default() -> Self {
        Self { known: HashMap::default(), forget_at: ADDRESSES_MAX }
    }
}

#[derive(Debug)]
struct Address {
    /// Connections in all.
    connected: u32,
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

/// The same connection, counted among those that are not logged in until this is dropped.
#[derive(Debug)]
pub struct Unknown {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Admission {
    /// Counts a new connection; None when its address has too many.
    pub fn admit(self: &Arc<Self>, peer: IpAddr, limits: &Limits) -> Option<(Guest, Unknown)> {
        let address = network(peer);
        let now = Instant::now();
        let rate = f64::from(limits.connections_per_sec_per_address);
        let mut addresses = self.addresses.lock();
        if addresses.known.len() >= addresses.forget_at {
            addresses.known.retain(|_, known| known.connected > 0);
            addresses.forget_at = addresses.known.len().saturating_mul(2).max(ADDRESSES_MAX);
        }
        let known = addresses.known.entry(address).or_insert(Address {
            connected: 0,
            unknown: 0,
            allowance: rate * BURST_SECS,
            last: now,
        });
        let passed = now.duration_since(known.last).as_secs_f64();
        known.allowance = (known.allowance + passed * rate).min(rate * BURST_SECS);
        known.last = now;
        if !limits.unlimited
            && (known.connected >= limits.connections_per_address
                || known.unknown >= limits.unauthenticated_per_address
                || known.allowance < 1.0)
        {
            return None;
        }
        known.allowance -= 1.0;
        known.connected = known.connected.saturating_add(1);
        known.unknown = known.unknown.saturating_add(1);
        drop(addresses);
        let guest = Guest { admission: self.clone(), address };
        Some((guest, Unknown { admission: self.clone(), address }))
    }

    fn change(&self, address: &IpAddr, change: impl FnOnce(&mut Address)) {
        if let Some(known) = self.addresses.lock().known.get_mut(address) {
            change(known);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let less = |known: &mut Address| known.connected = known.connected.saturating_sub(1);
        self.admission.change(&self.address, less);
    }
}

impl Drop for Unknown {
    fn drop(&mut self) {
        let less = |known: &mut Address| known.unknown = known.unknown.saturating_sub(1);
        self.admission.change(&self.address, less);
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
    fn an_address_with_too_many_connections_waits_also_when_they_are_logged_in() {
        let admission = Arc::new(Admission::default());
        let limits = Limits { connections_per_address: 2, ..Limits::default() };
        let peer: IpAddr = [192, 0, 2, 1].into();
        let mut guests = Vec::new();
        for _ in 0..2 {
            let (guest, unknown) = admission.admit(peer, &limits).expect("room");
            drop(unknown);
            guests.push(guest);
        }
        assert!(admission.admit(peer, &limits).is_none());
        assert!(admission.admit([192, 0, 2, 2].into(), &limits).is_some());
        let lifted = Limits { unlimited: true, ..limits.clone() };
        assert!(admission.admit(peer, &lifted).is_some());
        guests.pop();
        assert!(admission.admit(peer, &limits).is_some());
    }

    #[test]
    fn addresses_with_connections_are_never_forgotten() {
        let admission = Arc::new(Admission::default());
        let limits = Limits { connections_per_address: 1, ..Limits::default() };
        let stays: IpAddr = [192, 0, 2, 1].into();
        let guest = admission.admit(stays, &limits);
        for number in 0..u32::try_from(ADDRESSES_MAX).expect("few") {
            drop(admission.admit(std::net::Ipv4Addr::from(number).into(), &limits));
        }
        assert!(admission.addresses.lock().known.len() < ADDRESSES_MAX);
        assert!(admission.admit(stays, &limits).is_none());
        drop(guest);
        assert!(admission.admit(stays, &limits).is_some());
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
