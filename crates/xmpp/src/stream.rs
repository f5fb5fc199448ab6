//! Stream headers: what the other party says when it opens a stream, and what we say (RFC 6120
//! §4.7, §4.8; over WebSocket RFC 7395 §3.4).

use std::fmt::Write as _;

use verona_xml::{Frame, escape_attr};

use crate::error::{StreamCondition, StreamError};
use crate::jid::Jid;
use crate::ns;

/// What ends a stream over TCP (RFC 6120 §4.4).
pub const CLOSE: &str = "</stream:stream>";

/// What ends a stream over WebSocket (RFC 7395 §3.6).
pub const FRAMED_CLOSE: &str = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";

/// Bytes of a language tag at most; RFC 5646 needs about 35 for the longest that is sensible.
const LANG_BYTES_MAX: usize = 64;

/// Who speaks over a stream, as its content namespace tells (RFC 6120 §4.8.3, XEP-0114 §3).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Content {
    /// A client and its server.
    Client,
    /// Two servers.
    Server,
    /// A component that connects to its server.
    Component,
    /// A component that its server connects to.
    ComponentConnect,
}

impl Content {
    /// The namespace.
    pub const fn ns(self) -> &'static str {
        match self {
            Self::Client => ns::CLIENT,
            Self::Server => ns::SERVER,
            Self::Component => ns::COMPONENT,
            Self::ComponentConnect => ns::COMPONENT_CONNECT,
        }
    }
}

/// A version of XMPP (RFC 6120 §4.7.5); a higher one is greater.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Version {
    /// What changes when older entities can no longer take part.
    pub major: u16,
    /// What changes else.
    pub minor: u16,
}

impl Version {
    /// What a header without version means: no features, no SASL.
    pub const OLD: Self = Self { major: 0, minor: 9 };
    /// What we speak.
    pub const CURRENT: Self = Self { major: 1, minor: 0 };

    /// RFC 6120 §4.7.5: two numbers, leading zeros ignored. A number beyond 16 bits is as high
    /// as any.
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: number(major)?, minor: number(minor)? })
    }
}

fn number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u16::MAX))
}

/// What a stream header says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// The domain that the stream is for.
    pub to: Option<Jid>,
    /// Who opens it: a bare JID or a domain, not verified.
    pub from: Option<Jid>,
    /// The stream id; it means something only in an answer (RFC 6120 §4.7.3).
    pub id: Option<Box<str>>,
    /// The language of all text that names no other.
    pub lang: Option<Box<str>>,
    /// The version; [`Version::OLD`] if none was given.
    pub version: Version,
    /// Says whether the namespace of server dialback is declared, by which servers before RFC
    /// 6120 tell that they know it (XEP-0220 §2.4.1).
    pub dialback: bool,
}

impl Header {
    /// Reads the start tag of a stream that somebody opens towards us; it must have this content
    /// namespace.
    pub fn read(frame: &Frame<'_>, content: Content) -> Result<Self, StreamError> {
        Self::read_answer(frame, content)?.checked(content)
    }

    /// Reads the start tag that answers ours.
    ///
    /// Namespaces of extensions that the header declares are let pass, although RFC 6120 §4.8.5
    /// suggests an error: clients declare them, and no stanza leaves this server that needs them.
    pub fn read_answer(frame: &Frame<'_>, content: Content) -> Result<Self, StreamError> {
        check_name(frame)?;
        let mut dialback = false;
        for declaration in frame.declares() {
            let ns = declaration.ns();
            match declaration.prefix {
                Some(_) => dialback |= ns == ns::DIALBACK,
                // RFC 6120 §4.8.2: without a content namespace each child names its own.
                None if ns == ns::STREAMS || ns.is_empty() => {}
                None if ns == content.ns() => {}
                None => return Err(StreamCondition::InvalidNamespace.into()),
            }
        }
        Ok(Self { dialback, ..Self::attributes(frame)? })
    }

    /// Reads the `<open/>` of a stream that a client opens over WebSocket (RFC 7395 §3.4).
    pub fn read_framed(frame: &Frame<'_>) -> Result<Self, StreamError> {
        Self::read_framed_answer(frame)?.checked(Content::Client)
    }

    /// Reads the `<open/>` that answers ours.
    pub fn read_framed_answer(frame: &Frame<'_>) -> Result<Self, StreamError> {
        // RFC 7395 §3.3.2.
        if frame.ns() != ns::FRAMING {
            return Err(StreamCondition::InvalidNamespace.into());
        }
        if frame.name() != "open" {
            return Err(StreamCondition::BadFormat.into());
        }
        Self::attributes(frame)
    }

