//! Up to which place the records of a log are known to be without a flag, so that taking a flag
//! off, or looking for it, does not begin at the beginning of the archive.

use verona_core::store::shape::Seq;

/// For each flag bit the place up to which no record on disk has it. Bit 32 stands for "no flag
/// at all".
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Clear {
    throughs: Vec<(u8, Seq)>,
}

const NONE: u8 = 32;
const ITEM: usize = 9;

impl Clear {
    /// Reads what [`Clear::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if !bytes.len().is_multiple_of(ITEM) {
            return None;
        }
        let item = |item: &[u8]| {
            let (bit, through) = item.split_first()?;
            Some((*bit, Seq::from_le_bytes(through.try_into().ok()?)))
        };
        Some(Self { throughs: bytes.chunks_exact(ITEM).map(item).collect::<Option<_>>()? })
    }

    /// For the disk.
    pub fn to_bytes(&self) -> Vec<u8> {
        let items = self.throughs.iter();
        items
            .flat_map(|(bit, through)| std::iter::once(*bit).chain(through.to_le_bytes()))
            .collect()
    }

    /// Up to where no record has any of the bits, and none is without flags.
    pub fn up_to(&self, bits: u32) -> Seq {
        ones(bits).chain([NONE]).map(|bit| self.of(bit)).min().unwrap_or(0)
    }

    /// Up to where no record has any of the bits.
    pub fn of_any(&self, bits: u32) -> Seq {
        ones(bits).map(|bit| self.of(bit)).min().unwrap_or(0)
    }

    /// Records are added behind `from`, where all was known so far, up to `through`. `young` is what
    /// is known of them, which tells the bits that are worth looking at.
    pub fn extend(
        &mut self,
        (from, through): (Seq, Seq),
        young: &Self,
        flags: impl Iterator<Item = (Seq, u32)> + Clone,
    ) {
        for (bit, _) in &young.throughs {
            // Where the bit is found in what is added, nothing is known from there on.
            if self.of(*bit) >= from {
                let found = flags.clone().find(|(_, flags)| touches(*bit, *flags));
                self.set(*bit, found.map_or(through, |(seq, _)| seq.saturating_sub(1)));
            }
        }
    }

    /// All records up to a place have none of the bits, and none is without flags.
    pub fn raise(&mut self, bits: u32, through: Seq) {
        for bit in ones(bits).chain([NONE]) {
            self.set(bit, through.max(self.of(bit)));
        }
    }

    /// A record at a place has these flags now; whether that changed what is known.
    pub fn lower(&mut self, flags: u32, seq: Seq) -> bool {
        let mut changed = false;
        for (bit, through) in &mut self.throughs {
            if touches(*bit, flags) && *through >= seq {
                *through = seq.saturating_sub(1);
                changed = true;
            }
        }
        changed
    }

    fn set(&mut self, bit: u8, through: Seq) {
        match self.throughs.iter_mut().find(|(of, _)| *of == bit) {
            Some((_, at)) => *at = through,
            None => self.throughs.push((bit, through)),
        }
    }

    fn of(&self, bit: u8) -> Seq {
        self.throughs.iter().find(|(of, _)| *of == bit).map_or(0, |(_, through)| *through)
    }
}

/// Whether flags are what a bit stands for.
fn touches(bit: u8, flags: u32) -> bool {
    if bit == NONE { flags == 0 } else { flags >> bit & 1 == 1 }
}

fn ones(bits: u32) -> impl Iterator<Item = u8> {
    (0..32).filter(move |bit| bits >> bit & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_survives_the_disk() {
        let mut clear = Clear::default();
        clear.raise(0b101, 70);
        clear.raise(0b100, 90);
        assert_eq!([0b101, 0b100, 0b1000, 0].map(|bits| clear.up_to(bits)), [70, 90, 0, 90]);
        let again = Clear::from_bytes(&clear.to_bytes());
        assert_eq!(again.as_ref(), Some(&clear));
        assert_eq!(Clear::from_bytes(&[1, 2, 3]), None);
    }

    #[test]
    fn what_is_known_grows_with_the_log() {
        let mut young = Clear::default();
        young.raise(0b11, 95);
        let mut clear = Clear::default();
        clear.extend((0, 50), &young, [(20, 0b100), (50, 0b110)].into_iter());
        assert_eq!([0b1, 0b10, 0b100].map(|bits| clear.of_any(bits)), [50, 49, 0]);
        assert_eq!(clear.up_to(0), 50);
        clear.extend((50, 90), &young, [(60, 0b100), (90, 0)].into_iter());
        assert_eq!([0b1, 0b10, 0b100].map(|bits| clear.of_any(bits)), [90, 49, 0]);
        assert_eq!(clear.up_to(0), 89);
    }

    #[test]
    fn a_flag_given_back_is_looked_for_again() {
        let mut clear = Clear::default();
        clear.raise(0b11, 70);
        assert!(!clear.lower(0b1, 71));
        assert!(!clear.lower(0b100, 5));
        assert!(clear.lower(0b1, 50));
        assert_eq!([0b1, 0b10, 0].map(|bits| clear.up_to(bits)), [49, 70, 70]);
        assert!(clear.lower(0, 60));
        assert_eq!([0b1, 0b10, 0].map(|bits| clear.up_to(bits)), [49, 59, 59]);
    }
}
