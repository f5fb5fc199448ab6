//! Hostile logins (RFC 6120 §6, RFC 4616, RFC 5802): garbage, the rights of others, tampering, and
//! what a stranger learns of accounts.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use verona_testkit::address::Address;
use verona_testkit::fortress::{DOORS, Fortress, HOSTS, PASSWORD, Stage};
use verona_testkit::node::{NS_STREAM, Node};
use verona_testkit::place::{Link, Security};
use verona_testkit::raw::Raw;
use verona_testkit::sasl::Proof;
use verona_testkit::tls::{Wish, wrap_as};

use crate::helpers::{
    HOST, NONCE, NS_SASL, SCRAM, at, auth, failure, header, nobody, openings, refused_at,
};

cases![
    a_mechanism_that_is_not_offered_is_invalid,
    what_is_no_base64_has_an_incorrect_encoding,
    garbage_is_malformed_in_each_mechanism,
    scram_ships_first_and_no_plain_without_tls,
    nobody_logs_in_as_another_in_any_mechanism,
    the_address_of_the_stream_binds_the_login,
    one_may_act_as_oneself,
    the_user_name_is_a_localpart_and_nothing_more,
    five_failures_end_the_stream_with_policy_violation,
    a_login_may_succeed_behind_four_failures,
    an_abort_is_told_and_counts,
    anything_but_a_response_within_a_handshake_ends_the_stream,
    responses_and_aborts_without_a_handshake_are_not_authorized,
    a_tampered_proof_is_refused,
    channel_binding_is_always_checked,
    a_login_behind_a_login_is_no_login,
    an_unknown_account_is_challenged_like_a_known_one,
    many_failures_delay_the_answers_and_lock_nobody_out,
];

/// A stream within TLS, before login.
async fn secured(fortress: &Fortress, door: Security) -> Raw {
    at(fortress, door, Stage::Secured, &nobody()).await
}

/// One attempt on a stream of its own; gives the failure.
async fn attempt(fortress: &Fortress, element: &str) -> String {
    let mut raw = secured(fortress, Security::Tls).await;
    raw.send(element.as_bytes()).await.unwrap();
    failure(&mut raw).await
}

async fn a_mechanism_that_is_not_offered_is_invalid(fortress: Arc<Fortress>) {
    let long = "A".repeat(2_000);
    for mechanism in [
        "",
        "plain",
        "Plain",
        " PLAIN",
        "PLAIN ",
        "CRAM-MD5",
        "DIGEST-MD5",
        "LOGIN",
        "NTLM",
        "GSSAPI",
        "GS2-KRB5",
        "OAUTHBEARER",
        "EXTERNAL",
        "ANONYMOUS",
        "SCRAM-SHA-1-PLUS-PLUS",
        "SCRAM-SHA3-512",
        "X-TOKEN",
        &long,
    ] {
        let told = attempt(&fortress, &auth(mechanism, b"\0x\0y")).await;
        assert_eq!(told, "invalid-mechanism", "{mechanism:?}");
    }
    let without = format!("<auth xmlns='{NS_SASL}'>AHgAeQ==</auth>");
    assert_eq!(attempt(&fortress, &without).await, "invalid-mechanism");
}

async fn what_is_no_base64_has_an_incorrect_encoding(fortress: Arc<Fortress>) {
    for text in
        ["x", "AA", "AA=", "AA==AA", "AA== ", " AA==", "A\nA==", "AB==", "AA-_", "\u{e4}", "=="]
    {
        for mechanism in ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-512-PLUS"] {
            let element = format!("<auth xmlns='{NS_SASL}' mechanism='{mechanism}'>{text}</auth>");
            let told = attempt(&fortress, &element).await;
            assert_eq!(told, "incorrect-encoding", "{mechanism}: {text:?}");
        }
    }
}

