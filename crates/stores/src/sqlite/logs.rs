//! The writes on logs. What concerns young records becomes operations that lie on the disk in one
//! row for the group; what concerns older ones changes their blocks at once. A place in a log tells
//! which: up to `moved` records are in blocks, behind it they are young.

use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
use parking_lot::RwLock;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};
use verona_core::store::error::{Fault, StoreError};
use verona_core::store::shape::{Record, Seq, Table};

use crate::rules::{self, SEQ_MAX};
use crate::sqlite::block::signed;
use crate::sqlite::clear::Clear;
use crate::sqlite::names::{Known, Lately};
use crate::sqlite::older::Older;
use crate::sqlite::op::{Append, Ops};
use crate::sqlite::sum;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::young::{Move, Step, Young};

/// The logs, as one transaction sees them.
pub struct Logs<'c> {
    connection: &'c Connection,
    known: &'c Known,
    young: &'c RwLock<Young>,
    /// Where appends are refused, since nothing can be moved to make place for more.
    young_bytes_max: usize,
    ids: Lately<(i64, i64), i64>,
    states: Lately<i64, Log>,
    ops: Ops,
    /// The last place of each log that this transaction appended to.
    lasts: AHashMap<i64, Seq>,
    older: Older<'c>,
    /// Whether blocks change, so that readers must see this commit as a whole.
    touched: bool,
    /// Whether this transaction has removed the last of what was moved.
    is_swept: bool,
    /// Logs that this transaction made.
    made: Vec<((i64, i64), i64)>,
}

/// The state of a log on the disk, and what the writer remembers beside it.
#[derive(Clone, Debug)]
pub struct Log {
    /// Its number.
    pub id: i64,
    /// Whose it is, and of which table.
    pub place: (i64, i64),
    /// Up to where records are in blocks; those that are young lie behind.
    pub moved: Seq,
    /// What is known of flags in blocks.
    pub clear: Clear,
    /// The last place that was taken.
    last: Seq,
    /// Up to where no block has a record.
    emptied: Seq,
}

impl Log {
    /// Reads the state of a log that must be there.
    pub fn load(connection: &Connection, log: i64) -> Result<Self, Trouble> {
        let sql = "SELECT id, owner, tab, moved, sum, clear FROM logs WHERE id = ?";
        let mut select = connection.prepare_cached(sql)?;
        let mut rows = select.query([log])?;
        Self::from_row(rows.next()?.ok_or_else(|| gone(log))?)
    }

    /// Reads and checks a row of the table of logs.
    pub fn from_row(row: &Row<'_>) -> Result<Self, Trouble> {
        let id: i64 = row.get(0)?;
        let place: (i64, i64) = (row.get(1)?, row.get(2)?);
        let (moved, sum): (i64, i64) = (row.get(3)?, row.get(4)?);
        let bytes = row.get_ref(5)?.as_blob().unwrap_or_default();
        match (Seq::try_from(moved), Clear::from_bytes(bytes)) {
            (Ok(seq), Some(clear)) if sum == sum::of_log(id, place, moved, bytes) => {
                Ok(Self { id, place, moved: seq, clear, last: seq, emptied: 0 })
            }
            _ => Err(Trouble::damaged(format_args!("the state of log {id}"))),
        }
    }
}

impl<'c> Logs<'c> {
    /// Begins with nothing at hand.
    pub fn new(
        connection: &'c Connection,
        known: &'c Known,
        young: &'c RwLock<Young>,
        young_bytes_max: usize,
    ) -> Self {
        Self {
            connection,
            known,
            young,
            young_bytes_max,
            ids: Lately::default(),
            states: Lately::default(),
            ops: Ops::default(),
            lasts: AHashMap::new(),
            older: Older::new(connection),
            touched: false,
            is_swept: false,
            made: Vec::new(),
        }
    }

    /// Where the operations end now.
    pub fn end(&self) -> (usize, usize) {
        self.ops.end()
    }

    /// The transaction was rolled back to where the operations ended.
    pub fn undone_to(&mut self, end: (usize, usize)) {
        self.ids.clear();
        self.states.clear();
        self.ops.cut(end);
        self.lasts = self.ops.lasts().collect();
        self.made.clear();
    }

    /// The whole transaction was rolled back.
    pub fn undone(&mut self) {
        self.undone_to((0, 0));
        self.touched = false;
        self.is_swept = false;
    }

