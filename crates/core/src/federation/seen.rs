//! Which entities elsewhere users here see as available: when the server of a domain goes away, they
//! hear that (RFC 6121 §4.5 leaves that to their own server, since nobody else is left to tell them).

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use smallvec::SmallVec;
use verona_xmpp::jid::Jid;
use verona_xmpp::stanza::{Kind, PresenceType, Stanza};

use crate::limits::{SEEN_MAX, SEEN_PER_DOMAIN_MAX};

/// The presence of entities elsewhere that was delivered here.
#[derive(Debug, Default)]
pub struct Seen {
    domains: Mutex<HashMap<Box<str>, Entities, ahash::RandomState>>,
}

/// The available entities of a domain, each with those here who saw it.
#[derive(Debug, Default)]
struct Entities {
    by_jid: HashMap<Jid, SmallVec<[Arc<str>; 1]>, ahash::RandomState>,
    count: usize,
}

impl Seen {
    /// Notes a presence that comes from elsewhere. Beyond a bound nothing is remembered: then the
    /// server of that domain can go away unnoticed, as without all this.
    pub fn note(&self, stanza: &Stanza) {
        let Kind::Presence(kind) = stanza.kind() else { return };
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return };
        match kind {
            PresenceType::Available => self.add(from, to),
            PresenceType::Unavailable | PresenceType::Error => self.remove(from, to),
            _ => {}
        }
    }

    fn add(&self, from: &Jid, to: &Jid) {
        let mut domains = self.domains.lock();
        if !domains.contains_key(from.domain()) {
            if domains.len() >= SEEN_MAX {
                return;
            }
            domains.insert(from.domain().into(), Entities::default());
        }
        let Some(entities) = domains.get_mut(from.domain()) else { return };
        if entities.count >= SEEN_PER_DOMAIN_MAX {
            return;
        }
        let by = entities.by_jid.entry(from.clone()).or_default();
        if by.iter().all(|known| **known != *to.as_str()) {
            by.push(to.as_str().into());
            entities.count = entities.count.saturating_add(1);
        }
    }

    fn remove(&self, from: &Jid, to: &Jid) {
        let mut domains = self.domains.lock();
        let Some(entities) = domains.get_mut(from.domain()) else { return };
        let Some(by) = entities.by_jid.get_mut(from) else { return };
        let before = by.len();
        by.retain(|known| **known != *to.as_str());
        entities.count = entities.count.saturating_sub(before.saturating_sub(by.len()));
        if by.is_empty() {
            entities.by_jid.remove(from);
        }
        if entities.by_jid.is_empty() {
            domains.remove(from.domain());
        }
    }

    /// Whether anybody here sees somebody of a domain as available.
    pub fn sees(&self, domain: &str) -> bool {
        self.domains.lock().contains_key(domain)
    }

    /// The domain is gone: what everybody here who saw somebody of it is told. Only what goes between
    /// it and one domain here, which is what is known to be gone.
    pub fn gone(&self, local: &str, remote: &str) -> Vec<Stanza> {
        let mut domains = self.domains.lock();
        let Some(entities) = domains.get_mut(remote) else { return Vec::new() };
        let mut told = Vec::new();
        for (from, by) in &mut entities.by_jid {
            by.retain(|to| {
                let Ok(to) = Jid::parse(to) else { return false };
                let ours = to.domain() == local;
                if ours {
                    told.push(Stanza::presence(Some("unavailable"), from, Some(&to), None));
                }
                !ours
            });
        }
        entities.by_jid.retain(|_, by| !by.is_empty());
        entities.count = entities.count.saturating_sub(told.len());
        if entities.by_jid.is_empty() {
            domains.remove(remote);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(kind: Option<&str>, from: &str, to: &str) -> Stanza {
        let jid = |text| Jid::parse(text).unwrap();
        Stanza::presence(kind, &jid(from), Some(&jid(to)), None)
    }

    #[test]
    fn who_was_seen_is_told_of_once() {
        let seen = Seen::default();
        let (one, two) = ("juliet@capulet.lit/balcony", "nurse@capulet.lit/kitchen");
        seen.note(&presence(None, one, "romeo@montague.lit"));
        seen.note(&presence(None, one, "romeo@montague.lit"));
        seen.note(&presence(None, one, "benvolio@verona.lit"));
        seen.note(&presence(None, two, "romeo@montague.lit"));
        seen.note(&presence(Some("unavailable"), two, "romeo@montague.lit"));
        let told = seen.gone("montague.lit", "capulet.lit");
        assert_eq!(told.len(), 1, "the nurse left by herself, Benvolio is elsewhere");
        let expected = presence(Some("unavailable"), one, "romeo@montague.lit");
        assert_eq!(told[0].text(), expected.text());
        assert!(seen.gone("montague.lit", "capulet.lit").is_empty());
        assert!(seen.sees("capulet.lit"));
        assert_eq!(seen.gone("verona.lit", "capulet.lit").len(), 1);
        assert!(!seen.sees("capulet.lit"));
    }
}
