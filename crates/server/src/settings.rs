//! What the config means to the core.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use verona_core::component::settings::ComponentSettings;
use verona_core::federation::terms::{Circle, Terms};
use verona_core::hooks::{ConfigError, HostSettings, Module, Sections, Settings};
use verona_core::server::{Host, Policy};
use verona_core::stream::server::state::Rules;
use verona_modules::components::delegation::Delegation;
use verona_modules::components::privilege::Privilege;
use verona_modules::registration::invitations::Inviting;
use verona_transports::reach::settings::{Override, Settings as Reaching};
use verona_transports::tls::certificates::Site;

use crate::config::load::{Config, ModuleTable};
use crate::config::names::{Domain, Endpoint};
use crate::config::problem::{Problem, did_you_mean};

/// The names that `[modules.NAME]` may have.
pub const MODULES: &[&str] = verona_modules::install::NAMES;

/// The sections of the modules for one host: its own, else those for all.
struct Tables<'a> {
    config: &'a Config,
    own: Option<&'a BTreeMap<String, ModuleTable>>,
}

impl<'a> Tables<'a> {
    /// Those of the host at this place of the config.
    fn of(config: &'a Config, place: usize) -> Self {
        Self { config, own: config.host_modules.get(place) }
    }

    fn get(&self, module: &str) -> Option<&ModuleTable> {
        let own = self.own.and_then(|tables| tables.get(module));
        own.or_else(|| self.config.modules.get(module))
    }
}

impl Sections for Tables<'_> {
    type Error = Problem;

    fn read<S: Settings>(&self, module: &str) -> Result<S, Problem> {
        let Some(table) = self.get(module) else { return Ok(S::default()) };
        let known = || S::KEYS.iter().map(|key| key.name);
        let unknown = table.keys().into_iter().find(|key| known().all(|name| name != key));
        if let Some(key) = unknown {
            let hint = did_you_mean(&key, known());
            return Err(table.problem(Some(&key), &format!("there is no such key{hint}")));
        }
        if S::KEYS.is_empty() { Ok(S::default()) } else { table.read() }
    }

    fn fault(&self, module: &str, error: ConfigError) -> Problem {
        match self.get(module) {
            Some(table) => table.problem(error.key.as_deref(), &error.message),
            None => Problem {
                file: self.config.file.clone(),
                line: None,
                message: format!("[modules.{module}]: {}", error.message),
            },
        }
    }
}

/// The hosts with their modules.
pub fn hosts(config: &Config) -> Result<Vec<Host>, String> {
    let make = |(place, host): (usize, &crate::config::sections::Host)| {
        let settings = HostSettings {
            domain: host.domain.0.clone(),
            admins: host.admins.iter().map(|admin| admin.0.clone()).collect(),
            registration: host.registration,
            password_iterations: config.security.password_iterations,
            resume_at: host.resume_at.0.as_ref().map(Endpoint::to_string),
        };
        let made = verona_modules::install::configured(settings, &Tables::of(config, place));
        made.map_err(|problem| problem.to_string())
    };
    config.hosts.iter().enumerate().map(make).collect()
}

/// The external components.
pub fn components(config: &Config) -> Vec<ComponentSettings> {
    let each = config.components.iter().map(|component| ComponentSettings {
        domain: component.domain.domain.0.clone(),
        subdomains: component.domain.subdomains,
        secret: component.secret.reveal().into(),
        name: Some(component.name.clone()).filter(|name| !name.is_empty()),
        connections_max: component.connections_max.max(component.connect.len()),
        wait_secs: component.wait_secs,
        stanza_bytes_max: component.stanza_bytes_max,
        rate_bytes_per_sec: component.rate_bytes_per_sec,
        rate_stanzas_per_sec: component.rate_stanzas_per_sec,
    });
    each.collect()
}

/// Days for which an invitation of a host is good.
pub fn invitation_days(config: &Config, domain: &str) -> Result<u64, String> {
    let name = <Inviting as Module>::MANIFEST.name;
    let place = config.hosts.iter().position(|host| host.domain.as_str() == domain);
    let read =
        Tables::of(config, place.unwrap_or_default()).read::<<Inviting as Module>::Config>(name);
    read.map(|section| section.days).map_err(|problem| problem.to_string())
}

