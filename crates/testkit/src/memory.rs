//! A server in memory: the core with the modules of who asks for it, its store, and clients on pipes.
//! No socket, no file, no clock but the server's own.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use verona_core::account::credentials::{ACCOUNTS, Record};
use verona_core::component::settings::ComponentSettings;
use verona_core::component::stream;
use verona_core::hooks::{ConfigError, HostSettings, Sections, Settings};
use verona_core::host::Registration;
use verona_core::limits::Limits;
use verona_core::server::{Host, Identity, Policy, Server};
use verona_core::store::Store;
use verona_core::store::batch::Batch;
use verona_core::stream::client;
use verona_core::stream::wire::Wire;
use verona_xmpp::jid::Jid;
use verona_xmpp::sasl::credentials::{Credentials, ITERATIONS_MIN};
use verona_xmpp::sasl::decoy::Decoy;

use crate::address::Address;
use crate::place::{HOSTS, Link, Place};
use crate::script::Setup;

/// What a pipe holds before its writer has to wait, as of a socket.
const PIPE_BYTES: usize = 64 * 1024;

/// The key of the installation: there is only one.
const SECRET: [u8; 32] = [0x5e; 32];

/// A server in memory.
pub struct Memory {
    /// The server itself.
    pub server: Arc<Server>,
    setup: Setup,
}

impl Memory {
    /// A server with these hosts, for scripts that ask for nothing special.
    pub fn new(hosts: Vec<Host>) -> Result<Self, String> {
        Self::on(Arc::new(verona_stores::memory::Memory::new()), hosts)
    }

    /// The same on a store, which may have been another server's before.
    pub fn on(store: Arc<dyn Store>, hosts: Vec<Host>) -> Result<Self, String> {
        let decoy = Decoy::new(&SECRET, ITERATIONS_MIN).map_err(|error| error.to_string())?;
        let identity = Identity { epoch: 1, secret: SECRET, decoy: Arc::new(decoy) };
        let limits = Limits { unlimited: true, ..Limits::default() };
        let policy = Policy { limits, require_tls: false, legacy_auth: false };
        let server = Server::new(store, hosts, policy, identity);
        Ok(Self { server, setup: Setup::default() })
    }

    /// A server as a script wants it; `make` makes a host of its settings and the sections of the
    /// modules.
    pub fn configured(
        setup: Setup,
        make: impl Fn(HostSettings, &Tables) -> Result<Host, String>,
    ) -> Result<Self, String> {
        Self::serving(&HOSTS, setup, make)
    }

    /// The same for some of the domains.
    pub fn serving(
        domains: &[&str],
        setup: Setup,
        make: impl Fn(HostSettings, &Tables) -> Result<Host, String>,
    ) -> Result<Self, String> {
        let tables = Tables::read(&setup.config)?;
        let registration = match setup.registration.as_deref() {
            Some("closed") => Registration::Closed,
            Some("invite") => Registration::Invite,
            _ => Registration::Open,
        };
        let host = |domain: &&str| {
            let admins = setup.admins_of(domain).map(|jid| Jid::parse(jid));
            let admins: Result<Vec<Jid>, _> = admins.collect();
            let admins = admins.map_err(|error| error.to_string())?;
            make(HostSettings { registration, admins, ..settings(domain) }, &tables)
        };
        let hosts: Result<Vec<Host>, String> = domains.iter().map(host).collect();
        let memory = Self { setup, ..Self::new(hosts?)? };
        let components = memory.setup.components.iter().map(component).collect::<Result<_, _>>()?;
        // A store in memory makes nobody wait.
        let set = memory.server.set_components(components).now_or_never();
        set.ok_or("the store was waited for")?.map_err(|error| error.to_string())?;
        Ok(memory)
    }
}

/// A component as a script names it.
fn component((domain, connections_max): &(String, usize)) -> Result<ComponentSettings, String> {
    let name = domain.strip_prefix("*.").unwrap_or(domain);
    let jid = Jid::parse(name).map_err(|error| error.to_string())?;
    let mut settings = ComponentSettings::new(jid, crate::place::SECRET);
    settings.subdomains = name != domain;
    settings.connections_max = *connections_max;
    Ok(settings)
}

