//! Giving numbers to names, inside the writer's transaction.

use std::sync::Arc;

use ahash::AHashMap;
use rusqlite::{Connection, OptionalExtension};

use crate::sqlite::names::{Known, Names};
use crate::sqlite::trouble::Trouble;

/// Whose names.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Owner,
    Peer,
    Table,
}

/// The numbers of one transaction.
pub struct Numbers<'c> {
    connection: &'c Connection,
    known: &'c Known,
    /// Found or given in this transaction; known to all when it is committed.
    fresh: [AHashMap<Arc<str>, i64>; 3],
}

impl<'c> Numbers<'c> {
    /// Begins with nothing that others do not know.
    pub fn new(connection: &'c Connection, known: &'c Known) -> Self {
        Self { connection, known, fresh: Default::default() }
    }

    /// The transaction is committed.
    pub fn committed(&mut self) {
        let names = [&self.known.owners, &self.known.peers, &self.known.tables];
        for (fresh, known) in self.fresh.iter_mut().zip(names) {
            fresh.drain().for_each(|(name, number)| known.learn(&name, number));
        }
    }

    /// The transaction, or a part of it, is undone.
    pub fn undone(&mut self) {
        self.fresh.iter_mut().for_each(|names| names.clear());
    }

    /// The number of a name, which is given one if it has none.
    pub fn of(&mut self, kind: Kind, name: &Arc<str>) -> Result<i64, Trouble> {
        if let Some(number) = self.find(kind, name)? {
            return Ok(number);
        }
        let sql = match kind {
            Kind::Owner => "INSERT INTO owners (name) VALUES (?)",
            Kind::Peer => "INSERT INTO peers (name) VALUES (?)",
            Kind::Table => "INSERT INTO tables (name) VALUES (?)",
        };
        self.connection.prepare_cached(sql)?.execute([name])?;
        let number = self.connection.last_insert_rowid();
        self.fresh(kind).insert(name.clone(), number);
        Ok(number)
    }

    /// The number of a table's name.
    pub fn of_table(&mut self, name: &'static str) -> Result<i64, Trouble> {
        match self.find(Kind::Table, name)? {
            Some(number) => Ok(number),
            None => self.of(Kind::Table, &name.into()),
        }
    }

    /// The number of a name, if it has one.
    pub fn find(&mut self, kind: Kind, name: &str) -> Result<Option<i64>, Trouble> {
        let known: &Names = match kind {
            Kind::Owner => &self.known.owners,
            Kind::Peer => &self.known.peers,
            Kind::Table => &self.known.tables,
        };
        if let Some(number) = known.number(name).or_else(|| self.fresh(kind).get(name).copied()) {
            return Ok(Some(number));
        }
        let sql = match kind {
            Kind::Owner => "SELECT id FROM owners WHERE name = ?",
            Kind::Peer => "SELECT id FROM peers WHERE name = ?",
            Kind::Table => "SELECT id FROM tables WHERE name = ?",
        };
        let mut select = self.connection.prepare_cached(sql)?;
        let found = select.query_row([name], |row| row.get(0)).optional()?;
        if let Some(number) = found {
            self.fresh(kind).insert(name.into(), number);
        }
        Ok(found)
    }

    fn fresh(&mut self, kind: Kind) -> &mut AHashMap<Arc<str>, i64> {
        let [owners, peers, tables] = &mut self.fresh;
        match kind {
            Kind::Owner => owners,
            Kind::Peer => peers,
            Kind::Table => tables,
        }
    }
}
