//! One account: its state, its turns, and the seat of who changes what is durable.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use verona_xmpp::jid::Jid;

use crate::account::state::State;
use crate::store::shape::Owner;

/// An account that is loaded.
///
/// There is at most one per bare JID at a time. A turn is a plain function over its locked state;
/// what must be durable before it is told to anybody goes through [`edit`].
#[derive(Debug)]
pub struct Account {
    /// Its bare JID.
    pub jid: Jid,
    /// The same as the owner of its data in the store.
    pub owner: Owner,
    state: Mutex<State>,
    /// The seat of the one who changes durable state; held while a commit is awaited.
    pub(super) seat: tokio::sync::Mutex<()>,
}

impl Account {
    /// An account with its loaded state.
    pub fn new(jid: Jid, state: State) -> Self {
        let owner: Owner = Arc::from(jid.as_str());
        Self { jid, owner, state: Mutex::new(state), seat: tokio::sync::Mutex::new(()) }
    }

    /// Begins a turn. The guard must not live across an await.
    pub fn turn(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
