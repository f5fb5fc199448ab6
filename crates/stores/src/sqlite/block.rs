//! Blocks: records that lie together on the disk. When young records are moved, those of one log
//! become one row or a few, so that a record costs its bytes and hardly any work on trees.
//!
//! A row has the bounds of its block and what can be said of all its records; their heads, of one
//! length, one behind the other; and their stanzas. Each record carries the checksum that it had
//! while it was young, and the row one over all but the stanzas.

use std::ops::Range;

use bytes::Bytes;
use verona_core::store::shape::{Record, Seq, Slice};

use crate::sqlite::sum;
use crate::sqlite::young::Row;

/// Bytes with which a block is full. A page of an archive reads a few of them.
pub const BLOCK_BYTES: usize = 16 * 1024;

/// Bytes of a record's head.
pub const HEAD: usize = 32;

/// In [`Tally::some`]: a record has no flag at all.
const UNFLAGGED: u64 = 1 << 32;

/// What is known of a record but for its stanza.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Head {
    pub seq: Seq,
    pub epoch: u32,
    pub flags: u32,
    pub peer: i64,
    /// See `sum::of_record` and `sum::of_flags`.
    pub sum: i64,
    /// Where its stanza lies.
    pub stanza: Range<usize>,
}

/// The records of a block.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Block {
    /// In order.
    pub heads: Vec<Head>,
    pub stanzas: Bytes,
}

/// How many records there are, and what they have in common.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tally {
    pub count: u64,
    /// Flags that at least one of them has, and whether one has none.
    pub some: u64,
    /// Flags that all of them have.
    pub every: u32,
}

/// The places that a block covers, and its records or those of one peer in it. The places stay when
/// records go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Extent {
    pub first: Seq,
    pub last: Seq,
    pub tally: Tally,
}

/// What an extent tells of a selection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Told {
    /// All of its records are selected.
    All,
    /// None is.
    None,
    /// It takes a look at each.
    Some,
}

/// A selection by places and flags.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub from: Seq,
    pub to: Seq,
    pub flags_any: u32,
    pub flags_none: u32,
}

impl Tally {
    /// Of nothing.
    pub const EMPTY: Self = Self { count: 0, some: 0, every: u32::MAX };

    /// Adds a record.
    pub fn add(&mut self, flags: u32) {
        self.count = self.count.saturating_add(1);
        self.some |= if flags == 0 { UNFLAGGED } else { flags.into() };
        self.every &= flags;
    }

    /// Whether a record may have one of these bits.
    pub fn may_have(&self, bits: u32) -> bool {
        self.some & u64::from(bits) != 0
    }

    /// Whether taking off these bits may change anything: a record has one, or has none to begin with.
    pub fn may_lose(&self, bits: u32) -> bool {
        self.some & (u64::from(bits) | UNFLAGGED) != 0
    }
}

impl Extent {
    /// The checksum of the row of a block that has this extent.
    pub fn sum(&self, log: i64, heads: &[u8]) -> i64 {
        let Self { first, last, tally: Tally { count, some, every } } = *self;
        sum::of_block(log, [first, last, count, some, every.into()], heads)
    }

    /// What can be told without a look at the records.
    pub fn tells(&self, wanted: &Wanted) -> Told {
        let (Tally { every, .. }, any, none) = (self.tally, wanted.flags_any, wanted.flags_none);
        let is_outside = self.last < wanted.from || self.first > wanted.to;
        if is_outside || (any != 0 && !self.tally.may_have(any)) || every & none != 0 {
            return Told::None;
        }
        let is_inside = self.first >= wanted.from && self.last <= wanted.to;
        let has_any = any == 0 || every & any != 0;
        if is_inside && has_any && !self.tally.may_have(none) { Told::All } else { Told::Some }
    }
}

impl Wanted {
    /// The same selection of all places.
    pub fn flags_of(slice: &Slice) -> Self {
        let Slice { flags_any, flags_none, .. } = *slice;
        Self { from: 0, to: Seq::MAX, flags_any, flags_none }
    }

    /// Whether a record is selected.
    pub fn takes(&self, head: &Head) -> bool {
        (self.from..=self.to).contains(&head.seq)
            && (self.flags_any == 0 || head.flags & self.flags_any != 0)
            && head.flags & self.flags_none == 0
    }
}

