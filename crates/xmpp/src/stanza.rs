//! A stanza: the bytes as they go over the wire, and a small index to find things in them.
//!
//! Routing reads the head and looks at first-level children by name; the payload leaves as it came
//! (RFC 6120 §8.4). The text is kept in one shape, so that changing an address is a splice:
//! `<kind to='..' from='..' rest>children</kind>`, self-contained but for the content namespace,
//! which is whatever stream it is written to.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;
use verona_xml::{Event, Frame, Limits, ScanError, Scanner, Tree, Writer, escape_attr};

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
    /// Part of a one-to-one chat.
    Chat,
    /// An error about a message sent before.
    Error,
    /// Of a room.
    Groupchat,
    /// A notice without reply.
    Headline,
    /// A single message.
    Normal,
}

/// The types of a presence (RFC 6121 §4.7.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PresenceType {
    /// No `type` attribute.
    Available,
    /// An error about a presence sent before.
    Error,
    /// A server asks for current presence.
    Probe,
    /// Asks for a subscription.
    Subscribe,
    /// Grants a subscription.
    Subscribed,
    /// No longer available.
    Unavailable,
    /// Ends a subscription.
    Unsubscribe,
    /// Refuses or withdraws a subscription.
    Unsubscribed,
    /// A `type` that RFC 6121 does not define.
    Unknown,
}

/// The types of an IQ (RFC 6120 §8.2.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IqType {
    /// Asks.
    Get,
    /// Changes.
    Set,
    /// Answers.
    Result,
    /// Answers that it failed.
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
    /// In self-contained form it would be many times as long.
    TooLarge,
}

/// One stanza. Cloning is cheap: the text is shared.
#[derive(Clone, Debug)]
pub struct Stanza {
    text: Arc<str>,
    kind: Kind,
    to: Option<Jid>,
    from: Option<Jid>,
    to_malformed: bool,
    /// Ends of the spliced parts: `<kind` name_end ` to` to_end ` from` from_end .. head_end.
    to_end: u32,
    from_end: u32,
    head_end: u32,
    id: Option<Span>,
    lang: Option<Span>,
    children: SmallVec<[Part; 3]>,
}

/// A stretch of the text.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

/// Where a first-level child lies.
#[derive(Clone, Debug)]
struct Part {
    whole: Span,
    name: Span,
    ns: PartNs,
}

