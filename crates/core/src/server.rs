//! The types that know each other: the server with its hosts, the hooks of a host, and what modules
//! are handed. They hold one another, so they stand in one file; what they do is beside it, by
//! subject: requests and watchers in `hooks`, the way of a stanza in `outbound`, `router` and
//! `inbound`, streams in `stream`.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use hashbrown::HashMap;
use smallvec::SmallVec;
use verona_xml::{Element, Tree, Writer};
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::sasl::decoy::Decoy;
use verona_xmpp::stanza::{IqType, Stanza};

use crate::account::Account;
use crate::account::credentials::{self, Record};
use crate::account::directory::Directory;
use crate::account::state::{PartSpec, State};
use crate::clock::Clock;
use crate::component::known::Components;
use crate::hooks::command::{Command, Execution};

use crate::federation::table::Federation;
use crate::hooks::decision::{Delivery, Direction, Keep, Standing, Verdict};
use crate::hooks::manifest::Manifest;
use crate::hooks::notes::Notes;
use crate::hooks::place::{Stage, Target};
use crate::hooks::reply::Answer;
use crate::hooks::vouch::{Asking, Vouching};
use crate::host::{HostSettings, Service};
use crate::known_features::KnownFeatures;
use crate::limits::Limits;
use crate::link::Link;
use crate::login::guard::LoginGuard;
use crate::login::hashing::Hashing;
use crate::pressure::Pressure;
use crate::questions::Questions;
use crate::sleepers::{Alarm, Sleepers};
use crate::stanza_id::StanzaIds;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::stream::management::Managed;
use crate::stream::user_agent::UserAgent;
use crate::trail::Kept;

use crate::stream::server::state::ServerStreams;

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
    /// Sessions that may be resumed.
    pub sleepers: Sleepers<Sleeper, Seat>,
    /// Counts failed logins.
    pub logins: LoginGuard,
    /// Requests of the server itself that are not answered yet.
    pub questions: Arc<Questions>,
    /// Domains elsewhere.
    pub federation: Federation,
    /// What streams with other servers share.
    pub streams: Arc<ServerStreams>,
    /// What entities announced that they can do.
    pub known_features: KnownFeatures,
    /// External components (XEP-0114).
    pub components: Components,
    /// Whether memory is short.
    pub pressure: Pressure,
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
            sleepers: Sleepers::default(),
            logins: LoginGuard::default(),
            questions: Arc::default(),
            federation: Federation::default(),
            streams: Arc::new(ServerStreams::new(&identity.secret)),
            known_features: KnownFeatures::default(),
            components: Components::default(),
            pressure: Pressure::default(),
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

    /// Replaces what the operator has set for all streams; those that stand keep what they were
    /// opened with where they have read it.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// Takes over changed settings; hosts that remain keep their sessions. Returns the domains that
    /// are served no longer.
    pub fn reload(&self, hosts: Vec<Host>, policy: Policy) -> Vec<Jid> {
        self.set_policy(policy);
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
        self.directory.load(jid, &*self.store, &registry.parts).await
    }

    /// What a password for an account is checked against; None when there is no such account here.
    /// Always from the disk, so that it takes the same time whoever is asked for.
    pub async fn account_record(&self, jid: &Jid) -> Result<Option<Record>, StoreError> {
        if self.host(jid.domain()).is_none() {
            return Ok(None);
        }
        credentials::read(&*self.store, jid).await
    }
}

/// What tells this start of this installation from others; made by [`crate::identity`].
#[derive(Clone)]
pub struct Identity {
    /// How often this server has been started on its data.
    pub epoch: u32,
    /// The installation's own key.
    pub secret: [u8; 32],
    /// Answers for accounts that do not exist, made from the key.
    pub decoy: Arc<Decoy>,
}

/// A host with its modules. A reload replaces settings and modules; sessions keep the host.
pub struct Host {
    /// The domain, as a JID.
    pub jid: Jid,
    pub(crate) settings: ArcSwap<HostSettings>,
    pub(crate) registry: ArcSwap<Registry>,
    services: ArcSwap<Vec<Service>>,
}

impl Host {
    /// A host with its installed modules.
    pub fn new(settings: HostSettings, registry: Registry) -> Self {
        Self {
            jid: settings.domain.clone(),
            settings: ArcSwap::from_pointee(settings),
            registry: ArcSwap::from_pointee(registry),
            services: ArcSwap::default(),
        }
    }

