//! Who of a component's addresses is seen by whom, so that all of them leave when the connection does.

use hashbrown::HashMap;
use verona_xml::Writer;
use verona_xmpp::jid::Jid;
use verona_xmpp::ns::{CLIENT, MUC_USER};
use verona_xmpp::stanza::{Kind, PresenceType, Stanza};

use crate::limits::COMPONENT_SHOWN_MAX;

/// The receiver sees itself in a room (XEP-0045 §7.2.2).
const ITSELF: &str = "110";

/// The occupant leaves because the service does (XEP-0045 §11.2).
const SERVICE_GONE: &str = "332";

/// Pairs of addresses of which the first is available to the second. Beyond its bound what comes is not
/// remembered.
#[derive(Default)]
pub struct Shown {
    pairs: HashMap<(Jid, Jid), As, ahash::RandomState>,
}

/// As what an address is seen.
#[derive(Clone, Copy)]
enum As {
    Contact,
    /// Of a room, where clients heed only what says so.
    Occupant,
    /// The receiver's own.
    OwnOccupant,
}

impl Shown {
    /// Notes a presence that the component sends.
    pub fn note(&mut self, stanza: &Stanza) {
        let Kind::Presence(kind) = stanza.kind() else { return };
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return };
        let pair = (from.clone(), to.clone());
        match kind {
            PresenceType::Available if self.pairs.len() < COMPONENT_SHOWN_MAX => {
                self.pairs.insert(pair, seen_as(stanza));
            }
            PresenceType::Unavailable | PresenceType::Unsubscribed => {
                self.pairs.remove(&pair);
            }
            _ => {}
        }
    }

    /// What everybody is told when the connection has ended.
    pub fn farewells(self) -> Vec<Stanza> {
        self.pairs.into_iter().map(|((from, to), seen)| farewell(&from, &to, seen)).collect()
    }
}

fn seen_as(stanza: &Stanza) -> As {
    let Some(x) = stanza.child("x", MUC_USER).and_then(|x| x.tree()) else { return As::Contact };
    let mut statuses = x.root().children().filter(|child| child.is("status", MUC_USER));
    match statuses.any(|status| status.attr("code") == Some(ITSELF)) {
        true => As::OwnOccupant,
        false => As::Occupant,
    }
}

fn farewell(from: &Jid, to: &Jid, seen: As) -> Stanza {
    let stanza = Stanza::presence(Some("unavailable"), from, Some(to), None);
    let codes: &[&str] = match seen {
        As::Contact => return stanza,
        As::Occupant => &[],
        As::OwnOccupant => &[ITSELF, SERVICE_GONE],
    };
    let mut writer = Writer::new(CLIENT);
    writer.start("x", MUC_USER).start("item", MUC_USER);
    writer.attr("affiliation", "none").attr("role", "none").end();
    for code in codes {
        writer.start("status", MUC_USER).attr("code", code).end();
    }
    writer.end();
    stanza.with_child(&writer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(texts: &[&str]) -> Vec<String> {
        let mut shown = Shown::default();
        texts.iter().for_each(|text| shown.note(&Stanza::parse(text).unwrap()));
        let mut farewells: Vec<String> =
            shown.farewells().iter().map(|stanza| stanza.text().to_owned()).collect();
        farewells.sort();
        farewells
    }

    #[test]
    fn who_was_shown_and_has_not_left_leaves() {
        let farewells = noted(&[
            "<presence from='nurse@sms.lit' to='juliet@capulet.lit'/>",
            "<presence from='tybalt@sms.lit' to='juliet@capulet.lit'/>",
            "<presence from='tybalt@sms.lit' to='juliet@capulet.lit' type='unavailable'/>",
            "<presence from='paris@sms.lit' to='juliet@capulet.lit' type='subscribe'/>",
            "<message from='paris@sms.lit' to='juliet@capulet.lit'/>",
        ]);
        let nurse = "<presence to='juliet@capulet.lit' from='nurse@sms.lit' type='unavailable'/>";
        assert_eq!(farewells, [nurse]);
    }

    #[test]
    fn occupants_leave_as_such_and_who_is_told_is_told_why() {
        let x = |content: &str| format!("<x xmlns='{MUC_USER}'>{content}</x>");
        let with = |from: &str, content: &str| {
            format!("<presence from='{from}' to='juliet@capulet.lit/x'>{}</presence>", x(content))
        };
        let farewells = noted(&[
            &with("#v@irc.lit/a", "<item role='participant'/>"),
            &with("#v@irc.lit/b", "<status code='100'/><status code='110'/>"),
        ]);
        assert!(farewells[0].contains("role='none'/></x>"), "{farewells:?}");
        assert!(farewells[1].ends_with("<status code='110'/><status code='332'/></x></presence>"));
    }
}
