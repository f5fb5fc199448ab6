//! What is remembered of clients: by the id of each one's installation, when it came and how.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use verona_core::account::Account;
use verona_core::account::state::Part;
use verona_core::limits::CLIENTS_MAX;
use verona_core::server::{Host, Server};
use verona_core::store::batch::Batch;
use verona_core::store::error::StoreError;
use verona_core::store::shape::{Entry, Owner, Table};
use verona_core::stream::user_agent::UserAgent;

/// What is remembered of each client, by the id of its installation.
pub const CLIENTS: Table = Table::map("login.clients");

const SEC_MICROS: u64 = 1_000_000;

/// A day.
pub const DAY_MICROS: u64 = 24 * 60 * 60 * SEC_MICROS;

/// Logins with a token that come so soon after another are not worth writing.
const SOON_MICROS: u64 = 60 * SEC_MICROS;

/// Accounts looked through at a time.
const PAGE: usize = 500;

/// What is remembered of a client.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Seen {
    /// What it calls its software.
    pub software: Option<Box<str>>,
    /// What it calls its device.
    pub device: Option<Box<str>>,
    /// Its first login, in microseconds since the epoch.
    pub first_micros: u64,
    /// Its last login.
    pub last_micros: u64,
    /// Its last login with the password; 0 for never.
    pub password_micros: u64,
}

/// Logins that are not written yet.
#[derive(Debug, Default)]
pub struct Fresh {
    /// In the order in which they came.
    pub logins: Vec<Came>,
}

/// A login.
#[derive(Clone, Debug)]
pub struct Came {
    /// What the client told of itself.
    pub agent: UserAgent,
    /// When that was.
    pub micros: u64,
    /// With a token, not with the password.
    pub by_token: bool,
}

impl Part for Fresh {
    fn load(_: &[Entry]) -> Self {
        Self::default()
    }
}

/// Writes the logins that came.
pub async fn write_fresh(
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

/// Forgets what is too old, for a whole host.
pub async fn forget_old(server: &Server, host: &Host, keep_days: u32) -> Result<(), StoreError> {
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

/// All that are remembered of an account.
pub type SeenById = BTreeMap<Box<str>, Seen>;

/// Reads what is remembered.
pub async fn read(server: &Server, owner: &Owner) -> Result<SeenById, StoreError> {
    let entries = server.store.entries(owner, &[CLIENTS]).await?;
    let seen = entries.into_iter().filter_map(|entry| {
        let seen = serde_json::from_slice(&entry.value).ok()?;
        Some((entry.key, seen))
    });
    Ok(seen.collect())
}

/// Notes a login.
pub fn note(clients: &mut SeenById, came: Came) {
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