async fn garbage_is_malformed_in_each_mechanism(fortress: Arc<Fortress>) {
    let long = [b"\0".as_slice(), &[b'x'; 3_000], b"\0y"].concat();
    let plain: [&[u8]; 9] =
        [b"", b"x", b"\0", b"\0\0", b"\0x\0", b"\0\0y", b"\0x\0y\0", b"\0x\xff\0y", &long];
    for data in plain {
        let told = attempt(&fortress, &auth("PLAIN", data)).await;
        assert_eq!(told, "malformed-request", "{data:?}");
    }
    let nonce = format!("n,,n=x,r={}", "r".repeat(5_000));
    let scram: [&[u8]; 18] = [
        b"",
        b"n",
        b"n,",
        b"n,,",
        b"n,,n=x",
        b"n,,n=x,r=",
        b"n,,n=,r=abc",
        b"n,,r=abc,n=x",
        b"x,,n=x,r=abc",
        b"n,x,n=x,r=abc",
        b"n,,n=x=,r=abc",
        b"n,,n=x=2c,r=abc",
        b"n,,n=x,r=a\x01c",
        b"n,,n=x,r=abc\0",
        b"n,,n=\xff,r=abc",
        b"p=,,n=x,r=abc",
        b"p=tls-unique,,n=x,r=abc",
        nonce.as_bytes(),
    ];
    for data in scram {
        for mechanism in SCRAM {
            let told = attempt(&fortress, &auth(mechanism, data)).await;
            assert_eq!(told, "malformed-request", "{mechanism}: {data:?}");
        }
    }
    // RFC 5802 §5.1: a mandatory extension is not to be passed over.
    for data in [b"n,,m=x,n=x,r=abc".as_slice(), b"n,,n=x,r=abc,m=x"] {
        let told = attempt(&fortress, &auth("SCRAM-SHA-1", data)).await;
        assert!(told == "not-authorized" || told == "malformed-request", "{told}");
    }
}

fn offered(features: &Node) -> Vec<String> {
    let mechanisms = features.child("mechanisms", NS_SASL);
    mechanisms.map(|all| all.children().map(Node::text).collect()).unwrap_or_default()
}

async fn scram_ships_first_and_no_plain_without_tls(fortress: Arc<Fortress>) {
    let mut raw = Raw::connect(&fortress.gate(Security::StartTls), &nobody()).await.unwrap();
    assert!(offered(&raw.open_plain().await.unwrap()).is_empty());
    for door in DOORS {
        let mut raw = Raw::connect(&fortress.gate(door), &nobody()).await.unwrap();
        let features = raw.open().await.unwrap();
        // XEP-0440 §2: what a login can be bound to.
        let bindings = features.child("sasl-channel-binding", "urn:xmpp:sasl-cb:0").unwrap();
        let bindings: Vec<_> = bindings.children().filter_map(|one| one.attr("type")).collect();
        assert_eq!(bindings, ["tls-exporter", "tls-server-end-point"]);
        let mechanisms = offered(&features);
        // RFC 6120 §13.8.3: SCRAM-SHA-1 and its -PLUS are always there.
        for wanted in ["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"] {
            assert!(mechanisms.iter().any(|one| one == wanted), "{wanted}: {mechanisms:?}");
        }
        assert_eq!(mechanisms.last().map(String::as_str), Some("PLAIN"));
        // RFC 5802 §5.1: rounds enough, and XEP-0474 §6.1: a hash of what was offered.
        let challenge = challenged(&mut raw, &nobody(), "n,,", "SCRAM-SHA-1").await;
        let field = |key: &str| challenge.split(',').find_map(|field| field.strip_prefix(key));
        assert!(field("i=").unwrap().parse::<u32>().unwrap() >= 10_000, "{challenge}");
        assert!(field("h=").is_some_and(|hash| !hash.is_empty()), "{challenge}");
    }
}

async fn nobody_logs_in_as_another_in_any_mechanism(fortress: Arc<Fortress>) {
    let (who, victim) = (fortress.guest(), fortress.guest());
    let own = who.bare();
    for authzid in [
        victim.bare(),
        format!("{}@{}", who.local, HOSTS[1]),
        format!("{own}/balcony"),
        "absent@capulet.lit".to_owned(),
        who.local.clone(),
        HOST.to_owned(),
        "@".to_owned(),
        format!("{own}\u{1}"),
        "x".repeat(1_000),
    ] {
        for (mechanism, data) in openings(&who, &authzid, PASSWORD) {
            let told = attempt(&fortress, &auth(&mechanism, &data)).await;
            assert_eq!(told, "invalid-authzid", "{mechanism}: {authzid}");
        }
    }
}

