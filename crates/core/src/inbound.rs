//! RFC 6121 §8.5: a stanza for an account, within the account's turn.

use std::sync::Arc;

use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::stanza::{IqType, Kind, MessageType, PresenceType, Stanza};

use crate::account::Account;
use crate::account::presence;
use crate::account::shared::is_number;
use crate::account::state::State;
use crate::account::transition::Act;
use crate::account::{keep, log};
use crate::delivery;
use crate::hooks::decision::{Delivery, Direction, Keep, Phase, Verdict};
use crate::hooks::place::Target;
use crate::link::Link;
use crate::mailbox::Put;
use crate::server::{Host, Passage, Registry, Server};
use crate::store::shape::Seq;
use crate::trail::{Kept, Need, Trail, passes};

/// Hands a stanza to an account that is in memory.
pub(crate) fn to_account(
    server: &Arc<Server>,
    host: &Arc<Host>,
    account: &Arc<Account>,
    mut stanza: Stanza,
    trail: &mut Trail,
) -> Need {
    let registry = host.registry();
    let mut state = account.turn();
    if state.gone {
        drop(state);
        return no_such_account(server, &account.jid, &stanza, trail);
    }
    let mut sends = Vec::new();
    let mut passage = Passage {
        server,
        host,
        account,
        state: &mut state,
        direction: Direction::Inbound,
        stanza: &mut stanza,
        link: None,
        keep: Keep::default(),
        delivery: Delivery::Ignore,
        sends: &mut sends,
        copies: smallvec::SmallVec::new(),
    };
    let verdict = registry.guard(&mut passage);
    if matches!(verdict, Verdict::Absent) {
        drop(state);
        return no_such_account(server, &account.jid, &stanza, trail);
    }
    let need = if !passes(verdict, passage.stanza, trail) {
        Need::Nothing
    } else {
        match passage.stanza.kind() {
            Kind::Message(kind) => {
                let place = Place { server, registry: &registry };
                message(&place, kind, passage, trail)
            }
            Kind::Presence(kind) => {
                if matches!(kind, PresenceType::Available | PresenceType::Unavailable) {
                    registry.see(&mut passage);
                }
                to_resources(account, &mut state, kind, &stanza, trail)
            }
            Kind::Iq(kind) => iq(server, (account, &state), (kind, &stanza), trail),
        }
    };
    drop(state);
    trail.extend(sends);
    match need {
        // Asked when the turn is over: the answer may begin its own.
        Need::Ask(iq) => {
            let own = iq.from().is_some_and(|from| from.same_bare(&account.jid));
            let target = if own { Target::Own } else { Target::Account };
            server.ask(target, host, Some(account.clone()), iq, trail)
        }
        need => need,
    }
}

/// Where a turn takes place.
struct Place<'a> {
    server: &'a Arc<Server>,
    registry: &'a Registry,
}

/// §8.5.2.1.1, §8.5.2.2.1, §8.5.3: a message is stamped, kept, delivered and copied.
fn message(
    place: &Place<'_>,
    kind: MessageType,
    mut passage: Passage<'_>,
    trail: &mut Trail,
) -> Need {
    let came = passage.stanza.clone();
    place.registry.watch(Phase::Stamp, &mut passage);
    let (delivery, waits) =
        delivery::message(passage.state, &passage.account.jid, kind, passage.stanza);
    let handed_out = may_be_lost(passage.state, kind, &delivery);
    passage.delivery = delivery;
    passage.keep.offline = waits || handed_out;
    place.registry.watch(Phase::Keep, &mut passage);
    if let Delivery::Bounce(condition) = passage.delivery {
        trail.bounce(passage.stanza, &StanzaError::new(condition));
        return Need::Nothing;
    }
    let bytes = passage.stanza.text().len();
    if waits
        && passage.keep.offline
        && !log::has_room(passage.state, bytes, &place.server.policy().limits)
    {
        // XEP-0160 §3: past the quota the sender hears that it was not kept.
        trail.bounce(
            passage.stanza,
            &StanzaError::new(Condition::ServiceUnavailable).text("too many offline messages"),
        );
        return Need::Nothing;
    }
    if let Some(link) = overslept(&passage) {
        return Need::Room(passage.account.clone(), link, came);
    }
    let mut seq = 0;
    if passage.keep != Keep::default() {
        seq = keep::next_seq(place.server, passage.state);
        let id = place.server.ids.of(place.server.epoch, seq);
        *passage.stanza = passage.stanza.with_stanza_id(&id, &passage.account.jid);
        let what = (&*passage.stanza, Direction::Inbound, passage.keep);
        let ticket = keep::append(place.server, passage.account, passage.state, seq, what);
        trail.kept.push(Kept { ticket, stanza: came.clone() });
    }
    deliver(&mut passage, seq, &came, trail);
    // From here on it says whether nobody was there.
    passage.keep.offline &= waits;
    place.registry.watch(Phase::Copy, &mut passage);
    for (place, copy) in &passage.copies {
        if let Some(resource) = passage.state.resources.get(*place) {
            trail.write_for(&resource.link, passage.stanza, copy.text());
        }
    }
    Need::Nothing
}

/// Whether a message is given to sessions alone of which it will be known whether they got it
/// (XEP-0198). Until one has, it is on disk as if nobody had been there: a crash must not lose it.
fn may_be_lost(state: &State, kind: MessageType, delivery: &Delivery) -> bool {
    let Delivery::To(places) = delivery else { return false };
    let mut resources = places.iter().filter_map(|place| state.resources.get(*place));
    matches!(kind, MessageType::Chat | MessageType::Normal)
        && !places.is_empty()
        && resources.all(|resource| resource.link.mailbox.counts_stanzas())
}

