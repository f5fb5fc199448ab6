//! Domains and bare JIDs in their normal form, and the addresses of other servers.

use std::fmt;
use std::net::IpAddr;

use idna::AsciiDenyList;
use idna::uts46::{Hyphens, Uts46, verify_dns_length};

/// A domainpart in normal form (RFC 7622 §3.2).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Domain(String);

impl Domain {
    /// Reads a domain; the error is the end of a sentence that begins with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains(['@', '/']) {
            return Err("is a JID, expected only its domain".to_owned());
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err("is not a domain".to_owned());
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Err(format!("is an address, not a domain; write the name behind {address}"));
        }
        let rules = Uts46::new();
        let (normal, outcome) =
            rules.to_unicode(text.as_bytes(), AsciiDenyList::STD3, Hyphens::Check);
        let fits = idna::domain_to_ascii(&normal).is_ok_and(|name| verify_dns_length(&name, false));
        if outcome.is_err() || !fits {
            return Err("is not a domain".to_owned());
        }
        Ok(Self(normal.into_owned()))
    }

    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The bare JID of an account: localpart and domain in normal form.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BareJid {
    text: String,
    at: usize,
}

impl BareJid {
    /// Reads a bare JID; the error is the end of a sentence that begins with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((local, domain)) = text.split_once('@') else {
            return Err("lacks its domain, write name@domain".to_owned());
        };
        if domain.contains('/') {
            return Err("has a resourcepart, write only name@domain".to_owned());
        }
        let domain = Domain::parse(domain).map_err(|_| "has no valid domain".to_owned())?;
        // RFC 7622 §3.3.1: what a localpart may not hold beyond what its profile forbids.
        let forbidden = |c: char| "\"&'/:<>@".contains(c) || c.is_whitespace() || c.is_control();
        if local.is_empty() || local.len() > 1023 || local.contains(forbidden) {
            return Err("has no valid name before the @".to_owned());
        }
        let local = local.to_lowercase();
        Ok(Self { at: local.len(), text: format!("{local}@{domain}") })
    }

    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part behind the @.
    pub fn domain(&self) -> &str {
        self.text.get(self.at.saturating_add(1)..).unwrap_or_default()
    }
}

impl fmt::Display for BareJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where another server is reached: a name or an address, and a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// The name or the address, without brackets.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
}

impl Endpoint {
    /// Reads `name:port`, `1.2.3.4:port` or `[::1]:port`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "is not name:port".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match inner {
            Some(inner) if inner.parse::<IpAddr>().is_ok() => inner.to_owned(),
            Some(_) => return Err(wrong()),
            None if host.parse::<std::net::Ipv4Addr>().is_ok() => host.to_owned(),
            None => Domain::parse(host).map_err(|_| wrong())?.0,
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
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
    fn bare_jids_know_their_domain() {
        let jid = BareJid::parse("Romeo@Montague.lit");
        assert_eq!(jid.as_ref().map(BareJid::as_str), Ok("romeo@montague.lit"));
        assert_eq!(jid.as_ref().map(BareJid::domain), Ok("montague.lit"));
        for wrong in ["romeo", "@montague.lit", "ro meo@montague.lit", "romeo@montague.lit/garden"]
        {
            assert!(BareJid::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn endpoints_have_a_port() {
        let shown = |text| Endpoint::parse(text).map(|endpoint| endpoint.to_string());
        for right in ["127.0.0.2:5269", "[::1]:5269", "prosody:5269"] {
            assert_eq!(shown(right), Ok(right.to_owned()));
        }
        for wrong in ["prosody", "prosody:0", "::1:5269x", "[prosody]:1", ":5269"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }
}
