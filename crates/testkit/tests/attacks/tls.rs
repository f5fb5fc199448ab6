//! The way into TLS: STARTTLS (RFC 6120 §5), direct TLS (XEP-0368), and what must not be offered or
//! accepted around it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use verona_testkit::fortress::{DOORS, Fortress, HOSTS, PASSWORD, POSITIONS, Stage};
use verona_testkit::place::{Link, Security};
use verona_testkit::raw::Raw;
use verona_testkit::reader::Item;
use verona_testkit::tls::{Wish, wrap_as};

use crate::helpers::{HOST, at, auth, failure, header, nobody, refused_at};

const NS_TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";

cases![
    plaintext_behind_starttls_is_never_read_as_xml,
    plaintext_instead_of_a_handshake_ends_the_connection,
    nothing_from_before_tls_is_known_within,
    starttls_within_tls_fails,
    starttls_in_a_wrong_namespace_is_not_authorized,
    a_login_before_tls_needs_encryption,
    stanzas_before_tls_are_not_authorized,
    compression_is_neither_offered_nor_accepted,
    plaintext_at_the_door_with_tls_gets_no_xml,
    a_name_that_is_not_ours_is_unrecognized,
    another_application_protocol_is_refused,
    both_versions_of_tls_are_spoken_and_none_older,
    weak_suites_and_compression_are_refused,
    a_handshake_in_a_thousand_records_is_refused_or_done,
    a_cut_within_tls_leaves_the_server_well,
];

async fn plaintext_behind_starttls_is_never_read_as_xml(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let login = auth("PLAIN", format!("\0{}\0{PASSWORD}", who.local).as_bytes());
    for behind in [
        login,
        "<iq type='get' id='1' to='capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>".to_owned(),
        header(HOST),
        format!("<starttls xmlns='{NS_TLS}'/>"),
        "<".to_owned(),
    ] {
        let mut raw = at(&fortress, Security::StartTls, Stage::Plain, &who).await;
        // In one write, so that both are there when the command is read.
        let bytes = format!("<starttls xmlns='{NS_TLS}'/>{behind}");
        raw.send(bytes.as_bytes()).await.unwrap();
        // RFC 6120 §5.4.2.2: a failure, the close, the end of TCP.
        let items = raw.rest().await.unwrap();
        assert!(
            matches!(items.as_slice(), [Item::Element(node), Item::Close] if node.is("failure", NS_TLS)),
            "{behind}: {items:?}"
        );
    }
}

async fn plaintext_instead_of_a_handshake_ends_the_connection(fortress: Arc<Fortress>) {
    let fatal = b"\x15\x03\x03\x00\x02\x02\x0a".as_slice();
    for bytes in [header(HOST).as_bytes(), b"\n<message/>", b"\0\0\0\0\0\0", &[0x16; 40], fatal] {
        let mut tcp = after_proceed(&fortress).await;
        tcp.write_all(bytes).await.unwrap();
        let answer = to_the_end(&mut tcp).await;
        // At most an alert comes back.
        assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
    }
}

/// A connection on which the server waits for a ClientHello behind `<proceed/>`.
async fn after_proceed(fortress: &Fortress) -> tokio::net::TcpStream {
    let mut tcp = fortress.gate(Security::StartTls).tcp().await.unwrap();
    let bytes = format!("{}<starttls xmlns='{NS_TLS}'/>", header(HOST));
    tcp.write_all(bytes.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("<proceed") {
        assert!(tcp.read_buf(&mut seen).await.unwrap() > 0, "no proceed");
    }
    tcp
}

/// All that comes; a reset is an end as well.
async fn to_the_end(tcp: &mut tokio::net::TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), tcp.read_to_end(&mut answer)).await;
    match read.expect("the connection stays open") {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => answer,
    }
}

