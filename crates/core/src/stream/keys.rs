//! What is kept of a password becomes more, or better, while the password stays what it is: on
//! occasion of a login that has proven it.

use verona_xmpp::jid::Jid;
use verona_xmpp::sasl::credentials::Credentials;

use crate::account::credentials::{self, ACCOUNTS, fingerprint};
use crate::server::Server;
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::stream::token_store;

/// Changes what is kept of a password, if it is still the one of which `proven` is the fingerprint;
/// gives the new fingerprint. Tokens go on: they end with the password, which stays the same.
pub async fn renew(
    server: &Server,
    account: &Jid,
    proven: &[u8],
    change: impl FnOnce(Credentials) -> Credentials,
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(account) = server.account(account).await? else { return Ok(None) };
    let edit = account.edit(server).await;
    let record = credentials::read(&*server.store, &account.jid).await?;
    let Some(mut record) = record.filter(|record| fingerprint(&record.credentials) == proven)
    else {
        return Ok(None);
    };
    record.credentials = change(record.credentials);
    let fresh = fingerprint(&record.credentials);
    let mut batch = Batch::new();
    batch.put(ACCOUNTS, &account.owner, "", record.encode());
    for (agent, mut tokens) in token_store::of_all(server, &account).await? {
        if tokens.follow(proven, &fresh) {
            token_store::put(&mut batch, &account, &agent, &tokens);
        }
    }
    edit.commit(batch).await?;
    tracing::info!(account = %account.jid, "keys of the password renewed");
    Ok(Some(fresh))
}
