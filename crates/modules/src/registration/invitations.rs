//! XEP-0401: Ad-hoc Account Invitation Generation, and the part of servers in XEP-0379: accounts
//! invite people to become contacts, administrators (or everybody, if the operator wants that) also to
//! make an account here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use verona_core::account::admin;
use verona_core::hooks::{
    Asking, Command, ConfigError, Hooks, HostSettings, Key, Manifest, Module, Outcome, Request,
    Settings, Spec, Voucher,
};
use verona_core::host::Registration as Policy;
use verona_core::server::{Host, Server};
use verona_core::store::batch::Batch;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::form::{Field, FieldType, Filled, Form, FormType};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns::COMMANDS;

use crate::registration::invitation::{Invitation, Invitations, Made, Refusal, alone};
use crate::registration::preauth::NS as NS_PREAUTH;

const INVITE: Command = Command { node: "urn:xmpp:invite#invite", name: "Invite somebody" };
const CREATE: Command =
    Command { node: "urn:xmpp:invite#create-account", name: "Invite somebody to make an account" };

/// What the results are about (§12.1).
const ABOUT: &str = "urn:xmpp:invite#invitation";

const DAY_MICROS: u64 = 24 * 60 * 60 * 1_000_000;

/// Days for which an invitation can be good at most: each ends at some time (XEP-0379 §5.2).
pub const DAYS_MAX: u64 = 365;

/// What an operator may set.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// For how long an invitation is good.
    pub days: u64,
    /// Whether all accounts may invite people to make an account.
    pub by_everybody: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { days: 5, by_everybody: false }
    }
}

impl Settings for Config {
    const KEYS: &'static [Key] = &[
        Key { name: "days", doc: "Days for which an invitation is good, from 1 to 365." },
        Key {
            name: "by_everybody",
            doc: "Whether every account may invite people to make an account on this server; else \
                  only `admins` may, and who others invite becomes their contact with an account \
                  from elsewhere.",
        },
    ];
}

/// The module.
pub struct Inviting {
    config: Config,
}

impl Module for Inviting {
    const MANIFEST: Manifest = Manifest {
        name: "invitations",
        specs: &[Spec("XEP-0401", "0.6.0"), Spec("XEP-0379", "0.3.3")],
        ..Manifest::EMPTY
    };

    type Config = Config;

    fn new(config: Config, _: &HostSettings) -> Result<Self, ConfigError> {
        if !(1..=DAYS_MAX).contains(&config.days) {
            return Err(ConfigError::of("days", format!("must be from 1 to {DAYS_MAX}")));
        }
        Ok(Self { config })
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.command(INVITE, Self::may_invite, Self::invite);
        on.command(CREATE, Self::may_create, Self::create);
        on.vouch(Self::vouch);
        on.chore(Self::clear_away);
    }
}

impl Inviting {
    /// §5.1: all who have an account here.
    fn may_invite(&self, host: &Host, jid: &Jid) -> bool {
        jid.local().is_some() && jid.domain() == host.jid.domain()
    }

    /// §5.4: administrators, where accounts are made by who is invited.
    fn may_create(&self, host: &Host, jid: &Jid) -> bool {
        host.is_admin(jid) && host.settings().registration != Policy::Closed
    }

    /// §5.1: at once a link, without anything to fill in.
    async fn invite(self: Arc<Self>, request: Request) -> Result<Outcome, StanzaError> {
        let inviter = request.from.bare();
        let may = self.config.by_everybody || request.host.is_admin(&inviter);
        let account = may && request.host.settings().registration != Policy::Closed;
        let made = self.make(&request, account, (None, Some(inviter.clone()))).await?;
        Ok(Outcome::Completed(result(&made, made.roster_uri(&inviter))))
    }

