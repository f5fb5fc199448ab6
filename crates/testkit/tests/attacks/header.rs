//! Hostile stream headers (RFC 6120 §4.7, §4.8), and first bytes that are no stream at all.

use std::collections::BTreeSet;
use std::sync::Arc;

use verona_testkit::fortress::{Fortress, HOSTS, PASSWORD, Stage};
use verona_testkit::node::{NS_CLIENT, NS_STREAM, Node};
use verona_testkit::place::Security;
use verona_testkit::raw::Raw;
use verona_testkit::reader::Item;

use crate::helpers::{HOST, at, at_the_start, header, is_long, nobody};

cases![
    wrong_namespaces_of_the_stream_are_invalid,
    a_prefix_that_is_not_stream_is_bad,
    a_root_that_is_not_a_stream_is_of_bad_format,
    a_host_that_is_not_served_or_not_named_is_unknown,
    a_to_that_is_no_domain_is_improper,
    a_higher_version_is_answered_with_ours,
    an_old_or_broken_version_is_unsupported,
    the_header_of_the_server_says_what_it_must,
    nothing_said_in_plaintext_is_said_back,
    stream_ids_are_unique_and_long,
    a_flood_in_the_header_ends_the_stream,
    what_is_no_stream_at_all_is_refused,
    a_second_declaration_or_header_ends_the_stream,
    a_closed_stream_is_closed_in_turn,
    another_host_behind_the_login_is_refused,
    another_account_behind_the_login_is_refused,
];

async fn wrong_namespaces_of_the_stream_are_invalid(fortress: Arc<Fortress>) {
    let good = header(HOST);
    for (right, wrong) in [
        (NS_STREAM, "http://etherx.jabber.org/stream"),
        (NS_STREAM, "http://etherx.jabber.org/streams/"),
        (NS_STREAM, "HTTP://ETHERX.JABBER.ORG/STREAMS"),
        (NS_STREAM, NS_CLIENT),
        ("jabber:client", "jabber:server"),
        ("jabber:client", "jabber:component:accept"),
        ("jabber:client", "jabber:clientx"),
        ("jabber:client", "urn:ietf:params:xml:ns:xmpp-framing"),
    ] {
        let bytes = good.replace(right, wrong);
        at_the_start(&fortress, bytes.as_bytes(), "invalid-namespace").await;
    }
}

async fn a_prefix_that_is_not_stream_is_bad(fortress: Arc<Fortress>) {
    let bytes =
        header(HOST).replace("stream:stream", "s:stream").replace("xmlns:stream", "xmlns:s");
    at_the_start(&fortress, bytes.as_bytes(), "bad-namespace-prefix").await;
    let unbound = header(HOST).replace("xmlns:stream=", "xmlns:streams=");
    at_the_start(&fortress, unbound.as_bytes(), "not-well-formed").await;
}

async fn a_root_that_is_not_a_stream_is_of_bad_format(fortress: Arc<Fortress>) {
    for name in ["stream:streams", "stream:features", "stream:error", "stream:Stream"] {
        let bytes = header(HOST).replace("<stream:stream", &format!("<{name}"));
        at_the_start(&fortress, bytes.as_bytes(), "bad-format").await;
    }
}

async fn a_host_that_is_not_served_or_not_named_is_unknown(fortress: Arc<Fortress>) {
    for to in ["verona.lit", "capulet", "xcapulet.lit", "127.0.0.1", "[::1]", "localhost"] {
        at_the_start(&fortress, header(to).as_bytes(), "host-unknown").await;
    }
    let without = header("x").replace(" to='x'", "");
    at_the_start(&fortress, without.as_bytes(), "host-unknown").await;
    // RFC 6120 §4.9.1.3: the header in front of the error names nobody.
    let mut raw = Raw::connect(&fortress.gate(Security::StartTls), &nobody()).await.unwrap();
    raw.send(without.as_bytes()).await.unwrap();
    let Item::Open(answer) = raw.item().await.unwrap() else { panic!("no header") };
    assert_eq!(answer.attr("from"), Some(""));
}

