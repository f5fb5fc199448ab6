//! What the config means to the core.

use verona_core::hooks::HostSettings;
use verona_core::server::{Host, Policy};
use verona_transports::tls::certificates::Site;

use crate::config::load::Config;

/// The names that `[modules.NAME]` may have.
pub const MODULES: &[&str] = &[];

/// The hosts with their modules.
pub fn hosts(config: &Config) -> Result<Vec<Host>, String> {
    let make = |host: &crate::config::sections::Host| {
        let settings = HostSettings {
            domain: host.domain.0.clone(),
            admins: host.admins.iter().map(|admin| admin.0.clone()).collect(),
            registration: host.registration,
            password_iterations: config.security.password_iterations,
        };
        let made = verona_modules::install::host(settings);
        made.map_err(|error| format!("[modules]: {}", error.message))
    };
    config.hosts.iter().map(make).collect()
}

/// What holds for all streams.
pub fn policy(config: &Config) -> Policy {
    Policy {
        limits: config.limits.clone(),
        require_tls: config.security.require_tls,
        legacy_auth: config.security.legacy_auth,
    }
}

/// The domains that need certificates.
pub fn sites(config: &Config) -> Vec<Site> {
    let site = |domain: &str| Site { domain: domain.to_owned(), services: Vec::new() };
    config.domains().map(site).collect()
}
