//! Looking for a message by its words: what the words of a text are, and whether a stored stanza says
//! them. All stores ask here, so that all find the same.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use verona_xmpp::ns;
use verona_xmpp::stanza::Stanza;

/// Words that are looked for at most; what is said beyond them does not count.
const WORDS_MAX: usize = 16;

/// Characters of a word that count.
const WORD_CHARS_MAX: usize = 64;

/// XEP-0380: the body only stands in for what is encrypted.
const ENCRYPTED: &str = "urn:xmpp:eme:0";

/// Words that a message has to say, all of them, in any order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Words {
    words: Box<[Box<str>]>,
}

impl Words {
    /// The words of what somebody looks for; none where it has no words.
    pub fn of(text: &str) -> Option<Self> {
        let mut words: Vec<Box<str>> = Vec::new();
        each(text, |word| {
            if words.len() < WORDS_MAX && !words.iter().any(|known| **known == *word) {
                words.push(word.into());
            }
        });
        (!words.is_empty()).then(|| Self { words: words.into() })
    }

    /// Whether a stanza says all of them in its bodies.
    pub fn are_in(&self, stanza: &[u8]) -> bool {
        if !self.may_be_in(stanza) {
            return false;
        }
        let Ok(text) = std::str::from_utf8(stanza) else { return false };
        let Ok(stanza) = Stanza::parse(text) else { return false };
        if stanza.children().any(|child| child.ns == ENCRYPTED) {
            return false;
        }
        let mut missing: Vec<&str> = self.words.iter().map(|word| &**word).collect();
        for body in stanza.children().filter(|child| child.name == "body" && child.ns == ns::CLIENT)
        {
            let Some(tree) = body.tree() else { continue };
            each(&tree.root().text(), |word| missing.retain(|wanted| *wanted != word));
        }
        missing.is_empty()
    }

    /// Passes over most stanzas without reading them through: in one of plain letters a word stands as
    /// it is, but for capitals.
    fn may_be_in(&self, stanza: &[u8]) -> bool {
        if !stanza.is_ascii() || stanza.windows(2).any(|pair| pair == b"&#") {
            return true;
        }
        let text = stanza.to_ascii_lowercase();
        let Ok(text) = std::str::from_utf8(&text) else { return true };
        self.words.iter().all(|word| text.contains(&**word))
    }
}

/// Tells each word of a text: letters and digits that stand together, without case and accents. A
/// character of a script without spaces is a word of its own.
fn each(text: &str, mut tell: impl FnMut(&str)) {
    let plain: Cow<'_, str> = if text.is_ascii() {
        text.into()
    } else {
        text.nfkd().filter(|char| !is_combining_mark(*char)).collect::<String>().into()
    };
    let (mut word, mut chars) = (String::new(), 0_usize);
    for char in plain.chars().chain([' ']) {
        let is_alone = stands_alone(char);
        if (!char.is_alphanumeric() || is_alone) && !word.is_empty() {
            tell(&word);
            word.clear();
            chars = 0;
        }
        if is_alone {
            tell(char.encode_utf8(&mut [0; 4]));
        } else if char.is_alphanumeric() && chars < WORD_CHARS_MAX {
            word.extend(char.to_lowercase());
            chars = chars.saturating_add(1);
        }
    }
}

/// Whether a character is of Chinese, Japanese, or Thai and its neighbours.
fn stands_alone(char: char) -> bool {
    matches!(char, '\u{e00}'..='\u{eff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
        && char.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(body: &str, words: &str) -> bool {
        let stanza = format!("<message type='chat'><body>{body}</body></message>");
        Words::of(words).expect("some words").are_in(stanza.as_bytes())
    }

    #[test]
    fn words_are_found_in_any_order_without_case_and_accents() {
        for (body, words, expected) in [
            ("What light through yonder window breaks?", "WINDOW light", true),
            ("What light through yonder window breaks?", "window door", false),
            ("What light through yonder window breaks?", "win", false),
            ("Un caf\u{e9} cr\u{e8}me", "cafe CREME", true),
            ("Un cafe", "caf\u{e9}", true),
            (
                "Stra\u{df}e, \u{391}\u{3b8}\u{3ae}\u{3bd}\u{3b1}",
                "\u{3b1}\u{3b8}\u{3b7}\u{3bd}\u{3b1}",
                true,
            ),
            ("\u{611b}\u{3057}\u{3066}\u{308b}", "\u{611b}", true),
            ("a &amp; b&#x63;d", "bcd", true),
            ("balcony-scene", "scene", true),
            ("'tis 1597", "1597", true),
        ] {
            assert_eq!(says(body, words), expected, "{words} in {body}");
        }
    }

    #[test]
    fn only_bodies_speak() {
        let words = Words::of("orchard").unwrap();
        for (content, expected) in [
            ("<body>the orchard</body>", true),
            ("<body xml:lang='en'>a wall</body><body xml:lang='fr'>orchard</body>", true),
            ("<subject>orchard</subject><body>a wall</body>", false),
            ("<body>orchard</body><encryption xmlns='urn:xmpp:eme:0' namespace='x'/>", false),
            ("<x xmlns='urn:x'><body>orchard</body></x>", false),
            ("", false),
        ] {
            let stanza = format!("<message from='romeo@montague.lit/orchard'>{content}</message>");
            assert_eq!(words.are_in(stanza.as_bytes()), expected, "{content}");
        }
        assert!(!words.are_in(b"orchard"));
        assert!(!words.are_in(b"\xff<message/>"));
    }

    #[test]
    fn nothing_to_look_for_is_no_search() {
        assert_eq!(Words::of(" ?! "), None);
        let many: String = (0..40).map(|n| format!("w{n} ")).collect();
        assert_eq!(Words::of(&many).map(|words| words.words.len()), Some(WORDS_MAX));
        let long = "a".repeat(100);
        assert!(says(&long, &long[..80]), "what is beyond the bound does not count");
    }
}
