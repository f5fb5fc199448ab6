//! Dialback against forgers: each role with a peer that is played by hand.

use std::time::Duration;

use verona_core::limits::{Limits, VERIFYING_PER_ADDRESS_MAX, VERIFYING_PER_STREAM_MAX};
use verona_core::stream::server::dialback::{Dialbacks, Heard};
use verona_core::stream::server::pairs::{Grounds, Trust};
use verona_core::stream::server::state::Rules;
use verona_testkit::node::Node;
use verona_testkit::reader::Item;
use verona_xml::Tree;

use crate::rig::{
    BIDI, Hand, NS_DIALBACK, Network, answer, fault, greet, greet_secure, jid, pair, result, verify,
};

fn kind(node: &Node) -> Option<&str> {
    assert_eq!(node.ns, NS_DIALBACK, "{}", node.pretty(0));
    node.attr("type")
}

async fn ask(hand: &mut Hand, text: &str) -> Node {
    hand.send(text).await;
    hand.element().await
}

#[tokio::test]
async fn authoritative_server_knows_its_own_keys_only() {
    let network = Network::new();
    let site = network.site(&["capulet.lit", "rooms.capulet.lit"]);
    let key = site.key("verona.lit", "capulet.lit", "D6000");
    let other = network.site(&["montague.lit"]).key("verona.lit", "capulet.lit", "D6000");
    // Who asks need not be verified, nor say where it is from.
    let mut hand = site.call("").await;
    hand.open_secure("", "capulet.lit").await;
    let right = ask(&mut hand, &verify("verona.lit", "capulet.lit", "D6000", &key)).await;
    assert_eq!(kind(&right), Some("valid"));
    let addresses = (right.attr("from"), right.attr("to"), right.attr("id"));
    assert_eq!(addresses, (Some("capulet.lit"), Some("verona.lit"), Some("D6000")));
    for wrong in [
        // For another stream, for another receiver, swapped, for a sister, made by another secret.
        verify("verona.lit", "capulet.lit", "D6001", &key),
        verify("mantua.lit", "capulet.lit", "D6000", &key),
        verify("verona.lit", "rooms.capulet.lit", "D6000", &key),
        verify("verona.lit", "capulet.lit", "D6000", &other),
        verify("verona.lit", "capulet.lit", "D6000", &key.to_uppercase()),
    ] {
        assert_eq!(kind(&ask(&mut hand, &wrong).await), Some("invalid"), "{wrong}");
    }
    let swapped = verify("capulet.lit", "verona.lit", "D6000", &key);
    assert_eq!(fault(&ask(&mut hand, &swapped).await), Some("item-not-found"));
    let foreign = verify("verona.lit", "montague.lit", "D6000", &key);
    assert_eq!(fault(&ask(&mut hand, &foreign).await), Some("item-not-found"));
}

#[tokio::test]
async fn answers_that_nobody_has_asked_for_end_the_stream() {
    let network = Network::new();
    let site = network.site(&["capulet.lit"]);
    let before = "from='montague.lit' to='capulet.lit'";
    for text in [
        format!("<db:result {before} type='valid'/>"),
        format!("<db:result {before} type='invalid'/>"),
        format!("<db:result {before} type='error'/>"),
        format!("<db:verify {before} id='1' type='valid'/>"),
        format!("<db:verify {before} id='1' type='invalid'/>"),
    ] {
        for first in ["", BIDI] {
            let mut hand = site.call("").await;
            hand.open_secure("montague.lit", "capulet.lit").await;
            hand.send(&[first, &text].concat()).await;
            hand.expect_error("invalid-from").await;
        }
    }
    for (text, condition) in [
        ("<db:result from='montague.lit'>key</db:result>", "improper-addressing"),
        ("<db:result from='montague.lit' to='x@capulet.lit'>k</db:result>", "improper-addressing"),
        ("<db:result from='montague.lit' to='capulet.lit'/>", "bad-format"),
        ("<db:verify from='montague.lit' to='capulet.lit'>k</db:verify>", "bad-format"),
        ("<db:other from='montague.lit' to='capulet.lit'/>", "unsupported-stanza-type"),
    ] {
        let mut hand = site.call("").await;
        hand.open_secure("montague.lit", "capulet.lit").await;
        hand.send(text).await;
        hand.expect_error(condition).await;
    }
}

