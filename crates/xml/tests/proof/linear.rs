//! The work is linear in the bytes, whatever they are and however they are cut; and depth costs no
//! stack.

use std::time::{Duration, Instant};

use verona_xml::{Event, Limits, ScanError, Scanner, Tree, Writer};

const WIDE: Limits = Limits { element_bytes_max: 16 << 20, ..Limits::NONE };

/// How long the best of some runs takes to scan the bytes in such pieces.
fn time(bytes: &[u8], piece: usize) -> Duration {
    let runs = (0..3).map(|_| {
        let mut scanner = Scanner::elements(WIDE, "");
        let mut found = 0;
        let begin = Instant::now();
        for mut part in bytes.chunks(piece) {
            while let Some(event) = scanner.next(&mut part).expect("fine") {
                found += usize::from(matches!(event, Event::Element(_)));
            }
        }
        assert_eq!(found, 1);
        begin.elapsed()
    });
    runs.min().unwrap_or_default()
}

/// Eight times the bytes may take eight times as long, and some more; if the work were quadratic it
/// would be 64.
fn assert_linear(what: &str, made: impl Fn(usize) -> String, piece: usize) {
    let small = made(2_000);
    let large = made(16_000);
    // The machine may have other things to do; what is quadratic is so each time.
    let linear = (0..5).any(|_| {
        let (short, long) = (time(small.as_bytes(), piece), time(large.as_bytes(), piece));
        long.as_secs_f64() < 30.0 * short.as_secs_f64()
    });
    assert!(linear, "{what} in pieces of {piece}");
}

#[test]
fn each_kind_of_token_is_linear_in_its_length() {
    for piece in [1, 7, 100_000] {
        assert_linear("text", |n| format!("<a>{}</a>", "t".repeat(4 * n)), piece);
        assert_linear("an attribute", |n| format!("<a b='{}'/>", "> ".repeat(2 * n)), piece);
        assert_linear("a name", |n| format!("<{0}></{0}>", "n".repeat(2 * n)), piece);
        assert_linear("space in a tag", |n| format!("<a{0}></a{0}>", " ".repeat(2 * n)), piece);
        assert_linear("a reference", |n| format!("<a>&#{}65;</a>", "0".repeat(4 * n)), piece);
        assert_linear("references", |n| format!("<a b='{0}'>{0}</a>", "&lt;".repeat(n / 2)), piece);
        assert_linear("CDATA", |n| format!("<a><![CDATA[{}]]></a>", "]>".repeat(2 * n)), piece);
        assert_linear("brackets", |n| format!("<a>{}</a>", "]".repeat(4 * n)), piece);
        assert_linear("wide text", |n| format!("<a>{}</a>", "\u{20ac}".repeat(n)), piece);
        assert_linear("children", |n| format!("<a>{}</a>", "<b/>".repeat(n)), piece);
    }
}

#[test]
fn many_attributes_and_prefixes_are_not_compared_in_pairs() {
    let numbered = |n: usize, f: &dyn Fn(usize) -> String| (0..n).map(f).collect::<String>();
    for piece in [1, 100_000] {
        let attrs = |n| format!("<a{}/>", numbered(n / 4, &|i| format!(" attribute{i}=''")));
        assert_linear("attributes", attrs, piece);
        let same = |n| format!("<a xmlns:p='u'{}/>", numbered(n / 4, &|i| format!(" p:a{i}=''")));
        assert_linear("prefixed attributes", same, piece);
    }
}

#[test]
fn limits_hold_before_the_end_of_a_token_has_come() {
    let limits = Limits { element_bytes_max: 10_000, ..Limits::NONE };
    for begin in ["<", "<a b='", "<a>", "<a>&#", "<a><![CDATA[", "<a></a", "<?xml ", "<a "] {
        let mut scanner = Scanner::stream(limits);
        let mut bytes = begin.as_bytes().to_vec();
        if begin != "<?xml " && begin.len() > 2 && begin.starts_with("<a>") {
            bytes.splice(0..0, *b"<r>");
        }
        bytes.resize(12_000, b'0');
        if begin == "<a " || begin == "<?xml " {
            bytes.iter_mut().filter(|b| **b == b'0').for_each(|b| *b = b' ');
        }
        let mut most = 0;
        let mut error = None;
        for mut part in bytes.chunks(1) {
            while error.is_none() {
                match scanner.next(&mut part) {
                    Ok(None) => break,
                    Ok(Some(_)) => {}
                    Err(e) => error = Some(e),
                }
            }
            most = most.max(scanner.pending());
        }
        assert_eq!(error, Some(ScanError::TooLarge), "{begin}");
        assert!(most <= 10_000);
    }
}

#[test]
fn depth_costs_no_stack() {
    let begin = std::thread::Builder::new().stack_size(64 * 1024);
    let deep = begin.spawn(|| {
        let depth = usize::from(u16::MAX);
        let text = format!("{}t{}", "<a b='c'>".repeat(depth), "</a>".repeat(depth));
        let tree = Tree::parse(&text, "", Limits::NONE).expect("within the limits");
        assert!(tree.root().to_text("") == text);
        assert_eq!(tree.root().lang(), None);
        drop(tree);
        let mut scanner = Scanner::elements(WIDE, "");
        assert!(matches!(scanner.next(&mut text.as_bytes()), Ok(Some(Event::Element(_)))));
        let mut writer = Writer::new("");
        for n in 0..100_000 {
            writer.start("a", if n % 2 == 0 { "x" } else { "y" });
        }
        assert!(writer.finish().ends_with("</a></a>"));
    });
    deep.expect("a thread").join().expect("no overflow");
}
