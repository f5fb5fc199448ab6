//! The server put together: what the config says, made of the core, its modules and its listeners.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use verona_core::store::Store;
use verona_transports::tls::certificates::Certificates;

use crate::accounts::request::{AccountError, AccountReply, AccountRequest, Accounts};
use crate::accounts::stored::StoredAccounts;
use crate::config::load::Config;
use crate::control::protocol::Status;

/// The names that `[modules.NAME]` may have.
pub const MODULES: &[&str] = &[];

/// What the server is made of.
pub struct Parts {
    /// The config.
    pub config: Arc<Config>,
    /// The certificates; their reload is the caller's.
    pub certificates: Arc<Certificates>,
    /// The store; it is closed by [`Assembly::stop`].
    pub store: Arc<dyn Store>,
}

/// A server that runs.
pub struct Assembly {
    store: Arc<dyn Store>,
    accounts: StoredAccounts,
    listening: BTreeMap<String, Vec<SocketAddr>>,
}

impl Assembly {
    /// Puts the server together and opens its listeners.
    pub async fn start(parts: Parts) -> Result<Self, String> {
        let accounts = StoredAccounts::of(&parts.config, parts.store.clone());
        Ok(Self { store: parts.store, accounts, listening: BTreeMap::new() })
    }

    /// Adds what it knows to the status.
    pub fn describe(&self, status: &mut Status) {
        status.listening = self.listening.clone();
    }

    /// Does something with accounts.
    pub async fn account(&self, request: AccountRequest) -> Result<AccountReply, AccountError> {
        self.accounts.perform(request).await
    }

    /// Takes over a changed config. Returns what the operator should know, such as what waits for a
    /// restart.
    pub async fn reload(&self, _config: &Config) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    /// Ends all streams with what their peers need to resume, and closes the store.
    pub async fn stop(&self) {
        self.store.close().await;
    }
}