#[tokio::test]
async fn a_forged_key_ends_the_stream_of_who_shows_it() {
    let network = Network::new();
    let site = network.site(&["capulet.lit"]);
    let montague = network.site(&["montague.lit"]);
    let mut hand = site.call("").await;
    hand.open_secure("montague.lit", "capulet.lit").await;
    // A key that was good on another stream.
    let key = montague.key("capulet.lit", "montague.lit", "another");
    let told = ask(&mut hand, &result("montague.lit", "capulet.lit", &key)).await;
    assert_eq!(kind(&told), Some("invalid"));
    assert_eq!((told.attr("from"), told.attr("to")), (Some("capulet.lit"), Some("montague.lit")));
    assert_eq!(hand.raw.item().await.unwrap(), Item::Close);
    hand.raw.expect_closed().await.unwrap();
    assert_eq!(network.calls_to("montague.lit"), 1);
}

/// XEP-0344 §2.6.
#[tokio::test]
async fn who_has_the_certificate_of_the_authoritative_server_is_not_asked_about() {
    let network = Network::new();
    let site = network.site(&["capulet.lit"]);
    let mut ends = network.by_hand("montague.lit");
    for (certificate, same) in [("montague.lit", true), ("lit", false), ("", false)] {
        let mut hand = site.call(certificate).await;
        hand.open_secure("montague.lit", "capulet.lit").await;
        hand.send(&result("montague.lit", "capulet.lit", "any")).await;
        let mut raw = answer(&mut ends).await;
        greet_secure(&mut raw, "montague.lit", "S", "").await;
        match raw.item().await.unwrap() {
            Item::Close => assert!(same, "{certificate}"),
            Item::Element(question) => {
                assert!(!same && question.is("verify", NS_DIALBACK), "{certificate}");
                let id = question.attr("id").unwrap();
                let invalid = format!(
                    "<db:verify from='montague.lit' to='capulet.lit' id='{id}' type='invalid'/>"
                );
                raw.send(invalid.as_bytes()).await.unwrap();
            }
            Item::Open(_) => panic!("a header"),
        }
        let told = hand.element().await;
        assert_eq!(kind(&told), Some(if same { "valid" } else { "invalid" }), "{certificate}");
    }
}

#[tokio::test]
async fn a_key_is_asked_about_where_the_domain_is_not_who_shows_it() {
    let network = Network::new();
    let site = network.site(&["capulet.lit"]);
    let tybalt = network.site(&["tybalt.lit"]);
    let _montague = network.site(&["montague.lit"]);
    let mut hand = site.call("").await;
    let (id, _) = hand.open_secure("tybalt.lit", "capulet.lit").await;
    // Tybalt proves himself, and speaks for a third domain with a key of his own making.
    let key = tybalt.key("capulet.lit", "tybalt.lit", &id);
    let told = ask(&mut hand, &result("tybalt.lit", "capulet.lit", &key)).await;
    assert_eq!(kind(&told), Some("valid"));
    let mut stream = hand.established().await;
    let key = tybalt.key("capulet.lit", "montague.lit", &id);
    let heard = hear(&mut stream.dialbacks, &result("montague.lit", "capulet.lit", &key));
    assert_eq!(heard.say, "", "it is being verified");
    let heard = poll(&mut stream.dialbacks).await;
    // XEP-0220 §2.2.1: the pairs that are good keep their stream.
    assert!(heard.say.contains("type='error'") && heard.say.contains("<forbidden "));
    assert!(!heard.ends && heard.change.is_none());
    let romeo = jid("romeo@montague.lit");
    let juliet = jid("juliet@capulet.lit");
    assert!(stream.dialbacks.pairs.check(Some(&romeo), Some(&juliet)).is_err());
    assert_eq!(network.calls_to("montague.lit"), 1);
}

fn hear(dialbacks: &mut Dialbacks, text: &str) -> Heard {
    let text = text.replacen(' ', &format!(" xmlns:db='{NS_DIALBACK}' "), 1);
    let limits = Limits::default().before_login();
    let tree = Tree::parse(&text, "jabber:server", limits).unwrap();
    dialbacks.hear(tree.root()).expect("the stream goes on")
}

async fn poll(dialbacks: &mut Dialbacks) -> Heard {
    let polled = std::future::poll_fn(|context| dialbacks.poll(context));
    tokio::time::timeout(Duration::from_secs(10), polled).await.expect("in time")
}

