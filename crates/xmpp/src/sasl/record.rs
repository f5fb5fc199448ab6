//! What a store knows of an account, and what comes of a password that fits it or does not.

use super::credentials::{Credentials, Keys};
use super::error::{Refusal, SaslError};

/// The operating system or the store let us down.
pub(super) const UNAVAILABLE: Refusal =
    Refusal::new(SaslError::TemporaryAuthFailure, "the account could not be looked up");

// RFC 6120 §6.5.10: the peer sees no difference between these, only our log does.
const UNKNOWN: Refusal = Refusal::unauthorized("no such account");
const KEYLESS: Refusal = Refusal::unauthorized("the account has no password for this mechanism");
const WRONG: Refusal = Refusal::unauthorized("wrong password");

const DISABLED: Refusal = Refusal::new(SaslError::AccountDisabled, "the account is disabled");
const EXPIRED: Refusal = Refusal::new(SaslError::CredentialsExpired, "the password has expired");

/// What a store knows of an account.
pub enum Found {
    /// The account may log in.
    Active(Credentials),
    /// It is switched off: `account-disabled`, but only for who knows its password.
    Disabled(Credentials),
    /// Its password is no longer good: `credentials-expired`, but only for who knows it.
    Expired(Credentials),
    /// There is no such account.
    Unknown,
    /// The store failed.
    Unavailable,
}

impl Found {
    /// Whether an account may log in that proved itself by other means than a password.
    pub(super) fn admits(&self) -> Result<(), Refusal> {
        match self {
            // That a password expired does not touch a certificate.
            Self::Active(_) | Self::Expired(_) => Ok(()),
            Self::Disabled(_) => Err(DISABLED),
            Self::Unknown => Err(UNKNOWN),
            Self::Unavailable => Err(UNAVAILABLE),
        }
    }
}

impl From<Option<Credentials>> for Found {
    fn from(credentials: Option<Credentials>) -> Self {
        credentials.map_or(Self::Unknown, Self::Active)
    }
}

/// The keys to compare with, and what comes of it.
pub(super) struct Record {
    pub keys: Keys,
    /// Whether the stored credentials are as good as new ones.
    pub current: bool,
    /// What a proof leads to that fits the keys; always a refusal if they are a decoy's.
    right: Result<(), Refusal>,
    /// What any other proof leads to.
    wrong: Refusal,
}

impl Record {
    /// Picks the keys of the account, or where it has none, the decoy's.
    pub fn new(
        found: Found,
        decoy: Keys,
        iterations: u32,
        pick: impl Fn(&Credentials) -> Option<&Keys>,
    ) -> Result<Self, Refusal> {
        let (credentials, right) = match found {
            Found::Active(credentials) => (credentials, Ok(())),
            Found::Disabled(credentials) => (credentials, Err(DISABLED)),
            Found::Expired(credentials) => (credentials, Err(EXPIRED)),
            Found::Unknown => return Ok(Self::unusable(decoy, UNKNOWN)),
            Found::Unavailable => return Err(UNAVAILABLE),
        };
        Ok(match pick(&credentials) {
            Some(keys) => Self {
                keys: keys.clone(),
                current: credentials.is_current(iterations),
                right,
                wrong: WRONG,
            },
            None => Self::unusable(decoy, KEYLESS),
        })
    }

    fn unusable(keys: Keys, refusal: Refusal) -> Self {
        Self { keys, current: true, right: Err(refusal), wrong: refusal }
    }

    /// What comes of a proof that fits these keys, or does not.
    pub fn verdict(&self, fits: bool) -> Result<(), Refusal> {
        if fits { self.right } else { Err(self.wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::credentials::ITERATIONS_DEFAULT;
    use super::super::decoy::Decoy;
    use super::super::hash::Hash;
    use super::*;

    fn record(found: Found) -> Result<Record, Refusal> {
        let decoy = Decoy::new(&[7; 32], ITERATIONS_DEFAULT).unwrap();
        let keys = decoy.keys(Hash::Sha256, "juliet@capulet.lit");
        Record::new(found, keys, ITERATIONS_DEFAULT, |credentials| credentials.keys(Hash::Sha256))
    }

    #[test]
    fn no_proof_fits_a_decoy_not_even_a_right_one() {
        for found in [
            Found::Unknown,
            Found::Active(Credentials::default()),
            Found::Disabled(Credentials::default()),
            Found::Expired(Credentials::default()),
        ] {
            let record = record(found).unwrap();
            for fits in [true, false] {
                let refusal = record.verdict(fits).unwrap_err();
                assert_eq!(refusal.error, SaslError::NotAuthorized);
            }
        }
    }

    #[test]
    fn failing_store_leaves_nothing_to_compare() {
        let refusal = record(Found::Unavailable).err().unwrap();
        assert_eq!(refusal.error, SaslError::TemporaryAuthFailure);
        assert!(Found::Unavailable.admits().is_err());
    }

    #[test]
    fn what_was_not_found_is_unknown() {
        assert!(matches!(Found::from(None), Found::Unknown));
        let found = Found::from(Some(Credentials::default()));
        assert!(matches!(found, Found::Active(_)));
    }
}
