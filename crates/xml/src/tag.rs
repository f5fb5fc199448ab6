//! One start tag: its name, its attributes, its end.

use crate::chars::{
    COLON, NAME_START, SPACE, TAG_STOP, WIDE, class, is_name, name_end, value_stop,
};
use crate::error::ScanError;
use crate::escape::reference_end;

/// Where a qualified name stands. Without a prefix, `local` is `start`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Name {
    pub start: u32,
    pub local: u32,
    pub end: u32,
}

/// Where an attribute stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct AttrAt {
    pub name: Name,
    pub value: u32,
    pub value_end: u32,
    /// The value is written as it means: without references, tabs and line ends.
    pub plain: bool,
    /// It declares a namespace.
    pub declares: bool,
}

/// A start tag that was read. It is filled in place: handing it back by value costs more than
/// reading it.
#[derive(Debug, Default)]
pub(crate) struct StartTag {
    pub name: Name,
    /// Behind its `>`.
    pub end: usize,
    /// It is an empty-element tag.
    pub empty: bool,
    /// Some name in it has characters beyond ASCII.
    pub wide: bool,
    /// Declarations of namespaces included.
    pub attrs: Vec<AttrAt>,
}

/// Why a tag was not read to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stop {
    /// The bytes end before it.
    Cut,
    Wrong(ScanError),
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Wrong(error)
    }
}

/// An offset as the index keeps it. Limits keep elements far below what it can say.
#[inline]
pub(crate) fn offset(at: usize) -> u32 {
    at.min(u32::MAX as usize) as u32
}

/// The bytes between two offsets.
#[inline]
pub(crate) fn part(bytes: &[u8], start: u32, end: u32) -> &[u8] {
    bytes.get(start as usize..end as usize).unwrap_or_default()
}

impl Name {
    #[inline]
    pub fn is_prefixed(&self) -> bool {
        self.local > self.start
    }

    #[inline]
    pub fn local_in<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        part(bytes, self.local, self.end)
    }

    #[inline]
    pub fn whole_in<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        part(bytes, self.start, self.end)
    }

    /// Empty without a prefix.
    #[inline]
    pub fn prefix_in<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        part(bytes, self.start, self.local.saturating_sub(1))
    }
}

/// Reads the start tag that begins at `at`.
pub(crate) fn read(
    bytes: &[u8],
    at: usize,
    attributes_max: u16,
    tag: &mut StartTag,
) -> Result<(), Stop> {
    tag.attrs.clear();
    tag.wide = false;
    tag.name = read_name(bytes, at.saturating_add(1), &mut tag.wide)?;
    let mut i = tag.name.end as usize;
    loop {
        let before = i;
        i = skip_space(bytes, i);
        match bytes.get(i) {
            None => return Err(Stop::Cut),
            Some(b'>') => {
                tag.empty = false;
                break;
            }
            Some(b'/') => {
                i = i.saturating_add(1);
                tag.empty = true;
                match bytes.get(i) {
                    None => return Err(Stop::Cut),
                    Some(b'>') => break,
                    Some(_) => return Err(ScanError::NotWellFormed.into()),
                }
            }
            Some(_) if before == i => return Err(ScanError::NotWellFormed.into()),
            Some(_) if tag.attrs.len() >= usize::from(attributes_max) => {
                return Err(ScanError::TooManyAttributes.into());
            }
            Some(_) => {}
        }
        let attr = read_attribute(bytes, i, &mut tag.wide)?;
        i = (attr.value_end as usize).saturating_add(1);
        tag.attrs.push(attr);
    }
    tag.end = i.saturating_add(1);
    Ok(())
}

#[inline(always)]
fn skip_space(bytes: &[u8], mut i: usize) -> usize {
    while bytes.get(i).is_some_and(|&b| class(b) & SPACE != 0) {
        i = i.saturating_add(1);
    }
    i
}

// Inlined always: handing the small structs through memory costs more than reading them.
#[inline(always)]
fn read_name(bytes: &[u8], start: usize, wide: &mut bool) -> Result<Name, Stop> {
    let (end, seen) = name_end(bytes, start);
    if end >= bytes.len() {
        return Err(Stop::Cut);
    }
    let first = bytes.get(start).map_or(0, |&b| class(b));
    if first & NAME_START == 0 {
        return Err(ScanError::NotWellFormed.into());
    }
    let mut local = start;
    if seen & (COLON | WIDE) != 0 {
        local = check_name(bytes, start, end)?;
        *wide |= seen & WIDE != 0;
    }
    Ok(Name { start: offset(start), local: offset(local), end: offset(end) })
}

