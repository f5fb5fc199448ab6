//! Which bytes and characters XML 1.0 allows, and where.

use crate::error::ScanError;

/// May stand in a name (non-ASCII bytes included, to be looked at as characters later).
pub(crate) const NAME: u8 = 1;
/// May begin a name.
pub(crate) const NAME_START: u8 = 2;
/// The colon, which is a name character as well.
pub(crate) const COLON: u8 = 4;
/// Part of a character beyond ASCII.
pub(crate) const WIDE: u8 = 8;
/// Space, tab, carriage return, line feed.
pub(crate) const SPACE: u8 = 16;
/// Where reading an attribute value has to look: `<`, `&` and all below the space.
pub(crate) const VALUE_STOP: u8 = 32;
/// Where looking for the end of a tag has to look: quotes, `<` and `>`.
pub(crate) const TAG_STOP: u8 = 64;

const CLASSES: [u8; 256] = classes();

#[inline]
pub(crate) fn class(byte: u8) -> u8 {
    CLASSES[usize::from(byte)]
}

#[allow(clippy::indexing_slicing)] // runs in the compiler
const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        let byte = i as u8;
        let mut class = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => NAME | NAME_START,
            b'0'..=b'9' | b'-' | b'.' => NAME,
            b':' => NAME | COLON,
            0x80..=0xff => NAME | NAME_START | WIDE,
            b' ' | b'\t' | b'\r' | b'\n' => SPACE,
            _ => 0,
        };
        if byte < b' ' || matches!(byte, b'<' | b'&') {
            class |= VALUE_STOP;
        }
        if matches!(byte, b'"' | b'\'' | b'<' | b'>') {
            class |= TAG_STOP;
        }
        table[i] = class;
        i += 1;
    }
    table
}

/// Each byte of a word set to this one.
const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The highest bit of each byte.
const HIGH: u64 = each(0x80);

/// The eight bytes from there on, the first of them lowest.
#[inline]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk::<8>()?))
}

/// The high bit of each byte that is zero, and perhaps of some above the first such.
#[inline]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(each(1)) & !word & HIGH
}

/// The high bit of each byte, all of ASCII, that is at least `least`.
#[inline]
fn at_least(word: u64, least: u8) -> u64 {
    (word | HIGH).wrapping_sub(each(least)) & HIGH
}

/// The first byte whose high bit is set.
#[inline]
fn first(bits: u64) -> usize {
    (bits.trailing_zeros() / 8) as usize
}

/// Where the name characters end that begin at `from`, and what classes they have. Eight bytes are
/// looked at in one step: for short words of uneven length that is much faster than one by one,
/// since the processor has less to guess.
#[inline]
pub(crate) fn name_end(bytes: &[u8], from: usize) -> (usize, u8) {
    let mut at = from;
    let mut seen = 0;
    while let Some(word) = word(bytes, at) {
        let folded = word | each(0x20);
        let letters = at_least(folded, b'a') & !at_least(folded, b'{');
        // The colon follows the nine, the dot the hyphen.
        let digits = at_least(word, b'0') & !at_least(word, b';');
        let dots = at_least(word, b'-') & !at_least(word, b'/');
        let low = at_least(word, b'_') & !at_least(word, b'`');
        let wide = word & HIGH;
        let others = !(letters | digits | dots | low | wide) & HIGH;
        let inside = others.wrapping_sub(1) & !others;
        let colons = at_least(word, b':') & digits & !wide;
        if (wide | colons) & inside != 0 {
            seen |= if colons & inside != 0 { COLON } else { 0 };
            seen |= if wide & inside != 0 { WIDE } else { 0 };
        }
        if others != 0 {
            return (at.saturating_add(first(others)), seen);
        }
        at = at.saturating_add(8);
    }
    while let Some(&byte) = bytes.get(at) {
        let class = class(byte);
        if class & NAME == 0 {
            break;
        }
        seen |= class;
        at = at.saturating_add(1);
    }
    (at, seen)
}

