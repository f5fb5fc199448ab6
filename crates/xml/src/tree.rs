//! One element read through: for payloads that somebody wants to understand.

use std::borrow::Cow;

use crate::chars::prove;
use crate::error::ScanError;
use crate::escape::{attr_value, push_cdata, push_text};
use crate::limits::Limits;
use crate::machine::Machine;
use crate::scope::{NS_XML, Namespace, Outer};
use crate::sink::{Begin, Sink};
use crate::tag::{AttrAt, Name, offset};
use crate::writer::Writer;

/// A tree is an element with all that is in it. It lies flat in memory: three pieces, whatever its
/// depth.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The text it was read from, followed by what had to be spelled out.
    arena: String,
    nodes: Vec<NodeAt>,
    attrs: Vec<TreeAttrAt>,
}

/// From where to where in the arena.
type Span = (u32, u32);

/// No node; the root is never a child.
const NONE: u32 = 0;

#[derive(Clone, Copy, Debug)]
struct NodeAt {
    parent: u32,
    next: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Element { name: Span, ns: Span, attrs: Span, first: u32 },
    Text(Span),
}

#[derive(Clone, Copy, Debug)]
struct TreeAttrAt {
    ns: Span,
    name: Span,
    value: Span,
}

/// An element of a tree.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    tree: &'a Tree,
    at: u32,
}

/// An element, or the text between two of them.
#[derive(Clone, Copy, Debug)]
pub enum Node<'a> {
    /// An element.
    Element(Element<'a>),
    /// Text, as it means.
    Text(&'a str),
}

/// An attribute of an element of a tree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TreeAttr<'a> {
    /// Its namespace; mostly none, which is the empty string.
    pub ns: &'a str,
    /// Its name without a prefix.
    pub name: &'a str,
    /// Its value, as it means.
    pub value: &'a str,
}

impl Tree {
    /// Reads an element, white space around it allowed, where `default_ns` is the default.
    pub fn parse(text: &str, default_ns: &str, limits: Limits) -> Result<Self, ScanError> {
        Self::parse_in(text, Outer { default: default_ns, bindings: &[], lang: "" }, limits)
    }

    pub(crate) fn parse_in(
        text: &str,
        outer: Outer<'_>,
        limits: Limits,
    ) -> Result<Self, ScanError> {
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        // What is spelled out never takes more than twice the text.
        if text.len() > limits.bytes().min(u32::MAX as usize / 4) {
            return Err(ScanError::TooLarge);
        }
        prove(text.as_bytes())?;
        let mut builder = Builder::new(text);
        Machine::default().whole(text, &limits, outer, &mut builder)?;
        Ok(builder.tree)
    }

    /// The outermost element.
    pub fn root(&self) -> Element<'_> {
        Element { tree: self, at: 0 }
    }

    fn str(&self, span: Span) -> &str {
        self.arena.get(span.0 as usize..span.1 as usize).unwrap_or_default()
    }

    fn node(&self, at: u32) -> NodeAt {
        // Every tree has its root, and links lead only to nodes that are there.
        const NOTHING: NodeAt = NodeAt { parent: NONE, next: NONE, kind: Kind::Text((0, 0)) };
        self.nodes.get(at as usize).copied().unwrap_or(NOTHING)
    }
}

