//! Hostile XML at each stage of a stream (RFC 6120 §11; SECURITY §1: entity expansion, amplification,
//! smuggling, stack overflow).

use std::sync::Arc;

use verona_testkit::fortress::{Fortress, POSITIONS, Stage};
use verona_testkit::node::{NS_CLIENT, NS_STREAM};
use verona_testkit::place::Security;
use verona_testkit::raw::Raw;

use crate::helpers::{HOST, at, at_the_start, header, nobody, refused_at, refused_everywhere};

cases![
    a_comment_instruction_or_dtd_ends_the_stream_with_restricted_xml,
    entities_beyond_the_five_are_never_expanded,
    a_dtd_before_the_header_ends_the_stream,
    what_is_not_well_formed_ends_the_stream,
    bytes_that_are_not_utf8_end_the_stream,
    other_encodings_are_unsupported,
    a_byte_order_mark_of_utf8_is_let_pass,
    references_and_cdata_mean_what_xml_says,
    nesting_is_bounded_at_64_before_and_128_after_login,
    nesting_without_end_ends_the_stream,
    attributes_are_bounded_at_64,
    namespaces_are_bounded_at_32,
    elements_in_a_stanza_are_bounded_at_10000,
    a_namespace_is_not_multiplied_by_its_uses,
];

async fn a_comment_instruction_or_dtd_ends_the_stream_with_restricted_xml(fortress: Arc<Fortress>) {
    for bytes in [
        "<!-- a -->",
        "<message><!-- a --></message>",
        "<?x y?>",
        "<message><?x y?></message>",
        "<?xml version='1.0'?>",
        "<!DOCTYPE x>",
        "<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><message>&b;</message>",
        "<!DOCTYPE x SYSTEM 'file:///etc/passwd'>",
        "<!ELEMENT a ANY>",
        "<message><!ENTITY a 'b'></message>",
        "<message><![INCLUDE[x]]></message>",
    ] {
        refused_everywhere(&fortress, bytes.as_bytes(), "restricted-xml").await;
    }
}

async fn entities_beyond_the_five_are_never_expanded(fortress: Arc<Fortress>) {
    for bytes in [
        "<message><body>&nbsp;</body></message>",
        "<message to='&lol9;'/>",
        "<message><a xmlns='&x;'/></message>",
    ] {
        refused_everywhere(&fortress, bytes.as_bytes(), "restricted-xml").await;
    }
}

async fn a_dtd_before_the_header_ends_the_stream(fortress: Arc<Fortress>) {
    let bomb = "<!DOCTYPE stream [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>\
                <!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'>]>";
    for prolog in [
        bomb,
        "<!-- hello -->",
        "<?php x?>",
        "<?xml-stylesheet href='file:///etc/passwd'?>",
        "<!DOCTYPE stream SYSTEM 'http://127.0.0.1:1/'>",
    ] {
        for declaration in ["", "<?xml version='1.0'?>"] {
            let bytes = format!("{declaration}{prolog}{}", header(HOST));
            at_the_start(&fortress, bytes.as_bytes(), "restricted-xml").await;
        }
    }
}

async fn what_is_not_well_formed_ends_the_stream(fortress: Arc<Fortress>) {
    for bytes in [
        "<a></b>",
        "</a>",
        "<a b=c/>",
        "<a b/>",
        "<a b='1' b='2'/>",
        "<a b='1'c='2'/>",
        "<a b='<'/>",
        "<a b='&'/>",
        "<a>&#0;</a>",
        "<a>&#x1f;</a>",
        "<a>&#xffff;</a>",
        "<a>&#xd800;</a>",
        "<a>&#x110000;</a>",
        "<a>&#99999999999999999999;</a>",
        "<a>&#;</a>",
        "<a>& ;</a>",
        "<a>]]></a>",
        "<a>\u{1}</a>",
        "<a b='\u{8}'/>",
        "<a>\u{fffe}</a>",
        "<1a/>",
        "<-a/>",
        "< a/>",
        "<>",
        "<a",
        "<a:b:c/>",
        "<:a/>",
        "<a:/>",
        "<nobody:message/>",
        "<message nobody:a='1'/>",
        "<message xmlns:a='x' xmlns:b='x' a:c='1' b:c='2'/>",
        "<message xmlns:a=''/>",
        "<message xmlns:xml='x'/>",
        "<message xmlns:xmlns='x'/>",
        "<xmlns:message/>",
        "<message xmlns='http://www.w3.org/2000/xmlns/'/>",
        "<message xmlns:a='http://www.w3.org/XML/1998/namespace'/>",
        "wherefore",
        "&amp;",
        "<![CDATA[x]]>",
        "\0",
    ] {
        // What looks unfinished is made certain by what comes behind.
        let bytes = if bytes == "<a" { "<a<b/>" } else { bytes };
        refused_everywhere(&fortress, bytes.as_bytes(), "not-well-formed").await;
    }
}

