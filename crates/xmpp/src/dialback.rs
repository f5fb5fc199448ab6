//! Server dialback: the keys (XEP-0185) and the elements (XEP-0220). No I/O; who may say what on
//! which stream is for the server to judge.

use std::fmt;

use subtle::ConstantTimeEq;
use verona_xml::{Element, Writer, escape_attr, escape_text};

use crate::error::{ErrorType, StanzaError, StreamCondition, StreamError};
use crate::jid::Jid;
use crate::ns;
use crate::sasl::hash::Hash;

/// Bytes of a stream id or key that another server chose: ids in use have up to 64, keys as many.
const TOKEN_BYTES_MAX: usize = 512;

/// What makes the keys of a server, and checks them. It never leaves it.
pub struct Secret {
    /// The hash of the secret, in the letters that XEP-0185 §2 asks for.
    key: String,
}

impl Secret {
    /// A secret made of some random bytes.
    pub fn new(secret: &[u8]) -> Self {
        Self { key: hex(Hash::Sha256.digest(secret).as_ref()) }
    }

    /// XEP-0185 §2: the key with which `originating` proves itself to `receiving` on the stream to
    /// which the receiving server gave this id. The spaces keep apart what would else be ambiguous.
    pub fn key(&self, receiving: &Jid, originating: &Jid, stream: &str) -> String {
        let parts = [receiving.as_str(), " ", originating.as_str(), " ", stream];
        let parts = parts.map(str::as_bytes);
        hex(Hash::Sha256.hmac(self.key.as_bytes(), &parts).as_ref())
    }

    /// Whether a key is the one for these domains and this stream.
    pub fn fits(&self, key: &str, receiving: &Jid, originating: &Jid, stream: &str) -> bool {
        let right = self.key(receiving, originating, stream);
        right.as_bytes().ct_eq(key.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// An element of dialback.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dialback {
    /// `result`, between initiating and receiving server, or `verify`, between the receiving and
    /// the authoritative one.
    pub kind: Kind,
    /// Who says it.
    pub from: Jid,
    /// To whom.
    pub to: Jid,
    /// What is said.
    pub says: Says,
}

/// Which element it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `<db:result/>` (XEP-0220 §2.1.1).
    Result,
    /// `<db:verify/>` (XEP-0220 §2.1.2), with the id of the stream that the key is for.
    Verify(Box<str>),
}

/// What an element of dialback says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Says {
    /// A key, to be judged.
    Key(Box<str>),
    /// It is right.
    Valid,
    /// It is wrong.
    Invalid,
    /// It could not be judged, and the stream goes on (§2.5).
    Error(Fault),
}

/// Why a key could not be judged: the conditions of XEP-0220 §2.5.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The name of the condition.
    pub condition: Box<str>,
    /// Words for whoever looks for the cause.
    pub text: Option<Box<str>>,
}

impl Fault {
    /// A condition of the table, which has a type there or in RFC 6120 §8.3.3.
    pub fn new(condition: &str) -> Self {
        Self { condition: condition.into(), text: None }
    }

    /// Says in English what is wrong.
    #[must_use]
    pub fn text(mut self, text: impl Into<Box<str>>) -> Self {
        self.text = Some(text.into());
        self
    }

    fn kind(&self) -> ErrorType {
        match &*self.condition {
            "remote-server-timeout" | "remote-connection-failed" | "resource-constraint" => {
                ErrorType::Wait
            }
            "not-authorized" | "forbidden" => ErrorType::Auth,
            "policy-violation" | "not-acceptable" => ErrorType::Modify,
            _ => ErrorType::Cancel,
        }
    }

    fn read(error: Option<Element<'_>>) -> Self {
        let defined =
            |child: &Element<'_>| child.ns() == ns::STANZA_ERRORS && child.name() != "text";
        let condition = error.and_then(|error| error.children().find(defined));
        let text = error.and_then(|error| StanzaError::read(error).detail().text.clone());
        Self {
            condition: condition.map_or("undefined-condition", |one| one.name()).into(),
            text: text.map(|text| text.as_ref().into()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.condition)?;
        self.text.as_ref().map_or(Ok(()), |text| write!(f, ": {text}"))
    }
}

impl Dialback {
    /// Reads an element of the namespace. Addresses that are missing, or are no domains, end the
    /// stream with `improper-addressing`; what else has no sense ends it with `bad-format`.
    pub fn read(element: Element<'_>) -> Result<Self, StreamError> {
        let bad = |text: &'static str| StreamError::new(StreamCondition::BadFormat).text(text);
        let kind = match element.name() {
            "result" => Kind::Result,
            "verify" => {
                let id = element.attr("id").filter(|id| is_token(id));
                Kind::Verify(id.ok_or_else(|| bad("a verification needs a stream id"))?.into())
            }
            _ => return Err(StreamCondition::UnsupportedStanzaType.into()),
        };
        let (from, to) = (domain(element, "from")?, domain(element, "to")?);
        let says = match element.attr("type") {
            // compat(servers that wrap the key as in the examples): whitespace around it.
            None => match element.text().trim_ascii() {
                key if is_token(key) => Says::Key(key.into()),
                _ => return Err(bad("no dialback key")),
            },
            Some("valid") => Says::Valid,
            Some("invalid") => Says::Invalid,
            Some("error") => {
                let mut children = element.children();
                Says::Error(Fault::read(children.find(|child| child.name() == "error")))
            }
            Some(_) => return Err(bad("no such type of dialback")),
        };
        Ok(Self { kind, from, to, says })
    }

