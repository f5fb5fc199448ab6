//! Hostile stanzas on a bound stream (RFC 6120 §8, §10; RFC 6121): lies about the sender, loops of
//! errors, addresses that are none, and what strangers must not learn.

use std::sync::Arc;
use std::time::Duration;

use verona_testkit::address::Address;
use verona_testkit::fortress::{Fortress, Stage};
use verona_testkit::node::{NS_CLIENT, NS_STANZAS, Node};
use verona_testkit::place::Security;
use verona_testkit::raw::Raw;

use crate::helpers::{HOST, at, is_long, refused_at};

const NS_ROSTER: &str = "jabber:iq:roster";
const NS_SID: &str = "urn:xmpp:sid:0";

cases![
    the_server_says_who_a_stanza_is_from,
    a_broken_iq_is_a_bad_request,
    errors_and_results_are_never_answered,
    an_address_that_is_none_is_jid_malformed,
    what_is_no_stanza_ends_the_stream,
    ids_come_back_as_they_were_and_stay_within_their_quotes,
    unknown_payloads_arrive_unchanged,
    a_bare_carriage_return_reaches_nobody,
    order_is_kept_to_bare_and_full_addresses,
    strangers_cannot_tell_who_exists,
    anothers_roster_is_neither_read_nor_changed,
    a_forged_roster_push_reaches_nobody,
    roster_items_are_bounded,
    a_roster_has_at_most_one_mib,
    addresses_of_directed_presence_are_bounded_in_bytes,
    nobody_approves_on_anothers_behalf,
    repeated_requests_for_subscription_wait_as_one,
    forged_ids_and_delays_are_taken_out,
    forged_copies_stay_what_they_are,
    presence_without_a_subscription_tells_nothing,
    a_flood_of_stanzas_to_nobody_costs_little,
    what_is_stored_may_be_as_deep_as_what_is_sent,
];

async fn bound(fortress: &Fortress, who: &Address) -> Raw {
    let gate = fortress.gate(Security::Tls);
    fortress.reach(&gate, Stage::Bound, who).await.unwrap()
}

/// A guest with a session that is available.
async fn present(fortress: &Fortress) -> (Address, Raw) {
    let who = fortress.guest();
    let mut raw = bound(fortress, &who).await;
    raw.send(b"<presence/>").await.unwrap();
    raw.ping(HOST).await.unwrap();
    (who, raw)
}

/// The conditions of an error stanza.
fn condition(node: &Node) -> String {
    let error = node.child("error", NS_CLIENT);
    let condition = error.and_then(|error| error.children().find(|child| child.ns == NS_STANZAS));
    condition.map(|child| child.name.clone()).unwrap_or_default()
}

/// All that comes before the answer to a ping.
async fn until_pong(raw: &mut Raw) -> Vec<Node> {
    let ping = format!("<iq type='get' id='until' to='{HOST}'><ping xmlns='urn:xmpp:ping'/></iq>");
    raw.send(ping.as_bytes()).await.unwrap();
    let mut nodes = Vec::new();
    loop {
        let node = raw.element().await.unwrap();
        if node.attr("id") == Some("until") {
            return nodes;
        }
        nodes.push(node);
    }
}

async fn the_server_says_who_a_stanza_is_from(fortress: Arc<Fortress>) {
    let (attacker, mut raw) = present(&fortress).await;
    let (victim, mut heard) = present(&fortress).await;
    for from in [
        victim.bare(),
        victim.full(),
        attacker.bare(),
        HOST.to_owned(),
        String::new(),
        "@".to_owned(),
        format!("{}/other", attacker.bare()),
    ] {
        let text = format!("<message from='{from}' to='{}' id='m'/>", victim.full());
        raw.send(text.as_bytes()).await.unwrap();
        let text = format!("<presence from='{from}' to='{}'/>", victim.full());
        raw.send(text.as_bytes()).await.unwrap();
        until_pong(&mut raw).await;
        let nodes = until_pong(&mut heard).await;
        assert_eq!(nodes.len(), 2, "{nodes:?}");
        for node in nodes {
            assert_eq!(node.attr("from"), Some(attacker.full().as_str()), "{node}");
        }
    }
    // In another namespace it is no address, and goes along as it is.
    let text = format!("<message xmlns:x='y' x:from='z' to='{}' id='m'/>", victim.full());
    raw.send(text.as_bytes()).await.unwrap();
    let node = heard.element().await.unwrap();
    assert_eq!(node.attr("from"), Some(attacker.full().as_str()));
    assert_eq!(node.attr_ns("y", "from"), Some("z"));
}

