//! A stream that is opened, with a peer played by hand that is not as it should be.

use tokio::sync::mpsc::UnboundedReceiver;
use verona_core::limits::Limits;
use verona_core::stream::server::state::Rules;
use verona_testkit::node::NS_STREAM;
use verona_testkit::reader::Item;
use verona_xmpp::error::Condition;

use crate::rig::{
    End, NS_DIALBACK, NS_SASL, NS_TLS, Network, STARTTLS, answer, greet, greet_secure, header, pair,
};

const EXTERNAL: &str = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
                        <mechanism>EXTERNAL</mechanism></mechanisms>";

#[tokio::test]
async fn the_header_says_who_calls_whom() {
    let network = Network::new();
    let site = network.site(&["montague.lit"]);
    let mut ends = network.by_hand("capulet.lit");
    let by_hand = async {
        let mut raw = answer(&mut ends).await;
        let before = greet(&mut raw, "capulet.lit", "1", STARTTLS).await;
        assert!(raw.element().await.unwrap().is("starttls", NS_TLS));
        raw.send(format!("<proceed xmlns='{NS_TLS}'/>").as_bytes()).await.unwrap();
        let behind = greet(&mut raw, "capulet.lit", "2", EXTERNAL).await;
        for header in [before, behind] {
            let addresses = (header.attr("from"), header.attr("to"));
            assert_eq!(addresses, (Some("montague.lit"), Some("capulet.lit")));
            assert_eq!(header.attr("version"), Some("1.0"));
            assert_eq!(header.attr_ns(verona_testkit::node::NS_XML, "lang"), Some("en"));
        }
        let auth = raw.element().await.unwrap();
        assert!(auth.is("auth", NS_SASL), "{}", auth.pretty(0));
        assert_eq!((auth.attr("mechanism"), &*auth.text()), (Some("EXTERNAL"), "="));
        raw.send(format!("<success xmlns='{NS_SASL}'/>").as_bytes()).await.unwrap();
        greet(&mut raw, "capulet.lit", "3", "").await;
        raw
    };
    let (outcome, _raw) = tokio::join!(site.establish("montague.lit", "capulet.lit"), by_hand);
    let stream = outcome.expect("a stream");
    assert_eq!(&*stream.id, "3");
    assert!(!stream.bidi && stream.managed.is_none(), "not offered, not asked for");
    assert!(stream.dialbacks.pairs.may_send(&pair("montague.lit", "capulet.lit")));
    let swapped = pair("montague.lit", "capulet.lit");
    let check = stream.dialbacks.pairs.check(Some(&swapped.remote), Some(&swapped.local));
    assert!(check.is_err(), "without bidi the peer sends nothing");
}

#[tokio::test]
async fn who_does_not_take_the_certificate_may_take_dialback() {
    let network = Network::new();
    let site = network.site(&["montague.lit"]);
    let mut ends = network.by_hand("capulet.lit");
    let by_hand = async {
        let mut raw = answer(&mut ends).await;
        let features = format!("{EXTERNAL}<bidi xmlns='urn:xmpp:features:bidi'/>");
        greet_secure(&mut raw, "capulet.lit", "S", &features).await;
        assert!(raw.element().await.unwrap().is("bidi", "urn:xmpp:bidi"));
        assert!(raw.element().await.unwrap().is("auth", NS_SASL));
        let failure = format!("<failure xmlns='{NS_SASL}'><not-authorized/></failure>");
        raw.send(failure.as_bytes()).await.unwrap();
        // Bidi was asked for already.
        let key = raw.element().await.unwrap();
        assert!(key.is("result", NS_DIALBACK), "{}", key.pretty(0));
        assert_eq!(key.text(), site.key("capulet.lit", "montague.lit", "S"));
        let valid = "<db:result from='capulet.lit' to='montague.lit' type='valid'/>";
        raw.send(valid.as_bytes()).await.unwrap();
        raw
    };
    let (outcome, _raw) = tokio::join!(site.establish("montague.lit", "capulet.lit"), by_hand);
    let stream = outcome.expect("a stream");
    assert!(stream.bidi);
    assert!(stream.steps.iter().any(|step| step.contains("not-authorized")), "{:?}", stream.steps);
}

