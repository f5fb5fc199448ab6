//! XEP-0280: Message Carbons. All devices of an account that ask for it see both sides of its
//! conversations.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use verona_core::account::state::{Part, Resource};
use verona_core::hooks::{
    ConfigError, Delivery, Direction, Hooks, HostSettings, Inline, IqResult, Manifest, Module,
    Passage, Phase, Reply, Request, Spec, Target, Verdict,
};
use verona_core::store::shape::Entry;
use verona_xml::Writer;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stanza::{Child, Kind, MessageType, Stanza};

const NS: &str = "urn:xmpp:carbons:2";
/// The rules of §6.1 are kept to the letter (§6.2).
const NS_RULES: &str = "urn:xmpp:carbons:rules:0";
const NS_MARKERS: &str = "urn:xmpp:chat-markers:0";
const NS_INVITATION: &str = "jabber:x:conference";

/// A resource that has enabled copies.
const ENABLED: &str = "carbons";

/// Of how many copied messages it is remembered that an error about them is to be copied, too.
/// Errors come soon or not at all.
const COPIED_MAX: usize = 64;

/// The module.
pub struct Carbons;

/// The messages of an account that were last copied: a hash of each one's direction, contact and id.
#[derive(Debug, Default)]
struct Copied {
    last: VecDeque<u64>,
}

impl Part for Copied {
    fn load(_: &[Entry]) -> Self {
        Self::default()
    }
}

impl Module for Carbons {
    const MANIFEST: Manifest = Manifest {
        name: "carbons",
        specs: &[Spec("XEP-0280", "1.0.1")],
        features: &[NS, NS_RULES],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.iq_set(Target::Own, NS, "enable", Self::enable);
        on.iq_set(Target::Own, NS, "disable", Self::disable);
        on.inline(NS, "enable", Self::enable_at_once);
        on.iq_set(Target::Account, NS, "enable", Self::refuse);
        on.iq_set(Target::Account, NS, "disable", Self::refuse);
        on.guard(Direction::Inbound, Self::stop_stray_copy);
        on.message(Direction::Outbound, Phase::Copy, Self::copy_sent);
        on.message(Direction::Inbound, Phase::Copy, Self::copy_received);
    }
}

impl Carbons {
    /// §4, §10.1: also when it is enabled already.
    async fn enable(self: Arc<Self>, request: Request) -> IqResult {
        set(&request, true)
    }

    /// XEP-0386 §3.2.1: as the resource is bound, without an answer.
    fn enable_at_once(&self, asked: &mut Inline<'_>) {
        if let Some(resource) = asked.state.resource_of_mut(&asked.seat.link) {
            resource.mark(ENABLED, true);
        }
    }

    /// §5, §10.1: also when it is not enabled.
    async fn disable(self: Arc<Self>, request: Request) -> IqResult {
        set(&request, false)
    }

    /// §4.1, §5.1: nobody decides for another's client.
    async fn refuse(self: Arc<Self>, _: Request) -> IqResult {
        Err(StanzaError::new(Condition::NotAllowed))
    }

    /// §10.3: a copy that its resource did not get is not delivered elsewhere, and nobody hears of
    /// it. Copies are written to their resources and never routed, so one that comes this way was
    /// left over by a session that has ended (XEP-0198 §4). Nobody else can have sent it: `from` is
    /// the account's bare JID.
    fn stop_stray_copy(&self, passage: &mut Passage<'_>) -> Verdict {
        let of_us = passage.stanza.from().is_some_and(|from| *from == passage.account.jid);
        if of_us && passage.stanza.children().any(|child| child.ns == NS) {
            return Verdict::Drop;
        }
        Verdict::Pass
    }

    /// §8: to all who ask for it but the sender.
    fn copy_sent(&self, passage: &mut Passage<'_>) {
        // A message to the own account is copied when it comes in: everybody gets it once.
        let to_own = passage.stanza.to().is_some_and(|to| to.same_bare(&passage.account.jid));
        if to_own || !is_due(passage) {
            return;
        }
        // It carries the id under which the account's archive has it (XEP-0313 §3.5).
        let sent = passage.stanza.clone();
        let sender = passage.link;
        copy(passage, "sent", &sent, |_, resource| {
            sender.is_some_and(|link| Arc::ptr_eq(link, &resource.link))
        });
    }