    /// The answer to it: the addresses are swapped, the id stays (§2.2.2).
    pub fn answer(&self, says: Says) -> Self {
        Self { kind: self.kind.clone(), from: self.to.clone(), to: self.from.clone(), says }
    }

    /// The element as it goes over a stream whose header binds the prefix `db`: §2 asks for the
    /// prefix, and some know no other (§2.4.1).
    pub fn to_xml(&self) -> String {
        let name: &[u8] = match self.kind {
            Kind::Result => b"db:result",
            Kind::Verify(_) => b"db:verify",
        };
        let mut out = [b"<", name].concat();
        let mut attribute = |name: &str, value: &str| {
            out.extend_from_slice(name.as_bytes());
            escape_attr(value, &mut out);
            out.push(b'\'');
        };
        attribute(" from='", self.from.as_str());
        attribute(" to='", self.to.as_str());
        if let Kind::Verify(id) = &self.kind {
            attribute(" id='", id);
        }
        match &self.says {
            Says::Key(_) => {}
            Says::Valid => attribute(" type='", "valid"),
            Says::Invalid => attribute(" type='", "invalid"),
            Says::Error(_) => attribute(" type='", "error"),
        }
        match &self.says {
            Says::Valid | Says::Invalid => out.extend_from_slice(b"/>"),
            Says::Key(key) => {
                out.push(b'>');
                escape_text(key, &mut out);
                out.extend([b"</", name, b">"].concat());
            }
            Says::Error(fault) => {
                out.push(b'>');
                out.extend_from_slice(error(fault).as_bytes());
                out.extend([b"</", name, b">"].concat());
            }
        }
        // Made of text alone.
        String::from_utf8(out).unwrap_or_default()
    }
}

/// §2.5: the error is in the content namespace of the stream.
fn error(fault: &Fault) -> String {
    let mut writer = Writer::new(ns::SERVER);
    writer.start("error", ns::SERVER).attr("type", fault.kind().name());
    writer.empty(&fault.condition, ns::STANZA_ERRORS);
    if let Some(text) = &fault.text {
        writer.start("text", ns::STANZA_ERRORS).attr("xml:lang", "en").text(text).end();
    }
    writer.end();
    writer.finish()
}

fn domain(element: Element<'_>, name: &str) -> Result<Jid, StreamError> {
    let jid = element.attr(name).and_then(|text| Jid::parse(text).ok());
    jid.filter(Jid::is_domain).ok_or_else(|| {
        let text = format!("'{name}' is not a domain");
        StreamError::new(StreamCondition::ImproperAddressing).text(text)
    })
}

/// Whether a text can be a stream id or a key: neither has spaces, so that they cannot be made to
/// look like another part of what is hashed.
pub fn is_token(text: &str) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&text.len())
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use verona_xml::Tree;

    use super::*;
    use crate::testing::{LIMITS, Noise};

    fn jid(text: &str) -> Jid {
        Jid::parse(text).unwrap()
    }

    fn read(text: &str) -> Result<Dialback, StreamError> {
        let within = text.replacen(' ', " xmlns:db='jabber:server:dialback' ", 1);
        Dialback::read(Tree::parse(&within, ns::SERVER, LIMITS).unwrap().root())
    }

    fn fault(text: &str) -> Option<StreamCondition> {
        read(text).err().map(|error| error.condition)
    }

    #[test]
    fn key_is_that_of_the_examples() {
        let secret = Secret::new(b"s3cr3tf0rd14lb4ck");
        let key = secret.key(&jid("xmpp.example.com"), &jid("example.org"), "D60000229F");
        assert_eq!(key, "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643");
        let key = secret.key(&jid("montague.example"), &jid("capulet.example"), "D60000229F");
        assert_eq!(key, "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3");
    }

    #[test]
    fn key_fits_its_own_pair_and_stream_only() {
        let secret = Secret::new(b"d14lb4ck43v3r");
        let (receiving, originating) = (jid("capulet.example"), jid("montague.example"));
        let key = secret.key(&receiving, &originating, "417GAF25");
        assert!(secret.fits(&key, &receiving, &originating, "417GAF25"));
        assert!(!secret.fits(&key, &originating, &receiving, "417GAF25"), "swapped");
        assert!(!secret.fits(&key, &receiving, &originating, "417GAF26"), "of another stream");
        assert!(!secret.fits(&key, &receiving, &jid("x.montague.example"), "417GAF25"));
        assert!(!secret.fits(&key.to_uppercase(), &receiving, &originating, "417GAF25"));
        assert!(!secret.fits(&key[1..], &receiving, &originating, "417GAF25"));
        assert!(!secret.fits("", &receiving, &originating, "417GAF25"));
        let other = Secret::new(b"another");
        assert!(!other.fits(&key, &receiving, &originating, "417GAF25"));
        assert_eq!(format!("{other:?}"), "Secret");
    }

    #[test]
    fn domains_cannot_be_shifted_within_what_is_hashed() {
        let secret = Secret::new(b"secret");
        let key = secret.key(&jid("a.example"), &jid("b.example"), "c d");
        assert_ne!(key, secret.key(&jid("a.example"), &jid("b.examplec"), "d"));
        assert_eq!(
            fault("<db:verify from='a.example' to='b.example' id='c d'>key</db:verify>"),
            Some(StreamCondition::BadFormat)
        );
    }

    #[test]
    fn every_element_comes_back_as_it_was_written() {
        let fault = Fault::new("item-not-found").text("a < b & 'c'");
        let all = [Says::Key("b4835385".into()), Says::Valid, Says::Invalid, Says::Error(fault)];
        for says in all {
            for kind in [Kind::Result, Kind::Verify("417'<GAF&25".into())] {
                let (from, to) = (jid("capulet.example"), jid("montague.example"));
                let element = Dialback { kind, from, to, says: says.clone() };
                assert_eq!(read(&element.to_xml()).as_ref(), Ok(&element), "{}", element.to_xml());
                let answer = element.answer(Says::Valid);
                assert_eq!((&answer.from, &answer.to), (&element.to, &element.from));
                assert_eq!(answer.kind, element.kind);
            }
        }
    }

    #[test]
    fn element_is_written_with_the_prefix_and_errors_in_the_content_namespace() {
        let (from, to) = (jid("montague.example"), jid("capulet.example"));
        let says = Says::Error(Fault::new("item-not-found"));
        let element = Dialback { kind: Kind::Result, from, to, says };
        assert_eq!(
            element.to_xml(),
            "<db:result from='montague.example' to='capulet.example' type='error'>\
             <error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             </error></db:result>"
        );
    }

    #[test]
    fn key_may_stand_in_whitespace() {
        let read = read("<db:result from='a.example' to='b.example'>\n  b483\n</db:result>");
        assert_eq!(read.unwrap().says, Says::Key("b483".into()));
    }

    #[test]
    fn what_has_no_sense_is_refused_by_its_name() {
        use StreamCondition as C;
        for (text, condition) in [
            ("<db:result from='a.example'>k</db:result>", C::ImproperAddressing),
            ("<db:result to='a.example'>k</db:result>", C::ImproperAddressing),
            ("<db:result from='a@a.example' to='b.example'>k</db:result>", C::ImproperAddressing),
            ("<db:result from='a.example/x' to='b.example'>k</db:result>", C::ImproperAddressing),
            ("<db:result from='' to='b.example'>k</db:result>", C::ImproperAddressing),
            ("<db:result from='a.example' to='b.example'/>", C::BadFormat),
            ("<db:result from='a.example' to='b.example'>a b</db:result>", C::BadFormat),
            ("<db:result from='a.example' to='b.example' type='maybe'/>", C::BadFormat),
            ("<db:verify from='a.example' to='b.example'>k</db:verify>", C::BadFormat),
            ("<db:verify from='a.example' to='b.example' id=''>k</db:verify>", C::BadFormat),
            ("<db:other from='a.example' to='b.example'>k</db:other>", C::UnsupportedStanzaType),
        ] {
            assert_eq!(fault(text), Some(condition), "{text}");
        }
        let long = "k".repeat(TOKEN_BYTES_MAX + 1);
        let text = format!("<db:result from='a.example' to='b.example'>{long}</db:result>");
        assert_eq!(fault(&text), Some(C::BadFormat));
    }

    #[test]
    fn no_element_makes_the_reader_panic() {
        let mut noise = Noise::new(7);
        let seed = "<r xmlns='jabber:server:dialback' from='a.example' to='b.example' id='i' \
                    type='error'><error type='cancel'><x \
                    xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></r>";
        for name in ["result", "verify"] {
            let seed = seed.replacen('r', name, 1).replace("</r>", &format!("</{name}>"));
            for _ in 0..2_000 {
                let text = noise.mutated(&seed);
                let Ok(tree) = Tree::parse(&text, ns::SERVER, LIMITS) else { continue };
                let _ = Dialback::read(tree.root()).map(|read| read.to_xml());
            }
        }
    }
}
