//! The questions, asked on a reader's connection. What comes from the disk is checked before it
//! goes out.

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashSet;
use bytes::Bytes;
use rusqlite::{Connection, Row, params, params_from_iter};
use verona_core::store::error::{Fault, StoreError};
use verona_core::store::shape::{Entry, Owner, Page, Record, Seq, Shape, Slice, Table};

use crate::rules::SEQ_MAX;
use crate::sqlite::block::Wanted;
use crate::sqlite::logs::Log;
use crate::sqlite::search::Search;
use crate::sqlite::sum;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::view::View;
use crate::sqlite::young::Young;

/// How often a reader looks again, when commits come in between, before it waits a little.
const ROUNDS_EAGER: u32 = 20;

/// How often a reader looks again before it gives up, after some seconds.
const ROUNDS_MAX: u32 = 20_000;

impl View<'_> {
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
            "SELECT o.name, l.id, EXISTS (SELECT 1 FROM blocks b WHERE b.log = l.id)
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
            let (mut young, in_blocks) = young.unwrap_or((Vec::new(), true));
            let chosen = self.chosen(log, slice)?.filter(|_| in_blocks);
            let mut slice = slice.clone();
            self.skip(chosen.as_ref(), &mut slice, &mut young)?;
            let young_first = if slice.from_end { young.len() } else { 0 };
            let wanted = slice.count_max.saturating_add(1).saturating_sub(young_first);
            let (old, looked) = match chosen {
                Some(search) if wanted > 0 => search.select(slice.skip, wanted)?,
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

    /// Leaves out what a slice leaves out of what is young; what is left of `skip` is of blocks.
    fn skip(
        &self,
        chosen: Option<&Search<'_>>,
        slice: &mut Slice,
        young: &mut Vec<Record>,
    ) -> Result<(), Trouble> {
        if slice.skip == 0 {
            return Ok(());
        }
        let in_blocks = match chosen {
            // What is young is left out first, or not before all that is in blocks.
            Some(search) if !slice.from_end => search.count(slice.skip)?,
            _ => 0,
        };
        let of_young = slice.skip.saturating_sub(in_blocks);
        let of_young = usize::try_from(of_young).unwrap_or(usize::MAX).min(young.len());
        young.drain(..of_young);
        if slice.from_end {
            slice.skip = slice.skip.saturating_sub(of_young as u64);
        }
        Ok(())
    }

    /// How many records a slice selects.
    pub fn count(&self, table: Table, owner: &Owner, slice: &Slice) -> Result<u64, Trouble> {
        let Some(log) = self.log(table, owner)? else { return Ok(0) };
        let young = |young: &Young| young.log(log).map_or(0, |young| young.count(slice));
        self.both(young, |young| {
            let Some(search) = self.chosen(log, slice)? else { return Ok(young) };
            Ok(young.saturating_add(search.count(u64::MAX)?))
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
                   SELECT min(peer) FROM parts WHERE log = ?1
                   UNION ALL
                   SELECT (SELECT min(peer) FROM parts WHERE log = ?1 AND peer > known.id)
                   FROM known WHERE known.id IS NOT NULL)
                 SELECT id, (SELECT first FROM parts
                             WHERE log = ?1 AND peer = known.id AND (?2 = 0 OR some & ?2)
                             ORDER BY first DESC LIMIT 1)
                 FROM known WHERE id IS NOT NULL",
            )?;
            let mut rows = select.query(params![log, flags_any])?;
            let slice = Slice { flags_any, ..Slice::default() };
            let mut search = self.search(log, &slice);
            while let Some(row) = rows.next()? {
                let Some(first) = row.get::<_, Option<Seq>>(1)? else { continue };
                let damaged = || Trouble::damaged(format_args!("the peers of log {log}"));
                let peer = row.get(0)?;
                let name = self.peer_name(peer)?.ok_or_else(damaged)?;
                search.peer = Some(peer);
                let last = search.last_in(first)?.ok_or_else(damaged)?;
                // What is young lies behind what is in blocks.
                lasts.entry(name).or_insert(last);
            }
            Ok(lasts.into_iter().collect())
        })
    }

    /// One record.
    pub fn record(&self, table: Table, owner: &Owner, seq: Seq) -> Result<Option<Record>, Trouble> {
        let Some(log) = self.log(table, owner)? else { return Ok(None) };
        let young = |young: &Young| Some(young.log(log)?.rows.get(&seq)?.record(seq));
        self.both(young, |young| {
            if young.is_some() || seq > SEQ_MAX {
                return Ok(young);
            }
            self.search(log, &Slice::default()).record(seq)
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

    /// Looks at what is young and then at blocks, as both were at one moment.
    ///
    /// What is young is copied first. If blocks were changed since by a commit, which is what its
    /// version tells, all is done again.
    fn both<Y, T>(
        &self,
        young: impl Fn(&Young) -> Y,
        blocks: impl Fn(Y) -> Result<T, Trouble>,
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
                return blocks(copied);
            }
            drop(snapshot);
            // A commit is on the disk and will be in memory at once.
            if round > ROUNDS_EAGER {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        Err(Trouble::Store(StoreError::new(Fault::Io, "the log changes too fast to be read")))
    }

    /// What a slice selects in blocks; nothing when it can select nothing there.
    fn chosen(&self, log: i64, slice: &Slice) -> Result<Option<Search<'_>>, Trouble> {
        let mut from = slice.after.map_or(0, |after| after.saturating_add(1));
        if slice.flags_any != 0 {
            let state = Log::load(self.connection, log)?;
            from = from.max(state.clear.of_any(slice.flags_any).saturating_add(1));
        }
        let to = slice.before.map_or(SEQ_MAX, |before| before.saturating_sub(1)).min(SEQ_MAX);
        if from > to {
            return Ok(None);
        }
        let mut search = self.search(log, slice);
        (search.wanted.from, search.wanted.to) = (from, to);
        if let Some(name) = &slice.peer {
            let peer =
                self.number(&self.known.peers, name, "SELECT id FROM peers WHERE name = ?")?;
            let Some(peer) = peer else { return Ok(None) };
            search.peer = Some(peer);
        }
        Ok(Some(search))
    }

    /// A search of all places and peers.
    fn search(&self, log: i64, slice: &Slice) -> Search<'_> {
        let (wanted, words) = (Wanted::flags_of(slice), slice.words.clone());
        Search { view: self, log, wanted, peer: None, words, from_end: slice.from_end }
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
