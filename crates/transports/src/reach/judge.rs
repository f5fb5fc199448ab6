//! Whether a certificate proves a domain: by the records of the domain's own DNS where they are
//! signed, else by the authorities that are trusted here.

use std::time::{Duration, SystemTime};

use hickory_resolver::proto::rr::RecordType;
use rustls::pki_types::TrustAnchor;
use tokio::time::timeout;
use verona_core::federation::reach::{Distrust, Proof, ProvenBy, Target};

use crate::reach::dane::{self, Association};
use crate::reach::dns::{Dns, NoAnswer};
use crate::reach::pkix::{Chain, Rules, distrust};
use crate::reach::places::{self, Place};
use crate::tls::certificates::ascii;

/// How long DNS may take to say something about a certificate.
const LOOKING: Duration = Duration::from_secs(15);

/// Places of a domain that calls whose records are asked.
const PLACES_MAX: usize = 4;

/// What certificates are judged by.
pub(crate) struct Judge<'a> {
    pub(crate) dns: &'a Dns,
    pub(crate) anchors: &'a [TrustAnchor<'static>],
}

impl Judge<'_> {
    pub(crate) async fn judge(
        &self,
        chain: &[Vec<u8>],
        domain: &str,
        target: Option<&Target>,
    ) -> Result<Proof, Distrust> {
        let chain = Chain::read(chain)?;
        let rules = Rules { anchors: self.anchors, now: SystemTime::now() };
        match target {
            Some(target) => self.called(&chain, rules, domain, target).await,
            None => self.caller(&chain, rules, domain).await,
        }
    }

    /// Of a server that we called.
    async fn called(
        &self,
        chain: &Chain<'_>,
        rules: Rules<'_>,
        domain: &str,
        target: &Target,
    ) -> Result<Proof, Distrust> {
        let proven = |until| Proof { by: ProvenBy::Pkix, until };
        if !target.signed {
            // RFC 7673 §4.1: an unsigned record names no server, it only leads to one.
            return chain.verify(rules, &[domain]).map(proven);
        }
        let names = [domain, target.host.as_str()];
        let place = (target.host.as_str(), target.address.port());
        let looked = timeout(LOOKING, self.associations(place)).await;
        match looked.unwrap_or_else(|_| Err(distrust("no DNS server answers")))? {
            // RFC 7673 §4.1: without records it is the infrastructure, with both names.
            none if none.is_empty() => chain.verify(rules, &names).map(proven),
            found => dane::judge(chain, &found, rules, &names)
                .map(|until| Proof { by: ProvenBy::Dane, until }),
        }
    }

    /// Of a server that called us: it may have any address, so its domain's records are asked, but
    /// only when nothing else proves it (RFC 7712 §5.1).
    async fn caller(
        &self,
        chain: &Chain<'_>,
        rules: Rules<'_>,
        domain: &str,
    ) -> Result<Proof, Distrust> {
        let refusal = match chain.verify(rules, &[domain]) {
            Ok(until) => return Ok(Proof { by: ProvenBy::Pkix, until }),
            Err(refusal) => refusal,
        };
        let proven = timeout(LOOKING, self.by_records(chain, rules, domain)).await;
        proven.ok().flatten().ok_or(refusal)
    }

    async fn by_records(&self, chain: &Chain<'_>, rules: Rules<'_>, domain: &str) -> Option<Proof> {
        if !self.dns.is_signed().await {
            return None;
        }
        let found = places::find(self.dns, &ascii(domain), &mut Vec::new()).await.ok()?;
        for Place { host, port, signed, .. } in found.places.into_iter().take(PLACES_MAX) {
            if !signed {
                continue;
            }
            // A record that cannot be had says nothing about a connection that came in.
            let found = self.associations((&host, port)).await.unwrap_or_default();
            if let Ok(until) = dane::judge(chain, &found, rules, &[domain, &host]) {
                return Some(Proof { by: ProvenBy::Dane, until });
            }
        }
        None
    }

    /// RFC 7673 §3.3: the signed and usable records of a place. Where they cannot be had, the place
    /// must not be believed (§3.4).
    async fn associations(&self, (host, port): (&str, u16)) -> Result<Vec<Association>, Distrust> {
        // An address has no records.
        if host.parse::<std::net::IpAddr>().is_ok() {
            return Ok(Vec::new());
        }
        match self.dns.ask(&format!("_{port}._tcp.{host}"), RecordType::TLSA).await {
            Ok(answer) if answer.signed => Ok(dane::associations(&answer)),
            Ok(_) | Err(NoAnswer::NoName | NoAnswer::NoRecord) => Ok(Vec::new()),
            Err(NoAnswer::Failed(cause)) => {
                Err(distrust(format!("the TLSA records of {host} cannot be had: {cause}")))
            }
        }
    }
}
