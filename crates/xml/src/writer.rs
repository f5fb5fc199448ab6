//! The way out for XML: what is written here is well-formed and means what was given.

use std::borrow::Cow;

use crate::chars::is_name;
use crate::escape::{write_attr, write_text};
use crate::scope::NS_XML;

/// A writer builds text with elements in it, escapes what needs it, and declares namespaces where
/// they change. It never uses prefixes but for attributes that have a namespace.
#[derive(Clone, Debug)]
pub struct Writer {
    out: String,
    open: Vec<Open>,
    /// The default namespaces in force, one behind the other, innermost last.
    defaults: String,
    /// Where the one in force begins.
    default: usize,
    /// Whether the start tag written last still waits for its `>`.
    in_tag: bool,
    /// How many prefixes that tag has declared.
    prefixes: u32,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    /// Where its name stands in the text.
    name: (usize, usize),
    /// The default namespace around it.
    default: usize,
    defaults_len: usize,
}

impl Writer {
    /// Begins text which is to stand where `default_ns` is the default namespace.
    pub fn new(default_ns: &str) -> Self {
        Self::append_to(String::new(), default_ns)
    }

    /// Begins text behind what is in the buffer already.
    pub fn append_to(buffer: String, default_ns: &str) -> Self {
        Self {
            out: buffer,
            open: Vec::new(),
            defaults: default_ns.to_owned(),
            default: 0,
            in_tag: false,
            prefixes: 0,
        }
    }

    /// Opens an element.
    pub fn start(&mut self, name: &str, ns: &str) -> &mut Self {
        self.close_tag();
        let around = (self.default, self.defaults.len());
        self.out.push('<');
        let from = self.out.len();
        if ns == NS_XML {
            // Namespaces in XML §3: it cannot be the default.
            self.out.push_str("xml:");
        }
        self.out.push_str(&safe_name(name));
        let name = (from, self.out.len());
        if ns != NS_XML && ns != self.default_ns() {
            self.default = self.defaults.len();
            self.defaults.push_str(ns);
            self.value(" xmlns", ns);
        }
        self.open.push(Open { name, default: around.0, defaults_len: around.1 });
        self.in_tag = true;
        self.prefixes = 0;
        self
    }

    /// Writes an element that holds nothing.
    pub fn empty(&mut self, name: &str, ns: &str) -> &mut Self {
        self.start(name, ns).end()
    }

    /// Writes an attribute of the element which was opened last and has no content yet. The name
    /// may also be `xml:lang`; a namespace is not declared this way.
    pub fn attr(&mut self, name: &str, value: &str) -> &mut Self {
        debug_assert!(self.in_tag, "an attribute comes before the content");
        debug_assert!(name != "xmlns", "namespaces are given to `start`");
        if !self.in_tag || name == "xmlns" {
            return self;
        }
        self.out.push(' ');
        match name.strip_prefix("xml:") {
            Some(local) => {
                self.out.push_str("xml:");
                self.out.push_str(&safe_name(local));
            }
            None => self.out.push_str(&safe_name(name)),
        }
        self.value("", value);
        self
    }

    /// Writes an attribute that has a namespace of its own.
    pub fn attr_ns(&mut self, ns: &str, name: &str, value: &str) -> &mut Self {
        if ns.is_empty() {
            return self.attr(name, value);
        }
        debug_assert!(self.in_tag, "an attribute comes before the content");
        if !self.in_tag {
            return self;
        }
        let mut prefix = Cow::Borrowed("xml");
        if ns != NS_XML {
            prefix = Cow::Owned(format!("p{}", self.prefixes));
            self.prefixes = self.prefixes.saturating_add(1);
            self.out.push_str(" xmlns:");
            self.out.push_str(&prefix);
            self.value("", ns);
        }
        self.out.push(' ');
        self.out.push_str(&prefix);
        self.out.push(':');
        self.out.push_str(&safe_name(name));
        self.value("", value);
        self
    }

    /// Opens an element whose namespace is bound to a prefix by [`Writer::bind`], here or around.
    pub(crate) fn start_bound(&mut self, number: usize, name: &str) -> &mut Self {
        self.close_tag();
        let around = (self.default, self.defaults.len());
        self.out.push('<');
        let from = self.out.len();
        self.bound_name(number, name);
        let name = (from, self.out.len());
        self.open.push(Open { name, default: around.0, defaults_len: around.1 });
        self.in_tag = true;
        self.prefixes = 0;
        self
    }