impl Head {
    /// The record as readers get it; nothing if it is damaged.
    pub fn record(&self, log: i64, peer: std::sync::Arc<str>, stanza: Bytes) -> Option<Record> {
        let Self { seq, epoch, flags, .. } = *self;
        let expected = sum::of_record(log, seq, epoch, &peer, &stanza) ^ sum::of_flags(flags);
        (expected == self.sum).then_some(Record { seq, epoch, peer, flags, stanza })
    }
}

impl Block {
    /// Reads the two parts of a row; nothing when they make no sense.
    pub fn read(heads: &[u8], stanzas: Bytes) -> Option<Self> {
        let heads = read_heads(heads)?;
        let whole = heads.last().map_or(0, |head| head.stanza.end) == stanzas.len();
        whole.then_some(Self { heads, stanzas })
    }

    /// The stanza of a record of this block.
    pub fn stanza(&self, head: &Head) -> Bytes {
        let Range { start, end } = head.stanza;
        // `read` has seen that ranges rise and end with the stanzas.
        if end <= self.stanzas.len() { self.stanzas.slice(start..end) } else { Bytes::new() }
    }

    /// Puts a stanza in the place of another.
    pub fn replace(&mut self, at: usize, stanza: &[u8]) {
        let mut other = Building::default();
        for (n, head) in self.heads.iter().enumerate() {
            let old = self.stanza(head);
            other.push(head.clone(), if n == at { stanza } else { &old });
        }
        *self = other.finish();
    }

    /// Keeps some of the records.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&Head) -> bool) {
        let mut other = Building::default();
        for head in &self.heads {
            if is_kept(head) {
                other.push(head.clone(), &self.stanza(head));
            }
        }
        *self = other.finish();
    }

    /// Where a record is.
    pub fn find(&self, seq: Seq) -> Option<usize> {
        self.heads.binary_search_by_key(&seq, |head| head.seq).ok()
    }
}

/// Reads the heads of a row alone; nothing when they make no sense.
pub fn read_heads(bytes: &[u8]) -> Option<Vec<Head>> {
    let (heads, []) = bytes.as_chunks::<HEAD>() else { return None };
    let mut list: Vec<Head> = Vec::with_capacity(heads.len());
    let (mut before, mut start) = (0, 0);
    for bytes in heads {
        let head = read_head(bytes, start)?;
        if head.seq <= before || head.stanza.end < start {
            return None;
        }
        (before, start) = (head.seq, head.stanza.end);
        list.push(head);
    }
    Some(list)
}

fn read_head(bytes: &[u8; HEAD], start: usize) -> Option<Head> {
    let part = |from: usize| bytes.get(from..from.checked_add(4)?)?.try_into().ok();
    let wide = |from: usize| bytes.get(from..from.checked_add(8)?)?.try_into().ok();
    Some(Head {
        seq: Seq::from_le_bytes(wide(0)?),
        peer: i64::from_le_bytes(wide(8)?),
        epoch: u32::from_le_bytes(part(16)?),
        flags: u32::from_le_bytes(part(20)?),
        sum: u32::from_le_bytes(part(24)?).into(),
        stanza: start..usize::try_from(u32::from_le_bytes(part(28)?)).ok()?,
    })
}

/// The heads as they lie in a row.
pub fn write_heads(heads: &[Head]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(heads.len().saturating_mul(HEAD));
    for head in heads {
        bytes.extend(head.seq.to_le_bytes());
        bytes.extend(head.peer.to_le_bytes());
        bytes.extend(head.epoch.to_le_bytes());
        bytes.extend(head.flags.to_le_bytes());
        // A checksum of 32 bits.
        bytes.extend(u32::try_from(head.sum).unwrap_or_default().to_le_bytes());
        // A block is no longer than its bound and one stanza, which the writer's queue bounds.
        bytes.extend(u32::try_from(head.stanza.end).unwrap_or(u32::MAX).to_le_bytes());
    }
    bytes
}

/// A block that is being filled.
#[derive(Debug, Default)]
pub struct Building {
    heads: Vec<Head>,
    stanzas: Vec<u8>,
}

impl Building {
    /// Adds a young record.
    pub fn add(&mut self, seq: Seq, row: &Row) {
        let Row { epoch, flags, peer, sum, ref stanza, .. } = *row;
        self.push(Head { seq, epoch, flags, peer, sum, stanza: 0..0 }, stanza);
    }

    /// Whether it is worth a row.
    pub fn is_full(&self) -> bool {
        self.stanzas.len().saturating_add(self.heads.len().saturating_mul(HEAD)) >= BLOCK_BYTES
    }