    /// §7: to all who ask for it but those who get the message itself.
    fn copy_received(&self, passage: &mut Passage<'_>) {
        let to_resource = passage.stanza.to().is_some_and(|to| !to.is_bare());
        let error = passage.stanza.kind() == Kind::Message(MessageType::Error);
        match passage.delivery {
            Delivery::To(_) => {}
            // RFC 6121 §8.5.3.2.1 has it ignored; yet the other resources have seen what failed.
            Delivery::Ignore if error && to_resource => {}
            Delivery::Ignore | Delivery::Bounce(_) => return,
        }
        if !is_due(passage) {
            return;
        }
        let (received, delivery) = (passage.stanza.clone(), passage.delivery.clone());
        let waits = passage.keep.offline;
        copy(passage, "received", &received, |place, resource| {
            matches!(&delivery, Delivery::To(places) if places.contains(&place))
                // The sender is among the account's own resources, and has it.
                || received.from() == Some(&resource.link.jid)
                // It waits for the next available resource, and gets there itself.
                || (waits && !resource.is_available())
        });
    }
}

fn set(request: &Request, on: bool) -> IqResult {
    let mut state = request.own()?.turn();
    let resource = request.link.as_ref().and_then(|link| state.resource_of_mut(link));
    let resource = resource.ok_or_else(|| StanzaError::new(Condition::NotAllowed))?;
    resource.mark(ENABLED, on);
    Ok(Reply::empty())
}

/// Whether a message is to be copied (§6.1).
fn is_due(passage: &mut Passage<'_>) -> bool {
    let Kind::Message(kind) = passage.stanza.kind() else { return false };
    if !passage.state.resources.iter().any(|resource| resource.marked(ENABLED)) {
        return false;
    }
    if kind == MessageType::Error {
        // An error answers what went the other way.
        let answered = match passage.direction {
            Direction::Inbound => Direction::Outbound,
            Direction::Outbound => Direction::Inbound,
        };
        let hash = identify(passage, answered);
        let copied = passage.state.part::<Copied>();
        return hash.zip(copied).is_some_and(|(hash, copied)| copied.last.contains(&hash));
    }
    let eligible = is_eligible(passage.stanza, kind, passage.direction);
    if eligible && let Some(hash) = identify(passage, passage.direction) {
        let last = &mut passage.state.part_mut::<Copied>().last;
        if last.len() >= COPIED_MAX {
            last.pop_front();
        }
        last.push_back(hash);
    }
    eligible
}

/// A hash of what an error has in common with the message that it is about; none without an id.
fn identify(passage: &Passage<'_>, direction: Direction) -> Option<u64> {
    let contact = match passage.direction {
        Direction::Inbound => passage.stanza.from(),
        Direction::Outbound => passage.stanza.to(),
    };
    let mut hasher = DefaultHasher::new();
    (direction == Direction::Inbound).hash(&mut hasher);
    contact?.bare_str().hash(&mut hasher);
    passage.stanza.id_raw()?.hash(&mut hasher);
    Some(hasher.finish())
}

/// The rules of §6.1 for all that is no error.
fn is_eligible(stanza: &Stanza, kind: MessageType, direction: Direction) -> bool {
    let (mut body, mut conversation, mut invites, mut room) = (false, false, false, false);
    for child in stanza.children() {
        match (child.ns, child.name) {
            // §9, XEP-0334 §4.3; and no copy of what is, or claims to be, a copy.
            (NS, "private" | "sent" | "received") | (ns::HINTS, "no-copy") => return false,
            (ns::CLIENT, "body") => body = true,
            (ns::RECEIPTS | ns::CHAT_STATES | NS_MARKERS, _) => conversation = true,
            (NS_INVITATION, "x") => invites = true,
            (ns::MUC_USER, "x") if is_invitation(&child) => invites = true,
            (ns::MUC_USER, "x") => room = true,
            _ => {}
        }
    }
    let other = match direction {
        Direction::Inbound => stanza.from(),
        Direction::Outbound => stanza.to(),
    };
    if kind == MessageType::Groupchat {
        return false;
    }
    if room && !invites && other.is_some_and(|other| !other.is_bare()) {
        // A private message of a room: the room brings what comes in to all who have joined.
        return direction == Direction::Outbound;
    }
    match kind {
        MessageType::Chat => true,
        MessageType::Normal => body || conversation || invites,
        _ => conversation || invites,
    }
}

