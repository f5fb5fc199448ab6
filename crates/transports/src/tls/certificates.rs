//! All certificates of the server, found by the name that a peer asks for, replaced in one step.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::{ClientConfig, ServerConfig};

use crate::tls::call::Call;
use crate::tls::certificate::{Certificate, CertificateError};
use crate::tls::door::Door;
use crate::tls::self_signed;

/// A domain that is served, and the other names under which peers look for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Site {
    /// The domain; its certificate lies in the folder of this name.
    pub domain: String,
    /// Names of its services, as far as they are not one of the usual labels below the domain; `*.`
    /// stands for all that lies below a name.
    pub services: Vec<String>,
}

/// The certificates of all sites.
pub struct Certificates {
    dir: PathBuf,
    provider: Arc<CryptoProvider>,
    set: ArcSwap<Set>,
}

/// What a handshake needs: the certificate, and the settings for each door.
#[derive(Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: Arc<Certificate>,
    configs: Vec<(Door, Arc<ServerConfig>)>,
    calling: Vec<(Call, Arc<ClientConfig>)>,
}

#[derive(Debug)]
struct Set {
    sites: Vec<Site>,
    /// One for each site, in the same order; never empty.
    identities: Vec<Arc<Identity>>,
    by_name: HashMap<String, Arc<Identity>>,
    /// By the name above, for the one label that a star in a certificate stands for.
    by_parent: HashMap<String, Arc<Identity>>,
    /// By a name above, for services that have all below it.
    by_any_above: HashMap<String, Arc<Identity>>,
}

/// What a reload did.
#[derive(Debug, Default)]
pub struct Reloaded {
    /// The domains that have another certificate now.
    pub changed: Vec<String>,
    /// What was refused; the certificates before stay.
    pub refused: Vec<CertificateError>,
}

/// What we speak, best first: suites with the hash that processors have instructions for.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| {
        let name = suite.suite().as_str().unwrap_or_default();
        (!name.starts_with("TLS13"), !name.contains("AES_128"))
    });
    provider
}

impl Certificates {
    /// Reads the certificates of all sites below a directory; a site without one gets a self-signed
    /// one. The first site answers peers that name no domain.
    pub fn open(dir: &Path, sites: Vec<Site>) -> Result<Self, Vec<CertificateError>> {
        let provider = Arc::new(provider());
        let (read, refused) = read_all(dir, sites, None);
        if !refused.is_empty() {
            return Err(refused);
        }
        let set = Set::new(read, &provider);
        let set = set.map_err(|error| vec![CertificateError::new(dir, error.to_string())])?;
        Ok(Self { dir: dir.to_owned(), provider, set: ArcSwap::from_pointee(set) })
    }

    /// Reads all files anew and takes what has changed, for the sites as they are now. Running
    /// streams keep what they have.
    pub fn reload(&self, sites: Vec<Site>) -> Reloaded {
        let old = self.set.load_full();
        let (read, mut refused) = read_all(&self.dir, sites, Some(&old));
        let changed: Vec<String> = read
            .iter()
            .filter(|(site, new)| {
                old.of_domain(&site.domain).is_none_or(|old| !old.same_chain(new))
            })
            .map(|(site, _)| site.domain.clone())
            .collect();
        if changed.is_empty() && read.iter().map(|(site, _)| site).eq(&old.sites) {
            return Reloaded { changed, refused };
        }
        // A new set has new ticket keys: a resumed session shows no certificate, so the channel
        // binding `tls-server-end-point` of both sides would come from different ones.
        match Set::new(read, &self.provider) {
            Ok(set) => self.set.store(Arc::new(set)),
            Err(error) => {
                refused.push(CertificateError::new(&self.dir, error.to_string()));
                return Reloaded { changed: Vec::new(), refused };
            }
        }
        Reloaded { changed, refused }
    }

    /// The identity for the name in a ClientHello, or for a peer without such a name the one of the
    /// domain it spoke to before, or the first. None: the name is not ours.
    pub fn find(&self, name: Option<&str>, domain: Option<&str>) -> Option<Arc<Identity>> {
        let set = self.set.load();
        match (name, domain) {
            (Some(name), _) => set.find(name),
            (None, Some(domain)) => set.find(&ascii(domain)).or_else(|| set.first()),
            (None, None) => set.first(),
        }
    }

