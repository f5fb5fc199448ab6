//! Hostile binding of resources (RFC 6120 §7), and stanzas before it.

use std::collections::BTreeSet;
use std::sync::Arc;

use verona_testkit::address::Address;
use verona_testkit::fortress::{DOORS, Fortress, PASSWORD, Stage};
use verona_testkit::node::{NS_CLIENT, NS_STANZAS, NS_STREAM, Node};
use verona_testkit::place::Security;
use verona_testkit::raw::Raw;
use verona_testkit::wire::Trouble;

use crate::helpers::{HOST, at, refused_at};

const NS_BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";

cases![
    a_stanza_before_login_is_not_authorized,
    a_stanza_before_bind_is_not_authorized,
    what_is_no_stanza_before_bind_is_unsupported,
    the_server_chooses_a_resource_that_nobody_can_guess,
    a_bad_resourcepart_is_a_bad_request,
    a_broken_bind_request_is_a_bad_request,
    a_bind_for_another_address_is_not_authorized,
    a_resource_that_is_taken_ends_the_session_before,
    one_of_many_at_the_same_time_gets_the_resource,
    the_twenty_first_resource_is_refused,
    a_second_bind_binds_nothing,
    resourceparts_that_look_alike_are_the_same,
];

async fn a_stanza_before_login_is_not_authorized(fortress: Arc<Fortress>) {
    for bytes in stanzas() {
        for door in DOORS {
            let place = (door, Stage::Secured);
            let nobody = crate::helpers::nobody();
            refused_at(&fortress, place, &nobody, bytes.as_bytes(), "not-authorized").await;
        }
    }
}

fn stanzas() -> [String; 9] {
    [
        "<message to='juliet@capulet.lit'><body>x</body></message>".to_owned(),
        "<message/>".to_owned(),
        "<presence/>".to_owned(),
        "<presence to='juliet@capulet.lit' type='subscribe'/>".to_owned(),
        "<presence type='unavailable'/>".to_owned(),
        "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>".to_owned(),
        format!("<iq type='get' id='1' to='{HOST}'><ping xmlns='urn:xmpp:ping'/></iq>"),
        "<iq type='result' id='1'/>".to_owned(),
        "<iq/>".to_owned(),
    ]
}

async fn a_stanza_before_bind_is_not_authorized(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    for bytes in stanzas() {
        for door in DOORS {
            let place = (door, Stage::LoggedIn);
            refused_at(&fortress, place, &who, bytes.as_bytes(), "not-authorized").await;
        }
    }
}

async fn what_is_no_stanza_before_bind_is_unsupported(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    for bytes in
        ["<wherefore/>", "<iq xmlns='x'/>", "<message xmlns='jabber:server'/>", "<r xmlns='a'/>"]
    {
        for stage in [Stage::LoggedIn, Stage::Bound] {
            let place = (Security::Tls, stage);
            let condition = "unsupported-stanza-type";
            refused_at(&fortress, place, &who, bytes.as_bytes(), condition).await;
        }
    }
}

async fn the_server_chooses_a_resource_that_nobody_can_guess(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let mut known = BTreeSet::new();
    let mut all = Vec::new();
    for wish in ["", "<resource/>", "<resource></resource>"].into_iter().cycle().take(15) {
        let mut raw = at(&fortress, Security::Tls, Stage::LoggedIn, &who).await;
        let answer = bind(&mut raw, &format!("<bind xmlns='{NS_BIND}'>{wish}</bind>")).await;
        let jid = answer.child("bind", NS_BIND).unwrap().child("jid", NS_BIND).unwrap().text();
        let resource = jid.strip_prefix(&format!("{}/", who.bare())).unwrap().to_owned();
        // 128 bits take 22 letters of base64.
        assert!(resource.len() >= 22, "{resource}");
        assert!(known.insert(resource));
        all.push(raw);
    }
}

/// The answer to a request to bind.
async fn bind(raw: &mut Raw, payload: &str) -> Node {
    raw.ask("", "set", payload).await.unwrap()
}