async fn a_to_that_is_no_domain_is_improper(fortress: Arc<Fortress>) {
    let long = "x".repeat(2_000);
    for to in ["", "juliet@capulet.lit", "capulet.lit/x", "a@", "capulet..lit", "-", "a b", &long] {
        at_the_start(&fortress, header(to).as_bytes(), "improper-addressing").await;
    }
}

async fn a_higher_version_is_answered_with_ours(fortress: Arc<Fortress>) {
    for version in ["1.0", "1.1", "2.0", "11.99", "99999999999999999999.0", "01.00"] {
        let bytes = header(HOST).replace("' version='1.0'", &format!("' version='{version}'"));
        let (answer, features) = opened(&fortress, &bytes).await;
        assert_eq!(answer.attr("version"), Some("1.0"), "for {version}");
        assert!(features.is("features", NS_STREAM), "for {version}");
    }
}

/// Header and features of the server at the door with STARTTLS.
async fn opened(fortress: &Fortress, header: &str) -> (Node, Node) {
    let mut raw = Raw::connect(&fortress.gate(Security::StartTls), &nobody()).await.unwrap();
    raw.send(header.as_bytes()).await.unwrap();
    let Item::Open(answer) = raw.item().await.unwrap() else { panic!("no header") };
    (answer, raw.element().await.unwrap())
}

async fn an_old_or_broken_version_is_unsupported(fortress: Arc<Fortress>) {
    let without = header(HOST).replace(" version='1.0' xmlns", " xmlns");
    at_the_start(&fortress, without.as_bytes(), "unsupported-version").await;
    for version in ["0.9", "0.0", "1", "", "1.", ".0", "1.0.0", "-1.0", "1,0", "1.0 ", "x", "1.x"] {
        let bytes = header(HOST).replace("' version='1.0'", &format!("' version='{version}'"));
        at_the_start(&fortress, bytes.as_bytes(), "unsupported-version").await;
    }
}

async fn the_header_of_the_server_says_what_it_must(fortress: Arc<Fortress>) {
    let bytes = header("CAPULET.lit").replace("to=", "id='ours' xml:lang='de' from='a@b' to=");
    let (answer, features) = opened(&fortress, &bytes).await;
    // RFC 6120 §4.7.1, §4.7.3, §4.7.4: from, an id of its own, a language.
    assert_eq!(answer.attr("from"), Some(HOST));
    assert_ne!(answer.attr("id"), Some("ours"));
    assert!(answer.attrs.iter().any(|attr| attr.name == "lang"));
    // RFC 6120 §5.3.1: while TLS is required, nothing else is offered.
    let names: Vec<&str> = features.children().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["starttls"]);
    let starttls = features.children().next().unwrap();
    assert!(starttls.children().any(|child| child.name == "required"));
}

async fn nothing_said_in_plaintext_is_said_back(fortress: Arc<Fortress>) {
    // RFC 6120 §4.7.1 wants no identity of the user where others read it.
    let bytes = header(HOST).replace("to=", "from='juliet@capulet.lit' to=");
    let (answer, _) = opened(&fortress, &bytes).await;
    assert_eq!(answer.attr("to"), None);
}

async fn stream_ids_are_unique_and_long(fortress: Arc<Fortress>) {
    let count = if is_long() { 20_000 } else { 400 };
    let mut known = BTreeSet::new();
    for _ in 0..count {
        let (answer, _) = opened(&fortress, &header(HOST)).await;
        let id = answer.attr("id").unwrap().to_owned();
        // 128 bits take 22 letters of base64.
        assert!(id.len() >= 22, "{id}");
        assert!(known.insert(id), "an id came twice");
    }
}

