//! Two servers against each other.

use std::sync::Arc;

use verona_core::federation::reach::{Pair, ProvenBy};
use verona_core::limits::Limits;
use verona_core::stream::server::pairs::{Grounds, Trust};
use verona_core::stream::server::side::Role;
use verona_core::stream::server::state::Rules;
use verona_xmpp::error::Condition;

use crate::rig::{Network, jid, pair};

fn is_proven(trust: Trust) -> bool {
    trust.by == Grounds::Certificate(ProvenBy::Pkix) && trust.until.is_some()
}

#[tokio::test]
async fn certificates_prove_both_sides() {
    let network = Network::new();
    let mut capulet = network.site(&["capulet.lit"]);
    let montague = network.site(&["montague.lit"]);
    network.trust("capulet.lit");
    network.trust("montague.lit");
    let out = montague.establish("montague.lit", "capulet.lit").await.expect("a stream");
    let into = capulet.accepted().await;

    let (ours, theirs) = (pair("montague.lit", "capulet.lit"), pair("capulet.lit", "montague.lit"));
    assert_eq!((out.role, into.role), (Role::Initiating, Role::Receiving));
    assert_eq!(out.id, into.id);
    assert!(out.bidi && into.bidi, "both know XEP-0288");
    for (pairs, pair) in [(&out.dialbacks.pairs, &ours), (&into.dialbacks.pairs, &theirs)] {
        let known = pairs.find(pair).expect("verified");
        assert!(known.sends && known.receives && is_proven(known.trust));
        assert_eq!(pairs.len(), 1);
        assert_eq!(pairs.until(), known.trust.until);
    }
    let (romeo, juliet) = (jid("romeo@montague.lit/orchard"), jid("juliet@capulet.lit"));
    assert_eq!(into.dialbacks.pairs.check(Some(&romeo), Some(&juliet)), Ok(()));
    assert!(into.dialbacks.pairs.check(Some(&juliet), Some(&romeo)).is_err());
    assert_eq!(out.takes.bytes_max, Some(Limits::default().server_stanza_bytes_max));
    assert_eq!(into.takes, out.takes, "in bidi too (XEP-0478 §3.2)");
    assert!(out.managed.is_some_and(|managed| managed.id.is_empty()), "asked for, not answered");
    assert_eq!(network.calls_to("montague.lit"), 0, "nobody dialled back");
    assert!(out.steps.iter().any(|step| step.contains("certificate proves capulet.lit")));
    assert_eq!(out.target.unwrap().host, "xmpp.capulet.lit");
}

#[tokio::test]
async fn dialback_verifies_who_has_no_good_certificate() {
    let network = Network::new();
    let mut capulet = network.site(&["capulet.lit"]);
    let montague = network.site(&["montague.lit"]);
    let out = montague.establish("montague.lit", "capulet.lit").await.expect("a stream");
    let into = capulet.accepted().await;
    assert!(out.dialbacks.pairs.may_send(&pair("montague.lit", "capulet.lit")));
    let known = into.dialbacks.pairs.find(&pair("capulet.lit", "montague.lit")).unwrap();
    assert_eq!(known.trust, Trust::DIALBACK);
    assert!(known.sends && known.receives && out.bidi);
    assert_eq!(network.calls_to("montague.lit"), 1, "the authoritative server was asked");
    assert!(!montague.has_accepted(), "on a stream that was for nothing else");
    assert!(out.managed.is_some(), "managed all the same");
    assert!(out.steps.iter().any(|step| step.contains("does not prove capulet.lit")));
    assert!(out.steps.last().unwrap().contains("dialback"), "{:?}", out.steps);
}

#[tokio::test]
async fn one_side_may_have_a_certificate_and_the_other_not() {
    let network = Network::new();
    let mut capulet = network.site(&["capulet.lit"]);
    let mut montague = network.site(&["montague.lit"]);
    network.trust("montague.lit");
    let out = montague.establish("montague.lit", "capulet.lit").await.expect("a stream");
    let into = capulet.accepted().await;
    let known = into.dialbacks.pairs.find(&pair("capulet.lit", "montague.lit")).unwrap();
    assert!(is_proven(known.trust));
    let known = out.dialbacks.pairs.find(&pair("montague.lit", "capulet.lit")).unwrap();
    assert_eq!(known.trust, Trust::DIALBACK);

    let back = capulet.establish("capulet.lit", "montague.lit").await.expect("a stream");
    let known = back.dialbacks.pairs.find(&pair("capulet.lit", "montague.lit")).unwrap();
    assert!(is_proven(known.trust), "who was called has shown a good one");
    let into = montague.accepted().await;
    let known = into.dialbacks.pairs.find(&pair("montague.lit", "capulet.lit")).unwrap();
    assert_eq!(known.trust, Trust::DIALBACK);
    assert_eq!(network.calls_to("capulet.lit"), 2, "the caller had none and was dialled back");
}

#[tokio::test]
async fn who_requires_certificates_refuses_in_both_roles() {
    let network = Network::new();
    let strict = Rules { require_certificate: true, ..Rules::default() };
    let capulet = network.site_with(&["capulet.lit"], Limits::default(), strict);
    let montague = network.site(&["montague.lit"]);
    network.trust("capulet.lit");
    let (failure, _) = montague.establish("montague.lit", "capulet.lit").await.unwrap_err();
    assert!(failure.cause().contains("not-authorized"), "{failure}");
    assert!(failure.retry);
    assert_eq!(network.calls_to("montague.lit"), 0, "nobody was asked");
    let (failure, _) = capulet.establish("capulet.lit", "montague.lit").await.unwrap_err();
    assert!(failure.cause().contains("does not prove montague.lit"), "{failure}");
    assert!(!capulet.has_accepted() && !montague.has_accepted());
}

#[tokio::test]
async fn who_is_not_federated_with_is_refused_in_both_roles() {
    let network = Network::new();
    let admits = |pair: &Pair| pair.remote.domain() != "montague.lit";
    let closed = Rules { admits: Some(Arc::new(admits)), ..Rules::default() };
    let capulet = network.site_with(&["capulet.lit"], Limits::default(), closed);
    let montague = network.site(&["montague.lit"]);
    network.trust("capulet.lit");
    network.trust("montague.lit");
    let (failure, _) = capulet.establish("capulet.lit", "montague.lit").await.unwrap_err();
    assert_eq!((failure.condition, failure.retry), (Condition::NotAllowed, false));
    assert_eq!(network.calls_to("montague.lit"), 0);
    let (failure, _) = montague.establish("montague.lit", "capulet.lit").await.unwrap_err();
    assert!(failure.cause().contains("policy-violation"), "{failure}");
    assert!(!capulet.has_accepted());
}

#[tokio::test]
async fn a_domain_that_does_not_exist_is_not_found() {
    let network = Network::new();
    let montague = network.site(&["montague.lit"]);
    let (failure, _) = montague.establish("montague.lit", "nowhere.lit").await.unwrap_err();
    assert_eq!(failure.condition, Condition::RemoteServerNotFound);
    assert!(!failure.retry);
    assert_eq!(failure.cause(), "no records for nowhere.lit");
}