    /// What the operator has set.
    pub fn settings(&self) -> Arc<HostSettings> {
        self.settings.load_full()
    }

    /// Where the modules act.
    pub fn registry(&self) -> arc_swap::Guard<Arc<Registry>> {
        self.registry.load()
    }

    /// Takes over the settings and modules of a freshly made host (reload).
    pub fn adopt(&self, fresh: &Self) {
        self.settings.store(fresh.settings.load_full());
        self.registry.store(fresh.registry.load_full());
    }

    /// The services that belong to the host, such as rooms or gateways (XEP-0030 §4.1).
    pub fn services(&self) -> arc_swap::Guard<Arc<Vec<Service>>> {
        self.services.load()
    }

    /// Adds a service, or gives the one of this address another name.
    pub fn add_service(&self, service: &Service) {
        self.services.rcu(|services| {
            let others = services.iter().filter(|other| other.jid != service.jid);
            others.chain([service]).cloned().collect::<Vec<_>>()
        });
    }

    /// Takes a service out that has gone.
    pub fn remove_service(&self, jid: &Jid) {
        self.services.rcu(|services| {
            services.iter().filter(|service| service.jid != *jid).cloned().collect::<Vec<_>>()
        });
    }

    /// Whether a JID belongs to an administrator of the host.
    pub fn is_admin(&self, jid: &Jid) -> bool {
        self.settings.load().admins.iter().any(|admin| admin.same_bare(jid))
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("jid", &self.jid).finish_non_exhaustive()
    }
}

/// A session without a stream, which its client may resume (XEP-0198 §5).
#[derive(Debug)]
pub struct Sleeper {
    /// The session; its resource is still in the account.
    pub seat: Seat,
    /// Its counters, and what the client has not acknowledged.
    pub managed: Managed,
    /// What ends it when nobody comes.
    pub alarm: Alarm,
}

/// A bound session as the one who owns it sees it.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The shared half.
    pub link: Arc<Link>,
    /// The account, which stays loaded while the session lives.
    pub account: Arc<Account>,
    /// The account's host.
    pub host: Arc<Host>,
}