    /// The certificate of each site, in their order.
    pub fn all(&self) -> Vec<(String, Arc<Certificate>)> {
        let set = self.set.load();
        let domains = set.sites.iter().map(|site| site.domain.clone());
        let certificates = set.identities.iter().map(|identity| identity.certificate.clone());
        domains.zip(certificates).collect()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Identity {
    fn new(
        certificate: Arc<Certificate>,
        provider: &Arc<CryptoProvider>,
        ticketer: &Arc<dyn rustls::server::ProducesTickets>,
    ) -> Result<Self, rustls::Error> {
        let config = |door: Door| {
            let config = door.config(certificate.key(), provider, ticketer)?;
            Ok((door, Arc::new(config)))
        };
        let configs: Result<Vec<_>, rustls::Error> = Door::ALL.into_iter().map(config).collect();
        let call = |call: Call| Ok((call, Arc::new(call.config(certificate.key(), provider)?)));
        let calling: Result<Vec<_>, rustls::Error> = Call::ALL.into_iter().map(call).collect();
        Ok(Self { configs: configs?, calling: calling?, certificate })
    }

    /// The settings of TLS for calling another server.
    pub(crate) fn calling(&self, call: Call) -> Option<&Arc<ClientConfig>> {
        self.calling.iter().find_map(|(own, config)| (*own == call).then_some(config))
    }

    /// The settings of TLS for a door.
    pub fn config(&self, door: Door) -> Option<&Arc<ServerConfig>> {
        self.configs.iter().find_map(|(own, config)| (*own == door).then_some(config))
    }
}

impl Set {
    fn new(
        served: Vec<(Site, Arc<Certificate>)>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, rustls::Error> {
        let ticketer = Ticketer::new()?;
        let (sites, certificates): (Vec<Site>, Vec<_>) = served.into_iter().unzip();
        let identities: Result<Vec<_>, _> = certificates
            .into_iter()
            .map(|certificate| Identity::new(certificate, provider, &ticketer).map(Arc::new))
            .collect();
        let identities = identities?;
        let (mut by_name, mut by_parent, mut by_any_above) =
            (HashMap::new(), HashMap::new(), HashMap::new());
        // What a site says of itself goes before what a certificate happens to name.
        for (site, identity) in sites.iter().zip(&identities) {
            by_name.insert(ascii(&site.domain), identity.clone());
        }
        let services = sites.iter().zip(&identities).flat_map(|(site, identity)| {
            let names = site.services.iter();
            names.map(move |name| (name, identity, true))
        });
        let named = identities.iter().flat_map(|identity| {
            let names = identity.certificate.names.iter();
            names.map(move |name| (name, identity, false))
        });
        for (name, identity, is_service) in services.chain(named) {
            let (map, name) = match name.strip_prefix("*.") {
                Some(above) if is_service => (&mut by_any_above, above),
                Some(parent) => (&mut by_parent, parent),
                None => (&mut by_name, name.as_str()),
            };
            map.entry(ascii(name)).or_insert_with(|| identity.clone());
        }
        // A service that no certificate names is still ours: servers reach it by dialback.
        for (site, identity) in sites.iter().zip(&identities) {
            for label in self_signed::SERVICES {
                let name = format!("{label}.{}", ascii(&site.domain));
                by_name.entry(name).or_insert_with(|| identity.clone());
            }
        }
        Ok(Self { sites, identities, by_name, by_parent, by_any_above })
    }

    fn find(&self, name: &str) -> Option<Arc<Identity>> {
        let lower = name.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        let by_parent = || self.by_parent.get(above(name)?);
        let mut all_above = std::iter::successors(above(name), |name| above(name));
        let by_any_above = || all_above.find_map(|name| self.by_any_above.get(name));
        self.by_name.get(name).or_else(by_any_above).or_else(by_parent).cloned()
    }

    fn first(&self) -> Option<Arc<Identity>> {
        self.identities.first().cloned()
    }

    fn of_domain(&self, domain: &str) -> Option<&Arc<Certificate>> {
        let position = self.sites.iter().position(|site| site.domain == domain)?;
        self.identities.get(position).map(|identity| &identity.certificate)
    }
}

/// The name without its first label.
fn above(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, above)| above)
}

/// The name as it stands in DNS and in a ClientHello.
pub(crate) fn ascii(domain: &str) -> String {
    idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_ascii_lowercase())
}

