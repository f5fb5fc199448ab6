//! One certificate with its key: read from two PEM files, proven to belong together, and what is
//! known of it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry as oid;
use x509_parser::prelude::FromDer;
use x509_parser::signature_algorithm::SignatureAlgorithm;

/// Why a certificate cannot be used: the file, and what is wrong with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateError {
    /// The file that is at fault.
    pub file: PathBuf,
    /// What is wrong and what to do, without a capital and without a full stop.
    pub message: String,
}

impl CertificateError {
    /// A fault of a file.
    pub fn new(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), message: message.into() }
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.message)
    }
}

impl std::error::Error for CertificateError {}

/// A certificate chain with the key of its first certificate.
#[derive(Debug)]
pub struct Certificate {
    /// The file the chain came from.
    pub file: PathBuf,
    /// The DNS names it is valid for, in lower case; `*.` stands for one label.
    pub names: Vec<String>,
    /// Not valid before.
    pub not_before: SystemTime,
    /// Not valid after.
    pub not_after: SystemTime,
    /// Whether its issuer is itself.
    pub self_signed: bool,
    /// Whether each certificate of the chain is issued by the one behind it.
    pub chain_in_order: bool,
    /// RFC 5929 §4.1: the hash of the certificate, for the channel binding `tls-server-end-point`;
    /// none where its signature has no hash function of its own (Ed25519).
    pub end_point: Option<Box<[u8]>>,
    key: Arc<CertifiedKey>,
}

impl Certificate {
    /// Reads a chain and its key, and proves that they belong together.
    pub fn read(chain_file: &Path, key_file: &Path) -> Result<Self, CertificateError> {
        let chain = read_chain(chain_file)?;
        let key = read_key(key_file)?;
        let key = CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| {
            let message = match error {
                rustls::Error::InconsistentKeys(_) => {
                    format!("the key is not that of {}", chain_file.display())
                }
                other => format!("the key cannot be used: {other}"),
            };
            CertificateError::new(key_file, message)
        })?;
        Self::new(chain_file, key)
    }

    fn new(file: &Path, key: CertifiedKey) -> Result<Self, CertificateError> {
        let wrong = |message: String| CertificateError::new(file, message);
        let parsed: Result<Vec<_>, _> =
            key.cert.iter().map(|der| X509Certificate::from_der(der)).collect();
        let parsed = parsed.map_err(|error| wrong(format!("is not a certificate: {error}")))?;
        let (Some((_, first)), Some(der)) = (parsed.first(), key.cert.first()) else {
            return Err(wrong("holds no certificate".to_owned()));
        };
        let names = dns_names(first);
        if names.is_empty() {
            // RFC 6125 §6.4.4 lets a common name stand in; we never take it, and peers do not either.
            return Err(wrong("names no domain as subject alternative name".to_owned()));
        }
        let mut pairs = parsed.iter().zip(parsed.iter().skip(1));
        Ok(Self {
            file: file.to_owned(),
            names,
            not_before: time(first.validity().not_before.timestamp()),
            not_after: time(first.validity().not_after.timestamp()),
            self_signed: first.subject() == first.issuer(),
            chain_in_order: pairs.all(|((_, one), (_, next))| one.issuer() == next.subject()),
            end_point: end_point(first, der),
            key: Arc::new(key),
        })
    }

    /// The chain and the key as rustls wants them.
    pub fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// Whether a name (lower case, as in DNS) is one of those of the certificate.
    pub fn covers(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            // RFC 6125 §6.4.3: the star stands for exactly one label, the leftmost.
            Some(rest) => parent == Some(rest),
            None => own == name,
        })
    }

    /// Whether it is the same chain, byte by byte.
    pub fn same_chain(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

fn read_file(file: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(file).map_err(|error| CertificateError::new(file, format!("cannot be read: {error}")))
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let pem = read_file(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => {
            Err(CertificateError::new(file, "holds no certificate in PEM form"))
        }
        Ok(chain) => Ok(chain),
        Err(error) => Err(CertificateError::new(file, format!("is not a PEM file: {error}"))),
    }
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let pem = zeroize::Zeroizing::new(read_file(file)?);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        let message = "holds no private key in PEM form; a key with a password cannot be used";
        CertificateError::new(file, message)
    })
}

fn time(seconds: i64) -> SystemTime {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Names come from the subject alternative name alone, never from the common name.
fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.map(|extension| extension.value.general_names.as_slice());
    let dns = names.unwrap_or_default().iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    dns.collect()
}

