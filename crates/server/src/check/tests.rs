//! The findings about config and certificates.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};

use super::domains::{self, Doors};
use super::finding::{Finding, Level, text};
use super::nameserver::{self, Known};
use super::{certificates, config};
use crate::config::load::Config;
use crate::scratch::Scratch;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn parse(scratch: &Scratch, text: &str) -> Config {
    let file = scratch.path().join("verona.toml");
    fs::write(&file, text).expect("written");
    Config::load(&file, &[]).expect("right")
}

/// A certificate from an authority, with the authority's own behind it.
fn put(scratch: &Scratch, domain: &str, names: &[&str], days: u32) -> std::path::PathBuf {
    let folder = scratch.path().join("verona-data/certs").join(domain);
    fs::create_dir_all(&folder).expect("a folder");
    let mut authority = CertificateParams::new(Vec::new()).expect("names");
    authority.distinguished_name.push(rcgen::DnType::CommonName, "The Prince's CA");
    let issuer_key = KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(authority, issuer_key).expect("an authority");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.not_before = (SystemTime::now() - DAY * 60).into();
    params.not_after = (SystemTime::now() - DAY + DAY * days).into();
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let chain = format!("{}{}", certificate.pem(), issuer.pem());
    fs::write(folder.join("fullchain.pem"), chain).expect("written");
    fs::write(folder.join("privkey.pem"), key.serialize_pem()).expect("written");
    let private = Permissions::from_mode(0o600);
    fs::set_permissions(folder.join("privkey.pem"), private).expect("set");
    folder
}

const ALL: [&str; 2] = ["montague.lit", "*.montague.lit"];

fn look(scratch: &Scratch) -> Vec<Finding> {
    let config = parse(scratch, "[[host]]\ndomain = \"montague.lit\"");
    certificates::look(&config, SystemTime::now())
}