async fn a_broken_iq_is_a_bad_request(fortress: Arc<Fortress>) {
    let (who, mut raw) = present(&fortress).await;
    let ping = "<ping xmlns='urn:xmpp:ping'/>";
    for to in ["", HOST, &who.bare(), "nobody@capulet.lit", "verona.lit"] {
        let to = if to.is_empty() { String::new() } else { format!(" to='{to}'") };
        for request in [
            format!("<iq type='get'{to}>{ping}</iq>"),
            format!("<iq id='1'{to}>{ping}</iq>"),
            format!("<iq id='1' type='GET'{to}>{ping}</iq>"),
            format!("<iq id='1' type=''{to}>{ping}</iq>"),
            format!("<iq id='1' type='get'{to}/>"),
            format!("<iq id='1' type='get'{to}>ping</iq>"),
            format!("<iq id='1' type='set'{to}>{ping}{ping}</iq>"),
        ] {
            raw.send(request.as_bytes()).await.unwrap();
            let node = raw.element().await.unwrap();
            assert_eq!(node.attr("type"), Some("error"), "{request}: {node}");
            assert_eq!(condition(&node), "bad-request", "{request}: {node}");
        }
    }
}

async fn errors_and_results_are_never_answered(fortress: Arc<Fortress>) {
    let (who, mut raw) = present(&fortress).await;
    let (other, mut heard) = present(&fortress).await;
    let error = format!("<error type='cancel'><conflict xmlns='{NS_STANZAS}'/></error>");
    let targets = [
        String::new(),
        HOST.to_owned(),
        format!("{HOST}/x"),
        who.bare(),
        format!("{}/absent", who.bare()),
        other.bare(),
        format!("{}/absent", other.bare()),
        "nobody@capulet.lit".to_owned(),
        "nobody@capulet.lit/x".to_owned(),
        "verona.lit".to_owned(),
        "@".to_owned(),
    ];
    for to in targets {
        let to = if to.is_empty() { String::new() } else { format!(" to='{to}'") };
        for answer in [
            format!("<iq type='result' id='1'{to}/>"),
            format!("<iq type='result' id='1'{to}><a xmlns='b'/><a xmlns='b'/></iq>"),
            format!("<iq type='result'{to}/>"),
            format!("<iq type='error' id='1'{to}>{error}</iq>"),
            format!("<iq type='error' id='1'{to}/>"),
            format!("<message type='error' id='1'{to}>{error}</message>"),
            format!("<message type='error'{to}/>"),
            format!("<presence type='error' id='1'{to}>{error}</presence>"),
        ] {
            raw.send(answer.as_bytes()).await.unwrap();
            let nodes = until_pong(&mut raw).await;
            assert!(nodes.is_empty(), "{answer}: {nodes:?}");
        }
    }
    // What goes to a bare address of another stays with the server.
    assert!(until_pong(&mut heard).await.is_empty());
}

