//! What happened to young records, as it lies on the disk until they are moved to blocks: the
//! operations of one group of batches in one row.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use verona_core::store::shape::Seq;

use crate::sqlite::trouble::Trouble;

/// One operation. Stanzas are ranges of the bytes that the operations are encoded in.
#[derive(Clone, Debug)]
pub enum Op {
    /// A new record.
    Append(Append),
    /// Other flags and another stanza for a record.
    Amend { log: i64, seq: Seq, flags: u32, stanza: Range<usize> },
    /// Fewer flags for all records up to a place.
    Unflag { log: i64, through: Seq, bits: u32 },
    /// No more records in a range of places.
    Remove { log: i64, from: Seq, to: Seq },
}

/// A new record.
#[derive(Clone, Debug)]
pub struct Append {
    pub log: i64,
    pub seq: Seq,
    pub epoch: u32,
    pub flags: u32,
    pub peer: i64,
    /// The checksum that the record will have in its block.
    pub sum: i64,
    pub stanza: Range<usize>,
    /// Not on the disk, where the number of the peer says it.
    pub peer_name: Arc<str>,
    /// Up to where the log was moved to blocks when this was appended; not on the disk either.
    pub moved: Seq,
}

/// Operations with the bytes that say the same on the disk.
#[derive(Debug, Default)]
pub struct Ops {
    /// The operations, in order.
    pub list: Vec<Op>,
    /// Their encoding, one after the other.
    pub bytes: Vec<u8>,
}

const APPEND: u8 = 1;
const AMEND: u8 = 2;
const UNFLAG: u8 = 3;
const REMOVE: u8 = 4;

impl Ops {
    /// Adds a new record; its stanza's range is set here.
    pub fn append(&mut self, mut append: Append, stanza: &[u8]) {
        self.head(APPEND, append.log, append.seq);
        self.bytes.extend(append.epoch.to_le_bytes());
        self.bytes.extend(append.flags.to_le_bytes());
        self.bytes.extend(append.peer.to_le_bytes());
        self.bytes.extend(append.sum.to_le_bytes());
        append.stanza = self.stanza(stanza);
        self.list.push(Op::Append(append));
    }

    /// Adds other flags and another stanza for a record.
    pub fn amend(&mut self, log: i64, seq: Seq, flags: u32, stanza: &[u8]) {
        self.head(AMEND, log, seq);
        self.bytes.extend(flags.to_le_bytes());
        let stanza = self.stanza(stanza);
        self.list.push(Op::Amend { log, seq, flags, stanza });
    }

    /// Adds fewer flags for all records up to a place.
    pub fn unflag(&mut self, log: i64, through: Seq, bits: u32) {
        self.head(UNFLAG, log, through);
        self.bytes.extend(bits.to_le_bytes());
        self.list.push(Op::Unflag { log, through, bits });
    }

    /// Adds the end of all records in a range of places.
    pub fn remove(&mut self, log: i64, from: Seq, to: Seq) {
        self.head(REMOVE, log, from);
        self.bytes.extend(to.to_le_bytes());
        self.list.push(Op::Remove { log, from, to });
    }

    /// The last place of each log that is appended to.
    pub fn lasts(&self) -> impl Iterator<Item = (i64, Seq)> {
        self.list.iter().filter_map(|op| match op {
            Op::Append(append) => Some((append.log, append.seq)),
            _ => None,
        })
    }

    /// Where the operations end now, to come back to by [`Ops::cut`].
    pub fn end(&self) -> (usize, usize) {
        (self.list.len(), self.bytes.len())
    }

    /// Takes back what was added behind an end.
    pub fn cut(&mut self, (list, bytes): (usize, usize)) {
        self.list.truncate(list);
        self.bytes.truncate(bytes);
    }

    fn head(&mut self, kind: u8, log: i64, seq: Seq) {
        self.bytes.push(kind);
        self.bytes.extend(log.to_le_bytes());
        self.bytes.extend(seq.to_le_bytes());
    }

