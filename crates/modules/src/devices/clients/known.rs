//! The clients that have access to an account, from what is remembered, tokens and sessions.

use std::sync::Arc;

use verona_core::account::Account;
use verona_core::account::admin::PASSWORD_CHANGED;
use verona_core::account::credentials::fingerprint;
use verona_core::account::state::State;
use verona_core::link::Link;
use verona_core::server::Server;
use verona_core::store::error::StoreError;
use verona_core::store::shape::Owner;
use verona_core::stream::token_store;
use verona_core::token;
use verona_xml::Writer;
use verona_xmpp::date;
use verona_xmpp::sasl::hash::Hash;

use crate::devices::clients::seen::{Fresh, SeenById, note, read};

/// The namespace of client access management.
pub const NS: &str = "urn:xmpp:cam:0";

const SEC_MICROS: u64 = 1_000_000;

/// Bytes of the reference by which a client is known to the account's owner.
const REFERENCE_BYTES: usize = 12;

/// What is known of the clients of an account.
pub struct Known {
    seen: SeenById,
    /// Clients with a token that can be used.
    tokens: Vec<Box<str>>,
    /// When the password was last changed; 0 when that is not known.
    changed_micros: u64,
}

impl Known {
    /// Reads it.
    pub async fn read(server: &Server, account: &Account) -> Result<Self, StoreError> {
        let mut seen = read(server, &account.owner).await?;
        let tokens = token_store::of_all(server, account).await?;
        let changed = server.store.entry(PASSWORD_CHANGED, &account.owner, "").await?;
        let changed = changed.and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok());
        let record = server.account_record(&account.jid).await?;
        let keys = record.map(|record| fingerprint(&record.credentials)).unwrap_or_default();
        let fresh = account.turn().part::<Fresh>().map(|fresh| fresh.logins.clone());
        for came in fresh.unwrap_or_default() {
            note(&mut seen, came);
        }
        let now_secs = server.clock.now_micros() / SEC_MICROS;
        let good = tokens.into_iter().filter(|(_, tokens)| tokens.are_good(&keys, now_secs));
        let tokens = good.map(|(id, _)| id).collect();
        Ok(Self { seen, tokens, changed_micros: changed.unwrap_or(0) })
    }

    /// All that have access: those that can log in, and those that are logged in.
    pub fn clients(&self, server: &Server, account: &Account) -> Vec<Client> {
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
pub struct Client {
    /// The reference by which it is named.
    pub id: String,
    /// The id of its installation.
    pub agent: Option<Box<str>>,
    /// It has, or had, a session here.
    is_session: bool,
    /// Those that it has now, with a stream or without.
    pub sessions: Vec<Arc<Link>>,
    first_micros: Option<u64>,
    last_micros: Option<u64>,
    /// It has proven the password as it is.
    pub password: bool,
    /// It has a token.
    token: bool,
    software: Option<Box<str>>,
    device: Option<Box<str>>,
}

impl Client {
    /// Writes it as the owner is told (§3.1).
    pub fn write(&self, writer: &mut Writer) {
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
