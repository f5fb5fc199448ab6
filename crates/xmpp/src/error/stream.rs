//! A stream cannot go on: what the other party is told before the close (RFC 6120 §4.9).

use std::borrow::Cow;
use std::fmt;

use verona_xml::{Element, Writer};

use super::application::Application;
use super::condition::StreamCondition;
use crate::ns;

/// The last words on a stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StreamError {
    /// What is wrong.
    pub condition: StreamCondition,
    detail: Option<Box<StreamDetail>>,
}

/// What few stream errors carry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StreamDetail {
    /// Words for whoever looks for the cause.
    pub text: Option<Cow<'static, str>>,
    /// The condition that an extension defines.
    pub application: Option<Application>,
    /// Where the service is, for `see-other-host`: a host or address, perhaps with a port.
    pub host: Option<Box<str>>,
}

/// The detail of an error without detail.
static NONE: StreamDetail = StreamDetail { text: None, application: None, host: None };

impl StreamError {
    /// An error that is no more than its condition.
    pub const fn new(condition: StreamCondition) -> Self {
        Self { condition, detail: None }
    }

    /// RFC 6120 §4.9.3.19: the service is at another host, with a port where it is not the usual
    /// one and an IPv6 address in brackets.
    pub fn see_other_host(host: impl Into<Box<str>>) -> Self {
        let mut error = Self::new(StreamCondition::SeeOtherHost);
        error.rare().host = Some(host.into());
        error
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

    /// What the error carries beside its condition.
    pub fn detail(&self) -> &StreamDetail {
        self.detail.as_deref().unwrap_or(&NONE)
    }

    /// The error as it goes over a stream whose header binds the prefix `stream` (RFC 6120 §4.9.2).
    pub fn to_xml(&self) -> String {
        // by hand: the prefix is bound by the stream header.
        format!("<stream:error>{}</stream:error>", self.content())
    }

    /// The error as it goes over WebSocket, where no header binds a prefix (RFC 7395 §3.3.3).
    pub fn to_framed_xml(&self) -> String {
        let streams = ns::STREAMS;
        // by hand: clients look for this prefix.
        format!("<stream:error xmlns:stream='{streams}'>{}</stream:error>", self.content())
    }

    /// The children, each of which names its namespace.
    fn content(&self) -> String {
        let detail = self.detail();
        let mut writer = Writer::new("");
        writer.start(self.condition.name(), ns::STREAM_ERRORS);
        if let Some(host) = &detail.host {
            writer.text(host);
        }
        writer.end();
        if let Some(text) = &detail.text {
            writer.start("text", ns::STREAM_ERRORS).attr("xml:lang", "en").text(text).end();
        }
        if let Some(application) = &detail.application {
            application.write(&mut writer);
        }
        writer.finish()
    }

    /// Reads a stream error that the other party wrote; a condition that we do not know is
    /// `undefined-condition`.
    pub fn read(error: Element<'_>) -> Self {
        let defined =
            |child: &Element<'_>| child.ns() == ns::STREAM_ERRORS && child.name() != "text";
        let element = error.children().find(defined);
        let condition = element
            .and_then(|element| StreamCondition::from_name(element.name()))
            .unwrap_or(StreamCondition::UndefinedCondition);
        let mut read = Self::new(condition);
        let host = element.map(|element| element.text().trim().to_owned()).unwrap_or_default();
        if !host.is_empty() {
            read.rare().host = Some(host.into());
        }
        if let Some(text) = error.child("text", ns::STREAM_ERRORS) {
            read.rare().text = Some(text.text().into_owned().into());
        }
        if let Some(application) = Application::find(error, ns::STREAM_ERRORS) {
            read.rare().application = Some(application);
        }
        read
    }

    fn rare(&mut self) -> &mut StreamDetail {
        self.detail.get_or_insert_default()
    }
}

impl From<StreamCondition> for StreamError {
    fn from(condition: StreamCondition) -> Self {
        Self::new(condition)
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.condition.name())?;
        match &self.detail().text {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for StreamError {}

#[cfg(test)]
mod tests {
    use verona_xml::Tree;

    use super::*;
    use crate::testing::{LIMITS, Noise};

    fn read(text: &str) -> StreamError {
        StreamError::read(Tree::parse(text, ns::CLIENT, LIMITS).unwrap().root())
    }

    #[test]
    fn plain_stream_error_is_its_condition() {
        assert_eq!(
            StreamError::from(StreamCondition::HostUnknown).to_xml(),
            "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             </stream:error>"
        );
    }

    #[test]
    fn every_stream_error_comes_back_as_it_was_written() {
        for condition in StreamCondition::all() {
            let plain = StreamError::new(condition);
            assert_eq!(read(&plain.to_framed_xml()), plain);
            let full = StreamError::new(condition)
                .text("a < b & c")
                .application("stanza-too-big", ns::APPLICATION_ERRORS);
            assert_eq!(read(&full.to_framed_xml()), full);
        }
        let moved = StreamError::see_other_host("[2001:db8::1]:5222");
        assert_eq!(read(&moved.to_framed_xml()), moved);
        assert!(size_of::<StreamError>() <= 16);
    }

    #[test]
    fn no_element_makes_the_reader_panic() {
        let mut noise = Noise::new(5);
        let seed =
            StreamError::see_other_host("a:1").text("b").application("c", "d").to_framed_xml();
        for _ in 0..3_000 {
            let text = noise.mutated(&seed);
            let Ok(tree) = Tree::parse(&text, ns::CLIENT, LIMITS) else { continue };
            let error = StreamError::read(tree.root());
            assert_eq!(read(&error.to_framed_xml()).condition, error.condition, "{text}");
        }
    }
}