#[tokio::test]
async fn a_stream_carries_many_pairs() {
    let network = Network::new();
    let mut site = network.site(&["capulet.lit", "rooms.capulet.lit"]);
    let montague = network.site(&["montague.lit", "rooms.montague.lit", "verona.lit"]);
    network.trust("montague.lit");
    network.trust("capulet.lit");
    let mut out = montague.establish("montague.lit", "capulet.lit").await.expect("a stream");
    let mut into = site.accepted().await;

    // XEP-0220 §2.6.1; XEP-0344 §2.4: the certificate covers it, nobody is asked.
    let rooms = pair("rooms.montague.lit", "capulet.lit");
    let key = out.dialbacks.ask(&rooms).expect("a key");
    assert!(out.dialbacks.ask(&rooms).is_none(), "it was asked for");
    assert!(hear(&mut into.dialbacks, &key).say.is_empty());
    let heard = poll(&mut into.dialbacks).await;
    let known = into.dialbacks.pairs.find(&pair("capulet.lit", "rooms.montague.lit")).unwrap();
    assert!(known.receives && matches!(known.trust.by, Grounds::Certificate(_)));
    assert_eq!(network.calls_to("rooms.montague.lit"), 0);
    assert!(!out.dialbacks.pairs.may_send(&rooms), "not before the answer");
    assert!(hear(&mut out.dialbacks, &heard.say).say.is_empty());
    assert!(out.dialbacks.pairs.may_send(&rooms));

    // The certificate does not cover this one, so its server is asked.
    let verona = pair("verona.lit", "capulet.lit");
    let key = out.dialbacks.ask(&verona).expect("a key");
    hear(&mut into.dialbacks, &key);
    let heard = poll(&mut into.dialbacks).await;
    hear(&mut out.dialbacks, &heard.say);
    assert!(out.dialbacks.pairs.may_send(&verona));
    let known = into.dialbacks.pairs.find(&pair("capulet.lit", "verona.lit")).unwrap();
    assert_eq!(known.trust, Trust::DIALBACK);
    assert_eq!(network.calls_to("verona.lit"), 1);
    // The same key again changes nothing and costs nothing.
    let heard = hear(&mut into.dialbacks, &key);
    assert!(heard.say.contains("type='valid'"));
    assert_eq!(network.calls_to("verona.lit"), 1);

    // XEP-0288 §2.2: backwards, too.
    let key = into.dialbacks.ask(&pair("rooms.capulet.lit", "montague.lit")).expect("a key");
    hear(&mut out.dialbacks, &key);
    let heard = poll(&mut out.dialbacks).await;
    assert!(heard.say.contains("type='valid'"), "{}", heard.say);
    hear(&mut into.dialbacks, &heard.say);
    assert!(into.dialbacks.pairs.may_send(&pair("rooms.capulet.lit", "montague.lit")));
    assert_eq!(into.dialbacks.pairs.len(), 4);
}

#[tokio::test]
async fn keys_that_cannot_be_judged_do_not_end_the_stream() {
    let network = Network::new();
    let site = network.site(&["capulet.lit"]);
    let mut hand = site.call("").await;
    hand.open_secure("montague.lit", "capulet.lit").await;
    for (text, condition) in [
        (result("montague.lit", "verona.lit", "key"), "item-not-found"),
        (result("capulet.lit", "capulet.lit", "key"), "not-acceptable"),
        (result("nowhere.lit", "capulet.lit", "key"), "remote-server-not-found"),
    ] {
        assert_eq!(fault(&ask(&mut hand, &text).await), Some(condition), "{text}");
    }
}

