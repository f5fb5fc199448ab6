//! XEP-0352: Client State Indication. A client that nobody looks at is not woken for what can wait.
//!
//! Chat states are not even kept for it (§3.2): they tell of a moment, and who reads an hour later that
//! somebody is typing is told what is wrong. Held back, those of a lively room would also fill up what may
//! wait, and wake the radio for it.

use serde::{Deserialize, Serialize};
use verona_core::held::Patience;
use verona_core::hooks::{
    ConfigError, Hooks, HostSettings, Key, Manifest, Module, Offering, Settings, Spec, Stage,
};
use verona_core::server::Seat;
use verona_xmpp::ns;
use verona_xmpp::stanza::{Child, Kind, MessageType, PresenceType, Stanza};

const NS: &str = "urn:xmpp:csi:0";

/// The status of an occupant's own presence (XEP-0045 §7.2.2).
const SELF: &str = "110";

/// What an operator may set (§3.2).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether anything is held back.
    pub enabled: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Settings for Config {
    const KEYS: &'static [Key] = &[Key {
        name: "enabled",
        doc: "Whether presence and the like wait while a client says that nobody looks at it.",
    }];
}

/// The module. The state is the mailbox's: a session is held back or it is not.
pub struct ClientState {
    config: Config,
}

impl Module for ClientState {
    const MANIFEST: Manifest = Manifest {
        name: "client_state",
        specs: &[Spec("XEP-0352", "1.0.0"), Spec("XEP-0286", "1.0.0")],
        ..Manifest::EMPTY
    };

    type Config = Config;

    fn new(config: Config, _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self { config })
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.advertise(Stage::BeforeBind, Self::offer);
        on.nonza(NS, "inactive", Self::inactive);
        on.nonza(NS, "active", Self::active);
        if on.module().config.enabled {
            on.inline(NS, "inactive", |module, asked| module.inactive(asked.seat));
            // Everybody is active at first.
            on.inline(NS, "active", |_, _| ());
        }
    }
}

impl ClientState {
    /// §4.1
    fn offer(&self, offering: &mut Offering<'_>) {
        if self.config.enabled {
            offering.writer.empty("csi", NS);
        }
    }

    /// §4.2. Nobody else learns of it (§6), and presence does not count (§5).
    fn inactive(&self, seat: &Seat) {
        if self.config.enabled {
            seat.link.mailbox.hold(patience);
        }
    }

    /// §4.2, §5.1: what was held leaves before the answer to whatever follows.
    fn active(&self, seat: &Seat) {
        seat.link.mailbox.release();
    }
}

/// §3.2: of presence the latest of each entity is enough, chat states alone are left out; receipts and
/// what contacts publish about themselves come with the next message.
fn patience(stanza: &Stanza) -> Patience {
    match stanza.kind() {
        Kind::Presence(PresenceType::Available | PresenceType::Unavailable) => presence(stanza),
        Kind::Message(MessageType::Error) => Patience::Now,
        Kind::Message(_) => message(stanza),
        Kind::Presence(_) | Kind::Iq(_) => Patience::Now,
    }
}

fn presence(stanza: &Stanza) -> Patience {
    let room = stanza.child("x", ns::MUC_USER).and_then(|child| child.tree());
    if let Some(room) = room {
        let (mut event, mut own) = (false, false);
        for status in room.root().children().filter(|child| child.is("status", ns::MUC_USER)) {
            event = true;
            own |= status.attr("code") == Some(SELF);
        }
        // What a room remarks, a kick or a new nick, is an event and no state; and what it says of
        // the user's own place in it is urgent.
        match (own, event) {
            (true, _) => return Patience::Now,
            (false, true) => return Patience::Waits,
            (false, false) => {}
        }
    }
    match stanza.from() {
        Some(from) => Patience::Replaces(["p ", from.as_str()].concat().into()),
        None => Patience::Waits,
    }
}

fn message(stanza: &Stanza) -> Patience {
    let (mut state, mut receipt, mut published) = (false, false, false);
    for child in stanza.children() {
        match (child.ns, child.name) {
            (ns::CHAT_STATES, _) => state = true,
            (ns::RECEIPTS, "received") => receipt = true,
            (ns::PUBSUB_EVENT, "event") => published = true,
            _ if is_beside(&child) => {}
            _ => return Patience::Now,
        }
    }
    // XEP-0163 §1: an account publishes under its bare JID; what a service has is somebody's news.
    let personal = stanza.from().is_some_and(|from| from.is_bare() && from.local().is_some());
    match (state, receipt, published) {
        (true, false, false) => Patience::Lapses,
        (_, true, false) => Patience::Waits,
        (false, false, true) if personal => Patience::Waits,
        _ => Patience::Now,
    }
}

