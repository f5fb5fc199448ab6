//! From the text of a config to [`Config`], with everything that is wrong told at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use verona_core::limits::Limits;

use crate::config::names::ComponentDomain;
use crate::config::problem::{Fault, Problem, Problems, Source, did_you_mean};
use crate::config::reader::{Reader, Report};
use crate::config::sections::{
    Component, Dns, Host, Listen, Log, S2s, Section, Security, Storage, Top,
};
use crate::config::value::StorageUrl;

/// The config of a server, as plain data; paths are resolved, names are in normal form.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from; none for the built-in config.
    pub file: Option<PathBuf>,
    /// The directory with everything that is kept.
    pub data_dir: PathBuf,
    /// The domains that are served, at least one.
    pub hosts: Vec<Host>,
    /// The addresses to listen on.
    pub listen: Listen,
    /// Where everything is kept.
    pub storage: Storage,
    /// Every bound.
    pub limits: Limits,
    /// What may be weaker than the default.
    pub security: Security,
    /// External components.
    pub components: Vec<Component>,
    /// The tables of the modules, by name; only those that the file has.
    pub modules: BTreeMap<String, ModuleTable>,
    /// Those that each host has for itself, in the order of the hosts.
    pub host_modules: Vec<BTreeMap<String, ModuleTable>>,
    /// Other servers.
    pub s2s: S2s,
    /// How names are looked up.
    pub dns: Dns,
    /// What is logged.
    pub log: Log,
    /// The keys that the file sets, as `section.key`.
    pub set: BTreeSet<String>,
}

/// The table of one module, which the module itself reads.
#[derive(Clone, Debug)]
pub struct ModuleTable {
    name: String,
    /// The place of its host in the file, when it is of one host alone.
    host: Option<usize>,
    span: Range<usize>,
    source: Source,
}

impl Config {
    /// Reads a config file. `modules` are the names that `[modules.NAME]` may have.
    pub fn load(file: &Path, modules: &[&str]) -> Result<Self, Problems> {
        let text = fs::read_to_string(file).map_err(|error| {
            let message = match error.kind() {
                ErrorKind::NotFound => {
                    "there is no such file; name another with --config".to_owned()
                }
                ErrorKind::InvalidData => "the file is not UTF-8 text".to_owned(),
                _ => format!("cannot be read: {error}"),
            };
            Problem::of_file(file, message)
        })?;
        Self::parse(&text, Some(file), modules)
    }

    /// The config without a file: the host `localhost`, the data in `./verona-data`.
    pub fn builtin() -> Self {
        match Self::parse("", None, &[]) {
            Ok(config) => config,
            // The defaults are constants; the tests of this file prove them to be right.
            Err(problems) => unreachable!("{problems}"),
        }
    }

    /// Reads the text of a config; relative paths are taken from the directory of the file.
    pub fn parse(text: &str, file: Option<&Path>, modules: &[&str]) -> Result<Self, Problems> {
        let source = Source::new(file, text);
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let problems = errors.iter().map(|error| {
                let message = error.message().replace('\n', ", ");
                source.problem(&error.span().unwrap_or_default(), message)
            });
            return Err(Problems(problems.collect()));
        }
        let mut report = Report::new(home_of);
        let config = read_root(root.get_ref(), &source, modules, &mut report);
        match config {
            Some(config) if report.faults.is_empty() => Ok(config.resolved()),
            _ => Err(problems(&source, report.faults)),
        }
    }

    /// The SQLite file, when that is the storage.
    pub fn sqlite_file(&self) -> Option<PathBuf> {
        match &self.storage.url {
            StorageUrl::Sqlite(file) => Some(self.data_dir.join(file)),
            StorageUrl::Memory | StorageUrl::Postgres(_) => None,
        }
    }

    /// The directory with the certificates, one folder a domain.
    pub fn certificates_dir(&self) -> PathBuf {
        self.data_dir.join("certs")
    }

    /// The control socket of the server that runs with this config.
    pub fn control_socket(&self) -> PathBuf {
        self.data_dir.join("control.sock")
    }

    /// The names under which the hosts and their components are reached.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        let hosts = self.hosts.iter().map(|host| host.domain.as_str());
        hosts.chain(self.components.iter().map(|component| component.domain.as_str()))
    }

    fn resolved(mut self) -> Self {
        let base = self.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        self.data_dir = base.join(&self.data_dir);
        for file in &mut self.s2s.trust {
            *file = base.join(&*file);
        }
        self
    }
}

