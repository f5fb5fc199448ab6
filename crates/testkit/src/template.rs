//! The holes in a script: `{any}` and its like, captured values and their use.
//!
//! | Written | Matches |
//! |---|---|
//! | `{any}` | at least one character, whatever it is |
//! | `{number}` | decimal digits |
//! | `{time}` | a time in UTC as in XEP-0082 §3.2 |
//! | `{name=any}` | the same, and is remembered as `name` |
//! | `{name}` | what was remembered as `name` |
//! | `{{`, `}}` | a brace |
//!
//! `{maybe}` as the whole value of an attribute says that it may be absent; `{any order}` and
//! `{and more}` among the children of an element are explained in [`crate::compare`].

use std::collections::BTreeMap;

use crate::node::escape;

/// The values that a script remembered, by name.
pub type Captures = BTreeMap<String, String>;

/// The whole value of an attribute that may be absent.
pub const MAYBE: &str = "{maybe}";
/// Among the children of an element: their order does not count.
pub const ANY_ORDER: &str = "{any order}";
/// Among the children of an element: further children may be there, and order does not count.
pub const AND_MORE: &str = "{and more}";

/// Words that cannot be names of captures.
const RESERVED: [&str; 4] = ["any", "number", "time", "maybe"];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Any,
    Number,
    Time,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Text(String),
    Hole(Kind, Option<String>),
    Known(String),
}

/// A text with holes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template(Vec<Piece>);

impl Template {
    /// Reads the notation; an error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let hole = after.split_once('}').filter(|_| brace == "{");
            let (hole, after) =
                hole.ok_or_else(|| format!("a lone `{brace}` (write `{brace}{brace}`)"))?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece(hole)?);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// The names that are remembered when the template matches.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Hole(_, Some(name)) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The names that must have been remembered before.
    pub fn uses(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Known(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Tells whether something must be matched, so that the text cannot be sent.
    pub fn has_holes(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Hole(..)))
    }

    /// Puts remembered values in and escapes them; the text around them is left as it is.
    pub fn fill(&self, known: &Captures) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Known(name) => out.push_str(
                    &known.get(name).map_or_else(|| format!("{{{name}}}"), |value| escape(value)),
                ),
                Piece::Hole(..) => out.push_str("{any}"),
            }
        }
        out
    }

    /// Compares with a text; when it matches, what is to be remembered is added to `known`.
    pub fn matches(&self, text: &str, known: &mut Captures) -> bool {
        let mut found = known.clone();
        let matched = match_pieces(&self.0, text, &mut found);
        if matched {
            *known = found;
        }
        matched
    }
}

fn piece(hole: &str) -> Result<Piece, String> {
    let name_is_valid = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    match hole.split_once('=') {
        Some((name, _)) if !name_is_valid(name) || RESERVED.contains(&name) => {
            Err(format!("`{name}` cannot be a name"))
        }
        Some((name, kind)) => Ok(Piece::Hole(kind_of(kind)?, Some(name.to_owned()))),
        None if hole == "maybe" => {
            Err("`{maybe}` must be the whole value of an attribute".to_owned())
        }
        None if RESERVED.contains(&hole) => Ok(Piece::Hole(kind_of(hole)?, None)),
        None if name_is_valid(hole) => Ok(Piece::Known(hole.to_owned())),
        None => Err(format!("`{{{hole}}}` is not understood")),
    }
}

fn kind_of(word: &str) -> Result<Kind, String> {
    match word {
        "any" => Ok(Kind::Any),
        "number" => Ok(Kind::Number),
        "time" => Ok(Kind::Time),
        _ => Err(format!("`{word}` is none of any, number, time")),
    }
}

// Recursion goes over the pieces of a template, which the author of a script wrote.
fn match_pieces(pieces: &[Piece], text: &str, known: &mut Captures) -> bool {
    let Some((first, rest)) = pieces.split_first() else {
        return text.is_empty();
    };
    match first {
        Piece::Text(plain) => {
            text.strip_prefix(plain.as_str()).is_some_and(|text| match_pieces(rest, text, known))
        }
        Piece::Known(name) => {
            let value = known.get(name).cloned();
            value
                .and_then(|value| text.strip_prefix(value.as_str()))
                .is_some_and(|text| match_pieces(rest, text, known))
        }
        Piece::Hole(kind, name) => {
            // The longest first: a hole at the end takes all there is.
            let mut ends: Vec<usize> = text.char_indices().skip(1).map(|(at, _)| at).collect();
            if !text.is_empty() {
                ends.push(text.len());
            }
            ends.into_iter().rev().any(|end| {
                let (value, text) = text.split_at(end);
                let matched = fits(*kind, value) && match_pieces(rest, text, known);
                if let (true, Some(name)) = (matched, name) {
                    known.insert(name.clone(), value.to_owned());
                }
                matched
            })
        }
    }
}

fn fits(kind: Kind, value: &str) -> bool {
    match kind {
        Kind::Any => true,
        Kind::Number => value.bytes().all(|b| b.is_ascii_digit()),
        Kind::Time => is_utc_time(value),
    }
}

/// XEP-0082 §3.2: CCYY-MM-DDThh:mm:ss with an optional fraction; where UTC is asked for, `Z`.
fn is_utc_time(value: &str) -> bool {
    let Some(value) = value.strip_suffix('Z') else { return false };
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let shape: String = whole.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00"
        && !fraction.is_empty()
        && fraction.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(template: &str, text: &str) -> bool {
        Template::parse(template).unwrap().matches(text, &mut Captures::new())
    }

    #[test]
    fn holes_match_in_the_middle_and_at_the_ends() {
        assert!(matches("{any}", "x"));
        assert!(!matches("{any}", ""));
        assert!(matches("a{any}b{any}c", "a1b2b3c"));
        assert!(!matches("a{any}b", "ab"));
        assert!(matches("juliet@capulet.lit/{any}", "juliet@capulet.lit/é"));
        assert!(matches("{{any}}", "{any}"));
    }

    #[test]
    fn kinds_of_holes_are_strict() {
        assert!(matches("{number}", "0"));
        assert!(!matches("{number}", "-1"));
        assert!(matches("{time}", "2002-09-10T23:08:25Z"));
        assert!(matches("{time}", "2002-09-10T23:08:25.123Z"));
        for wrong in ["20020910T23:08:25", "2002-09-10T23:08:25+00:00", "2002-09-10T23:08:25.Z"] {
            assert!(!matches("{time}", wrong), "{wrong}");
        }
    }

    #[test]
    fn captured_values_come_back() {
        let mut known = Captures::new();
        assert!(Template::parse("x-{id=any}").unwrap().matches("x-a'b", &mut known));
        assert_eq!(known["id"], "a'b");
        let again = Template::parse("{id}!").unwrap();
        assert!(again.matches("a'b!", &mut known));
        assert!(!again.matches("ab!", &mut known));
        assert_eq!(again.fill(&known), "a&apos;b!");
    }

    #[test]
    fn nothing_is_remembered_from_what_does_not_match() {
        let mut known = Captures::new();
        assert!(!Template::parse("{id=any}-{number}").unwrap().matches("a-b", &mut known));
        assert!(known.is_empty());
    }

    #[test]
    fn mistakes_are_told() {
        for wrong in ["{", "}", "{Any}", "{x=some}", "{any=any}", "a{maybe}", "{}", "{a b}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