/// Whether a room's element is a mediated invitation (XEP-0045 §7.8.2).
fn is_invitation(child: &Child<'_>) -> bool {
    child.tree().is_some_and(|tree| tree.root().child("invite", ns::MUC_USER).is_some())
}

/// Plans a copy to each resource that has enabled copies, but for those that `has` the message.
fn copy(
    passage: &mut Passage<'_>,
    way: &str,
    message: &Stanza,
    has: impl Fn(usize, &Resource) -> bool,
) {
    let mut first: Option<Stanza> = None;
    for (place, resource) in passage.state.resources.iter().enumerate() {
        if !resource.marked(ENABLED) || has(place, resource) {
            continue;
        }
        let to = &resource.link.jid;
        let copy = match &first {
            Some(copy) => copy.with_to(to),
            None => match wrap(way, message, &passage.account.jid, to) {
                Some(copy) => first.insert(copy).clone(),
                None => return,
            },
        };
        passage.copies.push((place, copy));
    }
}

/// §7, §8: a copy comes from the own account, has the type of the message, and the message in it.
fn wrap(way: &str, message: &Stanza, own: &Jid, to: &Jid) -> Option<Stanza> {
    let mut writer = Writer::new(ns::CLIENT);
    writer.start("message", ns::CLIENT).attr("to", to.as_str()).attr("from", own.as_str());
    match message.kind() {
        Kind::Message(MessageType::Chat) => writer.attr("type", "chat"),
        Kind::Message(MessageType::Error) => writer.attr("type", "error"),
        Kind::Message(MessageType::Headline) => writer.attr("type", "headline"),
        _ => &mut writer,
    };
    writer.start(way, NS).start("forwarded", ns::FORWARD);
    writer.raw_element(message.text(), ns::CLIENT).end().end().end();
    Stanza::parse(&writer.finish()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eligible(text: &str, direction: Direction) -> bool {
        let stanza = Stanza::parse(text).unwrap();
        let Kind::Message(kind) = stanza.kind() else { panic!("no message: {text}") };
        is_eligible(&stanza, kind, direction)
    }

    fn both(text: &str) -> bool {
        let [out, into] = [Direction::Outbound, Direction::Inbound].map(|way| eligible(text, way));
        assert_eq!(out, into, "{text}");
        out
    }

    #[test]
    fn chat_is_copied_and_normal_with_a_body() {
        assert!(both("<message type='chat'><subject>s</subject></message>"));
        assert!(both("<message><body>b</body></message>"));
        assert!(both("<message type='normal'><body>b</body></message>"));
        assert!(!both("<message><subject>s</subject></message>"));
        assert!(!both("<message><body xmlns='urn:other'>b</body></message>"));
        assert!(!both("<message type='headline'><body>b</body></message>"));
        assert!(!both("<message type='groupchat'><body>b</body></message>"));
    }

    #[test]
    fn payloads_of_conversations_are_copied_whatever_the_type() {
        for payload in [
            "<received xmlns='urn:xmpp:receipts' id='1'/>",
            "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
            "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>",
            "<x xmlns='jabber:x:conference' jid='ball@rooms.capulet.lit'/>",
            "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='nurse@capulet.lit'/></x>",
        ] {
            assert!(both(&format!("<message>{payload}</message>")));
            assert!(both(&format!("<message type='headline'>{payload}</message>")));
            assert!(!both(&format!("<message type='groupchat'>{payload}</message>")));
        }
    }

    #[test]
    fn private_messages_and_copies_are_not_copied() {
        for child in [
            "<private xmlns='urn:xmpp:carbons:2'/>",
            "<no-copy xmlns='urn:xmpp:hints'/>",
            "<sent xmlns='urn:xmpp:carbons:2'/>",
            "<received xmlns='urn:xmpp:carbons:2'/>",
        ] {
            assert!(!both(&format!("<message type='chat'><body>b</body>{child}</message>")));
        }
    }

    #[test]
    fn private_messages_of_rooms_are_copied_by_who_sends_them() {
        let of = |at: &str, kind: &str| {
            let room = "ball@rooms.capulet.lit/rosaline";
            format!(
                "<message {at}='{room}'{kind}><x xmlns='http://jabber.org/protocol/muc#user'/>\
                 <body>b</body></message>"
            )
        };
        for kind in ["", " type='chat'"] {
            assert!(eligible(&of("to", kind), Direction::Outbound));
            assert!(!eligible(&of("from", kind), Direction::Inbound));
        }
    }
}
