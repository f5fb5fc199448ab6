//! Bytes of a stream to elements, in whatever pieces they arrive.

use std::collections::VecDeque;
use std::fmt;

use rxml::error::EndOrError;
use rxml::{AttrMap, Event, Options, Parse, Parser, QName, WithOptions};

use crate::node::{Attr, Content, NS_STREAM, Node};

/// Nothing that a server sends to a test is deeper; it keeps the walks over a [`Node`] from running
/// out of stack.
const DEPTH_MAX: usize = 512;
/// More than any stanza that a test sends; rxml's own default is meant for servers.
const TOKEN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The XML of a stream or a script is not what it must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct XmlError(pub String);

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for XmlError {}

/// What a stream is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Item {
    /// The start tag of the root: the stream header.
    Open(Node),
    /// A first-level child, whole.
    Element(Node),
    /// The end tag of the root.
    Close,
}

/// Reads the one document that a stream is.
pub struct Reader {
    parser: Parser,
    /// The open elements inside the root, outermost first.
    open: Vec<Node>,
    root_open: bool,
    items: VecDeque<(usize, Item)>,
    /// Bytes consumed, and where the first-level child that is open began.
    position: usize,
    began: usize,
}

impl Reader {
    /// Begins a new document, as after connecting, STARTTLS and SASL.
    #[allow(clippy::new_without_default, reason = "a document begins at a certain moment")]
    pub fn new() -> Self {
        let options = Options { max_token_length: TOKEN_BYTES_MAX, ..Options::default() };
        Self {
            parser: Parser::with_options(options),
            open: Vec::new(),
            root_open: false,
            items: VecDeque::new(),
            position: 0,
            began: 0,
        }
    }

    /// Takes in bytes as they arrived.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), XmlError> {
        loop {
            match self.parser.parse(&mut bytes, false) {
                Ok(Some(event)) => self.take(event)?,
                Ok(None) | Err(EndOrError::NeedMoreData) => return Ok(()),
                Err(EndOrError::Error(error)) => return Err(XmlError(error.to_string())),
            }
        }
    }

    /// The next whole item, if there is one.
    pub fn pop(&mut self) -> Option<Item> {
        self.pop_at().map(|(_, item)| item)
    }

    /// The next whole item and the offset at which it began.
    fn pop_at(&mut self) -> Option<(usize, Item)> {
        self.items.pop_front()
    }

    fn take(&mut self, event: Event) -> Result<(), XmlError> {
        let began = self.position;
        self.position += event.metrics().len();
        match event {
            Event::XmlDeclaration(..) => Ok(()),
            Event::StartElement(_, name, attrs) => self.start(began, element(name, attrs)),
            Event::Text(_, text) => self.text(text),
            Event::EndElement(_) => {
                self.end();
                Ok(())
            }
        }
    }

    fn start(&mut self, began: usize, node: Node) -> Result<(), XmlError> {
        if !self.root_open {
            self.root_open = true;
            self.items.push_back((began, Item::Open(node)));
            return Ok(());
        }
        if self.open.len() == DEPTH_MAX {
            return Err(XmlError(format!("more than {DEPTH_MAX} elements within each other")));
        }
        if self.open.is_empty() {
            self.began = began;
        }
        self.open.push(node);
        Ok(())
    }

    fn text(&mut self, text: String) -> Result<(), XmlError> {
        let Some(node) = self.open.last_mut() else {
            // RFC 6120 §4.6.1: whitespace between stanzas keeps a connection alive and means nothing.
            return match text.trim().is_empty() {
                true => Ok(()),
                false => Err(XmlError(format!("text between elements: {:?}", text.trim()))),
            };
        };
        match node.content.last_mut() {
            Some(Content::Text(before)) => before.push_str(&text),
            _ => node.content.push(Content::Text(text)),
        }
        Ok(())
    }

    fn end(&mut self) {
        let Some(node) = self.open.pop() else {
            self.items.push_back((self.position, Item::Close));
            return;
        };
        match self.open.last_mut() {
            Some(parent) => parent.content.push(Content::Element(node)),
            None => self.items.push_back((self.began, Item::Element(node))),
        }
    }
}

