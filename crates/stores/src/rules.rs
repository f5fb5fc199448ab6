//! What a write may ask of a shape, checked alike by every store before anything is written.

use verona_core::store::batch::Write;
use verona_core::store::error::{Fault, StoreError};
use verona_core::store::shape::{Seq, Shape, Table};

/// The highest sequence number: what a signed integer of a database holds.
pub const SEQ_MAX: Seq = i64::MAX as Seq;

/// Whether the write fits the shape of its table.
pub fn fits(write: &Write) -> Result<(), StoreError> {
    match write {
        Write::Put { table, key, value, .. } => {
            entry_key(*table, key)?;
            if table.shape == Shape::Set && !value.is_empty() {
                return Err(refused(*table, "a set keeps keys without values"));
            }
            Ok(())
        }
        Write::Delete { table, key, .. } => entry_key(*table, key),
        Write::Append { log, record, .. } => {
            a_log(*log)?;
            if record.seq == 0 || record.seq > SEQ_MAX {
                return Err(refused(*log, "a sequence number out of range"));
            }
            Ok(())
        }
        Write::Amend { log, .. }
        | Write::Unflag { log, .. }
        | Write::Remove { log, .. }
        | Write::Trim { log, .. } => a_log(*log),
        Write::Clear { .. } | Write::Erase { .. } => Ok(()),
    }
}

/// Whether a record may be appended to a log whose highest sequence number so far is `last`.
pub fn rises(log: Table, last: Seq, seq: Seq) -> Result<(), StoreError> {
    if seq > last {
        return Ok(());
    }
    Err(refused(log, format_args!("record {seq} does not come behind {last}")))
}

fn entry_key(table: Table, key: &str) -> Result<(), StoreError> {
    match table.shape {
        Shape::Log => Err(refused(table, "a log has no entries")),
        Shape::Value if !key.is_empty() => Err(refused(table, "a value has no key")),
        Shape::Value | Shape::Set | Shape::Map => Ok(()),
    }
}

fn a_log(table: Table) -> Result<(), StoreError> {
    if table.shape == Shape::Log {
        return Ok(());
    }
    Err(refused(table, "only a log has records"))
}

fn refused(table: Table, why: impl std::fmt::Display) -> StoreError {
    StoreError::new(Fault::Refused, format_args!("table {}: {why}", table.name))
}
