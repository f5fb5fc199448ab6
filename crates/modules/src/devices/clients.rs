//! XEP-0494: Client Access Management. Who owns an account sees which clients have access to it, and
//! takes it from one.
//!
//! Clients that say who they are as they log in (XEP-0388 §2.3) are remembered; of others only the
//! sessions are known that they have now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use verona_core::account::Account;
use verona_core::account::admin::{PASSWORD_CHANGED, end_session};
use verona_core::account::credentials::{Record, fingerprint};
use verona_core::account::state::{Part, State};
use verona_core::hooks::{
    ConfigError, Hooks, HostSettings, IqResult, Key, Login, Manifest, Module, Reply, Request,
    Settings, Spec, Target,
};
use verona_core::limits::CLIENTS_MAX;
use verona_core::link::Link;
use verona_core::server::{Host, Server};
use verona_core::store::batch::Batch;
use verona_core::store::error::StoreError;
use verona_core::store::shape::{Entry, Owner, Table};
use verona_core::stream::token_store::{self, TOKENS};
use verona_core::stream::user_agent::UserAgent;
use verona_core::token;
use verona_xml::Writer;
use verona_xmpp::date;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::sasl::hash::Hash;

use crate::devices::push;

const NS: &str = "urn:xmpp:cam:0";

/// What is remembered of each client, by the id of its installation.
const CLIENTS: Table = Table::map("login.clients");

const SEC_MICROS: u64 = 1_000_000;
const DAY_MICROS: u64 = 24 * 60 * 60 * SEC_MICROS;

/// Logins with a token that come so soon after another are not worth writing.
const SOON_MICROS: u64 = 60 * SEC_MICROS;

/// Bytes of the reference by which a client is known to the account's owner.
const REFERENCE_BYTES: usize = 12;

/// Accounts looked through at a time.
const PAGE: usize = 500;

/// What an operator may set (§6).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Days for which a client is remembered that does not come back; 0: for ever.
    pub keep_days: u32,
    /// Whether the names of software and device are kept.
    pub keep_names: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { keep_days: 60, keep_names: true }
    }
}

impl Settings for Config {
    const KEYS: &'static [Key] = &[
        Key {
            name: "keep_days",
            doc: "Days for which an account's list of clients holds one that does not log in again; \
                  0 keeps it for ever.",
        },
        Key {
            name: "keep_names",
            doc: "Whether the list holds what clients call their software and device.",
        },
    ];
}

/// The module.
pub struct Clients {
    config: Config,
    /// The day on which it was last looked for what need not be remembered any more.
    day: AtomicU64,
}

impl Module for Clients {
    const MANIFEST: Manifest = Manifest {
        name: "clients",
        specs: &[Spec("XEP-0494", "0.1.0")],
        account_features: &[NS],
        tables: &[CLIENTS],
        ..Manifest::EMPTY
    };

    type Config = Config;

    fn new(config: Config, _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self { config, day: AtomicU64::new(0) })
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.login(Self::remember);
        on.iq_get(Target::Own, NS, "list", Self::list);
        on.iq_set(Target::Own, NS, "revoke", Self::revoke);
        on.iq_get(Target::Account, NS, "list", Self::refuse);
        on.iq_set(Target::Account, NS, "revoke", Self::refuse);
        on.chore(Self::forget_daily);
    }
}

/// What is remembered of a client.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct Seen {
    software: Option<Box<str>>,
    device: Option<Box<str>>,
    first_micros: u64,
    last_micros: u64,
    /// Its last login with the password; 0 for never.
    password_micros: u64,
}

/// Logins that are not written yet.
#[derive(Debug, Default)]
struct Fresh {
    logins: Vec<Came>,
}

#[derive(Clone, Debug)]
struct Came {
    agent: UserAgent,
    micros: u64,
    by_token: bool,
}

impl Part for Fresh {
    fn load(_: &[Entry]) -> Self {
        Self::default()
    }
}

impl Clients {
    /// A client logs in. Nobody waits until that is written.
    fn remember(&self, login: &Login<'_>) {
        if login.agent.id.is_none() {
            return;
        }
        let mut agent = login.agent.clone();
        if !self.config.keep_names {
            (agent.software, agent.device) = (None, None);
        }
        let micros = login.server.clock.now_micros();
        let came = Came { agent, micros, by_token: login.by_token };
        {
            let mut state = login.account.turn();
            let fresh = &mut state.part_mut::<Fresh>().logins;
            fresh.push(came);
            // One writer takes all.
            if fresh.len() > 1 {
                return;
            }
        }
        let (server, account) = (login.server.clone(), login.account.clone());
        let keep_days = self.config.keep_days;
        tokio::spawn(async move {
            if let Err(error) = write_fresh(&server, &account, keep_days).await {
                tracing::error!(account = %account.jid, %error, "cannot remember a client");
            }
        });
    }

