//! The server put together: the core with its hosts, its listeners, and what the operator wants of
//! a running one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use verona_core::account::admin;
use verona_core::account::credentials::ACCOUNTS;
use verona_core::identity;
use verona_core::mailbox::Order;
use verona_core::server::Server;
use verona_core::store::Store;
use verona_transports::admission::Admission;
use verona_transports::tcp::{self, Service, Shared};
use verona_transports::tls::certificates::Certificates;
use verona_xmpp::error::{StreamCondition, StreamError};
use verona_xmpp::jid::Jid;

use crate::accounts::request::{AccountError, AccountReply, AccountRequest, Accounts};
use crate::accounts::stored::StoredAccounts;
use crate::calls::Calls;
use crate::config::load::Config;
use crate::control::protocol::Status;
use crate::settings::{components, hosts, policy};

/// How often silent sessions are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// How long a stop waits for sessions to say goodbye.
const GOODBYE: Duration = Duration::from_secs(8);

/// What the server is made of.
pub struct Parts {
    /// The config.
    pub config: Arc<Config>,
    /// The certificates; their reload is the caller's.
    pub certificates: Arc<Certificates>,
    /// The store; it is closed by [`Assembly::stop`], and by the caller when the start fails.
    pub store: Arc<dyn Store>,
}

/// A server with its doors open.
pub struct Assembly {
    server: Arc<Server>,
    listening: BTreeMap<String, Vec<SocketAddr>>,
    tasks: Mutex<JoinSet<()>>,
    iterations: u32,
    calls: Calls,
    shared: Shared,
}

impl Assembly {
    /// Puts the server together and opens its listeners.
    pub async fn start(parts: Parts) -> Result<Self, String> {
        let Parts { config, certificates, store } = parts;
        let iterations = config.security.password_iterations;
        let begun = identity::begin(&store, iterations).await;
        let identity = begun.map_err(|error| error.to_string())?;
        let server = Server::new(store, hosts(&config)?, policy(&config), identity);
        let restored = server.restore().await.map_err(|error| error.to_string())?;
        if restored > 0 {
            tracing::info!(restored, "sessions wait for their clients");
        }
        let left = server.set_components(components(&config)).await;
        left.map_err(|error| error.to_string())?;
        let admission = Arc::new(Admission::default());
        let shared = Shared { server: server.clone(), certificates, admission };
        let mut doors = Doors { shared, listening: BTreeMap::new(), tasks: JoinSet::new() };
        doors.open("c2s", &config.listen.c2s, Service::Client)?;
        doors.open("c2s_tls", &config.listen.c2s_tls, Service::ClientTls)?;
        doors.open("component", &config.listen.component, Service::Component)?;
        doors.tasks.spawn(sweep(server.clone()));
        doors.tasks.spawn(verona_core::component::deliver::tend(server.clone()));
        let calls = Calls::default();
        calls.set(&config, &doors.shared);
        doors.tasks.spawn(verona_core::chores::tend(server.clone()));
        let Doors { shared, listening, tasks } = doors;
        Ok(Self { server, listening, tasks: Mutex::new(tasks), iterations, calls, shared })
    }

    /// Adds what it knows to the status.
    pub fn describe(&self, status: &mut Status) {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let connected = self.server.streams();
        let asleep = self.server.sleepers.asleep_count();
        status.listening = self.listening.clone();
        status.sessions = count(connected.saturating_add(asleep));
        status.figures.insert("of these waiting for their clients".to_owned(), count(asleep));
        for component in self.server.components.all() {
            let (connections, waiting) = component.count();
            let name = format!("component {}", component.jid);
            status.figures.insert(format!("{name}, connections"), count(connections));
            if waiting > 0 {
                status.figures.insert(format!("{name}, waiting"), count(waiting));
            }
        }
    }

    /// Where everything durable is.
    pub fn store(&self) -> Arc<dyn Store> {
        self.server.store.clone()
    }

    /// Whether somebody has an account.
    pub async fn has_accounts(&self) -> Result<bool, String> {
        let first = self.server.store.owners(ACCOUNTS, None, 1).await;
        first.map(|first| !first.is_empty()).map_err(|error| error.to_string())
    }