    /// Writes the operations and, if blocks changed, the number of their version.
    pub fn finish(&mut self) -> Result<(), Trouble> {
        let bytes = &self.ops.bytes;
        if !bytes.is_empty() {
            let generation = self.young.read().generation;
            let sum = sum::of_ops(generation, bytes);
            self.sql("INSERT INTO young (generation, sum, ops) VALUES (?, ?, ?)")?
                .execute(params![generation, sum, bytes])?;
        }
        if self.touched {
            let version = self.young.read().version.wrapping_add(1);
            self.sql("UPDATE state SET version = ?")?.execute([version])?;
        }
        Ok(())
    }

    /// The transaction is committed: what it did to young records is done in memory.
    pub fn committed(&mut self, step: Option<&Step>) {
        let ops = std::mem::take(&mut self.ops);
        self.lasts.clear();
        self.made.drain(..).for_each(|(place, log)| self.known.learn_log(place, log));
        let mut young = self.young.write();
        if let Some(step) = step {
            if std::mem::take(&mut self.is_swept) {
                young.is_swept();
            }
            young.moved(step);
        }
        young.apply(ops.list, &Bytes::from(ops.bytes));
        if std::mem::take(&mut self.touched) {
            young.version = young.version.wrapping_add(1);
        }
    }

    /// Moves young records to blocks.
    pub fn step(&mut self, step: &Step) -> Result<(), Trouble> {
        if step.groups_max > 0 {
            self.is_swept = self.sweep(step.groups_max)?;
        }
        self.touched |= !step.moves.is_empty();
        let young = self.young;
        // This thread alone changes what is young: nobody waits to write, reading again is safe.
        let young = young.read_recursive();
        for Move { log, through, .. } in &step.moves {
            let Some(from) = young.log(*log) else { continue };
            self.older.add(*log, from.rows.range(..=*through).map(|(seq, row)| (*seq, row)))?;
            let state = self.state(*log)?;
            let flags = from.rows.range(..=*through).map(|(seq, row)| (*seq, row.flags));
            state.clear.extend((state.moved, *through), &from.clear, flags);
            state.moved = *through;
            let state = state.clone();
            self.keep(&state)?;
        }
        Ok(())
    }

    /// Removes groups of generations that are moved, so many at most: what is removed is overwritten,
    /// which takes its time. Whether that was all.
    fn sweep(&self, groups_max: usize) -> Result<bool, Trouble> {
        let groups_max = i64::try_from(groups_max).unwrap_or(i64::MAX);
        let Some(generation) = self.young.read().litter() else { return Ok(true) };
        let swept = self
            .sql(
                "DELETE FROM young WHERE rowid IN
                 (SELECT rowid FROM young WHERE generation < ? ORDER BY rowid LIMIT ?)",
            )?
            .execute([generation, groups_max])?;
        Ok(i64::try_from(swept).is_ok_and(|swept| swept < groups_max))
    }

    /// Appends to the log at a place, which is made if it is new.
    pub fn append(
        &mut self,
        table: Table,
        place: (i64, i64),
        record: &Record,
        peer: i64,
    ) -> Result<(), Trouble> {
        let log = match self.find(place)? {
            Some(log) => log,
            None => self.make(place)?,
        };
        let state = self.state(log)?;
        rules::rises(table, state.last, record.seq).map_err(Trouble::Refused)?;
        state.last = record.seq;
        let moved = state.moved;
        if self.young.read().bytes() >= self.young_bytes_max {
            let error = StoreError::new(Fault::Full, "young records cannot be moved to blocks");
            return Err(Trouble::Refused(error));
        }
        let Record { seq, epoch, flags, ref stanza, .. } = *record;
        let sum = sum::of_record(log, seq, epoch, &record.peer, stanza) ^ sum::of_flags(flags);
        let peer_name = record.peer.clone();
        let append = Append { log, seq, epoch, flags, peer, sum, stanza: 0..0, peer_name, moved };
        self.ops.append(append, stanza);
        self.lasts.insert(log, seq);
        Ok(())
    }

    /// Replaces flags and stanza of a record.
    pub fn amend(&mut self, log: i64, seq: Seq, flags: u32, stanza: &[u8]) -> Result<(), Trouble> {
        if seq > self.state(log)?.moved {
            if self.is_young(log) {
                self.ops.amend(log, seq, flags, stanza);
            }
            return Ok(());
        }
        let amended = self.older.amend((log, seq), stanza, |head| {
            let peer = self.peer(head.peer)?;
            head.flags = flags;
            head.sum = sum::of_record(log, seq, head.epoch, &peer, stanza) ^ sum::of_flags(flags);
            Ok(())
        })?;
        if !amended {
            return Ok(());
        }
        self.touched = true;
        let state = self.state(log)?;
        if state.clear.lower(flags, seq) {
            let state = state.clone();
            self.keep(&state)?;
        }
        Ok(())
    }

