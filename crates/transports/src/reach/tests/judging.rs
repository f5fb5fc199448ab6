//! Certificates of every kind against the judgement.

use std::net::SocketAddr;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use verona_core::federation::reach::{Distrust, Proof, ProvenBy, Reach, Target};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::{Authority, DAY, other_name, params};
use super::nameserver::{Fault, Nameserver, Signing, Zone};
use crate::reach::dns::Dns;
use crate::reach::network::Network;
use crate::reach::settings::Settings;
use crate::tls::certificates::{Certificates, Site};
use crate::tls::self_signed::tests::Scratch;

/// A server that trusts one authority.
struct World {
    _scratch: Scratch,
    prince: Authority,
    network: Network,
    _nameserver: Nameserver,
}

async fn world(zone: Zone, signing: Option<Arc<Signing>>) -> World {
    let scratch = Scratch::new();
    let prince = Authority::new("The Prince's CA");
    let sites = vec![Site { domain: "capulet.lit".to_owned(), services: Vec::new() }];
    let certificates = Certificates::open(scratch.path(), sites).expect("certificates");
    let settings = Settings { trust: vec![prince.file(&scratch)], ..Settings::default() };
    let keys = signing.as_ref().map(|signing| signing.keys());
    let nameserver = Nameserver::start(zone, signing).await;
    let dns = Dns::from_keys(&[nameserver.address], keys).expect("a resolver");
    let network = Network::asking(Arc::new(certificates), &settings, dns).expect("a network");
    World { _scratch: scratch, prince, network, _nameserver: nameserver }
}

impl World {
    async fn judge(&self, chain: &[Vec<u8>], domain: &str) -> Result<Proof, Distrust> {
        self.network.judge(chain, domain, None).await
    }

    /// Judges a certificate of the trusted authority for montague.lit.
    async fn signed(&self, params: CertificateParams) -> Result<ProvenBy, String> {
        let chain = [self.prince.sign(params)];
        let judged = self.judge(&chain, "montague.lit").await;
        judged.map(|proof| proof.by).map_err(|distrust| distrust.0)
    }

    async fn refuses(&self, params: CertificateParams, because: &str) {
        let told = self.signed(params).await.expect_err(because);
        assert!(told.contains(because), "{told}");
    }
}

#[tokio::test]
async fn names_of_every_right_kind_prove_the_domain() {
    let world = world(Zone::default(), None).await;
    let lower = |name: &str| name.to_ascii_uppercase();
    for params in [
        params(&["montague.lit"]),
        params(&["capulet.lit", &lower("montague.lit")]),
        other_name(7, 0x16, "_xmpp-server.montague.lit"),
        other_name(7, 0x0c, "_XMPP-Server.Montague.lit"),
        other_name(5, 0x0c, "montague.lit"),
    ] {
        assert_eq!(world.signed(params).await, Ok(ProvenBy::Pkix));
    }
    let rooms = [world.prince.sign(params(&["*.montague.lit"]))];
    assert!(world.judge(&rooms, "rooms.montague.lit").await.is_ok());
    // Domains are in Unicode here, and in ASCII in certificates.
    let books = [world.prince.sign(params(&["xn--bcher-kva.example"]))];
    assert!(world.judge(&books, "bücher.example").await.is_ok());
    let books = [world.prince.sign(other_name(5, 0x0c, "bücher.example"))];
    assert!(world.judge(&books, "bücher.example").await.is_ok());
}

#[tokio::test]
async fn names_of_others_prove_nothing() {
    let world = world(Zone::default(), None).await;
    let mut common = params(&[]);
    common.distinguished_name.push(DnType::CommonName, "montague.lit");
    for params in [
        common,
        params(&["capulet.lit"]),
        params(&["*.montague.lit"]),
        params(&["*.lit"]),
        params(&["montague.lit.evil.example"]),
        other_name(7, 0x16, "_xmpp-client.montague.lit"),
        other_name(7, 0x16, "_ldap.montague.lit"),
        other_name(7, 0x16, "montague.lit"),
        other_name(5, 0x0c, "romeo@montague.lit"),
        other_name(5, 0x0c, "montague.lit/orchard"),
        // An e-mail address is no address of XMPP.
        other_name(9, 0x0c, "montague.lit"),
    ] {
        world.refuses(params, "not for montague.lit").await;
    }
    let deep = [world.prince.sign(params(&["*.montague.lit"]))];
    assert!(world.judge(&deep, "a.rooms.montague.lit").await.is_err());
}