#[tokio::test]
async fn bytes_behind_proceed_are_never_read() {
    let network = Network::new();
    let site = network.site(&["montague.lit"]);
    let mut ends = network.by_hand("capulet.lit");
    let by_hand = async {
        let mut raw = answer(&mut ends).await;
        greet(&mut raw, "capulet.lit", "1", STARTTLS).await;
        assert!(raw.element().await.unwrap().is("starttls", NS_TLS));
        let injected = format!(
            "<proceed xmlns='{NS_TLS}'/><stream:stream xmlns='jabber:server' \
             xmlns:stream='{NS_STREAM}' version='1.0' id='x'><stream:features/>"
        );
        raw.send(injected.as_bytes()).await.unwrap();
        raw.expect_stream_error("policy-violation").await.unwrap();
    };
    let (outcome, ()) = tokio::join!(site.establish("montague.lit", "capulet.lit"), by_hand);
    assert!(outcome.is_err());
}

#[tokio::test]
async fn every_refusal_has_its_cause() {
    let network = Network::new();
    let site = network.site(&["montague.lit"]);
    let mut ends = network.by_hand("capulet.lit");
    let error = |name: &str| {
        format!(
            "<stream:error><{name} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>\
             </stream:stream>"
        )
    };
    let about = "from='capulet.lit' to='montague.lit'";
    let fault = format!(
        "<db:result {about} type='error'><error type='cancel'><item-not-found \
         xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>"
    );
    let later = fault.replace("item-not-found", "remote-server-timeout");
    for (says, cause, condition, retry) in [
        (error("host-unknown"), "host-unknown", Condition::RemoteServerNotFound, false),
        (error("host-gone"), "host-gone", Condition::RemoteServerNotFound, false),
        (error("policy-violation"), "policy-violation", Condition::RemoteServerTimeout, true),
        ("</stream:stream>".to_owned(), "closed", Condition::RemoteServerTimeout, true),
        (
            format!("<db:result {about} type='invalid'/>"),
            "SRV",
            Condition::InternalServerError,
            true,
        ),
        (fault, "item-not-found", Condition::RemoteServerTimeout, false),
        (later, "remote-server-timeout", Condition::RemoteServerTimeout, true),
        ("<<".to_owned(), "not-well-formed", Condition::RemoteServerTimeout, true),
    ] {
        let by_hand = async {
            let mut raw = answer(&mut ends).await;
            greet_secure(&mut raw, "capulet.lit", "S", "").await;
            raw.element().await.unwrap();
            raw.send(says.as_bytes()).await.unwrap();
            raw.rest().await.unwrap()
        };
        let (outcome, rest) = tokio::join!(site.establish("montague.lit", "capulet.lit"), by_hand);
        let (failure, former) = outcome.expect_err(&says);
        assert!(failure.cause().contains(cause), "{says}: {failure}");
        assert_eq!((failure.condition, failure.retry), (condition, retry), "{says}");
        assert!(former.is_none());
        assert_eq!(rest.last(), Some(&Item::Close), "{says}");
    }
}

#[tokio::test]
async fn who_says_nothing_does_not_answer() {
    let network = Network::new();
    let limits = Limits { bind_secs: 1, ..Limits::default() };
    let site = network.site_with(&["montague.lit"], limits, Rules::default());
    let mut ends = network.by_hand("capulet.lit");
    let silence = answer(&mut ends);
    let (outcome, _raw) = tokio::join!(site.establish("montague.lit", "capulet.lit"), silence);
    let (failure, _) = outcome.expect_err("no stream");
    assert!(failure.cause().contains("the server does not answer"), "{failure}");
    assert_eq!((failure.condition, failure.retry), (Condition::RemoteServerTimeout, true));
}

#[tokio::test]
async fn who_offers_nothing_that_leads_on_is_left() {
    let network = Network::new();
    let site = network.site(&["montague.lit"]);
    let mut ends = network.by_hand("capulet.lit");
    let by_hand = async {
        let mut raw = answer(&mut ends).await;
        greet(&mut raw, "capulet.lit", "1", STARTTLS).await;
        raw.element().await.unwrap();
        raw.send(format!("<proceed xmlns='{NS_TLS}'/>").as_bytes()).await.unwrap();
        raw.begin_anew();
        raw.item().await.unwrap();
        // It knows no dialback.
        let text = format!(
            "<stream:stream xmlns='jabber:server' xmlns:stream='{NS_STREAM}' id='2' \
             version='1.0'><stream:features><mechanisms xmlns='{NS_SASL}'>\
             <mechanism>PLAIN</mechanism></mechanisms></stream:features>"
        );
        raw.send(text.as_bytes()).await.unwrap();
        raw.rest().await.unwrap()
    };
    let (outcome, rest) = tokio::join!(site.establish("montague.lit", "capulet.lit"), by_hand);
    let (failure, _) = outcome.unwrap_err();
    assert!(failure.cause().contains("neither EXTERNAL nor dialback"), "{failure}");
    assert_eq!(rest, [Item::Close]);
}

fn moved(to: &str) -> String {
    format!(
        "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{to}\
         </see-other-host></stream:error></stream:stream>"
    )
}