async fn the_address_of_the_stream_binds_the_login(fortress: Arc<Fortress>) {
    let (who, victim) = (fortress.guest(), fortress.guest());
    for (mechanism, data) in openings(&who, "", PASSWORD) {
        let mut raw = Raw::connect(&fortress.gate(Security::Tls), &nobody()).await.unwrap();
        let from = header(HOST).replace("to=", &format!("from='{}' to=", victim.bare()));
        raw.send(from.as_bytes()).await.unwrap();
        raw.item().await.unwrap();
        raw.element().await.unwrap();
        raw.send(auth(&mechanism, &data).as_bytes()).await.unwrap();
        assert_eq!(failure(&mut raw).await, "invalid-authzid", "{mechanism}");
    }
}

async fn one_may_act_as_oneself(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    for authzid in [who.bare(), who.bare().to_uppercase()] {
        for (mechanism, data) in openings(&who, &authzid, PASSWORD) {
            let mut raw = secured(&fortress, Security::Tls).await;
            raw.send(auth(&mechanism, &data).as_bytes()).await.unwrap();
            let wanted = if mechanism == "PLAIN" { "success" } else { "challenge" };
            assert_eq!(raw.element().await.unwrap().name, wanted, "{mechanism}: {authzid}");
        }
    }
}

async fn the_user_name_is_a_localpart_and_nothing_more(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let capital = Address { local: who.local.to_uppercase(), ..who.clone() };
    let (_, data) = openings(&capital, "", PASSWORD).remove(0);
    let mut raw = secured(&fortress, Security::Tls).await;
    raw.send(auth("PLAIN", &data).as_bytes()).await.unwrap();
    assert_eq!(raw.element().await.unwrap().name, "success");
    raw.begin_anew();
    raw.reopen().await.unwrap();
    // One account, however it is written.
    assert!(raw.bind("x").await.unwrap().starts_with(&who.bare()));
    for local in [
        who.bare(),
        format!("{}/x", who.local),
        format!("{}@", who.local),
        format!("{}@{}", who.local, HOSTS[1]),
        "\"".to_owned(),
        "\u{202e}".to_owned(),
        format!(" {}", who.local),
        "x".repeat(1_023),
    ] {
        let other = Address { local, ..who.clone() };
        for (mechanism, data) in openings(&other, "", PASSWORD).into_iter().take(2) {
            let mut raw = secured(&fortress, Security::Tls).await;
            raw.send(auth(&mechanism, &data).as_bytes()).await.unwrap();
            let node = raw.element().await.unwrap();
            // A localpart that could be one is challenged like an account; no other word is lost.
            let challenged = node.name == "challenge" && mechanism != "PLAIN";
            assert!(challenged || node.child("not-authorized", NS_SASL).is_some(), "{node}");
        }
    }
}

async fn five_failures_end_the_stream_with_policy_violation(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    for door in DOORS {
        let mut raw = secured(&fortress, door).await;
        for _ in 0..5 {
            let wrong = format!("\0{}\0wrong", who.local);
            raw.send(auth("PLAIN", wrong.as_bytes()).as_bytes()).await.unwrap();
            assert_eq!(failure(&mut raw).await, "not-authorized");
        }
        raw.expect_stream_error("policy-violation").await.unwrap();
    }
}

async fn a_login_may_succeed_behind_four_failures(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let mut raw = secured(&fortress, Security::StartTls).await;
    for element in [
        auth("PLAIN", b"\0x\0y"),
        auth("NOTHING", b""),
        auth("SCRAM-SHA-1", b"garbage"),
        auth("PLAIN", format!("\0{}\0wrong", who.local).as_bytes()),
    ] {
        raw.send(element.as_bytes()).await.unwrap();
        failure(&mut raw).await;
    }
    let (mechanism, data) = openings(&who, "", PASSWORD).remove(0);
    raw.send(auth(&mechanism, &data).as_bytes()).await.unwrap();
    assert_eq!(raw.element().await.unwrap().name, "success");
}

