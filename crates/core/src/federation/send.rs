//! RFC 6120 §10.4: a stanza for a domain that is not served here.

use std::sync::Arc;

use verona_xml::{Event, Limits, Scanner};
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::ns;
use verona_xmpp::stanza::{Kind, MessageType, Stanza};

use crate::federation::standing::{Means, Pushed};
use crate::server::Server;
use crate::stream::server::ours::is_ours;
use crate::trail::{Kept, Trail};

impl Server {
    /// Puts a stanza in front of the domain elsewhere that it is for.
    pub(crate) fn send_abroad(self: &Arc<Self>, stanza: Stanza, trail: &mut Trail) {
        let error = match self.push_abroad(&stanza, trail) {
            Ok(()) => return,
            Err(error) => error,
        };
        trail.bounce(&stanza, &error);
    }

    fn push_abroad(
        self: &Arc<Self>,
        stanza: &Stanza,
        trail: &mut Trail,
    ) -> Result<(), StanzaError> {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return Ok(()) };
        // Nothing is carried from one domain elsewhere to another.
        if self.streams.reach().is_none() || !is_ours(self, &from.domain_jid()) {
            return Err(StanzaError::new(Condition::RemoteServerNotFound));
        }
        let federation = &self.federation;
        let terms = federation.terms();
        if !terms.admit_domains(from.domain(), to.domain()) {
            let text = format!("{} is not federated with {}", from.domain(), to.domain());
            return Err(StanzaError::new(Condition::NotAllowed).text(text));
        }
        if has_wide_names(stanza) {
            // The parser of a peer may end the stream over them, and with it all that is on it.
            let text = "names of elements beyond ASCII are not sent to other servers";
            return Err(StanzaError::new(Condition::NotAcceptable).text(text));
        }
        let full = || StanzaError::new(Condition::ResourceConstraint);
        let Some(route) = federation.route(from, to) else { return Err(full()) };
        let means = Means {
            store: &*self.store,
            terms: &terms,
            gauge: &federation.gauge,
            epoch: self.epoch,
            now_micros: self.clock.now_micros(),
            uptime_secs: self.clock.uptime_secs(),
        };
        match route.push(stanza, must_live(stanza), &means) {
            Pushed::Taken { ticket, start } => {
                let kept = ticket.map(|ticket| Kept { ticket, stanza: stanza.clone() });
                trail.kept.extend(kept);
                if start {
                    self.look_after(route);
                }
                Ok(())
            }
            Pushed::Full => Err(full().text("too much waits for that domain already")),
            Pushed::Refused(condition) => Err(StanzaError::new(condition)),
        }
    }
}

/// Whether a stanza is kept until the peer has it, also through a restart: a message that says
/// something. What only tells the state of a chat, or shall not be stored (XEP-0334 §4.2), waits in
/// memory alone.
fn must_live(stanza: &Stanza) -> bool {
    let keeps = matches!(
        stanza.kind(),
        Kind::Message(MessageType::Chat | MessageType::Normal | MessageType::Groupchat)
    );
    let mut says = false;
    for child in stanza.children() {
        match (child.ns, child.name) {
            (ns::HINTS, "no-store") => return false,
            (ns::HINTS, "store") => says = true,
            (ns::CHAT_STATES | ns::HINTS | ns::SID | ns::DELAY, _) | (ns::CLIENT, "thread") => {}
            _ => says = true,
        }
    }
    keeps && says
}

/// Whether names beyond ASCII are in a stanza. Most stanzas are ASCII, or have such text and no such
/// names; only the latter are read once more.
fn has_wide_names(stanza: &Stanza) -> bool {
    if stanza.text().is_ascii() {
        return false;
    }
    let mut scanner = Scanner::elements(Limits::NONE, ns::CLIENT);
    let mut input = stanza.text().as_bytes();
    match scanner.next(&mut input) {
        Ok(Some(Event::Element(frame))) => frame.index.has_wide_names(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(text: &str) -> Stanza {
        Stanza::parse(text).unwrap()
    }

    #[test]
    fn messages_that_say_something_live_through_a_restart() {
        let state = "<active xmlns='http://jabber.org/protocol/chatstates'/>";
        for (kind, content, expected) in [
            ("chat", "<body>Ay me</body>", true),
            ("groupchat", "<body>Ay me</body>", true),
            ("normal", "<x xmlns='urn:x'/>", true),
            ("error", "<body>Ay me</body>", false),
            ("headline", "<body>Ay me</body>", false),
            ("chat", state, false),
            ("chat", "<thread>t</thread>", false),
            ("chat", "<body>a</body><no-store xmlns='urn:xmpp:hints'/>", false),
            ("chat", "<store xmlns='urn:xmpp:hints'/>", true),
        ] {
            let text = format!("<message type='{kind}'>{content}</message>");
            assert_eq!(must_live(&stanza(&text)), expected, "{text}");
        }
        assert!(!must_live(&stanza("<iq type='set' id='1'><q xmlns='urn:q'/></iq>")));
    }

    #[test]
    fn only_names_beyond_ascii_are_found() {
        for (text, expected) in [
            ("<message><body>plain</body></message>", false),
            ("<message><body>n\u{e4}me</body></message>", false),
            ("<message><b\u{f6}dy/></message>", true),
            ("<message><x xmlns='urn:x' n\u{e4}me=''/></message>", true),
        ] {
            assert_eq!(has_wide_names(&stanza(text)), expected, "{text}");
        }
    }
}
