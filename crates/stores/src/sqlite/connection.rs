//! Connections to the database file: one that writes, some that read.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::sqlite::schema;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::tuning::Tuning;

/// The variant of SQLite's file layer in which this process alone holds the file: the index of the
/// write-ahead log is then plain memory, not a mapped file, and a read takes no file locks.
const VFS: &str = "unix-excl";

/// Bytes of a page: with 8 KiB a commit of many records writes half as many frames as with the
/// usual 4, and few stanzas need a page of their own.
const PAGE_BYTES: u32 = 8192;

/// How long a statement waits for another connection of ours. They meet only when the write-ahead
/// log is emptied.
const BUSY: Duration = Duration::from_secs(5);

/// Opens the file for the writer and brings it to the newest version.
///
/// WAL with full sync: a commit returns when its frames are on the disk.
pub fn writing(path: &Path, tuning: &Tuning) -> Result<Connection, Trouble> {
    let mut connection = open(path)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -16384;",
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    schema::migrate(&mut connection)?;
    let overwrite = if tuning.overwrite { "ON" } else { "FAST" };
    connection.query_row(&format!("PRAGMA secure_delete = {overwrite}"), [], |_| Ok(()))?;
    if tuning.file_bytes_max > 0 {
        let pages =
            i64::try_from(tuning.file_bytes_max / u64::from(PAGE_BYTES)).unwrap_or(i64::MAX);
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    }
    Ok(connection)
}

/// Opens the file for a reader; the writer has it open already.
pub fn reading(path: &Path) -> Result<Connection, Trouble> {
    let connection = open(path)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -512;")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens the file to look at it, without bringing it to the newest version.
pub fn checking(path: &Path) -> Result<Connection, Trouble> {
    let connection = open(path)?;
    connection.execute_batch("PRAGMA query_only = ON;")?;
    Ok(connection)
}

fn open(path: &Path) -> Result<Connection, Trouble> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(path, flags, VFS)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(
        "PRAGMA foreign_keys = OFF;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA temp_store = MEMORY;",
    )?;
    Ok(connection)
}
