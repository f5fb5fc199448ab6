//! The certificate of a domain that has none: made by ourselves, kept, and renewed in time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rcgen::{KeyUsagePurpose, PKCS_ECDSA_P256_SHA256};

use crate::tls::certificate::{Certificate, CertificateError};

/// The labels under which every host has its services.
pub const SERVICES: [&str; 4] = ["conference", "proxy", "pubsub", "upload"];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Some clients refuse a server certificate that is valid for more than 825 days.
const VALID_DAYS: u32 = 820;

/// Renewed this long before the end, with the same key, so that who trusts the key is not asked.
const RENEW_DAYS: u32 = 30;

const CHAIN: &str = "self-signed.pem";
const KEY: &str = "self-signed.key";

/// Reads the self-signed certificate of a domain from its folder, or makes a new one when there is
/// none, or when it ends soon. The domain is given as in DNS.
pub fn read_or_make(folder: &Path, domain: &str) -> Result<Certificate, CertificateError> {
    let (chain, key) = (folder.join(CHAIN), folder.join(KEY));
    if chain.exists() {
        let kept = Certificate::read(&chain, &key)?;
        let renewal = kept.not_after.checked_sub(DAY * RENEW_DAYS);
        if renewal.is_none_or(|renewal| SystemTime::now() < renewal) && kept.covers(domain) {
            return Ok(kept);
        }
    }
    let failed = |error: String| {
        CertificateError::new(&chain, format!("a self-signed one cannot be made: {error}"))
    };
    make(folder, domain).map_err(failed)?;
    Certificate::read(&chain, &key)
}

fn make(folder: &Path, domain: &str) -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(told)?;
    let key = match fs::read_to_string(folder.join(KEY)) {
        Ok(pem) => KeyPair::from_pem(&pem).map_err(|error| error.to_string())?,
        Err(_) => {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
            let key = key.map_err(|error| error.to_string())?;
            write(folder, KEY, &key.serialize_pem()).map_err(told)?;
            key
        }
    };
    let certificate = params(domain).and_then(|params| params.self_signed(&key));
    let pem = certificate.map_err(|error| error.to_string())?.pem();
    write(folder, CHAIN, &pem).map_err(told)
}

fn params(domain: &str) -> Result<CertificateParams, rcgen::Error> {
    let services = SERVICES.iter().map(|label| format!("{label}.{domain}"));
    let names = [domain.to_owned(), format!("*.{domain}")].into_iter().chain(services);
    let mut params = CertificateParams::new(names.collect::<Vec<_>>())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, domain);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A server is a client to other servers.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let now = SystemTime::now();
    // Clocks differ: a certificate made just now must not be too young for a peer.
    params.not_before = now.checked_sub(DAY).unwrap_or(now).into();
    params.not_after = now.checked_add(DAY * VALID_DAYS).unwrap_or(now).into();
    Ok(params)
}

/// Writes a file that only its owner reads, whole or not at all.
fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A directory of its own for each test, removed afterwards.
    pub(crate) struct Scratch(PathBuf);

    impl Scratch {
        pub(crate) fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("verona-tls-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).expect("a directory");
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn it_is_made_once_and_kept() {
        let scratch = Scratch::new();
        let folder = scratch.path().join("montague.lit");
        let made = read_or_make(&folder, "montague.lit").expect("made");
        assert!(made.covers("montague.lit") && made.covers("conference.montague.lit"));
        assert!(made.self_signed);
        let kept = read_or_make(&folder, "montague.lit").expect("kept");
        assert!(kept.same_chain(&made));
    }

    #[test]
    fn nobody_else_reads_the_key() {
        let scratch = Scratch::new();
        let folder = scratch.path().join("montague.lit");
        read_or_make(&folder, "montague.lit").expect("made");
        let mode = |path: PathBuf| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(folder.join(KEY)), 0o600);
        assert_eq!(mode(folder), 0o700);
    }

    #[test]
    fn near_its_end_it_is_renewed_with_the_same_key() {
        let scratch = Scratch::new();
        let folder = scratch.path();
        let old = read_or_make(folder, "montague.lit").expect("made");
        let key = KeyPair::from_pem(&fs::read_to_string(folder.join(KEY)).expect("there"));
        let mut params = params("montague.lit").expect("names");
        let soon = SystemTime::now() + DAY * (RENEW_DAYS - 1);
        params.not_after = soon.into();
        let short = params.self_signed(&key.expect("a key")).expect("a certificate");
        write(folder, CHAIN, &short.pem()).expect("written");

        let renewed = read_or_make(folder, "montague.lit").expect("renewed");
        assert!(renewed.not_after > soon);
        let spki = |certificate: &Certificate| {
            certificate.key().key.public_key().expect("a key").as_ref().to_vec()
        };
        assert_eq!(spki(&renewed), spki(&old));
    }
}
