//! What becomes of messages to a peer that counts nothing (XEP-0198): it is asked with pings
//! (XEP-0199) how far it has read.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use verona_core::federation::route::QUEUE;
use verona_testkit::node::Node;
use verona_testkit::raw::Raw;
use verona_testkit::reader::Item;
use verona_xmpp::stanza::Stanza;

use crate::rig::{End, NS_SASL, Network, Site, answer, greet, greet_secure};

const NS: &str = "jabber:server";
const EXTERNAL: &str = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
                        <mechanism>EXTERNAL</mechanism></mechanisms>";
const BIDI: &str = "<bidi xmlns='urn:xmpp:features:bidi'/>";

/// The peer's side of a stream on which nothing is counted.
async fn uncounted(ends: &mut UnboundedReceiver<End>, bidi: bool) -> Raw {
    let mut raw = answer(ends).await;
    let offer = if bidi { BIDI } else { "" };
    greet_secure(&mut raw, "capulet.lit", "S", &[EXTERNAL, offer].concat()).await;
    if bidi {
        raw.element().await.unwrap();
    }
    assert!(raw.element().await.unwrap().is("auth", NS_SASL));
    raw.send(format!("<success xmlns='{NS_SASL}'/>").as_bytes()).await.unwrap();
    greet(&mut raw, "capulet.lit", "S2", "").await;
    raw
}

async fn write(site: &Site, id: &str) {
    let text = format!(
        "<message from='romeo@montague.lit/orchard' to='juliet@capulet.lit' type='chat' \
         id='{id}'><body>{id}</body></message>"
    );
    site.server.send(vec![Stanza::parse(&text).unwrap()]).await;
}

/// The next message and the ping behind it.
async fn message_and_ping(raw: &mut Raw) -> (String, Node) {
    let message = raw.element().await.unwrap();
    assert!(message.is("message", NS), "{}", message.pretty(0));
    let ping = raw.element().await.unwrap();
    assert!(ping.child("ping", "urn:xmpp:ping").is_some(), "{}", ping.pretty(0));
    assert_eq!(ping.attr("from"), Some("montague.lit"));
    (message.attr("id").unwrap().to_owned(), ping)
}

fn pong(ping: &Node) -> String {
    let id = ping.attr("id").unwrap();
    format!("<iq type='result' from='capulet.lit' to='montague.lit' id='{id}'/>")
}

/// Waits until nothing waits on disk any more.
async fn forgotten(site: &Site) {
    let begun = Instant::now();
    while !site.server.store.owners(QUEUE, None, 9).await.unwrap().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(5), "it stays on disk");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn only_what_is_not_proven_is_sent_again() {
    let network = Network::new();
    let site = network.site(&["montague.lit"]);
    let mut ends = network.by_hand("capulet.lit");
    write(&site, "a").await;
    let mut raw = uncounted(&mut ends, true).await;
    let (id, ping) = message_and_ping(&mut raw).await;
    assert_eq!(id, "a");
    raw.send(pong(&ping).as_bytes()).await.unwrap();
    // Long before it would be trusted to have arrived.
    forgotten(&site).await;
    write(&site, "b").await;
    assert_eq!(message_and_ping(&mut raw).await.0, "b");
    // It may have read that, or not; it closes the stream, and has not said so.
    raw.send(b"</stream:stream>").await.unwrap();
    let mut raw = uncounted(&mut ends, true).await;
    let (id, ping) = message_and_ping(&mut raw).await;
    assert_eq!(id, "b", "and what is proven does not come again");
    // An error is as good an answer, and may be the last word.
    let error = pong(&ping).replace("result", "error");
    raw.send([&error, "</stream:stream>"].concat().as_bytes()).await.unwrap();
    forgotten(&site).await;
    assert!(matches!(raw.item().await.unwrap(), Item::Close));
    assert!(ends.try_recv().is_err(), "nothing is left to be sent");
}

#[tokio::test]
async fn the_answer_may_come_on_a_stream_of_the_peer() {
    let network = Network::new();
    network.trust("capulet.lit");
    let site = network.site(&["montague.lit"]);
    let mut ends = network.by_hand("capulet.lit");
    write(&site, "a").await;
    let mut raw = uncounted(&mut ends, false).await;
    let (_, ping) = message_and_ping(&mut raw).await;
    let mut theirs = site.call("capulet.lit").await;
    theirs.open_secure("capulet.lit", "montague.lit").await;
    let auth = format!("<auth xmlns='{NS_SASL}' mechanism='EXTERNAL'>=</auth>");
    theirs.send(&auth).await;
    assert!(theirs.element().await.is("success", NS_SASL));
    theirs.open("capulet.lit", "montague.lit").await;
    let stream = theirs.established().await;
    tokio::spawn(verona_core::federation::session::run(site.server.clone(), stream));
    // Another's answer proves nothing, and not to whom it is.
    let forged = pong(&ping).replace("to='montague.lit'", "to='romeo@montague.lit'");
    theirs.send(&forged).await;
    theirs.send(&pong(&ping)).await;
    forgotten(&site).await;
    drop(raw);
}