impl<'a> Element<'a> {
    /// The name without a prefix.
    pub fn name(self) -> &'a str {
        match self.tree.node(self.at).kind {
            Kind::Element { name, .. } => self.tree.str(name),
            Kind::Text(_) => "",
        }
    }

    /// The namespace.
    pub fn ns(self) -> &'a str {
        match self.tree.node(self.at).kind {
            Kind::Element { ns, .. } => self.tree.str(ns),
            Kind::Text(_) => "",
        }
    }

    /// Whether this is the element of that name and namespace.
    pub fn is(self, name: &str, ns: &str) -> bool {
        self.name() == name && self.ns() == ns
    }

    /// The value of an attribute without a namespace.
    pub fn attr(self, name: &str) -> Option<&'a str> {
        self.attr_ns("", name)
    }

    /// The value of an attribute that has a namespace.
    pub fn attr_ns(self, ns: &str, name: &str) -> Option<&'a str> {
        self.attrs().find(|attr| attr.name == name && attr.ns == ns).map(|attr| attr.value)
    }

    /// All attributes as they stand, without declarations of namespaces.
    pub fn attrs(self) -> impl Iterator<Item = TreeAttr<'a>> {
        let (from, to) = match self.tree.node(self.at).kind {
            Kind::Element { attrs, .. } => attrs,
            Kind::Text(_) => (0, 0),
        };
        let tree = self.tree;
        let attrs = tree.attrs.get(from as usize..to as usize).unwrap_or_default();
        attrs.iter().map(|attr| TreeAttr {
            ns: tree.str(attr.ns),
            name: tree.str(attr.name),
            value: tree.str(attr.value),
        })
    }

    /// Elements and text as they stand.
    pub fn nodes(self) -> impl Iterator<Item = Node<'a>> {
        let tree = self.tree;
        let mut at = self.first();
        std::iter::from_fn(move || {
            if at == NONE {
                return None;
            }
            let node = tree.node(at);
            let here = at;
            at = node.next;
            Some(match node.kind {
                Kind::Element { .. } => Node::Element(Element { tree, at: here }),
                Kind::Text(span) => Node::Text(tree.str(span)),
            })
        })
    }

    /// The elements directly inside.
    pub fn children(self) -> impl Iterator<Item = Element<'a>> {
        self.nodes().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The first child of that name and namespace.
    pub fn child(self, name: &str, ns: &str) -> Option<Element<'a>> {
        self.children().find(|child| child.is(name, ns))
    }

    /// The element around this one.
    pub fn parent(self) -> Option<Element<'a>> {
        let parent = self.tree.node(self.at).parent;
        (self.at != 0).then_some(Element { tree: self.tree, at: parent })
    }

    /// The text directly inside, without that of children.
    pub fn text(self) -> Cow<'a, str> {
        let mut texts = self.nodes().filter_map(|node| match node {
            Node::Text(text) => Some(text),
            Node::Element(_) => None,
        });
        let first = texts.next().unwrap_or_default();
        match texts.next() {
            None => Cow::Borrowed(first),
            Some(second) => {
                let mut all = String::from(first);
                all.push_str(second);
                all.extend(texts);
                Cow::Owned(all)
            }
        }
    }

    /// The language of the element, its own or of the next one around it (XML 1.0 §2.12).
    pub fn lang(self) -> Option<&'a str> {
        let mut here = Some(self);
        while let Some(element) = here {
            if let Some(lang) = element.attr_ns(NS_XML, "lang") {
                return Some(lang);
            }
            here = element.parent();
        }
        None
    }

    /// The element as text that presumes nothing but the default namespace.
    pub fn to_text(self, default_ns: &str) -> String {
        let mut writer = Writer::new(default_ns);
        self.write(&mut writer);
        writer.finish()
    }

    /// Writes the element with all that is in it. The text is at most a few times as long as what
    /// the tree was read from: a long namespace that is used often keeps a prefix, bound once.
    pub fn write(self, writer: &mut Writer) {
        let mut bound = Bound::default();
        if self.spelled_out() > self.room() {
            bound = Bound::of(self);
        }
        let mut at = self.at;
        loop {
            let node = self.tree.node(at);
            let inner = self.begin(at, &bound, writer);
            if inner != NONE {
                at = inner;
                continue;
            }
            if matches!(node.kind, Kind::Element { .. }) {
                writer.end();
            }
            // Up to the next element around which something follows.
            loop {
                if at == self.at {
                    return;
                }
                let node = self.tree.node(at);
                if node.next != NONE {
                    at = node.next;
                    break;
                }
                at = node.parent;
                writer.end();
            }
        }
    }

    /// Writes text, or a start tag; tells the first node inside.
    fn begin(self, at: u32, bound: &Bound, writer: &mut Writer) -> u32 {
        let element = Element { tree: self.tree, at };
        let (ns, attrs) = match self.tree.node(at).kind {
            Kind::Text(span) => {
                writer.text(self.tree.str(span));
                return NONE;
            }
            Kind::Element { ns, attrs, .. } => (ns, attrs),
        };
        match bound.number_of(ns) {
            Some(number) => writer.start_bound(number, element.name()),
            None => writer.start(element.name(), element.ns()),
        };
        if at == self.at {
            for (number, span) in bound.0.iter().enumerate() {
                writer.bind(number, self.tree.str(*span));
            }
        }
        for attr in self.tree.attrs.get(attrs.0 as usize..attrs.1 as usize).unwrap_or_default() {
            let (name, value) = (self.tree.str(attr.name), self.tree.str(attr.value));
            match bound.number_of(attr.ns) {
                Some(number) => writer.attr_bound(number, name, value),
                None => writer.attr_ns(self.tree.str(attr.ns), name, value),
            };
        }
        element.first()
    }

    /// How many bytes the namespaces take when each is spelled out wherever it changes. What a peer
    /// wrote as a prefix of one letter can stand for kilobytes.
    pub(crate) fn spelled_out(self) -> usize {
        self.uses().map(|(start, end)| end.saturating_sub(start) as usize).sum()
    }

    /// How many bytes spelling out may take: far more than any sensible text needs.
    pub(crate) fn room(self) -> usize {
        self.tree.arena.len().saturating_mul(8).saturating_add(4_096)
    }

    /// The namespaces that are not those of the element around, and those of attributes.
    fn uses(self) -> impl Iterator<Item = Span> {
        let tree = self.tree;
        let inside = tree.nodes.get(self.at as usize..).unwrap_or_default();
        // Nodes lie in the order of the text: those behind belong to an element further out.
        let end = inside.iter().skip(1).position(|node| node.parent < self.at);
        let inside = inside.get(..end.map_or(inside.len(), |end| end.saturating_add(1)));
        inside.unwrap_or_default().iter().enumerate().flat_map(move |(n, node)| {
            let Kind::Element { ns, attrs, .. } = node.kind else { return Uses::default() };
            let around = match tree.node(node.parent).kind {
                Kind::Element { ns, .. } if n > 0 => Some(ns),
                _ => None,
            };
            let attrs = tree.attrs.get(attrs.0 as usize..attrs.1 as usize).unwrap_or_default();
            Uses { own: (around != Some(ns)).then_some(ns), attrs: attrs.iter() }
        })
    }

    fn first(self) -> u32 {
        match self.tree.node(self.at).kind {
            Kind::Element { first, .. } => first,
            Kind::Text(_) => NONE,
        }
    }
}

