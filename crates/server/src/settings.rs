//! What the config means to the core.

use std::sync::Arc;

use verona_core::component::settings::ComponentSettings;
use verona_core::federation::terms::{Circle, Terms};
use verona_core::hooks::{ConfigError, HostSettings, Module, Sections, Settings};
use verona_core::server::{Host, Policy};
use verona_core::stream::server::state::Rules;
use verona_modules::registration::invitations::Inviting;
use verona_transports::reach::settings::{Override, Settings as Reaching};
use verona_transports::tls::certificates::Site;

use crate::config::load::Config;
use crate::config::names::{Domain, Endpoint};
use crate::config::problem::{Problem, did_you_mean};

/// The names that `[modules.NAME]` may have.
pub const MODULES: &[&str] = verona_modules::install::NAMES;

/// The sections of the modules, as the config file has them.
struct Tables<'a>(&'a Config);

impl Sections for Tables<'_> {
    type Error = Problem;

    fn read<S: Settings>(&self, module: &str) -> Result<S, Problem> {
        let Some(table) = self.0.modules.get(module) else { return Ok(S::default()) };
        let known = || S::KEYS.iter().map(|key| key.name);
        let unknown = table.keys().into_iter().find(|key| known().all(|name| name != key));
        if let Some(key) = unknown {
            let hint = did_you_mean(&key, known());
            return Err(table.problem(Some(&key), &format!("there is no such key{hint}")));
        }
        if S::KEYS.is_empty() { Ok(S::default()) } else { table.read() }
    }

    fn fault(&self, module: &str, error: ConfigError) -> Problem {
        match self.0.modules.get(module) {
            Some(table) => table.problem(error.key.as_deref(), &error.message),
            None => Problem {
                file: self.0.file.clone(),
                line: None,
                message: format!("[modules.{module}]: {}", error.message),
            },
        }
    }
}

/// The hosts with their modules.
pub fn hosts(config: &Config) -> Result<Vec<Host>, String> {
    let make = |host: &crate::config::sections::Host| {
        let settings = HostSettings {
            domain: host.domain.0.clone(),
            admins: host.admins.iter().map(|admin| admin.0.clone()).collect(),
            registration: host.registration,
            password_iterations: config.security.password_iterations,
        };
        let made = verona_modules::install::configured(settings, &Tables(config));
        made.map_err(|problem| problem.to_string())
    };
    config.hosts.iter().map(make).collect()
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

/// Days for which an invitation is good.
pub fn invitation_days(config: &Config) -> Result<u64, String> {
    let name = <Inviting as Module>::MANIFEST.name;
    let read = Tables(config).read::<<Inviting as Module>::Config>(name);
    read.map(|section| section.days).map_err(|problem| problem.to_string())
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
}
