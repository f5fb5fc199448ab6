//! `verona serve`: builds the server from its config, opens the doors, and closes them in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use verona_core::host::{HostSettings, Registration};
use verona_core::identity;
use verona_core::limits::Limits;
use verona_core::mailbox::Order;
use verona_core::server::{Host, Policy, Server};
use verona_core::store::Store;
use verona_stores::sqlite::Sqlite;
use verona_transports::admission::Admission;
use verona_transports::tcp::{self, Service, Shared};
use verona_transports::tls::certificates::{Certificates, Site};
use verona_xmpp::error::{StreamCondition, StreamError};
use verona_xmpp::jid::Jid;

use crate::config::load::Config;
use crate::config::value::StorageUrl;

/// Rounds of the salted hash for new passwords (RFC 5802 §5.1 asks for 4,096 at least).
pub const PASSWORD_ITERATIONS: u32 = 10_000;

/// How often silent sessions are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// How long a stop waits for sessions to say goodbye.
const GOODBYE: Duration = Duration::from_secs(8);

/// Opens the store that the config names.
pub fn open_store(config: &Config) -> Result<Arc<dyn Store>, String> {
    match &config.storage.url {
        StorageUrl::Sqlite(file) => {
            let path = config.data_dir.join(file);
            let store = Sqlite::open(&path).map_err(|error| error.to_string())?;
            Ok(Arc::new(store))
        }
        StorageUrl::Postgres(_) => Err("PostgreSQL is not built in yet; use sqlite:FILE".into()),
    }
}

/// Makes the hosts with their modules, as the config wants them.
pub fn hosts(config: &Config) -> Result<Vec<Host>, String> {
    let mut hosts = Vec::new();
    for host in &config.hosts {
        let jid = |text: &str| Jid::parse(text).map_err(|error| format!("{text}: {error}"));
        let admins = host.admins.iter().map(|admin| jid(admin.as_str()));
        let settings = HostSettings {
            domain: jid(host.domain.as_str())?,
            admins: admins.collect::<Result<_, _>>()?,
            registration: match host.registration {
                crate::config::value::Registration::Closed => Registration::Closed,
                crate::config::value::Registration::Invite => Registration::Invite,
                crate::config::value::Registration::Open => Registration::Open,
            },
            password_iterations: PASSWORD_ITERATIONS,
        };
        let made = verona_modules::install::host(settings);
        hosts.push(made.map_err(|error| format!("[modules]: {}", error.message))?);
    }
    Ok(hosts)
}

/// What holds for all streams, as the config wants it.
pub fn policy(config: &Config) -> Policy {
    let limits = &config.limits;
    Policy {
        limits: Limits {
            unlimited: limits.unlimited,
            login_element_bytes_max: limits.login_element_bytes_max,
            login_bytes_max: limits.login_bytes_max,
            login_elements_max: limits.login_elements_max,
            login_depth_max: limits.login_depth_max,
            first_byte_secs: limits.first_byte_secs,
            tls_secs: limits.tls_secs,
            bind_secs: limits.bind_secs,
            stanza_bytes_max: limits.stanza_bytes_max,
            depth_max: limits.depth_max,
            attributes_max: limits.attributes_max,
            namespaces_max: limits.namespaces_max,
            elements_max: limits.elements_max,
            rate_bytes_per_sec: limits.rate_bytes_per_sec,
            rate_burst_bytes: limits.rate_burst_bytes,
            rate_stanzas_per_sec: limits.rate_stanzas_per_sec,
            failed_logins_per_connection: limits.failed_logins_per_connection,
            failed_logins_per_address: limits.failed_logins_per_address,
            failed_logins_window_secs: limits.failed_logins_window_secs,
            failed_login_delay_secs_max: limits.failed_login_delay_secs_max,
            unauthenticated_per_address: limits.unauthenticated_per_address,
            connections_per_sec_per_address: limits.connections_per_sec_per_address,
            resources_per_account: limits.resources_per_account,
            idle_probe_secs: limits.idle_probe_secs,
        },
        require_tls: config.security.require_tls,
        legacy_auth: config.security.legacy_auth,
    }
}

