//! A stanza: the bytes as they go over the wire, and a small index to find things in them.
//!
//! Routing reads the head and looks at first-level children by name; the payload leaves as it came
//! (RFC 6120 §8.4). The text is kept in one shape, so that changing an address is a splice:
//! `<kind to='..' from='..' rest>children</kind>`, self-contained but for the content namespace,
//! which is whatever stream it is written to.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;
use verona_xml::limits::Limits;
use verona_xml::scanner::{Event, Frame, ScanError, Scanner};
use verona_xml::tree::Tree;
use verona_xml::writer::{Writer, escape_attr};

use crate::error::StanzaError;
use crate::jid::Jid;
use crate::ns;

/// What a stanza is (RFC 6120 §8.2) together with its `type`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A message (RFC 6121 §5).
    Message(MessageType),
    /// A presence (RFC 6121 §4).
    Presence(PresenceType),
    /// An info/query (RFC 6120 §8.2.3).
    Iq(IqType),
}

/// The types of a message (RFC 6121 §5.2.2); an unknown one counts as normal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessageType {
    Chat,
    Error,
    Groupchat,
    Headline,
    Normal,
}

/// The types of a presence (RFC 6121 §4.7.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PresenceType {
    /// No `type` attribute.
    Available,
    Error,
    Probe,
    Subscribe,
    Subscribed,
    Unavailable,
    Unsubscribe,
    Unsubscribed,
    /// A `type` that RFC 6121 does not define.
    Unknown,
}

/// The types of an IQ (RFC 6120 §8.2.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IqType {
    Get,
    Set,
    Result,
    Error,
    /// None of the four, or missing.
    Unknown,
}

/// Why a frame is not a stanza that can be routed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotAStanza {
    /// The element is none of message, presence and iq in the content namespace.
    Unsupported,
    /// It could not be brought into self-contained form.
    NotWellFormed,
}

/// One stanza. Cloning is cheap: the text is shared.
#[derive(Clone, Debug)]
pub struct Stanza {
    text: Arc<str>,
    kind: Kind,
    to: Option<Jid>,
    from: Option<Jid>,
    to_malformed: bool,
    /// Ends of the spliced attributes: `<kind` .. to_end .. from_end .. head_end.
    to_end: u32,
    from_end: u32,
    head_end: u32,
    id: Option<(u32, u32)>,
    lang: Option<(u32, u32)>,
    children: SmallVec<[Part; 3]>,
}

/// Where a first-level child lies.
#[derive(Clone, Debug)]
struct Part {
    at: (u32, u32),
    name: (u32, u32),
    /// None: the content namespace.
    ns: Option<(u32, u32)>,
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
const OWN: Limits = Limits {
    element_bytes_max: 4 * 1024 * 1024,
    depth_max: 192,
    attributes_max: 128,
    namespaces_max: 128,
    elements_max: 50_000,
};

impl Stanza {
    /// Takes a stanza from a stream, with `from` set to who sent it when that is known from the
    /// stream (RFC 6120 §8.1.2.1). `content_ns` is the stream's content namespace.
    ///
    /// A `to` that is no JID is kept as it came and told by [`Stanza::to_malformed`].
    pub fn adopt(
        frame: &Frame<'_>,
        content_ns: &str,
        from: Option<&Jid>,
    ) -> Result<Self, NotAStanza> {
        if frame.ns() != content_ns {
            return Err(NotAStanza::Unsupported);
        }
        if frame.needs_stream_bindings() || frame.prefix().is_some() {
            let text = frame.standalone(content_ns);
            return Self::scan(&text, content_ns, from);
        }
        Self::index(frame, content_ns, from)
    }

    /// Reads a stanza that the server wrote or stored itself.
    pub fn parse(text: &str) -> Result<Self, NotAStanza> {
        Self::scan(text, ns::CLIENT, None)
    }

