//! The doors for other servers: what is done there without being verified, and what a server that is
//! verified does in the name of others.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use verona_testkit::fortress::{DOORS, ELSEWHERE, Fortress, HOSTS};
use verona_testkit::node::{NS_STREAM, Node};
use verona_testkit::place::{Link, Security};
use verona_testkit::raw::Raw;
use verona_testkit::reader::Item;
use verona_testkit::tls::{Wish, wrap_as};

use crate::helpers::{HOST, failure, is_long, nobody};

const NS_SERVER: &str = "jabber:server";
const NS_DIALBACK: &str = "jabber:server:dialback";
const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const NS_TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
const BIDI: &str = "<bidi xmlns='urn:xmpp:bidi'/>";
const PATIENCE: Duration = Duration::from_secs(20);

cases![
    a_header_that_is_not_for_us_is_refused,
    nothing_but_tls_is_done_before_tls,
    bytes_behind_starttls_are_not_read,
    nothing_is_carried_before_verification,
    nobody_logs_in_without_a_certificate,
    answers_without_a_question_end_the_stream,
    forbidden_xml_ends_the_stream,
    endless_streams_end,
    a_forged_key_is_refused,
    who_is_verified_speaks_for_its_own_pair_only,
    noise_at_the_doors_leaves_the_server_well,
    a_thousand_connections_leave_the_server_well,
];

fn header(from: &str, to: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='{NS_SERVER}' xmlns:db='{NS_DIALBACK}' \
         xmlns:stream='{NS_STREAM}' from='{from}' to='{to}' version='1.0'>"
    )
}

fn message(from: &str, to: &str) -> String {
    format!("<message from='{from}' to='{to}'><body>I hate the word</body></message>")
}

fn result(from: &str, to: &str, key: &str) -> String {
    format!("<db:result from='{from}' to='{to}'>{key}</db:result>")
}

/// A connection at a door on which nothing was said; TLS is up where it begins with the first byte.
async fn connect(fortress: &Fortress, door: Security) -> Raw {
    let tcp = fortress.server_gate(door).tcp().await.unwrap();
    if door != Security::Tls {
        return Raw::over(Link::plain(tcp), &nobody()).await.unwrap();
    }
    // XEP-0368 §4: servers say that they are.
    let wish = Wish { protocols: vec![b"xmpp-server".to_vec()], ..Wish::usual(HOST, true) };
    let tls = wrap_as(tcp, wish).await.unwrap();
    Raw::over(Link::plain(tls), &nobody()).await.unwrap()
}

/// Sends a header and gives back the id of the stream and the features.
async fn open(raw: &mut Raw, from: &str) -> (String, Node) {
    raw.begin_anew();
    raw.send(header(from, HOST).as_bytes()).await.unwrap();
    let Item::Open(header) = raw.item().await.unwrap() else { panic!("no header") };
    let features = raw.element().await.unwrap();
    assert!(features.is("features", NS_STREAM), "{features}");
    (header.attr("id").unwrap_or_default().to_owned(), features)
}

/// A stream within TLS that says to come from a domain.
async fn secured(fortress: &Fortress, door: Security, from: &str) -> (Raw, String, Node) {
    let mut raw = connect(fortress, door).await;
    if door != Security::Tls {
        open(&mut raw, from).await;
        raw.start_tls().await.unwrap();
    }
    let (id, features) = open(&mut raw, from).await;
    (raw, id, features)
}

async fn a_header_that_is_not_for_us_is_refused(fortress: Arc<Fortress>) {
    for door in DOORS {
        for (text, condition) in [
            (header(ELSEWHERE, "verona.lit"), "host-unknown"),
            (header(HOST, HOST), "invalid-from"),
            (header(HOSTS[1], HOST), "invalid-from"),
            (header("juliet@capulet.lit", HOST), "improper-addressing"),
            (header(ELSEWHERE, HOST).replace(NS_SERVER, "jabber:client"), "invalid-namespace"),
            (header(ELSEWHERE, HOST).replace("'1.0'>", "'0.9'>"), "unsupported-version"),
            (
                header(ELSEWHERE, HOST).replace("<?xml version='1.0'?>", "<!DOCTYPE x>"),
                "restricted-xml",
            ),
        ] {
            // Old servers within TLS may use dialback.
            if door == Security::Tls && condition == "unsupported-version" {
                continue;
            }
            let mut raw = connect(&fortress, door).await;
            raw.send(text.as_bytes()).await.unwrap();
            let refused = raw.expect_stream_error(condition).await;
            refused.unwrap_or_else(|trouble| panic!("{text}: {trouble}"));
        }
    }
}

