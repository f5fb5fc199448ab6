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

/// Names come from the program or from scanned text. Should one be wrong all the same, it does not
/// become markup.
fn safe_name(name: &str) -> Cow<'_, str> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_declared_where_they_change() {
        let mut writer = Writer::new("jabber:client");
        writer.start("iq", "jabber:client").attr("id", "1").attr("type", "result");
        writer.start("query", "u:q").empty("item", "u:q").empty("other", "u:'o");
        writer.empty("none", "").empty("item", "u:q").end();
        writer.empty("error", "jabber:client");
        assert_eq!(
            writer.finish(),
            "<iq id='1' type='result'><query xmlns='u:q'><item/><other xmlns='u:&apos;o'/>\
             <none xmlns=''/><item/></query><error/></iq>"
        );
    }

    #[test]
    fn attributes_with_a_namespace_bring_their_prefix() {
        let mut writer = Writer::new("");
        writer
            .start("a", "")
            .attr_ns("u:1", "b", "<")
            .attr_ns("u:2", "b", "\t")
            .attr_ns("", "b", "");
        writer.attr_ns(NS_XML, "lang", "de").start("c", "").attr("xml:lang", "en");
        writer.attr_ns("u:3", "d", "'").empty("e", NS_XML);
        assert_eq!(
            writer.finish(),
            "<a xmlns:p0='u:1' p0:b='&lt;' xmlns:p1='u:2' p1:b='&#9;' b='' xml:lang='de'>\
             <c xml:lang='en' xmlns:p0='u:3' p0:d='&apos;'><xml:e/></c></a>"
        );
    }

    #[test]
    fn ready_elements_bring_the_namespace_they_presume() {
        let write = |element: &str, presumes: &str| {
            let mut writer = Writer::new("jabber:client");
            writer.start("f", "u:f").raw_element(element, presumes);
            writer.finish()
        };
        let around = |inside: &str| format!("<f xmlns='u:f'>{inside}</f>");
        assert_eq!(write("<a b='c'/>", "u:f"), around("<a b='c'/>"));
        assert_eq!(write("<a b='c'/>", "u"), around("<a xmlns='u' b='c'/>"));
        assert_eq!(write("<a/>", "u"), around("<a xmlns='u'/>"));
        assert_eq!(write("<a>t</a>", "u"), around("<a xmlns='u'>t</a>"));
        assert_eq!(
            write("<a\n b = ' xmlns=\"' />", "u"),
            around("<a xmlns='u'\n b = ' xmlns=\"' />")
        );
        for own in ["<a xmlns='v'/>", "<a b=\"x='\"\txmlns = 'v'/>", "<a b='>' xmlns='v'>t</a>"] {
            assert_eq!(write(own, "u"), around(own));
        }
        for inner in ["<a><b xmlns='v'/></a>", "<a c='d'><b xmlns='v'/></a>", "<a xmlns:p='v'/>"] {
            assert_eq!(write(inner, "u"), around(&inner.replacen("<a", "<a xmlns='u'", 1)));
        }
    }

    #[test]
    fn text_goes_on_behind_a_buffer_and_is_closed_at_the_end() {
        let mut writer = Writer::append_to("<?xml version='1.0'?>".to_owned(), "");
        assert!(!writer.is_empty());
        writer.start("a", "u").text("").text("1 < 2").raw("<b/>").raw("").start("c", "u");
        assert_eq!(writer.default_ns(), "u");
        assert_eq!(writer.len(), writer.clone().finish().len() - "/></a>".len());
        assert_eq!(writer.finish(), "<?xml version='1.0'?><a xmlns='u'>1 &lt; 2<b/><c/></a>");
    }

    #[test]
    fn what_is_no_name_does_not_become_markup() {
        let mut writer = Writer::new("");
        writer.start("a><b", "").attr("c='d' e", "").attr("xml:f g", "").attr("", "");
        assert_eq!(writer.finish(), "<_ab _cde='' xml:_fg='' _=''/>");
    }
}
