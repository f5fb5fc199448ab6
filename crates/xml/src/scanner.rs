//! Bytes as they arrive, to elements.

use std::cell::Cell;
use std::sync::Arc;

use crate::chars::{SPACE, class, prove, prove_part};
use crate::error::ScanError;
use crate::frame::Frame;
use crate::index::Index;
use crate::limits::Limits;
use crate::machine::{Fault, Machine, check_declaration};
use crate::scope::{Binding, Context, Outer};

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

/// What is read as a whole.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Unit {
    /// Not enough was seen to tell.
    #[default]
    Unknown,
    Declaration,
    Root,
    Element,
    RootEnd,
}

/// The state of the unit that is under way, and the index of the one that was read last.
#[derive(Debug, Default)]
struct Work {
    unit: Unit,
    machine: Machine,
    index: Index,
    /// The bytes so far of a unit that was cut.
    held: Vec<u8>,
    /// How many of them are proven to be characters.
    proven: usize,
    /// The whole of a unit that had been cut.
    text: String,
}

thread_local! {
    /// One that is not in use, so that an element costs no allocation.
    static SPARE: Cell<Option<Box<Work>>> = const { Cell::new(None) };
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
        self.work.as_ref().map_or(0, |work| work.held.len())
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
        let text = text.unwrap_or(&work.text);
        Ok(Some(match unit {
            Unit::Root => {
                let outer = Outer { default: "", bindings: &[] };
                Event::Open(Frame::within(text, &work.index, outer))
            }
            Unit::Element => Event::Element(Frame::within(text, &work.index, self.context.outer())),
            _ => Event::Close,
        }))
    }

    /// Reads to the end of a unit that is an event. Its text is given if it lies in the input.
    fn advance<'i>(
        &mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<(Unit, Option<&'i str>)>, ScanError> {
        loop {
            let under_way = self.work.as_ref().is_some_and(|work| !work.held.is_empty());
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
        const SPARE_BYTES_MAX: usize = 64 * 1024;
        if let Some(mut work) = self.work.take() {
            work.clear();
            if work.heap_bytes() <= SPARE_BYTES_MAX {
                SPARE.set(Some(work));
            }
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
        let max = self.limits.bytes();
        let reader = Reader {
            limits: &self.limits,
            context: &self.context,
            place: self.place,
            rooted: self.rooted,
        };
        let work = self.work.get_or_insert_with(|| SPARE.take().unwrap_or_default());
        if work.held.is_empty() {
            work.clear();
            let whole = *input;
            let seen = whole.get(..max).unwrap_or(whole);
            match reader.read(work, seen) {
                Ok(Some(end)) => {
                    let (unit, rest) = whole.split_at_checked(end).unwrap_or((whole, &[]));
                    let text = prove(unit)?;
                    *input = rest;
                    return Ok(Some((work.unit, Some(text))));
                }
                Ok(None) => {
                    work.proven = prove_part(seen)?;
                    work.held.extend_from_slice(seen);
                    *input = whole.get(seen.len()..).unwrap_or_default();
                }
                Err(fault) => return Err(told(seen, fault)),
            }
        }
        // More and more at a time, so that a short rest is not paid with a long copy.
        let mut step = 256usize;
        while !input.is_empty() {
            let room = max.saturating_sub(work.held.len());
            if room == 0 {
                return Err(ScanError::TooLarge);
            }
            let before = work.held.len();
            let more = input.get(..step.min(room)).unwrap_or(input);
            work.held.extend_from_slice(more);
            let unproven = work.held.get(work.proven..).unwrap_or_default();
            match reader.read_held(&mut work.machine, &mut work.index, &mut work.unit, &work.held) {
                Ok(Some(end)) => {
                    *input = input.get(end.saturating_sub(before)..).unwrap_or_default();
                    work.held.truncate(end);
                    let unproven = work.held.get(work.proven..).unwrap_or_default();
                    prove(unproven)?;
                    work.finish()?;
                    return Ok(Some((work.unit, None)));
                }
                Ok(None) => {
                    work.proven = work.proven.saturating_add(prove_part(unproven)?);
                    *input = input.get(more.len()..).unwrap_or_default();
                    step = step.saturating_mul(2);
                }
                Err(fault) => {
                    let at = fault.at.saturating_sub(work.proven);
                    return Err(told(unproven, Fault { at, ..fault }));
                }
            }
        }
        Ok(None)
    }

    /// The root has begun: keeps what it binds.
    fn enter(&mut self, text: Option<&str>) {
        let Some(work) = &mut self.work else { return };
        let text = text.unwrap_or(&work.text);
        let frame = Frame::within(text, &work.index, Outer { default: "", bindings: &[] });
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
        context.root = work.index.qualified_name(text).into();
        context.bindings = bindings.into();
        self.context = context.shared();
        if work.index.is_empty_tag() {
            self.place = Place::Emptied;
        }
    }
}

/// The earlier error counts: bytes before a fault may be no characters.
fn told(bytes: &[u8], fault: Fault) -> ScanError {
    let before = bytes.get(..fault.at).unwrap_or(bytes);
    prove_part(before).err().unwrap_or(fault.error)
}

impl Work {
    fn clear(&mut self) {
        if self.text.capacity() > 0 {
            self.held = std::mem::take(&mut self.text).into_bytes();
        }
        self.held.clear();
        self.proven = 0;
        self.unit = Unit::Unknown;
        self.machine.clear();
        self.index.clear();
    }

    fn heap_bytes(&self) -> usize {
        let parts = [self.held.capacity(), self.machine.heap_bytes(), self.index.heap_bytes()];
        parts.iter().sum()
    }

    /// The unit that was cut is complete.
    fn finish(&mut self) -> Result<(), ScanError> {
        let text = String::from_utf8(std::mem::take(&mut self.held));
        self.text = text.map_err(|_| ScanError::NotUtf8)?;
        Ok(())
    }
}

/// What reading a unit depends on.
struct Reader<'a> {
    limits: &'a Limits,
    context: &'a Context,
    place: Place,
    rooted: bool,
}

