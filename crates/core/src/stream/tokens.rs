//! XEP-0484 §5.1: the tokens of one client, in two slots, as a machine without I/O.

use serde::{Deserialize, Serialize};
use verona_xmpp::sasl::error::{Refusal, SaslError};
use verona_xmpp::sasl::hash::{Hash, Octets};
use verona_xmpp::sasl::token::{Claim, TokenMechanism};

use crate::limits::{TOKEN_ROTATE_SECS, TOKEN_SECS};

/// What is kept of a token: never the token itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Token {
    /// The one mechanism with which it can be used (§3.4).
    mechanism: String,
    hash: Vec<u8>,
    /// A hash of the password's keys: who changes the password ends all tokens.
    credentials: Vec<u8>,
    issued_secs: u64,
    /// The highest count of an attempt (§3.4).
    count: u32,
}

/// The tokens of one client.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tokens {
    current: Option<Token>,
    /// Given out and not used yet.
    new: Option<Token>,
}

/// An attempt to log in with a token.
pub struct Attempt<'a> {
    /// What the client sent.
    pub claim: &'a Claim,
    /// The count of its attempts with the token, if it said so.
    pub count: Option<u32>,
    /// A hash of the password's keys as they are.
    pub credentials: &'a [u8],
    /// The time in seconds since the epoch.
    pub now_secs: u64,
}

/// A login that went well.
#[derive(Debug, Eq, PartialEq)]
pub struct Used {
    /// What proves to the client that its token is known.
    pub answer: Vec<u8>,
    /// Whether it is time for another token (§3.5).
    pub due: bool,
}

impl Token {
    /// What is kept of a token that is given out.
    pub fn new(mechanism: TokenMechanism, hash: &Octets, at: (&[u8], u64)) -> Self {
        let (credentials, issued_secs) = at;
        Self {
            mechanism: mechanism.name().to_owned(),
            hash: hash.as_ref().to_vec(),
            credentials: credentials.to_vec(),
            issued_secs,
            count: 0,
        }
    }

    /// When it can be used no more, in seconds since the epoch.
    pub fn expires_secs(&self) -> u64 {
        self.issued_secs.saturating_add(TOKEN_SECS)
    }

    /// None when the proof was not made with this token.
    fn check(&self, attempt: &Attempt<'_>) -> Option<Result<Used, Refusal>> {
        let hash = Octets::of(Hash::Sha256, &self.hash)?;
        if !attempt.claim.fits(&hash) {
            return None;
        }
        let refuse = |error, cause| Some(Err(Refusal::new(error, cause)));
        if self.mechanism != attempt.claim.mechanism.name() {
            return refuse(SaslError::NotAuthorized, "the token is for another mechanism");
        }
        if attempt.now_secs >= self.expires_secs() {
            return refuse(SaslError::CredentialsExpired, "the token has expired");
        }
        if self.credentials != attempt.credentials {
            return refuse(SaslError::CredentialsExpired, "the password has changed");
        }
        if attempt.count.is_some_and(|count| count <= self.count) {
            return refuse(SaslError::NotAuthorized, "the attempt is a repetition");
        }
        let age = attempt.now_secs.saturating_sub(self.issued_secs);
        let due = age >= TOKEN_ROTATE_SECS;
        Some(Ok(Used { answer: attempt.claim.answer(&hash), due }))
    }
}

impl Tokens {
    /// §5.1: the new token first; once it is used it takes the place of the one before.
    pub fn log_in(&mut self, attempt: &Attempt<'_>) -> Result<Used, Refusal> {
        // Both are compared in any case.
        let new = self.new.as_ref().and_then(|token| token.check(attempt));
        let current = self.current.as_ref().and_then(|token| token.check(attempt));
        let unknown = Refusal::unauthorized("no such token");
        let used = match new {
            Some(outcome) => {
                let used = outcome?;
                self.current = self.new.take();
                used
            }
            None => current.ok_or(unknown)??,
        };
        if let (Some(token), Some(count)) = (&mut self.current, attempt.count) {
            token.count = count;
        }
        Ok(used)
    }

    /// §3.5: one that is given out takes the place of any that was given out and not used.
    pub fn give(&mut self, token: Token) {
        self.new = Some(token);
    }

    /// The keys of the password are others, the password is the same: what was given out for the
    /// former goes on. Whether there was anything.
    pub fn follow(&mut self, before: &[u8], after: &[u8]) -> bool {
        let mut any = false;
        for token in self.new.iter_mut().chain(&mut self.current) {
            if token.credentials == before {
                token.credentials = after.to_vec();
                any = true;
            }
        }
        any
    }

    /// Whether one of them can be used, with the password as it is.
    pub fn are_good(&self, credentials: &[u8], now_secs: u64) -> bool {
        let mut tokens = self.new.iter().chain(&self.current);
        tokens.any(|token| token.credentials == credentials && now_secs < token.expires_secs())
    }

