//! What a selection finds among the records that are not young any more. Whole blocks are passed over
//! by what their rows say of them; only where that is not enough are their records looked at.

use std::sync::Arc;

use rusqlite::{Row, Rows, params};
use verona_core::store::shape::{Record, Seq};
use verona_core::store::words::Words;

use crate::sqlite::block::{Block, Extent, Head, Told, Wanted, read_heads, signed};
use crate::sqlite::older::{COLUMNS, Laid, extent};
use crate::sqlite::trouble::Trouble;
use crate::sqlite::view::View;

/// Records that are looked through for words at a time.
const LOOKED_MAX: usize = 2000;

/// A selection in one log, in numbers.
#[derive(Clone, Debug)]
pub struct Search<'r> {
    pub view: &'r View<'r>,
    pub log: i64,
    pub wanted: Wanted,
    pub peer: Option<i64>,
    pub words: Option<Arc<Words>>,
    /// From the last to the first.
    pub from_end: bool,
}

impl<'r> Search<'r> {
    /// The first records in the direction of the search, behind those that are left out; with words,
    /// none is left out, and the place where looking stopped if it did.
    pub fn select(
        &self,
        skip: u64,
        count_max: usize,
    ) -> Result<(Vec<Record>, Option<Seq>), Trouble> {
        let (mut records, mut looked) = (Vec::new(), 0_usize);
        let mut skip = if self.words.is_some() { 0 } else { skip };
        self.each_extent(|extent| {
            if extent.tells(&self.wanted) == Told::All && extent.tally.count <= skip {
                skip = skip.saturating_sub(extent.tally.count);
                return Ok(None);
            }
            let block = self.block(extent.first)?;
            let mut heads: Vec<&Head> =
                block.heads.iter().filter(|head| self.takes(head)).collect();
            if self.from_end {
                heads.reverse();
            }
            for head in heads {
                if skip > 0 {
                    skip = skip.saturating_sub(1);
                    continue;
                }
                looked = looked.saturating_add(1);
                let stanza = block.stanza(head);
                if self.words.as_ref().is_none_or(|words| words.are_in(&stanza)) {
                    records.push(self.view.checked(self.log, head, stanza)?);
                    if records.len() >= count_max {
                        return Ok(Some(None));
                    }
                }
                if self.words.is_some() && looked >= LOOKED_MAX {
                    return Ok(Some(Some(head.seq)));
                }
            }
            Ok(None)
        })
        .map(|stopped| (records, stopped.flatten()))
    }

    /// How many records are selected, as far as that is not more than a bound.
    pub fn count(&self, most: u64) -> Result<u64, Trouble> {
        let mut count = 0_u64;
        self.each_extent(|extent| {
            let more = match extent.tells(&self.wanted) {
                Told::All if self.words.is_none() => extent.tally.count,
                _ if self.words.is_none() => {
                    let heads = self.heads(extent.first)?;
                    heads.iter().filter(|head| self.takes(head)).count() as u64
                }
                _ => self.count_words(extent)?,
            };
            count = count.saturating_add(more);
            Ok((count >= most).then_some(()))
        })?;
        Ok(count.min(most))
    }

    fn count_words(&self, extent: &Extent) -> Result<u64, Trouble> {
        let block = self.block(extent.first)?;
        let say = |head: &&Head| {
            let words = self.words.as_ref();
            self.takes(head) && words.is_none_or(|words| words.are_in(&block.stanza(head)))
        };
        Ok(block.heads.iter().filter(say).count() as u64)
    }

    /// One record.
    pub fn record(&self, seq: Seq) -> Result<Option<Record>, Trouble> {
        let mut select = self.view.sql(
            "SELECT first FROM blocks INDEXED BY by_first
             WHERE log = ? AND first <= ? ORDER BY first DESC LIMIT 1",
        )?;
        let mut rows = select.query([self.log, signed(seq)])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let block = self.block(row.get(0)?)?;
        let head = block.find(seq).and_then(|at| block.heads.get(at));
        head.map(|head| self.view.checked(self.log, head, block.stanza(head))).transpose()
    }

    /// The place of the last record that a block has of the selection.
    pub fn last_in(&self, first: Seq) -> Result<Option<Seq>, Trouble> {
        let heads = self.heads(first)?;
        Ok(heads.iter().rev().find(|head| self.takes(head)).map(|head| head.seq))
    }

    /// Tells each block, or part of one that is the peer's, that may have something, until it is
    /// enough.
    fn each_extent<T>(
        &self,
        mut tell: impl FnMut(&Extent) -> Result<Option<T>, Trouble>,
    ) -> Result<Option<T>, Trouble> {
        let order = if self.from_end { "DESC" } else { "ASC" };
        let (table, peer) = match self.peer {
            Some(_) => ("parts", "AND peer = ?4"),
            None => ("blocks INDEXED BY by_first", "AND ?4 IS NULL"),
        };
        let mut select = self.view.sql(&format!(
            "SELECT first, last, count, some, every FROM {table}
             WHERE log = ?1 {peer} AND first <= ?3 AND first >= coalesce(
               (SELECT max(first) FROM {table} WHERE log = ?1 {peer} AND first <= ?2), 0)
             ORDER BY first {order}"
        ))?;
        let Wanted { from, to, .. } = self.wanted;
        let mut rows = select.query(params![self.log, signed(from), signed(to), self.peer])?;
        self.each(&mut rows, &mut tell)
    }

    fn each<T>(
        &self,
        rows: &mut Rows<'_>,
        tell: &mut impl FnMut(&Extent) -> Result<Option<T>, Trouble>,
    ) -> Result<Option<T>, Trouble> {
        while let Some(row) = rows.next()? {
            let damaged = |_| Trouble::damaged(format_args!("the blocks of log {}", self.log));
            let extent = extent(row, 0).map_err(damaged)?;
            if extent.tells(&self.wanted) == Told::None {
                continue;
            }
            if let Some(enough) = tell(&extent)? {
                return Ok(Some(enough));
            }
        }
        Ok(None)
    }

    fn takes(&self, head: &Head) -> bool {
        self.wanted.takes(head) && self.peer.is_none_or(|peer| head.peer == peer)
    }

    fn block(&self, first: Seq) -> Result<Block, Trouble> {
        let sql =
            format!("SELECT {COLUMNS} FROM blocks INDEXED BY by_first WHERE log = ? AND first = ?");
        self.of_row(&sql, first, |row| Ok(Laid::read(row)?.block))
    }

    /// The heads alone: the stanzas may lie on pages of their own.
    fn heads(&self, first: Seq) -> Result<Vec<Head>, Trouble> {
        let sql = "SELECT first, last, count, some, every, sum, heads
                   FROM blocks INDEXED BY by_first WHERE log = ? AND first = ?";
        self.of_row(sql, first, |row| {
            let heads = row.get_ref(6)?.as_blob().map_err(|_| self.damaged(first))?;
            if row.get::<_, i64>(5)? != extent(row, 0)?.sum(self.log, heads) {
                return Err(self.damaged(first));
            }
            read_heads(heads).ok_or_else(|| self.damaged(first))
        })
    }

    fn of_row<T>(
        &self,
        sql: &str,
        first: Seq,
        read: impl FnOnce(&Row<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut select = self.view.sql(sql)?;
        let mut rows = select.query([self.log, signed(first)])?;
        read(rows.next()?.ok_or_else(|| self.damaged(first))?)
    }

    fn damaged(&self, first: Seq) -> Trouble {
        Trouble::damaged(format_args!("the block at {first} of log {}", self.log))
    }
}
