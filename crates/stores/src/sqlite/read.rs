//! The questions, asked on a reader's connection. What comes from the disk is checked before it
//! goes out.

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashSet;
use bytes::Bytes;
use parking_lot::RwLock;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params, params_from_iter};
use verona_core::store::error::{Fault, StoreError};
use verona_core::store::shape::{Entry, Owner, Page, Record, Seq, Shape, Slice, Table};

use crate::rules::SEQ_MAX;
use crate::sqlite::logs::{Log, signed};
use crate::sqlite::names::{Known, Names};
use crate::sqlite::sum;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::young::Young;

/// How often a reader looks again, when commits come in between, before it waits a little.
const ROUNDS_EAGER: u32 = 20;

/// How often a reader looks again before it gives up, after some seconds.
const ROUNDS_MAX: u32 = 20_000;

/// Records that are looked through for words at a time.
const LOOKED_MAX: usize = 2000;

/// One reader's view of the file.
pub struct Read<'c> {
    /// The connection to ask on.
    pub connection: &'c Connection,
    /// Names that need not be looked up.
    pub known: &'c Known,
    /// What is young.
    pub young: &'c RwLock<Young>,
}

impl Read<'_> {
    /// All entries of an owner in some tables.
    pub fn entries(&self, owner: &Owner, tables: &[Table]) -> Result<Vec<Entry>, Trouble> {
        let Some(owner) = self.owner(owner)? else { return Ok(Vec::new()) };
        let mut numbers = Vec::with_capacity(tables.len());
        for table in tables {
            // A table that nobody ever wrote to has a number that none has.
            numbers.push(self.table(*table)?.unwrap_or(-1));
        }
        let marks = vec!["?"; numbers.len()].join(",");
        let mut select = self.sql(&format!(
            "SELECT tab, key, sum, value FROM entries WHERE owner = ? AND tab IN ({marks})
             ORDER BY tab, key"
        ))?;
        let mut rows = select.query(params_from_iter(std::iter::once(&owner).chain(&numbers)))?;
        let mut found: Vec<(usize, Entry)> = Vec::new();
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            let at = numbers.iter().position(|asked| *asked == number);
            let Some((at, table)) = at.and_then(|at| Some((at, *tables.get(at)?))) else {
                continue;
            };
            let key = row.get_ref(1)?.as_str().map_err(|_| entry_damaged(table))?;
            let value = entry_value(row, (owner, number, key), table)?;
            found.push((at, Entry { table, key: key.into(), value }));
        }
        found.sort_by_key(|(at, _)| *at);
        Ok(found.into_iter().map(|(_, entry)| entry).collect())
    }

    /// One entry.
    pub fn entry(&self, table: Table, owner: &Owner, key: &str) -> Result<Option<Bytes>, Trouble> {
        let Some((owner, number)) = self.place(table, owner)? else { return Ok(None) };
        let mut select = self.sql(
            "SELECT tab, key, sum, value FROM entries WHERE owner = ? AND tab = ? AND key = ?",
        )?;
        let mut rows = select.query(params![owner, number, key])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        entry_value(row, (owner, number, key), table).map(Some)
    }

    /// Owners with something in a table, in order.
    pub fn owners(
        &self,
        table: Table,
        after: Option<&str>,
        count_max: usize,
    ) -> Result<Vec<Arc<str>>, Trouble> {
        let Some(number) = self.table(table)? else { return Ok(Vec::new()) };
        let after = after.unwrap_or("");
        if table.shape == Shape::Log {
            let filled = |young: &Young| young.filled().collect::<AHashSet<i64>>();
            return self.both(filled, |filled| self.log_owners(number, after, count_max, &filled));
        }
        let mut select = self.sql(
            "SELECT name FROM owners o WHERE name > ?1
               AND EXISTS (SELECT 1 FROM entries e WHERE e.owner = o.id AND e.tab = ?2)
             ORDER BY name LIMIT ?3",
        )?;
        let count_max = i64::try_from(count_max).unwrap_or(i64::MAX);
        let names = select.query_map(params![after, number, count_max], |row| {
            Ok(row.get_ref(0)?.as_str()?.into())
        })?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    fn log_owners(
        &self,
        table: i64,
        after: &str,
        count_max: usize,
        filled: &AHashSet<i64>,
    ) -> Result<Vec<Arc<str>>, Trouble> {
        let mut select = self.sql(
            "SELECT o.name, l.id, EXISTS (SELECT 1 FROM records r WHERE r.log = l.id)
             FROM owners o CROSS JOIN logs l ON l.owner = o.id AND l.tab = ?2
             WHERE o.name > ?1 ORDER BY o.name",
        )?;
        let mut rows = select.query(params![after, table])?;
        let mut names = Vec::new();
        while names.len() < count_max {
            let Some(row) = rows.next()? else { break };
            if row.get(2)? || filled.contains(&row.get(1)?) {
                let name = row.get_ref(0)?.as_str();
                names.push(name.map_err(|_| Trouble::damaged("the name of an owner"))?.into());
            }
        }
        Ok(names)
    }

    /// A page of a log.
    pub fn page(&self, table: Table, owner: &Owner, slice: &Slice) -> Result<Page, Trouble> {
        let Some(log) = self.log(table, owner)? else { return Ok(join(slice, vec![], vec![])) };
        let young = |young: &Young| {
            young.log(log).map(|young| (young.select(slice), young.may_be_moved(slice)))
        };
        self.both(young, |young| {
            let (mut young, in_table) = young.unwrap_or((Vec::new(), true));
            let chosen = self.chosen(log, slice)?.filter(|_| in_table);
            let mut slice = slice.clone();
            self.skip((log, chosen.as_ref()), &mut slice, &mut young)?;
            let young_first = if slice.from_end { young.len() } else { 0 };
            let wanted = slice.count_max.saturating_add(1).saturating_sub(young_first);
            let (old, looked) = match chosen {
                Some(chosen) if wanted > 0 => self.select(log, &slice, &chosen, wanted)?,
                _ => (Vec::new(), None),
            };
            Ok(match looked {
                // What is young lies behind, and is reached another time.
                Some(_) if !slice.from_end => {
                    Page { looked, complete: false, ..join(&slice, old, Vec::new()) }
                }
                Some(_) => Page { looked, complete: false, ..join(&slice, old, young) },
                None => join(&slice, old, young),
            })
        })
    }

    /// Leaves out what a slice leaves out of what is young; what is left of `skip` is of the table.
    fn skip(
        &self,
        (log, chosen): (i64, Option<&Chosen>),
        slice: &mut Slice,
        young: &mut Vec<Record>,
    ) -> Result<(), Trouble> {
        if slice.skip == 0 {
            return Ok(());
        }
        let in_table = match chosen {
            // What is young is left out first, or not before all that is in the table.
            Some(chosen) if !slice.from_end => self.skipped_in_table(log, slice, chosen)?,
            _ => 0,
        };
        let of_young = slice.skip.saturating_sub(in_table);
        let of_young = usize::try_from(of_young).unwrap_or(usize::MAX).min(young.len());
        young.drain(..of_young);
        if slice.from_end {
            slice.skip = slice.skip.saturating_sub(of_young as u64);
        }
        Ok(())
    }

    /// The first records of a slice in the table, in its direction.
    fn select(
        &self,
        log: i64,
        slice: &Slice,
        chosen: &Chosen,
        count_max: usize,
    ) -> Result<(Vec<Record>, Option<Seq>), Trouble> {
        let order = if slice.from_end { "DESC" } else { "ASC" };
        let (index, peer) = chosen.index();
        let mut select = self.sql(&format!(
            "SELECT seq, flags, peer, epoch, sum, stanza FROM records INDEXED BY {index}
             WHERE log = ?1 AND seq BETWEEN ?2 AND ?3 {peer}
               AND (?5 = 0 OR flags & ?5) AND flags & ?6 = 0
             ORDER BY seq {order} LIMIT ?7 OFFSET ?8"
        ))?;
        let Chosen { from, to, peer } = *chosen;
        let limit = if slice.words.is_some() { LOOKED_MAX } else { count_max };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        // With words the selection is made here, and nobody leaves out anything of it.
        let skip = if slice.words.is_some() { 0 } else { signed(slice.skip) };
        let flags = (slice.flags_any, slice.flags_none);
        let mut rows = select.query(params![log, from, to, peer, flags.0, flags.1, limit, skip])?;
        let mut records = Vec::new();
        let (mut looked, mut last) = (0_usize, 0);
        while let Some(row) = rows.next()? {
            looked = looked.saturating_add(1);
            if let Some(words) = &slice.words {
                last = row.get::<_, i64>(0)?.unsigned_abs();
                if !words.are_in(row.get_ref(5)?.as_blob().unwrap_or_default()) {
                    continue;
                }
            }
            records.push(self.record_of(log, row)?);
            if records.len() >= count_max {
                return Ok((records, None));
            }
        }
        let stopped = slice.words.is_some() && looked >= LOOKED_MAX;
        Ok((records, stopped.then_some(last)))
    }

    /// How many records a slice selects.
    pub fn count(&self, table: Table, owner: &Owner, slice: &Slice) -> Result<u64, Trouble> {
        let Some(log) = self.log(table, owner)? else { return Ok(0) };
        let young = |young: &Young| young.log(log).map_or(0, |young| young.count(slice));
        self.both(young, |young| {
            let Some(chosen) = self.chosen(log, slice)? else { return Ok(young) };
            let old = self.count_in_table(log, slice, &chosen)?;
            Ok(young.saturating_add(old))
        })
    }

    /// The peers of a log, each with the place of its last record that has one of these bits. From
    /// one peer the index leads to the next, and from the end of each to its last record.
    pub fn peers(
        &self,
        table: Table,
        owner: &Owner,
        flags_any: u32,
    ) -> Result<Vec<(Arc<str>, Seq)>, Trouble> {
        let Some(log) = self.log(table, owner)? else { return Ok(Vec::new()) };
        let young = |young: &Young| young.log(log).map(|young| young.peers(flags_any));
        self.both(young, |young| {
            let mut lasts = young.unwrap_or_default();
            let mut select = self.sql(
                "WITH RECURSIVE known (id) AS (
                   SELECT min(peer) FROM records INDEXED BY by_peer WHERE log = ?1
                   UNION ALL
                   SELECT (SELECT min(peer) FROM records INDEXED BY by_peer
                           WHERE log = ?1 AND peer > known.id)
                   FROM known WHERE known.id IS NOT NULL)
                 SELECT id, (SELECT seq FROM records INDEXED BY by_peer
                             WHERE log = ?1 AND peer = known.id AND (?2 = 0 OR flags & ?2)
                             ORDER BY seq DESC LIMIT 1)
                 FROM known WHERE id IS NOT NULL",
            )?;
            let mut rows = select.query(params![log, flags_any])?;
            while let Some(row) = rows.next()? {
                let Some(place) = row.get::<_, Option<i64>>(1)? else { continue };
                let damaged = || Trouble::damaged(format_args!("the peers of log {log}"));
                let name = self.peer_name(row.get(0)?)?.ok_or_else(damaged)?;
                // What is young lies behind what is in the table.
                lasts.entry(name).or_insert(place.unsigned_abs());
            }
            Ok(lasts.into_iter().collect())
        })
    }

    /// How many records of the table a slice leaves out: no more are counted than it names.
    fn skipped_in_table(&self, log: i64, slice: &Slice, chosen: &Chosen) -> Result<u64, Trouble> {
        if slice.words.is_some() {
            return self.count_words(log, slice, chosen);
        }
        let (index, peer) = chosen.index();
        let mut select = self.sql(&format!(
            "SELECT count(*) FROM (SELECT 1 FROM records INDEXED BY {index}
             WHERE log = ?1 AND seq BETWEEN ?2 AND ?3 {peer}
               AND (?5 = 0 OR flags & ?5) AND flags & ?6 = 0 LIMIT ?7)"
        ))?;
        let Chosen { from, to, peer } = *chosen;
        let (flags, limit) = ((slice.flags_any, slice.flags_none), signed(slice.skip));
        let count: i64 = select
            .query_row(params![log, from, to, peer, flags.0, flags.1, limit], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    fn count_in_table(&self, log: i64, slice: &Slice, chosen: &Chosen) -> Result<u64, Trouble> {
        if slice.words.is_some() {
            return self.count_words(log, slice, chosen);
        }
        let (index, peer) = chosen.index();
        let mut select = self.sql(&format!(
            "SELECT count(*) FROM records INDEXED BY {index}
             WHERE log = ?1 AND seq BETWEEN ?2 AND ?3 {peer}
               AND (?5 = 0 OR flags & ?5) AND flags & ?6 = 0"
        ))?;
        let Chosen { from, to, peer } = *chosen;
        let old: i64 = select
            .query_row(params![log, from, to, peer, slice.flags_any, slice.flags_none], |row| {
                row.get(0)
            })?;
        Ok(old.unsigned_abs())
    }

    /// How many records in the table say some words.
    fn count_words(&self, log: i64, slice: &Slice, chosen: &Chosen) -> Result<u64, Trouble> {
        let mut chosen = Chosen { from: chosen.from, to: chosen.to, peer: chosen.peer };
        let (slice, mut count) = (Slice { from_end: false, ..slice.clone() }, 0_u64);
        loop {
            let (records, looked) = self.select(log, &slice, &chosen, LOOKED_MAX)?;
            count = count.saturating_add(records.len() as u64);
            let end = looked.or_else(|| {
                records.last().filter(|_| records.len() >= LOOKED_MAX).map(|record| record.seq)
            });
            let Some(end) = end else { return Ok(count) };
            chosen.from = signed(end.saturating_add(1));
        }
    }

    /// One record.
    pub fn record(&self, table: Table, owner: &Owner, seq: Seq) -> Result<Option<Record>, Trouble> {
        let Some(log) = self.log(table, owner)? else { return Ok(None) };
        let young = |young: &Young| Some(young.log(log)?.rows.get(&seq)?.record(seq));
        self.both(young, |young| {
            if young.is_some() || seq > SEQ_MAX {
                return Ok(young);
            }
            let mut select = self.sql(
                "SELECT seq, flags, peer, epoch, sum, stanza FROM records
                 WHERE log = ? AND seq = ?",
            )?;
            let mut rows = select.query([log, signed(seq)])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            self.record_of(log, row).map(Some)
        })
    }

    /// The highest place that was ever taken.
    pub fn last_seq(&self, table: Table, owner: &Owner) -> Result<Seq, Trouble> {
        let Some(log) = self.log(table, owner)? else { return Ok(0) };
        let young = |young: &Young| young.log(log).map(|young| young.last);
        self.both(young, |young| match young {
            Some(last) => Ok(last),
            None => Ok(Log::load(self.connection, log)?.moved),
        })
    }

    /// Looks at what is young and then at the table, as both were at one moment.
    ///
    /// What is young is copied first. If the table was changed since by a commit, which is what its
    /// version tells, all is done again.
    fn both<Y, T>(
        &self,
        young: impl Fn(&Young) -> Y,
        table: impl Fn(Y) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        for round in 0..ROUNDS_MAX {
            let (version, copied) = {
                let all = self.young.read();
                (all.version, young(&all))
            };
            let snapshot = Snapshot::take(self.connection)?;
            let on_disk: i64 =
                self.sql("SELECT version FROM state")?.query_row([], |row| row.get(0))?;
            if on_disk == version {
                return table(copied);
            }
            drop(snapshot);
            // A commit is on the disk and will be in memory at once.
            if round > ROUNDS_EAGER {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        Err(Trouble::Store(StoreError::new(Fault::Io, "the log changes too fast to be read")))
    }

    fn record_of(&self, log: i64, row: &Row<'_>) -> Result<Record, Trouble> {
        let place: i64 = row.get(0)?;
        let damaged = || Trouble::damaged(format_args!("record {place} of log {log}"));
        let read = || -> rusqlite::Result<_> {
            let stanza = row.get_ref(5)?.as_blob()?;
            Ok((row.get(1)?, row.get(2)?, row.get(3)?, row.get::<_, i64>(4)?, stanza))
        };
        let (flags, peer, epoch, sum, stanza) = read().map_err(|_| damaged())?;
        let seq = Seq::try_from(place).map_err(|_| damaged())?;
        let peer = self.peer_name(peer)?.ok_or_else(damaged)?;
        if sum::of_record(log, seq, epoch, &peer, stanza) ^ sum::of_flags(flags) != sum {
            return Err(damaged());
        }
        Ok(Record { seq, epoch, peer, flags, stanza: Bytes::copy_from_slice(stanza) })
    }

    /// What a slice selects in the table, in numbers; nothing when it can select nothing.
    fn chosen(&self, log: i64, slice: &Slice) -> Result<Option<Chosen>, Trouble> {
        let mut from = slice.after.map_or(0, |after| after.saturating_add(1));
        if slice.flags_any != 0 {
            let state = Log::load(self.connection, log)?;
            from = from.max(state.clear.of_any(slice.flags_any).saturating_add(1));
        }
        let to = slice.before.map_or(SEQ_MAX, |before| before.saturating_sub(1)).min(SEQ_MAX);
        if from > to {
            return Ok(None);
        }
        let (from, to) = (signed(from), signed(to));
        let Some(name) = &slice.peer else { return Ok(Some(Chosen { from, to, peer: None })) };
        let peer = self.number(&self.known.peers, name, "SELECT id FROM peers WHERE name = ?")?;
        Ok(peer.map(|peer| Chosen { from, to, peer: Some(peer) }))
    }

    fn log(&self, table: Table, owner: &Owner) -> Result<Option<i64>, Trouble> {
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

    fn place(&self, table: Table, owner: &Owner) -> Result<Option<(i64, i64)>, Trouble> {
        let Some(table) = self.table(table)? else { return Ok(None) };
        Ok(self.owner(owner)?.map(|owner| (owner, table)))
    }

    fn owner(&self, name: &Owner) -> Result<Option<i64>, Trouble> {
        self.number(&self.known.owners, name, "SELECT id FROM owners WHERE name = ?")
    }

    fn table(&self, table: Table) -> Result<Option<i64>, Trouble> {
        if let Some(number) = self.known.tables.number(table.name) {
            return Ok(Some(number));
        }
        self.number(&self.known.tables, &table.name.into(), "SELECT id FROM tables WHERE name = ?")
    }

    fn number(&self, names: &Names, name: &Arc<str>, sql: &str) -> Result<Option<i64>, Trouble> {
        if let Some(number) = names.number(name) {
            return Ok(Some(number));
        }
        let found = self.sql(sql)?.query_row([name], |row| row.get(0)).optional()?;
        if let Some(number) = found {
            names.learn(name, number);
        }
        Ok(found)
    }

    fn peer_name(&self, number: i64) -> Result<Option<Arc<str>>, Trouble> {
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

    fn sql(&self, sql: &str) -> Result<CachedStatement<'_>, Trouble> {
        Ok(self.connection.prepare_cached(sql)?)
    }
}

/// A transaction that only reads, so that several questions see one state.
struct Snapshot<'c>(&'c Connection);

impl<'c> Snapshot<'c> {
    fn take(connection: &'c Connection) -> Result<Self, Trouble> {
        connection.prepare_cached("BEGIN")?.execute([])?;
        Ok(Self(connection))
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        let end = self.0.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        if let Err(error) = end {
            tracing::error!(%error, "a reader cannot end its transaction");
        }
    }
}

struct Chosen {
    from: i64,
    to: i64,
    peer: Option<i64>,
}

impl Chosen {
    /// The index that has the selection in order, and the condition it needs.
    fn index(&self) -> (&'static str, &'static str) {
        match self.peer {
            Some(_) => ("by_peer", "AND peer = ?4"),
            None => ("by_seq", "AND ?4 IS NULL"),
        }
    }
}

/// A page of what was found, each part in the direction of the slice and with one record more than
/// is asked for where there is one. What is old lies before what is young.
pub fn join(slice: &Slice, old: Vec<Record>, young: Vec<Record>) -> Page {
    let (mut records, behind) = if slice.from_end { (young, old) } else { (old, young) };
    records.extend(behind);
    let complete = records.len() <= slice.count_max;
    records.truncate(slice.count_max);
    if slice.from_end {
        records.reverse();
    }
    Page { records, complete, looked: None }
}

/// The value of a row of `tab, key, sum, value`, checked.
fn entry_value(
    row: &Row<'_>,
    (owner, table, key): (i64, i64, &str),
    name: Table,
) -> Result<Bytes, Trouble> {
    let sum: i64 = row.get(2)?;
    let value = row.get_ref(3)?.as_blob().map_err(|_| entry_damaged(name))?;
    if sum != sum::of_entry(owner, table, key, value) {
        return Err(entry_damaged(name));
    }
    Ok(Bytes::copy_from_slice(value))
}

fn entry_damaged(table: Table) -> Trouble {
    Trouble::damaged(format_args!("an entry of table {}", table.name))
}
