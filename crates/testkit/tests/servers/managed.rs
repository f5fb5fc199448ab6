//! XEP-0198 between servers: what is asked of a peer, and what a peer may ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use verona_core::mailbox::StanzaEnd;
use verona_core::stream::management::Managed;
use verona_core::stream::server::outgoing::{Attempt, establish};
use verona_core::stream::server::resumable::{Resumable, resumed};
use verona_testkit::node::Node;
use verona_testkit::raw::Raw;

use crate::rig::{End, NS_SASL, Network, Site, answer, greet, greet_secure, pair};

const NS_SM: &str = "urn:xmpp:sm:3";
const SM: &str = "<sm xmlns='urn:xmpp:sm:3'/>";
const EXTERNAL: &str = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
                        <mechanism>EXTERNAL</mechanism></mechanisms>";

/// The counters of a stream that could be resumed, on which so many stanzas were sent.
fn former(sent: usize) -> Box<Managed> {
    let mut managed = Managed::new("former".into(), 60);
    managed.received = 7;
    for number in 0..sent {
        let text = number.to_string();
        let at = u32::try_from(text.len()).unwrap();
        managed.sent(text.as_bytes(), &[StanzaEnd { at, seq: 0 }]);
    }
    Box::new(managed)
}

async fn up_to_features(ends: &mut UnboundedReceiver<End>, bidi: bool) -> Raw {
    let mut raw = answer(ends).await;
    let offer = if bidi { "<bidi xmlns='urn:xmpp:features:bidi'/>" } else { "" };
    greet_secure(&mut raw, "capulet.lit", "S", &[EXTERNAL, offer].concat()).await;
    if bidi {
        raw.element().await.unwrap();
    }
    assert!(raw.element().await.unwrap().is("auth", NS_SASL));
    raw.send(format!("<success xmlns='{NS_SASL}'/>").as_bytes()).await.unwrap();
    greet(&mut raw, "capulet.lit", "S2", SM).await;
    raw
}

async fn element(raw: &mut Raw) -> Node {
    raw.element().await.unwrap()
}

async fn again(site: &Site, former: Box<Managed>) -> Attempt {
    let pair = pair("montague.lit", "capulet.lit");
    establish(&site.server, &pair, Some(former)).await
}

#[tokio::test]
async fn a_stream_is_managed_without_waiting_for_the_answer() {
    let network = Network::new();
    let site = network.site(&["montague.lit"]);
    let mut ends = network.by_hand("capulet.lit");
    let by_hand = async {
        let mut raw = up_to_features(&mut ends, false).await;
        let enable = element(&mut raw).await;
        assert!(enable.is("enable", NS_SM));
        assert_eq!(enable.attr("resume"), Some("true"));
        raw
    };
    let (outcome, _raw) = tokio::join!(site.establish("montague.lit", "capulet.lit"), by_hand);
    let stream = outcome.expect("nobody has answered, and it stands");
    assert!(stream.managed.is_some() && !stream.resumed && stream.former.is_none());
}

#[tokio::test]
async fn a_stream_is_resumed_with_its_counters() {
    let network = Network::new();
    let site = network.site(&["montague.lit"]);
    let mut ends = network.by_hand("capulet.lit");
    let by_hand = async {
        let mut raw = up_to_features(&mut ends, true).await;
        let resume = element(&mut raw).await;
        assert!(resume.is("resume", NS_SM));
        assert_eq!((resume.attr("previd"), resume.attr("h")), (Some("former"), Some("7")));
        // A stanza that comes in between is not lost.
        let early = "<message from='capulet.lit' to='montague.lit'/>";
        let resumed = format!("<resumed xmlns='{NS_SM}' previd='former' h='2'/>");
        raw.send([early, &resumed].concat().as_bytes()).await.unwrap();
        raw
    };
    let (outcome, _raw) = tokio::join!(again(&site, former(3)), by_hand);
    let stream = outcome.expect("a stream");
    assert!(stream.resumed && stream.former.is_none());
    let managed = stream.managed.unwrap();
    assert_eq!((managed.acked, managed.received), (2, 7));
    assert_eq!(managed.unacked_text(), b"2", "only what the peer has not handled");
    assert_eq!(stream.early.len(), 1);
    assert!(stream.early[0].root().is("message", "jabber:server"));
}

