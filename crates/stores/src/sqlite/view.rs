//! One reader's view of the file, and what all its questions need: numbers of names, names of numbers.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use rusqlite::{CachedStatement, Connection, OptionalExtension};
use verona_core::store::shape::{Owner, Record, Table};

use crate::sqlite::block::Head;
use crate::sqlite::names::{Known, Names};
use crate::sqlite::trouble::Trouble;
use crate::sqlite::young::Young;

/// One reader's view of the file.
#[derive(Debug)]
pub struct View<'c> {
    /// The connection to ask on.
    pub connection: &'c Connection,
    /// Names that need not be looked up.
    pub known: &'c Known,
    /// What is young.
    pub young: &'c RwLock<Young>,
}

impl View<'_> {
    /// A record of a block, if it is as it was written.
    pub fn checked(&self, log: i64, head: &Head, stanza: Bytes) -> Result<Record, Trouble> {
        let peer = self.peer_name(head.peer)?;
        let record = peer.and_then(|peer| head.record(log, peer, stanza));
        record.ok_or_else(|| Trouble::damaged(format_args!("record {} of log {log}", head.seq)))
    }

    /// The number of a log, if it was ever written to.
    pub fn log(&self, table: Table, owner: &Owner) -> Result<Option<i64>, Trouble> {
        let Some(place) = self.place(table, owner)? else { return Ok(None) };
        if let Some(log) = self.known.log(place) {
            return Ok(Some(log));
        }
        let mut select = self.sql("SELECT id FROM logs WHERE owner = ? AND tab = ?")?;
        let found = select.query_row(<[i64; 2]>::from(place), |row| row.get(0)).optional()?;
        if let Some(log) = found {
            self.known.learn_log(place, log);
        }
        Ok(found)
    }

    /// The numbers of an owner and a table.
    pub fn place(&self, table: Table, owner: &Owner) -> Result<Option<(i64, i64)>, Trouble> {
        let Some(table) = self.table(table)? else { return Ok(None) };
        Ok(self.owner(owner)?.map(|owner| (owner, table)))
    }

    /// The number of an owner.
    pub fn owner(&self, name: &Owner) -> Result<Option<i64>, Trouble> {
        self.number(&self.known.owners, name, "SELECT id FROM owners WHERE name = ?")
    }

    /// The number of a table.
    pub fn table(&self, table: Table) -> Result<Option<i64>, Trouble> {
        if let Some(number) = self.known.tables.number(table.name) {
            return Ok(Some(number));
        }
        self.number(&self.known.tables, &table.name.into(), "SELECT id FROM tables WHERE name = ?")
    }

    /// The number of a name, by a question that finds it.
    pub fn number(
        &self,
        names: &Names,
        name: &Arc<str>,
        sql: &str,
    ) -> Result<Option<i64>, Trouble> {
        if let Some(number) = names.number(name) {
            return Ok(Some(number));
        }
        let found = self.sql(sql)?.query_row([name], |row| row.get(0)).optional()?;
        if let Some(number) = found {
            names.learn(name, number);
        }
        Ok(found)
    }

    /// The name of a peer.
    pub fn peer_name(&self, number: i64) -> Result<Option<Arc<str>>, Trouble> {
        if let Some(name) = self.known.peers.name(number) {
            return Ok(Some(name));
        }
        let mut select = self.sql("SELECT name FROM peers WHERE id = ?")?;
        let found: Option<Arc<str>> =
            select.query_row([number], |row| Ok(row.get_ref(0)?.as_str()?.into())).optional()?;
        if let Some(name) = &found {
            self.known.peers.learn(name, number);
        }
        Ok(found)
    }

    /// A statement, kept for the next time.
    pub fn sql(&self, sql: &str) -> Result<CachedStatement<'_>, Trouble> {
        Ok(self.connection.prepare_cached(sql)?)
    }
}