fn condition(node: &Node) -> Option<String> {
    let error = node.child("error", NS_CLIENT)?;
    error.children().find(|child| child.ns == NS_STANZAS).map(|child| child.name.clone())
}

async fn a_bad_resourcepart_is_a_bad_request(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let long = "x".repeat(1_024);
    let wide = "\u{fdfa}".repeat(3_000);
    let mut raw = at(&fortress, Security::Tls, Stage::LoggedIn, &who).await;
    for resource in [
        long.as_str(),
        &wide,
        "\u{7f}",
        "\u{85}",
        "\u{200b}\u{e000}",
        "a\u{378}b",
        "\u{fdd0}",
        "\t",
        "a\nb",
    ] {
        let wish = format!("<bind xmlns='{NS_BIND}'><resource>{resource}</resource></bind>");
        let answer = bind(&mut raw, &wish).await;
        assert_eq!(condition(&answer).as_deref(), Some("bad-request"), "{resource:?}");
    }
    // The stream lives, and the longest that is allowed is bound.
    let most = "x".repeat(1_023);
    assert_eq!(raw.bind(&most).await.unwrap(), format!("{}/{most}", who.bare()));
}

async fn a_broken_bind_request_is_a_bad_request(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let bind = format!("<bind xmlns='{NS_BIND}'/>");
    // RFC 6120 §8.2.3: an id, and one child.
    for request in [
        format!("<iq type='set'>{bind}</iq>"),
        format!("<iq type='set' id='1'>{bind}{bind}</iq>"),
        format!("<iq type='set' id='1'>{bind}<x xmlns='y'/></iq>"),
    ] {
        let mut raw = at(&fortress, Security::Tls, Stage::LoggedIn, &who).await;
        raw.send(request.as_bytes()).await.unwrap();
        let node = raw.element().await.unwrap();
        assert_eq!(condition(&node).as_deref(), Some("bad-request"), "{request}: {node}");
        raw.bind("x").await.unwrap();
    }
    for request in [
        format!("<iq type='get' id='1'>{bind}</iq>"),
        format!("<iq type='result' id='1'>{bind}</iq>"),
        format!("<iq id='1'>{bind}</iq>"),
        format!("<message type='set' id='1'>{bind}</message>"),
        "<iq type='set' id='1'><bind/></iq>".to_owned(),
        "<iq type='set' id='1'><bind xmlns='urn:xmpp:bind:0'/></iq>".to_owned(),
    ] {
        let place = (Security::Tls, Stage::LoggedIn);
        refused_at(&fortress, place, &who, request.as_bytes(), "not-authorized").await;
    }
}

async fn a_bind_for_another_address_is_not_authorized(fortress: Arc<Fortress>) {
    let (who, victim) = (fortress.guest(), fortress.guest());
    for to in [victim.bare(), "nobody@capulet.lit".to_owned(), "verona.lit".to_owned()] {
        let request = format!("<iq type='set' id='1' to='{to}'><bind xmlns='{NS_BIND}'/></iq>");
        let place = (Security::Tls, Stage::LoggedIn);
        refused_at(&fortress, place, &who, request.as_bytes(), "not-authorized").await;
    }
    // Whom it claims to be from is of no matter.
    let mut raw = at(&fortress, Security::Tls, Stage::LoggedIn, &who).await;
    let request = format!(
        "<iq type='set' id='asked' from='{}'><bind xmlns='{NS_BIND}'/></iq>",
        victim.bare()
    );
    raw.send(request.as_bytes()).await.unwrap();
    let answer = raw.answer("asked").await.unwrap();
    let jid = answer.child("bind", NS_BIND).unwrap().child("jid", NS_BIND).unwrap().text();
    assert!(jid.starts_with(&who.bare()), "{jid}");
}

async fn a_resource_that_is_taken_ends_the_session_before(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let gate = fortress.gate(Security::Tls);
    let mut first = fortress.reach(&gate, Stage::Bound, &who).await.unwrap();
    first.ping(HOST).await.unwrap();
    let mut second = fortress.reach(&gate, Stage::Bound, &who).await.unwrap();
    first.expect_stream_error("conflict").await.unwrap();
    second.ping(HOST).await.unwrap();
}

