//! What a server that calls may do before it is verified, and what it may not.

use verona_core::limits::Limits;
use verona_core::stream::server::pairs::{Grounds, Trust};
use verona_core::stream::server::state::Rules;
use verona_testkit::node::{NS_CLIENT, NS_STREAM, Node};
use verona_testkit::reader::Item;

use crate::rig::{
    BIDI, Hand, NS_DIALBACK, NS_SASL, NS_TLS, Network, STARTTLS, Site, fault, header, pair, result,
    verify,
};

const NS_DIALBACK_FEATURE: &str = "urn:xmpp:features:dialback";
const NS_BIDI_FEATURE: &str = "urn:xmpp:features:bidi";
const NS_LIMITS: &str = "urn:xmpp:stream-limits:0";
const NS_SM: &str = "urn:xmpp:sm:3";
const EXTERNAL: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>";
const MESSAGE: &str = "<message from='a@montague.lit' to='b@capulet.lit'><body>x</body></message>";

fn capulet() -> Site {
    let network = Network::new();
    network.trust("montague.lit");
    network.site(&["capulet.lit", "rooms.capulet.lit"])
}

fn auth(text: &str) -> String {
    format!("{EXTERNAL}{text}</auth>")
}

/// The name of the mechanisms that are offered.
fn mechanisms(features: &Node) -> Vec<String> {
    let mechanisms = features.child("mechanisms", NS_SASL);
    mechanisms.into_iter().flat_map(Node::children).map(Node::text).collect()
}

async fn failure(hand: &mut Hand) -> String {
    let failure = hand.element().await;
    assert!(failure.is("failure", NS_SASL), "{}", failure.pretty(0));
    failure.children().next().expect("a condition").name.clone()
}

#[tokio::test]
async fn header_is_checked_and_refused_by_its_name() {
    let site = capulet();
    let streams = format!("xmlns:stream='{NS_STREAM}' version='1.0'");
    for (text, condition) in [
        (header("montague.lit", "verona.lit"), "host-unknown"),
        (header("montague.lit", ""), "improper-addressing"),
        (header("montague.lit", "capulet.lit").replace(" to='capulet.lit'", ""), "host-unknown"),
        (header("capulet.lit", "capulet.lit"), "invalid-from"),
        (header("rooms.capulet.lit", "capulet.lit"), "invalid-from"),
        (header("romeo@montague.lit", "capulet.lit"), "improper-addressing"),
        (header("montague.lit", "juliet@capulet.lit"), "improper-addressing"),
        (
            format!("<stream:stream xmlns='{NS_CLIENT}' to='capulet.lit' {streams}>"),
            "invalid-namespace",
        ),
        (MESSAGE.to_owned(), "invalid-namespace"),
        (
            header("montague.lit", "capulet.lit").replace(" version='1.0'>", ">"),
            "unsupported-version",
        ),
    ] {
        let mut hand = site.call("").await;
        hand.send(&text).await;
        // The declaration of ours came before the header of the error.
        assert!(matches!(hand.raw.item().await.unwrap(), Item::Open(_)), "{text}");
        hand.expect_error(condition).await;
    }
}

