//! Random histories, played to the store on disk and to the one in memory: whatever is asked behind each
//! step, both answer the same, and nothing on the disk is found wrong.
//!
//! Everything is moved to blocks soon, records are as long as blocks and longer, few peers or many write
//! to a log, and the file is closed and opened again now and then. `VERONA_HISTORIES` sets how many are
//! played, and `VERONA_HISTORIES_FROM` the first of them.

use std::sync::Arc;

use bytes::Bytes;
use verona_core::store::Store;
use verona_core::store::batch::{Batch, Write};
use verona_core::store::error::{Fault, StoreError};
use verona_core::store::shape::{Owner, Page, Record, Seq, Slice, Table};
use verona_core::store::words::Words;
use verona_stores::dice::Dice;
use verona_stores::memory::Memory;
use verona_stores::scratch::Scratch;
use verona_stores::sqlite::{Sqlite, Tuning};

const LOGS: [Table; 2] = [Table::log("test.log"), Table::log("test.other-log")];
const OWNERS: [&str; 3] = ["juliet@capulet.lit", "nurse@capulet.lit", "romeo@montague.lit"];
const WORDS: [&str; 4] = ["wherefore", "art", "thou", "banished"];

/// What is played without being asked for more.
const HISTORIES: u64 = 4;
const STEPS: usize = 40;

#[tokio::test]
async fn random_histories_leave_on_disk_what_they_leave_in_memory() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let first = number("VERONA_HISTORIES_FROM").unwrap_or(1);
    let count = number("VERONA_HISTORIES").unwrap_or(HISTORIES);
    let mut moved = 0;
    for seed in first..first + count {
        moved += History::new(seed).play().await;
    }
    assert!(moved > 0, "records were in blocks");
}

/// What is moved how soon. Some histories have blocks that fill, some have many small ones.
fn tuning(dice: &mut Dice) -> Tuning {
    let (generation_bytes, step_records) =
        dice.pick(&[(3_000, 3), (40_000, 20), (120_000, 10_000)]);
    Tuning { generation_bytes, step_records, checkpoint_pages: 20, ..Tuning::USUAL }
}