/// The namespaces that an element and its attributes use.
#[derive(Default)]
struct Uses<'a> {
    own: Option<Span>,
    attrs: std::slice::Iter<'a, TreeAttrAt>,
}

impl Iterator for Uses<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        self.own.take().or_else(|| self.attrs.next().map(|attr| attr.ns))
    }
}

/// The namespaces that get a prefix at the outermost element, in the order of their places.
#[derive(Default)]
struct Bound(Vec<Span>);

impl Bound {
    /// Shorter ones are spelled out at each use.
    const BYTES_MIN: u32 = 64;

    /// Those that are long and used more than once.
    fn of(element: Element<'_>) -> Self {
        let long = |span: &Span| span.1.saturating_sub(span.0) > Self::BYTES_MIN;
        let mut used: Vec<Span> = element.uses().filter(long).collect();
        used.sort_unstable();
        let often = used.chunk_by(|a, b| a == b).filter(|same| same.len() > 1);
        // The prefix `xml` means its namespace by itself.
        let bound = often.filter_map(|same| same.first().copied());
        Self(bound.filter(|span| element.tree.str(*span) != NS_XML).collect())
    }

    fn number_of(&self, ns: Span) -> Option<usize> {
        self.0.binary_search(&ns).ok()
    }
}

/// Makes a tree of what the machine reads.
struct Builder<'s> {
    source: &'s str,
    tree: Tree,
    /// The open elements, each with the last node in it so far.
    open: Vec<(u32, u32)>,
    /// Text that may go on behind a CDATA section.
    pending: Option<Span>,
    scratch: String,
    /// Where namespaces stand that the source does not show as they mean: that of the prefix `xml`,
    /// then those bound outside; and those kept by the machine.
    outer: Vec<Option<Span>>,
    kept: Vec<Option<Span>>,
}

