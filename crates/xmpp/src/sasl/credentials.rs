//! What is kept of a password: for each hash function of SCRAM a salt and two keys
//! (RFC 5802 §2.1, RFC 5803), from which neither the password nor a proof can be made.
//!
//! [`Credentials::new`] and [`Credentials::check_plain`] are expensive on purpose (8 ms and 1.3 ms
//! of a core at the default): run them on a bounded pool. A SCRAM login costs none of it.

use std::fmt;
use std::num::NonZeroU32;

use subtle::{Choice, ConstantTimeEq};

use super::hash::{Hash, Octets};
use super::prep::{PrepError, Unassigned, saslprep};

/// Rounds of a new password unless the configuration says more (XEP-0438 §7).
pub const ITERATIONS_DEFAULT: u32 = 10_000;

/// Fewest rounds for a new password: ours, RFC 5802 §5.1 asks for 4,096.
pub const ITERATIONS_MIN: u32 = 10_000;

/// Most rounds, since a stored number must not stop a server (RFC 5803 §3): 5 s with SHA-512.
pub const ITERATIONS_MAX: u32 = 10_000_000;

/// Size of a new salt in bytes (XEP-0438 §6.2).
const SALT_BYTES: usize = 16;

/// Longest salt taken over from elsewhere, in bytes.
const SALT_BYTES_MAX: usize = 255;

/// First byte of [`Credentials::encode`].
const VERSION: u8 = 1;

/// Why there are no credentials.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CredentialsError {
    /// This cannot be a password.
    Password(PrepError),
    /// Too few or too many rounds.
    Iterations,
    /// A salt or key has a wrong size, or stored bytes make no sense.
    Malformed,
    /// They were stored by a newer Verona.
    Version(u8),
    /// The operating system gave no random bytes.
    Random,
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password(error) => write!(f, "this password cannot be used: {error}"),
            Self::Iterations => f.write_str("the number of iterations is out of bounds"),
            Self::Malformed => f.write_str("malformed credentials"),
            Self::Version(version) => write!(f, "credentials of unknown version {version}"),
            Self::Random => f.write_str("no random bytes"),
        }
    }
}

impl std::error::Error for CredentialsError {}

/// Salt, iterations and the two keys for one hash function (RFC 5802 §3).
#[derive(Clone)]
pub struct Keys {
    hash: Hash,
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: Octets,
    server_key: Octets,
}

impl Keys {
    /// Keys that were made elsewhere, such as by the server an account comes from.
    pub fn from_parts(
        hash: Hash,
        (salt, iterations): (&[u8], u32),
        stored_key: &[u8],
        server_key: &[u8],
    ) -> Result<Self, CredentialsError> {
        Ok(Self {
            hash,
            iterations: checked_iterations(iterations)?,
            salt: checked_salt(salt)?,
            stored_key: Octets::of(hash, stored_key).ok_or(CredentialsError::Malformed)?,
            server_key: Octets::of(hash, server_key).ok_or(CredentialsError::Malformed)?,
        })
    }

    /// Keys from SaltedPassword, as a client hands it over in an upgrade (XEP-0480 §3).
    pub fn from_salted_password(
        hash: Hash,
        (salt, iterations): (&[u8], u32),
        salted_password: &[u8],
    ) -> Result<Self, CredentialsError> {
        let salted = Octets::of(hash, salted_password).ok_or(CredentialsError::Malformed)?;
        Ok(Self {
            hash,
            iterations: checked_iterations(iterations)?,
            salt: checked_salt(salt)?,
            stored_key: hash.digest(client_key(hash, &salted).as_ref()),
            server_key: server_key(hash, &salted),
        })
    }

    /// Keys that no password fits, with the first bytes of a seed as salt.
    pub(super) fn unusable(hash: Hash, iterations: NonZeroU32, seed: &Octets) -> Self {
        let salt = seed.as_ref().iter().take(SALT_BYTES).copied().collect();
        Self {
            hash,
            iterations,
            salt,
            stored_key: hash.digest(seed.as_ref()),
            server_key: server_key(hash, seed),
        }
    }

    /// Keys of a prepared password.
    fn derive(
        hash: Hash,
        prepared: &str,
        salt: &[u8],
        iterations: NonZeroU32,
    ) -> Result<Self, CredentialsError> {
        let salted = hash.stretch(prepared.as_bytes(), salt, iterations);
        Self::from_salted_password(hash, (salt, iterations.get()), salted.as_ref())
    }