#[tokio::test]
async fn what_cannot_be_resumed_comes_back() {
    let network = Network::new();
    let site = network.site(&["montague.lit"]);
    let mut ends = network.by_hand("capulet.lit");
    let failed = "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";
    for (h, left) in [("", &b"012"[..]), (" h='2'", b"2"), (" h='9'", b"012")] {
        let by_hand = async {
            let mut raw = up_to_features(&mut ends, false).await;
            assert!(element(&mut raw).await.is("resume", NS_SM));
            let failed = format!("<failed xmlns='{NS_SM}'{h}>{failed}");
            raw.send(failed.as_bytes()).await.unwrap();
            assert!(element(&mut raw).await.is("enable", NS_SM), "it is managed anew");
            raw
        };
        let (outcome, _raw) = tokio::join!(again(&site, former(3)), by_hand);
        let stream = outcome.expect("a stream");
        assert!(!stream.resumed && stream.managed.is_some_and(|one| one.unacked.is_empty()));
        let back = stream.former.expect("the counters of before");
        assert_eq!(back.unacked_text(), left, "{h}");
    }
}

#[tokio::test]
async fn counters_live_through_an_attempt_that_fails() {
    let network = Network::new();
    let site = network.site(&["montague.lit"]);
    let mut ends = network.by_hand("capulet.lit");
    // The connection breaks in the middle: it can be resumed yet.
    let by_hand = async { drop(up_to_features(&mut ends, false).await) };
    let (outcome, ()) = tokio::join!(again(&site, former(3)), by_hand);
    let (_, back) = outcome.unwrap_err();
    let back = back.expect("the counters");
    assert_eq!((&*back.id, back.unacked.len()), ("former", 3));
    // The peer counts what was never sent: it cannot.
    let by_hand = async {
        let mut raw = up_to_features(&mut ends, false).await;
        element(&mut raw).await;
        let resumed = format!("<resumed xmlns='{NS_SM}' previd='former' h='4'/>");
        raw.send(resumed.as_bytes()).await.unwrap();
        raw.expect_stream_error("undefined-condition").await.unwrap();
    };
    let (outcome, ()) = tokio::join!(again(&site, back), by_hand);
    let (_, back) = outcome.unwrap_err();
    let back = back.expect("the counters");
    assert_eq!((&*back.id, back.unacked.len()), ("", 3));
    // Another stream than the one that was asked for is none.
    let by_hand = async {
        let mut raw = up_to_features(&mut ends, false).await;
        element(&mut raw).await;
        let resumed = format!("<resumed xmlns='{NS_SM}' previd='another' h='0'/>");
        raw.send(resumed.as_bytes()).await.unwrap();
        raw.expect_stream_error("unsupported-stanza-type").await.unwrap();
    };
    let (outcome, ()) = tokio::join!(again(&site, former(1)), by_hand);
    assert_eq!(outcome.unwrap_err().1.expect("the counters").unacked.len(), 1);
    // Who does not manage streams any more is not asked, and the counters come back.
    let by_hand = async {
        let mut raw = answer(&mut ends).await;
        greet_secure(&mut raw, "capulet.lit", "S", EXTERNAL).await;
        raw.element().await.unwrap();
        raw.send(format!("<success xmlns='{NS_SASL}'/>").as_bytes()).await.unwrap();
        greet(&mut raw, "capulet.lit", "S2", "").await;
        raw
    };
    let (outcome, _raw) = tokio::join!(again(&site, former(2)), by_hand);
    let stream = outcome.expect("a stream");
    assert!(stream.managed.is_none());
    assert_eq!(stream.former.expect("the counters").unacked.len(), 2);
}

