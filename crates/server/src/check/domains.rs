//! Do the records of each domain lead here, and would others trust its certificate?

use std::net::{IpAddr, SocketAddr, UdpSocket};

use futures_util::future::{join, join_all};
use verona_transports::reach::survey::{self, Lack, Place, Surveyor};
use verona_transports::tls::certificate::Certificate;

use crate::check::finding::Finding;
use crate::config::load::Config;
use crate::settings::reaching;

/// Domains that are looked up; whoever serves more has set them up alike.
const DOMAINS_MAX: usize = 50;

/// Addresses of one place that are tried.
const ADDRESSES_MAX: usize = 4;

/// Whether the listeners should answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Doors {
    /// The server runs.
    Open,
    /// It does not.
    Closed,
}

/// Those who look for the domain.
#[derive(Clone, Copy, Debug)]
struct Seekers {
    /// Who they are.
    who: &'static str,
    /// The service with STARTTLS, its listener and its usual port.
    plain: (&'static str, &'static str, u16),
    /// The service with direct TLS, and its listener.
    direct: (&'static str, &'static str),
}

const SERVERS: Seekers = Seekers {
    who: "other servers",
    plain: ("_xmpp-server", "s2s", 5269),
    direct: ("_xmpps-server", "s2s_tls"),
};

const CLIENTS: Seekers = Seekers {
    who: "clients",
    plain: ("_xmpp-client", "c2s", 5222),
    direct: ("_xmpps-client", "c2s_tls"),
};

/// Looks at the records of each host.
pub async fn look(config: &Config, doors: Doors) -> Vec<Finding> {
    let hosts = config.hosts.iter().map(|host| host.domain.as_str());
    let domains: Vec<&str> = hosts.filter(|domain| !is_local(domain)).take(DOMAINS_MAX).collect();
    let surveyor = match Surveyor::new(&reaching(config)) {
        Ok(surveyor) => surveyor,
        Err(message) => {
            let cure = "mend what [s2s] or [dns] names; `verona serve` will not start";
            return vec![Finding::error("other servers", message, cure)];
        }
    };
    if domains.is_empty() {
        return Vec::new();
    }
    let mut findings = signatures(config, &surveyor).await;
    let look = Look { config, surveyor: &surveyor, doors };
    for found in join_all(domains.iter().map(|domain| look.domain(domain))).await {
        findings.extend(found);
    }
    findings
}

/// Nobody else can look for such a name.
fn is_local(domain: &str) -> bool {
    domain == "localhost" || domain.ends_with(".localhost")
}

async fn signatures(config: &Config, surveyor: &Surveyor) -> Vec<Finding> {
    if !config.dns.dnssec || surveyor.is_signed().await {
        return Vec::new();
    }
    let text = "answers come without their signatures, so certificates are proven by authorities \
                alone, not by DNS (DANE)";
    vec![Finding::ok("DNS", text)]
}

struct Look<'a> {
    config: &'a Config,
    surveyor: &'a Surveyor,
    doors: Doors,
}