fn problems(source: &Source, mut faults: Vec<Fault>) -> Problems {
    faults.sort_by_key(|fault| fault.span.start);
    Problems(faults.iter().map(|fault| source.problem(&fault.span, &fault.message)).collect())
}

fn read_root(
    root: &DeTable<'_>,
    source: &Source,
    modules: &[&str],
    report: &mut Report,
) -> Option<Config> {
    let mut reader = Reader::new(Top::HEADER, 0..0, root, report);
    let top = Top::read(&mut reader);
    let [host, listen, storage, limits, security] =
        ["host", "listen", "storage", "limits", "security"].map(|key| reader.inner(key));
    let [component, module_tables, s2s, dns, log] =
        ["component", "modules", "s2s", "dns", "log"].map(|key| reader.inner(key));
    reader.finish();

    let (hosts, host_modules) = read_hosts(host, (source, modules), report);
    let components: Vec<Component> = read_each(component, report);
    refuse_repeated(root, report);
    let config = Config {
        file: source.file().map(Path::to_owned),
        data_dir: top?.data_dir,
        hosts,
        listen: read_one(listen, report)?,
        storage: read_one(storage, report)?,
        limits: read_one(limits, report)?,
        security: read_one(security, report)?,
        components,
        modules: read_modules(module_tables, None, (source, modules), report),
        host_modules,
        s2s: read_one(s2s, report)?,
        dns: read_one(dns, report)?,
        log: read_one(log, report)?,
        set: std::mem::take(&mut report.set),
    };
    judge(&config, listen, limits, report);
    Some(config)
}

/// The section that has a key of this name.
fn home_of(key: &str) -> Option<&'static str> {
    let homes = [
        (Top::HEADER, Top::KEYS),
        (Host::HEADER, Host::KEYS),
        (Listen::HEADER, Listen::KEYS),
        (Storage::HEADER, Storage::KEYS),
        (Limits::HEADER, Limits::KEYS),
        (Security::HEADER, Security::KEYS),
        (Component::HEADER, Component::KEYS),
        (S2s::HEADER, S2s::KEYS),
        (Dns::HEADER, Dns::KEYS),
        (Log::HEADER, Log::KEYS),
    ];
    let home = homes.iter().find(|(_, keys)| keys.iter().any(|known| known.name == key));
    home.map(|(header, _)| *header)
}

/// Reads a section that is there at most once.
fn read_one<T: Section>(value: Option<&Spanned<DeValue<'_>>>, report: &mut Report) -> Option<T> {
    let Some(value) = value else {
        return T::read(&mut Reader::absent(T::HEADER, report));
    };
    let Some(table) = value.get_ref().as_table() else {
        report.fault(value.span(), format!("this is a section, write {}", T::HEADER));
        return T::read(&mut Reader::absent(T::HEADER, report));
    };
    read_table(value.span(), table, report)
}

/// Reads a section that is there as often as one likes.
fn read_each<T: Section>(value: Option<&Spanned<DeValue<'_>>>, report: &mut Report) -> Vec<T> {
    let Some(value) = value else {
        return Vec::new();
    };
    let Some(array) = value.get_ref().as_array() else {
        let message = format!("there can be several, write {} with two brackets", T::HEADER);
        report.fault(value.span(), message);
        return Vec::new();
    };
    let mut read = Vec::new();
    for item in array {
        match item.get_ref().as_table() {
            Some(table) => read.extend(read_table(item.span(), table, report)),
            None => report.fault(item.span(), format!("this is a section, write {}", T::HEADER)),
        }
    }
    read
}

