//! What the tests of this crate share: noise that is the same in each run.

use verona_xml::Limits;

/// Bounds that no test reaches.
pub(crate) const LIMITS: Limits = Limits {
    element_bytes_max: 1 << 20,
    depth_max: 64,
    attributes_max: 64,
    namespaces_max: 64,
    elements_max: 10_000,
};

/// A small generator of numbers that look random (xorshift), so that a failure comes back.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// A text that was changed in up to four places.
    pub(crate) fn mutated(&mut self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        for _ in 0..=self.below(4) {
            let at = self.below(chars.len() as u64 + 1) as usize;
            let c = match self.below(4) {
                0 => self.any_char(),
                _ => char::from(self.below(128) as u8),
            };
            match self.below(3) {
                0 => chars.insert(at, c),
                1 if at < chars.len() => chars[at] = c,
                _ if at < chars.len() => drop(chars.remove(at)),
                _ => chars.truncate(at / 2),
            }
        }
        chars.into_iter().collect()
    }

    pub(crate) fn any_char(&mut self) -> char {
        loop {
            // Most of what is interesting lies below U+3100.
            let bound = self.pick(&[0x80, 0x800, 0x3100, 0x11_0000]);
            if let Some(c) = char::from_u32(self.below(bound) as u32) {
                return c;
            }
        }
    }
}
