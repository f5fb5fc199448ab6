//! The components that the operator has named.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use verona_xmpp::jid::Jid;

use crate::component::connected::Component;

/// All components, by domain.
#[derive(Debug, Default)]
pub struct Components {
    known: ArcSwap<HashMap<Box<str>, Arc<Component>, ahash::RandomState>>,
}

impl Components {
    /// The component that a domain belongs to: its own, or the nearest above that takes all below.
    pub fn find(&self, domain: &str) -> Option<Arc<Component>> {
        let known = self.known.load();
        if known.is_empty() {
            return None;
        }
        if let Some(component) = known.get(domain) {
            return Some(component.clone());
        }
        let mut rest = domain;
        while let Some((_, above)) = rest.split_once('.') {
            if let Some(component) = known.get(above).filter(|known| known.settings().subdomains) {
                return Some(component.clone());
            }
            rest = above;
        }
        None
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<Arc<Component>> {
        self.known.load().values().cloned().collect()
    }

    /// The one of exactly this domain.
    pub fn named(&self, domain: &Jid) -> Option<Arc<Component>> {
        self.known.load().get(domain.domain()).cloned()
    }

    /// Sets which ones there are. Returns those that are gone.
    pub(crate) fn set(&self, components: Vec<Arc<Component>>) -> Vec<Arc<Component>> {
        let named = components.into_iter().map(|known| (known.jid.domain().into(), known));
        let old = self.known.swap(Arc::new(named.collect()));
        let new = self.known.load();
        old.iter()
            .filter(|(domain, _)| !new.contains_key(*domain))
            .map(|(_, c)| c.clone())
            .collect()
    }
}
