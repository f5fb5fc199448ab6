//! The one suite on SQLite, as it is used and as it is used up: with tiny generations, and closed
//! and opened again all the time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use verona_core::store::batch::Write;
use verona_core::store::error::Fault;

use super::*;
use crate::conformance::Subject;
use crate::scratch::Scratch;

/// Everything is moved at once and in small parts.
const RESTLESS: Tuning =
    Tuning { generation_bytes: 3000, step_records: 3, checkpoint_pages: 20, ..Tuning::USUAL };

const LOG: Table = Table::log("test.log");

fn subject(tuning: Tuning) -> Subject {
    let scratch = Scratch::new().expect("a directory");
    let path = scratch.path().join("verona.db");
    let store = Sqlite::open_tuned(&path, tuning).expect("the store opens");
    Subject::with(store, scratch)
}

mod as_usual {
    use super::*;

    crate::conformance!(|| subject(Tuning::default()));
}

mod restless {
    use super::*;

    crate::conformance!(|| subject(RESTLESS));
}

mod reopened {
    use super::*;

    crate::conformance!(|| {
        let scratch = Scratch::new().expect("a directory");
        let store = Reopened::open(scratch.path().join("verona.db"));
        Subject::with(store, scratch)
    });
}

/// A store that is closed and opened again before every third question.
struct Reopened {
    path: PathBuf,
    store: Mutex<Option<Arc<Sqlite>>>,
    questions: AtomicU32,
}

impl Reopened {
    fn open(path: PathBuf) -> Self {
        let store = Mutex::new(None);
        let this = Self { path, store, questions: AtomicU32::new(0) };
        this.reopen();
        this
    }

    fn reopen(&self) {
        let mut store = self.store.lock();
        // The old one goes first: it holds the directory.
        drop(store.take());
        let tuning = Tuning { generation_bytes: 20_000, step_records: 5, ..RESTLESS };
        *store = Some(Arc::new(Sqlite::open_tuned(&self.path, tuning).expect("it opens again")));
    }

    fn now(&self) -> Arc<Sqlite> {
        self.store.lock().clone().expect("it is open")
    }

    fn next(&self) -> Arc<Sqlite> {
        let is_closed = self.now().queue.is_closed();
        if !is_closed && self.questions.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            self.reopen();
        }
        self.now()
    }
}

impl Store for Reopened {
    fn submit(&self, batch: Batch) -> Ticket {
        self.now().submit(batch)
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        let store = self.now();
        Box::pin(async move { store.room().await })
    }

    fn is_crowded(&self) -> bool {
        self.now().is_crowded()
    }

    fn entries<'a>(&'a self, owner: &'a Owner, tables: &'a [Table]) -> Answer<'a, Vec<Entry>> {
        let store = self.next();
        Box::pin(async move { store.entries(owner, tables).await })
    }

    fn entry<'a>(
        &'a self,
        table: Table,
        owner: &'a Owner,
        key: &'a str,
    ) -> Answer<'a, Option<Bytes>> {
        let store = self.next();
        Box::pin(async move { store.entry(table, owner, key).await })
    }

    fn owners<'a>(
        &'a self,
        table: Table,
        after: Option<&'a str>,
        count_max: usize,
    ) -> Answer<'a, Vec<Arc<str>>> {
        let store = self.next();
        Box::pin(async move { store.owners(table, after, count_max).await })
    }

    fn page<'a>(&'a self, log: Table, owner: &'a Owner, slice: &'a Slice) -> Answer<'a, Page> {
        let store = self.next();
        Box::pin(async move { store.page(log, owner, slice).await })
    }

    fn count<'a>(&'a self, log: Table, owner: &'a Owner, slice: &'a Slice) -> Answer<'a, u64> {
        let store = self.next();
        Box::pin(async move { store.count(log, owner, slice).await })
    }

    fn record<'a>(&'a self, log: Table, owner: &'a Owner, seq: Seq) -> Answer<'a, Option<Record>> {
        let store = self.next();
        Box::pin(async move { store.record(log, owner, seq).await })
    }

    fn peers<'a>(
        &'a self,
        log: Table,
        owner: &'a Owner,
        flags_any: u32,
    ) -> Answer<'a, Vec<(Arc<str>, Seq)>> {
        let store = self.next();
        Box::pin(async move { store.peers(log, owner, flags_any).await })
    }

    fn last_seq<'a>(&'a self, log: Table, owner: &'a Owner) -> Answer<'a, Seq> {
        let store = self.next();
        Box::pin(async move { store.last_seq(log, owner).await })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let store = self.now();
        Box::pin(async move { store.close().await })
    }
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(what)
}

fn append(owner: &str, seq: Seq, bytes: usize) -> Batch {
    let mut batch = Batch::new();
    let stanza = vec![b'x'; bytes].into();
    let record = Record { seq, epoch: 1, peer: "a@b".into(), flags: 1, stanza };
    batch.append(LOG, &owner.into(), record);
    batch
}

#[test]
fn a_database_at_its_limit_is_full_and_what_it_holds_stays() {
    let scratch = Scratch::new().expect("a directory");
    let path = scratch.path().join("verona.db");
    let small = Tuning { file_bytes_max: 600_000, generation_bytes: 60_000, ..RESTLESS };
    let store = Sqlite::open_tuned(&path, small).expect("the store opens");
    block_on(async {
        let owner: Owner = "romeo@montague.lit".into();
        let mut settled = Vec::new();
        let mut refused = 0;
        for seq in 1..1000 {
            match store.submit(append(&owner, seq, 3000)).await {
                Ok(()) => settled.push(seq),
                Err(error) => {
                    assert_eq!(error.fault, Fault::Full, "{error}");
                    refused += 1;
                }
            }
            if refused == 5 {
                break;
            }
        }
        assert_eq!(refused, 5, "it never got full");
        let whole = Slice { count_max: usize::MAX, ..Slice::default() };
        let page = store.page(LOG, &owner, &whole).await.expect("reading goes on");
        assert_eq!(page.records.iter().map(|record| record.seq).collect::<Vec<_>>(), settled);
        // What frees space is possible, and then there is space.
        let mut batch = Batch::new();
        batch.clear(LOG, &owner);
        store.submit(batch).await.expect("removing needs little space");
        for seq in 1000..1020 {
            store.submit(append(&owner, seq, 3000)).await.expect("there is space again");
        }
    });
    drop(store);
    assert_eq!(Sqlite::verify(&path), [""; 0]);
}