impl<'s> Builder<'s> {
    fn new(source: &'s str) -> Self {
        let tree = Tree { arena: source.to_owned(), nodes: Vec::new(), attrs: Vec::new() };
        Self {
            source,
            tree,
            open: Vec::new(),
            pending: None,
            scratch: String::new(),
            outer: Vec::new(),
            kept: Vec::new(),
        }
    }

    fn push(&mut self, text: &str) -> Span {
        let start = offset(self.tree.arena.len());
        self.tree.arena.push_str(text);
        (start, offset(self.tree.arena.len()))
    }

    fn namespace(&mut self, of: Namespace, begin: &Begin<'_>) -> Span {
        if let Namespace::Text { start, end } = of {
            return (start, end);
        }
        let spans = match of {
            Namespace::Kept(_) => &mut self.kept,
            _ => &mut self.outer,
        };
        let n = match of {
            Namespace::Outer(n) => usize::from(n).saturating_add(1),
            Namespace::Kept(n) => n as usize,
            _ => 0,
        };
        if let Some(&Some(span)) = spans.get(n) {
            return span;
        }
        let arena = &mut self.tree.arena;
        let start = offset(arena.len());
        let uri = begin.scopes.uri(of, begin.bytes, begin.outer);
        arena.push_str(std::str::from_utf8(uri).unwrap_or_default());
        let span = (start, offset(arena.len()));
        spans.resize(spans.len().max(n.saturating_add(1)), None);
        if let Some(place) = spans.get_mut(n) {
            *place = Some(span);
        }
        span
    }

    fn attribute(&mut self, attr: &AttrAt, begin: &Begin<'_>) {
        let ns = if attr.name.is_prefixed() {
            let prefix = attr.name.prefix_in(begin.bytes);
            // The machine has resolved it before.
            let of = begin.scopes.resolve(prefix, begin.bytes, begin.outer).unwrap_or_default();
            self.namespace(of, begin)
        } else {
            (0, 0)
        };
        let mut value = (attr.value, attr.value_end);
        if !attr.plain {
            let raw = self.source.get(value.0 as usize..value.1 as usize).unwrap_or_default();
            value = self.push(&attr_value(raw));
        }
        self.tree.attrs.push(TreeAttrAt { ns, name: local(attr.name), value });
    }

    /// Appends a node to the innermost open element.
    fn add(&mut self, kind: Kind) -> u32 {
        let at = offset(self.tree.nodes.len());
        let Some(&mut (parent, ref mut last)) = self.open.last_mut() else {
            self.tree.nodes.push(NodeAt { parent: NONE, next: NONE, kind });
            return at;
        };
        let before = std::mem::replace(last, at);
        self.tree.nodes.push(NodeAt { parent, next: NONE, kind });
        if before != NONE {
            if let Some(node) = self.tree.nodes.get_mut(before as usize) {
                node.next = at;
            }
        } else if let Some(NodeAt { kind: Kind::Element { first, .. }, .. }) =
            self.tree.nodes.get_mut(parent as usize)
        {
            *first = at;
        }
        at
    }

    fn flush(&mut self) {
        if let Some(span) = self.pending.take() {
            self.add(Kind::Text(span));
        }
    }

    /// Text that the source shows as it means, or that stands in the scratch.
    fn piece(&mut self, span: Option<Span>) {
        let Some((start, end)) = self.pending else {
            self.pending = Some(match span {
                Some(span) => span,
                None => {
                    let scratch = std::mem::take(&mut self.scratch);
                    let span = self.push(&scratch);
                    self.scratch = scratch;
                    span
                }
            });
            return;
        };
        // What goes on must be in one piece: at the end of the arena.
        let mut start = start;
        if end as usize != self.tree.arena.len() {
            let at = offset(self.tree.arena.len());
            self.tree.arena.extend_from_within(start as usize..end as usize);
            start = at;
        }
        match span {
            Some((from, to)) => self.tree.arena.extend_from_within(from as usize..to as usize),
            None => self.tree.arena.push_str(&self.scratch),
        }
        self.pending = Some((start, offset(self.tree.arena.len())));
    }
}