fn read_table<T: Section>(
    span: Range<usize>,
    table: &DeTable<'_>,
    report: &mut Report,
) -> Option<T> {
    let mut reader = Reader::new(T::HEADER, span, table, report);
    let read = T::read(&mut reader);
    if T::HEADER == Host::HEADER {
        // Read beside it.
        reader.inner("modules");
    }
    reader.finish();
    read
}

/// The hosts, each with the sections of modules that are its own.
fn read_hosts(
    value: Option<&Spanned<DeValue<'_>>>,
    known: (&Source, &[&str]),
    report: &mut Report,
) -> (Vec<Host>, Vec<BTreeMap<String, ModuleTable>>) {
    let Some(array) = value.map(|value| value.get_ref().as_array()) else {
        return (local_host(report), vec![BTreeMap::new()]);
    };
    let mut modules = Vec::new();
    for (place, item) in array.into_iter().flat_map(|array| array.iter()).enumerate() {
        let inner = item.get_ref().as_table().and_then(|host| host.get("modules"));
        modules.push(read_modules(inner, Some(place), known, report));
    }
    (read_each(value, report), modules)
}

fn local_host(report: &mut Report) -> Vec<Host> {
    let local = "domain = \"localhost\"";
    let table = DeTable::parse(local).unwrap_or_else(|_| Spanned::new(0..0, DeTable::new()));
    let host = read_table(0..0, table.get_ref(), report);
    report.set.remove("host.domain");
    host.into_iter().collect()
}

fn read_modules(
    value: Option<&Spanned<DeValue<'_>>>,
    host: Option<usize>,
    (source, known): (&Source, &[&str]),
    report: &mut Report,
) -> BTreeMap<String, ModuleTable> {
    let mut modules = BTreeMap::new();
    let Some(value) = value else {
        return modules;
    };
    let Some(tables) = value.get_ref().as_table() else {
        report.fault(value.span(), "modules are sections, write [modules.NAME]");
        return modules;
    };
    for (key, item) in tables {
        let name: &str = key.get_ref();
        if !known.contains(&name) {
            let hint = did_you_mean(name, known.iter().copied());
            report.fault(key.span(), format!("there is no module `{name}`{hint}"));
        } else if !item.get_ref().is_table() {
            report.fault(key.span(), format!("a module is a section, write [modules.{name}]"));
        } else {
            let (name, source) = (name.to_owned(), source.clone());
            let table = ModuleTable { name, host, span: key.span(), source };
            modules.insert(table.name.clone(), table);
        }
    }
    modules
}

/// A domain belongs to one host or one component.
fn refuse_repeated(root: &DeTable<'_>, report: &mut Report) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for header in ["host", "component"] {
        let array = root.get(header).and_then(|value| value.get_ref().as_array());
        let items = array.into_iter().flat_map(|array| array.iter());
        for value in items.filter_map(|item| item.get_ref().as_table()?.get("domain")) {
            let text = value.get_ref().as_str().unwrap_or_default();
            let Ok(domain) = ComponentDomain::parse(text) else {
                continue;
            };
            let domain = domain.domain;
            if let Some(first) = seen.insert(domain.to_string(), header) {
                let message = format!("the domain {domain} is already that of a [[{first}]]");
                report.fault(value.span(), message);
            }
        }
    }
}

/// What is wrong only together with something else.
fn judge(
    config: &Config,
    listen: Option<&Spanned<DeValue<'_>>>,
    limits: Option<&Spanned<DeValue<'_>>>,
    report: &mut Report,
) {
    let span = |value: Option<&Spanned<DeValue<'_>>>| value.map(Spanned::span).unwrap_or_default();
    let Listen { c2s, c2s_tls, s2s, s2s_tls, http, https, component } = &config.listen;
    let mut seen = BTreeSet::new();
    for address in [c2s, c2s_tls, s2s, s2s_tls, http, https, component].into_iter().flatten() {
        // Port 0 is a different port each time.
        if address.port() != 0 && !seen.insert(address) {
            report.fault(span(listen), format!("{address} stands in [listen] more than once"));
        }
    }
    let bounds = &config.limits;
    let pairs = [
        (
            bounds.login_element_bytes_max <= bounds.login_bytes_max,
            "login_element_bytes_max is more than login_bytes_max",
        ),
        (
            bounds.login_element_bytes_max <= bounds.stanza_bytes_max,
            "login_element_bytes_max is more than stanza_bytes_max",
        ),
    ];
    for (_, message) in pairs.iter().filter(|(holds, _)| !holds) {
        report.fault(span(limits), *message);
    }
}

