//! RFC 6121 §4: initial and later presence, probes, directed presence, and becoming unavailable.

use std::sync::Arc;

use bytes::Bytes;
use verona_xml::Writer;
use verona_xmpp::date;
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stanza::{PresenceType, Stanza};

use crate::account::state::{Resource, State};
use crate::limits::{DIRECTED_PRESENCE_BYTES_MAX, DIRECTED_PRESENCE_MAX};
use crate::link::Link;
use crate::store::shape::{Entry, Table};

/// When the account's last available resource left, in microseconds since the epoch, as decimal
/// text.
pub const LAST_SEEN: Table = Table::value("account.last_seen");

/// The time from the entry in the store; 0 for never.
pub fn last_seen(entries: &[Entry]) -> u64 {
    let entry = entries.iter().find(|entry| entry.table == LAST_SEEN);
    let text = entry.and_then(|entry| std::str::from_utf8(&entry.value).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The form in which [`last_seen`] reads it.
pub fn encode_last_seen(micros: u64) -> Bytes {
    micros.to_string().into()
}

/// What a broadcast by one resource leads to.
pub struct Broadcast {
    /// Who gets the presence: contacts that are subscribed, and the account itself.
    pub to: Vec<Jid>,
    /// Contacts to be probed, when this is initial presence (§4.3.1).
    pub probes: Vec<Jid>,
    /// Whether the resource was available before.
    pub was_available: bool,
}

/// A resource broadcasts available presence (§4.2.2, §4.4.2). None when the session is gone.
pub fn available(state: &mut State, link: &Arc<Link>, stanza: &Stanza) -> Option<Broadcast> {
    let resource = state.resource_of_mut(link)?;
    let was_available = resource.is_available();
    resource.presence = Some(Box::new(stanza.clone()));
    resource.priority = priority(stanza);
    let to = subscribers(state);
    let probes = if was_available { Vec::new() } else { watched(state) };
    Some(Broadcast { to, probes, was_available })
}

/// A resource becomes unavailable (§4.5.2): broadcast goes also to whom it sent directed presence
/// (§4.6.3).
pub fn unavailable(state: &mut State, link: &Arc<Link>) -> Option<Broadcast> {
    let resource = state.resource_of_mut(link)?;
    let was_available = resource.is_available();
    resource.presence = None;
    let directed = std::mem::take(&mut resource.directed);
    let mut to = if was_available { subscribers(state) } else { Vec::new() };
    for entity in directed {
        if !to.iter().any(|known| *known == entity || (known.is_bare() && known.same_bare(&entity)))
        {
            to.push(entity);
        }
    }
    Some(Broadcast { to, probes: Vec::new(), was_available })
}

/// A resource sends directed presence (§4.6.3): remembered unless the entity is a subscriber of an
/// available resource. False when the resource has sent to too many.
pub fn directed(state: &mut State, link: &Arc<Link>, to: &Jid, kind: PresenceType) -> bool {
    let subscribed = state.roster.may_see(to);
    let Some(resource) = state.resource_of_mut(link) else { return true };
    if kind == PresenceType::Unavailable {
        resource.directed.retain(|known| known != to);
        return true;
    }
    if (subscribed && resource.is_available()) || resource.directed.contains(to) {
        return true;
    }
    let bytes: usize = resource.directed.iter().map(|known| known.as_str().len()).sum();
    if resource.directed.len() >= DIRECTED_PRESENCE_MAX
        || bytes.saturating_add(to.as_str().len()) > DIRECTED_PRESENCE_BYTES_MAX
    {
        return false;
    }
    resource.directed.push(to.clone());
    true
}

/// §4.6.1: an entity that becomes unavailable need not be told when the resource leaves.
pub fn forget_directed(state: &mut State, place: usize, entity: &Jid) {
    if let Some(resource) = state.resources.get_mut(place)
        && !resource.directed.is_empty()
    {
        resource.directed.retain(|known| known != entity);
    }
}

/// §4.3.2 and §4.6.6: answers a probe.
pub fn answer_probe(state: &State, own: &Jid, probe: &Stanza, sends: &mut Vec<Stanza>) {
    let (Some(from), Some(to)) = (probe.from(), probe.to()) else { return };
    if !state.roster.may_see(from) && !from.same_bare(own) {
        return answer_stranger(state, own, probe, sends);
    }
    if let Some(resourcepart) = to.resource() {
        // §4.3.2: only that resource, and only the fact.
        if state.available().any(|(_, resource)| resource.name() == resourcepart) {
            sends.push(Stanza::presence(None, to, Some(from), None));
        }
        return;
    }
    let mut any = false;
    for (_, resource) in state.available() {
        if let Some(presence) = &resource.presence {
            any = true;
            sends.push(presence.with_to(from));
        }
    }
    if !any {
        sends.push(absent(state, own, from, probe.id_raw()));
    }
}

/// §4.6.6: who got directed presence learns of that resource; any other hears "unsubscribed", as
/// if there were no such account (§4.3.2, §8.5.1).
fn answer_stranger(state: &State, own: &Jid, probe: &Stanza, sends: &mut Vec<Stanza>) {
    let (Some(from), Some(to)) = (probe.from(), probe.to()) else { return };
    let seen = state.resources.iter().find(|resource| {
        (to.is_bare() || to.resource() == Some(resource.name())) && resource.has_directed_to(from)
    });
    match seen {
        Some(resource) => {
            sends.push(Stanza::presence(None, &resource.link.jid, Some(from), None));
        }
        None => sends.push(stranger(own, from, probe.id_raw())),
    }
}

/// What a probe hears from an account that it may not see, or that does not exist.
pub fn stranger(account: &Jid, from: &Jid, id: Option<&str>) -> Stanza {
    Stanza::presence(Some("unsubscribed"), &account.bare(), Some(from), id)
}

/// §4.3.2: unavailable presence from the bare JID, with the time of leaving when it is known.
fn absent(state: &State, own: &Jid, to: &Jid, id: Option<&str>) -> Stanza {
    let presence = Stanza::presence(Some("unavailable"), own, Some(to), id);
    if state.last_seen_micros == 0 {
        return presence;
    }
    let mut writer = Writer::new(ns::CLIENT);
    writer.start("delay", ns::DELAY);
    writer
        .attr("stamp", &date::write(i64::try_from(state.last_seen_micros).unwrap_or(i64::MAX)))
        .end();
    presence.with_child(&writer.finish())
}

/// §3.1.5: current presence of each available resource, for a contact that may now see it.
pub fn show_to(state: &State, contact: &Jid, sends: &mut Vec<Stanza>) {
    for (_, resource) in state.available() {
        if let Some(presence) = &resource.presence {
            sends.push(presence.with_to(contact));
        }
    }
}

/// §3.2.2: unavailable presence of each available resource, for a contact that may see it no more.
pub fn withdraw_from(state: &State, contact: &Jid, sends: &mut Vec<Stanza>) {
    for (_, resource) in state.available() {
        sends.push(Stanza::presence(Some("unavailable"), &resource.link.jid, Some(contact), None));
    }
}

/// The requests that wait for an answer, for a resource that has become available (§3.1.3).
pub fn waiting_requests(state: &State) -> impl Iterator<Item = &str> {
    state.roster.contacts().filter_map(|(_, item)| item.request.as_deref())
}

/// §4.7.2.3: the priority of a presence; 0 when there is none or it is no integer of -128 to 127.
pub fn priority(stanza: &Stanza) -> i8 {
    let Some(child) = stanza.child("priority", ns::CLIENT) else { return 0 };
    let text = child.text.split_once('>').and_then(|(_, rest)| rest.split_once('<'));
    text.and_then(|(number, _)| number.trim().parse().ok()).unwrap_or(0)
}

fn subscribers(state: &State) -> Vec<Jid> {
    let subscribed = state.roster.contacts().filter(|(_, item)| item.subscription.has_from());
    subscribed.map(|(contact, _)| contact.clone()).collect()
}

fn watched(state: &State) -> Vec<Jid> {
    let watched = state.roster.contacts().filter(|(_, item)| item.subscription.has_to());
    watched.map(|(contact, _)| contact.clone()).collect()
}

/// Writes the presence of the account's other resources to one that has become available: an account
/// is subscribed to its own presence (§4.2.2).
pub fn of_others(state: &State, link: &Arc<Link>) {
    let others = state.resources.iter().filter(|other| !Arc::ptr_eq(&other.link, link));
    for presence in others.filter_map(|other| other.presence.as_ref()) {
        link.mailbox.put(|out| presence.write_to(&link.jid, out));
    }
}

/// Writes a presence of the account to all its own available resources (§4.2.2).
pub fn to_own(state: &State, own: &Jid, stanza: &Stanza) {
    for resource in state.resources.iter().filter(|resource: &&Resource| resource.is_available()) {
        resource.link.mailbox.put_stanza(stanza, |out| stanza.write_to(own, out));
    }
}

/// A probe on behalf of an account (RFC 6121 §4.3.1).
pub fn probe(from: &Jid, to: &Jid) -> Stanza {
    Stanza::presence(Some("probe"), from, Some(to), None)
}
