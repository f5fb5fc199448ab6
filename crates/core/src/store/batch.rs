//! A batch: the writes of one decision, all or nothing.

use bytes::Bytes;

use crate::store::shape::{Owner, Record, Seq, Table};

/// One write. Entries and records are independent of each other.
#[allow(missing_docs, reason = "each field is what its type and the variant's sentence say")]
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields say by their types what they are")]
pub enum Write {
    /// Sets an entry of a value, set or map table.
    Put { table: Table, owner: Owner, key: Box<str>, value: Bytes },
    /// Removes an entry; nothing happens when there is none.
    Delete { table: Table, owner: Owner, key: Box<str> },
    /// Removes all entries and records that the owner has in a table.
    Clear { table: Table, owner: Owner },
    /// Removes all that the owner has in any table; `last_seq` of its logs is kept.
    Erase { owner: Owner },
    /// Appends to a log. The sequence number is higher than any before it in this log, also than
    /// those of removed records, and at most `i64::MAX`; else the batch is refused.
    Append { log: Table, owner: Owner, record: Record },
    /// Replaces flags and stanza of a record; nothing happens when it is gone.
    Amend { log: Table, owner: Owner, seq: Seq, flags: u32, stanza: Bytes },
    /// Removes the flag bits of all records up to and including a place, and then those records up
    /// to there that have no bit at all.
    Unflag { log: Table, owner: Owner, through: Seq, bits: u32 },
    /// Removes one record.
    Remove { log: Table, owner: Owner, seq: Seq },
    /// Removes all records up to and including a place.
    Trim { log: Table, owner: Owner, through: Seq },
}

/// Writes that are applied together, in their order.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The writes.
    pub writes: Vec<Write>,
}

impl Batch {
    /// A batch without writes; submitting it waits for all that was submitted before.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Sets an entry.
    pub fn put(&mut self, table: Table, owner: &Owner, key: &str, value: impl Into<Bytes>) {
        self.writes.push(Write::Put {
            table,
            owner: owner.clone(),
            key: key.into(),
            value: value.into(),
        });
    }

    /// Removes an entry.
    pub fn delete(&mut self, table: Table, owner: &Owner, key: &str) {
        self.writes.push(Write::Delete { table, owner: owner.clone(), key: key.into() });
    }

    /// Removes all that the owner has in a table.
    pub fn clear(&mut self, table: Table, owner: &Owner) {
        self.writes.push(Write::Clear { table, owner: owner.clone() });
    }

    /// Appends to a log.
    pub fn append(&mut self, log: Table, owner: &Owner, record: Record) {
        self.writes.push(Write::Append { log, owner: owner.clone(), record });
    }

    /// About how many bytes of memory the batch holds while it waits for the writer.
    pub fn bytes(&self) -> usize {
        self.writes.iter().map(Write::bytes).sum::<usize>().saturating_add(64)
    }
}

impl Write {
    fn bytes(&self) -> usize {
        let payload = match self {
            Self::Put { key, value, .. } => key.len().saturating_add(value.len()),
            Self::Delete { key, .. } => key.len(),
            Self::Append { record, .. } => record.stanza.len(),
            Self::Amend { stanza, .. } => stanza.len(),
            _ => 0,
        };
        payload.saturating_add(size_of::<Self>())
    }
}
