//! The answers of modules to requests.

use futures_util::future::BoxFuture;
use verona_xml::{Element, Writer};
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::ns;

/// The answer to a request: the payload of the result, or an error (RFC 6120 §8.2.3).
pub type IqResult = Result<Reply, StanzaError>;

/// The future of an answer.
pub type Answer = BoxFuture<'static, IqResult>;

/// The payload of an IQ result.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    payload: String,
    written: bool,
}

impl Reply {
    /// A result without payload.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A result with the element that `build` writes.
    pub fn with(build: impl FnOnce(&mut Writer)) -> Self {
        let mut writer = Writer::new(ns::CLIENT);
        build(&mut writer);
        Self::raw(writer.finish())
    }

    /// A result with XML that the server itself stored or wrote.
    pub fn raw(payload: impl Into<String>) -> Self {
        Self { payload: payload.into(), written: false }
    }

    /// No result: the module has written the answer itself, because it had to come before something
    /// else.
    pub fn written() -> Self {
        Self { written: true, ..Self::default() }
    }

    /// Whether the module has written the answer itself.
    pub fn is_written(&self) -> bool {
        self.written
    }

    /// The XML of the payload; empty for none.
    pub fn payload(&self) -> &str {
        &self.payload
    }
}

/// The one child element of a request that must have exactly one; else `bad-request`.
pub fn only_child<'a>(element: Element<'a>) -> Result<Element<'a>, StanzaError> {
    let mut children = element.children();
    match (children.next(), children.next()) {
        (Some(child), None) => Ok(child),
        _ => Err(StanzaError::new(Condition::BadRequest)),
    }
}
