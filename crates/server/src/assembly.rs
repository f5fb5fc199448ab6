//! The server put together: the core with its hosts, its listeners, and what the operator wants of
//! a running one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use verona_core::account::admin;
use verona_core::account::credentials::ACCOUNTS;
use verona_core::federation::reach::Pair;
use verona_core::federation::report::Report;
use verona_core::identity;
use verona_core::mailbox::Order;
use verona_core::server::Server;
use verona_core::store::Store;
use verona_core::stream::server::outgoing::establish;
use verona_transports::admission::Admission;
use verona_transports::reach::network::Network;
use verona_transports::tcp::{self, Service, Shared};
use verona_transports::tls::certificates::Certificates;
use verona_xmpp::error::{Condition, StreamCondition, StreamError};
use verona_xmpp::jid::Jid;

use crate::accounts::request::{AccountError, AccountReply, AccountRequest, Accounts};
use crate::accounts::stored::StoredAccounts;
use crate::calls::Calls;
use crate::config::load::Config;
use crate::control::protocol::{ComponentState, OtherServer, Status, Trial, TrialFailure};
use crate::memory;
use crate::settings::{components, hosts, policy, reaching, rules, terms};

/// How often silent sessions are looked for at least, in seconds.
const SWEEP_SECS_MAX: u32 = 15;

/// How long a stop waits for sessions to say goodbye, in all.
const GOODBYE: Duration = Duration::from_secs(6);

/// How long a trial federation may take; who asks for it waits a minute.
const TRIAL: Duration = Duration::from_secs(50);

/// How long a stop waits for streams with other servers to end: what is on them is not lost with them.
const FAREWELL: Duration = Duration::from_secs(2);

