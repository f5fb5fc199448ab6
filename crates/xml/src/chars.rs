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
    let marked = |w| zeros(w ^ each(quote)) | zeros(w ^ each(b'<')) | zeros(w ^ each(b'&'));
    find(bytes, from, marked, |b| b == quote || class(b) & VALUE_STOP != 0)
}

/// Where text that is written from `from` on may need another spelling: at markup, quotes, control
/// characters and the first byte of U+FFFE.
#[inline]
pub(crate) fn escape_stop(bytes: &[u8], from: usize) -> Option<usize> {
    // `&` and `'`, `<` and `>` differ in one bit that no other wanted one has.
    let marked = |w: u64| {
        zeros((w | each(1)) ^ each(b'\''))
            | zeros((w | each(2)) ^ each(b'>'))
            | zeros(w ^ each(b'"'))
            | zeros(w ^ each(0xef))
    };
    find(bytes, from, marked, |b| b < b' ' || matches!(b, b'&' | b'\'' | b'<' | b'>' | b'"' | 0xef))
}

/// The first control character or other byte that is wanted; `marked` sets the high bit of those
/// in a word.
#[inline(always)]
fn find(
    bytes: &[u8],
    from: usize,
    marked: impl Fn(u64) -> u64,
    wanted: impl Fn(u8) -> bool,
) -> Option<usize> {
    let mut at = from;
    while let Some(word) = word(bytes, at) {
        let controls = word.wrapping_sub(each(b' ')) & !word & HIGH;
        let found = marked(word) | controls;
        if found != 0 {
            return Some(at.saturating_add(first(found)));
        }
        at = at.saturating_add(8);
    }
    let found = bytes.get(at..)?.iter().position(|&b| wanted(b))?;
    Some(at.saturating_add(found))
}

/// XML 1.0 §2.2: whether a document may contain the character.
pub(crate) fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// Whether the text is a name without a colon (Namespaces in XML §3, NCName).
pub fn is_name(text: &str) -> bool {
    let (end, seen) = name_end(text.as_bytes(), 0);
    if seen & WIDE == 0 {
        let first = text.as_bytes().first().map_or(0, |&b| class(b));
        return end == text.len() && seen & COLON == 0 && first & NAME_START != 0;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte at each place of a word, and behind the last word.
    fn lines() -> impl Iterator<Item = (u8, usize, Vec<u8>)> {
        (0..=255u8).flat_map(|byte| {
            (0..23).map(move |at| {
                let mut line = b"aZ09-._:mnopqrstuvwxyz".to_vec();
                line.insert(at, byte);
                (byte, at, line)
            })
        })
    }

    #[test]
    fn names_end_by_words_where_they_end_by_bytes() {
        for (byte, at, line) in lines() {
            let (end, seen) = name_end(&line, 0);
            let inside = line.iter().take_while(|&&b| class(b) & NAME != 0);
            let seen_by_bytes = inside.clone().fold(0, |seen, &b| seen | class(b));
            assert_eq!(end, inside.count(), "{byte} at {at}");
            assert_eq!(seen & (WIDE | COLON), seen_by_bytes & (WIDE | COLON), "{byte} at {at}");
        }
    }

    #[test]
    fn values_and_text_stop_by_words_where_they_stop_by_bytes() {
        for (byte, at, line) in lines() {
            for quote in *b"'\"" {
                let stop = byte == quote || byte < b' ' || b"<&".contains(&byte);
                assert_eq!(value_stop(&line, 0, quote), stop.then_some(at), "{byte} at {at}");
            }
            let stop = byte < b' ' || byte == 0xef || b"<>&'\"".contains(&byte);
            assert_eq!(escape_stop(&line, 0), stop.then_some(at), "{byte} at {at}");
        }
    }

    #[test]
    fn names_are_those_of_namespaces_in_xml() {
        for name in
            ["a", "_", "A-1.b", "\u{e9}t\u{e9}", "\u{10000}", "a\u{b7}", "longer-than-a-word"]
        {
            assert!(is_name(name), "{name}");
        }
        for name in
            ["", "1", "-a", ".a", "a:b", ":", "a b", "\u{d7}", "\u{b7}a", "a\u{2014}", "a\0"]
        {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn of_two_faults_the_first_is_told() {
        assert_eq!(prove(b"a\x01\xff"), Err(ScanError::NotWellFormed));
        assert_eq!(prove(b"a\xff\x01"), Err(ScanError::NotUtf8));
        assert_eq!(prove(b"a\xc3\x01"), Err(ScanError::NotUtf8));
        assert_eq!(prove("\u{fffe}".as_bytes()), Err(ScanError::NotWellFormed));
        assert_eq!(
            prove("\u{fffd}\u{ff0c}\u{10ffff}\t\r\n\u{7f}".as_bytes()).map(str::len),
            Ok(14)
        );
        assert_eq!(prove_part("a\u{e9}".as_bytes().get(..2).unwrap()), Ok(1));
        assert_eq!(prove(b"a\xc3"), Err(ScanError::NotUtf8));
        // A surrogate, an overlong slash, a character beyond the last.
        for bad in [&b"\xed\xa0\x80"[..], b"\xc0\xaf", b"\xf4\x90\x80\x80"] {
            assert_eq!(prove_part(bad), Err(ScanError::NotUtf8));
        }
    }
}
