//! Hostile use of the login that goes on without a restart (XEP-0388), and of what it can carry:
//! binding (XEP-0386) and resuming (XEP-0198 §9).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use verona_testkit::address::Address;
use verona_testkit::fortress::{DOORS, Fortress, HOSTS, PASSWORD, Stage};
use verona_testkit::node::{NS_STREAM, Node};
use verona_testkit::place::Security;
use verona_testkit::raw::Raw;

use crate::helpers::{HOST, at, header, nobody, openings, refused_at};

const NS: &str = "urn:xmpp:sasl:2";
const NS_BIND: &str = "urn:xmpp:bind:0";
const NS_SM: &str = "urn:xmpp:sm:3";

cases![
    it_is_offered_and_taken_within_tls_alone,
    nobody_logs_in_as_another_by_any_mechanism,
    garbage_fails_by_its_name,
    failures_count_together_with_those_of_the_old_login,
    other_traffic_during_the_login_ends_the_stream,
    a_second_login_ends_the_stream,
    the_session_of_another_is_not_resumed_along_with_the_login,
    a_hostile_wish_to_bind_harms_nobody,
    another_host_is_out_of_reach,
];

/// The element that begins a login, with what it carries.
fn authenticate(mechanism: &str, data: &[u8], inside: &str) -> String {
    let data = STANDARD.encode(data);
    format!(
        "<authenticate xmlns='{NS}' mechanism='{mechanism}'><initial-response>{data}\
         </initial-response>{inside}</authenticate>"
    )
}

fn login(who: &Address, inside: &str) -> String {
    authenticate("PLAIN", format!("\0{}\0{PASSWORD}", who.local).as_bytes(), inside)
}

async fn secured(fortress: &Fortress) -> Raw {
    at(fortress, Security::Tls, Stage::Secured, &nobody()).await
}

/// Sends an element before the login and gives what comes.
async fn reaction(fortress: &Fortress, element: &str) -> Node {
    let mut raw = secured(fortress).await;
    raw.send(element.as_bytes()).await.unwrap();
    raw.element().await.unwrap()
}

/// The name of the failure.
fn failure(node: &Node) -> String {
    assert!(node.is("failure", NS), "no failure: {node}");
    node.children().map(|child| child.name.clone()).next().unwrap_or_default()
}

async fn it_is_offered_and_taken_within_tls_alone(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let mut raw = Raw::connect(&fortress.gate(Security::StartTls), &who).await.unwrap();
    let features = raw.open_plain().await.unwrap();
    assert!(features.child("authentication", NS).is_none());
    // The right password, in plaintext, is refused all the same.
    raw.send(login(&who, "").as_bytes()).await.unwrap();
    assert_eq!(failure(&raw.element().await.unwrap()), "encryption-required");
    for door in DOORS {
        let mut raw = Raw::connect(&fortress.gate(door), &who).await.unwrap();
        assert!(raw.open().await.unwrap().child("authentication", NS).is_some());
        raw.send(login(&who, "").as_bytes()).await.unwrap();
        assert!(raw.element().await.unwrap().is("success", NS));
        assert!(raw.element().await.unwrap().is("features", NS_STREAM));
        raw.bind("x").await.unwrap();
    }
}

async fn nobody_logs_in_as_another_by_any_mechanism(fortress: Arc<Fortress>) {
    let (who, victim) = (fortress.guest(), fortress.guest());
    let own = who.bare();
    for authzid in [
        victim.bare(),
        format!("{}@{}", who.local, HOSTS[1]),
        format!("{own}/balcony"),
        "absent@capulet.lit".to_owned(),
        who.local.clone(),
        HOST.to_owned(),
    ] {
        for (mechanism, data) in openings(&who, &authzid, PASSWORD) {
            let told = reaction(&fortress, &authenticate(&mechanism, &data, "")).await;
            assert_eq!(failure(&told), "invalid-authzid", "{mechanism}: {authzid}");
        }
    }
    // Nor as another than the stream says to be from (XEP-0388 §4.4).
    for (mechanism, data) in openings(&who, "", PASSWORD) {
        let mut raw = Raw::connect(&fortress.gate(Security::Tls), &nobody()).await.unwrap();
        let from = header(HOST).replace("to=", &format!("from='{}' to=", victim.bare()));
        raw.send(from.as_bytes()).await.unwrap();
        raw.item().await.unwrap();
        raw.element().await.unwrap();
        raw.send(authenticate(&mechanism, &data, "").as_bytes()).await.unwrap();
        let told = raw.element().await.unwrap();
        assert_eq!(failure(&told), "invalid-authzid", "{mechanism}");
    }
}

