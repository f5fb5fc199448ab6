//! Which sections the specifications have: read from their texts, or from the index made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// A document of the RFC or the XEP series.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Doc {
    /// Of the IETF.
    Rfc(u16),
    /// Of the XSF.
    Xep(u16),
}

impl Doc {
    /// Reads "RFC 6120", "XEP-0191" and the like.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let number = |rest: &str| rest.trim_start_matches(['-', ' ']).parse().ok();
        if let Some(rest) = text.strip_prefix("RFC") {
            return number(rest).map(Self::Rfc);
        }
        text.strip_prefix("XEP").and_then(number).map(Self::Xep)
    }
}

impl fmt::Display for Doc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rfc(number) => write!(f, "RFC {number}"),
            Self::Xep(number) => write!(f, "XEP-{number:04}"),
        }
    }
}

/// What is known of a document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Entry {
    /// Its title.
    pub title: String,
    /// Where it stands: `Draft`, `Final`; empty for an RFC.
    pub status: String,
    /// Its version; empty for an RFC.
    pub version: String,
    /// The numbers of its sections and appendices: `4.9.1`, `A.2`.
    pub sections: BTreeSet<String>,
}

/// All documents that are known.
pub type Index = BTreeMap<Doc, Entry>;

/// Reads the texts under `specs`, when they are there.
pub fn from_texts(specs: &Path) -> io::Result<Option<Index>> {
    if !specs.join("rfc").is_dir() || !specs.join("xep").is_dir() {
        return Ok(None);
    }
    let mut index = Index::new();
    for folder in ["rfc", "xep"] {
        for file in fs::read_dir(specs.join(folder))? {
            let file = file?.path();
            let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            let Some(doc) = Doc::parse(&stem.to_uppercase()) else { continue };
            index.insert(doc, entry(doc, &fs::read_to_string(&file)?));
        }
    }
    Ok(Some(index))
}

fn entry(doc: Doc, text: &str) -> Entry {
    let text = text.trim_start_matches('\u{feff}');
    let sections = text.lines().filter_map(|line| heading(doc, line)).collect();
    let mut blocks = text.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
    let head = blocks.next().unwrap_or_default();
    if matches!(doc, Doc::Rfc(_)) {
        let title = blocks.next().unwrap_or_default().split_whitespace().collect::<Vec<_>>();
        return Entry { title: title.join(" "), sections, ..Entry::default() };
    }
    let (first, second) = head.split_once('\n').unwrap_or((head, ""));
    let field = |name: &str| {
        let value = second.split_once(name).map_or("", |(_, rest)| rest.trim_start());
        value.split("   ").next().unwrap_or_default().trim().to_owned()
    };
    Entry {
        title: first.split_once(": ").map_or("", |(_, title)| title).trim().to_owned(),
        status: field("Status:"),
        version: field("Version:"),
        sections,
    }
}

/// The number of a heading. Headings begin at the margin: `4.9.1.  Rules`, `8.1 UAC Behavior`,
/// `A.2.  Examples`, `Appendix A - Grammar`. In the XEPs so does the prose, but only the number of
/// a heading ends in a dot there.
fn heading(doc: Doc, line: &str) -> Option<String> {
    let appendix = line.strip_prefix("Appendix ");
    let (number, title) = appendix.unwrap_or(line).split_once(' ')?;
    let dotted = number.contains('.');
    if matches!(doc, Doc::Xep(_)) && !number.ends_with('.') {
        return None;
    }
    let number = number.trim_end_matches(['.', ':']);
    let titled =
        title.trim_start().starts_with(|c: char| c.is_alphanumeric() || "\"'<(-".contains(c));
    let mut parts = number.split('.');
    let first = parts.next()?;
    let letter = first.len() == 1 && first.starts_with(|c: char| c.is_ascii_uppercase());
    let small = |part: &str| part.len() <= 2 && part.parse::<u8>().is_ok_and(|n| n > 0);
    let known = if letter { dotted || appendix.is_some() } else { small(first) };
    (known && titled && parts.all(small)).then(|| number.to_owned())
}

