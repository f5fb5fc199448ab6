//! The writes, one by one, inside the transaction of their group.

use std::sync::Arc;

use ahash::AHashMap;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use verona_core::store::batch::Write;
use verona_core::store::shape::{Owner, Record, Seq, Table};

use crate::rules;
use crate::sqlite::clear::Clear;
use crate::sqlite::names::{Lately, Names};
use crate::sqlite::sum;
use crate::sqlite::trouble::Trouble;

/// What is known of the names on the disk, shared with the readers.
#[derive(Debug, Default)]
pub struct Known {
    /// Owners by number.
    pub owners: Names,
    /// Peers by number.
    pub peers: Names,
    /// Tables by number.
    pub tables: Names,
}

/// The state of a log that the writer keeps at hand.
#[derive(Clone, Debug)]
struct Log {
    id: i64,
    last: Seq,
    clear: Clear,
    changed: bool,
}

/// Applies writes on one connection.
pub struct Apply<'c> {
    connection: &'c Connection,
    known: &'c Known,
    logs: Lately<(i64, i64), Log>,
    /// Names that this transaction gave numbers to; known to all when it is committed.
    fresh: [AHashMap<Arc<str>, i64>; 3],
}

#[derive(Clone, Copy)]
enum Kind {
    Owner,
    Peer,
    Table,
}

impl<'c> Apply<'c> {
    /// Begins with nothing at hand.
    pub fn new(connection: &'c Connection, known: &'c Known) -> Self {
        Self { connection, known, logs: Lately::default(), fresh: Default::default() }
    }

    /// The transaction is committed: what it learned holds.
    pub fn committed(&mut self) {
        let names = [&self.known.owners, &self.known.peers, &self.known.tables];
        for (fresh, known) in self.fresh.iter_mut().zip(names) {
            fresh.drain().for_each(|(name, number)| known.learn(&name, number));
        }
    }

    /// The transaction, or a part of it, is undone: nothing that it learned holds.
    pub fn undone(&mut self) {
        self.logs.clear();
        self.fresh.iter_mut().for_each(|names| names.clear());
    }

    /// One write.
    pub fn write(&mut self, write: &Write) -> Result<(), Trouble> {
        rules::fits(write).map_err(Trouble::Store)?;
        match write {
            Write::Put { table, owner, key, value } => self.put(*table, owner, key, value),
            Write::Delete { table, owner, key } => self.delete(*table, owner, key),
            Write::Clear { table, owner } => self.clear(*table, owner),
            Write::Erase { owner } => self.erase(owner),
            Write::Append { log, owner, record } => self.append(*log, owner, record),
            Write::Amend { log, owner, seq, flags, stanza } => {
                let Some(mut state) = self.log(*log, owner)? else { return Ok(()) };
                self.amend(&mut state, *seq, *flags, stanza)?;
                self.keep(*log, owner, state)
            }
            Write::Unflag { log, owner, through, bits } => {
                let Some(mut state) = self.log(*log, owner)? else { return Ok(()) };
                self.unflag(&mut state, *through, *bits)?;
                self.keep(*log, owner, state)
            }
            Write::Remove { log, owner, seq } => self.remove(*log, owner, *seq, *seq),
            Write::Trim { log, owner, through } => self.remove(*log, owner, 0, *through),
        }
    }

    fn put(&mut self, table: Table, owner: &Owner, key: &str, value: &[u8]) -> Result<(), Trouble> {
        let (owner, table) = (self.number_of(Kind::Owner, owner)?, self.table_number(table)?);
        let sum = sum::of_entry(owner, table, key, value);
        self.sql(
            "INSERT OR REPLACE INTO entries (owner, tab, key, sum, value) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![owner, table, key, sum, value])?;
        Ok(())
    }

    fn delete(&mut self, table: Table, owner: &Owner, key: &str) -> Result<(), Trouble> {
        let Some((owner, table)) = self.find(table, owner)? else { return Ok(()) };
        self.sql("DELETE FROM entries WHERE owner = ? AND tab = ? AND key = ?")?
            .execute(params![owner, table, key])?;
        Ok(())
    }

    fn clear(&mut self, table: Table, owner: &Owner) -> Result<(), Trouble> {
        self.remove(table, owner, 0, Seq::MAX)?;
        let Some((owner, table)) = self.find(table, owner)? else { return Ok(()) };
        self.sql("DELETE FROM entries WHERE owner = ? AND tab = ?")?.execute([owner, table])?;
        Ok(())
    }

    fn erase(&mut self, owner: &Owner) -> Result<(), Trouble> {
        let Some(owner) = self.find_number(Kind::Owner, owner)? else { return Ok(()) };
        self.sql("DELETE FROM entries WHERE owner = ?")?.execute([owner])?;
        self.sql("DELETE FROM records WHERE log IN (SELECT id FROM logs WHERE owner = ?)")?
            .execute([owner])?;
        Ok(())
    }

    fn append(&mut self, table: Table, owner: &Owner, record: &Record) -> Result<(), Trouble> {
        let owner_number = self.number_of(Kind::Owner, owner)?;
        let table_number = self.table_number(table)?;
        let peer = self.number_of(Kind::Peer, &record.peer)?;
        let mut log = match self.log_of(owner_number, table_number)? {
            Some(log) => log,
            None => self.new_log(owner_number, table_number)?,
        };
        rules::rises(table, log.last, record.seq).map_err(Trouble::Store)?;
        let sum = sum::of_record(log.id, record.seq, record.epoch, &record.peer, &record.stanza)
            ^ sum::of_flags(record.flags);
        self.sql(
            "INSERT INTO records (log, seq, peer, flags, epoch, sum, stanza)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            log.id,
            signed(record.seq),
            peer,
            record.flags,
            record.epoch,
            sum,
            &record.stanza[..]
        ])?;
        log.last = record.seq;
        log.changed = true;
        self.keep(table, owner, log)
    }

