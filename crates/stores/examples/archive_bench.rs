//! What a page of a large archive costs:
//! `cargo run --release -p verona-stores --example archive_bench -- dir=target/archive`.
//!
//! Arguments, all optional, as `name=value`: `records` (10 million), `peers` (1000), `dir`. The archive
//! is built when it is not there, which takes some minutes and 5 GB for ten million, and stays for
//! the next run. Each page is one of 50, at a place drawn by lot; the file is in the page cache
//! as far as that goes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use verona_core::store::Store;
use verona_core::store::batch::Batch;
use verona_core::store::shape::{Owner, Record, Seq, Slice, Table};
use verona_core::store::words::Words;
use verona_stores::dice::Dice;
use verona_stores::sqlite::Sqlite;

const LOG: Table = Table::log("messages");
const ARCHIVE: u32 = 2;
const START: Seq = 1_700_000_000_000_000;
/// Microseconds between two messages.
const STEP: Seq = 3_000_000;

fn main() {
    let text = |name: &str| {
        std::env::args().find_map(|argument| {
            let (key, value) = argument.split_once('=')?;
            (key == name).then(|| value.to_owned())
        })
    };
    let number = |name: &str, otherwise: u64| {
        text(name).map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let (records, peers) = (number("records", 10_000_000), number("peers", 1000));
    let dir = text("dir").map_or_else(|| PathBuf::from("target/archive"), PathBuf::from);
    let store = Sqlite::open(&dir.join("verona.db")).expect("a store");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let owner: Owner = "juliet@capulet.lit".into();
        build(&store, &owner, (records, peers)).await;
        let bench = Bench { store: &store, owner, records, peers };
        bench.pages().await;
        bench.counts().await;
        bench.words().await;
        store.close().await;
    });
}

async fn build(store: &Sqlite, owner: &Owner, (records, peers): (u64, u64)) {
    let last = store.last_seq(LOG, owner).await.expect("a place");
    let done = if last == 0 { 0 } else { (last - START) / STEP + 1 };
    let start = Instant::now();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ done);
    let mut last = None;
    for first in (done..records).step_by(500) {
        let mut batch = Batch::new();
        for n in first..(first + 500).min(records) {
            let peer: Arc<str> = format!("contact{}@montague.lit", dice.below(peers)).into();
            let word = if n % 10_000 == 77 { "nightingale" } else { "lark" };
            let stanza = format!(
                "<message to='juliet@capulet.lit' from='{peer}/orchard' type='chat' id='m{n}'>\
                 <body>It was the {word}, the herald of the morn, number {n}; look, love, what \
                 envious streaks do lace the severing clouds in yonder east</body></message>"
            );
            let (seq, stanza) = (START + n * STEP, Bytes::from(stanza));
            batch.append(LOG, owner, Record { seq, epoch: 1, peer, flags: ARCHIVE, stanza });
        }
        store.room().await;
        last = Some(store.submit(batch));
    }
    if let Some(last) = last {
        last.await.expect("the last is settled");
        println!("built {} records in {:?}", records - done, start.elapsed());
    }
}

struct Bench<'a> {
    store: &'a Sqlite,
    owner: Owner,
    records: u64,
    peers: u64,
}

impl Bench<'_> {
    async fn pages(&self) {
        let peer = |n: u64| Some(Arc::from(format!("contact{n}@montague.lit")));
        let mut dice = Dice(5);
        let all = Slice { flags_any: ARCHIVE, count_max: 50, ..Slice::default() };
        let (records, peers) = (self.records, self.peers);
        self.ask("first page", 2000, || all.clone()).await;
        let last = Slice { from_end: true, ..all.clone() };
        self.ask("last page", 2000, || last.clone()).await;
        let mut place = || Some(START + dice.below(records) * STEP);
        self.ask("page behind a place", 2000, || Slice { after: place(), ..all.clone() }).await;
        self.ask("page before a place", 2000, || Slice { before: place(), ..last.clone() }).await;
        let mut dice = Dice(6);
        self.ask("last page of a contact", 2000, || Slice {
            peer: peer(dice.below(peers)),
            ..last.clone()
        })
        .await;
        self.ask("page of a contact behind a place", 2000, || Slice {
            peer: peer(dice.below(peers)),
            after: Some(START + dice.below(records / 2) * STEP),
            ..all.clone()
        })
        .await;
        self.ask("page at index 1,000", 50, || Slice { skip: 1000, ..all.clone() }).await;
        self.ask("page at index 100,000", 20, || Slice { skip: 100_000, ..all.clone() }).await;
        self.ask("page in the middle by index", 3, || Slice { skip: records / 2, ..all.clone() })
            .await;
    }

    async fn counts(&self) {
        let all = Slice { flags_any: ARCHIVE, ..Slice::default() };
        let peer = Some(Arc::from("contact7@montague.lit"));
        let of_one = Slice { peer, ..all.clone() };
        for (what, slice) in [("count of a contact", of_one), ("count of all", all)] {
            let start = Instant::now();
            let count = self.store.count(LOG, &self.owner, &slice).await.expect("a count");
            println!("{what}: {count} in {:?}", start.elapsed());
        }
    }

    /// The last page of those that say a word, which one of ten thousand does.
    async fn words(&self) {
        let words = Words::of("nightingale morn").map(Arc::new);
        let last =
            Slice { flags_any: ARCHIVE, from_end: true, count_max: 50, words, ..Slice::default() };
        let peer = Some(Arc::from("contact7@montague.lit"));
        let of_one = Slice { peer, ..last.clone() };
        for (what, mut slice) in [("words of a contact", of_one), ("words", last)] {
            let start = Instant::now();
            let (mut found, mut looks) = (0, 0);
            loop {
                let page = self.store.page(LOG, &self.owner, &slice).await.expect("a page");
                (found, looks) = (found + page.records.len(), looks + 1);
                let first = page.records.first().map(|record| record.seq);
                let Some(on) = page.looked.or(first).filter(|_| !page.complete && found < 50)
                else {
                    break;
                };
                slice.before = Some(on);
            }
            println!("{what}: {found} found in {:?}, {looks} looks", start.elapsed());
        }
    }

    async fn ask(&self, what: &str, rounds: u32, mut slice: impl FnMut() -> Slice) {
        let mut times = Vec::new();
        let mut found = 0;
        for _ in 0..rounds {
            let slice = slice();
            let start = Instant::now();
            let page = self.store.page(LOG, &self.owner, &slice).await.expect("a page");
            times.push(start.elapsed());
            found += page.records.len();
        }
        times.sort();
        let at = |part: usize| times[(times.len() - 1) * part / 100];
        println!(
            "{what}: p50 {:?}, p99 {:?}, worst {:?}, {} records each",
            at(50),
            at(99),
            at(100),
            found / rounds as usize
        );
    }
}
