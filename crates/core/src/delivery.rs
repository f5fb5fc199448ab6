//! RFC 6121 §8.5: which resources of an account get a message, as a function of its state.

use smallvec::SmallVec;
use verona_xmpp::error::Condition;
use verona_xmpp::jid::Jid;
use verona_xmpp::stanza::{MessageType, Stanza};

use crate::account::state::State;
use crate::hooks::decision::Delivery;

/// Where a message to an existing account goes, and whether it waits for the next resource when
/// nobody takes it (table 1 in §8.5.4).
pub fn message(state: &State, own: &Jid, kind: MessageType, stanza: &Stanza) -> (Delivery, bool) {
    let Some(to) = stanza.to() else { return (Delivery::Ignore, false) };
    if let Some(resourcepart) = to.resource() {
        if let Some(place) = state.place_of(resourcepart) {
            return (Delivery::To(SmallVec::from_slice(&[place])), false);
        }
        return unmatched(state, own, kind, stanza);
    }
    match kind {
        MessageType::Normal | MessageType::Chat => most_available(state),
        // Each non-negative resource; nobody there: silently ignored (§8.5.2.1.1, §8.5.2.2.1).
        MessageType::Headline => (Delivery::To(non_negative(state)), false),
        MessageType::Groupchat => (Delivery::Bounce(Condition::ServiceUnavailable), false),
        MessageType::Error => (Delivery::Ignore, false),
    }
}

/// §8.5.3.2.1: the full JID matches no resource. Only who may know hears that (§8.1): to a stranger
/// silence looks the same for a resource that is there and one that is not.
fn unmatched(state: &State, own: &Jid, kind: MessageType, stanza: &Stanza) -> (Delivery, bool) {
    match kind {
        MessageType::Chat => most_available(state),
        MessageType::Error => (Delivery::Ignore, false),
        MessageType::Normal | MessageType::Groupchat | MessageType::Headline => {
            let known = stanza.from().is_some_and(|from| {
                state.shares_presence_with(own, from)
                    || state.roster.contact(from).is_some_and(|item| item.listed)
            });
            let delivery = if known {
                Delivery::Bounce(Condition::ServiceUnavailable)
            } else {
                Delivery::Ignore
            };
            (delivery, false)
        }
    }
}

/// §8.5.2.1.1 lets us choose: all resources of the highest non-negative priority, not only one,
/// because carbons would bring it to the others anyway. Nobody there: it waits.
fn most_available(state: &State) -> (Delivery, bool) {
    let highest = state.available().map(|(_, resource)| resource.priority).max();
    let Some(highest) = highest.filter(|priority| *priority >= 0) else {
        return (Delivery::To(SmallVec::new()), true);
    };
    let of_highest = state.available().filter(|(_, resource)| resource.priority == highest);
    (Delivery::To(of_highest.map(|(place, _)| place).collect()), false)
}

fn non_negative(state: &State) -> SmallVec<[usize; 4]> {
    let takes = state.available().filter(|(_, resource)| resource.priority >= 0);
    takes.map(|(place, _)| place).collect()
}
