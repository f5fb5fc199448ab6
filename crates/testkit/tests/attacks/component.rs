//! Attacks on the door for components (XEP-0114), and by a component on those whom it serves.

use std::sync::Arc;

use sha1::{Digest, Sha1};
use verona_testkit::address::Address;
use verona_testkit::fortress::{COMPONENT, Fortress, HOSTS, Stage};
use verona_testkit::node::{NS_COMPONENT, NS_STREAM};
use verona_testkit::place::{SECRET, Security};
use verona_testkit::raw::Raw;
use verona_testkit::reader::Item;

use crate::helpers::at;

cases![
    a_wrong_handshake_is_not_authorized,
    nothing_is_heard_before_the_handshake,
    a_domain_that_is_no_component_is_unknown,
    another_namespace_is_invalid,
    a_flood_before_the_handshake_ends_the_stream,
    // One after the other: the component may have one connection.
    a_component_speaks_for_itself_alone_within_its_bounds,
];

fn header(to: &str) -> String {
    format!("<stream:stream to='{to}' xmlns='{NS_COMPONENT}' xmlns:stream='{NS_STREAM}'>")
}

async fn fresh(fortress: &Fortress) -> Raw {
    let gate = fortress.component_gate();
    Raw::connect(&gate, &Address::of_component(COMPONENT)).await.unwrap()
}

/// A stream that is open, and its id.
async fn opened(fortress: &Fortress) -> (Raw, String) {
    let mut raw = fresh(fortress).await;
    raw.send(header(COMPONENT).as_bytes()).await.unwrap();
    let Item::Open(answer) = raw.item().await.unwrap() else { panic!("no header") };
    // XEP-0114 §3: the header names the component.
    assert_eq!(answer.attr("from"), Some(COMPONENT));
    let id = answer.attr("id").unwrap().to_owned();
    (raw, id)
}

