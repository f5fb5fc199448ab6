//! Citations of specifications, in comments and documents: `RFC 6120 §8.3.1`, `XEP-0191 §3.3`,
//! lists and ranges of them, and a bare `(§3.3)` that means a document its file is about.

use std::collections::BTreeMap;

use crate::lex::Kind;
use crate::sections::{Doc, Index};
use crate::tree::{Source, Text, Tree};

/// One place that names a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cite {
    /// The file.
    pub path: String,
    /// The line.
    pub line: usize,
    /// What it names.
    pub doc: Doc,
    /// The section, if it names one.
    pub section: Option<String>,
    /// Whether it says that this is still to be done: `todo(XEP-0313 §5.1)`.
    pub todo: bool,
    /// Whether it stands in a test.
    pub test: bool,
    /// For a bare `§`, what else the file names and may mean.
    pub among: Vec<Doc>,
}

/// All citations of the repository.
pub fn all(tree: &Tree) -> Vec<Cite> {
    let sources = tree.sources.iter().filter(|source| source.home != "xtask");
    let mut found: Vec<Cite> = sources.flat_map(in_source).collect();
    found.extend(tree.texts.iter().flat_map(in_text));
    found
}

/// What is wrong with them: unknown XEPs, sections that do not exist.
pub fn wrong(cites: &[Cite], index: &Index) -> Vec<String> {
    let mut found = Vec::new();
    for Cite { path, line, doc, section, among, .. } in cites {
        let has =
            |doc, section| index.get(doc).is_none_or(|entry| entry.sections.contains(section));
        match (index.get(doc), section) {
            (Some(_), Some(s)) if has(doc, s) || among.iter().any(|doc| has(doc, s)) => {}
            (Some(_), Some(section)) => {
                found.push(format!("{path}:{line}: {doc} has no §{section}"));
            }
            (None, _) if matches!(doc, Doc::Xep(_)) => {
                found.push(format!("{path}:{line}: there is no {doc}"));
            }
            _ => {}
        }
    }
    found
}

/// Documents that are cited by section but not in the index, so that nobody can tell.
pub fn unknown(cites: &[Cite], index: &Index) -> Vec<String> {
    let mut counts: BTreeMap<Doc, usize> = BTreeMap::new();
    let cited = cites.iter().filter(|cite| cite.section.is_some());
    for cite in cited.filter(|cite| !index.contains_key(&cite.doc)) {
        *counts.entry(cite.doc).or_default() += 1;
    }
    let rfcs = counts.iter().filter(|(doc, _)| matches!(doc, Doc::Rfc(_)));
    rfcs.map(|(doc, n)| format!("{doc} is cited {n} times, but there is no text to check"))
        .collect()
}

/// Words that belong together, so that a citation may be broken over lines.
struct Passage {
    text: String,
    line: usize,
    test: bool,
}

fn in_source(source: &Source) -> Vec<Cite> {
    let mut passages: Vec<Passage> = Vec::new();
    let mut next_line = 0;
    for (token, test) in source.tokens.iter().zip(&source.test) {
        let said = token.is_comment() || *test && token.kind == Kind::Text;
        let joined = token.kind == Kind::Line && token.line == next_line;
        match passages.last_mut().filter(|_| joined) {
            Some(last) => {
                last.text.push('\n');
                last.text += bare(&token.text);
            }
            None if said => {
                let lines: Vec<&str> = token.text.lines().map(bare).collect();
                passages.push(Passage { text: lines.join("\n"), line: token.line, test: *test });
            }
            None => {}
        }
        next_line = if token.kind == Kind::Line { token.line + 1 } else { 0 };
    }
    // A test may be named for the document whose example it plays: `example_of_xep_0474`.
    let words = source.tokens.iter().filter(|t| t.kind == Kind::Word);
    let names: Vec<String> = words.map(|t| t.text.to_uppercase().replace('_', "-")).collect();
    let also = names.iter().flat_map(|name| docs(name)).map(|named| named.doc).collect();
    read(&source.path, &passages, also)
}

fn in_text(text: &Text) -> Vec<Cite> {
    let lines: Vec<&str> = text.text.lines().map(bare).collect();
    let test = text.path.starts_with("tests/");
    read(&text.path, &[Passage { text: lines.join("\n"), line: 1, test }], Vec::new())
}