async fn an_abort_is_told_and_counts(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let mut raw = secured(&fortress, Security::Tls).await;
    let (mechanism, data) = openings(&who, "", PASSWORD).remove(1);
    for _ in 0..5 {
        raw.send(auth(&mechanism, &data).as_bytes()).await.unwrap();
        assert_eq!(raw.element().await.unwrap().name, "challenge");
        raw.send(format!("<abort xmlns='{NS_SASL}'/>").as_bytes()).await.unwrap();
        assert_eq!(failure(&mut raw).await, "aborted");
    }
    raw.expect_stream_error("policy-violation").await.unwrap();
}

async fn anything_but_a_response_within_a_handshake_ends_the_stream(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let (mechanism, data) = openings(&who, "", PASSWORD).remove(1);
    for between in [
        auth(&mechanism, &data),
        "<response>AA==</response>".to_owned(),
        "<response xmlns='urn:xmpp:sasl:2'>AA==</response>".to_owned(),
        format!("<challenge xmlns='{NS_SASL}'>AA==</challenge>"),
        format!("<success xmlns='{NS_SASL}'/>"),
        "<message to='juliet@capulet.lit'/>".to_owned(),
        "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>".to_owned(),
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned(),
    ] {
        let mut raw = secured(&fortress, Security::Tls).await;
        raw.send(auth(&mechanism, &data).as_bytes()).await.unwrap();
        assert_eq!(raw.element().await.unwrap().name, "challenge");
        raw.send(between.as_bytes()).await.unwrap();
        let ended = raw.expect_stream_error("not-authorized").await;
        ended.unwrap_or_else(|trouble| panic!("{between}: {trouble}"));
    }
}

async fn responses_and_aborts_without_a_handshake_are_not_authorized(fortress: Arc<Fortress>) {
    for name in ["response", "abort", "success", "failure", "challenge", "mechanisms"] {
        for door in DOORS {
            let bytes = format!("<{name} xmlns='{NS_SASL}'/>");
            let place = (door, Stage::Secured);
            refused_at(&fortress, place, &nobody(), bytes.as_bytes(), "not-authorized").await;
        }
    }
}

/// Up to the challenge of SCRAM-SHA-1, which is given back.
async fn challenged(raw: &mut Raw, who: &Address, gs2: &str, mechanism: &str) -> String {
    let first = format!("{gs2}n={},r={NONCE}", who.local);
    raw.send(auth(mechanism, first.as_bytes()).as_bytes()).await.unwrap();
    let node = raw.element().await.unwrap();
    assert!(node.is("challenge", NS_SASL), "no challenge: {node}");
    String::from_utf8(STANDARD.decode(node.text()).unwrap()).unwrap()
}

async fn respond(raw: &mut Raw, response: &str) -> Node {
    let text = STANDARD.encode(response);
    raw.send(format!("<response xmlns='{NS_SASL}'>{text}</response>").as_bytes()).await.unwrap();
    raw.element().await.unwrap()
}

