//! Is the config as safe as it could be?

use std::fs;
use std::os::unix::fs::MetadataExt;

use verona_xmpp::jid::Jid;

use crate::check::finding::Finding;
use crate::config::load::Config;
use crate::config::value::StorageUrl;
use crate::settings;

/// Looks for what is weaker than the default, and for secrets that others can read.
pub fn look(config: &Config) -> Vec<Finding> {
    let subject = config
        .file
        .as_ref()
        .map_or("config".to_owned(), |file| format!("config {}", file.display()));
    let mut findings = vec![match config.file {
        Some(_) => Finding::ok(&subject, "every line is understood"),
        None => Finding::ok(&subject, "no file was named; this is the built-in config"),
    }];
    for (key, effect) in weaker(config) {
        let cure = format!("remove `{key}` from the file unless this is a test");
        findings.push(Finding::warning(&subject, effect, cure));
    }
    findings.extend(readable_secrets(config, &subject));
    findings.extend(components(config));
    findings.extend(strangers(config));
    findings
}

/// Secrets of components that can be guessed, and doors for components that strangers can reach.
fn components(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for component in &config.components {
        if is_weak(component.secret.reveal()) {
            let subject = format!("component {}", component.domain);
            let text = "the secret can be guessed";
            let cure = "take a random one of 16 characters or more: `openssl rand -hex 16`";
            findings.push(Finding::warning(subject, text, cure));
        }
    }
    let open = config.listen.component.iter().filter(|address| !address.ip().is_loopback());
    for address in open.filter(|_| !config.components.is_empty()) {
        let text = "other machines can connect, and the protocol of components has no encryption";
        let cure = "listen on 127.0.0.1 only, or let nothing but a private network reach it";
        findings.push(Finding::warning(format!("port component {address}"), text, cure));
    }
    findings
}

/// Components that may do something by the sections of modules, and that are none.
fn strangers(config: &Config) -> Vec<Finding> {
    let known = settings::components(config);
    let covers = |jid: &Jid| known.iter().any(|component| component.covers(jid.domain()));
    let named = settings::named_components(config).into_iter();
    // What is no domain at all keeps the server from starting, which says so.
    let unknown = named.filter(|(_, name)| Jid::parse(name).is_ok_and(|jid| !covers(&jid)));
    let tell = |(module, name): (&str, String)| {
        let text = format!("names the component {name}, which does not exist");
        let cure = match known.first() {
            Some(_) => "spell it as its [[component]] does, or add one with that `domain`",
            None => "add a [[component]] with that `domain` and a `secret`",
        };
        Finding::error(format!("config [modules.{module}]"), text, cure)
    };
    unknown.map(tell).collect()
}

/// Short, or of few different characters.
fn is_weak(secret: &str) -> bool {
    let different: std::collections::BTreeSet<char> = secret.chars().collect();
    secret.len() < 16 || different.len() < 8
}

/// The settings that are weaker than their default, with what they do.
pub fn weaker(config: &Config) -> Vec<(&'static str, &'static str)> {
    let settings = [
        (
            !config.security.require_tls,
            "require_tls",
            "passwords may cross the loopback interface in the clear",
        ),
        (
            config.security.legacy_auth,
            "legacy_auth",
            "logins by jabber:iq:auth are served, which protect the password by TLS alone",
        ),
        (
            config.limits.unlimited,
            "unlimited",
            "rates, failed logins and connections per address are not limited",
        ),
        (
            config.storage.url == StorageUrl::Memory,
            "url",
            "[storage] is in memory: all accounts and messages are lost when the server ends",
        ),
        (
            !config.dns.dnssec,
            "dnssec",
            "signatures are not checked: forged answers of DNS are believed",
        ),
    ];
    settings.into_iter().filter_map(|(weak, key, effect)| weak.then_some((key, effect))).collect()
}

fn readable_secrets(config: &Config, subject: &str) -> Option<Finding> {
    let file = config.file.as_ref()?;
    let secret =
        !config.components.is_empty() || matches!(config.storage.url, StorageUrl::Postgres(_));
    let mode = fs::metadata(file).ok()?.mode();
    (secret && mode & 0o004 != 0).then(|| {
        let text = "the file holds secrets and everybody on this machine can read it";
        Finding::warning(subject, text, format!("chmod o-rwx {}", file.display()))
    })
}
