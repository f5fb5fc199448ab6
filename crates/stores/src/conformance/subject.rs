//! The store under test, and the words in which the promises are written.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use verona_core::store::Store;
use verona_core::store::batch::{Batch, Write};
use verona_core::store::error::{Fault, StoreError};
use verona_core::store::shape::{Entry, Owner, Page, Record, Seq, Slice, Table};

/// A store to be tested, and what must live as long as it does.
pub struct Subject {
    /// The store, empty.
    pub store: Arc<dyn Store>,
    /// A directory or server that the store needs; dropped after it.
    pub keep: Box<dyn Any + Send>,
}

impl Subject {
    /// A store that needs nothing else.
    pub fn new(store: impl Store) -> Self {
        Self { store: Arc::new(store), keep: Box::new(()) }
    }

    /// A store and what it needs.
    pub fn with(store: impl Store, keep: impl Any + Send) -> Self {
        Self { store: Arc::new(store), keep: Box::new(keep) }
    }
}

/// Plays one promise against a fresh store and closes it.
pub fn play<F>(make: impl Fn() -> Subject, promise: impl Fn(Arc<dyn Store>) -> F)
where
    F: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let subject = make();
    runtime.block_on(async {
        promise(subject.store.clone()).await;
        subject.store.close().await;
    });
    drop(subject.store);
    drop(subject.keep);
}

pub(super) const VALUE: Table = Table::value("test.value");
pub(super) const SET: Table = Table::set("test.set");
pub(super) const MAP: Table = Table::map("test.map");
pub(super) const LOG: Table = Table::log("test.log");
pub(super) const OTHER_LOG: Table = Table::log("test.other-log");

pub(super) fn owner(name: &str) -> Owner {
    name.into()
}

/// A record whose stanza tells its place, so that no two are alike.
pub(super) fn record(seq: Seq, peer: &str, flags: u32) -> Record {
    let stanza =
        Bytes::from(format!("<message id='{seq}'><body>Wherefore {seq}?</body></message>"));
    Record { seq, epoch: 7, peer: peer.into(), flags, stanza }
}

/// Submits one batch and waits for it.
pub(super) async fn write(
    store: &Arc<dyn Store>,
    fill: impl FnOnce(&mut Batch),
) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    fill(&mut batch);
    store.submit(batch).await
}

/// Submits one batch that must succeed.
pub(super) async fn done(store: &Arc<dyn Store>, fill: impl FnOnce(&mut Batch)) {
    write(store, fill).await.expect("the batch is settled");
}

/// Submits one write that must succeed.
pub(super) async fn one(store: &Arc<dyn Store>, only: Write) {
    done(store, |batch| batch.writes.push(only)).await;
}

pub(super) fn is_refused(outcome: Result<(), StoreError>) -> bool {
    outcome.is_err_and(|error| error.fault == Fault::Refused)
}

pub(super) async fn value_of(
    store: &Arc<dyn Store>,
    table: Table,
    of: &Owner,
    key: &str,
) -> Option<Bytes> {
    store.entry(table, of, key).await.expect("an entry is read")
}

pub(super) async fn entries_of(store: &Arc<dyn Store>, of: &Owner, tables: &[Table]) -> Vec<Entry> {
    store.entries(of, tables).await.expect("entries are read")
}

pub(super) async fn page_of(store: &Arc<dyn Store>, log: Table, of: &Owner, slice: &Slice) -> Page {
    store.page(log, of, slice).await.expect("a page is read")
}

/// The whole log.
pub(super) async fn all_of(store: &Arc<dyn Store>, log: Table, of: &Owner) -> Vec<Record> {
    let page = page_of(store, log, of, &Slice { count_max: usize::MAX, ..Slice::default() }).await;
    assert!(page.complete);
    page.records
}

pub(super) async fn seqs_of(store: &Arc<dyn Store>, log: Table, of: &Owner) -> Vec<Seq> {
    all_of(store, log, of).await.iter().map(|record| record.seq).collect()
}

pub(super) async fn last_of(store: &Arc<dyn Store>, log: Table, of: &Owner) -> Seq {
    store.last_seq(log, of).await.expect("the last place is read")
}
