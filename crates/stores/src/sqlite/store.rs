//! The store on SQLite: a queue to one writer, and readers beside it.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use futures_util::future::{BoxFuture, ready};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use verona_core::store::batch::Batch;
use verona_core::store::error::{Fault, StoreError};
use verona_core::store::shape::{Entry, Owner, Page, Record, Seq, Slice, Table};
use verona_core::store::ticket::Ticket;
use verona_core::store::{Answer, Store};

use crate::sqlite::connection;
use crate::sqlite::files::Hold;
use crate::sqlite::names::Known;
use crate::sqlite::queue::Queue;
use crate::sqlite::read::join;
use crate::sqlite::readers::Readers;
use crate::sqlite::recover;
use crate::sqlite::tuning::Tuning;
use crate::sqlite::verify;
use crate::sqlite::writer::Writer;
use crate::sqlite::young::Young;

/// A database file, held by this process alone.
#[derive(Debug)]
pub struct Sqlite {
    queue: Arc<Queue>,
    known: Arc<Known>,
    young: Arc<RwLock<Young>>,
    readers: Arc<Readers>,
    writer: Mutex<Option<JoinHandle<()>>>,
    ended: watch::Receiver<bool>,
}

impl Sqlite {
    /// Opens a database file, made when missing, with its directory. What the last process left
    /// unfinished, however it ended, is recovered first.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_tuned(path, Tuning::default())
    }

    /// Opens a database file as [`Sqlite::open`] does, with other sizes than the usual ones.
    pub fn open_tuned(path: &Path, tuning: Tuning) -> Result<Self, StoreError> {
        let hold = Hold::take(path)?;
        let connection = connection::writing(path, &tuning)?;
        let young = Arc::new(RwLock::new(recover::young(&connection)?));
        let (known, queue) = (Arc::<Known>::default(), Arc::<Queue>::default());
        let readers = Readers::start(path.into(), known.clone(), young.clone());
        let readers = Arc::new(readers.map_err(no_thread)?);
        let shared = (known.clone(), young.clone());
        let writer = Writer { path: path.into(), known, young, queue: queue.clone(), tuning };
        let (end, ended) = watch::channel(false);
        let closing = readers.clone();
        let work = move || {
            writer.run(connection);
            closing.close();
            drop(hold);
            let _ = end.send(true);
        };
        let thread = std::thread::Builder::new().name("store-write".into()).spawn(work);
        let writer = Mutex::new(Some(thread.map_err(no_thread)?));
        let (known, young) = shared;
        Ok(Self { queue, known, young, readers, writer, ended })
    }
}

impl Sqlite {
    /// What is wrong with a database file that no process has open: damaged rows, broken
    /// structure. Nothing when all is well.
    pub fn verify(path: &Path) -> Vec<String> {
        verify::verify(path)
    }

    /// The page, if all of it is young: the tail of a log, which is asked for most.
    fn young_page(&self, log: Table, owner: &Owner, slice: &Slice) -> Option<Page> {
        if self.queue.is_closed() || slice.words.is_some() || slice.skip > 0 {
            return None;
        }
        let log = self.known.log_by_name(log.name, owner)?;
        let young = self.young.read();
        let log = young.log(log)?;
        if log.may_be_moved(slice) && !slice.from_end {
            return None;
        }
        let records = log.select(slice);
        let is_all = records.len() > slice.count_max || !log.may_be_moved(slice);
        is_all.then(|| join(slice, Vec::new(), records))
    }
}

impl Store for Sqlite {
    fn submit(&self, batch: Batch) -> Ticket {
        self.queue.submit(batch)
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.queue.room())
    }

    fn is_crowded(&self) -> bool {
        self.queue.is_crowded()
    }

    fn entries<'a>(&'a self, owner: &'a Owner, tables: &'a [Table]) -> Answer<'a, Vec<Entry>> {
        let (owner, tables) = (owner.clone(), tables.to_vec());
        Box::pin(self.readers.ask(move |read| read.entries(&owner, &tables)))
    }

    fn entry<'a>(
        &'a self,
        table: Table,
        owner: &'a Owner,
        key: &'a str,
    ) -> Answer<'a, Option<bytes::Bytes>> {
        let (owner, key) = (owner.clone(), Box::<str>::from(key));
        Box::pin(self.readers.ask(move |read| read.entry(table, &owner, &key)))
    }

    fn owners<'a>(
        &'a self,
        table: Table,
        after: Option<&'a str>,
        count_max: usize,
    ) -> Answer<'a, Vec<Arc<str>>> {
        let after = after.map(Box::<str>::from);
        Box::pin(self.readers.ask(move |read| read.owners(table, after.as_deref(), count_max)))
    }

    fn page<'a>(&'a self, log: Table, owner: &'a Owner, slice: &'a Slice) -> Answer<'a, Page> {
        if let Some(page) = self.young_page(log, owner, slice) {
            return Box::pin(ready(Ok(page)));
        }
        let (owner, slice) = (owner.clone(), slice.clone());
        Box::pin(self.readers.ask(move |read| read.page(log, &owner, &slice)))
    }

    fn count<'a>(&'a self, log: Table, owner: &'a Owner, slice: &'a Slice) -> Answer<'a, u64> {
        let (owner, slice) = (owner.clone(), slice.clone());
        Box::pin(self.readers.ask(move |read| read.count(log, &owner, &slice)))
    }

    fn peers<'a>(
        &'a self,
        log: Table,
        owner: &'a Owner,
        flags_any: u32,
    ) -> Answer<'a, Vec<(Arc<str>, Seq)>> {
        let owner = owner.clone();
        Box::pin(self.readers.ask(move |read| read.peers(log, &owner, flags_any)))
    }

    fn record<'a>(&'a self, log: Table, owner: &'a Owner, seq: Seq) -> Answer<'a, Option<Record>> {
        let owner = owner.clone();
        Box::pin(self.readers.ask(move |read| read.record(log, &owner, seq)))
    }

    fn last_seq<'a>(&'a self, log: Table, owner: &'a Owner) -> Answer<'a, Seq> {
        let owner = owner.clone();
        Box::pin(self.readers.ask(move |read| read.last_seq(log, &owner)))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.queue.close();
        let mut ended = self.ended.clone();
        Box::pin(async move {
            // An error means that the thread is gone, which is what we wait for.
            let _ = ended.wait_for(|ended| *ended).await;
        })
    }
}

impl Drop for Sqlite {
    /// Waits for the writer: whoever opens the file next finds it free.
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.writer.lock().take() {
            let _ = thread.join();
        }
    }
}

fn no_thread(error: std::io::Error) -> StoreError {
    StoreError::new(Fault::Unusable, format_args!("no thread for the store: {error}"))
}

#[cfg(test)]
mod tests;