    /// Takes flags off all records up to a place, and then those records that have none.
    pub fn unflag(&mut self, log: i64, through: Seq, bits: u32) -> Result<(), Trouble> {
        let state = self.state(log)?;
        let (from, moved) = (state.clear.up_to(bits).max(state.emptied), state.moved);
        if through > moved && self.is_young(log) {
            self.ops.unflag(log, through, bits);
        }
        let through = through.min(moved);
        if from >= through {
            return Ok(());
        }
        self.touched |= self.older.unflag(log, (from, through), bits)?;
        let state = self.state(log)?;
        state.clear.raise(bits, through);
        let state = state.clone();
        self.keep(&state)
    }

    /// Removes the records in a range of places.
    pub fn remove(&mut self, log: i64, from: Seq, to: Seq) -> Result<(), Trouble> {
        let state = self.state(log)?;
        let (moved, emptied) = (state.moved, state.emptied);
        if to > moved && self.is_young(log) {
            self.ops.remove(log, from, to);
        }
        let to = to.min(moved);
        if from > to || to <= emptied {
            return Ok(());
        }
        self.touched |= self.older.remove(log, from, to)?;
        if from == 0 {
            self.state(log)?.emptied = to;
        }
        Ok(())
    }

    /// Removes all records of an owner.
    pub fn erase(&mut self, owner: i64) -> Result<(), Trouble> {
        let mut select = self.sql("SELECT id FROM logs WHERE owner = ?")?;
        let ids: Vec<i64> =
            select.query_map([owner], |row| row.get(0))?.collect::<Result<_, _>>()?;
        ids.into_iter().try_for_each(|log| self.remove(log, 0, SEQ_MAX))
    }

    /// The number of a log, if it was ever written to.
    pub fn find(&mut self, place: (i64, i64)) -> Result<Option<i64>, Trouble> {
        if let Some(log) = self.ids.find(&place) {
            return Ok(Some(log));
        }
        let found = self
            .sql("SELECT id FROM logs WHERE owner = ? AND tab = ?")?
            .query_row(<[i64; 2]>::from(place), |row| row.get(0))
            .optional()?;
        if let Some(log) = found {
            self.ids.keep(place, log);
        }
        Ok(found)
    }

    fn make(&mut self, place: (i64, i64)) -> Result<i64, Trouble> {
        self.sql("INSERT INTO logs (owner, tab, moved, sum, clear) VALUES (?, ?, 0, 0, x'')")?
            .execute(<[i64; 2]>::from(place))?;
        let id = self.connection.last_insert_rowid();
        let clear = Clear::default();
        let log = Log { id, place, moved: 0, clear, last: 0, emptied: 0 };
        self.keep(&log)?;
        self.ids.keep(place, id);
        self.states.keep(id, log);
        self.made.push((place, id));
        Ok(id)
    }

    fn state(&mut self, log: i64) -> Result<&mut Log, Trouble> {
        if self.states.find_mut(&log).is_none() {
            let mut state = Log::load(self.connection, log)?;
            let young = self.young.read_recursive().log(log).map_or(0, |young| young.last);
            let staged = self.lasts.get(&log).copied().unwrap_or(0);
            state.last = state.moved.max(young).max(staged);
            self.states.keep(log, state);
        }
        self.states.find_mut(&log).ok_or_else(|| gone(log))
    }

    fn keep(&self, log: &Log) -> Result<(), Trouble> {
        let (moved, clear) = (signed(log.moved), log.clear.to_bytes());
        let sum = sum::of_log(log.id, log.place, moved, &clear);
        self.sql("UPDATE logs SET moved = ?, sum = ?, clear = ? WHERE id = ?")?
            .execute(params![moved, sum, clear, log.id])?;
        Ok(())
    }

    fn peer(&self, number: i64) -> Result<Arc<str>, Trouble> {
        let name = self
            .sql("SELECT name FROM peers WHERE id = ?")?
            .query_row([number], |row| Ok(Arc::from(row.get_ref(0)?.as_str()?)))
            .optional()?;
        name.ok_or_else(|| Trouble::damaged(format_args!("peer {number} is gone")))
    }

    fn is_young(&self, log: i64) -> bool {
        self.lasts.contains_key(&log) || self.young.read().log(log).is_some()
    }

    fn sql(&self, sql: &str) -> Result<CachedStatement<'c>, Trouble> {
        Ok(self.connection.prepare_cached(sql)?)
    }
}

fn gone(log: i64) -> Trouble {
    Trouble::damaged(format_args!("log {log} is gone"))
}