impl ModuleTable {
    /// The name of the module.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the table as the module's own config; what is wrong is told with its line.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let read = DeTable::parse(self.source.text()).and_then(|root| {
            let table = self
                .find(root.get_ref())
                .cloned()
                .unwrap_or_else(|| Spanned::new(self.span.clone(), DeValue::Table(DeTable::new())));
            T::deserialize(toml::de::ValueDeserializer::from(table))
        });
        read.map_err(|error| {
            let span = error.span().unwrap_or_else(|| self.span.clone());
            let key = self.key_at(span.start).map(|key| format!(" `{key}`")).unwrap_or_default();
            let message = in_words(error.message());
            self.source.problem(&span, format!("{}{key}: {message}", self.header()))
        })
    }

    /// A problem with the table, told with its line, or with that of one of its keys.
    pub fn problem(&self, key: Option<&str>, message: &str) -> Problem {
        let span = key.and_then(|key| self.span_of(key)).unwrap_or_else(|| self.span.clone());
        let place = key.map(|key| format!(" `{key}`")).unwrap_or_default();
        self.source.problem(&span, format!("{}{place}: {message}", self.header()))
    }

    /// How it begins in the file.
    pub fn header(&self) -> String {
        match self.host {
            None => format!("[modules.{}]", self.name),
            Some(_) => format!("[host.modules.{}]", self.name),
        }
    }

    /// The keys that the file sets, in no order.
    pub fn keys(&self) -> Vec<String> {
        self.with_table(|table| {
            Some(table.keys().map(|key| key.get_ref().clone().into_owned()).collect())
        })
        .unwrap_or_default()
    }

    /// The key whose value stands at a place of the text.
    fn key_at(&self, place: usize) -> Option<String> {
        self.with_table(|table| {
            let mut entries = table.iter();
            let found = entries.find(|(_, value)| value.span().contains(&place))?;
            Some(found.0.get_ref().clone().into_owned())
        })
    }

    fn span_of(&self, key: &str) -> Option<Range<usize>> {
        self.with_table(|table| table.get(key).map(Spanned::span))
    }

    fn with_table<T>(&self, look: impl FnOnce(&DeTable<'_>) -> Option<T>) -> Option<T> {
        let root = DeTable::parse(self.source.text()).ok()?;
        look(self.find(root.get_ref())?.get_ref().as_table()?)
    }

    fn find<'a, 'i>(&self, root: &'a DeTable<'i>) -> Option<&'a Spanned<DeValue<'i>>> {
        let above = match self.host {
            None => root,
            Some(place) => {
                root.get("host")?.get_ref().as_array()?.get(place)?.get_ref().as_table()?
            }
        };
        above.get("modules")?.get_ref().as_table()?.get(self.name.as_str())
    }
}