async fn an_address_that_is_none_is_jid_malformed(fortress: Arc<Fortress>) {
    let (_, mut raw) = present(&fortress).await;
    let long = "x".repeat(1_024);
    let huge = "\u{fdfa}".repeat(60_000);
    for to in [
        String::new(),
        "@".to_owned(),
        "@capulet.lit".to_owned(),
        "/".to_owned(),
        "/x".to_owned(),
        "juliet@".to_owned(),
        "juliet@/x".to_owned(),
        "juliet@capulet.lit/".to_owned(),
        "juliet@@capulet.lit".to_owned(),
        "a@b@c".to_owned(),
        "ju liet@capulet.lit".to_owned(),
        "ju&quot;liet@capulet.lit".to_owned(),
        "ju&amp;liet@capulet.lit".to_owned(),
        "ju&apos;liet@capulet.lit".to_owned(),
        "ju&lt;liet@capulet.lit".to_owned(),
        "ju:liet@capulet.lit".to_owned(),
        "juliet@capulet..lit".to_owned(),
        "juliet@-capulet.lit".to_owned(),
        "juliet@[::1".to_owned(),
        "juliet@[1.2.3.4.5]".to_owned(),
        "juliet@capu let.lit".to_owned(),
        "juliet@xn--\u{e4}.lit".to_owned(),
        "juliet@capulet.lit/\u{7f}".to_owned(),
        "juliet@capulet.lit/&#9;".to_owned(),
        "\u{5d0}a@capulet.lit".to_owned(),
        "\u{ad}@capulet.lit".to_owned(),
        "\u{fb01}\u{2665}@capulet.lit".to_owned(),
        format!("{long}@capulet.lit"),
        format!("juliet@{long}"),
        format!("juliet@capulet.lit/{long}"),
        format!("{huge}@capulet.lit"),
        format!("juliet@{huge}"),
        format!("juliet@capulet.lit/{huge}"),
    ] {
        let shown: String = to.chars().take(40).collect();
        for (kind, stanza) in [
            ("message", format!("<message id='1' to='{to}'><body>x</body></message>")),
            ("presence", format!("<presence id='1' to='{to}' type='subscribe'/>")),
            ("iq", format!("<iq id='1' type='get' to='{to}'><q xmlns='x'/></iq>")),
        ] {
            raw.set_patience(Duration::from_secs(30));
            raw.send(stanza.as_bytes()).await.unwrap();
            let node = raw.element().await.unwrap();
            assert_eq!((node.name.as_str(), node.attr("id")), (kind, Some("1")), "{shown}: {node}");
            assert_eq!(condition(&node), "jid-malformed", "{shown}: {node}");
            if to.len() > 10_000 {
                // Once: each costs a second of what may be sent.
                break;
            }
        }
    }
}

async fn what_is_no_stanza_ends_the_stream(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    for bytes in [
        "<wherefore/>",
        "<Message/>",
        "<iq xmlns=''/>",
        "<message xmlns='jabber:server'/>",
        "<presence xmlns='jabber:client:x'/>",
        "<stream:features/>",
        "<stream:message/>",
        "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "<route xmlns='jabber:component:accept'/>",
    ] {
        let place = (Security::Tls, Stage::Bound);
        let condition = "unsupported-stanza-type";
        refused_at(&fortress, place, &who, bytes.as_bytes(), condition).await;
    }
}

async fn ids_come_back_as_they_were_and_stay_within_their_quotes(fortress: Arc<Fortress>) {
    let (_, mut raw) = present(&fortress).await;
    let long = "x".repeat(20_000);
    for (written, meant) in [
        ("\"a'b\"", "a'b"),
        ("'a\"b'", "a\"b"),
        ("'&apos;&gt;&lt;x/&gt;'", "'><x/>"),
        ("\"&quot;&#10;&#x9;&amp;amp;\"", "\"\n\t&amp;"),
        ("' id='", " id="),
        ("'/><message to=\"x\"/>'", "/><message to=\"x\"/>"),
        ("'\u{202e}\u{10ffff}'", "\u{202e}\u{10ffff}"),
        ("''", ""),
        (format!("'{long}'").as_str(), long.as_str()),
    ] {
        if written.contains('<') {
            continue;
        }
        for to in ["nobody@capulet.lit", "verona.lit", HOST] {
            let request = format!("<iq type='get' to='{to}' id={written}><q xmlns='x'/></iq>");
            raw.send(request.as_bytes()).await.unwrap();
            let node = raw.element().await.unwrap();
            assert_eq!(node.attr("id"), Some(meant), "{written}: {node}");
            assert_eq!(node.attr("type"), Some("error"));
        }
    }
}