/// A sleeping session that should get the message and can hold no more.
fn overslept(passage: &Passage<'_>) -> Option<Arc<Link>> {
    let Delivery::To(places) = &passage.delivery else { return None };
    let resources = places.iter().filter_map(|place| passage.state.resources.get(*place));
    resources.map(|resource| &resource.link).find(|link| link.mailbox.has_overslept()).cloned()
}

/// Writes a message to the sessions that get it.
fn deliver(passage: &mut Passage<'_>, seq: Seq, came: &Stanza, trail: &mut Trail) {
    let Delivery::To(places) = &passage.delivery else { return };
    // What may be lost, and so has to be acknowledged; else where it lies in the log does not count.
    let noted = match passage.keep.offline {
        true => seq,
        false if places.len() > 1 => passage.state.shared.next_number(),
        false => 0,
    };
    let text = passage.stanza.text();
    let (mut holders, mut is_safe) = (0_u32, false);
    for resource in places.iter().filter_map(|place| passage.state.resources.get(*place)) {
        let put = trail.write_kept(&resource.link, passage.stanza, noted);
        let is_taken = matches!(put, Put::Taken | Put::Crowded);
        holders = holders.saturating_add(u32::from(is_taken));
        // Without XEP-0198 nothing more is known of it.
        is_safe |= is_taken && is_number(noted) && !resource.link.mailbox.counts_stanzas();
    }
    if is_number(noted) && !is_safe {
        passage.state.shared.hand_out(noted, holders);
    }
    if passage.keep.offline && holders > 0 {
        passage.state.log.hand_out(seq, text.len(), holders);
    } else if passage.keep.offline {
        passage.state.log.wait(seq, text.len());
    } else if holders == 0 && !places.is_empty() && passage.keep == Keep::default() {
        // The reader is stuck and its mailbox full: the sender hears that it did not arrive.
        trail.bounce(came, &StanzaError::new(Condition::ResourceConstraint));
    }
}

/// §8.5.2.1.2, §8.5.3: presence of others.
fn to_resources(
    account: &Arc<Account>,
    state: &mut State,
    kind: PresenceType,
    stanza: &Stanza,
    trail: &mut Trail,
) -> Need {
    if let Some(act) = Act::of(kind) {
        return Need::Subscription(account.clone(), act, stanza.clone());
    }
    let resourcepart = stanza.to().and_then(Jid::resource);
    match kind {
        PresenceType::Probe => {
            let mut answers = Vec::new();
            presence::answer_probe(state, &account.jid, stanza, &mut answers);
            trail.extend(answers);
        }
        PresenceType::Available | PresenceType::Unavailable | PresenceType::Error => {
            for place in 0..state.resources.len() {
                let Some(resource) = state.resources.get(place) else { continue };
                let takes = match resourcepart {
                    Some(resourcepart) => resource.name() == resourcepart,
                    None => resource.is_available() && kind != PresenceType::Error,
                };
                if takes {
                    trail.write(&resource.link, stanza);
                    if kind == PresenceType::Unavailable
                        && let Some(from) = stanza.from()
                    {
                        presence::forget_directed(state, place, from);
                    }
                }
            }
        }
        _ => trail.bounce(stanza, &StanzaError::new(Condition::BadRequest)),
    }
    Need::Nothing
}

/// §8.5.2.1.3, §8.5.3.1, §8.5.3.2.3: an IQ to the bare JID is answered by the server, one to a full
/// JID by that resource, if the asker may know of it.
fn iq(
    server: &Server,
    (account, state): (&Account, &State),
    (kind, stanza): (IqType, &Stanza),
    trail: &mut Trail,
) -> Need {
    let Some(to) = stanza.to() else { return Need::Nothing };
    let asks = matches!(kind, IqType::Get | IqType::Set);
    let Some(resourcepart) = to.resource() else {
        if asks {
            return Need::Ask(stanza.clone());
        }
        server.questions.answer(stanza);
        return Need::Nothing;
    };
    let found = state.place_of(resourcepart).and_then(|place| state.resources.get(place));
    let may =
        !asks || stanza.from().is_some_and(|from| state.shares_presence_with(&account.jid, from));
    match found.filter(|_| may) {
        Some(resource) => {
            let put = trail.write(&resource.link, stanza);
            if put == Put::Refused {
                trail.bounce(stanza, &StanzaError::new(Condition::ServiceUnavailable));
            }
        }
        None => trail.bounce(stanza, &StanzaError::new(Condition::ServiceUnavailable)),
    }
    Need::Nothing
}

/// §8.5.1: the account does not exist. What is answered looks like an account that is away: modules
/// are asked as they would be for one that exists, and hear that it does not.
pub(crate) fn no_such_account(
    server: &Arc<Server>,
    account: &Jid,
    stanza: &Stanza,
    trail: &mut Trail,
) -> Need {
    let bare = stanza.to().is_some_and(Jid::is_bare);
    match stanza.kind() {
        Kind::Iq(kind) => match server.host(account.domain()) {
            Some(host) if bare && matches!(kind, IqType::Get | IqType::Set) => {
                return server.ask(Target::Account, &host, None, stanza.clone(), trail);
            }
            _ => trail.bounce(stanza, &StanzaError::new(Condition::ServiceUnavailable)),
        },
        Kind::Message(MessageType::Groupchat) if bare => {
            trail.bounce(stanza, &StanzaError::new(Condition::ServiceUnavailable));
        }
        Kind::Presence(PresenceType::Probe) => {
            if let Some(from) = stanza.from() {
                trail.sends.push_back(presence::stranger(account, from, stanza.id_raw()));
            }
        }
        Kind::Message(_) | Kind::Presence(_) => {}
    }
    Need::Nothing
}
