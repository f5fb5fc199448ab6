//! RFC 6121 §2: the roster, and beside its items the requests and approvals that are not yet items.

use std::collections::BTreeMap;

use bytes::Bytes;
use verona_xml::Writer;
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;

use crate::store::batch::Batch;
use crate::store::shape::{Entry, Owner, Table};

/// One entry per contact.
pub const ITEMS: Table = Table::map("roster");

/// The version of the roster (RFC 6121 §2.6), as decimal text.
pub const VERSION: Table = Table::value("roster.version");

/// Who is subscribed to whom, seen from the account (RFC 6121 §2.1.2.5).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Subscription {
    /// Neither.
    #[default]
    None,
    /// The account is subscribed to the contact.
    To,
    /// The contact is subscribed to the account.
    From,
    /// Both.
    Both,
}

/// What the account has with one contact.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Item {
    /// Whether it is an item of the roster; else only a request or an approval is kept.
    pub listed: bool,
    /// The handle (RFC 6121 §2.1.2.4).
    pub name: Option<Box<str>>,
    /// The groups it is in.
    pub groups: Vec<Box<str>>,
    /// The state of the subscription.
    pub subscription: Subscription,
    /// A request of ours waits for the contact's answer: "pending out".
    pub ask: bool,
    /// The contact's next request is approved in advance (RFC 6121 §3.4).
    pub approved: bool,
    /// The contact's request that waits for our answer, as it came: "pending in".
    pub request: Option<Box<str>>,
}

/// All contacts of an account.
#[derive(Debug, Default)]
pub struct Roster {
    contacts: BTreeMap<Jid, Item>,
    version: u64,
}

impl Subscription {
    /// Its name in the `subscription` attribute.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::To => "to",
            Self::From => "from",
            Self::Both => "both",
        }
    }

    /// The subscription of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::None, Self::To, Self::From, Self::Both].into_iter().find(|of| of.name() == name)
    }

    /// Whether the account is subscribed to the contact.
    pub fn has_to(self) -> bool {
        matches!(self, Self::To | Self::Both)
    }

    /// Whether the contact is subscribed to the account.
    pub fn has_from(self) -> bool {
        matches!(self, Self::From | Self::Both)
    }

    /// The state with the two directions.
    pub fn of(to: bool, from: bool) -> Self {
        match (to, from) {
            (false, false) => Self::None,
            (true, false) => Self::To,
            (false, true) => Self::From,
            (true, true) => Self::Both,
        }
    }
}

impl Roster {
    /// The roster from its entries in the store. An entry that cannot be read was written by no
    /// version of this server and is left out, loudly.
    pub fn load(entries: &[Entry]) -> Self {
        let mut roster = Self::default();
        for entry in entries {
            if entry.table == VERSION {
                let text = std::str::from_utf8(&entry.value).unwrap_or_default();
                roster.version = text.parse().unwrap_or_default();
            } else if entry.table == ITEMS {
                match (Jid::parse(&entry.key), Item::decode(&entry.value)) {
                    (Ok(contact), Some(item)) => {
                        roster.contacts.insert(contact, item);
                    }
                    _ => tracing::error!(key = ?entry.key, "unreadable roster entry left out"),
                }
            }
        }
        roster
    }

    /// The present version, for `ver`.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What there is with a contact's bare JID.
    pub fn contact(&self, contact: &Jid) -> Option<&Item> {
        if contact.is_bare() {
            self.contacts.get(contact)
        } else {
            self.contacts.get(&contact.bare())
        }
    }

    /// All contacts, listed or not.
    pub fn contacts(&self) -> impl Iterator<Item = (&Jid, &Item)> {
        self.contacts.iter()
    }

    /// The items of the roster.
    pub fn listed(&self) -> impl Iterator<Item = (&Jid, &Item)> {
        self.contacts.iter().filter(|(_, item)| item.listed)
    }

    /// Bytes of addresses, names and groups.
    pub fn bytes(&self) -> usize {
        self.contacts.iter().map(|(contact, item)| contact.as_str().len() + item.bytes()).sum()
    }

    /// How many contacts there are, listed or not.
    pub fn len(&self) -> usize {
        self.contacts.len()
    }

    /// Whether there are no contacts.
    pub fn is_empty(&self) -> bool {
        self.contacts.is_empty()
    }

    /// How many requests wait for the account's answer.
    pub fn requests(&self) -> usize {
        self.contacts.values().filter(|item| item.request.is_some()).count()
    }