#[tokio::test]
async fn before_tls_there_is_nothing_but_tls() {
    let site = capulet();
    let key = site.key("verona.lit", "capulet.lit", "1");
    for (text, condition) in [
        (MESSAGE.to_owned(), "not-authorized"),
        (BIDI.to_owned(), "not-authorized"),
        ("<enable xmlns='urn:xmpp:sm:3'/>".to_owned(), "not-authorized"),
        ("<x xmlns='urn:example'/>".to_owned(), "not-authorized"),
    ] {
        let mut hand = site.call("montague.lit").await;
        let (_, features) = hand.open("montague.lit", "capulet.lit").await;
        assert_eq!(features.children().count(), 1);
        let tls = features.child("starttls", NS_TLS).expect("STARTTLS");
        assert!(tls.child("required", NS_TLS).is_some());
        hand.send(&text).await;
        hand.expect_error(condition).await;
    }
    // XEP-0220 §2.5: what would need TLS first is said, and the stream goes on.
    let mut hand = site.call("montague.lit").await;
    hand.open("montague.lit", "capulet.lit").await;
    hand.send(&result("montague.lit", "capulet.lit", "key")).await;
    assert_eq!(fault(&hand.element().await), Some("policy-violation"));
    hand.send(&verify("verona.lit", "capulet.lit", "1", &key)).await;
    assert_eq!(fault(&hand.element().await), Some("policy-violation"));
    hand.send(&auth("=")).await;
    assert_eq!(failure(&mut hand).await, "invalid-mechanism");
    hand.send(STARTTLS).await;
    assert!(hand.element().await.is("proceed", NS_TLS));
}

#[tokio::test]
async fn bytes_behind_starttls_are_never_read() {
    let site = capulet();
    let mut hand = site.call("montague.lit").await;
    hand.open("montague.lit", "capulet.lit").await;
    hand.send(&[STARTTLS, &header("montague.lit", "capulet.lit")].concat()).await;
    assert!(hand.element().await.is("failure", NS_TLS));
    assert_eq!(hand.raw.item().await.unwrap(), Item::Close);
    hand.raw.expect_closed().await.unwrap();
}

#[tokio::test]
async fn behind_tls_is_offered_what_can_be_done() {
    let site = capulet();
    let mut hand = site.call("montague.lit").await;
    let (id, features) = hand.open_secure("montague.lit", "capulet.lit").await;
    assert_eq!(mechanisms(&features), ["EXTERNAL"]);
    assert!(features.child("bidi", NS_BIDI_FEATURE).is_some());
    let dialback = features.child("dialback", NS_DIALBACK_FEATURE).expect("dialback");
    assert!(dialback.child("errors", NS_DIALBACK_FEATURE).is_some());
    let limits = features.child("limits", NS_LIMITS).expect("limits");
    assert_eq!(limits.child("max-bytes", NS_LIMITS).unwrap().text(), "524288");
    assert!(features.child("starttls", NS_TLS).is_none());

    // The certificate is of another domain, is nobody's, or the header does not say from where.
    for (certificate, from) in [
        ("montague.lit", "verona.lit"),
        ("", "montague.lit"),
        ("verona.lit", "verona.lit"),
        ("montague.lit", ""),
    ] {
        let mut hand = site.call(certificate).await;
        let (other, features) = hand.open_secure(from, "capulet.lit").await;
        assert_ne!(id, other);
        assert!(mechanisms(&features).is_empty(), "{certificate} {from}");
        assert!(features.child("sm", NS_SM).is_some(), "what dialback leads to can be managed");
        hand.send(&auth("=")).await;
        assert_eq!(failure(&mut hand).await, "invalid-mechanism");
        assert!(!site.has_accepted());
    }
}

#[tokio::test]
async fn external_makes_a_server_who_it_says_in_its_header() {
    let site = capulet();
    // "=", the same in base64, and nothing, which is asked for.
    for initial in ["=", "bW9udGFndWUubGl0", ""] {
        let mut hand = site.call("montague.lit").await;
        hand.open_secure("montague.lit", "capulet.lit").await;
        hand.send(&auth(initial)).await;
        if initial.is_empty() {
            assert!(hand.element().await.is("challenge", NS_SASL));
            hand.send(&format!("<response xmlns='{NS_SASL}'>=</response>")).await;
        }
        assert!(hand.element().await.is("success", NS_SASL));
        let (id, features) = hand.open("montague.lit", "capulet.lit").await;
        assert!(features.child("sm", NS_SM).is_some());
        assert!(mechanisms(&features).is_empty());
        hand.send(MESSAGE).await;
        let stream = hand.established().await;
        assert_eq!(*stream.id, *id);
        assert!(!stream.bidi, "nobody has asked for it");
        let known = stream.dialbacks.pairs.find(&pair("capulet.lit", "montague.lit")).unwrap();
        assert!(known.receives && !known.sends);
        assert!(matches!(known.trust, Trust { by: Grounds::Certificate(_), until: Some(_) }));
    }
}

