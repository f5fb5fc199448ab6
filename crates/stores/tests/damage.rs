//! Bits that flip on the disk: what is damaged is found, and never served.

use std::path::{Path, PathBuf};

use verona_core::store::Store;
use verona_core::store::batch::Batch;
use verona_core::store::shape::{Entry, Owner, Record, Seq, Slice, Table};
use verona_stores::dice::Dice;
use verona_stores::scratch::Scratch;
use verona_stores::sqlite::{Sqlite, Tuning};

const LOG: Table = Table::log("test.log");
const MAP: Table = Table::map("test.map");
const RECORDS: u64 = 120;

/// Bytes that surely belong to a record before its stanza begins: the head of a row of small
/// numbers. What lies before the first row of a page belongs to nobody.
const HEAD_BYTES: usize = 16;

/// How many flips a test makes; the environment can ask for more.
fn flips() -> u64 {
    std::env::var("VERONA_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(150)
}

#[test]
fn every_flipped_bit_of_a_record_is_found_and_none_is_served() {
    let whole = Whole::make();
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut served_elsewhere = 0;
    for round in 0..flips() {
        let seq = 1 + dice.below(RECORDS);
        let (start, end) = whole.place_of(seq);
        // With what lies before the stanza: the head of the row, or of the operation.
        let start = start - HEAD_BYTES;
        let at = start + dice.below((end - start) as u64) as usize;
        let bit = dice.below(8) as u8;
        let seen = whole.with_flip(at, bit);
        assert!(seen.is_found, "round {round}: bit {bit} of byte {at} (record {seq}) is not found");
        served_elsewhere += seen.served;
    }
    assert!(served_elsewhere > 0, "a single flip does not make the whole log unreadable");
}

#[test]
fn a_flipped_bit_anywhere_is_found_or_changes_nothing() {
    let whole = Whole::make();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..flips() {
        let at = dice.below(whole.bytes.len() as u64) as usize;
        let bit = dice.below(8) as u8;
        let seen = whole.with_flip(at, bit);
        assert!(seen.is_found || seen.is_all, "bit {bit} of byte {at} is missed");
    }
}

/// A sound database, as bytes.
struct Whole {
    bytes: Vec<u8>,
    scratch: Scratch,
}

/// What came of a flip.
struct Seen {
    is_found: bool,
    /// Whether every answer was complete and right.
    is_all: bool,
    served: usize,
}

impl Whole {
    fn make() -> Self {
        let scratch = Scratch::new().expect("a directory");
        let path = scratch.path().join("verona.db");
        // Most records are moved to their table, the last are young.
        let tuning = Tuning { generation_bytes: 24_000, step_records: 20, ..Tuning::default() };
        let store = Sqlite::open_tuned(&path, tuning).expect("a store");
        block_on(async {
            for seq in 1..=RECORDS {
                let mut batch = Batch::new();
                batch.append(LOG, &owner(), record(seq));
                batch.put(MAP, &owner(), &format!("key {seq}"), format!("value {seq}"));
                store.submit(batch).await.expect("the batch is settled");
            }
            store.close().await;
        });
        drop(store);
        // Copies in pages that are free again, or in what is free of a page, would hide where the live
        // one is.
        let connection = rusqlite::Connection::open(&path).expect("the file");
        connection.execute_batch("PRAGMA secure_delete = ON; VACUUM").expect("made compact");
        drop(connection);
        assert!(Sqlite::verify(&path).is_empty(), "sound before any flip");
        let bytes = std::fs::read(&path).expect("the file");
        Self { bytes, scratch }
    }

    /// Where the bytes of a stanza lie.
    fn place_of(&self, seq: Seq) -> (usize, usize) {
        let stanza = record(seq).stanza;
        let found = self.bytes.windows(stanza.len()).position(|window| window == &stanza[..]);
        let start = found.expect("the stanza lies in one piece");
        (start, start + stanza.len())
    }

    fn with_flip(&self, at: usize, bit: u8) -> Seen {
        let path = self.scratch.path().join("flipped.db");
        let mut bytes = self.bytes.clone();
        bytes[at] ^= 1 << bit;
        std::fs::write(&path, bytes).expect("a copy");
        let findings = Sqlite::verify(&path);
        let mut seen = read_all(&path);
        seen.is_found |= !findings.is_empty();
        remove(&path);
        seen
    }
}

fn remove(path: &Path) {
    for end in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}

/// Asks everything there is to ask; whatever is answered is as it was written.
fn read_all(path: &Path) -> Seen {
    let Ok(store) = Sqlite::open(path) else {
        return Seen { is_found: true, is_all: false, served: 0 };
    };
    block_on(async {
        let mut seen = Seen { is_found: false, is_all: true, served: 0 };
        for from_end in [false, true] {
            for peer in [None, Some(record(1).peer)] {
                let meant = |seq: &Seq| peer.as_ref().is_none_or(|peer| record(*seq).peer == *peer);
                let expected = (1..=RECORDS).filter(meant).count();
                let slice =
                    Slice { peer: peer.clone(), from_end, count_max: 1000, ..Slice::default() };
                match store.page(LOG, &owner(), &slice).await {
                    Ok(page) => {
                        page.records.iter().for_each(|kept| assert_eq!(*kept, record(kept.seq)));
                        seen.is_all &= page.records.len() == expected;
                    }
                    Err(_) => seen.is_found = true,
                }
            }
        }
        for seq in 1..=RECORDS {
            match store.record(LOG, &owner(), seq).await {
                Ok(Some(kept)) => {
                    assert_eq!(kept, record(seq));
                    seen.served += 1;
                }
                Ok(None) => seen.is_all = false,
                Err(_) => seen.is_found = true,
            }
        }
        match store.entries(&owner(), &[MAP]).await {
            Ok(entries) => {
                entries.iter().for_each(is_as_written);
                seen.is_all &= entries.len() as u64 == RECORDS;
            }
            Err(_) => seen.is_found = true,
        }
        seen
    })
}

fn is_as_written(entry: &Entry) {
    assert_eq!(entry.value, entry.key.replace("key", "value"));
}

fn owner() -> Owner {
    "juliet@capulet.lit".into()
}

fn record(seq: Seq) -> Record {
    let peer = if seq.is_multiple_of(3) { "nurse@capulet.lit" } else { "romeo@montague.lit" };
    let stanza = format!("<message id='{seq}'><body>Good night, {seq} times.</body></message>");
    Record { seq, epoch: 4, peer: peer.into(), flags: 1 + (seq % 3) as u32, stanza: stanza.into() }
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(what)
}
