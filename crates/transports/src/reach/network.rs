//! The network as the core sees it: connections to other domains' servers, and who they are.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::{BoxFuture, join};
use hickory_resolver::proto::rr::RecordType;
use rustls::pki_types::TrustAnchor;
use tokio::net::TcpStream;
use tokio::time::timeout;
use verona_core::federation::reach::{Dialled, Distrust, Pair, Proof, Reach, Target, Unreachable};
use verona_core::limits::Limits;
use verona_core::stream::wire::Wire;

use crate::reach::attempts::{Attempts, interleave};
use crate::reach::dns::{Dns, NoAnswer, addresses};
use crate::reach::judge::Judge;
use crate::reach::names::Names;
use crate::reach::pkix::Chain;
use crate::reach::places::{self, Found, PORT, Place};
use crate::reach::settings::{self, Settings};
use crate::socket::Plain;
use crate::tcp::tune;
use crate::tls::call::Call;
use crate::tls::certificates::{Certificates, ascii};
use crate::tls::door::Door;

/// How long a domain's servers are looked for in all (SECURITY: an answer within 30 s).
const DIALLING: Duration = Duration::from_secs(30);

/// How long one address may take to answer.
pub(crate) const CONNECTING: Duration = Duration::from_secs(10);

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 6;

/// The ways to other domains.
pub struct Network {
    certificates: Arc<Certificates>,
    ways: ArcSwap<Ways>,
}

/// What the settings come to.
struct Ways {
    overrides: HashMap<String, Place>,
    anchors: Vec<TrustAnchor<'static>>,
    dns: Dns,
}

impl Ways {
    fn new(settings: &Settings) -> Result<Self, String> {
        Self::by(settings, Dns::new(&settings.servers, settings.dnssec)?)
    }

    fn by(settings: &Settings, dns: Dns) -> Result<Self, String> {
        let (overrides, anchors) = (settings::places(settings), settings::anchors(settings)?);
        Ok(Self { overrides, anchors, dns })
    }
}

/// A connection, and where it leads.
type Connected = (Box<dyn Wire>, Target);

/// An address to be tried.
struct Attempt {
    place: Place,
    address: SocketAddr,
    signed: bool,
}

impl Network {
    /// Makes the ways by these settings; the certificates are those that peers are shown.
    pub fn new(certificates: Arc<Certificates>, settings: &Settings) -> Result<Self, String> {
        let ways = ArcSwap::from_pointee(Ways::new(settings)?);
        Ok(Self { certificates, ways })
    }

    #[cfg(test)]
    pub(crate) fn asking(
        certificates: Arc<Certificates>,
        settings: &Settings,
        dns: Dns,
    ) -> Result<Self, String> {
        Ok(Self { certificates, ways: ArcSwap::from_pointee(Ways::by(settings, dns)?) })
    }

    /// Takes over changed settings, and reads all files anew. What was learned from DNS is forgotten.
    pub fn reload(&self, settings: &Settings) -> Result<(), String> {
        self.ways.store(Arc::new(Ways::new(settings)?));
        Ok(())
    }

    /// Tries the places of the domain. Whether there is no such place, when none answers.
    async fn search(
        &self,
        pair: &Pair,
        elsewhere: Option<&str>,
        steps: &mut Vec<String>,
    ) -> Result<Connected, bool> {
        let ways = self.ways.load_full();
        let mut attempts = Attempts::new();
        let found = match elsewhere {
            Some(host) => ways.places_elsewhere(host, steps).await?,
            None => ways.places(&ascii(pair.remote.domain()), steps).await?,
        };
        let mut unknown = found.certain;
        for place in found.places {
            let found = match ways.resolve(&place).await {
                Ok(found) => found,
                Err(reason) => {
                    unknown &= !matches!(reason, NoAnswer::Failed(_));
                    steps.push(format!("DNS address of {}: {reason}", place.host));
                    continue;
                }
            };
            unknown = false;
            let won = attempts.race(found.into_iter().map(|one| self.attempt(pair, one))).await;
            steps.append(&mut attempts.failures());
            if let Some(connected) = won {
                return Ok(connected);
            }
        }
        let won = attempts.finish().await;
        steps.append(&mut attempts.failures());
        won.ok_or(unknown)
    }

    async fn attempt(&self, pair: &Pair, attempt: Attempt) -> Result<Connected, String> {
        let Attempt { place, address, signed } = attempt;
        let target = Target { host: place.host, address, direct_tls: place.direct_tls, signed };
        let failed = |cause: String| format!("{}: {cause}", describe(&target));
        let stream = timeout(CONNECTING, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| failed("no answer".to_owned()))?;
        let stream = stream.map_err(|error| failed(format!("no connection: {error}")))?;
        // A stream asks by itself whether the peer is there; this is for what comes before it.
        let unanswered_secs = Limits::default().unanswered_secs;
        tune(&stream, unanswered_secs).map_err(|error| failed(error.to_string()))?;
        let certificates = self.certificates.clone();
        let plain = Plain::new(stream, address.ip(), certificates, Door::ServerStartTls);
        if !target.direct_tls {
            return Ok((Box::new(plain), target));
        }
        let domains = (pair.local.domain(), pair.remote.domain());
        let secured = timeout(HANDSHAKE, Box::pin(plain.connect(Call::Direct, domains))).await;
        match secured {
            Ok(Ok(wire)) => Ok((wire, target)),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("TLS took too long".to_owned())),
        }
    }
}