    /// The hash function.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The number of rounds.
    pub fn iterations(&self) -> u32 {
        self.iterations.get()
    }

    /// The salt, which the client is told.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// StoredKey; a secret.
    pub fn stored_key(&self) -> &[u8] {
        self.stored_key.as_ref()
    }

    /// ServerKey; a secret.
    pub fn server_key(&self) -> &[u8] {
        self.server_key.as_ref()
    }

    /// Whether this is the password of these keys. Expensive.
    ///
    /// RFC 4616 §2: what a peer sends is prepared as a "query", and fails if it cannot be.
    pub(super) fn check_plain(&self, password: &str) -> bool {
        saslprep(password, Unassigned::Allowed).is_ok_and(|prepared| {
            let salted = self.hash.stretch(prepared.as_bytes(), &self.salt, self.iterations);
            let stored = self.hash.digest(client_key(self.hash, &salted).as_ref());
            stored.ct_eq(&self.stored_key).into()
        })
    }

    /// Whether this proof over that AuthMessage was made with the password (RFC 5802 §3).
    pub(super) fn verify(&self, auth_message: &[&[u8]], proof: &Octets) -> Choice {
        let signature = self.hash.hmac(self.stored_key.as_ref(), auth_message);
        let client_key = proof.clone().xor(&signature);
        self.hash.digest(client_key.as_ref()).ct_eq(&self.stored_key)
    }

    /// ServerSignature over that AuthMessage (RFC 5802 §3).
    pub(super) fn sign(&self, auth_message: &[&[u8]]) -> Octets {
        self.hash.hmac(self.server_key.as_ref(), auth_message)
    }
}

/// ClientKey of RFC 5802 §3.
pub(super) fn client_key(hash: Hash, salted_password: &Octets) -> Octets {
    hash.hmac(salted_password.as_ref(), &[b"Client Key"])
}

/// ServerKey of RFC 5802 §3.
pub(super) fn server_key(hash: Hash, salted_password: &Octets) -> Octets {
    hash.hmac(salted_password.as_ref(), &[b"Server Key"])
}

pub(super) fn checked_iterations(iterations: u32) -> Result<NonZeroU32, CredentialsError> {
    NonZeroU32::new(iterations)
        .filter(|iterations| iterations.get() <= ITERATIONS_MAX)
        .ok_or(CredentialsError::Iterations)
}

fn checked_salt(salt: &[u8]) -> Result<Vec<u8>, CredentialsError> {
    if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
        return Err(CredentialsError::Malformed);
    }
    Ok(salt.to_vec())
}

/// All that is kept of an account's password: at most one set of keys for each hash function.
///
/// An account that came from elsewhere may lack some: with those mechanisms its login fails, until
/// a login by PLAIN or a new password completes the set. Without any keys it has no password.
#[derive(Clone, Default)]
pub struct Credentials {
    keys: Vec<Keys>,
}

impl Credentials {
    /// Makes keys of all hash functions from a new password, with a fresh salt for each.
    ///
    /// Expensive. The password is prepared as a "stored string" (RFC 5802 §2.2).
    pub fn new(password: &str, iterations: u32) -> Result<Self, CredentialsError> {
        let prepared =
            saslprep(password, Unassigned::Prohibited).map_err(CredentialsError::Password)?;
        if iterations < ITERATIONS_MIN {
            return Err(CredentialsError::Iterations);
        }
        let iterations = checked_iterations(iterations)?;
        let mut keys = Vec::with_capacity(Hash::ALL.len());
        for hash in Hash::ALL {
            let mut salt = [0; SALT_BYTES];
            getrandom::fill(&mut salt).map_err(|_| CredentialsError::Random)?;
            keys.push(Keys::derive(hash, &prepared, &salt, iterations)?);
        }
        Ok(Self { keys })
    }

    /// The same credentials with these keys, in the place of those of the same hash function.
    pub fn with(mut self, keys: Keys) -> Self {
        self.keys.retain(|one| one.hash != keys.hash);
        self.keys.push(keys);
        self
    }

    /// The keys for that hash function.
    pub fn keys(&self, hash: Hash) -> Option<&Keys> {
        self.keys.iter().find(|keys| keys.hash == hash)
    }

    /// All keys.
    pub fn all(&self) -> &[Keys] {
        &self.keys
    }