#[tokio::test]
async fn what_the_authoritative_server_says_must_be_about_the_question() {
    let network = Network::new();
    let site = network.site(&["capulet.lit"]);
    let mut ends = network.by_hand("montague.lit");
    let about = "from='montague.lit' to='capulet.lit'";
    for (says, condition) in [
        (format!("<db:verify {about} id='another' type='valid'/>"), "remote-server-not-found"),
        (
            "<db:verify from='verona.lit' to='capulet.lit' id='ID' type='valid'/>".to_owned(),
            "remote-server-not-found",
        ),
        (
            "<db:verify from='capulet.lit' to='montague.lit' id='ID' type='valid'/>".to_owned(),
            "remote-server-not-found",
        ),
        (format!("<db:result {about} type='valid'/>"), "remote-server-not-found"),
        (format!("<db:verify {about} id='ID'>key</db:verify>"), "remote-server-not-found"),
        (format!("<db:verify {about} id='ID' type='error'/>"), "remote-server-not-found"),
        (
            "<db:verify from='montague.lit' id='ID' type='valid'/>".to_owned(),
            "remote-server-timeout",
        ),
        ("<message/>".to_owned(), "remote-server-timeout"),
        ("</stream:stream>".to_owned(), "remote-server-timeout"),
    ] {
        let mut hand = site.call("").await;
        let (id, _) = hand.open_secure("montague.lit", "capulet.lit").await;
        hand.send(&result("montague.lit", "capulet.lit", "key")).await;
        let mut asked = answer(&mut ends).await;
        let theirs = greet_secure(&mut asked, "montague.lit", "theirs", "").await;
        assert_eq!(
            (theirs.attr("from"), theirs.attr("to")),
            (Some("capulet.lit"), Some("montague.lit"))
        );
        let question = asked.element().await.unwrap();
        assert!(question.is("verify", NS_DIALBACK));
        assert_eq!((question.attr("id"), &*question.text()), (Some(&*id), "key"));
        asked.send(says.replace("ID", &id).as_bytes()).await.unwrap();
        assert_eq!(fault(&hand.element().await), Some(condition), "{says}");
        // And the same key may be good another time, if it is good.
        hand.send(&result("montague.lit", "capulet.lit", "key")).await;
        let mut asked = answer(&mut ends).await;
        greet_secure(&mut asked, "montague.lit", "theirs", "").await;
        asked.element().await.unwrap();
        let right = format!("<db:verify {about} id='{id}' type='valid'/>");
        asked.send(right.as_bytes()).await.unwrap();
        assert_eq!(kind(&hand.element().await), Some("valid"));
        assert_eq!(hand.established().await.dialbacks.pairs.len(), 1);
    }
}

#[tokio::test]
async fn a_peer_has_only_so_many_keys_verified_at_a_time() {
    let network = Network::new();
    let site = network.site(&["capulet.lit"]);
    let mut ends = Vec::new();
    let mut hand = site.call("").await;
    hand.open_secure("montague.lit", "capulet.lit").await;
    for number in 0..=VERIFYING_PER_STREAM_MAX {
        let domain = format!("n{number}.lit");
        ends.push(network.by_hand(&domain));
        hand.send(&result(&domain, "capulet.lit", "key")).await;
    }
    let told = hand.element().await;
    assert_eq!(fault(&told), Some("resource-constraint"));
    let last = format!("n{VERIFYING_PER_STREAM_MAX}.lit");
    assert_eq!(told.attr("to"), Some(&*last));
    assert_eq!(network.calls_to(&last), 0);
    // The same one twice is one.
    hand.send(&result("n0.lit", "capulet.lit", "key")).await;
    assert_eq!(fault(&hand.element().await), Some("resource-constraint"));
    assert_eq!(network.calls_to("n0.lit"), 1);
}

#[tokio::test]
async fn one_address_has_only_so_many_keys_verified_at_a_time() {
    let network = Network::new();
    let site = network.site(&["capulet.lit"]);
    let mut silent = network.by_hand("montague.lit");
    let mut hands = Vec::new();
    let most = VERIFYING_PER_ADDRESS_MAX;
    for _ in 0..most {
        let mut hand = site.call("").await;
        hand.open_secure("montague.lit", "capulet.lit").await;
        hand.send(&result("montague.lit", "capulet.lit", "key")).await;
        hands.push((hand, answer(&mut silent).await));
    }
    let mut hand = site.call("").await;
    hand.open_secure("montague.lit", "capulet.lit").await;
    hand.send(&result("montague.lit", "capulet.lit", "key")).await;
    assert_eq!(fault(&hand.element().await), Some("resource-constraint"));
    // One of them gives up, and there is room again.
    let (_, asked) = hands.swap_remove(0);
    drop(asked);
    for _ in 0..100 {
        hand.send(&result("montague.lit", "capulet.lit", "key")).await;
        if let Ok(Ok(_)) =
            tokio::time::timeout(Duration::from_millis(300), hand.raw.element()).await
        {
            continue;
        }
        answer(&mut silent).await;
        return;
    }
    panic!("there is no room");
}

