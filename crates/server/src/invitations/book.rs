//! The invitations of the hosts of a config, on a store that is open.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use verona_core::account::credentials;
use verona_core::host::Registration;
use verona_core::store::Store;
use verona_core::store::error::StoreError;
use verona_modules::registration::invitation::{Invitation, Invitations, Known, Refusal};
use verona_modules::registration::invitations::DAYS_MAX;
use verona_xmpp::date;
use verona_xmpp::jid::{Jid, same_for_stringprep};

use crate::accounts::request::AccountError as InviteError;
use crate::accounts::stored::StoredAccounts;
use crate::config::load::Config;
use crate::config::sections::Host;
use crate::invitations::request::{InviteLine, InviteReply, InviteRequest, PAGE_INVITATIONS_MAX};
use crate::settings::invitation_days;

const DAY_SECS: u64 = 24 * 60 * 60;

/// The invitations of a config's hosts.
pub struct Book<'a> {
    config: &'a Config,
    store: Arc<dyn Store>,
    now_micros: u64,
}

impl<'a> Book<'a> {
    /// Those in a store.
    pub fn of(config: &'a Config, store: Arc<dyn Store>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        Self { config, store, now_micros }
    }

    /// Does what is asked for. It is durable when this returns.
    pub async fn perform(&self, request: InviteRequest) -> Result<InviteReply, InviteError> {
        match request {
            InviteRequest::Make { host, name, contact, secs } => {
                let host = self.host(host)?;
                let invitation = self.invitation(host, (name, contact), secs).await?;
                self.make(host, invitation).await
            }
            InviteRequest::List { host, after } => {
                let domain = self.host(host)?.domain.as_str();
                let mut all = self.invitations(domain).list().await.map_err(told)?;
                all.sort_by(|one, other| one.id().cmp(other.id()));
                let behind = |known: &&Known| after.as_deref().is_none_or(|id| known.id() > id);
                let page: Vec<&Known> =
                    all.iter().filter(behind).take(PAGE_INVITATIONS_MAX).collect();
                let last = page.last().filter(|_| page.len() == PAGE_INVITATIONS_MAX);
                let next = last.map(|known| known.id().to_owned());
                let invitations = page.iter().map(|known| line(domain, known)).collect();
                Ok(InviteReply::Page { invitations, next })
            }
            InviteRequest::Revoke { host, named } => {
                let domain = self.host(host)?.domain.as_str();
                let revoked = self.invitations(domain).revoke(&named).await.map_err(told)?;
                let none = || InviteError(format!("{domain} has no open invitation {named:?}"));
                Ok(InviteReply::Revoked { line: line(domain, &revoked.ok_or_else(none)?) })
            }
        }
    }

    async fn make(&self, host: &Host, invitation: Invitation) -> Result<InviteReply, InviteError> {
        let domain = host.domain.as_str();
        let made = self.invitations(domain).make(invitation).await;
        let made = made.map_err(|refusal| match refusal {
            Refusal::Full => InviteError::new("too many invitations are open; revoke some"),
            Refusal::Taken => InviteError::new("this name is taken, or promised to somebody else"),
            Refusal::Store(error) => told(error),
        })?;
        let link = made.register_uri(domain);
        Ok(InviteReply::Made { line: line(domain, &made.known), link })
    }

    /// The invitation that is wanted, if it can be used.
    async fn invitation(
        &self,
        host: &Host,
        (name, contact): (Option<String>, Option<String>),
        secs: Option<u64>,
    ) -> Result<Invitation, InviteError> {
        if host.registration == Registration::Closed {
            let domain = &host.domain;
            return Err(InviteError(format!(
                "nobody can make an account at {domain}, also not with an invitation; \
                 set registration = \"invite\" in its [[host]] section"
            )));
        }
        let days = invitation_days(self.config, host.domain.as_str()).map_err(InviteError)?;
        let secs = secs.unwrap_or_else(|| days.saturating_mul(DAY_SECS));
        if !(1..=DAYS_MAX.saturating_mul(DAY_SECS)).contains(&secs) {
            let message =
                format!("an invitation is good for at least a second and at most {DAYS_MAX} days");
            return Err(InviteError(message));
        }
        let name = name.map(|name| localpart(&name, host)).transpose()?;
        let contact = match contact {
            Some(jid) => Some(self.contact(&jid).await?),
            None => None,
        };
        let life = secs.saturating_mul(1_000_000);
        Ok(Invitation {
            made_micros: self.now_micros,
            expires_micros: self.now_micros.saturating_add(life),
            account: true,
            name,
            contact,
        })
    }

    /// An account that is there.
    async fn contact(&self, jid: &str) -> Result<Jid, InviteError> {
        let accounts = StoredAccounts::of(self.config, self.store.clone());
        let jid = accounts.of_our_hosts(jid)?;
        match credentials::read(&*self.store, &jid).await.map_err(told)? {
            Some(_) => Ok(jid),
            None => Err(InviteError(format!("there is no account {jid}"))),
        }
    }

    fn invitations(&self, domain: &str) -> Invitations {
        Invitations::of(self.store.clone(), domain, self.now_micros)
    }

    fn host(&self, named: Option<String>) -> Result<&'a Host, InviteError> {
        let accounts = StoredAccounts::of(self.config, self.store.clone());
        let domain = named.map(|named| accounts.known_host(&named)).transpose()?;
        let mut hosts = self.config.hosts.iter();
        let found = match domain {
            Some(domain) => hosts.find(|host| host.domain.as_str() == domain),
            None => hosts.next(),
        };
        found.ok_or_else(|| InviteError::new("no domain is served here"))
    }
}

fn told(error: StoreError) -> InviteError {
    InviteError::new(error)
}

fn localpart(name: &str, host: &Host) -> Result<Box<str>, InviteError> {
    let jid = Jid::from_parts(Some(name), host.domain.as_str(), None).ok();
    let name_of = |jid: &Jid| jid.local().filter(|local| same_for_stringprep(local)).map(Box::from);
    jid.as_ref()
        .and_then(name_of)
        .ok_or_else(|| InviteError(format!("{name:?} cannot be the name of an account")))
}

fn line(domain: &str, known: &Known) -> InviteLine {
    let invitation = &known.invitation;
    // Whole seconds, rounded down: nobody comes too late who believes it.
    let moment = |micros: u64| {
        date::write(i64::try_from(micros / 1_000_000).unwrap_or_default().saturating_mul(1_000_000))
    };
    InviteLine {
        id: known.id().to_owned(),
        host: domain.to_owned(),
        account: invitation.account,
        name: invitation.name.as_deref().map(str::to_owned),
        contact: invitation.contact.as_ref().map(Jid::to_string),
        made: moment(invitation.made_micros),
        expires: moment(invitation.expires_micros),
    }
}