    /// Whether every hash function has keys of at least that many rounds.
    pub fn is_current(&self, iterations: u32) -> bool {
        Hash::ALL
            .into_iter()
            .all(|hash| self.keys(hash).is_some_and(|keys| keys.iterations() >= iterations))
    }

    /// Whether this is the password; without keys nothing is. Expensive.
    pub fn check_plain(&self, password: &str) -> bool {
        self.keys_for_plain().is_some_and(|keys| keys.check_plain(password))
    }

    /// The keys that a password itself is compared with: SHA-512 is four times as slow.
    pub(super) fn keys_for_plain(&self) -> Option<&Keys> {
        [Hash::Sha256, Hash::Sha512, Hash::Sha1].into_iter().find_map(|hash| self.keys(hash))
    }

    /// The bytes to store: a version, then for each hash function its number, the iterations,
    /// the salt with its length, and the two keys.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for keys in &self.keys {
            bytes.push(number(keys.hash));
            bytes.extend_from_slice(&keys.iterations().to_be_bytes());
            // Every constructor holds a salt to SALT_BYTES_MAX, which one byte can say.
            bytes.push(u8::try_from(keys.salt.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(&keys.salt);
            bytes.extend_from_slice(keys.stored_key());
            bytes.extend_from_slice(keys.server_key());
        }
        bytes
    }

    /// Reads what [`Credentials::encode`] wrote, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, CredentialsError> {
        let (version, mut rest) = bytes.split_first().ok_or(CredentialsError::Malformed)?;
        if *version != VERSION {
            return Err(CredentialsError::Version(*version));
        }
        let mut credentials = Self::default();
        while !rest.is_empty() {
            let keys = take_keys(&mut rest).ok_or(CredentialsError::Malformed)??;
            if credentials.keys(keys.hash).is_some() {
                return Err(CredentialsError::Malformed);
            }
            credentials.keys.push(keys);
        }
        Ok(credentials)
    }
}

/// The number of a hash function in stored bytes.
fn number(hash: Hash) -> u8 {
    match hash {
        Hash::Sha1 => 1,
        Hash::Sha256 => 2,
        Hash::Sha512 => 3,
    }
}

