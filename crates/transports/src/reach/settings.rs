//! What the operator has set about other servers: other places, other authorities, other resolvers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor};

use crate::reach::places::Place;
use crate::tls::certificates::ascii;

/// What the operator has set.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where a domain is, instead of what DNS says.
    pub hosts: HashMap<String, Override>,
    /// Files with authorities to trust beside those of the system.
    pub trust: Vec<PathBuf>,
    /// DNS servers; none means those of the system.
    pub servers: Vec<SocketAddr>,
    /// Whether signatures of DNS answers are checked.
    pub dnssec: bool,
}

/// A place that goes before DNS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Override {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS begins with the first byte.
    pub direct_tls: bool,
}

/// The overrides by the name of the domain in DNS.
pub(crate) fn places(settings: &Settings) -> HashMap<String, Place> {
    let place = |(domain, place): (&String, &Override)| {
        let Override { host, port, direct_tls } = place.clone();
        (ascii(domain), Place { host: ascii(&host), port, direct_tls, signed: false })
    };
    settings.hosts.iter().map(place).collect()
}

/// The authorities of the system and those of the files.
pub(crate) fn anchors(settings: &Settings) -> Result<Vec<TrustAnchor<'static>>, String> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "a certificate authority of the system cannot be read");
    }
    // One odd certificate in the system's store is not a reason to trust none of it.
    let mut anchors: Vec<_> = system.certs.iter().filter_map(|der| anchor(der).ok()).collect();
    if anchors.is_empty() {
        tracing::warn!(
            "the system names no certificate authorities; is ca-certificates installed?"
        );
    }
    for file in &settings.trust {
        let told = |cause: String| format!("{} (trust in [s2s]): {cause}", file.display());
        let pem = std::fs::read(file).map_err(|error| told(format!("cannot be read: {error}")))?;
        let before = anchors.len();
        for der in CertificateDer::pem_slice_iter(&pem) {
            let der = der.map_err(|error| told(format!("is not a PEM file: {error}")))?;
            anchors.push(anchor(&der).map_err(&told)?);
        }
        if anchors.len() == before {
            return Err(told("holds no certificate in PEM form".to_owned()));
        }
    }
    Ok(anchors)
}

fn anchor(der: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, String> {
    let anchor = webpki::anchor_from_trusted_cert(der).map_err(|error| error.to_string())?;
    Ok(anchor.to_owned())
}
