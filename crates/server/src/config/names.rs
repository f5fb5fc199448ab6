//! Domains and bare JIDs in their normal form, and the addresses of other servers.

use std::fmt;
use std::net::IpAddr;

use idna::uts46::verify_dns_length;
use verona_xmpp::jid::Jid;

/// The domain of a host or a component.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Domain(pub Jid);

impl Domain {
    /// Reads a domain; the error is the end of a sentence that begins with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains(['@', '/']) {
            return Err("is a JID, expected only its domain".to_owned());
        }
        if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err("is an address, write the name of the domain".to_owned());
        }
        let jid = Jid::parse(text).map_err(|_| "is not a domain".to_owned())?;
        // A name that DNS cannot hold is never found by anybody.
        let fits =
            idna::domain_to_ascii(jid.domain()).is_ok_and(|name| verify_dns_length(&name, false));
        if fits { Ok(Self(jid)) } else { Err("is not a domain".to_owned()) }
    }

    /// The normal form.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Ord for Domain {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for Domain {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The domain of a component, as in `irc.example.org`, or with all domains below it, as in
/// `*.irc.example.org`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ComponentDomain {
    /// The domain.
    pub domain: Domain,
    /// Whether the domains below are the component's, too.
    pub subdomains: bool,
}

impl ComponentDomain {
    /// Reads one; the error is the end of a sentence that begins with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, subdomains) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        Ok(Self { domain: Domain::parse(name)?, subdomains })
    }

    /// The normal form of the domain itself.
    pub fn as_str(&self) -> &str {
        self.domain.as_str()
    }
}

impl fmt::Display for ComponentDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subdomains {
            f.write_str("*.")?;
        }
        self.domain.fmt(f)
    }
}

/// The bare JID of an account.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct BareJid(pub Jid);

impl BareJid {
    /// Reads a bare JID; the error is the end of a sentence that begins with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let jid = Jid::parse(text).map_err(|error| format!("is not a JID: {error}"))?;
        if jid.local().is_none() {
            return Err("lacks the name of the account, write name@domain".to_owned());
        }
        if !jid.is_bare() {
            return Err("has a resourcepart, write only name@domain".to_owned());
        }
        Ok(Self(jid))
    }

    /// The normal form.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for BareJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where another server is reached: a name or an address, and a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// The name or the address, without brackets.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
    /// Whether TLS begins with the first byte (XEP-0368).
    pub direct_tls: bool,
}

/// What stands before a place where TLS begins with the first byte.
const TLS: &str = "tls://";

impl Endpoint {
    /// Reads `name:port`, `1.2.3.4:port` or `[::1]:port`, each with `tls://` before it or without.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "is not name:port".to_owned();
        let (text, direct_tls) = match text.strip_prefix(TLS) {
            Some(text) => (text, true),
            None => (text, false),
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match inner {
            Some(inner) if inner.parse::<IpAddr>().is_ok() => inner.to_owned(),
            Some(_) => return Err(wrong()),
            None if host.parse::<std::net::Ipv4Addr>().is_ok() => host.to_owned(),
            None => Domain::parse(host).map_err(|_| wrong())?.to_string(),
        };
        Ok(Self { host, port, direct_tls })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.direct_tls { TLS } else { "" })?;
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Where clients should come back to, if anywhere in particular.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Location(pub Option<Endpoint>);

impl Location {
    /// Reads `name:port`, or nothing; a client that comes back begins with STARTTLS or without, as
    /// it is used to.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        match Endpoint::parse(text)? {
            Endpoint { direct_tls: true, .. } => Err("is more than name:port".to_owned()),
            endpoint => Ok(Self(Some(endpoint))),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |endpoint| endpoint.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_come_in_normal_form() {
        let normal = |text| Domain::parse(text).map(|domain| domain.to_string());
        assert_eq!(normal("Montague.LIT"), Ok("montague.lit".to_owned()));
        assert_eq!(normal("montague.lit."), Ok("montague.lit".to_owned()));
        assert_eq!(normal("xn--bcher-kva.example"), Ok("bücher.example".to_owned()));
        for wrong in ["", ".", "a..b", "mon tague.lit", "romeo@montague.lit", "10.0.0.1", "[::1]"] {
            assert!(normal(wrong).is_err(), "{wrong}");
        }
        assert!(normal(&"a".repeat(64)).is_err());
    }

    #[test]
    fn a_component_may_have_all_domains_below_its_own() {
        let normal = |text| ComponentDomain::parse(text).map(|domain| domain.to_string());
        assert_eq!(normal("IRC.montague.lit"), Ok("irc.montague.lit".to_owned()));
        assert_eq!(normal("*.IRC.montague.lit"), Ok("*.irc.montague.lit".to_owned()));
        for wrong in ["*.", "*", "irc.*.lit", "*.*.lit", "*montague.lit"] {
            assert!(normal(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_account_is_a_bare_jid_with_a_name() {
        let jid = BareJid::parse("Romeo@Montague.lit").map(|jid| jid.to_string());
        assert_eq!(jid.as_deref(), Ok("romeo@montague.lit"));
        for wrong in ["romeo", "@montague.lit", "ro meo@montague.lit", "romeo@montague.lit/garden"]
        {
            assert!(BareJid::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_location_is_a_place_or_nothing() {
        let shown = |text| Location::parse(text).map(|location| location.to_string());
        for right in ["", "one.montague.lit:5222", "[2001:db8::1]:5222"] {
            assert_eq!(shown(right), Ok(right.to_owned()));
        }
        for wrong in ["one.montague.lit", "tls://one.montague.lit:5223", ":5222"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn endpoints_have_a_port() {
        let shown = |text| Endpoint::parse(text).map(|endpoint| endpoint.to_string());
        for right in ["127.0.0.2:5269", "[::1]:5269", "prosody:5269", "tls://prosody:5270"] {
            assert_eq!(shown(right), Ok(right.to_owned()));
        }
        for wrong in ["prosody", "prosody:0", "::1:5269x", "[prosody]:1", ":5269", "tls://a"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }
}
