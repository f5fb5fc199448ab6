//! No circles: between the files of a crate, and no crate depends on one above it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::lex::{Kind, Token};
use crate::tree::{Source, Text, Tree};

/// The height of each crate; dependencies go to lower numbers only.
const ORDER: &[(&str, u8)] = &[
    ("xml", 0),
    ("xmpp", 1),
    ("core", 2),
    ("transports", 3),
    ("stores", 3),
    ("modules", 3),
    ("gateways", 3),
    ("client", 3),
    ("http", 4),
    ("cli", 4),
    ("admin", 5),
    ("testkit", 6),
    ("server", 7),
];

/// Crates that depend on one that does not lie below them.
pub fn upward_crates(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for cargo in &tree.cargo {
        let Some(home) = cargo.path.strip_prefix("crates/") else { continue };
        let Some(home) = home.strip_suffix("/Cargo.toml") else { continue };
        // A folder within a crate, such as its fuzz targets, is a workspace of its own.
        if home.contains('/') {
            continue;
        }
        let Some(height) = height(home) else {
            let file = file!();
            wrong.push(format!("{}: `{home}` has no place in ORDER of {file}", cargo.path));
            continue;
        };
        for dependency in dependencies(cargo) {
            // What only tests need may be the test kit, which stands on top of nearly all.
            let testkit = dependency.dev && dependency.name == "testkit";
            let below = self::height(&dependency.name).is_some_and(|other| other < height);
            if !below && !testkit {
                wrong.push(format!(
                    "{}:{}: `{home}` depends on `{}`, which does not lie below it",
                    cargo.path, dependency.line, dependency.name
                ));
            }
        }
    }
    wrong
}

fn height(home: &str) -> Option<u8> {
    ORDER.iter().find(|(name, _)| *name == home).map(|(_, height)| *height)
}

struct Dependency {
    name: String,
    line: usize,
    dev: bool,
}

/// The crates of this workspace that a `Cargo.toml` names as dependencies.
fn dependencies(cargo: &Text) -> Vec<Dependency> {
    let mut found = Vec::new();
    let mut section = String::new();
    for (i, line) in cargo.text.lines().enumerate() {
        let line = line.trim();
        let mut key = line.split(['=', '.', ' ']).next().unwrap_or_default();
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
            key = section.rsplit_once("dependencies.").map_or("", |(_, key)| key);
        } else if !section.ends_with("dependencies") {
            continue;
        }
        if let Some(name) = key.trim_matches('"').strip_prefix("verona-") {
            let dev = section.contains("dev-dependencies");
            found.push(Dependency { name: name.to_owned(), line: i + 1, dev });
        }
    }
    found
}

/// Circles between files of one crate.
pub fn circles(tree: &Tree) -> Vec<String> {
    let mut crates: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in tree.sources.iter().filter(|s| s.in_src().is_some()) {
        crates.entry(source.home.as_str()).or_default().push(source);
    }
    crates.values().flat_map(|sources| circles_in(sources)).collect()
}

fn circles_in(sources: &[&Source]) -> Vec<String> {
    let modules: Modules = sources
        .iter()
        .enumerate()
        .filter_map(|(i, source)| Some((module_path(source.in_src()?), i)))
        .collect();
    let graph: Vec<Edges> = sources.iter().map(|source| edges(source, &modules)).collect();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for start in 0..sources.len() {
        let Some(circle) = shortest_circle(&graph, start) else { continue };
        if seen.insert(circle.iter().copied().collect::<BTreeSet<_>>()) {
            found.push(describe(sources, &graph, &circle));
        }
    }
    found
}

fn describe(sources: &[&Source], graph: &[Edges], circle: &[usize]) -> String {
    let next = circle.iter().cycle().skip(1);
    let steps = circle.iter().zip(next).map(|(from, to)| {
        let line = graph[*from].get(to).copied().unwrap_or_default();
        format!("{}:{line}", sources[*from].path)
    });
    format!("circle of imports: {}", steps.collect::<Vec<_>>().join(" -> "))
}

/// Module path to the number of its file.
type Modules = BTreeMap<Vec<String>, usize>;
/// File that is imported, and the line that does it.
type Edges = BTreeMap<usize, usize>;

