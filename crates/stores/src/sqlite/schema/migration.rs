//! From one format to the next with data in it, and with the power gone at each place on the way.
//!
//! What will be the next format is played by a step that does what such steps do: it fills a new table
//! and rebuilds an old one, by the code and with the list that the server uses.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use verona_core::store::Store;
use verona_core::store::batch::Batch;
use verona_core::store::shape::{Entry, Owner, Record, Slice, Table};

use super::*;
use crate::scratch::Scratch;
use crate::sqlite::connection;
use crate::sqlite::{Sqlite, Tuning};

/// The format of today.
const NOW: i32 = STEPS.len() as i32;

/// The statements of the next format.
const NEXT: [&str; 6] = [
    "CREATE TABLE sizes (owner INTEGER PRIMARY KEY, bytes INTEGER NOT NULL) STRICT;",
    "INSERT INTO sizes SELECT owner, sum(length(value)) FROM entries GROUP BY owner;",
    "CREATE TABLE entries_next (
        owner INTEGER NOT NULL,
        tab INTEGER NOT NULL,
        key TEXT NOT NULL,
        sum INTEGER NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (owner, tab, key)
    ) STRICT, WITHOUT ROWID;",
    "INSERT INTO entries_next SELECT * FROM entries;",
    "DROP TABLE entries;",
    "ALTER TABLE entries_next RENAME TO entries;",
];

const ITEMS: Table = Table::map("test.items");
const LOG: Table = Table::log("test.log");

/// So small that what lies in a database of some hundred rows has been moved in part, and a
/// transaction does not fit into memory.
const TUNING: Tuning =
    Tuning { generation_bytes: 20_000, step_records: 10, checkpoint_pages: 20, ..Tuning::USUAL };

fn take_both(path: &Path) -> Result<Connection, Trouble> {
    let next = NEXT.concat();
    let known = STEPS.iter().map(|step| Step { sql: step.sql, then: step.then });
    let steps: Vec<Step<'_>> = known.chain([Step::of(&next)]).collect();
    let mut connection = connection::checking(path)?;
    connection.execute_batch("PRAGMA query_only = OFF;")?;
    take(&mut connection, &steps)?;
    Ok(connection)
}

fn version(path: &Path) -> i32 {
    let connection = connection::checking(path).expect("it opens");
    connection.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("a number")
}

fn owners() -> Vec<Owner> {
    (0..8).map(|number| Owner::from(format!("juliet{number}@capulet.lit"))).collect()
}

/// A directory in the format of today with entries and records in it.
async fn filled(path: &Path) {
    let store = Sqlite::open_tuned(path, TUNING).expect("the store opens");
    for owner in owners() {
        let mut batch = Batch::new();
        for number in 0..40_u32 {
            batch.put(ITEMS, &owner, &format!("key {number}"), vec![7; 300]);
            let record = Record {
                seq: u64::from(number) + 1,
                epoch: 1,
                peer: format!("romeo{}@montague.lit", number % 3).into(),
                flags: 1 << (number % 4),
                stanza: Bytes::from(format!("<message>{}</message>", "x".repeat(400))),
            };
            batch.append(LOG, &owner, record);
        }
        store.submit(batch).await.expect("it is written");
    }
    store.close().await;
}

type Content = Vec<(Vec<Entry>, Vec<Record>)>;

/// All that a store has.
async fn content(store: &Sqlite) -> Content {
    let mut all = Content::new();
    for owner in owners() {
        let entries = store.entries(&owner, &[ITEMS]).await.expect("entries");
        let slice = Slice { count_max: 1_000, ..Slice::default() };
        let page = store.page(LOG, &owner, &slice).await.expect("a page");
        assert_eq!((entries.len(), page.records.len()), (40, 40));
        all.push((entries, page.records));
    }
    all
}

async fn read(path: &Path) -> Content {
    let store = Sqlite::open_tuned(path, TUNING).expect("the store opens");
    let content = content(&store).await;
    store.close().await;
    content
}