async fn unknown_payloads_arrive_unchanged(fortress: Arc<Fortress>) {
    let (_, mut raw) = present(&fortress).await;
    let (victim, mut heard) = present(&fortress).await;
    for payload in [
        "<a xmlns='x'><b xmlns=''/><b xmlns='x'/>t</a>",
        "<p:a xmlns:p='x' p:q='1' q='2' xml:lang='de'><p:b/><b/></p:a>",
        "<a xmlns='x' b='&#10;&#13;&#9;&lt;&quot;'>&#13;\n &amp; ]]&gt;</a>",
        "<a xmlns='x'><![CDATA[<!-- <b> ]] &amp; ]]></a>",
        "<a xmlns='x&amp;y'><b/></a>",
        "<a xmlns='\u{e4}'><\u{e4}\u{10000}/></a>",
        "<a xmlns='x'><a><a><a><a><a><a><a/></a></a></a></a></a></a></a>",
        "<error xmlns='jabber:client' type='cancel'/>",
        "text before <a xmlns='x'/> and behind",
    ] {
        let text = format!(
            "<message id='1' xmlns:o='outer' o:mark='1' to='{}'>{payload}</message>",
            victim.full()
        );
        raw.send(text.as_bytes()).await.unwrap();
        let node = heard.element().await.unwrap();
        let sent = verona_testkit::reader::parse_elements(&text, NS_CLIENT).unwrap().remove(0).1;
        assert_eq!(node.content, sent.content, "{payload}");
        assert_eq!(node.attr_ns("outer", "mark"), Some("1"));
    }
}

/// rxml and with it a family of clients do not read `a='b\rc'`, which is well-formed.
async fn a_bare_carriage_return_reaches_nobody(fortress: Arc<Fortress>) {
    let (_, mut raw) = present(&fortress).await;
    let (victim, mut heard) = present(&fortress).await;
    let to = victim.full();
    for stanza in [
        format!("<message id='a\rb' to='{to}'/>"),
        format!("<message\rid='a b'\r\nto='{to}'\r/>"),
        format!("<message id='a b' to='{to}'><x xmlns='y' z='\r'>\r<![CDATA[\r]]></x></message>"),
        format!("<presence id='a\r\nb' to='{to}'><status xml:lang='\r'>\r\n</status></presence>"),
    ] {
        raw.send(stanza.as_bytes()).await.unwrap();
        let node = heard.element().await.unwrap();
        assert_eq!(node.attr("id"), Some("a b"), "{node}");
        assert!(!node.to_string().contains('\r'));
    }
}

async fn order_is_kept_to_bare_and_full_addresses(fortress: Arc<Fortress>) {
    let (_, mut raw) = present(&fortress).await;
    let (victim, mut heard) = present(&fortress).await;
    let count = if is_long() { 20_000 } else { 1_500 };
    let mut text = String::new();
    for number in 0..count {
        let to = if number % 2 == 0 { victim.bare() } else { victim.full() };
        text.push_str(&format!("<message to='{to}' type='chat' id='{number}'/>"));
    }
    let sending = tokio::spawn(async move {
        raw.set_patience(Duration::from_secs(110));
        raw.send(text.as_bytes()).await.map(|()| raw)
    });
    heard.set_patience(Duration::from_secs(20));
    for number in 0..count {
        let node = heard.element().await.unwrap();
        assert_eq!(node.attr("id"), Some(number.to_string().as_str()));
    }
    sending.await.unwrap().unwrap();
}

/// What comes back for a stanza to somebody, with all addresses taken out.
async fn reaction(raw: &mut Raw, who: &Address, stanza: &str) -> Vec<String> {
    for (part, with) in [("BARE", who.bare()), ("FULL", who.full())] {
        if stanza.contains(part) {
            raw.send(stanza.replace(part, &with).as_bytes()).await.unwrap();
        }
    }
    let nodes = until_pong(raw).await;
    let named = nodes.iter().map(|node| node.to_string().replace(&who.full(), "SOMEBODY/HERE"));
    named.map(|text| text.replace(&who.bare(), "SOMEBODY")).collect()
}

