//! XEP-0160: Best Practices for Handling Offline Messages. Which of the messages that nobody takes
//! are not worth waiting; that and how the others wait is the core's affair.

use verona_core::hooks::{
    ConfigError, Direction, Hooks, HostSettings, Manifest, Module, Passage, Phase, Spec,
};
use verona_xmpp::ns;
use verona_xmpp::stanza::Stanza;

const FEATURE: &str = "msgoffline";

/// The module.
pub struct Offline;

impl Module for Offline {
    const MANIFEST: Manifest = Manifest {
        name: "offline",
        specs: &[Spec("XEP-0160", "1.0.1")],
        features: &[FEATURE],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.message(Direction::Inbound, Phase::Keep, Self::pass_over);
    }
}

impl Offline {
    /// §3: what tells only the state of a chat does not wait, and no error tells of it. The text says
    /// so of type "chat"; in a message without type it is worth as little.
    ///
    /// Of the other types "groupchat", "headline" and "error" never wait (RFC 6121 §8.5.2.2.1).
    fn pass_over(&self, passage: &mut Passage<'_>) {
        if passage.keep.offline && tells_only_a_state(passage.stanza) {
            passage.keep.offline = false;
        }
    }
}

/// XEP-0085 §5.6: a standalone notification holds nothing but the state and, if need be, the thread.
/// What only says how the message is to be handled is no content either; but what a hint wants
/// stored is stored (XEP-0334 §4.4).
fn tells_only_a_state(message: &Stanza) -> bool {
    let mut states = 0_usize;
    for child in message.children() {
        match (child.ns, child.name) {
            (ns::CHAT_STATES, _) => states = states.saturating_add(1),
            (ns::HINTS, "store") => return false,
            (ns::CLIENT, "thread") | (ns::HINTS | ns::SID | ns::DELAY, _) => {}
            _ => return false,
        }
    }
    states > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_state_of_a_chat_is_passed_over() {
        let state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
        let hint = |name: &str| format!("<{name} xmlns='urn:xmpp:hints'/>");
        let rows = [
            (state.to_owned(), true),
            ([state, "<thread>t</thread>"].concat(), true),
            ([state, &hint("no-copy")].concat(), true),
            ([state, &hint("store")].concat(), false),
            ([state, "<body>Ay me</body>"].concat(), false),
            ([state, "<received xmlns='urn:xmpp:receipts' id='1'/>"].concat(), false),
            ("<thread>t</thread>".to_owned(), false),
            (String::new(), false),
        ];
        for (content, expected) in rows {
            let message = format!("<message type='chat'>{content}</message>");
            let message = Stanza::parse(&message).expect("a message");
            assert_eq!(tells_only_a_state(&message), expected, "{content}");
        }
    }
}
