//! Looking at every byte that can be checked: for `verona check`, on a database that is not in use.

use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, Row};

use crate::sqlite::block::{Extent, Head};
use crate::sqlite::connection;
use crate::sqlite::files::Hold;
use crate::sqlite::logs::Log;
use crate::sqlite::older::{COLUMNS, Laid, tallies};
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
    let checks: [Check; 5] = [structure, entries, logs, blocks, young_records];
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

/// Each block with its records, and what is noted of its peers.
fn blocks(connection: &Connection, found: &mut Vec<String>) -> Result<(), Trouble> {
    let mut look = Look::new(connection);
    let (mut before, mut parts) = ((0, 0), 0_usize);
    let sql = format!("SELECT {COLUMNS} FROM blocks NOT INDEXED ORDER BY log, first");
    each(connection, &sql, found, |row| {
        let laid = match Laid::read(row) {
            Ok(laid) => laid,
            Err(trouble) => return Ok(Some(told(trouble))),
        };
        let (id, log, Extent { first, last, .. }) = (laid.id, laid.log, laid.extent);
        let is_behind = before < (log, first) && first <= last;
        before = (log, last);
        match check(&mut look, &laid) {
            Ok(count) if is_behind => {
                parts = parts.saturating_add(count);
                Ok(None)
            }
            Ok(_) => Ok(Some(format!("places of block {id} are taken twice"))),
            Err(trouble) => Ok(Some(told(trouble))),
        }
    })?;
    let noted: usize = connection.query_row("SELECT count(*) FROM parts", [], |row| row.get(0))?;
    if found.is_empty() && noted != parts {
        found.push(format!("{noted} notes of peers in blocks, expected {parts}"));
    }
    Ok(())
}

/// How many peers a block has, if all is well with it and them.
fn check(look: &mut Look<'_>, laid: &Laid) -> Result<usize, Trouble> {
    let Laid { id, log, extent, block } = laid;
    let damaged = || Trouble::damaged(format_args!("block {id} of log {log}"));
    let (all, peers) = tallies(&block.heads);
    let is_within = |head: &Head| head.seq >= extent.first && head.seq <= extent.last;
    let moved = look.moved(*log)?;
    if all != extent.tally || !block.heads.iter().all(is_within) || extent.last > moved {
        return Err(damaged());
    }
    for head in &block.heads {
        let peer = look.peer(head.peer)?;
        head.record(*log, peer, block.stanza(head)).ok_or_else(damaged)?;
    }
    for (peer, tally) in &peers {
        if look.part(*log, *peer, extent.first)? != Some(Extent { tally: *tally, ..*extent }) {
            return Err(damaged());
        }
    }
    Ok(peers.len())
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
