//! Compares elements by their meaning.
//!
//! The order of attributes, quotes, prefixes and whitespace between elements do not count; names,
//! namespaces, text and the order of children do. What the rules leave to a server is not compared
//! where a script does not mention it:
//!
//! - `id` and `xml:lang` of a stanza, and its `to` and `from` where they are absent or the receiver's
//!   own address (RFC 6120 §8.1.1.1, §8.1.2.1, §8.1.3, §8.1.5);
//! - in an error: `by`, the old `code`, the `<text/>`, and what the failed stanza had carried
//!   (RFC 6120 §8.3.1, §8.3.2);
//! - what a server adds: the mark of an archive on a message (XEP-0359), also on one that is forwarded
//!   (XEP-0313 §3.5), that of a delay and of an avatar on a presence (XEP-0203 §2, XEP-0398 §4).
//!
//! As soon as a script mentions one of them, it counts in full. `{any order}` among the children says
//! that their order is free, `{and more}` that there may also be others.

use std::fmt;

use crate::address::Address;
use crate::node::{Attr, Content, NS_CLIENT, NS_STANZAS, NS_XML, Node};
use crate::template::{AND_MORE, ANY_ORDER, Captures, MAYBE, Template};

const NS_SID: &str = "urn:xmpp:sid:0";
const NS_DELAY: &str = "urn:xmpp:delay";
const NS_AVATAR: &str = "vcard-temp:x:update";

/// Where two elements differ first, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// The way to the place, as `message/error`.
    pub path: String,
    /// What was expected there and what is there instead.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}: {}", self.path, self.what)
    }
}

/// Compares what a script expects with what came; adds to `known` what is to be remembered.
///
/// `receiver` is the one whose own addresses need not be mentioned.
pub fn compare(
    expected: &Node,
    actual: &Node,
    receiver: Option<&Address>,
    known: &mut Captures,
) -> Result<(), Difference> {
    let place = match expected.is_stanza() {
        true if expected.attr("type") == Some("error") => Place::ErrorStanza,
        true => Place::Stanza,
        false => Place::Inside,
    };
    let mut found = known.clone();
    let mut walk = Walk { receiver, known: &mut found, path: Vec::new() };
    walk.element(expected, actual, place)?;
    *known = found;
    Ok(())
}

/// What an element is, which decides what need not be mentioned.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Place {
    Stanza,
    ErrorStanza,
    Error,
    Forwarded,
    Inside,
}

struct Walk<'a> {
    receiver: Option<&'a Address>,
    known: &'a mut Captures,
    path: Vec<String>,
}

