//! A store that fails when it is told to: for the tests of whoever must bear it. It stands before
//! another store and keeps the order of tickets, whatever happens to single batches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use verona_core::store::batch::Batch;
use verona_core::store::error::{Fault, StoreError};
use verona_core::store::shape::{Entry, Owner, Page, Record, Seq, Slice, Table};
use verona_core::store::ticket::{CommitNo, Stub, Ticket, issue};
use verona_core::store::{Answer, Store};

/// When a batch that is to fail does so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum When {
    /// The store never gets it: as when the disk refuses.
    Before,
    /// The store keeps it, and only the answer says otherwise: as when power fails behind the sync.
    Behind,
}

/// A store with switches for its faults. Nothing is wrong until one is used.
pub struct Faulty {
    inner: Arc<dyn Store>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    number: CommitNo,
    planned: BTreeMap<CommitNo, (When, Fault)>,
    writes: Option<Fault>,
    reads: Option<Fault>,
    is_held: bool,
    held: Vec<(Stub, Batch)>,
    settling: VecDeque<Settling>,
    is_settling: bool,
}

/// A batch that is under way, with what its ticket will say if not what the store says.
struct Settling {
    stub: Stub,
    inner: Option<Ticket>,
    instead: Option<Fault>,
}

impl Faulty {
    /// A store that works, until it is told otherwise.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// Lets one batch fail: the one that comes `ahead` from now, 0 for the next.
    pub fn fail(&self, ahead: u64, when: When, fault: Fault) {
        let mut state = self.state.lock();
        let number = state.number.saturating_add(ahead).saturating_add(1);
        state.planned.insert(number, (when, fault));
    }

    /// Lets all batches fail from now on, or none: a full disk, and space again.
    pub fn fail_writes(&self, fault: Option<Fault>) {
        self.state.lock().writes = fault;
    }

    /// Lets all questions fail from now on, or none.
    pub fn fail_reads(&self, fault: Option<Fault>) {
        self.state.lock().reads = fault;
    }

    /// Holds all batches back from now on: a slow disk. Their tickets stay open.
    pub fn hold(&self) {
        self.state.lock().is_held = true;
    }

    /// Lets go what was held back, in order, and holds no more.
    pub fn release(&self) {
        let mut state = self.state.lock();
        state.is_held = false;
        for (stub, batch) in std::mem::take(&mut state.held) {
            self.hand_on(&mut state, stub, batch);
        }
    }

    /// How many batches were submitted so far.
    pub fn submitted(&self) -> u64 {
        self.state.lock().number
    }

    fn hand_on(&self, state: &mut State, stub: Stub, batch: Batch) {
        let planned = state.planned.remove(&stub.number());
        let fault = planned.or(state.writes.map(|fault| (When::Before, fault)));
        let (inner, instead) = match fault {
            // An empty batch in its stead tells when those before it are settled.
            Some((When::Before, fault)) => (self.inner.submit(Batch::new()), Some(fault)),
            Some((When::Behind, fault)) => (self.inner.submit(batch), Some(fault)),
            None => (self.inner.submit(batch), None),
        };
        state.settling.push_back(Settling { stub, inner: Some(inner), instead });
        state.settle_what_is_known();
        if !state.settling.is_empty() && !state.is_settling {
            state.is_settling = true;
            let state = self.state.clone();
            std::thread::spawn(move || settle_in_order(&state));
        }
    }

    fn ask<'a, T: 'a + Send>(&'a self, answer: Answer<'a, T>) -> Answer<'a, T> {
        match self.state.lock().reads {
            Some(fault) => Box::pin(ready(Err(told(fault)))),
            None => answer,
        }
    }
}

impl State {
    /// Settles without waiting: a store that settles at once does so behind this one too.
    fn settle_what_is_known(&mut self) {
        while !self.is_settling {
            let known = |first: &Settling| first.inner.as_ref().and_then(Ticket::outcome);
            let Some(outcome) = self.settling.front().and_then(known) else { return };
            let Some(first) = self.settling.pop_front() else { return };
            first.settle(outcome);
        }
    }
}

impl Settling {
    fn settle(self, outcome: Result<(), StoreError>) {
        self.stub.settle(match self.instead {
            Some(fault) => Err(told(fault)),
            None => outcome,
        });
    }
}

/// Waits for the inner tickets, one after the other, until there is none.
fn settle_in_order(state: &Mutex<State>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    loop {
        let inner = {
            let mut state = state.lock();
            match state.settling.front_mut().map(|first| first.inner.take()) {
                Some(inner) => inner,
                None => {
                    state.is_settling = false;
                    return;
                }
            }
        };
        let outcome = match inner {
            Some(ticket) => runtime.block_on(ticket),
            None => Err(StoreError::closed()),
        };
        let first = state.lock().settling.pop_front();
        if let Some(first) = first {
            first.settle(outcome);
        }
    }
}

fn told(fault: Fault) -> StoreError {
    StoreError::new(fault, "as the test wants it")
}

impl Store for Faulty {
    fn submit(&self, batch: Batch) -> Ticket {
        let mut state = self.state.lock();
        state.number = state.number.saturating_add(1);
        let (ticket, stub) = issue(state.number);
        if state.is_held {
            state.held.push((stub, batch));
        } else {
            self.hand_on(&mut state, stub, batch);
        }
        ticket
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        self.inner.room()
    }