async fn nothing_from_before_tls_is_known_within(fortress: Arc<Fortress>) {
    let gate = fortress.gate(Security::StartTls);
    let mut raw = Raw::connect(&gate, &nobody()).await.unwrap();
    raw.send(header(HOSTS[1]).as_bytes()).await.unwrap();
    let Item::Open(before) = raw.item().await.unwrap() else { panic!("no header") };
    raw.element().await.unwrap();
    raw.start_tls().await.unwrap();
    raw.send(header(HOSTS[0]).as_bytes()).await.unwrap();
    let Item::Open(within) = raw.item().await.unwrap() else { panic!("no header") };
    assert_eq!(within.attr("from"), Some(HOSTS[0]));
    assert_ne!(within.attr("id"), before.attr("id"));
    let features = raw.element().await.unwrap();
    assert!(features.children().all(|child| child.name != "starttls"));
}

async fn starttls_within_tls_fails(fortress: Arc<Fortress>) {
    for door in DOORS {
        let mut raw = at(&fortress, door, Stage::Secured, &nobody()).await;
        raw.send(format!("<starttls xmlns='{NS_TLS}'/>").as_bytes()).await.unwrap();
        let items = raw.rest().await.unwrap();
        assert!(
            matches!(items.as_slice(), [Item::Element(node), Item::Close] if node.is("failure", NS_TLS)),
            "{items:?}"
        );
    }
    let who = fortress.guest();
    let starttls = format!("<starttls xmlns='{NS_TLS}'/>");
    for door in DOORS {
        let starttls = starttls.as_bytes();
        for stage in [Stage::LoggedIn, Stage::Bound] {
            let condition = "unsupported-stanza-type";
            refused_at(&fortress, (door, stage), &who, starttls, condition).await;
        }
    }
}

async fn starttls_in_a_wrong_namespace_is_not_authorized(fortress: Arc<Fortress>) {
    for bytes in [
        "<starttls/>",
        "<starttls xmlns=''/>",
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    ] {
        let place = (Security::StartTls, Stage::Plain);
        refused_at(&fortress, place, &nobody(), bytes.as_bytes(), "not-authorized").await;
    }
}

async fn a_login_before_tls_needs_encryption(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let plain = format!("\0{}\0{PASSWORD}", who.local);
    let scram = format!("n,,n={},r=abcdefghijklmnop", who.local);
    let mut raw = at(&fortress, Security::StartTls, Stage::Plain, &who).await;
    for (mechanism, data) in
        [("PLAIN", &plain), ("SCRAM-SHA-1", &scram), ("SCRAM-SHA-256", &scram), ("PLAIN", &plain)]
    {
        raw.send(auth(mechanism, data.as_bytes()).as_bytes()).await.unwrap();
        assert_eq!(failure(&mut raw).await, "encryption-required", "{mechanism}");
    }
    // RFC 6120 §6.4.5: such attempts count like others.
    raw.send(auth("PLAIN", plain.as_bytes()).as_bytes()).await.unwrap();
    assert_eq!(failure(&mut raw).await, "encryption-required");
    raw.expect_stream_error("policy-violation").await.unwrap();
}

async fn stanzas_before_tls_are_not_authorized(fortress: Arc<Fortress>) {
    for bytes in [
        "<message to='juliet@capulet.lit'><body>x</body></message>",
        "<presence/>",
        "<iq type='get' id='1'><query xmlns='jabber:iq:auth'/></iq>",
        "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>",
        "<iq type='get' id='1' to='capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
        "<auth xmlns='jabber:client' mechanism='PLAIN'/>",
        "<enable xmlns='urn:xmpp:sm:3'/>",
        "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>",
        "<r xmlns='urn:xmpp:sm:3'/>",
        "<handshake xmlns='jabber:component:accept'>x</handshake>",
        "<db:result xmlns:db='jabber:server:dialback' to='capulet.lit' from='x.lit'>x</db:result>",
        "<stream:features/>",
        "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
        "<wherefore xmlns='art:thou'/>",
    ] {
        let place = (Security::StartTls, Stage::Plain);
        refused_at(&fortress, place, &nobody(), bytes.as_bytes(), "not-authorized").await;
    }
}

