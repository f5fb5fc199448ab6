//! Logging in: PLAIN where the server offers it, SCRAM-SHA-1 elsewhere.
//!
//! This is the other side of the server's own machines, written apart from them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::node::{Content, Node};
use crate::wire::{Trouble, Wire};

const NS: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const NS_SASL2: &str = "urn:xmpp:sasl:2";
const SHA1_BYTES: usize = 20;

/// Authenticates on a stream that has these features.
pub async fn authenticate(
    wire: &mut Wire,
    features: &Node,
    name: &str,
    password: &str,
) -> Result<(), Trouble> {
    let offered: Vec<String> = features
        .child("mechanisms", NS)
        .map(|mechanisms| mechanisms.children().map(Node::text).collect())
        .unwrap_or_default();
    let offers = |mechanism: &str| offered.iter().any(|offer| offer == mechanism);
    if offers("PLAIN") {
        plain(wire, name, password).await
    } else if offers("SCRAM-SHA-1") {
        scram(wire, name, password).await
    } else {
        let what = "an offer of PLAIN or SCRAM-SHA-1".to_owned();
        Err(Trouble::Unexpected(what, Box::new(features.clone())))
    }
}

/// Authenticates by XEP-0388 and asks for more along with it; gives the success without what belongs
/// to the mechanism.
pub async fn authenticate_at_once(
    wire: &mut Wire,
    features: &Node,
    (name, password): (&str, &str),
    wishes: &str,
) -> Result<Node, Trouble> {
    let offered = features.child("authentication", NS_SASL2);
    let mut offered = offered.into_iter().flat_map(Node::children);
    if !offered.any(|child| child.is("mechanism", NS_SASL2) && child.text() == "SCRAM-SHA-1") {
        let what = "an offer of SCRAM-SHA-1 with SASL2".to_owned();
        return Err(Trouble::Unexpected(what, Box::new(features.clone())));
    }
    let first = opening(name)?;
    let data = STANDARD.encode(format!("n,,{first}"));
    let request = format!(
        "<authenticate xmlns='{NS_SASL2}' mechanism='SCRAM-SHA-1'>\
         <initial-response>{data}</initial-response>{wishes}</authenticate>"
    );
    wire.send(request.as_bytes()).await?;
    let challenge = decode(&part(wire, "challenge", NS_SASL2).await?.text())?;
    let proof = Proof::new(password, &first, &challenge, b"n,,")
        .ok_or_else(|| Trouble::Io(format!("not a SCRAM challenge: {challenge}")))?;
    let data = STANDARD.encode(&proof.response);
    let response = format!("<response xmlns='{NS_SASL2}'>{data}</response>");
    wire.send(response.as_bytes()).await?;
    // XEP-0388 §2.6.3: a login that is to go on with a task is as good, so far.
    let mut success = match wire.element("the outcome of the login").await? {
        node if node.is("continue", NS_SASL2) || node.is("success", NS_SASL2) => node,
        node if node.is("failure", NS_SASL2) => return Err(Trouble::Refused(Box::new(node))),
        node => return Err(Trouble::Unexpected("<success/> of SASL".to_owned(), Box::new(node))),
    };
    let last = success.child("additional-data", NS_SASL2).map(Node::text).unwrap_or_default();
    proof.check(&decode(&last)?)?;
    without_data(&mut success);
    Ok(success)
}

/// Authenticates with a token (XEP-0484 §3.4), bound to nothing.
pub async fn authenticate_by_token(
    wire: &mut Wire,
    (name, token): (&str, &str),
    wishes: &str,
) -> Result<Node, Trouble> {
    let mac = |who: &[u8]| {
        // HMAC takes keys of any length, so the empty result is never seen.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(token.as_bytes()) else { return vec![] };
        mac.update(who);
        mac.finalize().into_bytes().to_vec()
    };
    let data = STANDARD.encode([name.as_bytes(), b"\0", &mac(b"Initiator")].concat());
    let request = format!(
        "<authenticate xmlns='{NS_SASL2}' mechanism='HT-SHA-256-NONE'>\
         <initial-response>{data}</initial-response>{wishes}</authenticate>"
    );
    wire.send(request.as_bytes()).await?;
    let mut success = part(wire, "success", NS_SASL2).await?;
    let proof = success.child("additional-data", NS_SASL2).map(Node::text).unwrap_or_default();
    if proof != STANDARD.encode(mac(b"Responder")) {
        return Err(Trouble::Io(format!("the server does not know the token: {proof}")));
    }
    without_data(&mut success);
    Ok(success)
}

/// Takes out what belongs to the mechanism.
fn without_data(success: &mut Node) {
    success.content.retain(|content| match content {
        Content::Element(child) => !child.is("additional-data", NS_SASL2),
        Content::Text(_) => true,
    });
}

/// RFC 4616 §2.
async fn plain(wire: &mut Wire, name: &str, password: &str) -> Result<(), Trouble> {
    send(wire, "auth", "PLAIN", &format!("\0{name}\0{password}")).await?;
    answer(wire, "success").await?;
    Ok(())
}

