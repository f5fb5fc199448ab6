//! RFC 6121 Appendix A: the subscription state machine, as a function of one contact's item.
//!
//! The nine states are the item's subscription with `ask` ("pending out") and `request` ("pending
//! in").

use verona_xmpp::stanza::PresenceType;

use crate::account::roster::{Item, Subscription};

/// The four presence types that change a subscription.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Act {
    /// Asks for a subscription (RFC 6121 §3.1).
    Subscribe,
    /// Ends one's own subscription (RFC 6121 §3.3).
    Unsubscribe,
    /// Grants a subscription (RFC 6121 §3.1.5).
    Subscribed,
    /// Refuses or withdraws a subscription (RFC 6121 §3.2).
    Unsubscribed,
}

/// What an inbound act leads to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inbound {
    /// The item afterwards.
    pub item: Item,
    /// Whether the account's resources get the stanza.
    pub deliver: bool,
    /// What the server answers on the account's behalf.
    pub reply: Option<Act>,
}

/// What an outbound act leads to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outbound {
    /// The item afterwards.
    pub item: Item,
    /// Whether the contact gets the stanza.
    pub route: bool,
}

impl Act {
    /// The act of a presence type, if it is one.
    pub fn of(kind: PresenceType) -> Option<Self> {
        match kind {
            PresenceType::Subscribe => Some(Self::Subscribe),
            PresenceType::Unsubscribe => Some(Self::Unsubscribe),
            PresenceType::Subscribed => Some(Self::Subscribed),
            PresenceType::Unsubscribed => Some(Self::Unsubscribed),
            _ => None,
        }
    }

    /// Its name in the `type` attribute.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Subscribed => "subscribed",
            Self::Unsubscribed => "unsubscribed",
        }
    }
}

/// RFC 6121 §A.2: the account sends an act to a contact.
pub fn outbound(act: Act, before: &Item) -> Outbound {
    let mut item = before.clone();
    let (to, from) = (before.subscription.has_to(), before.subscription.has_from());
    let route = match act {
        // §A.2.1: always routed; "pending out" unless already subscribed.
        Act::Subscribe => {
            item.ask = before.ask || !to;
            item.listed = true;
            true
        }
        // §A.2.2: always routed.
        Act::Unsubscribe => {
            item.ask = false;
            item.subscription = Subscription::of(false, from);
            true
        }
        // §A.2.3: answers a request, or approves one in advance (§3.4.2).
        Act::Subscribed => {
            if before.request.is_some() {
                item.request = None;
                item.subscription = Subscription::of(to, true);
                item.listed = true;
                // §3.1.5: an approval in advance is used up by the request it was for.
                item.approved = false;
            } else if !from {
                item.approved = true;
                item.listed = true;
            }
            before.request.is_some()
        }
        // §A.2.4, §3.4.2: also takes back an approval in advance.
        Act::Unsubscribed => {
            item.request = None;
            item.approved = false;
            item.subscription = Subscription::of(to, false);
            before.request.is_some() || from
        }
    };
    Outbound { item, route }
}

/// RFC 6121 §A.3: a contact sends an act to the account. `stanza` is kept while a request waits.
pub fn inbound(act: Act, before: &Item, stanza: &str) -> Inbound {
    let mut item = before.clone();
    let (to, from) = (before.subscription.has_to(), before.subscription.has_from());
    let (deliver, reply) = match act {
        // §A.3.1
        Act::Subscribe => {
            if from {
                (false, Some(Act::Subscribed))
            } else if before.approved {
                // §3.4.2: no need to ask the user again.
                item.approved = false;
                item.subscription = Subscription::of(to, true);
                item.listed = true;
                (false, Some(Act::Subscribed))
            } else if before.request.is_some() {
                (false, None)
            } else {
                item.request = Some(stanza.into());
                (true, None)
            }
        }
        // §A.3.2
        Act::Unsubscribe => {
            let changes = from || before.request.is_some();
            item.request = None;
            item.subscription = Subscription::of(to, false);
            (changes, changes.then_some(Act::Unsubscribed))
        }
        // §A.3.3
        Act::Subscribed => {
            let changes = before.ask && !to;
            if changes {
                item.ask = false;
                item.subscription = Subscription::of(true, from);
            }
            (changes, None)
        }
        // §A.3.4
        Act::Unsubscribed => {
            let changes = before.ask || to;
            item.ask = false;
            item.subscription = Subscription::of(false, from);
            (changes, None)
        }
    };
    Inbound { item, deliver, reply }
}

/// XEP-0379 §3.5: a contact that the account has invited asks, which is granted, and asked back.
pub fn welcomed(before: &Item) -> Item {
    Item {
        listed: true,
        subscription: Subscription::of(before.subscription.has_to(), true),
        ask: before.ask || !before.subscription.has_to(),
        approved: false,
        request: None,
        ..before.clone()
    }
}

