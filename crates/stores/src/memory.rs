//! A store that forgets: for tests. Every batch settles before `submit` returns.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use verona_core::store::batch::{Batch, Write};
use verona_core::store::error::StoreError;
use verona_core::store::shape::{Entry, Owner, Page, Record, Seq, Slice, Table};
use verona_core::store::ticket::{CommitNo, Ticket, issue};
use verona_core::store::{Answer, Store};

use crate::rules;

/// The shapes in memory.
#[derive(Debug, Default)]
pub struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    number: CommitNo,
    closed: bool,
    tables: BTreeMap<&'static str, BTreeMap<Owner, Shelf>>,
}

/// What one owner has in one table.
#[derive(Debug, Default)]
struct Shelf {
    entries: BTreeMap<Box<str>, Bytes>,
    records: BTreeMap<Seq, Record>,
    last_seq: Seq,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn ask<'a, T: Send + 'a>(&'a self, look: impl FnOnce(&Inner) -> T) -> Answer<'a, T> {
        let inner = self.inner.lock();
        let answer = if inner.closed { Err(StoreError::closed()) } else { Ok(look(&inner)) };
        Box::pin(ready(answer))
    }
}

impl Store for Memory {
    fn submit(&self, batch: Batch) -> Ticket {
        let mut inner = self.inner.lock();
        inner.number = inner.number.saturating_add(1);
        let (ticket, stub) = issue(inner.number);
        let outcome = inner.check(&batch);
        if outcome.is_ok() {
            for write in batch.writes {
                inner.apply(write);
            }
        }
        stub.settle(outcome);
        ticket
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }

    fn is_crowded(&self) -> bool {
        false
    }

    fn entries<'a>(&'a self, owner: &'a Owner, tables: &'a [Table]) -> Answer<'a, Vec<Entry>> {
        self.ask(|inner| {
            let mut found = Vec::new();
            for table in tables {
                let Some(shelf) = inner.shelf(*table, owner) else { continue };
                found.extend(shelf.entries.iter().map(|(key, value)| Entry {
                    table: *table,
                    key: key.clone(),
                    value: value.clone(),
                }));
            }
            found
        })
    }

    fn entry<'a>(
        &'a self,
        table: Table,
        owner: &'a Owner,
        key: &'a str,
    ) -> Answer<'a, Option<Bytes>> {
        self.ask(|inner| inner.shelf(table, owner)?.entries.get(key).cloned())
    }

    fn owners<'a>(
        &'a self,
        table: Table,
        after: Option<&'a str>,
        count_max: usize,
    ) -> Answer<'a, Vec<Arc<str>>> {
        self.ask(|inner| {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let Some(shelves) = inner.tables.get(table.name) else { return Vec::new() };
            shelves
                .range::<str, _>((from, Bound::Unbounded))
                .filter(|(_, shelf)| !shelf.entries.is_empty() || !shelf.records.is_empty())
                .map(|(owner, _)| owner.clone())
                .take(count_max)
                .collect()
        })
    }

    fn page<'a>(&'a self, log: Table, owner: &'a Owner, slice: &'a Slice) -> Answer<'a, Page> {
        self.ask(|inner| {
            let Some(shelf) = inner.shelf(log, owner) else {
                return Page { complete: true, ..Page::default() };
            };
            let meant = shelf.records.values().filter(|record| selects(slice, record));
            if slice.from_end {
                let mut page = cut(meant.rev(), slice);
                page.records.reverse();
                page
            } else {
                cut(meant, slice)
            }
        })
    }

    fn count<'a>(&'a self, log: Table, owner: &'a Owner, slice: &'a Slice) -> Answer<'a, u64> {
        self.ask(|inner| {
            inner.shelf(log, owner).map_or(0, |shelf| {
                shelf.records.values().filter(|record| selects(slice, record)).count() as u64
            })
        })
    }

    fn peers<'a>(
        &'a self,
        log: Table,
        owner: &'a Owner,
        flags_any: u32,
    ) -> Answer<'a, Vec<(Arc<str>, Seq)>> {
        self.ask(|inner| {
            let slice = Slice { flags_any, ..Slice::default() };
            let records = inner.shelf(log, owner).into_iter().flat_map(|of| of.records.values());
            let meant = records.filter(|record| selects(&slice, record));
            let lasts: BTreeMap<_, _> = meant.map(|of| (of.peer.clone(), of.seq)).collect();
            lasts.into_iter().collect()
        })
    }

    fn record<'a>(&'a self, log: Table, owner: &'a Owner, seq: Seq) -> Answer<'a, Option<Record>> {
        self.ask(|inner| inner.shelf(log, owner)?.records.get(&seq).cloned())
    }

    fn last_seq<'a>(&'a self, log: Table, owner: &'a Owner) -> Answer<'a, Seq> {
        self.ask(|inner| inner.shelf(log, owner).map_or(0, |shelf| shelf.last_seq))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.lock().closed = true;
        Box::pin(ready(()))
    }
}

