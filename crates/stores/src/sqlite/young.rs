//! Young records: those of the last megabytes, in memory for reading and as operations on the disk
//! for safety. Most of what happens to a record happens while it is young (it is delivered, its
//! flags go, perhaps it goes itself), and costs no page of the big tables then.
//!
//! A generation is what was appended until its bound was reached; it is then frozen and moved to
//! blocks in slices, log by log in order, while the next one fills. Places in a log
//! rise, so what is in blocks lies before what is young, in each log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
use verona_core::store::shape::{Record, Seq, Slice};

use crate::sqlite::clear::Clear;
use crate::sqlite::op::{Append, Op};
use crate::sqlite::sum;

/// While so many records would be moved, one group that is moved is removed: about as many as come, so
/// that what comes takes the pages that are overwritten, and they are written once.
const RECORDS_A_GROUP: usize = 256;

/// What a record costs in memory beside its bytes on the disk.
const RECORD_BYTES: usize = 160;

/// A young record.
#[derive(Clone, Debug)]
pub struct Row {
    pub epoch: u32,
    pub flags: u32,
    pub peer: i64,
    pub sum: i64,
    pub peer_name: Arc<str>,
    pub stanza: Bytes,
}

/// What is young in one log.
#[derive(Debug, Default)]
pub struct YoungLog {
    /// The records, all behind `moved`.
    pub rows: BTreeMap<Seq, Row>,
    /// The last place that was taken, also when its record is gone.
    pub last: Seq,
    /// Up to where records are in blocks.
    pub moved: Seq,
    /// Up to where records are of the frozen generation, when there is something to move.
    frozen: Option<Seq>,
    /// What is known of flags.
    pub clear: Clear,
}

/// All that is young.
#[derive(Debug)]
pub struct Young {
    /// Counts the commits that changed blocks: a reader that finds the same number
    /// on the disk knows that what it took from here fits what it sees there.
    pub version: i64,
    /// The number of the generation that fills.
    pub generation: i64,
    logs: AHashMap<i64, YoungLog>,
    bytes: usize,
    /// Whether the generation that fills has on the disk what is deleted.
    holds_deleted: bool,
    frozen: Option<VecDeque<i64>>,
    /// Groups of generations before this one are moved, and may still lie on the disk.
    moved_before: Option<i64>,
}

/// A step of moving the frozen generation to blocks.
#[derive(Debug, Default)]
pub struct Step {
    /// Log by log, up to which place.
    pub moves: Vec<Move>,
    /// Whether nothing is left behind this step.
    pub is_last: bool,
    /// Groups of generations that are moved which are removed from the disk, at most.
    pub groups_max: usize,
}

/// The part of a step that is in one log.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    pub log: i64,
    pub through: Seq,
    /// Whether the log has nothing further to move.
    pub is_done: bool,
}

impl Young {
    /// Nothing yet.
    pub fn new(version: i64, generation: i64) -> Self {
        let logs = AHashMap::new();
        Self {
            version,
            generation,
            logs,
            bytes: 0,
            holds_deleted: false,
            frozen: None,
            moved_before: None,
        }
    }

    /// What is young in a log.
    pub fn log(&self, log: i64) -> Option<&YoungLog> {
        self.logs.get(&log)
    }

    /// Whether there is anything young.
    pub fn holds_any(&self) -> bool {
        !self.logs.is_empty()
    }

    /// Logs that have young records.
    pub fn filled(&self) -> impl Iterator<Item = i64> {
        self.logs.iter().filter(|(_, log)| !log.rows.is_empty()).map(|(id, _)| *id)
    }