    fn amend(&mut self, log: &mut Log, seq: Seq, flags: u32, stanza: &[u8]) -> Result<(), Trouble> {
        let found: Option<(i64, u32, Arc<str>)> = self
            .sql(
                "SELECT r.id, r.epoch, p.name FROM records r LEFT JOIN peers p ON p.id = r.peer
                 WHERE r.log = ? AND r.seq = ?",
            )?
            .query_row([log.id, signed(seq)], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get_ref(2)?.as_str()?.into()))
            })
            .optional()?;
        let Some((id, epoch, peer)) = found else { return Ok(()) };
        let sum = sum::of_record(log.id, seq, epoch, &peer, stanza) ^ sum::of_flags(flags);
        self.sql("UPDATE records SET flags = ?, sum = ?, stanza = ? WHERE id = ?")?
            .execute(params![flags, sum, stanza, id])?;
        log.changed |= log.clear.lower(flags, seq);
        Ok(())
    }

    fn unflag(&mut self, log: &mut Log, through: Seq, bits: u32) -> Result<(), Trouble> {
        let through = through.min(log.last);
        let from =
            log.clear.of_none().min(if bits == 0 { Seq::MAX } else { log.clear.of_all(bits) });
        if from >= through {
            return Ok(());
        }
        let mut select = self.sql(
            "SELECT id, flags, sum FROM records INDEXED BY by_seq
             WHERE log = ?1 AND seq > ?2 AND seq <= ?3 AND (flags & ?4 != 0 OR flags = 0)",
        )?;
        let rows = select
            .query_map(params![log.id, signed(from), signed(through), bits], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let found: Vec<(i64, u32, i64)> = rows.collect::<Result<_, _>>()?;
        for (id, flags, sum) in found {
            let left = flags & !bits;
            if left == 0 {
                self.sql("DELETE FROM records WHERE id = ?")?.execute([id])?;
            } else {
                let sum = sum ^ sum::of_flags(flags) ^ sum::of_flags(left);
                self.sql("UPDATE records SET flags = ?, sum = ? WHERE id = ?")?
                    .execute(params![left, sum, id])?;
            }
        }
        log.clear.raise(bits, through);
        log.changed = true;
        Ok(())
    }

    fn remove(&mut self, log: Table, owner: &Owner, from: Seq, to: Seq) -> Result<(), Trouble> {
        let Some(log) = self.log(log, owner)? else { return Ok(()) };
        if from > rules::SEQ_MAX {
            return Ok(());
        }
        self.sql("DELETE FROM records WHERE log = ? AND seq BETWEEN ? AND ?")?.execute([
            log.id,
            signed(from),
            signed(to),
        ])?;
        Ok(())
    }

    /// The state of a log, if it was ever written to.
    fn log(&mut self, table: Table, owner: &Owner) -> Result<Option<Log>, Trouble> {
        let Some((owner, table)) = self.find(table, owner)? else { return Ok(None) };
        self.log_of(owner, table)
    }

    fn log_of(&mut self, owner: i64, table: i64) -> Result<Option<Log>, Trouble> {
        if let Some(log) = self.logs.find(&(owner, table)) {
            return Ok(Some(log));
        }
        let found = self
            .sql("SELECT id, last, sum, clear FROM logs WHERE owner = ? AND tab = ?")?
            .query_row([owner, table], |row| {
                let clear: Vec<u8> = row.get(3)?;
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, clear))
            })
            .optional()?;
        let Some((id, last, sum, clear)) = found else { return Ok(None) };
        let log = checked_log(id, (owner, table), last, sum, &clear)?;
        self.logs.keep((owner, table), log.clone());
        Ok(Some(log))
    }

    fn new_log(&mut self, owner: i64, table: i64) -> Result<Log, Trouble> {
        self.sql("INSERT INTO logs (owner, tab, last, sum, clear) VALUES (?, ?, 0, 0, x'')")?
            .execute([owner, table])?;
        let id = self.connection.last_insert_rowid();
        Ok(Log { id, last: 0, clear: Clear::default(), changed: true })
    }

    fn keep(&mut self, table: Table, owner: &Owner, mut log: Log) -> Result<(), Trouble> {
        let Some((owner, table)) = self.find(table, owner)? else { return Ok(()) };
        if std::mem::take(&mut log.changed) {
            let (last, clear) = (signed(log.last), log.clear.to_bytes());
            let sum = sum::of_log(log.id, owner, table, last, &clear);
            self.sql("UPDATE logs SET last = ?, sum = ?, clear = ? WHERE id = ?")?
                .execute(params![last, sum, clear, log.id])?;
        }
        self.logs.keep((owner, table), log);
        Ok(())
    }

    fn find(&mut self, table: Table, owner: &Owner) -> Result<Option<(i64, i64)>, Trouble> {
        let Some(table) = self.find_number(Kind::Table, table.name)? else { return Ok(None) };
        let Some(owner) = self.find_number(Kind::Owner, owner)? else { return Ok(None) };
        Ok(Some((owner, table)))
    }

    fn table_number(&mut self, table: Table) -> Result<i64, Trouble> {
        match self.find_number(Kind::Table, table.name)? {
            Some(number) => Ok(number),
            None => self.new_number(Kind::Table, &table.name.into()),
        }
    }

    fn number_of(&mut self, kind: Kind, name: &Arc<str>) -> Result<i64, Trouble> {
        match self.find_number(kind, name)? {
            Some(number) => Ok(number),
            None => self.new_number(kind, name),
        }
    }

    fn find_number(&mut self, kind: Kind, name: &str) -> Result<Option<i64>, Trouble> {
        let known = self.names(kind).number(name);
        if let Some(number) = known.or_else(|| self.fresh_of(kind).get(name).copied()) {
            return Ok(Some(number));
        }
        let sql = match kind {
            Kind::Owner => "SELECT id FROM owners WHERE name = ?",
            Kind::Peer => "SELECT id FROM peers WHERE name = ?",
            Kind::Table => "SELECT id FROM tables WHERE name = ?",
        };
        let found = self.sql(sql)?.query_row([name], |row| row.get(0)).optional()?;
        if let Some(number) = found {
            self.fresh_of(kind).insert(name.into(), number);
        }
        Ok(found)
    }

    fn new_number(&mut self, kind: Kind, name: &Arc<str>) -> Result<i64, Trouble> {
        let sql = match kind {
            Kind::Owner => "INSERT INTO owners (name) VALUES (?)",
            Kind::Peer => "INSERT INTO peers (name) VALUES (?)",
            Kind::Table => "INSERT INTO tables (name) VALUES (?)",
        };
        self.sql(sql)?.execute([name])?;
        let number = self.connection.last_insert_rowid();
        self.fresh_of(kind).insert(name.clone(), number);
        Ok(number)
    }

    fn names(&self, kind: Kind) -> &Names {
        match kind {
            Kind::Owner => &self.known.owners,
            Kind::Peer => &self.known.peers,
            Kind::Table => &self.known.tables,
        }
    }

    fn fresh_of(&mut self, kind: Kind) -> &mut AHashMap<Arc<str>, i64> {
        let [owners, peers, tables] = &mut self.fresh;
        match kind {
            Kind::Owner => owners,
            Kind::Peer => peers,
            Kind::Table => tables,
        }
    }

    fn sql(&self, sql: &str) -> Result<CachedStatement<'c>, Trouble> {
        Ok(self.connection.prepare_cached(sql)?)
    }
}

fn checked_log(
    id: i64,
    (owner, table): (i64, i64),
    last: i64,
    sum: i64,
    clear: &[u8],
) -> Result<Log, Trouble> {
    let parts = (Seq::try_from(last), Clear::from_bytes(clear));
    match parts {
        (Ok(last), Some(state)) if sum == sum::of_log(id, owner, table, signed(last), clear) => {
            Ok(Log { id, last, clear: state, changed: false })
        }
        _ => Err(Trouble::damaged(format_args!("the state of log {id}"))),
    }
}

/// A place as SQLite's integer; what is beyond its end is at its end.
pub fn signed(seq: Seq) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