    /// What was added; the next block begins.
    pub fn finish(&mut self) -> Block {
        let heads = std::mem::take(&mut self.heads);
        Block { heads, stanzas: std::mem::take(&mut self.stanzas).into() }
    }

    fn push(&mut self, mut head: Head, stanza: &[u8]) {
        let start = self.stanzas.len();
        self.stanzas.extend_from_slice(stanza);
        head.stanza = start..self.stanzas.len();
        self.heads.push(head);
    }
}

/// A place as SQLite's integer; what is beyond its end is at its end.
pub fn signed(seq: Seq) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(flags: &[u32]) -> Block {
        let mut building = Building::default();
        for (seq, flags) in (1..).zip(flags) {
            let stanza = Bytes::from(format!("<message>{seq}</message>"));
            let (epoch, peer, sum) = (u32::MAX, -7, 0xffff_ffff);
            let peer_name = "juliet@capulet.lit".into();
            let row = Row { epoch, flags: *flags, peer, sum, peer_name, stanza };
            building.add(seq, &row);
        }
        building.finish()
    }

    fn tally(flags: &[u32]) -> Tally {
        let mut tally = Tally::EMPTY;
        flags.iter().for_each(|flags| tally.add(*flags));
        tally
    }

    #[test]
    fn a_block_comes_back_as_it_was() {
        let block = block(&[1, 0, u32::MAX]);
        let again = Block::read(&write_heads(&block.heads), block.stanzas.clone());
        assert_eq!(again.as_ref(), Some(&block));
        assert_eq!(block.stanza(&block.heads[1]), "<message>2</message>");
    }

    #[test]
    fn what_makes_no_sense_is_no_block() {
        let block = block(&[1, 2]);
        let heads = write_heads(&block.heads);
        assert_eq!(Block::read(&heads[..heads.len() - 1], block.stanzas.clone()), None);
        assert_eq!(Block::read(&heads, block.stanzas.slice(1..)), None);
        let swapped = [&heads[HEAD..], &heads[..HEAD]].concat();
        assert_eq!(read_heads(&swapped), None);
    }

    #[test]
    fn a_stanza_is_replaced_and_a_record_goes_and_the_others_stay() {
        let mut block = block(&[1, 2, 3]);
        block.replace(1, b"<message/>");
        let stanzas = |block: &Block| {
            let of = |head| String::from_utf8_lossy(&block.stanza(head)).into_owned();
            block.heads.iter().map(of).collect::<Vec<_>>()
        };
        let [first, third] = ["<message>1</message>", "<message>3</message>"];
        assert_eq!(stanzas(&block), [first, "<message/>", third]);
        block.retain(|head| head.seq != 2);
        assert_eq!(stanzas(&block), [first, third]);
        assert_eq!((block.find(3), block.find(2)), (Some(1), None));
    }

    #[test]
    fn an_extent_tells_what_each_of_its_records_would() {
        let kinds: [&[u32]; 5] = [&[1, 1], &[1, 3], &[0, 1], &[2, 6, 2], &[0]];
        for flags in kinds {
            let extent = Extent { first: 10, last: 20, tally: tally(flags) };
            for (from, to) in [(10, 20), (0, 9), (21, 30), (0, 30), (11, 20), (10, 19)] {
                for (flags_any, flags_none) in [(0, 0), (1, 0), (2, 0), (0, 2), (3, 4), (4, 1)] {
                    let wanted = Wanted { from, to, flags_any, flags_none };
                    let takes = |seq, flags| {
                        let (epoch, peer, sum) = (0, 0, 0);
                        wanted.takes(&Head { seq, epoch, flags, peer, sum, stanza: 0..0 })
                    };
                    let each =
                        || flags.iter().flat_map(|flags| [10, 20].map(|seq| takes(seq, *flags)));
                    match extent.tells(&wanted) {
                        Told::All => assert!(each().all(|is| is), "{flags:?} {wanted:?}"),
                        Told::None => assert!(!each().any(|is| is), "{flags:?} {wanted:?}"),
                        Told::Some => {}
                    }
                }
            }
        }
        let extent = Extent { first: 10, last: 20, tally: tally(&[1, 3]) };
        let wanted = Wanted { from: 0, to: 30, flags_any: 1, flags_none: 4 };
        assert_eq!(extent.tells(&wanted), Told::All);
    }
}