    fn is_crowded(&self) -> bool {
        self.inner.is_crowded()
    }

    fn entries<'a>(&'a self, owner: &'a Owner, tables: &'a [Table]) -> Answer<'a, Vec<Entry>> {
        self.ask(self.inner.entries(owner, tables))
    }

    fn entry<'a>(
        &'a self,
        table: Table,
        owner: &'a Owner,
        key: &'a str,
    ) -> Answer<'a, Option<bytes::Bytes>> {
        self.ask(self.inner.entry(table, owner, key))
    }

    fn owners<'a>(
        &'a self,
        table: Table,
        after: Option<&'a str>,
        count_max: usize,
    ) -> Answer<'a, Vec<Arc<str>>> {
        self.ask(self.inner.owners(table, after, count_max))
    }

    fn page<'a>(&'a self, log: Table, owner: &'a Owner, slice: &'a Slice) -> Answer<'a, Page> {
        self.ask(self.inner.page(log, owner, slice))
    }

    fn count<'a>(&'a self, log: Table, owner: &'a Owner, slice: &'a Slice) -> Answer<'a, u64> {
        self.ask(self.inner.count(log, owner, slice))
    }

    fn record<'a>(&'a self, log: Table, owner: &'a Owner, seq: Seq) -> Answer<'a, Option<Record>> {
        self.ask(self.inner.record(log, owner, seq))
    }

    fn peers<'a>(
        &'a self,
        log: Table,
        owner: &'a Owner,
        flags_any: u32,
    ) -> Answer<'a, Vec<(Arc<str>, Seq)>> {
        self.ask(self.inner.peers(log, owner, flags_any))
    }

    fn last_seq<'a>(&'a self, log: Table, owner: &'a Owner) -> Answer<'a, Seq> {
        self.ask(self.inner.last_seq(log, owner))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.release();
        Box::pin(async {
            // What is under way is told before the close is done.
            let last = self.submit(Batch::new());
            let _ = last.await;
            self.inner.close().await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Subject;
    use crate::memory::Memory;
    use crate::scratch::Scratch;
    use crate::sqlite::Sqlite;

    mod before_memory {
        use super::*;

        crate::conformance!(|| Subject::new(Faulty::new(Arc::new(Memory::new()))));
    }

    mod before_sqlite {
        use super::*;

        crate::conformance!(|| {
            let scratch = Scratch::new().expect("a directory");
            let store = Sqlite::open(&scratch.path().join("verona.db")).expect("a store");
            Subject::with(Faulty::new(Arc::new(store)), scratch)
        });
    }

    const VALUE: Table = Table::value("test.value");

    fn put(store: &Faulty, owner: &str) -> Ticket {
        let mut batch = Batch::new();
        batch.put(VALUE, &owner.into(), "", "1");
        store.submit(batch)
    }

    fn fault(ticket: &Ticket) -> Option<Fault> {
        ticket.outcome().and_then(Result::err).map(|error| error.fault)
    }

    fn kept(store: &Faulty) -> Vec<Owner> {
        let answer = store.inner.owners(VALUE, None, 10);
        futures_util::FutureExt::now_or_never(answer).expect("at once").expect("owners")
    }

    #[test]
    fn the_batch_that_is_meant_fails_and_no_other() {
        let store = Faulty::new(Arc::new(Memory::new()));
        store.fail(1, When::Before, Fault::Io);
        store.fail(2, When::Behind, Fault::Full);
        let tickets = ["a", "b", "c", "d"].map(|owner| put(&store, owner));
        assert_eq!(tickets.each_ref().map(fault), [None, Some(Fault::Io), Some(Fault::Full), None]);
        assert_eq!(kept(&store), ["a".into(), "c".into(), "d".into()] as [Owner; 3]);
    }

    #[test]
    fn a_full_disk_is_full_until_there_is_space() {
        let store = Faulty::new(Arc::new(Memory::new()));
        store.fail_writes(Some(Fault::Full));
        assert_eq!(fault(&put(&store, "a")), Some(Fault::Full));
        assert_eq!(fault(&put(&store, "b")), Some(Fault::Full));
        store.fail_writes(None);
        assert_eq!(put(&store, "c").outcome().map(|outcome| outcome.is_ok()), Some(true));
        assert_eq!(kept(&store), ["c".into()] as [Owner; 1]);
    }

    #[test]
    fn what_is_held_settles_in_order_when_it_is_let_go() {
        let store = Faulty::new(Arc::new(Memory::new()));
        store.hold();
        let tickets = ["a", "b"].map(|owner| put(&store, owner));
        assert!(tickets.iter().all(|ticket| ticket.outcome().is_none()));
        assert!(kept(&store).is_empty());
        store.release();
        assert!(tickets.iter().all(|ticket| ticket.outcome().is_some_and(|o| o.is_ok())));
        assert_eq!(store.submitted(), 2);
    }

    #[test]
    fn questions_fail_when_they_are_to() {
        let store = Faulty::new(Arc::new(Memory::new()));
        store.fail_reads(Some(Fault::Damaged));
        let ask = || {
            let owner: Owner = "a".into();
            let answer = futures_util::FutureExt::now_or_never(store.entry(VALUE, &owner, ""));
            answer.expect("at once").map_err(|error| error.fault)
        };
        assert_eq!(ask(), Err(Fault::Damaged));
        store.fail_reads(None);
        assert_eq!(ask(), Ok(None));
    }
}