/// The index as it is committed: one document a line, its fields parted by ` | `.
pub fn write(index: &Index) -> String {
    let mut text = String::from(
        "# Made by `cargo run -p xtask -- sections` from the texts of the specifications.\n",
    );
    for (doc, entry) in index {
        let mut sections: Vec<&String> = entry.sections.iter().collect();
        sections.sort_by_key(|section| sort_key(section));
        let sections: Vec<&str> = sections.into_iter().map(String::as_str).collect();
        let Entry { title, status, version, .. } = entry;
        text += &format!("{doc} | {title} | {status} | {version} | {}\n", sections.join(" "));
    }
    text
}

/// Puts `10` behind `9`, and letters behind numbers.
pub fn sort_key(section: &str) -> Vec<(u16, String)> {
    section.split('.').map(|part| (part.parse().unwrap_or(u16::MAX), part.to_owned())).collect()
}

/// Reads what [`write`] wrote.
pub fn read(text: &str) -> Result<Index, String> {
    let mut index = Index::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(" |").map(str::trim).collect();
        let [doc, title, status, version, sections] = fields[..] else {
            return Err(format!("xtask/sections.txt:{}: not five fields", i + 1));
        };
        let Some(doc) = Doc::parse(doc) else {
            return Err(format!("xtask/sections.txt:{}: `{doc}` is no document", i + 1));
        };
        let sections = sections.split_whitespace().map(str::to_owned).collect();
        let entry = Entry {
            title: title.to_owned(),
            status: status.to_owned(),
            version: version.to_owned(),
            sections,
        };
        index.insert(doc, entry);
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_of_every_style_are_found() {
        let lines = [
            ("4.9.3.1.  bad-format", "4.9.3.1"),
            ("8.1 UAC Behavior", "8.1"),
            ("1 Introduction", "1"),
            ("Appendix A - collected grammar", "A"),
            ("Appendix B.  Differences", "B"),
            ("A.1.  URI Scheme Name", "A.1"),
            ("C.1.1 ASCII space characters", "C.1.1"),
            ("3.2. <presence/>", "3.2"),
        ];
        for (line, number) in lines {
            assert_eq!(heading(Doc::Rfc(1), line).as_deref(), Some(number), "{line}");
        }
    }

    #[test]
    fn other_lines_at_the_margin_are_no_headings() {
        for line in [
            "10 seconds later",
            "26, 2006.",
            "3261 ). All of these usages",
            "332 status code",
            "5222/tcp outbound",
            "  1. A user must",
            "A user",
            "Appendices",
            "0.1 Old",
            "4.9.1.",
        ] {
            assert_eq!(heading(Doc::Xep(1), line), None, "{line}");
        }
    }

    #[test]
    fn texts_become_entries_and_the_index_keeps_them() {
        let xep = "XEP-0199: XMPP Ping\nStatus: Final   Type: Standards Track   Version: 2.0.1   \
                   Date: 2019-03-26\n\nThis.\n\n1. Introduction\n\n4.2. Client\n\n10.1. Far\n";
        let rfc = "\u{feff}\nInternet Engineering Task Force\nRequest for Comments: 7395\n\n\n  \
                   An Extensible Protocol for\n             WebSocket\n\nAbstract\n";
        let index = Index::from([
            (Doc::Xep(199), entry(Doc::Xep(199), xep)),
            (Doc::Rfc(7395), entry(Doc::Rfc(7395), rfc)),
        ]);
        assert_eq!(index[&Doc::Rfc(7395)].title, "An Extensible Protocol for WebSocket");
        let ping = &index[&Doc::Xep(199)];
        assert_eq!((ping.title.as_str(), ping.version.as_str()), ("XMPP Ping", "2.0.1"));
        assert_eq!(ping.status, "Final");
        let text = write(&index);
        assert!(text.ends_with("XEP-0199 | XMPP Ping | Final | 2.0.1 | 1 4.2 10.1\n"), "{text}");
        assert_eq!(read(&text).expect("own output"), index);
    }

    #[test]
    fn documents_are_named_in_several_ways() {
        assert_eq!(Doc::parse("RFC 6120"), Some(Doc::Rfc(6120)));
        assert_eq!(Doc::parse("RFC6120"), Some(Doc::Rfc(6120)));
        assert_eq!(Doc::parse("XEP-0045"), Some(Doc::Xep(45)));
        assert_eq!(Doc::parse("DESIGN"), None);
    }
}
