//! How often networks register: accounts that they make, and names that they try.

use std::net::IpAddr;

use hashbrown::HashMap;
use verona_core::limits::{
    REGISTERING_NETWORKS_MAX, REGISTRATION_TRIES_PER_MINUTE, REGISTRATIONS_PER_MINUTE,
};

/// How much each network has registered within a minute.
#[derive(Default)]
pub struct Networks {
    known: HashMap<IpAddr, Count, ahash::RandomState>,
}

struct Count {
    tries: u32,
    made: u32,
    since_secs: u32,
}

impl Networks {
    /// Counts a try to make an account; false when there were too many. Names that are tried are
    /// counted also of who is invited: an invitation is for one account, not for a look at who is here.
    pub fn may_try(&mut self, network: IpAddr, now_secs: u32, invited: bool) -> bool {
        let over = |count: &Count| now_secs.saturating_sub(count.since_secs) >= 60;
        if self.known.len() >= REGISTERING_NETWORKS_MAX {
            self.known.retain(|_, count| !over(count));
            if self.known.len() >= REGISTERING_NETWORKS_MAX {
                self.known.clear();
            }
        }
        let fresh = Count { tries: 0, made: 0, since_secs: now_secs };
        let count = self.known.entry(network).or_insert(fresh);
        if over(count) {
            *count = Count { tries: 0, made: 0, since_secs: now_secs };
        }
        let made_too_many = !invited && count.made >= REGISTRATIONS_PER_MINUTE;
        if count.tries >= REGISTRATION_TRIES_PER_MINUTE || made_too_many {
            return false;
        }
        count.tries = count.tries.saturating_add(1);
        // Until it has failed it counts as made, so that several at once do not get past the bound.
        count.made = count.made.saturating_add(u32::from(!invited));
        true
    }

    /// A try that did not make an account after all.
    pub fn failed(&mut self, network: IpAddr, invited: bool) {
        if let Some(count) = self.known.get_mut(&network) {
            count.made = count.made.saturating_sub(u32::from(!invited));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_network_makes_three_accounts_a_minute() {
        let mut networks = Networks::default();
        for _ in 0..REGISTRATIONS_PER_MINUTE {
            assert!(networks.may_try(PEER, 5, false));
        }
        assert!(!networks.may_try(PEER, 5, false));
        assert!(networks.may_try(OTHER, 5, false));
        assert!(!networks.may_try(PEER, 64, false));
        assert!(networks.may_try(PEER, 65, false));
    }

    #[test]
    fn who_is_invited_waits_for_no_minute() {
        let mut networks = Networks::default();
        for _ in 0..REGISTRATIONS_PER_MINUTE {
            assert!(networks.may_try(PEER, 5, false));
        }
        assert!(networks.may_try(PEER, 5, true));
    }

    #[test]
    fn names_are_not_tried_without_end() {
        for invited in [false, true] {
            let mut networks = Networks::default();
            let mut tries = 0;
            while tries < 100 && networks.may_try(PEER, 0, invited) {
                networks.failed(PEER, invited);
                tries += 1;
            }
            assert_eq!(tries, REGISTRATION_TRIES_PER_MINUTE);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut networks = Networks::default();
        for number in 0..u32::try_from(REGISTERING_NETWORKS_MAX * 2).expect("a small number") {
            networks.may_try(IpAddr::V4(number.into()), 0, false);
        }
        assert!(networks.known.len() <= REGISTERING_NETWORKS_MAX);
    }
}
