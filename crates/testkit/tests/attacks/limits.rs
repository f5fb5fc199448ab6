//! The limits of SECURITY §4 as a client meets them: at the edge, beyond it, and over time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use verona_testkit::address::Address;
use verona_testkit::fortress::{DOORS, Fortress, Gate, Stage};
use verona_testkit::node::{NS_CLIENT, Node};
use verona_testkit::place::Security;
use verona_testkit::raw::Raw;

use crate::helpers::{HOST, at, header, refused_at};

cases![
    an_element_before_login_has_at_most_10000_bytes,
    all_before_login_is_at_most_64_kib,
    there_are_at_most_64_elements_before_a_session,
    a_stanza_has_at_most_256_kib,
    who_sends_too_many_bytes_is_paused_and_loses_nothing,
    who_sends_too_many_stanzas_is_paused_and_loses_nothing,
    connections_from_one_address_are_bounded,
    new_connections_from_one_address_are_bounded,
];

cases![patient:
    time_before_a_session_is_bounded,
    who_reads_nothing_is_detached_after_30_seconds,
];

/// A message of exactly so many bytes, which leads to nothing.
fn sized(bytes: usize) -> String {
    let frame = "<message to='nobody@capulet.lit' type='headline'><body></body></message>";
    let body = "x".repeat(bytes - frame.len());
    frame.replace("<body>", &format!("<body>{body}"))
}

async fn an_element_before_login_has_at_most_10000_bytes(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    for (door, stage) in [
        (Security::StartTls, Stage::Plain),
        (Security::StartTls, Stage::Secured),
        (Security::StartTls, Stage::LoggedIn),
        (Security::Tls, Stage::Secured),
        (Security::Tls, Stage::LoggedIn),
    ] {
        let most = sized(10_000);
        refused_at(&fortress, (door, stage), &who, most.as_bytes(), "not-authorized").await;
        let more = sized(10_001);
        refused_at(&fortress, (door, stage), &who, more.as_bytes(), "policy-violation").await;
        // Also when its end never comes.
        let endless = "<a b='".to_owned() + &"x".repeat(11_000);
        let place = (door, stage);
        refused_at(&fortress, place, &who, endless.as_bytes(), "policy-violation").await;
    }
}

async fn all_before_login_is_at_most_64_kib(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let space = " ".repeat(66_000);
    for (door, stage) in [
        (Security::StartTls, Stage::Plain),
        (Security::StartTls, Stage::Secured),
        (Security::Tls, Stage::Secured),
        (Security::Tls, Stage::LoggedIn),
    ] {
        let place = (door, stage);
        refused_at(&fortress, place, &who, space.as_bytes(), "policy-violation").await;
        // Less than that means nothing, and is let pass.
        let mut raw = at(&fortress, door, stage, &who).await;
        raw.send(" ".repeat(50_000).as_bytes()).await.unwrap();
        raw.send(b"</stream:stream>").await.unwrap();
        let items = raw.rest().await.unwrap();
        assert_eq!(items, [verona_testkit::reader::Item::Close]);
    }
}

async fn there_are_at_most_64_elements_before_a_session(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let mut raw = at(&fortress, Security::Tls, Stage::LoggedIn, &who).await;
    let bind = "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                <resource>\u{7f}</resource></bind></iq>";
    let mut answered = 0;
    loop {
        raw.send(bind.as_bytes()).await.unwrap();
        let node = raw.element().await.unwrap();
        if node.name == "error" {
            assert!(node.children().any(|child| child.name == "policy-violation"), "{node}");
            break;
        }
        answered += 1;
        assert!(answered < 64, "no end of it");
    }
    assert!(answered > 50, "{answered}");
    raw.expect_closed().await.unwrap();
}

async fn a_stanza_has_at_most_256_kib(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    for door in DOORS {
        let more = sized(256 * 1024 + 1);
        let place = (door, Stage::Bound);
        refused_at(&fortress, place, &who, more.as_bytes(), "policy-violation").await;
        let endless = "<message><body>".to_owned() + &"x".repeat(300_000);
        refused_at(&fortress, place, &who, endless.as_bytes(), "policy-violation").await;
        // What is allowed arrives whole.
        let mut raw = fortress.reach(&fortress.gate(door), Stage::Bound, &who).await.unwrap();
        let frame = format!("<message to='{}'><body></body></message>", who.full());
        let body = "x".repeat(256 * 1024 - frame.len());
        let text = frame.replace("<body>", &format!("<body>{body}"));
        raw.send(text.as_bytes()).await.unwrap();
        let node = raw.element().await.unwrap();
        assert_eq!(node.child("body", NS_CLIENT).map(Node::text), Some(body));
    }
}