async fn bytes_that_are_not_utf8_end_the_stream(fortress: Arc<Fortress>) {
    let wrong: [&[u8]; 9] = [
        b"\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xc3(",
        b"\xff",
    ];
    for bytes in wrong {
        for (before, behind) in [("<a>", "</a>"), ("<a b='", "'/>")] {
            let bytes = [before.as_bytes(), bytes, behind.as_bytes()].concat();
            refused_everywhere(&fortress, &bytes, "unsupported-encoding").await;
        }
    }
    // CVE-2022-25235: a character cut by a `>` must not swallow it.
    let bytes = b"<a b='\xe2\x82'><c/></a>";
    refused_everywhere(&fortress, bytes, "unsupported-encoding").await;
}

async fn other_encodings_are_unsupported(fortress: Arc<Fortress>) {
    let ascii = header(HOST);
    let wide = |big: bool| -> Vec<u8> {
        ascii.bytes().flat_map(|b| if big { [0, b] } else { [b, 0] }).collect()
    };
    let declared = |encoding: &str| {
        ascii.replace("version='1.0'?>", &format!("version='1.0' encoding='{encoding}'?>"))
    };
    for bytes in [
        wide(true),
        wide(false),
        [b"\xfe\xff".as_slice(), &wide(true)].concat(),
        [b"\xff\xfe".as_slice(), &wide(false)].concat(),
        [b"\0\0\xfe\xff".as_slice(), &wide(true)].concat(),
        declared("ISO-8859-1").into_bytes(),
        declared("UTF-16").into_bytes(),
        declared("utf-7").into_bytes(),
    ] {
        at_the_start(&fortress, &bytes, "unsupported-encoding").await;
    }
}

async fn a_byte_order_mark_of_utf8_is_let_pass(fortress: Arc<Fortress>) {
    for door in [Security::StartTls, Security::Tls] {
        let mut raw = Raw::connect(&fortress.gate(door), &nobody()).await.unwrap();
        raw.send(format!("\u{feff}{}", header(HOST)).as_bytes()).await.unwrap();
        raw.item().await.unwrap();
        assert!(raw.element().await.unwrap().is("features", NS_STREAM));
    }
}

async fn references_and_cdata_mean_what_xml_says(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let mut raw = at(&fortress, Security::Tls, Stage::Bound, &who).await;
    raw.send(b"<presence/>").await.unwrap();
    raw.element().await.unwrap();
    let body = "&lt;&gt;&amp;&apos;&quot;&#x41;&#66;<![CDATA[<c>&amp;]]]]>\r\n\t\u{10000}";
    let text = format!("<message to='{}'><body>{body}</body></message>", who.bare());
    raw.send(text.as_bytes()).await.unwrap();
    let message = raw.element().await.unwrap();
    let body = message.child("body", NS_CLIENT).unwrap().text();
    assert_eq!(body, "<>&'\"AB<c>&amp;]]\n\t\u{10000}");
}

fn nested(depth: usize) -> Vec<u8> {
    // The outermost is a message with an address that nobody has, so that nothing is answered.
    let inner = depth - 1;
    let text = format!(
        "<message to='nobody@capulet.lit' type='headline'>{}{}</message>",
        "<a>".repeat(inner),
        "</a>".repeat(inner)
    );
    text.into_bytes()
}

async fn nesting_is_bounded_at_64_before_and_128_after_login(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    for (door, stage) in POSITIONS {
        // Before a resource is bound a message is out of place, but it is read first.
        let (most, otherwise) = match stage {
            Stage::Bound => (128, None),
            _ => (64, Some("not-authorized")),
        };
        refused_at(&fortress, (door, stage), &who, &nested(most + 1), "policy-violation").await;
        match otherwise {
            Some(other) => refused_at(&fortress, (door, stage), &who, &nested(most), other).await,
            None => {
                let mut raw = at(&fortress, door, stage, &who).await;
                raw.send(&nested(most)).await.unwrap();
                raw.ping(HOST).await.unwrap();
            }
        }
    }
}