impl Sink for Builder<'_> {
    fn start(&mut self, begin: &Begin<'_>) {
        self.flush();
        let ns = self.namespace(begin.namespace, begin);
        let from = offset(self.tree.attrs.len());
        for attr in begin.tag.attrs.iter().filter(|attr| !attr.declares) {
            self.attribute(attr, begin);
        }
        let attrs = (from, offset(self.tree.attrs.len()));
        let kind = Kind::Element { name: local(begin.tag.name), ns, attrs, first: NONE };
        let at = self.add(kind);
        self.open.push((at, NONE));
    }

    fn text(&mut self, bytes: &[u8], start: usize, end: usize) {
        let raw = bytes.get(start..end).unwrap_or_default();
        if memchr::memchr2(b'&', b'\r', raw).is_none() {
            return self.piece(Some((offset(start), offset(end))));
        }
        self.scratch.clear();
        push_text(self.source.get(start..end).unwrap_or_default(), &mut self.scratch);
        self.piece(None);
    }

    fn cdata(&mut self, _: &[u8], start: usize, end: usize) {
        if start == end {
            return;
        }
        self.scratch.clear();
        push_cdata(self.source.get(start..end).unwrap_or_default(), &mut self.scratch);
        self.piece(None);
    }

    fn end(&mut self, _: usize, _: usize, _: usize) {
        self.flush();
        self.open.pop();
    }
}

