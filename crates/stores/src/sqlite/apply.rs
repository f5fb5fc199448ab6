//! The writes, one by one, inside the transaction of their group.

use parking_lot::RwLock;
use rusqlite::{CachedStatement, Connection, params};
use verona_core::store::batch::Write;
use verona_core::store::shape::{Owner, Seq, Table};

use crate::rules;
use crate::sqlite::logs::Logs;
use crate::sqlite::names::Known;
use crate::sqlite::numbers::{Kind, Numbers};
use crate::sqlite::sum;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::young::{Step, Young};

/// Applies writes on one connection.
pub struct Apply<'c> {
    connection: &'c Connection,
    numbers: Numbers<'c>,
    logs: Logs<'c>,
}

/// A place in a group to come back to.
#[derive(Clone, Copy)]
pub struct Mark((usize, usize));

impl<'c> Apply<'c> {
    /// Begins with nothing at hand.
    pub fn new(
        connection: &'c Connection,
        known: &'c Known,
        young: &'c RwLock<Young>,
        young_bytes_max: usize,
    ) -> Self {
        let numbers = Numbers::new(connection, known);
        let logs = Logs::new(connection, known, young, young_bytes_max);
        Self { connection, numbers, logs }
    }

    /// Moves young records to blocks; before any write of the group.
    pub fn step(&mut self, step: &Step) -> Result<(), Trouble> {
        self.logs.step(step)
    }

    /// Where the group is now.
    pub fn mark(&self) -> Mark {
        Mark(self.logs.end())
    }

    /// The transaction was rolled back to a mark.
    pub fn undone_to(&mut self, mark: Mark) {
        self.numbers.undone();
        self.logs.undone_to(mark.0);
    }

    /// The whole transaction was rolled back.
    pub fn undone(&mut self) {
        self.numbers.undone();
        self.logs.undone();
    }

    /// Writes what was gathered; the last thing before the commit.
    pub fn finish(&mut self) -> Result<(), Trouble> {
        self.logs.finish()
    }

    /// The transaction is committed: readers may know.
    pub fn committed(&mut self, step: Option<&Step>) {
        self.numbers.committed();
        self.logs.committed(step);
    }

    /// One write.
    pub fn write(&mut self, write: &Write) -> Result<(), Trouble> {
        rules::fits(write).map_err(Trouble::Refused)?;
        match write {
            Write::Put { table, owner, key, value } => self.put(*table, owner, key, value),
            Write::Delete { table, owner, key } => self.delete(*table, owner, key),
            Write::Clear { table, owner } => self.clear(*table, owner),
            Write::Erase { owner } => self.erase(owner),
            Write::Append { log, owner, record } => {
                let peer = self.numbers.of(Kind::Peer, &record.peer)?;
                let owner = self.numbers.of(Kind::Owner, owner)?;
                let place = (owner, self.numbers.of_table(log.name)?);
                self.logs.append(*log, place, record, peer)
            }
            Write::Amend { log, owner, seq, flags, stanza } => match self.log(*log, owner)? {
                Some(log) => self.logs.amend(log, *seq, *flags, stanza),
                None => Ok(()),
            },
            Write::Unflag { log, owner, through, bits } => match self.log(*log, owner)? {
                Some(log) => self.logs.unflag(log, *through, *bits),
                None => Ok(()),
            },
            Write::Remove { log, owner, seq } => self.remove(*log, owner, *seq, *seq),
            Write::Trim { log, owner, through } => self.remove(*log, owner, 0, *through),
        }
    }

    fn put(&mut self, table: Table, owner: &Owner, key: &str, value: &[u8]) -> Result<(), Trouble> {
        let owner = self.numbers.of(Kind::Owner, owner)?;
        let table = self.numbers.of_table(table.name)?;
        let sum = sum::of_entry(owner, table, key, value);
        self.sql(
            "INSERT OR REPLACE INTO entries (owner, tab, key, sum, value) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![owner, table, key, sum, value])?;
        Ok(())
    }

    fn delete(&mut self, table: Table, owner: &Owner, key: &str) -> Result<(), Trouble> {
        let Some((owner, table)) = self.place(table, owner)? else { return Ok(()) };
        self.sql("DELETE FROM entries WHERE owner = ? AND tab = ? AND key = ?")?
            .execute(params![owner, table, key])?;
        Ok(())
    }

    fn clear(&mut self, table: Table, owner: &Owner) -> Result<(), Trouble> {
        self.remove(table, owner, 0, Seq::MAX)?;
        let Some((owner, table)) = self.place(table, owner)? else { return Ok(()) };
        self.sql("DELETE FROM entries WHERE owner = ? AND tab = ?")?.execute([owner, table])?;
        Ok(())
    }

    fn erase(&mut self, owner: &Owner) -> Result<(), Trouble> {
        let Some(owner) = self.numbers.find(Kind::Owner, owner)? else { return Ok(()) };
        self.sql("DELETE FROM entries WHERE owner = ?")?.execute([owner])?;
        self.logs.erase(owner)
    }

    fn remove(&mut self, log: Table, owner: &Owner, from: Seq, to: Seq) -> Result<(), Trouble> {
        match self.log(log, owner)? {
            Some(log) => self.logs.remove(log, from, to),
            None => Ok(()),
        }
    }

    /// The number of a log, if it was ever written to.
    fn log(&mut self, table: Table, owner: &Owner) -> Result<Option<i64>, Trouble> {
        match self.place(table, owner)? {
            Some(place) => self.logs.find(place),
            None => Ok(None),
        }
    }

    fn place(&mut self, table: Table, owner: &Owner) -> Result<Option<(i64, i64)>, Trouble> {
        let Some(table) = self.numbers.find(Kind::Table, table.name)? else { return Ok(None) };
        Ok(self.numbers.find(Kind::Owner, owner)?.map(|owner| (owner, table)))
    }

    fn sql(&self, sql: &str) -> Result<CachedStatement<'c>, Trouble> {
        Ok(self.connection.prepare_cached(sql)?)
    }
}
