//! From format 1, with a row for each record, to format 2, with blocks of them.

use rusqlite::{Connection, Row};
use verona_core::store::shape::Seq;

use crate::sqlite::block::{HEAD, signed};
use crate::sqlite::older::Older;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::young;

/// Bytes of records that are read before they are laid down, and one record more at most, so that the
/// longest log fits into memory.
const BYTES: usize = 1024 * 1024;

/// Lays all records down in blocks, with the checksums that they have, and drops their table.
pub fn lay(connection: &Connection) -> Result<(), Trouble> {
    let older = Older::new(connection);
    let mut logs = connection.prepare("SELECT DISTINCT log FROM records ORDER BY log")?;
    let logs: Vec<i64> = logs.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for log in logs {
        let mut through = 0;
        loop {
            let records = after(connection, log, through)?;
            let Some((last, _)) = records.last() else { break };
            through = *last;
            older.add(log, records.iter().map(|(seq, row)| (*seq, row)))?;
        }
    }
    connection.execute_batch("DROP TABLE records;")?;
    // Statements that name the table are of no use any more.
    connection.flush_prepared_statement_cache();
    Ok(())
}

fn after(
    connection: &Connection,
    log: i64,
    through: Seq,
) -> Result<Vec<(Seq, young::Row)>, Trouble> {
    let mut select = connection.prepare_cached(
        "SELECT seq, epoch, flags, peer, sum, stanza FROM records
         WHERE log = ? AND seq > ? ORDER BY seq",
    )?;
    let (mut records, mut bytes) = (Vec::new(), 0_usize);
    let mut rows = select.query((log, signed(through)))?;
    while bytes < BYTES {
        let Some(row) = rows.next()? else { break };
        let (seq, record) = read(row)?;
        bytes = bytes.saturating_add(record.stanza.len()).saturating_add(HEAD);
        records.push((seq, record));
    }
    Ok(records)
}

fn read(row: &Row<'_>) -> rusqlite::Result<(Seq, young::Row)> {
    let stanza: Vec<u8> = row.get(5)?;
    let record = young::Row {
        epoch: row.get(1)?,
        flags: row.get(2)?,
        peer: row.get(3)?,
        sum: row.get(4)?,
        // The block knows its number.
        peer_name: "".into(),
        stanza: stanza.into(),
    };
    Ok((row.get(0)?, record))
}
