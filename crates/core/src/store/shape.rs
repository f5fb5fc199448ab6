//! The shapes: value, set and map are entries under a key, a log is records in a sequence.

use std::sync::Arc;

use bytes::Bytes;

use crate::store::words::Words;

/// Whose data it is: the text of a bare JID (account, room) or of a domain, in normal form.
pub type Owner = Arc<str>;

/// The place of a record in its log, ascending in the order of appending; never 0.
///
/// Core chooses microseconds since the epoch, made unique and rising per log.
pub type Seq = u64;

/// A table that core or a module declares once, as a constant.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Table {
    /// The name under which the data lies on disk; never reused for anything else.
    pub name: &'static str,
    /// How the data is shaped.
    pub shape: Shape,
}

/// How a table's data is shaped. Everything is per owner.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Shape {
    /// One value, under the empty key.
    Value,
    /// Keys without values.
    Set,
    /// Values under keys.
    Map,
    /// Records in a sequence.
    Log,
}

impl Table {
    /// A table with one value per owner.
    pub const fn value(name: &'static str) -> Self {
        Self { name, shape: Shape::Value }
    }

    /// A table with a set of keys per owner.
    pub const fn set(name: &'static str) -> Self {
        Self { name, shape: Shape::Set }
    }

    /// A table with a map of values per owner.
    pub const fn map(name: &'static str) -> Self {
        Self { name, shape: Shape::Map }
    }

    /// A table with a log per owner.
    pub const fn log(name: &'static str) -> Self {
        Self { name, shape: Shape::Log }
    }
}

/// One entry of a value, set or map table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The table it lies in.
    pub table: Table,
    /// Its key; empty for a value.
    pub key: Box<str>,
    /// What is kept; empty in a set.
    pub value: Bytes,
}

/// One record of a log: a message that was kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Its place in the log.
    pub seq: Seq,
    /// The start of the server process that wrote it; part of the public id, so that an id that
    /// was handed out but lost in a crash is never given to another message.
    pub epoch: u32,
    /// The bare JID of the other side, by which the archive is filtered.
    pub peer: Arc<str>,
    /// What the record is, in bits of core's choosing.
    pub flags: u32,
    /// The stanza as it was delivered, self-contained.
    pub stanza: Bytes,
}

/// Which records of a log are meant.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    /// Only records behind this one.
    pub after: Option<Seq>,
    /// Only records before this one.
    pub before: Option<Seq>,
    /// Only records with this peer.
    pub peer: Option<Arc<str>>,
    /// Only records that have one of these bits; 0 asks nothing.
    pub flags_any: u32,
    /// Only records that have none of these bits.
    pub flags_none: u32,
    /// Only records whose stanza says these words.
    pub words: Option<Arc<Words>>,
    /// Leave out so many of the selection, in the direction of reading, before the page begins.
    pub skip: u64,
    /// Take the last records of the selection, not the first.
    pub from_end: bool,
    /// At most this many.
    pub count_max: usize,
}

/// The records of one page, ascending.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// Whether the selection holds nothing further in the direction of reading.
    pub complete: bool,
    /// Where the store stopped looking for words, although the page has room: so much is looked
    /// through at a time that others need not wait. Who wants more asks on from there.
    pub looked: Option<Seq>,
}