async fn strangers_cannot_tell_who_exists(fortress: Arc<Fortress>) {
    let (_, mut raw) = present(&fortress).await;
    let (online, mut heard) = present(&fortress).await;
    let offline = fortress.guest();
    let absent = Address { local: "nonesuch".to_owned(), ..offline.clone() };
    let elsewhere = Address { resource: "elsewhere".to_owned(), ..online.clone() };
    let mut stanzas = Vec::new();
    for payload in [
        "<ping xmlns='urn:xmpp:ping'/>",
        "<query xmlns='http://jabber.org/protocol/disco#info'/>",
        "<query xmlns='http://jabber.org/protocol/disco#items'/>",
        "<query xmlns='jabber:iq:roster'/>",
        "<query xmlns='jabber:iq:last'/>",
        "<query xmlns='jabber:iq:version'/>",
        "<query xmlns='jabber:iq:private'><x xmlns='y'/></query>",
        "<query xmlns='jabber:iq:register'/>",
        "<query xmlns='urn:xmpp:mam:2'/>",
        "<blocklist xmlns='urn:xmpp:blocking'/>",
        "<time xmlns='urn:xmpp:time'/>",
        "<wherefore xmlns='art:thou'/>",
    ] {
        for kind in ["get", "set"] {
            for to in ["BARE", "FULL"] {
                stanzas.push(format!("<iq type='{kind}' id='q' to='{to}'>{payload}</iq>"));
            }
        }
    }
    for kind in ["", " type='chat'", " type='headline'", " type='groupchat'"] {
        stanzas.push(format!("<message{kind} id='m' to='BARE'><body>x</body></message>"));
    }
    stanzas.push("<message type='chat' id='m' to='FULL'/>".to_owned());
    for kind in ["", " type='probe'", " type='unavailable'", " type='unsubscribe'"] {
        stanzas.push(format!("<presence{kind} id='p' to='BARE'/>"));
        stanzas.push(format!("<presence{kind} id='p' to='FULL'/>"));
    }
    stanzas.push("<presence type='subscribed' id='p' to='BARE'/>".to_owned());
    stanzas.push("<presence type='unsubscribed' id='p' to='BARE'/>".to_owned());
    for stanza in stanzas {
        let wanted = reaction(&mut raw, &absent, &stanza).await;
        for who in [&offline, &online, &elsewhere] {
            let told = reaction(&mut raw, who, &stanza).await;
            assert_eq!(told, wanted, "{stanza} to {}", who.full());
        }
    }
    drop(until_pong(&mut heard).await);
}

async fn anothers_roster_is_neither_read_nor_changed(fortress: Arc<Fortress>) {
    let (_, mut raw) = present(&fortress).await;
    let (victim, mut heard) = present(&fortress).await;
    let item = format!("<query xmlns='{NS_ROSTER}'><item jid='friend@capulet.lit'/></query>");
    heard.ask("", "set", &item).await.unwrap();
    for to in [victim.bare(), victim.full()] {
        let node = raw.ask(&to, "get", &format!("<query xmlns='{NS_ROSTER}'/>")).await.unwrap();
        assert_eq!(node.attr("type"), Some("error"), "{node}");
        assert!(!node.to_string().contains("friend"));
        let node = raw.ask(&to, "set", &item.replace("friend", "foe")).await.unwrap();
        assert!(
            ["forbidden", "service-unavailable"].contains(&condition(&node).as_str()),
            "{node}"
        );
    }
    let roster = heard.ask("", "get", &format!("<query xmlns='{NS_ROSTER}'/>")).await.unwrap();
    assert_eq!(roster.child("query", NS_ROSTER).unwrap().children().count(), 1);
}

async fn a_forged_roster_push_reaches_nobody(fortress: Arc<Fortress>) {
    let (_, mut raw) = present(&fortress).await;
    let (victim, mut heard) = present(&fortress).await;
    let push = format!(
        "<query xmlns='{NS_ROSTER}'><item jid='foe@capulet.lit' subscription='both'/></query>"
    );
    for to in [victim.bare(), victim.full()] {
        for from in [victim.bare(), victim.full(), String::new()] {
            let text = format!("<iq type='set' id='p' from='{from}' to='{to}'>{push}</iq>");
            raw.send(text.as_bytes()).await.unwrap();
            assert_eq!(raw.element().await.unwrap().attr("type"), Some("error"));
        }
    }
    assert!(until_pong(&mut heard).await.is_empty());
}

