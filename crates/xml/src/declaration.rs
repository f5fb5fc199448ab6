//! The XML declaration, which may stand at the very start of a document.

use crate::chars::{SPACE, class};
use crate::error::ScanError;
use crate::tag::{self, StartTag};

/// Whether what begins with `<?` and ends with `>` is an XML declaration that we can follow (XML
/// 1.0 §2.8, RFC 6120 §11.5, §11.6).
pub(crate) fn check(bytes: &[u8]) -> Result<(), ScanError> {
    let inside = bytes.strip_prefix(b"<?xml").and_then(|b| b.strip_suffix(b"?>"));
    // `<?xml-stylesheet?>` and all others are processing instructions.
    let Some(inside) = inside.filter(|b| b.first().is_some_and(|&b| class(b) & SPACE != 0)) else {
        return Err(ScanError::Restricted);
    };
    // It is written as the attributes of a tag are; that we can read.
    let mut tag = b"<x".to_vec();
    tag.extend_from_slice(inside);
    tag.push(b'>');
    let mut read = StartTag::default();
    tag::read(&tag, 0, 3, &mut read).map_err(|_| ScanError::NotWellFormed)?;
    if read.empty || read.end != tag.len() || read.attrs.iter().any(|a| !a.plain) {
        return Err(ScanError::NotWellFormed);
    }
    let mut known =
        read.attrs.iter().map(|a| (a.name.whole_in(&tag), tag::part(&tag, a.value, a.value_end)));
    let version = known.next();
    if !version.is_some_and(|(name, value)| name == b"version" && is_version(value)) {
        return Err(ScanError::NotWellFormed);
    }
    let mut next = known.next();
    if let Some((b"encoding", value)) = next {
        if !value.eq_ignore_ascii_case(b"utf-8") {
            return Err(ScanError::UnsupportedEncoding);
        }
        next = known.next();
    }
    // RFC 6120 §11.5 lets us ignore the standalone declaration.
    if let Some((b"standalone", b"yes" | b"no")) = next {
        next = known.next();
    }
    if next.is_none() { Ok(()) } else { Err(ScanError::NotWellFormed) }
}

/// XML 1.0 (5th edition) §2.8: any 1.x is read as 1.0.
fn is_version(value: &[u8]) -> bool {
    value
        .strip_prefix(b"1.")
        .is_some_and(|minor| !minor.is_empty() && minor.iter().all(u8::is_ascii_digit))
}