fn counted() -> (Arc<AtomicUsize>, Arc<dyn Fn() + Send + Sync>) {
    let count = Arc::new(AtomicUsize::new(0));
    let told = count.clone();
    (count, Arc::new(move || _ = told.fetch_add(1, Ordering::SeqCst)))
}

#[tokio::test]
async fn only_the_peer_of_the_same_pair_resumes_a_stream() {
    let streams = Arc::new(Resumable::default());
    let (ours, other) = (pair("capulet.lit", "montague.lit"), pair("capulet.lit", "tybalt.lit"));
    let (yielded, yields) = counted();
    let (mut managed, answer) = streams.enable(&ours, 60, yields.clone());
    assert!(answer.contains("resume='true'") && answer.contains("max='60'"), "{answer}");
    managed.received = 5;
    managed.sent(b"ab", &[StanzaEnd { at: 1, seq: 3 }, StanzaEnd { at: 2, seq: 4 }]);
    let id = managed.id.clone();
    let asleep = streams.clone();
    let (kept, expired) = (managed.clone(), Box::new(|_| panic!("it is resumed in time")));
    // It has its connection still, and is told to yield.
    let of = ours.clone();
    let session = tokio::spawn(async move {
        while yielded.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        asleep.fall_asleep(&of, kept, expired);
    });
    let stranger = streams.resume(&other, &id, 0, yields.clone()).await;
    assert_eq!(stranger.unwrap().unwrap_err(), None, "a stranger learns nothing");
    let back = streams.resume(&ours, &id, 1, yields).await.unwrap().unwrap();
    session.await.unwrap();
    assert_eq!((back.unacked_text(), back.received), (b"b".to_vec(), 5));
    assert!(resumed(&back).contains("h='5'"));
}

#[tokio::test]
async fn a_stream_that_nobody_resumes_expires_once() {
    let streams = Arc::new(Resumable::default());
    let pair = pair("capulet.lit", "montague.lit");
    let (_, yields) = counted();
    let (mut managed, _) = streams.enable(&pair, 1, yields.clone());
    managed.received = 5;
    let id = managed.id.clone();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    streams.fall_asleep(&pair, managed, Box::new(move |managed| _ = sender.send(managed)));
    let managed = tokio::time::timeout(Duration::from_secs(10), receiver).await.unwrap().unwrap();
    assert_eq!(managed.received, 5);
    let late = streams.resume(&pair, &id, 0, yields.clone()).await.unwrap();
    assert_eq!(late.unwrap_err(), Some(5), "how much was handled is still known");
    // One that cannot be resumed expires at once, and one that was closed is over.
    let (managed, answer) = streams.enable(&pair, 0, yields.clone());
    assert!(!answer.contains("resume"), "{answer}");
    let (sender, receiver) = tokio::sync::oneshot::channel();
    streams.fall_asleep(&pair, managed, Box::new(move |managed| _ = sender.send(managed)));
    receiver.await.unwrap();
    let (managed, _) = streams.enable(&pair, 60, yields.clone());
    streams.end(&pair, &managed);
    assert!(streams.resume(&pair, &managed.id, 0, yields).await.unwrap().is_err());
}

#[tokio::test]
async fn who_counts_more_than_was_sent_does_not_resume() {
    let streams = Arc::new(Resumable::default());
    let pair = pair("capulet.lit", "montague.lit");
    let (_, yields) = counted();
    let (managed, _) = streams.enable(&pair, 60, yields.clone());
    let id = managed.id.clone();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    streams.fall_asleep(&pair, managed, Box::new(move |managed| _ = sender.send(managed)));
    assert!(streams.resume(&pair, &id, 1, yields).await.is_err());
    receiver.await.expect("what was unacknowledged goes its way");
}
