//! The tables on disk, and the ordered steps that lead to them.

use rusqlite::Connection;
use verona_core::store::error::{Fault, StoreError};

use crate::sqlite::trouble::Trouble;

/// Marks the file as ours ("Vrna"), so that no other program's database is taken for it.
const APPLICATION: i32 = 0x5672_6e61;

/// Each step is applied once, in one transaction together with its number (`user_version`). Steps
/// are never changed once released, only added.
const STEPS: &[&str] = &["
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
        id INTEGER PRIMARY KEY,
        log INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        peer INTEGER NOT NULL,
        flags INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        sum INTEGER NOT NULL,
        stanza BLOB NOT NULL
    ) STRICT;
    CREATE TABLE young (
        id INTEGER PRIMARY KEY,
        generation INTEGER NOT NULL,
        sum INTEGER NOT NULL,
        ops BLOB NOT NULL
    ) STRICT;
    CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL) STRICT;
    INSERT INTO state VALUES (1, 1);
    CREATE INDEX by_seq ON records (log, seq, flags);
    CREATE INDEX by_peer ON records (log, peer, seq, flags);
"];

/// Brings the file to the newest version; refuses one that is newer still, or is not ours.
pub fn migrate(connection: &mut Connection) -> Result<(), Trouble> {
    let number = |name| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
    let version: i32 = number("user_version")?;
    let application: i32 = number("application_id")?;
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    let tables: i32 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_new = application == 0 && version == 0 && tables == 0;
    if application != APPLICATION && !is_new {
        return Err(unusable("the file is a database of another program"));
    }
    if done > STEPS.len() {
        return Err(unusable(format_args!(
            "the data was written by a newer version (format {version}, this one knows {}): \
             install that version again, or restore a backup made before",
            STEPS.len()
        )));
    }
    for (step, version) in STEPS.iter().zip(1_u32..).skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

fn unusable(why: impl std::fmt::Display) -> Trouble {
    Trouble::Store(StoreError::new(Fault::Unusable, why))
}