async fn nothing_but_tls_is_done_before_tls(fortress: Arc<Fortress>) {
    for text in [&message(ELSEWHERE, HOST), BIDI, "<presence/>", "<r xmlns='urn:xmpp:sm:3'/>"] {
        let mut raw = connect(&fortress, Security::StartTls).await;
        let (_, features) = open(&mut raw, ELSEWHERE).await;
        assert_eq!(features.children().count(), 1, "{features}");
        raw.send(text.as_bytes()).await.unwrap();
        raw.expect_stream_error("not-authorized").await.unwrap();
    }
    let mut raw = connect(&fortress, Security::StartTls).await;
    open(&mut raw, ELSEWHERE).await;
    raw.send(result(ELSEWHERE, HOST, "key").as_bytes()).await.unwrap();
    assert_eq!(raw.element().await.unwrap().attr("type"), Some("error"));
    raw.send(auth().as_bytes()).await.unwrap();
    assert_eq!(failure(&mut raw).await, "invalid-mechanism");
}

fn auth() -> String {
    format!("<auth xmlns='{NS_SASL}' mechanism='EXTERNAL'>=</auth>")
}

async fn bytes_behind_starttls_are_not_read(fortress: Arc<Fortress>) {
    for behind in [header(ELSEWHERE, HOST), result(ELSEWHERE, HOST, "key"), "<".to_owned()] {
        let mut raw = connect(&fortress, Security::StartTls).await;
        open(&mut raw, ELSEWHERE).await;
        let bytes = format!("<starttls xmlns='{NS_TLS}'/>{behind}");
        raw.send(bytes.as_bytes()).await.unwrap();
        let items = raw.rest().await.unwrap();
        assert!(
            matches!(items.as_slice(), [Item::Element(node), Item::Close] if node.is("failure", NS_TLS)),
            "{behind}: {items:?}"
        );
    }
}

async fn nothing_is_carried_before_verification(fortress: Arc<Fortress>) {
    let guest = fortress.guest();
    for door in DOORS {
        for text in [
            message(ELSEWHERE, &guest.bare()),
            message(&guest.bare(), &guest.bare()),
            "<presence/>".to_owned(),
            "<enable xmlns='urn:xmpp:sm:3' resume='true'/>".to_owned(),
            "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>".to_owned(),
            [BIDI, &message(ELSEWHERE, &guest.bare())].concat(),
        ] {
            let (mut raw, ..) = secured(&fortress, door, ELSEWHERE).await;
            raw.send(text.as_bytes()).await.unwrap();
            raw.expect_stream_error("not-authorized").await.unwrap();
        }
    }
}

async fn nobody_logs_in_without_a_certificate(fortress: Arc<Fortress>) {
    for door in DOORS {
        let (mut raw, _, features) = secured(&fortress, door, ELSEWHERE).await;
        assert!(features.child("mechanisms", NS_SASL).is_none(), "{features}");
        for text in [auth(), auth().replace("EXTERNAL", "PLAIN"), auth().replace("EXTERNAL", "")] {
            raw.send(text.as_bytes()).await.unwrap();
            assert_eq!(failure(&mut raw).await, "invalid-mechanism");
        }
        for _ in 0..2 {
            raw.send(auth().as_bytes()).await.unwrap();
            assert_eq!(failure(&mut raw).await, "invalid-mechanism");
        }
        raw.expect_stream_error("policy-violation").await.unwrap();
    }
}

async fn answers_without_a_question_end_the_stream(fortress: Arc<Fortress>) {
    let about = format!("from='{ELSEWHERE}' to='{HOST}'");
    for kind in ["valid", "invalid", "error"] {
        for text in [
            format!("<db:result {about} type='{kind}'/>"),
            format!("<db:verify {about} id='1' type='{kind}'/>"),
            format!("{BIDI}<db:result {about} type='{kind}'/>"),
        ] {
            let (mut raw, ..) = secured(&fortress, Security::Tls, ELSEWHERE).await;
            raw.send(text.as_bytes()).await.unwrap();
            raw.expect_stream_error("invalid-from").await.unwrap();
        }
    }
}