/// Takes the keys of one hash function from the front; `None` if there are too few bytes.
fn take_keys(rest: &mut &[u8]) -> Option<Result<Keys, CredentialsError>> {
    let tag = *rest.split_off_first()?;
    let hash = Hash::ALL.into_iter().find(|hash| number(*hash) == tag)?;
    let iterations = u32::from_be_bytes(rest.split_off(..4)?.try_into().ok()?);
    let salt_bytes = *rest.split_off_first()?;
    let salt = rest.split_off(..usize::from(salt_bytes))?;
    let stored_key = rest.split_off(..hash.bytes())?;
    let server_key = rest.split_off(..hash.bytes())?;
    Some(Keys::from_parts(hash, (salt, iterations), stored_key, server_key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn juliet() -> Credentials {
        Credentials::new("R0m30Myr0m30", ITERATIONS_DEFAULT).unwrap()
    }

    #[test]
    fn only_the_password_is_the_password() {
        let credentials = juliet();
        assert!(credentials.check_plain("R0m30Myr0m30"));
        // Soft hyphens show nothing and count for nothing.
        assert!(credentials.check_plain("R0m30\u{AD}Myr0m30"));
        for wrong in ["", "r0m30Myr0m30", "R0m30Myr0m3", "R0m30Myr0m30 ", "\0", "\u{AD}"] {
            assert!(!credentials.check_plain(wrong), "{wrong:?}");
        }
        assert!(!Credentials::default().check_plain("R0m30Myr0m30"));
    }

    #[test]
    fn each_hash_alone_knows_the_password() {
        for keys in juliet().all() {
            let alone = Credentials::default().with(keys.clone());
            assert!(alone.check_plain("R0m30Myr0m30"));
            assert!(!alone.check_plain("wherefore"));
            assert!(!alone.is_current(ITERATIONS_DEFAULT));
        }
    }

    #[test]
    fn salts_differ_between_hashes_and_accounts() {
        let mut salts: Vec<_> = [juliet(), juliet()]
            .iter()
            .flat_map(Credentials::all)
            .map(|keys| keys.salt().to_vec())
            .collect();
        assert!(salts.iter().all(|salt| salt.len() == SALT_BYTES));
        salts.sort();
        salts.dedup();
        assert_eq!(salts.len(), 6);
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let credentials = juliet();
        let bytes = credentials.encode();
        let read = Credentials::decode(&bytes).unwrap();
        assert_eq!(read.encode(), bytes);
        assert!(read.check_plain("R0m30Myr0m30"));
        assert!(read.is_current(ITERATIONS_DEFAULT));
        assert!(!read.is_current(ITERATIONS_DEFAULT + 1));
        assert!(Credentials::decode(&Credentials::default().encode()).unwrap().all().is_empty());
    }

    #[test]
    fn stored_bytes_are_read_wholly_or_not_at_all() {
        let bytes = juliet().encode();
        let ends: Vec<_> =
            (0..bytes.len()).filter(|end| Credentials::decode(&bytes[..*end]).is_ok()).collect();
        // After the version, after one and after two sets of keys.
        assert_eq!(ends, [1, 1 + 6 + 16 + 2 * 20, 1 + 2 * (6 + 16) + 2 * 20 + 2 * 32]);
        let mut newer = bytes.clone();
        newer[0] = 2;
        assert_eq!(Credentials::decode(&newer).err(), Some(CredentialsError::Version(2)));
        let mut unknown = bytes.clone();
        unknown[1] = 9;
        let mut doubled = bytes.clone();
        doubled.extend_from_slice(&bytes[1..]);
        let mut trailing = bytes.clone();
        trailing.push(0);
        let mut no_rounds = bytes;
        no_rounds[2..6].fill(0);
        assert_eq!(Credentials::decode(&no_rounds).err(), Some(CredentialsError::Iterations));
        for wrong in [&b""[..], &unknown, &doubled, &trailing] {
            assert_eq!(Credentials::decode(wrong).err(), Some(CredentialsError::Malformed));
        }
    }

    #[test]
    fn weak_or_absurd_parameters_are_refused() {
        for iterations in [0, ITERATIONS_MIN - 1, ITERATIONS_MAX + 1, u32::MAX] {
            assert_eq!(
                Credentials::new("pencil", iterations).err(),
                Some(CredentialsError::Iterations)
            );
        }
        for password in ["", "bell\u{7}", "\u{1F600}"] {
            assert!(matches!(
                Credentials::new(password, ITERATIONS_DEFAULT),
                Err(CredentialsError::Password(_))
            ));
        }
        let parts = |salt: &[u8], iterations, stored: &[u8], server: &[u8]| {
            Keys::from_parts(Hash::Sha1, (salt, iterations), stored, server).err()
        };
        assert_eq!(parts(&[1], 4096, &[0; 20], &[0; 20]), None);
        assert_eq!(parts(&[1], 0, &[0; 20], &[0; 20]), Some(CredentialsError::Iterations));
        for wrong in [
            parts(&[], 4096, &[0; 20], &[0; 20]),
            parts(&[1; 256], 4096, &[0; 20], &[0; 20]),
            parts(&[1], 4096, &[0; 21], &[0; 20]),
            parts(&[1], 4096, &[0; 20], &[0; 32]),
        ] {
            assert_eq!(wrong, Some(CredentialsError::Malformed));
        }
    }

    #[test]
    fn keys_from_elsewhere_are_those_of_the_published_exchange() {
        // RFC 5802 §5: user "user" with password "pencil".
        let salt = [0x41, 0x25, 0xc2, 0x47, 0xe4, 0x3a, 0xb1, 0xe9, 0x3c, 0x6d, 0xff, 0x76];
        let rounds = NonZeroU32::new(4096).unwrap();
        let derived = Keys::derive(Hash::Sha1, "pencil", &salt, rounds).unwrap();
        let salted = Hash::Sha1.stretch(b"pencil", &salt, rounds);
        let upgraded =
            Keys::from_salted_password(Hash::Sha1, (&salt, 4096), salted.as_ref()).unwrap();
        let imported =
            Keys::from_parts(Hash::Sha1, (&salt, 4096), derived.stored_key(), derived.server_key())
                .unwrap();
        for keys in [derived, upgraded, imported] {
            assert!(Credentials::default().with(keys.clone()).check_plain("pencil"));
            let first = b"n=user,r=fyko+d2lbbFgONRv9qkxdawL,\
                r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096,";
            let last = b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j";
            let signature = keys.sign(&[first, last]);
            assert_eq!(
                super::super::encoding::encode(signature.as_ref()),
                "rmF9pqV8S7suAoZWja4dJRkFsKQ="
            );
        }
    }
}
