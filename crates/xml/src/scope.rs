//! Which namespace a prefix means: inside an element, and outside of it.

use std::cell::RefCell;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::chars::is_char;
use crate::error::ScanError;
use crate::escape::attr_value;
use crate::tag::{AttrAt, Name, offset, part};

/// The namespace of the prefix `xml` (Namespaces in XML §3).
pub const NS_XML: &str = "http://www.w3.org/XML/1998/namespace";
/// The namespace of the prefix `xmlns`, which nothing may use.
const NS_XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// Where the name of a namespace is to be found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Namespace {
    /// Bound outside of the element: number 0 is the default, others count the prefixes.
    Outer(u16),
    /// A declaration inside the element, as it is written there.
    Text { start: u32, end: u32 },
    /// A declaration inside the element that is written with references.
    Kept(u32),
    /// That of the prefix `xml`.
    Xml,
}

impl Default for Namespace {
    fn default() -> Self {
        Self::Outer(0)
    }
}

/// A prefix and its namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Binding {
    pub prefix: Box<str>,
    pub uri: Box<str>,
}

/// What a root binds for all that stands in it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Context {
    pub root: Box<str>,
    pub default: Box<str>,
    pub bindings: Box<[Binding]>,
    /// Its `xml:lang`.
    pub lang: Box<str>,
}

/// What an element finds around it: the bindings and the language.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outer<'a> {
    pub default: &'a str,
    pub bindings: &'a [Binding],
    pub lang: &'a str,
}

impl Context {
    pub fn outer(&self) -> Outer<'_> {
        Outer { default: &self.default, bindings: &self.bindings, lang: &self.lang }
    }

    /// Ten thousand streams begin with the same header; they share one context. Only the last few
    /// short ones of each thread are remembered.
    pub fn shared(self) -> Arc<Self> {
        const REMEMBERED_MAX: usize = 8;
        const BYTES_MAX: usize = 512;
        thread_local! {
            static RECENT: RefCell<Vec<Arc<Context>>> = const { RefCell::new(Vec::new()) };
        }
        if self.bytes() > BYTES_MAX {
            return Arc::new(self);
        }
        RECENT.with_borrow_mut(|recent| {
            if let Some(known) = recent.iter().find(|known| ***known == self) {
                return Arc::clone(known);
            }
            if recent.len() >= REMEMBERED_MAX {
                recent.remove(0);
            }
            let new = Arc::new(self);
            recent.push(Arc::clone(&new));
            new
        })
    }

    fn bytes(&self) -> usize {
        let bindings = self.bindings.iter().map(|b| b.prefix.len() + b.uri.len() + 32);
        self.root.len() + self.default.len() + self.lang.len() + bindings.sum::<usize>()
    }
}

impl<'a> Outer<'a> {
    /// The namespace with that number.
    pub fn uri(self, number: u16) -> &'a str {
        match number.checked_sub(1) {
            None => self.default,
            Some(n) => self.bindings.get(usize::from(n)).map_or("", |b| &b.uri),
        }
    }

    pub fn number_of(self, prefix: &[u8]) -> Option<u16> {
        let n = self.bindings.iter().position(|b| b.prefix.as_bytes() == prefix)?;
        u16::try_from(n.checked_add(1)?).ok()
    }
}

/// The prefixes bound inside an element, outermost first.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    bound: Vec<(Name, Namespace)>,
    /// Namespaces that were written with references, as they mean.
    pub kept: Vec<Box<str>>,
}

impl Scopes {
    pub fn clear(&mut self) {
        self.bound.clear();
        self.kept.clear();
    }

    /// To be handed to `leave` at the end of the element which begins now.
    #[inline]
    pub fn mark(&self) -> usize {
        self.bound.len()
    }

    /// Forgets the prefixes that were bound since the mark.
    #[inline]
    pub fn leave(&mut self, mark: usize) {
        self.bound.truncate(mark);
    }