    fn stanza(&mut self, stanza: &[u8]) -> Range<usize> {
        self.bytes.extend((stanza.len() as u64).to_le_bytes());
        let start = self.bytes.len();
        self.bytes.extend_from_slice(stanza);
        start..self.bytes.len()
    }
}

/// Reads operations back. What is not on the disk with them is for `fill` to add.
pub fn decode(
    bytes: &Bytes,
    mut fill: impl FnMut(&mut Append) -> Result<(), Trouble>,
) -> Result<Vec<Op>, Trouble> {
    let mut list = Vec::new();
    let mut rest = Rest { bytes, at: 0 };
    while let Some(raw) = rest.next() {
        let mut op = raw.ok_or_else(|| Trouble::damaged("an operation on young records"))?;
        if let Op::Append(append) = &mut op {
            fill(append)?;
        }
        list.push(op);
    }
    Ok(list)
}

struct Rest<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Rest<'_> {
    /// The next operation, or that there is none that makes sense; nothing at the end.
    fn next(&mut self) -> Option<Option<Op>> {
        (self.at < self.bytes.len()).then(|| self.read())
    }

    fn read(&mut self) -> Option<Op> {
        let [kind] = self.take()?;
        let (log, seq) = (i64::from_le_bytes(self.take()?), Seq::from_le_bytes(self.take()?));
        Some(match kind {
            APPEND => Op::Append(Append {
                log,
                seq,
                epoch: u32::from_le_bytes(self.take()?),
                flags: u32::from_le_bytes(self.take()?),
                peer: i64::from_le_bytes(self.take()?),
                sum: i64::from_le_bytes(self.take()?),
                stanza: self.stanza()?,
                peer_name: "".into(),
                moved: 0,
            }),
            AMEND => {
                let flags = u32::from_le_bytes(self.take()?);
                Op::Amend { log, seq, flags, stanza: self.stanza()? }
            }
            UNFLAG => {
                let bits = u32::from_le_bytes(self.take()?);
                Op::Unflag { log, through: seq, bits }
            }
            REMOVE => {
                let to = Seq::from_le_bytes(self.take()?);
                Op::Remove { log, from: seq, to }
            }
            _ => return None,
        })
    }

    fn stanza(&mut self) -> Option<Range<usize>> {
        let length = usize::try_from(u64::from_le_bytes(self.take()?)).ok()?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        let range = self.at..end;
        self.at = end;
        Some(range)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let end = self.at.checked_add(N)?;
        let taken = self.bytes.get(self.at..end)?.try_into().ok()?;
        self.at = end;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Ops {
        let mut ops = Ops::default();
        let append = |seq| Append {
            log: 7,
            seq,
            epoch: 2,
            flags: u32::MAX,
            peer: 9,
            sum: 0xffff_ffff,
            stanza: 0..0,
            peer_name: "juliet@capulet.lit".into(),
            moved: 0,
        };
        ops.append(append(1), b"<message/>");
        ops.append(append(Seq::MAX), b"");
        ops.amend(7, 1, 3, b"<message>amended</message>");
        ops.unflag(-1, 5, 6);
        ops.remove(8, 0, Seq::MAX);
        ops
    }

    #[test]
    fn operations_come_back_as_they_were() {
        let ops = some();
        let bytes = Bytes::from(ops.bytes.clone());
        let again = decode(&bytes, |append| {
            assert_eq!(append.peer, 9);
            append.peer_name = "juliet@capulet.lit".into();
            Ok(())
        });
        let again = again.expect("they can be read");
        assert_eq!(format!("{again:?}"), format!("{:?}", ops.list));
        let Some(Op::Amend { stanza, .. }) = again.get(2) else { panic!("the third amends") };
        assert_eq!(&bytes[stanza.clone()], b"<message>amended</message>");
    }

    #[test]
    fn what_is_cut_off_is_damaged() {
        let whole = some().bytes;
        let mut ends = Vec::new();
        for end in 0..=whole.len() {
            let part = Bytes::copy_from_slice(&whole[..end]);
            if let Ok(list) = decode(&part, |_| Ok(())) {
                ends.push(list.len());
            }
        }
        assert_eq!(ends, [0, 1, 2, 3, 4, 5], "only between two operations");
    }
}
