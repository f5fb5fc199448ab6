//! A stanza cannot be served: what its sender is told (RFC 6120 §8.3).

use std::borrow::Cow;
use std::fmt;

use verona_xml::{Element, Writer};

use super::application::Application;
use super::condition::{Condition, ErrorType};
use crate::jid::{Jid, JidError};
use crate::ns;

/// The answer to a stanza that cannot be served; the stream lives on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StanzaError {
    /// What is wrong.
    pub condition: Condition,
    /// What the sender can do about it.
    pub kind: ErrorType,
    detail: Option<Box<Detail>>,
}

/// What few errors carry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Detail {
    /// Words for whoever looks for the cause.
    pub text: Option<Cow<'static, str>>,
    /// The language of the words; ours are English, which is also the default.
    pub lang: Option<Box<str>>,
    /// The condition that an extension defines.
    pub application: Option<Application>,
    /// Who found the error, where it is not the addressee.
    pub by: Option<Jid>,
    /// Where the recipient is now, for `gone` and `redirect`.
    pub uri: Option<Box<str>>,
}

/// The detail of an error without detail.
static NONE: Detail = Detail { text: None, lang: None, application: None, by: None, uri: None };

impl StanzaError {
    /// An error with the type that goes with its condition.
    pub const fn new(condition: Condition) -> Self {
        Self { condition, kind: condition.default_type(), detail: None }
    }

    /// Sets another type than the usual one.
    #[must_use]
    pub const fn with_type(mut self, kind: ErrorType) -> Self {
        self.kind = kind;
        self
    }

    /// Says in English what is wrong.
    #[must_use]
    pub fn text(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.rare().text = Some(text.into());
        self
    }

    /// Adds an empty element of an extension.
    #[must_use]
    pub fn application(mut self, name: &'static str, ns: &'static str) -> Self {
        self.rare().application = Some(Application::new(name, ns));
        self
    }

    /// Adds an element of an extension that has attributes or content.
    #[must_use]
    pub fn element(mut self, application: Application) -> Self {
        self.rare().application = Some(application);
        self
    }

    /// Says who found the error.
    #[must_use]
    pub fn by(mut self, by: Jid) -> Self {
        self.rare().by = Some(by);
        self
    }

    /// Says where the recipient is now (RFC 6120 §8.3.3.5, §8.3.3.14).
    #[must_use]
    pub fn uri(mut self, uri: impl Into<Box<str>>) -> Self {
        self.rare().uri = Some(uri.into());
        self
    }

    /// What the error carries beside condition and type.
    pub fn detail(&self) -> &Detail {
        self.detail.as_deref().unwrap_or(&NONE)
    }

    /// Writes `<error/>` in the namespace of the stanza around it (RFC 6120 §8.3.2).
    pub fn write(&self, writer: &mut Writer) {
        let detail = self.detail();
        let content = writer.default_ns().to_owned();
        writer.start("error", &content).attr("type", self.kind.name());
        if let Some(by) = &detail.by {
            writer.attr("by", by.as_str());
        }
        writer.start(self.condition.name(), ns::STANZA_ERRORS);
        if let Some(uri) = &detail.uri {
            writer.text(uri);
        }
        writer.end();
        if let Some(text) = &detail.text {
            let lang = detail.lang.as_deref().unwrap_or("en");
            writer.start("text", ns::STANZA_ERRORS).attr("xml:lang", lang).text(text).end();
        }
        if let Some(application) = &detail.application {
            application.write(writer);
        }
        writer.end();
    }

    /// Reads an `<error/>` that somebody else wrote.
    ///
    /// RFC 6120 §8.3.2: a condition that we do not know is `undefined-condition`. A missing or
    /// unknown type is the one that goes with the condition.
    pub fn read(error: Element<'_>) -> Self {
        let defined =
            |child: &Element<'_>| child.ns() == ns::STANZA_ERRORS && child.name() != "text";
        let element = error.children().find(defined);
        let condition = element
            .and_then(|element| Condition::from_name(element.name()))
            .unwrap_or(Condition::UndefinedCondition);
        let mut read = Self::new(condition);
        read.kind = error.attr("type").and_then(ErrorType::from_name).unwrap_or(read.kind);
        let uri = element.map(|element| element.text().trim().to_owned()).unwrap_or_default();
        if !uri.is_empty() {
            read.rare().uri = Some(uri.into());
        }
        if let Some(by) = error.attr("by").and_then(|by| Jid::parse(by).ok()) {
            read.rare().by = Some(by);
        }
        if let Some(text) = error.child("text", ns::STANZA_ERRORS) {
            read.rare().text = Some(text.text().into_owned().into());
            read.rare().lang = text.lang().map(Box::from);
        }
        if let Some(application) = Application::find(error, ns::STANZA_ERRORS) {
            read.rare().application = Some(application);
        }
        read
    }

