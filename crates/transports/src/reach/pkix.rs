//! Certificates by the rules of the public key infrastructure: a chain to an authority that is
//! trusted, and a name that is the domain's (RFC 5280, RFC 6125).

use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use verona_core::federation::reach::Distrust;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, VerifiedPath};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::reach::names::Names;

/// Certificates of one chain that are looked at; servers show two or three.
const CHAIN_MAX: usize = 10;

/// A chain that was read.
pub(crate) struct Chain<'a> {
    /// The certificates, the peer's own first.
    pub(crate) all: Vec<CertificateDer<'a>>,
    /// The peer's own, taken apart.
    pub(crate) first: X509Certificate<'a>,
}

/// What may be wrong with a chain, at which time.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// Whom to trust.
    pub(crate) anchors: &'a [TrustAnchor<'static>],
    /// Now.
    pub(crate) now: SystemTime,
}

impl<'a> Chain<'a> {
    pub(crate) fn read(chain: &'a [Vec<u8>]) -> Result<Self, Distrust> {
        let own = chain.first().ok_or_else(|| distrust("it showed no certificate"))?;
        let (rest, first) = X509Certificate::from_der(own)
            .map_err(|error| distrust(format!("its certificate cannot be read: {error}")))?;
        if !rest.is_empty() {
            return Err(distrust("its certificate cannot be read: there is more behind it"));
        }
        let all = chain.iter().take(CHAIN_MAX).map(|der| CertificateDer::from(der.as_slice()));
        Ok(Self { all: all.collect(), first })
    }

    /// When the certificate itself ends.
    pub(crate) fn not_after(&self) -> SystemTime {
        time(self.first.validity().not_after.timestamp())
    }

    /// Proves that one of the domains is the peer's. Returns when the first certificate that this
    /// rests on ends (RFC 6120 §13.7.2.3).
    pub(crate) fn verify(
        &self,
        rules: Rules<'_>,
        domains: &[&str],
    ) -> Result<SystemTime, Distrust> {
        let own = self.all.first().ok_or_else(|| distrust("it showed no certificate"))?;
        let own = EndEntityCert::try_from(own).map_err(|error| self.explain(&error))?;
        let rest = self.all.get(1..).unwrap_or_default();
        let now = rules.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // todo(RFC 6120 §13.7.2): revocation is not looked at. Authorities close their responders
        // (OCSP), and certificates live for weeks.
        let algorithms = default_provider().signature_verification_algorithms.all;
        let path = own
            .verify_for_usage(
                algorithms,
                rules.anchors,
                rest,
                UnixTime::since_unix_epoch(now),
                ServerUsage,
                None,
                None,
            )
            .map_err(|error| self.explain(&error))?;
        self.prove(&path, domains)?;
        Ok(path.intermediate_certificates().fold(self.not_after(), |end, above| {
            let der = above.der();
            let above = X509Certificate::from_der(&der).ok();
            let not_after = above.map(|(_, above)| time(above.validity().not_after.timestamp()));
            not_after.map_or(end, |not_after| not_after.min(end))
        }))
    }

    fn prove(&self, path: &VerifiedPath<'_>, domains: &[&str]) -> Result<(), Distrust> {
        let mut names = Names::read(&self.first);
        names.constrained = path.anchor().name_constraints.is_some()
            || path.intermediate_certificates().any(|above| {
                let der = above.der();
                let parsed = X509Certificate::from_der(&der);
                // What cannot be read may constrain.
                parsed.map_or(true, |(_, above)| !matches!(above.name_constraints(), Ok(None)))
            });
        if domains.iter().any(|domain| names.prove(domain)) {
            return Ok(());
        }
        let named = names.describe();
        let wanted = domains.join(" or ");
        Err(distrust(format!("its certificate is for {named}, not for {wanted}")))
    }

    /// What is wrong, in plain words.
    fn explain(&self, error: &webpki::Error) -> Distrust {
        let validity = self.first.validity();
        let issuer = || self.first.issuer().to_string();
        distrust(match error {
            webpki::Error::CertExpired { not_after, .. } => {
                format!("a certificate of it expired on {}", day(not_after.as_secs()))
            }
            webpki::Error::CertNotValidYet { not_before, .. } => format!(
                "a certificate of it is not valid before {}; is the clock right?",
                day(not_before.as_secs())
            ),
            webpki::Error::InvalidCertValidity => format!(
                "its certificate is valid from {} to {}, which is never",
                validity.not_before, validity.not_after
            ),
            webpki::Error::UnknownIssuer if self.first.subject() == self.first.issuer() => {
                "its certificate is self-signed".to_owned()
            }
            webpki::Error::UnknownIssuer => {
                format!("its certificate is signed by {}, whom nobody here trusts", issuer())
            }
            webpki::Error::CaUsedAsEndEntity => {
                "its certificate is one of an authority, not of a server".to_owned()
            }
            webpki::Error::RequiredEkuNotFoundContext(_) => {
                "its certificate is not for servers (extended key usage)".to_owned()
            }
            webpki::Error::NameConstraintViolation => {
                format!("its certificate has names that {} may not give away", issuer())
            }
            other => format!("its certificate is not valid: {other}"),
        })
    }
}

/// What a certificate may be for. Every server is at times the one who calls, and authorities give
/// servers the usage serverAuth alone (RFC 6125 leaves it to the profile, RFC 6120 §13.7.1.2 names no
/// usage), so both are accepted on both sides. Without any usage it is for all (RFC 5280 §4.2.1.12).
struct ServerUsage;

impl ServerUsage {
    /// serverAuth, clientAuth, any, and what RFC 6120 §13.7.1.4 lets a certificate be limited to.
    const ACCEPTED: [&[usize]; 4] = [
        &[1, 3, 6, 1, 5, 5, 7, 3, 1],
        &[1, 3, 6, 1, 5, 5, 7, 3, 2],
        &[2, 5, 29, 37, 0],
        &[1, 3, 6, 1, 5, 5, 7, 8, 5],
    ];
}

impl ExtendedKeyUsageValidator for ServerUsage {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut any = false;
        for usage in usages {
            let usage = usage?.to_decoded_oid();
            if Self::ACCEPTED.contains(&usage.as_slice()) {
                return Ok(());
            }
            any = true;
        }
        match any {
            false => Ok(()),
            true => {
                Err(webpki::Error::RequiredEkuNotFoundContext(webpki::RequiredEkuNotFoundContext {
                    required: webpki::KeyUsage::server_auth(),
                    present: Vec::new(),
                }))
            }
        }
    }
}

fn day(seconds: u64) -> String {
    let micros = seconds.saturating_mul(1_000_000);
    verona_xmpp::date::write_day(i64::try_from(micros).unwrap_or(i64::MAX))
}

pub(crate) fn distrust(text: impl Into<String>) -> Distrust {
    Distrust(text.into())
}

fn time(seconds: i64) -> SystemTime {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}