// The recursion follows the expected element, which the author of a script wrote.
impl Walk<'_> {
    fn element(&mut self, expected: &Node, actual: &Node, at: Place) -> Result<(), Difference> {
        self.path.push(expected.name.clone());
        if !actual.is(&expected.name, &expected.ns) {
            return Err(self.differs(format!(
                "expected <{}> in {:?}, found <{}> in {:?}",
                expected.name, expected.ns, actual.name, actual.ns
            )));
        }
        self.attributes(expected, actual, at)?;
        self.content(expected, actual, at)?;
        self.path.pop();
        Ok(())
    }

    fn attributes(&mut self, expected: &Node, actual: &Node, at: Place) -> Result<(), Difference> {
        for attr in &expected.attrs {
            let name = &attr.name;
            match actual.attr_ns(&attr.ns, name) {
                None if attr.value == MAYBE => {}
                None => return Err(self.differs(format!("attribute {name} is missing"))),
                Some(value) if attr.value == MAYBE || self.text_matches(&attr.value, value) => {}
                Some(value) => {
                    let wanted = self.filled(&attr.value);
                    return Err(
                        self.differs(format!("attribute {name} is {value:?}, expected {wanted:?}"))
                    );
                }
            }
        }
        let extra = actual.attrs.iter().find(|attr| {
            expected.attr_ns(&attr.ns, &attr.name).is_none() && !self.may_have(attr, at)
        });
        match extra {
            Some(a) => Err(self.differs(format!("unexpected attribute {}={:?}", a.name, a.value))),
            None => Ok(()),
        }
    }

    /// Tells whether an attribute may be there without being mentioned.
    fn may_have(&self, attr: &Attr, at: Place) -> bool {
        let own = |full_too: bool| {
            self.receiver.is_some_and(|address| {
                attr.value == address.bare() || (full_too && attr.value == address.full())
            })
        };
        match (at, attr.ns.as_str(), attr.name.as_str()) {
            (Place::Stanza | Place::ErrorStanza, NS_XML, "lang") => true,
            (Place::Stanza | Place::ErrorStanza, "", "id") => true,
            (Place::Stanza | Place::ErrorStanza, "", "to") => own(true),
            (Place::Stanza | Place::ErrorStanza, "", "from") => own(false),
            (Place::Error, "", "by" | "code") => true,
            _ => false,
        }
    }

    fn content(&mut self, expected: &Node, actual: &Node, at: Place) -> Result<(), Difference> {
        let (order, wanted) = wanted(expected);
        let has_children = wanted.iter().any(|c| matches!(c, Content::Element(_)));
        if !has_children && order == Order::Document {
            return self.leaf(expected, actual, at);
        }
        let there = self.present(expected, actual, at);
        match order {
            Order::Document => self.in_order(&wanted, &there),
            Order::Free | Order::FreeWithMore => self.in_any_order(&wanted, &there, order),
        }
    }

    /// An element in which the script shows text or nothing.
    fn leaf(&mut self, expected: &Node, actual: &Node, at: Place) -> Result<(), Difference> {
        let there = self.present(expected, actual, at);
        if let Some(extra) = there.iter().find_map(|content| element_of(content)) {
            return Err(self.differs(format!("unexpected child\n{}", extra.pretty(4))));
        }
        let mut wanted = expected.text();
        let mut text = actual.text();
        // Text that was laid out over lines in the script is meant without its layout.
        let lead = &wanted[..wanted.len() - wanted.trim_start().len()];
        if lead.contains('\n') || (wanted.is_empty() && at != Place::Inside) {
            wanted = wanted.trim().to_owned();
            text = text.trim().to_owned();
        }
        self.same_text(&wanted, &text)
    }

    fn same_text(&mut self, wanted: &str, text: &str) -> Result<(), Difference> {
        if self.text_matches(wanted, text) {
            return Ok(());
        }
        let wanted = self.filled(wanted);
        Err(self.differs(format!("the text is {text:?}, expected {wanted:?}")))
    }

    /// What of the actual content must be compared.
    fn present<'n>(&self, expected: &Node, actual: &'n Node, at: Place) -> Vec<&'n Content> {
        let unmentioned = |node: &Node| expected.child(&node.name, &node.ns).is_none();
        actual
            .content
            .iter()
            .filter(|content| match content {
                Content::Text(text) => !text.trim().is_empty(),
                Content::Element(node) => !(unmentioned(node) && may_contain(expected, node, at)),
            })
            .collect()
    }

    fn in_order(&mut self, wanted: &[Content], there: &[&Content]) -> Result<(), Difference> {
        for (i, content) in wanted.iter().enumerate() {
            match (content, there.get(i)) {
                (Content::Element(node), Some(Content::Element(found))) => {
                    self.element(node, found, place_of(node))?;
                }
                (Content::Text(text), Some(Content::Text(found))) => {
                    self.same_text(text.trim(), found.trim())?;
                }
                (wanted, found) => {
                    let found = found.map_or("nothing".to_owned(), |found| shown(found));
                    return Err(
                        self.differs(format!("expected\n{}\nfound\n{found}", shown(wanted)))
                    );
                }
            }
        }
        match there.get(wanted.len()) {
            Some(extra) => Err(self.differs(format!("unexpected\n{}", shown(extra)))),
            None => Ok(()),
        }
    }

    fn in_any_order(
        &mut self,
        wanted: &[Content],
        there: &[&Content],
        order: Order,
    ) -> Result<(), Difference> {
        let nodes: Vec<&Node> = wanted.iter().filter_map(element_of).collect();
        let mut rest: Vec<&Node> = there.iter().filter_map(|content| element_of(content)).collect();
        for node in nodes {
            let mut nearest = None;
            let found = rest.iter().position(|candidate| {
                let mut known = self.known.clone();
                let mut walk =
                    Walk { receiver: self.receiver, known: &mut known, path: self.path.clone() };
                match walk.element(node, candidate, place_of(node)) {
                    Ok(()) => {
                        *self.known = known;
                        true
                    }
                    Err(difference) => {
                        if candidate.is(&node.name, &node.ns) {
                            nearest = Some(difference);
                        }
                        false
                    }
                }
            });
            match found {
                Some(index) => drop(rest.remove(index)),
                None => {
                    let hint = nearest.map_or(String::new(), |near| format!("\n(nearest: {near})"));
                    return Err(self.differs(format!("missing\n{}{hint}", node.pretty(4))));
                }
            }
        }
        match rest.first() {
            Some(extra) if order == Order::Free => {
                Err(self.differs(format!("unexpected\n{}", extra.pretty(4))))
            }
            _ => Ok(()),
        }
    }

    fn text_matches(&mut self, wanted: &str, text: &str) -> bool {
        Template::parse(wanted).is_ok_and(|template| template.matches(text, self.known))
    }

    /// The expected text with what is known put in, for a message.
    fn filled(&self, wanted: &str) -> String {
        Template::parse(wanted).map_or_else(|_| wanted.to_owned(), |t| t.fill(self.known))
    }

    fn differs(&self, what: String) -> Difference {
        Difference { path: self.path.join("/"), what }
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Order {
    Document,
    Free,
    FreeWithMore,
}

/// The expected content without layout and directives, and what the directives say.
fn wanted(expected: &Node) -> (Order, Vec<Content>) {
    let mut order = Order::Document;
    let mut content = Vec::new();
    for piece in &expected.content {
        match piece {
            Content::Text(text) if text.trim() == AND_MORE => order = Order::FreeWithMore,
            Content::Text(text) if text.trim() == ANY_ORDER => order = Order::Free,
            Content::Text(text) if text.trim().is_empty() => {}
            piece => content.push(piece.clone()),
        }
    }
    (order, content)
}

fn place_of(expected: &Node) -> Place {
    match expected.name.as_str() {
        "error" if expected.ns == NS_CLIENT => Place::Error,
        "message" if expected.ns == NS_CLIENT => Place::Forwarded,
        _ => Place::Inside,
    }
}

/// Tells whether a child may be there without being mentioned.
fn may_contain(parent: &Node, child: &Node, at: Place) -> bool {
    match at {
        Place::ErrorStanza => !child.is("error", NS_CLIENT),
        Place::Error => child.is("text", NS_STANZAS),
        Place::Stanza => match parent.name.as_str() {
            "message" => child.is("stanza-id", NS_SID),
            "presence" => child.is("delay", NS_DELAY) || child.is("x", NS_AVATAR),
            _ => false,
        },
        Place::Forwarded => child.is("stanza-id", NS_SID),
        Place::Inside => false,
    }
}

fn element_of(content: &Content) -> Option<&Node> {
    match content {
        Content::Element(node) => Some(node),
        Content::Text(_) => None,
    }
}

fn shown(content: &Content) -> String {
    match content {
        Content::Element(node) => node.pretty(4),
        Content::Text(text) => format!("    text {:?}", text.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::parse_elements;

    fn node(xml: &str) -> Node {
        parse_elements(xml, NS_CLIENT).unwrap().remove(0).1
    }

    fn check(expected: &str, actual: &str) -> Result<Captures, String> {
        let juliet = Address::parse("juliet@capulet.lit/balcony").unwrap();
        let mut known = Captures::new();
        compare(&node(expected), &node(actual), Some(&juliet), &mut known)
            .map(|()| known)
            .map_err(|difference| difference.to_string())
    }

    #[test]
    fn spelling_does_not_count() {
        let same = [
            ("<iq a='1' b='2'/>", "<iq b=\"2\" a=\"1\"></iq>"),
            ("<iq><q xmlns='x'/></iq>", "<iq xmlns:p='x'><p:q/></iq>"),
            ("<iq>\n  <q xmlns='x'/>\n</iq>", "<iq><q xmlns='x'/></iq>"),
            ("<iq><q xmlns='x'/></iq>", "<iq> <q xmlns='x'/> </iq>"),
            ("<message><body>a&amp;b</body></message>", "<message><body>a&#38;b</body></message>"),
        ];
        for (expected, actual) in same {
            assert_eq!(check(expected, actual).err(), None, "{expected} {actual}");
        }
    }

    #[test]
    fn meaning_counts() {
        let other = [
            ("<iq/>", "<message/>"),
            ("<iq/>", "<iq xmlns='jabber:server'/>"),
            ("<iq type='get'/>", "<iq type='set'/>"),
            ("<iq type='get'/>", "<iq/>"),
            ("<iq/>", "<iq type='get'/>"),
            ("<iq><q xmlns='x'/></iq>", "<iq><q xmlns='y'/></iq>"),
            ("<iq><q xmlns='x'/></iq>", "<iq/>"),
            ("<iq/>", "<iq><q xmlns='x'/></iq>"),
            ("<iq><a/><b/></iq>", "<iq><b/><a/></iq>"),
            ("<iq><a/></iq>", "<iq><a/><a/></iq>"),
            ("<message><body>a</body></message>", "<message><body>a </body></message>"),
            ("<message><body> a</body></message>", "<message><body>a</body></message>"),
            ("<q xmlns='x'><i id='1'/></q>", "<q xmlns='x'><i id='1' name='n'/></q>"),
        ];
        for (expected, actual) in other {
            assert!(check(expected, actual).is_err(), "{expected} {actual}");
        }
    }

    #[test]
    fn layout_of_text_in_the_script_does_not_count() {
        let expected = "<message><body>\n  O blessed night!\n</body></message>";
        assert_eq!(check(expected, "<message><body>O blessed night!</body></message>").err(), None);
        assert!(check(expected, "<message><body>O blessed</body></message>").is_err());
    }

    #[test]
    fn own_addresses_need_not_be_mentioned() {
        for same in [
            "<iq to='juliet@capulet.lit/balcony'/>",
            "<iq to='juliet@capulet.lit' from='juliet@capulet.lit'/>",
            "<iq id='1' xml:lang='en'/>",
        ] {
            assert_eq!(check("<iq/>", same).err(), None, "{same}");
        }
        for other in [
            "<iq to='juliet@capulet.lit/chamber'/>",
            "<iq from='juliet@capulet.lit/balcony'/>",
            "<iq from='capulet.lit'/>",
        ] {
            assert!(check("<iq/>", other).is_err(), "{other}");
        }
        assert!(
            check("<iq to='juliet@capulet.lit'/>", "<iq to='juliet@capulet.lit/balcony'/>")
                .is_err()
        );
    }

    #[test]
    fn an_error_may_explain_itself() {
        let expected = "<iq type='error'><error type='cancel'>\
            <conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>";
        let actual = "<iq type='error'><query xmlns='x'/><error type='cancel' by='a' code='409'>\
            <conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
            <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>taken</text></error></iq>";
        assert_eq!(check(expected, actual).err(), None);
        assert!(check(expected, &actual.replace("cancel", "modify")).is_err());
        assert!(check(expected, &actual.replace("<conflict", "<gone")).is_err());
        assert!(check(expected, &actual.replace("<text", "<app xmlns='x'/><text")).is_err());
    }

    #[test]
    fn marks_of_the_server_count_only_when_mentioned() {
        let marked = "<message><body>a</body><stanza-id xmlns='urn:xmpp:sid:0' id='1' by='x'/>\
            </message>";
        assert_eq!(check("<message><body>a</body></message>", marked).err(), None);
        let twice = marked.replace("</message>", "<stanza-id xmlns='urn:xmpp:sid:0'/></message>");
        let mentioned = "<message><body>a</body>\
            <stanza-id xmlns='urn:xmpp:sid:0' id='{any}' by='x'/></message>";
        assert_eq!(check(mentioned, marked).err(), None);
        assert!(check(mentioned, &twice).is_err());
        assert!(check("<message/>", "<message><delay xmlns='urn:xmpp:delay'/></message>").is_err());
        let late = "<presence><delay xmlns='urn:xmpp:delay' stamp='x'/></presence>";
        assert_eq!(check("<presence/>", late).err(), None);
    }

    #[test]
    fn children_in_any_order_and_more() {
        let actual = "<iq><f var='a'/><f var='b'/><f var='c'/></iq>";
        let free = "<iq>{any order}<f var='c'/><f var='a'/><f var='b'/></iq>";
        assert_eq!(check(free, actual).err(), None);
        assert!(check("<iq>{any order}<f var='c'/><f var='a'/></iq>", actual).is_err());
        assert!(check("<iq>{any order}<f var='a'/><f var='a'/></iq>", actual).is_err());
        assert_eq!(check("<iq>{and more}<f var='c'/></iq>", actual).err(), None);
        let missing = check("<iq>\n {and more}\n <f var='d'/>\n</iq>", actual).unwrap_err();
        assert!(missing.contains("missing") && missing.contains("nearest"), "{missing}");
    }

    #[test]
    fn an_attribute_may_be_left_open() {
        let expected = "<q xmlns='x' ver='{maybe}'/>";
        assert_eq!(check(expected, "<q xmlns='x'/>").err(), None);
        assert_eq!(check(expected, "<q xmlns='x' ver=''/>").err(), None);
        assert!(check(expected, "<q xmlns='x' other=''/>").is_err());
    }

    #[test]
    fn values_are_remembered_only_from_what_matches() {
        let known = check("<iq id='{id=any}'><a n='{id}'/></iq>", "<iq id='1'><a n='1'/></iq>");
        assert_eq!(known.unwrap()["id"], "1");
        assert!(
            check("<iq id='{id=any}'><a n='{id}'/></iq>", "<iq id='1'><a n='2'/></iq>").is_err()
        );
    }

    #[test]
    fn the_first_difference_is_named_with_its_place() {
        let text = check(
            "<message><x xmlns='y'><z a='1'/></x></message>",
            "<message><x xmlns='y'><z a='2'/></x></message>",
        );
        assert_eq!(text.unwrap_err(), r#"at message/x/z: attribute a is "2", expected "1""#);
    }
}
