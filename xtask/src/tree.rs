//! The repository as the checks see it: Rust files with their tokens, and the other texts.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use crate::lex::{Kind, Token, tokens};

/// One Rust file.
pub struct Source {
    /// Path from the root of the repository, with slashes.
    pub path: String,
    /// The name of the folder of its crate: `core`, or `xtask`.
    pub home: String,
    /// All tokens, comments among them.
    pub tokens: Vec<Token>,
    /// For each token, whether it belongs to a test.
    pub test: Vec<bool>,
    /// How many lines it has.
    pub lines: usize,
}

impl Source {
    /// Reads a file that was found at `path`.
    pub fn new(path: String, text: &str) -> Self {
        let tokens = tokens(text);
        let whole = is_test_path(&path) || opens_with_cfg_test(&tokens);
        let test = if whole { vec![true; tokens.len()] } else { test_marks(&tokens) };
        let mut parts = path.split('/');
        let home = match parts.next() {
            Some("crates") => parts.next().unwrap_or_default(),
            other => other.unwrap_or_default(),
        };
        Self { home: home.to_owned(), tokens, test, lines: text.lines().count(), path }
    }

    /// The tokens of the product: no comments, no tests.
    pub fn code(&self) -> Vec<&Token> {
        let marked = self.tokens.iter().zip(&self.test);
        marked.filter(|(t, test)| !**test && !t.is_comment()).map(|(t, _)| t).collect()
    }

    /// Whether the whole file is a test.
    pub fn is_test(&self) -> bool {
        !self.test.is_empty() && self.test.iter().all(|t| *t)
    }

    /// Path within `src` of its crate, if it lies there.
    pub fn in_src(&self) -> Option<&str> {
        let base =
            if self.home == "xtask" { "xtask".into() } else { format!("crates/{}", self.home) };
        self.path.strip_prefix(&base)?.strip_prefix("/src/")
    }
}

