//! Hashed tokens (draft-schmaus-kitten-sasl-ht-09), the mechanisms of XEP-0484: one message with a
//! proof, one with the proof of the other side.
//!
//! They are no part of the offer of passwords: who has a token asks for them by name.

use subtle::ConstantTimeEq;

use super::context::Context;
use super::encoding::encode;
use super::error::{Refusal, SaslError};
use super::hash::{Hash, Octets};

/// Random bytes of a token. Its text is longer than a block of SHA-256, for which HMAC takes the
/// hash of the key in its place (RFC 2104 §2): the hash is all that has to be kept.
const TOKEN_BYTES: usize = 51;

/// To what of the channel a token is bound.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TokenMechanism {
    /// `tls-server-end-point` (RFC 5929 §4).
    EndPoint,
    /// `tls-exporter` (RFC 9266).
    Exporter,
    /// Nothing.
    Unbound,
}

impl TokenMechanism {
    /// All of them, in alphabetical order.
    pub const ALL: [Self; 3] = [Self::EndPoint, Self::Exporter, Self::Unbound];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EndPoint => "HT-SHA-256-ENDP",
            Self::Exporter => "HT-SHA-256-EXPR",
            Self::Unbound => "HT-SHA-256-NONE",
        }
    }

    /// The mechanism of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// Those that a stream can offer.
    pub fn offered(context: &Context) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|mechanism| mechanism.binding(context).is_some())
    }

    fn binding(self, context: &Context) -> Option<&[u8]> {
        let name = match self {
            Self::EndPoint => "tls-server-end-point",
            Self::Exporter => "tls-exporter",
            // Where nobody can log in with a password, nobody can with a token.
            Self::Unbound => return (!context.offer.mechanisms().is_empty()).then_some(&[]),
        };
        context.offer.binding(name).map(|binding| binding.data())
    }
}

/// A fresh token, to be told to its client and to nobody else; None without randomness.
pub fn fresh() -> Option<String> {
    let mut random = [0; TOKEN_BYTES];
    getrandom::fill(&mut random).ok()?;
    Some(encode(&random))
}

/// What is kept of a token.
pub fn hashed(token: &str) -> Octets {
    Hash::Sha256.digest(token.as_bytes())
}

/// What somebody who says that they have a token has sent.
pub struct Claim {
    /// The bare JID of the account, in normal form.
    pub account: String,
    /// The mechanism.
    pub mechanism: TokenMechanism,
    binding: Vec<u8>,
    proof: Octets,
}

impl Claim {
    /// Reads the message of a client (§3.1 of the draft).
    pub fn read(context: &Context, mechanism: &str, data: &[u8]) -> Result<Self, Refusal> {
        let unknown = Refusal::new(SaslError::InvalidMechanism, "mechanism not offered");
        let mechanism = TokenMechanism::named(mechanism).ok_or(unknown)?;
        let binding = mechanism.binding(context).ok_or(unknown)?.to_vec();
        let malformed = Refusal::malformed("no name and proof");
        let end = data.iter().position(|byte| *byte == 0).ok_or(malformed)?;
        let (name, proof) = data.split_at_checked(end).ok_or(malformed)?;
        let name = std::str::from_utf8(name).map_err(|_| malformed)?;
        let account = context.account(name, None)?;
        let proof = proof.get(1..).and_then(|proof| Octets::of(Hash::Sha256, proof));
        Ok(Self { account, mechanism, binding, proof: proof.ok_or(malformed)? })
    }

    /// Whether it was made with the token of which this was kept.
    pub fn fits(&self, kept: &Octets) -> bool {
        Hash::Sha256.hmac(kept.as_ref(), &[b"Initiator", &self.binding]).ct_eq(&self.proof).into()
    }

