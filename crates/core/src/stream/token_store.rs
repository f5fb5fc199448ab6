//! Where the tokens of an account's clients lie (XEP-0484 §5.1).

use crate::account::Account;
use crate::server::Server;
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::shape::Table;
use crate::stream::tokens::Tokens;

/// The tokens of each client, by the id of its user agent.
pub const TOKENS: Table = Table::map("login.tokens");

/// The tokens of one client.
pub async fn of_client(
    server: &Server,
    account: &Account,
    agent: &str,
) -> Result<Option<Tokens>, StoreError> {
    let entry = server.store.entry(TOKENS, &account.owner, agent).await?;
    Ok(entry.map(|entry| decode(&entry)))
}

/// The tokens of all clients.
pub async fn of_all(
    server: &Server,
    account: &Account,
) -> Result<Vec<(Box<str>, Tokens)>, StoreError> {
    let entries = server.store.entries(&account.owner, &[TOKENS]).await?;
    Ok(entries.into_iter().map(|entry| (entry.key, decode(&entry.value))).collect())
}

/// Writes the tokens of one client.
pub fn put(batch: &mut Batch, account: &Account, agent: &str, tokens: &Tokens) {
    // Strings, numbers and lists of them are always written.
    if let Ok(bytes) = serde_json::to_vec(tokens) {
        batch.put(TOKENS, &account.owner, agent, bytes);
    }
}

/// What cannot be read is no token: the client logs in with its password.
fn decode(bytes: &[u8]) -> Tokens {
    serde_json::from_slice(bytes).unwrap_or_default()
}