#[tokio::test]
async fn the_initiating_side_takes_answers_to_its_own_question_only() {
    let network = Network::new();
    let site = network.site(&["montague.lit"]);
    let mut ends = network.by_hand("capulet.lit");
    for (says, cause) in [
        ("<db:result from='verona.lit' to='montague.lit' type='valid'/>", "invalid-from"),
        ("<db:result from='capulet.lit' to='verona.lit' type='valid'/>", "invalid-from"),
        ("<db:result from='montague.lit' to='capulet.lit' type='valid'/>", "invalid-from"),
        ("<db:verify from='capulet.lit' to='montague.lit' id='S' type='valid'/>", "invalid-from"),
        // Nobody may ask us anything on a stream that goes one way.
        ("<db:result from='capulet.lit' to='montague.lit'>key</db:result>", "not-authorized"),
        ("<db:verify from='x.lit' to='montague.lit' id='1'>key</db:verify>", "not-authorized"),
        ("<message from='a@capulet.lit' to='b@montague.lit'/>", "not-authorized"),
        ("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "not-authorized"),
    ] {
        let by_hand = async {
            let mut raw = answer(&mut ends).await;
            greet_secure(&mut raw, "capulet.lit", "S", "").await;
            let key = raw.element().await.unwrap();
            assert_eq!(key.text(), site.key("capulet.lit", "montague.lit", "S"));
            raw.send(says.as_bytes()).await.unwrap();
            raw.expect_stream_error(cause).await.unwrap();
        };
        let (outcome, ()) = tokio::join!(site.establish("montague.lit", "capulet.lit"), by_hand);
        let (failure, _) = outcome.expect_err(says);
        assert!(failure.cause().contains(cause), "{says}: {failure}");
    }
}

#[tokio::test]
async fn an_answer_counts_once() {
    let network = Network::new();
    let site = network.site(&["montague.lit"]);
    let mut ends = network.by_hand("capulet.lit");
    let valid = "<db:result from='capulet.lit' to='montague.lit' type='valid'/>";
    let by_hand = async {
        let mut raw = answer(&mut ends).await;
        greet_secure(&mut raw, "capulet.lit", "S", "").await;
        raw.element().await.unwrap();
        raw.send(valid.as_bytes()).await.unwrap();
        raw
    };
    let (outcome, _raw) = tokio::join!(site.establish("montague.lit", "capulet.lit"), by_hand);
    let mut stream = outcome.expect("a stream");
    assert!(!stream.bidi && stream.managed.is_none());
    let text = valid.replacen(' ', &format!(" xmlns:db='{NS_DIALBACK}' "), 1);
    let tree = Tree::parse(&text, "jabber:server", Limits::default().before_login()).unwrap();
    assert!(stream.dialbacks.hear(tree.root()).is_err());
}

#[tokio::test]
async fn without_tls_dialback_is_done_only_where_that_is_allowed() {
    let network = Network::new();
    let open = Rules { require_tls: false, ..Rules::default() };
    let site = network.site_with(&["montague.lit"], Limits::default(), open);
    let strict = network.site(&["verona.lit"]);
    let mut ends = network.by_hand("capulet.lit");
    let valid = "<db:result from='capulet.lit' to='montague.lit' type='valid'/>";
    let by_hand = async {
        let mut raw = answer(&mut ends).await;
        greet(&mut raw, "capulet.lit", "S", "").await;
        assert!(raw.element().await.unwrap().is("result", NS_DIALBACK));
        raw.send(valid.as_bytes()).await.unwrap();
        raw
    };
    let (outcome, _raw) = tokio::join!(site.establish("montague.lit", "capulet.lit"), by_hand);
    assert!(outcome.is_ok());
    let by_hand = async {
        let mut raw = answer(&mut ends).await;
        greet(&mut raw, "capulet.lit", "S", "").await;
        raw.rest().await.unwrap()
    };
    let (outcome, rest) = tokio::join!(strict.establish("verona.lit", "capulet.lit"), by_hand);
    assert!(outcome.unwrap_err().0.cause().contains("offers no TLS"));
    assert_eq!(rest, [Item::Close], "nothing was said in plaintext");
}