#[tokio::test]
async fn what_is_wrong_is_told_in_plain_words() {
    let world = world(Zone::default(), None).await;
    let right = || params(&["montague.lit"]);

    let mut expired = right();
    expired.not_after = (SystemTime::now() - DAY / 2).into();
    world.refuses(expired, "expired on").await;

    let mut young = right();
    young.not_before = (SystemTime::now() + DAY).into();
    world.refuses(young, "is not valid before").await;

    let mut mail = right();
    mail.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    world.refuses(mail, "not for servers").await;

    let key = KeyPair::generate().expect("a key");
    let own = right().self_signed(&key).expect("a certificate").der().to_vec();
    let told = world.judge(&[own], "montague.lit").await.expect_err("self-signed");
    assert_eq!(told.0, "its certificate is self-signed");

    let tybalt = Authority::new("Tybalt's CA");
    let told = world.judge(&[tybalt.sign(right())], "montague.lit").await.expect_err("unknown");
    assert!(told.0.contains("Tybalt's CA, whom nobody here trusts"), "{told}");

    let told = world.judge(&[], "montague.lit").await.expect_err("none");
    assert_eq!(told.0, "it showed no certificate");
    let told = world.judge(&[b"rubbish".to_vec()], "montague.lit").await.expect_err("odd");
    assert!(told.0.contains("cannot be read"), "{told}");
    let mut longer = world.prince.sign(right());
    longer.push(0);
    assert!(world.judge(&[longer], "montague.lit").await.is_err());
}

#[tokio::test]
async fn a_reload_trusts_whom_the_files_name_now() {
    let world = world(Zone::default(), None).await;
    let tybalt = Authority::new("Tybalt's CA");
    let scratch = Scratch::new();
    let file = tybalt.file(&scratch);
    let settings = Settings { trust: vec![file.clone()], ..Settings::default() };
    let (of_prince, of_tybalt) =
        ([world.prince.sign(params(&["montague.lit"]))], [tybalt.sign(params(&["montague.lit"]))]);
    world.network.reload(&settings).expect("the file is right");
    assert!(world.judge(&of_tybalt, "montague.lit").await.is_ok());
    assert!(world.judge(&of_prince, "montague.lit").await.is_err());
    // What cannot be read changes nothing.
    std::fs::write(&file, "torn").expect("written");
    let told = world.network.reload(&settings).expect_err("no certificate");
    assert!(told.contains("authority.pem (trust in [s2s]): holds no certificate"), "{told}");
    assert!(world.judge(&of_tybalt, "montague.lit").await.is_ok());
}