impl Ways {
    async fn places(&self, domain: &str, steps: &mut Vec<String>) -> Result<Found, bool> {
        let one = |place| Found { places: vec![place], certain: true };
        if let Some(place) = self.overrides.get(domain) {
            let Place { host, port, .. } = place;
            steps.push(format!("{domain} is at {host}:{port} by [s2s] hosts of the config"));
            return Ok(one(place.clone()));
        }
        // RFC 7622 §3.2: a domainpart may be an address, and then there is nothing to ask.
        if let Some(address) = literal(domain) {
            let host = address.to_string();
            return Ok(one(Place { host, port: PORT, direct_tls: false, signed: false }));
        }
        places::find(&self.dns, domain, steps).await
    }

    /// RFC 6120 §4.9.3.19: a host is looked for like any domain, unless there is a port behind it.
    async fn places_elsewhere(&self, text: &str, steps: &mut Vec<String>) -> Result<Found, bool> {
        let Some((host, port)) = host_and_port(text.trim()) else {
            steps.push("that is no host".to_owned());
            return Err(false);
        };
        let host = ascii(host);
        let mut found = match port {
            Some(port) => {
                let place = Place { host, port, direct_tls: false, signed: false };
                Found { places: vec![place], certain: true }
            }
            None => self.places(&host, steps).await.map_err(|_| false)?,
        };
        // The names by which the server proves itself stay those of its domain.
        found.places.iter_mut().for_each(|place| place.signed = false);
        // Whoever sent us here exists.
        Ok(Found { certain: false, ..found })
    }

    async fn resolve(&self, place: &Place) -> Result<Vec<Attempt>, NoAnswer> {
        let attempt = |address: IpAddr, signed| Attempt {
            place: place.clone(),
            address: SocketAddr::new(address, place.port),
            signed,
        };
        if let Some(address) = literal(&place.host) {
            return Ok(vec![attempt(address, false)]);
        }
        let (v6, v4) = join(
            self.dns.ask(&place.host, RecordType::AAAA),
            self.dns.ask(&place.host, RecordType::A),
        )
        .await;
        // RFC 7673 §3.2: addresses that could not be found out must not be replaced by others of
        // less worth; but a family without addresses is common.
        let (v6, v4) = match (v6, v4) {
            (Err(NoAnswer::Failed(cause)), Err(_)) | (Err(_), Err(NoAnswer::Failed(cause))) => {
                return Err(NoAnswer::Failed(cause));
            }
            (Err(_), Err(reason)) => return Err(reason),
            both => both,
        };
        let signed = [&v6, &v4].into_iter().flatten().all(|answer| answer.signed);
        let [v6, v4] = [v6, v4].map(|answer| answer.as_ref().map(addresses).unwrap_or_default());
        let found = interleave(v6, v4, ADDRESSES_MAX);
        Ok(found.into_iter().map(|address| attempt(address, place.signed && signed)).collect())
    }
}

/// A host or an address, an IPv6 address in brackets, with the port that may stand behind it.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => {
            (host, Some(port.parse().ok().filter(|port| *port > 0)?))
        }
        _ => (text, None),
    };
    let is_bare = host.contains(':') && !host.starts_with('[');
    (!host.is_empty() && !is_bare).then_some((host, port))
}

fn literal(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host).parse().ok()
}

fn describe(target: &Target) -> String {
    let Target { host, address, direct_tls, .. } = target;
    let tls = if *direct_tls { ", with TLS from the first byte" } else { "" };
    match literal(host) {
        Some(_) => format!("{address}{tls}"),
        None => format!("{host} at {address}{tls}"),
    }
}

impl Reach for Network {
    fn dial<'a>(
        &'a self,
        pair: &'a Pair,
        elsewhere: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Dialled, Unreachable>> {
        Box::pin(async move {
            let mut steps = Vec::new();
            let dialled = timeout(DIALLING, self.search(pair, elsewhere, &mut steps)).await;
            match dialled {
                Ok(Ok((wire, target))) => {
                    steps.push(format!("{}: connected", describe(&target)));
                    Ok(Dialled { wire, target, steps })
                }
                Ok(Err(unknown)) => Err(Unreachable { unknown, steps }),
                Err(_) => {
                    steps.push(format!("given up after {} seconds", DIALLING.as_secs()));
                    Err(Unreachable { unknown: false, steps })
                }
            }
        })
    }

    fn judge<'a>(
        &'a self,
        chain: &'a [Vec<u8>],
        domain: &'a str,
        target: Option<&'a Target>,
    ) -> BoxFuture<'a, Result<Proof, Distrust>> {
        Box::pin(async move {
            let ways = self.ways.load_full();
            let judge = Judge { dns: &ways.dns, anchors: &ways.anchors };
            judge.judge(chain, domain, target).await
        })
    }

    fn names(&self, chain: &[Vec<u8>], domain: &str) -> bool {
        Chain::read(chain).is_ok_and(|chain| Names::read(&chain.first).prove(domain))
    }
}