#[tokio::test]
async fn nobody_logs_in_as_another() {
    let site = capulet();
    let mut hand = site.call("montague.lit").await;
    hand.open_secure("montague.lit", "capulet.lit").await;
    for (text, error) in [
        // verona.lit, romeo@montague.lit, rooms.montague.lit
        (auth("dmVyb25hLmxpdA=="), "invalid-authzid"),
        (auth("cm9tZW9AbW9udGFndWUubGl0"), "invalid-authzid"),
        (auth("cm9vbXMubW9udGFndWUubGl0"), "invalid-authzid"),
        (auth("%"), "incorrect-encoding"),
    ] {
        hand.send(&text).await;
        assert_eq!(failure(&mut hand).await, error, "{text}");
    }
    // RFC 6120 §6.4.5.
    hand.send(&auth("dmVyb25hLmxpdA==")).await;
    assert_eq!(failure(&mut hand).await, "invalid-authzid");
    hand.expect_error("policy-violation").await;
}

#[tokio::test]
async fn a_login_cannot_be_moved_to_another_domain() {
    let site = capulet();
    for (from, to, condition) in [
        ("verona.lit", "capulet.lit", "invalid-from"),
        ("montague.lit", "rooms.capulet.lit", "host-unknown"),
    ] {
        let mut hand = site.call("montague.lit").await;
        hand.open_secure("montague.lit", "capulet.lit").await;
        hand.send(&auth("=")).await;
        assert!(hand.element().await.is("success", NS_SASL));
        hand.send_header(from, to).await;
        assert!(matches!(hand.raw.item().await.unwrap(), Item::Open(_)));
        hand.expect_error(condition).await;
    }
}

#[tokio::test]
async fn stanzas_before_verification_end_the_stream() {
    let site = capulet();
    for text in [MESSAGE, "<enable xmlns='urn:xmpp:sm:3'/>", "<presence/>", "<a xmlns='urn:x'/>"] {
        let mut hand = site.call("montague.lit").await;
        hand.open_secure("montague.lit", "capulet.lit").await;
        hand.send(text).await;
        hand.expect_error("not-authorized").await;
    }
}

#[tokio::test]
async fn bidi_is_noted_with_the_limits_of_the_peer() {
    let site = capulet();
    let mut hand = site.call("montague.lit").await;
    hand.open_secure("montague.lit", "capulet.lit").await;
    let bidi = format!(
        "<bidi xmlns='urn:xmpp:bidi'><limits xmlns='{NS_LIMITS}'><max-bytes>20000</max-bytes>\
         </limits></bidi>"
    );
    hand.send(&[&bidi, &*auth("=")].concat()).await;
    assert!(hand.element().await.is("success", NS_SASL));
    hand.open("montague.lit", "capulet.lit").await;
    let stream = hand.established().await;
    assert!(stream.bidi && stream.dialbacks.pairs.may_send(&pair("capulet.lit", "montague.lit")));
    assert_eq!(stream.takes.bytes_max, Some(20_000));
}

