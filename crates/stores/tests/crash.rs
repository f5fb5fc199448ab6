//! A process that writes is killed at random moments; whatever it was told to be settled is there
//! when the file is opened again, whole and in order. Runs itself as that process.

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use verona_core::store::Store;
use verona_core::store::batch::{Batch, Write};
use verona_core::store::error::Fault;
use verona_core::store::shape::{Owner, Record, Seq, Slice, Table};
use verona_stores::scratch::Scratch;
use verona_stores::sqlite::{Sqlite, Tuning};

const ROUNDS: u64 = 20;
const OWNERS: [&str; 3] = ["juliet@capulet.lit", "nurse@capulet.lit", "romeo@montague.lit"];
const CHILD: &str = "VERONA_CRASH_TEST_FILE";

/// The whole story of an owner.
const KEPT: Table = Table::log("test.kept");
/// Only the last records of the same story.
const RECENT: Table = Table::log("test.recent");
/// The place of the last record, written in the same batch.
const LAST: Table = Table::value("test.last");
const RECENT_MAX: Seq = 40;

/// Small, so that all that moves data moves it often.
const RESTLESS: Tuning =
    Tuning { generation_bytes: 30_000, step_records: 8, checkpoint_pages: 30, ..Tuning::USUAL };

fn main() {
    if let Some(path) = std::env::var_os(CHILD) {
        write_until_killed(&PathBuf::from(path));
        return;
    }
    let scratch = Scratch::new().expect("a directory");
    let path = scratch.path().join("verona.db");
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut settled_in_all = [0; OWNERS.len()];
    for round in 0..ROUNDS {
        let mut child = run_child(&path);
        if round == 0 {
            the_file_is_refused_while_in_use(&path, &mut child);
        }
        // Spread by the golden ratio: no two rounds are killed at the same point of a start.
        std::thread::sleep(Duration::from_millis(60 + round * 618 % 500));
        child.kill().expect("the child is killed");
        let output = child.stdout.take().expect("its output");
        let settled = read_settled(BufReader::new(output));
        child.wait().expect("the child is gone");
        let opening = Instant::now();
        let store = Sqlite::open_tuned(&path, RESTLESS).expect("the file opens at once");
        slowest = slowest.max(opening.elapsed());
        for (at, owner) in OWNERS.into_iter().enumerate() {
            settled_in_all[at] = settled[at].max(settled_in_all[at]);
            check(&store, &owner.into(), settled_in_all[at]);
        }
        drop(store);
        let findings = Sqlite::verify(&path);
        assert!(findings.is_empty(), "round {round}: {findings:?}");
    }
    let settled: u64 = settled_in_all.iter().sum();
    assert!(settled > 0, "nothing was settled in any round");
    println!(
        "test settled_batches_outlive_a_kill ... ok ({ROUNDS} kills, {settled} records \
         settled, slowest opening {slowest:?}, {:?} in all)",
        start.elapsed()
    );
}

fn run_child(path: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts")
}

fn the_file_is_refused_while_in_use(path: &Path, child: &mut Child) {
    // The first line shows that the child has it.
    let output = child.stdout.as_mut().expect("its output");
    let mut byte = [0];
    std::io::Read::read_exact(output, &mut byte).expect("the child writes");
    let error = Sqlite::open(path).expect_err("the file is in use");
    assert_eq!(error.fault, Fault::Unusable);
    let pid = format!("process {}", child.id());
    assert!(error.to_string().contains(&pid), "{error}");
    assert_eq!(Sqlite::verify(path).len(), 1, "nor can it be checked");
}

/// How many records of each owner were settled by the child, as far as it came to say.
fn read_settled(output: impl BufRead) -> [u64; 3] {
    let mut settled = [0; 3];
    for line in output.lines().map_while(Result::ok) {
        let mut words = line.split(' ');
        let (Some(at), Some(seq), Some("ok")) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        // The byte that told of the start may be missing from the first line.
        let (Ok(at), Ok(seq)) = (at.parse::<usize>(), seq.parse::<u64>()) else { continue };
        settled[at] = settled[at].max(seq);
    }
    settled
}

fn check(store: &Sqlite, owner: &Owner, settled: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let whole = Slice { count_max: usize::MAX, ..Slice::default() };
        let kept = store.page(KEPT, owner, &whole).await.expect("the log is read").records;
        let last = kept.len() as u64;
        assert!(last >= settled, "{owner}: {settled} settled, {last} there");
        for (record, seq) in kept.iter().zip(1..) {
            assert_eq!(*record, self::record(seq), "{owner}: in order and whole");
        }
        assert_eq!(store.last_seq(KEPT, owner).await.expect("a place"), last);
        // Of one batch all is there or nothing.
        let recent = store.page(RECENT, owner, &whole).await.expect("the log is read").records;
        let recent: Vec<Seq> = recent.iter().map(|record| record.seq).collect();
        let expected: Vec<Seq> = (last.saturating_sub(RECENT_MAX) + 1..=last).collect();
        assert_eq!(recent, expected, "{owner}: what was trimmed is gone");
        let told = store.entry(LAST, owner, "").await.expect("an entry");
        let told = told.map_or(0, |told| String::from_utf8_lossy(&told).parse().expect("a number"));
        assert_eq!(last, told, "{owner}: the entry of the same batch");
        let peer = Some("tybalt@capulet.lit".into());
        let by_peer = Slice { peer, ..Slice::default() };
        assert_eq!(store.count(KEPT, owner, &by_peer).await.expect("a count"), last / 2);
    });
}

fn record(seq: Seq) -> Record {
    let peer = if seq.is_multiple_of(2) { "tybalt@capulet.lit" } else { "paris@verona.lit" };
    let body = "wherefore ".repeat(seq as usize % 60);
    let stanza = format!("<message id='{seq}'><body>{body}</body></message>").into();
    Record { seq, epoch: 1, peer: peer.into(), flags: 1, stanza }
}

fn write_until_killed(path: &Path) {
    let store = Arc::new(Sqlite::open_tuned(path, RESTLESS).expect("the file opens"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let owners = OWNERS.map(Owner::from);
    let mut out = std::io::stdout();
    writeln!(out, "open").expect("the parent reads");
    runtime.block_on(async {
        let mut next = [0; 3];
        for (owner, next) in owners.iter().zip(&mut next) {
            *next = store.last_seq(KEPT, owner).await.expect("a place") + 1;
        }
        // The parent kills us long before; the bound is for the case that it is gone.
        for _ in 0..20_000 {
            let mut tickets = Vec::new();
            for _ in 0..7 {
                for (at, owner) in owners.iter().enumerate() {
                    let seq = next[at];
                    next[at] += 1;
                    tickets.push((at, seq, store.submit(step(owner, seq))));
                }
            }
            for (at, seq, ticket) in tickets {
                ticket.await.expect("the batch is settled");
                writeln!(out, "{at} {seq} ok").expect("the parent reads");
            }
        }
    });
}

fn step(owner: &Owner, seq: Seq) -> Batch {
    let mut batch = Batch::new();
    batch.append(KEPT, owner, Record { flags: 3, ..record(seq) });
    batch.append(RECENT, owner, record(seq));
    let through = seq.saturating_sub(RECENT_MAX);
    batch.writes.push(Write::Trim { log: RECENT, owner: owner.clone(), through });
    batch.writes.push(Write::Unflag { log: KEPT, owner: owner.clone(), through: seq, bits: 2 });
    batch.put(LAST, owner, "", seq.to_string());
    batch
}
