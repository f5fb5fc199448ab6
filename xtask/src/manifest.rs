//! What modules declare of themselves, read from the text of their `MANIFEST`.

use crate::lex::{Kind, Token};
use crate::sections::Doc;
use crate::tree::{Source, Tree};

/// The manifest of one module.
#[derive(Debug, Default)]
pub struct Manifest {
    /// The file.
    pub path: String,
    /// The line of the word `MANIFEST`.
    pub line: usize,
    /// Documents with the versions that were implemented.
    pub specs: Vec<(Doc, String)>,
    /// Namespaces that service discovery announces, with the constant that held each, if one did.
    pub features: Vec<(String, Option<String>)>,
}

/// All manifests, and what could not be read in them.
pub fn all(tree: &Tree) -> (Vec<Manifest>, Vec<String>) {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for source in tree.sources.iter().filter(|source| source.home != "xtask") {
        let code = source.code();
        let places = (0..code.len()).filter(|i| code[*i].is("MANIFEST") && code[i + 1..].len() > 3);
        for at in places.filter(|i| code[i + 1].is(":")) {
            let reader = Reader { tree, source, code: &code };
            match reader.manifest(at) {
                Ok(manifest) => found.push(manifest),
                Err(fault) => wrong.push(format!("{}:{}: {fault}", source.path, code[at].line)),
            }
        }
    }
    (found, wrong)
}

struct Reader<'a> {
    tree: &'a Tree,
    source: &'a Source,
    code: &'a [&'a Token],
}

impl<'a> Reader<'a> {
    /// The manifest whose name is at `at`; a trait that only declares one has no body.
    fn manifest(&self, at: usize) -> Result<Manifest, String> {
        let line = self.code[at].line;
        let mut manifest = Manifest { path: self.source.path.clone(), line, ..Manifest::default() };
        let stop = |t: &&Token| t.is("{") || t.is(";");
        let Some(open) = self.code[at..].iter().position(stop).map(|i| at + i) else {
            return Ok(manifest);
        };
        let body = group(self.code, open);
        let specs: Vec<&str> = texts(field(body, "specs")).collect();
        for pair in specs.chunks(2) {
            let [name, version] = pair else { return Err("a spec has no version".into()) };
            let doc = Doc::parse(name).ok_or_else(|| format!("`{name}` is no document"))?;
            manifest.specs.push((doc, (*version).to_owned()));
        }
        manifest.features = self.features(field(body, "features"))?;
        Ok(manifest)
    }

    fn features(&self, value: &'a [&'a Token]) -> Result<Vec<(String, Option<String>)>, String> {
        let list = match value.iter().position(|t| t.is("[")) {
            Some(open) => group(value, open),
            None if value.is_empty() => return Ok(Vec::new()),
            None => return Err("`features` is not written as a list".into()),
        };
        let mut found = Vec::new();
        for entry in list.split(|t| t.is(",")).filter(|entry| !entry.is_empty()) {
            if let Some(text) = texts(entry).next() {
                found.push((text.to_owned(), None));
                continue;
            }
            let words: Vec<&str> =
                entry.iter().filter(|t| t.kind == Kind::Word).map(|t| t.text.as_str()).collect();
            let name = words.last().copied().unwrap_or_default();
            let value =
                self.constant(&words).ok_or_else(|| format!("no `const {name}` is found"))?;
            found.push((value, Some(name.to_owned())));
        }
        Ok(found)
    }

    /// The text of a constant: of this file, else of the file that its path names, else of the
    /// only file that has one of this name.
    fn constant(&self, path: &[&str]) -> Option<String> {
        let (name, parents) = path.split_last()?;
        if parents.is_empty() {
            if let Some(text) = constant_in(self.source, name) {
                return Some(text);
            }
            // Imported under another name, most often from the namespaces that crates share.
            if let Some(original) = renamed(self.source, name).filter(|original| original != name) {
                let shared = self.constant(&["ns", &original]);
                return shared.or_else(|| self.constant(&[&original]));
            }
        }
        let named = |source: &&Source| {
            let ends = |parent: &&str| {
                source.path.ends_with(&format!("/{parent}.rs"))
                    || source.path.ends_with(&format!("/{parent}/mod.rs"))
            };
            parents.last().is_none_or(ends)
        };
        let sources = self.tree.sources.iter().filter(|s| s.home != "xtask").filter(named);
        let mut values: Vec<String> = sources.filter_map(|s| constant_in(s, name)).collect();
        values.sort();
        values.dedup();
        values.pop().filter(|_| values.is_empty())
    }
}

/// What a file imports under this name, when it has another where it comes from.
fn renamed(source: &Source, name: &str) -> Option<String> {
    let code = source.code();
    let import = code.windows(3).find(|three| three[1].is("as") && three[2].is(name))?;
    Some(import[0].text.clone())
}

fn constant_in(source: &Source, name: &str) -> Option<String> {
    let code = source.code();
    let at = code.windows(2).position(|two| two[0].is("const") && two[1].is(name))?;
    let value = code[at..].iter().take_while(|t| !t.is(";")).find(|t| t.kind == Kind::Text)?;
    Some(value.text.clone())
}

