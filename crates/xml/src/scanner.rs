//! Bytes as they arrive, to elements.

use std::sync::Arc;

use crate::chars::{SPACE, class};
use crate::error::ScanError;
use crate::frame::Frame;
use crate::limits::Limits;
use crate::scope::{Binding, Context, Outer};
use crate::work::{Site, Unit, Work};

/// A scanner reads a document whose end is far away, piece by piece as it arrives, and yields the
/// first-level elements of it. It is small; while no element is under way it holds no memory but
/// that of the namespaces which the root binds, shared with others that bind the same.
#[derive(Debug)]
pub struct Scanner {
    limits: Limits,
    context: Arc<Context>,
    work: Option<Box<Work>>,
    failed: Option<ScanError>,
    place: Place,
    rooted: bool,
}

/// An event is what a document has come to.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The root has begun; the frame is its start tag.
    Open(Frame<'a>),
    /// A first-level element is complete.
    Element(Frame<'a>),
    /// The root has ended.
    Close,
}

/// Where in the document the next byte stands, if no unit is under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// At the very start; so many bytes of a byte order mark were seen, all three or none mostly.
    Start(u8),
    /// Before the root.
    Prolog,
    /// Between first-level elements.
    Content,
    /// Behind a root that was an empty-element tag.
    Emptied,
    /// Behind the root.
    Closed,
}

impl Scanner {
    /// Begins a document with a root; its children are the elements to be told.
    pub fn stream(limits: Limits) -> Self {
        Self::new(limits, Context::default(), true)
    }

    /// Begins a row of elements without a root, where `default_ns` is the default namespace.
    pub fn elements(limits: Limits, default_ns: &str) -> Self {
        let context = Context { default: default_ns.into(), ..Context::default() };
        Self::new(limits, context, false)
    }

    fn new(limits: Limits, context: Context, rooted: bool) -> Self {
        Self {
            limits,
            context: context.shared(),
            work: None,
            failed: None,
            place: Place::Start(0),
            rooted,
        }
    }

    /// Sets the limits for what is read from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Forgets everything, partial bytes and errors included: the next byte begins a document.
    pub fn restart(&mut self) {
        self.rest();
        self.failed = None;
        self.place = Place::Start(0);
        if self.rooted {
            self.context = Context::default().shared();
        }
    }

    /// How many bytes are held of what is not complete yet.
    pub fn pending(&self) -> usize {
        self.work.as_ref().map_or(0, |work| work.held())
    }

    /// The default namespace for first-level elements.
    pub fn default_ns(&self) -> &str {
        &self.context.default
    }

