//! XEP-0077: In-Band Registration. Making an account where the operator lets anybody do so, or with an
//! invitation; changing its password, and removing it.
//!
//! §9 asks for the error codes of XEP-0086 as well, which is deprecated: we send conditions only.

use std::sync::Arc;

use parking_lot::Mutex;
use verona_core::account::admin;
use verona_core::hooks::{
    BeforeLogin, ConfigError, Hooks, HostSettings, IqResult, Manifest, Module, Offering, Reply,
    Request, Spec, Stage, Target,
};
use verona_core::host::Registration as Policy;
use verona_core::login::guard::network;
use verona_xml::{Element, Writer};
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::stanza::IqType;
use zeroize::Zeroizing;

use crate::registration::invitation::{Invitations, Known};
use crate::registration::networks::Networks;
use crate::registration::redeem::redeem;

const NS: &str = "jabber:iq:register";
const NS_FEATURE: &str = "http://jabber.org/features/iq-register";

/// The module.
#[derive(Default)]
pub struct Registration {
    networks: Mutex<Networks>,
}

impl Module for Registration {
    const MANIFEST: Manifest = Manifest {
        name: "registration",
        specs: &[Spec("XEP-0077", "2.4")],
        // §10: also where no account can be made, since passwords can be changed.
        features: &[NS],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self::default())
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.advertise(Stage::BeforeLogin, Self::offer);
        on.before_login(NS, Self::register);
        for target in [Target::Host, Target::Own] {
            on.iq_get(target, NS, "query", Self::tell);
            on.iq_set(target, NS, "query", Self::change);
        }
    }
}

impl Registration {
    /// §8: the stream feature, where anybody may register, if only after showing an invitation: both
    /// features stand beside each other then (XEP-0445 §3).
    fn offer(&self, offering: &mut Offering<'_>) {
        if offering.host.settings().registration != Policy::Closed {
            offering.writer.empty("register", NS_FEATURE);
        }
    }

    /// §3.1: who is not logged in asks for the fields or fills them in. The stream is encrypted or
    /// from this machine, else the core lets nothing be asked (§11).
    async fn register(self: Arc<Self>, request: BeforeLogin) -> IqResult {
        let error = |condition| Err(StanzaError::new(condition));
        if request.iq.to().is_some_and(|to| *to != request.host.jid) {
            return error(Condition::NotAuthorized);
        }
        let invited = request.notes.find::<Known>();
        match request.host.settings().registration {
            // §3.1: the error of who does not support it.
            Policy::Closed => return error(Condition::ServiceUnavailable),
            Policy::Invite if invited.is_none() => {
                let error = StanzaError::new(Condition::NotAllowed);
                return Err(error.text("an invitation is needed"));
            }
            Policy::Invite | Policy::Open => {}
        }
        match request.iq.iq_type() {
            Some(IqType::Get) => Ok(Reply::with(write_fields)),
            Some(IqType::Set) => self.make(&request, invited).await,
            _ => error(Condition::BadRequest),
        }
    }

    async fn make(&self, request: &BeforeLogin, invited: Option<Known>) -> IqResult {
        let tree = request.iq.payload_tree();
        let tree = tree.ok_or_else(|| StanzaError::new(Condition::BadRequest))?;
        if tree.root().child("remove", NS).is_some() {
            // §3.2: nobody knows whose registration that is.
            return Err(StanzaError::new(Condition::UnexpectedRequest));
        }
        // §3.1: `not-acceptable` when one of the required fields is missing or empty.
        let missing = || StanzaError::new(Condition::NotAcceptable).text("a field is missing");
        let name = field(tree.root(), "username").ok_or_else(missing)?;
        let password = field(tree.root(), "password").ok_or_else(missing)?;
        let account = admin::address(&request.host, &name)?;
        let server = &request.server;
        let (peer, now_secs) = (network(request.peer), server.clock.uptime_secs());
        let (counts, is_invited) = (!server.policy().limits.unlimited, invited.is_some());
        if counts && !self.networks.lock().may_try(peer, now_secs, is_invited) {
            let error = StanzaError::new(Condition::ResourceConstraint);
            return Err(error.text("too many registrations, try again in a minute"));
        }
        if let Err(error) = self.found(request, &account, password, invited).await {
            self.networks.lock().failed(peer, is_invited);
            return Err(error);
        }
        tracing::info!(%account, %peer, "registered");
        Ok(Reply::empty())
    }