/// `store/mod.rs` is `[store]`, `lib.rs` is the root.
fn module_path(in_src: &str) -> Vec<String> {
    let stem = in_src.strip_suffix(".rs").unwrap_or(in_src);
    let mut path: Vec<String> = stem.split('/').map(str::to_owned).collect();
    if path.last().is_some_and(|last| last == "mod")
        || path.len() == 1 && ["lib", "main"].contains(&path[0].as_str())
    {
        path.pop();
    }
    path
}

/// What one file imports from others of its crate.
fn edges(source: &Source, modules: &Modules) -> Edges {
    let here = module_path(source.in_src().unwrap_or_default());
    let own = modules.get(&here).copied();
    let mut edges = Edges::new();
    for (path, line) in paths(&source.code(), &here, modules) {
        let file = (0..=path.len()).rev().find_map(|n| modules.get(&path[..n]));
        if let Some(file) = file.filter(|file| Some(**file) != own) {
            edges.entry(*file).or_insert(line);
        }
    }
    edges
}

/// All paths into this crate that the code names, absolute, with their lines.
fn paths(code: &[&Token], here: &[String], modules: &Modules) -> Vec<(Vec<String>, usize)> {
    let mut found = Vec::new();
    let mut inline: Vec<(String, usize)> = Vec::new();
    let (mut at, mut depth) = (0, 0_usize);
    while at < code.len() {
        let token = code[at];
        let mut module = here.to_vec();
        module.extend(inline.iter().map(|(name, _)| name.clone()));
        if token.is("{") {
            depth += 1;
            if at >= 2 && code[at - 2].is("mod") {
                inline.push((code[at - 1].text.clone(), depth));
            }
        } else if token.is("}") {
            inline.pop_if(|(_, opened)| *opened == depth);
            depth = depth.saturating_sub(1);
        } else if token.is("use") && !code.get(at + 1).is_some_and(|t| t.is("<")) {
            let mut tree = UseTree { code, at: at + 1, found: Vec::new() };
            tree.read(Vec::new());
            at = tree.at;
            let absolute = tree.found.iter().filter_map(|p| absolute(p, &module, modules));
            found.extend(absolute.map(|path| (path, token.line)));
            continue;
        } else if token.kind == Kind::Word && starts_path(code, at) {
            let (path, end) = inline_path(code, at);
            // A macro that was exported lives at the root, wherever it is written.
            if !code.get(end).is_some_and(|t| t.is("!")) {
                found.extend(absolute(&path, &module, modules).map(|path| (path, token.line)));
            }
            at = end;
            continue;
        }
        at += 1;
    }
    found
}

/// Whether a path of two words or more begins here, outside of `use` and of `pub(in ..)`.
fn starts_path(code: &[&Token], at: usize) -> bool {
    let before = at.checked_sub(1).map(|i| code[i]);
    let inner = before.is_some_and(|t| t.is(":") || t.is(".") || t.is("in"));
    !inner && colons(code, at + 1)
}

fn colons(code: &[&Token], at: usize) -> bool {
    [at, at + 1].iter().all(|i| code.get(*i).is_some_and(|t| t.is(":")))
}

fn inline_path(code: &[&Token], mut at: usize) -> (Vec<String>, usize) {
    let mut path = vec![code[at].text.clone()];
    at += 1;
    while colons(code, at) && code.get(at + 2).is_some_and(|t| t.kind == Kind::Word) {
        path.push(code[at + 2].text.clone());
        at += 3;
    }
    (path, at)
}

/// The path from the root of the crate, or `None` when it leads out of the crate.
fn absolute(path: &[String], module: &[String], modules: &Modules) -> Option<Vec<String>> {
    let (first, mut rest) = path.split_first()?;
    let mut base = module.to_vec();
    match first.as_str() {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            base.pop();
            while let Some(("super", more)) = rest.split_first().map(|(f, m)| (f.as_str(), m)) {
                base.pop();
                rest = more;
            }
        }
        name => {
            base.push(name.to_owned());
            modules.get(&base)?;
        }
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

/// A reader of `a::{b, c::{d as e, *}}`.
struct UseTree<'a> {
    code: &'a [&'a Token],
    at: usize,
    found: Vec<Vec<String>>,
}

