//! XEP-0445: Pre-Authenticated In-Band Registration. Who shows the token of an invitation on a stream
//! may make an account on it.

use std::sync::Arc;

use verona_core::hooks::{
    BeforeLogin, ConfigError, Hooks, HostSettings, IqResult, Manifest, Module, Offering, Reply,
    Spec, Stage,
};
use verona_core::host::Registration as Policy;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::stanza::IqType;

use crate::registration::invitation::Invitations;

/// The namespace of tokens, shared with XEP-0379.
pub const NS: &str = "urn:xmpp:pars:0";
const NS_FEATURE: &str = "urn:xmpp:ibr-token:0";

/// The module.
pub struct Preauth;

impl Module for Preauth {
    const MANIFEST: Manifest =
        Manifest { name: "preauth", specs: &[Spec("XEP-0445", "0.2.0")], ..Manifest::EMPTY };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.advertise(Stage::BeforeLogin, Self::offer);
        on.before_login(NS, Self::admit);
    }
}

impl Preauth {
    /// §3: the stream feature, where invitations open anything.
    fn offer(&self, offering: &mut Offering<'_>) {
        if offering.host.settings().registration != Policy::Closed {
            offering.writer.empty("register", NS_FEATURE);
        }
    }

    /// §4: a token that is good is remembered for the stream. It is not used up yet, and its end is
    /// looked at here and not again.
    async fn admit(self: Arc<Self>, request: BeforeLogin) -> IqResult {
        if request.iq.to().is_some_and(|to| *to != request.host.jid) {
            return Err(StanzaError::new(Condition::NotAuthorized));
        }
        if request.host.settings().registration == Policy::Closed {
            return Err(StanzaError::new(Condition::ServiceUnavailable));
        }
        let tree = request.iq.payload_tree().filter(|tree| {
            request.iq.iq_type() == Some(IqType::Set) && tree.root().is("preauth", NS)
        });
        let tree = tree.ok_or_else(|| StanzaError::new(Condition::BadRequest))?;
        let token = tree.root().attr("token");
        let token = token.ok_or_else(|| StanzaError::new(Condition::BadRequest))?;
        let now_micros = request.server.clock.now_micros();
        let store = request.server.store.clone();
        let invitations = Invitations::of(store, request.host.jid.as_str(), now_micros);
        let known = invitations.find(token).await?;
        let known = known.filter(|known| known.invitation.account).ok_or_else(not_good)?;
        request.notes.keep(known);
        Ok(Reply::empty())
    }
}

/// §4: what is told of a token that opens nothing, whatever the reason.
pub fn not_good() -> StanzaError {
    StanzaError::new(Condition::ItemNotFound).text("the invitation is unknown, used up or over")
}
