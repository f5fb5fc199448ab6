//! RFC 6120 §13.12: how many distinct addresses a session sends to in a minute. Who talks has few; who
//! has a message for everybody is stopped.

use ahash::RandomState;
use hashbrown::HashSet;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::ns;
use verona_xmpp::stanza::{IqType, Kind, MessageType, PresenceType, Stanza};

use crate::server::{Seat, Server};

const WINDOW_SECS: u32 = 60;

/// The addresses that a session has sent to of late, as hashes.
#[derive(Debug, Default)]
pub struct Recipients {
    since_secs: u32,
    last: u64,
    seen: HashSet<u64, RandomState>,
}

impl Recipients {
    /// Whether one more address may be sent to; `now_secs` is uptime.
    fn admit(&mut self, address: &str, now_secs: u32, max: usize) -> bool {
        let hash = self.seen.hasher().hash_one(address);
        if hash == self.last {
            return true;
        }
        if now_secs.saturating_sub(self.since_secs) >= WINDOW_SECS {
            self.seen.clear();
            self.since_secs = now_secs;
        }
        if self.seen.len() >= max && !self.seen.contains(&hash) {
            return false;
        }
        self.seen.insert(hash);
        self.last = hash;
        true
    }
}

/// The error for a stanza that goes to one address too many. Answers and farewells are free: others
/// have asked for them.
pub fn refuse(
    recipients: &mut Option<Box<Recipients>>,
    (server, seat): (&Server, &Seat),
    stanza: &Stanza,
) -> Option<StanzaError> {
    let to = stanza.to()?;
    let is_free = matches!(
        stanza.kind(),
        Kind::Iq(IqType::Result | IqType::Error)
            | Kind::Message(MessageType::Error)
            | Kind::Presence(PresenceType::Unavailable | PresenceType::Error)
    );
    let policy = server.policy();
    if policy.limits.unlimited || is_free || to.same_bare(&seat.account.jid) || *to == seat.host.jid
    {
        return None;
    }
    let (now_secs, max) = (server.clock.uptime_secs(), policy.limits.recipients_per_minute);
    let recipients = recipients.get_or_insert_default();
    if recipients.admit(to.bare_str(), now_secs, max) {
        return None;
    }
    let error =
        StanzaError::new(Condition::PolicyViolation).text("too many recipients in a minute");
    // XEP-0205 §4.6
    Some(error.application("too-many-stanzas", ns::APPLICATION_ERRORS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_addresses_are_free_and_others_come_with_the_next_minute() {
        let mut recipients = Recipients::default();
        let mut admit = |address: &str, now_secs| recipients.admit(address, now_secs, 2);
        assert!(admit("romeo@montague.lit", 100) && admit("nurse@capulet.lit", 101));
        assert!(!admit("tybalt@capulet.lit", 102));
        for address in ["romeo@montague.lit", "nurse@capulet.lit", "nurse@capulet.lit"] {
            assert!(admit(address, 159), "{address}");
        }
        assert!(!admit("tybalt@capulet.lit", 159));
        assert!(admit("tybalt@capulet.lit", 160) && admit("romeo@montague.lit", 161));
        assert!(!admit("nurse@capulet.lit", 162));
    }
}