async fn roster_items_are_bounded(fortress: Arc<Fortress>) {
    let (who, mut raw) = present(&fortress).await;
    let groups =
        |count: usize| -> String { (0..count).map(|n| format!("<group>{n}</group>")).collect() };
    let long = "x".repeat(1_024);
    for (item, wanted) in [
        (format!("<item jid='a@b' name='{long}'/>"), "not-acceptable"),
        (format!("<item jid='a@b'><group>{long}</group></item>"), "not-acceptable"),
        ("<item jid='a@b'><group/></item>".to_owned(), "not-acceptable"),
        (format!("<item jid='a@b'>{}</item>", groups(51)), "not-acceptable"),
        ("<item jid='a@b'><group>x</group><group>x</group></item>".to_owned(), "bad-request"),
        ("<item jid='a@b'/><item jid='c@d'/>".to_owned(), "bad-request"),
        ("<item/>".to_owned(), "bad-request"),
        ("<wherefore/>".to_owned(), "bad-request"),
        (String::new(), "bad-request"),
        ("<item jid='@'/>".to_owned(), "jid-malformed"),
        (format!("<item jid='{}'/>", who.bare()), "not-allowed"),
        ("<item jid='absent@b' subscription='remove'/>".to_owned(), "item-not-found"),
    ] {
        let query = format!("<query xmlns='{NS_ROSTER}'>{item}</query>");
        let node = raw.ask("", "set", &query).await.unwrap();
        assert_eq!(condition(&node), wanted, "{}", item.chars().take(60).collect::<String>());
    }
    // Neither the state of a subscription nor an approval is a client's to set.
    let query = format!(
        "<query xmlns='{NS_ROSTER}'><item jid='a@b' subscription='both' ask='subscribe' \
         approved='true'/></query>"
    );
    raw.ask("", "set", &query).await.unwrap();
    let roster = raw.ask("", "get", &format!("<query xmlns='{NS_ROSTER}'/>")).await.unwrap();
    let item = roster.child("query", NS_ROSTER).unwrap().children().next().unwrap().clone();
    assert_eq!(item.attr("subscription"), Some("none"), "{item}");
    assert!(item.attr("ask").is_none() && item.attr("approved").is_none(), "{item}");
}

async fn a_roster_has_at_most_one_mib(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    // Two sessions, since one may send no more than half of it at once.
    let mut refused = 0;
    let group = "x".repeat(1_000);
    for session in 0..2 {
        let who = Address { resource: session.to_string(), ..who.clone() };
        let mut raw = bound(&fortress, &who).await;
        for number in 0..12 {
            let groups: String = (0..49).map(|n| format!("<group>{n}{group}</group>")).collect();
            let item = format!("<item jid='{session}-{number}@capulet.lit'>{groups}</item>");
            let query = format!("<query xmlns='{NS_ROSTER}'>{item}</query>");
            let answer = raw.ask("", "set", &query).await.unwrap();
            if answer.attr("type") == Some("error") {
                assert_eq!(condition(&answer), "resource-constraint");
                refused += 1;
            }
        }
        // What is there can be made smaller.
        let query = format!("<query xmlns='{NS_ROSTER}'><item jid='0-0@capulet.lit'/></query>");
        let answer = raw.ask("", "set", &query).await.unwrap();
        assert_eq!(answer.attr("type"), Some("result"), "{answer}");
    }
    assert!((1..5).contains(&refused), "{refused} of 24 items refused");
}

async fn addresses_of_directed_presence_are_bounded_in_bytes(fortress: Arc<Fortress>) {
    let (_, mut raw) = present(&fortress).await;
    let long = "x".repeat(1_000);
    let mut text = String::new();
    for number in 0..60 {
        text.push_str(&format!("<presence to='{number}{long}@capulet.lit/{long}' id='{number}'/>"));
    }
    raw.send(text.as_bytes()).await.unwrap();
    let refused = until_pong(&mut raw).await;
    assert!((20..40).contains(&refused.len()), "{} of 60 refused", refused.len());
    assert!(refused.iter().all(|node| condition(node) == "resource-constraint"));
}

