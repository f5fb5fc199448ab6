//! The checks that the compiler cannot make.

use crate::cites;
use crate::imports;
use crate::lex::{Kind, Token};
use crate::manifest;
use crate::sections::Index;
use crate::tree::{Source, Tree, functions};

/// What was found.
pub struct Report {
    /// What must be mended.
    pub wrong: Vec<String>,
    /// What somebody should look at.
    pub notes: Vec<String>,
}

/// Runs all checks.
pub fn check(tree: &Tree, index: &Index) -> Report {
    let cites = cites::all(tree);
    let (manifests, mut wrong) = manifest::all(tree);
    wrong.extend(manifest::untested(tree, &manifests));
    wrong.extend(imports::upward_crates(tree));
    wrong.extend(imports::circles(tree));
    wrong.extend(cites::wrong(&cites, index));
    for source in &tree.sources {
        wrong.extend(module_doc(source));
        wrong.extend(face(source));
        wrong.extend(formatted_xml(source));
    }
    wrong.sort();
    let mut notes = cites::unknown(&cites, index);
    notes.extend(longest(tree));
    Report { wrong, notes }
}

/// Every file says first what it is for.
fn module_doc(source: &Source) -> Option<String> {
    let opened = source.tokens.first().is_some_and(|t| t.text.starts_with("//!"));
    (!opened).then(|| format!("{}:1: the file does not open with `//!`", source.path))
}

/// `lib.rs` and `mod.rs` are maps: documentation, `mod` lines, the face to others, no code. The map
/// of all modules has a list as well.
fn face(source: &Source) -> Option<String> {
    let name = source.in_src()?.rsplit('/').next()?;
    let map = source.home == "modules" && source.in_src() == Some("lib.rs");
    if !["lib.rs", "mod.rs"].contains(&name) || map || source.is_test() {
        return None;
    }
    let mut depth = 0_usize;
    for token in source.code() {
        let word = ["struct", "enum", "union", "impl", "macro_rules"].iter().any(|w| token.is(w));
        if word && depth == 0 {
            return Some(misplaced(source, token.line));
        }
        depth += usize::from(token.is("{"));
        depth = depth.saturating_sub(usize::from(token.is("}")));
    }
    functions(source).first().map(|function| misplaced(source, function.line))
}

fn misplaced(source: &Source, line: usize) -> String {
    format!("{}:{line}: code belongs in a file of its own, this one is a map", source.path)
}

/// XML is built with the writer, which escapes. The test kit writes what peers write, right or not;
/// elsewhere a comment `by hand: ..` on the line before gives the reason.
fn formatted_xml(source: &Source) -> Vec<String> {
    if ["testkit", "xtask"].contains(&source.home.as_str()) {
        return Vec::new();
    }
    let code = source.code();
    let allowed = |line: usize| {
        let mut comments = source.tokens.iter().filter(|t| t.is_comment());
        comments.any(|t| [line, line - 1].contains(&t.line) && t.text.contains("by hand: "))
    };
    let macros = code.iter().enumerate().filter(|(i, token)| {
        let makes = ["format", "write", "writeln", "format_args"].iter().any(|name| token.is(name));
        makes && code.get(i + 1).is_some_and(|t| t.is("!")) && !allowed(token.line)
    });
    macros
        .filter(|(i, _)| first_text(&code[i + 2..]).is_some_and(|t| opens_element(&t.text)))
        .map(|(_, token)| {
            let Source { path, .. } = source;
            format!(
                "{path}:{}: XML is built with the writer, not with `{}!`",
                token.line, token.text
            )
        })
        .collect()
}

/// The format string of a macro: the first text at the level of its arguments.
fn first_text<'a>(arguments: &[&'a Token]) -> Option<&'a Token> {
    let mut depth = 0_usize;
    for token in arguments {
        depth += usize::from(["(", "[", "{"].iter().any(|mark| token.is(mark)));
        depth = depth.saturating_sub(usize::from([")", "]", "}"].iter().any(|m| token.is(m))));
        if depth == 0 {
            return None;
        }
        if depth == 1 && token.kind == Kind::Text {
            return Some(token);
        }
    }
    None
}

