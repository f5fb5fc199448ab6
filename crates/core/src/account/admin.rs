//! Making accounts, changing their passwords and standing, and removing them: what clients do
//! in-band (XEP-0077) and operators by command.

use std::sync::Arc;

use verona_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};
use verona_xmpp::jid::{Jid, same_for_stringprep};
use verona_xmpp::sasl::credentials::{Credentials, CredentialsError};
use verona_xmpp::stanza::Stanza;
use zeroize::Zeroizing;

use crate::account::Account;
use crate::account::credentials::{self, ACCOUNTS, Record};
use crate::account::transition::Act;
use crate::link::Link;
use crate::mailbox::Order;
use crate::server::{Host, Seat, Server};
use crate::store::batch::{Batch, Write};
use crate::store::error::StoreError;
use crate::store::shape::{Owner, Table};
use crate::trail::{Step, Trail};

/// When the account's password was last changed, in microseconds since the epoch, as decimal text; not
/// there when that never was. Who has proven a password before has not proven this one.
pub const PASSWORD_CHANGED: Table = Table::value("account.password_changed");

/// Why an account was not made, changed or removed.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// There is no such account.
    Absent,
    /// Too many passwords wait to be hashed.
    Busy,
    /// There is such an account already.
    Exists,
    /// The name is no localpart, or other servers would read it as another one.
    Name,
    /// This cannot be a password.
    Password(CredentialsError),
    /// The domain is not served here.
    Domain,
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Refusal> for StanzaError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Absent | Refusal::Domain => Self::new(Condition::ItemNotFound),
            Refusal::Busy => Self::new(Condition::ResourceConstraint),
            Refusal::Exists => Self::new(Condition::Conflict),
            Refusal::Name => Self::new(Condition::NotAcceptable).text("this name cannot be used"),
            Refusal::Password(error @ CredentialsError::Password(_)) => {
                Self::new(Condition::NotAcceptable).text(error.to_string())
            }
            Refusal::Password(_) => Self::new(Condition::InternalServerError),
            Refusal::Store(error) => error.into(),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => f.write_str("there is no such account"),
            Self::Busy => f.write_str("too many passwords wait to be hashed; try again"),
            Self::Exists => f.write_str("the account exists already"),
            Self::Name => f.write_str(
                "this name cannot be used, or other servers would read it as another one",
            ),
            Self::Password(error) => error.fmt(f),
            Self::Domain => f.write_str("the domain is not served here"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

/// The bare JID that an account with this name would have (RFC 7622 §3.3).
pub fn address(host: &Host, name: &str) -> Result<Jid, Refusal> {
    let jid = Jid::from_parts(Some(name), host.jid.domain(), None).map_err(|_| Refusal::Name)?;
    if jid.local().is_some_and(same_for_stringprep) { Ok(jid) } else { Err(Refusal::Name) }
}

/// An account that is about to be made.
pub struct Founding {
    jid: Jid,
    record: Record,
}

/// Makes an account. It is durable when this returns; of several at once exactly one succeeds.
pub async fn create(
    server: &Server,
    jid: &Jid,
    password: Zeroizing<String>,
) -> Result<(), Refusal> {
    prepare(server, jid, password).await?.found(server, Batch::new()).await
}

/// Does what takes long, so that nobody has to wait for it when the account is made.
pub async fn prepare(
    server: &Server,
    jid: &Jid,
    password: Zeroizing<String>,
) -> Result<Founding, Refusal> {
    let host = server.host(jid.domain()).ok_or(Refusal::Domain)?;
    let jid = address(&host, jid.local().ok_or(Refusal::Name)?)?;
    // Looked at before the hashing, which is expensive, and again when nobody else can make it.
    if exists(server, &jid).await? {
        return Err(Refusal::Exists);
    }
    let credentials = hash(server, &host, password).await?;
    let created_micros = server.clock.now_micros();
    let record = Record { disabled: false, created_micros, credentials };
    Ok(Founding { jid, record })
}

impl Founding {
    /// Makes the account; these writes become durable with it, or fail with it.
    pub async fn found(self, server: &Server, mut also: Batch) -> Result<(), Refusal> {
        let Self { jid, record } = self;
        let _name = server.directory.hold(jid.as_str()).await;
        if exists(server, &jid).await? {
            return Err(Refusal::Exists);
        }
        also.put(ACCOUNTS, &owner(&jid), "", record.encode());
        server.store.room().await;
        server.store.submit(also).await?;
        tracing::info!(account = %jid, "account made");
        Ok(())
    }
}

/// Gives an account another password. Its sessions go on.
pub async fn set_password(
    server: &Server,
    jid: &Jid,
    password: Zeroizing<String>,
) -> Result<(), Refusal> {
    let host = server.host(jid.domain()).ok_or(Refusal::Domain)?;
    let credentials = hash(server, &host, password).await?;
    let changed = server.clock.now_micros().to_string();
    change(server, jid, |record, batch, owner| {
        record.credentials = credentials;
        batch.put(PASSWORD_CHANGED, owner, "", changed);
    })
    .await?;
    tracing::info!(account = %jid, "password changed");
    Ok(())
}

/// Lets nobody log in to an account, and ends its sessions; or takes that back.
pub async fn set_disabled(server: &Arc<Server>, jid: &Jid, disabled: bool) -> Result<(), Refusal> {
    // Who has proven the password just now is stopped at binding, as of the commit.
    let account = change(server, jid, |record, _, _| record.disabled = disabled).await?;
    if disabled {
        end_sessions(server, &account, "the account is disabled").await;
    }
    tracing::info!(account = %jid, disabled, "account's standing changed");
    Ok(())
}

async fn change(
    server: &Server,
    jid: &Jid,
    change: impl FnOnce(&mut Record, &mut Batch, &Owner),
) -> Result<Arc<Account>, Refusal> {
    let account = server.account(jid).await?.ok_or(Refusal::Absent)?;
    {
        let edit = account.edit(server).await;
        if account.turn().gone {
            return Err(Refusal::Absent);
        }
        let mut record = credentials::read(&*server.store, jid).await?.ok_or(Refusal::Absent)?;
        let mut batch = Batch::new();
        change(&mut record, &mut batch, &account.owner);
        batch.put(ACCOUNTS, &account.owner, "", record.encode());
        edit.commit(batch).await?;
        account.turn().disabled = record.disabled;
    }
    Ok(account)
}

/// Removes an account with all it has. `done` is called when that is durable and before its
/// sessions end; contacts see it leave and end their subscriptions (XEP-0077 §3.2).
pub async fn remove(server: &Arc<Server>, jid: &Jid, done: impl FnOnce()) -> Result<(), Refusal> {
    let host = server.host(jid.domain()).ok_or(Refusal::Domain)?;
    let account = server.account(jid).await?.ok_or(Refusal::Absent)?;
    {
        // First the seat of the account, then that of the name: no one waits the other way round.
        let _edit = account.edit(server).await;
        let _name = server.directory.hold(account.jid.as_str()).await;
        server.store.room().await;
        let erased = {
            let mut state = account.turn();
            if std::mem::replace(&mut state.gone, true) {
                return Err(Refusal::Absent);
            }
            // Submitted within the turn: nothing of the account can be written behind it.
            let erase = Write::Erase { owner: account.owner.clone() };
            server.store.submit(Batch { writes: vec![erase] })
        };
        if let Err(error) = erased.await {
            account.turn().gone = false;
            return Err(error.into());
        }
        server.directory.forget(account.jid.as_str());
    }
    tracing::info!(account = %account.jid, "account removed");
    done();
    end_sessions(server, &account, "the account was removed").await;
    say_goodbye(server, &host, &account).await;
    Ok(())
}

/// XEP-0077 §3.2: the sessions of who may no longer be here end with `not-authorized`; those that
/// sleep have nobody to be told.
async fn end_sessions(server: &Arc<Server>, account: &Account, why: &'static str) {
    let links: Vec<_> = account.turn().resources.iter().map(|of| of.link.clone()).collect();
    for link in links {
        end_session(server, account, &link, why).await;
    }
}

/// Ends one session of an account that may no longer be here.
pub async fn end_session(
    server: &Arc<Server>,
    account: &Account,
    link: &Arc<Link>,
    why: &'static str,
) {
    let error = StreamError::new(StreamCondition::NotAuthorized).text(why);
    link.mailbox.order(Order::End(error));
    server.end_sleeper(&account.owner, link).await;
}

/// Resources leave while their subscribers may still hear of it (RFC 6121 §2.5.2), then the
/// subscriptions end in both directions.
async fn say_goodbye(server: &Arc<Server>, host: &Arc<Host>, account: &Arc<Account>) {
    let (seats, ends) = {
        let state = account.turn();
        let seats: Vec<Seat> = state
            .resources
            .iter()
            .map(|resource| Seat {
                link: resource.link.clone(),
                account: account.clone(),
                host: host.clone(),
            })
            .collect();
        let mut ends = Vec::new();
        for (contact, item) in state.roster.contacts() {
            if item.subscription.has_to() || item.ask {
                ends.push(act(Act::Unsubscribe, account, contact));
            }
            if item.subscription.has_from() || item.request.is_some() {
                ends.push(act(Act::Unsubscribed, account, contact));
            }
        }
        (seats, ends)
    };
    let mut trail = Trail::default();
    for seat in &seats {
        server.leave(seat, &mut trail);
    }
    trail.extend(ends);
    if let Step::Later(later) = server.carry_out(trail) {
        later.await;
    }
}

fn act(act: Act, account: &Account, contact: &Jid) -> Stanza {
    Stanza::presence(Some(act.name()), &account.jid, Some(contact), None)
}

async fn exists(server: &Server, jid: &Jid) -> Result<bool, StoreError> {
    Ok(server.store.entry(ACCOUNTS, &owner(jid), "").await?.is_some())
}

async fn hash(
    server: &Server,
    host: &Host,
    password: Zeroizing<String>,
) -> Result<Credentials, Refusal> {
    let iterations = host.settings().password_iterations;
    let work = move || Credentials::new(&password, iterations);
    let hashed = server.hashing.run(work).await.ok_or(Refusal::Busy)?;
    hashed.map_err(Refusal::Password)
}

fn owner(jid: &Jid) -> Owner {
    jid.bare_str().into()
}
