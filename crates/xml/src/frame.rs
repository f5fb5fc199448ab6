//! One element as it was received, and what its index tells.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::ScanError;
use crate::escape::attr_value;
use crate::index::{ChildAt, Index};
use crate::limits::Limits;
use crate::scope::{Binding, NS_XML, Namespace, Outer};
use crate::tag::{AttrAt, Name};
use crate::tree::Tree;

/// A frame is one element as it was received, with the index of it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The whole element; of a root only its start tag.
    pub text: &'a str,
    /// Where its parts stand.
    pub index: &'a Index,
    outer: Outer<'a>,
}

/// An attribute of a start tag.
#[derive(Clone, Copy, Debug)]
pub struct Attr<'a> {
    /// Its name without a prefix.
    pub name: &'a str,
    /// Its prefix, if it has one.
    pub prefix: Option<&'a str>,
    /// Its namespace; none, which is the empty string, without a prefix.
    pub ns: &'a str,
    /// Its value as written between the quotes.
    pub raw: &'a str,
    plain: bool,
}

/// A first-level child of an element.
#[derive(Clone, Debug)]
pub struct Child<'a> {
    /// Its name without a prefix.
    pub name: &'a str,
    /// Its namespace.
    pub ns: &'a str,
    /// Where it stands in the text of the element around it.
    pub range: Range<usize>,
    /// The child as it was received.
    pub text: &'a str,
    frame: Frame<'a>,
}

/// A declaration of a namespace.
#[derive(Clone, Copy, Debug)]
pub struct Declaration<'a> {
    /// The prefix it binds; none if it sets the default.
    pub prefix: Option<&'a str>,
    /// The namespace as written between the quotes.
    pub raw: &'a str,
    plain: bool,
}

impl<'a> Frame<'a> {
    /// Puts text and index together again which were kept apart, for an element that presumes
    /// nothing but the default namespace.
    pub fn new(text: &'a str, index: &'a Index, default_ns: &'a str) -> Self {
        Self::within(text, index, Outer { default: default_ns, bindings: &[], lang: "" })
    }

    pub(crate) fn within(text: &'a str, index: &'a Index, outer: Outer<'a>) -> Self {
        Self { text, index, outer }
    }