    /// Whether the contact is subscribed to the account's presence.
    pub fn may_see(&self, contact: &Jid) -> bool {
        self.contact(contact).is_some_and(|item| item.subscription.has_from())
    }

    /// Puts a change of a contact into a batch; None or an item without content removes it.
    pub fn plan(&self, owner: &Owner, contact: &Jid, item: Option<&Item>, batch: &mut Batch) {
        let contact = contact.bare();
        match item.filter(|item| !item.is_void()) {
            Some(item) => batch.put(ITEMS, owner, contact.as_str(), item.encode()),
            None => batch.delete(ITEMS, owner, contact.as_str()),
        }
        let next = self.version.saturating_add(1);
        batch.put(VERSION, owner, "", next.to_string());
    }

    /// Applies a planned change, after its commit.
    pub fn apply(&mut self, contact: &Jid, item: Option<Item>) {
        let contact = contact.bare();
        match item.filter(|item| !item.is_void()) {
            Some(item) => self.contacts.insert(contact, item),
            None => self.contacts.remove(&contact),
        };
        self.version = self.version.saturating_add(1);
    }
}

impl Item {
    /// Bytes of its name and its groups.
    pub fn bytes(&self) -> usize {
        let groups = self.groups.iter().map(|group| group.len());
        groups.sum::<usize>() + self.name.as_ref().map_or(0, |name| name.len())
    }

    /// Whether nothing is left that would have to be kept.
    pub fn is_void(&self) -> bool {
        !self.listed && !self.approved && self.request.is_none()
    }

    /// Writes it as the `item` of a roster result or push; None as the removal of the contact.
    pub fn write(item: Option<&Self>, contact: &Jid, writer: &mut Writer) {
        writer.start("item", ns::ROSTER);
        writer.attr("jid", contact.as_str());
        match item.filter(|item| item.listed) {
            None => {
                writer.attr("subscription", "remove");
            }
            Some(item) => {
                if let Some(name) = &item.name {
                    writer.attr("name", name);
                }
                writer.attr("subscription", item.subscription.name());
                if item.ask {
                    writer.attr("ask", "subscribe");
                }
                if item.approved {
                    writer.attr("approved", "true");
                }
                for group in &item.groups {
                    writer.start("group", ns::ROSTER).text(group).end();
                }
            }
        }
        writer.end();
    }

    /// The item as it lies in the store: a version, flags, then length-prefixed texts.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![1];
        let flags = u8::from(self.listed)
            | u8::from(self.subscription.has_to()) << 1
            | u8::from(self.subscription.has_from()) << 2
            | u8::from(self.ask) << 3
            | u8::from(self.approved) << 4
            | u8::from(self.name.is_some()) << 5
            | u8::from(self.request.is_some()) << 6;
        out.push(flags);
        let texts = self.name.iter().chain(&self.request).chain(&self.groups);
        for text in texts {
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out.into()
    }

    /// The item from the store; None when the bytes are not of this form.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[1, flags], mut rest) = bytes.split_first_chunk::<2>()? else { return None };
        let mut texts = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (text, tail) = tail.split_at_checked(length)?;
            texts.push(Box::<str>::from(std::str::from_utf8(text).ok()?));
            rest = tail;
        }
        let bit = |place: u8| flags & (1 << place) != 0;
        let mut texts = texts.into_iter();
        Some(Self {
            listed: bit(0),
            subscription: Subscription::of(bit(1), bit(2)),
            ask: bit(3),
            approved: bit(4),
            name: if bit(5) { Some(texts.next()?) } else { None },
            request: if bit(6) { Some(texts.next()?) } else { None },
            groups: texts.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_comes_back_as_it_was_stored() {
        let item = Item {
            listed: true,
            name: Some("Nurse".into()),
            groups: vec!["Servants".into(), "".into()],
            subscription: Subscription::From,
            ask: true,
            approved: false,
            request: Some("<presence type='subscribe'/>".into()),
        };
        assert_eq!(Item::decode(&item.encode()), Some(item));
        assert_eq!(Item::decode(&Item::default().encode()), Some(Item::default()));
    }

    #[test]
    fn damaged_items_are_refused() {
        for bytes in [&b""[..], b"\x01", b"\x02\x00", b"\x01\x20", b"\x01\x20\xff\xff\xff\xff"] {
            assert_eq!(Item::decode(bytes), None, "{bytes:?}");
        }
    }
}
