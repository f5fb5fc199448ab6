//! `[limits] unlimited = true` on the built binary: rates, failed logins and connections per address
//! are lifted, sizes and depth are not. Each is tried without it as well, where it must hold.
//! Without a binary nothing is tried.

use std::time::{Duration, Instant};

use verona_testkit::address::Address;
use verona_testkit::node::Node;
use verona_testkit::place::{Place, Security};
use verona_testkit::raw::Raw;
use verona_testkit::running::{RunningServer, Wanted};
use verona_testkit::script::Setup;

const PASSWORD: &str = "Wherefore art thou?";

/// Who waits longer than this was slowed down on purpose; what is not takes a second or two.
const PROMPT: Duration = Duration::from_secs(12);

fn juliet() -> Address {
    Address::parse("juliet@capulet.lit/balcony").expect("an address")
}

async fn server(unlimited: bool) -> Option<RunningServer> {
    server_with(&format!("unlimited = {unlimited}")).await
}

async fn server_with(limit: &str) -> Option<RunningServer> {
    let Some(binary) = RunningServer::binary() else {
        println!("no verona binary: nothing is tried (name one with VERONA_BIN)");
        return None;
    };
    let config = format!("[limits]\n{limit}\n");
    let wanted = Wanted {
        binary,
        storage: "memory:".to_owned(),
        transport: Security::None,
        setup: Setup { config, ..Setup::default() },
    };
    let server = RunningServer::start(wanted).await.expect("it starts");
    server.account(&juliet(), PASSWORD).await.expect("made");
    Some(server)
}

/// A connection with an open stream, before a login.
async fn opened(server: &RunningServer) -> Option<(Raw, Node)> {
    let mut raw = Raw::connect(server, &juliet()).await.ok()?;
    let features = raw.open().await.ok()?;
    Some((raw, features))
}

/// A session for Juliet, with this resource.
async fn session(server: &RunningServer, resource: &str) -> Result<Raw, String> {
    let (mut raw, features) = opened(server).await.ok_or("no stream")?;
    raw.authenticate(&features, "juliet", PASSWORD).await.map_err(|error| error.to_string())?;
    raw.reopen().await.map_err(|error| error.to_string())?;
    raw.bind(resource).await.map_err(|error| error.to_string())?;
    Ok(raw)
}

/// How many of so many connections get an answer, all kept open and none logged in.
async fn connections(server: &RunningServer, count: usize) -> usize {
    let mut open = Vec::new();
    for _ in 0..count {
        open.extend(opened(server).await);
    }
    open.len()
}

/// How many logins fail on one connection before it is closed, and how long each answer took.
async fn failed_logins(server: &RunningServer, count: usize) -> Vec<Duration> {
    // PLAIN, base64 of a wrong password: one element each.
    let wrong = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>\
                 biwsbj1qdWxpZXQscj1hYmNkZWZnaA==</auth>\
                 <abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
    let (mut raw, _) = opened(server).await.expect("a stream");
    let mut times = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        if raw.send(wrong.as_bytes()).await.is_err() {
            break;
        }
        loop {
            match raw.element().await {
                Ok(node) if node.name == "challenge" => {}
                Ok(node) if node.name == "failure" => break,
                _ => return times,
            }
        }
        times.push(began.elapsed());
    }
    times
}

/// How long it takes until the server has taken so many stanzas of so many bytes.
async fn taken(server: &RunningServer, count: usize, bytes: usize) -> Duration {
    let mut raw = session(server, "balcony").await.expect("a session");
    raw.set_patience(Duration::from_secs(120));
    let body = "x".repeat(bytes);
    let one =
        format!("<message to='nobody@capulet.lit' type='headline'><body>{body}</body></message>");
    let began = Instant::now();
    raw.send(one.repeat(count).as_bytes()).await.expect("sent");
    raw.ping("capulet.lit").await.expect("answered");
    began.elapsed()
}

#[tokio::test]
async fn connections_per_address_are_lifted() {
    let Some(server) = server(true).await else { return };
    // Beyond both bounds: 256 that are not logged in, and 50 a second.
    assert_eq!(connections(&server, 300).await, 300);
    drop(server);
    let Some(server) = self::server(false).await else { return };
    assert!(connections(&server, 300).await <= 256);
}

/// XEP-0205 §4.1: also those that are logged in count, for as long as they last.
#[tokio::test]
async fn connections_of_an_address_are_bounded_after_the_login_too() {
    let Some(server) = server_with("connections_per_address = 2").await else { return };
    let first = session(&server, "a").await.expect("a session");
    let _second = session(&server, "b").await.expect("a session");
    assert!(opened(&server).await.is_none());
    drop(first);
    // Its end is noticed by another process.
    for _ in 0..100 {
        if opened(&server).await.is_some() {
            return;
        }
    }
    panic!("what has ended still counts");
}

#[tokio::test]
async fn failed_logins_are_lifted() {
    let Some(server) = server(true).await else { return };
    // Beyond both bounds: 5 on a connection, and 20 from an address, then each answer is delayed.
    let times = failed_logins(&server, 28).await;
    assert_eq!(times.len(), 28);
    assert!(times.iter().all(|time| *time < PROMPT), "{times:?}");
    session(&server, "balcony").await.expect("a session");
    drop(server);
    let Some(server) = self::server(false).await else { return };
    assert!((2..=5).contains(&failed_logins(&server, 28).await.len()));
}