    fn rare(&mut self) -> &mut Detail {
        self.detail.get_or_insert_default()
    }
}

impl From<Condition> for StanzaError {
    fn from(condition: Condition) -> Self {
        Self::new(condition)
    }
}

/// RFC 7622 §4: what is not an address is answered with `jid-malformed`.
impl From<JidError> for StanzaError {
    fn from(error: JidError) -> Self {
        Self::new(Condition::JidMalformed).text(error.to_string())
    }
}

impl fmt::Display for StanzaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.condition.name(), self.kind.name())?;
        match &self.detail().text {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for StanzaError {}

#[cfg(test)]
mod tests {
    use verona_xml::Tree;

    use super::*;
    use crate::testing::{LIMITS, Noise};

    fn written(error: &StanzaError) -> String {
        let mut writer = Writer::new(ns::CLIENT);
        error.write(&mut writer);
        writer.finish()
    }

    fn read(text: &str) -> StanzaError {
        StanzaError::read(Tree::parse(text, ns::CLIENT, LIMITS).unwrap().root())
    }

    #[test]
    fn plain_error_is_its_condition_with_the_usual_type() {
        assert_eq!(
            written(&Condition::ServiceUnavailable.into()),
            "<error type='cancel'><service-unavailable \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        );
    }

    #[test]
    fn every_error_comes_back_as_it_was_written() {
        for condition in Condition::all() {
            let plain = StanzaError::new(condition);
            assert_eq!(read(&written(&plain)), plain);
            let mut full = StanzaError::new(condition)
                .with_type(ErrorType::Continue)
                .text("a < b & 'c'")
                .uri("xmpp:romeo@afterlife.example.net?a&b")
                .by(Jid::parse("example.net").unwrap())
                .application("stanza-too-big", ns::APPLICATION_ERRORS);
            full.rare().lang = Some("en".into());
            assert_eq!(read(&written(&full)), full);
        }
    }

    #[test]
    fn element_of_an_extension_is_kept_whole() {
        let text = "<error type='modify'>\
            <policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
            <retry xmlns='urn:xmpp:http:upload:0' stamp='2017-12-03T23:42:05Z'><x/></retry></error>";
        let error = read(text);
        let application = error.detail().application.as_ref().unwrap();
        assert!(application.is("retry", "urn:xmpp:http:upload:0"));
        assert_eq!(read(&written(&error)), error);
        assert_eq!(written(&error), text);
    }

    #[test]
    fn error_of_others_is_read_as_well_as_it_can_be() {
        let unknown =
            read("<error type='later'><new xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>");
        assert_eq!(unknown, Condition::UndefinedCondition.into());
        assert_eq!(read("<error/>"), Condition::UndefinedCondition.into());
        let gone = read(
            "<error type='cancel' by='@'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>
                xmpp:romeo@afterlife.example.net
             </gone></error>",
        );
        assert_eq!(gone, StanzaError::new(Condition::Gone).uri("xmpp:romeo@afterlife.example.net"));
    }

    #[test]
    fn error_is_small_and_names_its_cause() {
        assert!(size_of::<StanzaError>() <= 16);
        let error = StanzaError::from(Jid::parse("a b@c").unwrap_err());
        assert_eq!(error.to_string(), "jid-malformed (modify): localpart may not hold U+0020 here");
    }

    #[test]
    fn no_element_makes_the_reader_panic() {
        let mut noise = Noise::new(4);
        let seed = "<error type='wait' by='a@b'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>\
            xmpp:a</gone><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='de'>t</text>\
            <x xmlns='y' a='b'>z</x></error>";
        for _ in 0..5_000 {
            let text = noise.mutated(seed);
            let Ok(tree) = Tree::parse(&text, ns::CLIENT, LIMITS) else { continue };
            let error = StanzaError::read(tree.root());
            assert_eq!(read(&written(&error)).condition, error.condition, "{text}");
        }
    }
}
