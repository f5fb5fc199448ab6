//! Why a store refused: what the operator is told; the peer sees only `internal-server-error` or
//! `resource-constraint`.

use std::fmt;
use std::sync::Arc;

use verona_xmpp::error::{Condition, StanzaError};

/// What went wrong, as far as the server must act on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// No space left, or a quota reached: well again when there is space.
    Full,
    /// Reading, writing or syncing failed.
    Io,
    /// What was read is not what was written.
    Damaged,
    /// The data directory was written by a newer version, or is in use by another process.
    Unusable,
    /// The store has been closed.
    Closed,
    /// The batch breaks a rule of its shapes: a mistake of the caller, the disk is well.
    Refused,
}

/// A backend failed.
#[derive(Clone, Debug)]
pub struct StoreError {
    /// The kind of fault.
    pub fault: Fault,
    /// The cause in words, for the log.
    pub cause: Arc<str>,
}

impl StoreError {
    /// A fault with its cause.
    pub fn new(fault: Fault, cause: impl fmt::Display) -> Self {
        Self { fault, cause: cause.to_string().into() }
    }

    /// The store has been closed.
    pub fn closed() -> Self {
        Self::new(Fault::Closed, "the store is closed")
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.fault {
            Fault::Full => "storage is full",
            Fault::Io => "storage failed",
            Fault::Damaged => "stored data is damaged",
            Fault::Unusable => "storage cannot be used",
            Fault::Closed => "storage is closed",
            Fault::Refused => "the write is not allowed",
        };
        write!(f, "{kind}: {}", self.cause)
    }
}

impl std::error::Error for StoreError {}

impl From<StoreError> for StanzaError {
    /// What the peer may know: that it can try again, or nothing.
    fn from(error: StoreError) -> Self {
        match error.fault {
            Fault::Full | Fault::Io => Self::new(Condition::ResourceConstraint),
            Fault::Damaged | Fault::Unusable | Fault::Closed | Fault::Refused => {
                Self::new(Condition::InternalServerError)
            }
        }
    }
}