    /// Reads on to the next event and takes what it read from the front of `input`. `Ok(None)`:
    /// all of it is read, and more is needed. After an error only `restart` helps.
    pub fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'s>>, ScanError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let (unit, text) = match self.advance(input) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.work = None;
                self.failed = Some(error);
                return Err(error);
            }
        };
        let Some(work) = &self.work else { return Ok(Some(Event::Close)) };
        let text = text.unwrap_or(work.text());
        Ok(Some(match unit {
            Unit::Root => {
                let outer = Outer { default: "", bindings: &[] };
                Event::Open(Frame::within(text, work.index(), outer))
            }
            Unit::Element => {
                Event::Element(Frame::within(text, work.index(), self.context.outer()))
            }
            _ => Event::Close,
        }))
    }

    /// Reads to the end of a unit that is an event. Its text is given if it lies in the input.
    fn advance<'i>(
        &mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<(Unit, Option<&'i str>)>, ScanError> {
        loop {
            let under_way = self.work.as_ref().is_some_and(|work| work.held() > 0);
            if !under_way {
                if self.place == Place::Emptied {
                    self.place = Place::Closed;
                    return Ok(Some((Unit::RootEnd, None)));
                }
                if !self.find_unit(input)? {
                    self.rest();
                    return Ok(None);
                }
            }
            let Some((unit, text)) = self.unit(input)? else { return Ok(None) };
            match unit {
                Unit::Declaration | Unit::Unknown => self.place = Place::Prolog,
                Unit::Root => {
                    self.place = Place::Content;
                    self.enter(text);
                }
                Unit::RootEnd => self.place = Place::Closed,
                Unit::Element => self.place = Place::Content,
            }
            if unit != Unit::Declaration {
                return Ok(Some((unit, text)));
            }
        }
    }

    /// Nothing is under way: gives back what memory there is.
    fn rest(&mut self) {
        if let Some(work) = self.work.take() {
            work.give_back();
        }
    }

    /// Passes over what may stand between units. Whether one begins, with `<`.
    fn find_unit(&mut self, input: &mut &[u8]) -> Result<bool, ScanError> {
        while let Place::Start(seen) = self.place {
            let Some((&byte, rest)) = input.split_first() else { return Ok(false) };
            match (seen, byte) {
                // RFC 6120 §11.6 would have it as a character; nobody who sends it means that.
                (0, 0xef) | (1, 0xbb) | (2, 0xbf) => {
                    self.place = Place::Start(seen.saturating_add(1));
                    *input = rest;
                }
                (0, 0 | 0xfe | 0xff) => return Err(ScanError::UnsupportedEncoding),
                (0 | 3, b'<') => break,
                (0 | 3, _) => self.place = Place::Prolog,
                _ => return Err(ScanError::NotWellFormed),
            }
        }
        while let Some((&byte, rest)) = input.split_first() {
            if byte == b'<' && self.place != Place::Closed {
                return Ok(true);
            }
            if class(byte) & SPACE == 0 {
                return Err(match self.place {
                    Place::Content => ScanError::Text,
                    _ => ScanError::NotWellFormed,
                });
            }
            *input = rest;
        }
        Ok(false)
    }

    /// Reads on in the unit that begins here or is under way.
    fn unit<'i>(
        &mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<(Unit, Option<&'i str>)>, ScanError> {
        let site = Site {
            limits: &self.limits,
            context: &self.context,
            at_start: matches!(self.place, Place::Start(_)),
            rooted: self.rooted,
            in_root: self.place == Place::Content,
        };
        let work = self.work.get_or_insert_with(Work::take);
        if work.held() == 0
            && let Some(text) = work.begin(input, site)?
        {
            return Ok(Some((work.unit(), Some(text))));
        }
        Ok(work.go_on(input, site)?.then(|| (work.unit(), None)))
    }

    /// The root has begun: keeps what it binds.
    fn enter(&mut self, text: Option<&str>) {
        let Some(work) = &mut self.work else { return };
        let text = text.unwrap_or(work.text());
        let frame = Frame::within(text, work.index(), Outer { default: "", bindings: &[] });
        let mut context = Context::default();
        let mut bindings = Vec::new();
        for declared in frame.declares() {
            match declared.prefix {
                None => context.default = declared.ns().into(),
                Some(prefix) => {
                    bindings.push(Binding { prefix: prefix.into(), uri: declared.ns().into() });
                }
            }
        }
        context.root = work.index().qualified_name(text).into();
        context.bindings = bindings.into();
        self.context = context.shared();
        if work.index().is_empty_tag() {
            self.place = Place::Emptied;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        element_bytes_max: 10_000,
        depth_max: 64,
        attributes_max: 64,
        namespaces_max: 32,
        elements_max: 1_000,
    };

    /// All that the bytes come to when they arrive in pieces of this size.
    fn events(mut scanner: Scanner, bytes: &[u8], piece: usize) -> Vec<String> {
        let mut told = Vec::new();
        for mut part in bytes.chunks(piece) {
            loop {
                match scanner.next(&mut part) {
                    Ok(None) => break,
                    Ok(Some(Event::Close)) => told.push("close".to_owned()),
                    Ok(Some(Event::Open(frame))) => told.push(show("open", &frame)),
                    Ok(Some(Event::Element(frame))) => told.push(show("element", &frame)),
                    Err(error) => {
                        told.push(format!("{error:?}"));
                        return told;
                    }
                }
            }
            assert!(part.is_empty());
        }
        told
    }

    fn show(what: &str, frame: &Frame<'_>) -> String {
        let mut out = format!("{what} {}", frame.text);
        for child in frame.children() {
            out.push_str(&format!(" | {}@{} {:?}", child.name, child.ns, child.range));
        }
        out
    }

    const HEADER: &str = "<?xml version='1.0'?><stream:stream to='a.lit' xmlns='jabber:client' \
                          xmlns:stream='http://etherx.jabber.org/streams'>";

    fn stream(text: &str) -> Vec<String> {
        let all = format!("{HEADER}{text}");
        let whole = events(Scanner::stream(LIMITS), all.as_bytes(), usize::MAX);
        for piece in [1, 2, 3, 7, 64] {
            assert_eq!(whole, events(Scanner::stream(LIMITS), all.as_bytes(), piece));
        }
        whole.into_iter().skip(1).collect()
    }

    #[test]
    fn first_level_elements_are_told_one_by_one() {
        assert_eq!(
            stream(" <iq id='1'><a xmlns='x'/></iq>\n<message>hi</message></stream:stream> "),
            [
                "element <iq id='1'><a xmlns='x'/></iq> | a@x 11..25",
                "element <message>hi</message>",
                "close"
            ]
        );
    }

    #[test]
    fn restricted_xml_is_refused() {
        for bad in
            ["<!-- x -->", "<a><!-- x --></a>", "<?pi x?>", "<a><?pi x?></a>", "<!DOCTYPE a>"]
        {
            assert_eq!(stream(bad), ["Restricted"], "{bad}");
        }
        assert_eq!(stream("<a>&foo;</a>"), ["Restricted"]);
    }
}