#[derive(Clone, Debug)]
enum PartNs {
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
        if frame.index.is_plain() && !frame.needs_stream_bindings(content_ns) {
            return index(frame, content_ns, from);
        }
        let text = frame.standalone(content_ns).map_err(|error| match error {
            ScanError::TooLarge => NotAStanza::TooLarge,
            _ => NotAStanza::NotWellFormed,
        })?;
        scan(&text, content_ns, from)
    }

    /// Reads a stanza that the server wrote or stored itself.
    pub fn parse(text: &str) -> Result<Self, NotAStanza> {
        scan(text, ns::CLIENT, None)
    }

    /// A presence that the server makes: `type`, from, to, id as written (not unescaped).
    pub fn presence(kind: Option<&str>, from: &Jid, to: Option<&Jid>, id: Option<&str>) -> Self {
        let kind = kind.unwrap_or_default();
        let mut head = Head { name: "presence", to: to.cloned(), ..Head::default() };
        head.from = Some(from.clone());
        let mut rest = String::new();
        if let Some(id) = id {
            push_raw(&mut rest, "id", id);
        }
        if !kind.is_empty() {
            push_raw(&mut rest, "type", kind);
        }
        assemble(head, Kind::Presence(presence_type(kind)), &rest, "", None)
    }

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

    /// The same stanza to somebody else.
    pub fn with_to(&self, to: &Jid) -> Self {
        let mut text = String::with_capacity(self.text.len().saturating_add(64));
        text.push_str(self.name_part());
        push_attr(&mut text, "to", to.as_str());
        let to_end = offset(text.len());
        text.push_str(self.text.get(self.to_end as usize..).unwrap_or_default());
        let mut changed = self.moved(to_end, self.to_end);
        changed.text = text.into();
        changed.to = Some(to.clone());
        changed.to_end = to_end;
        changed
    }

    /// The same stanza between two others, as a server sends it on an account's behalf.
    pub fn between(&self, from: &Jid, to: &Jid) -> Self {
        let mut text = String::with_capacity(self.text.len().saturating_add(64));
        text.push_str(self.name_part());
        push_attr(&mut text, "to", to.as_str());
        let to_end = offset(text.len());
        push_attr(&mut text, "from", from.as_str());
        let from_end = offset(text.len());
        text.push_str(self.text.get(self.from_end as usize..).unwrap_or_default());
        let mut changed = self.moved(from_end, self.from_end);
        changed.text = text.into();
        changed.to = Some(to.clone());
        changed.from = Some(from.clone());
        changed.to_malformed = false;
        changed.to_end = to_end;
        changed.from_end = from_end;
        changed
    }

    /// Writes the stanza as one to somebody else.
    pub fn write_to(&self, to: &Jid, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name_part().as_bytes());
        out.extend_from_slice(b" to='");
        escape_attr(to.as_str(), out);
        out.push(b'\'');
        let rest = self.text.get(self.to_end as usize..).unwrap_or_default();
        out.extend_from_slice(rest.as_bytes());
    }

    /// The same stanza with one more child, given as XML that the server wrote.
    pub fn with_child(&self, child: &str) -> Self {
        let (head, body) = self.split();
        let body = [body, child].concat();
        self.rebuilt(head, &body)
    }

    /// The same stanza without the children for which `drop` says so; itself when there are none.
    pub fn without(&self, drop: impl Fn(&Child<'_>) -> bool) -> Self {
        if !self.children().any(|child| drop(&child)) {
            return self.clone();
        }
        let (head, body) = self.split();
        let start = self.text.len().saturating_sub(self.tail_len());
        let start = start.saturating_sub(body.len());
        let mut kept = String::with_capacity(body.len());
        let mut from = start;
        for part in &self.children {
            if drop(&self.child_at(part)) {
                kept.push_str(self.text.get(from..part.whole.start as usize).unwrap_or_default());
                from = part.whole.end as usize;
            }
        }
        let end = start.saturating_add(body.len());
        kept.push_str(self.text.get(from..end).unwrap_or_default());
        self.rebuilt(head, &kept)
    }

    /// The same stanza with the id under which an archive keeps it (XEP-0359 §3).
    pub fn with_stanza_id(&self, id: &str, by: &Jid) -> Self {
        let mut writer = Writer::new(ns::CLIENT);
        writer.start("stanza-id", ns::SID).attr("id", id).attr("by", by.as_str()).end();
        self.with_child(&writer.finish())
    }

    /// The result that answers this request (RFC 6120 §8.2.3), with a payload that the server wrote.
    pub fn result(&self, payload: &str) -> Self {
        self.answer(Kind::Iq(IqType::Result), "result", payload)
    }

    /// Writes what [`Stanza::result`] makes, for who only needs its text: nothing is looked for in the
    /// payload.
    pub fn write_result(&self, payload: &str, out: &mut Vec<u8>) {
        let mut head = String::with_capacity(160);
        head.push_str("<iq");
        if let Some(to) = &self.from {
            push_attr(&mut head, "to", to.as_str());
        }
        if let Some(from) = self.to.as_ref().filter(|_| !self.to_malformed) {
            push_attr(&mut head, "from", from.as_str());
        }
        if let Some(id) = self.id_raw() {
            push_raw(&mut head, "id", id);
        }
        push_raw(&mut head, "type", "result");
        out.extend_from_slice(head.as_bytes());
        if payload.is_empty() {
            out.extend_from_slice(b"/>");
        } else {
            out.push(b'>');
            out.extend_from_slice(payload.as_bytes());
            out.extend_from_slice(b"</iq>");
        }
    }

    /// The error that answers this stanza; None where none is due (RFC 6120 §8.3.1).
    pub fn error_answer(&self, error: &StanzaError) -> Option<Self> {
        if self.is_answer() {
            return None;
        }
        let kind = match self.kind {
            Kind::Message(_) => Kind::Message(MessageType::Error),
            Kind::Presence(_) => Kind::Presence(PresenceType::Error),
            Kind::Iq(_) => Kind::Iq(IqType::Error),
        };
        let mut writer = Writer::new(ns::CLIENT);
        error.write(&mut writer);
        Some(self.answer(kind, "error", &writer.finish()))
    }

    fn answer(&self, kind: Kind, type_: &str, payload: &str) -> Self {
        let mut head = Head { name: self.name(), ..Head::default() };
        head.to.clone_from(&self.from);
        head.from.clone_from(&self.to);
        if self.to_malformed {
            head.from = None;
        }
        let mut rest = String::new();
        if let Some(id) = self.id_raw() {
            push_raw(&mut rest, "id", id);
        }
        push_raw(&mut rest, "type", type_);
        assemble(head, kind, &rest, payload, None)
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Message(_) => "message",
            Kind::Presence(_) => "presence",
            Kind::Iq(_) => "iq",
        }
    }

    /// `<name`.
    fn name_part(&self) -> &'static str {
        match self.kind {
            Kind::Message(_) => "<message",
            Kind::Presence(_) => "<presence",
            Kind::Iq(_) => "<iq",
        }
    }

    fn at(&self, span: Span) -> &str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    fn child_at<'a>(&'a self, part: &'a Part) -> Child<'a> {
        let ns = match &part.ns {
            PartNs::Content => ns::CLIENT,
            PartNs::At(span) => self.at(*span),
            PartNs::Kept(kept) => kept,
        };
        Child { name: self.at(part.name), ns, text: self.at(part.whole) }
    }

    /// A copy of the index for a text in which what lay at `old` now lies at `new`.
    fn moved(&self, new: u32, old: u32) -> Self {
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
    fn split(&self) -> (&str, &str) {
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
    fn tail_len(&self) -> usize {
        if self.text.ends_with("/>") && self.head_end as usize == self.text.len() {
            0
        } else {
            self.name().len().saturating_add(3)
        }
    }

    /// The stanza with other content. What the server wrote into it is read like anything else.
    fn rebuilt(&self, head: &str, body: &str) -> Self {
        let text = if body.is_empty() {
            [head, "/>"].concat()
        } else {
            [head, ">", body, "</", self.name(), ">"].concat()
        };
        match Self::parse(&text) {
            Ok(mut stanza) => {
                stanza.to_malformed = self.to_malformed;
                stanza
            }
            // Both parts were proven when they came in, so this is not reached.
            Err(_) => self.clone(),
        }
    }
}

impl Child<'_> {
    /// The child read through.
    pub fn tree(&self) -> Option<Tree> {
        Tree::parse(self.text, ns::CLIENT, OWN).ok()
    }
}

