//! The config written out: what the file sets, everything with its explanation, and the reference.

use std::fmt::Write;

use verona_core::limits::Limits;
use verona_modules::install::{SECTIONS, Section as ModuleSection};

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
    for (place, host) in config.hosts.iter().enumerate() {
        page.section(host);
        page.own_modules(place);
    }
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

    /// What one host has for itself, as the file says it.
    fn own_modules(&mut self, place: usize) {
        let config = self.config;
        for table in config.host_modules.get(place).into_iter().flat_map(|tables| tables.values()) {
            self.line(&format!("\n{}", table.header()));
            let set: toml::Table = table.read().unwrap_or_default();
            for (name, value) in &set {
                if self.detail == Detail::Explained {
                    self.line("\n# Set by the file, for this domain alone");
                }
                self.line(&format!("{name} = {value}"));
            }
        }
    }

    /// What the file sets of modules is shown in its own words.
    fn modules(&mut self) {
        for section in SECTIONS.iter().filter(|section| !section.keys.is_empty()) {
            let module = self.config.modules.get(section.name);
            let set: toml::Table = module.and_then(|table| table.read().ok()).unwrap_or_default();
            if self.detail == Detail::Set && set.is_empty() {
                continue;
            }
            self.line(&format!("\n[modules.{}]", section.name));
            for key in section.keys {
                self.module_key(
                    key.name,
                    key.doc,
                    (set.get(key.name), default_of(section, key.name)),
                );
            }
        }
    }

    fn module_key(
        &mut self,
        name: &str,
        doc: &str,
        (set, default): (Option<&toml::Value>, String),
    ) {
        if self.detail == Detail::Set && set.is_none() {
            return;
        }
        if self.detail == Detail::Explained {
            self.text.push('\n');
            wrapped(&mut self.text, doc);
            self.line(&match set {
                Some(_) => format!("# Set by the file; the default is {default}"),
                None => "# Default".to_owned(),
            });
        }
        let value = set.map_or(default, toml::Value::to_string);
        self.line(&format!("{name} = {value}"));
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

/// A comment of one long line, in lines of 100 columns.
fn wrapped(text: &mut String, doc: &str) {
    let mut line = String::from("#");
    for word in doc.split(' ') {
        if line.len().saturating_add(word.len()) >= 100 {
            let _ = writeln!(text, "{line}");
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

/// The default of a module's key, as TOML.
fn default_of(section: &ModuleSection, key: &str) -> String {
    let value = toml::Value::try_from((section.defaults)().get(key));
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// What a module's key takes, in words; its default tells.
fn kind_of(section: &ModuleSection, key: &str) -> &'static str {
    use serde_json::Value;
    match (section.defaults)().get(key) {
        Some(Value::Bool(_)) => "true or false",
        Some(Value::Number(_)) => "a number, 0 or more",
        Some(Value::Array(_)) => "a list",
        _ => "a text",
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
    for section in SECTIONS.iter().filter(|section| !section.keys.is_empty()) {
        let _ = write!(
            text,
            "\n## `[modules.{}]`\n\n| Key | Takes | Default | What it does |\n|---|---|---|---|\n",
            section.name
        );
        for key in section.keys {
            let (takes, default) = (kind_of(section, key.name), default_of(section, key.name));
            let _ = writeln!(text, "| `{}` | {takes} | `{default}` | {} |", key.name, key.doc);
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

    use verona_modules::install::NAMES;

    use super::*;

    const FILE: &str = r#"
        [[host]]
        domain = "Example.org"
        [host.modules.mam]
        messages_max = 9
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
            let again = Config::parse(&shown, Some(Path::new("/etc/verona.toml")), NAMES)
                .unwrap_or_else(|problems| panic!("{problems}\n{shown}"));
            assert_eq!(again.hosts, config().hosts);
            assert_eq!(format!("{:?}", again.limits), format!("{:?}", config().limits));
            assert_eq!(again.listen, config().listen);
            assert_eq!(again.components, config().components);
            assert_eq!(again.s2s, config().s2s);
            assert_eq!(again.data_dir, config().data_dir);
            let mam: toml::Table = again.modules["mam"].read().expect("a section");
            assert_eq!(mam["retention_days"].as_integer(), Some(3));
            let own: toml::Table = again.host_modules[0]["mam"].read().expect("a section");
            assert_eq!(own["messages_max"].as_integer(), Some(9));
            let names = again.modules.keys().map(String::as_str);
            assert_eq!(names.count() > 1, detail != Detail::Set, "{shown}");
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
        let origins = ["# Default", "# Set by the file", "# Built in"];
        let told = shown.lines().filter(|line| origins.iter().any(|word| line.starts_with(word)));
        assert_eq!(keys.count(), told.count(), "{shown}");
        assert!(
            shown.contains("# Set by the file; the default is 0\nretention_days = 3\n"),
            "{shown}"
        );
        assert!(shown.contains("# Default\nsummary = [\"message-count\"]\n"), "{shown}");
        assert!(shown.contains("# Set by the file; the default is 262144\n"), "{shown}");
    }

    #[test]
    fn json_has_every_key_and_no_secret() {
        let json = json(&config());
        assert_eq!(json["limits"]["stanza_bytes_max"], 20_000);
        assert_eq!(json["limits"]["depth_max"], 128);
        assert_eq!(json["component"][0]["secret"], "***");
        assert_eq!(json["modules"]["mam"]["retention_days"], 3);
        assert_eq!(json["modules"]["mam"]["enabled"], true);
        assert_eq!(json["modules"]["push"]["patience_secs"], 10);
    }

    #[test]
    fn the_reference_names_every_limit() {
        let reference = reference();
        for key in Limits::KEYS {
            assert!(reference.contains(&format!("| `{}` |", key.name)), "{}", key.name);
        }
        assert!(reference.contains("| must be set |"));
        assert!(reference.contains("| `enabled` | true or false | `true` | Whether messages are"));
    }
}
