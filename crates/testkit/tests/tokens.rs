//! Logging in with a token (XEP-0484) over real TLS, bound to its channel, on the built binary. Without
//! a binary nothing is tried.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, SupportedProtocolVersion};
use sha2::{Digest, Sha256};
use verona_testkit::address::Address;
use verona_testkit::fortress::{Fortress, PASSWORD};
use verona_testkit::node::{NS_STREAM, Node};
use verona_testkit::place::{Link, Security};
use verona_testkit::raw::Raw;
use verona_testkit::tls::{Wish, wrap_as};

const NS: &str = "urn:xmpp:fast:0";
const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const NS_SASL2: &str = "urn:xmpp:sasl:2";
const NS_BIND: &str = "urn:xmpp:bind:0";

const AGENT: &str =
    "<user-agent xmlns='urn:xmpp:sasl:2' id='d4565fa7-4d72-4749-b3d3-740edbf87770'/>";
const LABEL: &[u8] = b"EXPORTER-Channel-Binding";

const BOUND: [&str; 2] = ["HT-SHA-256-ENDP", "HT-SHA-256-EXPR"];
const ALL: [&str; 3] = ["HT-SHA-256-ENDP", "HT-SHA-256-EXPR", "HT-SHA-256-NONE"];

/// A stream within TLS, and what both sides know of the channel.
struct Channel {
    raw: Raw,
    offered: Vec<String>,
    end_point: Vec<u8>,
    exporter: Vec<u8>,
}

impl Channel {
    async fn open(
        fortress: &Fortress,
        who: &Address,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        let tcp = fortress.gate(Security::Tls).tcp().await.unwrap();
        let wish = Wish { versions: vec![version], ..Wish::usual(&who.domain, true) };
        let tls = wrap_as(tcp, wish).await.unwrap();
        let connection = tls.get_ref().1;
        let (end_point, exporter) = (end_point(connection), exporter(connection));
        let link = Link::plain(tls);
        let mut raw = Raw::over(link, who).await.unwrap();
        let features = raw.open().await.unwrap();
        let fast = features.child("authentication", NS_SASL2).unwrap();
        let fast = fast.child("inline", NS_SASL2).unwrap().child("fast", NS).unwrap();
        let offered = fast.children().map(Node::text).collect();
        Self { raw, offered, end_point, exporter }
    }

    fn binding(&self, mechanism: &str) -> &[u8] {
        match mechanism {
            "HT-SHA-256-ENDP" => &self.end_point,
            "HT-SHA-256-EXPR" => &self.exporter,
            _ => &[],
        }
    }

    async fn ask(&mut self, mechanism: &str, data: &[u8], inside: &str) -> Node {
        let data = STANDARD.encode(data);
        let request = format!(
            "<authenticate xmlns='{NS_SASL2}' mechanism='{mechanism}'><initial-response>{data}\
             </initial-response>{AGENT}{inside}</authenticate>"
        );
        self.raw.send(request.as_bytes()).await.unwrap();
        self.raw.element().await.unwrap()
    }

    /// Logs in with the password, and asks for a token.
    async fn token(&mut self, who: &Address, mechanism: &str) -> String {
        let wish = format!("<request-token xmlns='{NS}' mechanism='{mechanism}'/>");
        let data = format!("\0{}\0{PASSWORD}", who.local);
        let success = self.ask("PLAIN", data.as_bytes(), &wish).await;
        let token = success.child("token", NS).unwrap_or_else(|| panic!("no token: {success}"));
        token.attr("token").unwrap().to_owned()
    }

    /// Logs in with a token as if it were bound to these bytes, and binds a resource.
    async fn use_token(
        &mut self,
        (who, token): (&Address, &str),
        mechanism: &str,
        binding: &[u8],
    ) -> Node {
        let data = [who.local.as_bytes(), b"\0", &mac(token, b"Initiator", binding)].concat();
        let wishes = format!("<bind xmlns='{NS_BIND}'/><fast xmlns='{NS}'/>");
        self.ask(mechanism, &data, &wishes).await
    }
}

/// RFC 5929 §4.1: the hash of the certificate, whose signatures are made over SHA-256 here.
fn end_point(connection: &ClientConnection) -> Vec<u8> {
    let certificate = &connection.peer_certificates().unwrap()[0];
    Sha256::digest(certificate).to_vec()
}

/// RFC 9266 §2
fn exporter(connection: &ClientConnection) -> Vec<u8> {
    connection.export_keying_material(vec![0; 32], LABEL, Some(&[])).unwrap()
}

fn mac(token: &str, who: &[u8], binding: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(token.as_bytes()).unwrap();
    mac.update(who);
    mac.update(binding);
    mac.finalize().into_bytes().to_vec()
}

fn refused(told: &Node) {
    let failure = told.is("failure", NS_SASL2).then(|| told.child("not-authorized", NS_SASL));
    assert!(failure.flatten().is_some(), "not refused: {told}");
}

#[tokio::test]
async fn a_token_opens_the_channel_that_it_is_bound_to_and_no_other() {
    let Some(fortress) = Fortress::start() else {
        println!("no verona binary: nothing is tried (name one with VERONA_BIN)");
        return;
    };
    let fortress = fortress.expect("it starts");
    for (version, mechanisms) in [(&TLS13, &ALL[..]), (&TLS12, &ALL[..1])] {
        for mechanism in mechanisms {
            one_mechanism(&fortress, version, mechanism).await;
        }
    }
}

async fn one_mechanism(
    fortress: &Fortress,
    version: &'static SupportedProtocolVersion,
    mechanism: &str,
) {
    let who = fortress.guest();
    let mut channel = Channel::open(fortress, &who, version).await;
    assert!(channel.offered.iter().any(|offered| offered == mechanism), "{:?}", channel.offered);
    let token = channel.token(&who, mechanism).await;
    let (end_point, exporter) = (channel.end_point.clone(), channel.exporter.clone());
    drop(channel);

    // What an attacker between could say, who knows the token's proof for another channel.
    let mut channel = Channel::open(fortress, &who, version).await;
    assert_eq!(channel.end_point, end_point);
    assert_ne!(channel.exporter, exporter);
    if BOUND.contains(&mechanism) {
        for binding in [&b""[..], b"something else", &exporter] {
            refused(&channel.use_token((&who, &token), mechanism, binding).await);
        }
    }
    drop(channel);
    // §3.4: nor is it of use with another mechanism than its own.
    let mut channel = Channel::open(fortress, &who, version).await;
    let others: Vec<String> =
        channel.offered.iter().filter(|other| *other != mechanism).cloned().collect();
    for other in others {
        let binding = channel.binding(&other).to_vec();
        refused(&channel.use_token((&who, &token), &other, &binding).await);
    }

    let binding = channel.binding(mechanism).to_vec();
    let told = channel.use_token((&who, &token), mechanism, &binding).await;
    assert!(told.is("success", NS_SASL2), "{mechanism}: {told}");
    let proof = told.child("additional-data", NS_SASL2).unwrap().text();
    assert_eq!(proof, STANDARD.encode(mac(&token, b"Responder", &binding)), "{mechanism}");
    assert!(told.child("bound", NS_BIND).is_some(), "{told}");
    assert!(channel.raw.element().await.unwrap().is("features", NS_STREAM));
    channel.raw.ping(&who.domain).await.unwrap();
}
