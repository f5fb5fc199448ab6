//! The application-specific condition that an error may carry beside the defined one.

use std::borrow::Cow;

/// An element in a namespace of an extension that tells more than the condition (RFC 6120
/// §4.9.4, §8.3.4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Application {
    /// The local name of the element.
    pub name: Cow<'static, str>,
    /// Its namespace.
    pub ns: Cow<'static, str>,
    /// The element as self-contained XML when it is more than an empty element.
    pub element: Option<Box<str>>,
}

impl Application {
    /// An empty element.
    pub fn new(name: &'static str, ns: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), ns: Cow::Borrowed(ns), element: None }
    }

    /// Says whether it is this element.
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.name == name && self.ns == ns
    }
}