impl Reader<'_> {
    fn read(&self, work: &mut Work, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        self.read_held(&mut work.machine, &mut work.index, &mut work.unit, bytes)
    }

    fn read_held(
        &self,
        machine: &mut Machine,
        index: &mut Index,
        unit: &mut Unit,
        bytes: &[u8],
    ) -> Result<Option<usize>, Fault> {
        if *unit == Unit::Unknown {
            *unit = self.unit(bytes)?;
        }
        let end = match *unit {
            Unit::Unknown => None,
            Unit::Element => machine.element(bytes, self.limits, self.context.outer(), index)?,
            Unit::Root => machine.root(bytes, self.limits, index)?,
            Unit::RootEnd => machine.end_of(bytes, self.context.root.as_bytes())?,
            Unit::Declaration => {
                let end = machine.end_of_declaration(bytes);
                if let Some(end) = end {
                    check_declaration(bytes.get(..end).unwrap_or_default())
                        .map_err(|error| Fault { error, at: end })?;
                }
                end
            }
        };
        if end.is_some() {
            index.kept = machine.take_kept();
        }
        Ok(end)
    }

    /// What begins here; two bytes tell.
    fn unit(&self, bytes: &[u8]) -> Result<Unit, Fault> {
        let at_start = matches!(self.place, Place::Start(_));
        let before_root = self.rooted && self.place != Place::Content;
        match bytes.get(1) {
            None => Ok(Unit::Unknown),
            Some(b'?') if at_start => Ok(Unit::Declaration),
            // `<` in UTF-16, the little end first.
            Some(0) if at_start => Err(Fault { error: ScanError::UnsupportedEncoding, at: 0 }),
            // RFC 6120 §11.1: no processing instructions and no DTD.
            Some(b'?' | b'!') if before_root => Err(Fault { error: ScanError::Restricted, at: 2 }),
            Some(b'/') if self.rooted && !before_root => Ok(Unit::RootEnd),
            Some(_) if before_root => Ok(Unit::Root),
            Some(_) => Ok(Unit::Element),
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
