//! Connections to other domains: records, addresses, failures.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::ResponseCode;
use tokio::net::TcpListener;
use verona_core::federation::reach::{Dialled, Pair, Reach, Target, Unreachable};
use verona_xmpp::jid::Jid;

use super::authority::Authority;
use super::nameserver::{Fault, Nameserver, Signing, Zone};
use crate::reach::dns::Dns;
use crate::reach::network::Network;
use crate::reach::settings::{Override, Settings};
use crate::tls::certificates::{Certificates, Site};
use crate::tls::door::Door;
use crate::tls::self_signed::tests::Scratch;

fn jid(domain: &str) -> Jid {
    Jid::parse(domain).expect("a domain")
}

fn pair(remote: &str) -> Pair {
    Pair { local: jid("capulet.lit"), remote: jid(remote) }
}

fn certificates(scratch: &Scratch, domain: &str) -> Arc<Certificates> {
    let sites = vec![Site { domain: domain.to_owned(), services: Vec::new() }];
    Arc::new(Certificates::open(scratch.path(), sites).expect("certificates"))
}

struct World {
    _scratch: Scratch,
    network: Network,
    _nameserver: Nameserver,
}

async fn world(zone: Zone, signing: Option<Arc<Signing>>) -> World {
    world_with(zone, signing, Settings::default()).await
}

async fn world_with(zone: Zone, signing: Option<Arc<Signing>>, settings: Settings) -> World {
    let scratch = Scratch::new();
    let keys = signing.as_ref().map(|signing| signing.keys());
    let nameserver = Nameserver::start(zone, signing).await;
    let dns = Dns::from_keys(&[nameserver.address], keys).expect("a resolver");
    let certificates = certificates(&scratch, "capulet.lit");
    let network = Network::asking(certificates, &settings, dns).expect("a network");
    World { _scratch: scratch, network, _nameserver: nameserver }
}

impl World {
    async fn dial(&self, remote: &str) -> Result<Dialled, Unreachable> {
        self.network.dial(&pair(remote), None).await
    }

    async fn dials(&self, remote: &str) -> Dialled {
        match self.dial(remote).await {
            Ok(dialled) => dialled,
            Err(unreachable) => panic!("{unreachable:?}"),
        }
    }

    async fn fails(&self, remote: &str) -> Unreachable {
        match self.dial(remote).await {
            Ok(dialled) => panic!("{:?} took the connection", dialled.target),
            Err(unreachable) => unreachable,
        }
    }
}