async fn garbage_fails_by_its_name(fortress: Arc<Fortress>) {
    for (element, wanted) in [
        (authenticate("NOTHING", b"x", ""), "invalid-mechanism"),
        (authenticate("", b"x", ""), "invalid-mechanism"),
        (format!("<authenticate xmlns='{NS}'/>"), "invalid-mechanism"),
        (authenticate("PLAIN", b"x", ""), "malformed-request"),
        (authenticate("PLAIN", b"", ""), "malformed-request"),
        (authenticate("SCRAM-SHA-1", b"garbage", ""), "malformed-request"),
        (
            format!(
                "<authenticate xmlns='{NS}' mechanism='PLAIN'><initial-response>!</initial-response>\
                 </authenticate>"
            ),
            "incorrect-encoding",
        ),
    ] {
        let told = reaction(&fortress, &element).await;
        assert_eq!(failure(&told), wanted, "{element}");
    }
}

async fn failures_count_together_with_those_of_the_old_login(fortress: Arc<Fortress>) {
    let mut raw = secured(&fortress).await;
    for number in 0..5 {
        let element = match number % 2 {
            0 => authenticate("PLAIN", b"\0nobody\0wrong", ""),
            _ => crate::helpers::auth("PLAIN", b"\0nobody\0wrong"),
        };
        raw.send(element.as_bytes()).await.unwrap();
        assert_eq!(raw.element().await.unwrap().name, "failure");
    }
    raw.expect_stream_error("policy-violation").await.unwrap();
}

async fn other_traffic_during_the_login_ends_the_stream(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let first = format!("n,,n={},r=abcdefghijklmnop", who.local);
    for between in [
        "<message to='juliet@capulet.lit'/>".to_owned(),
        login(&who, ""),
        crate::helpers::auth("PLAIN", b"\0x\0y"),
        format!("<next xmlns='{NS}' task='x'/>"),
        format!("<success xmlns='{NS}'/>"),
        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AA==</response>".to_owned(),
        "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>".to_owned(),
    ] {
        let mut raw = secured(&fortress).await;
        raw.send(authenticate("SCRAM-SHA-1", first.as_bytes(), "").as_bytes()).await.unwrap();
        assert_eq!(raw.element().await.unwrap().name, "challenge");
        raw.send(between.as_bytes()).await.unwrap();
        let ended = raw.expect_stream_error("not-authorized").await;
        ended.unwrap_or_else(|trouble| panic!("{between}: {trouble}"));
    }
}

async fn a_second_login_ends_the_stream(fortress: Arc<Fortress>) {
    let (who, victim) = (fortress.guest(), fortress.guest());
    for inside in [String::new(), format!("<bind xmlns='{NS_BIND}'/>")] {
        let mut raw = secured(&fortress).await;
        raw.send(login(&who, &inside).as_bytes()).await.unwrap();
        assert!(raw.element().await.unwrap().is("success", NS));
        assert!(raw.element().await.unwrap().is("features", NS_STREAM));
        raw.send(login(&victim, "").as_bytes()).await.unwrap();
        raw.expect_stream_error("unsupported-stanza-type").await.unwrap();
    }
    let element = login(&victim, "");
    for stage in [Stage::LoggedIn, Stage::Bound] {
        let place = (Security::StartTls, stage);
        let condition = "unsupported-stanza-type";
        refused_at(&fortress, place, &who, element.as_bytes(), condition).await;
    }
}