    fn scan(text: &str, content_ns: &str, from: Option<&Jid>) -> Result<Self, NotAStanza> {
        let mut scanner = Scanner::elements(OWN, content_ns);
        let mut input = text.as_bytes();
        match scanner.next(&mut input) {
            Ok(Some(Event::Element(frame))) if frame.prefix().is_none() => {
                Self::index(&frame, content_ns, from)
            }
            _ => Err(NotAStanza::NotWellFormed),
        }
    }

    fn index(
        frame: &Frame<'_>,
        content_ns: &str,
        from: Option<&Jid>,
    ) -> Result<Self, NotAStanza> {
        let name = match frame.name() {
            "message" => "message",
            "presence" => "presence",
            "iq" => "iq",
            _ => return Err(NotAStanza::Unsupported),
        };
        let mut head = Head::default();
        let mut text = String::with_capacity(frame.text.len().saturating_add(96));
        for attribute in frame.attrs() {
            if attribute.prefix.is_some() {
                continue;
            }
            match attribute.name {
                "to" => head.read_to(&attribute.value()),
                "from" if from.is_none() => head.from = Jid::parse(&attribute.value()).ok(),
                "type" => head.type_ = attribute.value(),
                _ => {}
            }
        }
        if let Some(from) = from {
            head.from = Some(from.clone());
        }
        text.push('<');
        text.push_str(name);
        match (&head.to, &head.to_raw) {
            (Some(to), _) => push_attr(&mut text, "to", to.as_str()),
            (None, Some(raw)) => push_attr(&mut text, "to", raw),
            (None, None) => {}
        }
        let to_end = offset(text.len());
        if let Some(from) = &head.from {
            push_attr(&mut text, "from", from.as_str());
        }
        let from_end = offset(text.len());
        let (mut id, mut lang) = (None, None);
        for attribute in frame.attrs() {
            let place = match (attribute.prefix, attribute.name) {
                (None, "to" | "from") => continue,
                (None, "id") => Some(&mut id),
                (Some("xml"), "lang") => Some(&mut lang),
                _ => None,
            };
            text.push(' ');
            if let Some(prefix) = attribute.prefix {
                text.push_str(prefix);
                text.push(':');
            }
            text.push_str(attribute.name);
            let quote = if attribute.raw.contains('\'') { '"' } else { '\'' };
            text.push('=');
            text.push(quote);
            let at = offset(text.len());
            text.push_str(attribute.raw);
            if let Some(place) = place {
                *place = Some((at, offset(text.len())));
            }
            text.push(quote);
        }
        for (prefix, uri) in frame.declares() {
            if let Some(prefix) = prefix {
                text.push_str(" xmlns:");
                text.push_str(prefix);
                text.push('=');
                let quote = if uri.contains('\'') { '"' } else { '\'' };
                text.push(quote);
                text.push_str(uri);
                text.push(quote);
            }
        }
        let mut children = SmallVec::new();
        let body = frame.body();
        let head_end;
        if body.is_empty() {
            text.push_str("/>");
            head_end = offset(text.len());
        } else {
            text.push('>');
            head_end = offset(text.len());
            text.push_str(&frame.text[body.clone()]);
            text.push_str("</");
            text.push_str(name);
            text.push('>');
            let shift = |at: usize| offset(at.saturating_sub(body.start)).saturating_add(head_end);
            for child in frame.children() {
                children.push(Part {
                    at: (shift(child.range.start), shift(child.range.end)),
                    name: (shift(child.name_range.start), shift(child.name_range.end)),
                    ns: child
                        .ns_range
                        .filter(|_| child.ns != content_ns)
                        .map(|range| (shift(range.start), shift(range.end))),
                });
            }
        }
        let kind = kind(name, &head.type_);
        Ok(Self {
            text: text.into(),
            kind,
            to_malformed: head.to.is_none() && head.to_raw.is_some(),
            to: head.to,
            from: head.from,
            to_end,
            from_end,
            head_end,
            id,
            lang,
            children,
        })
    }
}