async fn nobody_approves_on_anothers_behalf(fortress: Arc<Fortress>) {
    let (attacker, mut raw) = present(&fortress).await;
    let (victim, mut heard) = present(&fortress).await;
    // Approvals that were not asked for, and requests in the name of the victim.
    for kind in ["subscribed", "subscribe", "unsubscribed"] {
        for from in [victim.bare(), attacker.bare()] {
            let text = format!("<presence type='{kind}' from='{from}' to='{}'/>", victim.bare());
            raw.send(text.as_bytes()).await.unwrap();
        }
        let text = format!("<presence type='{kind}' from='{}' to='x@capulet.lit'/>", victim.bare());
        raw.send(text.as_bytes()).await.unwrap();
    }
    until_pong(&mut raw).await;
    for node in until_pong(&mut heard).await {
        assert_eq!(node.attr("from"), Some(attacker.bare().as_str()), "{node}");
    }
    let roster = heard.ask("", "get", &format!("<query xmlns='{NS_ROSTER}'/>")).await.unwrap();
    for item in roster.child("query", NS_ROSTER).unwrap().children() {
        assert_eq!(item.attr("subscription"), Some("none"), "{item}");
    }
    // Nor does the attacker see the presence of the victim now.
    heard.send(b"<presence><status>secret</status></presence>").await.unwrap();
    until_pong(&mut heard).await;
    assert!(!until_pong(&mut raw).await.iter().any(|node| node.to_string().contains("secret")));
}

async fn repeated_requests_for_subscription_wait_as_one(fortress: Arc<Fortress>) {
    let (attacker, mut raw) = present(&fortress).await;
    let victim = fortress.guest();
    let status = "x".repeat(9_000);
    for number in 0..30 {
        let text = format!(
            "<presence type='subscribe' id='{number}' to='{}'><status>{status}</status></presence>",
            victim.bare()
        );
        raw.send(text.as_bytes()).await.unwrap();
    }
    until_pong(&mut raw).await;
    // RFC 6121 §3.1.3: one, at each login, and no more of it than is sensible.
    for _ in 0..2 {
        let mut heard = bound(&fortress, &victim).await;
        heard.send(b"<presence/>").await.unwrap();
        let nodes = until_pong(&mut heard).await;
        let requests: Vec<&Node> =
            nodes.iter().filter(|node| node.attr("type") == Some("subscribe")).collect();
        assert_eq!(requests.len(), 1, "{nodes:?}");
        assert_eq!(requests[0].attr("from"), Some(attacker.bare().as_str()));
        assert!(requests[0].to_string().len() < 3_000);
    }
}

async fn forged_ids_and_delays_are_taken_out(fortress: Arc<Fortress>) {
    let (_, mut raw) = present(&fortress).await;
    let (victim, mut heard) = present(&fortress).await;
    let (bare, upper) = (victim.bare(), victim.bare().to_uppercase());
    // The address in another form, written with references, twice, and behind another name.
    let forged = format!(
        "<stanza-id xmlns='{NS_SID}' id='1' by='{bare}'/>\
         <stanza-id xmlns='{NS_SID}' id='2' by='{bare}'/>\
         <stanza-id xmlns='{NS_SID}' id='3' by='{upper}'/>\
         <stanza-id xmlns='{NS_SID}' id='4' by='&#x{:x};{}'/>\
         <x:stanza-id xmlns:x='{NS_SID}' id='5' by='{bare}'/>\
         <stanza-id xmlns='urn:xmpp:sid&#58;0' id='6' by='{bare}'/>\
         <delay xmlns='urn:xmpp:delay' from='{HOST}' stamp='2002-09-10T23:08:25Z'/>\
         <delay xmlns='urn:xmpp:delay' from='{bare}' stamp='2002-09-10T23:08:25Z'/>",
        u32::from(bare.chars().next().unwrap_or('x')),
        &bare[1..],
    );
    for to in [victim.bare(), victim.full()] {
        let text = format!("<message type='chat' to='{to}'><body>x</body>{forged}</message>");
        raw.send(text.as_bytes()).await.unwrap();
        let node = heard.element().await.unwrap();
        let ids: Vec<&Node> = node.children().filter(|c| c.is("stanza-id", NS_SID)).collect();
        assert!(ids.len() <= 1, "{node}");
        for id in ids {
            assert!(id.attr("id").is_some_and(|id| id.len() > 5), "{node}");
        }
        assert!(node.children().all(|child| child.name != "delay"), "{node}");
    }
}