async fn the_session_of_another_is_not_resumed_along_with_the_login(fortress: Arc<Fortress>) {
    let (victim, attacker) = (fortress.guest(), fortress.guest());
    let mut raw = at(&fortress, Security::Tls, Stage::Bound, &victim).await;
    raw.send(format!("<enable xmlns='{NS_SM}' resume='true'/>").as_bytes()).await.unwrap();
    let id = raw.element().await.unwrap().attr("id").unwrap().to_owned();
    let resume = format!("<resume xmlns='{NS_SM}' previd='{id}' h='0'/>");
    // Without the right password nothing is resumed; with that of another neither.
    let wrong = format!("\0{}\0wrong", victim.local);
    let told = reaction(&fortress, &authenticate("PLAIN", wrong.as_bytes(), &resume)).await;
    assert_eq!(failure(&told), "not-authorized");
    let told = reaction(&fortress, &login(&attacker, &resume)).await;
    assert!(told.is("success", NS), "{told}");
    assert!(told.child("failed", NS_SM).is_some(), "{told}");
    raw.ping(HOST).await.unwrap();
    drop(raw);
    let told = reaction(&fortress, &login(&victim, &resume)).await;
    assert!(told.child("resumed", NS_SM).is_some(), "{told}");
}

async fn a_hostile_wish_to_bind_harms_nobody(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let long = "x".repeat(5_000);
    let many = format!("<a xmlns='b'>{}</a>", "<c/>".repeat(500));
    for wish in [
        format!("<bind xmlns='{NS_BIND}'><tag>{long}</tag></bind>"),
        format!("<bind xmlns='{NS_BIND}'><tag>\u{7f}\u{200b}</tag></bind>"),
        format!("<bind xmlns='{NS_BIND}'><tag>a/b@c</tag><tag>d</tag></bind>"),
        format!("<bind xmlns='{NS_BIND}'>{many}</bind>"),
        format!("<bind xmlns='{NS_BIND}'><enable xmlns='{NS_SM}' resume='true' max='-1'/></bind>"),
        format!(
            "<bind xmlns='{NS_BIND}'>{}</bind>",
            format!("<enable xmlns='{NS_SM}' resume='true'/>").repeat(20)
        ),
        format!(
            "<user-agent id='{long}'><software>{long}</software></user-agent><bind xmlns='{NS_BIND}'/>"
        ),
        format!("<user-agent id='&apos;&lt;'/><bind xmlns='{NS_BIND}'/><bind xmlns='{NS_BIND}'/>"),
        format!("<resume xmlns='{NS_SM}'/><bind xmlns='{NS_BIND}'/>"),
    ] {
        let mut raw = secured(&fortress).await;
        raw.send(login(&who, &wish).as_bytes()).await.unwrap();
        let told = raw.element().await.unwrap();
        if told.is("error", NS_STREAM) {
            // Too large for what comes before a login.
            assert!(wish.len() > 9_000, "{wish}: {told}");
            continue;
        }
        assert!(told.is("success", NS), "{wish}: {told}");
        let jid = told.child("authorization-identifier", NS).unwrap().text();
        assert!(jid.starts_with(&format!("{}/", who.bare())), "{jid}");
        raw.ping(HOST).await.unwrap();
    }
}

async fn another_host_is_out_of_reach(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    fortress.add(&format!("{}@{}", who.local, HOSTS[1]));
    let mut raw = secured(&fortress).await;
    raw.send(login(&who, "").as_bytes()).await.unwrap();
    assert!(raw.element().await.unwrap().is("success", NS));
    assert!(raw.element().await.unwrap().is("features", NS_STREAM));
    // There is no restart behind such a login, to another host least of all.
    raw.send(header(HOSTS[1]).as_bytes()).await.unwrap();
    raw.expect_stream_error("restricted-xml").await.unwrap();
}