/// Where an attribute value that is read from `from` on needs a closer look: at its quote, at `<`,
/// `&`, and at control characters.
#[inline]
pub(crate) fn value_stop(bytes: &[u8], from: usize, quote: u8) -> Option<usize> {
    let mut at = from;
    while let Some(word) = word(bytes, at) {
        let controls = word.wrapping_sub(each(b' ')) & !word & HIGH;
        let stops = zeros(word ^ each(quote)) | zeros(word ^ each(b'<')) | zeros(word ^ each(b'&'));
        if (stops | controls) != 0 {
            return Some(at.saturating_add(first(stops | controls)));
        }
        at = at.saturating_add(8);
    }
    let rest = bytes.get(at..)?;
    let stop = rest.iter().position(|&b| b == quote || class(b) & VALUE_STOP != 0)?;
    Some(at.saturating_add(stop))
}

/// XML 1.0 §2.2: whether a document may contain the character.
pub(crate) fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// Whether the text is a name without a colon (Namespaces in XML §3, NCName).
pub fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(begins_name) && chars.all(continues_name)
}

/// XML 1.0 §2.3, NameStartChar without the colon.
fn begins_name(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '_' => true,
        '\0'..='\x7f' | '\u{d7}' | '\u{f7}' | '\u{37e}' => false,
        '\u{c0}'..='\u{2ff}'
        | '\u{370}'..='\u{1fff}'
        | '\u{200c}'..='\u{200d}'
        | '\u{2070}'..='\u{218f}'
        | '\u{2c00}'..='\u{2fef}'
        | '\u{3001}'..='\u{d7ff}'
        | '\u{f900}'..='\u{fdcf}'
        | '\u{fdf0}'..='\u{fffd}'
        | '\u{10000}'..='\u{effff}' => true,
        _ => false,
    }
}

/// XML 1.0 §2.3, NameChar without the colon.
fn continues_name(c: char) -> bool {
    begins_name(c)
        || matches!(c, '0'..='9' | '-' | '.' | '\u{b7}' | '\u{300}'..='\u{36f}')
        || matches!(c, '\u{203f}'..='\u{2040}')
}

/// Proves that the bytes are UTF-8 and contain only characters that XML allows.
pub(crate) fn prove(bytes: &[u8]) -> Result<&str, ScanError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !suspicious(bytes) => Ok(text),
        _ => prove_slowly(bytes, false).map(|_| std::str::from_utf8(bytes).unwrap_or_default()),
    }
}

/// The same for bytes that may end within a character; tells how many of them are proven.
pub(crate) fn prove_part(bytes: &[u8]) -> Result<usize, ScanError> {
    if bytes.is_ascii() && !suspicious(bytes) {
        return Ok(bytes.len());
    }
    prove_slowly(bytes, true)
}

/// Whether there is a control character, or the first byte of U+FFFE and U+FFFF. Written without
/// a branch, so that the compiler looks at sixteen bytes at a time.
fn suspicious(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, &b| {
        found | ((b < b' ') & (b != b'\n') & (b != b'\t') & (b != b'\r')) | (b == 0xef)
    })
}

/// Of several faults the first is told, so that it does not matter how the bytes were cut.
fn prove_slowly(bytes: &[u8], more_may_come: bool) -> Result<usize, ScanError> {
    let (valid, utf8) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, Ok(bytes.len())),
        Err(e) => {
            let valid = bytes.get(..e.valid_up_to()).unwrap_or_default();
            let cut = more_may_come && e.error_len().is_none();
            let end = if cut { Ok(valid.len()) } else { Err(ScanError::NotUtf8) };
            (std::str::from_utf8(valid).unwrap_or_default(), end)
        }
    };
    if valid.chars().all(is_char) { utf8 } else { Err(ScanError::NotWellFormed) }
}