async fn compression_is_neither_offered_nor_accepted(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let compress = b"<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method>\
                     </compress>";
    for (door, stage) in POSITIONS {
        let condition = match stage {
            Stage::Plain | Stage::Secured => "not-authorized",
            Stage::LoggedIn | Stage::Bound => "unsupported-stanza-type",
        };
        refused_at(&fortress, (door, stage), &who, compress, condition).await;
    }
    for door in DOORS {
        let mut raw = Raw::connect(&fortress.gate(door), &who).await.unwrap();
        let features = raw.open().await.unwrap();
        raw.authenticate(&features, &who.local, PASSWORD).await.unwrap();
        let more = raw.reopen().await.unwrap();
        for child in features.children().chain(more.children()) {
            assert_ne!(child.name, "compression");
        }
    }
}

async fn plaintext_at_the_door_with_tls_gets_no_xml(fortress: Arc<Fortress>) {
    for bytes in [header(HOST).as_bytes(), b"GET / HTTP/1.1\r\n\r\n", &[0xff; 20_000]] {
        let mut tcp = fortress.gate(Security::Tls).tcp().await.unwrap();
        let _ = tcp.write_all(bytes).await;
        let answer = to_the_end(&mut tcp).await;
        assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
        assert!(!String::from_utf8_lossy(&answer).contains("stream"));
    }
}

/// Shakes hands in another way than usual, at a door.
async fn shake(
    fortress: &Fortress,
    door: Security,
    wish: Wish,
) -> io::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let tcp = match door {
        Security::Tls => fortress.gate(door).tcp().await?,
        _ => after_proceed(fortress).await,
    };
    wrap_as(tcp, wish).await
}

/// The alert with which the server refuses a handshake.
fn alert(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

async fn a_name_that_is_not_ours_is_unrecognized(fortress: Arc<Fortress>) {
    for door in DOORS {
        for name in ["verona.lit", "capulet.lit.verona.lit", "xcapulet.lit", "lit"] {
            let mut wish = Wish::usual(name, door == Security::Tls);
            wish.versions = vec![&TLS13, &TLS12];
            let error = shake(&fortress, door, wish).await.expect_err("a certificate for all");
            assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName), "{name}: {error}");
        }
    }
}

async fn another_application_protocol_is_refused(fortress: Arc<Fortress>) {
    for protocol in ["h2", "http/1.1", "xmpp-server", "XMPP-CLIENT"] {
        let mut wish = Wish::usual(HOST, true);
        wish.protocols = vec![protocol.as_bytes().to_vec()];
        let error = shake(&fortress, Security::Tls, wish).await.expect_err("another protocol");
        assert_eq!(alert(&error), Some(AlertDescription::NoApplicationProtocol), "{protocol}");
    }
}

async fn both_versions_of_tls_are_spoken_and_none_older(fortress: Arc<Fortress>) {
    for door in DOORS {
        for version in [&TLS13, &TLS12] {
            let mut wish = Wish::usual(HOST, door == Security::Tls);
            wish.versions = vec![version];
            let stream = shake(&fortress, door, wish).await.unwrap();
            assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
            let mut raw = Raw::over(Link::plain(stream), &nobody()).await.unwrap();
            raw.open().await.unwrap();
        }
    }
    // SSL 3.0, TLS 1.0, TLS 1.1: alert 70, `protocol_version` (RFC 8446 §6.2).
    for minor in 0..3 {
        let hello = hello([3, minor], &[0xc0, 0x2b, 0xc0, 0x2f, 0x00, 0x2f], &[0], &extensions());
        assert_eq!(refusal(&fortress, &hello).await, Some(70), "3.{minor}");
    }
}

async fn weak_suites_and_compression_are_refused(fortress: Arc<Fortress>) {
    // CBC, RC4, RSA key exchange, export, null: alert 40, `handshake_failure`.
    for suite in
        [[0xc0, 0x09], [0xc0, 0x0a], [0xc0, 0x07], [0x00, 0x9c], [0x00, 0x03], [0x00, 0x00]]
    {
        let hello = hello([3, 3], &suite, &[0], &extensions());
        assert_eq!(refusal(&fortress, &hello).await, Some(40), "{suite:?}");
    }
    // Compression and nothing else.
    let deflate = hello([3, 3], &[0xc0, 0x2b], &[1], &extensions());
    assert!(refusal(&fortress, &deflate).await.is_some());
    // RFC 9325 §3.5: without the extended master secret.
    let plain = hello([3, 3], &[0xc0, 0x2b], &[0], &extensions()[..extensions().len() - 4]);
    assert!(refusal(&fortress, &plain).await.is_some());
    // The same with all that is wanted goes on: what was refused was refused for its fault.
    let good = hello([3, 3], &[0xc0, 0x2b], &[0], &extensions());
    assert_eq!(refusal(&fortress, &good).await, None);
}

