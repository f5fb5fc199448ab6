//! SASLprep (RFC 4013) for names and passwords, and the "trace" profile of ANONYMOUS.

use std::fmt;

use stringprep::tables;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// Longest name or password in bytes; RFC 4616 §2 asks for 255, a localpart may have 1,023.
pub const TEXT_BYTES_MAX: usize = 1_023;

/// NFKC makes no UTF-8 text more than eleven times as long.
const GROWTH_MAX: usize = 11;

/// Whether characters are let through that Unicode 3.2 did not know (RFC 3454 §7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unassigned {
    /// For what a peer sends, to be compared: a "query".
    Allowed,
    /// For what is kept: a "stored string".
    Prohibited,
}

/// Why a text cannot be a name or a password.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PrepError {
    /// Nothing is left of it.
    Empty,
    /// It has more than [`TEXT_BYTES_MAX`] bytes.
    TooLong,
    /// It has a character that is not permitted, such as a control character.
    Prohibited,
    /// It mixes directions of writing in a forbidden way (RFC 3454 §6).
    Bidirectional,
    /// It has a character younger than Unicode 3.2.
    Unassigned,
}

impl fmt::Display for PrepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::TooLong => "it is longer than 1,023 bytes",
            Self::Prohibited => "it has a character that is not permitted",
            Self::Bidirectional => "it mixes directions of writing",
            Self::Unassigned => "it has a character newer than Unicode 3.2, such as an emoji",
        })
    }
}

impl std::error::Error for PrepError {}

/// Prepares a name or a password by SASLprep (RFC 4013 §2); the result is never empty.
pub fn saslprep(text: &str, unassigned: Unassigned) -> Result<Zeroizing<String>, PrepError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(PrepError::TooLong);
    }
    if text.is_empty() {
        return Err(PrepError::Empty);
    }
    // Printable ASCII is left as it is by every step.
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Ok(Zeroizing::new(text.to_owned()));
    }
    // Room for all that may come, so that no half-filled buffer with a password is left behind.
    let mut prepared = Zeroizing::new(String::with_capacity(text.len() * GROWTH_MAX));
    prepared.extend(text.chars().filter_map(mapped).nfkc());
    if prepared.is_empty() {
        return Err(PrepError::Empty);
    }
    if prepared.chars().any(is_prohibited) {
        return Err(PrepError::Prohibited);
    }
    if mixes_directions(&prepared) {
        return Err(PrepError::Bidirectional);
    }
    if unassigned == Unassigned::Prohibited && prepared.chars().any(tables::unassigned_code_point) {
        return Err(PrepError::Unassigned);
    }
    Ok(prepared)
}

/// RFC 4013 §2.1: other spaces become the one space, and what shows nothing goes.
fn mapped(c: char) -> Option<char> {
    if tables::non_ascii_space_character(c) {
        Some(' ')
    } else {
        (!tables::commonly_mapped_to_nothing(c)).then_some(c)
    }
}

/// RFC 4013 §2.3.
fn is_prohibited(c: char) -> bool {
    tables::non_ascii_space_character(c)
        || tables::inappropriate_for_canonical_representation(c)
        || is_prohibited_in_trace(c)
}

/// RFC 4505 §3, the tables that SASLprep prohibits as well.
fn is_prohibited_in_trace(c: char) -> bool {
    tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::surrogate_code(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
}

/// RFC 3454 §6: a text with right-to-left letters has no left-to-right ones, and begins and ends
/// with a right-to-left letter.
fn mixes_directions(text: &str) -> bool {
    text.contains(tables::bidi_r_or_al)
        && (text.contains(tables::bidi_l)
            || !text.starts_with(tables::bidi_r_or_al)
            || !text.ends_with(tables::bidi_r_or_al))
}

/// Whether a text may be the trace that an anonymous client leaves (RFC 4505 §2, §3).
pub fn is_trace(text: &str) -> bool {
    /// RFC 4505 §2: characters in a token. An address is held to the same bound.
    const CHARACTERS_MAX: usize = 255;
    text.chars().nth(CHARACTERS_MAX).is_none()
        && !text.chars().any(is_prohibited_in_trace)
        && !mixes_directions(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &str) -> Result<String, PrepError> {
        saslprep(text, Unassigned::Prohibited).map(|text| text.to_string())
    }

    #[test]
    fn examples_of_rfc_4013_come_out_as_written() {
        assert_eq!(stored("I\u{AD}X").as_deref(), Ok("IX"));
        assert_eq!(stored("user").as_deref(), Ok("user"));
        assert_eq!(stored("USER").as_deref(), Ok("USER"));
        assert_eq!(stored("\u{AA}").as_deref(), Ok("a"));
        assert_eq!(stored("\u{2168}").as_deref(), Ok("IX"));
        assert_eq!(stored("\u{7}"), Err(PrepError::Prohibited));
        assert_eq!(stored("\u{627}1"), Err(PrepError::Bidirectional));
    }

    #[test]
    fn codepoints_that_rfc_5802_names_are_composed_compatibly() {
        assert_eq!(stored("\u{BD}").as_deref(), Ok("1\u{2044}2"));
        assert_eq!(stored("\u{B4}").as_deref(), Ok(" \u{301}"));
        assert_eq!(stored("a\u{A0}b").as_deref(), Ok("a b"));
    }

    #[test]
    fn nothing_and_what_becomes_nothing_is_refused() {
        assert_eq!(stored(""), Err(PrepError::Empty));
        assert_eq!(stored("\u{AD}\u{200D}"), Err(PrepError::Empty));
    }

    #[test]
    fn young_characters_pass_in_queries_only() {
        assert_eq!(stored("\u{1F600}"), Err(PrepError::Unassigned));
        let query = saslprep("\u{1F600}", Unassigned::Allowed).unwrap();
        assert_eq!(query.as_str(), "\u{1F600}");
    }

    #[test]
    fn length_is_bounded_and_growth_foreseen() {
        assert!(stored(&"a".repeat(TEXT_BYTES_MAX)).is_ok());
        assert_eq!(stored(&"a".repeat(TEXT_BYTES_MAX + 1)), Err(PrepError::TooLong));
        // The ligature that grows most under NFKC.
        let text = "\u{FDFA}".repeat(TEXT_BYTES_MAX / 3);
        let prepared = saslprep(&text, Unassigned::Allowed).unwrap();
        assert_eq!(prepared.capacity(), text.len() * GROWTH_MAX);
    }

    #[test]
    fn a_trace_is_short_and_printable() {
        assert!(is_trace(""));
        assert!(is_trace("sirhc"));
        assert!(is_trace("romeo@montague.lit"));
        assert!(is_trace(&"\u{1F600}".repeat(255)));
        assert!(!is_trace(&"x".repeat(256)));
        assert!(!is_trace("a\nb"));
        assert!(!is_trace("\u{627}1"));
    }
}