/// RFC 5802 §3, without channel binding.
async fn scram(wire: &mut Wire, name: &str, password: &str) -> Result<(), Trouble> {
    let first = opening(name)?;
    send(wire, "auth", "SCRAM-SHA-1", &format!("n,,{first}")).await?;
    let challenge = answer(wire, "challenge").await?;

    let proof = Proof::new(password, &first, &challenge, b"n,,")
        .ok_or_else(|| Trouble::Io(format!("not a SCRAM challenge: {challenge}")))?;
    send(wire, "response", "", &proof.response).await?;
    proof.check(&answer(wire, "success").await?)
}

/// The first message of a client, without its header.
fn opening(name: &str) -> Result<String, Trouble> {
    let mut random = [0; 18];
    getrandom::fill(&mut random).map_err(|error| Trouble::Io(error.to_string()))?;
    let name = name.replace('=', "=3D").replace(',', "=2C");
    Ok(format!("n={name},r={}", STANDARD.encode(random)))
}

/// What a client answers to a challenge of SCRAM-SHA-1, and what the server must say to that.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The last message of the client.
    pub response: String,
    /// What the server has to prove that it knows, in base64.
    pub server_signature: String,
}

impl Proof {
    /// The answer to a challenge; `first` is what the client has said, without its GS2 header, and
    /// `binding` that header with the data of the channel behind it (RFC 5802 §5.1).
    pub fn new(password: &str, first: &str, challenge: &str, binding: &[u8]) -> Option<Self> {
        let field = |key: &str| challenge.split(',').find_map(|field| field.strip_prefix(key));
        let nonce = first.split(',').find_map(|field| field.strip_prefix("r="))?;
        let (both, salt) = (field("r=")?, STANDARD.decode(field("s=")?).ok()?);
        let rounds: u32 = field("i=")?.parse().ok()?;
        if !both.starts_with(nonce) || both.len() == nonce.len() {
            return None;
        }
        let mut salted = [0; SHA1_BYTES];
        pbkdf2::pbkdf2_hmac::<Sha1>(password.as_bytes(), &salt, rounds, &mut salted);
        let without_proof = format!("c={},r={both}", STANDARD.encode(binding));
        let message = format!("{first},{challenge},{without_proof}");
        let client_key = hmac(&salted, b"Client Key");
        let signature = hmac(&Sha1::digest(&client_key), message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(k, s)| k ^ s).collect();
        let server_key = hmac(&salted, b"Server Key");
        Some(Self {
            response: format!("{without_proof},p={}", STANDARD.encode(proof)),
            server_signature: STANDARD.encode(hmac(&server_key, message.as_bytes())),
        })
    }

    fn check(&self, last: &str) -> Result<(), Trouble> {
        match last == format!("v={}", self.server_signature) {
            true => Ok(()),
            false => Err(Trouble::Io(format!("the server did not prove itself: {last}"))),
        }
    }
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length, so the empty result is never seen.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(key) else { return Vec::new() };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

async fn send(wire: &mut Wire, tag: &str, mechanism: &str, data: &str) -> Result<(), Trouble> {
    let data = STANDARD.encode(data);
    let mechanism = match mechanism {
        "" => String::new(),
        mechanism => format!(" mechanism='{mechanism}'"),
    };
    wire.send(format!("<{tag} xmlns='{NS}'{mechanism}>{data}</{tag}>").as_bytes()).await
}

/// Waits for the next move of the server and decodes what it says.
async fn answer(wire: &mut Wire, name: &str) -> Result<String, Trouble> {
    decode(&part(wire, name, NS).await?.text())
}

async fn part(wire: &mut Wire, name: &str, ns: &str) -> Result<Node, Trouble> {
    let node = wire.element(&format!("<{name}/> of SASL")).await?;
    if node.is("failure", ns) {
        return Err(Trouble::Refused(Box::new(node)));
    }
    match node.is(name, ns) {
        true => Ok(node),
        false => Err(Trouble::Unexpected(format!("<{name}/> of SASL"), Box::new(node))),
    }
}

fn decode(text: &str) -> Result<String, Trouble> {
    let bytes = STANDARD.decode(text.trim()).map_err(|error| Trouble::Io(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| Trouble::Io(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_5802_comes_out() {
        // RFC 5802 §5.
        let nonce = "fyko+d2lbbFgONRv9qkxdawL";
        let challenge = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        let proof = Proof::new("pencil", &format!("n=user,r={nonce}"), challenge, b"n,,").unwrap();
        assert!(proof.response.ends_with("p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="));
        assert_eq!(proof.server_signature, "rmF9pqV8S7suAoZWja4dJRkFsKQ=");
    }

    #[test]
    fn a_challenge_must_continue_our_nonce() {
        assert!(Proof::new("p", "n=u,r=abc", "r=abd1,s=QSXC,i=1", b"n,,").is_none());
        assert!(Proof::new("p", "n=u,r=abc", "r=abc,s=QSXC,i=1", b"n,,").is_none());
        assert!(Proof::new("p", "n=u,r=abc", "r=abc1,s=QSXC,i=1", b"n,,").is_some());
    }
}
