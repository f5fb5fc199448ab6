//! The whole: what every stream, session and module reaches.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use verona_xmpp::jid::Jid;
use verona_xmpp::sasl::decoy::Decoy;

use crate::account::Account;
use crate::account::directory::Directory;
use crate::clock::Clock;
use crate::host::Host;
use crate::limits::Limits;
use crate::login::guard::LoginGuard;
use crate::login::hashing::Hashing;
use crate::stanza_id::StanzaIds;
use crate::store::Store;
use crate::store::error::StoreError;

/// A running server.
pub struct Server {
    /// Where everything durable is.
    pub store: Arc<dyn Store>,
    /// The accounts in memory.
    pub directory: Directory,
    /// The clocks.
    pub clock: Clock,
    /// Counts the starts of this server on this data; part of every stanza id.
    pub epoch: u32,
    /// Keys that differ between installations: fake salts, stanza ids.
    pub secret: [u8; 32],
    /// Answers for accounts that do not exist.
    pub decoy: Arc<Decoy>,
    /// Where passwords are hashed.
    pub hashing: Hashing,
    /// Makes the ids under which messages are kept.
    pub ids: StanzaIds,
    /// Counts failed logins.
    pub logins: LoginGuard,
    hosts: ArcSwap<Hosts>,
    policy: ArcSwap<Policy>,
}

type Hosts = HashMap<Box<str>, Arc<Host>, ahash::RandomState>;

/// What the operator has set for all streams.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The bounds.
    pub limits: Limits,
    /// Whether a login needs TLS.
    pub require_tls: bool,
    /// Whether streams without a version and jabber:iq:auth are served (XEP-0078).
    pub legacy_auth: bool,
}

impl Server {
    /// A server on a store, without streams yet.
    pub fn new(
        store: Arc<dyn Store>,
        hosts: Vec<Host>,
        policy: Policy,
        identity: Identity,
    ) -> Arc<Self> {
        let hosts = hosts.into_iter().map(|host| (host.jid.as_str().into(), Arc::new(host)));
        Arc::new(Self {
            store,
            directory: Directory::default(),
            clock: Clock::default(),
            epoch: identity.epoch,
            secret: identity.secret,
            decoy: identity.decoy,
            hashing: Hashing::default(),
            ids: StanzaIds::new(&identity.secret),
            logins: LoginGuard::default(),
            hosts: ArcSwap::from_pointee(hosts.collect()),
            policy: ArcSwap::from_pointee(policy),
        })
    }

    /// The host of a domain, if it is served here.
    pub fn host(&self, domain: &str) -> Option<Arc<Host>> {
        self.hosts.load().get(domain).cloned()
    }

    /// All hosts, in no order.
    pub fn hosts(&self) -> Vec<Arc<Host>> {
        self.hosts.load().values().cloned().collect()
    }

    /// What the operator has set for all streams.
    pub fn policy(&self) -> arc_swap::Guard<Arc<Policy>> {
        self.policy.load()
    }

    /// Takes over changed settings; hosts that remain keep their sessions. Returns the domains that
    /// are served no longer.
    pub fn reload(&self, hosts: Vec<Host>, policy: Policy) -> Vec<Jid> {
        self.policy.store(Arc::new(policy));
        let old = self.hosts.load_full();
        let mut new = Hosts::default();
        for fresh in hosts {
            let key: Box<str> = fresh.jid.as_str().into();
            let host = match old.get(&key) {
                Some(known) => {
                    known.adopt(&fresh);
                    known.clone()
                }
                None => Arc::new(fresh),
            };
            new.insert(key, host);
        }
        let gone = old.iter().filter(|(domain, _)| !new.contains_key(*domain));
        let gone = gone.map(|(_, host)| host.jid.clone()).collect();
        self.hosts.store(Arc::new(new));
        gone
    }

    /// The account of a bare JID, from memory or from the store; None if there is none here.
    pub async fn account(&self, jid: &Jid) -> Result<Option<Arc<Account>>, StoreError> {
        if let Some(account) = self.directory.loaded(jid.bare_str()) {
            return Ok(Some(account));
        }
        let Some(host) = self.host(jid.domain()) else { return Ok(None) };
        if jid.local().is_none() {
            return Ok(None);
        }
        let registry = Arc::clone(&host.registry());
        self.directory.load(jid, &*self.store, &registry).await
    }
}

/// What tells this start of this installation from others; see [`crate::identity`].
#[derive(Clone)]
pub struct Identity {
    /// How often this server has been started on its data.
    pub epoch: u32,
    /// The installation's own key.
    pub secret: [u8; 32],
    /// Answers for accounts that do not exist, made from the key.
    pub decoy: Arc<Decoy>,
}