    async fn found(
        &self,
        request: &BeforeLogin,
        account: &Jid,
        password: Zeroizing<String>,
        invited: Option<Known>,
    ) -> Result<(), StanzaError> {
        let server = &request.server;
        let (store, now_micros) = (server.store.clone(), server.clock.now_micros());
        let invitations = Invitations::of(store, request.host.jid.as_str(), now_micros);
        // XEP-0445 §5: it looks as if the account were there already.
        if invitations.is_kept(account.local().unwrap_or_default(), invited.as_ref()).await? {
            return Err(StanzaError::new(Condition::Conflict));
        }
        let Some(known) = invited else {
            return Ok(admin::create(server, account, password).await?);
        };
        redeem(server, &known, account, password).await?;
        request.notes.drop_any::<Known>();
        Ok(())
    }

    /// §3.1: who has an account is told that it does.
    async fn tell(self: Arc<Self>, request: Request) -> IqResult {
        let account = registered(&request).ok_or_else(not_here)?;
        Ok(Reply::with(|writer| {
            writer.start("query", NS).empty("registered", NS);
            writer.start("username", NS).text(account.local().unwrap_or_default()).end();
            writer.empty("password", NS).end();
        }))
    }

    /// §3.2 and §3.3: the account is removed, or gets another password.
    async fn change(self: Arc<Self>, request: Request) -> IqResult {
        let tree = request.tree()?;
        let removes = tree.root().child("remove", NS).is_some();
        let Some(account) = registered(&request) else {
            return Err(match removes {
                true => StanzaError::new(Condition::RegistrationRequired),
                false => not_here(),
            });
        };
        if removes {
            return self.remove(&request, &account, tree.root()).await;
        }
        if let Some(name) = field(tree.root(), "username") {
            let meant = admin::address(&request.host, &name);
            if !meant.is_ok_and(|meant| meant == account) {
                // §3.1.1: no second identity, and nobody else's password.
                let error = StanzaError::new(Condition::BadRequest);
                return Err(error.text("this is not your account"));
            }
        }
        // An empty password changes nothing.
        let password = field(tree.root(), "password");
        let password = password.ok_or_else(|| StanzaError::new(Condition::BadRequest))?;
        // `not-authorized` for an unsafe channel cannot come up: nobody is logged in over one.
        admin::set_password(&request.server, &account, password).await?;
        Ok(Reply::empty())
    }

    /// §3.2: the result is written, then all sessions end.
    async fn remove(&self, request: &Request, account: &Jid, query: Element<'_>) -> IqResult {
        if query.children().count() != 1 {
            return Err(StanzaError::new(Condition::BadRequest));
        }
        let answer = request.iq.result("");
        let done = || {
            if let Some(link) = &request.link {
                link.mailbox.put(|out| out.extend_from_slice(answer.text().as_bytes()));
            }
        };
        admin::remove(&request.server, account, done).await?;
        Ok(Reply::written())
    }
}

/// The asker's account, if it is one of this host and asks over its own session.
fn registered(request: &Request) -> Option<Jid> {
    let own = request.link.as_ref()?.jid.bare();
    (own.same_bare(&request.from) && own.domain() == request.host.jid.domain()).then_some(own)
}

/// What others hear: from elsewhere nobody can register here (§8).
fn not_here() -> StanzaError {
    StanzaError::new(Condition::ServiceUnavailable)
}

/// §3.1
fn write_fields(writer: &mut Writer) {
    writer.start("query", NS);
    writer.start("instructions", NS).text("Choose a username and a password.").end();
    writer.empty("username", NS).empty("password", NS).end();
}

/// The text of a field; None when it is missing or empty.
fn field(query: Element<'_>, name: &str) -> Option<Zeroizing<String>> {
    let text = query.child(name, NS)?.text().into_owned();
    (!text.is_empty()).then(|| Zeroizing::new(text))
}
