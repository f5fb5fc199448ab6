//! What a handshake needs to know of its stream, and who may act as whom.

use std::sync::Arc;

use super::binding::Offer;
use super::decoy::Decoy;
use super::error::{Refusal, SaslError};
use super::mechanism::Mechanism;
use super::prep::{Unassigned, saslprep};

/// Who is at the other end of the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    /// A client: identities are bare JIDs.
    Client,
    /// Another server: identities are domains, and the one mechanism is EXTERNAL.
    Server,
}

/// The surroundings of a handshake on one stream. Make a new one after each restart of the stream.
pub struct Context {
    /// What the stream features offered.
    pub offer: Offer,
    /// The domain that the stream is for, in normal form.
    pub domain: String,
    /// Client or server.
    pub peer: Peer,
    /// Whether TLS protects the stream, so that no mechanism is held back for the lack of it.
    pub secure: bool,
    /// The address in the header of the stream if TLS protected it, in normal form and without
    /// resourcepart: who logs in must be the same (RFC 6120 §6.4.6, XEP-0388 §4.4).
    pub from: Option<String>,
    /// The addresses that a valid certificate of the peer proves, in normal form: bare JIDs of
    /// clients, domains of servers. Where a wildcard covers `from`, it is listed.
    pub certificate: Vec<String>,
    /// The normal form of a JID without resourcepart (RFC 7622 §3), `None` for any other text.
    pub normalize: fn(&str) -> Option<String>,
    /// Answers for accounts that do not exist.
    pub decoy: Arc<Decoy>,
}

impl Context {
    /// The mechanism that the peer asks for, if it was offered.
    pub(super) fn accept(&self, name: &str) -> Result<Mechanism, Refusal> {
        let refuse = |error, cause| Err(Refusal::new(error, cause));
        let Some(mechanism) = Mechanism::named(name) else {
            return refuse(SaslError::InvalidMechanism, "unknown mechanism");
        };
        if self.offer.has(mechanism) {
            return Ok(mechanism);
        }
        if !self.secure {
            return refuse(SaslError::EncryptionRequired, "mechanism not offered without TLS");
        }
        // RFC 6120 §6.5.9: policy, where all that it offers for passwords is stronger.
        let mut offered = self.offer.mechanisms().iter().copied();
        let weakest = offered.rfind(|one| one.is_password());
        if mechanism.is_password() && weakest.is_some_and(|weakest| weakest > mechanism) {
            return refuse(SaslError::MechanismTooWeak, "mechanism weaker than offered");
        }
        refuse(SaslError::InvalidMechanism, "mechanism not offered")
    }

    /// The account behind a user name, if the peer may act as the authorization identity.
    ///
    /// RFC 6120 §6.3.7: the user name is the localpart. None of this depends on whether the
    /// account exists, so that an early refusal tells nothing.
    pub(super) fn account(&self, username: &str, authzid: Option<&str>) -> Result<String, Refusal> {
        const CAUSE: Refusal = Refusal::unauthorized("the user name is no localpart");
        // RFC 5802 §5.1: a name as it is asked for, so unassigned characters may be in it.
        let name = saslprep(username, Unassigned::Allowed).map_err(|_| CAUSE)?;
        if name.contains(['@', '/']) {
            return Err(CAUSE);
        }
        let address = format!("{}@{}", name.as_str(), self.domain);
        let account = (self.normalize)(&address).ok_or(CAUSE)?;
        self.authorize(&account, authzid)?;
        Ok(account)
    }

    /// RFC 6120 §6.3.8, §6.5.6: everybody may act as themselves, and as nobody else.
    pub(super) fn authorize(&self, identity: &str, authzid: Option<&str>) -> Result<(), Refusal> {
        const fn refused(cause: &'static str) -> Result<(), Refusal> {
            Err(Refusal::new(SaslError::InvalidAuthzid, cause))
        }
        if let Some(authzid) = authzid
            && (self.normalize)(authzid).as_deref() != Some(identity)
        {
            return refused("the authorization identity is another's");
        }
        if let Some(from) = &self.from
            && from != identity
        {
            return refused("the stream came from another address");
        }
        Ok(())
    }
}