#[tokio::test]
async fn rates_are_lifted() {
    let Some(server) = server(true).await else { return };
    // Of bytes it would take half a minute, of stanzas as well.
    let time = taken(&server, 5_000, 400).await;
    assert!(time < PROMPT, "{time:?}");
    drop(server);
    let Some(server) = self::server(false).await else { return };
    // Less than half of that takes some seconds beyond the burst that is allowed.
    let time = taken(&server, 2_000, 400).await;
    assert!(time > Duration::from_secs(3), "{time:?}");
}

#[tokio::test]
async fn sizes_and_depth_are_never_lifted() {
    let Some(server) = server(true).await else { return };
    let refused = async |raw: &mut Raw, bytes: String, what: &str| {
        // The server may close before all is sent.
        let _ = raw.send(bytes.as_bytes()).await;
        let closed = raw.expect_stream_error("policy-violation").await;
        closed.unwrap_or_else(|trouble| panic!("{what}: {trouble}"));
    };
    let nested = |depth: usize| "<a>".repeat(depth);
    let attributes = |count: usize| {
        let all: String = (0..count).map(|number| format!(" a{number}=''")).collect();
        format!("<message{all}/>")
    };

    // Before the login: an element, all of them, depth.
    for (bytes, what) in [
        (format!("<auth>{}</auth>", "x".repeat(10_001)), "an element before the login"),
        (" ".repeat(66_000), "bytes before the login"),
        (nested(70), "depth before the login"),
    ] {
        let (mut raw, _) = opened(&server).await.expect("a stream");
        refused(&mut raw, bytes, what).await;
    }
    // After it: a stanza, depth, attributes.
    for (bytes, what) in [
        (format!("<message><body>{}", "x".repeat(256 * 1024)), "a stanza"),
        (format!("<message>{}", nested(130)), "depth"),
        (attributes(65), "attributes"),
    ] {
        let mut raw = session(&server, "balcony").await.expect("a session");
        refused(&mut raw, bytes, what).await;
    }
}

/// Neither a rate, nor a failed login, nor a connection that is not logged in.
#[tokio::test]
async fn resources_of_an_account_are_never_lifted() {
    let Some(server) = server(true).await else { return };
    let mut open = Vec::new();
    for number in 0..20 {
        open.push(session(&server, &format!("room {number}")).await.expect("a session"));
    }
    let (mut raw, features) = opened(&server).await.expect("a stream");
    raw.authenticate(&features, "juliet", PASSWORD).await.expect("logged in");
    raw.reopen().await.expect("a stream");
    let one_more = raw.bind("one more").await;
    assert!(one_more.is_err(), "{one_more:?}");
}

/// RFC 6120 §13.12, XEP-0205 §4.6.
#[tokio::test]
async fn recipients_in_a_minute_are_bounded_and_a_large_stanza_is_told_by_name() {
    let Some(server) = server_with("recipients_per_minute = 3").await else { return };
    let mut raw = session(&server, "a").await.expect("a session");
    let message = |number| format!("<message to='n{number}@capulet.lit' id='m{number}'/>");
    let unavailable = "<presence type='unavailable' to='n9@capulet.lit'/>".to_owned();
    // Whoever was written to stays free, and so are farewells.
    for stanza in [message(1), message(2), message(3), message(1), unavailable] {
        raw.send(stanza.as_bytes()).await.expect("sent");
    }
    raw.ping("capulet.lit").await.expect("answered, and nothing came back");
    raw.send(message(4).as_bytes()).await.expect("sent");
    let back = raw.element().await.expect("it comes back");
    assert_eq!((back.attr("id"), back.attr("type")), (Some("m4"), Some("error")));
    let error = back.children().find(|child| child.name == "error").expect("a reason");
    let names: Vec<&str> = error.children().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["policy-violation", "text", "too-many-stanzas"]);

    // XEP-0205 §4.5
    let large =
        format!("<message to='n1@capulet.lit'><body>{}</body></message>", "x".repeat(300_000));
    let _ = raw.send(large.as_bytes()).await;
    let error = raw.element().await.expect("a stream error");
    assert!(error.children().any(|child| child.name == "policy-violation"), "{error:?}");
    assert!(error.child("stanza-too-big", "urn:xmpp:errors").is_some(), "{error:?}");
}

/// RFC 6120 §10.1: what one entity sends to another arrives in that order, to whichever of its
/// addresses. `VERONA_ATTACKS=long` makes it a million.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_of_messages_keeps_its_order() {
    let Some(server) = server(true).await else { return };
    let is_long = std::env::var("VERONA_ATTACKS").is_ok_and(|size| size == "long");
    let count = if is_long { 1_000_000 } else { 20_000 };
    let mut sender = session(&server, "sender").await.expect("a session");
    let mut reader = session(&server, "reader").await.expect("a session");
    reader.send(b"<presence/>").await.expect("sent");
    reader.ping("capulet.lit").await.expect("answered");
    let sending = tokio::spawn(async move {
        sender.set_patience(Duration::from_secs(60));
        let mut text = String::new();
        for id in 0..count {
            let resource = ["", "/reader"][id % 2];
            text += &format!(
                "<message to='juliet@capulet.lit{resource}' type='chat' id='{id}'>\
                 <no-store xmlns='urn:xmpp:hints'/></message>"
            );
            if id % 500 == 499 {
                sender.send(std::mem::take(&mut text).as_bytes()).await.expect("sent");
            }
        }
        sender
    });
    reader.set_patience(Duration::from_secs(60));
    let mut next = 0;
    while next < count {
        let node = reader.element().await.expect("a message");
        if node.name == "message" {
            assert_eq!(node.attr("id"), Some(next.to_string().as_str()));
            next += 1;
        }
    }
    drop(sending.await.expect("all was sent"));
}