/// Reads a directory in the next format; the tables of today are in it as they were.
async fn read_next(path: &Path) -> Content {
    assert_eq!(version(path), NOW + 1);
    let connection = connection::checking(path).expect("it opens");
    connection.execute_batch("PRAGMA query_only = OFF;").expect("set");
    connection.pragma_update(None, "user_version", NOW).expect("set");
    drop(connection);
    let findings = Sqlite::verify(path);
    assert!(findings.is_empty(), "{findings:?}");
    read(path).await
}

/// What is on the disk of a process that ends now: the files as they are, without the lock and
/// without what is in memory.
fn crash(path: &Path, into: &Scratch, number: usize) -> PathBuf {
    let directory = into.path().join(format!("crash {number}"));
    fs::create_dir(&directory).expect("made");
    let copy = directory.join("verona.db");
    fs::copy(path, &copy).expect("copied");
    let log = |of: &Path| of.with_extension("db-wal");
    if log(path).exists() {
        fs::copy(log(path), log(&copy)).expect("copied");
    }
    copy
}

/// Takes a step statement by statement, and copies the files before each and at the end.
fn crashes(path: &Path, statements: &[&str], to: i32, into: &Scratch) -> Vec<PathBuf> {
    let mut connection = connection::checking(path).expect("it opens");
    // What does not fit into memory is on the disk before the transaction has ended.
    let setup = "PRAGMA query_only = OFF; PRAGMA journal_mode = WAL; PRAGMA cache_size = 5;
                 PRAGMA wal_autocheckpoint = 0;";
    connection.execute_batch(setup).expect("set");
    let mut found = Vec::new();
    let transaction = connection.transaction().expect("begun");
    for statement in statements {
        found.push(crash(path, into, found.len()));
        transaction.execute_batch(statement).expect("taken");
    }
    transaction.pragma_update(None, "application_id", APPLICATION).expect("set");
    found.push(crash(path, into, found.len()));
    transaction.pragma_update(None, "user_version", to).expect("set");
    found.push(crash(path, into, found.len()));
    transaction.commit().expect("committed");
    found.push(crash(path, into, found.len()));
    found
}

#[tokio::test]
async fn a_step_keeps_all_that_is_there() {
    let scratch = Scratch::new().expect("a directory");
    let path = scratch.path().join("verona.db");
    filled(&path).await;
    let before = read(&path).await;
    assert_eq!(version(&path), NOW);
    let connection = take_both(&path).expect("the step is taken");
    let count = "SELECT count(*), sum(bytes) FROM sizes";
    let sizes = connection.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(sizes, Ok((8, 8 * 40 * 300)));
    drop(connection);
    // The version before leaves it alone.
    let refused = Sqlite::open(&path).expect_err("it is newer");
    let told = format!("written by a newer version (format {}", NOW + 1);
    assert!(refused.to_string().contains(&told), "{refused}");
    // A second start has nothing to do.
    drop(take_both(&path).expect("nothing is left"));
    assert_eq!(read_next(&path).await, before);
}

#[tokio::test]
async fn a_step_that_is_cut_off_was_not_taken_and_can_be_taken_again() {
    let scratch = Scratch::new().expect("a directory");
    let path = scratch.path().join("verona.db");
    filled(&path).await;
    let before = read(&path).await;
    let left = crashes(&path, &NEXT, NOW + 1, &scratch);
    let (done, cut) = left.split_last().expect("some crashes");
    let spilled = cut.iter().filter_map(|path| fs::metadata(path.with_extension("db-wal")).ok());
    let spilled = spilled.map(|log| log.len()).max().unwrap_or_default();
    assert!(spilled > 50_000, "part of the step was on the disk: {spilled}");
    for path in cut {
        // By the version before as by the next.
        assert_eq!(read(path).await, before, "{path:?}");
        assert_eq!(version(path), NOW);
        drop(take_both(path).expect("the step is taken"));
        assert_eq!(read_next(path).await, before, "{path:?}");
    }
    assert_eq!(read_next(done).await, before);
}