fn digest(text: &str) -> String {
    Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A component that has proven its secret; None when its place is taken.
async fn connected(fortress: &Fortress) -> Option<Raw> {
    let (mut raw, id) = opened(fortress).await;
    let proof = digest(&[id.as_str(), SECRET].concat());
    raw.send(format!("<handshake>{proof}</handshake>").as_bytes()).await.unwrap();
    let answer = raw.element().await.unwrap();
    (answer.name == "handshake").then_some(raw)
}

/// The same, waiting until the connection before is gone.
async fn reconnected(fortress: &Fortress) -> Raw {
    for _ in 0..100 {
        if let Some(raw) = connected(fortress).await {
            return raw;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the place of the component stays taken");
}

async fn a_wrong_handshake_is_not_authorized(fortress: Arc<Fortress>) {
    for wrong in [
        String::new(),
        digest(SECRET),
        digest(""),
        "0".repeat(40),
        "\u{1F419}".repeat(10),
        SECRET.to_owned(),
    ] {
        let (mut raw, _) = opened(&fortress).await;
        raw.send(format!("<handshake>{wrong}</handshake>").as_bytes()).await.unwrap();
        raw.expect_stream_error("not-authorized").await.unwrap();
    }
    // The right proof of another stream.
    let (_other, id) = opened(&fortress).await;
    let (mut raw, _) = opened(&fortress).await;
    let proof = digest(&[id.as_str(), SECRET].concat());
    raw.send(format!("<handshake>{proof}</handshake>").as_bytes()).await.unwrap();
    raw.expect_stream_error("not-authorized").await.unwrap();
    // Some of the digits, and more than all.
    for change in [|proof: String| proof[..39].to_owned(), |proof: String| proof + "0"] {
        let (mut raw, id) = opened(&fortress).await;
        let proof = change(digest(&[id.as_str(), SECRET].concat()));
        raw.send(format!("<handshake>{proof}</handshake>").as_bytes()).await.unwrap();
        raw.expect_stream_error("not-authorized").await.unwrap();
    }
}

async fn nothing_is_heard_before_the_handshake(fortress: Arc<Fortress>) {
    for bytes in [
        "<message from='irc.capulet.lit' to='capulet.lit'><body>x</body></message>",
        "<iq from='irc.capulet.lit' to='capulet.lit' type='get' id='1'><x xmlns='y'/></iq>",
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>",
        "<handshake xmlns='jabber:client'/>",
        "<r xmlns='urn:xmpp:sm:3'/>",
    ] {
        let (mut raw, _) = opened(&fortress).await;
        raw.send(bytes.as_bytes()).await.unwrap();
        raw.expect_stream_error("not-authorized").await.unwrap();
    }
}

async fn a_domain_that_is_no_component_is_unknown(fortress: Arc<Fortress>) {
    for to in [HOSTS[0], "x.irc.capulet.lit", "rc.capulet.lit", "lit", "irc.capulet.lit.x"] {
        let mut raw = fresh(&fortress).await;
        raw.send(header(to).as_bytes()).await.unwrap();
        raw.expect_stream_error("host-unknown").await.unwrap();
    }
    let mut raw = fresh(&fortress).await;
    raw.send(header("x").replace(" to='x'", "").as_bytes()).await.unwrap();
    raw.expect_stream_error("host-unknown").await.unwrap();
    for to in ["juliet@irc.capulet.lit", "irc.capulet.lit/x", "*.capulet.lit"] {
        let mut raw = fresh(&fortress).await;
        raw.send(header(to).as_bytes()).await.unwrap();
        raw.expect_stream_error("improper-addressing").await.unwrap();
    }
}

async fn another_namespace_is_invalid(fortress: Arc<Fortress>) {
    for ns in ["jabber:client", "jabber:server", "jabber:component:connect", "jabber:component"] {
        let mut raw = fresh(&fortress).await;
        raw.send(header(COMPONENT).replace(NS_COMPONENT, ns).as_bytes()).await.unwrap();
        raw.expect_stream_error("invalid-namespace").await.unwrap();
    }
}

async fn a_flood_before_the_handshake_ends_the_stream(fortress: Arc<Fortress>) {
    let (mut raw, _) = opened(&fortress).await;
    let _ = raw.send(format!("<handshake>{}", "0".repeat(20_000)).as_bytes()).await;
    raw.expect_stream_error("policy-violation").await.unwrap();
    let (mut raw, _) = opened(&fortress).await;
    let deep = "<a>".repeat(100);
    raw.send(format!("<handshake>{deep}").as_bytes()).await.unwrap();
    raw.expect_stream_error("policy-violation").await.unwrap();
}

async fn a_component_speaks_for_itself_alone_within_its_bounds(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let mut victim = at(&fortress, Security::Tls, Stage::Bound, &who).await;
    let victim_jid = who.bare();
    for from in [
        HOSTS[0],
        HOSTS[1],
        &victim_jid,
        "x.irc.capulet.lit",
        "irc.capulet.lit.evil.lit",
        "evil.lit/irc.capulet.lit",
        "irc.capulet.lit@evil.lit",
        "@",
        "",
    ] {
        let mut raw = reconnected(&fortress).await;
        let text = format!("<message from='{from}' to='{victim_jid}'><body>x</body></message>");
        raw.send(text.as_bytes()).await.unwrap();
        raw.expect_stream_error("invalid-from").await.unwrap();
    }
    // SECURITY: one stanza that is too large, too deep, or no XML that a stream may have.
    for (bytes, condition) in [
        (format!("<message><body>{}", "x".repeat(600_000)), "policy-violation"),
        (format!("<message>{}", "<a>".repeat(200)), "policy-violation"),
        ("<!DOCTYPE x>".to_owned(), "restricted-xml"),
        ("<message>&x;</message>".to_owned(), "restricted-xml"),
        ("<message></iq>".to_owned(), "not-well-formed"),
        (format!("<?xml version='1.0'?>{}", header(COMPONENT)), "restricted-xml"),
    ] {
        let mut raw = reconnected(&fortress).await;
        let _ = raw.send(bytes.as_bytes()).await;
        let ended = raw.expect_stream_error(condition).await;
        ended.unwrap_or_else(|trouble| panic!("{condition}: {trouble}"));
    }
    // A second one is refused, and the first lives.
    let mut raw = reconnected(&fortress).await;
    assert!(connected(&fortress).await.is_none());
    let ping = "<iq type='get' from='irc.capulet.lit' to='capulet.lit' id='p'>\
                <ping xmlns='urn:xmpp:ping'/></iq>";
    raw.send(ping.as_bytes()).await.unwrap();
    assert_eq!(raw.answer("p").await.unwrap().attr("type"), Some("result"));
    // One that reads nothing holds up nobody but those who write to it.
    for n in 0..400 {
        let text = format!(
            "<message to='x@irc.capulet.lit' id='f{n}' type='chat'><body>{}</body></message>",
            "x".repeat(1_000)
        );
        victim.send(text.as_bytes()).await.unwrap();
    }
    fortress.lives().await.unwrap();
    drop(raw);
}
