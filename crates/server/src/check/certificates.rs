//! Are the certificates those that clients and servers will accept?

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use verona_transports::tls::certificate::Certificate;
use verona_transports::tls::self_signed::SERVICES;

use crate::check::finding::Finding;
use crate::config::load::Config;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Days before the end in which one is warned.
pub const WARNING_DAYS: u32 = 14;

/// Looks at the certificate of each domain. Makes nothing and changes nothing.
pub fn look(config: &Config, now: SystemTime) -> Vec<Finding> {
    let dir = config.certificates_dir();
    let mut findings = Vec::new();
    let mut read = Vec::new();
    for domain in config.domains() {
        let subject = format!("certificate {domain}");
        let folder = dir.join(domain);
        let (chain, key) = (folder.join("fullchain.pem"), folder.join("privkey.pem"));
        if chain.symlink_metadata().is_err() && key.symlink_metadata().is_err() {
            continue;
        }
        match Certificate::read(&chain, &key) {
            Ok(certificate) => read.push((domain, certificate)),
            Err(error) => {
                let cure = format!(
                    "put the chain into {} and its key into {}, both in PEM form",
                    chain.display(),
                    key.display()
                );
                findings.push(Finding::error(&subject, error.to_string(), cure));
                read_by_others(&key, &subject, &mut findings);
                continue;
            }
        }
        read_by_others(&key, &subject, &mut findings);
    }
    for domain in config.domains() {
        if findings.iter().any(|finding| finding.subject == format!("certificate {domain}")) {
            // Its own files are broken: that is told already.
            continue;
        }
        let name = ascii(domain);
        let own = read.iter().find(|(other, _)| *other == domain);
        let found = own.or_else(|| read.iter().find(|(_, other)| other.covers(&name)));
        match found {
            Some((_, certificate)) => judge(domain, certificate, now, &mut findings),
            None => findings.push(missing(domain, &dir)),
        }
    }
    findings
}

fn ascii(domain: &str) -> String {
    idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned())
}

fn missing(domain: &str, dir: &Path) -> Finding {
    let subject = format!("certificate {domain}");
    // Nobody else can reach such a name, so nobody else has to trust it.
    if domain == "localhost" || domain.ends_with(".localhost") {
        return Finding::ok(subject, "self-signed, which is all that a local name can have");
    }
    Finding::warning(
        subject,
        "self-signed: clients will warn or refuse, and other servers will not trust it",
        format!(
            "put the certificate of {domain} into {0}/fullchain.pem and its key into \
             {0}/privkey.pem (links to another tool's files are fine), then `verona reload`",
            dir.join(domain).display()
        ),
    )
}

fn judge(domain: &str, certificate: &Certificate, now: SystemTime, findings: &mut Vec<Finding>) {
    let subject = format!("certificate {domain}");
    let first = findings.len();
    findings.extend(time(&subject, certificate, now));
    findings.extend(names(&subject, certificate, domain));
    findings.extend(chain(&subject, certificate));
    if findings.len() == first {
        let text = format!("valid until {}", date(certificate.not_after));
        findings.push(Finding::ok(&subject, text));
    }
}

fn time(subject: &str, certificate: &Certificate, now: SystemTime) -> Option<Finding> {
    if now < certificate.not_before {
        let text = format!("not valid before {}", date(certificate.not_before));
        return Some(Finding::error(subject, text, "check the clock of this machine"));
    }
    let renew = "renew it, then `verona reload`";
    let end = date(certificate.not_after);
    match certificate.not_after.duration_since(now) {
        Err(_) => Some(Finding::error(subject, format!("expired on {end}"), renew)),
        Ok(left) if left < DAY * WARNING_DAYS => {
            Some(Finding::warning(subject, format!("expires on {end}"), renew))
        }
        Ok(_) => None,
    }
}

fn names(subject: &str, certificate: &Certificate, domain: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = ascii(domain);
    if !certificate.covers(&name) {
        let text = format!("names {}, but not {domain}", certificate.names.join(", "));
        findings.push(Finding::error(subject, text, "get one that names the domain"));
    }
    let services = SERVICES.iter().map(|label| format!("{label}.{name}"));
    let missing: Vec<String> = services.filter(|service| !certificate.covers(service)).collect();
    if !missing.is_empty() {
        let text = format!("does not name {}", missing.join(", "));
        let cure = "get one that names them too, or other servers may not reach rooms and files";
        findings.push(Finding::warning(subject, text, cure));
    }
    findings
}

fn chain(subject: &str, certificate: &Certificate) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !certificate.chain_in_order {
        let cure = "put the domain's certificate first, each followed by that of its issuer";
        let text = format!("{}: the chain is not in order", certificate.file.display());
        findings.push(Finding::error(subject, text, cure));
    }
    if certificate.self_signed {
        let text = "self-signed: clients will warn or refuse, and other servers will not trust it";
        findings.push(Finding::warning(subject, text, "get one from an authority"));
    } else if certificate.key().cert.len() == 1 {
        let text = "the file holds no certificate of the issuer";
        let cure = "use the file with the whole chain, or some clients will not trust it";
        findings.push(Finding::warning(subject, text, cure));
    }
    findings
}

fn read_by_others(key: &Path, subject: &str, findings: &mut Vec<Finding>) {
    let Ok(metadata) = fs::metadata(key) else { return };
    if metadata.mode() & 0o007 != 0 {
        let text = format!("everybody on this machine can read the key {}", key.display());
        findings.push(Finding::error(subject, text, format!("chmod o-rwx {}", key.display())));
    }
}

fn date(time: SystemTime) -> String {
    let micros = time.duration_since(SystemTime::UNIX_EPOCH).map(|since| since.as_micros());
    verona_xmpp::date::write_day(i64::try_from(micros.unwrap_or_default()).unwrap_or(i64::MAX))
}
