//! Conversations in which something is wrong somewhere: bytes changed, cut, doubled and mixed by
//! chance. No input may end the process or leave a connection open for ever.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use verona_testkit::fortress::{Fortress, PASSWORD, Stage};
use verona_testkit::place::Security;
use verona_testkit::tls::{Wish, wrap_as};

use crate::helpers::{HOST, NS_SASL, at, header, is_long};

cases![
    changed_conversations_end,
    changed_handshakes_end,
    changed_stanzas_leave_the_session_or_end_it
];

/// Numbers that look random and are the same in each run (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap_or_default() % bound.max(1)
    }

    /// Changes some bytes in one of the ways in which they can go wrong.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        const SPICE: [&[u8]; 16] = [
            b"<",
            b">",
            b"/>",
            b"'",
            b"\"",
            b"&",
            b"&amp;",
            b"]]>",
            b"<!--",
            b"\0",
            b"\xff",
            b"\xc3",
            b"xmlns=''",
            b"<a xmlns:b='c'>",
            b"</stream:stream>",
            b"\xef\xbf\xbf",
        ];
        let at = self.below(bytes.len());
        match self.below(6) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes.truncate(at),
            2 => {
                let end = (at + self.below(40)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let end = (at + self.below(200)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            4 => {
                let spice = SPICE[self.below(SPICE.len())];
                bytes.splice(at..at, spice.iter().copied());
            }
            _ => {
                let other = self.below(bytes.len());
                bytes.swap(at, other);
            }
        }
        if bytes.is_empty() {
            bytes.push(b'<');
        }
    }
}

fn rounds() -> u64 {
    if is_long() { 5_000 } else { 150 }
}

async fn changed_conversations_end(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let login = STANDARD.encode(format!("\0{}\0{PASSWORD}", who.local));
    let whole = format!(
        "{0}<auth xmlns='{NS_SASL}' mechanism='PLAIN'>{login}</auth>{0}<iq type='set' id='b'>\
         <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>x</resource></bind></iq>\
         <enable xmlns='urn:xmpp:sm:3' resume='true'/><presence/>\
         <iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>\
         <iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='a@b'/></query></iq>\
         <message to='{1}' type='chat'><body>&lt;h\u{e4}rk&#x21;</body><a xmlns='x' b='c'/></message>\
         <presence to='a@{HOST}' type='subscribe'/><r xmlns='urn:xmpp:sm:3'/></stream:stream>",
        header(HOST),
        who.bare()
    );
    for seed in 1..=rounds() {
        let mut chance = Chance(seed);
        let mut bytes = whole.clone().into_bytes();
        for _ in 0..=chance.below(4) {
            chance.change(&mut bytes);
        }
        let tcp = fortress.gate(Security::Tls).tcp().await.unwrap();
        let mut stream = wrap_as(tcp, Wish::usual(HOST, true)).await.unwrap();
        for piece in bytes.chunks(1 + chance.below(700)) {
            if stream.write_all(piece).await.is_err() {
                break;
            }
        }
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest));
        let _ = read.await.unwrap_or_else(|_| panic!("seed {seed}: the connection stays open"));
    }
}

async fn changed_handshakes_end(fortress: Arc<Fortress>) {
    // What a client of TLS sends first, as it is and changed.
    let hello = recorded_hello().await;
    for seed in 1..=rounds() {
        let mut chance = Chance(seed);
        let mut bytes = hello.clone();
        for _ in 0..=chance.below(4) {
            chance.change(&mut bytes);
        }
        let mut tcp = fortress.gate(Security::Tls).tcp().await.unwrap();
        let _ = tcp.write_all(&bytes).await;
        let _ = tcp.shutdown().await;
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), tcp.read_to_end(&mut rest));
        let _ = read.await.unwrap_or_else(|_| panic!("seed {seed}: the connection stays open"));
    }
}

async fn recorded_hello() -> Vec<u8> {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let client = tokio::spawn(wrap_as(near, Wish::usual(HOST, true)));
    let mut hello = vec![0; 5];
    far.read_exact(&mut hello).await.unwrap();
    let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
    hello.resize(5 + length, 0);
    far.read_exact(&mut hello[5..]).await.unwrap();
    client.abort();
    hello
}

async fn changed_stanzas_leave_the_session_or_end_it(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let stanzas = [
        "<iq type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
            .to_owned(),
        "<iq type='set' id='1'><vCard xmlns='vcard-temp'><FN>J</FN></vCard></iq>".to_owned(),
        "<iq type='set' id='1'><query xmlns='jabber:iq:private'><a xmlns='b'/></query></iq>"
            .to_owned(),
        "<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='a@b' name='c'>\
         <group>d</group></item></query></iq>"
            .to_owned(),
        "<iq type='set' id='1'><block xmlns='urn:xmpp:blocking'><item jid='a@b'/></block></iq>"
            .to_owned(),
        "<iq type='set' id='1'><query xmlns='urn:xmpp:mam:2' queryid='f'><x xmlns='jabber:x:data' \
         type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field><field \
         var='start'><value>2010-06-07T00:00:00Z</value></field></x><set \
         xmlns='http://jabber.org/protocol/rsm'><max>10</max><after>x</after></set></query></iq>"
            .to_owned(),
        "<iq type='set' id='1'><prefs xmlns='urn:xmpp:mam:2' default='roster'><always>\
         <jid>a@b</jid></always></prefs></iq>"
            .to_owned(),
        "<iq type='get' id='1' to='capulet.lit'><query xmlns='jabber:iq:version'/></iq>".to_owned(),
        format!(
            "<message to='{}' type='chat' id='x'><body>h\u{e4}rk</body><store \
             xmlns='urn:xmpp:hints'/><origin-id xmlns='urn:xmpp:sid:0' id='y'/></message>",
            who.bare()
        ),
        "<presence><priority>5</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' \
         node='n' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>"
            .to_owned(),
    ];
    let mut raw = at(&fortress, Security::Tls, Stage::Bound, &who).await;
    for seed in 1..=rounds() * 4 {
        let mut chance = Chance(seed);
        let mut bytes = stanzas[chance.below(stanzas.len())].clone().into_bytes();
        for _ in 0..=chance.below(2) {
            chance.change(&mut bytes);
        }
        // A quote or tag that is left open would swallow what comes next.
        bytes.extend_from_slice(b"</nobody-opened-this>");
        let _ = raw.send(&bytes).await;
        if let Err(trouble) = raw.rest().await {
            panic!("seed {seed}: {trouble}, behind {:?}", String::from_utf8_lossy(&bytes));
        }
        raw = at(&fortress, Security::Tls, Stage::Bound, &who).await;
    }
}
