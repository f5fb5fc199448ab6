//! The config written out: what the file sets, everything with its explanation, and the reference.

use std::fmt::Write;

use verona_core::limits::Limits;

use crate::config::load::Config;
use crate::config::reader::dotted;
use crate::config::sections::{
    Component, Dns, Host, Key, Listen, Log, S2s, Section, Security, Storage, Top,
};

/// How much of a config is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Detail {
    /// What the file sets, as the server understood it.
    Set,
    /// Every key, also those that have their default.
    All,
    /// Every key with a comment that explains it.
    Explained,
}

/// The config as TOML; secrets are stars.
pub fn show(config: &Config, detail: Detail) -> String {
    let mut page = Page { config, detail, text: String::new() };
    page.section(&Top { data_dir: config.data_dir.clone() });
    config.hosts.iter().for_each(|host| page.section(host));
    page.section(&config.listen);
    page.section(&config.storage);
    page.section(&config.limits);
    page.section(&config.security);
    config.components.iter().for_each(|component| page.section(component));
    page.modules();
    page.section(&config.s2s);
    page.section(&config.dns);
    page.section(&config.log);
    page.text
}

/// The config as JSON, every key; secrets are stars.
pub fn json(config: &Config) -> serde_json::Value {
    // Our own TOML always parses; the tests of this file prove it for every section.
    let table: toml::Table = show(config, Detail::All).parse().unwrap_or_default();
    serde_json::to_value(table).unwrap_or_default()
}

struct Page<'a> {
    config: &'a Config,
    detail: Detail,
    text: String,
}

