//! Certificates by TLSA records: the domain's own DNS says which key its server has (RFC 6698,
//! RFC 7673). Whether the records were signed is proven before.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::TLSA;
use rustls::pki_types::CertificateDer;
use verona_core::federation::reach::Distrust;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::reach::dns::Answer;
use crate::reach::pkix::{Chain, Rules, distrust};

/// Records of one server that are looked at.
const RECORDS_MAX: usize = 16;

/// How long a record is believed for a stream that rests on nothing else: the certificate's own end
/// means nothing then (RFC 7673 §4.2), and records change without telling us.
const RECORD: Duration = Duration::from_secs(24 * 60 * 60);

/// A record that can be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Association {
    usage: Usage,
    selector: Selector,
    matching: Matching,
    data: Vec<u8>,
}

/// RFC 6698 §2.1.1, with the names of RFC 7218.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Usage {
    PkixTa,
    PkixEe,
    DaneTa,
    DaneEe,
}

/// RFC 6698 §2.1.2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Selector {
    Certificate,
    Key,
}

/// RFC 6698 §2.1.3.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Matching {
    Exact,
    Sha256,
    Sha512,
}

/// The usable ones of the records (RFC 6698 §4.1); what is unknown here is not used.
pub(crate) fn associations(answer: &Answer) -> Vec<Association> {
    let records = answer.data.iter().filter_map(|data| match data {
        RData::TLSA(tlsa) => Association::read(tlsa),
        _ => None,
    });
    records.take(RECORDS_MAX).collect()
}

/// Proves the chain by the records: one that fits is enough (RFC 6698 §2.1). Returns until when.
pub(crate) fn judge(
    chain: &Chain<'_>,
    associations: &[Association],
    rules: Rules<'_>,
    domains: &[&str],
) -> Result<SystemTime, Distrust> {
    let mut refusal = None;
    for association in associations {
        match association.judge(chain, rules, domains) {
            Some(Ok(until)) => return Ok(until),
            Some(Err(distrust)) => refusal = Some(distrust),
            None => {}
        }
    }
    Err(refusal.unwrap_or_else(|| distrust("its certificate is none of those in its TLSA records")))
}

impl Association {
    fn read(tlsa: &TLSA) -> Option<Self> {
        let usage = match u8::from(tlsa.cert_usage) {
            0 => Usage::PkixTa,
            1 => Usage::PkixEe,
            2 => Usage::DaneTa,
            3 => Usage::DaneEe,
            _ => return None,
        };
        let selector = match u8::from(tlsa.selector) {
            0 => Selector::Certificate,
            1 => Selector::Key,
            _ => return None,
        };
        let (matching, length) = match u8::from(tlsa.matching) {
            0 => (Matching::Exact, None),
            1 => (Matching::Sha256, Some(32)),
            2 => (Matching::Sha512, Some(64)),
            _ => return None,
        };
        let data = tlsa.cert_data.clone();
        let whole = length.map_or(!data.is_empty(), |length: usize| data.len() == length);
        whole.then_some(Self { usage, selector, matching, data })
    }

    /// None: it is about another certificate.
    fn judge(
        &self,
        chain: &Chain<'_>,
        rules: Rules<'_>,
        domains: &[&str],
    ) -> Option<Result<SystemTime, Distrust>> {
        let (own, above) = chain.all.split_first()?;
        match self.usage {
            // RFC 7673 §4.2: neither names nor times of the certificate are asked.
            Usage::DaneEe => self.fits(own).then(|| {
                let until = rules.now.checked_add(RECORD);
                until.ok_or_else(|| distrust("the clock is wrong"))
            }),
            Usage::PkixEe => self.fits(own).then(|| chain.verify(rules, domains)),
            Usage::PkixTa => {
                above.iter().any(|one| self.fits(one)).then(|| chain.verify(rules, domains))
            }
            // The peer shows the authority, for nobody else knows it (RFC 7671 §5.2.2).
            Usage::DaneTa => above.iter().find(|one| self.fits(one)).map(|authority| {
                let anchor = webpki::anchor_from_trusted_cert(authority);
                let anchor = anchor.map_err(|error| {
                    distrust(format!("the authority in its TLSA record cannot be read: {error}"))
                })?;
                let anchors = [anchor.to_owned()];
                chain.verify(Rules { anchors: &anchors, ..rules }, domains)
            }),
        }
    }

    fn fits(&self, certificate: &CertificateDer<'_>) -> bool {
        let selected = match self.selector {
            Selector::Certificate => Some(certificate.as_ref()),
            Selector::Key => X509Certificate::from_der(certificate)
                .ok()
                .map(|(_, certificate)| certificate.tbs_certificate.subject_pki.raw),
        };
        selected.is_some_and(|selected| match self.matching {
            Matching::Exact => selected == self.data,
            Matching::Sha256 => digest::digest(&digest::SHA256, selected).as_ref() == self.data,
            Matching::Sha512 => digest::digest(&digest::SHA512, selected).as_ref() == self.data,
        })
    }
}
