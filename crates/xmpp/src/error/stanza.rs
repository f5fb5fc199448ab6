//! A stanza cannot be served: what its sender is told (RFC 6120 §8.3).

use std::borrow::Cow;
use std::fmt;

use super::application::Application;
use super::condition::{Condition, ErrorType};
use crate::jid::{Jid, JidError};

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