/// How long a connection lives on which something is begun and not finished, and how it ends.
async fn lives_for(mut raw: Raw, expected: Option<&str>) -> Duration {
    let began = Instant::now();
    raw.set_patience(Duration::from_secs(45));
    match expected {
        Some(condition) => raw.expect_stream_error(condition).await.unwrap(),
        None => raw.expect_closed().await.unwrap(),
    }
    began.elapsed()
}

async fn time_before_a_session_is_bounded(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let (near_10, near_30) = (8.0..14.0, 26.0..36.0);
    let seconds = |time: Duration| time.as_secs_f32();

    let silent = async {
        // Not a byte: the server opens the stream to say why it ends.
        let raw = Raw::connect(&fortress.gate(Security::StartTls), &who).await.unwrap();
        assert!(near_10.contains(&seconds(lives_for(raw, Some("connection-timeout")).await)));
    };
    let silent_tls = async {
        let raw = Raw::connect(&fortress.gate(Security::Tls), &who).await.unwrap();
        assert!(near_10.contains(&seconds(lives_for(raw, Some("connection-timeout")).await)));
    };
    let no_hello = async {
        let time = until_end(fortress.gate(Security::Tls), b"").await;
        assert!(near_10.contains(&seconds(time)), "without a ClientHello: {time:?}");
    };
    let half_hello = async {
        let time = until_end(fortress.gate(Security::Tls), b"\x16\x03\x01\x02\x00\x01\x00").await;
        assert!(near_10.contains(&seconds(time)), "with half of it: {time:?}");
    };
    let half_starttls = async {
        let text = format!("{}<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", header(HOST));
        let time = until_end(fortress.gate(Security::StartTls), text.as_bytes()).await;
        assert!(near_10.contains(&seconds(time)), "behind proceed: {time:?}");
    };
    let dribbled = async {
        // A byte a second is no progress worth waiting for.
        let mut tcp = fortress.gate(Security::StartTls).tcp().await.unwrap();
        let began = Instant::now();
        let text = header(HOST);
        for byte in text.as_bytes().chunks(1) {
            if tcp.write_all(byte).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            if began.elapsed() > Duration::from_secs(20) {
                break;
            }
        }
        assert!(began.elapsed() < Duration::from_secs(15), "a header in drops");
    };
    let stages = async {
        let mut waits = tokio::task::JoinSet::new();
        for (door, stage) in [
            (Security::StartTls, Stage::Plain),
            (Security::StartTls, Stage::Secured),
            (Security::Tls, Stage::Secured),
            (Security::Tls, Stage::LoggedIn),
        ] {
            let raw = at(&fortress, door, stage, &who).await;
            waits.spawn(lives_for(raw, Some("connection-timeout")));
        }
        for time in waits.join_all().await {
            assert!(near_30.contains(&seconds(time)), "{time:?}");
        }
    };
    let challenged = async {
        let mut raw = at(&fortress, Security::Tls, Stage::Secured, &who).await;
        let first = crate::helpers::auth("SCRAM-SHA-1", b"n,,n=x,r=abcdefgh");
        raw.send(first.as_bytes()).await.unwrap();
        raw.element().await.unwrap();
        assert!(near_30.contains(&seconds(lives_for(raw, Some("connection-timeout")).await)));
    };
    tokio::join!(
        silent,
        silent_tls,
        no_hello,
        half_hello,
        half_starttls,
        dribbled,
        stages,
        challenged
    );
}

async fn who_reads_nothing_is_detached_after_30_seconds(fortress: Arc<Fortress>) {
    let (reader, sender) = (fortress.guest(), fortress.guest());
    let mut gate = fortress.gate(Security::Tls);
    gate.takes = Some(4_096);
    let _paused = fortress.reach(&gate, Stage::Bound, &reader).await.unwrap();
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..20 {
        let who = Address { resource: format!("r{number}"), ..sender.clone() };
        let gate = fortress.gate(Security::Tls);
        let mut raw = fortress.reach(&gate, Stage::Bound, &who).await.unwrap();
        let to = reader.full();
        sending.spawn(async move {
            raw.set_patience(Duration::from_secs(60));
            let body = "x".repeat(15_000);
            let text = format!("<message to='{to}' type='headline'><body>{body}</body></message>");
            for _ in 0..32 {
                raw.send(text.as_bytes()).await.expect("room to write");
            }
            raw
        });
    }
    let began = Instant::now();
    let named = format!("account={} ", reader.bare());
    let ended = |line: &str| line.contains(&named) && line.contains("session ended");
    while !fortress.log().lines().any(ended) {
        assert!(began.elapsed() < Duration::from_secs(45), "the session goes on");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(began.elapsed() > Duration::from_secs(25), "{:?}", began.elapsed());
    // Those who had to wait go on.
    for mut raw in sending.join_all().await {
        raw.ping(HOST).await.unwrap();
    }
}

/// How long a TCP connection lives behind these bytes.
async fn until_end(gate: Gate, bytes: &[u8]) -> Duration {
    let mut tcp = gate.tcp().await.unwrap();
    let began = Instant::now();
    tcp.write_all(bytes).await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(45), tcp.read_to_end(&mut rest)).await;
    let _ = read.expect("the connection stays open");
    began.elapsed()
}

