//! What SQLite says went wrong, in the words of the store.

use rusqlite::ErrorCode;
use verona_core::store::error::{Fault, StoreError};

/// An error on its way out of this backend.
#[derive(Debug)]
pub enum Trouble {
    /// SQLite failed.
    Sql(rusqlite::Error),
    /// The batch is refused; the disk is well.
    Refused(StoreError),
    /// We found damage, or cannot go on.
    Store(StoreError),
}

impl Trouble {
    /// What was read is not what was written.
    pub fn damaged(what: impl std::fmt::Display) -> Self {
        Self::Store(StoreError::new(Fault::Damaged, what))
    }

    /// Whether the disk has no space left for it.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Sql(error) if fault_of(error) == Fault::Full)
    }

    /// Whether only the batch is wrong, so that the others of its group can stand.
    pub fn is_of_the_batch(&self) -> bool {
        match self {
            Self::Sql(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::TooBig | ErrorCode::ConstraintViolation)
            ),
            Self::Refused(_) => true,
            Self::Store(_) => false,
        }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Sql(error) => Self::new(fault_of(&error), error),
            Trouble::Refused(error) | Trouble::Store(error) => error,
        }
    }
}

fn fault_of(error: &rusqlite::Error) -> Fault {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Fault::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TypeMismatch) => {
            Fault::Damaged
        }
        Some(ErrorCode::TooBig | ErrorCode::ConstraintViolation) => Fault::Refused,
        Some(_) => Fault::Io,
        // A column that is not of the type we wrote, or a number out of its range.
        None => Fault::Damaged,
    }
}
