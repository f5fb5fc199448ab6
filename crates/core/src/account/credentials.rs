//! An account's existence, its secrets and its standing.

use bytes::Bytes;
use verona_xmpp::jid::Jid;
use verona_xmpp::sasl::credentials::Credentials;
use verona_xmpp::sasl::hash::Hash;

use crate::store::Store;
use crate::store::error::{Fault, StoreError};
use crate::store::shape::{Owner, Table};

/// One value per account; that it is there is what makes an account.
pub const ACCOUNTS: Table = Table::value("account");

/// Bytes of all that is kept of a password that was made here.
const USUAL_BYTES: usize = 299;

/// What is kept of an account itself.
#[derive(Clone)]
pub struct Record {
    /// Disabled by the operator: it exists, but nobody can log in.
    pub disabled: bool,
    /// Microseconds since the epoch when it was made.
    pub created_micros: u64,
    /// What its passwords are checked against.
    pub credentials: Credentials,
}

impl Record {
    /// The record as it lies in the store: version, flags, time, credentials.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![1, u8::from(self.disabled)];
        out.extend_from_slice(&self.created_micros.to_le_bytes());
        out.extend_from_slice(&self.credentials.encode());
        out.into()
    }

    /// The record from the store; None when the bytes are not of this form.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[1, flags], rest) = bytes.split_first_chunk::<2>()? else { return None };
        let (created, rest) = rest.split_first_chunk::<8>()?;
        Some(Self {
            disabled: flags & 1 != 0,
            created_micros: u64::from_le_bytes(*created),
            credentials: Credentials::decode(rest).ok()?,
        })
    }
}

/// A hash of all that is kept of a password: another one means another password, or other keys.
pub fn fingerprint(credentials: &Credentials) -> Vec<u8> {
    Hash::Sha256.digest(&credentials.encode()).as_ref().to_vec()
}

/// What fits no keys, and takes as long as a fingerprint does.
pub fn no_fingerprint() -> Vec<u8> {
    Hash::Sha256.digest(&[0; USUAL_BYTES]).as_ref().to_vec()
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("disabled", &self.disabled).finish_non_exhaustive()
    }
}

/// Reads the record of an account; None when there is no such account.
pub async fn read(store: &dyn Store, account: &Jid) -> Result<Option<Record>, StoreError> {
    let owner: Owner = account.bare_str().into();
    let Some(bytes) = store.entry(ACCOUNTS, &owner, "").await? else { return Ok(None) };
    let record = Record::decode(&bytes);
    record.map(Some).ok_or_else(|| {
        StoreError::new(Fault::Damaged, format_args!("the record of {account} cannot be read"))
    })
}