fn local(name: Name) -> Span {
    (name.local, name.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_means_what_was_read() {
        let text = "<a xmlns='x' xmlns:q='y' k='1 &lt; 2' q:k='\u{e9}' xml:lang='de'>t&amp;<![CDATA[<c>]]>\
                    <q:b/><c xmlns=''>u</c> <q:d>v<e/>w</q:d></a>";
        let tree = Tree::parse(text, "jabber:client", Limits::NONE).unwrap();
        let root = tree.root();
        assert!(root.is("a", "x"));
        assert_eq!(root.attr("k"), Some("1 < 2"));
        assert_eq!(root.attr_ns("y", "k"), Some("\u{e9}"));
        assert_eq!(root.text(), "t&<c> ");
        assert_eq!(root.child("b", "y").unwrap().lang(), Some("de"));
        assert_eq!(root.child("d", "y").unwrap().text(), "vw");
        assert_eq!(
            root.to_text("x"),
            "<a k='1 &lt; 2' xmlns:p0='y' p0:k='\u{e9}' xml:lang='de'>t&amp;&lt;c&gt;\
             <b xmlns='y'/><c xmlns=''>u</c> <d xmlns='y'>v<e xmlns='x'/>w</d></a>"
        );
        let again = Tree::parse(&root.to_text(""), "", Limits::NONE).unwrap();
        assert_eq!(again.root().to_text("x"), root.to_text("x"));
    }

    #[test]
    fn text_is_whole_however_it_is_written() {
        let text = |inside: &str| {
            let tree = Tree::parse(&format!("<a>{inside}</a>"), "", Limits::NONE).unwrap();
            assert!(tree.root().nodes().count() < 2, "{inside}");
            tree.root().text().into_owned()
        };
        assert_eq!(text(""), "");
        assert_eq!(text("<![CDATA[]]>"), "");
        assert_eq!(
            text("a&lt;b<![CDATA[<c>&amp;]]>d<![CDATA[\r\n]]>e\r\nf\rg&#13;"),
            "a<b<c>&amp;d\ne\nf\ng\r"
        );
        assert_eq!(text("<![CDATA[a]]><![CDATA[b]]>c<![CDATA[d]]>"), "abcd");
    }

    #[test]
    fn text_in_many_pieces_is_moved_once() {
        let text = format!("<a>{}</a>", "x&lt;<![CDATA[y]]>".repeat(10_000));
        let tree = Tree::parse(&text, "", Limits::NONE).unwrap();
        assert_eq!(tree.root().text(), "x<y".repeat(10_000));
        assert!(tree.arena.len() < 2 * text.len());
    }

    #[test]
    fn text_of_children_is_not_that_of_the_element() {
        let tree = Tree::parse("<a>1<b>2</b>3<b/>4</a>", "", Limits::NONE).unwrap();
        let root = tree.root();
        assert_eq!(root.text(), "134");
        assert_eq!(root.nodes().count(), 5);
        assert_eq!(root.children().count(), 2);
        let child = root.child("b", "").unwrap();
        assert_eq!(child.text(), "2");
        assert!(child.parent().is_some_and(|p| p.is("a", "") && p.parent().is_none()));
        assert_eq!(child.to_text(""), "<b>2</b>");
        assert!(root.child("b", "u").is_none() && root.child("c", "").is_none());
    }

    #[test]
    fn language_is_inherited() {
        let text = "<a xml:lang='de'><b><c xml:lang=''/><d/></b></a>";
        let tree = Tree::parse(text, "", Limits::NONE).unwrap();
        let b = tree.root().child("b", "").unwrap();
        assert_eq!(b.child("c", "").unwrap().lang(), Some(""));
        assert_eq!(b.child("d", "").unwrap().lang(), Some("de"));
    }

    #[test]
    fn limits_hold_for_trees() {
        let none = Limits::NONE;
        let error = |text: &str, limits| Tree::parse(text, "", limits).err();
        let deep = Limits { depth_max: 1, ..none };
        assert_eq!(error("<a><b/></a>", deep), Some(ScanError::TooDeep));
        assert_eq!(error("<a/>", deep), None);
        let small = Limits { element_bytes_max: 4, ..none };
        assert_eq!(error(" <a/> ", small), None);
        assert_eq!(error("<ab/>", small), Some(ScanError::TooLarge));
        for bad in ["", " ", "a", "<a>", "<a/>b", "<a/><b/>", "</a>", "<?xml version='1.0'?><a/>"] {
            assert!(error(bad, none).is_some(), "{bad}");
        }
        assert_eq!(error("<a>\u{fffe}</a>", none), Some(ScanError::NotWellFormed));
    }

    #[test]
    fn names_of_namespaces_are_stored_once() {
        let uri = "u".repeat(10_000);
        let many = "<b/>".repeat(10_000);
        let text = format!("<a xmlns='&#117;{uri}'>{many}</a>");
        let tree = Tree::parse(&text, "", Limits::NONE).unwrap();
        assert_eq!(tree.root().children().filter(|b| b.ns().len() == 10_001).count(), 10_000);
        assert!(tree.arena.len() < text.len() + 20_000);
    }

    /// All names and namespaces, in the order of the text.
    fn meaning(element: Element<'_>) -> Vec<(String, String)> {
        let mut all = vec![(element.ns().to_owned(), element.name().to_owned())];
        all.extend(element.attrs().map(|attr| (attr.ns.to_owned(), attr.name.to_owned())));
        element.children().for_each(|child| all.extend(meaning(child)));
        all
    }

    #[test]
    fn a_long_namespace_is_not_written_at_each_of_its_uses() {
        let long = "n".repeat(4_000);
        for uses in ["<x:a/>", "<a x:b='' x:c=''/>", "<x:a><b><x:c/></b></x:a>", "<a xmlns=''/>"] {
            let text = format!("<q xmlns:x='{long}' xmlns='y'>{}</q>", uses.repeat(500));
            let tree = Tree::parse(&text, "z", Limits::NONE).unwrap();
            for default in ["", "y", "z", &long] {
                let written = tree.root().to_text(default);
                assert!(written.len() < 4 * text.len(), "{} of {}", written.len(), text.len());
                let again = Tree::parse(&written, default, Limits::NONE).unwrap();
                assert!(meaning(again.root()) == meaning(tree.root()), "{uses}");
            }
            // An element further in is written by itself as well.
            let inner = tree.root().children().nth(250).unwrap();
            let again = Tree::parse(&inner.to_text("y"), "y", Limits::NONE).unwrap();
            assert!(meaning(again.root()) == meaning(inner), "{uses}");
        }
    }
}