/// One certificate for each site: from its own files, else from those of another site that name it,
/// else self-signed. Where one is refused the one before stays; a site without any is left out.
fn read_all(
    dir: &Path,
    sites: Vec<Site>,
    old: Option<&Set>,
) -> (Vec<(Site, Arc<Certificate>)>, Vec<CertificateError>) {
    let mut refused = Vec::new();
    let before = |site: &Site| old.and_then(|old| old.of_domain(&site.domain)).cloned();
    let mut own = Vec::new();
    for site in &sites {
        own.push(read_files(&dir.join(&site.domain)).map_or_else(
            |error| {
                refused.push(error);
                before(site)
            },
            |read| read.map(Arc::new),
        ));
    }
    if old.is_none() && !refused.is_empty() {
        return (Vec::new(), refused);
    }
    let mut all = Vec::new();
    for (site, read) in sites.into_iter().zip(&own) {
        let name = ascii(&site.domain);
        let covering = || own.iter().flatten().find(|other| other.covers(&name)).cloned();
        let made = || {
            let made = self_signed::read_or_make(&dir.join(&site.domain), &name).map(Arc::new);
            made.or_else(|error| {
                refused.push(error);
                before(&site).ok_or(())
            })
        };
        let found = read.clone().or_else(covering).map_or_else(made, Ok);
        all.extend(found.map(|certificate| (site, certificate)));
    }
    (all, refused)
}