async fn a_tampered_proof_is_refused(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let first = format!("n={},r={NONCE}", who.local);
    let changes: [fn(&str) -> String; 12] = [
        |good| good.replace("p=", "p=A"),
        |good| good.split(",p=").next().unwrap_or_default().to_owned(),
        |good| format!("{},p=", good.split(",p=").next().unwrap_or_default()),
        |good| good.replace("r=", "r=x"),
        |good| good.replace(",p=", "x,p="),
        |good| good.replace("c=biws", "c=eSws"),
        |good| good.replace("c=biws", "c="),
        |good| good.replace(",p=", ",m=x,p="),
        |good| format!("{good},x=y"),
        |good| good.replace("c=biws,", ""),
        |_| String::new(),
        |good| good.repeat(2),
    ];
    for change in changes {
        let mut raw = secured(&fortress, Security::Tls).await;
        let challenge = challenged(&mut raw, &who, "n,,", "SCRAM-SHA-1").await;
        let good = Proof::new(PASSWORD, &first, &challenge, b"n,,").unwrap().response;
        let node = respond(&mut raw, &change(&good)).await;
        assert!(node.is("failure", NS_SASL), "{}: {node}", change(&good));
    }
    // A proof is good for its own challenge only.
    let mut one = secured(&fortress, Security::Tls).await;
    let mut other = secured(&fortress, Security::Tls).await;
    let of_one = challenged(&mut one, &who, "n,,", "SCRAM-SHA-1").await;
    let of_other = challenged(&mut other, &who, "n,,", "SCRAM-SHA-1").await;
    assert_ne!(of_one, of_other);
    let good = Proof::new(PASSWORD, &first, &of_one, b"n,,").unwrap();
    assert!(respond(&mut other, &good.response).await.is("failure", NS_SASL));
    let node = respond(&mut one, &good.response).await;
    assert!(node.is("success", NS_SASL), "{node}");
}

/// A stream within TLS, and the key that RFC 9266 makes of its connection.
async fn with_key(fortress: &Fortress) -> (Raw, [u8; 32]) {
    let tcp = fortress.gate(Security::Tls).tcp().await.unwrap();
    let stream = wrap_as(tcp, Wish::usual(HOST, true)).await.unwrap();
    let tls = stream.get_ref().1;
    let label = b"EXPORTER-Channel-Binding";
    let key = tls.export_keying_material([0; 32], label, Some(b"")).unwrap();
    let mut raw = Raw::over(Link::plain(stream), &nobody()).await.unwrap();
    raw.open().await.unwrap();
    (raw, key)
}

async fn channel_binding_is_always_checked(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let first = format!("n={},r={NONCE}", who.local);
    let bound = "p=tls-exporter,,";
    // The key of another connection is what somebody in the middle has.
    let (_other, foreign) = with_key(&fortress).await;
    for (gs2, data, good) in [
        (bound, None, true),
        (bound, Some(foreign.as_slice()), false),
        (bound, Some([].as_slice()), false),
        (bound, Some([0; 32].as_slice()), false),
        ("n,,", None, false),
    ] {
        let (mut raw, key) = with_key(&fortress).await;
        let challenge = challenged(&mut raw, &who, bound, "SCRAM-SHA-1-PLUS").await;
        let binding = [gs2.as_bytes(), data.unwrap_or(&key)].concat();
        let proof = Proof::new(PASSWORD, &first, &challenge, &binding).unwrap();
        let node = respond(&mut raw, &proof.response).await;
        let wanted = if good { "success" } else { "failure" };
        assert!(node.is(wanted, NS_SASL), "{gs2}, {data:?}: {node}");
    }
    // RFC 5802 §6: a flag that says we did not offer it was changed on its way.
    let downgraded = format!("y,,{first}");
    let told = attempt(&fortress, &auth("SCRAM-SHA-1", downgraded.as_bytes())).await;
    assert_eq!(told, "not-authorized");
    for (mechanism, flag) in [
        ("SCRAM-SHA-1", "p=tls-exporter"),
        ("SCRAM-SHA-1-PLUS", "n"),
        ("SCRAM-SHA-1-PLUS", "y"),
        ("SCRAM-SHA-1-PLUS", "p=tls-unique"),
        ("SCRAM-SHA-1-PLUS", "p=nothing"),
    ] {
        let message = format!("{flag},,{first}");
        attempt(&fortress, &auth(mechanism, message.as_bytes())).await;
    }
}

