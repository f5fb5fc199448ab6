//! Between characters and their spelling in XML, both ways.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use crate::chars::{NAME, class, escape_stop, is_char, is_name};
use crate::error::ScanError;

/// Appends text so that it stands for itself between tags. Characters that XML 1.0 cannot say at
/// all become U+FFFD.
pub fn escape_text(text: &str, out: &mut Vec<u8>) {
    write_text(text, |part| out.extend_from_slice(part.as_bytes()));
}

/// Hands out text in parts so that it stands for itself between tags.
pub(crate) fn write_text(text: &str, push: impl FnMut(&str)) {
    escape(text, push, |byte| match byte {
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'&' => Some("&amp;"),
        // A bare one would arrive as a line feed (XML 1.0 §2.11).
        b'\r' => Some("&#13;"),
        _ => None,
    });
}

/// Appends text so that it stands for itself in an attribute value, within either quotes.
/// Characters that XML 1.0 cannot say at all become U+FFFD.
pub fn escape_attr(text: &str, out: &mut Vec<u8>) {
    write_attr(text, |part| out.extend_from_slice(part.as_bytes()));
}

/// Hands out text in parts so that it stands for itself in an attribute value.
pub(crate) fn write_attr(text: &str, push: impl FnMut(&str)) {
    escape(text, push, |byte| match byte {
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'&' => Some("&amp;"),
        b'\'' => Some("&apos;"),
        b'"' => Some("&quot;"),
        // Bare ones would arrive as spaces (XML 1.0 §3.3.3).
        b'\t' => Some("&#9;"),
        b'\n' => Some("&#10;"),
        b'\r' => Some("&#13;"),
        _ => None,
    });
}

fn escape(text: &str, mut push: impl FnMut(&str), spelling: impl Fn(u8) -> Option<&'static str>) {
    let bytes = text.as_bytes();
    let (mut done, mut from) = (0, 0);
    while let Some(at) = escape_stop(bytes, from) {
        from = at.saturating_add(1);
        let instead = match bytes.get(at..).unwrap_or_default() {
            [byte @ (b'\t' | b'\n' | b'\r' | b'"' | b'&' | b'\'' | b'<' | b'>'), ..] => {
                spelling(*byte)
            }
            [0..b' ', ..] => Some("\u{fffd}"),
            // U+FFFE and U+FFFF.
            [0xef, 0xbf, 0xbe | 0xbf, ..] => {
                from = at.saturating_add(3);
                Some("\u{fffd}")
            }
            _ => None,
        };
        if let Some(instead) = instead {
            push(text.get(done..at).unwrap_or_default());
            push(instead);
            done = from;
        }
    }
    push(text.get(done..).unwrap_or_default());
}

/// The character that stands between `&` and `;`.
pub(crate) fn reference(name: &[u8]) -> Result<char, ScanError> {
    match name {
        b"amp" => Ok('&'),
        b"lt" => Ok('<'),
        b"gt" => Ok('>'),
        b"apos" => Ok('\''),
        b"quot" => Ok('"'),
        [b'#', b'x', digits @ ..] => numbered(digits, 16),
        [b'#', digits @ ..] => numbered(digits, 10),
        // RFC 6120 §11.1: no entities but the five of XML 1.0 §4.6.
        _ if std::str::from_utf8(name).is_ok_and(is_name) => Err(ScanError::Restricted),
        _ => Err(ScanError::NotWellFormed),
    }
}

/// XML 1.0 §4.1: a character reference must name a character that might stand there itself.
fn numbered(digits: &[u8], radix: u32) -> Result<char, ScanError> {
    let mut number = 0u32;
    for &digit in digits {
        let value = char::from(digit).to_digit(radix).ok_or(ScanError::NotWellFormed)?;
        number = number.saturating_mul(radix).saturating_add(value);
    }
    let c = char::from_u32(number).ok_or(ScanError::NotWellFormed)?;
    if is_char(c) { Ok(c) } else { Err(ScanError::NotWellFormed) }
}

/// Where the reference that begins at `at` with `&` ends, after its `;`. `Ok(None)`: not within
/// these bytes. It was searched up to `from` before.
#[inline]
pub(crate) fn reference_end(
    bytes: &[u8],
    at: usize,
    from: usize,
) -> Result<Option<usize>, (ScanError, usize)> {
    let rest = bytes.get(from..).unwrap_or_default();
    let Some(end) = rest.iter().position(|&b| class(b) & NAME == 0 && b != b'#') else {
        return Ok(None);
    };
    let end = from.saturating_add(end);
    let after = end.saturating_add(1);
    if bytes.get(end) != Some(&b';') {
        return Err((ScanError::NotWellFormed, after));
    }
    let name = bytes.get(at.saturating_add(1)..end).unwrap_or_default();
    reference(name).map(|_| Some(after)).map_err(|e| (e, after))
}