/// Groups, point formats, signatures of ECDSA with P-256, and last the extended master secret.
fn extensions() -> Vec<u8> {
    let mut all = vec![0, 10, 0, 4, 0, 2, 0, 29];
    all.extend([0, 11, 0, 2, 1, 0]);
    all.extend([0, 13, 0, 8, 0, 6, 4, 3, 8, 7, 8, 4]);
    all.extend([0, 23, 0, 0]);
    all
}

/// A ClientHello of TLS 1.2 or older (RFC 5246 §7.4.1.2), in one record.
fn hello(version: [u8; 2], suites: &[u8], compression: &[u8], extensions: &[u8]) -> Vec<u8> {
    let two = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(two(suites.len()));
    body.extend(suites);
    body.push(u8::try_from(compression.len()).unwrap());
    body.extend(compression);
    body.extend(two(extensions.len()));
    body.extend(extensions);
    let mut message = vec![1, 0];
    message.extend(two(body.len()));
    message.extend(body);
    [&[22, 3, 1][..], &two(message.len()), &message].concat()
}

/// The alert that a ClientHello brings, if the server does not go on with its own.
async fn refusal(fortress: &Fortress, hello: &[u8]) -> Option<u8> {
    let mut tcp = fortress.gate(Security::Tls).tcp().await.unwrap();
    tcp.write_all(hello).await.unwrap();
    let mut answer = [0; 7];
    let read = tokio::time::timeout(Duration::from_secs(5), tcp.read_exact(&mut answer)).await;
    read.expect("no answer to a ClientHello").expect("neither alert nor hello");
    // A record of type alert (21), two bytes: fatal, and which.
    (answer[0] == 21 && answer[5] == 2).then_some(answer[6])
}

async fn a_handshake_in_a_thousand_records_is_refused_or_done(fortress: Arc<Fortress>) {
    let whole = hello([3, 3], &[0xc0, 0x2b], &[0], &extensions());
    for size in [1, 2, 7] {
        let records: Vec<u8> = whole[5..]
            .chunks(size)
            .flat_map(|part| [&[22, 3, 1, 0, u8::try_from(part.len()).unwrap()][..], part].concat())
            .collect();
        let _ = refusal(&fortress, &records).await;
    }
    // A message that claims to be as long as can be, in the smallest records there are.
    let mut endless = vec![22, 3, 1, 0, 4, 1, 0, 0xff, 0xff];
    endless.extend([22, 3, 1, 0, 1, 3].repeat(100_000));
    for bytes in [endless, [22, 3, 1, 0, 0].repeat(100_000), [22, 3, 1, 0x40, 0].repeat(20_000)] {
        let mut tcp = fortress.gate(Security::Tls).tcp().await.unwrap();
        let _ = tcp.write_all(&bytes).await;
        let answer = to_the_end(&mut tcp).await;
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    }
}

async fn a_cut_within_tls_leaves_the_server_well(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    for stage in [Stage::Secured, Stage::LoggedIn, Stage::Bound] {
        // Without a close_notify, with half a stanza under way.
        let mut raw = at(&fortress, Security::Tls, stage, &who).await;
        raw.send(b"<message><body>half").await.unwrap();
        drop(raw);
        // Bytes that are no record, behind a good beginning.
        let tcp = fortress.gate(Security::Tls).tcp().await.unwrap();
        let mut stream = wrap_as(tcp, Wish::usual(HOST, true)).await.unwrap();
        stream.write_all(header(HOST).as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let (tcp, _) = stream.get_mut();
        tcp.write_all(&[23, 3, 3, 0, 32]).await.unwrap();
        tcp.write_all(&[9; 32]).await.unwrap();
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        let _ = tokio::time::timeout(Duration::from_secs(5), read).await.expect("it stays open");
    }
}