    /// When the last of them can be used no more.
    pub fn expires_secs(&self) -> u64 {
        let tokens = self.new.iter().chain(&self.current);
        tokens.map(Token::expires_secs).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use verona_xmpp::sasl::binding::{ChannelBinding, Offer};
    use verona_xmpp::sasl::context::{Context, Peer};
    use verona_xmpp::sasl::credentials::ITERATIONS_MIN;
    use verona_xmpp::sasl::decoy::Decoy;
    use verona_xmpp::sasl::mechanism::Mechanism;
    use verona_xmpp::sasl::token::hashed;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn claim(mechanism: TokenMechanism, token: &str) -> Claim {
        let exporter = vec![ChannelBinding::TlsExporter(Vec::new())];
        let context = Context {
            offer: Offer::new([Mechanism::ScramSha1], exporter),
            domain: "capulet.lit".to_owned(),
            peer: Peer::Client,
            secure: true,
            from: None,
            certificate: Vec::new(),
            normalize: |text| Some(text.to_owned()),
            decoy: Arc::new(Decoy::new(&[7; 32], ITERATIONS_MIN).unwrap()),
        };
        let proof = Hash::Sha256.hmac(hashed(token).as_ref(), &[b"Initiator"]);
        let data = [b"juliet\0", proof.as_ref()].concat();
        Claim::read(&context, mechanism.name(), &data).unwrap_or_else(|_| panic!())
    }

    fn token(text: &str, issued_secs: u64) -> Token {
        Token::new(TokenMechanism::Unbound, &hashed(text), (b"keys", issued_secs))
    }

    fn tokens(current: &str, new: &str) -> Tokens {
        Tokens { current: Some(token(current, NOW)), new: Some(token(new, NOW)) }
    }

    fn log_in(tokens: &mut Tokens, text: &str, now_secs: u64) -> Result<bool, SaslError> {
        let claim = claim(TokenMechanism::Unbound, text);
        let attempt = Attempt { claim: &claim, count: None, credentials: b"keys", now_secs };
        tokens.log_in(&attempt).map(|used| used.due).map_err(|refusal| refusal.error)
    }

    #[test]
    fn the_token_before_lives_until_the_new_one_is_used() {
        let mut tokens = tokens("old", "new");
        assert_eq!(log_in(&mut tokens, "old", NOW), Ok(false));
        assert_eq!(log_in(&mut tokens, "new", NOW), Ok(false));
        assert_eq!(log_in(&mut tokens, "old", NOW), Err(SaslError::NotAuthorized));
        assert_eq!(log_in(&mut tokens, "new", NOW), Ok(false));
    }

    #[test]
    fn a_token_that_was_not_used_is_replaced() {
        let mut tokens = tokens("old", "lost");
        tokens.give(token("new", NOW));
        assert_eq!(log_in(&mut tokens, "lost", NOW), Err(SaslError::NotAuthorized));
        assert_eq!(log_in(&mut tokens, "old", NOW), Ok(false));
        assert_eq!(log_in(&mut tokens, "new", NOW), Ok(false));
    }

    #[test]
    fn a_token_is_replaced_in_time_and_expires() {
        let mut tokens = Tokens { current: Some(token("old", NOW)), new: None };
        assert_eq!(log_in(&mut tokens, "old", NOW + TOKEN_ROTATE_SECS), Ok(true));
        assert_eq!(log_in(&mut tokens, "old", NOW + TOKEN_SECS - 1), Ok(true));
        let late = log_in(&mut tokens, "old", NOW + TOKEN_SECS);
        assert_eq!(late, Err(SaslError::CredentialsExpired));
    }

    #[test]
    fn a_changed_password_ends_all_tokens() {
        let mut tokens = tokens("old", "new");
        let claim = claim(TokenMechanism::Unbound, "new");
        let attempt = Attempt { claim: &claim, count: None, credentials: b"others", now_secs: NOW };
        let refused = tokens.log_in(&attempt).unwrap_err();
        assert_eq!(refused.error, SaslError::CredentialsExpired);
    }

    #[test]
    fn tokens_follow_the_keys_of_the_same_password() {
        let mut tokens = tokens("old", "new");
        assert!(!tokens.follow(b"of another", b"keys and more"));
        assert!(tokens.follow(b"keys", b"keys and more"));
        assert_eq!(log_in(&mut tokens, "old", NOW), Err(SaslError::CredentialsExpired));
        assert!(tokens.are_good(b"keys and more", NOW) && !tokens.are_good(b"keys", NOW));
        assert!(!tokens.are_good(b"keys and more", NOW + TOKEN_SECS));
    }

    #[test]
    fn a_token_is_of_use_with_its_mechanism_alone() {
        let mut tokens = tokens("old", "new");
        let claim = claim(TokenMechanism::Exporter, "new");
        let attempt = Attempt { claim: &claim, count: None, credentials: b"keys", now_secs: NOW };
        assert_eq!(tokens.log_in(&attempt).unwrap_err().error, SaslError::NotAuthorized);
    }

    #[test]
    fn an_attempt_is_not_repeated() {
        let mut tokens = tokens("old", "new");
        let claim = claim(TokenMechanism::Unbound, "new");
        let mut counted = |count| {
            let attempt =
                Attempt { claim: &claim, count: Some(count), credentials: b"keys", now_secs: NOW };
            tokens.log_in(&attempt).is_ok()
        };
        assert!(counted(1));
        assert!(!counted(1));
        assert!(counted(3));
        assert!(!counted(2));
    }
}
