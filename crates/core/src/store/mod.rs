//! What is durable: the shapes that modules see, and the promise each backend makes.

pub mod batch;
pub mod error;
pub mod shape;
pub mod ticket;
pub mod words;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::shape::{Entry, Owner, Page, Record, Seq, Slice, Table};
use crate::store::ticket::Ticket;

/// The result of asking a store.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A backend that keeps the shapes of [`shape`].
///
/// All writes go through [`Store::submit`]: one batch is one atomic step, batches are applied in
/// the order of submission, and a read that starts after a batch was settled sees it.
pub trait Store: Send + Sync + 'static {
    /// Hands a batch to the one writer and returns at once.
    ///
    /// The ticket is settled when the batch is on disk (fsync) or has failed as a whole. Callers
    /// that can wait ask [`Store::room`] before, which is what bounds the writer's queue.
    fn submit(&self, batch: Batch) -> Ticket;

    /// Waits until the writer's queue is below its bound (`limits::WRITER_QUEUE_BYTES_MAX`).
    fn room(&self) -> BoxFuture<'_, ()>;

    /// Whether the writer's queue is at its bound: who hands in more than it waits for slows down.
    fn is_crowded(&self) -> bool;

    /// All entries that an owner has in the given tables (value, set or map): in the order of
    /// `tables`, each named once, and then of the keys.
    fn entries<'a>(&'a self, owner: &'a Owner, tables: &'a [Table]) -> Answer<'a, Vec<Entry>>;

    /// One entry of a table (value, set or map).
    fn entry<'a>(
        &'a self,
        table: Table,
        owner: &'a Owner,
        key: &'a str,
    ) -> Answer<'a, Option<bytes::Bytes>>;

    /// The owners that have entries or records in a table, in order of their text, those behind
    /// `after`, at most `count_max`.
    fn owners<'a>(
        &'a self,
        table: Table,
        after: Option<&'a str>,
        count_max: usize,
    ) -> Answer<'a, Vec<Arc<str>>>;

    /// A page of a log: the records that the slice selects, always in ascending order.
    fn page<'a>(&'a self, log: Table, owner: &'a Owner, slice: &'a Slice) -> Answer<'a, Page>;

    /// How many records the slice selects, ignoring its `count_max` and `skip`.
    fn count<'a>(&'a self, log: Table, owner: &'a Owner, slice: &'a Slice) -> Answer<'a, u64>;

    /// The peers that have a record with one of these bits in a log, 0 asking nothing, each with the
    /// place of its last; in no order. It takes time by the number of peers, not of records, as far
    /// as the last records of each have such a bit.
    fn peers<'a>(
        &'a self,
        log: Table,
        owner: &'a Owner,
        flags_any: u32,
    ) -> Answer<'a, Vec<(Arc<str>, Seq)>>;

    /// One record of a log.
    fn record<'a>(&'a self, log: Table, owner: &'a Owner, seq: Seq) -> Answer<'a, Option<Record>>;

    /// The highest sequence number that was ever appended to an owner's log, also when the
    /// record has been removed since; 0 for none.
    fn last_seq<'a>(&'a self, log: Table, owner: &'a Owner) -> Answer<'a, Seq>;

    /// Settles what was submitted and closes the backend; later batches fail.
    fn close(&self) -> BoxFuture<'_, ()>;
}
