//! What the attacks have in common.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use verona_testkit::address::Address;
use verona_testkit::fortress::{Fortress, POSITIONS, Stage};
use verona_testkit::node::{NS_CLIENT, NS_STREAM};
use verona_testkit::place::Security;
use verona_testkit::raw::Raw;

/// The namespace of SASL (RFC 6120 §6).
pub const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

/// The mechanisms of SCRAM without channel binding.
pub const SCRAM: [&str; 3] = ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"];
/// What a client would make up at random.
pub const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";

/// The domain that most attacks are for.
pub const HOST: &str = "capulet.lit";

/// A stream header as it should be.
pub fn header(to: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream to='{to}' version='1.0' xmlns='{NS_CLIENT}' \
         xmlns:stream='{NS_STREAM}'>"
    )
}

/// Somebody without an account.
pub fn nobody() -> Address {
    Address { local: "nobody".to_owned(), domain: HOST.to_owned(), resource: "r".to_owned() }
}

/// Whether floods are to be as long as they are meant to be.
pub fn is_long() -> bool {
    std::env::var("VERONA_ATTACKS").is_ok_and(|mode| mode == "long")
}

/// A connection at a stage, from an address of its own; the server chooses the resource.
pub async fn at(fortress: &Fortress, door: Security, stage: Stage, who: &Address) -> Raw {
    let mut who = who.clone();
    who.resource.clear();
    let raw = fortress.reach(&fortress.gate(door), stage, &who).await;
    raw.unwrap_or_else(|trouble| panic!("at {door:?}, {stage:?}: {trouble}"))
}

/// Sends bytes at each stage of each door; each stream must end with this error.
pub async fn refused_everywhere(fortress: &Fortress, bytes: &[u8], condition: &str) {
    let who = fortress.guest();
    for (door, stage) in POSITIONS {
        refused_at(fortress, (door, stage), &who, bytes, condition).await;
    }
}

/// Sends bytes; the stream must end with this error.
pub async fn refused_at(
    fortress: &Fortress,
    (door, stage): (Security, Stage),
    who: &Address,
    bytes: &[u8],
    condition: &str,
) {
    let mut raw = at(fortress, door, stage, who).await;
    // The server may close before all is sent.
    let _ = raw.send(bytes).await;
    if let Err(trouble) = raw.expect_stream_error(condition).await {
        let shown: String = String::from_utf8_lossy(bytes).chars().take(120).collect();
        panic!("at {door:?}, {stage:?}: {shown:?}: {trouble}");
    }
}

/// The first bytes on a connection, before STARTTLS, behind it, and within direct TLS: the header
/// of the server comes before its error (RFC 6120 §4.9.1.2).
pub async fn at_the_start(fortress: &Fortress, bytes: &[u8], condition: &str) {
    for (door, tls) in
        [(Security::StartTls, false), (Security::StartTls, true), (Security::Tls, true)]
    {
        let mut raw = Raw::connect(&fortress.gate(door), &nobody()).await.unwrap();
        if door == Security::StartTls && tls {
            raw.open_plain().await.unwrap();
            raw.start_tls().await.unwrap();
        }
        let _ = raw.send(bytes).await;
        if let Err(trouble) = raw.expect_stream_error(condition).await {
            let shown: String = String::from_utf8_lossy(bytes).chars().take(120).collect();
            panic!("at {door:?}, TLS {tls}: {shown:?}: {trouble}");
        }
    }
}

/// The element that begins a login with some data.
pub fn auth(mechanism: &str, data: &[u8]) -> String {
    let data = if data.is_empty() { "=".to_owned() } else { STANDARD.encode(data) };
    format!("<auth xmlns='{NS_SASL}' mechanism='{mechanism}'>{data}</auth>")
}

/// Waits for a failure of SASL and gives the name of its condition.
pub async fn failure(raw: &mut Raw) -> String {
    let node = raw.element().await.unwrap();
    assert!(node.is("failure", NS_SASL), "no failure: {node}");
    node.children().map(|child| child.name.clone()).next().unwrap_or_default()
}

/// The first message of each mechanism, with an authorization identity.
pub fn openings(who: &Address, authzid: &str, password: &str) -> Vec<(String, Vec<u8>)> {
    let mut all =
        vec![("PLAIN".to_owned(), format!("{authzid}\0{}\0{password}", who.local).into_bytes())];
    let escaped = authzid.replace('=', "=3D").replace(',', "=2C");
    for mechanism in SCRAM {
        for (flag, name) in [
            ("n", mechanism.to_owned()),
            ("p=tls-server-end-point", format!("{mechanism}-PLUS")),
            ("p=tls-exporter", format!("{mechanism}-PLUS")),
        ] {
            let authzid = if escaped.is_empty() { String::new() } else { format!("a={escaped}") };
            let message = format!("{flag},{authzid},n={},r={NONCE}", who.local);
            all.push((name, message.into_bytes()));
        }
    }
    all
}