    /// Proves to the client that the token is known here (§3.2 of the draft).
    pub fn answer(&self, kept: &Octets) -> Vec<u8> {
        Hash::Sha256.hmac(kept.as_ref(), &[b"Responder", &self.binding]).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::binding::{ChannelBinding, Offer};
    use super::super::context::Peer;
    use super::super::credentials::ITERATIONS_DEFAULT;
    use super::super::decoy::Decoy;
    use super::super::mechanism::Mechanism;
    use super::*;

    fn context(bindings: Vec<ChannelBinding>) -> Context {
        Context {
            offer: Offer::new([Mechanism::ScramSha1], bindings),
            domain: "capulet.lit".to_owned(),
            peer: Peer::Client,
            secure: true,
            from: None,
            certificate: Vec::new(),
            normalize: |text| Some(text.to_lowercase()),
            decoy: Arc::new(Decoy::new(&[7; 32], ITERATIONS_DEFAULT).unwrap()),
        }
    }

    fn message(name: &str, key: &[u8], binding: &[u8]) -> Vec<u8> {
        let proof = Hash::Sha256.hmac(key, &[b"Initiator", binding]);
        [name.as_bytes(), b"\0", proof.as_ref()].concat()
    }

    #[test]
    fn the_hash_of_a_token_does_what_the_token_does() {
        // Worked out apart from this code.
        let token = "t".repeat(68);
        let context = context(vec![ChannelBinding::TlsExporter(vec![1, 2])]);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let proof = Hash::Sha256.hmac(hashed(&token).as_ref(), &[b"Initiator"]);
        assert_eq!(
            hex(proof.as_ref()),
            "f221637ff092205a8b767cc9a894e6d19bad2e215c27138e6c9e91ba05b0bdbc"
        );
        let data = message("juliet", token.as_bytes(), &[1, 2]);
        let claim = Claim::read(&context, "HT-SHA-256-EXPR", &data).unwrap_or_else(|_| panic!());
        assert_eq!(claim.account, "juliet@capulet.lit");
        assert!(claim.fits(&hashed(&token)));
        assert!(!claim.fits(&hashed(&"u".repeat(68))));
        assert_eq!(
            hex(&claim.answer(&hashed(&token))),
            "2da843c4bcf7ce625493d9ec6bd7f7a4af1eae1bba1868329c12e368c94ce735"
        );
    }

    #[test]
    fn a_proof_for_another_channel_or_none_is_of_no_use() {
        let context = context(vec![ChannelBinding::TlsExporter(vec![1, 2])]);
        let token = fresh().unwrap();
        assert!(token.len() > 64, "HMAC takes the hash of longer keys alone");
        for binding in [&[][..], &[1, 3]] {
            let data = message("juliet", token.as_bytes(), binding);
            let claim = Claim::read(&context, "HT-SHA-256-EXPR", &data);
            assert!(claim.is_ok_and(|claim| !claim.fits(&hashed(&token))));
        }
    }

    #[test]
    fn what_is_not_offered_or_cannot_be_read_is_refused() {
        let context = context(Vec::new());
        assert!(TokenMechanism::offered(&context).eq([TokenMechanism::Unbound]));
        let good = message("juliet", b"x", b"");
        let none = "HT-SHA-256-NONE";
        assert!(Claim::read(&context, none, &good).is_ok());
        for (mechanism, data, error) in [
            ("HT-SHA-256-EXPR", &good[..], SaslError::InvalidMechanism),
            ("HT-SHA-512-NONE", &good, SaslError::InvalidMechanism),
            (none, b"juliet", SaslError::MalformedRequest),
            (none, b"juliet\0", SaslError::MalformedRequest),
            (none, &good[..good.len() - 1], SaslError::MalformedRequest),
            (none, b"\xff\0", SaslError::MalformedRequest),
            (none, b"", SaslError::MalformedRequest),
        ] {
            let refusal = Claim::read(&context, mechanism, data).err();
            assert_eq!(refusal.map(|refusal| refusal.error), Some(error), "{data:?}");
        }
    }
}
