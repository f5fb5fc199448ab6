//! Records that are not young any more, as the writer changes them: blocks, and beside each block a
//! row for every peer in it, by which the records of a peer are found.

use std::collections::BTreeMap;

use bytes::Bytes;
use rusqlite::{CachedStatement, Connection, Row, params};
use verona_core::store::shape::Seq;

use crate::sqlite::block::{Block, Building, Extent, Head, Tally, signed, write_heads};
use crate::sqlite::sum;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::young;

/// A block as it lies in the table.
#[derive(Clone, Debug)]
pub struct Laid {
    /// The number of its row.
    pub id: i64,
    pub log: i64,
    pub extent: Extent,
    pub block: Block,
}

/// What [`Laid::read`] reads.
pub const COLUMNS: &str = "rowid, log, first, last, count, some, every, sum, heads, stanzas";

impl Laid {
    /// Reads and checks a row of [`COLUMNS`], but for the checksums of the records.
    pub fn read(row: &Row<'_>) -> Result<Self, Trouble> {
        let (id, log) = (row.get(0)?, row.get(1)?);
        let damaged = || Trouble::damaged(format_args!("block {id} of log {log}"));
        let extent = extent(row, 2).map_err(|_| damaged())?;
        let sum: i64 = row.get(7).map_err(|_| damaged())?;
        let heads = row.get_ref(8)?.as_blob().map_err(|_| damaged())?;
        if sum != extent.sum(log, heads) {
            return Err(damaged());
        }
        let stanzas = row.get_ref(9)?.as_blob().map_err(|_| damaged())?;
        let block = Block::read(heads, Bytes::copy_from_slice(stanzas)).ok_or_else(damaged)?;
        Ok(Self { id, log, extent, block })
    }
}

/// Reads five columns: `first, last, count, some, every`.
pub fn extent(row: &Row<'_>, at: usize) -> rusqlite::Result<Extent> {
    let column = |n: usize| at.saturating_add(n);
    let tally =
        Tally { count: row.get(column(2))?, some: row.get(column(3))?, every: row.get(column(4))? };
    Ok(Extent { first: row.get(column(0))?, last: row.get(column(1))?, tally })
}

/// The tallies of a block's records: of all, and of each peer's.
pub fn tallies(heads: &[Head]) -> (Tally, BTreeMap<i64, Tally>) {
    let (mut all, mut peers) = (Tally::EMPTY, BTreeMap::new());
    for head in heads {
        all.add(head.flags);
        peers.entry(head.peer).or_insert(Tally::EMPTY).add(head.flags);
    }
    (all, peers)
}

/// The tables, as one transaction changes them.
pub struct Older<'c> {
    connection: &'c Connection,
}

impl<'c> Older<'c> {
    /// On the writer's connection.
    pub fn new(connection: &'c Connection) -> Self {
        Self { connection }
    }

    /// Adds records of a log, behind all that it has here.
    pub fn add<'r>(
        &self,
        log: i64,
        rows: impl Iterator<Item = (Seq, &'r young::Row)>,
    ) -> Result<(), Trouble> {
        let mut building = Building::default();
        for (seq, row) in rows {
            building.add(seq, row);
            if building.is_full() {
                self.lay(log, &building.finish())?;
            }
        }
        self.lay(log, &building.finish())
    }