/// What stands between the bracket at `open` and its counterpart.
fn group<'a>(code: &'a [&'a Token], open: usize) -> &'a [&'a Token] {
    let mut depth = 0_usize;
    for (i, token) in code.iter().enumerate().skip(open) {
        if ["(", "[", "{"].iter().any(|mark| token.is(mark)) {
            depth += 1;
        } else if [")", "]", "}"].iter().any(|mark| token.is(mark)) {
            depth = depth.saturating_sub(1);
        }
        if depth == 0 {
            return &code[(open + 1).min(i)..i];
        }
    }
    &[]
}

/// The value of a field of a struct: all up to the comma that ends it.
fn field<'a>(body: &'a [&'a Token], name: &str) -> &'a [&'a Token] {
    let Some(at) = body.windows(2).position(|two| two[0].is(name) && two[1].is(":")) else {
        return &[];
    };
    let value = &body[at + 2..];
    let mut depth = 0_usize;
    let end = value.iter().position(|token| {
        depth += usize::from(["(", "[", "{"].iter().any(|mark| token.is(mark)));
        depth = depth.saturating_sub(usize::from([")", "]", "}"].iter().any(|m| token.is(m))));
        depth == 0 && token.is(",")
    });
    &value[..end.unwrap_or(value.len())]
}

fn texts<'a>(code: &'a [&'a Token]) -> impl Iterator<Item = &'a str> {
    code.iter().filter(|t| t.kind == Kind::Text).map(|t| t.text.as_str())
}

/// Features that no test and no conversation ever mentions.
pub fn untested(tree: &Tree, manifests: &[Manifest]) -> Vec<String> {
    let mut found = Vec::new();
    for manifest in manifests {
        for (feature, constant) in &manifest.features {
            let told =
                tree.texts.iter().any(|t| t.path.starts_with("tests/") && holds(&t.text, feature));
            let tested =
                tree.sources.iter().filter(|source| source.home != "xtask").any(|source| {
                    let own = source.path == manifest.path;
                    source.tokens.iter().zip(&source.test).filter(|(_, test)| **test).any(
                        |(t, _)| {
                            let named = own && constant.as_ref().is_some_and(|name| t.is(name));
                            named || t.kind == Kind::Text && holds(&t.text, feature)
                        },
                    )
                });
            if !told && !tested {
                let Manifest { path, line, .. } = manifest;
                found.push(format!("{path}:{line}: the feature `{feature}` has no test"));
            }
        }
    }
    found
}

/// Whether a text has the namespace as a whole, not as the start of a longer one.
fn holds(text: &str, namespace: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || ":#/-_".contains(c);
    text.match_indices(namespace).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + namespace.len()..]);
        !before.ends_with(goes_on) && !after.starts_with(goes_on)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    const PING: &str = "//! XEP-0199: Ping.\nconst NS: &str = \"urn:xmpp:ping\";\n\
        impl Module for Ping {\n    const MANIFEST: Manifest = Manifest {\n        \
        name: \"ping\",\n        specs: &[Spec(\"XEP-0199\", \"2.0.1\"), Spec(\"RFC 6120\", \"\")],\n        \
        features: &[NS, \"urn:b:1\", ns::C],\n        ..Manifest::EMPTY\n    };\n}\n";

    fn tree(files: &[(&str, &str)]) -> Tree {
        Tree::read(Sample::new(files).path()).expect("the sample is readable")
    }

    #[test]
    fn specs_and_features_are_read() {
        let tree = tree(&[
            ("crates/modules/src/ping.rs", PING),
            ("crates/xmpp/src/ns.rs", "//! N.\npub const C: &str = \"urn:c\";\n"),
            ("crates/xmpp/src/other.rs", "//! O.\npub const C: &str = \"urn:other\";\n"),
            (
                "crates/core/src/module.rs",
                "//! M.\ntrait Module {\n const MANIFEST: Manifest;\n}\n",
            ),
        ]);
        let (found, wrong) = all(&tree);
        assert_eq!(wrong, Vec::<String>::new());
        let ping = found.iter().find(|m| m.path.ends_with("ping.rs")).expect("read");
        assert_eq!(
            ping.specs,
            [(Doc::Xep(199), "2.0.1".to_owned()), (Doc::Rfc(6120), String::new())]
        );
        let features: Vec<_> = ping.features.iter().map(|(f, _)| f.as_str()).collect();
        assert_eq!(features, ["urn:xmpp:ping", "urn:b:1", "urn:c"]);
    }

    #[test]
    fn a_feature_may_be_imported_under_another_name() {
        let ids = "//! I.\nuse a::ns::{DELAY, SID as NS};\nimpl Module for Ids {\n    \
            const MANIFEST: Manifest = Manifest { features: &[NS], ..Manifest::EMPTY };\n}\n";
        let tree = tree(&[
            ("crates/modules/src/ids.rs", ids),
            ("crates/xmpp/src/ns.rs", "//! N.\npub const SID: &str = \"urn:sid\";\n"),
            ("crates/xmpp/src/other.rs", "//! O.\npub const SID: &str = \"urn:other\";\n"),
        ]);
        let (found, wrong) = all(&tree);
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!(found[0].features, [("urn:sid".to_owned(), Some("NS".to_owned()))]);
    }

    #[test]
    fn feature_without_test_is_named() {
        let ping = format!("{PING}#[cfg(test)]\nmod tests {{ const A: &str = NS; }}\n");
        let tree = tree(&[
            ("crates/modules/src/ping.rs", &ping),
            ("crates/xmpp/src/ns.rs", "//! N.\npub const C: &str = \"urn:c\";\n"),
            ("tests/conversations/b.txt", "<query xmlns='urn:b:1#more'/>\n"),
            ("tests/conversations/c.txt", "<query xmlns='urn:c'/>\n"),
        ]);
        let (manifests, _) = all(&tree);
        assert_eq!(
            untested(&tree, &manifests),
            ["crates/modules/src/ping.rs:4: the feature `urn:b:1` has no test"]
        );
    }

    #[test]
    fn feature_that_cannot_be_read_is_an_error() {
        let tree = tree(&[("crates/modules/src/ping.rs", PING)]);
        let (_, wrong) = all(&tree);
        assert_eq!(wrong, ["crates/modules/src/ping.rs:4: no `const C` is found"]);
    }
}
