//! What was young when the last process ended, read back from the disk.

use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};
use verona_core::store::shape::Seq;

use crate::sqlite::block::{Extent, signed};
use crate::sqlite::logs::Log;
use crate::sqlite::older::extent;
use crate::sqlite::op::{Op, decode};
use crate::sqlite::sum;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::young::Young;

/// Reads all that is young. Damage is an error: a record in the middle is never skipped.
pub fn young(connection: &Connection) -> Result<Young, Trouble> {
    let version = connection.query_row("SELECT version FROM state", [], |row| row.get(0))?;
    let mut young = Young::new(version, 1);
    let mut look = Look::new(connection);
    let mut select =
        connection.prepare("SELECT rowid, generation, sum, ops FROM young ORDER BY rowid")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (id, generation, sum): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let bytes = Bytes::from(row.get::<_, Vec<u8>>(3)?);
        let ops = look.ops((id, generation, sum), &bytes)?;
        if generation > young.generation && young.holds_any() {
            young.freeze();
        }
        young.generation = generation;
        young.apply(ops, &bytes);
    }
    young.find_litter();
    Ok(young)
}

/// What the operations refer to.
pub struct Look<'c> {
    connection: &'c Connection,
    peers: AHashMap<i64, Arc<str>>,
    moved: AHashMap<i64, Seq>,
}

impl<'c> Look<'c> {
    /// Nothing looked up yet.
    pub fn new(connection: &'c Connection) -> Self {
        Self { connection, peers: AHashMap::new(), moved: AHashMap::new() }
    }

    /// The operations of one row, checked; without those appends that are in blocks already.
    pub fn ops(
        &mut self,
        (id, generation, sum): (i64, i64, i64),
        bytes: &Bytes,
    ) -> Result<Vec<Op>, Trouble> {
        if sum != sum::of_ops(generation, bytes) {
            return Err(Trouble::damaged(format_args!("group {id} of the young records")));
        }
        let mut ops = decode(bytes, |append| {
            append.peer_name = self.peer(append.peer)?;
            append.moved = self.moved(append.log)?;
            Ok(())
        })?;
        ops.retain(|op| !matches!(op, Op::Append(append) if append.seq <= append.moved));
        Ok(ops)
    }

    /// The name of a peer.
    pub fn peer(&mut self, number: i64) -> Result<Arc<str>, Trouble> {
        if let Some(name) = self.peers.get(&number) {
            return Ok(name.clone());
        }
        let mut select = self.connection.prepare_cached("SELECT name FROM peers WHERE id = ?")?;
        let name: Option<String> = select.query_row([number], |row| row.get(0)).optional()?;
        let name: Arc<str> =
            name.ok_or_else(|| Trouble::damaged(format_args!("peer {number} is gone")))?.into();
        self.peers.insert(number, name.clone());
        Ok(name)
    }

    /// Up to where the records of a log are in blocks.
    pub fn moved(&mut self, log: i64) -> Result<Seq, Trouble> {
        if let Some(moved) = self.moved.get(&log) {
            return Ok(*moved);
        }
        let moved = Log::load(self.connection, log)?.moved;
        self.moved.insert(log, moved);
        Ok(moved)
    }

    /// What is noted of a peer in a block.
    pub fn part(&self, log: i64, peer: i64, first: Seq) -> Result<Option<Extent>, Trouble> {
        let mut select = self.connection.prepare_cached(
            "SELECT first, last, count, some, every FROM parts
             WHERE log = ? AND peer = ? AND first = ?",
        )?;
        let found = select.query_row([log, peer, signed(first)], |row| extent(row, 0));
        Ok(found.optional()?)
    }
}