    /// The name without a prefix.
    pub fn name(&self) -> &'a str {
        local(self.text, self.index.name)
    }

    /// The prefix of the name, if it has one.
    pub fn prefix(&self) -> Option<&'a str> {
        prefix(self.text, self.index.name)
    }

    /// The namespace.
    pub fn ns(&self) -> &'a str {
        self.uri(self.index.namespace)
    }

    /// Whether this is the element of that name and namespace.
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.name() == name && self.ns() == ns
    }

    /// The value of an attribute without a namespace.
    pub fn attr(&self, name: &str) -> Option<Cow<'a, str>> {
        if name == "xmlns" {
            return None;
        }
        let attrs = &self.index.attrs;
        let found = attrs.iter().find(|a| {
            !a.name.is_prefixed() && a.name.local_in(self.text.as_bytes()) == name.as_bytes()
        })?;
        Some(value(str_at(self.text, found.value, found.value_end), found.plain))
    }

    /// The value of an attribute that has a namespace.
    pub fn attr_ns(&self, ns: &str, name: &str) -> Option<Cow<'a, str>> {
        self.attrs().find(|attr| attr.name == name && attr.ns == ns).map(|attr| attr.value())
    }

    /// The language the element declares for itself.
    pub fn lang(&self) -> Option<Cow<'a, str>> {
        self.attr_ns(NS_XML, "lang")
    }

    /// The language that the root declares for all that stands in it; empty, if it declares none.
    pub fn root_lang(&self) -> &'a str {
        self.outer.lang
    }

    /// All attributes as they stand, without declarations of namespaces.
    pub fn attrs(&self) -> impl Iterator<Item = Attr<'a>> {
        let frame = *self;
        let attrs = frame.index.attrs.iter();
        attrs.filter(move |a| !a.declares).map(move |a| frame.attribute(a))
    }

    /// The namespaces that the start tag declares.
    pub fn declares(&self) -> impl Iterator<Item = Declaration<'a>> {
        let frame = *self;
        let attrs = frame.index.attrs.iter();
        attrs.filter(move |a| a.declares).map(move |a| Declaration {
            prefix: a.name.is_prefixed().then(|| local(frame.text, a.name)),
            raw: str_at(frame.text, a.value, a.value_end),
            plain: a.plain,
        })
    }

    /// The elements directly inside.
    pub fn children(&self) -> impl Iterator<Item = Child<'a>> {
        let frame = *self;
        frame.index.children.iter().map(move |child| frame.child_at(child))
    }

    /// The first child of that name and namespace.
    pub fn child(&self, name: &str, ns: &str) -> Option<Child<'a>> {
        self.children().find(|child| child.name == name && child.ns == ns)
    }

    /// Whether the text alone, where `content_ns` is the default namespace, does not mean the same
    /// as where it was received: something in it uses a prefix of the root, or another default.
    pub fn needs_stream_bindings(&self, content_ns: &str) -> bool {
        self.index.uses_outer_prefix
            || (self.index.uses_outer_default && self.outer.default != content_ns)
    }

    /// The same element rewritten so that it presumes nothing but `content_ns` as the default.
    /// Prefixes are gone from it, but for those of attributes. `TooLarge`, when that would be many
    /// times as long: a prefix of one letter can stand for kilobytes.
    pub fn standalone(&self, content_ns: &str) -> Result<String, ScanError> {
        let tree = self.tree()?;
        let root = tree.root();
        match root.spelled_out() <= root.room() {
            true => Ok(root.to_text(content_ns)),
            false => Err(ScanError::TooLarge),
        }
    }

    /// The element read through. Text that was scanned gives no error.
    pub fn tree(&self) -> Result<Tree, ScanError> {
        Tree::parse_in(self.text, self.outer, Limits::NONE)
    }

    fn uri(&self, namespace: Namespace) -> &'a str {
        match namespace {
            Namespace::Outer(number) => self.outer.uri(number),
            Namespace::Text { start, end } => str_at(self.text, start, end),
            Namespace::Kept(n) => self.index.kept.get(n as usize).map_or("", |uri| uri),
            Namespace::Xml => NS_XML,
        }
    }

    fn attribute(&self, attr: &AttrAt) -> Attr<'a> {
        let prefix = prefix(self.text, attr.name);
        Attr {
            name: local(self.text, attr.name),
            prefix,
            ns: prefix.map_or("", |prefix| self.resolve(prefix)),
            raw: str_at(self.text, attr.value, attr.value_end),
            plain: attr.plain,
        }
    }

    /// The namespace of a prefix of the element or one of its attributes.
    fn resolve(&self, prefix: &str) -> &'a str {
        let attrs = self.index.attrs.iter().filter(|a| a.declares);
        let mut kept = self.index.kept.iter();
        for attr in attrs {
            // What is not plain was kept, in this order.
            let kept = if attr.plain { None } else { kept.next() };
            if attr.name.is_prefixed() && local(self.text, attr.name) == prefix {
                let written = str_at(self.text, attr.value, attr.value_end);
                return kept.map_or(written, |uri| uri);
            }
        }
        match self.outer.number_of(prefix.as_bytes()) {
            Some(number) => self.outer.uri(number),
            None => NS_XML,
        }
    }

    fn child_at(&self, child: &ChildAt) -> Child<'a> {
        Child {
            name: local(self.text, child.name),
            ns: self.uri(child.namespace),
            range: child.start as usize..child.end as usize,
            text: str_at(self.text, child.start, child.end),
            frame: *self,
        }
    }
}

impl<'a> Attr<'a> {
    /// The value as it means.
    pub fn value(&self) -> Cow<'a, str> {
        value(self.raw, self.plain)
    }
}

impl<'a> Declaration<'a> {
    /// The namespace as it means.
    pub fn ns(&self) -> Cow<'a, str> {
        value(self.raw, self.plain)
    }
}

impl Child<'_> {
    /// The child read through. Text that was scanned gives no error.
    pub fn tree(&self) -> Result<Tree, ScanError> {
        let mut default = Cow::Borrowed(self.frame.outer.default);
        let mut bindings = Vec::new();
        for declared in self.frame.declares() {
            match declared.prefix {
                None => default = declared.ns(),
                Some(prefix) => {
                    bindings.push(Binding { prefix: prefix.into(), uri: declared.ns().into() });
                }
            }
        }
        if bindings.is_empty() {
            let outer = Outer { default: &default, ..self.frame.outer };
            return Tree::parse_in(self.text, outer, Limits::NONE);
        }
        // The first one found counts, so the inner ones come first.
        bindings.extend_from_slice(self.frame.outer.bindings);
        let outer = Outer { default: &default, bindings: &bindings, ..self.frame.outer };
        Tree::parse_in(self.text, outer, Limits::NONE)
    }
}

fn str_at(text: &str, start: u32, end: u32) -> &str {
    text.get(start as usize..end as usize).unwrap_or_default()
}

fn local(text: &str, name: Name) -> &str {
    str_at(text, name.local, name.end)
}

fn prefix(text: &str, name: Name) -> Option<&str> {
    name.is_prefixed().then(|| str_at(text, name.start, name.local.saturating_sub(1)))
}

fn value(raw: &str, plain: bool) -> Cow<'_, str> {
    if plain { Cow::Borrowed(raw) } else { attr_value(raw) }
}