async fn who_sends_too_many_bytes_is_paused_and_loses_nothing(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let mut raw = fortress.reach(&fortress.gate(Security::Tls), Stage::Bound, &who).await.unwrap();
    // 800 KiB: 512 at once, and the rest at 64 KiB a second.
    let count = 32;
    let body = "x".repeat(25_500);
    let began = Instant::now();
    let mut text = String::new();
    for number in 0..count {
        let to = who.full();
        text.push_str(&format!("<message id='{number}' to='{to}'><body>{body}</body></message>"));
    }
    raw.set_patience(Duration::from_secs(40));
    raw.send(text.as_bytes()).await.unwrap();
    for number in 0..count {
        let node = raw.element().await.unwrap();
        assert_eq!(node.attr("id"), Some(number.to_string().as_str()));
    }
    let time = began.elapsed();
    assert!(time > Duration::from_millis(3_500), "{time:?}");
    assert!(time < Duration::from_secs(20), "{time:?}");
}

async fn who_sends_too_many_stanzas_is_paused_and_loses_nothing(fortress: Arc<Fortress>) {
    let who = fortress.guest();
    let mut raw = fortress.reach(&fortress.gate(Security::Tls), Stage::Bound, &who).await.unwrap();
    // 2,000 at once, and the rest at 200 a second; what is read in one go is handled in one go.
    let count = 3_300;
    let began = Instant::now();
    let mut text = String::new();
    for number in 0..count {
        text.push_str(&format!("<iq type='get' id='{number}'><q xmlns='x'/></iq>"));
    }
    raw.set_patience(Duration::from_secs(40));
    raw.send(text.as_bytes()).await.unwrap();
    for number in 0..count {
        let node = raw.element().await.unwrap();
        assert_eq!(node.attr("id"), Some(number.to_string().as_str()));
    }
    let time = began.elapsed();
    assert!(time > Duration::from_millis(2_500), "{time:?}");
    assert!(time < Duration::from_secs(25), "{time:?}");
}

/// Whether the server keeps a connection: it says nothing, and does not close it either.
async fn is_kept(tcp: &mut tokio::net::TcpStream) -> bool {
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_millis(300), tcp.read(&mut byte)).await;
    read.is_err()
}

async fn connections_from_one_address_are_bounded(fortress: Arc<Fortress>) {
    let gate = fortress.gate(Security::Tls);
    let mut kept = Vec::new();
    let mut refused = 0;
    let began = Instant::now();
    while refused == 0 && began.elapsed() < Duration::from_secs(9) {
        let mut tcp = gate.tcp().await.unwrap();
        // Not faster than new ones are taken.
        if kept.len() > 190 {
            tokio::time::sleep(Duration::from_millis(25)).await;
            let mut byte = [0];
            let soon = tokio::time::timeout(Duration::from_millis(5), tcp.read(&mut byte)).await;
            if soon.is_ok() {
                refused += 1;
                continue;
            }
        }
        kept.push(tcp);
    }
    assert!((250..=257).contains(&kept.len()), "{} connections", kept.len());
    // Others come in meanwhile, by both doors, and the same address when there is room again.
    let who = fortress.guest();
    for door in DOORS {
        at(&fortress, door, Stage::Bound, &who).await;
    }
    kept.truncate(200);
    tokio::time::sleep(Duration::from_millis(500)).await;
    fortress.reach(&gate, Stage::Bound, &who).await.unwrap();
}

async fn new_connections_from_one_address_are_bounded(fortress: Arc<Fortress>) {
    let gate = fortress.gate(Security::StartTls);
    let mut all = Vec::new();
    for _ in 0..600 {
        if let Ok(tcp) = gate.tcp().await {
            all.push(tcp);
        }
        // Closed at once, so that it is the rate that is met and not the number.
        if all.len() > 100 {
            all.remove(0);
        }
    }
    let mut kept = 0;
    for tcp in all.iter_mut().rev().take(20) {
        kept += usize::from(is_kept(tcp).await);
    }
    assert!(kept < 20, "600 connections at once");
    // One who is logged in counts no longer among those.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let who = fortress.guest();
    let mut sessions = Vec::new();
    for _ in 0..5 {
        let resource = format!("r{}", sessions.len());
        let who = Address { resource, ..who.clone() };
        sessions.push(fortress.reach(&gate, Stage::Bound, &who).await.unwrap());
    }
    for raw in &mut sessions {
        raw.ping(HOST).await.unwrap();
    }
}
