//! All that the server knows of domains elsewhere: a route for each pair, the streams, the terms.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use hashbrown::{Equivalent, HashMap};
use parking_lot::{Mutex, RwLock};
use verona_xmpp::jid::Jid;

use crate::federation::gauge::Gauge;
use crate::federation::reach::Pair;
use crate::federation::route::Route;
use crate::federation::seen::Seen;
use crate::federation::streams::Streams;
use crate::federation::terms::Terms;
use crate::limits::{ROUTE_IDLE_SECS, ROUTES_MAX};
use crate::stream::spent::Spent;

/// What the server knows of domains elsewhere.
#[derive(Debug, Default)]
pub struct Federation {
    routes: RwLock<HashMap<Key, Arc<Route>, ahash::RandomState>>,
    terms: ArcSwap<Terms>,
    /// What all routes share.
    pub gauge: Gauge,
    /// The streams that stand.
    pub streams: Arc<Streams>,
    /// Who elsewhere is seen here.
    pub seen: Seen,
    /// What each domain elsewhere has sent of late, on all streams that stand with it.
    spent: Mutex<HashMap<Box<str>, Weak<Mutex<Spent>>, ahash::RandomState>>,
    stopping: AtomicBool,
}

/// The domains of a pair: ours, theirs.
type Key = (Box<str>, Box<str>);

/// The same, borrowed.
#[derive(Hash)]
struct Domains<'a>(&'a str, &'a str);

impl Equivalent<Key> for Domains<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.0 == *key.0 && *self.1 == *key.1
    }
}

impl Federation {
    /// What the operator has set.
    pub fn terms(&self) -> arc_swap::Guard<Arc<Terms>> {
        self.terms.load()
    }

    /// Takes over changed settings.
    pub fn set_terms(&self, terms: Terms) {
        self.terms.store(Arc::new(terms));
    }

    /// The route between two domains, if there is one.
    pub fn find(&self, local: &str, remote: &str) -> Option<Arc<Route>> {
        self.routes.read().get(&Domains(local, remote)).cloned()
    }

    /// The route between the domains of two addresses; None when there are too many routes.
    pub fn route(&self, local: &Jid, remote: &Jid) -> Option<Arc<Route>> {
        if let Some(route) = self.find(local.domain(), remote.domain()) {
            return Some(route);
        }
        let mut routes = self.routes.write();
        if routes.len() >= ROUTES_MAX {
            return None;
        }
        let key = (local.domain().into(), remote.domain().into());
        let pair = || Pair { local: local.domain_jid(), remote: remote.domain_jid() };
        Some(routes.entry(key).or_insert_with(|| Arc::new(Route::new(pair()))).clone())
    }

    /// All routes.
    pub fn routes(&self) -> Vec<Arc<Route>> {
        self.routes.read().values().cloned().collect()
    }

    /// What a domain elsewhere has sent of late; it is shared by all who hold it.
    pub fn spent(&self, domain: &str) -> Arc<Mutex<Spent>> {
        let mut all = self.spent.lock();
        if let Some(spent) = all.get(domain).and_then(Weak::upgrade) {
            return spent;
        }
        let spent = Arc::default();
        all.insert(domain.into(), Arc::downgrade(&spent));
        spent
    }

    /// Forgets routes that nobody has used for long, and what domains without a stream have sent.
    pub fn sweep(&self, now_secs: u32) {
        self.spent.lock().retain(|_, spent| spent.strong_count() > 0);
        self.routes.write().retain(|_, route| {
            // Who has just looked one up holds it as well.
            Arc::strong_count(route) > 1 || !route.is_stale(now_secs, ROUTE_IDLE_SECS)
        });
    }

    /// Opens no more streams from now on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the server goes away.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_domain_has_sent_is_one_for_all_its_streams_and_ends_with_them() {
        let federation = Federation::default();
        let one = federation.spent("capulet.lit");
        assert!(Arc::ptr_eq(&one, &federation.spent("capulet.lit")));
        let other = federation.spent("mantua.lit");
        assert!(!Arc::ptr_eq(&one, &other));
        drop(one);
        federation.sweep(0);
        assert_eq!(federation.spent.lock().len(), 1, "the one that somebody holds");
    }
}