struct History {
    seed: u64,
    dice: Dice,
    tuning: Tuning,
    peers: u64,
    /// Bytes of a stanza at most, but for some long ones.
    usual_bytes: u64,
    memory: Memory,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| _ = dice.below(2));
        let tuning = tuning(&mut dice);
        let (peers, usual_bytes) = (dice.pick(&[1, 3, 200]), dice.pick(&[60, 300, 2_000]));
        Self { seed, dice, tuning, peers, usual_bytes, memory: Memory::new() }
    }

    /// How many times something was in blocks when it was compared.
    async fn play(mut self) -> usize {
        let scratch = Scratch::new().expect("a directory");
        let path = scratch.path().join("verona.db");
        let open = |tuning| Arc::new(Sqlite::open_tuned(&path, tuning).expect("it opens"));
        let mut store = open(self.tuning);
        let mut moved = 0;
        for step in 0..STEPS {
            let what = format!("history {} step {step}", self.seed);
            for batch in self.batches().await {
                let copy = batch.clone();
                let both = (self.memory.submit(batch).await, submit(&store, copy).await);
                assert_eq!(both.0.is_ok(), both.1.is_ok(), "{what}: {both:?}");
            }
            if self.dice.below(12) == 0 {
                store.close().await;
                drop(store);
                let findings = Sqlite::verify(&path);
                assert!(findings.is_empty(), "{what}: {findings:?}");
                moved += usize::from(has_blocks(&path));
                store = open(self.tuning);
            }
            self.compare(&store, &what).await;
        }
        store.close().await;
        let findings = Sqlite::verify(&path);
        assert!(findings.is_empty(), "history {}: {findings:?}", self.seed);
        moved + usize::from(has_blocks(&path))
    }

    /// What is written in one step.
    async fn batches(&mut self) -> Vec<Batch> {
        let mut batches = Vec::new();
        let mut lasts = [[0; OWNERS.len()]; LOGS.len()];
        for (log, lasts) in LOGS.iter().zip(&mut lasts) {
            for (owner, last) in OWNERS.iter().zip(lasts) {
                *last = self.memory.last_seq(*log, &Owner::from(*owner)).await.expect("known");
            }
        }
        for _ in 0..=self.dice.below(3) {
            let (of_log, of_owner) = (self.dice.below(3) / 2, self.dice.below(5) / 2);
            let (log, owner) = (LOGS[of_log as usize], Owner::from(OWNERS[of_owner as usize]));
            let last = &mut lasts[of_log as usize][of_owner as usize];
            let mut batch = Batch::new();
            for _ in 0..=self.dice.below(3) {
                self.draw((log, &owner), last, &mut batch);
            }
            // A batch that is refused leaves nothing, also of what it would have done before.
            if self.dice.below(12) == 0 && *last > 0 {
                let record = self.record(*last);
                batch.append(log, &owner, record);
                batches.push(batch);
                break;
            }
            batches.push(batch);
        }
        batches
    }

    fn draw(&mut self, (log, owner): (Table, &Owner), last: &mut Seq, batch: &mut Batch) {
        let bits = 1 + self.dice.below(15) as u32;
        let (seq, owner) = (self.place(*last), owner.clone());
        let write = match self.dice.below(30) {
            0..12 => {
                for _ in 0..=self.dice.below(40) {
                    *last += 1 + self.dice.below(20) / 18;
                    let record = self.record(*last);
                    batch.append(log, &owner, record);
                }
                return;
            }
            12..16 => {
                let flags = self.dice.below(16) as u32;
                Write::Amend { log, owner, seq, flags, stanza: self.stanza() }
            }
            16..21 => Write::Unflag { log, owner, through: seq, bits },
            21..27 => Write::Remove { log, owner, seq },
            27 => Write::Trim { log, owner, through: seq },
            28 if self.dice.below(3) == 0 => Write::Clear { table: log, owner },
            29 if self.dice.below(4) == 0 => Write::Erase { owner },
            _ => return,
        };
        batch.writes.push(write);
    }

    /// A place: most of the last ones, or any, or one that is not there.
    fn place(&mut self, last: Seq) -> Seq {
        match self.dice.below(8) {
            0 => self.dice.pick(&[0, last + 1, Seq::MAX, i64::MAX as Seq]),
            1..4 => last.saturating_sub(self.dice.below(9)),
            _ => self.dice.below(last + 1),
        }
    }

    fn record(&mut self, seq: Seq) -> Record {
        let flags = if self.dice.below(3) == 0 { self.dice.below(16) as u32 } else { 4 };
        let (epoch, peer, stanza) = (self.dice.below(3) as u32, self.peer(), self.stanza());
        Record { seq, epoch, peer, flags, stanza }
    }

    fn peer(&mut self) -> Arc<str> {
        format!("peer{}@montague.lit", self.dice.below(self.peers)).into()
    }

    fn stanza(&mut self) -> Bytes {
        let length = match self.dice.below(60) {
            0 => 0,
            1 => 16_000 + self.dice.below(800),
            2 => self.dice.below(60_000),
            _ => self.dice.below(self.usual_bytes),
        };
        let (word, filling) = (self.dice.pick(&WORDS), self.dice.pick(&["x", "y", "z"]));
        if length == 0 {
            return Bytes::new();
        }
        let filling = filling.repeat(length as usize);
        format!("<message><body>{word} {filling}</body></message>").into()
    }

    async fn compare(&mut self, store: &Sqlite, what: &str) {
        for log in LOGS {
            let listed = |store| names(store, log);
            assert_eq!(listed(store).await, listed(&self.memory).await, "{what}");
            for name in OWNERS {
                let of = Owner::from(name);
                let last = self.memory.last_seq(log, &of).await.expect("known");
                assert_eq!(store.last_seq(log, &of).await.expect("known"), last, "{what} {name}");
                for flags in [0, 1, self.dice.below(16) as u32] {
                    let mut peers = store.peers(log, &of, flags).await.expect("told");
                    peers.sort();
                    let mut expected = self.memory.peers(log, &of, flags).await.expect("told");
                    expected.sort();
                    assert_eq!(peers, expected, "{what} {name} {flags}");
                }
                for _ in 0..4 {
                    let seq = self.place(last);
                    let found = store.record(log, &of, seq).await.expect("read");
                    let expected = self.memory.record(log, &of, seq).await.expect("read");
                    assert_eq!(found, expected, "{what} {name} {seq}");
                }
                let whole = Slice { count_max: usize::MAX, ..Slice::default() };
                self.agree(store, (log, &of), &whole, what).await;
                for _ in 0..6 {
                    let slice = self.slice(last);
                    self.agree(store, (log, &of), &slice, what).await;
                }
            }
        }
    }

    fn slice(&mut self, last: Seq) -> Slice {
        let after = (self.dice.below(2) == 0).then(|| self.place(last));
        let before = (self.dice.below(2) == 0).then(|| self.place(last));
        let peer = (self.dice.below(3) == 0).then(|| self.peer());
        let flags_any = self.dice.pick(&[0, 0, 1, 2, 12, 15]);
        let flags_none = self.dice.pick(&[0, 0, 0, 1, 8, 4]);
        let words = (self.dice.below(5) == 0).then(|| self.dice.pick(&WORDS));
        let words = words.and_then(Words::of).map(Arc::new);
        // Pages of words go on from a place, not by a count.
        let skip = if words.is_none() { self.dice.pick(&[0, 0, 1, 7, 50, 500]) } else { 0 };
        let from_end = self.dice.below(2) == 0;
        let count_max = self.dice.pick(&[0, 1, 5, 20, 100, usize::MAX]);
        Slice { after, before, peer, flags_any, flags_none, words, skip, from_end, count_max }
    }

    async fn agree(&self, store: &Sqlite, (log, of): (Table, &Owner), slice: &Slice, what: &str) {
        let page = store.page(log, of, slice).await.expect("a page");
        let expected = self.memory.page(log, of, slice).await.expect("a page");
        let places = |page: &Page| page.records.iter().map(|r| r.seq).collect::<Vec<_>>();
        assert_eq!(places(&page), places(&expected), "{what} {of} {slice:?}");
        assert!(page.records == expected.records, "{what} {of} {slice:?}: other records");
        assert_eq!(page.complete, expected.complete, "{what} {of} {slice:?}");
        let count = store.count(log, of, slice).await.expect("a count");
        let expected = self.memory.count(log, of, slice).await.expect("a count");
        assert_eq!(count, expected, "{what} {of} {slice:?}");
    }
}

/// Submits again what finds no room: a batch may be longer than all that such small generations hold, and
/// each try moves some of it.
async fn submit(store: &Sqlite, batch: Batch) -> Result<(), StoreError> {
    for _ in 0..1_000 {
        match store.submit(batch.clone()).await {
            Err(error) if error.fault == Fault::Full => {}
            outcome => return outcome,
        }
    }
    panic!("it is never moved");
}

async fn names(store: &dyn Store, log: Table) -> Vec<Arc<str>> {
    store.owners(log, None, 10).await.expect("owners are read")
}

/// Whether something is in blocks: the file is longer than what is empty or young needs.
fn has_blocks(path: &std::path::Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.len() > 100_000)
}
