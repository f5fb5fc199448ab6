//! Which messages are worth waking a phone for.

use verona_xmpp::ns;
use verona_xmpp::stanza::{Child, Kind, MessageType, Stanza};

const NS_INVITATION: &str = "jabber:x:conference";
const NS_CALL: &str = "urn:xmpp:jingle-message:0";
const NS_CALL_INVITATION: &str = "urn:xmpp:call-invites:0";

/// What the server cannot read and clients show (XEP-0373, XEP-0380, XEP-0384).
const ENCRYPTED: [&str; 6] = [
    "eu.siacs.conversations.axolotl",
    "jabber:x:encrypted",
    "urn:xmpp:eme:0",
    "urn:xmpp:omemo:1",
    "urn:xmpp:omemo:2",
    "urn:xmpp:openpgp:0",
];

/// What changes, marks or takes back a message that was told of before: with a text for clients that
/// do not know it (XEP-0308, XEP-0424, XEP-0444).
const ABOUT_OTHERS: [&str; 3] =
    ["urn:xmpp:message-correct:0", "urn:xmpp:message-retract:1", "urn:xmpp:reactions:0"];

/// Whether somebody says something new: words, a call or an invitation; not the state of a chat, a
/// receipt, a marker or a copy.
pub fn is_news(stanza: &Stanza) -> bool {
    let Kind::Message(kind) = stanza.kind() else { return false };
    let mut news = false;
    for child in stanza.children() {
        match (child.ns, child.name) {
            (ns::CARBONS | ns::MAM, _) => return false,
            // What a room has said before.
            (ns::DELAY, _) if kind == MessageType::Groupchat => return false,
            (other, _) if ABOUT_OTHERS.contains(&other) => return false,
            (ns::CLIENT, "body") => news |= text_of(&child).is_some(),
            (NS_CALL, "propose") | (NS_CALL_INVITATION, "invite") | (NS_INVITATION, "x") => {
                news = true;
            }
            (ns::MUC_USER, "x") => {
                let tree = child.tree();
                news |= tree.is_some_and(|x| x.root().child("invite", ns::MUC_USER).is_some());
            }
            (other, _) => news |= is_encrypted(other),
        }
    }
    news && matches!(kind, MessageType::Chat | MessageType::Normal | MessageType::Groupchat)
}

/// The words of a message, cut; none where the words only stand for what is encrypted.
pub fn words(stanza: &Stanza, chars_max: usize) -> Option<String> {
    if stanza.children().any(|child| is_encrypted(child.ns)) {
        return None;
    }
    let text = text_of(&stanza.child("body", ns::CLIENT)?)?;
    Some(text.chars().take(chars_max).collect())
}

fn is_encrypted(ns: &str) -> bool {
    ENCRYPTED.contains(&ns)
}

fn text_of(body: &Child<'_>) -> Option<String> {
    let text = body.tree()?.root().text().into_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_calls_and_invitations_are_news() {
        let body = "<body>But soft!</body>";
        let state = "<active xmlns='http://jabber.org/protocol/chatstates'/>";
        for (kind, content, expected) in [
            ("chat", body, true),
            ("normal", body, true),
            ("groupchat", body, true),
            ("headline", body, false),
            ("error", body, false),
            ("chat", "<body/>", false),
            ("chat", state, false),
            ("chat", "<received xmlns='urn:xmpp:receipts' id='1'/>", false),
            ("chat", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", false),
            ("chat", "<encrypted xmlns='urn:xmpp:omemo:2'/>", true),
            ("chat", "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>", true),
            ("chat", "<retract xmlns='urn:xmpp:jingle-message:0' id='1'/>", false),
            ("normal", "<x xmlns='jabber:x:conference' jid='a@b'/>", true),
            ("normal", "<x xmlns='http://jabber.org/protocol/muc#user'><invite/></x>", true),
            ("normal", "<x xmlns='http://jabber.org/protocol/muc#user'/>", false),
            ("groupchat", "<subject>Love</subject>", false),
            ("groupchat", "<body>a</body><delay xmlns='urn:xmpp:delay'/>", false),
            ("chat", "<body>a</body><delay xmlns='urn:xmpp:delay'/>", true),
            ("chat", "<body>a</body><replace xmlns='urn:xmpp:message-correct:0' id='1'/>", false),
            ("chat", "<body>+</body><reactions xmlns='urn:xmpp:reactions:0' id='1'/>", false),
        ] {
            let text = format!("<message type='{kind}'>{content}</message>");
            assert_eq!(is_news(&Stanza::parse(&text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn words_are_cut_and_those_beside_a_secret_are_none() {
        let words = |content: &str| {
            let text = format!("<message><body>He jests &amp; scars</body>{content}</message>");
            words(&Stanza::parse(&text).unwrap(), 10)
        };
        assert_eq!(words("").as_deref(), Some("He jests &"));
        assert_eq!(words("<encrypted xmlns='urn:xmpp:omemo:2'/>"), None);
    }
}