/// Finds where the local part begins, and checks both parts (Namespaces in XML §4).
fn check_name(bytes: &[u8], start: usize, end: usize) -> Result<usize, ScanError> {
    let whole = bytes.get(start..end).unwrap_or_default();
    let whole = std::str::from_utf8(whole).map_err(|_| ScanError::NotWellFormed)?;
    let (prefix, local) = match whole.split_once(':') {
        Some((prefix, local)) => (Some(prefix), local),
        None => (None, whole),
    };
    if !prefix.is_none_or(is_name) || !is_name(local) {
        return Err(ScanError::NotWellFormed);
    }
    Ok(end.saturating_sub(local.len()))
}

#[inline(always)]
fn read_attribute(bytes: &[u8], start: usize, wide: &mut bool) -> Result<AttrAt, Stop> {
    let name = read_name(bytes, start, wide)?;
    let mut i = name.end as usize;
    if bytes.get(i) != Some(&b'=') {
        i = skip_space(bytes, i);
    }
    match bytes.get(i) {
        None => return Err(Stop::Cut),
        Some(b'=') => i = skip_space(bytes, i.saturating_add(1)),
        Some(_) => return Err(ScanError::NotWellFormed.into()),
    }
    let quote = match bytes.get(i) {
        None => return Err(Stop::Cut),
        Some(&quote @ (b'"' | b'\'')) => quote,
        Some(_) => return Err(ScanError::NotWellFormed.into()),
    };
    let value = i.saturating_add(1);
    let mut plain = true;
    i = value;
    loop {
        i = value_stop(bytes, i, quote).ok_or(Stop::Cut)?;
        match bytes.get(i) {
            Some(&byte) if byte == quote => break,
            Some(b'<') => return Err(ScanError::NotWellFormed.into()),
            Some(b'&') => {
                plain = false;
                let from = i.saturating_add(1);
                let end = reference_end(bytes, i, from).map_err(|(error, _)| error)?;
                i = end.ok_or(Stop::Cut)?;
            }
            _ => {
                plain = false;
                i = i.saturating_add(1);
            }
        }
    }
    Ok(AttrAt {
        name,
        value: offset(value),
        value_end: offset(i),
        plain,
        declares: declares_namespace(bytes, name),
    })
}

/// Namespaces in XML §2: `xmlns` alone, or as the prefix.
#[inline(always)]
fn declares_namespace(bytes: &[u8], name: Name) -> bool {
    let first_part = if name.is_prefixed() { name.prefix_in(bytes) } else { name.whole_in(bytes) };
    first_part == b"xmlns"
}

/// Looks for the end of a start tag that was cut, from `from` on, where `quote` was open (zero for
/// none). Gives the place behind its `>`. A `<` is wrong in any tag, inside of quotes and outside:
/// the error is its place.
pub(crate) fn find_end(bytes: &[u8], from: usize, quote: &mut u8) -> Result<Option<usize>, usize> {
    let mut i = from;
    loop {
        let rest = bytes.get(i..).unwrap_or_default();
        let stop = if *quote == 0 {
            rest.iter().position(|&b| class(b) & TAG_STOP != 0)
        } else {
            memchr::memchr2(*quote, b'<', rest)
        };
        let Some(skip) = stop else { return Ok(None) };
        i = i.saturating_add(skip).saturating_add(1);
        match rest.get(skip) {
            Some(b'>') if *quote == 0 => return Ok(Some(i)),
            Some(b'<') => return Err(i),
            Some(&byte) if *quote == 0 => *quote = byte,
            _ => *quote = 0,
        }
    }
}

/// Whether two attributes have the same name as written (XML 1.0 §3.1).
pub(crate) fn has_duplicate(bytes: &[u8], attrs: &[AttrAt]) -> bool {
    const PAIRS_MAX: usize = 16;
    if attrs.len() > PAIRS_MAX {
        let mut names: Vec<&[u8]> = attrs.iter().map(|a| a.name.whole_in(bytes)).collect();
        names.sort_unstable();
        return names.windows(2).any(|pair| pair.first() == pair.last());
    }
    // Most names differ in length or first letter already; only others are compared.
    let mut seen = 0u64;
    for (n, attr) in attrs.iter().enumerate() {
        let name = attr.name.whole_in(bytes);
        let first = name.first().copied().unwrap_or_default();
        let bit = 1u64 << ((usize::from(first) ^ name.len().wrapping_mul(8)) & 63);
        if seen & bit != 0
            && attrs.iter().take(n).any(|earlier| earlier.name.whole_in(bytes) == name)
        {
            return true;
        }
        seen |= bit;
    }
    false
}