/// What a deserializer says, for people who do not know its language.
fn in_words(message: &str) -> String {
    let kinds = [
        ("expected u32", "expected a number, 0 or more"),
        ("expected u64", "expected a number, 0 or more"),
        ("expected a boolean", "expected true or false"),
        ("expected a sequence", "expected a list"),
    ];
    let message = message.replace('\n', ", ");
    let known = kinds.iter().find_map(|(kind, words)| Some((message.strip_suffix(kind)?, words)));
    known.map(|(begin, words)| format!("{begin}{words}")).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    const MODULES: &[&str] = &["mam", "muc"];

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Some(Path::new("/etc/verona.toml")), MODULES)
            .map_err(|problems| problems.to_string().replace("/etc/", ""))
    }

    fn refusal(text: &str) -> String {
        parse(text).expect_err("the config is wrong")
    }

    #[test]
    fn without_a_file_localhost_is_served() {
        let config = Config::builtin();
        assert_eq!(config.hosts[0].domain.as_str(), "localhost");
        assert_eq!(config.data_dir, Path::new("verona-data"));
        assert_eq!(config.sqlite_file(), Some(PathBuf::from("verona-data/verona.db")));
        assert_eq!(config.limits.stanza_bytes_max, 262_144);
        assert!(config.security.require_tls);
        assert!(config.set.is_empty());
    }

    #[test]
    fn the_sample_of_the_design_is_understood() {
        let config = parse(
            r#"
            data_dir = "verona-data"
            [[host]]
            domain = "example.org"            # a comment
            admins = ["juliet@example.org"]
            registration = "invite"
            [listen]
            c2s = ["[::]:5222"]
            http = []
            [storage]
            url = "postgres://verona@db/verona"
            [limits]
            unlimited = false
            [security]
            require_tls = true
            legacy_auth = false
            [[component]]
            domain = "irc.example.org"
            secret = "correct horse"
            [modules.mam]
            retention_days = 0
            [s2s]
            hosts = { "montague.lit" = "127.0.0.2:5269" }
            trust = ["private-ca.pem"]
            [dns]
            servers = ["127.0.0.1:53"]
            "#,
        )
        .expect("it is right");
        assert_eq!(config.data_dir, Path::new("/etc/verona-data"));
        assert_eq!(config.s2s.trust, [Path::new("/etc/private-ca.pem")]);
        assert_eq!(config.hosts[0].admins[0].as_str(), "juliet@example.org");
        assert!(config.listen.http.is_empty());
        assert_eq!(config.listen.c2s_tls.len(), 1);
        assert_eq!(config.components[0].secret.reveal(), "correct horse");
        assert!(config.set.contains("host.domain") && config.set.contains("limits.unlimited"));
        assert_eq!(config.domains().collect::<Vec<_>>(), ["example.org", "irc.example.org"]);
    }

    #[test]
    fn an_unknown_key_is_told_with_line_and_suggestion() {
        assert_eq!(
            refusal("[limits]\nstanza_byte_max = 1"),
            "verona.toml:2: unknown key `stanza_byte_max` in [limits]; \
             did you mean `stanza_bytes_max`?"
        );
        assert_eq!(
            refusal("\n[limit]\n"),
            "verona.toml:2: unknown key `limit` at the top; did you mean `limits`?"
        );
    }

    #[test]
    fn a_key_in_a_wrong_section_is_told_where_it_belongs() {
        assert_eq!(
            refusal("[limits]\nrequire_tls = false"),
            "verona.toml:2: unknown key `require_tls` in [limits]; it belongs into [security]"
        );
        assert_eq!(
            refusal("[[host]]\ndomain = \"a.b\"\ndata_dir = \"x\""),
            "verona.toml:3: unknown key `data_dir` in [[host]]; it belongs to the top of the file"
        );
    }

    #[test]
    fn a_host_has_sections_of_modules_for_itself() {
        let config = parse(
            "[[host]]\ndomain = \"a.example\"\n[host.modules.mam]\nretention_days = 3\n\
             [[host]]\ndomain = \"b.example\"\n[modules.mam]\nretention_days = 9\n",
        );
        let config = config.expect("it is right");
        let days = |table: &ModuleTable| {
            let table: toml::Table = table.read().expect("a table");
            table["retention_days"].as_integer()
        };
        assert_eq!(days(&config.host_modules[0]["mam"]), Some(3));
        assert!(config.host_modules[1].is_empty());
        assert_eq!(days(&config.modules["mam"]), Some(9));
        let problem = config.host_modules[0]["mam"].problem(Some("retention_days"), "no");
        assert_eq!(
            problem.to_string(),
            "/etc/verona.toml:4: [host.modules.mam] `retention_days`: no"
        );
        assert_eq!(
            refusal("[[host]]\ndomain = \"a.example\"\n[host.modules.muk]\n"),
            "verona.toml:3: there is no module `muk`; did you mean `muc`?"
        );
    }

    #[test]
    fn an_unknown_module_is_told_with_line_and_suggestion() {
        assert_eq!(
            refusal("[modules.muk]\n"),
            "verona.toml:1: there is no module `muk`; did you mean `muc`?"
        );
    }

    #[test]
    fn a_wrong_type_is_told_with_what_was_expected() {
        assert_eq!(
            refusal("[security]\nrequire_tls = \"yes\""),
            "verona.toml:2: `require_tls`: a string does not fit here, expected true or false"
        );
        assert_eq!(
            refusal("[limits]\n\nstanza_bytes_max = 9000"),
            "verona.toml:3: `stanza_bytes_max`: 9000 does not fit here, expected a number from \
             10000 to 16777216"
        );
    }

    #[test]
    fn a_missing_key_is_told_with_its_section() {
        assert_eq!(
            refusal("[[host]]\nadmins = []"),
            "verona.toml:1: [[host]] lacks the key `domain`, a domain such as \"example.org\""
        );
    }

    #[test]
    fn a_section_written_as_something_else_is_told_how_to_write_it() {
        assert_eq!(
            refusal("[host]\ndomain = \"example.org\""),
            "verona.toml:1: there can be several, write [[host]] with two brackets"
        );
        assert_eq!(refusal("limits = 3"), "verona.toml:1: this is a section, write [limits]");
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let text = "[listen]\nc2s = [\"5222\"]\n[[host]]\ndomain = \"a b\"\n[dms]\n";
        let told = refusal(text);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 3, "{told}");
        assert!(lines[0].starts_with("verona.toml:2: `c2s`:"), "{told}");
        assert!(lines[1].starts_with("verona.toml:4: `domain`:"), "{told}");
        assert!(lines[2].starts_with("verona.toml:5: unknown key `dms`"), "{told}");
    }

    #[test]
    fn broken_toml_is_told_with_its_line() {
        let told = refusal("[limits]\nunlimited = \n");
        assert!(told.starts_with("verona.toml:2: "), "{told}");
    }

    #[test]
    fn a_domain_has_one_owner() {
        let told = refusal(
            "[[host]]\ndomain = \"example.org\"\n[[component]]\ndomain = \"Example.org\"\n\
             secret = \"correct horse\"",
        );
        assert_eq!(told, "verona.toml:4: the domain example.org is already that of a [[host]]");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let told = refusal("[listen]\nc2s = [\"[::]:1\"]\nhttp = [\"[::]:1\"]");
        assert_eq!(told, "verona.toml:1: [::]:1 stands in [listen] more than once");
        let told = refusal("[limits]\nlogin_bytes_max = 20_000\nlogin_element_bytes_max = 20_001");
        assert_eq!(told, "verona.toml:1: login_element_bytes_max is more than login_bytes_max");
        assert!(parse("[listen]\nc2s = [\"[::1]:0\"]\nhttp = [\"[::1]:0\"]").is_ok());
    }

    #[test]
    fn a_missing_file_is_told_by_name() {
        let missing = Path::new("no/such/verona.toml");
        let problems = Config::load(missing, MODULES).expect_err("no such file");
        assert_eq!(
            problems.to_string(),
            "no/such/verona.toml: there is no such file; name another with --config"
        );
    }

    #[test]
    fn a_module_reads_its_own_table_with_lines() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Mam {
            retention_days: u32,
        }
        let table = |text| parse(text).expect("the module judges").modules["mam"].clone();
        let mam: Mam = table("[modules.mam]\nretention_days = 3").read().expect("right");
        assert_eq!(mam.retention_days, 3);

        let wrong = table("[modules.mam]\nretention_days = 3\nretention = 1");
        let problem = wrong.read::<Mam>().expect_err("unknown key");
        assert_eq!(problem.line, Some(3), "{problem}");
        let wrong = table("\n[modules]\nmam = { retention_days = -1 }");
        let negative = wrong.read::<Mam>().expect_err("negative");
        assert_eq!(
            negative.to_string(),
            "/etc/verona.toml:3: [modules.mam] `retention_days`: invalid value: integer `-1`, \
             expected a number, 0 or more"
        );
        assert_eq!(wrong.problem(Some("retention_days"), "no").line, Some(3));
        assert_eq!(wrong.problem(None, "no").line, Some(3));
    }
}