fn one(scratch: &Scratch) -> Finding {
    let mut found = look(scratch);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn a_good_certificate_is_good() {
    let scratch = Scratch::new();
    put(&scratch, "montague.lit", &ALL, 90);
    assert_eq!(one(&scratch).level, Level::Ok);
}

#[test]
fn the_end_is_told_two_weeks_ahead() {
    let scratch = Scratch::new();
    put(&scratch, "montague.lit", &ALL, 10);
    let found = one(&scratch);
    assert_eq!((found.level, &found.text[..10]), (Level::Warning, "expires on"));
    put(&scratch, "montague.lit", &ALL, 0);
    let found = one(&scratch);
    assert_eq!((found.level, &found.text[..10]), (Level::Error, "expired on"));
}

#[test]
fn names_that_are_missing_are_told() {
    let scratch = Scratch::new();
    put(&scratch, "montague.lit", &["montague.lit", "conference.montague.lit"], 90);
    let found = one(&scratch);
    assert_eq!(found.level, Level::Warning);
    assert_eq!(
        found.text,
        "does not name proxy.montague.lit, pubsub.montague.lit, upload.montague.lit"
    );
    put(&scratch, "montague.lit", &["capulet.lit", "*.montague.lit"], 90);
    assert_eq!(one(&scratch).level, Level::Error);
}

#[test]
fn a_key_that_everybody_reads_is_an_error() {
    let scratch = Scratch::new();
    let folder = put(&scratch, "montague.lit", &ALL, 90);
    let open = Permissions::from_mode(0o644);
    fs::set_permissions(folder.join("privkey.pem"), open).expect("set");
    let found = look(&scratch);
    assert!(found.iter().any(|finding| finding.level == Level::Error
        && finding.cure.as_ref().is_some_and(|cure| cure.starts_with("chmod o-rwx"))));
}

#[test]
fn a_chain_out_of_order_or_without_issuer_is_told() {
    let scratch = Scratch::new();
    let folder = put(&scratch, "montague.lit", &ALL, 90);
    let file = folder.join("fullchain.pem");
    let chain = fs::read_to_string(&file).expect("there");
    let end = "-----END CERTIFICATE-----\n";
    let (first, rest) = chain.split_once(end).expect("two certificates");
    fs::write(&file, format!("{first}{end}{first}{end}{rest}")).expect("written");
    assert_eq!(one(&scratch).level, Level::Error);
    fs::write(&file, format!("{first}{end}")).expect("written");
    let found = one(&scratch);
    assert_eq!(found.level, Level::Warning);
    assert_eq!(found.text, "the file holds no certificate of the issuer");
}

#[test]
fn broken_files_are_told_once() {
    let scratch = Scratch::new();
    let folder = put(&scratch, "montague.lit", &ALL, 90);
    fs::write(folder.join("fullchain.pem"), "torn").expect("written");
    assert_eq!(one(&scratch).level, Level::Error);
}

#[test]
fn without_a_certificate_one_is_told_where_it_belongs() {
    let scratch = Scratch::new();
    let found = one(&scratch);
    assert_eq!(found.level, Level::Warning);
    let place = Path::new("verona-data/certs/montague.lit/fullchain.pem");
    assert!(found.cure.is_some_and(|cure| cure.contains(&place.display().to_string())));
    // Nobody gets one for localhost.
    let config = parse(&scratch, "");
    let found = certificates::look(&config, SystemTime::now());
    assert_eq!(found[0].level, Level::Ok);
}

#[test]
fn weaker_settings_and_readable_secrets_are_told() {
    let scratch = Scratch::new();
    let safe = parse(&scratch, "");
    assert!(config::look(&safe).iter().all(|finding| finding.level == Level::Ok));
    let weak = parse(
        &scratch,
        "[security]\nrequire_tls = false\nlegacy_auth = true\n[limits]\nunlimited = true\n\
         [storage]\nurl = \"memory:\"\n[dns]\ndnssec = false\n\
         [[component]]\ndomain = \"irc.localhost\"\nsecret = \"correct horse battery\"",
    );
    let file = weak.file.clone().expect("a file");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("set");
    let warnings = |config: &Config| {
        config::look(config).iter().filter(|finding| finding.level == Level::Warning).count()
    };
    assert_eq!(warnings(&weak), 6);
    fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("set");
    assert_eq!(warnings(&weak), 5);
}

#[test]
fn the_worst_stands_last() {
    let findings = [
        Finding::error("a", "broken", "mend it"),
        Finding::ok("b", "fine"),
        Finding::warning("c", "odd", "look at it"),
    ];
    assert_eq!(
        text(&findings),
        "ok      b: fine\nWARNING c: odd\n        -> look at it\n\
         ERROR   a: broken\n        -> mend it\n1 error, 1 warning\n"
    );
}

async fn seen(records: Vec<Known>, listen: &str, doors: Doors) -> Vec<Finding> {
    let scratch = Scratch::new();
    let address = nameserver::start(records);
    let config = parse(
        &scratch,
        &format!(
            "[[host]]\ndomain = \"montague.lit\"\n[listen]\nc2s = []\nc2s_tls = []\n{listen}\n\
             [dns]\nservers = [\"{address}\"]\ndnssec = false\n"
        ),
    );
    domains::look(&config, doors).await
}

const SERVICE: &str = "_xmpp-server._tcp.montague.lit";
const HOST: &str = "x.montague.lit";
const LISTEN: &str = "s2s = [\"127.0.0.1:5269\"]\ns2s_tls = []";

fn only(mut found: Vec<Finding>) -> Finding {
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[tokio::test]
async fn a_domain_to_which_nothing_leads_is_an_error_with_the_record_to_add() {
    let found = only(seen(Vec::new(), LISTEN, Doors::Closed).await);
    assert_eq!(found.level, Level::Error);
    assert_eq!(found.subject, "DNS montague.lit for other servers");
    let cure = found.cure.expect("a cure");
    assert!(cure.contains("`_xmpp-server._tcp.montague.lit. SRV 0 5 5269 HOST.`"), "{cure}");
}

#[tokio::test]
async fn records_that_lead_here_are_good() {
    let local = [127, 0, 0, 1].into();
    let records = vec![Known::Srv(SERVICE, 5269, HOST), Known::A(HOST, local)];
    let found = only(seen(records, LISTEN, Doors::Closed).await);
    assert_eq!((found.level, &*found.text), (Level::Ok, "leads to x.montague.lit:5269"));
    let records = vec![Known::A("montague.lit", local)];
    let found = only(seen(records, LISTEN, Doors::Closed).await);
    let text = "leads to montague.lit:5269, by its address";
    assert_eq!((found.level, &*found.text), (Level::Ok, text));
}

#[tokio::test]
async fn records_that_lead_astray_are_told() {
    let local = [127, 0, 0, 1].into();
    let lost = vec![Known::Srv(SERVICE, 5269, HOST)];
    let found = only(seen(lost, LISTEN, Doors::Closed).await);
    let text = "names x.montague.lit, which has no address";
    assert_eq!((found.level, &*found.text), (Level::Error, text));

    let elsewhere = vec![Known::Srv(SERVICE, 5555, HOST), Known::A(HOST, local)];
    let found = only(seen(elsewhere, LISTEN, Doors::Closed).await);
    assert_eq!(found.level, Level::Warning);
    assert!(found.text.contains("s2s in [listen] has other ports"), "{found:?}");

    let denied = vec![Known::Srv(SERVICE, 0, "")];
    let found = only(seen(denied, LISTEN, Doors::Closed).await);
    assert_eq!(found.level, Level::Warning);
    assert!(found.text.contains("no such service"), "{found:?}");
}

#[tokio::test]
async fn doors_that_should_be_open_are_tried() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let listen = format!("s2s = [\"127.0.0.1:{port}\"]\ns2s_tls = []");
    let records = vec![Known::Srv(SERVICE, port, HOST), Known::A(HOST, [127, 0, 0, 1].into())];
    let found = only(seen(records.clone(), &listen, Doors::Open).await);
    assert_eq!(found.level, Level::Ok, "{found:?}");
    drop(listener);
    let found = only(seen(records, &listen, Doors::Open).await);
    assert_eq!(found.level, Level::Warning);
    assert!(found.text.contains("where nothing answers"), "{found:?}");
}

#[test]
fn modules_that_name_a_component_which_is_none_are_told() {
    let scratch = Scratch::new();
    let with = |section: &str, component: &str| {
        let more = match section {
            "delegation.namespaces" => "namespace = \"urn:x\"",
            _ => "roster = \"get\"",
        };
        let text = format!(
            "[[component]]\ndomain = \"*.irc.localhost\"\nsecret = \"3f9a1c77e2b04d58\"\n\
             [[modules.{section}]]\ncomponent = \"{component}\"\n{more}"
        );
        let file = scratch.path().join("verona.toml");
        fs::write(&file, text).expect("written");
        let config = Config::load(&file, crate::settings::MODULES).expect("right");
        let found = config::look(&config).into_iter();
        let found = found.filter(|of| of.subject.starts_with("config [modules."));
        found.map(|of| (of.subject, of.text)).collect::<Vec<_>>()
    };
    for section in ["delegation.namespaces", "privilege.grants"] {
        let subject = format!("config [modules.{}]", section.split_once('.').expect("two").0);
        let told = |name| {
            vec![(subject.clone(), format!("names the component {name}, which does not exist"))]
        };
        assert_eq!(with(section, "irc.localhost"), []);
        assert_eq!(with(section, "net.irc.localhost"), []);
        assert_eq!(with(section, "icr.localhost"), told("icr.localhost"));
        assert_eq!(with(section, "xirc.localhost"), told("xirc.localhost"));
    }
}

#[test]
fn weak_secrets_and_open_doors_of_components_are_told() {
    let scratch = Scratch::new();
    let with = |secret: &str, address: &str| {
        let text = format!(
            "[[component]]\ndomain = \"irc.montague.lit\"\nsecret = \"{secret}\"\n\
             [listen]\ncomponent = [\"{address}\"]"
        );
        let found = config::look(&parse(&scratch, &text));
        let told = |subject: &str| found.iter().any(|finding| finding.subject.starts_with(subject));
        (told("component irc.montague.lit"), told("port component"))
    };
    assert_eq!(with("3f9a1c77e2b04d58", "127.0.0.1:5347"), (false, false));
    assert_eq!(with("verona-irc", "[::1]:5347"), (true, false));
    assert_eq!(with("aaaaaaaabbbbbbbbcccc", "127.0.0.1:5347"), (true, false));
    assert_eq!(with("3f9a1c77e2b04d58", "[::]:5347"), (false, true));
}
