//! XEP-0441: what an account wants archived, in memory with it.

use std::collections::BTreeSet;

use verona_core::account::roster::Roster;
use verona_core::account::state::Part;
use verona_core::store::shape::{Entry, Table};
use verona_xml::{Element, Writer};
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns::MAM as NS;

/// An account's preferences; none where nothing was ever set.
pub const PREFERENCES: Table = Table::value("archive-preferences");

/// JIDs in one list.
const LISTED_MAX: usize = 1_000;

/// What happens to messages of who is in no list (§2.1.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Rest {
    #[default]
    Always,
    Never,
    Roster,
}

/// What an account wants archived.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Prefs {
    rest: Rest,
    always: BTreeSet<Jid>,
    never: BTreeSet<Jid>,
}

impl Part for Prefs {
    fn load(entries: &[Entry]) -> Self {
        let entry = entries.iter().find(|entry| entry.table == PREFERENCES);
        let text = entry.and_then(|entry| std::str::from_utf8(&entry.value).ok());
        text.map(Self::decode).unwrap_or_default()
    }
}

impl Prefs {
    /// Whether messages from or to this JID are archived. Who must never be wins over who must
    /// always be: §2.1 leaves it open, and what was not kept cannot be regretted.
    pub fn want(&self, target: &Jid, roster: &Roster) -> bool {
        if holds(&self.never, target) {
            return false;
        }
        match self.rest {
            Rest::Always => true,
            _ if holds(&self.always, target) => true,
            Rest::Never => false,
            // §2.3.1: the roster is compared by bare JID.
            Rest::Roster => roster.contact(target).is_some_and(|item| item.listed),
        }
    }

    /// Reads `<prefs/>`; a list that is missing is empty (§2.1.2, §2.1.3).
    pub fn read(prefs: Element<'_>) -> Result<Self, StanzaError> {
        let rest = prefs.attr("default").and_then(Rest::named);
        let rest = rest.ok_or_else(|| {
            StanzaError::new(Condition::BadRequest).text("default is always, never or roster")
        })?;
        Ok(Self { rest, always: list(prefs, "always")?, never: list(prefs, "never")? })
    }

    /// Writes `<prefs/>` with both lists (§2.1).
    pub fn write(&self, writer: &mut Writer) {
        writer.start("prefs", NS).attr("default", self.rest.name());
        for (name, jids) in [("always", &self.always), ("never", &self.never)] {
            writer.start(name, NS);
            for jid in jids {
                writer.start("jid", NS).text(jid.as_str()).end();
            }
            writer.end();
        }
        writer.end();
    }

    /// As it is stored: the default, then a line for each JID. No JID holds a line break.
    pub fn encode(&self) -> String {
        let mut text = self.rest.name().to_owned();
        for (sign, jids) in [("\n+", &self.always), ("\n-", &self.never)] {
            for jid in jids {
                text.push_str(sign);
                text.push_str(jid.as_str());
            }
        }
        text
    }

    fn decode(text: &str) -> Self {
        let mut lines = text.lines();
        let rest = lines.next().and_then(Rest::named).unwrap_or_default();
        let mut prefs = Self { rest, ..Self::default() };
        for line in lines {
            if let Some(jid) = line.strip_prefix('+').and_then(|jid| Jid::parse(jid).ok()) {
                prefs.always.insert(jid);
            } else if let Some(jid) = line.strip_prefix('-').and_then(|jid| Jid::parse(jid).ok()) {
                prefs.never.insert(jid);
            }
        }
        prefs
    }
}

impl Rest {
    fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Never => "never",
            Self::Roster => "roster",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Always, Self::Never, Self::Roster].into_iter().find(|rest| rest.name() == name)
    }
}

/// §2.3.1: a listed full JID means itself, a bare one all its resources.
fn holds(list: &BTreeSet<Jid>, target: &Jid) -> bool {
    !list.is_empty() && (list.contains(target.as_str()) || list.contains(target.bare_str()))
}

fn list(prefs: Element<'_>, name: &str) -> Result<BTreeSet<Jid>, StanzaError> {
    let Some(list) = prefs.child(name, NS) else { return Ok(BTreeSet::new()) };
    let mut jids = BTreeSet::new();
    for child in list.children().filter(|child| child.is("jid", NS)) {
        jids.insert(Jid::parse(child.text().trim())?);
        if jids.len() > LISTED_MAX {
            return Err(StanzaError::new(Condition::ResourceConstraint).text("list is too long"));
        }
    }
    Ok(jids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_back_as_they_were_stored() {
        let jids = |list: &[&str]| list.iter().map(|jid| Jid::parse(jid).unwrap()).collect();
        let prefs = Prefs {
            rest: Rest::Roster,
            always: jids(&["romeo@montague.lit", "nurse@capulet.lit/-+"]),
            never: jids(&["tybalt@capulet.lit"]),
        };
        assert_eq!(Prefs::decode(&prefs.encode()), prefs);
        assert_eq!(Prefs::decode(""), Prefs::default());
    }

    #[test]
    fn lists_go_before_the_default_and_never_before_always() {
        let roster = Roster::default();
        let romeo = Jid::parse("romeo@montague.lit/orchard").unwrap();
        for (text, wanted) in [
            ("always", true),
            ("never", false),
            ("roster", false),
            ("never\n+romeo@montague.lit", true),
            ("never\n+romeo@montague.lit/orchard", true),
            ("never\n+romeo@montague.lit/garden", false),
            ("roster\n+romeo@montague.lit", true),
            ("always\n-romeo@montague.lit", false),
            ("always\n-romeo@montague.lit/garden", true),
            ("always\n+romeo@montague.lit\n-romeo@montague.lit", false),
        ] {
            assert_eq!(Prefs::decode(text).want(&romeo, &roster), wanted, "{text}");
        }
    }
}
