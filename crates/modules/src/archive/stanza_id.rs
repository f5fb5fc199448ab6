//! XEP-0359: ids that a message gets here can be trusted: what claims to be from us and is not is
//! taken out before anybody sees it.

use verona_core::hooks::{
    ConfigError, Direction, Hooks, HostSettings, Manifest, Module, Passage, Phase, Spec,
};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stanza::Child;

/// The module.
pub struct StanzaId;

impl Module for StanzaId {
    const MANIFEST: Manifest = Manifest {
        name: "stanza-id",
        specs: &[Spec("XEP-0359", "0.7.0")],
        features: &[ns::SID],
        account_features: &[ns::SID],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.message(Direction::Inbound, Phase::Stamp, Self::take_out_forged);
        on.message(Direction::Outbound, Phase::Stamp, Self::take_out_forged);
    }
}

impl StanzaId {
    /// §3, rule 2, also when no id of ours follows. Times that are said to be the server's own word
    /// are none of its (XEP-0203 §2).
    fn take_out_forged(&self, passage: &mut Passage<'_>) {
        let own = &passage.account.jid;
        let forged = |child: &Child<'_>| match (child.ns, child.name) {
            (ns::SID, "stanza-id") => named(child, "by").is_some_and(|jid| jid.same_bare(own)),
            (ns::DELAY, "delay") => {
                named(child, "from").is_some_and(|jid| jid.as_str() == own.domain())
            }
            _ => false,
        };
        if passage.stanza.children().any(|child| forged(&child)) {
            *passage.stanza = passage.stanza.without(forged);
        }
    }
}

/// The JID in an attribute, however it is spelled.
fn named(child: &Child<'_>, attribute: &str) -> Option<Jid> {
    let tree = child.tree()?;
    tree.root().attr(attribute).and_then(|jid| Jid::parse(jid).ok())
}