    /// RFC 6120 §4.7.1 and §4.7.2: a stream is for a domain, and a server speaks as a domain.
    fn checked(self, content: Content) -> Result<Self, StreamError> {
        if self.to.as_ref().is_some_and(|to| !to.is_domain()) {
            return Err(improper("'to' is not a domain"));
        }
        let from = self.from.as_ref().filter(|_| content == Content::Server);
        if from.is_some_and(|from| !from.is_domain()) {
            return Err(improper("'from' is not a domain"));
        }
        Ok(self)
    }

    fn attributes(frame: &Frame<'_>) -> Result<Self, StreamError> {
        let version = match frame.attr("version") {
            None => Version::OLD,
            Some(text) => Version::parse(&text).ok_or(StreamCondition::UnsupportedVersion)?,
        };
        Ok(Self {
            to: address(frame, "to")?,
            // RFC 6120 §4.7.1 knows no full JID here; who sends one means the bare JID. An empty one
            // is none, as in the answer of who does not serve the domain (§4.9.1.3).
            from: match frame.attr("from").is_some_and(|from| from.is_empty()) {
                true => None,
                false => address(frame, "from")?.map(|from| from.bare()),
            },
            id: frame.attr("id").map(|id| id.as_ref().into()),
            lang: frame.lang().filter(|lang| is_language(lang)).map(|lang| lang.as_ref().into()),
            version,
            dialback: false,
        })
    }
}

/// RFC 6120 §4.8.1 and §4.8.5: the name, its namespace and its prefix.
fn check_name(frame: &Frame<'_>) -> Result<(), StreamError> {
    if frame.ns() != ns::STREAMS {
        return Err(StreamCondition::InvalidNamespace.into());
    }
    if frame.name() != "stream" {
        return Err(StreamCondition::BadFormat.into());
    }
    // We write `stream:error` and `stream:features`; who binds another prefix looks for that one.
    match frame.prefix() {
        None | Some("" | "stream") => Ok(()),
        Some(_) => Err(StreamCondition::BadNamespacePrefix.into()),
    }
}

/// RFC 6120 §4.9.3.7 speaks of stanzas, and fits an address in the header that is none.
fn address(frame: &Frame<'_>, name: &str) -> Result<Option<Jid>, StreamError> {
    let read = |text: &str| {
        Jid::parse(text).map_err(|error| improper(format!("'{name}' is no address: its {error}")))
    };
    frame.attr(name).map(|text| read(&text)).transpose()
}

fn improper(text: impl Into<std::borrow::Cow<'static, str>>) -> StreamError {
    StreamError::new(StreamCondition::ImproperAddressing).text(text)
}

/// The letters of a language tag (RFC 6120 §4.7.4); others we do not pass on.
fn is_language(tag: &str) -> bool {
    (1..=LANG_BYTES_MAX).contains(&tag.len())
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// What we say to open a stream or to answer an opening.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opening<'a> {
    /// The content namespace.
    pub content: Content,
    /// Our domain; None when the other party has named none of ours.
    pub from: Option<&'a Jid>,
    /// The other party.
    pub to: Option<&'a Jid>,
    /// The stream id, in an answer.
    pub id: Option<&'a str>,
    /// The version; none towards who gave none.
    pub version: Option<Version>,
    /// Says whether to declare the namespace of server dialback.
    pub dialback: bool,
}

impl<'a> Opening<'a> {
    /// The answer to a header, or to one that could not be read, with a new stream id.
    pub fn answer(
        header: Option<&'a Header>,
        content: Content,
        from: &'a Jid,
        id: &'a str,
    ) -> Self {
        let theirs = header.map_or(Version::CURRENT, |header| header.version);
        Self {
            content,
            from: Some(from),
            // RFC 6120 §4.7.2: as they said, and nothing if they said nothing.
            to: header.and_then(|header| header.from.as_ref()),
            id: Some(id),
            // RFC 6120 §4.7.5: the lower of both, and nothing to who gave none.
            version: (theirs != Version::OLD).then(|| theirs.min(Version::CURRENT)),
            dialback: content == Content::Server,
        }
    }

