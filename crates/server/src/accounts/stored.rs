//! Accounts as they lie in the store: what the commands do when no server runs.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use verona_core::account::credentials::{ACCOUNTS, Record, read};
use verona_core::store::Store;
use verona_core::store::batch::{Batch, Write};
use verona_core::store::shape::Owner;
use verona_xmpp::jid::{Jid, same_for_stringprep};
use verona_xmpp::sasl::credentials::Credentials;

use crate::accounts::request::{
    AccountError, AccountLine, AccountReply, AccountRequest, Accounts, PAGE_ACCOUNTS_MAX, Password,
};
use crate::config::load::Config;
use crate::config::names::BareJid;
use crate::config::problem::did_you_mean;

/// The accounts in a store that no server has open, or whose server does the rest.
pub struct StoredAccounts {
    store: Arc<dyn Store>,
    hosts: Vec<String>,
    password_iterations: u32,
}

impl Accounts for StoredAccounts {
    fn perform(
        &self,
        request: AccountRequest,
    ) -> BoxFuture<'_, Result<AccountReply, AccountError>> {
        Box::pin(async move {
            let jid = match request {
                AccountRequest::Add { jid, password } => self.add(&jid, &password).await?,
                AccountRequest::Passwd { jid, password } => self.passwd(&jid, &password).await?,
                AccountRequest::Disable { jid } => self.set_disabled(&jid, true).await?,
                AccountRequest::Enable { jid } => self.set_disabled(&jid, false).await?,
                AccountRequest::Delete { jid } => self.delete(&jid).await?,
                AccountRequest::List { host, after } => return self.list(host, after).await,
            };
            Ok(AccountReply::Done { jid: jid.as_str().to_owned() })
        })
    }
}

impl StoredAccounts {
    /// The accounts of these domains.
    pub fn new(store: Arc<dyn Store>, hosts: Vec<String>, password_iterations: u32) -> Self {
        Self { store, hosts, password_iterations }
    }

    /// The accounts of the hosts of a config.
    pub fn of(config: &Config, store: Arc<dyn Store>) -> Self {
        let hosts = config.hosts.iter().map(|host| host.domain.to_string()).collect();
        Self::new(store, hosts, config.security.password_iterations)
    }