    /// Applies what was committed.
    pub fn apply(&mut self, ops: Vec<Op>, bytes: &Bytes) {
        self.bytes = self.bytes.saturating_add(bytes.len());
        for op in ops {
            match op {
                Op::Append(append) => {
                    self.bytes = self.bytes.saturating_add(RECORD_BYTES);
                    let new = || YoungLog { moved: append.moved, ..YoungLog::default() };
                    self.logs.entry(append.log).or_insert_with(new).append(append, bytes);
                }
                Op::Amend { log, seq, flags, stanza } => {
                    let Some(state) = self.logs.get_mut(&log) else { continue };
                    state.amend((log, seq), flags, bytes.slice(stanza));
                    self.holds_deleted = true;
                }
                Op::Unflag { log, through, bits } => {
                    let Some(log) = self.logs.get_mut(&log) else { continue };
                    self.holds_deleted |= log.unflag(through, bits);
                }
                Op::Remove { log, from, to } => {
                    let Some(log) = self.logs.get_mut(&log) else { continue };
                    log.remove(from, to);
                    self.holds_deleted = true;
                }
            }
        }
    }

    /// Bytes of the generation that fills.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the generation that fills has on the disk what is deleted.
    pub fn holds_deleted(&self) -> bool {
        self.holds_deleted
    }

    /// Whether a frozen generation waits to be moved.
    pub fn has_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Groups of generations before this one may lie on the disk for nothing.
    pub fn litter(&self) -> Option<i64> {
        self.moved_before
    }

    /// All that the disk has of generations before this one is moved, if nothing is frozen: what a
    /// process left behind that ended before it was removed.
    pub fn find_litter(&mut self) {
        self.moved_before = self.frozen.is_none().then_some(self.generation);
    }

    /// The last of what was moved is removed from the disk.
    pub fn is_swept(&mut self) {
        self.moved_before = None;
    }

    /// Ends the generation that fills; from now on it is moved.
    pub fn freeze(&mut self) {
        let mut ids: Vec<i64> = self.logs.keys().copied().collect();
        ids.sort_unstable();
        for log in self.logs.values_mut() {
            log.frozen = Some(log.last);
        }
        self.frozen = Some(ids.into());
        self.bytes = 0;
        self.holds_deleted = false;
        self.generation = self.generation.saturating_add(1);
    }

    /// What to do next: about so many records are moved, or as much is removed.
    pub fn step(&self, records_max: usize) -> Option<Step> {
        let mut left = records_max.max(1);
        let mut step = Step::default();
        if self.moved_before.is_some() {
            step.groups_max = left.div_ceil(RECORDS_A_GROUP);
        }
        let Some(frozen) = &self.frozen else {
            return self.moved_before.is_some().then_some(step);
        };
        for id in frozen {
            let Some(log) = self.logs.get(id) else { continue };
            let Some(end) = log.frozen else { continue };
            if left == 0 {
                return Some(step);
            }
            let mut taken =
                log.rows.range(..=end).map(|(seq, _)| *seq).take(left.saturating_add(1));
            let whole = taken.by_ref().take(left).fold((0_usize, 0), |(n, _), seq| (n + 1, seq));
            let (count, reached) = whole;
            let is_done = taken.next().is_none();
            let through = if is_done { end } else { reached };
            left = left.saturating_sub(count.max(1));
            step.moves.push(Move { log: *id, through, is_done });
        }
        step.is_last = step.moves.last().is_none_or(|last| last.is_done);
        Some(step)
    }

    /// The step is committed: what it moved is not young any more.
    pub fn moved(&mut self, step: &Step) {
        for step in &step.moves {
            let Some(log) = self.logs.get_mut(&step.log) else { continue };
            log.rows = log.rows.split_off(&step.through.saturating_add(1));
            log.moved = step.through;
            if step.is_done {
                log.frozen = None;
                if log.last == log.moved {
                    self.logs.remove(&step.log);
                }
                if let Some(ids) = &mut self.frozen {
                    while ids.front().is_some_and(|id| *id <= step.log) {
                        ids.pop_front();
                    }
                }
            }
        }
        if step.is_last {
            self.frozen = None;
            self.moved_before = Some(self.generation);
        }
    }
}

