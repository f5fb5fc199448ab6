//! What entities can do, as they announce it. Who finds it out notes it here; who has to know before
//! it sends something asks here.
//!
//! An entity announces a key for its features (XEP-0115 §4). What was proven to belong to a key counts
//! for all who announce it; what was not counts for the one entity that said it.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use verona_xmpp::jid::Jid;

use crate::limits::PROVEN_FEATURES_BYTES_MAX;

/// The features of an entity (XEP-0030 §3.1).
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Features {
    sorted: Box<[Box<str>]>,
}

/// The features of all entities that announced some.
#[derive(Debug, Default)]
pub struct KnownFeatures {
    announced: RwLock<HashMap<Jid, Announced, ahash::RandomState>>,
    proven: Mutex<Proven>,
}

#[derive(Debug)]
struct Announced {
    key: Box<str>,
    features: Option<Arc<Features>>,
}

/// By key, in two generations: what is not asked for while one fills up is forgotten.
#[derive(Debug, Default)]
struct Proven {
    young: HashMap<Box<str>, Arc<Features>, ahash::RandomState>,
    old: HashMap<Box<str>, Arc<Features>, ahash::RandomState>,
    young_bytes: usize,
}

impl<'a> FromIterator<&'a str> for Features {
    fn from_iter<T: IntoIterator<Item = &'a str>>(features: T) -> Self {
        let mut sorted: Vec<Box<str>> = features.into_iter().map(Box::from).collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self { sorted: sorted.into() }
    }
}

impl Features {
    /// Whether a feature is among them.
    pub fn has(&self, feature: &str) -> bool {
        self.sorted.binary_search_by(|known| (**known).cmp(feature)).is_ok()
    }

    fn bytes(&self) -> usize {
        let each = size_of::<Box<str>>();
        self.sorted.iter().map(|feature| feature.len().saturating_add(each)).sum()
    }
}

impl KnownFeatures {
    /// Notes under which key an entity announces its features. True when they have to be found out:
    /// the key is new, for this entity and in general.
    pub fn announce(&self, entity: &Jid, key: &str) -> bool {
        if self.announced.read().get(entity).is_some_and(|known| *known.key == *key) {
            return false;
        }
        let features = self.proven.lock().get(key);
        let unknown = features.is_none();
        self.announced.write().insert(entity.clone(), Announced { key: key.into(), features });
        unknown
    }

    /// Notes the features of one entity, if it still announces this key.
    pub fn note(&self, entity: &Jid, key: &str, features: Features) {
        if let Some(known) = self.announced.write().get_mut(entity)
            && *known.key == *key
        {
            known.features = Some(Arc::new(features));
        }
    }

    /// Notes the features that were proven to belong to a key.
    pub fn prove(&self, key: &str, features: Features) {
        self.proven.lock().put(key.into(), Arc::new(features));
    }

    /// Forgets an entity that has left.
    pub fn forget(&self, entity: &Jid) {
        self.announced.write().remove(entity);
    }

    /// The features of an entity, by its full JID, if they are known.
    pub fn of(&self, entity: &Jid) -> Option<Arc<Features>> {
        let announced = self.announced.read();
        let known = announced.get(entity)?;
        known.features.clone().or_else(|| self.proven.lock().get(&known.key))
    }
}

impl Proven {
    fn get(&mut self, key: &str) -> Option<Arc<Features>> {
        if let Some(features) = self.young.get(key) {
            return Some(features.clone());
        }
        let (key, features) = self.old.remove_entry(key)?;
        self.put(key, features.clone());
        Some(features)
    }

    fn put(&mut self, key: Box<str>, features: Arc<Features>) {
        let bytes = features.bytes().saturating_add(key.len());
        if self.young_bytes.saturating_add(bytes) > PROVEN_FEATURES_BYTES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(key, features).is_none() {
            self.young_bytes = self.young_bytes.saturating_add(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> Jid {
        Jid::parse(text).unwrap()
    }

    fn features(feature: &str) -> Features {
        Features::from_iter([feature, "b", feature])
    }

    #[test]
    fn what_is_proven_counts_for_all_who_announce_it() {
        let known = KnownFeatures::default();
        let (juliet, romeo) =
            (jid("juliet@capulet.lit/balcony"), jid("romeo@montague.lit/orchard"));
        assert!(known.announce(&juliet, "key"));
        assert!(!known.announce(&juliet, "key"));
        assert_eq!(known.of(&juliet), None);
        known.prove("key", features("a"));
        assert!(!known.announce(&romeo, "key"));
        for entity in [&juliet, &romeo] {
            assert!(known.of(entity).is_some_and(|of| of.has("a") && of.has("b") && !of.has("c")));
        }
        known.forget(&juliet);
        assert_eq!(known.of(&juliet), None);
    }

    #[test]
    fn what_is_not_proven_counts_for_one_while_it_says_so() {
        let known = KnownFeatures::default();
        let (juliet, romeo) =
            (jid("juliet@capulet.lit/balcony"), jid("romeo@montague.lit/orchard"));
        assert!(known.announce(&juliet, "key"));
        known.note(&juliet, "key", features("a"));
        assert!(known.of(&juliet).is_some_and(|of| of.has("a")));
        assert!(known.announce(&romeo, "key"));
        assert_eq!(known.of(&romeo), None);
        // An answer that comes late is about what was announced before.
        assert!(known.announce(&juliet, "other"));
        known.note(&juliet, "key", features("a"));
        assert_eq!(known.of(&juliet), None);
        known.note(&jid("nurse@capulet.lit/hall"), "key", features("a"));
        assert_eq!(known.of(&jid("nurse@capulet.lit/hall")), None);
    }

    #[test]
    fn what_is_in_use_stays_when_much_comes() {
        let known = KnownFeatures::default();
        let (juliet, long) = (jid("juliet@capulet.lit/balcony"), "x".repeat(10_000));
        known.prove("used", features("a"));
        known.prove("unused", features("a"));
        assert!(!known.announce(&juliet, "used"));
        for number in 0..PROVEN_FEATURES_BYTES_MAX / 5_000 {
            known.prove(&number.to_string(), features(&long));
            assert!(known.proven.lock().get("used").is_some());
        }
        let mut proven = known.proven.lock();
        assert!(proven.get("unused").is_none());
        let kept = proven.young.values().chain(proven.old.values());
        assert!(kept.map(|features| features.bytes()).sum::<usize>() <= PROVEN_FEATURES_BYTES_MAX);
    }
}