impl UseTree<'_> {
    fn read(&mut self, mut prefix: Vec<String>) {
        while let Some(token) = self.code.get(self.at) {
            match token.text.as_str() {
                ";" => {
                    self.at += 1;
                    break;
                }
                "," | "}" => break,
                "{" => {
                    self.group(&prefix);
                    return;
                }
                "as" => {
                    self.at += 2;
                    continue;
                }
                _ if token.kind == Kind::Word => prefix.push(token.text.clone()),
                _ => {}
            }
            self.at += 1;
        }
        if prefix.last().is_some_and(|last| last == "self") && prefix.len() > 1 {
            prefix.pop();
        }
        self.found.push(prefix);
    }

    fn group(&mut self, prefix: &[String]) {
        self.at += 1;
        while let Some(token) = self.code.get(self.at) {
            if token.is("}") {
                self.at += 1;
                return;
            }
            if token.is(",") {
                self.at += 1;
            } else {
                self.read(prefix.to_vec());
            }
        }
    }
}

/// The shortest way from a file back to itself.
fn shortest_circle(graph: &[Edges], start: usize) -> Option<Vec<usize>> {
    let mut from = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for next in graph[node].keys() {
            if *next == start {
                return Some(way_back(&from, start, node));
            }
            if !from.contains_key(next) {
                from.insert(*next, node);
                queue.push_back(*next);
            }
        }
    }
    None
}

fn way_back(from: &BTreeMap<usize, usize>, start: usize, mut node: usize) -> Vec<usize> {
    let mut circle = vec![node];
    while node != start {
        node = from[&node];
        circle.push(node);
    }
    circle.reverse();
    circle
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    fn tree(files: &[(&str, &str)]) -> Tree {
        Tree::read(Sample::new(files).path()).expect("the sample is readable")
    }

    #[test]
    fn two_files_that_import_each_other_are_a_circle() {
        let tree = tree(&[
            ("crates/core/src/lib.rs", "//! L.\npub mod a;\npub mod b;\n"),
            ("crates/core/src/a.rs", "//! A.\nuse crate::{b::{B as C}, c};\n"),
            ("crates/core/src/b.rs", "//! B.\nfn f() -> super::a::A {}\n"),
        ]);
        let found = circles(&tree);
        assert_eq!(found, ["circle of imports: crates/core/src/a.rs:2 -> crates/core/src/b.rs:2"]);
    }

    #[test]
    fn circle_through_the_face_of_a_folder_is_found() {
        let tree = tree(&[
            ("crates/core/src/lib.rs", "//! L.\nmod s;\n"),
            ("crates/core/src/s/mod.rs", "//! S.\nmod a;\nmod b;\npub use a::A;\n"),
            ("crates/core/src/s/a.rs", "//! A.\nuse super::b::B;\n"),
            ("crates/core/src/s/b.rs", "//! B.\nuse crate::s::A;\n"),
        ]);
        assert_eq!(circles(&tree).len(), 1);
    }

    #[test]
    fn tests_inline_modules_and_other_crates_make_no_circle() {
        let tree = tree(&[
            ("crates/core/src/lib.rs", "//! L.\nmod a;\nmod b;\npub use crate::a::A;\n"),
            (
                "crates/core/src/a.rs",
                "//! A.\nuse b::x;\nuse crate::b::B;\nmod n { fn f(_: super::A) {} }\n",
            ),
            (
                "crates/core/src/b.rs",
                "//! B, see [`crate::a`].\npub(in crate::a) struct B;\n\
                 #[cfg(test)]\nmod tests { use crate::a::A; }\nfn f() { crate::shout!() }\n",
            ),
        ]);
        assert_eq!(circles(&tree), Vec::<String>::new());
    }

    #[test]
    fn crate_that_depends_upwards_is_named() {
        let tree = tree(&[
            ("crates/xml/Cargo.toml", "[dependencies]\nverona-core.workspace = true\n"),
            ("crates/core/Cargo.toml", "[dependencies]\nverona-xml = { path = \"../xml\" }\n"),
            ("crates/stores/Cargo.toml", "[dev-dependencies.verona-testkit]\npath = \"x\"\n"),
            ("crates/modules/Cargo.toml", "[dev-dependencies]\nverona-stores = \"1\"\n"),
            ("crates/odd/Cargo.toml", ""),
        ]);
        let found = upward_crates(&tree);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("crates/modules/Cargo.toml:2: `modules` depends on `stores`"));
        assert!(found[1].starts_with("crates/odd/Cargo.toml: `odd` has no place"));
        assert!(found[2].starts_with("crates/xml/Cargo.toml:2: `xml` depends on `core`"));
    }
}