    /// Binds a namespace to the prefix of this number, at the element which was opened last.
    pub(crate) fn bind(&mut self, number: usize, ns: &str) -> &mut Self {
        self.out.push_str(" xmlns:n");
        self.out.push_str(&number.to_string());
        self.value("", ns);
        self
    }

    /// Writes an attribute whose namespace is bound to a prefix.
    pub(crate) fn attr_bound(&mut self, number: usize, name: &str, value: &str) -> &mut Self {
        self.out.push(' ');
        self.bound_name(number, name);
        self.value("", value);
        self
    }

    fn bound_name(&mut self, number: usize, name: &str) {
        self.out.push('n');
        self.out.push_str(&number.to_string());
        self.out.push(':');
        self.out.push_str(&safe_name(name));
    }

    /// Writes text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        if !text.is_empty() {
            self.close_tag();
            let out = &mut self.out;
            write_text(text, |part| out.push_str(part));
        }
        self
    }

    /// Closes the innermost open element.
    pub fn end(&mut self) -> &mut Self {
        debug_assert!(!self.open.is_empty(), "each end has its start");
        let Some(open) = self.open.pop() else { return self };
        if self.in_tag {
            self.out.push_str("/>");
            self.in_tag = false;
        } else {
            self.out.push_str("</");
            self.out.extend_from_within(open.name.0..open.name.1);
            self.out.push('>');
        }
        self.default = open.default;
        self.defaults.truncate(open.defaults_len);
        self
    }

    /// Writes XML as it is. It must be well-formed, and presume only what is in force here.
    pub fn raw(&mut self, xml: &str) -> &mut Self {
        if !xml.is_empty() {
            self.close_tag();
            self.out.push_str(xml);
        }
        self
    }

    /// Writes one well-formed element as it is, but for a declaration of the default namespace
    /// which it presumes, where another is in force here.
    pub fn raw_element(&mut self, xml: &str, presumes: &str) -> &mut Self {
        let name_end = xml.find([' ', '\t', '\r', '\n', '/', '>']).unwrap_or(xml.len());
        let (name, rest) = xml.split_at_checked(name_end).unwrap_or((xml, ""));
        if presumes == self.default_ns() || declares_default(rest) {
            return self.raw(xml);
        }
        self.close_tag();
        self.out.push_str(name);
        self.value(" xmlns", presumes);
        self.out.push_str(rest);
        self
    }

    /// The default namespace that is in force here.
    pub fn default_ns(&self) -> &str {
        self.defaults.get(self.default..).unwrap_or_default()
    }

    /// How long the text is so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Closes what is open and gives the text.
    pub fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.end();
        }
        self.out
    }

    fn close_tag(&mut self) {
        if self.in_tag {
            self.out.push('>');
            self.in_tag = false;
        }
    }

    fn value(&mut self, name: &str, value: &str) {
        let out = &mut self.out;
        out.push_str(name);
        out.push_str("='");
        write_attr(value, |part| out.push_str(part));
        out.push('\'');
    }
}

/// Names come from the program or from scanned text. Should one be wrong all the same, it must not
/// become markup.
fn safe_name(name: &str) -> Cow<'_, str> {
    debug_assert!(is_name(name), "{name:?} is no name");
    if is_name(name) {
        return Cow::Borrowed(name);
    }
    let kept = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_');
    Cow::Owned(std::iter::once('_').chain(kept).collect())
}

/// Whether the attributes at the front of `rest` include a default namespace.
fn declares_default(rest: &str) -> bool {
    let mut rest = rest.trim_ascii_start();
    while let Some((name, value)) = rest.split_once('=') {
        if rest.starts_with(['>', '/']) {
            return false;
        }
        if name.trim_ascii_end() == "xmlns" {
            return true;
        }
        let value = value.trim_ascii_start();
        let Some(quote) = value.chars().next() else { return false };
        let after = value.get(1..).and_then(|v| v.split_once(quote)).map_or("", |(_, after)| after);
        rest = after.trim_ascii_start();
    }
    false
}
