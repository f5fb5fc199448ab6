//! Which messages are worth keeping, by what they carry and by what their sender asks for
//! (XEP-0313 §6.1.1, XEP-0334 §4, XEP-0160 §3).

use verona_xmpp::ns;
use verona_xmpp::stanza::{MessageType, Stanza};

/// What a message without a body may carry and still belong to the conversation: the namespace and,
/// where only one of its elements counts, the name.
const CONTENT: [(&str, Option<&str>); 16] = [
    // XEP-0184: that a message arrived.
    (ns::RECEIPTS, Some("received")),
    // XEP-0308: what a message should have said.
    ("urn:xmpp:message-correct:0", None),
    // XEP-0333: how far a conversation was read.
    ("urn:xmpp:chat-markers:0", Some("acknowledged")),
    ("urn:xmpp:chat-markers:0", Some("displayed")),
    ("urn:xmpp:chat-markers:0", Some("received")),
    // XEP-0353: that somebody called.
    ("urn:xmpp:jingle-message:0", None),
    // XEP-0373, XEP-0380, XEP-0384: what the server cannot read.
    ("urn:xmpp:openpgp:0", None),
    ("urn:xmpp:eme:0", None),
    ("urn:xmpp:omemo:1", Some("encrypted")),
    ("urn:xmpp:omemo:2", Some("encrypted")),
    ("eu.siacs.conversations.axolotl", Some("encrypted")),
    ("jabber:x:encrypted", None),
    // XEP-0424 §5: clients that were away learn of it from the archive.
    (RETRACT, Some("retract")),
    // XEP-0444, XEP-0461.
    ("urn:xmpp:reactions:0", None),
    ("urn:xmpp:reply:0", None),
    // XEP-0249: an invitation.
    ("jabber:x:conference", None),
];

/// Retractions (XEP-0424 §3).
pub const RETRACT: &str = "urn:xmpp:message-retract:1";

/// Where a message may be kept, as far as it depends on the message alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Worth {
    /// In the archive.
    pub archive: bool,
    /// For the account's next login, when nobody is there to take it.
    pub offline: bool,
}

/// Looks at a message once.
pub fn worth(kind: MessageType, stanza: &Stanza) -> Worth {
    let mut seen = Seen::default();
    stanza.children().for_each(|child| seen.look(child.name, child.ns));
    match kind {
        // XEP-0334 §5: hints within an error belong to the message that came back.
        MessageType::Error => Worth { archive: false, offline: false },
        // Rooms have archives of their own. XEP-0334 §4.4 would have us keep what asks for it, but
        // one archive would then hold a room's words as often as it has occupants here.
        MessageType::Groupchat => Worth { archive: false, offline: seen.waits() },
        MessageType::Headline => Worth { archive: seen.asks(), offline: seen.waits() },
        MessageType::Chat | MessageType::Normal => {
            let archive = seen.asks() || (seen.content && !seen.no_store && !seen.no_permanent);
            Worth { archive, offline: seen.waits() }
        }
    }
}

/// What was seen in a message.
#[derive(Default)]
struct Seen {
    content: bool,
    chat_state: bool,
    other: bool,
    store: bool,
    no_store: bool,
    no_permanent: bool,
}

impl Seen {
    fn look(&mut self, name: &str, ns: &str) {
        match (ns, name) {
            (ns::CLIENT, "body") => self.content = true,
            (ns::CLIENT, "thread") | (ns::SID, _) => {}
            (ns::HINTS, "store") => self.store = true,
            (ns::HINTS, "no-store") => self.no_store = true,
            (ns::HINTS, "no-permanent-store") => self.no_permanent = true,
            (ns::HINTS, _) => {}
            (ns::CHAT_STATES, _) => self.chat_state = true,
            _ => {
                self.other = true;
                self.content |=
                    CONTENT.iter().any(|(of, only)| *of == ns && only.is_none_or(|of| of == name));
            }
        }
    }

    /// XEP-0334 §4: the sender wants it kept, and nothing it says speaks against that.
    fn asks(&self) -> bool {
        self.store && !self.no_store && !self.no_permanent
    }

    /// XEP-0160 §3: what holds chat states alone does not wait; nor what must not be stored at all.
    fn waits(&self) -> bool {
        let chat_states_alone = self.chat_state && !self.content && !self.other;
        !self.no_store && (self.store || !chat_states_alone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_hints_decide() {
        let hint = |name: &str| format!("<{name} xmlns='urn:xmpp:hints'/>");
        let body = "<body>But soft!</body>";
        let state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
        let marker = "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>";
        for (kind, content, archive, offline) in [
            ("chat", body.to_owned(), true, true),
            ("normal", body.to_owned(), true, true),
            ("chat", String::new(), false, true),
            ("chat", state.to_owned(), false, false),
            ("chat", [state, "<thread>1</thread>"].concat(), false, false),
            ("chat", [state, body].concat(), true, true),
            ("chat", marker.to_owned(), true, true),
            ("chat", "<request xmlns='urn:xmpp:receipts'/>".to_owned(), false, true),
            ("chat", "<received xmlns='urn:xmpp:receipts' id='1'/>".to_owned(), true, true),
            ("chat", [body, &hint("no-store")].concat(), false, false),
            ("chat", [body, &hint("no-permanent-store")].concat(), false, true),
            ("chat", hint("store"), true, true),
            ("chat", [state, &hint("store")].concat(), true, true),
            ("chat", [hint("store"), hint("no-store")].concat(), false, false),
            ("headline", body.to_owned(), false, true),
            ("headline", [body, &hint("store")].concat(), true, true),
            ("groupchat", [body, &hint("store")].concat(), false, true),
            ("error", [body, &hint("store")].concat(), false, false),
        ] {
            let text = format!("<message type='{kind}'>{content}</message>");
            let stanza = Stanza::parse(&text).unwrap();
            let verona_xmpp::stanza::Kind::Message(kind) = stanza.kind() else { panic!("{text}") };
            assert_eq!(worth(kind, &stanza), Worth { archive, offline }, "{text}");
        }
    }
}