    /// §3.1
    async fn list(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let _edit = account.edit(&request.server).await;
        let known = Known::read(&request.server, account).await?;
        let clients = known.clients(&request.server, account);
        Ok(Reply::with(|writer| {
            writer.start("clients", NS);
            clients.iter().for_each(|client| client.write(writer));
            writer.end();
        }))
    }

    /// §3.2: a client that knows the password cannot be kept out but by another password.
    async fn revoke(self: Arc<Self>, request: Request) -> IqResult {
        let account = request.own()?;
        let tree = request.tree()?;
        let id = tree.root().attr("id").ok_or_else(|| StanzaError::new(Condition::BadRequest))?;
        let client = {
            let edit = account.edit(&request.server).await;
            let known = Known::read(&request.server, account).await?;
            let clients = known.clients(&request.server, account);
            let client = clients.into_iter().find(|client| client.id == id);
            let client = client.ok_or_else(|| StanzaError::new(Condition::ItemNotFound))?;
            if client.password {
                let error = StanzaError::new(Condition::ServiceUnavailable);
                return Err(error.application("password-reset-required", NS));
            }
            let mut batch = Batch::new();
            let mut pushes = Vec::new();
            if let Some(agent) = &client.agent {
                batch.delete(CLIENTS, &account.owner, agent);
                batch.delete(TOKENS, &account.owner, agent);
                pushes = push::keys_of(&account.turn(), agent);
            }
            push::forget(&pushes, &account.owner, &mut batch);
            edit.commit(batch).await?;
            push::forgotten(&pushes, &mut account.turn());
            client
        };
        // Who takes it from themselves hears that it is done before the end.
        let own = request
            .link
            .as_ref()
            .filter(|own| client.sessions.iter().any(|session| Arc::ptr_eq(session, own)));
        if let Some(own) = own {
            own.mailbox.put(|out| request.iq.write_result("", out));
        }
        for session in &client.sessions {
            end_session(&request.server, account, session, "access was revoked").await;
        }
        Ok(if own.is_some() { Reply::written() } else { Reply::empty() })
    }

    /// §5: of another's account; the same answer whether there is such an account or not.
    async fn refuse(self: Arc<Self>, _: Request) -> IqResult {
        Err(StanzaError::new(Condition::Forbidden))
    }

    /// §6: session information is kept no longer than necessary.
    async fn forget_daily(self: Arc<Self>, server: Arc<Server>, host: Arc<Host>) {
        let day = server.clock.now_micros() / DAY_MICROS;
        if self.config.keep_days == 0 || self.day.swap(day, Ordering::Relaxed) == day {
            return;
        }
        if let Err(error) = forget_old(&server, &host, self.config.keep_days).await {
            tracing::error!(host = %host.jid, %error, "cannot forget clients");
        }
    }
}

/// Writes the logins that came.
async fn write_fresh(
    server: &Server,
    account: &Arc<Account>,
    keep_days: u32,
) -> Result<(), StoreError> {
    let edit = account.edit(server).await;
    let before = read(server, &account.owner).await;
    let fresh = std::mem::take(&mut account.turn().part_mut::<Fresh>().logins);
    let before = before?;
    let mut after = before.clone();
    for came in fresh {
        note(&mut after, came);
    }
    forget(&mut after, server.clock.now_micros(), keep_days);
    edit.commit(changes(&before, &after, &account.owner)).await
}

async fn forget_old(server: &Server, host: &Host, keep_days: u32) -> Result<(), StoreError> {
    let mut last: Option<Arc<str>> = None;
    loop {
        let owners = server.store.owners(CLIENTS, last.as_deref(), PAGE).await?;
        let Some(end) = owners.last().cloned() else { return Ok(()) };
        for owner in owners {
            let domain = owner.split_once('@').map_or(&*owner, |(_, domain)| domain);
            if domain != host.jid.as_str() {
                continue;
            }
            let before = read(server, &owner).await?;
            let mut after = before.clone();
            forget(&mut after, server.clock.now_micros(), keep_days);
            if before != after {
                // Who logs in just now is written behind this.
                server.store.room().await;
                server.store.submit(changes(&before, &after, &owner)).await?;
            }
        }
        last = Some(end);
    }
}

type SeenById = BTreeMap<Box<str>, Seen>;

async fn read(server: &Server, owner: &Owner) -> Result<SeenById, StoreError> {
    let entries = server.store.entries(owner, &[CLIENTS]).await?;
    let seen = entries.into_iter().filter_map(|entry| {
        let seen = serde_json::from_slice(&entry.value).ok()?;
        Some((entry.key, seen))
    });
    Ok(seen.collect())
}