/// A line of a comment without the marks before it.
fn bare(line: &str) -> &str {
    let line = line.trim_start();
    for mark in ["///", "//!", "//", "/**", "/*", "*", "#"] {
        if let Some(rest) = line.strip_prefix(mark) {
            return rest.trim_start();
        }
    }
    line
}

fn read(path: &str, passages: &[Passage], mut named: Vec<Doc>) -> Vec<Cite> {
    named.extend(passages.iter().flat_map(|p| docs(&p.text)).map(|named| named.doc));
    // The first document that the comments name is the one that the file is about.
    let about = passages.iter().find_map(|p| docs(&p.text).first().map(|found| found.doc));
    passages.iter().flat_map(|passage| in_passage(path, passage, about, &named)).collect()
}

fn in_passage(path: &str, passage: &Passage, about: Option<Doc>, named: &[Doc]) -> Vec<Cite> {
    let docs = docs(&passage.text);
    let mut found: Vec<Found> = docs
        .iter()
        .map(|d| Found { at: d.start, doc: d.doc, section: None, bare: false })
        .collect();
    found.extend(numbers(&passage.text, &docs, about));
    found.sort_by_key(|found| found.at);
    let cites = found.into_iter().map(|Found { at, doc, section, bare }| {
        let before = &passage.text[..at];
        let line = passage.line + before.matches('\n').count();
        let todo = before.rfind("todo(").is_some_and(|open| !before[open..].contains(')'));
        let among = if bare { named.to_vec() } else { Vec::new() };
        let (path, test) = (path.to_owned(), passage.test);
        Cite { path, line, doc, section, todo, test, among }
    });
    cites.collect()
}

/// A citation at its place in a passage; `bare` if it does not say of which document.
struct Found {
    at: usize,
    doc: Doc,
    section: Option<String>,
    bare: bool,
}

/// A document named in a text, from the first byte to behind the last.
struct Named {
    doc: Doc,
    start: usize,
    end: usize,
}

fn docs(text: &str) -> Vec<Named> {
    let mut found = Vec::new();
    for series in ["RFC", "XEP"] {
        for (start, _) in text.match_indices(series) {
            let rest = &text[start + 3..];
            let digits = rest.trim_start_matches(|c: char| c == '-' || c.is_whitespace());
            let gap = rest.len() - digits.len();
            let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            let inside = text[..start].ends_with(|c: char| c.is_alphanumeric());
            if length < 3 || inside {
                continue;
            }
            let Some(doc) = Doc::parse(&format!("{series}{}", &digits[..length])) else { continue };
            found.push(Named { doc, start, end: start + 3 + gap + length });
        }
    }
    found.sort_by_key(|named| named.start);
    found
}

/// The sections that a text names, each with its document.
fn numbers(text: &str, docs: &[Named], about: Option<Doc>) -> Vec<Found> {
    let mut found = Vec::new();
    let mut last: Option<(usize, Doc)> = None;
    for (at, sign) in text.match_indices('§') {
        let Some(section) = number(&text[at + sign.len()..]) else { continue };
        let named = docs.iter().rfind(|named| named.end <= at).map(|named| (named.end, named.doc));
        let near = [named, last].into_iter().flatten().max_by_key(|(end, _)| *end);
        let end = at + sign.len() + section.len();
        match near {
            Some((until, doc)) if connects(&text[until..at]) => {
                last = Some((end, doc));
                found.push(Found { at, doc, section: Some(section), bare: false });
            }
            _ if stands_alone(&text[..at]) => {
                let bare = about.map(|doc| Found { at, doc, section: Some(section), bare: true });
                found.extend(bare);
            }
            _ => {}
        }
    }
    found
}

/// The number right behind the sign: `8.3.1`, `A.2`.
fn number(rest: &str) -> Option<String> {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
    let number = rest[..end].trim_end_matches('.');
    let mut parts = number.split('.');
    let first = parts.next()?;
    let letter = first.len() == 1 && first.starts_with(|c: char| c.is_ascii_uppercase());
    let good = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    ((letter || good(first)) && parts.all(good)).then(|| number.to_owned())
}

/// Whether only what joins the members of a list stands between two parts of a citation.
fn connects(between: &str) -> bool {
    let mut words = between.split(|c: char| c.is_whitespace() || ",;:/(–-&`'\"§".contains(c));
    words.all(|word| ["", "to", "and", "or", "with", "s", ".."].contains(&word))
}