/// Other servers that a status tells of.
const SERVERS_SHOWN_MAX: usize = 1_000;

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
    network: Arc<Network>,
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
        let network = Arc::new(Network::new(certificates.clone(), &reaching(&config))?);
        server.streams.reach_by(network.clone());
        server.streams.set_rules(rules(&config));
        server.federation.set_terms(terms(&config));
        let waiting = server.restore_federation().await.map_err(|error| error.to_string())?;
        if waiting > 0 {
            tracing::info!(waiting, "messages wait for other servers");
        }
        let left = server.set_components(components(&config)).await;
        left.map_err(|error| error.to_string())?;
        let admission = Arc::new(Admission::default());
        let shared = Shared { server: server.clone(), certificates, admission };
        let mut doors = Doors { shared, listening: BTreeMap::new(), tasks: JoinSet::new() };
        doors.open("c2s", &config.listen.c2s, Service::Client)?;
        doors.open("c2s_tls", &config.listen.c2s_tls, Service::ClientTls)?;
        doors.open("s2s", &config.listen.s2s, Service::Server)?;
        doors.open("s2s_tls", &config.listen.s2s_tls, Service::ServerTls)?;
        doors.open("component", &config.listen.component, Service::Component)?;
        doors.tasks.spawn(sweep(server.clone()));
        doors.tasks.spawn(watch_memory(server.clone()));
        doors.tasks.spawn(verona_core::component::deliver::tend(server.clone()));
        let calls = Calls::default();
        calls.set(&config, &doors.shared);
        doors.tasks.spawn(verona_core::chores::tend(server.clone()));
        let Doors { shared, listening, tasks } = doors;
        let tasks = Mutex::new(tasks);
        Ok(Self { server, network, listening, tasks, iterations, calls, shared })
    }

    /// Adds what it knows to the status.
    pub fn describe(&self, status: &mut Status) {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let connected = self.server.streams();
        let asleep = self.server.sleepers.asleep_count();
        status.listening = self.listening.clone();
        status.sessions = count(connected.saturating_add(asleep));
        status.servers = servers(&self.server);
        status.asleep = count(asleep);
        status.memory_bytes = memory::used().unwrap_or_default();
        status.memory_bytes_max = memory::budget(&self.server.policy().limits).unwrap_or_default();
        let components = self.server.components.all();
        let state = components.iter().map(|component| {
            let (connections, stanzas) = component.count();
            let domain = component.jid.to_string();
            ComponentState { domain, connections: count(connections), stanzas: count(stanzas) }
        });
        status.components = state.collect();
    }

    /// Where everything durable is.
    pub fn store(&self) -> Arc<dyn Store> {
        self.server.store.clone()
    }

    /// Tries to establish a stream between a host and another domain, and closes it.
    pub async fn federate(&self, pair: &Pair) -> Trial {
        let host = pair.local.to_string();
        let failed = |steps: Vec<String>, condition: Condition| {
            let cause = steps.last().cloned().unwrap_or_default();
            let condition = condition.name().to_owned();
            (steps, Some(TrialFailure { cause, condition }))
        };
        let tried = timeout(TRIAL, establish(&self.server, pair, None)).await;
        let (steps, failure) = match tried {
            Ok(Ok(mut established)) => {
                let closed = established.wire.write_all(b"</stream:stream>").await;
                // Whether the peer still hears it changes nothing.
                let _ = closed.and(established.wire.shutdown().await);
                (established.steps, None)
            }
            Ok(Err((failure, _))) => failed(failure.steps, failure.condition),
            Err(_) => {
                let steps = vec!["the server takes too long to negotiate".to_owned()];
                failed(steps, Condition::RemoteServerTimeout)
            }
        };
        Trial { host, steps, failure }
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
        let hosts = hosts(new)?;
        self.network.reload(&reaching(new))?;
        self.server.streams.set_rules(rules(new));
        self.server.federation.set_terms(terms(new));
        let gone = self.server.reload(hosts, policy(new));
        let mut notes: Vec<String> =
            gone.iter().map(|domain| format!("{domain} is served no longer")).collect();
        let ended = StreamError::new(StreamCondition::HostGone);
        end_sessions(&self.server, &ended, |jid| {
            gone.iter().any(|domain| domain.domain() == jid.domain())
        });
        self.server.review_federation();
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
        // Whoever leaves is seen leaving at other servers, while there are streams to them.
        self.server.end_streams(GOODBYE / 2).await;
        match self.server.leave_federation(FAREWELL).await {
            0 => {}
            left => tracing::warn!(left, "server streams did not end in time"),
        }
        self.calls.end();
        self.server.suspend_components(GOODBYE / 2).await;
        match self.server.suspend(GOODBYE / 2).await {
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

/// How it stands with other servers: first those with which something is up.
fn servers(server: &Server) -> Vec<OtherServer> {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let other = |(pair, report): (Pair, Report)| OtherServer {
        host: pair.local.to_string(),
        domain: pair.remote.to_string(),
        state: report.route.to_owned(),
        inbound: count(report.inbound),
        proven: report.proven.map(str::to_owned),
        stanzas: count(report.stanzas),
        bytes: count(report.bytes),
        failure: report.failure.as_ref().map(|(cause, _)| cause.clone()),
        failed_secs_ago: report.failure.and_then(|(_, at)| Some(at.elapsed().ok()?.as_secs())),
    };
    let mut servers: Vec<OtherServer> = server.federation.report().into_iter().map(other).collect();
    servers.sort_by_key(|other| (other.failure.is_none(), other.state == "idle"));
    servers.truncate(SERVERS_SHOWN_MAX);
    servers
}

fn end_sessions(server: &Server, error: &StreamError, meant: impl Fn(&Jid) -> bool) {
    server.directory.each(|account| {
        for resource in account.turn().resources.iter().filter(|r| meant(&r.link.jid)) {
            resource.link.mailbox.order(Order::End(error.clone()));
        }
    });
}

/// Looks every second how much memory is left.
async fn watch_memory(server: Arc<Server>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let budget = memory::budget(&server.policy().limits);
        if let (Some(used), Some(budget)) = (memory::used(), budget) {
            server.note_memory(used, budget);
        }
    }
}

/// RFC 6120 §4.6.4: finds out about peers that were silent for long.
async fn sweep(server: Arc<Server>) {
    loop {
        let unanswered = server.policy().limits.unanswered_secs;
        let pause = (unanswered / 5).clamp(1, SWEEP_SECS_MAX);
        tokio::time::sleep(Duration::from_secs(pause.into())).await;
        server.look_after_silent(server.clock.uptime_secs());
        server.sweep_federation();
    }
}