fn note(clients: &mut SeenById, came: Came) {
    let Came { agent, micros, by_token } = came;
    let Some(id) = agent.id else { return };
    let new = || Seen { first_micros: micros, ..Seen::default() };
    let seen = clients.entry(id).or_insert_with(new);
    let same = seen.software == agent.software && seen.device == agent.device;
    if by_token && same && micros.saturating_sub(seen.last_micros) < SOON_MICROS {
        return;
    }
    (seen.software, seen.device) = (agent.software, agent.device);
    seen.last_micros = micros;
    if !by_token {
        seen.password_micros = micros;
    }
}

/// Those that did not come back go, and when there are too many, the oldest.
fn forget(clients: &mut SeenById, now_micros: u64, keep_days: u32) {
    if keep_days > 0 {
        let age = u64::from(keep_days).saturating_mul(DAY_MICROS);
        clients.retain(|_, seen| seen.last_micros.saturating_add(age) > now_micros);
    }
    while clients.len() > CLIENTS_MAX {
        let oldest = clients.iter().min_by_key(|(_, seen)| seen.last_micros);
        let Some(id) = oldest.map(|(id, _)| id.clone()) else { return };
        clients.remove(&id);
    }
}

fn changes(before: &SeenById, after: &SeenById, owner: &Owner) -> Batch {
    let mut batch = Batch::new();
    for id in before.keys().filter(|id| !after.contains_key(*id)) {
        batch.delete(CLIENTS, owner, id);
    }
    for (id, seen) in after.iter().filter(|(id, seen)| before.get(*id) != Some(*seen)) {
        // Texts and numbers are always written.
        if let Ok(value) = serde_json::to_vec(seen) {
            batch.put(CLIENTS, owner, id, value);
        }
    }
    batch
}

/// What is known of the clients of an account.
struct Known {
    seen: SeenById,
    /// Clients with a token that can be used.
    tokens: Vec<Box<str>>,
    /// When the password was last changed; 0 when that is not known.
    changed_micros: u64,
}

impl Known {
    async fn read(server: &Server, account: &Account) -> Result<Self, StoreError> {
        let mut seen = read(server, &account.owner).await?;
        let tokens = token_store::of_all(server, account).await?;
        let changed = server.store.entry(PASSWORD_CHANGED, &account.owner, "").await?;
        let changed = changed.and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok());
        let (keys, fresh) = {
            let state = account.turn();
            let record = state.record.as_deref().and_then(Record::decode);
            let keys = record.map(|record| fingerprint(&record.credentials));
            let fresh = state.part::<Fresh>().map(|fresh| fresh.logins.clone());
            (keys.unwrap_or_default(), fresh.unwrap_or_default())
        };
        for came in fresh {
            note(&mut seen, came);
        }
        let now_secs = server.clock.now_micros() / SEC_MICROS;
        let good = tokens.into_iter().filter(|(_, tokens)| tokens.are_good(&keys, now_secs));
        let tokens = good.map(|(id, _)| id).collect();
        Ok(Self { seen, tokens, changed_micros: changed.unwrap_or(0) })
    }

    /// All that have access: those that can log in, and those that are logged in.
    fn clients(&self, server: &Server, account: &Account) -> Vec<Client> {
        let state = account.turn();
        let mut ids: Vec<&Box<str>> = self.seen.keys().chain(&self.tokens).collect();
        let sessions = state.resources.iter().filter_map(|of| of.agent.as_ref()?.id.as_ref());
        ids.extend(sessions);
        ids.sort_unstable();
        ids.dedup();
        let known = ids.into_iter().map(|id| self.client(server, (&account.owner, &state), id));
        let nameless = state
            .resources
            .iter()
            .filter(|resource| resource.agent.as_ref().is_none_or(|agent| agent.id.is_none()));
        let nameless =
            nameless.map(|resource| self.session(server, &account.owner, &resource.link));
        let has_access =
            |client: &Client| client.password || client.token || !client.sessions.is_empty();
        known.chain(nameless).filter(has_access).collect()
    }

    fn client(&self, server: &Server, (owner, state): (&Owner, &State), id: &str) -> Client {
        let its = state.resources.iter().filter(|resource| {
            resource.agent.as_ref().is_some_and(|agent| agent.id.as_deref() == Some(id))
        });
        let sessions: Vec<Arc<Link>> = its.clone().map(|resource| resource.link.clone()).collect();
        let seen = self.seen.get(id);
        let now = server.clock.now_micros();
        let last = if sessions.is_empty() { seen.map(|seen| seen.last_micros) } else { Some(now) };
        Client {
            id: reference(server, owner, id),
            agent: Some(id.into()),
            is_session: seen.is_some() || !sessions.is_empty(),
            sessions,
            first_micros: seen.map(|seen| seen.first_micros),
            last_micros: last,
            password: seen.is_some_and(|seen| seen.password_micros > self.changed_micros),
            token: self.tokens.iter().any(|of| **of == *id),
            software: seen.and_then(|seen| seen.software.clone()),
            device: seen.and_then(|seen| seen.device.clone()),
        }
    }

    /// A session of a client that does not say who it is: it has proven the password.
    fn session(&self, server: &Server, owner: &Owner, link: &Arc<Link>) -> Client {
        let now = server.clock.now_micros();
        let since = now.saturating_sub(link.age_micros());
        Client {
            id: reference(server, owner, link.jid.as_str()),
            agent: None,
            is_session: true,
            sessions: vec![link.clone()],
            first_micros: Some(since),
            last_micros: Some(now),
            password: since > self.changed_micros,
            token: false,
            software: None,
            device: None,
        }
    }
}

