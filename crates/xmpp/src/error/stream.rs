//! A stream cannot go on: what the other party is told before the close (RFC 6120 §4.9).

use std::borrow::Cow;
use std::fmt;

use super::application::Application;
use super::condition::StreamCondition;

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