/// What is read of a start tag.
#[derive(Default)]
struct Head {
    name: &'static str,
    to: Option<Jid>,
    /// A `to` that is no JID, as it came.
    to_raw: Option<String>,
    from: Option<Jid>,
}

fn scan(text: &str, content_ns: &str, from: Option<&Jid>) -> Result<Stanza, NotAStanza> {
    let mut scanner = Scanner::elements(OWN, content_ns);
    let mut input = text.as_bytes();
    match scanner.next(&mut input) {
        Ok(Some(Event::Element(frame))) if frame.ns() == content_ns => {
            // Prefixes are left only on attributes; their declarations are kept.
            index(&frame, content_ns, from)
        }
        _ => Err(NotAStanza::NotWellFormed),
    }
}

fn index(frame: &Frame<'_>, content_ns: &str, from: Option<&Jid>) -> Result<Stanza, NotAStanza> {
    let name = match frame.name() {
        "message" => "message",
        "presence" => "presence",
        "iq" => "iq",
        _ => return Err(NotAStanza::Unsupported),
    };
    let mut head = Head { name, from: from.cloned(), ..Head::default() };
    let mut type_ = Cow::Borrowed("");
    let mut rest = String::new();
    for attribute in frame.attrs() {
        match (attribute.prefix, attribute.name) {
            (None, "to") => {
                let value = attribute.value();
                head.to = Jid::parse(&value).ok();
                if head.to.is_none() {
                    head.to_raw = Some(value.into_owned());
                }
                continue;
            }
            (None, "from") => {
                if from.is_none() {
                    head.from = Jid::parse(&attribute.value()).ok();
                }
                continue;
            }
            (None, "type") => type_ = attribute.value(),
            _ => {}
        }
        rest.push(' ');
        if let Some(prefix) = attribute.prefix {
            rest.push_str(prefix);
            rest.push(':');
        }
        rest.push_str(attribute.name);
        push_quoted(&mut rest, attribute.raw);
    }
    for declared in frame.declares() {
        if let Some(prefix) = declared.prefix {
            rest.push_str(" xmlns:");
            rest.push_str(prefix);
            push_quoted(&mut rest, declared.raw);
        }
    }
    let start = frame.index.start_tag_len();
    let body = frame.text.get(start..frame.index.content_end()).unwrap_or_default();
    let kind = kind(name, &type_);
    Ok(assemble(head, kind, &rest, body, Some((frame, start, content_ns))))
}