async fn forged_copies_stay_what_they_are(fortress: Arc<Fortress>) {
    let (attacker, mut raw) = present(&fortress).await;
    let (victim, mut heard) = present(&fortress).await;
    for kind in ["received", "sent"] {
        // CVE-2017-5589: a copy that did not come from the own account.
        let text = format!(
            "<message to='{0}' from='{0}' type='chat'><{kind} xmlns='urn:xmpp:carbons:2'>\
             <forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' \
             from='friend@capulet.lit' to='{0}'><body>lend me money</body></message></forwarded>\
             </{kind}></message>",
            victim.bare()
        );
        raw.send(text.as_bytes()).await.unwrap();
        until_pong(&mut raw).await;
        for node in until_pong(&mut heard).await {
            // Whatever arrives says whom it is from: a client that looks will not believe it.
            assert_eq!(node.attr("from"), Some(attacker.full().as_str()), "{node}");
        }
    }
}

async fn presence_without_a_subscription_tells_nothing(fortress: Arc<Fortress>) {
    let (_, mut raw) = present(&fortress).await;
    let (victim, mut heard) = present(&fortress).await;
    heard.send(b"<presence><status>secret</status></presence>").await.unwrap();
    until_pong(&mut heard).await;
    for stanza in [
        format!("<presence type='probe' to='{}'/>", victim.bare()),
        format!("<presence type='probe' to='{}'/>", victim.full()),
        format!("<presence to='{}'/>", victim.bare()),
        format!("<presence type='subscribe' to='{}'/>", victim.bare()),
        format!(
            "<iq type='get' id='1' to='{}'><query xmlns='jabber:iq:last'/></iq>",
            victim.bare()
        ),
        format!("<iq type='get' id='1' to='{}'><ping xmlns='urn:xmpp:ping'/></iq>", victim.full()),
    ] {
        raw.send(stanza.as_bytes()).await.unwrap();
        for node in until_pong(&mut raw).await {
            let text = node.to_string();
            assert!(
                !text.contains("secret") && !text.contains(&victim.full())
                    || node.attr("type") == Some("error"),
                "{stanza}: {text}"
            );
        }
    }
}

async fn a_flood_of_stanzas_to_nobody_costs_little(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let mut raw = at(&fortress, Security::StartTls, Stage::Bound, &who).await;
    let mut text = String::new();
    for number in 0..1_500 {
        text.push_str(&format!("<message type='chat' to='n{number}@capulet.lit'/>"));
    }
    raw.send(text.as_bytes()).await.unwrap();
    raw.set_patience(Duration::from_secs(20));
    raw.ping(HOST).await.unwrap();
}

async fn what_is_stored_may_be_as_deep_as_what_is_sent(fortress: Arc<Fortress>) {
    let (who, mut raw) = present(&fortress).await;
    // The stanza, what carries it, and what is within: 128 levels.
    let deep = |levels: usize| {
        let (begin, end) = ("<a>".repeat(levels - 1), "</a>".repeat(levels - 1));
        format!("<a xmlns='deep'>{begin}{end}</a>")
    };
    let private = "jabber:iq:private";
    let set = format!("<query xmlns='{private}'>{}</query>", deep(126));
    assert_eq!(raw.ask("", "set", &set).await.unwrap().attr("type"), Some("result"));
    let get = format!("<query xmlns='{private}'><a xmlns='deep'/></query>");
    let node = raw.ask("", "get", &get).await.unwrap();
    assert_eq!(node.to_string().matches("<a").count(), 126);
    let card = format!("<vCard xmlns='vcard-temp'>{}</vCard>", deep(126));
    raw.ask("", "set", &card).await.unwrap();
    raw.ask("", "get", "<vCard xmlns='vcard-temp'/>").await.unwrap();
    // Kept while nobody is there, and read again by the next login and by a query.
    let absent = fortress.guest();
    let text =
        format!("<message to='{}' type='chat'><body/>{}</message>", absent.bare(), deep(127));
    raw.send(text.as_bytes()).await.unwrap();
    until_pong(&mut raw).await;
    let mut heard = bound(&fortress, &absent).await;
    heard.send(b"<presence/>").await.unwrap();
    let nodes = until_pong(&mut heard).await;
    assert!(nodes.iter().any(|node| node.to_string().matches("<a").count() == 127));
    heard.ask("", "set", "<query xmlns='urn:xmpp:mam:2'/>").await.unwrap();
    drop(who);
}
