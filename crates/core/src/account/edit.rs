//! Changes that must be durable before anybody hears of them.
//!
//! One at a time per account: plan on the present state, commit, then apply. A failed commit
//! changes nothing, so what is in memory is never ahead of the disk, and what is told (an IQ
//! result, a roster push, a routed request) is always on it.

use tokio::sync::MutexGuard;

use crate::account::Account;
use crate::server::Server;
use crate::store::batch::Batch;
use crate::store::error::StoreError;

/// The right to change an account's durable state.
pub struct Edit<'a> {
    account: &'a Account,
    server: &'a Server,
    _seat: MutexGuard<'a, ()>,
}

impl Account {
    /// Waits for the right to change durable state. Turns go on meanwhile.
    pub async fn edit<'a>(&'a self, server: &'a Server) -> Edit<'a> {
        Edit { account: self, server, _seat: self.seat.lock().await }
    }
}

impl Edit<'_> {
    /// Makes a batch durable. Nothing may be applied to the state when this fails.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.account.turn().gone {
            return Err(StoreError::closed());
        }
        self.server.store.room().await;
        self.server.store.submit(batch).await
    }
}