async fn forbidden_xml_ends_the_stream(fortress: Arc<Fortress>) {
    let deep = "<a>".repeat(70);
    for (text, condition) in [
        ("<!-- -->", "restricted-xml"),
        ("<?x y?>", "restricted-xml"),
        ("<a>&x;</a>", "restricted-xml"),
        ("<a></b>", "not-well-formed"),
        ("<x:a/>", "not-well-formed"),
        ("\u{1}", "not-well-formed"),
        (&*deep, "policy-violation"),
    ] {
        for door in DOORS {
            let (mut raw, ..) = secured(&fortress, door, ELSEWHERE).await;
            raw.send(text.as_bytes()).await.unwrap();
            let refused = raw.expect_stream_error(condition).await;
            refused.unwrap_or_else(|trouble| panic!("{text}: {trouble}"));
        }
    }
}

async fn endless_streams_end(fortress: Arc<Fortress>) {
    let verify = format!("<db:verify from='{ELSEWHERE}' to='{HOST}' id='1'>k</db:verify>");
    for text in [BIDI.repeat(100), result(ELSEWHERE, HOST, &"x".repeat(12_000)), verify.repeat(100)]
    {
        let (mut raw, ..) = secured(&fortress, Security::StartTls, ELSEWHERE).await;
        let _ = raw.send(text.as_bytes()).await;
        loop {
            let node = raw.element().await.unwrap();
            if node.is("error", NS_STREAM) {
                let condition = node.children().next().map(|child| child.name.clone());
                assert_eq!(condition.as_deref(), Some("policy-violation"));
                break;
            }
            assert_eq!(node.attr("type"), Some("invalid"), "{node}");
        }
        raw.expect_closed().await.unwrap();
    }
}

/// A server that stops when this is dropped.
struct Authority(tokio::task::JoinHandle<()>);

impl Drop for Authority {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The authoritative server of [`ELSEWHERE`], which says of every key what the key says.
async fn authority(fortress: &Fortress) -> Authority {
    let own = rcgen::generate_simple_self_signed(vec![ELSEWHERE.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.into()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    // Cases that play it take turns.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let listener = loop {
        match TcpListener::bind(fortress.authority()).await {
            Ok(listener) => break listener,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    Authority(tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { answer(tcp, acceptor).await });
        }
    }))
}

async fn answer(mut tcp: tokio::net::TcpStream, acceptor: TlsAcceptor) -> Option<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let offer = format!(
        "{}<stream:features><starttls xmlns='{NS_TLS}'><required/></starttls></stream:features>\
         <proceed xmlns='{NS_TLS}'/>",
        header(ELSEWHERE, HOST).replace(" to=", " id='x' to=")
    );
    let (features, proceed) = offer.split_at(offer.find("<proceed").unwrap());
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("<starttls") {
        let before = seen.len();
        tcp.read_buf(&mut seen).await.ok()?;
        if before == seen.len() {
            return None;
        }
        if before == 0 {
            tcp.write_all(features.as_bytes()).await.ok()?;
        }
    }
    tcp.write_all(proceed.as_bytes()).await.ok()?;
    let tls = acceptor.accept(tcp).await.ok()?;
    let mut raw = Raw::over(Link::plain(tls), &nobody()).await.ok()?;
    raw.item().await.ok()?;
    let header = header(ELSEWHERE, HOST).replace(" to=", " id='y' to=");
    raw.send(format!("{header}<stream:features/>").as_bytes()).await.ok()?;
    let asked = raw.element().await.ok()?;
    let (id, says) = (asked.attr("id")?.to_owned(), asked.text());
    let (from, to) = (asked.attr("to")?, asked.attr("from")?);
    let answer = format!("<db:verify from='{from}' to='{to}' id='{id}' type='{says}'/>");
    raw.send(answer.as_bytes()).await.ok()?;
    raw.item().await.ok().map(|_| ())
}

