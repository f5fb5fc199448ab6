//! What must hold for any bytes at all. Shared by the tests here and the fuzz targets.

use std::fmt::Write as _;

use rxml::error::EndOrError;
use rxml::{Parse, WithOptions};
use verona_xml::{Element, Event, Frame, Limits, Node, ScanError, Scanner, Tree};

pub const LIMITS: Limits = Limits {
    element_bytes_max: 10_000,
    depth_max: 64,
    attributes_max: 64,
    namespaces_max: 32,
    elements_max: 1_000,
};

/// What a document came to, in a form that two readers can agree on.
#[derive(Debug, Eq, PartialEq)]
pub struct Told {
    /// The root, and each complete first-level element.
    pub events: Vec<String>,
    /// The error that ended it.
    pub error: Option<String>,
    /// Whether something was under way at the end.
    pub cut: bool,
}

/// Reads a document in the pieces that `cut` says: each number is the size of one, then the next.
pub fn scan(mut scanner: Scanner, bytes: &[u8], mut cut: impl Iterator<Item = usize>) -> Told {
    let mut told = Told { events: Vec::new(), error: None, cut: false };
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = cut.next().unwrap_or(rest.len()).clamp(1, rest.len());
        let (mut piece, after) = rest.split_at(size);
        rest = after;
        loop {
            match scanner.next(&mut piece) {
                Ok(None) => break,
                Ok(Some(event)) => told.events.push(show(&event)),
                Err(error) => {
                    assert_eq!(scanner.next(&mut piece).err(), Some(error), "errors stay");
                    told.error = Some(format!("{error:?}"));
                    return told;
                }
            }
        }
        assert!(piece.is_empty(), "all input is taken before more is asked for");
        assert!(scanner.pending() <= LIMITS.element_bytes_max);
    }
    told.cut = scanner.pending() > 0;
    told
}

fn show(event: &Event<'_>) -> String {
    let mut out = String::new();
    match event {
        Event::Open(frame) => {
            open(&mut out, frame.ns(), frame.name());
            let attrs = frame.attrs().map(|a| (a.ns, a.name, a.value().into_owned()));
            attributes(&mut out, attrs.collect());
        }
        Event::Element(frame) => {
            let tree = frame.tree().expect("a scanned element has its tree");
            element(&mut out, tree.root());
            agree(frame, &tree, &out);
        }
        Event::Close => out.push_str("close"),
    }
    out
}

/// Frame, tree and writer say the same of an element.
fn agree(frame: &Frame<'_>, tree: &Tree, shown: &str) {
    let root = tree.root();
    assert!(frame.is(root.name(), root.ns()));
    let of_frame = frame.attrs().map(|a| (a.ns, a.name, a.value()));
    let of_tree = root.attrs().map(|a| (a.ns, a.name, a.value.into()));
    assert!(of_frame.eq(of_tree));
    assert_eq!(frame.children().count(), root.children().count());
    for (child, element) in frame.children().zip(root.children()) {
        assert_eq!((child.name, child.ns), (element.name(), element.ns()));
        assert_eq!(frame.text.get(child.range.clone()), Some(child.text));
        let alone = child.tree().expect("a child has its tree");
        assert_eq!(alone.root().to_text("x"), element.to_text("x"));
    }
    let index = frame.index;
    let (inside, end) = (index.start_tag_len(), index.content_end());
    assert!(frame.text.get(..inside).is_some_and(|tag| tag.ends_with('>')));
    assert!(if index.is_empty_tag() {
        inside == frame.text.len() && end == inside
    } else {
        frame.text.get(end..).is_some_and(|tag| tag.starts_with("</"))
    });
    for default_ns in ["", "jabber:client", root.ns()] {
        let text = root.to_text(default_ns);
        let again = Tree::parse(&text, default_ns, Limits::NONE).expect("what is written is fine");
        let mut out = String::new();
        element(&mut out, again.root());
        assert_eq!(out, shown, "what is written means the same");
        assert_eq!(again.root().to_text(default_ns), text, "and is written the same again");
        if !frame.needs_stream_bindings(default_ns) {
            let bare = Tree::parse(frame.text, default_ns, Limits::NONE).expect("needs nothing");
            assert_eq!(bare.root().to_text(default_ns), text);
        }
    }
}

fn element(out: &mut String, root: Element<'_>) {
    // Written with a stack of its own: the tree may be deep.
    let mut todo = vec![Some(Node::Element(root))];
    while let Some(next) = todo.pop() {
        match next {
            None => out.push_str("</>"),
            Some(Node::Text(text)) => out.push_str(text),
            Some(Node::Element(e)) => {
                open(out, e.ns(), e.name());
                let attrs = e.attrs().map(|a| (a.ns, a.name, a.value.to_owned()));
                attributes(out, attrs.collect());
                todo.push(None);
                let inside: Vec<_> = e.nodes().map(Some).collect();
                todo.extend(inside.into_iter().rev());
            }
        }
    }
}

fn open(out: &mut String, ns: &str, name: &str) {
    let _ = write!(out, "<{{{ns}}}{name}");
}

fn attributes(out: &mut String, mut attrs: Vec<(&str, &str, String)>) {
    attrs.sort();
    for (ns, name, value) in attrs {
        let _ = write!(out, " {{{ns}}}{name}={value:?}");
    }
    out.push('>');
}

