//! XEP-0359: Unique and Stable Stanza IDs. Nobody speaks for us: ids that claim to be ours go before
//! anything is kept or delivered, and so do delays that claim to be ours (XEP-0203 §5).
//!
//! Our own ids are set where messages are kept.

use verona_core::hooks::{
    ConfigError, Direction, Hooks, HostSettings, Manifest, Module, Passage, Phase, Spec,
};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns::{self, DELAY};
use verona_xmpp::stanza::Child;

const NS: &str = ns::SID;

/// The module.
pub struct MessageIds;

impl Module for MessageIds {
    const MANIFEST: Manifest = Manifest {
        name: "message_ids",
        specs: &[Spec("XEP-0359", "0.7.0"), Spec("XEP-0203", "2.0")],
        // §5: says that the rules are kept.
        features: &[ns::SID],
        account_features: &[ns::SID],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.message(Direction::Inbound, Phase::Stamp, Self::strip);
        on.message(Direction::Outbound, Phase::Stamp, Self::strip);
    }
}

/// In whose name nobody else may speak.
struct Names<'a> {
    host: &'a Jid,
    account: &'a Jid,
    sender: Option<&'a Jid>,
}

impl MessageIds {
    /// §3: what is forged is deleted, also when no id is set; anything else of the namespace stays.
    fn strip(&self, passage: &mut Passage<'_>) {
        let concerns = |child: Child<'_>| child.ns == NS || child.ns == DELAY;
        if !passage.stanza.children().any(concerns) {
            return;
        }
        let names = Names {
            host: &passage.host.jid,
            account: &passage.account.jid,
            sender: passage.stanza.from(),
        };
        let stripped = passage.stanza.without(|child| names.is_forged(child));
        *passage.stanza = stripped;
    }
}

impl Names<'_> {
    fn is_forged(&self, child: &Child<'_>) -> bool {
        match (child.ns, child.name) {
            (NS, "stanza-id") => self.claimed(child, "by", |by| self.is_ours(by)),
            (DELAY, "delay") => {
                self.claimed(child, "from", |from| self.is_ours(from) && !self.is_sender(from))
            }
            _ => false,
        }
    }

    /// Whether an address in an element is one that may not be claimed. What cannot be read by
    /// itself is no mark that anybody set in earnest.
    fn claimed(&self, child: &Child<'_>, attr: &str, forbidden: impl Fn(&Jid) -> bool) -> bool {
        let Some(tree) = child.tree() else { return true };
        // §3: addresses are compared in their normal form.
        let jid = tree.root().attr(attr).and_then(|text| Jid::parse(text).ok());
        jid.is_some_and(|jid| forbidden(&jid))
    }

    fn is_ours(&self, jid: &Jid) -> bool {
        jid.same_bare(self.host) || jid.same_bare(self.account)
    }

    /// The sender may say when it has written something.
    fn is_sender(&self, jid: &Jid) -> bool {
        self.sender.is_some_and(|sender| sender.same_bare(jid))
    }
}

#[cfg(test)]
mod tests {
    use verona_xmpp::stanza::Stanza;

    use super::*;

    /// What is left of a message that Juliet's account gets from Romeo.
    fn left(content: &str) -> String {
        let jid = |text| Jid::parse(text).expect("a JID");
        let text = format!(
            "<message xmlns:x='urn:example:x' from='romeo@montague.lit/orchard' \
             to='juliet@capulet.lit'>{content}</message>"
        );
        let message = Stanza::parse(&text).expect("a message");
        let (host, account) = (jid("capulet.lit"), jid("juliet@capulet.lit"));
        let names = Names { host: &host, account: &account, sender: message.from() };
        let message = message.without(|child| names.is_forged(child));
        message.children().map(|child| child.text).collect()
    }

    #[test]
    fn ids_in_our_name_are_forged_and_others_are_not() {
        let id = |by: &str| format!("<stanza-id xmlns='urn:xmpp:sid:0' id='1' {by}/>");
        let forged = [
            "by='juliet@capulet.lit'",
            "by='Juliet@Capulet.LIT'",
            "by='juliet@capulet.lit/balcony'",
            "by='capulet.lit'",
            "by='juliet@capulet.lit' x:y='z'",
        ];
        for by in forged {
            assert_eq!(left(&id(by)), "", "{by}");
        }
        for by in ["by='coven@chat.shakespeare.lit'", "by='romeo@montague.lit'", ""] {
            assert_eq!(left(&id(by)), id(by));
        }
        let origin = "<origin-id xmlns='urn:xmpp:sid:0' id='juliet@capulet.lit'/>";
        assert_eq!(left(origin), origin);
    }

    #[test]
    fn delays_in_our_name_are_forged_and_those_of_the_sender_are_not() {
        let delay = |from: &str| {
            format!("<delay xmlns='urn:xmpp:delay' {from} stamp='2002-09-10T23:08:25Z'/>")
        };
        for from in
            ["from='capulet.lit'", "from='juliet@capulet.lit'", "from='juliet@CAPULET.lit/x'"]
        {
            assert_eq!(left(&delay(from)), "", "{from}");
        }
        for from in ["from='romeo@montague.lit/garden'", "from='chat.shakespeare.lit'", ""] {
            assert_eq!(left(&delay(from)), delay(from));
        }
    }
}