/// RFC 5929 §4.1: hashed by the hash function of the signature, but never by MD5 or SHA-1.
fn end_point(certificate: &X509Certificate<'_>, der: &[u8]) -> Option<Box<[u8]>> {
    let signature = &certificate.signature_algorithm;
    let algorithm = &signature.algorithm;
    let hash = if *algorithm == oid::OID_PKCS1_RSASSAPSS {
        let SignatureAlgorithm::RSASSA_PSS(parameters) =
            SignatureAlgorithm::try_from(signature).ok()?
        else {
            return None;
        };
        let hash = parameters.hash_algorithm_oid();
        [
            (oid::OID_HASH_SHA1, &digest::SHA256),
            (oid::OID_NIST_HASH_SHA256, &digest::SHA256),
            (oid::OID_NIST_HASH_SHA384, &digest::SHA384),
            (oid::OID_NIST_HASH_SHA512, &digest::SHA512),
        ]
        .into_iter()
        .find_map(|(known, by)| (known == *hash).then_some(by))
    } else {
        [
            (oid::OID_PKCS1_MD5WITHRSAENC, &digest::SHA256),
            (oid::OID_PKCS1_SHA1WITHRSA, &digest::SHA256),
            (oid::OID_PKCS1_SHA256WITHRSA, &digest::SHA256),
            (oid::OID_PKCS1_SHA384WITHRSA, &digest::SHA384),
            (oid::OID_PKCS1_SHA512WITHRSA, &digest::SHA512),
            (oid::OID_SIG_ECDSA_WITH_SHA256, &digest::SHA256),
            (oid::OID_SIG_ECDSA_WITH_SHA384, &digest::SHA384),
            (oid::OID_SIG_ECDSA_WITH_SHA512, &digest::SHA512),
        ]
        .into_iter()
        .find_map(|(known, by)| (known == *algorithm).then_some(by))
    };
    hash.map(|hash| digest::digest(hash, der).as_ref().into())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::tls::self_signed::tests::Scratch;

    fn write(scratch: &Scratch, key: &KeyPair, names: &[&str]) -> (PathBuf, PathBuf) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names");
        let certificate = params.self_signed(key).expect("a certificate");
        let (chain, file) = (scratch.path().join("fullchain.pem"), scratch.path().join("key.pem"));
        fs::write(&chain, certificate.pem()).expect("written");
        fs::write(&file, key.serialize_pem()).expect("written");
        (chain, file)
    }

    fn read(key: &KeyPair, names: &[&str]) -> Result<Certificate, CertificateError> {
        let scratch = Scratch::new();
        let (chain, key) = write(&scratch, key, names);
        Certificate::read(&chain, &key)
    }

    #[test]
    fn a_star_covers_one_label_only() {
        let key = KeyPair::generate().expect("a key");
        let certificate = read(&key, &["Montague.lit", "*.montague.lit"]).expect("right");
        assert!(certificate.covers("montague.lit"));
        assert!(certificate.covers("conference.montague.lit"));
        assert!(!certificate.covers("a.conference.montague.lit"));
        assert!(!certificate.covers("lit"));
        assert!(!certificate.covers("xmontague.lit"));
        assert!(certificate.self_signed && certificate.chain_in_order);
    }

    #[test]
    fn the_end_point_is_hashed_as_the_signature_is() {
        let lengths = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Some(32)),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Some(48)),
            // Ed25519 has no hash function of its own: undefined by RFC 5929 §4.1.
            (&rcgen::PKCS_ED25519, None),
        ];
        for (algorithm, length) in lengths {
            let key = KeyPair::generate_for(algorithm).expect("a key");
            let certificate = read(&key, &["montague.lit"]).expect("right");
            assert_eq!(certificate.end_point.as_ref().map(|hash| hash.len()), length);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = read(&key, &["montague.lit"]).expect("right");
        let der = certificate.key().cert.first().expect("a certificate");
        let hash = digest::digest(&digest::SHA256, der);
        assert_eq!(certificate.end_point.as_deref(), Some(hash.as_ref()));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let scratch = Scratch::new();
        let own = KeyPair::generate().expect("a key");
        let (chain, file) = write(&scratch, &own, &["montague.lit"]);
        let other = KeyPair::generate().expect("a key");
        fs::write(&file, other.serialize_pem()).expect("written");
        let error = Certificate::read(&chain, &file).expect_err("wrong key");
        assert_eq!(error.file, file);
        assert!(error.message.starts_with("the key is not that of"), "{error}");
    }

    #[test]
    fn broken_files_are_refused_by_name() {
        let scratch = Scratch::new();
        let key = KeyPair::generate().expect("a key");
        let (chain, file) = write(&scratch, &key, &["montague.lit"]);
        let refused = |expected: &str| {
            let error = Certificate::read(&chain, &file).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        };
        fs::write(&file, "nothing").expect("written");
        refused("key.pem: holds no private key");
        fs::write(&chain, "nothing").expect("written");
        refused("fullchain.pem: holds no certificate");
        fs::write(&chain, "-----BEGIN CERTIFICATE-----\nMIIB\n").expect("written");
        refused("fullchain.pem: is not a PEM file");
        fs::remove_file(&chain).expect("removed");
        refused("fullchain.pem: cannot be read");
    }

    #[test]
    fn a_certificate_without_names_is_refused() {
        let key = KeyPair::generate().expect("a key");
        let error = read(&key, &[]).expect_err("no names");
        assert!(error.message.starts_with("names no domain"), "{error}");
    }
}