#[tokio::test]
async fn what_was_said_before_tls_is_forgotten() {
    let network = Network::new();
    network.trust("montague.lit");
    let open = Rules { require_tls: false, ..Rules::default() };
    let site = network.site_with(&["capulet.lit"], Limits::default(), open);
    let mut hand = site.call("montague.lit").await;
    hand.open("montague.lit", "capulet.lit").await;
    // RFC 6120 §5.4.3.3: somebody on the line could have put this in.
    let bidi = format!(
        "<bidi xmlns='urn:xmpp:bidi'><limits xmlns='{NS_LIMITS}'><max-bytes>10000</max-bytes>\
         </limits></bidi>"
    );
    hand.send(&bidi).await;
    hand.send(STARTTLS).await;
    assert!(hand.element().await.is("proceed", NS_TLS));
    hand.open("montague.lit", "capulet.lit").await;
    hand.send(&auth("=")).await;
    assert!(hand.element().await.is("success", NS_SASL));
    hand.open("montague.lit", "capulet.lit").await;
    let stream = hand.established().await;
    assert_eq!((stream.bidi, stream.takes.bytes_max), (false, None));
}

#[tokio::test]
async fn what_is_sent_behind_the_negotiation_is_not_lost() {
    let site = capulet();
    let mut hand = site.call("montague.lit").await;
    hand.open_secure("montague.lit", "capulet.lit").await;
    // XEP-0305: whoever knows what comes need not wait for it.
    let all = [&auth("="), &*header("montague.lit", "capulet.lit"), MESSAGE, MESSAGE].concat();
    hand.send(&all).await;
    let stream = hand.established().await;
    assert_eq!(stream.unread, [MESSAGE, MESSAGE].concat().as_bytes());
}

#[tokio::test]
async fn floods_before_verification_end() {
    let site = capulet();
    let padding = "x".repeat(10_000);
    let mut hand = site.call("montague.lit").await;
    hand.open_secure("montague.lit", "capulet.lit").await;
    hand.send(&result("montague.lit", "capulet.lit", &padding)).await;
    hand.expect_error("policy-violation").await;

    let mut hand = site.call("montague.lit").await;
    hand.open_secure("montague.lit", "capulet.lit").await;
    hand.send(&BIDI.repeat(80)).await;
    hand.expect_error("policy-violation").await;

    // Questions are answered up to the same bound.
    let mut hand = site.call("").await;
    hand.open_secure("verona.lit", "capulet.lit").await;
    hand.send(&verify("verona.lit", "capulet.lit", "1", "0").repeat(80)).await;
    loop {
        let node = hand.element().await;
        if node.is("verify", NS_DIALBACK) {
            assert_eq!(node.attr("type"), Some("invalid"));
            continue;
        }
        assert!(node.is("error", NS_STREAM), "{}", node.pretty(0));
        return;
    }
}

#[tokio::test]
async fn who_takes_too_long_is_sent_away() {
    let network = Network::new();
    let limits = Limits { bind_secs: 1, first_byte_secs: 1, ..Limits::default() };
    let site = network.site_with(&["capulet.lit"], limits, Rules::default());
    let mut hand = site.call("").await;
    assert!(matches!(hand.raw.item().await.unwrap(), Item::Open(_)));
    hand.expect_error("connection-timeout").await;
    let mut hand = site.call("").await;
    hand.open_secure("montague.lit", "capulet.lit").await;
    hand.expect_error("connection-timeout").await;
}

#[tokio::test]
async fn old_servers_may_use_dialback_where_tls_is_not_required() {
    let network = Network::new();
    let open = Rules { require_tls: false, ..Rules::default() };
    let site = network.site_with(&["capulet.lit"], Limits::default(), open);
    let _montague = network.site(&["montague.lit"]);
    let mut hand = site.call("").await;
    let text = header("montague.lit", "capulet.lit").replace(" version='1.0'>", ">");
    hand.send(&text).await;
    let Item::Open(header) = hand.raw.item().await.unwrap() else { panic!("no header") };
    assert_eq!(header.attr("version"), None);
    let id = header.attr("id").unwrap();
    let key = _montague.key("capulet.lit", "montague.lit", id);
    hand.send(&result("montague.lit", "capulet.lit", &key)).await;
    let answer = hand.element().await;
    assert_eq!(answer.attr("type"), Some("valid"), "{}", answer.pretty(0));
    assert!(!hand.established().await.bidi);
}