impl Look<'_> {
    async fn domain(&self, domain: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut signed = None;
        let served = |seekers: &Seekers| {
            let listeners = [seekers.plain.1, seekers.direct.1];
            listeners.into_iter().any(|listener| !self.listeners(listener).is_empty())
        };
        for seekers in [SERVERS, CLIENTS].into_iter().filter(served) {
            let (found, place) = self.seek(domain, seekers).await;
            findings.extend(found);
            signed = signed.or(place);
        }
        findings.extend(self.trust(domain, signed.as_ref()).await);
        findings
    }

    /// Follows the records as seekers do. Returns a signed place too, if there is one.
    async fn seek(&self, domain: &str, seekers: Seekers) -> (Vec<Finding>, Option<Place>) {
        let subject = format!("DNS {domain} for {}", seekers.who);
        let (plain, direct) = join(
            self.surveyor.service(seekers.plain.0, domain),
            self.surveyor.service(seekers.direct.0, domain),
        )
        .await;
        if let (Err(Lack::Unknown(cause)), _) | (_, Err(Lack::Unknown(cause))) = (&plain, &direct) {
            return (vec![unknown(&subject, cause)], None);
        }
        let (names_none, found) = match (plain, direct) {
            (Err(_), Err(_)) => return (self.without_records(domain, seekers).await, None),
            (plain, direct) => {
                let listener = |places: Result<Vec<Place>, Lack>, listener| {
                    let places = places.unwrap_or_default().into_iter();
                    places.map(move |place| (listener, place))
                };
                let plain = listener(plain, seekers.plain.1);
                let found: Vec<_> = plain.chain(listener(direct, seekers.direct.1)).collect();
                (found.is_empty(), found)
            }
        };
        if names_none {
            let text = "the record says that there is no such service";
            let cure = "if there should be one, replace the target `.` by the name of this machine";
            return (vec![Finding::warning(subject, text, cure)], None);
        }
        let mut findings = Vec::new();
        for (listener, place) in &found {
            findings.extend(self.place(&subject, listener, place).await);
        }
        if findings.is_empty() {
            let places = found.iter().map(|(_, place)| format!("{}:{}", place.host, place.port));
            let text = format!("leads to {}", places.collect::<Vec<_>>().join(", "));
            findings.push(Finding::ok(subject, text));
        }
        let signed = found.into_iter().map(|(_, place)| place).find(|place| place.signed);
        (findings, signed)
    }

    async fn without_records(&self, domain: &str, seekers: Seekers) -> Vec<Finding> {
        let subject = format!("DNS {domain} for {}", seekers.who);
        let (service, listener, port) = seekers.plain;
        let addresses = match self.surveyor.addresses(domain).await {
            Err(Lack::Unknown(cause)) => return vec![unknown(&subject, &cause)],
            Err(Lack::Nothing) => {
                let text = "nothing leads here: there is neither a record nor an address";
                let cure = format!(
                    "add the record `{service}._tcp.{domain}. SRV 0 5 {port} HOST.`, with the name \
                     of this machine for HOST, or an address for {domain} itself"
                );
                return vec![Finding::error(subject, text, cure)];
            }
            Ok(addresses) => addresses,
        };
        let host = domain.to_owned();
        let place = Place { host, port, signed: false, addresses: Ok(addresses) };
        let findings = self.place(&subject, listener, &place).await;
        match findings.is_empty() {
            true => vec![Finding::ok(subject, format!("leads to {domain}:{port}, by its address"))],
            false => findings,
        }
    }

    async fn place(&self, subject: &str, listener: &str, place: &Place) -> Vec<Finding> {
        let Place { host, port, .. } = place;
        let addresses = match &place.addresses {
            Ok(addresses) => addresses,
            Err(Lack::Unknown(cause)) => return vec![unknown(subject, cause)],
            Err(Lack::Nothing) => {
                let text = format!("names {host}, which has no address");
                let cure = format!("add an address (A, AAAA) for {host}, or mend the record");
                return vec![Finding::error(subject, text, cure)];
            }
        };
        let here = addresses.iter().any(|address| is_here(*address));
        if here && !self.listens(listener, *port) {
            let text = format!("names {host}:{port}, but {listener} in [listen] has other ports");
            let cure = format!("let {listener} listen on port {port}, or mend the record");
            return vec![Finding::warning(subject, text, cure)];
        }
        if self.doors == Doors::Closed {
            return Vec::new();
        }
        let tried = addresses.iter().take(ADDRESSES_MAX).map(|address| async move {
            let address = SocketAddr::new(*address, *port);
            survey::answers(address).await.err().map(|cause| format!("{address}: {cause}"))
        });
        let failures: Vec<String> = join_all(tried).await.into_iter().flatten().collect();
        if failures.is_empty() {
            return Vec::new();
        }
        let text = format!("names {host}:{port}, where nothing answers ({})", failures.join(", "));
        let cure = match here {
            true => "look whether a firewall of this machine is in the way",
            false => {
                "it is no address of this machine: look whether the record is right, and whether \
                 the router leads the port here; some do not lead back what comes from inside, then \
                 try from elsewhere"
            }
        };
        vec![Finding::warning(subject, text, cure)]
    }

    fn listeners(&self, listener: &str) -> &[SocketAddr] {
        let listen = &self.config.listen;
        match listener {
            "s2s" => &listen.s2s,
            "s2s_tls" => &listen.s2s_tls,
            "c2s" => &listen.c2s,
            _ => &listen.c2s_tls,
        }
    }

    fn listens(&self, listener: &str, port: u16) -> bool {
        self.listeners(listener).iter().any(|address| address.port() == port)
    }

    /// What another server thinks of the certificate. One that is self-signed or broken is told
    /// elsewhere.
    async fn trust(&self, domain: &str, signed: Option<&Place>) -> Option<Finding> {
        let folder = self.config.certificates_dir().join(domain);
        let (chain, key) = (folder.join("fullchain.pem"), folder.join("privkey.pem"));
        let certificate = Certificate::read(&chain, &key).ok()?;
        if certificate.self_signed && signed.is_none() {
            return None;
        }
        let chain: Vec<Vec<u8>> = certificate.key().cert.iter().map(|der| der.to_vec()).collect();
        let subject = format!("certificate {domain} for other servers");
        Some(match self.surveyor.judge(&chain, domain, signed).await {
            Ok(proof) => Finding::ok(subject, format!("proven {}", proof.by)),
            Err(distrust) => {
                let text = format!("not trusted as from here: {distrust}");
                let cure = "get one from an authority that others trust, with its whole chain; \
                            until then they take dialback instead, or refuse";
                Finding::warning(subject, text, cure)
            }
        })
    }
}

fn unknown(subject: &str, cause: &str) -> Finding {
    let cure = "look at the DNS servers of this machine, or name others as `servers` in [dns]";
    Finding::warning(subject, format!("cannot be looked up: {cause}"), cure)
}

/// Whether an address is one of this machine: a socket can be bound to it.
fn is_here(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}