#[tokio::test]
async fn servers_may_call_with_a_certificate_of_servers_or_of_clients() {
    let world = world(Zone::default(), None).await;
    for usages in [
        vec![],
        vec![ExtendedKeyUsagePurpose::ServerAuth],
        vec![ExtendedKeyUsagePurpose::ClientAuth],
        vec![ExtendedKeyUsagePurpose::Any],
        vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 8, 5])],
    ] {
        let mut params = params(&["montague.lit"]);
        params.extended_key_usages = usages;
        assert_eq!(world.signed(params).await, Ok(ProvenBy::Pkix));
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_first_certificate_it_rests_on() {
    let world = world(Zone::default(), None).await;
    let soon = SystemTime::now() + 10 * DAY;
    let below = world.prince.below("Friar Laurence's CA", &[], soon);
    let chain = [below.sign(params(&["montague.lit"])), below.der()];
    let proof = world.judge(&chain, "montague.lit").await.expect("right");
    let apart = proof.until.duration_since(soon).or_else(|error| Ok::<_, ()>(error.duration()));
    assert!(apart.is_ok_and(|apart| apart < DAY / 24), "{:?}", proof.until);
    // Without the one in between nothing leads to the authority.
    assert!(world.judge(&chain[..1], "montague.lit").await.is_err());
}

#[tokio::test]
async fn who_may_give_some_names_cannot_give_others() {
    let world = world(Zone::default(), None).await;
    let later = SystemTime::now() + 20 * DAY;
    let narrow = world.prince.below("Mercutio's CA", &["mercutio.lit"], later);
    let judge = async |params, domain| {
        let chain = [narrow.sign(params), narrow.der()];
        world.judge(&chain, domain).await.map_err(|distrust| distrust.0)
    };
    assert!(judge(params(&["mercutio.lit"]), "mercutio.lit").await.is_ok());
    assert!(judge(params(&["montague.lit"]), "montague.lit").await.is_err());
    // The constraint is about dNSName, and must not be walked around.
    for params in
        [other_name(7, 0x16, "_xmpp-server.montague.lit"), other_name(5, 0x0c, "montague.lit")]
    {
        assert!(judge(params, "montague.lit").await.is_err());
    }
}

fn key_of(certificate: &[u8]) -> Vec<u8> {
    let (_, parsed) = X509Certificate::from_der(certificate).expect("a certificate");
    parsed.tbs_certificate.subject_pki.raw.to_vec()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

fn sha512(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA512, bytes).as_ref().to_vec()
}

fn target(signed: bool) -> Target {
    let address: SocketAddr = "127.0.0.1:5269".parse().expect("an address");
    Target { host: "x.hosting.example".to_owned(), address, direct_tls: false, signed }
}

const PLACE: &str = "_5269._tcp.x.hosting.example";

#[tokio::test]
async fn a_signed_record_proves_what_no_authority_does() {
    let key = KeyPair::generate().expect("a key");
    let mut odd = params(&["somebody.else"]);
    odd.not_after = (SystemTime::now() - DAY / 2).into();
    let own = odd.self_signed(&key).expect("a certificate").der().to_vec();
    let signing = Arc::new(Signing::new());
    for (kind, data) in [
        ([3, 0, 0], own.clone()),
        ([3, 0, 1], sha256(&own)),
        ([3, 1, 1], sha256(&key_of(&own))),
        ([3, 1, 2], sha512(&key_of(&own))),
    ] {
        // Another record beside it, as while keys are changed, and one of a kind from the future.
        let zone = Zone::default()
            .tlsa(PLACE, [3, 1, 1], vec![7; 32])
            .tlsa(PLACE, [9, 9, 9], vec![1])
            .tlsa(PLACE, kind, data);
        let world = world(zone, Some(signing.clone())).await;
        let chain = [own.clone()];
        // RFC 7673 §4.2: neither names nor times count.
        let proof = world.network.judge(&chain, "montague.lit", Some(&target(true))).await;
        let proof = proof.expect("the record is right");
        assert_eq!(proof.by, ProvenBy::Dane);
        assert!(proof.until > SystemTime::now() + DAY / 2);
        // What led there was not signed: then the records are somebody's.
        let refused = world.network.judge(&chain, "montague.lit", Some(&target(false))).await;
        assert!(refused.is_err());
    }
}

#[tokio::test]
async fn an_unsigned_record_is_worth_nothing() {
    let key = KeyPair::generate().expect("a key");
    let own = params(&["montague.lit"]).self_signed(&key).expect("a certificate").der().to_vec();
    let zone = Zone::default().tlsa(PLACE, [3, 0, 1], sha256(&own));
    let world = world(zone, None).await;
    for target in [None, Some(target(false)), Some(target(true))] {
        let judged = world.network.judge(from_ref(&own), "montague.lit", target.as_ref()).await;
        assert_eq!(judged.expect_err("unsigned").0, "its certificate is self-signed");
    }
}

#[tokio::test]
async fn a_record_that_names_another_key_refuses_what_authorities_trust() {
    let signing = Arc::new(Signing::new());
    let zone = Zone::default().tlsa(PLACE, [3, 1, 1], vec![7; 32]);
    let world = world(zone, Some(signing)).await;
    let chain = [world.prince.sign(params(&["montague.lit"]))];
    let refused = world.network.judge(&chain, "montague.lit", Some(&target(true))).await;
    assert_eq!(
        refused.expect_err("the record is about another").0,
        "its certificate is none of those in its TLSA records"
    );
    assert!(world.network.judge(&chain, "montague.lit", Some(&target(false))).await.is_ok());
}

#[tokio::test]
async fn a_forged_record_refuses() {
    let signing = Arc::new(Signing::new());
    let key = KeyPair::generate().expect("a key");
    let own = params(&["montague.lit"]).self_signed(&key).expect("a certificate").der().to_vec();
    let zone = Zone::default().tlsa(PLACE, [3, 0, 1], sha256(&own)).fault(PLACE, Fault::Forged);
    let world = world(zone, Some(signing)).await;
    let refused = world.network.judge(&[own], "montague.lit", Some(&target(true))).await;
    let told = refused.expect_err("forged").0;
    assert!(told.contains("signature of the DNS answer is wrong"), "{told}");
}

#[tokio::test]
async fn with_signed_places_the_hosts_own_name_counts() {
    let signing = Arc::new(Signing::new());
    let world = world(Zone::default(), Some(signing)).await;
    let chain = [world.prince.sign(params(&["x.hosting.example"]))];
    // RFC 7673 §4.1: there is no TLSA record, but what led to the host was signed.
    let proof = world.network.judge(&chain, "montague.lit", Some(&target(true))).await;
    assert_eq!(proof.map(|proof| proof.by), Ok(ProvenBy::Pkix));
    for unsigned in [None, Some(target(false))] {
        assert!(world.network.judge(&chain, "montague.lit", unsigned.as_ref()).await.is_err());
    }
}

#[tokio::test]
async fn records_can_name_an_authority() {
    let signing = Arc::new(Signing::new());
    let tybalt = Authority::new("Tybalt's CA");
    let chain = [tybalt.sign(params(&["montague.lit"])), tybalt.der()];
    let other = [tybalt.sign(params(&["benvolio.lit"])), tybalt.der()];
    for (kind, proven) in [([2, 0, 1], true), ([2, 1, 1], true), ([0, 0, 1], false)] {
        let whole = if kind[1] == 0 { tybalt.der() } else { key_of(&tybalt.der()) };
        let zone = Zone::default().tlsa(PLACE, kind, sha256(&whole));
        let world = world(zone, Some(signing.clone())).await;
        let judge = async |chain: &[Vec<u8>]| {
            let judged = world.network.judge(chain, "montague.lit", Some(&target(true))).await;
            judged.map(|proof| proof.by).map_err(|distrust| distrust.0)
        };
        // Usage 2 trusts the authority, usage 0 asks besides that it is trusted here.
        let judged = judge(&chain).await;
        assert_eq!(judged.is_ok_and(|by| by == ProvenBy::Dane), proven, "{kind:?}");
        // Others have certificates of the same authority.
        assert!(judge(&other).await.is_err());
    }
}

#[tokio::test]
async fn records_can_say_more_than_the_authority() {
    let signing = Arc::new(Signing::new());
    let world = world(Zone::default(), Some(signing.clone())).await;
    let own = world.prince.sign(params(&["montague.lit"]));
    let zone = Zone::default().tlsa(PLACE, [1, 0, 1], sha256(&own));
    let nameserver = Nameserver::start(zone, Some(signing.clone())).await;
    let scratch = Scratch::new();
    let settings = Settings { trust: vec![world.prince.file(&scratch)], ..Settings::default() };
    let dns = Dns::from_keys(&[nameserver.address], Some(signing.keys())).expect("a resolver");
    let sites = vec![Site { domain: "capulet.lit".to_owned(), services: Vec::new() }];
    let certificates = Certificates::open(scratch.path(), sites).expect("certificates");
    let network = Network::asking(Arc::new(certificates), &settings, dns).expect("a network");
    let judge = async |chain: Vec<u8>| {
        network.judge(&[chain], "montague.lit", Some(&target(true))).await.map(|proof| proof.by)
    };
    assert_eq!(judge(own).await, Ok(ProvenBy::Dane));
    assert!(judge(world.prince.sign(params(&["montague.lit"]))).await.is_err());
}

#[tokio::test]
async fn a_server_that_calls_is_proven_by_the_records_of_its_domain() {
    let signing = Arc::new(Signing::new());
    let key = KeyPair::generate().expect("a key");
    let own = params(&["montague.lit"]).self_signed(&key).expect("a certificate").der().to_vec();
    let zone = Zone::default()
        .srv("_xmpp-server._tcp.montague.lit", (0, 5269), "x.hosting.example")
        .tlsa(PLACE, [3, 1, 1], sha256(&key_of(&own)));
    let world_signed = world(zone.clone(), Some(signing)).await;
    let judged = world_signed.judge(from_ref(&own), "montague.lit").await;
    assert_eq!(judged.map(|proof| proof.by), Ok(ProvenBy::Dane));
    assert!(world_signed.judge(from_ref(&own), "benvolio.lit").await.is_err());
    let world_unsigned = world(zone, None).await;
    assert!(world_unsigned.judge(&[own], "montague.lit").await.is_err());
}