    /// Appends the start tag of a stream over TCP.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<?xml version='1.0'?><stream:stream xmlns='");
        out.extend_from_slice(self.content.ns().as_bytes());
        out.extend_from_slice(b"' xmlns:stream='http://etherx.jabber.org/streams'");
        if self.dialback {
            out.extend_from_slice(b" xmlns:db='jabber:server:dialback'");
        }
        self.attributes(out);
        out.push(b'>');
    }

    /// Appends the `<open/>` of a stream over WebSocket (RFC 7395 §3.4).
    pub fn write_framed(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'");
        self.attributes(out);
        out.extend_from_slice(b"/>");
    }

    fn attributes(&self, out: &mut Vec<u8>) {
        let mut attribute = |name: &str, value: Option<&str>| {
            let Some(value) = value else { return };
            out.push(b' ');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"='");
            escape_attr(value, out);
            out.push(b'\'');
        };
        // RFC 6120 §4.9.1.3: in an answer it is empty while nobody has named a domain of ours.
        attribute("from", self.from.map(Jid::as_str).or(self.id.map(|_| "")));
        attribute("to", self.to.map(Jid::as_str));
        attribute("id", self.id);
        let mut version = String::new();
        if let Some(Version { major, minor }) = self.version {
            // Writing to a string cannot fail.
            let _ = write!(version, "{major}.{minor}");
            attribute("version", Some(&version));
        }
        // RFC 6120 §4.7.4: our texts are English, whatever was asked for.
        attribute("xml:lang", Some("en"));
    }
}

#[cfg(test)]
mod tests {
    use verona_xml::{Event, Scanner};

    use super::*;
    use crate::testing::{LIMITS, Noise};