/// The components that modules are told of, each with the section that names it.
pub fn named_components(config: &Config) -> BTreeSet<(&'static str, String)> {
    let mut named = BTreeSet::new();
    for place in 0..config.hosts.len() {
        let tables = Tables::of(config, place);
        let name = <Delegation as Module>::MANIFEST.name;
        // A section that cannot be read is told where it is read in earnest.
        if let Ok(section) = tables.read::<<Delegation as Module>::Config>(name) {
            named.extend(section.namespaces.into_iter().map(|rule| (name, rule.component)));
        }
        let name = <Privilege as Module>::MANIFEST.name;
        if let Ok(section) = tables.read::<<Privilege as Module>::Config>(name) {
            named.extend(section.grants.into_iter().map(|grant| (name, grant.component)));
        }
    }
    named
}

/// What holds for all streams.
pub fn policy(config: &Config) -> Policy {
    Policy {
        limits: config.limits.clone(),
        require_tls: config.security.require_tls,
        legacy_auth: config.security.legacy_auth,
    }
}

/// How other domains are found and proven.
pub fn reaching(config: &Config) -> Reaching {
    let host = |(domain, place): (&Domain, &Endpoint)| {
        let Endpoint { host, port, direct_tls } = place.clone();
        (domain.to_string(), Override { host, port, direct_tls })
    };
    Reaching {
        hosts: config.s2s.hosts.iter().map(host).collect(),
        trust: config.s2s.trust.clone(),
        servers: config.dns.servers.clone(),
        dnssec: config.dns.dnssec,
    }
}

/// What holds for streams with other servers.
pub fn rules(config: &Config) -> Rules {
    let terms = terms(config);
    Rules {
        require_certificate: config.s2s.require_certificate,
        admits: Some(Arc::new(move |pair| terms.admit(pair))),
        ..Rules::default()
    }
}

/// What holds for domains elsewhere.
pub fn terms(config: &Config) -> Terms {
    let s2s = &config.s2s;
    let texts = |domains: &[Domain]| domains.iter().map(|domain| domain.as_str().into()).collect();
    let circle = |host: &crate::config::sections::Host| {
        let allow = texts(&host.federate_with);
        (host.domain.as_str().into(), Circle { allow, deny: texts(&host.federate_not_with) })
    };
    Terms {
        queue_stanzas_max: s2s.queue_stanzas_max,
        queue_bytes_max: s2s.queue_bytes_max,
        queue_total_bytes_max: s2s.queue_total_bytes_max,
        queue_secs: s2s.queue_secs,
        retry_secs_max: s2s.retry_secs_max,
        idle_secs: s2s.idle_secs,
        hosts: config.hosts.iter().map(circle).collect(),
    }
}

/// The domains that need certificates, a component's with all below it where those are its own.
pub fn sites(config: &Config) -> Vec<Site> {
    let site = |domain: &str, services| Site { domain: domain.to_owned(), services };
    let hosts = config.hosts.iter().map(|host| site(host.domain.as_str(), Vec::new()));
    let components = config.components.iter().map(|component| {
        let domain = &component.domain;
        let below = domain.subdomains.then(|| domain.to_string());
        site(domain.as_str(), below.into_iter().collect())
    });
    hosts.chain(components).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_a_component_has_its_certificate() {
        let text = "[[host]]\ndomain = \"montague.lit\"\n\
                    [[component]]\ndomain = \"*.irc.montague.lit\"\nsecret = \"wherefore art thou\"\n\
                    [[component]]\ndomain = \"sms.montague.lit\"\nsecret = \"deny thy father\"";
        let config = Config::parse(text, None, &[]).expect("right");
        let site = |domain: &str, services: &[&str]| Site {
            domain: domain.to_owned(),
            services: services.iter().map(|name| (*name).to_owned()).collect(),
        };
        let expected = [
            site("montague.lit", &[]),
            site("irc.montague.lit", &["*.irc.montague.lit"]),
            site("sms.montague.lit", &[]),
        ];
        assert_eq!(sites(&config), expected);
    }

    #[test]
    fn a_host_has_its_own_sections_of_modules_or_those_for_all() {
        let text = "[[host]]\ndomain = \"a.example\"\n[host.modules.invitations]\ndays = 3\n\
                    [[host]]\ndomain = \"b.example\"\n[modules.invitations]\ndays = 9\n";
        let config = Config::parse(text, None, MODULES).expect("it is right");
        let days = |domain| invitation_days(&config, domain);
        assert_eq!((days("a.example"), days("b.example")), (Ok(3), Ok(9)));
        assert_eq!(hosts(&config).map(|hosts| hosts.len()), Ok(2));
        // What a module refuses is told with the line in which it stands.
        let wrong = text.replace("days = 3", "days = 0");
        let config = Config::parse(&wrong, None, MODULES).expect("the module judges");
        let told = hosts(&config).map(|hosts| hosts.len()).expect_err("refused");
        assert_eq!(told, "config:4: [host.modules.invitations] `days`: must be from 1 to 365");
    }
}
