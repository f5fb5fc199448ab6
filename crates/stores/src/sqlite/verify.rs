//! Looking at every byte that can be checked: for `verona check`, on a database that is not in use.

use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, Row};

use crate::sqlite::connection;
use crate::sqlite::files::Hold;
use crate::sqlite::logs::Log;
use crate::sqlite::op::Op;
use crate::sqlite::recover::{Look, young};
use crate::sqlite::schema;
use crate::sqlite::sum;
use crate::sqlite::trouble::Trouble;

/// Findings of one kind that are told; a thousand more would say nothing new.
const FINDINGS_MAX: usize = 50;

type Check = fn(&Connection, &mut Vec<String>) -> Result<(), Trouble>;

/// What is wrong with a database; nothing when all is well.
pub fn verify(path: &Path) -> Vec<String> {
    if !path.is_file() {
        return vec![format!("{}: there is no database", path.display())];
    }
    let _hold = match Hold::take(path) {
        Ok(hold) => hold,
        Err(error) => return vec![error.to_string()],
    };
    let connection = match connection::checking(path).and_then(|connection| {
        schema::is_current(&connection)?;
        Ok(connection)
    }) {
        Ok(connection) => connection,
        Err(trouble) => return vec![told(trouble)],
    };
    let mut findings = Vec::new();
    let checks: [Check; 6] = [structure, entries, logs, records, places, young_records];
    for check in checks {
        let mut found = Vec::new();
        if let Err(trouble) = check(&connection, &mut found) {
            found.push(told(trouble));
        }
        let more = found.len().saturating_sub(FINDINGS_MAX);
        found.truncate(FINDINGS_MAX);
        findings.append(&mut found);
        if more > 0 {
            findings.push(format!("and {more} more of this kind"));
        }
    }
    findings
}

/// What SQLite itself can see: pages, cells, indexes.
fn structure(connection: &Connection, found: &mut Vec<String>) -> Result<(), Trouble> {
    let mut check = connection.prepare("PRAGMA integrity_check(50)")?;
    let rows = check.query_map([], |row| row.get::<_, String>(0))?;
    for row in rows {
        let line = row?;
        if line != "ok" {
            found.push(line);
        }
    }
    Ok(())
}

fn entries(connection: &Connection, found: &mut Vec<String>) -> Result<(), Trouble> {
    let sql = "SELECT owner, tab, sum, key, value FROM entries";
    each(connection, sql, found, |row| {
        let (owner, table, sum): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (key, value) = (row.get_ref(3)?.as_str(), row.get_ref(4)?.as_blob());
        let is_well = match (key, value) {
            (Ok(key), Ok(value)) => sum == sum::of_entry(owner, table, key, value),
            _ => false,
        };
        Ok((!is_well).then(|| format!("an entry of owner {owner} in table {table} is damaged")))
    })
}

fn logs(connection: &Connection, found: &mut Vec<String>) -> Result<(), Trouble> {
    let sql = "SELECT id, owner, tab, moved, sum, clear FROM logs";
    each(connection, sql, found, |row| Ok(Log::from_row(row).err().map(told)))
}

fn records(connection: &Connection, found: &mut Vec<String>) -> Result<(), Trouble> {
    let sql = "SELECT r.rowid, r.log, r.seq, r.flags, r.epoch, r.sum, r.stanza, p.name, l.moved
               FROM records r LEFT JOIN peers p ON p.id = r.peer LEFT JOIN logs l ON l.id = r.log";
    each(connection, sql, found, |row| {
        let id: i64 = row.get(0)?;
        let read = || -> rusqlite::Result<bool> {
            let (log, place, sum): (i64, i64, i64) = (row.get(1)?, row.get(2)?, row.get(5)?);
            let (flags, epoch, moved): (u32, u32, i64) = (row.get(3)?, row.get(4)?, row.get(8)?);
            let (stanza, peer) = (row.get_ref(6)?.as_blob()?, row.get_ref(7)?.as_str()?);
            let seq = place.unsigned_abs();
            let expected = sum::of_record(log, seq, epoch, peer, stanza) ^ sum::of_flags(flags);
            Ok(expected == sum && place > 0 && place <= moved)
        };
        Ok((!read().unwrap_or(false)).then(|| format!("record {id} is damaged")))
    })
}

/// No place is taken twice.
fn places(connection: &Connection, found: &mut Vec<String>) -> Result<(), Trouble> {
    let sql =
        "SELECT log, seq FROM records INDEXED BY by_seq GROUP BY log, seq HAVING count(*) > 1";
    each(connection, sql, found, |row| {
        let (log, seq): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(Some(format!("place {seq} of log {log} is taken twice")))
    })
}

fn young_records(connection: &Connection, found: &mut Vec<String>) -> Result<(), Trouble> {
    let mut look = Look::new(connection);
    let sql = "SELECT rowid, generation, sum, ops FROM young ORDER BY rowid";
    each(connection, sql, found, |row| {
        let head = (row.get(0)?, row.get(1)?, row.get(2)?);
        let bytes = Bytes::from(row.get::<_, Vec<u8>>(3)?);
        let ops = match look.ops(head, &bytes) {
            Ok(ops) => ops,
            Err(trouble) => return Ok(Some(told(trouble))),
        };
        let is_damaged = |op: &Op| {
            let Op::Append(append) = op else { return false };
            let stanza = bytes.get(append.stanza.clone()).unwrap_or_default();
            let sum =
                sum::of_record(append.log, append.seq, append.epoch, &append.peer_name, stanza);
            sum ^ sum::of_flags(append.flags) != append.sum
        };
        let id = head.0;
        Ok(ops
            .iter()
            .any(is_damaged)
            .then(|| format!("group {id} of the young records is damaged")))
    })?;
    if found.is_empty() {
        young(connection)?;
    }
    Ok(())
}

/// Looks at each row of a question. A row that cannot be read at all is a finding too.
fn each(
    connection: &Connection,
    sql: &str,
    found: &mut Vec<String>,
    mut look: impl FnMut(&Row<'_>) -> rusqlite::Result<Option<String>>,
) -> Result<(), Trouble> {
    let mut select = connection.prepare(sql)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        match look(row) {
            Ok(finding) => found.extend(finding),
            Err(error) => found.push(format!("a row cannot be read: {error}")),
        }
    }
    Ok(())
}

fn told(trouble: Trouble) -> String {
    verona_core::store::error::StoreError::from(trouble).to_string()
}