async fn a_forged_key_is_refused(fortress: Arc<Fortress>) {
    let _authority = authority(&fortress).await;
    let (mut raw, ..) = secured(&fortress, Security::Tls, ELSEWHERE).await;
    raw.set_patience(PATIENCE);
    raw.send(result(ELSEWHERE, HOST, "invalid").as_bytes()).await.unwrap();
    let items = raw.rest().await.unwrap();
    assert!(
        matches!(items.as_slice(), [Item::Element(node), Item::Close] if node.attr("type") == Some("invalid")),
        "{items:?}"
    );
    // An authority that answers nonsense verifies nobody.
    let (mut raw, ..) = secured(&fortress, Security::StartTls, ELSEWHERE).await;
    raw.set_patience(PATIENCE);
    for key in ["error", "maybe"] {
        raw.send(result(ELSEWHERE, HOST, key).as_bytes()).await.unwrap();
        assert_eq!(raw.element().await.unwrap().attr("type"), Some("error"));
    }
    raw.send(message(ELSEWHERE, HOST).as_bytes()).await.unwrap();
    raw.expect_stream_error("not-authorized").await.unwrap();
}

async fn who_is_verified_speaks_for_its_own_pair_only(fortress: Arc<Fortress>) {
    let _authority = authority(&fortress).await;
    let iq = "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
    let (me, to) = (format!("a@{ELSEWHERE}/x"), format!("b@{HOST}"));
    for (text, condition) in [
        (message("a@third.lit", &to), "invalid-from"),
        (message(&to, &me), "invalid-from"),
        (message(&format!("a@rooms.{ELSEWHERE}"), &to), "invalid-from"),
        (message(&me, &format!("b@{}", HOSTS[1])), "host-unknown"),
        (message(&me, "b@third.lit"), "host-unknown"),
        ("<message to='b@capulet.lit'/>".to_owned(), "improper-addressing"),
        (format!("<message from='{me}'/>"), "improper-addressing"),
        (iq.to_owned(), "improper-addressing"),
        (message("@", &to), "improper-addressing"),
        (format!("<db:result from='{ELSEWHERE}' to='{HOST}' type='valid'/>"), "invalid-from"),
        ("<message xmlns='jabber:client'/>".to_owned(), "unsupported-stanza-type"),
    ] {
        let (mut raw, ..) = secured(&fortress, Security::Tls, ELSEWHERE).await;
        raw.set_patience(PATIENCE);
        raw.send(result(ELSEWHERE, HOST, "valid").as_bytes()).await.unwrap();
        let told = raw.element().await.unwrap();
        assert_eq!(told.attr("type"), Some("valid"), "{told}");
        raw.send(text.as_bytes()).await.unwrap();
        let refused = raw.expect_stream_error(condition).await;
        refused.unwrap_or_else(|trouble| panic!("{text}: {trouble}"));
    }
}

async fn noise_at_the_doors_leaves_the_server_well(fortress: Arc<Fortress>) {
    let seeds = [
        header(ELSEWHERE, HOST),
        result(ELSEWHERE, HOST, "key"),
        format!("<db:verify from='{ELSEWHERE}' to='{HOST}' id='1'>key</db:verify>"),
        auth(),
        BIDI.to_owned(),
        message(ELSEWHERE, HOST),
    ];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).unwrap() % below
    };
    for _ in 0..if is_long() { 3_000 } else { 60 } {
        let (mut raw, ..) = secured(&fortress, Security::Tls, ELSEWHERE).await;
        let mut bytes: Vec<u8> =
            (0..4).flat_map(|_| seeds[next(seeds.len())].clone().into_bytes()).collect();
        for _ in 0..next(6) {
            let at = next(bytes.len());
            match next(3) {
                0 => bytes[at] = u8::try_from(next(256)).unwrap(),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"<>'&/= "[next(7)]),
            }
        }
        let _ = raw.send(&bytes).await;
        raw.set_patience(Duration::from_millis(20));
        // Whatever comes, the stream is ours to leave.
        while raw.item().await.is_ok() {}
    }
}

async fn a_thousand_connections_leave_the_server_well(fortress: Arc<Fortress>) {
    let count = if is_long() { 20_000 } else { 1_000 };
    for number in 0..count {
        let door = DOORS[number % 2];
        if number % 50 == 0 {
            secured(&fortress, door, ELSEWHERE).await;
            continue;
        }
        let mut tcp = fortress.server_gate(Security::StartTls).tcp().await.unwrap();
        let text = header(ELSEWHERE, HOST);
        let part = text.len() * (number % 5) / 4;
        tokio::io::AsyncWriteExt::write_all(&mut tcp, &text.as_bytes()[..part]).await.unwrap();
    }
}
