//! The text of a stanza with its index, and what it tells.

use std::sync::Arc;

use smallvec::SmallVec;
use verona_xml::{Limits, Tree};

use super::kind::{IqType, Kind, MessageType, PresenceType};
use crate::jid::Jid;
use crate::ns;

/// One stanza. Cloning is cheap: the text is shared.
#[derive(Clone, Debug)]
pub struct Stanza {
    pub(super) text: Arc<str>,
    pub(super) kind: Kind,
    pub(super) to: Option<Jid>,
    pub(super) from: Option<Jid>,
    pub(super) to_malformed: bool,
    /// Ends of the spliced parts: `<kind` name_end ` to` to_end ` from` from_end .. head_end.
    pub(super) to_end: u32,
    pub(super) from_end: u32,
    pub(super) head_end: u32,
    pub(super) id: Option<Span>,
    pub(super) lang: Option<Span>,
    pub(super) children: SmallVec<[Part; 3]>,
}

/// A stretch of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// Where a first-level child lies.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) whole: Span,
    pub(super) name: Span,
    pub(super) ns: PartNs,
}

#[derive(Clone, Debug)]
pub(super) enum PartNs {
    /// The content namespace.
    Content,
    At(Span),
    /// It was written with references.
    Kept(Box<str>),
}

/// A first-level child, as far as routing looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    /// Its local name.
    pub name: &'a str,
    /// Its namespace; `jabber:client` for the content namespace.
    pub ns: &'a str,
    /// The whole element.
    pub text: &'a str,
}

/// Limits for what the server itself wrote or stored: only what bounds memory.
pub(super) const OWN: Limits = Limits {
    element_bytes_max: 4 * 1024 * 1024,
    depth_max: 192,
    attributes_max: 128,
    namespaces_max: 128,
    elements_max: 50_000,
};

impl Stanza {
    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its text: one element that presumes nothing but the content namespace.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text, shared.
    pub fn shared_text(&self) -> Arc<str> {
        self.text.clone()
    }

    /// To whom it goes.
    pub fn to(&self) -> Option<&Jid> {
        self.to.as_ref()
    }

    /// From whom it comes.
    pub fn from(&self) -> Option<&Jid> {
        self.from.as_ref()
    }

    /// Whether it has a `to` that is no JID (RFC 6120 §8.3.3.8).
    pub fn to_malformed(&self) -> bool {
        self.to_malformed
    }

    /// The `id` as it is written between the quotes.
    pub fn id_raw(&self) -> Option<&str> {
        self.id.map(|span| self.at(span))
    }

    /// The type, when it is an IQ.
    pub fn iq_type(&self) -> Option<IqType> {
        match self.kind {
            Kind::Iq(kind) => Some(kind),
            _ => None,
        }
    }

    /// Whether it answers something or reports an error, so that it must not be answered
    /// (RFC 6120 §8.3.1).
    pub fn is_answer(&self) -> bool {
        matches!(
            self.kind,
            Kind::Message(MessageType::Error)
                | Kind::Presence(PresenceType::Error)
                | Kind::Iq(IqType::Result | IqType::Error)
        )
    }

    /// The first-level children.
    pub fn children(&self) -> impl Iterator<Item = Child<'_>> {
        self.children.iter().map(|part| self.child_at(part))
    }

    /// The first child with this name and namespace.
    pub fn child(&self, name: &str, ns: &str) -> Option<Child<'_>> {
        self.children().find(|child| child.name == name && child.ns == ns)
    }

    /// The element that an IQ carries.
    pub fn payload(&self) -> Option<Child<'_>> {
        self.children().next()
    }

    /// The element that an IQ carries, read through.
    pub fn payload_tree(&self) -> Option<Tree> {
        self.payload()?.tree()
    }

    /// The whole stanza, read through.
    pub fn tree(&self) -> Option<Tree> {
        Tree::parse(&self.text, ns::CLIENT, OWN).ok()
    }

    /// Whether an IQ has the children that its type asks for: one for a request, none or one for a
    /// result (RFC 6120 §8.2.3).
    pub fn has_due_children(&self) -> bool {
        match self.kind {
            Kind::Iq(IqType::Get | IqType::Set) => self.children.len() == 1,
            Kind::Iq(IqType::Result) => self.children.len() <= 1,
            _ => true,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Message(_) => "message",
            Kind::Presence(_) => "presence",
            Kind::Iq(_) => "iq",
        }
    }

    /// `<name`.
    pub(super) fn name_part(&self) -> &'static str {
        match self.kind {
            Kind::Message(_) => "<message",
            Kind::Presence(_) => "<presence",
            Kind::Iq(_) => "<iq",
        }
    }

    pub(super) fn at(&self, span: Span) -> &str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    pub(super) fn child_at<'a>(&'a self, part: &'a Part) -> Child<'a> {
        let ns = match &part.ns {
            PartNs::Content => ns::CLIENT,
            PartNs::At(span) => self.at(*span),
            PartNs::Kept(kept) => kept,
        };
        Child { name: self.at(part.name), ns, text: self.at(part.whole) }
    }

    /// A copy of the index for a text in which what lay at `old` now lies at `new`.
    pub(super) fn moved(&self, new: u32, old: u32) -> Self {
        let shift = |at: u32| at.saturating_add(new).saturating_sub(old);
        let span = |span: Span| Span { start: shift(span.start), end: shift(span.end) };
        let mut moved = self.clone();
        moved.from_end = shift(self.from_end);
        moved.head_end = shift(self.head_end);
        moved.id = self.id.map(span);
        moved.lang = self.lang.map(span);
        for part in &mut moved.children {
            part.whole = span(part.whole);
            part.name = span(part.name);
            if let PartNs::At(at) = &mut part.ns {
                *at = span(*at);
            }
        }
        moved
    }

    /// The start tag without its end, and the content.
    pub(super) fn split(&self) -> (&str, &str) {
        let (head, body) = self.text.split_at_checked(self.head_end as usize).unwrap_or_default();
        match head.strip_suffix("/>") {
            Some(open) => (open, ""),
            None => {
                let end = body.len().saturating_sub(self.tail_len());
                (head.strip_suffix('>').unwrap_or(head), body.get(..end).unwrap_or_default())
            }
        }
    }

    /// The length of the end tag.
    pub(super) fn tail_len(&self) -> usize {
        if self.text.ends_with("/>") && self.head_end as usize == self.text.len() {
            0
        } else {
            self.name().len().saturating_add(3)
        }
    }
}

impl Child<'_> {
    /// The child read through.
    pub fn tree(&self) -> Option<Tree> {
        Tree::parse(self.text, ns::CLIENT, OWN).ok()
    }
}