    fn lay(&self, log: i64, block: &Block) -> Result<(), Trouble> {
        let (Some(first), Some(last)) = (block.heads.first(), block.heads.last()) else {
            return Ok(());
        };
        let (tally, peers) = tallies(&block.heads);
        let extent = Extent { first: first.seq, last: last.seq, tally };
        let heads = write_heads(&block.heads);
        self.sql(
            "INSERT INTO blocks (log, first, last, count, some, every, sum, heads, stanzas)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            log,
            signed(extent.first),
            signed(extent.last),
            tally.count,
            tally.some,
            tally.every,
            extent.sum(log, &heads),
            heads,
            &block.stanzas[..]
        ])?;
        self.note((log, &extent), &peers)
    }

    /// Replaces flags and stanza of a record by what `amended` makes of it; false when there is none.
    pub fn amend(
        &self,
        (log, seq): (i64, Seq),
        stanza: &[u8],
        amended: impl FnOnce(&mut Head) -> Result<(), Trouble>,
    ) -> Result<bool, Trouble> {
        let sql = format!(
            "SELECT {COLUMNS} FROM blocks INDEXED BY by_first
             WHERE log = ? AND first <= ? ORDER BY first DESC LIMIT 1"
        );
        let mut select = self.sql(&sql)?;
        let mut rows = select.query([log, signed(seq)])?;
        let Some(mut laid) = rows.next()?.map(Laid::read).transpose()? else { return Ok(false) };
        drop(rows);
        let Some(at) = laid.block.find(seq) else { return Ok(false) };
        let before = laid.clone();
        laid.block.replace(at, stanza);
        if let Some(head) = laid.block.heads.get_mut(at) {
            amended(head)?;
        }
        self.put_back(&before, laid)?;
        Ok(true)
    }

    /// Takes flags off all records behind a place and up to another, and then those records that have
    /// none; whether that changed anything.
    pub fn unflag(
        &self,
        log: i64,
        (from, through): (Seq, Seq),
        bits: u32,
    ) -> Result<bool, Trouble> {
        let mut any = false;
        for extent in self.overlapping(log, (from.saturating_add(1), through))? {
            if !extent.tally.may_lose(bits) {
                continue;
            }
            let before = self.load(log, extent.first)?;
            let mut after = before.clone();
            let meant = |seq: Seq| seq > from && seq <= through;
            for head in after.block.heads.iter_mut().filter(|head| meant(head.seq)) {
                let left = head.flags & !bits;
                head.sum ^= sum::of_flags(head.flags) ^ sum::of_flags(left);
                head.flags = left;
            }
            if after.block.heads.iter().any(|head| head.flags == 0 && meant(head.seq)) {
                after.block.retain(|head| head.flags != 0 || !meant(head.seq));
            }
            if after.block != before.block {
                any = true;
                self.put_back(&before, after)?;
            }
        }
        Ok(any)
    }

    /// Removes the records of a range of places; whether there were any.
    pub fn remove(&self, log: i64, from: Seq, to: Seq) -> Result<bool, Trouble> {
        let mut any = false;
        for extent in self.overlapping(log, (from, to))? {
            let before = self.load(log, extent.first)?;
            let mut after = before.clone();
            after.block.retain(|head| !(from..=to).contains(&head.seq));
            if after.block != before.block {
                any = true;
                self.put_back(&before, after)?;
            }
        }
        Ok(any)
    }

    /// The blocks that cover places of a range.
    fn overlapping(&self, log: i64, (from, to): (Seq, Seq)) -> Result<Vec<Extent>, Trouble> {
        let mut select = self.sql(
            "SELECT first, last, count, some, every FROM blocks INDEXED BY by_first
             WHERE log = ?1 AND first <= ?3 AND last >= ?2 AND first >= coalesce(
               (SELECT max(first) FROM blocks INDEXED BY by_first WHERE log = ?1 AND first <= ?2), 0)
             ORDER BY first",
        )?;
        let rows = select.query_map([log, signed(from), signed(to)], |row| extent(row, 0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn load(&self, log: i64, first: Seq) -> Result<Laid, Trouble> {
        let sql =
            format!("SELECT {COLUMNS} FROM blocks INDEXED BY by_first WHERE log = ? AND first = ?");
        let mut select = self.sql(&sql)?;
        let mut rows = select.query([log, signed(first)])?;
        let damaged = || Trouble::damaged(format_args!("the block at {first} of log {log}"));
        Laid::read(rows.next()?.ok_or_else(damaged)?)
    }

    /// Writes a block that has changed, or removes one that has nothing left.
    fn put_back(&self, before: &Laid, after: Laid) -> Result<(), Trouble> {
        let Laid { id, log, mut extent, block } = after;
        for peer in tallies(&before.block.heads).1.keys() {
            self.sql("DELETE FROM parts WHERE log = ? AND peer = ? AND first = ?")?.execute([
                log,
                *peer,
                signed(extent.first),
            ])?;
        }
        if block.heads.is_empty() {
            self.sql("DELETE FROM blocks WHERE rowid = ?")?.execute([id])?;
            return Ok(());
        }
        let (tally, peers) = tallies(&block.heads);
        extent.tally = tally;
        let heads = write_heads(&block.heads);
        let sum = extent.sum(log, &heads);
        self.sql(
            "UPDATE blocks SET count = ?, some = ?, every = ?, sum = ?, heads = ?, stanzas = ?
             WHERE rowid = ?",
        )?
        .execute(params![
            tally.count,
            tally.some,
            tally.every,
            sum,
            heads,
            &block.stanzas[..],
            id
        ])?;
        self.note((log, &extent), &peers)
    }

    /// Notes which peers have records in a block.
    fn note(
        &self,
        (log, extent): (i64, &Extent),
        peers: &BTreeMap<i64, Tally>,
    ) -> Result<(), Trouble> {
        let (first, last) = (signed(extent.first), signed(extent.last));
        let mut insert = self.sql(
            "INSERT INTO parts (log, peer, first, last, count, some, every)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?;
        for (peer, Tally { count, some, every }) in peers {
            insert.execute(params![log, peer, first, last, count, some, every])?;
        }
        Ok(())
    }

    fn sql(&self, sql: &str) -> Result<CachedStatement<'c>, Trouble> {
        Ok(self.connection.prepare_cached(sql)?)
    }
}
