//! A real disk that is full, and one that fails.
//!
//! Full: a small file system in memory, mounted where only this test sees it; the test runs itself
//! again in a mount namespace of its own, which takes the mount away at the end. Failing: a limit on
//! the size of files, which the kernel reports as an error of writing.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use verona_core::store::Store;
use verona_core::store::batch::Batch;
use verona_core::store::error::{Fault, StoreError};
use verona_core::store::shape::{Owner, Record, Seq, Slice, Table};
use verona_stores::scratch::Scratch;
use verona_stores::sqlite::{Sqlite, Tuning};

const FULL: &str = "VERONA_FULL_DISK_TEST_PLACE";
const FAILING: &str = "VERONA_FAILING_DISK_TEST_PLACE";
const SMALL: Tuning =
    Tuning { generation_bytes: 100_000, step_records: 16, checkpoint_pages: 60, ..Tuning::USUAL };

const LOG: Table = Table::log("test.log");
const LAST: Table = Table::value("test.last");

fn main() {
    match (std::env::var_os(FULL), std::env::var_os(FAILING)) {
        (Some(place), _) => inside_full(Path::new(&place)),
        (_, Some(place)) => inside_failing(Path::new(&place)),
        _ => {
            a_full_disk();
            a_failing_disk();
        }
    }
}

fn a_full_disk() {
    let name = "test a_full_disk_refuses_and_recovers";
    let scratch = Scratch::new().expect("a directory");
    // With a user namespace no privilege is needed; where those are forbidden, being root helps.
    let ran = [&["-r", "-m"][..], &["-m"]].into_iter().any(|how| {
        let exe = std::env::current_exe().expect("this test");
        let mut command = Command::new("unshare");
        let status = command.args(how).arg(exe).env(FULL, scratch.path()).status();
        match status.ok().and_then(|status| status.code()) {
            Some(0) => true,
            Some(CANNOT_MOUNT) | Some(1) | None => false,
            Some(code) => panic!("{name} failed ({code})"),
        }
    });
    // The store's own tests fill a database up to a limit of its size, wherever they run.
    println!("{name} ... {}", if ran { "ok" } else { "not run: nothing can be mounted here" });
}

fn a_failing_disk() {
    let name = "test a_failing_disk_refuses_and_recovers";
    let scratch = Scratch::new().expect("a directory");
    // Ignored signals stay ignored behind `exec`; without it the kernel would end the process.
    let script = "trap '' XFSZ; ulimit -S -f 1600; exec \"$0\"";
    let exe = std::env::current_exe().expect("this test");
    let mut command = Command::new("sh");
    let status = command.args(["-c", script]).arg(exe).env(FAILING, scratch.path()).status();
    assert!(status.is_ok_and(|status| status.success()), "{name} failed");
    println!("{name} ... ok");
}

const CANNOT_MOUNT: i32 = 77;

fn inside_full(place: &Path) {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(place);
    if !mount.status().is_ok_and(|status| status.success()) {
        std::process::exit(CANNOT_MOUNT);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let settled = runtime.block_on(async {
        let ballast = place.join("ballast");
        std::fs::write(&ballast, vec![0; 900_000]).expect("there is space");
        let store = Sqlite::open_tuned(&place.join("verona.db"), SMALL).expect("a store");
        let mut story = Story::default();
        story.fill(&store).await;
        story.check(&store).await;
        // Full stays full, and what was settled stays readable.
        assert_eq!(story.write(&store).await.expect_err("still full").fault, Fault::Full);
        story.check(&store).await;
        std::fs::remove_file(&ballast).expect("the ballast goes");
        for _ in 0..20 {
            story.write(&store).await.expect("well again by itself");
        }
        story.check(&store).await;
        story.fill(&store).await;
        story.check(&store).await;
        store.close().await;
        story
    });
    let store = Sqlite::open_tuned(&place.join("verona.db"), SMALL).expect("a store");
    runtime.block_on(settled.check(&store));
    drop(store);
    let findings = Sqlite::verify(&place.join("verona.db"));
    assert!(findings.is_empty(), "{findings:?}");
    println!("{} records settled, {} refused", settled.settled.len(), settled.refused);
}

fn inside_failing(place: &Path) {
    let path = place.join("verona.db");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let story = runtime.block_on(async {
        let store = Sqlite::open_tuned(&path, SMALL).expect("a store");
        let mut story = Story::default();
        let mut failed_in_a_row = 0;
        for _ in 0..5000 {
            match story.write(&store).await {
                Ok(()) => failed_in_a_row = 0,
                Err(error) => {
                    assert_eq!(error.fault, Fault::Io, "{error}");
                    failed_in_a_row += 1;
                    story.check(&store).await;
                }
            }
            if failed_in_a_row == 10 {
                break;
            }
        }
        assert_eq!(failed_in_a_row, 10, "the disk never failed for good");
        let own = std::process::id().to_string();
        let lifted = Command::new("prlimit").args(["--fsize=unlimited", "--pid", &own]).status();
        assert!(lifted.is_ok_and(|status| status.success()), "the limit cannot be lifted");
        for _ in 0..20 {
            story.write(&store).await.expect("well again by itself");
        }
        story.check(&store).await;
        store.close().await;
        story
    });
    let store = Sqlite::open_tuned(&path, SMALL).expect("a store");
    runtime.block_on(story.check(&store));
    drop(store);
    let findings = Sqlite::verify(&path);
    assert!(findings.is_empty(), "{findings:?}");
    println!("{} records settled, {} refused", story.settled.len(), story.refused);
}

/// What was written so far.
#[derive(Default)]
struct Story {
    next: Seq,
    settled: Vec<Seq>,
    refused: usize,
}

impl Story {
    /// Writes until the disk is full.
    async fn fill(&mut self, store: &Sqlite) {
        for _ in 0..5000 {
            if let Err(error) = self.write(store).await {
                assert_eq!(error.fault, Fault::Full, "{error}");
                return;
            }
        }
        panic!("the disk never got full");
    }

    async fn write(&mut self, store: &Sqlite) -> Result<(), StoreError> {
        self.next += 1;
        let mut batch = Batch::new();
        batch.append(LOG, &owner(), record(self.next));
        batch.put(LAST, &owner(), "", self.next.to_string());
        let outcome = store.submit(batch).await;
        match outcome {
            Ok(()) => self.settled.push(self.next),
            Err(_) => self.refused += 1,
        }
        outcome
    }

    /// All that is settled is there, and nothing else.
    async fn check(&self, store: &Sqlite) {
        let whole = Slice { count_max: usize::MAX, ..Slice::default() };
        let found = store.page(LOG, &owner(), &whole).await.expect("reading goes on").records;
        let seqs: Vec<Seq> = found.iter().map(|record| record.seq).collect();
        assert_eq!(seqs, self.settled);
        assert!(found.iter().all(|kept| *kept == record(kept.seq)));
        let last = store.entry(LAST, &owner(), "").await.expect("reading goes on");
        let expected = self.settled.last().map(|seq| Bytes::from(seq.to_string()));
        assert_eq!(last, expected);
    }
}

fn owner() -> Owner {
    "juliet@capulet.lit".into()
}

fn record(seq: Seq) -> Record {
    let stanza = vec![seq as u8; 1500].into();
    Record { seq, epoch: 1, peer: "romeo@montague.lit".into(), flags: 1, stanza }
}