async fn a_login_behind_a_login_is_no_login(fortress: Arc<Fortress>) {
    let (who, victim) = (fortress.guest(), fortress.guest());
    for door in DOORS {
        for (stage, condition) in [
            (Stage::LoggedIn, "unsupported-stanza-type"),
            (Stage::Bound, "unsupported-stanza-type"),
        ] {
            let (mechanism, data) = openings(&victim, "", PASSWORD).remove(0);
            let bytes = auth(&mechanism, &data);
            refused_at(&fortress, (door, stage), &who, bytes.as_bytes(), condition).await;
        }
        // Behind the success, before the stream is opened anew.
        let mut raw = secured(&fortress, door).await;
        let (mechanism, data) = openings(&who, "", PASSWORD).remove(0);
        raw.send(auth(&mechanism, &data).as_bytes()).await.unwrap();
        assert!(raw.element().await.unwrap().is("success", NS_SASL));
        raw.begin_anew();
        raw.send(auth(&mechanism, &data).as_bytes()).await.unwrap();
        let items = raw.rest().await.unwrap();
        let told = items.iter().any(|item| match item {
            verona_testkit::reader::Item::Element(node) => node.is("error", NS_STREAM),
            _ => false,
        });
        assert!(told, "{items:?}");
    }
}

/// What a challenge says but for its nonce: salt, rounds and the rest.
fn without_nonce(challenge: &str) -> Vec<String> {
    challenge.split(',').filter(|part| !part.starts_with("r=")).map(str::to_owned).collect()
}

async fn an_unknown_account_is_challenged_like_a_known_one(fortress: Arc<Fortress>) {
    let known = fortress.guest();
    let absent = Address { local: "absent".to_owned(), ..known.clone() };
    for mechanism in SCRAM {
        let mut told = Vec::new();
        for who in [&known, &known, &absent, &absent] {
            let mut raw = secured(&fortress, Security::Tls).await;
            let challenge = challenged(&mut raw, who, "n,,", mechanism).await;
            told.push(without_nonce(&challenge));
            // Nor does the failure tell.
            let nonce = challenge.split(',').next().unwrap_or_default().to_owned();
            let proof = STANDARD.encode([1; 20]);
            let node = respond(&mut raw, &format!("c=biws,{nonce},p={proof}")).await;
            assert!(node.child("not-authorized", NS_SASL).is_some(), "{node}");
            assert_eq!(node.children().count(), 1);
        }
        // The salt stays, for one as for the other, and no two share it.
        assert_eq!(told[0], told[1]);
        assert_eq!(told[2], told[3]);
        assert_ne!(told[0][0], told[2][0]);
        let shape = |parts: &[String]| parts.iter().map(String::len).collect::<Vec<_>>();
        assert_eq!(shape(&told[0]), shape(&told[2]));
        assert_eq!(told[0][1..], told[2][1..]);
    }
    for who in [&known, &absent] {
        let wrong = format!("\0{}\0wrong", who.local);
        let mut raw = secured(&fortress, Security::Tls).await;
        raw.send(auth("PLAIN", wrong.as_bytes()).as_bytes()).await.unwrap();
        let node = raw.element().await.unwrap();
        let only: Vec<&str> = node.children().map(|child| child.name.as_str()).collect();
        assert_eq!(only, ["not-authorized"]);
    }
}

async fn many_failures_delay_the_answers_and_lock_nobody_out(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let from = fortress.gate(Security::Tls).from;
    let wrong = auth("PLAIN", format!("\0{}\0wrong", who.local).as_bytes());
    let mut failures = 0;
    let mut longest = std::time::Duration::ZERO;
    while failures < 22 {
        let gate = fortress.gate_from(Security::Tls, from);
        let mut raw = fortress.reach(&gate, Stage::Secured, &who).await.unwrap();
        for _ in 0..4 {
            let began = std::time::Instant::now();
            raw.send(wrong.as_bytes()).await.unwrap();
            failure(&mut raw).await;
            failures += 1;
            longest = longest.max(began.elapsed());
            if failures == 22 {
                break;
            }
        }
    }
    assert!(longest.as_millis() >= 1_900, "the longest answer took {longest:?}");
    // The account is open to its owner, from elsewhere at once.
    let began = std::time::Instant::now();
    at(&fortress, Security::Tls, Stage::Bound, &who).await;
    assert!(began.elapsed().as_millis() < 1_900);
}