impl YoungLog {
    /// The records of a slice, in its direction, with those that it leaves out, and one more than it
    /// asks for when there is one.
    pub fn select(&self, slice: &Slice) -> Vec<Record> {
        let skip = usize::try_from(slice.skip).unwrap_or(usize::MAX);
        let one_more = slice.count_max.saturating_add(1).saturating_add(skip);
        let meant = self.meant(slice).map(|(seq, row)| row.record(seq));
        if slice.from_end {
            meant.rev().take(one_more).collect()
        } else {
            meant.take(one_more).collect()
        }
    }

    /// Whether blocks may have records of a slice.
    pub fn may_be_moved(&self, slice: &Slice) -> bool {
        self.moved > 0 && slice.after.is_none_or(|after| after < self.moved)
    }

    /// The peers of records that have one of these bits, each with the place of its last.
    pub fn peers(&self, flags_any: u32) -> AHashMap<Arc<str>, Seq> {
        let slice = Slice { flags_any, ..Slice::default() };
        self.meant(&slice).map(|(seq, row)| (row.peer_name.clone(), seq)).collect()
    }

    /// How many records a slice selects.
    pub fn count(&self, slice: &Slice) -> u64 {
        self.meant(slice).count() as u64
    }

    fn meant<'a>(&'a self, slice: &'a Slice) -> impl DoubleEndedIterator<Item = (Seq, &'a Row)> {
        let from = slice.after.map_or(0, |after| after.saturating_add(1));
        let to = slice.before.map_or(Seq::MAX, |before| before.saturating_sub(1));
        let range = (from <= to).then(|| self.rows.range(from..=to));
        range.into_iter().flatten().map(|(seq, row)| (*seq, row)).filter(|(_, row)| {
            slice.peer.as_ref().is_none_or(|peer| row.peer_name == *peer)
                && (slice.flags_any == 0 || row.flags & slice.flags_any != 0)
                && row.flags & slice.flags_none == 0
                && slice.words.as_ref().is_none_or(|words| words.are_in(&row.stanza))
        })
    }

    fn append(&mut self, append: Append, bytes: &Bytes) {
        let Append { seq, epoch, flags, peer, sum, stanza, peer_name, .. } = append;
        self.last = seq;
        let stanza = bytes.slice(stanza);
        self.rows.insert(seq, Row { epoch, flags, peer, sum, peer_name, stanza });
    }

    fn amend(&mut self, (log, seq): (i64, Seq), flags: u32, stanza: Bytes) {
        let Some(row) = self.rows.get_mut(&seq) else { return };
        row.flags = flags;
        row.sum =
            sum::of_record(log, seq, row.epoch, &row.peer_name, &stanza) ^ sum::of_flags(flags);
        row.stanza = stanza;
        self.clear.lower(flags, seq);
    }

    /// Whether a record went.
    fn unflag(&mut self, through: Seq, bits: u32) -> bool {
        let through = through.min(self.last);
        let from = self.clear.up_to(bits).max(self.moved);
        if from >= through {
            return false;
        }
        let mut gone = Vec::new();
        for (seq, row) in self.rows.range_mut(from.saturating_add(1)..=through) {
            let left = row.flags & !bits;
            row.sum ^= sum::of_flags(row.flags) ^ sum::of_flags(left);
            row.flags = left;
            if left == 0 {
                gone.push(*seq);
            }
        }
        for seq in &gone {
            self.rows.remove(seq);
        }
        self.clear.raise(bits, through);
        !gone.is_empty()
    }

    fn remove(&mut self, from: Seq, to: Seq) {
        if self.rows.range(..from).next_back().is_none() {
            self.rows = match to.checked_add(1) {
                Some(next) => self.rows.split_off(&next),
                None => BTreeMap::new(),
            };
            return;
        }
        let gone: Vec<Seq> = self.rows.range(from..=to).map(|(seq, _)| *seq).collect();
        for seq in gone {
            self.rows.remove(&seq);
        }
    }
}

impl Row {
    /// The record as readers get it.
    pub fn record(&self, seq: Seq) -> Record {
        Record {
            seq,
            epoch: self.epoch,
            peer: self.peer_name.clone(),
            flags: self.flags,
            stanza: self.stanza.clone(),
        }
    }
}