/// A listener that takes connections into its backlog, and a port at which nobody listens.
async fn listener(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((address, 0)).await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

async fn nobody(address: &str) -> SocketAddr {
    listener(address).await.1
}

const SERVICE: &str = "_xmpp-server._tcp.montague.lit";
const SERVICE_TLS: &str = "_xmpps-server._tcp.montague.lit";

#[tokio::test]
async fn places_are_tried_by_priority_until_one_answers() {
    let closed = nobody("127.0.0.1").await;
    let (_open, open) = listener("127.0.0.2").await;
    let (_last, last) = listener("127.0.0.3").await;
    let zone = Zone::default()
        .srv(SERVICE, (30, last.port()), "last.montague.lit")
        .srv(SERVICE, (20, open.port()), "open.montague.lit")
        .srv(SERVICE, (10, closed.port()), "closed.montague.lit")
        .srv(SERVICE, (5, 1), "gone.montague.lit")
        .a("closed.montague.lit", [127, 0, 0, 1])
        .a("open.montague.lit", [127, 0, 0, 2])
        .a("last.montague.lit", [127, 0, 0, 3]);
    let world = world(zone, None).await;
    let Dialled { target, steps, .. } = world.dials("montague.lit").await;
    assert_eq!((target.host.as_str(), target.address), ("open.montague.lit", open));
    assert!(!target.direct_tls && !target.signed);
    for (step, expected) in [
        (0, "DNS _xmpps-server._tcp.montague.lit: no such"),
        (1, "DNS _xmpp-server._tcp.montague.lit: "),
        (2, "DNS address of gone.montague.lit: no such name"),
        (3, "closed.montague.lit at 127.0.0.1:"),
        (4, "open.montague.lit at 127.0.0.2:"),
    ] {
        assert!(steps[step].starts_with(expected), "{steps:?}");
    }
}

#[tokio::test]
async fn direct_tls_is_one_way_among_others() {
    let scratch = Scratch::new();
    Authority::new("The Prince's CA").put(&scratch, "montague.lit");
    let theirs = certificates(&scratch, "montague.lit");
    let (server, address) = listener("127.0.0.1").await;
    // At first it speaks TLS, then something else.
    let serving = tokio::spawn(async move {
        let (stream, _) = server.accept().await.expect("a connection");
        let accepted = theirs.accept(stream, Door::Server, None).await.expect("a handshake");
        assert_eq!(accepted.1.name.as_deref(), Some("montague.lit"));
        let (stream, _) = server.accept().await.expect("a connection");
        stream.writable().await.expect("open");
        stream.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("written");
        (accepted, stream, server)
    });
    let (_plain, plain) = listener("127.0.0.2").await;
    let zone = Zone::default()
        .srv(SERVICE_TLS, (1, address.port()), "x.montague.lit")
        .srv(SERVICE, (2, plain.port()), "y.montague.lit")
        .a("x.montague.lit", [127, 0, 0, 1])
        .a("y.montague.lit", [127, 0, 0, 2]);
    let world = world(zone, None).await;
    let dialled = world.dials("montague.lit").await;
    assert!(dialled.target.direct_tls && dialled.wire.is_secure());
    assert_eq!(dialled.wire.peer_chain().len(), 1);
    // Who does not speak TLS where it says so is passed over.
    let dialled = world.dials("montague.lit").await;
    assert!(!dialled.target.direct_tls && !dialled.wire.is_secure());
    assert_eq!(dialled.target.address, plain);
    serving.await.expect("served");
}

#[tokio::test]
async fn without_records_the_domain_itself_is_the_host() {
    // Nobody listens at the port of servers at this address.
    let zone = Zone::default().a("montague.lit", [127, 254, 254, 254]);
    let failed = world(zone, None).await.fails("montague.lit").await;
    assert!(!failed.unknown);
    assert!(failed.steps[2].starts_with("montague.lit at 127.254.254.254:5269:"), "{failed:?}");
}

#[tokio::test]
async fn who_says_that_there_is_no_service_is_believed() {
    let zone = Zone::default()
        .srv(SERVICE, (0, 0), ".")
        .srv(SERVICE_TLS, (0, 0), ".")
        .a("montague.lit", [127, 0, 0, 1]);
    let failed = world(zone, None).await.fails("montague.lit").await;
    assert!(failed.unknown);
    assert_eq!(failed.steps.len(), 2, "{failed:?}");

    // XEP-0368 §5: without direct TLS there may still be the other.
    let (_open, open) = listener("127.0.0.1").await;
    let zone = Zone::default()
        .srv(SERVICE_TLS, (0, 0), ".")
        .srv(SERVICE, (0, open.port()), "x.montague.lit")
        .a("x.montague.lit", [127, 0, 0, 1]);
    assert!(world(zone, None).await.dial("montague.lit").await.is_ok());
}

#[tokio::test]
async fn a_domain_that_is_not_there_is_unknown_and_a_silent_one_is_not() {
    let fails = async |zone: Zone, remote: &str| world(zone, None).await.fails(remote).await;
    assert!(fails(Zone::default(), "montague.lit").await.unknown);
    // It is there, but for something else.
    let other = Zone::default().put_text("montague.lit");
    assert!(fails(other, "montague.lit").await.unknown);
    // RFC 6120 §3.2.1 (9): who hears nothing may try the domain itself, and still does not know.
    let code = |code| Zone::default().fault(SERVICE, Fault::Code(code));
    for code in [code(ResponseCode::ServFail), code(ResponseCode::Refused)] {
        let failed = fails(code, "montague.lit").await;
        assert!(!failed.unknown);
        assert!(failed.steps[1].contains("the DNS server answers"), "{failed:?}");
        assert!(failed.steps[2].starts_with("DNS address of montague.lit"), "{failed:?}");
    }
    // What is no name in DNS is nowhere.
    let long = format!("{}.lit", "a".repeat(64));
    assert!(fails(Zone::default(), &long).await.unknown);
}

#[tokio::test]
async fn a_silent_name_server_is_given_up() {
    let begun = Instant::now();
    let zone = Zone::default()
        .fault(SERVICE, Fault::Silence)
        .fault(SERVICE_TLS, Fault::Silence)
        .a("montague.lit", [127, 0, 0, 1]);
    let failed = world(zone, None).await.fails("montague.lit").await;
    assert!(!failed.unknown);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn aliases_are_followed_and_circles_are_not() {
    let (_open, open) = listener("127.0.0.1").await;
    let zone = Zone::default()
        .alias(SERVICE, "_xmpp-server._tcp.hosting.example")
        .srv("_xmpp-server._tcp.hosting.example", (0, open.port()), "alias.hosting.example")
        .alias("alias.hosting.example", "x.hosting.example")
        .a("x.hosting.example", [127, 0, 0, 1])
        .alias("_xmpp-server._tcp.circle.lit", "_xmpp-server._tcp.circle.lit")
        .alias("circle.lit", "around.circle.lit")
        .alias("around.circle.lit", "circle.lit");
    let world = world(zone, None).await;
    let dialled = world.dials("montague.lit").await;
    assert_eq!(dialled.target.address, open);
    let begun = Instant::now();
    world.fails("circle.lit").await;
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn another_family_helps_where_the_first_does_not() {
    let (_open, open) = listener("127.0.0.1").await;
    let zone = Zone::default()
        .srv(SERVICE, (0, open.port()), "x.montague.lit")
        .aaaa("x.montague.lit", "::1")
        .a("x.montague.lit", [127, 0, 0, 1]);
    let dialled = world(zone, None).await.dials("montague.lit").await;
    assert_eq!(dialled.target.address, open);
}

#[tokio::test]
async fn signed_records_make_a_signed_target() {
    let signing = Arc::new(Signing::new());
    let (_open, open) = listener("127.0.0.1").await;
    let zone = Zone::default()
        .srv(SERVICE, (0, open.port()), "x.montague.lit")
        .a("x.montague.lit", [127, 0, 0, 1]);
    let signed = world(zone.clone(), Some(signing.clone())).await;
    assert!(signed.dials("montague.lit").await.target.signed);
    let unsigned = world(zone.clone(), None).await;
    assert!(!unsigned.dials("montague.lit").await.target.signed);
    // RFC 7673 §3.1: what is forged is not followed.
    let forged = world(zone.fault(SERVICE, Fault::Forged), Some(signing)).await;
    let failed = forged.fails("montague.lit").await;
    assert!(!failed.unknown);
    assert!(failed.steps[1].contains("signature of the DNS answer is wrong"), "{failed:?}");
}

#[tokio::test]
async fn behind_a_resolver_that_keeps_signatures_back_nothing_is_signed() {
    let signing = Signing::new();
    let (_open, open) = listener("127.0.0.1").await;
    let zone = Zone::default()
        .srv(SERVICE, (0, open.port()), "x.montague.lit")
        .a("x.montague.lit", [127, 0, 0, 1]);
    let nameserver = Nameserver::start(zone, None).await;
    let scratch = Scratch::new();
    let dns = Dns::from_keys(&[nameserver.address], Some(signing.keys())).expect("a resolver");
    let certificates = certificates(&scratch, "capulet.lit");
    let network = Network::asking(certificates, &Settings::default(), dns).expect("a network");
    let Ok(dialled) = network.dial(&pair("montague.lit"), None).await else { panic!("it answers") };
    assert!(!dialled.target.signed);
}

#[tokio::test]
async fn what_the_operator_says_goes_before_dns() {
    let (_open, open) = listener("127.0.0.4").await;
    let place = |host: &str, port| Override { host: host.to_owned(), port, direct_tls: false };
    let hosts = HashMap::from([
        ("montague.lit".to_owned(), place("127.0.0.4", open.port())),
        ("bücher.example".to_owned(), place("named.lit", open.port())),
    ]);
    let zone = Zone::default().a("named.lit", [127, 0, 0, 4]).srv(SERVICE, (0, 1), "x.lit");
    let settings = Settings { hosts, ..Settings::default() };
    let world = world_with(zone, None, settings).await;
    for domain in ["montague.lit", "bücher.example"] {
        let dialled = world.dials(domain).await;
        assert_eq!(dialled.target.address, open);
    }
}

/// RFC 6120 §4.9.3.19.
#[tokio::test]
async fn where_a_server_sends_us_is_looked_for_like_a_domain_unless_there_is_a_port() {
    let (_open, open) = listener("127.0.0.5").await;
    let port = open.port();
    let signing = Arc::new(Signing::new());
    let zone = Zone::default()
        .srv("_xmpp-server._tcp.other.lit", (0, port), "x.other.lit")
        .a("x.other.lit", [127, 0, 0, 5])
        .a("montague.lit", [127, 0, 0, 5]);
    let world = world(zone, Some(signing)).await;
    let dial =
        async |elsewhere: &str| world.network.dial(&pair("montague.lit"), Some(elsewhere)).await;
    for (elsewhere, host) in [
        (" other.lit\n", "x.other.lit"),
        (&format!("x.other.lit:{port}"), "x.other.lit"),
        (&format!("127.0.0.5:{port}"), "127.0.0.5"),
        // The same domain, at another port.
        (&format!("montague.lit:{port}"), "montague.lit"),
    ] {
        let Ok(dialled) = dial(elsewhere).await else { panic!("{elsewhere} is not found") };
        let Target { host: found, address, signed, .. } = dialled.target;
        assert_eq!((found.as_str(), address), (host, open), "{elsewhere}");
        assert!(!signed, "what proves the server is its domain's name alone");
    }
    for elsewhere in
        ["", ":5269", "x.other.lit:", "x.other.lit:0", "x.other.lit:a", "::1:5", "no.lit"]
    {
        let Err(failed) = dial(elsewhere).await else { panic!("{elsewhere} is found") };
        assert!(!failed.unknown, "the domain exists: {failed:?}");
    }
}

#[tokio::test]
async fn a_domain_in_unicode_is_asked_for_in_ascii() {
    let (_open, open) = listener("127.0.0.1").await;
    let zone = Zone::default()
        .srv("_xmpp-server._tcp.xn--bcher-kva.example", (0, open.port()), "x.lit")
        .a("x.lit", [127, 0, 0, 1]);
    assert!(world(zone, None).await.dial("bücher.example").await.is_ok());
}
