//! A stream needs no more round trips than its protocols. TCP and TLS 1.3 need one each, and are not
//! counted here.

use crate::rig::Network;

#[tokio::test]
async fn a_stream_by_certificate_takes_the_steps_of_the_protocol_and_no_more() {
    let network = Network::new();
    let mut capulet = network.site(&["capulet.lit"]);
    let montague = network.site(&["montague.lit"]);
    network.trust("capulet.lit");
    network.trust("montague.lit");
    let out = montague.establish("montague.lit", "capulet.lit").await.expect("a stream");
    let _into = capulet.accepted().await;
    assert!(out.bidi && out.managed.is_some());
    // RFC 6120 §9.2: the header (§4.3.2); `<starttls/>` (§5.4.2.1); the header behind TLS (§5.4.3.3);
    // `<auth/>` with its initial response (§6.4.2), and bidi in the same breath; the header behind it
    // (§6.4.6). One more is `<enable/>` (XEP-0198 §3).
    assert_eq!(network.round_trips_to("capulet.lit"), 5 + 1);
}

#[tokio::test]
async fn a_stream_by_dialback_takes_one_step_less_and_a_question_elsewhere() {
    let network = Network::new();
    let mut capulet = network.site(&["capulet.lit"]);
    let montague = network.site(&["montague.lit"]);
    let out = montague.establish("montague.lit", "capulet.lit").await.expect("a stream");
    let _into = capulet.accepted().await;
    assert!(out.bidi && out.managed.is_some());
    // XEP-0220 §2.1: the key takes the place of SASL, and no header comes behind it.
    assert_eq!(network.round_trips_to("capulet.lit"), 4 + 1);
    // Header, `<starttls/>`, header and key; the end of the stream may follow.
    assert!((4..=5).contains(&network.round_trips_to("montague.lit")));
}