    async fn add(&self, jid: &str, password: &Password) -> Result<Jid, AccountError> {
        let jid = self.of_our_hosts(jid)?;
        if !jid.local().is_some_and(same_for_stringprep) {
            let message = "other servers would read this name as another one; choose a simpler one";
            return Err(AccountError::new(message));
        }
        if read(&*self.store, &jid).await.map_err(AccountError::new)?.is_some() {
            return Err(AccountError::new(format_args!("the account {jid} exists already")));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = Record {
            disabled: false,
            created_micros: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            credentials: self.credentials(password).await?,
        };
        self.put(&jid, &record).await?;
        Ok(jid)
    }

    async fn passwd(&self, jid: &str, password: &Password) -> Result<Jid, AccountError> {
        let (jid, mut record) = self.existing(jid).await?;
        record.credentials = self.credentials(password).await?;
        self.put(&jid, &record).await?;
        Ok(jid)
    }

    async fn set_disabled(&self, jid: &str, disabled: bool) -> Result<Jid, AccountError> {
        let (jid, mut record) = self.existing(jid).await?;
        record.disabled = disabled;
        self.put(&jid, &record).await?;
        Ok(jid)
    }

    async fn delete(&self, jid: &str) -> Result<Jid, AccountError> {
        let (jid, _) = self.existing(jid).await?;
        let mut batch = Batch::new();
        batch.writes.push(Write::Erase { owner: jid.as_str().into() });
        self.store.submit(batch).await.map_err(AccountError::new)?;
        Ok(jid)
    }

    async fn list(
        &self,
        host: Option<String>,
        after: Option<String>,
    ) -> Result<AccountReply, AccountError> {
        let host = match host {
            Some(host) => Some(self.known_host(&host)?),
            None => None,
        };
        let owners = self.store.owners(ACCOUNTS, after.as_deref(), PAGE_ACCOUNTS_MAX);
        let owners = owners.await.map_err(AccountError::new)?;
        let next = owners.last().filter(|_| owners.len() == PAGE_ACCOUNTS_MAX);
        let next = next.map(|owner| owner.as_ref().to_owned());
        let mut accounts = Vec::new();
        for owner in owners {
            let Ok(jid) = Jid::parse(&owner) else { continue };
            if host.as_deref().is_some_and(|host| host != jid.domain()) {
                continue;
            }
            let record = read(&*self.store, &jid).await.map_err(AccountError::new)?;
            accounts.extend(record.map(|record| AccountLine {
                jid: owner.as_ref().to_owned(),
                disabled: record.disabled,
                created_secs: record.created_micros / 1_000_000,
            }));
        }
        Ok(AccountReply::Page { accounts, next })
    }

    /// An account that may exist, at one of our domains.
    pub fn of_our_hosts(&self, text: &str) -> Result<Jid, AccountError> {
        let wrong = |message| AccountError(format!("{text:?} {message}"));
        let jid = BareJid::parse(text).map_err(wrong)?.0;
        self.known_host(jid.domain()).map(|_| jid)
    }

    /// One of our domains, in normal form.
    pub fn known_host(&self, text: &str) -> Result<String, AccountError> {
        let domain = Jid::parse(text).map_err(AccountError::new)?;
        if self.hosts.iter().any(|host| host == domain.as_str()) {
            return Ok(domain.as_str().to_owned());
        }
        let hint = did_you_mean(text, self.hosts.iter().map(String::as_str));
        let hosts = self.hosts.join(", ");
        Err(AccountError(format!("{text} is not served here, but {hosts}{hint}")))
    }

    /// An account that exists, also at a domain that is no longer served: it can be cleared away.
    async fn existing(&self, text: &str) -> Result<(Jid, Record), AccountError> {
        let wrong = |message| AccountError(format!("{text:?} {message}"));
        let jid = BareJid::parse(text).map_err(wrong)?.0;
        match read(&*self.store, &jid).await.map_err(AccountError::new)? {
            Some(record) => Ok((jid, record)),
            None => Err(AccountError::new(format_args!("there is no account {jid}"))),
        }
    }

    async fn credentials(&self, password: &Password) -> Result<Credentials, AccountError> {
        let (password, iterations) = (password.clone(), self.password_iterations);
        let work = move || Credentials::new(password.reveal(), iterations);
        let hashed = tokio::task::spawn_blocking(work).await.map_err(AccountError::new)?;
        hashed.map_err(AccountError::new)
    }

    async fn put(&self, jid: &Jid, record: &Record) -> Result<(), AccountError> {
        let mut batch = Batch::new();
        let owner: Owner = jid.as_str().into();
        batch.put(ACCOUNTS, &owner, "", record.encode());
        self.store.submit(batch).await.map_err(AccountError::new)
    }
}

#[cfg(test)]
mod tests {
    use verona_stores::memory::Memory;

    use super::*;

    fn accounts() -> StoredAccounts {
        let hosts = vec!["montague.lit".to_owned(), "capulet.lit".to_owned()];
        StoredAccounts::new(Arc::new(Memory::new()), hosts, 10_000)
    }

    fn add(jid: &str) -> AccountRequest {
        let password = Password::new("Wherefore art thou?".to_owned());
        AccountRequest::Add { jid: jid.to_owned(), password }
    }

    fn list(host: Option<&str>) -> AccountRequest {
        AccountRequest::List { host: host.map(str::to_owned), after: None }
    }

