//! The application-specific condition that an error may carry beside the defined one.

use std::borrow::Cow;

use verona_xml::{Element, Writer};

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

    /// An element with attributes or content, as self-contained XML that presumes no namespace.
    pub fn element(name: &'static str, ns: &'static str, xml: impl Into<Box<str>>) -> Self {
        Self { element: Some(xml.into()), ..Self::new(name, ns) }
    }

    /// The first child of an error that is in another namespace than the defined conditions.
    pub(super) fn find(error: Element<'_>, defined: &str) -> Option<Self> {
        let foreign = |child: &Element<'_>| child.ns() != defined && !child.ns().is_empty();
        let child = error.children().find(foreign)?;
        let bare = child.attrs().next().is_none() && child.nodes().next().is_none();
        Some(Self {
            name: Cow::Owned(child.name().to_owned()),
            ns: Cow::Owned(child.ns().to_owned()),
            element: (!bare).then(|| child.to_text("").into()),
        })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        match &self.element {
            Some(xml) => writer.raw_element(xml, ""),
            None => writer.empty(&self.name, &self.ns),
        };
    }
}