fn element(name: QName, attrs: AttrMap) -> Node {
    let attrs = attrs
        .into_iter()
        .map(|((ns, name), value)| Attr {
            ns: ns.as_str().to_owned(),
            name: name.to_string(),
            value,
        })
        .collect();
    Node { ns: name.0.as_str().to_owned(), name: name.1.to_string(), attrs, content: Vec::new() }
}

/// Reads elements that stand beside each other as on a stream whose content namespace is `ns`.
///
/// Each comes with the offset in `text` at which it begins.
pub fn parse_elements(text: &str, ns: &str) -> Result<Vec<(usize, Node)>, XmlError> {
    let header = format!("<stream:stream xmlns='{ns}' xmlns:stream='{NS_STREAM}'>");
    let mut reader = Reader::new();
    reader.push(header.as_bytes())?;
    reader.push(text.as_bytes())?;
    // The marker shows whether everything before it was closed.
    reader.push(b"<end/>")?;
    let mut elements = Vec::new();
    while let Some((at, item)) = reader.pop_at() {
        match item {
            Item::Open(_) => {}
            Item::Element(node) => elements.push((at.saturating_sub(header.len()), node)),
            Item::Close => return Err(XmlError("an end tag without a start tag".to_owned())),
        }
    }
    match (elements.pop(), reader.open.first()) {
        (_, Some(node)) => Err(XmlError(format!("<{}> is not closed", node.name))),
        (Some(_), None) => Ok(elements),
        (None, None) => Err(XmlError("the text ends within a tag".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NS_CLIENT;

    const STREAM: &str = "<?xml version='1.0'?><s:stream xmlns='jabber:client' \
        xmlns:s='http://etherx.jabber.org/streams' id='1'> <message to='a'><body>h&amp;i</body>\
        </message>\n<presence/></s:stream>";

    fn items(chunk: usize) -> Vec<Item> {
        let mut reader = Reader::new();
        let mut items = Vec::new();
        for bytes in STREAM.as_bytes().chunks(chunk) {
            reader.push(bytes).unwrap();
            while let Some(item) = reader.pop() {
                items.push(item);
            }
        }
        items
    }

    #[test]
    fn a_stream_reads_the_same_however_it_is_cut() {
        let whole = items(STREAM.len());
        assert_eq!(whole.len(), 4);
        assert!(matches!(&whole[0], Item::Open(n) if n.attr("id") == Some("1")));
        assert!(matches!(&whole[1], Item::Element(n) if n.content.len() == 1));
        assert!(matches!(&whole[2], Item::Element(n) if n.is("presence", NS_CLIENT)));
        assert_eq!(whole[3], Item::Close);
        for chunk in 1..20 {
            assert_eq!(items(chunk), whole, "cut every {chunk} bytes");
        }
    }

    #[test]
    fn text_between_stanzas_is_an_error() {
        let mut reader = Reader::new();
        assert!(reader.push(b"<s> \n x <a/>").is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let mut reader = Reader::new();
        assert!(reader.push("<a>".repeat(DEPTH_MAX + 2).as_bytes()).is_err());
    }

    #[test]
    fn elements_know_where_they_begin() {
        let text = "\n  <a/>\n\n  <b>\n  </b>\n";
        let elements = parse_elements(text, NS_CLIENT).unwrap();
        let starts: Vec<&str> = elements.iter().map(|(at, _)| &text[*at..*at + 2]).collect();
        assert_eq!(starts, ["<a", "<b"]);
        assert_eq!(elements[0].1.ns, NS_CLIENT);
    }

    #[test]
    fn an_element_that_is_not_closed_is_named() {
        assert_eq!(parse_elements("<a><b>", "x").unwrap_err().0, "<a> is not closed");
        assert!(parse_elements("<a/></b>", "x").is_err());
        assert!(parse_elements("<a", "x").is_err());
    }
}
