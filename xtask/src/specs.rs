//! `SPECS.md`: what is implemented, derived from manifests, citations and todos.

use std::collections::{BTreeMap, BTreeSet};

use crate::cites::Cite;
use crate::manifest::Manifest;
use crate::sections::{Doc, Entry, Index, sort_key};

#[derive(Default)]
struct Row {
    versions: BTreeSet<String>,
    declared: bool,
    open: BTreeSet<String>,
    whole_open: bool,
    files: BTreeSet<String>,
}

/// The text of `SPECS.md`.
pub fn render(index: &Index, manifests: &[Manifest], cites: &[Cite]) -> String {
    let rows = rows(manifests, cites);
    let mut text = String::from(
        "# Specifications\n\n\
         Made by `cargo run -p xtask -- specs` from the manifests of the modules, the citations beside\n\
         the code and the `todo` comments; never edited by hand.\n\n\
         *done*: a module declares it and no `todo` is open. *open*: these sections are still to do.\n\
         *cited*: rules of it are kept where the files say so.\n\n\
         | Document | Title | Version | State | Files |\n\
         |----------|-------|---------|-------|-------|\n",
    );
    for (doc, row) in &rows {
        let unknown = Entry::default();
        let entry = index.get(doc).unwrap_or(&unknown);
        let files: Vec<String> = row.files.iter().map(|file| format!("`{file}`")).collect();
        let cells = [
            doc.to_string(),
            entry.title.replace('|', "\\|"),
            version(entry, row),
            state(row),
            files.join(", "),
        ];
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}

fn rows(manifests: &[Manifest], cites: &[Cite]) -> BTreeMap<Doc, Row> {
    let mut rows: BTreeMap<Doc, Row> = BTreeMap::new();
    for manifest in manifests {
        for (doc, version) in &manifest.specs {
            let row = rows.entry(*doc).or_default();
            row.declared = true;
            row.versions.insert(version.clone());
            row.files.insert(short(&manifest.path));
        }
    }
    for cite in cites.iter().filter(|cite| cite.path.starts_with("crates/") && !cite.test) {
        let row = rows.entry(cite.doc).or_default();
        row.files.insert(short(&cite.path));
        if cite.todo {
            row.open.extend(cite.section.clone());
            row.whole_open |= cite.section.is_none();
        }
    }
    rows
}

/// `crates/core/src/stream/tls.rs` without what all have in common.
fn short(path: &str) -> String {
    path.trim_start_matches("crates/").replacen("/src/", "/", 1)
}

fn version(entry: &Entry, row: &Row) -> String {
    let ours: Vec<&str> =
        row.versions.iter().map(String::as_str).filter(|version| !version.is_empty()).collect();
    if ours.is_empty() || entry.version.is_empty() || ours == [entry.version.as_str()] {
        return ours.join(", ");
    }
    format!("{} (published: {})", ours.join(", "), entry.version)
}

fn state(row: &Row) -> String {
    if row.open.is_empty() && !row.whole_open {
        return if row.declared { "done" } else { "cited" }.to_owned();
    }
    let mut open: Vec<&String> = row.open.iter().collect();
    open.sort_by_key(|section| sort_key(section));
    let open: Vec<String> = open.iter().map(|section| format!("§{section}")).collect();
    format!("open {}", open.join(", ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cite(doc: Doc, section: &str, todo: bool) -> Cite {
        let path = "crates/modules/src/archive/mam.rs".to_owned();
        let section = (!section.is_empty()).then(|| section.to_owned());
        Cite { path, line: 1, doc, section, todo, test: false, among: Vec::new() }
    }

    #[test]
    fn rows_tell_version_state_and_files() {
        let index = Index::from([
            (
                Doc::Xep(313),
                Entry { title: "Archive".into(), version: "1.1".into(), ..Entry::default() },
            ),
            (Doc::Rfc(6120), Entry { title: "Core".into(), ..Entry::default() }),
        ]);
        let manifest = Manifest {
            path: "crates/modules/src/archive/mam.rs".into(),
            specs: vec![(Doc::Xep(313), "1.0".into()), (Doc::Xep(199), "2.0.1".into())],
            ..Manifest::default()
        };
        let cites = [
            cite(Doc::Xep(313), "10.1", true),
            cite(Doc::Xep(313), "", true),
            cite(Doc::Xep(313), "9", true),
            cite(Doc::Rfc(6120), "8", false),
            Cite { test: true, ..cite(Doc::Rfc(6121), "8", false) },
        ];
        let text = render(&index, &[manifest], &cites);
        let rows: Vec<&str> =
            text.lines().skip_while(|line| !line.starts_with("|--")).skip(1).collect();
        assert_eq!(
            rows,
            [
                "| RFC 6120 | Core |  | cited | `modules/archive/mam.rs` |",
                "| XEP-0199 |  | 2.0.1 | done | `modules/archive/mam.rs` |",
                "| XEP-0313 | Archive | 1.0 (published: 1.1) | open §9, §10.1 | `modules/archive/mam.rs` |",
            ]
        );
    }
}