#[tokio::test]
async fn a_step_whose_last_write_was_torn_was_taken_or_was_not() {
    let scratch = Scratch::new().expect("a directory");
    let path = scratch.path().join("verona.db");
    filled(&path).await;
    let before = read(&path).await;
    let done = crashes(&path, &NEXT, NOW + 1, &scratch).pop().expect("some crashes");
    let whole = fs::metadata(done.with_extension("db-wal")).expect("a log").len();
    let (mut taken, mut not_taken) = (0, 0);
    for part in 0..=24 {
        let torn = crash(&done, &scratch, 100 + part);
        let length = whole * part as u64 / 24;
        let log = fs::File::options().write(true).open(torn.with_extension("db-wal"));
        log.and_then(|log| log.set_len(length)).expect("torn");
        match version(&torn) {
            NOW => not_taken += 1,
            _ => taken += 1,
        }
        drop(take_both(&torn).expect("the step is taken"));
        assert_eq!(read_next(&torn).await, before, "{length} of {whole} bytes");
    }
    assert!(taken > 0 && not_taken > 0, "{taken} {not_taken}");
}

#[tokio::test]
async fn a_directory_whose_making_is_cut_off_is_made_anew() {
    let scratch = Scratch::new().expect("a directory");
    let path = scratch.path().join("verona.db");
    fs::write(&path, "").expect("an empty file");
    let statements: Vec<String> = STEPS[0]
        .sql
        .split_inclusive(';')
        .map(str::to_owned)
        .filter(|statement| !statement.trim().is_empty())
        .collect();
    assert!(statements.len() > 8);
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    let left = crashes(&path, &statements, 1, &scratch);
    for path in left {
        // The server's own way: open, fill, read.
        filled(&path).await;
        assert_eq!(read(&path).await.len(), owners().len());
        assert!(Sqlite::verify(&path).is_empty());
    }
}

/// What the first format wrote is all there in the second, and is sound.
#[tokio::test]
async fn records_of_the_first_format_are_found_in_blocks() {
    let scratch = Scratch::new().expect("a directory");
    let path = scratch.path().join("verona.db");
    filled(&path).await;
    let before = read(&path).await;
    into_the_first_format(&path);
    assert_eq!(version(&path), 1);
    assert_eq!(read(&path).await, before);
    assert_eq!(version(&path), NOW);
    assert!(Sqlite::verify(&path).is_empty());
}

/// Takes the second step back: a row for each record.
fn into_the_first_format(path: &Path) {
    let connection = connection::checking(path).expect("it opens");
    connection.execute_batch("PRAGMA query_only = OFF;").expect("set");
    let (_, records) = RECORDS.split_once("CREATE TABLE records").expect("its table");
    let (table, _) = records.split_once(";").expect("its end");
    connection.execute_batch(&format!("CREATE TABLE records{table};")).expect("made");
    let columns = crate::sqlite::older::COLUMNS;
    let mut select = connection.prepare(&format!("SELECT {columns} FROM blocks")).expect("asked");
    let mut rows = select.query([]).expect("asked");
    let mut count = 0;
    while let Some(row) = rows.next().expect("a row") {
        let laid = crate::sqlite::older::Laid::read(row).expect("sound");
        for head in &laid.block.heads {
            let (seq, stanza) = (head.seq as i64, laid.block.stanza(head).to_vec());
            let values = (laid.log, seq, head.peer, head.flags, head.epoch, head.sum, stanza);
            let insert = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)";
            count += connection.execute(insert, values).expect("put");
        }
    }
    drop(rows);
    drop(select);
    assert!(count > 200, "{count} records were moved");
    let back = "CREATE INDEX by_seq ON records (log, seq, flags);
                CREATE INDEX by_peer ON records (log, peer, seq, flags);
                DROP TABLE blocks; DROP TABLE parts; PRAGMA user_version = 1;";
    connection.execute_batch(back).expect("done");
}