/// What says nothing by itself.
fn is_beside(child: &Child<'_>) -> bool {
    matches!(child.ns, ns::DELAY | ns::HINTS | ns::MUC_USER | ns::SID)
        || (child.ns, child.name) == (ns::CLIENT, "thread")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str) -> Patience {
        patience(&Stanza::parse(text).unwrap())
    }

    fn replaces(text: &str) -> Box<str> {
        match judge(text) {
            Patience::Replaces(key) => key,
            other => panic!("{other:?}: {text}"),
        }
    }

    const STATE: &str = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    const ROOM: &str = "http://jabber.org/protocol/muc#user";

    #[test]
    fn presence_replaces_that_of_the_same_full_jid() {
        let romeo = replaces("<presence from='romeo@montague.lit/orchard'/>");
        let gone = "<presence from='romeo@montague.lit/orchard' type='unavailable'/>";
        assert_eq!(replaces(gone), romeo);
        assert_ne!(replaces("<presence from='romeo@montague.lit/garden'/>"), romeo);
    }

    #[test]
    fn presence_that_asks_or_answers_does_not_wait() {
        for kind in ["subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "error"] {
            let text = format!("<presence from='romeo@montague.lit' type='{kind}'/>");
            assert_eq!(judge(&text), Patience::Now);
        }
    }

    #[test]
    fn presence_of_a_room_waits_but_for_the_own() {
        let of = |codes: &str| {
            format!(
                "<presence from='ball@rooms.capulet.lit/romeo'><x xmlns='{ROOM}'><item/>{codes}\
                 </x></presence>"
            )
        };
        replaces(&of(""));
        assert_eq!(judge(&of("<status code='307'/>")), Patience::Waits);
        assert_eq!(judge(&of("<status code='110'/>")), Patience::Now);
        assert_eq!(judge(&of("<status code='307'/><status code='110'/>")), Patience::Now);
    }

    #[test]
    fn a_chat_state_alone_is_left_out() {
        let of = |from: &str, to: &str, more: &str| {
            format!("<message from='{from}' to='{to}' type='chat'>{STATE}{more}</message>")
        };
        let (romeo, juliet) = ("romeo@montague.lit/orchard", "juliet@capulet.lit");
        for beside in ["", "<thread>t</thread>", "<no-store xmlns='urn:xmpp:hints'/>"] {
            assert_eq!(judge(&of(romeo, juliet, beside)), Patience::Lapses);
        }
        assert_eq!(judge(&of(romeo, juliet, "<body>Ay me</body>")), Patience::Now);
        assert_eq!(judge(&of(romeo, juliet, "<x xmlns='urn:other'/>")), Patience::Now);
    }

    #[test]
    fn receipts_and_what_contacts_publish_wait() {
        let receipt = "<received xmlns='urn:xmpp:receipts' id='1'/>";
        assert_eq!(judge(&format!("<message>{receipt}</message>")), Patience::Waits);
        assert_eq!(judge(&format!("<message>{receipt}{STATE}</message>")), Patience::Waits);
        let published = |from: &str, more: &str| {
            format!(
                "<message from='{from}' type='headline'>\
                 <event xmlns='http://jabber.org/protocol/pubsub#event'/>{more}</message>"
            )
        };
        assert_eq!(judge(&published("romeo@montague.lit", "")), Patience::Waits);
        assert_eq!(judge(&published("romeo@montague.lit", "<body>b</body>")), Patience::Now);
        assert_eq!(judge(&published("news.capulet.lit", "")), Patience::Now);
    }

    #[test]
    fn all_else_does_not_wait() {
        for text in [
            "<message from='romeo@montague.lit/orchard' type='chat'><body>b</body></message>",
            "<message from='romeo@montague.lit/orchard'/>",
            "<message from='ball@rooms.capulet.lit' type='groupchat'><subject/></message>",
            "<iq from='capulet.lit' type='result' id='1'/>",
        ] {
            assert_eq!(judge(text), Patience::Now, "{text}");
        }
        let error = format!("<message from='romeo@montague.lit' type='error'>{STATE}</message>");
        assert_eq!(judge(&error), Patience::Now);
    }
}
