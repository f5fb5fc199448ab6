//! What the operator says of a component.

use std::fmt;
use std::sync::Arc;

use verona_xmpp::jid::Jid;

/// One component.
#[derive(Clone, Eq, PartialEq)]
pub struct ComponentSettings {
    /// Its domain.
    pub domain: Jid,
    /// Whether all domains below are its own, too.
    pub subdomains: bool,
    /// What it proves to know.
    pub secret: Arc<str>,
    /// Its name for people, in the host's list of services.
    pub name: Option<String>,
    /// Connections that it may have at a time.
    pub connections_max: usize,
    /// Seconds that messages wait for it while it is away.
    pub wait_secs: u64,
    /// Bytes of one stanza.
    pub stanza_bytes_max: usize,
    /// Bytes a second that one connection may send over time.
    pub rate_bytes_per_sec: u64,
    /// Stanzas a second that one connection may send over time.
    pub rate_stanzas_per_sec: u64,
}

impl ComponentSettings {
    /// A component about which nothing but this is said.
    pub fn new(domain: Jid, secret: &str) -> Self {
        Self {
            domain,
            subdomains: false,
            secret: secret.into(),
            name: None,
            connections_max: 1,
            wait_secs: 3_600,
            stanza_bytes_max: 512 * 1024,
            rate_bytes_per_sec: 16 * 1024 * 1024,
            rate_stanzas_per_sec: 10_000,
        }
    }

    /// Whether a domain is the component's.
    pub fn covers(&self, domain: &str) -> bool {
        let own = self.domain.domain();
        domain == own
            || (self.subdomains && domain.strip_suffix(own).is_some_and(|rest| rest.ends_with('.')))
    }
}

/// Without the secret.
impl fmt::Debug for ComponentSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComponentSettings").field("domain", &self.domain).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subdomains_are_covered_where_the_operator_says_so() {
        let mut settings = ComponentSettings::new(Jid::parse("irc.capulet.lit").unwrap(), "x");
        assert!(settings.covers("irc.capulet.lit"));
        assert!(!settings.covers("libera.irc.capulet.lit"));
        settings.subdomains = true;
        assert!(
            settings.covers("libera.irc.capulet.lit") && settings.covers("a.b.irc.capulet.lit")
        );
        for other in ["capulet.lit", "xirc.capulet.lit", "irc.capulet.lit.", "irc.montague.lit", ""]
        {
            assert!(!settings.covers(other), "{other}");
        }
        assert!(!format!("{settings:?}").contains("secret"));
    }
}
