//! Streams that were fine once, damaged at random, the same way in each run.

use crate::check::{Random, everything};

const SEEDS: &[&str] = &[
    "<?xml version='1.0' encoding='utf-8'?><stream:stream to='a.lit' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams'><stream:features/><message to=\"b@a.lit/c\" \
     xml:lang='en'><body>1 &lt; 2 &#x263a;</body><active xmlns='u:c'/></message> <iq id='1' \
     type='get'><q:query xmlns:q='u:q' q:a='1' a='2'/></iq></stream:stream>",
    "<a xmlns='u'><b><c xmlns=''><d/></c>t<![CDATA[x]]y]]>z</b><e f='g&amp;h' i=\"j'k\"/></a>",
    "\u{feff}<r xmlns:p='u:1'><p:x p:y='z' xmlns:p='u:2'><p:w/></p:x><p:x></p:x >\n<\u{e9}l \u{e9}=''/>\
     </r>",
    "<r><m><b>\u{442}\u{435}\u{43a}\u{441}\u{442} \u{1f600}\n\t&quot;&apos;</b></m><m n='\n\t'/></r>",
    "<s xmlns='u&amp;v' xmlns:k='w&#x20;x'><k:a k:b='c'><d xmlns='&#117;'/></k:a><e/></s>",
];

/// Pieces of markup that make trouble together.
const WORDS: &[&str] = &[
    "<",
    ">",
    "/",
    "=",
    "'",
    "\"",
    "&",
    ";",
    "!",
    "?",
    "[",
    "]",
    "-",
    ":",
    " ",
    "\n",
    "\r",
    "\t",
    "<a>",
    "</a>",
    "<a/>",
    "<a b='c'>",
    "<p:a>",
    "</p:a>",
    " xmlns='u'",
    " xmlns=''",
    " xmlns:p='u:p'",
    " xmlns:p=''",
    " xmlns:xml='u'",
    " xmlns:q='u:p'",
    " xmlns:xml='http://www.w3.org/XML/1998/namespace'",
    " xmlns:xmlns='u'",
    " xmlns='http://www.w3.org/2000/xmlns/'",
    " xmlns:p='http://www.w3.org/XML/1998/namespace'",
    " p:b='1'",
    " q:b='2'",
    " b='3'",
    " xml:lang='de'",
    "xml",
    "xmlns",
    "&amp;",
    "&lt;",
    "&#65;",
    "&#x0;",
    "&#xD800;",
    "&nbsp;",
    "]]>",
    "<![CDATA[",
    "<!--",
    "-->",
    "<?x?>",
    "<!DOCTYPE a>",
    "<?xml version='1.0'?>",
    "<?xml version='1.1' encoding='UTF-16' standalone='no'?>",
    "\u{feff}",
    "\u{fffe}",
    "\u{e9}",
    "\u{d7}",
    "\u{b7}",
    "\0",
    "\u{1}",
    "\u{7f}",
    "text",
];

/// Damages one seed, or makes something up of words.
fn made(random: &mut Random) -> Vec<u8> {
    if random.below(4) == 0 {
        let words = (0..random.below(24)).map(|_| WORDS[random.below(WORDS.len())]);
        let inside: String = words.collect();
        return format!("<r xmlns:p='u:r'>{inside}").into_bytes();
    }
    let mut bytes = SEEDS[random.below(SEEDS.len())].as_bytes().to_vec();
    for _ in 0..random.below(4) + 1 {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(12)).min(bytes.len());
        match random.below(6) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.insert(at, random.next() as u8),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            3 => {
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            _ => {
                let word = WORDS[random.below(WORDS.len())].as_bytes();
                bytes.splice(at..at, word.iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn damaged_streams_are_read_as_another_parser_reads_them() {
    // More for those who have the time.
    let rounds = std::env::var("FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(12_000);
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1595);
    let mut random = Random(seed);
    for _ in 0..rounds {
        let bytes = made(&mut random);
        let seed = random.next();
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let fine = std::panic::catch_unwind(|| everything(&bytes, seed));
        assert!(fine.is_ok(), "{shown:?} cut by {seed}");
    }
}

#[test]
fn what_the_words_are_damaged_from_is_fine() {
    for seed in SEEDS {
        everything(seed.as_bytes(), 7);
        let told = crate::check::scan(
            verona_xml::Scanner::stream(crate::check::LIMITS),
            seed.as_bytes(),
            std::iter::empty(),
        );
        assert_eq!(told.error, None);
        assert_eq!(told.events.last().map(String::as_str), Some("close"));
    }
}
