//! The conditions with which a handshake fails, by the names of RFC 6120 §6.5.

use std::fmt;

/// Why a handshake failed, as the other side is told (RFC 6120 §6.5).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SaslError {
    /// The initiating entity ended the handshake (§6.5.1).
    Aborted,
    /// The account is switched off for now (§6.5.2).
    AccountDisabled,
    /// The credentials were right once and are no longer (§6.5.3).
    CredentialsExpired,
    /// The mechanism asks for TLS first (§6.5.4).
    EncryptionRequired,
    /// The base64 is wrong (§6.5.5).
    IncorrectEncoding,
    /// The authorization identity is malformed or not permitted (§6.5.6).
    InvalidAuthzid,
    /// There is no such mechanism here (§6.5.7).
    InvalidMechanism,
    /// The data breaks the syntax of the mechanism (§6.5.8).
    MalformedRequest,
    /// Policy asks for a stronger mechanism (§6.5.9).
    MechanismTooWeak,
    /// The proof is wrong, or no reason is given (§6.5.10).
    NotAuthorized,
    /// The fault is ours and may pass (§6.5.11).
    TemporaryAuthFailure,
}

impl SaslError {
    /// All conditions in the order of RFC 6120 §6.5.
    pub const ALL: [Self; 11] = [
        Self::Aborted,
        Self::AccountDisabled,
        Self::CredentialsExpired,
        Self::EncryptionRequired,
        Self::IncorrectEncoding,
        Self::InvalidAuthzid,
        Self::InvalidMechanism,
        Self::MalformedRequest,
        Self::MechanismTooWeak,
        Self::NotAuthorized,
        Self::TemporaryAuthFailure,
    ];

    /// The name of the element inside `<failure/>`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::AccountDisabled => "account-disabled",
            Self::CredentialsExpired => "credentials-expired",
            Self::EncryptionRequired => "encryption-required",
            Self::IncorrectEncoding => "incorrect-encoding",
            Self::InvalidAuthzid => "invalid-authzid",
            Self::InvalidMechanism => "invalid-mechanism",
            Self::MalformedRequest => "malformed-request",
            Self::MechanismTooWeak => "mechanism-too-weak",
            Self::NotAuthorized => "not-authorized",
            Self::TemporaryAuthFailure => "temporary-auth-failure",
        }
    }

    /// The condition of that name; an unknown one counts as `not-authorized` (RFC 6120 §6.5).
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|error| error.name() == name).unwrap_or(Self::NotAuthorized)
    }
}

impl fmt::Display for SaslError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for SaslError {}

/// A refusal: what the peer is told and, for our log alone, why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// What the peer is told.
    pub error: SaslError,
    /// The plain cause for the log; never sent, since it may tell more than the peer should know.
    pub cause: &'static str,
}

impl Refusal {
    /// A refusal with its cause.
    pub const fn new(error: SaslError, cause: &'static str) -> Self {
        Self { error, cause }
    }

    /// `malformed-request`, for that cause.
    pub const fn malformed(cause: &'static str) -> Self {
        Self::new(SaslError::MalformedRequest, cause)
    }

    /// `not-authorized`, for that cause.
    pub const fn unauthorized(cause: &'static str) -> Self {
        Self::new(SaslError::NotAuthorized, cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_is_found_by_its_name() {
        for error in SaslError::ALL {
            assert_eq!(SaslError::named(error.name()), error);
        }
    }

    #[test]
    fn unknown_condition_counts_as_not_authorized() {
        assert_eq!(SaslError::named("bad-hair-day"), SaslError::NotAuthorized);
    }
}
