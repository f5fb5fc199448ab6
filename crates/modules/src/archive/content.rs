//! Which messages are worth keeping, by what they carry and by what their sender asks for
//! (XEP-0313 §6.1.1, XEP-0334 §4).

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

/// Words that the server cannot read (XEP-0373, XEP-0384, and what was before them).
const ENCRYPTED: [&str; 5] = [
    "urn:xmpp:openpgp:0",
    "urn:xmpp:omemo:1",
    "urn:xmpp:omemo:2",
    "eu.siacs.conversations.axolotl",
    "jabber:x:encrypted",
];

/// Retractions (XEP-0424 §3).
pub const RETRACT: &str = "urn:xmpp:message-retract:1";

/// Whether a message belongs into an archive, as far as it depends on the message alone.
pub fn is_for_archive(kind: MessageType, stanza: &Stanza) -> bool {
    let mut seen = Seen::default();
    stanza.children().for_each(|child| seen.look(child.name, child.ns));
    match kind {
        // XEP-0334 §5: hints within an error belong to the message that came back.
        MessageType::Error => false,
        // Rooms have archives of their own. XEP-0334 §4.4 would have us keep what asks for it, but
        // one archive would then hold a room's words as often as it has resources in the room.
        MessageType::Groupchat => false,
        MessageType::Headline => seen.store && !seen.no_store,
        MessageType::Chat | MessageType::Normal => (seen.store || seen.content) && !seen.no_store,
    }
}

/// Whether a message is words, as people count them: read by the server or encrypted, and not about
/// an earlier one, even where it says so in words, too (XEP-0430 §4).
pub fn is_instant(stanza: &Stanza) -> bool {
    let mut words = false;
    for child in stanza.children() {
        match (child.ns, child.name) {
            (ns::CLIENT, "body") => words = true,
            ("urn:xmpp:message-correct:0" | "urn:xmpp:reactions:0" | RETRACT, _) => return false,
            (other, _) => words |= ENCRYPTED.contains(&other),
        }
    }
    words
}

/// What was seen in a message.
#[derive(Default)]
struct Seen {
    content: bool,
    store: bool,
    no_store: bool,
}

impl Seen {
    fn look(&mut self, name: &str, ns: &str) {
        match (ns, name) {
            (ns::CLIENT, "body") => self.content = true,
            (ns::CLIENT, _) | (ns::CHAT_STATES | ns::SID, _) => {}
            (ns::HINTS, "store") => self.store = true,
            // Both speak against an archive, and outweigh the wish for it.
            (ns::HINTS, "no-store" | "no-permanent-store") => self.no_store = true,
            _ => {
                self.content |=
                    CONTENT.iter().any(|(of, only)| *of == ns && only.is_none_or(|of| of == name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use verona_xmpp::stanza::Kind;

    use super::*;

    #[test]
    fn words_count_and_what_is_about_them_does_not() {
        let body = "<body>But soft!</body>";
        for (content, expected) in [
            (body.to_owned(), true),
            ("<encrypted xmlns='urn:xmpp:omemo:2'/>".to_owned(), true),
            ("<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>".to_owned(), false),
            ("<received xmlns='urn:xmpp:receipts' id='1'/>".to_owned(), false),
            ([body, "<replace xmlns='urn:xmpp:message-correct:0' id='1'/>"].concat(), false),
            (["<reactions xmlns='urn:xmpp:reactions:0' id='1'/>", body].concat(), false),
        ] {
            let text = format!("<message type='chat'>{content}</message>");
            assert_eq!(is_instant(&Stanza::parse(&text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn content_and_hints_decide() {
        let hint = |name: &str| format!("<{name} xmlns='urn:xmpp:hints'/>");
        let body = "<body>But soft!</body>";
        let state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
        let marker = "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>";
        for (kind, content, expected) in [
            ("chat", body.to_owned(), true),
            ("normal", body.to_owned(), true),
            ("chat", String::new(), false),
            ("chat", state.to_owned(), false),
            ("chat", [state, body].concat(), true),
            ("chat", marker.to_owned(), true),
            ("chat", "<request xmlns='urn:xmpp:receipts'/>".to_owned(), false),
            ("chat", "<received xmlns='urn:xmpp:receipts' id='1'/>".to_owned(), true),
            ("chat", "<encrypted xmlns='urn:xmpp:omemo:2'/>".to_owned(), true),
            ("chat", "<list xmlns='urn:xmpp:omemo:2'/>".to_owned(), false),
            ("chat", [body, &hint("no-store")].concat(), false),
            ("chat", [body, &hint("no-permanent-store")].concat(), false),
            ("chat", [body, &hint("no-copy")].concat(), true),
            ("chat", hint("store"), true),
            ("chat", [state, &hint("store")].concat(), true),
            ("chat", [hint("store"), hint("no-store")].concat(), false),
            ("headline", body.to_owned(), false),
            ("headline", [body, &hint("store")].concat(), true),
            ("groupchat", [body, &hint("store")].concat(), false),
            ("error", [body, &hint("store")].concat(), false),
        ] {
            let text = format!("<message type='{kind}'>{content}</message>");
            let stanza = Stanza::parse(&text).unwrap();
            let Kind::Message(kind) = stanza.kind() else { panic!("{text}") };
            assert_eq!(is_for_archive(kind, &stanza), expected, "{text}");
        }
    }
}
