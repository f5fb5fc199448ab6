//! Which pairs of domains a stream between servers has been verified for, and which way.

use std::time::SystemTime;

use smallvec::SmallVec;
use verona_xmpp::error::StreamCondition;
use verona_xmpp::jid::Jid;

use crate::federation::reach::{Pair, Proof, ProvenBy};

/// How sure it is who is at the other end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trust {
    /// What it rests on.
    pub by: Grounds,
    /// When what it rests on ends: then the stream is closed with `reset` (RFC 6120 §13.7.2.3).
    pub until: Option<SystemTime>,
}

/// What trust in a peer rests on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grounds {
    /// A certificate that proves the domain.
    Certificate(ProvenBy),
    /// The domain's records alone, which led to the server that confirmed it (XEP-0220 §3).
    Dialback,
}

impl Trust {
    /// Trust that rests on the domain's records alone.
    pub const DIALBACK: Self = Self { by: Grounds::Dialback, until: None };
}

impl From<Proof> for Trust {
    fn from(proof: Proof) -> Self {
        Self { by: Grounds::Certificate(proof.by), until: Some(proof.until) }
    }
}

/// The pairs of a stream.
#[derive(Clone, Debug, Default)]
pub struct Pairs(SmallVec<[Verified; 1]>);

/// A pair that a stream was verified for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    /// The domains.
    pub pair: Pair,
    /// How sure the remote one is.
    pub trust: Trust,
    /// Whether this server may send for it.
    pub sends: bool,
    /// Whether the peer may.
    pub receives: bool,
}

impl Pairs {
    /// All of them; the first is the one that the stream was opened for.
    pub fn iter(&self) -> impl Iterator<Item = &Verified> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes that a pair has been verified, in this direction besides any before.
    pub fn add(&mut self, verified: Verified) {
        match self.0.iter_mut().find(|known| known.pair == verified.pair) {
            Some(known) => {
                known.sends |= verified.sends;
                known.receives |= verified.receives;
                known.trust = verified.trust;
            }
            None => self.0.push(verified),
        }
    }

    /// What is known of a pair.
    pub fn find(&self, pair: &Pair) -> Option<&Verified> {
        self.0.iter().find(|known| known.pair == *pair)
    }

    /// Whether this server may send stanzas of a pair.
    pub fn may_send(&self, pair: &Pair) -> bool {
        self.find(pair).is_some_and(|known| known.sends)
    }

    /// Whether the peer may send a stanza with these addresses (RFC 6120 §8.1.1.2, §8.1.2.2).
    pub fn check(&self, from: Option<&Jid>, to: Option<&Jid>) -> Result<(), StreamCondition> {
        let (Some(from), Some(to)) = (from, to) else {
            return Err(StreamCondition::ImproperAddressing);
        };
        let mut theirs = self
            .0
            .iter()
            .filter(|known| known.receives && known.pair.remote.domain() == from.domain());
        let Some(first) = theirs.next() else { return Err(StreamCondition::InvalidFrom) };
        let fits = |known: &Verified| known.pair.local.domain() == to.domain();
        match fits(first) || theirs.any(fits) {
            true => Ok(()),
            false => Err(StreamCondition::HostUnknown),
        }
    }

    /// When the first of the certificates ends that the pairs rest on.
    pub fn until(&self) -> Option<SystemTime> {
        self.0.iter().filter_map(|known| known.trust.until).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn jid(text: &str) -> Jid {
        Jid::parse(text).unwrap()
    }

    fn pair(local: &str, remote: &str) -> Pair {
        Pair { local: jid(local), remote: jid(remote) }
    }

    fn verified(local: &str, remote: &str) -> Verified {
        let trust = Trust::DIALBACK;
        Verified { pair: pair(local, remote), trust, sends: false, receives: true }
    }

    #[test]
    fn only_stanzas_of_verified_pairs_may_come() {
        let mut pairs = Pairs::default();
        pairs.add(verified("montague.lit", "capulet.lit"));
        pairs.add(verified("rooms.montague.lit", "verona.lit"));
        pairs.add(Verified {
            sends: true,
            receives: false,
            ..verified("montague.lit", "mantua.lit")
        });
        let check = |from: &str, to: &str| pairs.check(Some(&jid(from)), Some(&jid(to)));
        assert_eq!(check("juliet@capulet.lit/balcony", "romeo@montague.lit"), Ok(()));
        assert_eq!(check("capulet.lit", "montague.lit"), Ok(()));
        let third = check("tybalt@other.lit", "romeo@montague.lit");
        assert_eq!(third, Err(StreamCondition::InvalidFrom));
        let crossed = check("juliet@capulet.lit", "hall@rooms.montague.lit");
        assert_eq!(crossed, Err(StreamCondition::HostUnknown));
        let swapped = check("romeo@montague.lit", "juliet@capulet.lit");
        assert_eq!(swapped, Err(StreamCondition::InvalidFrom));
        let backwards = check("apothecary@mantua.lit", "romeo@montague.lit");
        assert_eq!(backwards, Err(StreamCondition::InvalidFrom), "only we may send for that pair");
        let to = jid("romeo@montague.lit");
        assert_eq!(pairs.check(None, Some(&to)), Err(StreamCondition::ImproperAddressing));
        assert_eq!(pairs.check(Some(&to), None), Err(StreamCondition::ImproperAddressing));
    }

    #[test]
    fn directions_of_a_pair_add_up_and_the_first_certificate_to_end_counts() {
        let mut pairs = Pairs::default();
        pairs.add(verified("montague.lit", "capulet.lit"));
        assert!(!pairs.may_send(&pair("montague.lit", "capulet.lit")));
        assert_eq!(pairs.until(), None);
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
        let trust = Trust { by: Grounds::Certificate(ProvenBy::Pkix), until: Some(until) };
        let again = verified("montague.lit", "capulet.lit");
        pairs.add(Verified { sends: true, receives: false, trust, ..again });
        let later = Trust { until: Some(until + Duration::from_secs(1)), ..trust };
        pairs.add(Verified { trust: later, ..verified("montague.lit", "verona.lit") });
        assert!(pairs.may_send(&pair("montague.lit", "capulet.lit")));
        assert_eq!(pairs.len(), 2);
        assert_eq!(pairs.until(), Some(until));
        assert_eq!(pairs.check(Some(&jid("capulet.lit")), Some(&jid("montague.lit"))), Ok(()));
    }
}