/// A file that is not Rust, whose citations count as well.
pub struct Text {
    /// Path from the root of the repository, with slashes.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// Everything that is checked.
#[derive(Default)]
pub struct Tree {
    /// Rust files of `crates/` and `xtask/`, by path.
    pub sources: Vec<Source>,
    /// `Cargo.toml` of each crate.
    pub cargo: Vec<Text>,
    /// Documents, conversations and rigs.
    pub texts: Vec<Text>,
}

impl Tree {
    /// Reads the repository at `root`.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        for folder in ["crates", "xtask", "tests", "docs"] {
            tree.walk(root, folder)?;
        }
        for name in names(root)? {
            if name.ends_with(".md") && name != "SPECS.md" {
                tree.add(root, name)?;
            }
        }
        tree.mark_test_modules();
        Ok(tree)
    }

    fn walk(&mut self, root: &Path, folder: &str) -> io::Result<()> {
        if !root.join(folder).is_dir() {
            return Ok(());
        }
        for name in names(&root.join(folder))? {
            if name.starts_with('.')
                || ["target", "node_modules", "corpus"].contains(&name.as_str())
            {
                continue;
            }
            let path = format!("{folder}/{name}");
            if root.join(&path).is_dir() {
                self.walk(root, &path)?;
            } else {
                self.add(root, path)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, root: &Path, path: String) -> io::Result<()> {
        let file = root.join(&path);
        if path.ends_with(".rs") {
            self.sources.push(Source::new(path, &fs::read_to_string(file)?));
        } else if path.ends_with("/Cargo.toml") {
            self.cargo.push(Text { text: fs::read_to_string(file)?, path });
        } else if [".md", ".txt", ".py", ".c", ".sh"].iter().any(|e| path.ends_with(e))
            && !path.starts_with("xtask/")
        {
            self.texts.push(Text { text: fs::read_to_string(file)?, path });
        }
        Ok(())
    }

    /// A file that is brought in by `#[cfg(test)] mod name;` is a test, and so is what lies below.
    fn mark_test_modules(&mut self) {
        let mut bases = BTreeSet::new();
        for source in &self.sources {
            let dir = module_dir(&source.path);
            let code: Vec<_> = source.tokens.iter().zip(&source.test).collect();
            for three in code.windows(3) {
                let [(a, test), (b, _), (c, _)] = three else { continue };
                if **test && a.is("mod") && c.is(";") {
                    bases.insert(format!("{dir}/{}", b.text));
                }
            }
        }
        for source in &mut self.sources {
            let below = |base: &String| {
                let rest = source.path.strip_prefix(base.as_str());
                rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            };
            if bases.iter().any(below) {
                source.test.fill(true);
            }
        }
    }
}

/// The folder in which the child modules of a file lie.
fn module_dir(path: &str) -> &str {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    for name in ["/mod", "/lib", "/main"] {
        if let Some(dir) = stem.strip_suffix(name) {
            return dir;
        }
    }
    stem
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// The suites that every store and every transport runs are tests too, wherever they lie.
fn is_test_path(path: &str) -> bool {
    ["/conformance/", "/conformance.rs", "/tests/", "/benches/", "/examples/", "/fuzz/"]
        .iter()
        .any(|part| path.contains(part))
        || path.starts_with("tests/")
        || path.ends_with("/tests.rs")
}

fn opens_with_cfg_test(tokens: &[Token]) -> bool {
    let mut code = tokens.iter().filter(|t| !t.is_comment()).map(|t| t.text.as_str());
    let opening = ["#", "!", "[", "cfg", "(", "test", ")"];
    opening.iter().all(|wanted| code.next() == Some(wanted))
}

/// Which tokens belong to an item behind `#[test]`, `#[cfg(test)]` or their like.
fn test_marks(tokens: &[Token]) -> Vec<bool> {
    let mut marks = vec![false; tokens.len()];
    let mut at = 0;
    while at < tokens.len() {
        let Some(end) = attribute(tokens, at) else {
            at += 1;
            continue;
        };
        let words = &tokens[at..end];
        let has = |word: &str| words.iter().any(|t| t.is(word));
        if !has("test") || has("not") || has("cfg_attr") {
            at = end;
            continue;
        }
        let end = item_end(tokens, end);
        marks[at..end].fill(true);
        at = end;
    }
    marks
}

/// The end of the attribute that begins at `at`, if one does.
fn attribute(tokens: &[Token], at: usize) -> Option<usize> {
    let opens = tokens.get(at)?.is("#") && tokens.get(at + 1)?.is("[");
    opens.then(|| group_end(tokens, at + 1))
}

/// The end of the bracketed group that opens at `at`.
fn group_end(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(at) {
        if token.kind != Kind::Mark {
            continue;
        }
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// The end of the item whose first token (perhaps an attribute) is at `at`.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while at < tokens.len() {
        if let Some(end) = attribute(tokens, at) {
            at = end;
        } else if tokens[at].is(";") {
            return at + 1;
        } else if tokens[at].is("{") {
            return group_end(tokens, at);
        } else if tokens[at].is("(") || tokens[at].is("[") {
            at = group_end(tokens, at);
        } else {
            at += 1;
        }
    }
    at
}

/// A function with the number of its lines.
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`.
    pub line: usize,
    /// From `fn` to the closing brace.
    pub lines: usize,
}

/// The functions of the product in this file that have a body.
pub fn functions(source: &Source) -> Vec<Function> {
    let mut found = Vec::new();
    let code: Vec<Token> = source.code().into_iter().cloned().collect();
    for (i, token) in code.iter().enumerate() {
        let Some(name) = code.get(i + 1).filter(|n| n.kind == Kind::Word) else { continue };
        if !token.is("fn") {
            continue;
        }
        let end = item_end(&code, i);
        let Some(last) = code.get(end.saturating_sub(1)).filter(|t| t.is("}")) else { continue };
        let lines = last.line + 1 - token.line;
        found.push(Function { name: name.text.clone(), line: token.line, lines });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(text: &str) -> Vec<String> {
        let source = Source::new("crates/a/src/b.rs".into(), text);
        source.code().iter().map(|t| t.text.clone()).collect()
    }

    #[test]
    fn tests_are_left_out_of_the_product() {
        let text =
            "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests { fn b() {} }\nconst C: u8 = 1;";
        assert_eq!(product(text).join(" "), "fn a ( ) { } const C : u8 = 1 ;");
    }

    #[test]
    fn code_for_all_but_tests_is_product() {
        assert!(product("#[cfg(not(test))] fn a() {}").contains(&"a".to_owned()));
    }

    #[test]
    fn attribute_on_a_statement_ends_with_it() {
        let text = "#[cfg(test)] use a::b; fn c() {}";
        assert_eq!(product(text).join(" "), "fn c ( ) { }");
    }

    #[test]
    fn functions_are_measured_without_tests() {
        let text = "trait A { fn none(); }\nfn two() -> [u8; 2] {\n}\n#[test]\nfn t() {\n}\n";
        let found = functions(&Source::new("crates/a/src/b.rs".into(), text));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].line, found[0].lines), ("two", 2, 2));
    }

    #[test]
    fn module_named_under_cfg_test_is_a_test() {
        let dir = crate::sample::Sample::new(&[
            ("crates/a/src/lib.rs", "//! A.\n#[cfg(test)]\nmod rig;\nmod real;\n"),
            ("crates/a/src/rig.rs", "//! R.\nfn a() {}\n"),
            ("crates/a/src/rig/deep.rs", "//! D.\nfn a() {}\n"),
            ("crates/a/src/real.rs", "//! R.\nfn a() {}\n"),
        ]);
        let tree = Tree::read(dir.path()).expect("the sample is readable");
        let tests: Vec<_> = tree.sources.iter().filter(|s| s.is_test()).map(|s| &s.path).collect();
        assert_eq!(tests, ["crates/a/src/rig/deep.rs", "crates/a/src/rig.rs"]);
    }
}
