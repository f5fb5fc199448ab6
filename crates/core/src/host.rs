//! A domain that this server serves.

use verona_xmpp::jid::Jid;

/// Who may make an account in-band (XEP-0077).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Registration {
    /// Only the operator.
    #[default]
    Closed,
    /// Who has an invitation.
    Invite,
    /// Anybody.
    Open,
}

/// What the operator has set for a host.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// The domain, as a JID.
    pub domain: Jid,
    /// Bare JIDs of those who administer it.
    pub admins: Vec<Jid>,
    /// Who may make an account.
    pub registration: Registration,
    /// Iterations of the salted hash for new passwords.
    pub password_iterations: u32,
    /// Where clients should come back to resume a session, as `domain:port` (XEP-0198 §5); None: to
    /// wherever they find the domain.
    pub resume_at: Option<String>,
}

/// A service that belongs to a host and has an address of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Its address.
    pub jid: Jid,
    /// Its name for people.
    pub name: Option<String>,
}