/// The settings of a host about which nobody has said anything.
pub fn settings(domain: &str) -> HostSettings {
    HostSettings {
        domain: Jid::parse(domain).expect("a script names domains"),
        admins: Vec::new(),
        registration: Registration::Closed,
        password_iterations: ITERATIONS_MIN,
        resume_at: None,
    }
}

impl Place for Memory {
    fn suits(&self, setup: &Setup) -> Result<(), String> {
        match *setup == self.setup {
            true => Ok(()),
            false => Err("the server was made for another script".to_owned()),
        }
    }

    async fn account(&self, address: &Address, password: &str) -> Result<(), String> {
        let told = |error: &dyn Display| error.to_string();
        let jid = Jid::parse(&address.bare()).map_err(|error| told(&error))?;
        let known = self.server.account_record(&jid).await.map_err(|error| told(&error))?;
        let now = self.server.clock.now_micros();
        let record = Record {
            disabled: false,
            // One that is there stays the same account.
            created_micros: known.map_or(now, |known| known.created_micros),
            credentials: credentials(password)?,
        };
        let mut batch = Batch::new();
        batch.put(ACCOUNTS, &jid.bare_str().into(), "", record.encode());
        self.server.store.submit(batch).await.map_err(|error| told(&error))
    }

    async fn connect(&self, address: &Address) -> io::Result<Link> {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let wire = Box::new(Duplex(far));
        let server = self.server.clone();
        match address.is_component() {
            true => tokio::spawn(stream::serve(server, wire, Box::new(|| {}))),
            false => tokio::spawn(client::serve(server, wire, Box::new(|| {}))),
        };
        Ok(Link::plain(near))
    }
}

/// The same few passwords are hashed only once in a process.
fn credentials(password: &str) -> Result<Credentials, String> {
    static KNOWN: Mutex<BTreeMap<String, Credentials>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(credentials) = known.get(password) {
        return Ok(credentials.clone());
    }
    let made = Credentials::new(password, ITERATIONS_MIN).map_err(|error| error.to_string())?;
    known.insert(password.to_owned(), made.clone());
    Ok(made)
}

/// The sections of modules in the lines of configuration that a script has.
#[derive(Debug, Default)]
pub struct Tables(toml::Table);

impl Tables {
    /// Reads them; anything but `[modules.NAME]` is not for a server in memory.
    pub fn read(config: &str) -> Result<Self, String> {
        let mut root: toml::Table = config.parse().map_err(|error| format!("config: {error}"))?;
        let modules = match root.remove("modules") {
            Some(toml::Value::Table(modules)) => modules,
            None => toml::Table::new(),
            Some(_) => return Err("config: modules are sections".to_owned()),
        };
        match root.keys().next() {
            Some(other) => Err(format!("config: `{other}` is not set in memory")),
            None => Ok(Self(modules)),
        }
    }
}

impl Sections for Tables {
    type Error = String;

    fn read<S: Settings>(&self, module: &str) -> Result<S, String> {
        let Some(section) = self.0.get(module) else { return Ok(S::default()) };
        let keys = section.as_table().into_iter().flat_map(toml::Table::keys);
        for key in keys {
            if S::KEYS.iter().all(|known| known.name != key) {
                return Err(format!("[modules.{module}]: unknown key `{key}`"));
            }
        }
        if S::KEYS.is_empty() {
            return Ok(S::default());
        }
        section.clone().try_into().map_err(|error| format!("[modules.{module}]: {error}"))
    }

    fn fault(&self, module: &str, error: ConfigError) -> String {
        let key = error.key.map(|key| format!(" `{key}`")).unwrap_or_default();
        format!("[modules.{module}]{key}: {}", error.message)
    }
}

/// The server's end of a pipe.
struct Duplex(DuplexStream);

impl Wire for Duplex {
    fn peer(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