/// Many binds of the same resource at the same time: each answer is a success, and at the end one
/// session is left, so that no address has two owners.
async fn one_of_many_at_the_same_time_gets_the_resource(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    for _ in 0..8 {
        let mut logged_in = Vec::new();
        for _ in 0..8 {
            logged_in.push(at(&fortress, Security::Tls, Stage::LoggedIn, &who).await);
        }
        let mut running = tokio::task::JoinSet::new();
        for mut raw in logged_in {
            running.spawn(async move {
                let bound = raw.bind("balcony").await;
                (raw, bound)
            });
        }
        let mut alive = Vec::new();
        for (mut raw, bound) in running.join_all().await {
            match bound {
                Ok(_) => {}
                // Its session was ended before the answer was read.
                Err(Trouble::Unexpected(_, node)) if node.is("error", NS_STREAM) => continue,
                Err(Trouble::Closed(_)) => continue,
                Err(trouble) => panic!("{trouble}"),
            }
            if raw.ping(HOST).await.is_ok() {
                alive.push(raw);
            }
        }
        assert_eq!(alive.len(), 1, "sessions with the same address");
    }
}

async fn the_twenty_first_resource_is_refused(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let mut bound = Vec::new();
    for _ in 0..20 {
        bound.push(at(&fortress, Security::Tls, Stage::Bound, &who).await);
    }
    let mut raw = at(&fortress, Security::Tls, Stage::LoggedIn, &who).await;
    let answer = bind(&mut raw, &format!("<bind xmlns='{NS_BIND}'/>")).await;
    assert_eq!(condition(&answer).as_deref(), Some("resource-constraint"));
    let error = answer.children().find(|child| child.name == "error").unwrap();
    assert!(error.child("resource-limit-exceeded", "urn:xmpp:errors").is_some(), "{error:?}");
    // When one leaves there is room again, on the same stream.
    let mut leaving = bound.pop().unwrap();
    leaving.send(b"</stream:stream>").await.unwrap();
    leaving.rest().await.unwrap();
    raw.bind("").await.unwrap();
    // At the same time nobody gets in either.
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let mut raw = at(&fortress, Security::Tls, Stage::LoggedIn, &who).await;
        running.spawn(async move { raw.bind("").await.map(|_| raw) });
    }
    assert!(running.join_all().await.iter().all(Result::is_err));
}

async fn a_second_bind_binds_nothing(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let mut raw = at(&fortress, Security::Tls, Stage::Bound, &who).await;
    let wish = format!("<bind xmlns='{NS_BIND}'><resource>other</resource></bind>");
    let answer = bind(&mut raw, &wish).await;
    assert_eq!(answer.attr("type"), Some("error"), "{answer}");
    raw.ping(HOST).await.unwrap();
    let other = format!("{}/other", who.bare());
    assert!(raw.ping(&other).await.is_err());
}

async fn resourceparts_that_look_alike_are_the_same(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    // U+212B and U+00C5 are one letter; NO-BREAK SPACE is a space (RFC 8265 §4.2.2).
    for (one, other) in [("\u{212b}", "\u{c5}"), ("a\u{a0}b", "a b"), ("e\u{301}", "\u{e9}")] {
        let as_ = |resource: &str| Address { resource: resource.to_owned(), ..who.clone() };
        let gate = fortress.gate(Security::Tls);
        let mut first = Raw::connect(&gate, &who).await.unwrap();
        let features = first.open().await.unwrap();
        first.authenticate(&features, &who.local, PASSWORD).await.unwrap();
        first.reopen().await.unwrap();
        let jid = first.bind(&as_(one).resource).await.unwrap();
        assert_eq!(jid, as_(other).full());
        let _second = fortress.reach(&gate, Stage::Bound, &as_(other)).await.unwrap();
        first.expect_stream_error("conflict").await.unwrap();
    }
}
