//! The string classes of PRECIS (RFC 8264 §4, §8, §9), the contextual rules of RFC 5892
//! appendix A and the Bidi Rule of RFC 5893 §2.

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{
    BidiClass, CanonicalCombiningClass, DefaultIgnorableCodePoint, GeneralCategory,
    HangulSyllableType, JoiningType, NoncharacterCodePoint, Script,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// A set of code points for one purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Class {
    /// Letters and digits, for names.
    Identifier,
    /// Nearly everything that can be seen, for what people make up.
    Freeform,
}

/// What a class says of one code point.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fit {
    Valid,
    InContext,
    Never,
}

/// RFC 8264 §8, in the order that it demands.
pub(super) fn fit(c: char, class: Class) -> Fit {
    use GeneralCategory as G;
    if class == Class::Identifier
        && let Some(fit) = exception(c)
    {
        return fit;
    }
    let free = if class == Class::Freeform { Fit::Valid } else { Fit::Never };
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    match c {
        _ if category == G::Unassigned => Fit::Never,
        '\u{21}'..='\u{7E}' => Fit::Valid,
        '\u{200C}' | '\u{200D}' => Fit::InContext,
        _ if is_old_jamo(c) || is_ignorable(c) || category == G::Control => Fit::Never,
        _ if has_compat(c) => free,
        _ => match category {
            G::LowercaseLetter | G::UppercaseLetter | G::OtherLetter | G::DecimalNumber => {
                Fit::Valid
            }
            G::ModifierLetter | G::NonspacingMark | G::SpacingMark => Fit::Valid,
            G::TitlecaseLetter | G::LetterNumber | G::OtherNumber | G::EnclosingMark => free,
            G::SpaceSeparator => free,
            G::MathSymbol | G::CurrencySymbol | G::ModifierSymbol | G::OtherSymbol => free,
            G::ConnectorPunctuation | G::DashPunctuation | G::OpenPunctuation => free,
            G::ClosePunctuation | G::InitialPunctuation | G::FinalPunctuation => free,
            G::OtherPunctuation => free,
            _ => Fit::Never,
        },
    }
}

/// RFC 5892 §2.6. Not asked for the FreeformClass: `jid/mod.rs` says why.
fn exception(c: char) -> Option<Fit> {
    match c {
        '\u{DF}' | '\u{3C2}' | '\u{6FD}' | '\u{6FE}' | '\u{F0B}' | '\u{3007}' => Some(Fit::Valid),
        '\u{B7}' | '\u{375}' | '\u{5F3}' | '\u{5F4}' | '\u{30FB}' => Some(Fit::InContext),
        '\u{660}'..='\u{669}' | '\u{6F0}'..='\u{6F9}' => Some(Fit::InContext),
        '\u{640}' | '\u{7FA}' | '\u{302E}' | '\u{302F}' => Some(Fit::Never),
        '\u{3031}'..='\u{3035}' | '\u{303B}' => Some(Fit::Never),
        _ => None,
    }
}

/// RFC 8264 §9.9.
fn is_old_jamo(c: char) -> bool {
    let kind = CodePointMapData::<HangulSyllableType>::new().get(c);
    kind == HangulSyllableType::LeadingJamo
        || kind == HangulSyllableType::VowelJamo
        || kind == HangulSyllableType::TrailingJamo
}

/// RFC 8264 §9.13.
fn is_ignorable(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || CodePointSetData::new::<NoncharacterCodePoint>().contains(c)
}

/// RFC 8264 §9.17.
fn has_compat(c: char) -> bool {
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    !nfkc.is_normalized(c.encode_utf8(&mut [0; 4]))
}

/// RFC 8265 §3.3.1: full width and half width forms become the usual ones.
///
/// NFKC may go further than the decomposition mapping that is asked for; the code points where
/// it does are in the IdentifierClass neither way.
pub(super) fn narrow(c: char) -> impl Iterator<Item = char> {
    let wide = matches!(c, '\u{3000}' | '\u{FF01}'..='\u{FFEE}');
    let mapped = wide.then(|| {
        let nfkc = ComposingNormalizerBorrowed::new_nfkc();
        nfkc.normalize(c.encode_utf8(&mut [0; 4])).chars().collect::<Vec<_>>()
    });
    mapped.unwrap_or_else(|| vec![c]).into_iter()
}

/// What the contextual rules ask of a text as a whole, read once: to ask it anew at each place
/// would let a sender choose a text that costs the square of its length.
pub(super) struct Surroundings<'a> {
    chars: &'a [char],
    kana_or_han: bool,
    arabic_indic: bool,
    extended_arabic_indic: bool,
}

