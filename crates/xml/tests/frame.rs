//! What a frame tells of an element, and how the element leaves the stream it came by.

use verona_xml::{Event, Frame, Index, Limits, NS_XML, ScanError, Scanner};

const LIMITS: Limits = Limits { element_bytes_max: 10_000, ..Limits::NONE };

/// Looks at one element in a stream whose default namespace is `jabber:client`.
fn with<T>(element: &str, look: impl Fn(Frame<'_>) -> T) -> T {
    in_stream("xmlns='jabber:client' xmlns:s='u:streams' xmlns:k='u&amp;k'", element, look)
}

fn in_stream<T>(header: &str, element: &str, look: impl Fn(Frame<'_>) -> T) -> T {
    let text = format!("<r {header}>{element}");
    let mut input = text.as_bytes();
    let mut scanner = Scanner::stream(LIMITS);
    assert!(matches!(scanner.next(&mut input), Ok(Some(Event::Open(_)))));
    match scanner.next(&mut input) {
        Ok(Some(Event::Element(frame))) => look(frame),
        other => panic!("{other:?}"),
    }
}

#[test]
fn attributes_are_told_as_they_mean() {
    with("<m to='a&amp;b' xmlns:p='u:p' id = \"'\" p:id='&#65;\t&#9;' xml:lang='de' e=''/>", |m| {
        assert_eq!(m.attr("to").as_deref(), Some("a&b"));
        assert_eq!(m.attr("id").as_deref(), Some("'"));
        assert_eq!(m.attr("e").as_deref(), Some(""));
        assert_eq!(m.attr_ns("u:p", "id").as_deref(), Some("A \t"));
        assert_eq!(m.lang().as_deref(), Some("de"));
        for none in ["p", "lang", "xmlns", "p:id", "xmlns:p"] {
            assert_eq!(m.attr(none), None, "{none}");
        }
        let all: Vec<_> = m.attrs().map(|a| (a.prefix, a.name, a.ns, a.raw)).collect();
        assert_eq!(
            all,
            [
                (None, "to", "", "a&amp;b"),
                (None, "id", "", "'"),
                (Some("p"), "id", "u:p", "&#65;\t&#9;"),
                (Some("xml"), "lang", NS_XML, "de"),
                (None, "e", "", ""),
            ]
        );
        let declared: Vec<_> = m.declares().map(|d| (d.prefix, d.ns().into_owned())).collect();
        assert_eq!(declared, [(Some("p"), "u:p".to_owned())]);
    });
}

#[test]
fn values_without_references_are_borrowed() {
    with("<m to='juliet@capulet.lit'/>", |m| {
        assert!(matches!(m.attr("to"), Some(std::borrow::Cow::Borrowed(_))));
    });
}

#[test]
fn children_have_the_namespace_that_is_bound_for_them() {
    let element = "<m xmlns:p='u:p' xmlns:o='u&#58;o'><a/><b xmlns='u:b'><a/></b>t<p:c/><s:d/><k:e/>\
                   <o:f/><xml:g/><p:h xmlns:p='u:q'/><i xmlns=''/><j xmlns='&lt;'/></m>";
    with(element, |m| {
        let all: Vec<_> = m.children().map(|c| (c.name, c.ns)).collect();
        let meant = [
            ("a", "jabber:client"),
            ("b", "u:b"),
            ("c", "u:p"),
            ("d", "u:streams"),
            ("e", "u&k"),
            ("f", "u:o"),
            ("g", NS_XML),
            ("h", "u:q"),
            ("i", ""),
            ("j", "<"),
        ];
        assert_eq!(all, meant);
        assert_eq!(m.index.children_len(), meant.len());
        assert_eq!(m.child("b", "u:b").map(|c| c.text), Some("<b xmlns='u:b'><a/></b>"));
        for child in m.children() {
            let tree = child.tree().unwrap();
            assert!(tree.root().is(child.name, child.ns));
            assert_eq!(m.text.get(child.range.clone()), Some(child.text));
        }
    });
}

#[test]
fn the_default_namespace_of_an_element_reaches_its_children() {
    with("<m xmlns='u&amp;m'><a/><b xmlns='jabber:client'/></m>", |m| {
        assert_eq!(m.ns(), "u&m");
        let all: Vec<_> = m.children().map(|c| c.ns).collect();
        assert_eq!(all, ["u&m", "jabber:client"]);
        assert!(m.children().next().unwrap().tree().unwrap().root().is("a", "u&m"));
    });
}

#[test]
fn offsets_cut_an_element_into_tag_content_and_end() {
    with("<m a='>'>t<b/></m >", |m| {
        let (tag, end) = (m.index.start_tag_len(), m.index.content_end());
        assert_eq!(&m.text[..tag], "<m a='>'>");
        assert_eq!(&m.text[tag..end], "t<b/>");
        assert_eq!(&m.text[end..], "</m >");
        assert!(!m.index.is_empty_tag());
    });
    with("<m a='>' />", |m| {
        assert_eq!((m.index.start_tag_len(), m.index.content_end()), (11, 11));
        assert!(m.index.is_empty_tag());
    });
}

#[test]
fn an_element_that_uses_what_the_root_binds_is_known() {
    for needs in ["<s:m/>", "<m s:a=''/>", "<m><a><s:b/></a></m>", "<m xmlns='u'><a s:b=''/></m>"] {
        assert!(with(needs, |m| m.needs_stream_bindings("jabber:client")), "{needs}");
        assert!(!with(needs, |m| m.index.is_plain()), "{needs}");
    }
    let not = ["<m/>", "<m xmlns='u:m'/>", "<s:m xmlns:s='u:own'/>", "<m xml:lang='de'><a/></m>"];
    for not in not {
        assert!(!with(not, |m| m.needs_stream_bindings("jabber:client")), "{not}");
    }
    // Another default than the one that will be presumed.
    let stream = "xmlns='u:streams'";
    assert!(in_stream(stream, "<m/>", |m| m.needs_stream_bindings("jabber:client")));
    let own = "<m xmlns='jabber:client'><a/></m>";
    assert!(!in_stream(stream, own, |m| m.needs_stream_bindings("jabber:client")));
}

#[test]
fn plain_is_what_can_be_taken_apart_as_text() {
    for plain in [
        "<m/>",
        "<m xmlns='u:m'><a/></m>",
        "<m xml:lang='de'><a xmlns='u'/><b><p:c xmlns:p='u'/></b></m>",
    ] {
        assert!(with(plain, |m| m.index.is_plain()), "{plain}");
    }
    for not in [
        "<p:m xmlns:p='u'/>",
        "<m xmlns:p='u'/>",
        "<m><p:a xmlns:p='u'/></m>",
        "<m><a><s:b/></a></m>",
    ] {
        assert!(!with(not, |m| m.index.is_plain()), "{not}");
    }
}

#[test]
fn what_is_known_of_one_element_is_not_told_of_the_next() {
    let mut scanner = Scanner::elements(LIMITS, "jabber:client");
    let mut input =
        &b"<\xc3\xa9 xmlns:p='u'><p:a xml:b='&#65;'/></\xc3\xa9><m xmlns='&#117;'/>"[..];
    assert!(matches!(scanner.next(&mut input), Ok(Some(Event::Element(_)))));
    let Ok(Some(Event::Element(next))) = scanner.next(&mut input) else { panic!() };
    assert!(next.index.is_plain() && !next.index.has_wide_names());
    assert!(!next.needs_stream_bindings("u"));
    assert_eq!(next.index.children_len(), 0);
    assert_eq!(next.ns(), "u");
}

#[test]
fn names_beyond_ascii_are_known() {
    for wide in ["<\u{e9}/>", "<m><a \u{e9}=''/></m>", "<m><a><p:\u{e9} xmlns:p='u'/></a></m>"] {
        assert!(with(wide, |m| m.index.has_wide_names()), "{wide}");
    }
    assert!(!with("<m a='\u{e9}'><b>\u{e9}</b></m>", |m| m.index.has_wide_names()));
}

#[test]
fn a_standalone_element_means_the_same_elsewhere() {
    let element = "<s:m s:a='1' k:b='2'><k:c/><d>t</d><e xmlns='u:e'><s:f/></e></s:m>";
    let alone = with(element, |m| m.standalone("jabber:server").unwrap());
    assert_eq!(
        alone,
        "<m xmlns='u:streams' xmlns:p0='u:streams' p0:a='1' xmlns:p1='u&amp;k' p1:b='2'>\
         <c xmlns='u&amp;k'/><d xmlns='jabber:client'>t</d><e xmlns='u:e'>\
         <f xmlns='u:streams'/></e></m>"
    );
    // RFC 6120 §4.8.5: no prefixes for the content namespace.
    let prefixed = "<c:m xmlns:c='jabber:client'><c:body>t</c:body></c:m>";
    let alone = with(prefixed, |m| m.standalone("jabber:client").unwrap());
    assert_eq!(alone, "<m><body>t</body></m>");
}

#[test]
fn text_and_index_can_be_kept_apart() {
    let (text, index) = with("<m a='1'><b/></m>", |m| (m.text.to_owned(), m.index.clone()));
    let frame = Frame::new(&text, &index, "jabber:server");
    assert_eq!(frame.ns(), "jabber:server");
    assert_eq!(frame.attr("a").as_deref(), Some("1"));
    assert!(frame.child("b", "jabber:server").is_some());
    // An index of another text tells nonsense, but does no harm.
    let other = Frame::new("<\u{e9}/>", &index, "");
    assert!(other.attrs().count() + other.children().count() < 10);
    assert!(other.tree().is_ok());
}

#[test]
fn an_index_can_be_made_of_text() {
    let text = "<m xmlns='u&amp;m' a='1'><b/></m>";
    let index = Index::of(text, "", LIMITS).unwrap();
    let frame = Frame::new(text, &index, "");
    assert!(frame.is("m", "u&m"));
    assert!(frame.child("b", "u&m").is_some());
    let refused = [
        ("", ScanError::NotWellFormed),
        ("<a>", ScanError::NotWellFormed),
        (" <a/>", ScanError::NotWellFormed),
        ("<a/> ", ScanError::NotWellFormed),
        ("<a/><b/>", ScanError::NotWellFormed),
        ("<a>\u{1}</a>", ScanError::NotWellFormed),
        ("<s:a/>", ScanError::BadNamespace),
    ];
    for (text, error) in refused {
        assert_eq!(Index::of(text, "", LIMITS).err(), Some(error), "{text}");
    }
}