/// The same by another parser.
pub fn oracle(bytes: &[u8], at_end: bool) -> Told {
    let options = rxml::parser::Options { max_token_length: 1 << 20, ..Default::default() };
    let mut parser = rxml::Parser::with_options(options);
    let mut told = Told { events: Vec::new(), error: None, cut: false };
    let mut depth = 0usize;
    let mut out = String::new();
    let mut rest = bytes;
    loop {
        match parser.parse(&mut rest, at_end) {
            Err(EndOrError::NeedMoreData) | Ok(None) => return told,
            Err(EndOrError::Error(error)) => {
                told.error = Some(error.to_string());
                return told;
            }
            Ok(Some(rxml::Event::XmlDeclaration(..))) => {}
            Ok(Some(rxml::Event::Text(_, text))) if depth > 1 => out.push_str(&text),
            Ok(Some(rxml::Event::Text(..))) => {}
            Ok(Some(rxml::Event::StartElement(_, (ns, name), attrs))) => {
                open(&mut out, ns.as_str(), name.as_str());
                let attrs = attrs.iter();
                let attrs = attrs.map(|((ns, n), v)| (ns.as_str(), n.as_str(), v.clone()));
                attributes(&mut out, attrs.collect());
                depth += 1;
                if depth == 1 {
                    told.events.push(std::mem::take(&mut out));
                }
            }
            Ok(Some(rxml::Event::EndElement(_))) => {
                depth -= 1;
                match depth {
                    0 => told.events.push("close".into()),
                    1 => {
                        out.push_str("</>");
                        told.events.push(std::mem::take(&mut out));
                    }
                    _ => out.push_str("</>"),
                }
            }
        }
    }
}

/// All that must hold for these bytes. `seed` says how they are cut once more.
pub fn everything(bytes: &[u8], seed: u64) {
    let whole = scan(Scanner::stream(LIMITS), bytes, std::iter::empty());
    let single = scan(Scanner::stream(LIMITS), bytes, std::iter::repeat(1));
    assert_eq!(whole, single, "byte by byte");
    let mut random = Random(seed | 1);
    let pieces = std::iter::from_fn(move || Some(random.below(40) + 1));
    assert_eq!(whole, scan(Scanner::stream(LIMITS), bytes, pieces), "in pieces");
    compare(bytes, &whole);
}

/// Where we and the oracle differ, there must be a known reason.
fn compare(bytes: &[u8], ours: &Told) {
    let mut theirs = oracle(bytes, false);
    if ours.error.is_some() && theirs.error.is_none() {
        // It wants to see more before it judges: outside of the root some white space, inside the
        // end of a tag, which would be fine as text.
        let outside = ours.events.last().is_none_or(|event| event == "close");
        let more = if outside { &b"   "[..] } else { b"'\">" };
        theirs = oracle(&[bytes, more].concat(), outside);
    }
    let common = ours.events.len().min(theirs.events.len());
    let same = ours.events.get(..common) == theirs.events.get(..common);
    assert!(same || has_cr(bytes), "events differ: {ours:#?} {theirs:#?}");
    match (&ours.error, &theirs.error) {
        // An unfinished tag is not looked at before its end has come.
        (None, Some(_)) if ours.cut => {}
        (None, Some(_)) => assert!(only_we_accept(bytes), "only we accept: {ours:#?} {theirs:#?}"),
        (Some(error), None) => {
            assert!(only_we_refuse(bytes, error), "only we refuse: {ours:#?} {theirs:#?}");
        }
        (None, None) => assert_eq!(ours.events.len(), theirs.events.len(), "{ours:#?} {theirs:#?}"),
        (Some(_), Some(_)) => {}
    }
}

/// rxml drops a raw carriage return in an attribute, or refuses it; XML 1.0 §3.3.3 reads a space.
fn has_cr(bytes: &[u8]) -> bool {
    bytes.contains(&b'\r')
}

/// It refuses a carriage return mostly (see above). It
/// knows no byte order mark, no white space before the root, of XML declarations not all
/// that we can ignore, and no names with characters from U+FDF0 to U+FFFD (XML 1.0 §2.3).
fn only_we_accept(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    has_cr(bytes)
        || text.starts_with('\u{feff}')
        || text.starts_with("<?xml")
        || text.starts_with([' ', '\t', '\n', '\r'])
        || text.contains(|c| ('\u{fdf0}'..='\u{fffd}').contains(&c))
}

/// rxml accepts a default namespace that is declared twice, against XML 1.0 §3.1. It knows neither
/// our limits nor that nothing but white space stands between stanzas (RFC 6120 §11.7).
fn only_we_refuse(bytes: &[u8], error: &str) -> bool {
    let limits = [
        ScanError::Text,
        ScanError::TooDeep,
        ScanError::TooLarge,
        ScanError::TooManyAttributes,
        ScanError::TooManyElements,
        ScanError::TooManyNamespaces,
    ];
    limits.iter().any(|limit| format!("{limit:?}") == error)
        || declares_twice(bytes)
        || has_cr(bytes)
        || has_forbidden(bytes, error)
}

/// Where a token is not complete, rxml has not looked at its characters yet; we have.
fn has_forbidden(bytes: &[u8], error: &str) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let is_control = |c: char| c < ' ' && !"\t\r\n".contains(c);
    match error {
        "NotUtf8" => std::str::from_utf8(bytes).is_err(),
        "NotWellFormed" => text.contains(|c| is_control(c) || c == '\u{fffe}' || c == '\u{ffff}'),
        _ => false,
    }
}

fn declares_twice(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.split('<').any(|tag| tag.matches("xmlns").count() > 1)
}

/// Numbers that look random and are the same in each run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound.max(1)
    }
}