    async fn lines(accounts: &StoredAccounts, host: Option<&str>) -> Vec<(String, bool)> {
        match accounts.perform(list(host)).await.expect("listed") {
            AccountReply::Page { accounts, next: None } => {
                accounts.into_iter().map(|line| (line.jid, line.disabled)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    async fn refusal(accounts: &StoredAccounts, request: AccountRequest) -> String {
        accounts.perform(request).await.expect_err("refused").to_string()
    }

    #[tokio::test]
    async fn an_account_is_made_once_in_normal_form() {
        let accounts = accounts();
        let done = accounts.perform(add("Romeo@Montague.lit")).await;
        assert_eq!(done, Ok(AccountReply::Done { jid: "romeo@montague.lit".to_owned() }));
        let told = refusal(&accounts, add("romeo@montague.lit")).await;
        assert_eq!(told, "the account romeo@montague.lit exists already");
        assert_eq!(lines(&accounts, None).await, [("romeo@montague.lit".to_owned(), false)]);
    }

    #[tokio::test]
    async fn a_password_is_replaced() {
        let accounts = accounts();
        accounts.perform(add("romeo@montague.lit")).await.expect("made");
        let (_, before) = accounts.existing("romeo@montague.lit").await.expect("there");
        let password = Password::new("A rose by any other name".to_owned());
        let jid = "romeo@montague.lit".to_owned();
        accounts.perform(AccountRequest::Passwd { jid, password }).await.expect("changed");
        let (_, after) = accounts.existing("romeo@montague.lit").await.expect("there");
        assert!(before.credentials.check_plain("Wherefore art thou?"));
        assert!(!after.credentials.check_plain("Wherefore art thou?"));
        assert!(after.credentials.check_plain("A rose by any other name"));
        assert_eq!(before.created_micros, after.created_micros);
    }

    #[tokio::test]
    async fn accounts_are_disabled_enabled_and_deleted() {
        let accounts = accounts();
        accounts.perform(add("romeo@montague.lit")).await.expect("made");
        accounts.perform(add("juliet@capulet.lit")).await.expect("made");
        let jid = || "romeo@montague.lit".to_owned();
        accounts.perform(AccountRequest::Disable { jid: jid() }).await.expect("done");
        assert_eq!(lines(&accounts, Some("montague.lit")).await, [(jid(), true)]);
        accounts.perform(AccountRequest::Enable { jid: jid() }).await.expect("done");
        assert_eq!(lines(&accounts, Some("montague.lit")).await, [(jid(), false)]);
        accounts.perform(AccountRequest::Delete { jid: jid() }).await.expect("done");
        assert!(lines(&accounts, Some("montague.lit")).await.is_empty());
        assert_eq!(lines(&accounts, None).await.len(), 1);
        let told = refusal(&accounts, AccountRequest::Delete { jid: jid() }).await;
        assert_eq!(told, "there is no account romeo@montague.lit");
    }

    #[tokio::test]
    async fn what_cannot_be_an_account_here_is_refused() {
        let accounts = accounts();
        let told = refusal(&accounts, add("romeo@montage.lit")).await;
        assert_eq!(
            told,
            "montage.lit is not served here, but montague.lit, capulet.lit; \
             did you mean `montague.lit`?"
        );
        for wrong in ["montague.lit", "romeo@montague.lit/garden", "ro meo@montague.lit"] {
            refusal(&accounts, add(wrong)).await;
        }
        let told = refusal(&accounts, add("straße@montague.lit")).await;
        assert!(told.starts_with("other servers would read"), "{told}");
        let password = Password::new(String::new());
        let jid = "romeo@montague.lit".to_owned();
        refusal(&accounts, AccountRequest::Add { jid, password }).await;
        assert!(lines(&accounts, None).await.is_empty());
    }

    #[tokio::test]
    async fn a_long_list_comes_in_pages() {
        let accounts = accounts();
        let mut batch = Batch::new();
        let record = Record {
            disabled: false,
            created_micros: 0,
            credentials: Credentials::new("Wherefore", 10_000).expect("a password"),
        };
        for number in 0..PAGE_ACCOUNTS_MAX + 10 {
            let owner: Owner = format!("guest{number:05}@capulet.lit").into();
            batch.put(ACCOUNTS, &owner, "", record.encode());
        }
        accounts.store.submit(batch).await.expect("written");
        let mut after = None;
        let mut counts = Vec::new();
        loop {
            let request = AccountRequest::List { host: None, after };
            let Ok(AccountReply::Page { accounts, next }) = accounts.perform(request).await else {
                panic!("no page");
            };
            counts.push(accounts.len());
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(counts, [PAGE_ACCOUNTS_MAX, 10]);
    }
}
