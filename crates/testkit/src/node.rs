//! An XML element as a plain tree, to be compared and shown.
//!
//! It is read with rxml and not with the scanner of the server: a mistake that writer and scanner of
//! the server had in common would otherwise cancel itself out in every test.

use std::fmt::{self, Write as _};

/// The content namespace of client streams (RFC 6120 §4.8.3).
pub const NS_CLIENT: &str = "jabber:client";
/// The content namespace of the streams of components (XEP-0114 §3).
pub const NS_COMPONENT: &str = "jabber:component:accept";
/// The namespace of the stream itself (RFC 6120 §4.8.1).
pub const NS_STREAM: &str = "http://etherx.jabber.org/streams";
/// The namespace of stanza error conditions (RFC 6120 §8.3.2).
pub const NS_STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// The namespace to which the prefix `xml` is bound.
pub const NS_XML: &str = "http://www.w3.org/XML/1998/namespace";

/// One attribute that is not a namespace declaration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attr {
    /// Its namespace; empty for an attribute without prefix.
    pub ns: String,
    /// Its local name.
    pub name: String,
    /// Its value, unescaped.
    pub value: String,
}

/// What stands between a start tag and its end tag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    /// A child element.
    Element(Node),
    /// Character data, unescaped; neighbouring pieces are one.
    Text(String),
}

/// An element with all that is in it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Node {
    /// The namespace; empty for none.
    pub ns: String,
    /// The local name.
    pub name: String,
    /// The attributes in the order of the document.
    pub attrs: Vec<Attr>,
    /// Children and text in the order of the document.
    pub content: Vec<Content>,
}

impl Node {
    /// Tells whether the element has this name in this namespace.
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.name == name && self.ns == ns
    }

    /// Takes all elements of one namespace for elements of another.
    pub fn rename(&mut self, from: &str, to: &str) {
        if self.ns == from {
            to.clone_into(&mut self.ns);
        }
        for content in &mut self.content {
            if let Content::Element(child) = content {
                child.rename(from, to);
            }
        }
    }

    /// Tells whether this is a message, presence or iq of a client stream.
    pub fn is_stanza(&self) -> bool {
        self.ns == NS_CLIENT && matches!(self.name.as_str(), "message" | "presence" | "iq")
    }

    /// The value of an attribute without namespace.
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attr_ns("", name)
    }

    /// The value of an attribute in a namespace.
    pub fn attr_ns(&self, ns: &str, name: &str) -> Option<&str> {
        self.attrs.iter().find(|a| a.ns == ns && a.name == name).map(|a| a.value.as_str())
    }

    /// The child elements in order.
    pub fn children(&self) -> impl Iterator<Item = &Node> {
        self.content.iter().filter_map(|content| match content {
            Content::Element(node) => Some(node),
            Content::Text(_) => None,
        })
    }

    /// The first child of this name and namespace.
    pub fn child(&self, name: &str, ns: &str) -> Option<&Node> {
        self.children().find(|child| child.is(name, ns))
    }

    /// The text directly inside the element, without that of its children.
    pub fn text(&self) -> String {
        self.content
            .iter()
            .filter_map(|content| match content {
                Content::Text(text) => Some(text.as_str()),
                Content::Element(_) => None,
            })
            .collect()
    }

    /// Writes the element over several lines, for people.
    pub fn pretty(&self, indent: usize) -> String {
        let mut out = String::new();
        self.write_pretty(&mut out, NS_CLIENT, indent);
        out
    }

    // Recursion is bounded by the depth that the reader allows.
    fn write_pretty(&self, out: &mut String, parent_ns: &str, indent: usize) {
        let pad = " ".repeat(indent);
        let tag = self.write_start(out, &pad, parent_ns);
        if self.content.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        let leaf = self.children().next().is_none();
        for content in &self.content {
            match content {
                Content::Text(text) if leaf => out.push_str(&escape(text)),
                Content::Text(text) if text.trim().is_empty() => {}
                Content::Text(text) => {
                    let _ = write!(out, "\n{pad}    {}", escape(text.trim()));
                }
                Content::Element(node) => {
                    out.push('\n');
                    let ns = if self.ns == NS_STREAM { NS_CLIENT } else { &self.ns };
                    node.write_pretty(out, ns, indent + 4);
                }
            }
        }
        if !leaf {
            let _ = write!(out, "\n{pad}");
        }
        let _ = write!(out, "</{tag}>");
    }

    /// Writes the start tag without its end and gives back the name as written.
    fn write_start(&self, out: &mut String, pad: &str, parent_ns: &str) -> String {
        let tag = match self.ns.as_str() {
            NS_STREAM => format!("stream:{}", self.name),
            _ => self.name.clone(),
        };
        let _ = write!(out, "{pad}<{tag}");
        if self.ns != parent_ns && self.ns != NS_STREAM {
            let _ = write!(out, " xmlns='{}'", escape(&self.ns));
        }
        for attr in &self.attrs {
            let prefix = match attr.ns.as_str() {
                "" => String::new(),
                NS_XML => "xml:".to_owned(),
                other => format!("{{{other}}}"),
            };
            let _ = write!(out, " {prefix}{}='{}'", attr.name, escape(&attr.value));
        }
        tag
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pretty(0))
    }
}

/// Escapes text so that it is safe between tags and within quotes of either kind.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::parse_elements;

    fn one(xml: &str) -> Node {
        parse_elements(xml, NS_CLIENT).unwrap().remove(0).1
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_element() {
        let node =
            one("<iq a='1&apos;&lt;'><q xmlns='x' xml:lang='en'><r/></q><b>t &amp; u</b></iq>");
        let again = one(&node.to_string());
        assert_eq!(again.attr("a"), Some("1'<"));
        assert_eq!(again.child("q", "x").unwrap().attr_ns(NS_XML, "lang"), Some("en"));
        assert_eq!(again.child("b", NS_CLIENT).unwrap().text(), "t & u");
        assert!(again.child("q", "x").unwrap().child("r", "x").is_some());
    }
}
