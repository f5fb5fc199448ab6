//! Putting a stanza together: from an element of a stream, or from parts that the server wrote.

use std::borrow::Cow;

use smallvec::SmallVec;
use verona_xml::{Event, Frame, Scanner, escape_attr};

use super::kind::{Kind, NotAStanza, kind};
use super::text::{OWN, Part, PartNs, Span, Stanza};
use crate::jid::Jid;
use crate::ns;
use crate::stream::{OWN_LANGUAGE, is_language};

/// What is read of a start tag.
#[derive(Default)]
pub(super) struct Head {
    pub(super) name: &'static str,
    pub(super) to: Option<Jid>,
    /// A `to` that is no JID, as it came.
    pub(super) to_raw: Option<String>,
    pub(super) from: Option<Jid>,
}

pub(super) fn scan(
    text: &str,
    content_ns: &str,
    from: Option<&Jid>,
    lang: &str,
) -> Result<Stanza, NotAStanza> {
    let mut scanner = Scanner::elements(OWN, content_ns);
    let mut input = text.as_bytes();
    match scanner.next(&mut input) {
        Ok(Some(Event::Element(frame))) if frame.ns() == content_ns => {
            // Prefixes are left only on attributes; their declarations are kept.
            index(&frame, content_ns, from, lang)
        }
        _ => Err(NotAStanza::NotWellFormed),
    }
}

/// `lang` is the language that the stream says of all stanzas that do not say it themselves.
pub(super) fn index(
    frame: &Frame<'_>,
    content_ns: &str,
    from: Option<&Jid>,
    lang: &str,
) -> Result<Stanza, NotAStanza> {
    let name = match frame.name() {
        "message" => "message",
        "presence" => "presence",
        "iq" => "iq",
        _ => return Err(NotAStanza::Unsupported),
    };
    let mut head = Head { name, from: from.cloned(), ..Head::default() };
    let mut type_ = Cow::Borrowed("");
    let mut rest = String::new();
    let mut inherited = explicit(lang);
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
            (Some("xml"), "lang") => inherited = None,
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
    if let Some(lang) = inherited {
        push_raw(&mut rest, "xml:lang", lang);
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

/// RFC 6120 §4.7.4, §8.1.5: the language of a stream, if a stanza has to name it when it leaves for
/// another stream. That of our own streams goes without saying there.
fn explicit(lang: &str) -> Option<&str> {
    let differs = !lang.is_empty() && !lang.eq_ignore_ascii_case(OWN_LANGUAGE);
    Some(lang).filter(|lang| differs && is_language(lang))
}

/// Puts the parts together; `origin` tells where the children of `body` lie.
pub(super) fn assemble(
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

pub(super) fn push_attr(text: &mut String, name: &str, value: &str) {
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
pub(super) fn push_raw(text: &mut String, name: &str, raw: &str) {
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
pub(super) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