/// The domains that need certificates.
pub fn sites(config: &Config) -> Vec<Site> {
    let site = |domain: &str| Site { domain: domain.to_owned(), services: Vec::new() };
    config.hosts.iter().map(|host| site(host.domain.as_str())).collect()
}

/// A server with its doors open.
pub struct Running {
    /// The server.
    pub server: Arc<Server>,
    /// Its certificates.
    pub certificates: Arc<Certificates>,
    /// What listens where, for people.
    pub doors: Vec<String>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Builds the server and opens its doors.
    pub async fn start(config: &Config) -> Result<Self, String> {
        let store = open_store(config)?;
        let begun = identity::begin(&store, PASSWORD_ITERATIONS).await;
        let identity = begun.map_err(|error| error.to_string())?;
        let certificates = Certificates::open(&config.data_dir.join("certs"), sites(config))
            .map_err(|errors| {
                let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
                lines.join("\n")
            })?;
        let certificates = Arc::new(certificates);
        let server = Server::new(store, hosts(config)?, policy(config), identity);
        let shared = Shared {
            server: server.clone(),
            certificates: certificates.clone(),
            admission: Arc::new(Admission::default()),
        };
        let mut running = Self { server, certificates, doors: Vec::new(), tasks: JoinSet::new() };
        running.open(&config.listen.c2s, Service::Client, "clients (STARTTLS)", &shared)?;
        running.open(&config.listen.c2s_tls, Service::ClientTls, "clients (TLS)", &shared)?;
        let server = running.server.clone();
        running.tasks.spawn(sweep(server));
        Ok(running)
    }

    fn open(
        &mut self,
        addresses: &[SocketAddr],
        service: Service,
        what: &str,
        shared: &Shared,
    ) -> Result<(), String> {
        for address in addresses {
            let listener = tcp::bind(*address)
                .map_err(|error| format!("cannot listen on {address} for {what}: {error}"))?;
            self.doors.push(format!("{address}  {what}"));
            self.tasks.spawn(tcp::listen(listener, service, shared.clone()));
        }
        Ok(())
    }

    /// Takes over a changed config, without ending a session; listeners and storage stay as they
    /// are. Returns what could not be taken over.
    pub fn reload(&self, config: &Config) -> Result<Vec<String>, String> {
        let reloaded = self.certificates.reload(sites(config));
        let gone = self.server.reload(hosts(config)?, policy(config));
        let mut left: Vec<String> =
            reloaded.refused.iter().map(|error| format!("{error}; the old one stays")).collect();
        left.extend(gone.iter().map(|domain| format!("{domain} is served no longer")));
        let ended = StreamError::new(StreamCondition::HostGone);
        end_sessions(&self.server, &ended, |jid| gone.iter().any(|d| d.domain() == jid.domain()));
        Ok(left)
    }

    /// Closes the doors, says goodbye to all sessions, and settles what is under way.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        let error = StreamError::new(StreamCondition::SystemShutdown);
        end_sessions(&self.server, &error, |_| true);
        let gone = async {
            while sessions(&self.server) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(GOODBYE, gone).await.is_err() {
            tracing::warn!(left = sessions(&self.server), "sessions did not end in time");
        }
        self.server.store.close().await;
    }
}

/// How many sessions there are.
pub fn sessions(server: &Server) -> usize {
    let mut count = 0_usize;
    server.directory.each(|account| count = count.saturating_add(account.turn().resources.len()));
    count
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
        let limit = server.policy().limits.idle_probe_secs;
        let now = server.clock.uptime_secs();
        server.directory.each(|account| {
            for resource in &account.turn().resources {
                let silent = now.saturating_sub(resource.link.last_heard_secs());
                if silent >= limit {
                    resource.link.heard(now);
                    resource.link.mailbox.order(Order::Probe);
                }
            }
        });
    }
}
