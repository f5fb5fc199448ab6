//! The accounts in memory: found without waiting, loaded when they are not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;
use tokio::sync::MutexGuard;
use verona_xmpp::jid::Jid;

use crate::account::Account;
use crate::account::credentials::{ACCOUNTS, Record};
use crate::account::log;
use crate::account::roster::{self, Roster};
use crate::account::state::{PartSpec, State};
use crate::account::waiting::LogState;
use crate::limits::IDLE_ACCOUNTS_MAX;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::shape::{Owner, Table};

const SHARDS: usize = 64;

type Shard = RwLock<HashMap<Arc<str>, Arc<Account>, ahash::RandomState>>;

/// All accounts that are in memory, by bare JID.
#[derive(Debug)]
pub struct Directory {
    shards: Box<[Shard]>,
    hasher: ahash::RandomState,
    count: AtomicUsize,
    sweep: AtomicU64,
    /// Loads are done one at a time per shard, so that an account is never made twice.
    loading: Box<[tokio::sync::Mutex<()>]>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: ahash::RandomState::new(),
            count: AtomicUsize::new(0),
            sweep: AtomicU64::new(0),
            loading: (0..SHARDS).map(|_| tokio::sync::Mutex::default()).collect(),
        }
    }
}

impl Directory {
    /// The account of a bare JID's text, if it is in memory.
    pub fn loaded(&self, bare: &str) -> Option<Arc<Account>> {
        self.shard(bare).1.read().get(bare).cloned()
    }

    /// The account of a bare JID, from memory or from the store; None if there is none.
    pub async fn load(
        &self,
        jid: &Jid,
        store: &dyn Store,
        parts: &[PartSpec],
    ) -> Result<Option<Arc<Account>>, StoreError> {
        let bare = jid.bare();
        let text = bare.as_str();
        if let Some(account) = self.loaded(text) {
            return Ok(Some(account));
        }
        let shard = self.shard(text).1;
        let _one = self.hold(text).await;
        if let Some(account) = self.loaded(text) {
            return Ok(Some(account));
        }
        let owner: Owner = Arc::from(text);
        let Some(state) = read(&owner, store, parts).await? else { return Ok(None) };
        let account = Arc::new(Account::new(bare.clone(), state));
        shard.write().insert(owner, account.clone());
        if self.count.fetch_add(1, Ordering::Relaxed) > IDLE_ACCOUNTS_MAX {
            self.sweep();
        }
        Ok(Some(account))
    }

    /// Waits for the right to say whether there is an account of this bare JID: to load, make or
    /// remove it. Others with the same name, and some with other names, wait meanwhile.
    pub async fn hold(&self, bare: &str) -> MutexGuard<'_, ()> {
        let (place, _) = self.shard(bare);
        // `place` is below the length, which is that of the shards.
        self.loading[place].lock().await
    }

    /// Forgets an account that was removed; who still holds it sees it as gone.
    pub fn forget(&self, bare: &str) {
        if let Some(account) = self.shard(bare).1.write().remove(bare) {
            account.turn().gone = true;
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Calls `visit` with every account in memory.
    pub fn each(&self, mut visit: impl FnMut(&Arc<Account>)) {
        for shard in &self.shards {
            let accounts: Vec<_> = shard.read().values().cloned().collect();
            accounts.iter().for_each(&mut visit);
        }
    }

    /// Drops the idle accounts of the next shard. Nobody else holds what is dropped: the shard is
    /// locked, and a count of one means that only the directory does.
    fn sweep(&self) {
        let turn = self.sweep.fetch_add(1, Ordering::Relaxed);
        let place = usize::try_from(turn % SHARDS as u64).unwrap_or(0);
        let Some(shard) = self.shards.get(place) else { return };
        let mut accounts = shard.write();
        let before = accounts.len();
        accounts.retain(|_, account| {
            Arc::strong_count(account) > 1 || !account.turn().resources.is_empty()
        });
        self.count.fetch_sub(before.saturating_sub(accounts.len()), Ordering::Relaxed);
    }

    fn shard(&self, bare: &str) -> (usize, &Shard) {
        let place = usize::try_from(self.hasher.hash_one(bare) % SHARDS as u64).unwrap_or(0);
        // `place` is below the length by the modulus.
        (place, &self.shards[place])
    }
}

/// Reads all that is loaded with an account; None when there is no such account.
async fn read(
    owner: &Owner,
    store: &dyn Store,
    parts: &[PartSpec],
) -> Result<Option<State>, StoreError> {
    let mut tables: Vec<Table> =
        vec![ACCOUNTS, roster::ITEMS, roster::VERSION, crate::account::presence::LAST_SEEN];
    for part in parts {
        tables.extend(part.tables);
    }
    let entries = store.entries(owner, &tables).await?;
    let Some(record) = entries.iter().find(|entry| entry.table == ACCOUNTS) else {
        return Ok(None);
    };
    let record = Record::decode(&record.value);
    let mut state = State::default();
    // A record that cannot be read lets nobody in anyway.
    state.disabled = record.as_ref().is_some_and(|record| record.disabled);
    state.created_micros = record.as_ref().map_or(0, |record| record.created_micros);
    state.roster = Roster::load(&entries);
    state.last_seen_micros = crate::account::presence::last_seen(&entries);
    state.last_seen_saved_micros = state.last_seen_micros;
    for spec in parts {
        if entries.iter().any(|entry| spec.tables.contains(&entry.table)) {
            state.add_part((spec.load)(&entries));
        }
    }
    let (count, bytes, first) = log::waiting(owner, store).await?;
    let last_seq = store.last_seq(log::LOG, owner).await?;
    state.log = LogState::found(last_seq, count, bytes, first);
    Ok(Some(state))
}
