//! What the streams of a server to other servers share.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::Mutex;
use verona_xmpp::dialback::Secret;

use crate::federation::reach::{Pair, Reach};
use crate::limits::{VERIFYING_MAX, VERIFYING_PER_ADDRESS_MAX};
use crate::stream::server::resumable::Resumable;

/// What the operator has set for streams between servers.
#[derive(Clone)]
pub struct Rules {
    /// Whether nothing but STARTTLS is done without TLS.
    pub require_tls: bool,
    /// Whether a peer needs a certificate that proves its domain; otherwise dialback over TLS does
    /// (XEP-0344).
    pub require_certificate: bool,
    /// Whether two domains may have a stream at all; None: all may.
    pub admits: Option<Admits>,
}

/// Says whether two domains may have a stream.
pub type Admits = Arc<dyn Fn(&Pair) -> bool + Send + Sync>;

impl Default for Rules {
    fn default() -> Self {
        Self { require_tls: true, require_certificate: false, admits: None }
    }
}

impl Rules {
    /// Whether two domains may have a stream.
    pub fn admits(&self, pair: &Pair) -> bool {
        self.admits.as_ref().is_none_or(|admits| admits(pair))
    }
}

/// What the streams to other servers share.
pub struct ServerStreams {
    /// What makes and checks dialback keys (XEP-0185).
    pub secret: Secret,
    /// Streams that may be resumed (XEP-0198 §5).
    pub resumable: Arc<Resumable>,
    reach: OnceLock<Arc<dyn Reach>>,
    rules: ArcSwap<Rules>,
    verifying: Mutex<HashMap<IpAddr, usize, ahash::RandomState>>,
}

impl ServerStreams {
    /// The state of a server with this key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            // Only here: what else is made of the installation's key never looks like this.
            secret: Secret::new(&[&key[..], b" dialback"].concat()),
            resumable: Arc::default(),
            reach: OnceLock::new(),
            rules: ArcSwap::from_pointee(Rules::default()),
            verifying: Mutex::default(),
        }
    }

    /// Says how other domains are reached. Only the first time counts.
    pub fn reach_by(&self, reach: Arc<dyn Reach>) {
        let _ = self.reach.set(reach);
    }

    /// How other domains are reached; None where nothing does.
    pub fn reach(&self) -> Option<Arc<dyn Reach>> {
        self.reach.get().cloned()
    }

    /// What the operator has set.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Takes over changed settings.
    pub fn set_rules(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// A place among the keys that are being verified, for one that came from this address; None
    /// when there are too many.
    pub fn begin_verifying(self: &Arc<Self>, peer: IpAddr) -> Option<Verifying> {
        let mut verifying = self.verifying.lock();
        let all = verifying.values().fold(0, |sum: usize, count| sum.saturating_add(*count));
        let count = verifying.get(&peer).copied().unwrap_or_default();
        if all >= VERIFYING_MAX || count >= VERIFYING_PER_ADDRESS_MAX {
            return None;
        }
        verifying.insert(peer, count.saturating_add(1));
        Some(Verifying { streams: self.clone(), peer })
    }
}

/// A place among the keys that are being verified.
pub struct Verifying {
    streams: Arc<ServerStreams>,
    peer: IpAddr,
}

impl Drop for Verifying {
    fn drop(&mut self) {
        let mut verifying = self.streams.verifying.lock();
        if let Some(count) = verifying.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                verifying.remove(&self.peer);
            }
        }
    }
}