    /// §5.4: first a form, then the link.
    async fn create(self: Arc<Self>, request: Request) -> Result<Outcome, StanzaError> {
        let tree = request.tree()?;
        let filled = Filled::find(tree.root()).map_err(|_| unfit())?;
        let Some(filled) = filled else { return Ok(Outcome::Asks(form())) };
        let name = match filled.value("username").filter(|name| !name.is_empty()) {
            Some(name) => {
                let account = admin::address(&request.host, &name);
                let account = account.map_err(|_| unfit().text("this name cannot be used"))?;
                account.local().map(Box::<str>::from)
            }
            None => None,
        };
        let subscribes = filled.boolean("roster-subscription").map_err(|_| unfit())?;
        let contact = subscribes.unwrap_or(false).then(|| request.from.bare());
        // Who administers a host may have the account elsewhere: it cannot be put into its roster.
        if contact.as_ref().is_some_and(|contact| request.server.host(contact.domain()).is_none()) {
            return Err(unfit().text("you have no account here that could become a contact"));
        }
        let made = self.make(&request, true, (name, contact)).await?;
        Ok(Outcome::Completed(result(&made, made.register_uri(request.host.jid.as_str()))))
    }

    async fn make(
        &self,
        request: &Request,
        account: bool,
        (name, contact): (Option<Box<str>>, Option<Jid>),
    ) -> Result<Made, StanzaError> {
        let made_micros = request.server.clock.now_micros();
        let life = self.config.days.saturating_mul(DAY_MICROS);
        let expires_micros = made_micros.saturating_add(life);
        let invitation = Invitation { made_micros, expires_micros, account, name, contact };
        let store = request.server.store.clone();
        let invitations = Invitations::of(store, request.host.jid.as_str(), made_micros);
        let made = invitations.make(invitation).await?;
        tracing::info!(account = %request.from.bare(), invitation = made.known.id(), "invited");
        Ok(made)
    }

    /// XEP-0379 §3.5: who shows a token of the account that is asked is approved. One that is not
    /// good, or not ours, counts as none (§4.1).
    async fn vouch(self: Arc<Self>, asking: Asking) -> Option<Voucher> {
        let tree = asking.request.child("preauth", NS_PREAUTH)?.tree()?;
        let token = tree.root().attr("token")?;
        let account = &asking.account.jid;
        let invitations = Invitations::of(asking.store, account.domain(), asking.now_micros);
        let held = alone().await;
        let known = match invitations.find(token).await {
            Ok(known) => known?,
            Err(error) => {
                tracing::error!(%account, %error, "invitations cannot be read");
                return None;
            }
        };
        // §5.2: a token that is meant for one person is for nobody else.
        let fits = known.invitation.contact.as_ref() == Some(account);
        if !fits || known.invitation.name.is_some() {
            return None;
        }
        let mut writes = Batch::new();
        invitations.use_up(&known, &mut writes);
        tracing::info!(%account, invitation = known.id(), "an invitation is used");
        Some(Voucher { writes, held: Box::new(held) })
    }

    async fn clear_away(self: Arc<Self>, server: Arc<Server>, host: Arc<Host>) {
        let now_micros = server.clock.now_micros();
        let invitations = Invitations::of(server.store.clone(), host.jid.as_str(), now_micros);
        if let Err(error) = invitations.clear_away().await {
            tracing::error!(host = %host.jid, %error, "old invitations cannot be cleared away");
        }
    }
}

impl From<Refusal> for StanzaError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full => {
                Self::new(Condition::ResourceConstraint).text("too many invitations are open")
            }
            Refusal::Taken => Self::new(Condition::Conflict).text("the name is taken"),
            Refusal::Store(error) => error.into(),
        }
    }
}

/// XEP-0050 §4.4: the form is not filled in as it must be.
fn unfit() -> StanzaError {
    StanzaError::new(Condition::BadRequest).application("bad-payload", COMMANDS)
}

/// §5.4
fn form() -> Form {
    Form::plain(FormType::Form)
        .title("Invite somebody to make an account")
        .instruction("Without a name, who comes chooses one.")
        .field(Field::new(FieldType::TextSingle, "username").label("Username"))
        .field(Field::boolean("roster-subscription", false).label("Become contacts of each other"))
}

/// §5.1. todo(XEP-0401 §5.2): `landing-url`, when there are pages to land on.
fn result(made: &Made, uri: String) -> Form {
    // Whole seconds, rounded down: nobody comes too late who believes it.
    let secs = made.known.invitation.expires_micros / 1_000_000;
    let expires = i64::try_from(secs).unwrap_or_default().saturating_mul(1_000_000);
    Form::new(FormType::Result, ABOUT)
        .field(Field::text("uri", uri))
        .field(Field::moment("expire", expires))
}
