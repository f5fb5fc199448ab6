//! Addresses and messages that were fine once, damaged at random, the same way in each run.

use crate::{jid, sasl};

const JIDS: &[&str] = &[
    "juliet@capulet.lit/balcony",
    "Juliet@Capulet.LIT./Balcony",
    "capulet.lit",
    "capulet.lit/x@y/z",
    "ἸΟΥΛΙΈΤΑ@βερόνα.example/ένα δύο",
    "straße@bücher.example",
    "xn--bcher-kva.example",
    "a@[2001:DB8::1]/r",
    "אבג@דהו.example/١٢٣",
    "ﬁ@e\u{301}.example/\u{2168} \u{3000}x",
    "o\u{b7}o@l\u{b7}l.example/\u{30fb}",
];

/// What makes trouble in addresses: separators, controls, signs of direction, joiners, mappings.
const PIECES: &[&str] = &[
    "@",
    "/",
    ".",
    "..",
    "[",
    "]",
    ":",
    "%",
    "\\20",
    " ",
    "\u{a0}",
    "\0",
    "\t",
    "\u{7f}",
    "\u{85}",
    "\"",
    "&",
    "'",
    "<",
    ">",
    "-",
    "--",
    "xn--",
    "xn--a",
    "\u{200d}",
    "\u{200c}",
    "\u{202e}",
    "\u{ad}",
    "\u{fe0f}",
    "\u{feff}",
    "\u{3002}",
    "\u{ff0e}",
    "\u{ff20}",
    "\u{ff0f}",
    "\u{1e9e}",
    "\u{130}",
    "\u{131}",
    "\u{3c2}",
    "\u{345}",
    "\u{5d0}",
    "\u{627}",
    "\u{661}",
    "\u{6f1}",
    "1",
    "\u{378}",
    "\u{e000}",
    "\u{10ffff}",
    "\u{fdfa}",
    "\u{1100}",
    "\u{340}",
    "\u{206a}",
    "ſ",
    "K",
];

const MESSAGES: &[&[u8]] = &[
    b"\0juliet\0Wherefore",
    b"juliet@capulet.lit\0juliet\0Wherefore",
    b"n,,n=juliet,r=fyko+d2lbbFgONRv9qkxdawL",
    b"y,,n=juliet,r=fyko+d2lbbFgONRv9qkxdawL",
    b"p=tls-exporter,a=juliet@capulet.lit,n=juliet,r=fyko+d2lbbFgONRv9qkxdawL",
    b"n,,n=juliet,r=fyko+d2lbbFgONRv9qkxdawL\xffc=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,\
      p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    b"n,,n=ju=2Cli=3Det,r=abc,x=more\xffc=biws,r=abc,p=AAAA",
    b"juliet\0ABCDEFGHIJKLMNOPQRSTUVWXYZ012345",
    b"juliet@capulet.lit",
    b"",
];

/// What makes trouble in messages of SASL.
const WORDS: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b",",
    b"=",
    b"=2C",
    b"=3D",
    b"=2c",
    b"n=",
    b"r=",
    b"c=",
    b"p=",
    b"a=",
    b"m=",
    b"n,,",
    b"y,,",
    b"p=tls-exporter,,",
    b"p=tls-server-end-point,,",
    b"p=tls-unique,,",
    b"biws",
    b"eSws",
    b"i=4096",
    b"@capulet.lit",
    b"@montague.lit",
    b"/balcony",
    b"juliet",
    b"\xc2\xad",
    b"\xe2\x80\x8d",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\x7f",
    b"\r\n",
    b"AAAA",
    b"A===",
];

/// Numbers that look like chance and are the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound.max(1)
    }

    /// Changes bytes in some places, and puts words into others.
    fn damage(&mut self, mut bytes: Vec<u8>, words: &[&[u8]]) -> Vec<u8> {
        for _ in 0..self.below(5) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(9)).min(bytes.len());
            match self.below(7) {
                0 => drop(bytes.drain(at..end)),
                1 => bytes.insert(at, self.next() as u8),
                2 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                3 => {
                    let part = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, part);
                }
                4 if self.below(20) == 0 => {
                    let part = bytes[at..end].repeat(200);
                    bytes.splice(at..at, part);
                }
                _ => {
                    let word = words[self.below(words.len())];
                    bytes.splice(at..at, word.iter().copied());
                }
            }
        }
        bytes
    }
}

/// Runs a check on many inputs; more for those who have the time.
fn rounds(usual: u64, mut check: impl FnMut(&mut Random)) {
    let read = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let mut random = Random(read("FUZZ_SEED").unwrap_or(1595));
    for _ in 0..read("FUZZ_ROUNDS").unwrap_or(usual) {
        check(&mut random);
    }
}

#[test]
fn damaged_addresses_have_one_normal_form_or_none() {
    let words: Vec<&[u8]> = PIECES.iter().map(|piece| piece.as_bytes()).collect();
    rounds(12_000, |random| {
        let seed = JIDS[random.below(JIDS.len())];
        let bytes = random.damage(seed.as_bytes().to_vec(), &words);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let fine = std::panic::catch_unwind(|| jid::everything(&text));
        assert!(fine.is_ok(), "{text:?}");
    });
}

#[test]
fn damaged_handshakes_end_and_let_nobody_in() {
    rounds(12_000, |random| {
        let seed = MESSAGES[random.below(MESSAGES.len())];
        let mut input = vec![random.next() as u8];
        input.extend(random.damage(seed.to_vec(), WORDS));
        let fine = std::panic::catch_unwind(|| sasl::everything(&input));
        assert!(fine.is_ok(), "{input:?}");
    });
}

#[test]
fn what_the_words_are_damaged_from_is_fine() {
    JIDS.iter().for_each(|text| jid::everything(text));
    let normal = JIDS.iter().filter(|text| verona_xmpp::jid::Jid::parse(text).is_ok()).count();
    assert!(normal >= 8, "{normal}");
    for choice in 0..=255 {
        for message in MESSAGES {
            sasl::everything(&[&[choice], *message].concat());
        }
    }
}