/// All hooks of one host.
#[derive(Default)]
pub struct Registry {
    /// What the installed modules say of themselves, in the order of the list.
    pub manifests: Vec<Manifest>,
    pub(crate) answers: HashMap<Key, Answering, ahash::RandomState>,
    pub(crate) guards: [Vec<Guarding>; 2],
    /// By direction, then stamp, keep, copy.
    pub(crate) watchers: [[Vec<Watching>; 3]; 2],
    pub(crate) changes: Vec<Changing>,
    pub(crate) advertised: Vec<(Stage, Advertising)>,
    pub(crate) before_login: Vec<(&'static str, Registering)>,
    pub(crate) described: Vec<(Target, Describing)>,
    pub(crate) chores: Vec<Chore>,
    pub(crate) commands: Vec<Commanding>,
    pub(crate) vouching: Vec<VouchingFor>,
    pub(crate) nonzas: Vec<(&'static str, &'static str, Hearing)>,
    pub(crate) inline: Vec<(&'static str, &'static str, Inlining)>,
    pub(crate) bound: Vec<Bounding>,
    pub(crate) stand_ins: Vec<Judging>,
    pub(crate) replacements: Vec<Replacing>,
    pub(crate) told: Vec<(&'static str, &'static str, Telling)>,
    pub(crate) presences: Vec<Watching>,
    pub(crate) rosters: Vec<Listing>,
    pub(crate) nestings: Vec<Nesting>,
    pub(crate) announcements: Vec<Announcing>,
    pub(crate) meetings: Vec<Meeting>,
    pub(crate) logins: Vec<Greeting>,
    /// What modules keep in memory with each account.
    pub parts: Vec<PartSpec>,
}

pub(crate) type Answering = Box<dyn Fn(Request) -> Answer + Send + Sync>;
pub(crate) type Guarding = Box<dyn Fn(&mut Passage<'_>) -> Verdict + Send + Sync>;
pub(crate) type Watching = Box<dyn Fn(&mut Passage<'_>) + Send + Sync>;
pub(crate) type Changing = Box<dyn Fn(&mut Change<'_>) + Send + Sync>;
pub(crate) type Advertising = Box<dyn Fn(&mut Offering<'_>) + Send + Sync>;
pub(crate) type Registering = Box<dyn Fn(BeforeLogin) -> Answer + Send + Sync>;
pub(crate) type Chore = Box<dyn Fn(Arc<Server>, Arc<Host>) -> BoxFuture<'static, ()> + Send + Sync>;
pub(crate) type VouchingFor = Box<dyn Fn(Asking) -> Vouching + Send + Sync>;
pub(crate) type Allowing = Box<dyn Fn(&Host, &Jid) -> bool + Send + Sync>;
pub(crate) type Executing = Box<dyn Fn(Request) -> Execution + Send + Sync>;
pub(crate) type Describing = Box<dyn Fn(&mut Writer) + Send + Sync>;
pub(crate) type Hearing = Box<dyn Fn(&Seat) + Send + Sync>;
pub(crate) type Inlining = Box<dyn Fn(&mut Inline<'_>) + Send + Sync>;
pub(crate) type Greeting = Box<dyn Fn(&Login<'_>) + Send + Sync>;
pub(crate) type Bounding = Box<dyn Fn(Arc<Server>, Seat) -> Answer + Send + Sync>;
pub(crate) type Judging = Box<dyn Fn(&Request) -> Standing + Send + Sync>;
pub(crate) type Replacing = Box<dyn Fn(&Request) -> Option<Answer> + Send + Sync>;
pub(crate) type Telling =
    Box<dyn Fn(HostMessage) -> BoxFuture<'static, Result<Vec<Kept>, StanzaError>> + Send + Sync>;
pub(crate) type Listing = Box<dyn Fn(&Listed<'_>, &mut Vec<Stanza>) + Send + Sync>;
/// What is nested, and a number that changes when that does.
pub(crate) type Nesting =
    (Box<dyn Fn() -> u64 + Send + Sync>, Box<dyn Fn(Target) -> Vec<Nested> + Send + Sync>);
pub(crate) type Announcing = Box<dyn Fn(&Jid, bool) -> Option<String> + Send + Sync>;
pub(crate) type Meeting = Box<dyn Fn(ComponentEvent) -> BoxFuture<'static, ()> + Send + Sync>;

/// A command that a module offers.
pub(crate) struct Commanding {
    pub command: Command,
    pub allow: Allowing,
    pub execute: Executing,
}

/// What is asked, as modules registered it.
#[derive(Eq, Hash, PartialEq)]
pub(crate) struct Key {
    pub target: Target,
    pub set: bool,
    pub ns: &'static str,
    pub name: &'static str,
}

/// An IQ of type get or set that a module answers.
pub struct Request {
    /// The IQ as it came, with `from` set.
    pub iq: Stanza,
    /// Who asks.
    pub from: Jid,
    /// The account that is asked, loaded; None when a host is asked or no such account exists.
    pub account: Option<Arc<Account>>,
    /// The host that is asked or that the account belongs to.
    pub host: Arc<Host>,
    /// The session that asks, when it is one of this server's.
    pub link: Option<Arc<Link>>,
    /// The server.
    pub server: Arc<Server>,
    /// A module has said that who asks may do so in the account's place.
    pub stands_in: bool,
}

impl Request {
    /// Whether this is a set.
    pub fn is_set(&self) -> bool {
        self.iq.iq_type() == Some(IqType::Set)
    }

    /// The request's element as a tree; `bad-request` when it cannot be read.
    pub fn tree(&self) -> Result<Tree, StanzaError> {
        self.iq.payload_tree().ok_or_else(|| StanzaError::new(Condition::BadRequest))
    }

    /// The asker's own account, or the one in whose place it asks; `forbidden` when the request is for another's.
    pub fn own(&self) -> Result<&Arc<Account>, StanzaError> {
        match &self.account {
            Some(account) if self.stands_in || account.jid.same_bare(&self.from) => Ok(account),
            _ => Err(StanzaError::new(Condition::Forbidden)),
        }
    }
}

/// A stanza within the turn of one account.
pub struct Passage<'a> {
    /// The server.
    pub server: &'a Arc<Server>,
    /// The account's host.
    pub host: &'a Host,
    /// The account whose turn it is.
    pub account: &'a Arc<Account>,
    /// Its state, loaded and locked.
    pub state: &'a mut State,
    /// Which way the stanza goes.
    pub direction: Direction,
    /// The stanza; watchers in the stamp phase may replace it.
    pub stanza: &'a mut Stanza,
    /// The session that sent it, when outbound.
    pub link: Option<&'a Arc<Link>>,
    /// Why it is kept; set before the keep phase by the rules of RFC 6121 §8.5.
    pub keep: Keep,
    /// Where it goes, when inbound; decided before the keep phase.
    pub delivery: Delivery,
    /// Stanzas to be routed when the turn is over, by the router alone.
    pub sends: &'a mut Vec<Stanza>,
    /// Copies to resources of this account, written when the turn's own delivery is done.
    pub copies: SmallVec<[(usize, Stanza); 2]>,
}

/// A change of a resource's availability, within the turn of its account.
pub struct Change<'a> {
    /// The account's host.
    pub host: &'a Host,
    /// The account.
    pub account: &'a Arc<Account>,
    /// Its state after the change.
    pub state: &'a mut State,
    /// The session whose resource changed.
    pub link: &'a Arc<Link>,
    /// Whether it was available before.
    pub was_available: bool,
    /// The presence that it sent or that was made for it.
    pub presence: &'a Stanza,
    /// The server.
    pub server: &'a Arc<Server>,
    /// Stanzas to be routed when the turn is over.
    pub sends: &'a mut Vec<Stanza>,
}

/// A stage's stream features, as they are written.
pub struct Offering<'a> {
    /// The stage.
    pub stage: Stage,
    /// The host that the stream is to.
    pub host: &'a Host,
    /// The bounds that hold for the stream.
    pub limits: &'a Limits,
    /// Where features are written.
    pub writer: &'a mut Writer,
}

/// Something that a client asks for as it binds its resource (XEP-0386 §3.2), within the turn of its
/// account in which that happens.
pub struct Inline<'a> {
    /// The session; nothing has reached it yet.
    pub seat: &'a Seat,
    /// The account's state, with the resource.
    pub state: &'a mut State,
    /// The element that asks.
    pub request: Element<'a>,
    /// Where an answer may be written.
    pub answer: &'a mut Writer,
}

/// A login by a client that says who it is (XEP-0388 §2.3); it has no resource yet.
pub struct Login<'a> {
    /// The server.
    pub server: &'a Arc<Server>,
    /// The account.
    pub account: &'a Arc<Account>,
    /// What the client tells of itself.
    pub agent: &'a UserAgent,
    /// With a token, not with the password (XEP-0484).
    pub by_token: bool,
}

/// An IQ on a stream that is not logged in.
pub struct BeforeLogin {
    /// The IQ, with one child.
    pub iq: Stanza,
    /// The host that the stream is to.
    pub host: Arc<Host>,
    /// The server.
    pub server: Arc<Server>,
    /// Where the connection comes from.
    pub peer: IpAddr,
    /// What modules remember of the stream.
    pub notes: Arc<Notes>,
}

/// A component comes or goes.
pub struct ComponentEvent {
    /// The server.
    pub server: Arc<Server>,
    /// The host whose module hears of it.
    pub host: Arc<Host>,
    /// The component's domain.
    pub component: Jid,
    /// Which of the two.
    pub presence: Presence,
}

/// Whether a component is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// It has one connection more, or the config was read anew.
    Came {
        /// A connection was told something that it had not been told before.
        news: bool,
    },
    /// It has no connection any more.
    Gone,
}

/// A message for a host itself.
pub struct HostMessage {
    /// The message, with `from` set.
    pub stanza: Stanza,
    /// The host.
    pub host: Arc<Host>,
    /// The server.
    pub server: Arc<Server>,
}

/// A change of a roster item, within the turn of its account.
pub struct Listed<'a> {
    /// The account.
    pub account: &'a Account,
    /// Its state, with the change.
    pub state: &'a State,
    /// The contact whose item has changed, or is gone.
    pub contact: &'a Jid,
}

/// What another entity tells of a namespace that it serves in a host's place.
#[derive(Clone, Debug)]
pub struct Nested {
    /// The namespace: what else is told of it is left out.
    pub ns: Arc<str>,
    /// Identities, features and forms, as they stand in an answer to disco#info (XEP-0030 §3.1).
    pub content: Arc<str>,
}
