//! Measures the scanner: `cargo run --release -p verona-xml --example bench`.
//!
//! A fixed mix of messages, presences and IQs as clients send them, 365 bytes in the mean, is
//! scanned in pieces as a socket would bring them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use verona_xml::{Event, Limits, Scanner, Tree};

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='capulet.lit' version='1.0' \
                      xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

const LIMITS: Limits = Limits {
    element_bytes_max: 256 * 1024,
    depth_max: 128,
    attributes_max: 64,
    namespaces_max: 32,
    elements_max: 10_000,
};

const STANZAS: usize = 4_000;
const ROUNDS: usize = 60;

fn main() {
    let stanzas: Vec<String> = (0..STANZAS).map(stanza).collect();
    let bytes: usize = stanzas.iter().map(String::len).sum();
    println!("{STANZAS} stanzas, mean {} bytes", bytes / STANZAS);
    let ascii: String = stanzas.concat();
    if std::env::args().any(|arg| arg == "long") {
        // To be looked at with a profiler.
        return report("long", (0..100).map(|_| best(|| scan(&ascii, usize::MAX))).min().unwrap());
    }
    for piece in [usize::MAX, 16 * 1024, 4 * 1024, 1024, 365, 64] {
        report(&format!("in pieces of {}", size(piece)), best(|| scan(&ascii, piece)));
    }
    report("one stanza a read", best(|| scan_each(&stanzas)));
    let wide: String = stanzas.iter().map(|s| s.replace("But soft! What light", WIDE)).collect();
    report("with Cyrillic in bodies", best(|| scan(&wide, usize::MAX)));
    report("tree of each", best(|| stanzas.iter().map(|s| tree(s)).sum()));
    report("tree and back to text", best(|| stanzas.iter().map(|s| rewrite(s)).sum()));
    println!("a scanner is {} bytes, an index {}", size_of::<Scanner>(), size_of_index());
}

const WIDE: &str = "Но что за блеск я вижу";

fn size(piece: usize) -> String {
    if piece == usize::MAX { "any size".into() } else { format!("{piece} bytes") }
}

fn size_of_index() -> usize {
    size_of::<verona_xml::Index>()
}

fn report(what: &str, best: Duration) {
    let nanos = best.as_secs_f64() * 1e9 / STANZAS as f64;
    println!("{what:24} {nanos:8.0} ns a stanza");
}

/// The best of some rounds: the others were disturbed.
fn best(mut work: impl FnMut() -> usize) -> Duration {
    let rounds = (0..ROUNDS).map(|_| {
        let begin = Instant::now();
        black_box(work());
        begin.elapsed()
    });
    rounds.min().unwrap_or_default()
}

fn opened() -> Scanner {
    let mut scanner = Scanner::stream(LIMITS);
    let opened = scanner.next(&mut HEADER.as_bytes());
    assert!(matches!(opened, Ok(Some(Event::Open(_)))));
    scanner
}

fn scan(text: &str, piece: usize) -> usize {
    let mut scanner = opened();
    let found = text.as_bytes().chunks(piece).map(|part| drain(&mut scanner, part)).sum();
    assert_eq!(found, STANZAS);
    found
}

fn scan_each(stanzas: &[String]) -> usize {
    let mut scanner = opened();
    stanzas.iter().map(|stanza| drain(&mut scanner, stanza.as_bytes())).sum()
}

fn drain(scanner: &mut Scanner, mut part: &[u8]) -> usize {
    let mut found = 0;
    while let Some(event) = scanner.next(&mut part).expect("fine stanzas") {
        if let Event::Element(frame) = event {
            black_box(&frame);
            found += 1;
        }
    }
    found
}

fn tree(stanza: &str) -> usize {
    let tree = Tree::parse(stanza, "jabber:client", LIMITS).expect("a fine stanza");
    usize::from(black_box(tree.root()).name().len() > 1)
}

fn rewrite(stanza: &str) -> usize {
    let tree = Tree::parse(stanza, "jabber:client", LIMITS).expect("a fine stanza");
    black_box(tree.root().to_text("jabber:client")).len()
}

/// Six messages in ten, the rest presences and IQs.
fn stanza(n: usize) -> String {
    let body = "But soft! What light through yonder window breaks? It is the east, and Juliet is \
                the sun. Arise, fair sun, and kill the envious moon &amp; sleep.";
    let length = [50, 60, 110, 130, body.len()][n % 5];
    let body = body.get(..length).unwrap_or(body);
    match n % 10 {
        0..4 => format!(
            "<message to='juliet{n}@capulet.lit/balcony' from='romeo@montague.lit/orchard' \
             type='chat' id='b3f2c1d0-{n:012}' xml:lang='en'><body>{body}</body>\
             <thread>e0ffe42b28561960c6b12b944a092794b9683a38</thread>\
             <active xmlns='http://jabber.org/protocol/chatstates'/>\
             <request xmlns='urn:xmpp:receipts'/>\
             <origin-id xmlns='urn:xmpp:sid:0' id='b3f2c1d0-{n:012}'/></message>"
        ),
        4 => format!(
            "<message to='juliet{n}@capulet.lit/balcony' type='chat' id='c{n}'>\
             <composing xmlns='http://jabber.org/protocol/chatstates'/>\
             <no-store xmlns='urn:xmpp:hints'/></message>"
        ),
        5 => format!(
            "<message to=\"capulets@conference.capulet.lit\" type=\"groupchat\" id=\"g{n}\">\
             <body>{body}</body><markable xmlns=\"urn:xmpp:chat-markers:0\"/>\
             <origin-id xmlns=\"urn:xmpp:sid:0\" id=\"g{n}\"/>\
             <reply xmlns=\"urn:xmpp:reply:0\" to=\"capulets@conference.capulet.lit/nurse\" \
             id=\"{n}\"/></message>"
        ),
        6 => format!(
            "<presence id='p{n}'><show>away</show><status>in the orchard</status>\
             <priority>5</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' \
             node='http://code.google.com/p/exodus' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>\
             <x xmlns='vcard-temp:x:update'><photo>01b87fcd030b72895ff8e88db57ec525450f000d\
             </photo></x></presence>"
        ),
        7 => format!(
            "<presence to='capulets@conference.capulet.lit/romeo' id='j{n}'>\
             <x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='20'/></x>\
             <c xmlns='http://jabber.org/protocol/caps' hash='sha-1' \
             node='http://code.google.com/p/exodus' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>"
        ),
        8 => format!(
            "<iq type='set' id='q{n}'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
             <publish node='urn:xmpp:mds:displayed:0'><item id='juliet@capulet.lit'>\
             <displayed xmlns='urn:xmpp:mds:displayed:0'><stanza-id xmlns='urn:xmpp:sid:0' \
             by='romeo@montague.lit' id='0f710f2b-52ed-4d52-b928-784dad74a52b'/></displayed>\
             </item></publish><publish-options><x xmlns='jabber:x:data' type='submit'>\
             <field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#\
             publish-options</value></field><field var='pubsub#persist_items'><value>true</value>\
             </field></x></publish-options></pubsub></iq>"
        ),
        _ => format!(
            "<iq type='get' id='d{n}' to='capulet.lit'>\
             <query xmlns='http://jabber.org/protocol/disco#info' \
             node='http://code.google.com/p/exodus#QgayPKawpkPSDYmwT/WM94uAlu0='/></iq>"
        ),
    }
}
