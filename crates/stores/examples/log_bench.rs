//! What appending and reading cost: `cargo run --release -p verona-stores --example log_bench`.
//!
//! Arguments, all optional, as `name=value`: `records`, `logs`, `waiting` (appends at the same
//! time), `rate` (appends a second, 0 for as many as go), `generation`, `step`, `checkpoint`,
//! `gather` (microseconds), `overwrite` (0 or 1; for these see `Tuning`), `dir`. Each append is a batch
//! of its own, as a session hands them in; processor time is that of the store's own threads.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use verona_core::store::Store;
use verona_core::store::batch::{Batch, Write};
use verona_core::store::shape::{Owner, Record, Seq, Slice, Table};
use verona_core::store::ticket::Ticket;
use verona_stores::dice::Dice;
use verona_stores::scratch::Scratch;
use verona_stores::sqlite::{Sqlite, Tuning};

const LOG: Table = Table::log("archive");
const ACCOUNT: [Table; 8] = [
    Table::value("account"),
    Table::map("roster"),
    Table::value("roster-version"),
    Table::set("blocked"),
    Table::map("bookmarks"),
    Table::map("pep"),
    Table::value("push"),
    Table::value("vcard"),
];

struct Load {
    records: u64,
    waiting: usize,
    rate: u64,
}

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
    let usual = Tuning::default();
    let tuning = Tuning {
        generation_bytes: number("generation", usual.generation_bytes as u64) as usize,
        step_records: number("step", usual.step_records as u64) as usize,
        checkpoint_pages: number("checkpoint", usual.checkpoint_pages as u64) as i32,
        gather: Duration::from_micros(number("gather", usual.gather.as_micros() as u64)),
        overwrite: number("overwrite", u64::from(usual.overwrite)) != 0,
        ..usual
    };
    let (records, logs) = (number("records", 400_000), number("logs", 500));
    let waiting = number("waiting", 250) as usize;
    let load = Load { records, waiting, rate: number("rate", 0) };
    let place = text("dir").map_or_else(std::env::temp_dir, PathBuf::from);
    let scratch = Scratch::within(&place).expect("a directory");
    let path = scratch.path().join("verona.db");
    let store = Arc::new(Sqlite::open_tuned(&path, tuning).expect("a store"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    println!("{records} records, {logs} logs, {waiting} waiting, rate {}, {tuning:?}", load.rate);
    runtime.block_on(async {
        let owners: Vec<Owner> =
            (0..logs).map(|n| format!("user{n}@montague.lit").into()).collect();
        append(&store, &owners, &load).await;
        unflag(&store, &owners).await;
        read(&store, &owners).await;
        accounts(&store, &owners).await;
        store.close().await;
    });
    let size = std::fs::metadata(scratch.path().join("verona.db")).map_or(0, |file| file.len());
    println!("file: {} bytes a record", size / records);
}

async fn append(store: &Sqlite, owners: &[Owner], load: &Load) {
    let records = load.records;
    let stanza = Bytes::from(vec![b'x'; 700]);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut waiting: VecDeque<(Instant, Ticket)> = VecDeque::new();
    let mut delays = Vec::with_capacity(records as usize);
    let (start, busy) = (Instant::now(), thread_time("store-write"));
    for n in 0..records {
        while waiting.len() >= load.waiting {
            // As when sessions answer each ack by the next stanza: all that is done goes on.
            let (since, ticket) = waiting.pop_front().expect("some wait");
            ticket.await.expect("the append is settled");
            delays.push(since.elapsed());
        }
        let due = Duration::from_micros((n * 1_000_000).checked_div(load.rate).unwrap_or(0));
        while start.elapsed() < due {
            std::thread::sleep(Duration::from_micros(100));
            while let Some((since, ticket)) = waiting.front() {
                let Some(outcome) = ticket.outcome() else { break };
                outcome.expect("the append is settled");
                delays.push(since.elapsed());
                waiting.pop_front();
            }
        }
        let owner = &owners[dice.below(owners.len() as u64) as usize];
        let mut batch = Batch::new();
        let peer = owners[dice.below(20.min(owners.len() as u64)) as usize].clone();
        let seq: Seq = 1_795_000_000_000_000 + n;
        let stanza = stanza.slice(..300 + dice.below(200) as usize);
        batch.append(LOG, owner, Record { seq, epoch: 1, peer, flags: 1, stanza });
        waiting.push_back((Instant::now(), store.submit(batch)));
    }
    for (since, ticket) in waiting {
        ticket.await.expect("the append is settled");
        delays.push(since.elapsed());
    }
    let (took, busy) = (start.elapsed(), thread_time("store-write") - busy);
    delays.sort();
    let at = |part: usize| delays[(delays.len() - 1) * part / 1000];
    println!(
        "append: {:.0}/s, writer {:.2} us each; settled after p50 {:?}, p99 {:?}, p99.9 {:?}, worst {:?}",
        records as f64 / took.as_secs_f64(),
        micros(busy, records),
        at(500),
        at(990),
        at(999),
        at(1000),
    );
}

/// Each owner's delivered cursor moves by one record at a time, as acks come in.
async fn unflag(store: &Sqlite, owners: &[Owner]) {
    let mut dice = Dice(77);
    let rounds = 40_000_u64;
    let busy = thread_time("store-write");
    let start = Instant::now();
    let mut last = None;
    for (n, seq) in (0..rounds).zip(1_796_000_000_000_000..) {
        let owner = &owners[dice.below(owners.len() as u64) as usize];
        let mut batch = Batch::new();
        let peer = owners[0].clone();
        let stanza = Bytes::from(vec![b'y'; 400]);
        batch.append(LOG, owner, Record { seq, epoch: 1, peer, flags: 3, stanza });
        let before = store.submit(batch);
        let mut batch = Batch::new();
        batch.writes.push(Write::Unflag { log: LOG, owner: owner.clone(), through: seq, bits: 2 });
        last = Some(store.submit(batch));
        if n % 125 == 0 {
            before.await.expect("the append is settled");
        }
    }
    last.expect("a ticket").await.expect("the write is settled");
    let busy = thread_time("store-write") - busy;
    println!(
        "append and unflag: {:.0}/s, writer {:.2} us each pair",
        rounds as f64 / start.elapsed().as_secs_f64(),
        micros(busy, rounds)
    );
}

async fn read(store: &Sqlite, owners: &[Owner]) {
    let mut dice = Dice(5);
    let mut ask = async |what: &str, rounds: u64, slice: Slice, counts: bool| {
        let (start, busy) = (Instant::now(), thread_time("store-read"));
        let mut found = 0;
        for _ in 0..rounds {
            let owner = &owners[dice.below(owners.len() as u64) as usize];
            if counts {
                found += store.count(LOG, owner, &slice).await.expect("a count");
            } else {
                found += store.page(LOG, owner, &slice).await.expect("a page").records.len() as u64;
            }
        }
        let busy = thread_time("store-read") - busy;
        println!(
            "{what}: {:.1} us, readers {:.1} us, {} records each",
            micros(start.elapsed(), rounds),
            micros(busy, rounds),
            found / rounds
        );
    };
    let page = Slice { count_max: 50, ..Slice::default() };
    ask("first page", 4000, page.clone(), false).await;
    ask("last page", 4000, Slice { from_end: true, ..page.clone() }, false).await;
    let peer = Some(owners[1].clone());
    ask("last page of a peer", 4000, Slice { from_end: true, peer, ..page.clone() }, false).await;
    let flagged = Slice { flags_any: 2, from_end: true, ..page.clone() };
    ask("last page of a flag", 400, flagged, false).await;
    ask("count", 1000, page, true).await;
}

async fn accounts(store: &Sqlite, owners: &[Owner]) {
    let start = Instant::now();
    let mut last = None;
    for owner in owners {
        let mut batch = Batch::new();
        batch.put(ACCOUNT[0], owner, "", vec![1; 200]);
        for contact in 0..5 {
            batch.put(ACCOUNT[1], owner, &format!("contact{contact}@capulet.lit"), vec![2; 100]);
        }
        batch.put(ACCOUNT[5], owner, "node item", vec![3; 300]);
        store.room().await;
        last = Some(store.submit(batch));
    }
    last.expect("a ticket").await.expect("the batch is settled");
    println!("write an account: {:.1} us", micros(start.elapsed(), owners.len() as u64));
    let mut dice = Dice(9);
    for what in ["load an account, first", "load an account", "load an account, again"] {
        let (start, busy) = (Instant::now(), thread_time("store-read"));
        let rounds = 10_000;
        for _ in 0..rounds {
            let owner = &owners[dice.below(owners.len() as u64) as usize];
            let found = store.entries(owner, &ACCOUNT).await.expect("entries");
            assert_eq!(found.len(), 7);
        }
        let busy = thread_time("store-read") - busy;
        println!(
            "{what}: {:.1} us, readers {:.1} us",
            micros(start.elapsed(), rounds),
            micros(busy, rounds)
        );
    }
}

/// Processor time of this process's threads of a name, from the kernel's own account.
fn thread_time(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("threads are listed");
    let nanos: u64 = tasks
        .flatten()
        .filter(|task| {
            let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            comm.starts_with(name)
        })
        .filter_map(|task| {
            let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            stat.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum();
    Duration::from_nanos(nanos)
}

fn micros(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}