impl Inner {
    fn shelf(&self, table: Table, owner: &str) -> Option<&Shelf> {
        self.tables.get(table.name)?.get(owner)
    }

    fn shelf_mut(&mut self, table: Table, owner: &Owner) -> &mut Shelf {
        self.tables.entry(table.name).or_default().entry(owner.clone()).or_default()
    }

    /// Everything that can fail, so that applying cannot and a batch is all or nothing.
    fn check(&self, batch: &Batch) -> Result<(), StoreError> {
        if self.closed {
            return Err(StoreError::closed());
        }
        let mut lasts: BTreeMap<(&str, &str), Seq> = BTreeMap::new();
        for write in &batch.writes {
            rules::fits(write)?;
            if let Write::Append { log, owner, record } = write {
                let last = lasts
                    .entry((log.name, owner))
                    .or_insert_with(|| self.shelf(*log, owner).map_or(0, |shelf| shelf.last_seq));
                rules::rises(*log, *last, record.seq)?;
                *last = record.seq;
            }
        }
        Ok(())
    }

    fn apply(&mut self, write: Write) {
        match write {
            Write::Put { table, owner, key, value } => {
                self.shelf_mut(table, &owner).entries.insert(key, value);
            }
            Write::Delete { table, owner, key } => {
                self.shelf_mut(table, &owner).entries.remove(&key);
            }
            Write::Clear { table, owner } => self.shelf_mut(table, &owner).empty(),
            Write::Erase { owner } => {
                let shelves = self.tables.values_mut().filter_map(|table| table.get_mut(&owner));
                shelves.for_each(Shelf::empty);
            }
            Write::Append { log, owner, record } => {
                let shelf = self.shelf_mut(log, &owner);
                shelf.last_seq = record.seq;
                shelf.records.insert(record.seq, record);
            }
            Write::Amend { log, owner, seq, flags, stanza } => {
                if let Some(record) = self.shelf_mut(log, &owner).records.get_mut(&seq) {
                    record.flags = flags;
                    record.stanza = stanza;
                }
            }
            Write::Unflag { log, owner, through, bits } => {
                self.shelf_mut(log, &owner).records.retain(|seq, record| {
                    if *seq > through {
                        return true;
                    }
                    record.flags &= !bits;
                    record.flags != 0
                });
            }
            Write::Remove { log, owner, seq } => {
                self.shelf_mut(log, &owner).records.remove(&seq);
            }
            Write::Trim { log, owner, through } => {
                self.shelf_mut(log, &owner).records.retain(|seq, _| *seq > through);
            }
        }
    }
}

impl Shelf {
    /// Forgets all but `last_seq`.
    fn empty(&mut self) {
        self.entries.clear();
        self.records.clear();
    }
}

fn selects(slice: &Slice, record: &Record) -> bool {
    slice.after.is_none_or(|after| record.seq > after)
        && slice.before.is_none_or(|before| record.seq < before)
        && slice.peer.as_ref().is_none_or(|peer| record.peer == *peer)
        && (slice.flags_any == 0 || record.flags & slice.flags_any != 0)
        && record.flags & slice.flags_none == 0
        && slice.words.as_ref().is_none_or(|words| words.are_in(&record.stanza))
}

fn cut<'a>(meant: impl Iterator<Item = &'a Record>, slice: &Slice) -> Page {
    let mut meant = meant.skip(usize::try_from(slice.skip).unwrap_or(usize::MAX));
    let records: Vec<_> = meant.by_ref().take(slice.count_max).cloned().collect();
    Page { records, complete: meant.next().is_none(), looked: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Subject;

    crate::conformance!(|| Subject::new(Memory::new()));
}