fn opens_element(text: &str) -> bool {
    let rest = text.trim_start().strip_prefix('<');
    rest.is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphabetic() || "/?!{".contains(c))
    })
}

/// The longest files and functions, when they are more than is pleasant.
fn longest(tree: &Tree) -> Vec<String> {
    const FILE: usize = 400;
    const FUNCTION: usize = 40;
    const SHOWN: usize = 8;
    let (mut files, mut long) = (Vec::new(), Vec::new());
    for source in tree.sources.iter().filter(|source| !source.is_test()) {
        let tests = source.tokens.iter().zip(&source.test).find(|(_, test)| **test);
        let lines = tests.map_or(source.lines, |(first, _)| first.line - 1);
        files.push((lines, format!("{}: {lines} lines without tests", source.path)));
        for function in functions(source) {
            let place = format!("{}:{}", source.path, function.line);
            let text = format!("{place}: `{}` has {} lines", function.name, function.lines);
            long.push((function.lines, text));
        }
    }
    files.retain(|(lines, _)| *lines > FILE);
    long.retain(|(lines, _)| *lines > FUNCTION);
    let mut notes = Vec::new();
    for mut list in [files, long] {
        list.sort_by_key(|(lines, _)| std::cmp::Reverse(*lines));
        notes.extend(list.into_iter().take(SHOWN).map(|(_, text)| text));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    fn report(files: &[(&str, &str)]) -> Report {
        let tree = Tree::read(Sample::new(files).path()).expect("the sample is readable");
        check(&tree, &Index::new())
    }

    #[test]
    fn tidy_tree_passes() {
        let found = report(&[
            ("crates/core/src/lib.rs", "//! C.\n\npub mod a;\n\npub use a::A;\n"),
            ("crates/core/src/a.rs", "//! A.\npub struct A;\nfn f() { format!(\"a < b\") }\n"),
            (
                "crates/core/src/b.rs",
                "//! B.\nfn f() {\n// by hand: the header stays open.\nformat!(\"<s:s>\") }\n",
            ),
            ("crates/modules/src/lib.rs", "//! Map.\npub fn all() -> u8 { 1 }\n"),
            ("crates/core/src/store/mod.rs", "//! S.\npub trait Store {\n fn a() -> impl B;\n}\n"),
        ]);
        assert_eq!(found.wrong, Vec::<String>::new());
        assert_eq!(found.notes, Vec::<String>::new());
    }

    #[test]
    fn every_habit_that_is_broken_is_named_with_its_line() {
        let long = format!("//! A.\nfn long() {{\n{}}}\n", "    x();\n".repeat(401));
        let found = report(&[
            ("crates/core/src/lib.rs", "//! C.\nfn code() {}\n"),
            ("crates/core/src/s/mod.rs", "//! C.\nimpl A for B {}\n"),
            ("crates/core/src/a.rs", "use std::fmt;\n//! Late.\n"),
            (
                "crates/core/src/b.rs",
                "//! B.\nfn f() {\n    write!(out, \"</{}>\", name(\"x\"));\n}\n\
                 #[test]\nfn t() { format!(\"<a/>\"); }\n",
            ),
            ("crates/core/src/c.rs", &long),
        ]);
        assert_eq!(
            found.wrong,
            [
                "crates/core/src/a.rs:1: the file does not open with `//!`",
                "crates/core/src/b.rs:3: XML is built with the writer, not with `write!`",
                "crates/core/src/lib.rs:2: code belongs in a file of its own, this one is a map",
                "crates/core/src/s/mod.rs:2: code belongs in a file of its own, this one is a map",
            ]
        );
        assert_eq!(
            found.notes,
            [
                "crates/core/src/c.rs: 404 lines without tests",
                "crates/core/src/c.rs:2: `long` has 403 lines",
            ]
        );
    }
}