async fn a_flood_in_the_header_ends_the_stream(fortress: Arc<Fortress>) {
    let good = header(HOST);
    let with = |extra: &str| good.replace(" to=", &format!("{extra} to="));
    let attributes: String = (0..70).map(|n| format!(" a{n}=''")).collect();
    let namespaces: String = (0..40).map(|n| format!(" xmlns:n{n}='n:{n}'")).collect();
    for bytes in [
        with(&attributes),
        with(&format!(" a='{}'", "x".repeat(10_000))),
        with(&format!(" {}=''", "x".repeat(10_000))),
        with(&" ".repeat(10_000)),
        with(&namespaces),
        good.replace("<stream:stream", &format!("<{}", "s".repeat(10_000))),
    ] {
        at_the_start(&fortress, bytes.as_bytes(), "policy-violation").await;
    }
}

async fn what_is_no_stream_at_all_is_refused(fortress: Arc<Fortress>) {
    let noise: Vec<u8> =
        (0..600_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: capulet.lit\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"EHLO capulet.lit\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x05\x01\x00",
        b"{\"ask\":\"status\"}\n",
        &noise,
    ] {
        let mut raw = Raw::connect(&fortress.gate(Security::StartTls), &nobody()).await.unwrap();
        let _ = raw.send(bytes).await;
        let items = raw.rest().await.unwrap();
        let told = items
            .iter()
            .any(|item| matches!(item, Item::Element(node) if node.is("error", NS_STREAM)));
        assert!(told, "{:?}: {items:?}", String::from_utf8_lossy(bytes));
    }
}

async fn a_second_declaration_or_header_ends_the_stream(fortress: Arc<Fortress>) {
    let twice = format!("<?xml version='1.0'?>{}", header(HOST));
    at_the_start(&fortress, twice.as_bytes(), "restricted-xml").await;
    let late = format!(" {}", header(HOST));
    at_the_start(&fortress, late.as_bytes(), "restricted-xml").await;
    let again = header(HOST).repeat(2);
    at_the_start(&fortress, again.as_bytes(), "restricted-xml").await;
    let who = fortress.guest();
    for stage in [Stage::Secured, Stage::LoggedIn, Stage::Bound] {
        let mut raw = at(&fortress, Security::Tls, stage, &who).await;
        raw.send(header(HOST).as_bytes()).await.unwrap();
        raw.expect_stream_error("restricted-xml").await.unwrap();
    }
}

async fn a_closed_stream_is_closed_in_turn(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    for (door, stage) in verona_testkit::fortress::POSITIONS {
        let mut raw = at(&fortress, door, stage, &who).await;
        // RFC 6120 §4.4: what comes behind the close is not read any more.
        raw.send(b"</stream:stream><message/><!-- x -->").await.unwrap();
        let items = raw.rest().await.unwrap();
        assert_eq!(items, [Item::Close], "at {door:?}, {stage:?}");
    }
}

async fn another_host_behind_the_login_is_refused(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    // CVE-2018-10847: the account of the same name on another host is another's.
    fortress.add(&format!("{}@{}", who.local, HOSTS[1]));
    for door in [Security::StartTls, Security::Tls] {
        let mut raw = at(&fortress, door, Stage::Secured, &who).await;
        let text = format!("\0{}\0{PASSWORD}", who.local);
        raw.send(crate::helpers::auth("PLAIN", text.as_bytes()).as_bytes()).await.unwrap();
        assert_eq!(raw.element().await.unwrap().name, "success");
        raw.begin_anew();
        raw.send(header(HOSTS[1]).as_bytes()).await.unwrap();
        raw.expect_stream_error("host-unknown").await.unwrap();
    }
}

async fn another_account_behind_the_login_is_refused(fortress: Arc<Fortress>) {
    let (who, victim) = (fortress.guest(), fortress.guest());
    let mut raw = at(&fortress, Security::Tls, Stage::Secured, &who).await;
    let text = format!("\0{}\0{PASSWORD}", who.local);
    raw.send(crate::helpers::auth("PLAIN", text.as_bytes()).as_bytes()).await.unwrap();
    assert_eq!(raw.element().await.unwrap().name, "success");
    raw.begin_anew();
    let from = header(HOST).replace("to=", &format!("from='{}' to=", victim.bare()));
    raw.send(from.as_bytes()).await.unwrap();
    raw.expect_stream_error("invalid-from").await.unwrap();
}