/// Whether a bare `§` is not part of another document's citation: `(§3.3)`, or first on its line.
fn stands_alone(before: &str) -> bool {
    before.trim_end_matches([' ', '`']).ends_with(['(', '\n']) || before.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sections::Entry;

    fn cites(text: &str) -> Vec<String> {
        let source = Source::new("crates/a/src/b.rs".into(), text);
        let sectioned = in_source(&source).into_iter().filter(|c| c.section.is_some());
        sectioned
            .map(|c| format!("{} {} §{}", c.line, c.doc, c.section.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn lists_and_ranges_belong_to_their_document() {
        let text = "/// RFC 6120 §4.9.1.1, §4.9.1.2 and §8.3; XEP-0191 §3.3 to §3.5.\nfn a() {}";
        assert_eq!(
            cites(text),
            [
                "1 RFC 6120 §4.9.1.1",
                "1 RFC 6120 §4.9.1.2",
                "1 RFC 6120 §8.3",
                "1 XEP-0191 §3.3",
                "1 XEP-0191 §3.5",
            ]
        );
    }

    #[test]
    fn citation_may_break_over_lines() {
        let text = "fn a() {} // x\n// as RFC\n// 6120 demands (RFC 6120\n// §A.4.1).\n";
        assert_eq!(cites(text), ["4 RFC 6120 §A.4.1"]);
    }

    #[test]
    fn bare_sign_means_the_document_of_the_file() {
        let text = "//! XEP-0191: Blocking. See DESIGN §9 and RFC 6120.\n#[test]\nfn t() {\n    \
                    play(\"\n    # Silence (§3.3).\n    <a/>\");\n}\n";
        assert_eq!(cites(text), ["5 XEP-0191 §3.3"]);
    }

    #[test]
    fn bare_sign_may_mean_whatever_the_file_names() {
        let entry =
            |section: &str| Entry { sections: [section.to_owned()].into(), ..Entry::default() };
        let index = Index::from([(Doc::Xep(1), entry("1")), (Doc::Xep(474), entry("6.3"))]);
        let named = "// XEP-0001.\nfn example_of_xep_0474() {}\n\n// §6.3.\n// §7.\n";
        let found = in_source(&Source::new("crates/a/src/b.rs".into(), named));
        assert_eq!(wrong(&found, &index), ["crates/a/src/b.rs:5: XEP-0001 has no §7"]);
        // Of a document without text nobody can tell.
        let unknown = "// XEP-0001, RFC 5892.\n\n// §A.3\n";
        let found = in_source(&Source::new("crates/a/src/b.rs".into(), unknown));
        assert_eq!(wrong(&found, &index), Vec::<String>::new());
    }

    #[test]
    fn sections_of_our_own_documents_are_not_checked() {
        assert_eq!(cites("// RFC 6120 and STYLE §1 say so; DESIGN §2."), Vec::<String>::new());
    }

    #[test]
    fn code_and_its_strings_cite_nothing() {
        assert_eq!(cites("const A: &str = \"XEP-0191 §99\";"), Vec::<String>::new());
    }

    #[test]
    fn section_or_xep_that_does_not_exist_is_named() {
        let sections = ["3.3".to_owned()].into();
        let index = Index::from([(Doc::Xep(191), Entry { sections, ..Entry::default() })]);
        let text = "// XEP-0191 §3.3, §3.4.\n// XEP-9999; RFC 1 and RFC 5280 §4.\n";
        let found = in_source(&Source::new("crates/a/src/b.rs".into(), text));
        assert_eq!(
            wrong(&found, &index),
            [
                "crates/a/src/b.rs:1: XEP-0191 has no §3.4",
                "crates/a/src/b.rs:2: there is no XEP-9999"
            ]
        );
        assert_eq!(
            unknown(&found, &index),
            ["RFC 5280 is cited 1 times, but there is no text to check"]
        );
    }

    #[test]
    fn todo_is_told_from_done() {
        let text = "// XEP-0313 §4. todo(XEP-0313 §5.1): flip.\n// RFC 6121 §2 holds.\n";
        let found = in_source(&Source::new("crates/a/src/b.rs".into(), text));
        let todo: Vec<_> = found.iter().filter(|c| c.todo).map(|c| c.section.as_deref()).collect();
        assert_eq!(todo, [None, Some("5.1")]);
    }
}