impl Page<'_> {
    fn section<T: Section>(&mut self, section: &T) {
        let values = section.shown();
        let shown: Vec<(&Key, &String)> =
            T::KEYS.iter().zip(&values).filter(|(key, _)| self.shows::<T>(key)).collect();
        if shown.is_empty() {
            return;
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        if self.detail == Detail::Explained {
            comment(&mut self.text, T::DOC);
        }
        if !T::HEADER.is_empty() {
            self.line(T::HEADER);
        }
        for (key, value) in shown {
            if self.detail == Detail::Explained {
                self.text.push('\n');
                comment(&mut self.text, key.doc);
                self.line(&format!("# {}", self.origin::<T>(key)));
            }
            self.line(&format!("{} = {value}", key.name));
        }
    }

    fn shows<T: Section>(&self, key: &Key) -> bool {
        // A required key is shown always: without it the section would say nothing.
        self.detail != Detail::Set
            || (key.default)().is_none()
            || self.config.set.contains(&dotted(T::HEADER, key.name))
    }

    fn origin<T: Section>(&self, key: &Key) -> String {
        let set = self.config.set.contains(&dotted(T::HEADER, key.name));
        match ((key.default)(), set) {
            (Some(default), true) => format!("Set by the file; the default is {default}"),
            (Some(_), false) => "Default".to_owned(),
            (None, true) => "Set by the file".to_owned(),
            (None, false) => "Built in".to_owned(),
        }
    }

    fn modules(&mut self) {
        for (name, module) in &self.config.modules {
            let table: toml::Table = module.read().unwrap_or_default();
            let header = toml::Table::from_iter([(name.clone(), toml::Value::Table(table))]);
            let tables = toml::Table::from_iter([("modules".to_owned(), header.into())]);
            let _ = write!(self.text, "\n{tables}");
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

fn comment(text: &mut String, doc: &[&str]) {
    for line in doc {
        let _ = writeln!(text, "#{line}");
    }
}

/// The reference of all keys, as Markdown.
pub fn reference() -> String {
    let mut text =
        "# Config reference\n\nWritten by `verona config show --reference`; do not edit.\n\
        The file is TOML; an unknown key is an error. Secrets never appear in logs.\n"
            .to_owned();
    describe::<Top>(&mut text);
    describe::<Host>(&mut text);
    describe::<Listen>(&mut text);
    describe::<Storage>(&mut text);
    describe::<Limits>(&mut text);
    describe::<Security>(&mut text);
    describe::<Component>(&mut text);
    describe::<S2s>(&mut text);
    describe::<Dns>(&mut text);
    describe::<Log>(&mut text);
    modules(&mut text);
    text
}

/// The sections of the modules that have keys.
fn modules(text: &mut String) {
    let sections = verona_modules::install::SECTIONS.iter();
    for section in sections.filter(|section| !section.keys.is_empty()) {
        let _ = write!(
            text,
            "\n## `[modules.{}]`\n\n| Key | What it does |\n|---|---|\n",
            section.name
        );
        for key in section.keys {
            let _ = writeln!(text, "| `{}` | {} |", key.name, key.doc);
        }
    }
}

fn describe<T: Section>(text: &mut String) {
    let heading = match T::HEADER {
        "" => "At the top".to_owned(),
        header => format!("`{header}`"),
    };
    let _ = write!(text, "\n## {heading}\n\n{}\n\n", prose(T::DOC));
    text.push_str("| Key | Takes | Default | What it does |\n|---|---|---|---|\n");
    for key in T::KEYS {
        let default = (key.default)().map_or("must be set".to_owned(), |text| format!("`{text}`"));
        let cells = [(key.expected)(), default, prose(key.doc)];
        let [expected, default, doc] = cells.map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(text, "| `{}` | {expected} | {default} | {doc} |", key.name);
    }
}

fn prose(doc: &[&str]) -> String {
    let lines: Vec<&str> = doc.iter().map(|line| line.trim()).collect();
    lines.join(" ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FILE: &str = r#"
        [[host]]
        domain = "Example.org"
        [limits]
        stanza_bytes_max = 20_000
        [[component]]
        domain = "irc.example.org"
        secret = "correct horse"
        [modules.mam]
        retention_days = 3
        [s2s]
        hosts = { "montague.lit" = "[::1]:5269" }
    "#;

    fn config() -> Config {
        Config::parse(FILE, Some(Path::new("/etc/verona.toml")), &["mam"]).expect("it is right")
    }

    #[test]
    fn what_is_shown_is_a_config_of_the_same_meaning() {
        for detail in [Detail::Set, Detail::All, Detail::Explained] {
            let shown = show(&config(), detail).replace("***", "correct horse");
            let again = Config::parse(&shown, Some(Path::new("/etc/verona.toml")), &["mam"])
                .unwrap_or_else(|problems| panic!("{problems}\n{shown}"));
            assert_eq!(again.hosts, config().hosts);
            assert_eq!(format!("{:?}", again.limits), format!("{:?}", config().limits));
            assert_eq!(again.listen, config().listen);
            assert_eq!(again.components, config().components);
            assert_eq!(again.s2s, config().s2s);
            assert_eq!(again.data_dir, config().data_dir);
            assert_eq!(
                again.modules["mam"].read::<toml::Table>(),
                config().modules["mam"].read::<toml::Table>()
            );
        }
    }

    #[test]
    fn plain_show_tells_what_the_file_sets() {
        let shown = show(&config(), Detail::Set);
        assert!(shown.contains("domain = \"example.org\"\n"), "{shown}");
        assert!(shown.contains("stanza_bytes_max = 20000\n"), "{shown}");
        assert!(!shown.contains("depth_max"), "{shown}");
        assert!(!shown.contains("correct horse"), "{shown}");
    }

    #[test]
    fn effective_show_explains_every_key() {
        let shown = show(&config(), Detail::Explained);
        let keys = shown.lines().filter(|line| line.contains(" = ") && !line.starts_with('#'));
        // `retention_days` is the module's own.
        let known = keys.filter(|line| !line.starts_with("retention_days"));
        let origins = ["# Default", "# Set by the file", "# Built in"];
        let told = shown.lines().filter(|line| origins.iter().any(|word| line.starts_with(word)));
        assert_eq!(known.count(), told.count(), "{shown}");
        assert!(shown.contains("# Set by the file; the default is 262144\n"), "{shown}");
    }

    #[test]
    fn json_has_every_key_and_no_secret() {
        let json = json(&config());
        assert_eq!(json["limits"]["stanza_bytes_max"], 20_000);
        assert_eq!(json["limits"]["depth_max"], 128);
        assert_eq!(json["component"][0]["secret"], "***");
        assert_eq!(json["modules"]["mam"]["retention_days"], 3);
    }

    #[test]
    fn the_reference_names_every_limit() {
        let reference = reference();
        for key in Limits::KEYS {
            assert!(reference.contains(&format!("| `{}` |", key.name)), "{}", key.name);
        }
        assert!(reference.contains("| must be set |"));
    }
}