/// Two accounts are made contacts of each other by who keeps both: nothing is left to be asked.
pub fn befriended(before: &Item) -> Item {
    Item {
        listed: true,
        subscription: Subscription::Both,
        ask: false,
        approved: false,
        request: None,
        ..before.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nine states of §A.1 by the names of the appendix: S subscription, O pending out, I
    /// pending in.
    const STATES: [&str; 9] =
        ["None", "None+O", "None+I", "None+OI", "To", "To+I", "From", "From+O", "Both"];

    fn item(state: &str) -> Item {
        let (base, pending) = state.split_once('+').unwrap_or((state, ""));
        let subscription = match base {
            "To" => Subscription::To,
            "From" => Subscription::From,
            "Both" => Subscription::Both,
            _ => Subscription::None,
        };
        Item {
            listed: true,
            subscription,
            ask: pending.contains('O'),
            request: pending.contains('I').then(|| "<presence/>".into()),
            ..Item::default()
        }
    }

    fn name(item: &Item) -> String {
        let base = match item.subscription {
            Subscription::None => "None",
            Subscription::To => "To",
            Subscription::From => "From",
            Subscription::Both => "Both",
        };
        let out = if item.ask { "O" } else { "" };
        let pending = if item.request.is_some() { "I" } else { "" };
        if item.ask || item.request.is_some() {
            format!("{base}+{out}{pending}")
        } else {
            base.to_owned()
        }
    }

    fn check_outbound(act: Act, rows: [(bool, &str); 9]) {
        for (state, (route, after)) in STATES.iter().zip(rows) {
            let got = outbound(act, &item(state));
            assert_eq!((got.route, name(&got.item).as_str()), (route, after), "{act:?} in {state}");
        }
    }

    fn check_inbound(act: Act, rows: [(bool, Option<Act>, &str); 9]) {
        for (state, (deliver, reply, after)) in STATES.iter().zip(rows) {
            let got = inbound(act, &item(state), "<presence/>");
            let seen = (got.deliver, got.reply, name(&got.item));
            assert_eq!(seen, (deliver, reply, after.to_owned()), "{act:?} in {state}");
        }
    }

    #[test]
    fn outbound_acts_follow_tables_2_to_5() {
        check_outbound(
            Act::Subscribe,
            [
                (true, "None+O"),
                (true, "None+O"),
                (true, "None+OI"),
                (true, "None+OI"),
                (true, "To"),
                (true, "To+I"),
                (true, "From+O"),
                (true, "From+O"),
                (true, "Both"),
            ],
        );
        check_outbound(
            Act::Unsubscribe,
            [
                (true, "None"),
                (true, "None"),
                (true, "None+I"),
                (true, "None+I"),
                (true, "None"),
                (true, "None+I"),
                (true, "From"),
                (true, "From"),
                (true, "From"),
            ],
        );
        check_outbound(
            Act::Subscribed,
            [
                (false, "None"),
                (false, "None+O"),
                (true, "From"),
                (true, "From+O"),
                (false, "To"),
                (true, "Both"),
                (false, "From"),
                (false, "From+O"),
                (false, "Both"),
            ],
        );
        check_outbound(
            Act::Unsubscribed,
            [
                (false, "None"),
                (false, "None+O"),
                (true, "None"),
                (true, "None+O"),
                (false, "To"),
                (true, "To"),
                (true, "None"),
                (true, "None+O"),
                (true, "To"),
            ],
        );
    }

    #[test]
    fn inbound_acts_follow_tables_6_to_9() {
        let (yes, no) = (Some(Act::Subscribed), Some(Act::Unsubscribed));
        check_inbound(
            Act::Subscribe,
            [
                (true, None, "None+I"),
                (true, None, "None+OI"),
                (false, None, "None+I"),
                (false, None, "None+OI"),
                (true, None, "To+I"),
                (false, None, "To+I"),
                (false, yes, "From"),
                (false, yes, "From+O"),
                (false, yes, "Both"),
            ],
        );
        check_inbound(
            Act::Unsubscribe,
            [
                (false, None, "None"),
                (false, None, "None+O"),
                (true, no, "None"),
                (true, no, "None+O"),
                (false, None, "To"),
                (true, no, "To"),
                (true, no, "None"),
                (true, no, "None+O"),
                (true, no, "To"),
            ],
        );
        check_inbound(
            Act::Subscribed,
            [
                (false, None, "None"),
                (true, None, "To"),
                (false, None, "None+I"),
                (true, None, "To+I"),
                (false, None, "To"),
                (false, None, "To+I"),
                (false, None, "From"),
                (true, None, "Both"),
                (false, None, "Both"),
            ],
        );
        check_inbound(
            Act::Unsubscribed,
            [
                (false, None, "None"),
                (true, None, "None"),
                (false, None, "None+I"),
                (true, None, "None+I"),
                (true, None, "None"),
                (true, None, "None+I"),
                (false, None, "From"),
                (true, None, "From"),
                (true, None, "From"),
            ],
        );
    }

    #[test]
    fn an_approval_in_advance_answers_the_request_once() {
        let approved = outbound(Act::Subscribed, &Item::default()).item;
        assert!(approved.approved);
        let answered = inbound(Act::Subscribe, &approved, "<presence/>");
        assert_eq!((answered.deliver, answered.reply), (false, Some(Act::Subscribed)));
        assert_eq!(answered.item.subscription, Subscription::From);
        assert!(!answered.item.approved);
        let taken_back = outbound(Act::Unsubscribed, &approved);
        assert!(!taken_back.item.approved && !taken_back.route);
    }

    #[test]
    fn who_was_invited_waits_for_nothing_but_the_own_approval() {
        for state in STATES {
            let after = welcomed(&item(state));
            let to = after.subscription.has_to();
            assert!(after.subscription.has_from() && after.request.is_none(), "{state}");
            assert!(after.ask || to, "{state}");
            assert_eq!(name(&befriended(&item(state))), "Both", "{state}");
        }
    }
}
