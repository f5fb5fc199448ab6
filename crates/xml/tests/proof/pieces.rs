//! However a document is cut, it means the same; and what is written is read as it was meant.

use proptest::collection::vec;
use proptest::prelude::*;
use verona_xml::{Element, Limits, Scanner, Tree, Writer};

use crate::check::{LIMITS, everything, scan};

/// Text of all kinds of characters that XML can say.
fn text() -> impl Strategy<Value = String> {
    "[ -~\t\n\r\u{a0}-\u{2ff}\u{3042}\u{fffd}\u{ff0c}\u{1f600}]{0,12}"
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z_\u{e9}][a-zA-Z0-9._\u{e9}-]{0,9}"
}

fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![Just("jabber:client".to_owned()), Just(String::new()), "[ -~]{1,9}"]
}

/// One step of writing.
#[derive(Clone, Debug)]
enum Step {
    Start(String, String),
    Attr(String, String, String),
    Text(String),
    End,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (name(), namespace()).prop_map(|(name, ns)| Step::Start(name, ns)),
        (namespace(), name(), text()).prop_map(|(ns, name, value)| Step::Attr(ns, name, value)),
        text().prop_map(Step::Text),
        Just(Step::End),
    ]
}

/// Carries out the steps as far as they fit; also gives what a reader should see.
fn write(steps: &[Step]) -> (String, String) {
    let mut writer = Writer::new("jabber:client");
    let mut seen = String::new();
    writer.start("root", "jabber:client");
    let mut depth = 1;
    let mut attrs: Option<Vec<(&str, &str)>> = Some(Vec::new());
    for step in steps {
        match step {
            Step::Start(name, ns) => {
                writer.start(name, ns);
                seen.push_str(&format!("<{name} {ns:?}"));
                depth += 1;
                attrs = Some(Vec::new());
            }
            Step::Attr(ns, name, value) => {
                let Some(attrs) = &mut attrs else { continue };
                if attrs.contains(&(ns, name)) || name == "xmlns" {
                    continue;
                }
                attrs.push((ns, name));
                writer.attr_ns(ns, name, value);
                seen.push_str(&format!("@{ns:?} {name} {value:?}"));
            }
            Step::Text(text) => {
                writer.text(text);
                seen.push_str(text);
                attrs = attrs.filter(|_| text.is_empty());
            }
            Step::End if depth > 1 => {
                writer.end();
                seen.push('>');
                depth -= 1;
                attrs = None;
            }
            Step::End => {}
        }
    }
    seen.push_str(&">".repeat(depth));
    (writer.finish(), seen)
}

fn read(text: &str) -> String {
    fn attrs(e: Element<'_>, seen: &mut String) {
        for attr in e.attrs() {
            seen.push_str(&format!("@{:?} {} {:?}", attr.ns, attr.name, attr.value));
        }
    }
    fn inside(e: Element<'_>, seen: &mut String) {
        attrs(e, seen);
        for node in e.nodes() {
            match node {
                verona_xml::Node::Text(text) => seen.push_str(text),
                verona_xml::Node::Element(child) => {
                    seen.push_str(&format!("<{} {:?}", child.name(), child.ns()));
                    inside(child, seen);
                }
            }
        }
        seen.push('>');
    }
    let tree = Tree::parse(text, "jabber:client", Limits::NONE).expect("what is written is fine");
    let mut seen = String::new();
    inside(tree.root(), &mut seen);
    seen
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn what_is_written_is_read_as_it_was_meant(steps in vec(step(), 0..40)) {
        let (text, meant) = write(&steps);
        prop_assert_eq!(read(&text), meant);
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in vec(any::<u8>(), 0..200), seed in any::<u64>()) {
        let in_root = [b"<s>", bytes.as_slice()].concat();
        let in_element = [b"<s><m>", bytes.as_slice()].concat();
        everything(&bytes, seed);
        everything(&in_root, seed);
        everything(&in_element, seed);
    }
}

proptest! {
    // Few, since each document is cut at each of its bytes.
    #![proptest_config(cases(24))]

    #[test]
    fn each_cut_gives_the_same_events(steps in vec(step(), 0..10), seed in any::<u64>()) {
        let (text, _) = write(&steps);
        let all = format!("<s xmlns='jabber:client'> {text}\n<m/></s>");
        let whole = scan(Scanner::stream(LIMITS), all.as_bytes(), std::iter::empty());
        prop_assert_eq!(whole.error.as_deref(), None);
        prop_assert_eq!(whole.events.len(), 4);
        for cut in 1..all.len() {
            let told = scan(Scanner::stream(LIMITS), all.as_bytes(), std::iter::once(cut));
            prop_assert_eq!(&whole, &told, "cut at {}", cut);
        }
        everything(all.as_bytes(), seed);
    }
}