/// The value that is written as `raw` in a scanned attribute (XML 1.0 §3.3.3).
pub(crate) fn attr_value(raw: &str) -> Cow<'_, str> {
    if raw.bytes().all(|b| b != b'&' && b >= b' ') {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    unescape(raw, &mut out, ' ');
    Cow::Owned(out)
}

/// Appends the text that is written as `raw` between scanned tags (XML 1.0 §2.11, §4.1).
pub(crate) fn push_text(raw: &str, out: &mut String) {
    if memchr2(b'&', b'\r', raw.as_bytes()).is_none() {
        return out.push_str(raw);
    }
    unescape(raw, out, '\n');
}

/// Appends what stands in a CDATA section: only line ends are rewritten.
pub(crate) fn push_cdata(raw: &str, out: &mut String) {
    let mut rest = raw;
    while let Some((line, after)) = rest.split_once('\r') {
        out.push_str(line);
        out.push('\n');
        rest = after.strip_prefix('\n').unwrap_or(after);
    }
    out.push_str(rest);
}

/// `line_end` is what a line end means here: itself in text, a space in attributes.
fn unescape(raw: &str, out: &mut String, line_end: char) {
    let mut rest = raw;
    while let Some(at) = rest.bytes().position(|b| b == b'&' || b < b' ') {
        let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.push_str(plain);
        let mut used = 1;
        match special.as_bytes() {
            [b'&', name @ ..] => {
                let end = memchr(b';', name).unwrap_or(name.len());
                // The scanner has proven every reference.
                out.push(reference(name.get(..end).unwrap_or_default()).unwrap_or('\u{fffd}'));
                used = end.saturating_add(2);
            }
            [b'\r', b'\n', ..] => {
                out.push(line_end);
                used = 2;
            }
            [b'\t', ..] if line_end != ' ' => out.push('\t'),
            _ => out.push(line_end),
        }
        rest = special.get(used..).unwrap_or_default();
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> String {
        let mut out = Vec::new();
        escape_text(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn attr(text: &str) -> String {
        let mut out = Vec::new();
        escape_attr(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn markup_is_spelled_out() {
        assert_eq!(text("a<b>&\"'\r\n\t]]>"), "a&lt;b&gt;&amp;\"'&#13;\n\t]]&gt;");
        assert_eq!(attr("a<b>&\"'\r\n\t"), "a&lt;b&gt;&amp;&quot;&apos;&#13;&#10;&#9;");
    }

    #[test]
    fn what_xml_cannot_say_is_replaced() {
        assert_eq!(text("\0a\u{1f}\u{fffe}b\u{ffff}"), "\u{fffd}a\u{fffd}\u{fffd}b\u{fffd}");
        assert_eq!(attr("\u{fffd}\u{ff0c}\u{7f}"), "\u{fffd}\u{ff0c}\u{7f}");
    }

    #[test]
    fn spelling_and_reading_are_inverse() {
        let odd = "a <b> \"'& \r\n\t \u{e9} \u{1f600} ]]> &amp; &#1; end";
        assert_eq!(attr_value(&attr(odd)), odd);
        let mut read = String::new();
        push_text(&text(odd), &mut read);
        assert_eq!(read, odd);
    }

    #[test]
    fn line_ends_are_one_line_feed_in_text_and_one_space_in_attributes() {
        let mut read = String::new();
        push_text("a\r\nb\rc\nd\te&#13;&#10;", &mut read);
        assert_eq!(read, "a\nb\nc\nd\te\r\n");
        assert_eq!(attr_value("a\r\nb\rc\nd\te&#9;"), "a b c d e\t");
        let mut cdata = String::new();
        push_cdata("a\r\nb\r&amp;\r\r\n", &mut cdata);
        assert_eq!(cdata, "a\nb\n&amp;\n\n");
    }

    #[test]
    fn references_name_characters_that_xml_allows() {
        assert_eq!(reference(b"#x1F600"), Ok('\u{1f600}'));
        assert_eq!(reference(b"#00065"), Ok('A'));
        for bad in
            ["#1", "#0", "#xD800", "#xFFFE", "#x110000", "#99999999999999", "#", "#x", "#X41"]
        {
            assert_eq!(reference(bad.as_bytes()), Err(ScanError::NotWellFormed), "{bad}");
        }
        assert_eq!(reference(b"nbsp"), Err(ScanError::Restricted));
        assert_eq!(reference(b"AMP"), Err(ScanError::Restricted));
        for bad in ["", "1", "a#b", "#-1", "#+1", "#x+1"] {
            assert_eq!(reference(bad.as_bytes()), Err(ScanError::NotWellFormed), "{bad}");
        }
    }
}
