//! Authorities and certificates of every kind.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, NameConstraints,
};

use crate::tls::self_signed::tests::Scratch;

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// RFC 5280 §4.2.1.6: the extension with the names.
const ALTERNATIVE_NAME: [u64; 4] = [2, 5, 29, 17];

pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params_of_authority(name), key);
        Self { issuer: issuer.expect("an authority") }
    }

    /// An authority below this one, for these names only where some are given.
    pub(super) fn below(&self, name: &str, only: &[&str], end: SystemTime) -> Self {
        let mut params = params_of_authority(name);
        params.not_after = end.into();
        if !only.is_empty() {
            let subtrees = only.iter().map(|name| rcgen::GeneralSubtree::DnsName((*name).into()));
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: subtrees.collect(),
                excluded_subtrees: Vec::new(),
            });
        }
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer);
        Self { issuer: issuer.expect("an authority") }
    }

    pub(super) fn der(&self) -> Vec<u8> {
        self.issuer.der().to_vec()
    }

    /// Signs a certificate; the chain ends below the authority.
    pub(super) fn sign(&self, params: CertificateParams) -> Vec<u8> {
        let key = KeyPair::generate().expect("a key");
        params.signed_by(&key, &self.issuer).expect("a certificate").der().to_vec()
    }

    /// The file that makes it trusted.
    pub(super) fn file(&self, scratch: &Scratch) -> PathBuf {
        let file = scratch.path().join("authority.pem");
        std::fs::write(&file, self.issuer.pem()).expect("written");
        file
    }

    /// Puts a certificate of a domain where the server looks for it.
    pub(super) fn put(&self, scratch: &Scratch, domain: &str) {
        let folder = scratch.path().join(domain);
        std::fs::create_dir_all(&folder).expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let certificate = params(&[domain]).signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(folder.join("fullchain.pem"), certificate.pem()).expect("written");
        std::fs::write(folder.join("privkey.pem"), key.serialize_pem()).expect("written");
    }
}

fn params_of_authority(name: &str) -> CertificateParams {
    let mut params = params(&[]);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = Vec::new();
    params
}

/// A server's certificate as authorities give them.
pub(super) fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + 90 * DAY).into();
    params
}

/// A certificate with one otherName: the last arc of its kind below id-on, the tag of its value, and
/// the value.
pub(super) fn other_name(kind: u8, tag: u8, value: &str) -> CertificateParams {
    let wrap = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        let length = u8::try_from(content.len()).expect("short");
        assert!(length < 0x80);
        [&[tag, length][..], &content].concat()
    };
    let kind = [0x06, 8, 0x2b, 6, 1, 5, 5, 7, 8, kind];
    let value = wrap(0xa0, &[&wrap(tag, &[value.as_bytes()])]);
    let names = wrap(0x30, &[&wrap(0xa0, &[&kind, &value])]);
    let mut params = params(&[]);
    let extension = CustomExtension::from_oid_content(&ALTERNATIVE_NAME, names);
    params.custom_extensions.push(extension);
    params
}