impl<'a> Surroundings<'a> {
    pub(super) fn of(chars: &'a [char]) -> Self {
        let script = CodePointMapData::<Script>::new();
        let east = [Script::Hiragana, Script::Katakana, Script::Han];
        Self {
            chars,
            kana_or_han: chars.iter().any(|c| east.contains(&script.get(*c))),
            arabic_indic: chars.iter().any(|c| matches!(c, '\u{660}'..='\u{669}')),
            extended_arabic_indic: chars.iter().any(|c| matches!(c, '\u{6F0}'..='\u{6F9}')),
        }
    }

    /// Says whether the code point at this place is where its contextual rule allows it (RFC
    /// 5892 appendix A).
    pub(super) fn allow(&self, at: usize) -> bool {
        let is = |c: char, wanted| CodePointMapData::<Script>::new().get(c) == wanted;
        let before = at.checked_sub(1).and_then(|place| self.chars.get(place)).copied();
        let after = at.checked_add(1).and_then(|place| self.chars.get(place)).copied();
        match self.chars.get(at) {
            Some('\u{200C}' | '\u{200D}') => joiner_is_needed(self.chars, at),
            // §A.3: the middle dot of Catalan.
            Some('\u{B7}') => before == Some('l') && after == Some('l'),
            // §A.4: the Greek numeral sign.
            Some('\u{375}') => after.is_some_and(|c| is(c, Script::Greek)),
            // §A.5, §A.6: geresh and gershayim.
            Some('\u{5F3}' | '\u{5F4}') => before.is_some_and(|c| is(c, Script::Hebrew)),
            // §A.7: the Katakana middle dot.
            Some('\u{30FB}') => self.kana_or_han,
            // §A.8, §A.9: the two sets of Arabic digits are not mixed.
            Some('\u{660}'..='\u{669}') => !self.extended_arabic_indic,
            Some('\u{6F0}'..='\u{6F9}') => !self.arabic_indic,
            _ => false,
        }
    }
}

/// Says whether the joiner or non-joiner at this place belongs to the script (RFC 5892 §A.1,
/// §A.2): behind a virama, or, for the non-joiner, between letters that would otherwise join.
pub(super) fn joiner_is_needed(chars: &[char], at: usize) -> bool {
    let Some((before, rest)) = chars.split_at_checked(at) else { return false };
    let Some((joiner, after)) = rest.split_first() else { return false };
    if !matches!(joiner, '\u{200C}' | '\u{200D}') {
        return false;
    }
    let combining = CodePointMapData::<CanonicalCombiningClass>::new();
    if before.last().is_some_and(|c| combining.get(*c) == CanonicalCombiningClass::Virama) {
        return true;
    }
    let joining = CodePointMapData::<JoiningType>::new();
    let kind = |c: &char| joining.get(*c);
    let opaque = |kind: &JoiningType| *kind != JoiningType::Transparent;
    let left = before.iter().rev().map(kind).find(opaque);
    let right = after.iter().map(kind).find(opaque);
    *joiner == '\u{200C}'
        && matches!(left, Some(JoiningType::LeftJoining | JoiningType::DualJoining))
        && matches!(right, Some(JoiningType::RightJoining | JoiningType::DualJoining))
}

/// RFC 5893 §2, asked only of texts that hold a letter or digit written from right to left
/// (RFC 8265 §3.3.1).
pub(super) fn keeps_bidi_rule(text: &str) -> bool {
    use BidiClass as B;
    if text.is_ascii() {
        return true;
    }
    let classes = CodePointMapData::<BidiClass>::new();
    let all = || text.chars().map(|c| classes.get(c));
    if !all().any(|b| matches!(b, B::RightToLeft | B::ArabicLetter | B::ArabicNumber)) {
        return true;
    }
    let ends_with = all().rev().find(|b| *b != B::NonspacingMark);
    match all().next() {
        // Conditions 2, 3 and 4: a label from right to left.
        Some(B::RightToLeft | B::ArabicLetter) => {
            all().all(|b| {
                is_neutral(b) || matches!(b, B::RightToLeft | B::ArabicLetter | B::ArabicNumber)
            }) && matches!(
                ends_with,
                Some(B::RightToLeft | B::ArabicLetter | B::EuropeanNumber | B::ArabicNumber)
            ) && !(all().any(|b| b == B::EuropeanNumber) && all().any(|b| b == B::ArabicNumber))
        }
        // Conditions 5 and 6 bar all that is from right to left; condition 1 bars other beginnings.
        _ => false,
    }
}

/// What may stand in a label of either direction (RFC 5893 §2, conditions 2 and 5).
fn is_neutral(b: BidiClass) -> bool {
    use BidiClass as B;
    matches!(
        b,
        B::EuropeanNumber
            | B::EuropeanSeparator
            | B::CommonSeparator
            | B::EuropeanTerminator
            | B::OtherNeutral
            | B::BoundaryNeutral
            | B::NonspacingMark
    )
}
