//! What federation needs of the network: how another domain's server is found and proven. Transports
//! implement it, so that core knows neither DNS nor certificates.

use std::fmt;
use std::net::SocketAddr;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use verona_xmpp::jid::Jid;

use crate::stream::wire::Wire;

/// Two domains that exchange stanzas: RFC 6120 §10.1 wants these in order, so all that goes from the
/// one to the other takes one way.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Pair {
    /// A domain that is served here.
    pub local: Jid,
    /// A domain that is served elsewhere.
    pub remote: Jid,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.local, self.remote)
    }
}

/// The ways to other domains and the judgement of their certificates.
pub trait Reach: Send + Sync + 'static {
    /// Opens a connection to a server of the remote domain: all that its records name are tried in
    /// their order (RFC 6120 §3.2, XEP-0368), until one takes the connection and, with direct TLS,
    /// the handshake. `elsewhere` is where the domain's own server has sent us to instead, as it has
    /// written it: a host or an address, perhaps with a port (RFC 6120 §4.9.3.19).
    fn dial<'a>(
        &'a self,
        pair: &'a Pair,
        elsewhere: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Dialled, Unreachable>>;

    /// Whether a certificate chain (DER, the peer's own first) proves a domain (RFC 6120 §13.7.2).
    /// `target` is where the peer was found, when this server called it: DANE speaks about that.
    fn judge<'a>(
        &'a self,
        chain: &'a [Vec<u8>],
        domain: &'a str,
        target: Option<&'a Target>,
    ) -> BoxFuture<'a, Result<Proof, Distrust>>;

    /// Whether the first certificate of a chain is for a domain, whoever has signed it.
    fn names(&self, chain: &[Vec<u8>], domain: &str) -> bool;
}

/// A connection with another domain's server.
pub struct Dialled {
    /// The connection; already encrypted when direct TLS was used.
    pub wire: Box<dyn Wire>,
    /// Where it leads.
    pub target: Target,
    /// Each step with its outcome, for log, status and check.
    pub steps: Vec<String>,
}

/// Where a domain's server was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The host that the domain's records name, or the domain itself.
    pub host: String,
    /// The address of it that answered.
    pub address: SocketAddr,
    /// Whether TLS begins with the first byte (XEP-0368).
    pub direct_tls: bool,
    /// Whether every record on the way was signed and valid (DNSSEC), so that the host is as good a
    /// name of the server as the domain (RFC 7712 §5).
    pub signed: bool,
}

/// Why no server of a domain could be reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unreachable {
    /// Whether there is no such server at all, so that trying again soon is of no use:
    /// `remote-server-not-found`. Otherwise it is `remote-server-timeout` (RFC 6120 §8.3.3.16, 17).
    pub unknown: bool,
    /// Each step with its outcome, for log, status and check.
    pub steps: Vec<String>,
}

/// What proves that a certificate is a domain's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// How it was proven.
    pub by: ProvenBy,
    /// When the certificate ends: then a stream that rests on it ends too (RFC 6120 §13.7.2.3).
    pub until: SystemTime,
}

/// How a certificate was proven.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProvenBy {
    /// A chain to a trusted authority (RFC 5280, RFC 6125).
    Pkix,
    /// A TLSA record under DNSSEC (RFC 7673).
    Dane,
}

impl fmt::Display for ProvenBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pkix => "by an authority that is trusted here",
            Self::Dane => "by its domain's signed DNS (DANE)",
        })
    }
}

/// Why a certificate does not prove a domain, in words for the operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Distrust(pub String);

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