    /// Does something with accounts; sessions of those that lose their right to one end.
    pub async fn account(&self, request: AccountRequest) -> Result<AccountReply, AccountError> {
        let server = &self.server;
        let hosts = server.hosts();
        let domains = hosts.iter().map(|host| host.jid.as_str().to_owned()).collect();
        let stored = StoredAccounts::new(server.store.clone(), domains, self.iterations);
        let parse = |jid: &str| stored.of_our_hosts(jid);
        let refused = |jid: &Jid, refusal| AccountError::new(format_args!("{jid}: {refusal}"));
        let jid = match request {
            AccountRequest::Add { jid, password } => {
                let jid = parse(&jid)?;
                let made = admin::create(server, &jid, password.into()).await;
                made.map_err(|refusal| refused(&jid, refusal))?;
                jid
            }
            AccountRequest::Passwd { jid, password } => {
                let jid = parse(&jid)?;
                let done = admin::set_password(server, &jid, password.into()).await;
                done.map_err(|refusal| refused(&jid, refusal))?;
                jid
            }
            AccountRequest::Disable { jid } => self.set_disabled(parse(&jid)?, true).await?,
            AccountRequest::Enable { jid } => self.set_disabled(parse(&jid)?, false).await?,
            AccountRequest::Delete { jid } => {
                let jid = parse(&jid)?;
                let removed = admin::remove(server, &jid, || ()).await;
                removed.map_err(|refusal| refused(&jid, refusal))?;
                jid
            }
            AccountRequest::List { .. } => return stored.perform(request).await,
        };
        Ok(AccountReply::Done { jid: jid.bare().to_string() })
    }

    async fn set_disabled(&self, jid: Jid, disabled: bool) -> Result<Jid, AccountError> {
        let done = admin::set_disabled(&self.server, &jid, disabled).await;
        done.map_err(|refusal| AccountError::new(format_args!("{jid}: {refusal}")))?;
        Ok(jid)
    }

    /// Takes over a changed config without ending a session of a host that remains. Returns what the
    /// operator should know, such as what waits for a restart.
    pub async fn reload(&self, old: &Config, new: &Config) -> Result<Vec<String>, String> {
        let gone = self.server.reload(hosts(new)?, policy(new));
        let mut notes: Vec<String> =
            gone.iter().map(|domain| format!("{domain} is served no longer")).collect();
        let ended = StreamError::new(StreamCondition::HostGone);
        end_sessions(&self.server, &ended, |jid| {
            gone.iter().any(|domain| domain.domain() == jid.domain())
        });
        let left = self.server.set_components(components(new)).await;
        let left = left.map_err(|error| error.to_string())?;
        notes.extend(left.iter().map(|domain| format!("{domain} is a component no longer")));
        self.calls.set(new, &self.shared);
        self.server.introduce_components();
        if old.listen != new.listen {
            notes.push("[listen] has changed, which waits for a restart".to_owned());
        }
        if old.log != new.log {
            notes.push("[log] has changed, which waits for a restart".to_owned());
        }
        Ok(notes)
    }

    /// Closes the doors, says goodbye to all sessions, and settles what is under way.
    pub async fn stop(&self) {
        self.tasks.lock().await.shutdown().await;
        self.calls.end();
        self.server.suspend_components(GOODBYE / 2).await;
        match self.server.suspend(GOODBYE).await {
            Ok(0) => {}
            Ok(left) => tracing::warn!(left, "sessions did not end in time"),
            Err(error) => tracing::error!(%error, "sessions could not be written down"),
        }
        self.server.store.close().await;
    }
}

/// The listeners while they are opened.
struct Doors {
    shared: Shared,
    listening: BTreeMap<String, Vec<SocketAddr>>,
    tasks: JoinSet<()>,
}

impl Doors {
    fn open(
        &mut self,
        key: &str,
        addresses: &[SocketAddr],
        service: Service,
    ) -> Result<(), String> {
        for address in addresses {
            let told = |error| format!("cannot listen on {address} ({key} in [listen]): {error}");
            let listener = tcp::bind(*address).map_err(told)?;
            let bound = listener.local_addr().map_err(told)?;
            tracing::info!("listens on {bound} for {}", service.describe());
            self.listening.entry(key.to_owned()).or_default().push(bound);
            self.tasks.spawn(tcp::listen(listener, service, self.shared.clone()));
        }
        Ok(())
    }
}

fn end_sessions(server: &Server, error: &StreamError, meant: impl Fn(&Jid) -> bool) {
    server.directory.each(|account| {
        for resource in account.turn().resources.iter().filter(|r| meant(&r.link.jid)) {
            resource.link.mailbox.order(Order::End(error.clone()));
        }
    });
}

/// RFC 6120 §4.6.4: finds out about peers that were silent for long.
async fn sweep(server: Arc<Server>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        server.probe_silent(server.clock.uptime_secs());
    }
}
