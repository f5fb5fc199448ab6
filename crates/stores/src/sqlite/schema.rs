//! The tables on disk, and the ordered steps that lead to them.

use rusqlite::Connection;
use verona_core::store::error::{Fault, StoreError};

use crate::sqlite::trouble::Trouble;

mod blocks;

/// Marks the file as ours ("Vrna"), so that no other program's database is taken for it.
const APPLICATION: i32 = 0x5672_6e61;

/// What leads from one format to the next: statements, then what they cannot say.
struct Step<'a> {
    sql: &'a str,
    then: fn(&Connection) -> Result<(), Trouble>,
}

impl<'a> Step<'a> {
    const fn of(sql: &'a str) -> Self {
        Self { sql, then: |_| Ok(()) }
    }
}

/// Each step is applied once, in one transaction together with its number (`user_version`). Steps
/// are never changed once released, only added.
const STEPS: &[Step<'_>] = &[Step::of(RECORDS), Step { sql: BLOCKS, then: blocks::lay }];

/// Records and young records have no column for their row's number: SQLite would keep a byte for it
/// that means nothing, and whose damage nobody could find.
const RECORDS: &str = "
    CREATE TABLE tables (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE owners (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE peers (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

    CREATE TABLE entries (
        owner INTEGER NOT NULL,
        tab INTEGER NOT NULL,
        key TEXT NOT NULL,
        sum INTEGER NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (owner, tab, key)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE logs (
        id INTEGER PRIMARY KEY,
        owner INTEGER NOT NULL,
        tab INTEGER NOT NULL,
        moved INTEGER NOT NULL,
        sum INTEGER NOT NULL,
        clear BLOB NOT NULL,
        UNIQUE (owner, tab)
    ) STRICT;

    CREATE TABLE records (
        log INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        peer INTEGER NOT NULL,
        flags INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        sum INTEGER NOT NULL,
        stanza BLOB NOT NULL
    ) STRICT;
    CREATE TABLE young (
        generation INTEGER NOT NULL,
        sum INTEGER NOT NULL,
        ops BLOB NOT NULL
    ) STRICT;
    CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL) STRICT;
    INSERT INTO state VALUES (1, 1);
    CREATE INDEX by_seq ON records (log, seq, flags);
    CREATE INDEX by_peer ON records (log, peer, seq, flags);
";

/// Records lie in blocks, which cost less to write.
const BLOCKS: &str = "
    CREATE TABLE blocks (
        log INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        count INTEGER NOT NULL,
        some INTEGER NOT NULL,
        every INTEGER NOT NULL,
        sum INTEGER NOT NULL,
        heads BLOB NOT NULL,
        stanzas BLOB NOT NULL
    ) STRICT;
    CREATE TABLE parts (
        log INTEGER NOT NULL,
        peer INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        count INTEGER NOT NULL,
        some INTEGER NOT NULL,
        every INTEGER NOT NULL,
        PRIMARY KEY (log, peer, first)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX by_first ON blocks (log, first, last, count, some, every);
";

/// Brings the file to the newest version; refuses one that is newer still, or is not ours.
pub fn migrate(connection: &mut Connection) -> Result<(), Trouble> {
    take(connection, STEPS)
}

/// Takes the steps that the file has not taken, each whole or not at all.
fn take(connection: &mut Connection, steps: &[Step<'_>]) -> Result<(), Trouble> {
    let done = steps_done(connection, steps)?;
    for (step, version) in steps.iter().zip(1_u32..).skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step.sql)?;
        (step.then)(&transaction)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Whether the file has the newest version.
pub fn is_current(connection: &Connection) -> Result<(), Trouble> {
    let done = steps_done(connection, STEPS)?;
    if done == STEPS.len() {
        return Ok(());
    }
    Err(unusable("the data was written by an older version; the next start brings it up to date"))
}

fn steps_done(connection: &Connection, steps: &[Step<'_>]) -> Result<usize, Trouble> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i32>(0));
    let version = number("PRAGMA user_version")?;
    let application = number("PRAGMA application_id")?;
    let is_new =
        application == 0 && version == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0;
    if application != APPLICATION && !is_new {
        return Err(unusable("the file is a database of another program"));
    }
    match usize::try_from(version) {
        Ok(done) if done <= steps.len() => Ok(done),
        _ => Err(unusable(format_args!(
            "the data was written by a newer version (format {version}, this one knows {}): \
             install that version again, or restore a backup made before",
            steps.len()
        ))),
    }
}

fn unusable(why: impl std::fmt::Display) -> Trouble {
    Trouble::Store(StoreError::new(Fault::Unusable, why))
}

#[cfg(test)]
mod migration;

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(prepare: &str) -> String {
        let mut connection = Connection::open_in_memory().expect("a database");
        connection.execute_batch(prepare).expect("it is prepared");
        let trouble = migrate(&mut connection).expect_err("it is refused");
        let error = StoreError::from(trouble);
        assert_eq!(error.fault, Fault::Unusable);
        error.to_string()
    }

    #[test]
    fn a_new_file_gets_all_steps_and_a_current_one_none() {
        let mut connection = Connection::open_in_memory().expect("a database");
        assert!(is_current(&connection).is_err());
        migrate(&mut connection).expect("all steps are applied");
        is_current(&connection).expect("nothing is left");
        let tables = "SELECT count(*) FROM sqlite_schema";
        let count = |c: &Connection| c.query_row(tables, [], |row| row.get::<_, i64>(0));
        let before = count(&connection).expect("a count");
        migrate(&mut connection).expect("nothing to do");
        assert_eq!(count(&connection).expect("a count"), before);
    }

    #[test]
    fn a_newer_version_is_refused_and_told() {
        let newer = format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = 99;");
        let told = refusal(&newer);
        assert!(told.contains("written by a newer version (format 99"), "{told}");
    }

    #[test]
    fn the_database_of_another_program_is_left_alone() {
        for other in [
            "PRAGMA application_id = 7;",
            "PRAGMA user_version = 1;",
            "CREATE TABLE contacts (name TEXT);",
        ] {
            let told = refusal(other);
            assert!(told.contains("another program"), "{told}");
        }
    }
}