/// The certificate that the operator put into a folder, if there is one.
fn read_files(folder: &Path) -> Result<Option<Certificate>, CertificateError> {
    let (chain, key) = (folder.join("fullchain.pem"), folder.join("privkey.pem"));
    // A link that leads nowhere is there, but broken: that must be told.
    match chain.symlink_metadata().is_ok() || key.symlink_metadata().is_ok() {
        true => Certificate::read(&chain, &key).map(Some),
        false => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::tls::self_signed::tests::Scratch;

    fn site(domain: &str, services: &[&str]) -> Site {
        let services = services.iter().map(|name| (*name).to_owned()).collect();
        Site { domain: domain.to_owned(), services }
    }

    fn put(dir: &Path, domain: &str, names: &[&str]) {
        let folder = dir.join(domain);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("names");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("fullchain.pem"), certificate.pem()).expect("written");
        fs::write(folder.join("privkey.pem"), key.serialize_pem()).expect("written");
    }

    fn open(dir: &Path, sites: &[Site]) -> Certificates {
        Certificates::open(dir, sites.to_vec()).expect("all is well")
    }

    fn file(certificates: &Certificates, name: &str) -> Option<String> {
        let identity = certificates.find(Some(name), None)?;
        let folder = identity.certificate.file.parent().and_then(Path::file_name);
        folder.and_then(|folder| folder.to_str()).map(str::to_owned)
    }

    #[test]
    fn names_lead_to_the_certificate_of_their_domain() {
        let scratch = Scratch::new();
        put(scratch.path(), "montague.lit", &["montague.lit", "chat.example.org"]);
        let sites = [
            site("montague.lit", &["rooms.verona.lit", "*.irc.verona.lit"]),
            site("capulet.lit", &[]),
            site("bücher.example", &[]),
        ];
        let certificates = open(scratch.path(), &sites);
        let found = |name| file(&certificates, name);
        assert_eq!(found("montague.lit").as_deref(), Some("montague.lit"));
        assert_eq!(found("MONTAGUE.lit.").as_deref(), Some("montague.lit"));
        // Named by the certificate, by the site, or one of the usual services.
        assert_eq!(found("chat.example.org").as_deref(), Some("montague.lit"));
        assert_eq!(found("rooms.verona.lit").as_deref(), Some("montague.lit"));
        assert_eq!(found("oftc.irc.verona.lit").as_deref(), Some("montague.lit"));
        assert_eq!(found("eu.oftc.irc.verona.lit").as_deref(), Some("montague.lit"));
        assert_eq!(found("conference.montague.lit").as_deref(), Some("montague.lit"));
        // A self-signed one has a star.
        assert_eq!(found("anything.capulet.lit").as_deref(), Some("capulet.lit"));
        assert_eq!(found("xn--bcher-kva.example").as_deref(), Some("bücher.example"));
        // Not ours.
        assert_eq!(found("anything.montague.lit"), None);
        assert_eq!(found("a.b.capulet.lit"), None);
        assert_eq!(found("irc.verona.lit"), None);
        assert_eq!(found("example.org"), None);
    }

    #[test]
    fn a_peer_that_names_nothing_gets_the_domain_it_spoke_to() {
        let scratch = Scratch::new();
        let sites = [site("montague.lit", &[]), site("capulet.lit", &[])];
        let certificates = open(scratch.path(), &sites);
        let covers = |domain, name| {
            let identity = certificates.find(None, domain);
            identity.is_some_and(|identity| identity.certificate.covers(name))
        };
        assert!(covers(None, "montague.lit"));
        assert!(covers(Some("capulet.lit"), "capulet.lit"));
        assert!(covers(Some("elsewhere.lit"), "montague.lit"));
    }

    #[test]
    fn a_certificate_that_names_another_site_serves_it_too() {
        let scratch = Scratch::new();
        put(scratch.path(), "montague.lit", &["montague.lit", "capulet.lit"]);
        let sites = [site("montague.lit", &[]), site("capulet.lit", &[])];
        let certificates = open(scratch.path(), &sites);
        assert_eq!(file(&certificates, "capulet.lit").as_deref(), Some("montague.lit"));
        assert!(!scratch.path().join("capulet.lit").exists());
    }

    #[test]
    fn a_broken_certificate_stops_the_start() {
        let scratch = Scratch::new();
        put(scratch.path(), "montague.lit", &["montague.lit"]);
        fs::remove_file(scratch.path().join("montague.lit/privkey.pem")).expect("removed");
        let sites = vec![site("montague.lit", &[]), site("capulet.lit", &[])];
        let refused = Certificates::open(scratch.path(), sites).expect_err("a key is missing");
        assert_eq!(refused.len(), 1);
        assert!(refused[0].file.ends_with("montague.lit/privkey.pem"));
    }

    #[test]
    fn reload_takes_what_is_new_and_keeps_what_got_broken() {
        let scratch = Scratch::new();
        put(scratch.path(), "montague.lit", &["montague.lit"]);
        put(scratch.path(), "capulet.lit", &["capulet.lit"]);
        let sites = [site("montague.lit", &[]), site("capulet.lit", &[])];
        let certificates = open(scratch.path(), &sites);
        let before = certificates.all();

        let reloaded = certificates.reload(sites.to_vec());
        assert!(reloaded.changed.is_empty() && reloaded.refused.is_empty());

        put(scratch.path(), "montague.lit", &["montague.lit"]);
        fs::write(scratch.path().join("capulet.lit/fullchain.pem"), "torn").expect("written");
        let reloaded = certificates.reload(sites.to_vec());
        assert_eq!(reloaded.changed, ["montague.lit"]);
        assert_eq!(reloaded.refused.len(), 1);
        let after = certificates.all();
        assert!(!after[0].1.same_chain(&before[0].1));
        assert!(after[1].1.same_chain(&before[1].1));
    }

    #[test]
    fn reload_takes_a_new_site() {
        let scratch = Scratch::new();
        let certificates = open(scratch.path(), &[site("montague.lit", &[])]);
        assert_eq!(file(&certificates, "capulet.lit"), None);
        let sites = vec![site("montague.lit", &[]), site("capulet.lit", &[])];
        assert_eq!(certificates.reload(sites).changed, ["capulet.lit"]);
        assert!(file(&certificates, "capulet.lit").is_some());
    }
}