/// The same for the same client each time, and no way back to its id, with which it may log in.
fn reference(server: &Server, owner: &Owner, id: &str) -> String {
    let parts: [&[u8]; 4] = [b"reference of a client\0", owner.as_bytes(), b"\0", id.as_bytes()];
    let hash = Hash::Sha256.hmac(&server.secret, &parts);
    token::text(hash.as_ref().get(..REFERENCE_BYTES).unwrap_or_default())
}

/// A client as its account's owner sees it.
struct Client {
    id: String,
    agent: Option<Box<str>>,
    /// It has, or had, a session here.
    is_session: bool,
    /// Those that it has now, with a stream or without.
    sessions: Vec<Arc<Link>>,
    first_micros: Option<u64>,
    last_micros: Option<u64>,
    /// It has proven the password as it is.
    password: bool,
    /// It has a token.
    token: bool,
    software: Option<Box<str>>,
    device: Option<Box<str>>,
}

impl Client {
    fn write(&self, writer: &mut Writer) {
        writer.start("client", NS).attr("id", &self.id);
        writer.attr("connected", if self.sessions.is_empty() { "false" } else { "true" });
        writer.attr("type", if self.is_session { "session" } else { "access" });
        for (name, micros) in [("first-seen", self.first_micros), ("last-seen", self.last_micros)] {
            if let Some(micros) = micros {
                let time = date::write(i64::try_from(micros).unwrap_or(i64::MAX));
                writer.start(name, NS).text(&time).end();
            }
        }
        writer.start("auth", NS);
        if self.password {
            writer.empty("password", NS);
        }
        if self.token {
            writer.empty("fast", NS);
        }
        writer.end();
        // Nobody's access is restricted here.
        writer.start("permission", NS).attr("status", "unrestricted").end();
        if self.software.is_some() || self.device.is_some() {
            writer.start("user-agent", NS);
            for (name, text) in [("software", &self.software), ("device", &self.device)] {
                if let Some(text) = text {
                    writer.start(name, NS).text(text).end();
                }
            }
            writer.end();
        }
        writer.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(id: &str, micros: u64, by_token: bool) -> Came {
        let agent = UserAgent { id: Some(id.into()), ..UserAgent::default() };
        Came { agent, micros, by_token }
    }

    #[test]
    fn a_client_is_remembered_with_its_first_and_last_login() {
        let mut clients = SeenById::new();
        note(&mut clients, came("a", 10, false));
        note(&mut clients, came("a", 10 + SOON_MICROS, true));
        note(&mut clients, came("a", 11 + SOON_MICROS, true));
        let seen = &clients["a"];
        assert_eq!((seen.first_micros, seen.password_micros), (10, 10));
        assert_eq!(seen.last_micros, 10 + SOON_MICROS, "not worth writing so soon");
    }

    #[test]
    fn who_does_not_come_back_is_forgotten_and_so_are_the_oldest_of_many() {
        let mut clients = SeenById::new();
        for n in 0..CLIENTS_MAX as u64 + 5 {
            note(&mut clients, came(&n.to_string(), n * DAY_MICROS, false));
        }
        let now = (CLIENTS_MAX as u64 + 5) * DAY_MICROS;
        forget(&mut clients, now, 0);
        assert_eq!(clients.len(), CLIENTS_MAX);
        assert!(!clients.contains_key("4") && clients.contains_key("5"));
        forget(&mut clients, now, 3);
        assert_eq!(clients.len(), 2);
    }

    #[test]
    fn only_what_changed_is_written() {
        let owner: Owner = "juliet@capulet.lit".into();
        let mut before = SeenById::new();
        note(&mut before, came("a", 1, false));
        note(&mut before, came("b", 1, false));
        note(&mut before, came("c", 1, false));
        let mut after = before.clone();
        after.remove("a");
        note(&mut after, came("b", 2, false));
        assert_eq!(changes(&before, &after, &owner).writes.len(), 2);
        assert!(changes(&before, &before, &owner).is_empty());
    }
}