/// Answers up to TLS, and then with the word that the server is elsewhere.
async fn send_elsewhere(ends: &mut UnboundedReceiver<End>, to: &str) {
    let mut raw = answer(ends).await;
    greet(&mut raw, "capulet.lit", "before", STARTTLS).await;
    assert!(raw.element().await.unwrap().is("starttls", NS_TLS));
    raw.send(format!("<proceed xmlns='{NS_TLS}'/>").as_bytes()).await.unwrap();
    raw.begin_anew();
    assert!(matches!(raw.item().await.unwrap(), Item::Open(_)));
    let header = header("capulet.lit", "montague.lit");
    raw.send([&header, &*moved(to)].concat().as_bytes()).await.unwrap();
    // It is let go in order.
    while !matches!(raw.item().await.unwrap(), Item::Close) {}
}

/// RFC 6120 §4.9.3.19: who has proven its domain may say that it is elsewhere, and there it has to
/// prove the same domain.
#[tokio::test]
async fn a_proven_server_may_send_us_elsewhere() {
    let network = Network::new();
    network.trust("capulet.lit");
    let site = network.site(&["montague.lit"]);
    let mut first = network.by_hand("capulet.lit");
    let mut second = network.by_hand("other.lit:5270");
    let by_hand = async {
        send_elsewhere(&mut first, "other.lit:5270").await;
        let mut raw = answer(&mut second).await;
        let theirs = greet_secure(&mut raw, "capulet.lit", "S", EXTERNAL).await;
        assert_eq!(theirs.attr("to"), Some("capulet.lit"), "the domain is the same");
        assert!(raw.element().await.unwrap().is("auth", NS_SASL));
        // It may think of it as late as this.
        raw.send(moved("third.lit").as_bytes()).await.unwrap();
    };
    let mut third = network.by_hand("third.lit");
    let at_last = async {
        let mut raw = answer(&mut third).await;
        greet_secure(&mut raw, "capulet.lit", "S", EXTERNAL).await;
        raw.element().await.unwrap();
        raw.send(format!("<success xmlns='{NS_SASL}'/>").as_bytes()).await.unwrap();
        greet(&mut raw, "capulet.lit", "S2", "").await;
        raw
    };
    let (outcome, (), _raw) =
        tokio::join!(site.establish("montague.lit", "capulet.lit"), by_hand, at_last);
    let stream = outcome.expect("a stream");
    let pairs: Vec<_> = stream.dialbacks.pairs.iter().map(|known| known.pair.clone()).collect();
    assert_eq!(pairs, [pair("montague.lit", "capulet.lit")]);
    let told = stream.steps.iter().any(|step| step.ends_with("is now at other.lit:5270"));
    assert!(told, "{:?}", stream.steps);
}

#[tokio::test]
async fn nobody_else_sends_us_anywhere_and_nobody_without_end() {
    let network = Network::new();
    let site = network.site(&["montague.lit"]);
    let mut ends = network.by_hand("capulet.lit");
    let mut other = network.by_hand("other.lit");
    // Its certificate proves nothing.
    let by_hand = send_elsewhere(&mut ends, "other.lit");
    let (outcome, ()) = tokio::join!(site.establish("montague.lit", "capulet.lit"), by_hand);
    let (failure, _) = outcome.unwrap_err();
    assert!(failure.cause().contains("see-other-host"), "{failure:?}");
    assert!(failure.retry && failure.elsewhere.is_none());
    network.trust("capulet.lit");
    // Nothing has proven it before TLS.
    let by_hand = async {
        let mut raw = answer(&mut ends).await;
        raw.begin_anew();
        assert!(matches!(raw.item().await.unwrap(), Item::Open(_)));
        let header = header("capulet.lit", "montague.lit");
        raw.send([&header, &*moved("other.lit")].concat().as_bytes()).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(site.establish("montague.lit", "capulet.lit"), by_hand);
    assert!(outcome.unwrap_err().0.cause().contains("see-other-host"));
    assert!(other.try_recv().is_err(), "nobody called there");
    // From one to the other and back.
    let by_hand = async {
        send_elsewhere(&mut ends, "other.lit").await;
        send_elsewhere(&mut other, "capulet.lit").await;
        send_elsewhere(&mut ends, "other.lit").await;
        send_elsewhere(&mut other, "capulet.lit").await;
    };
    let (outcome, ()) = tokio::join!(site.establish("montague.lit", "capulet.lit"), by_hand);
    let (failure, _) = outcome.unwrap_err();
    assert!(failure.retry && failure.cause().contains("too many"), "{failure:?}");
    assert!(ends.try_recv().is_err());
}