/// Retention and retraction mean it: nothing of the text is left in any file.
#[test]
fn what_is_deleted_is_in_no_file() {
    let scratch = Scratch::new().expect("a directory");
    let path = scratch.path().join("verona.db");
    let tuning = Tuning { deleted_for: std::time::Duration::ZERO, ..Tuning::USUAL };
    let holds = |text: &str| {
        let files = std::fs::read_dir(scratch.path()).expect("the files are listed");
        let mut files = files.map(|file| std::fs::read(file.expect("a file").path()));
        files.any(|file| {
            let file = file.expect("it is read");
            file.windows(text.len()).any(|window| window == text.as_bytes())
        })
    };
    let owner: Owner = "romeo@montague.lit".into();
    let fill = |batch: &mut Batch, seqs: std::ops::RangeInclusive<Seq>| {
        for seq in seqs {
            let text = if seq % 10 == 3 { "the secret of Juliet " } else { "idle words of a day " };
            let (peer, stanza) = ("a@b".into(), text.repeat(1 + (seq as usize % 40) * 20).into());
            batch.append(LOG, &owner, Record { seq, epoch: 1, peer, flags: 1, stanza });
        }
    };
    let forget = |batch: &mut Batch, seqs: std::ops::RangeInclusive<Seq>| {
        for seq in seqs.filter(|seq| seq % 10 == 3) {
            let (log, owner, stanza) = (LOG, owner.clone(), "<message/>".into());
            batch.writes.push(if seq % 20 == 3 {
                Write::Remove { log, owner, seq }
            } else {
                Write::Amend { log, owner, seq, flags: 1, stanza }
            });
        }
    };
    // Young and old, at once and later.
    for (seqs, ages) in [(1..=400, true), (401..=800, false)] {
        let store = Sqlite::open_tuned(&path, tuning).expect("the store opens");
        block_on(async {
            let mut batch = Batch::new();
            fill(&mut batch, seqs.clone());
            store.submit(batch).await.expect("it is settled");
        });
        assert!(holds("the secret of Juliet"), "the test looks where it was");
        if ages {
            drop(store);
            let moving = Tuning { generation_bytes: 1, ..tuning };
            let store = Sqlite::open_tuned(&path, moving).expect("the store opens");
            block_on(async {
                for _ in 0..40 {
                    store.submit(Batch::new()).await.expect("it is settled");
                }
            });
            drop(store);
        } else {
            drop(store);
        }
        let store = Sqlite::open_tuned(&path, tuning).expect("the store opens");
        block_on(async {
            let mut batch = Batch::new();
            forget(&mut batch, seqs);
            store.submit(batch).await.expect("it is settled");
            for _ in 0..40 {
                store.submit(Batch::new()).await.expect("it is settled");
            }
            store.close().await;
        });
        drop(store);
        assert!(!holds("the secret of Juliet"));
    }
    assert_eq!(Sqlite::verify(&path), [""; 0]);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let scratch = Scratch::new().expect("a directory");
    let path = scratch.path().join("verona.db");
    let text = "Two households, both alike in dignity. ".repeat(100);
    std::fs::write(&path, &text).expect("a file");
    let error = Sqlite::open(&path).expect_err("it is no database");
    assert_eq!(error.fault, Fault::Damaged);
    assert!(!Sqlite::verify(&path).is_empty());
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), text);
}

#[test]
fn what_is_not_there_cannot_be_verified() {
    let scratch = Scratch::new().expect("a directory");
    let path = scratch.path().join("verona.db");
    let findings = Sqlite::verify(&path);
    assert_eq!(findings.len(), 1);
    assert!(findings[0].contains("no database"), "{findings:?}");
    assert!(!path.exists(), "looking makes nothing");
}

#[test]
fn a_file_copied_at_any_moment_holds_all_that_was_settled() {
    let scratch = Scratch::new().expect("a directory");
    let path = scratch.path().join("verona.db");
    let store = Sqlite::open_tuned(&path, RESTLESS).expect("the store opens");
    let owner: Owner = "romeo@montague.lit".into();
    for seq in 1..=60 {
        block_on(store.submit(append(&owner, seq, 200))).expect("the batch is settled");
        if seq % 7 != 0 {
            continue;
        }
        // As the disk would be found after the power has failed now: nobody closed anything.
        let copy = Scratch::new().expect("a directory");
        for end in ["", "-wal"] {
            let name = format!("verona.db{end}");
            let from = scratch.path().join(&name);
            std::fs::copy(from, copy.path().join(&name)).expect("a copy");
        }
        let again = Sqlite::open(&copy.path().join("verona.db")).expect("it opens");
        let whole = Slice { count_max: usize::MAX, ..Slice::default() };
        let page = block_on(again.page(LOG, &owner, &whole)).expect("the log is read");
        let seqs: Vec<Seq> = page.records.iter().map(|record| record.seq).collect();
        assert_eq!(seqs, (1..=seq).collect::<Vec<_>>());
    }
}
