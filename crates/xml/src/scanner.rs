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
                let outer = Outer { default: "", bindings: &[], lang: "" };
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
        let frame =
            Frame::within(text, work.index(), Outer { default: "", bindings: &[], lang: "" });
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
        context.lang = frame.lang().unwrap_or_default().into();
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

    fn document(bytes: &[u8]) -> Vec<String> {
        let whole = events(Scanner::stream(LIMITS), bytes, usize::MAX);
        for piece in [1, 2, 3] {
            assert_eq!(whole, events(Scanner::stream(LIMITS), bytes, piece));
        }
        whole
    }

    fn refused(error: ScanError, all: &[&str]) {
        for text in all {
            assert_eq!(stream(text), [format!("{error:?}")], "{text}");
        }
    }

    #[test]
    fn restricted_xml_is_refused() {
        // RFC 6120 §11.1.
        refused(
            ScanError::Restricted,
            &[
                "<!-- x -->",
                "<a><!-- x --></a>",
                "<?pi x?>",
                "<a><?pi x?></a>",
                "<?xml version='1.0'?>",
                "<!DOCTYPE a>",
                "<a><!ENTITY b 'c'></a>",
                "<a>&foo;</a>",
                "<a b='&nbsp;'/>",
                "<![cdata[x]]>",
            ],
        );
        for bad in ["<!DOCTYPE r><r>", " <?xml version='1.0'?><r>", "<?php ?><r>", "<?xml?><r>"] {
            assert_eq!(document(bad.as_bytes()), ["Restricted"], "{bad}");
        }
        assert_eq!(document(b"<!-- x --><r>"), ["Restricted"]);
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        refused(
            ScanError::NotWellFormed,
            &[
                "< a/>",
                "<1/>",
                "<a b/>",
                "<a b=c/>",
                "<a b='c'd='e'/>",
                "<a b='<'/>",
                "<a / >",
                "<a/ >",
                "<a =''/>",
                "<a b=''c/>",
                "<a b='' b=''/>",
                "<a xmlns='' xmlns=''/>",
                "<a></b>",
                "<a></a b=''>",
                "<a></ a>",
                "<a><b></a></b>",
                "<a></aa>",
                "<a></a:a>",
                "<a>&</a>",
                "<a>& b</a>",
                "<a>&#;</a>",
                "<a>&#x1;</a>",
                "<a>&#xFFFF;</a>",
                "<a b='&#0;'/>",
                "<a>]]></a>",
                "<a b='&amp'/>",
                "<a:b:c xmlns:a='u'/>",
                "<:a/>",
                "<a:/>",
                "<a xmlns:='u'/>",
                "<a\u{d7}/>",
                "<a><b</a>",
                "<a>\u{1}</a>",
                "<a b='\u{ffff}'/>",
                "</a>",
                "<a\u{a0}b=''/>",
                "<a p:b='' q:b='' xmlns:p='u' xmlns:q='&#117;'/>",
                "<\u{b7}a/>",
                "<a>&#65</a>",
            ],
        );
        for bad in ["x<r>", "GET / HTTP/1.1", "</r>", "\u{feff}x", "<r></s>", "\u{2028}<r>"] {
            let told = document(bad.as_bytes());
            assert_eq!(told.last().map(String::as_str), Some("NotWellFormed"), "{bad}");
        }
    }

    #[test]
    fn attributes_are_never_repeated_however_many() {
        for count in [1, 5, 16, 17, 60] {
            let names: Vec<_> = (0..count)
                .map(|n| ["a", "o", "_x", "wwwwww"][n % 4].repeat(n / 4 % 8 + 1) + &n.to_string())
                .collect();
            let attrs: String = names.iter().map(|name| format!(" {name}=''")).collect();
            assert!(stream(&format!("<a{attrs}/>"))[0].starts_with("element"));
            for name in names {
                refused(ScanError::NotWellFormed, &[&format!("<a{attrs} {name}='x'/>")]);
            }
        }
    }

    #[test]
    fn what_is_well_formed_is_accepted() {
        let fine = [
            "<a\n\tb\r=\n'c'  />",
            "<a b='>'></a\n>",
            "<a b='\"' c=\"'\"/>",
            "<a>]] > ]>]]&gt;</a>",
            "<a b=']]>'/>",
            "<a>&lt;&gt;&amp;&apos;&quot;&#65;&#x1F600;</a>",
            "<a b='\n\t\r'/>",
            "<a><![CDATA[<b>&foo;]]]]><![CDATA[>]]></a>",
            "<_/>",
            "<a.-1/>",
            "<\u{e9}\u{b7} \u{e9}=''/>",
            "<a>\u{7f}\u{85}\u{fffd}\u{10ffff}</a>",
            "<a>'\"></a>",
            "<a p:b='' q:b='' b='' xmlns:p='u' xmlns:q='v'/>",
            "<xml/>",
            "<xmlns/>",
            "<a xmlnsb=''/>",
            "<a xml:b='' xml:c=''/>",
            "<a b='&#10;'/>",
        ];
        for text in fine {
            let told = stream(text);
            assert_eq!(told.len(), 1, "{text}: {told:?}");
            assert!(told[0].starts_with(&format!("element {text}")), "{text}: {told:?}");
        }
    }

    #[test]
    fn prefixes_are_bound_and_reserved_ones_left_alone() {
        refused(
            ScanError::BadNamespace,
            &[
                "<p:a/>",
                "<a p:b=''/>",
                "<a><b xmlns:p='u'/><p:c/></a>",
                "<xmlns:a/>",
                "<a xmlns:p=''/>",
                "<a xmlns:xml='u'/>",
                "<a xmlns:xmlns='u'/>",
                "<a xmlns:p='http://www.w3.org/2000/xmlns/'/>",
                "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
                "<a xmlns='http://www.w3.org/XML/1998/namespace'/>",
                "<a xmlns:p='http://www.w3.org/XML/1998/n&#97;mespace'/>",
                "<a xmlns:xmlns=''/>",
            ],
        );
        for fine in [
            "<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
            "<p:a xmlns:p='u'><p:b/></p:a>",
            "<stream:a/>",
            "<a xmlns:p='u'><b xmlns:p='v' p:c=''/><p:d/></a>",
        ] {
            assert!(stream(fine)[0].starts_with("element"), "{fine}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        for bad in [&b"<a>\xff</a>"[..], b"<a b='\xc3'/>", b"<\xed\xa0\x80/>", b"<a>\xc0\x80</a>"] {
            let mut all = HEADER.as_bytes().to_vec();
            all.extend_from_slice(bad);
            assert_eq!(document(&all).get(1).map(String::as_str), Some("NotUtf8"), "{bad:?}");
        }
    }

    #[test]
    fn bad_bytes_are_told_before_their_element_ends() {
        for (bad, error) in
            [(&b"<a>\xff"[..], ScanError::NotUtf8), (b"<a\x01", ScanError::NotWellFormed)]
        {
            let mut scanner = Scanner::elements(LIMITS, "");
            assert_eq!(scanner.next(&mut &bad[..]).err(), Some(error));
        }
    }

    #[test]
    fn other_encodings_are_unsupported() {
        // RFC 6120 §11.6.
        let utf16: Vec<u16> = "<r>".encode_utf16().collect();
        let little: Vec<u8> = utf16.iter().flat_map(|u| u.to_le_bytes()).collect();
        let big: Vec<u8> = utf16.iter().flat_map(|u| u.to_be_bytes()).collect();
        let utf32 = b"<\0\0\0r\0\0\0";
        for bytes in [
            &little,
            &big,
            &[&b"\xff\xfe"[..], &little].concat(),
            &[&b"\xfe\xff"[..], &big].concat(),
            &utf32.to_vec(),
        ] {
            assert_eq!(document(bytes), ["UnsupportedEncoding"], "{bytes:?}");
        }
        for name in ["UTF-16", "ISO-8859-1", "utf8", ""] {
            let text = format!("<?xml version='1.0' encoding='{name}'?><r>");
            assert_eq!(document(text.as_bytes()), ["UnsupportedEncoding"], "{name}");
        }
    }

    #[test]
    fn an_xml_declaration_may_come_first() {
        for fine in [
            "<?xml version='1.0'?>",
            "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n",
            "<?xml\tversion = '1.1' encoding='utf-8' standalone='no'?>",
            "<?xml version='1.0' standalone='yes'?>",
            "\u{feff}<?xml version='1.0'?>",
            "\u{feff}",
            " \r\n\t",
        ] {
            let told = document(format!("{fine}<r></r>").as_bytes());
            assert_eq!(told, ["open <r>", "close"], "{fine}");
        }
        for bad in [
            "<?xml encoding='utf-8'?>",
            "<?xml version='2.0'?>",
            "<?xml version='1.'?>",
            "<?xml version='1.0' standalone='yes' encoding='utf-8'?>",
            "<?xml version='1.0' standalone='maybe'?>",
            "<?xml version='1.0' version='1.0'?>",
            "<?xml version='1.0'encoding='utf-8'?>",
            "<?xml version='1.0' other=''?>",
            "<?xml version='1.&#48;'?>",
            "<?xml version='1.0'/?>",
        ] {
            assert_eq!(document(format!("{bad}<r>").as_bytes()), ["NotWellFormed"], "{bad}");
        }
    }

    #[test]
    fn only_white_space_stands_between_stanzas() {
        // RFC 6120 §11.7.
        assert_eq!(stream(" \t\r\n<a/>\n\n<b/> "), ["element <a/>", "element <b/>"]);
        for text in ["x", "<a/>x", "&amp;", "\u{a0}", "<![CDATA[ ]]>", "\u{feff}"] {
            assert_eq!(stream(text).last().map(String::as_str), Some("Text"), "{text}");
        }
    }

    #[test]
    fn the_root_ends_with_its_own_name() {
        assert_eq!(stream("</stream:stream\n> \n"), ["close"]);
        for bad in ["</stream>", "</stream:stream/>", "</stream:streams>", "</ stream:stream>"] {
            assert_eq!(stream(bad), ["NotWellFormed"], "{bad}");
        }
        for after in ["<a/>", "x", "</stream:stream>"] {
            assert_eq!(stream(&format!("</stream:stream>{after}")), ["close", "NotWellFormed"]);
        }
        assert_eq!(document(b"<r xmlns='u'/> "), ["open <r xmlns='u'/>", "close"]);
    }

    #[test]
    fn limits_are_kept_to_the_last_one() {
        let limits = Limits {
            element_bytes_max: 40,
            depth_max: 3,
            attributes_max: 2,
            namespaces_max: 2,
            elements_max: 4,
        };
        let told = |text: &str| {
            let scanner = || Scanner::elements(limits, "");
            let whole = events(scanner(), text.as_bytes(), usize::MAX);
            assert_eq!(whole, events(scanner(), text.as_bytes(), 1));
            whole.last().cloned().unwrap_or_default()
        };
        let text = |n: usize| format!("<a>{}</a>", "t".repeat(n - 7));
        assert!(told(&text(40)).starts_with("element"));
        assert_eq!(told(&text(41)), "TooLarge");
        assert_eq!(told(&text(41)[..39]), "");
        let cases = [
            ("<a><b><c/></b></a>", ""),
            ("<a><b><c><d/></c></b></a>", "TooDeep"),
            ("<a b='' c=''/>", ""),
            ("<a b='' c='' d=''/>", "TooManyAttributes"),
            ("<a xmlns='u' xmlns:p='v' xmlns:q='w'/>", "TooManyAttributes"),
            ("<a xmlns:p='v'><b xmlns:q='w'/></a>", ""),
            ("<a xmlns:p='v'><b xmlns:p='w'/><c/></a>", ""),
            ("<a xmlns:p='v' xmlns:q='w'><b/></a>", ""),
            ("<a><b/><b/><b/></a>", ""),
            ("<a><b/><b/><b/><b/></a>", "TooManyElements"),
        ];
        for (text, error) in cases {
            let told = told(text);
            let fine = told.starts_with("element");
            assert_eq!(if fine { "" } else { told.as_str() }, error, "{text}");
        }
        let longer = Limits { element_bytes_max: 100, ..limits };
        let mut input = &b"<a xmlns:p='v' xmlns:q='w'><b xmlns:p='x'/></a>"[..];
        let mut scanner = Scanner::elements(longer, "");
        assert_eq!(scanner.next(&mut input).err(), Some(ScanError::TooManyNamespaces));
    }

    #[test]
    fn limits_count_anew_for_each_element() {
        let limits = Limits { element_bytes_max: 20, elements_max: 2, ..LIMITS };
        let text = "<a><b/></a>".repeat(50);
        assert_eq!(events(Scanner::elements(limits, ""), text.as_bytes(), 7).len(), 50);
    }

    #[test]
    fn limits_can_be_set_under_way() {
        let mut scanner = Scanner::elements(LIMITS, "");
        assert!(matches!(scanner.next(&mut &b"<a><b>"[..]), Ok(None)));
        scanner.set_limits(Limits { element_bytes_max: 8, ..LIMITS });
        assert_eq!(scanner.next(&mut &b"ttt</b></a>"[..]).err(), Some(ScanError::TooLarge));
    }

    #[test]
    fn whole_elements_are_borrowed_from_the_input() {
        let text = String::from("<a><b/></a><c/>");
        let mut input = text.as_bytes();
        let mut scanner = Scanner::elements(LIMITS, "");
        let Ok(Some(Event::Element(frame))) = scanner.next(&mut input) else { panic!() };
        assert!(std::ptr::eq(frame.text.as_ptr(), text.as_ptr()));
        assert_eq!(input, b"<c/>");
    }

    #[test]
    fn an_idle_scanner_holds_nothing() {
        assert!(size_of::<Scanner>() <= 64);
        let mut one = Scanner::stream(LIMITS);
        let mut other = Scanner::stream(LIMITS);
        for scanner in [&mut one, &mut other] {
            let header = HEADER.as_bytes();
            for mut part in header.chunks(10).chain([&b"<a><b/></a> <c"[..], b"/>", b" "]) {
                while let Ok(Some(_)) = scanner.next(&mut part) {}
            }
            assert_eq!(scanner.pending(), 0);
            assert!(scanner.work.is_none());
            assert_eq!(scanner.default_ns(), "jabber:client");
        }
        assert!(Arc::ptr_eq(&one.context, &other.context));
        let mut part = &b"<a>t"[..];
        assert!(matches!(one.next(&mut part), Ok(None)));
        assert_eq!(one.pending(), 4);
    }

    #[test]
    fn restart_forgets_everything() {
        let mut scanner = Scanner::stream(LIMITS);
        let mut input = HEADER.as_bytes();
        assert!(matches!(scanner.next(&mut input), Ok(Some(Event::Open(_)))));
        assert!(matches!(scanner.next(&mut &b"<stream:a><"[..]), Ok(None)));
        scanner.restart();
        assert_eq!((scanner.pending(), scanner.default_ns()), (0, ""));
        let mut input = &b"<?xml version='1.0'?><r><stream:a/>"[..];
        assert!(matches!(scanner.next(&mut input), Ok(Some(Event::Open(_)))));
        assert_eq!(scanner.next(&mut input).err(), Some(ScanError::BadNamespace));
        // Errors stay until then.
        assert_eq!(scanner.next(&mut &b"<a/>"[..]).err(), Some(ScanError::BadNamespace));
        scanner.restart();
        assert!(matches!(scanner.next(&mut &b"<r>"[..]), Ok(Some(Event::Open(_)))));
    }

    #[test]
    fn elements_can_come_without_a_root() {
        let scanner = || Scanner::elements(LIMITS, "u:d");
        let told = events(scanner(), b"<?xml version='1.0'?> <a><b/></a><c xmlns=''/>\n", 1);
        assert_eq!(told, ["element <a><b/></a> | b@u:d 3..7", "element <c xmlns=''/>"]);
        assert_eq!(events(scanner(), b"<a/></r>", 8), ["element <a/>", "NotWellFormed"]);
        let mut scanner = scanner();
        scanner.restart();
        assert_eq!(scanner.default_ns(), "u:d");
    }

    #[test]
    fn a_scanner_may_move_between_threads() {
        fn sent<T: Send>(_: &T) {}
        sent(&Scanner::stream(LIMITS));
    }
}