async fn nesting_without_end_ends_the_stream(fortress: Arc<Fortress>) {
    let many = if crate::helpers::is_long() { 1_000_000 } else { 20_000 };
    for element in ["<a>", "<a xmlns='x'>", "<a xmlns:p='x'>", "<a b='c'>"] {
        refused_everywhere(&fortress, element.repeat(many).as_bytes(), "policy-violation").await;
    }
    // As the root as well, over and over.
    let headers = header(HOST).replace("<?xml version='1.0'?>", "").repeat(200);
    at_the_start(&fortress, headers.as_bytes(), "policy-violation").await;
}

fn with_attributes(count: usize) -> String {
    let attributes: String = (0..count).map(|n| format!(" a{n}='x'")).collect();
    format!("<message to='nobody@capulet.lit' type='headline'><a{attributes}/></message>")
}

async fn attributes_are_bounded_at_64(fortress: Arc<Fortress>) {
    let most = with_attributes(64);
    let more = with_attributes(65);
    bounded(&fortress, &most, &more).await;
    let flood = with_attributes(100_000);
    refused_everywhere(&fortress, flood.as_bytes(), "policy-violation").await;
}

/// What is at a bound is taken, what is beyond it ends the stream, at each stage.
async fn bounded(fortress: &Fortress, most: &str, more: &str) {
    let who = fortress.guest();
    for (door, stage) in POSITIONS {
        refused_at(fortress, (door, stage), &who, more.as_bytes(), "policy-violation").await;
        if stage == Stage::Bound {
            let mut raw = at(fortress, door, stage, &who).await;
            raw.send(most.as_bytes()).await.unwrap();
            raw.ping(HOST).await.unwrap();
        } else {
            refused_at(fortress, (door, stage), &who, most.as_bytes(), "not-authorized").await;
        }
    }
}

fn with_namespaces(count: usize) -> String {
    let declarations: String = (0..count).map(|n| format!(" xmlns:p{n}='n:{n}'")).collect();
    format!("<message to='nobody@capulet.lit' type='headline'><a{declarations}/></message>")
}

async fn namespaces_are_bounded_at_32(fortress: Arc<Fortress>) {
    bounded(&fortress, &with_namespaces(32), &with_namespaces(33)).await;
    // Spread over levels they are bound all the same.
    let levels: String = (0..33).map(|n| format!("<a xmlns:p{n}='n:{n}'>")).collect();
    refused_everywhere(&fortress, levels.as_bytes(), "policy-violation").await;
}

async fn elements_in_a_stanza_are_bounded_at_10000(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let stanza = |inner: usize| {
        let inner = "<a/>".repeat(inner);
        format!("<message to='nobody@capulet.lit' type='headline'>{inner}</message>")
    };
    for door in [Security::StartTls, Security::Tls] {
        let place = (door, Stage::Bound);
        let more = stanza(10_000);
        refused_at(&fortress, place, &who, more.as_bytes(), "policy-violation").await;
        let mut raw = at(&fortress, door, Stage::Bound, &who).await;
        raw.send(stanza(9_999).as_bytes()).await.unwrap();
        raw.ping(HOST).await.unwrap();
    }
}

/// A long namespace bound to a prefix costs a few bytes at each use; spelled out at each use it would
/// be a thousand times as much.
async fn a_namespace_is_not_multiplied_by_its_uses(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    for (door, stage) in POSITIONS {
        let (size, uses) = if stage == Stage::Bound { (120_000, 9_000) } else { (4_000, 900) };
        for use_ in ["<x:a/>", "<a x:b=''/>"] {
            let text = format!(
                "<iq type='get' id='1' to='{HOST}' xmlns:x='{}'><query xmlns='n'>{}</query></iq>",
                "n".repeat(size),
                use_.repeat(uses.min(size / use_.len()))
            );
            let mut raw = at(&fortress, door, stage, &who).await;
            let _ = raw.send(text.as_bytes()).await;
            // An error of the stream or of the request: what counts is the memory.
            let _ = raw.item().await;
        }
    }
    let peak = fortress.peak_memory();
    assert!(peak < 256 << 20, "the server took {} MiB", peak >> 20);
}
