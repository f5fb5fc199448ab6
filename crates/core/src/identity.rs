//! What tells one start of one installation from all others: an epoch and a key, kept in the store.

use std::sync::Arc;

use verona_xmpp::sasl::decoy::Decoy;

use crate::server::Identity;
use crate::store::Store;
use crate::store::batch::Batch;
use crate::store::error::{Fault, StoreError};
use crate::store::shape::{Owner, Table};

const SERVER: Table = Table::map("server");

/// Reads the installation's key, making it at the first start, and counts this start. Both are
/// durable when this returns, so no epoch is ever used twice.
/// Accounts that do not exist look like ones with this many `iterations`.
pub async fn begin(store: &Arc<dyn Store>, iterations: u32) -> Result<Identity, StoreError> {
    let owner: Owner = Arc::from("");
    let mut batch = Batch::new();
    let secret = match store.entry(SERVER, &owner, "secret").await? {
        Some(bytes) => <[u8; 32]>::try_from(bytes.as_ref())
            .map_err(|_| StoreError::new(Fault::Damaged, "the installation's key is damaged"))?,
        None => {
            let mut fresh = [0; 32];
            getrandom::fill(&mut fresh).map_err(|error| StoreError::new(Fault::Io, error))?;
            batch.put(SERVER, &owner, "secret", fresh.to_vec());
            fresh
        }
    };
    let last = store.entry(SERVER, &owner, "epoch").await?;
    let last = last.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse::<u32>().ok());
    let epoch = last.unwrap_or(0).saturating_add(1);
    batch.put(SERVER, &owner, "epoch", epoch.to_string());
    store.submit(batch).await?;
    let decoy =
        Decoy::new(&secret, iterations).map_err(|error| StoreError::new(Fault::Unusable, error))?;
    Ok(Identity { epoch, secret, decoy: Arc::new(decoy) })
}
