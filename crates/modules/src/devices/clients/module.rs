//! The module: hears of logins, and answers who has access.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use verona_core::account::admin::end_session;
use verona_core::hooks::{
    ConfigError, Hooks, HostSettings, IqResult, Key, Login, Manifest, Module, Reply, Request,
    Settings, Spec, Target,
};
use verona_core::server::{Host, Server};
use verona_core::store::batch::Batch;
use verona_core::stream::token_store::TOKENS;
use verona_xmpp::error::{Condition, StanzaError};

use crate::devices::clients::known::{Known, NS};
use crate::devices::clients::seen::{CLIENTS, Came, DAY_MICROS, Fresh, forget_old, write_fresh};
use crate::devices::push;

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