/// Puts the parts together; `origin` tells where the children of `body` lie.
fn assemble(
    head: Head,
    kind: Kind,
    rest: &str,
    body: &str,
    origin: Option<(&Frame<'_>, usize, &str)>,
) -> Stanza {
    let length = rest.len().saturating_add(body.len()).saturating_add(160);
    let mut text = String::with_capacity(length);
    text.push('<');
    text.push_str(head.name);
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
    text.push_str(rest);
    let (id, lang) = (find(&text, from_end, " id="), find(&text, from_end, " xml:lang="));
    let mut children = SmallVec::new();
    let head_end;
    if body.is_empty() {
        text.push_str("/>");
        head_end = offset(text.len());
    } else {
        text.push('>');
        head_end = offset(text.len());
        text.push_str(body);
        text.push_str("</");
        text.push_str(head.name);
        text.push('>');
        match origin {
            Some((frame, start, content_ns)) => {
                children.extend(frame.children().map(|child| {
                    part(&child, frame.text, content_ns, |at| {
                        offset(at.saturating_sub(start)).saturating_add(head_end)
                    })
                }));
            }
            None => children = parts_of(body, head_end),
        }
    }
    Stanza {
        to_malformed: head.to.is_none() && head.to_raw.is_some(),
        text: text.into(),
        kind,
        to: head.to,
        from: head.from,
        to_end,
        from_end,
        head_end,
        id,
        lang,
        children,
    }
}

/// The places of the children in content that the server wrote.
fn parts_of(body: &str, head_end: u32) -> SmallVec<[Part; 3]> {
    let mut parts = SmallVec::new();
    let mut scanner = Scanner::elements(OWN, ns::CLIENT);
    let mut input = body.as_bytes();
    loop {
        let before = body.len().saturating_sub(input.len());
        let Ok(Some(Event::Element(frame))) = scanner.next(&mut input) else { return parts };
        let after = body.len().saturating_sub(input.len());
        let base = after.saturating_sub(frame.text.len()).max(before);
        let shift = |at: usize| offset(base.saturating_add(at)).saturating_add(head_end);
        let ns = frame.ns();
        let name_at = place(frame.text, frame.name()).unwrap_or(1);
        parts.push(Part {
            whole: Span { start: shift(0), end: shift(frame.text.len()) },
            name: Span { start: shift(name_at), end: shift(name_at + frame.name().len()) },
            ns: part_ns(ns, frame.text, ns::CLIENT, shift),
        });
    }
}

fn part(
    child: &verona_xml::Child<'_>,
    whole: &str,
    content_ns: &str,
    shift: impl Fn(usize) -> u32,
) -> Part {
    let name_at = place(whole, child.name).unwrap_or(child.range.start);
    Part {
        whole: Span { start: shift(child.range.start), end: shift(child.range.end) },
        name: Span { start: shift(name_at), end: shift(name_at.saturating_add(child.name.len())) },
        ns: part_ns(child.ns, whole, content_ns, shift),
    }
}

fn part_ns(ns: &str, whole: &str, content_ns: &str, shift: impl Fn(usize) -> u32) -> PartNs {
    if ns == content_ns {
        return PartNs::Content;
    }
    match place(whole, ns) {
        Some(at) if at >= 1 => {
            PartNs::At(Span { start: shift(at), end: shift(at.saturating_add(ns.len())) })
        }
        _ => PartNs::Kept(ns.into()),
    }
}

/// Where a slice lies in the text that it was cut from; None when it was cut from another.
fn place(whole: &str, slice: &str) -> Option<usize> {
    let at = (slice.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (at.checked_add(slice.len())? <= whole.len()).then_some(at)
}

/// The value of an attribute that was written between quotes behind `from`.
fn find(text: &str, from: u32, what: &str) -> Option<Span> {
    let head = text.get(from as usize..)?;
    let mut rest = head;
    loop {
        // Attributes stand one after the other, each as ` name=QvalueQ`.
        let name = rest.get(..what.len());
        let equals = memchr::memchr(b'=', rest.as_bytes())?;
        let quote = *rest.as_bytes().get(equals.checked_add(1)?)?;
        let start = equals.checked_add(2)?;
        let length = memchr::memchr(quote, rest.as_bytes().get(start..)?)?;
        if name == Some(what) {
            let at = text.len().checked_sub(rest.len())?.checked_add(start)?;
            return Some(Span { start: offset(at), end: offset(at.checked_add(length)?) });
        }
        rest = rest.get(start.checked_add(length)?.checked_add(1)?..)?;
    }
}

fn push_attr(text: &mut String, name: &str, value: &str) {
    text.push(' ');
    text.push_str(name);
    text.push_str("='");
    if value.bytes().any(|byte| matches!(byte, b'&' | b'<' | b'>' | b'\'' | b'"' | 0..=0x1f)) {
        let mut escaped = Vec::with_capacity(value.len().saturating_add(16));
        escape_attr(value, &mut escaped);
        text.push_str(&String::from_utf8_lossy(&escaped));
    } else {
        text.push_str(value);
    }
    text.push('\'');
}

/// An attribute whose value is already written as it stands between quotes.
fn push_raw(text: &mut String, name: &str, raw: &str) {
    text.push(' ');
    text.push_str(name);
    push_quoted(text, raw);
}

fn push_quoted(text: &mut String, raw: &str) {
    let quote = if raw.contains('\'') { '"' } else { '\'' };
    text.push('=');
    text.push(quote);
    text.push_str(raw);
    text.push(quote);
}

/// Elements are bounded far below 4 GiB, so no offset is ever cut.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn kind(name: &str, type_: &str) -> Kind {
    match name {
        "message" => Kind::Message(match type_ {
            "chat" => MessageType::Chat,
            "error" => MessageType::Error,
            "groupchat" => MessageType::Groupchat,
            "headline" => MessageType::Headline,
            _ => MessageType::Normal,
        }),
        "presence" => Kind::Presence(presence_type(type_)),
        _ => Kind::Iq(match type_ {
            "get" => IqType::Get,
            "set" => IqType::Set,
            "result" => IqType::Result,
            "error" => IqType::Error,
            _ => IqType::Unknown,
        }),
    }
}

fn presence_type(type_: &str) -> PresenceType {
    match type_ {
        "" => PresenceType::Available,
        "error" => PresenceType::Error,
        "probe" => PresenceType::Probe,
        "subscribe" => PresenceType::Subscribe,
        "subscribed" => PresenceType::Subscribed,
        "unavailable" => PresenceType::Unavailable,
        "unsubscribe" => PresenceType::Unsubscribe,
        "unsubscribed" => PresenceType::Unsubscribed,
        _ => PresenceType::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(text: &str) -> Stanza {
        Stanza::parse(text).expect("a stanza")
    }

    fn adopted(text: &str, header: &str) -> Stanza {
        let mut scanner = Scanner::stream(OWN);
        let whole = [header, text].concat();
        let mut input = whole.as_bytes();
        assert!(matches!(scanner.next(&mut input), Ok(Some(Event::Open(_)))));
        let from = Jid::parse("juliet@capulet.lit/balcony").unwrap();
        match scanner.next(&mut input) {
            Ok(Some(Event::Element(frame))) => {
                Stanza::adopt(&frame, ns::CLIENT, Some(&from)).expect("a stanza")
            }
            other => panic!("{other:?}"),
        }
    }

    const HEADER: &str = "<stream:stream xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams' xmlns:x='urn:x'>";

    #[test]
    fn the_sender_is_who_the_stream_says() {
        let got = adopted(
            "<message from='tybalt@capulet.lit' id='a' to='ROMEO@montague.lit'>\
             <body>Art thou?</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
            HEADER,
        );
        assert_eq!(
            got.text(),
            "<message to='romeo@montague.lit' from='juliet@capulet.lit/balcony' id='a'>\
             <body>Art thou?</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
        );
        assert_eq!(got.id_raw(), Some("a"));
        let names: Vec<_> = got.children().map(|child| (child.name, child.ns)).collect();
        assert_eq!(
            names,
            [("body", ns::CLIENT), ("active", "http://jabber.org/protocol/chatstates")]
        );
    }

    #[test]
    fn what_the_stream_header_binds_moves_into_the_stanza() {
        let got = adopted("<iq type='get' id='1'><x:q a='1'/></iq>", HEADER);
        let child = got.payload().unwrap();
        assert_eq!((child.name, child.ns), ("q", "urn:x"));
        assert!(child.tree().is_some(), "{}", child.text);
    }

    #[test]
    fn addresses_are_spliced_and_the_index_follows() {
        let one = stanza("<presence id='p'><show>away</show><c xmlns='urn:c'/></presence>");
        let (to, from) = (Jid::parse("a@b").unwrap(), Jid::parse("c@d/e'f").unwrap());
        let two = one.between(&from, &to);
        assert_eq!(
            two.text(),
            "<presence to='a@b' from='c@d/e&apos;f' id='p'><show>away</show><c xmlns='urn:c'/>\
             </presence>"
        );
        assert_eq!(two.child("c", "urn:c").unwrap().text, "<c xmlns='urn:c'/>");
        let three = two.with_to(&Jid::parse("longer@example.org").unwrap());
        assert_eq!(three.child("show", ns::CLIENT).unwrap().text, "<show>away</show>");
        assert_eq!(three.id_raw(), Some("p"));
        let mut out = Vec::new();
        one.write_to(&to, &mut out);
        assert!(out.starts_with(b"<presence to='a@b' id='p'>"));
    }

    #[test]
    fn children_are_added_and_dropped() {
        let one = stanza("<message to='a@b'><body>1</body><x xmlns='urn:x'/></message>");
        let two = one.with_child("<y xmlns='urn:y'/>");
        assert_eq!(
            two.text(),
            "<message to='a@b'><body>1</body><x xmlns='urn:x'/><y xmlns='urn:y'/></message>"
        );
        let three = two.without(|child| child.ns == "urn:x");
        assert_eq!(three.text(), "<message to='a@b'><body>1</body><y xmlns='urn:y'/></message>");
        assert_eq!(stanza("<message/>").with_child("<a/>").text(), "<message><a/></message>");
        assert_eq!(stanza("<message><a/></message>").without(|_| true).text(), "<message/>");
    }

    #[test]
    fn answers_go_back_and_answers_get_none() {
        let iq = stanza("<iq type='get' id='&lt;1' to='capulet.lit' from='a@b/c'><q/></iq>");
        let result = iq.result("<q xmlns='urn:q'>1</q>");
        assert_eq!(
            result.text(),
            "<iq to='a@b/c' from='capulet.lit' id='&lt;1' type='result'>\
             <q xmlns='urn:q'>1</q></iq>"
        );
        assert_eq!(result.payload().unwrap().ns, "urn:q");
        let error = StanzaError::new(crate::error::Condition::ItemNotFound);
        assert!(result.error_answer(&error).is_none());
        assert!(iq.error_answer(&error).unwrap().text().contains("item-not-found"));
    }

    #[test]
    fn a_recipient_that_is_no_jid_is_told_apart_from_none() {
        let bad = stanza("<message to='@x'/>");
        assert!(bad.to_malformed() && bad.to().is_none());
        assert!(!stanza("<message/>").to_malformed());
    }

    #[test]
    fn written_result_is_the_result() {
        for request in [
            "<iq from='a@b/c&apos;d' to='b' id='&quot;1' type='get'><q xmlns='urn:q'/></iq>",
            "<iq from='a@b/c' id=\"it's\" type='set'><q xmlns='urn:q'/></iq>",
            "<iq from='a@b/c' to='@' id='1' type='get'><q xmlns='urn:q'/></iq>",
        ] {
            let iq = stanza(request);
            for payload in ["", "<q xmlns='urn:q'>1</q>"] {
                let mut out = Vec::new();
                iq.write_result(payload, &mut out);
                assert_eq!(String::from_utf8(out).unwrap(), iq.result(payload).text());
            }
        }
    }
}