    type Reader = fn(&Frame<'_>, Content) -> Result<Header, StreamError>;

    fn scan(text: &str, content: Content, reader: Reader) -> Result<Header, StreamError> {
        let mut scanner = Scanner::stream(LIMITS);
        match scanner.next(&mut text.as_bytes()) {
            Ok(Some(Event::Open(frame))) => reader(&frame, content),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn read(text: &str, content: Content) -> Result<Header, StreamError> {
        scan(text, content, Header::read)
    }

    fn read_answer(out: Vec<u8>) -> Result<Header, StreamError> {
        scan(&String::from_utf8(out).unwrap(), Content::Client, Header::read_answer)
    }

    fn read_framed(text: &str) -> Result<Header, StreamError> {
        let mut scanner = Scanner::elements(LIMITS, "");
        match scanner.next(&mut text.as_bytes()) {
            Ok(Some(Event::Element(frame))) => Header::read_framed(&frame),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn fault(text: &str) -> Option<StreamCondition> {
        read(text, Content::Client).err().map(|error| error.condition)
    }

    fn jid(text: &str) -> Jid {
        Jid::parse(text).unwrap()
    }

    #[test]
    fn header_of_a_client_is_read() {
        let header = read(
            "<?xml version='1.0'?><stream:stream from='Juliet@im.example.com/balcony' \
             to='im.example.com' version='1.0' xml:lang='de-CH' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
            Content::Client,
        );
        let expected = Header {
            to: Some(jid("im.example.com")),
            from: Some(jid("juliet@im.example.com")),
            id: None,
            lang: Some("de-CH".into()),
            version: Version::CURRENT,
            dialback: false,
        };
        assert_eq!(header, Ok(expected));
    }

    #[test]
    fn both_styles_of_namespaces_are_understood() {
        for text in [
            "<stream xmlns='http://etherx.jabber.org/streams' version='1.0'>",
            "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>",
            "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' version='1.0' \
             xmlns='jabber:client' xmlns:x='urn:example'>",
        ] {
            assert_eq!(fault(text), None, "{text}");
        }
    }

    #[test]
    fn wrong_header_is_refused_by_its_name() {
        use StreamCondition as C;
        let streams = "xmlns:stream='http://etherx.jabber.org/streams'";
        for (text, condition) in [
            ("<stream:stream xmlns:stream='urn:wrong'>".to_owned(), C::InvalidNamespace),
            ("<stream>".to_owned(), C::InvalidNamespace),
            (format!("<stream:stream xmlns='jabber:server' {streams}>"), C::InvalidNamespace),
            (format!("<stream:stream xmlns='urn:x' {streams}>"), C::InvalidNamespace),
            (format!("<stream:streams {streams}>"), C::BadFormat),
            (
                "<foobar:stream xmlns:foobar='http://etherx.jabber.org/streams'>".to_owned(),
                C::BadNamespacePrefix,
            ),
            (format!("<stream:stream {streams} version='one'>"), C::UnsupportedVersion),
            (format!("<stream:stream {streams} version='1'>"), C::UnsupportedVersion),
            (format!("<stream:stream {streams} to=''>"), C::ImproperAddressing),
            (format!("<stream:stream {streams} to='a@b'>"), C::ImproperAddressing),
            (format!("<stream:stream {streams} to='b/c'>"), C::ImproperAddressing),
            (format!("<stream:stream {streams} to='b' from='@'>"), C::ImproperAddressing),
        ] {
            assert_eq!(fault(&text), Some(condition), "{text}");
        }
        let text = format!("<stream:stream {streams} from='a@b' to='c'>");
        assert!(read(&text, Content::Client).is_ok());
        let error = read(&text, Content::Server).unwrap_err();
        assert_eq!(error.condition, C::ImproperAddressing);
    }

    #[test]
    fn who_does_not_serve_the_domain_answers_without_a_name() {
        let answer = Opening {
            content: Content::Client,
            from: None,
            to: None,
            id: Some("1"),
            version: Some(Version::CURRENT),
            dialback: false,
        };
        let mut out = Vec::new();
        answer.write(&mut out);
        assert!(String::from_utf8_lossy(&out).contains(" from='' id='1'"));
        assert_eq!(read_answer(out).map(|header| header.from), Ok(None));
    }

    #[test]
    fn versions_are_compared_by_number() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("2.4") < version("2.13") && version("2.13") < version("12.3"));
        assert_eq!(version("01.00"), Version::CURRENT);
        assert!(version("99999.1") > Version::CURRENT);
        for text in ["", ".", "1.", ".0", "1.0.0", "+1.0", "1,0", " 1.0"] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn answer_carries_what_the_other_party_may_expect() {
        let us = jid("im.example.com");
        let answer = |header: &str, content| {
            let header = read(header, content).unwrap();
            let mut out = Vec::new();
            Opening::answer(Some(&header), content, &us, "a'b").write(&mut out);
            String::from_utf8(out).unwrap()
        };
        let streams = "xmlns:stream='http://etherx.jabber.org/streams'";
        assert_eq!(
            answer(&format!("<stream:stream {streams} from='a@b' version='2.0'>"), Content::Client),
            format!(
                "<?xml version='1.0'?><stream:stream xmlns='jabber:client' {streams} \
                 from='im.example.com' to='a@b' id='a&apos;b' version='1.0' xml:lang='en'>"
            )
        );
        // RFC 6120 §4.7.5 and §4.7.2: no version and no address to who gave none.
        assert_eq!(
            answer(&format!("<stream:stream {streams} xmlns='jabber:server'>"), Content::Server),
            format!(
                "<?xml version='1.0'?><stream:stream xmlns='jabber:server' {streams} \
                 xmlns:db='jabber:server:dialback' from='im.example.com' id='a&apos;b' \
                 xml:lang='en'>"
            )
        );
    }

    #[test]
    fn header_that_was_not_understood_is_answered_too() {
        let us = jid("im.example.com");
        let mut out = Vec::new();
        Opening::answer(None, Content::Client, &us, "1").write(&mut out);
        let header = read_answer(out).unwrap();
        assert_eq!((header.from, header.to, header.id), (Some(us), None, Some("1".into())));
        assert_eq!(header.version, Version::CURRENT);
    }

    #[test]
    fn framed_stream_is_opened_by_its_own_element() {
        let open =
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.com' version='1.0'/>";
        let header = read_framed(open).unwrap();
        assert_eq!((&header.to, header.version), (&Some(jid("example.com")), Version::CURRENT));
        let condition = |text| read_framed(text).err().map(|error| error.condition);
        assert_eq!(condition("<open/>"), Some(StreamCondition::InvalidNamespace));
        assert_eq!(
            condition("<opened xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"),
            Some(StreamCondition::BadFormat)
        );
        let (us, mut out) = (jid("example.com"), Vec::new());
        Opening::answer(Some(&header), Content::Client, &us, "1").write_framed(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='example.com' id='1' \
             version='1.0' xml:lang='en'/>"
        );
    }

    #[test]
    fn language_that_is_none_is_not_kept() {
        let streams = "xmlns:stream='http://etherx.jabber.org/streams'";
        for (tag, kept) in [("en", true), ("", false), ("en us", false), ("e&lt;", false)] {
            let header =
                read(&format!("<stream:stream {streams} xml:lang='{tag}'>"), Content::Client);
            assert_eq!(header.unwrap().lang.is_some(), kept, "{tag}");
        }
    }

    #[test]
    fn no_header_makes_the_reader_panic() {
        let mut noise = Noise::new(6);
        let seed = "<stream:stream from='a@b' to='b' id='1' version='1.0' xml:lang='en' \
            xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
        let mut understood = 0;
        for _ in 0..10_000 {
            let text = noise.mutated(seed);
            let mut scanner = Scanner::stream(LIMITS);
            if let Ok(Some(Event::Open(frame))) = scanner.next(&mut text.as_bytes()) {
                let Ok(header) = Header::read(&frame, Content::Client) else { continue };
                understood += 1;
                let (us, mut out) = (jid("b"), Vec::new());
                Opening::answer(Some(&header), Content::Client, &us, "1").write(&mut out);
                let answer = read_answer(out);
                assert_eq!(answer.map(|answer| answer.to), Ok(header.from), "{text}");
            }
        }
        assert!(understood > 100);
    }
}