    pub fn bound(&self) -> &[(Name, Namespace)] {
        &self.bound
    }

    /// The prefix as seen from the innermost element.
    pub fn resolve(&self, prefix: &[u8], bytes: &[u8], outer: Outer<'_>) -> Option<Namespace> {
        let inner = self.bound.iter().rev().find(|(name, _)| name.local_in(bytes) == prefix);
        match inner {
            Some(&(_, namespace)) => Some(namespace),
            None if prefix == b"xml" => Some(Namespace::Xml),
            None => outer.number_of(prefix).map(Namespace::Outer),
        }
    }

    /// The name of a namespace.
    pub fn uri<'a>(&'a self, of: Namespace, bytes: &'a [u8], outer: Outer<'a>) -> &'a [u8] {
        match of {
            Namespace::Outer(number) => outer.uri(number).as_bytes(),
            Namespace::Text { start, end } => part(bytes, start, end),
            Namespace::Kept(n) => self.kept.get(n as usize).map_or(b"", |uri| uri.as_bytes()),
            Namespace::Xml => NS_XML.as_bytes(),
        }
    }

    /// Namespaces in XML §5, §6.3: prefixes of attributes are bound, and no two attributes have
    /// the same expanded name. Tells whether a prefix from outside is used.
    pub fn check_attributes(
        &self,
        attrs: &[AttrAt],
        bytes: &[u8],
        outer: Outer<'_>,
    ) -> Result<bool, ScanError> {
        let mut uses_outer_prefix = false;
        let mut names: SmallVec<[_; 4]> = SmallVec::new();
        for attr in attrs.iter().filter(|a| a.name.is_prefixed() && !a.declares) {
            let prefix = attr.name.prefix_in(bytes);
            let namespace = self.resolve(prefix, bytes, outer).ok_or(ScanError::BadNamespace)?;
            uses_outer_prefix |= matches!(namespace, Namespace::Outer(_));
            names.push((attr.name.local_in(bytes), self.uri(namespace, bytes, outer)));
        }
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(ScanError::NotWellFormed);
        }
        Ok(uses_outer_prefix)
    }

    /// Takes in a declaration; a default namespace is handed back.
    pub fn declare(&mut self, attr: &AttrAt, bytes: &[u8]) -> Result<Option<Namespace>, ScanError> {
        let namespace = self.declared(attr, bytes)?;
        let no_outer = Outer { default: "", bindings: &[], lang: "" };
        let uri = self.uri(namespace, bytes, no_outer);
        let is_xml = uri == NS_XML.as_bytes();
        let reserved = uri == NS_XMLNS.as_bytes();
        let is_default = !attr.name.is_prefixed();
        let prefix = attr.name.local_in(bytes);
        // Namespaces in XML §3: xml means its namespace and nothing else does, xmlns is never
        // declared and its namespace never bound. §6.1: a prefix cannot be unbound in XML 1.0.
        let fine = match prefix {
            _ if is_default => !is_xml && !reserved,
            b"xml" => is_xml,
            b"xmlns" => false,
            _ => !is_xml && !reserved && !uri.is_empty(),
        };
        if !fine {
            return Err(ScanError::BadNamespace);
        }
        if is_default {
            return Ok(Some(namespace));
        }
        self.bound.push((attr.name, namespace));
        Ok(None)
    }

    fn declared(&mut self, attr: &AttrAt, bytes: &[u8]) -> Result<Namespace, ScanError> {
        if attr.plain {
            return Ok(Namespace::Text { start: attr.value, end: attr.value_end });
        }
        let raw = part(bytes, attr.value, attr.value_end);
        let raw = std::str::from_utf8(raw).map_err(|_| ScanError::NotUtf8)?;
        if !raw.chars().all(is_char) {
            return Err(ScanError::NotWellFormed);
        }
        let number = offset(self.kept.len());
        self.kept.push(attr_value(raw).into());
        Ok(Namespace::Kept(number))
    }
}
