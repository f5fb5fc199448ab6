//! What a stranger is told of an account that does not exist: the same as of one that does.

use std::num::NonZeroU32;

use zeroize::Zeroizing;

use super::credentials::{CredentialsError, ITERATIONS_MIN, Keys, checked_iterations};
use super::hash::Hash;

/// Fewest bytes of the secret.
const SECRET_BYTES_MIN: usize = 16;

/// Makes unusable keys from a name, always the same for the same name (RFC 6120 §6.5.10).
///
/// The secret must outlive restarts, else the salts of those who do not exist would change where
/// those of real accounts stay. It imitates accounts as they are made here: one that was imported
/// with another number of rounds, or without keys for some mechanism, can be told from it.
pub struct Decoy {
    secret: Zeroizing<Vec<u8>>,
    iterations: NonZeroU32,
}

impl Decoy {
    /// Decoys from at least 16 secret random bytes, with the iterations of new passwords.
    pub fn new(secret: &[u8], iterations: u32) -> Result<Self, CredentialsError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(CredentialsError::Malformed);
        }
        if iterations < ITERATIONS_MIN {
            return Err(CredentialsError::Iterations);
        }
        Ok(Self {
            secret: Zeroizing::new(secret.to_vec()),
            iterations: checked_iterations(iterations)?,
        })
    }

    /// How many rounds it pretends: those of a new password.
    pub fn iterations(&self) -> u32 {
        self.iterations.get()
    }

    /// Does the work of [`super::credentials::Credentials::check_plain`], and says no. Expensive.
    pub fn check_plain(&self, account: &str, password: &str) -> bool {
        let fits = self.keys(Hash::Sha256, account).check_plain(password);
        std::hint::black_box(fits);
        false
    }

    /// Keys for that address: a salt that stays the same, and keys that fit no password.
    pub(super) fn keys(&self, hash: Hash, account: &str) -> Keys {
        let name: &[u8] = match hash {
            Hash::Sha1 => b"sha-1",
            Hash::Sha256 => b"sha-256",
            Hash::Sha512 => b"sha-512",
        };
        let seed = Hash::Sha256.hmac(&self.secret, &[name, b"\0", account.as_bytes()]);
        Keys::unusable(hash, self.iterations, &seed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::credentials::{Credentials, ITERATIONS_DEFAULT};
    use super::*;

    #[test]
    fn a_name_keeps_its_salt_and_shares_it_with_nobody() {
        let decoy = || Decoy::new(&[7; 32], ITERATIONS_DEFAULT).unwrap();
        let other = Decoy::new(&[8; 32], ITERATIONS_DEFAULT).unwrap();
        let mut salts = Vec::new();
        for hash in Hash::ALL {
            let salt = decoy().keys(hash, "juliet@capulet.lit").salt().to_vec();
            assert_eq!(salt, decoy().keys(hash, "juliet@capulet.lit").salt());
            salts.push(decoy().keys(hash, "nurse@capulet.lit").salt().to_vec());
            salts.push(other.keys(hash, "juliet@capulet.lit").salt().to_vec());
            salts.push(salt);
        }
        salts.sort();
        salts.dedup();
        assert_eq!(salts.len(), 9);
    }

    #[test]
    fn its_keys_look_like_those_of_an_account() {
        let decoy = Decoy::new(&[7; 32], ITERATIONS_DEFAULT).unwrap();
        let real = Credentials::new("pencil", ITERATIONS_DEFAULT).unwrap();
        for real in real.all() {
            let keys = decoy.keys(real.hash(), "juliet@capulet.lit");
            assert_eq!(keys.iterations(), real.iterations());
            assert_eq!(keys.salt().len(), real.salt().len());
            assert_eq!(keys.stored_key().len(), real.stored_key().len());
        }
        assert!(!decoy.check_plain("juliet@capulet.lit", "pencil"));
    }

    #[test]
    fn short_secrets_and_few_rounds_are_refused() {
        assert!(Decoy::new(&[7; 15], ITERATIONS_DEFAULT).is_err());
        assert!(Decoy::new(&[7; 16], ITERATIONS_MIN - 1).is_err());
    }
}
